"""Run a problem on buffers of a memory, and watch every byte that it has no business to write."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import library
from .memory import Block, Offset
from .problem import Problem
from .tensors import DATA


@dataclass(frozen=True)
class Run:
    """status: what the call returned. outputs: what it wrote, dense, by argument name."""

    status: int
    outputs: dict[str, np.ndarray]


class Buffer:
    """A tensor in a block: runs of contiguous elements, `stride` elements apart."""

    def __init__(self, memory, shape: tuple[int, ...], dtype: np.dtype, run: int, stride: int):
        self.shape, self.dtype = shape, dtype
        size = int(np.prod(shape, dtype=np.int64))
        runs, width = (size // run, dtype.itemsize) if size else (0, dtype.itemsize)
        extent = ((runs - 1) * stride + run) * width if size else 0
        self.block: Block = memory(extent)
        self.payload = as_strided(self.block.bytes, (runs, run * width if size else 0), (stride * width, 1))

    def write(self, values: np.ndarray) -> None:
        self.payload[...] = np.ascontiguousarray(values).view(np.uint8).reshape(self.payload.shape)

    def read(self) -> np.ndarray:
        return self.payload.copy().reshape(-1).view(self.dtype).reshape(self.shape)

    def restore(self, around: np.ndarray) -> None:
        """Put its elements back to what they were when the block and what lies around it were `around`."""
        start = self.block.address - self.block.around.ctypes.data
        old = around[start:start + self.block.bytes.size]
        self.payload[...] = as_strided(old, self.payload.shape, self.payload.strides)


def execute(problem: Problem, memory=None, in_place: tuple[str, str] | None = None,
            change: Callable[[dict[str, Block]], dict] | None = None) -> Run:
    """Call the function of a problem; assert that nothing but its outputs changed, and nothing at all if it failed.

    memory: see memory.py; unaligned buffers between canaries by default.
    in_place: an output and the input that it is written over.
    change: from the block of each buffer to arguments that are passed instead of the right ones.
    """
    memory = memory or Offset(0)
    method = problem.method
    buffers = _buffers(problem, memory)
    if in_place:
        output, place = in_place
        assert problem.stride(output) == problem.stride(place)
        buffers[output] = buffers[place]

    written = problem.written()
    before = {name: buffer.block.around.copy() for name, buffer in buffers.items()}
    arguments = problem.scalars | {
        "dtype": problem.dtype.code, "parameter_dtype": problem.parameter_dtype.code,
    } | {p.name: buffers[p.name].block.address if p.name in buffers else None for p in method.prototype.buffers()}
    if change:
        arguments |= change({name: buffer.block for name, buffer in buffers.items()})
    status = library.call(method.name, arguments)

    outputs = {name: buffers[name].read() for name in written}
    for name in written if status == 0 else ():
        # So that any other change shows.
        buffers[name].restore(before[name])
    for name, buffer in buffers.items():
        assert np.array_equal(buffer.block.around, before[name]), f"{problem} wrote outside of its outputs, near {name}"
    return Run(status, outputs)


def _buffers(problem: Problem, memory) -> dict[str, Buffer]:
    """A buffer for each tensor that is not NULL, inputs filled in."""
    buffers = {}
    for parameter in problem.method.prototype.buffers():
        name, values = parameter.name, problem.inputs.get(parameter.name)
        if values is None and name not in problem.outputs:
            continue
        shape, dtype = problem.shape_of(name), problem.type_of(name).numpy
        size = int(np.prod(shape, dtype=np.int64))
        run, stride = (problem.view.run, problem.stride(name)) if name in DATA else (size, size)
        buffers[name] = Buffer(memory, shape, dtype, run, stride)
        if values is not None:
            buffers[name].write(values)
    return buffers

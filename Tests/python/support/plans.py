"""Plans of the C interface: the problem of a forward function, and what is done beside it."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from . import library
from .dtypes import DTYPES, F32, DType
from .execute import Buffer, Run
from .header import constants
from .memory import Block, Offset
from .methods import METHODS
from .problem import Problem

C = constants()
PLANNED = [m for m in METHODS if str(m).upper() in C and not m.is_backward]
FUSABLE = [m for m in PLANNED if str(m) in ("layer_norm", "rms_norm", "layer_norm_channels", "batch_norm_inference",
                                            "instance_norm", "group_norm")]
ROWS = [m for m in FUSABLE if str(m) in ("layer_norm", "rms_norm")]
INTEGERS = {C["I8"]: np.dtype(np.int8), C["U8"]: np.dtype(np.uint8)}
# Operands that are not called as the argument of the function is.
_OPERAND = {"v": "x", "w": "y", "g": "gamma", "scale": "gamma", "shift": "beta"}
# Operands as large as x, with a stride of their own.
LARGE = ("x", "residual", "residual_after", "sum", "y")


@dataclass(frozen=True)
class Fused:
    """A plan with its data.

    choices: members of normkit_description beside those that follow from the problem, other than 0.
    inputs: what is read beside the inputs of the problem, dense, by the name of the operand.
    numbers: output_scale and zero_point.
    """

    problem: Problem
    choices: dict = field(default_factory=dict)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    numbers: dict = field(default_factory=dict)

    def has(self, fusion: str) -> bool:
        return bool(self.choices.get("fusions", 0) & C[fusion])

    @property
    def given(self) -> dict[str, np.ndarray]:
        """Everything that is read, by the name of the operand."""
        found = {operand_of(self.problem, name): values for name, values in self.problem.inputs.items()}
        return {name: values for name, values in (found | self.inputs).items() if values is not None}

    @property
    def written(self) -> list[str]:
        """Everything that is written, by the name of the operand."""
        found = [operand_of(self.problem, name) for name in self.problem.written()]
        found += ["sum"] if self.has("STORE_SUM") else []
        return found + (["row_scales"] if self.has("SCALE_PER_ROW") else [])

    def numpy_type(self, operand: str) -> np.dtype:
        dtype, parameter_dtype = self.problem.dtype, self.problem.parameter_dtype
        if operand == "y" and self.choices.get("output_dtype"):
            return INTEGERS.get(self.choices["output_dtype"]) or self.output_type.numpy
        if operand in LARGE:
            return dtype.numpy
        if operand in ("gamma", "beta", "bias", "sample_scale", "sample_shift"):
            return parameter_dtype.numpy
        return F32.numpy if operand == "row_scales" else dtype.statistics.numpy

    @property
    def output_type(self) -> DType:
        """Of y; not where y is integers."""
        code = self.choices.get("output_dtype") or self.problem.dtype.code
        return next(dtype for dtype in DTYPES if dtype.code == code)

    def shape(self, operand: str) -> tuple[int, ...]:
        view = self.problem.view
        if operand in LARGE:
            return view.shape
        if operand in ("sample_scale", "sample_shift"):
            return (self.samples, *view.channel_shape)
        if operand in ("mean", "rstd", "norms", "row_scales"):
            return view.kept_shape
        return view.channel_shape

    @property
    def samples(self) -> int:
        """How many samples have a scale and a shift."""
        scalars = self.problem.scalars
        return scalars["samples"] if "samples" in scalars else scalars["rows"] // self.choices["rows_per_sample"]

    def stride(self, operand: str) -> int:
        """Elements from one run of an operand to the next; 0 where they follow each other without a gap."""
        name = f"{operand}_stride"
        return self.choices.get(name, self.problem.scalars.get(name, 0))

    def choosing(self, **changes) -> "Fused":
        return replace(self, choices=self.choices | changes)

    @cached_property
    def description(self) -> ctypes.Structure:
        """The normkit_description."""
        problem, type_ = self.problem, library.struct("normkit_description")
        members = dict(type_._fields_)
        found = type_(struct_size=ctypes.sizeof(type_), method=C[str(problem.method).upper()],
                      dtype=problem.dtype.code, parameter_dtype=problem.parameter_dtype.code)
        for name, value in problem.scalars.items():
            if name in members:
                setattr(found, name, members[name](*value) if isinstance(value, tuple) else value)
        if str(problem.method) == "scale_shift":
            found.slices = problem.scalars["channels"]
        for name, value in self.choices.items():
            setattr(found, name, value)
        return found

    def __repr__(self) -> str:
        return f"<plan {self.choices} {self.numbers} of {self.problem}>"


def operand_of(problem: Problem, argument: str) -> str:
    """The operand of a plan that an argument of the function is."""
    is_given = argument in ("mean", "variance") and argument in problem.inputs
    return f"given_{argument}" if is_given else _OPERAND.get(argument, argument)


@contextlib.contextmanager
def plan(description: ctypes.Structure) -> Iterator[int]:
    """The address of a plan that has to be made."""
    handle = ctypes.c_void_p()
    status = library.load().normkit_plan_create(ctypes.addressof(description), ctypes.addressof(handle))
    assert status == 0, library.load().normkit_status_string(status).decode()
    try:
        yield handle.value
    finally:
        library.load().normkit_plan_destroy(handle)


def creation(description: ctypes.Structure | None) -> int:
    """The status of normkit_plan_create; a plan is made where it is 0, and nowhere else."""
    handle = ctypes.c_void_p(1)
    address = None if description is None else ctypes.addressof(description)
    status = library.load().normkit_plan_create(address, ctypes.addressof(handle))
    assert (handle.value is None) == (status != 0)
    library.load().normkit_plan_destroy(handle)
    return status


# From the address of a plan and its operands to a status.
Call = Callable[[int, ctypes.Structure], int]


def whole(handle: int, operands: ctypes.Structure) -> int:
    return library.load().normkit_plan_run(handle, ctypes.addressof(operands))


def in_parts(parts: int, order: Callable[[int], list[int]] = lambda parts: list(range(parts))) -> Call:
    """Each phase in `parts` parts, which are run in this order."""
    def call(handle: int, operands: ctypes.Structure) -> int:
        for phase in range(library.load().normkit_plan_phases(handle)):
            for part in order(parts):
                status = library.load().normkit_plan_run_part(
                    handle, ctypes.addressof(operands), phase, part, parts)
                if status:
                    return status
        return 0
    return call


def execute_plan(fused: Fused, call: Call = whole, parts: int = 1, memory=None, in_place: dict[str, str] | None = None,
                 change: Callable[[ctypes.Structure, dict[str, Block]], None] | None = None,
                 handle: int | None = None) -> Run:
    """Run a plan; assert that nothing but its outputs changed, and nothing at all if it failed.

    parts: of how many the workspace is.
    in_place: from outputs to the inputs that they are written over.
    change: puts other members than the right ones into the normkit_operands.
    handle: of the plan, where it has been made before.
    """
    if handle is None:
        with plan(fused.description) as made:
            return execute_plan(fused, call, parts, memory, in_place, change, made)
    memory = memory or Offset(0)
    buffers = _buffers(fused, memory)
    for output, place in (in_place or {}).items():
        buffers[output] = buffers[place]
    workspace = memory(library.load().normkit_plan_workspace(handle, parts))
    before = {name: buffer.block.around.copy() for name, buffer in buffers.items()}
    type_ = library.struct("normkit_operands")
    operands = type_(struct_size=ctypes.sizeof(type_), workspace=workspace.address,
                     workspace_bytes=workspace.bytes.size, **fused.numbers,
                     **{name: buffer.block.address for name, buffer in buffers.items()})
    if change:
        change(operands, {name: buffer.block for name, buffer in buffers.items()} | {"workspace": workspace})
    around = workspace.around.copy()
    status = call(handle, operands)

    written = [name for name in fused.written if name in buffers]
    outputs = {name: buffers[name].read() for name in written}
    for name in written if status == 0 else ():
        buffers[name].restore(before[name])
    for name, buffer in buffers.items():
        assert np.array_equal(buffer.block.around, before[name]), f"{fused} wrote outside of its outputs, near {name}"
    start = workspace.address - workspace.around.ctypes.data
    if status == 0:
        workspace.bytes[...] = around[start:start + workspace.bytes.size]
    assert np.array_equal(workspace.around, around), f"{fused} wrote outside of its workspace"
    return Run(status, outputs)


def _buffers(fused: Fused, memory) -> dict[str, Buffer]:
    buffers = {}
    for name in dict.fromkeys((*fused.given, *fused.written)):
        shape, dtype = fused.shape(name), fused.numpy_type(name)
        size = int(np.prod(shape, dtype=np.int64))
        run, stride = (fused.problem.view.run, fused.stride(name)) if name in LARGE else (size, size)
        buffers[name] = Buffer(memory, shape, dtype, run, stride or run)
        if name in fused.given:
            buffers[name].write(fused.given[name])
    return buffers

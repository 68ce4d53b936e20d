"""Match arrays, as their axes lie in memory, with the forms that the library takes.

The library sees contiguous runs that follow each other at one stride. Which axes make up the runs, and in
which order, is an `Arrangement`. A transposed array often fits one of a function's arrangements although
it is not contiguous as it stands: channels-last tensors, attention heads seen as [batch, head, position,
feature]. Then nothing is copied, and a new result has the same order in memory.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from ._abi import DType, Layout
from ._arrays import ITEM_SIZES, Array, Shape, describe


class Arrangement(NamedTuple):
    """A form that the library takes.

    order: the axes as they lie in memory, slowest first.
    outer: how many of them run over contiguous runs; the others make up one run.
    layout: for functions that take channels first and channels last.
    """

    order: Shape
    outer: int
    layout: Layout = Layout.CHANNELS_FIRST


def by_stride(array: Array, axes: Sequence[int]) -> Sequence[int]:
    """`axes` in the order in which they lie in memory, slowest first."""
    strides = array.strides
    return axes if strides is None else sorted(axes, key=lambda axis: -strides[axis])


def dense(array: Array) -> list[Arrangement]:
    """All axes, in whichever order they lie in memory, as one run."""
    return [Arrangement(tuple(by_stride(array, range(len(array.shape)))), 0)]


def run_stride(array: Array, arrangement: Arrangement) -> int | None:
    """Elements from one contiguous run to the next, 0 if they follow each other without a gap.

    None if `array` does not lie in memory as `arrangement` says.
    """
    order, outer, _ = arrangement
    if 0 in array.shape or (array.strides is None and order == tuple(range(len(order)))):
        return 0
    shape, strides, size = array.shape, array.byte_strides, ITEM_SIZES[array.dtype]
    run = size
    for axis in reversed(order[outer:]):
        if shape[axis] != 1:
            if strides[axis] != run:
                return None
            run *= shape[axis]
    step = following = 0
    for axis in reversed(order[:outer]):
        if shape[axis] != 1:
            if step == 0:
                step = strides[axis]
                if step < run or step % size:
                    return None
            elif strides[axis] != following:
                return None
            following = strides[axis] * shape[axis]
    return 0 if step in (0, run) else step // size


def is_contiguous(array: Array) -> bool:
    if array.strides is None:
        return True
    return run_stride(array, Arrangement(tuple(range(len(array.shape))), 0)) is not None


def arranged_copy(array: Array, order: Shape) -> Array:
    """A copy of `array` whose axes lie in memory in `order`, without a gap."""
    copy = np.ascontiguousarray(array.bits().transpose(order))
    address = copy.__array_interface__["data"][0]
    strides = tuple(copy.strides[axis] for axis in np.argsort(order))
    return Array(array.name, array.kind, address, array.dtype, array.shape, strides, True, copy)


class Result:
    """An output: its memory, and the array that the caller gets. ctypes passes it as its address."""

    def __init__(self, memory: Array, value: Any, finish: Callable[[Any], Any]) -> None:
        self.memory = memory
        self.value = value
        self.finish = finish
        self._as_parameter_ = memory._as_parameter_


def allocate(like: Array, dtype: DType, shape: Shape, order: Shape | None = None) -> Result:
    """A new array of the kind of `like`, its axes lying in memory in `order` (None: as they are)."""
    if order is None or order == tuple(range(len(order))):
        stored = value = like.kind.empty(shape, dtype)
    else:
        stored = like.kind.empty(tuple(shape[axis] for axis in order), dtype)
        value = like.kind.transpose(stored, tuple(int(axis) for axis in np.argsort(order)))
    return Result(describe(stored, "the result"), value, like.kind.finish)


def statistics(like: Array, shape: Shape, order: Shape | None = None) -> Result:
    """A new array for statistics of `like`."""
    return allocate(like, like.statistics_dtype, shape, order)


def given(x: Array, out: Any) -> Result:
    """The caller's own output for `x`.

    Raises TypeError or ValueError, naming it, if it has another dtype or shape than `x` or is read-only.
    """
    memory = describe(out, "out")
    memory.require_dtype(x.dtype)
    memory.require_shape(x.shape)
    memory.require_writable()
    return Result(memory, out, lambda value: value)


def returned(*results: Result | None) -> Any:
    """What the caller gets: one array, or a tuple of all results that were asked for."""
    values = [result.finish(result.value) for result in results if result is not None]
    return values[0] if len(values) == 1 else tuple(values)


class Placement(NamedTuple):
    """An input and its output, both lying in memory as `arrangement` says."""

    arrangement: Arrangement
    x: Array
    x_stride: int
    y: Result
    y_stride: int


def kept_statistics(x: Array, arrangement: Arrangement, kept: Sequence[int]) -> Result:
    """A new array with one statistic per index over the axes `kept`, lying in memory as they do."""
    order = tuple(kept.index(axis) for axis in arrangement.order if axis in kept)
    return statistics(x, tuple(x.shape[axis] for axis in kept), order)


def fit(x: Array, choices: list[Arrangement]) -> tuple[int, Array, int]:
    """Which of `choices` fits `x`, `x`, and its stride. If none does, a copy in the order of the first."""
    for index, arrangement in enumerate(choices):
        stride = run_stride(x, arrangement)
        if stride is not None:
            return index, x, stride
    return 0, arranged_copy(x, choices[0].order), 0


def place(x: Array, out: Any, arrange: Callable[[Array], list[Arrangement]]) -> Placement:
    """Find an arrangement that fits both `x` and `out`; allocate the output if `out` is None.

    `arrange` lists the arrangements that the function at hand can use for an array, best first; for a
    contiguous array that is the one with its axes as they are. `x` is copied if it fits none of them, or
    none that `out` fits. `out` is never replaced by a copy: raises ValueError, naming it, if it fits none.
    """
    choices = arrange(x)
    if out is None:
        index, x, x_stride = fit(x, choices)
        y = allocate(x, x.dtype, x.shape, choices[index].order)
        return Placement(choices[index], x, x_stride, y, 0)
    y = given(x, out)
    if x.strides is None and y.memory.strides is None:
        return Placement(choices[0], x, 0, y, 0)
    strides = [(choice, run_stride(y.memory, choice)) for choice in choices + arrange(y.memory)]
    fitting = [(choice, stride) for choice, stride in strides if stride is not None]
    if not fitting:
        raise ValueError("out is not contiguous, and its rows or samples are not at one stride")
    index, x, x_stride = fit(x, [choice for choice, _ in fitting])
    return Placement(fitting[index][0], x, x_stride, y, fitting[index][1])

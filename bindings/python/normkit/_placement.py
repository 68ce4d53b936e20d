"""Match arrays, as their axes lie in memory, with the forms that the library takes.

The library sees contiguous runs that follow each other at one stride. Which axes make up the runs, and in
which order, is an `Arrangement`. A transposed array often fits one of a function's arrangements although
it is not contiguous as it stands: channels-last tensors, attention heads seen as [batch, head, position,
feature]. Then nothing is copied, and a new result has the same order in memory.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from ._abi import DType, Layout
from ._arrays import ITEM_SIZES, NUMPY, Array, Kind, Shape, describe


class Arrangement(NamedTuple):
    """A form that the library takes.

    order: the axes as they lie in memory, slowest first.
    outer: how many of them run over contiguous runs; the others make up one run.
    layout: for functions that take channels first and channels last.
    """

    order: Shape
    outer: int
    layout: Layout = Layout.CHANNELS_FIRST


@functools.cache
def in_order(rank: int) -> Shape:
    """All axes as they are."""
    return tuple(range(rank))


# Lists the arrangements that a function can use for an array, best first.
Arrange = Callable[[Array], "list[Arrangement]"]


def by_stride(array: Array, axes: Sequence[int]) -> Sequence[int]:
    """`axes` in the order in which they lie in memory, slowest first."""
    strides = array.strides
    return axes if strides is None else sorted(axes, key=lambda axis: -strides[axis])


def dense(array: Array) -> list[Arrangement]:
    """All axes, in whichever order they lie in memory, as one run."""
    rank = len(array.shape)
    return [Arrangement(in_order(rank) if array.strides is None else tuple(by_stride(array, range(rank))), 0)]


def run_stride(array: Array, arrangement: Arrangement) -> int | None:
    """Elements from one contiguous run to the next, 0 if they follow each other without a gap.

    None if `array` does not lie in memory as `arrangement` says.
    """
    order, outer, _ = arrangement
    if 0 in array.shape or (array.strides is None and order == in_order(len(order))):
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


def is_contiguous(array: Array, order: Shape | None = None) -> bool:
    """Whether the axes of `array` lie in memory in `order` (None: as they are), without a gap."""
    as_they_are = in_order(len(array.shape))
    if array.strides is None and order in (None, as_they_are):
        return True
    return run_stride(array, Arrangement(as_they_are if order is None else order, 0)) is not None


class Copy(Array):
    """A copy of the caller's array."""

    __slots__ = ()


def arranged_copy(array: Array, order: Shape) -> Copy:
    """A copy of `array` whose axes lie in memory in `order`, without a gap."""
    copy = np.ascontiguousarray(array.bits().transpose(order))
    address = copy.__array_interface__["data"][0]
    strides = tuple(copy.strides[axis] for axis in np.argsort(order))
    return Copy(array.name, array.kind, address, array.dtype, array.shape, strides, True, copy)


def contiguous(array: Array, order: Shape | None = None) -> Array:
    """`array`, copied if its axes do not lie in memory in `order` (None: as they are) without a gap."""
    if is_contiguous(array, order):
        return array
    return arranged_copy(array, in_order(len(array.shape)) if order is None else order)


class Result:
    """An output: the array that the caller gets. ctypes passes it as its address."""

    __slots__ = ("_as_parameter_", "value", "finish")

    def __init__(self, address: int, value: Any, finish: Callable[[Any], Any]) -> None:
        self._as_parameter_ = address
        self.value = value
        self.finish = finish

    @classmethod
    def of_numpy(cls, array: np.ndarray[Any, Any]) -> Result:
        return cls(NUMPY.pointer(array).value or 0, array, NUMPY.finish)


class Given(Result):
    """An output that is the caller's own. `memory` says where it is and what is in it."""

    __slots__ = ("memory",)

    def __init__(self, memory: Array, value: Any) -> None:
        super().__init__(memory._as_parameter_, value, lambda value: value)
        self.memory = memory


class New(Result):
    """An output that is made for the call: by `make`, which makes another array each time."""

    __slots__ = ("make", "pointer")

    def __init__(self, kind: Kind, dtype: DType, shape: Shape, order: Shape | None = None) -> None:
        self.make = kind.empty(shape, dtype, None if order is None or order == in_order(len(order)) else order)
        self.pointer = kind.pointer
        value = self.make()
        super().__init__(self.pointer(value).value or 0, value, kind.finish)


def allocate(like: Array, dtype: DType, shape: Shape, order: Shape | None = None) -> New:
    """A new array of the kind of `like`, its axes lying in memory in `order` (None: as they are)."""
    return New(like.kind, dtype, shape, order)


def statistics(like: Array, shape: Shape, order: Shape | None = None) -> Result:
    """A new array for statistics of `like`."""
    return allocate(like, like.statistics_dtype, shape, order)


def given(out: Any, name: str, dtype: DType, *shapes: Shape) -> Given:
    """The caller's own output, the argument `name`.

    Raises TypeError or ValueError, naming it, if it has another dtype, none of `shapes`, or is read-only.
    """
    memory = describe(out, name)
    memory.require_dtype(dtype)
    memory.require_shape(*shapes)
    memory.require_writable()
    return Given(memory, out)


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


def kept_order(arrangement: Arrangement, kept: Sequence[int]) -> Shape:
    """In which order the axes `kept` lie in memory, counted among themselves."""
    return tuple(kept.index(axis) for axis in arrangement.order if axis in kept)


def kept_statistics(x: Array, arrangement: Arrangement, kept: Sequence[int]) -> Result:
    """A new array with one statistic per index over the axes `kept`, lying in memory as they do."""
    return statistics(x, tuple(x.shape[axis] for axis in kept), kept_order(arrangement, kept))


def fit(x: Array, choices: Sequence[Arrangement]) -> tuple[Arrangement, Array, int]:
    """Which of `choices` fits `x`, `x`, and its stride. If none does, a copy in the order of the first."""
    for arrangement in choices:
        stride = run_stride(x, arrangement)
        if stride is not None:
            return arrangement, x, stride
    return choices[0], arranged_copy(x, choices[0].order), 0


def place(x: Array, out: Any, arrange: Arrange, name: str = "out") -> Placement:
    """Find an arrangement that fits both `x` and `out`, the argument `name`; allocate the output without one.

    `arrange` lists the arrangements that the function at hand can use for an array, best first; for a
    contiguous array that is the one with its axes as they are. `x` is copied if it fits none of them, or
    none that `out` fits. `out` is never replaced by a copy: raises ValueError, naming it, if it fits none.
    """
    choices = arrange(x)
    if out is None:
        if x.strides is None:
            return Placement(choices[0], x, 0, allocate(x, x.dtype, x.shape), 0)
        arrangement, x, x_stride = fit(x, choices)
        return Placement(arrangement, x, x_stride, allocate(x, x.dtype, x.shape, arrangement.order), 0)
    y = given(out, name, x.dtype, x.shape)
    if x.strides is None and y.memory.strides is None:
        return Placement(choices[0], x, 0, y, 0)
    strides = {choice: run_stride(y.memory, choice) for choice in (*choices, *arrange(y.memory))}
    fitting = [choice for choice, stride in strides.items() if stride is not None]
    if not fitting:
        raise ValueError(f"{name} is not contiguous, and its rows or samples are not at one stride")
    arrangement, x, x_stride = fit(x, fitting)
    return Placement(arrangement, x, x_stride, y, strides[arrangement] or 0)

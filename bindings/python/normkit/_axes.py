"""Axes: one of them, and subsets as the library's general functions take them."""

from __future__ import annotations

import ctypes
import math
from typing import Any, Sequence

from ._arrays import Array, Shape
from ._scalars import integer, integers


def axis_of(array: Array, axis: int, name: str) -> int:
    """`axis` counted from the start. Raises ValueError, naming the argument `name`, if `array` lacks it."""
    rank = len(array.shape)
    axis = integer(axis, name)
    if not -rank <= axis < rank:
        raise ValueError(f"{name} is {axis}; {array.name} has {rank} axes")
    return axis % rank


def around(shape: Shape, order: Shape, axis: int | None) -> tuple[int, int, int]:
    """Elements before, along and after `axis`, in memory order; the whole tensor is one slice for None."""
    if axis is None:
        return 1, 1, math.prod(shape)
    place = order.index(axis)
    return (
        math.prod(shape[i] for i in order[:place]),
        shape[axis],
        math.prod(shape[i] for i in order[place + 1 :]),
    )


def axis_list(x: Array, axes: int | Sequence[int] | None) -> list[int]:
    """`axes` counted from the start, in ascending order; all axes of `x` for None.

    Raises ValueError, naming the argument, for an axis that `x` lacks or that is given twice.
    """
    rank = len(x.shape)
    if axes is None:
        return list(range(rank))
    wanted = integers(axes, "axes")
    if any(not -rank <= axis < rank for axis in wanted):
        raise ValueError(f"axes is {axes}; {x.name} has {rank} axes")
    listed = sorted(axis % rank for axis in wanted)
    if len(set(listed)) < len(listed):
        raise ValueError(f"axes is {axes}; an axis is given twice")
    return listed


def reduction(shape: Shape, order: Shape, axes: Sequence[int]) -> tuple[int, Any, int, Any]:
    """The library's arguments rank, shape, axis_count and axes, to reduce `axes` of a tensor of `shape`
    whose axes lie in memory in `order`."""
    stored = [shape[axis] for axis in order]
    reduced = [order.index(axis) for axis in axes]
    return (
        len(stored),
        (ctypes.c_int64 * len(stored))(*stored),
        len(reduced),
        (ctypes.c_int32 * len(reduced))(*reduced),
    )

"""Subsets of axes, as the library's general functions take them."""

from __future__ import annotations

import ctypes
from typing import Any, Sequence

from ._arrays import Array, Shape
from ._scalars import integers


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

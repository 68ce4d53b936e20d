"""Tensors with a channel axis: [N, C, spatial...] and [N, spatial..., C]."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ._abi import Layout
from ._arrays import Array
from ._placement import Arrangement, Placement, by_stride, place
from ._scalars import integer


def channel_axis_of(x: Array, channel_axis: int) -> int:
    """The channel axis of `x`, counted from the start.

    Raises ValueError, naming the argument, unless it is 1 or the last one.
    """
    rank = len(x.shape)
    if rank < 2:
        raise ValueError(f"{x.name} has shape {x.shape}; it needs a sample axis and a channel axis")
    channel_axis = integer(channel_axis, "channel_axis")
    axis = channel_axis + rank if channel_axis < 0 else channel_axis
    if axis not in (1, rank - 1):
        raise ValueError(f"channel_axis is {channel_axis}; it must be 1 (channels first) or -1 (channels last)")
    return axis


class ChannelCall(NamedTuple):
    """A placed tensor. `sizes` are the library's layout, samples, channels and positions."""

    at: Placement
    sizes: tuple[Layout, int, int, int]


def place_channels(x: Array, out: Any, channel_axis: int) -> ChannelCall:
    """Place `x` and `out` channels first or channels last, as their memory is, whatever their axes say."""
    channel = channel_axis_of(x, channel_axis)
    spatial = [axis for axis in range(1, len(x.shape)) if axis != channel]

    def arrange(array: Array) -> list[Arrangement]:
        positions = by_stride(array, spatial)
        first = Arrangement((0, channel, *positions), 1, Layout.CHANNELS_FIRST)
        last = Arrangement((0, *positions, channel), len(x.shape) - 1, Layout.CHANNELS_LAST)
        return [first, last] if channel == 1 else [last, first]

    at = place(x, out, arrange)
    positions = math.prod(x.shape[axis] for axis in spatial)
    return ChannelCall(at, (at.arrangement.layout, x.shape[0], x.shape[channel], positions))

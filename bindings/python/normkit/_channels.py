"""Tensors with a channel axis: [N, C, spatial...] and [N, spatial..., C]."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, Sequence

from ._abi import Layout
from ._arrays import Array
from ._placement import Arrange, Arrangement, Placement, by_stride, place
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


def by_channel(x: Array, channel_axis: int) -> Arrange:
    """Channels first or channels last, as the memory is, whatever the axes say: for arrays like `x`."""
    return _by_channel(len(x.shape), channel_axis_of(x, channel_axis))


@functools.cache
def _by_channel(rank: int, channel: int) -> Arrange:
    spatial = [axis for axis in range(1, rank) if axis != channel]

    def forms(positions: Sequence[int]) -> list[Arrangement]:
        first = Arrangement((0, channel, *positions), 1, Layout.CHANNELS_FIRST)
        last = Arrangement((0, *positions, channel), rank - 1, Layout.CHANNELS_LAST)
        return [first, last] if channel == 1 else [last, first]

    contiguous = forms(spatial)
    return lambda array: contiguous if array.strides is None else forms(by_stride(array, spatial))


# A name for what Python looks up slowly.
_FIRST = Layout.CHANNELS_FIRST

# The library's layout, samples, channels and positions.
Sizes = tuple[Layout, int, int, int]


def channel_sizes(x: Array, arrangement: Arrangement) -> Sizes:
    """The sizes of `x`, seen in one of the forms of `by_channel`."""
    order, _, layout = arrangement
    samples, *others = [x.shape[axis] for axis in order]
    channels = others.pop(0 if layout is _FIRST else -1)
    return layout, samples, channels, math.prod(others)


class ChannelCall(NamedTuple):
    """A placed tensor and its sizes."""

    at: Placement
    sizes: Sizes


def place_channels(x: Array, out: Any, channel_axis: int) -> ChannelCall:
    """Place `x` and `out` by channel."""
    at = place(x, out, by_channel(x, channel_axis))
    return ChannelCall(at, channel_sizes(x, at.arrangement))

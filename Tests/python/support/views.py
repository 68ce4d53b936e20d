"""How a method sees its tensor: from the scalar arguments of a call to extents and axes."""

import math
from dataclasses import dataclass

from .header import constants


@dataclass(frozen=True)
class View:
    """How a method sees its tensor.

    shape: extents in memory order, last axis fastest.
    reduced: axes that S runs over (for elementwise methods: the elements that share their parameters).
    channels: axes that gamma, beta and their like run over.
    run: elements of one contiguous run, from which row strides count; the whole tensor where there are no strides.
    """

    shape: tuple[int, ...]
    reduced: tuple[int, ...]
    channels: tuple[int, ...]
    run: int

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis not in self.reduced)

    @property
    def kept_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.kept)

    @property
    def channel_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.channels)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def set_size(self) -> int:
        """Number of elements of one S."""
        return math.prod(self.shape[axis] for axis in self.reduced)

    @property
    def crosses_runs(self) -> bool:
        """Whether S has elements of several contiguous runs, and so lies on both sides of gaps between them."""
        return any(math.prod(self.shape[axis + 1 :]) >= self.run for axis in self.reduced)


def rows(s: dict) -> View:
    return View((s["rows"], s["size"]), (1,), (1,), s["size"])


def channels_first_layer(s: dict) -> View:
    return View((s["samples"], s["channels"], s["positions"]), (1,), (1,), s["channels"] * s["positions"])


def _layout(s: dict, first: tuple[int, ...], last: tuple[int, ...]) -> View:
    """Axes `first` of [samples, channels, positions] or `last` of [samples, positions, channels]."""
    n, c, p = s["samples"], s["channels"], s["positions"]
    if s["layout"] == constants()["CHANNELS_FIRST"]:
        return View((n, c, p), first, (1,), c * p)
    return View((n, p, c), last, (2,), c)


def batch(s: dict) -> View:
    return _layout(s, (0, 2), (0, 1))


def instance(s: dict) -> View:
    return _layout(s, (2,), (1,))


def group(s: dict) -> View:
    n, c, p, g = s["samples"], s["channels"], s["positions"], s["groups"]
    if s["layout"] == constants()["CHANNELS_FIRST"]:
        return View((n, g, c // g, p), (2, 3), (1, 2), c * p)
    return View((n, p, g, c // g), (1, 3), (2, 3), c)


def slices(s: dict) -> View:
    shape = (s["outer"], s["slices"], s["inner"])
    return View(shape, (0, 2), (1,), math.prod(shape))


def outer_channels_inner(s: dict) -> View:
    shape = (s["outer"], s["channels"], s["inner"])
    return View(shape, (0, 2), (1,), math.prod(shape))


def any_axes(s: dict) -> View:
    axes = tuple(sorted(axis % s["rank"] for axis in s["axes"]))
    return View(s["shape"], axes, (), math.prod(s["shape"]))


def whole(s: dict) -> View:
    return View((s["size"],), (0,), (), s["size"])


def channels_alone(s: dict) -> View:
    """No data, but something for each channel."""
    return View((s["channels"],), (), (0,), s["channels"])

"""Every function of the header that works on data, described once: what S is, and the formula.

To add a method, add one entry to METHODS. Its arguments, their types and which of them are outputs come from the
prototype in the header; arguments of the same name mean the same in every function.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from . import reference
from .header import Prototype, constants, prototypes


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


def _rows(s: dict) -> View:
    return View((s["rows"], s["size"]), (1,), (1,), s["size"])


def _channels_first_layer(s: dict) -> View:
    return View((s["samples"], s["channels"], s["positions"]), (1,), (1,), s["channels"] * s["positions"])


def _layout(s: dict, first: tuple[int, ...], last: tuple[int, ...]) -> View:
    """Axes `first` of [samples, channels, positions] or `last` of [samples, positions, channels]."""
    n, c, p = s["samples"], s["channels"], s["positions"]
    if s["layout"] == constants()["CHANNELS_FIRST"]:
        return View((n, c, p), first, (1,), c * p)
    return View((n, p, c), last, (2,), c)


def _batch(s: dict) -> View:
    return _layout(s, (0, 2), (0, 1))


def _instance(s: dict) -> View:
    return _layout(s, (2,), (1,))


def _group(s: dict) -> View:
    n, c, p, g = s["samples"], s["channels"], s["positions"], s["groups"]
    if s["layout"] == constants()["CHANNELS_FIRST"]:
        return View((n, g, c // g, p), (2, 3), (1, 2), c * p)
    return View((n, p, g, c // g), (1, 3), (2, 3), c)


def _slices(s: dict) -> View:
    shape = (s["outer"], s["slices"], s["inner"])
    return View(shape, (0, 2), (1,), math.prod(shape))


def _outer_channels_inner(s: dict) -> View:
    shape = (s["outer"], s["channels"], s["inner"])
    return View(shape, (0, 2), (1,), math.prod(shape))


def _any_axes(s: dict) -> View:
    axes = tuple(sorted(axis % s["rank"] for axis in s["axes"]))
    return View(s["shape"], axes, (), math.prod(s["shape"]))


@dataclass(frozen=True)
class Method:
    """One function of the header.

    view: from the scalar arguments to the View.
    formula: from a Problem to the expected outputs, by argument name.
    elementwise: no S: each output element depends on one input element alone.
    """

    name: str
    view: Callable[[dict], View]
    formula: Callable
    elementwise: bool = False

    @cached_property
    def prototype(self) -> Prototype:
        return prototypes()[self.name]

    @property
    def data(self) -> str:
        """Name of the tensor that is normalized."""
        return "v" if "v" in self.prototype.names() else "x"

    @property
    def result(self) -> str | None:
        """Name of the normalized tensor; None if there are statistics only."""
        return next((name for name in ("y", "w") if name in self.prototype.names()), None)

    @property
    def statistics(self) -> list[str]:
        """Names of the optional outputs with one value per S."""
        return [name for name in self.prototype.outputs() if name != self.result and not is_running(name)]

    @property
    def subtracts_mean(self) -> bool:
        return self.formula is reference.standardize

    @property
    def has_strides(self) -> bool:
        return "x_stride" in self.prototype.names()

    def __str__(self) -> str:
        return self.name.removeprefix("normkit_")


def is_running(name: str) -> bool:
    """Whether an argument is updated in place."""
    return name.startswith("running_") and name != "running_variance_rule"


METHODS = (
    Method("normkit_layer_norm", _rows, reference.standardize),
    Method("normkit_layer_norm_channels", _channels_first_layer, reference.standardize),
    Method("normkit_rms_norm", _rows, reference.rms),
    Method("normkit_batch_norm_inference", _batch, reference.inference, elementwise=True),
    Method("normkit_batch_norm_training", _batch, reference.standardize),
    Method("normkit_instance_norm", _instance, reference.standardize),
    Method("normkit_group_norm", _group, reference.standardize),
    Method("normkit_weight_norm", _slices, reference.weight),
    Method("normkit_normalize", _any_axes, reference.standardize),
    Method("normkit_lp_normalize", _any_axes, reference.lp),
    Method("normkit_moments", _any_axes, reference.moments),
    Method("normkit_scale_shift", _outer_channels_inner, reference.scale_shift, elementwise=True),
)


def method(name: str) -> Method:
    """The method of a function, named without its prefix."""
    return next(m for m in METHODS if str(m) == name)

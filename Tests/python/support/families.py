"""Families of data: what the elements of each S look like."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import gradients
from .dtypes import F16, F64, DType, rounded
from .methods import Method
from .views import View

_HUGE = {"F32": 1e25, "F64": 1e149, "F16": 8e3, "BF16": 1e25}
_TINY = {"F32": 1e-25, "F64": 1e-145, "F16": 1e-4, "BF16": 1e-25}


@dataclass(frozen=True)
class Family:
    """make(rng, view, dtype) gives values as f64, to be rounded to the storage type."""

    name: str
    make: Callable[[np.random.Generator, View, DType], np.ndarray]

    def draw(self, rng: np.random.Generator, view: View, dtype: DType) -> np.ndarray:
        return rounded(self.make(rng, view, dtype), dtype)

    def __str__(self) -> str:
        return self.name


def _normal(rng, view, dtype):
    return rng.standard_normal(view.shape)


def per_set(rng: np.random.Generator, view: View) -> np.ndarray:
    """One normal value per S, shaped to broadcast against the tensor."""
    return rng.standard_normal([1 if axis in view.reduced else n for axis, n in enumerate(view.shape)])


def _large_mean(rng, view, dtype):
    """Means of 10 to 10^6 standard deviations."""
    ratio = 10.0 ** rng.uniform(1, 6)
    scale = 100.0 / ratio if dtype.name == "F16" else 1.0
    return scale * (rng.standard_normal(view.shape) + ratio * np.sign(per_set(rng, view)))


def _constant(rng, view, dtype):
    return np.broadcast_to(1234 * per_set(rng, view), view.shape)


def _huge(rng, view, dtype):
    return _HUGE[dtype.name] * rng.standard_normal(view.shape)


def _tiny(rng, view, dtype):
    return _TINY[dtype.name] * rng.standard_normal(view.shape)


def _subnormal(rng, view, dtype):
    return dtype.smallest_normal * rng.uniform(-1, 1, view.shape)


def _wide(rng, view, dtype):
    """Magnitudes over several decades within one S."""
    return rng.standard_normal(view.shape) * 10.0 ** rng.uniform(-4, 4, view.shape)


def _zeros(rng, view, dtype):
    return np.zeros(view.shape)


NORMAL = Family("normal", _normal)
LARGE_MEAN = Family("large_mean", _large_mean)
CONSTANT = Family("constant", _constant)
HUGE = Family("huge", _huge)
TINY = Family("tiny", _tiny)
SUBNORMAL = Family("subnormal", _subnormal)
WIDE = Family("wide", _wide)
ZEROS = Family("zeros", _zeros)
_ALL = (NORMAL, LARGE_MEAN, CONSTANT, HUGE, TINY, SUBNORMAL, WIDE, ZEROS)


def families(method: Method, dtype: DType) -> tuple[Family, ...]:
    """All families of data for a function. Squares of subnormals are beyond f64, which has no wider type to hold them;
    backward, so may be the rstd of subnormals."""
    without = dtype == F64 or (method.is_backward or method.incoming) and dtype != F16
    return tuple(family for family in _ALL if not (family is SUBNORMAL and without))


def incoming(method: Method) -> tuple[Family, ...]:
    """All families of gradients that a backward function is given. Their product with x may be beyond f32, where x is
    not standardized."""
    return (NORMAL, LARGE_MEAN, WIDE, TINY, ZEROS) if method.formula is gradients.scale_shift else (
        NORMAL, LARGE_MEAN, WIDE, TINY, ZEROS, HUGE)

"""Exact results: formed from the stored inputs in f64, of which f32 and halves leave half of the digits unused.

Data are seen as [samples, groups, channels of a group, positions]; rows are samples with `size` channels and
one position, slices of weights samples with as many channels as they have elements.
"""

import math
from dataclasses import dataclass
from functools import partial

import ml_dtypes
import numpy as np

from .rows import DTYPES, Row

EPSILON = 1e-5
F32_EPSILON = float(np.finfo(np.float32).eps)

# Outputs that are as large as x; the others are parameters' gradients.
IS_DATA = ("y", "sum", "dx")

# The axes of S.
SETS = {
    "layer": (2,),
    "residual layer": (2,),
    "RMS": (2,),
    "layer over channels": (2,),
    "batch inference": (0, 3),
    "batch training": (0, 3),
    "instance": (3,),
    "group": (2, 3),
    "weight": (2,),
}


@dataclass
class Exact:
    """A result in the shape of the view, its unit without the factor of its type, the length of its sums."""

    value: np.ndarray
    magnitude: np.ndarray
    terms: int


@dataclass
class Statistics:
    """In f64, in the shape of the view. For weights, rstd is 1 / norm."""

    mean: np.ndarray
    variance: np.ndarray
    rstd: np.ndarray


def viewed(row: Row, values: np.ndarray) -> np.ndarray:
    """Data in memory order as the view, in f64."""
    samples, channels, positions = row.shape[0], row.shape[1], math.prod(row.shape[2:])
    values = values.astype(np.float64)
    if row.is_last:
        values = values.reshape(samples, positions, channels).swapaxes(1, 2)
    return values.reshape(samples, row.groups, channels // row.groups, positions)


def parameter(row: Row, values: np.ndarray) -> np.ndarray:
    """gamma or beta in f64, in a shape that broadcasts over the view."""
    shape = (-1, 1, 1, 1) if row.family == "weight" else (1, row.groups, -1, 1)
    return values.astype(np.float64).reshape(shape)


def statistics(row: Row, x: np.ndarray) -> Statistics:
    """Of x, which is viewed."""
    sets, is_centred = SETS[row.family], row.family not in ("RMS", "weight")
    mean = x.mean(sets, keepdims=True) * is_centred
    variance = np.square(x - mean).mean(sets, keepdims=True)
    if row.family == "weight":
        return Statistics(mean, variance, 1 / np.sqrt(np.square(x).sum(sets, keepdims=True)))
    return Statistics(mean, variance, 1 / np.sqrt(variance + EPSILON))


def forward(
    row: Row, x: np.ndarray, known: Statistics, gamma: np.ndarray, beta: np.ndarray
) -> dict[str, Exact]:
    y = (x - known.mean) * known.rstd * gamma
    magnitude = np.abs(y).max(SETS[row.family], keepdims=True)
    if row.has_beta:
        y += beta
        magnitude = np.maximum(magnitude, np.abs(y).max(SETS[row.family], keepdims=True))
    terms = 1 if row.family == "batch inference" else x.size // known.rstd.size
    return {"y": Exact(y, magnitude, terms)}


def stored(row: Row, x: np.ndarray) -> Exact:
    """What is only rounded."""
    return Exact(x, np.abs(x).max(SETS[row.family], keepdims=True), 1)


def backward(row: Row, x: np.ndarray, dy: np.ndarray, known: Statistics, gamma: np.ndarray) -> dict[str, Exact]:
    sets, is_weight = SETS[row.family], row.family == "weight"
    z, h = (x - known.mean) * known.rstd, dy * gamma
    # d(norm)/dv is v / norm: there a sum takes the place of the mean over S.
    average = partial(np.sum if is_weight else np.mean, axis=sets, keepdims=True)
    is_centred = row.family not in ("RMS", "weight")
    dx = known.rstd * (h - (average(h) if is_centred else 0) - z * average(h * z))
    exact = {"dx": Exact(dx, np.abs(known.rstd * h).max(sets, keepdims=True), x.size // known.rstd.size)}
    others = sets if is_weight else (0, 3)
    for name, terms in ("dgamma", dy * z), ("dbeta", dy):
        if name == "dgamma" or row.has_beta:
            total = terms.sum(others, keepdims=True)
            root = np.sqrt(np.square(terms).sum(others, keepdims=True))
            exact[name] = Exact(total, root, x.size // total.size)
    return exact


def error(row: Row, name: str, values: np.ndarray, exact: Exact) -> float:
    """The largest, in units in the last place of the row's type (y, dx) or of that of `values` (parameters)."""
    is_data = name in IS_DATA
    seen = viewed(row, values) if is_data else parameter(row, values)
    unit = epsilon(DTYPES[row.dtype] if is_data else values.dtype) * exact.magnitude
    return float(np.max(np.abs(seen - exact.value) / unit))


def epsilon(dtype: np.dtype) -> float:
    return float(ml_dtypes.finfo(dtype).eps)


def bound(row: Row, name: str, exact: Exact, dtype: np.dtype) -> float:
    """The largest error of an output of type `dtype`, in its units, of something that computes the same.

    Results may be rounded a few times in their own type. Sums, one term after another, have lost as many units
    as the root of the number of terms. y and dx come from sums in f32; PyTorch sums the gradients of parameters
    in the type of the data.
    """
    unit, summed = epsilon(dtype), F32_EPSILON if name in IS_DATA else epsilon(DTYPES[row.dtype])
    return 16 * max(1, summed / unit) + math.sqrt(exact.terms) * summed / unit

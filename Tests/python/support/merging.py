"""Reference of statistics that are merged, and of what is normalized by them."""

import numpy as np

from .dtypes import F64, exact
from .gradients import Gradient
from .reference import Expected, Tensor, centre, reciprocal, scale_and_shift


def merged(moments: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Moments of the elements of both, by Chan's formula. Arrays [..., 3]."""
    (n, mean, m2), (k, mean_k, m2_k) = np.moveaxis(moments, -1, 0), np.moveaxis(other, -1, 0)
    share, step = k * reciprocal(n + k), mean_k - mean
    return np.stack([n + k, mean + step * share, m2 + m2_k + step * step * n * share], axis=-1)


def _records(moments: np.ndarray, of_mean, of_m2) -> Expected:
    return Expected(moments, np.stack([moments[..., 0], of_mean, of_m2], axis=-1))


@np.errstate(all="ignore")
def accumulate(problem) -> dict[str, Expected]:
    """A mean is off by units of the standard deviation in the type of computation, and by its own rounding to f64.
    By as much is off the step between two means, whose square is a part of m2."""
    t = Tensor(problem)
    mean, _, variance = centre(t)
    mean, variance = t.per_set(mean), t.per_set(variance)
    n = t.view.set_size
    before = exact(problem.inputs["moments"])
    after = merged(before, np.stack([np.full_like(mean, n), mean, variance * n], axis=-1))
    ratio = F64.epsilon / problem.dtype.statistics.epsilon
    of_mean = np.maximum(np.sqrt(variance), ratio * np.maximum(np.abs(mean), np.abs(before[..., 1])))
    step, weight = np.abs(mean - before[..., 1]), before[..., 0] * n / after[..., 0]
    return {"moments": _records(after, of_mean, np.maximum(after[..., 2], 2 * step * weight * of_mean))}


@np.errstate(all="ignore")
def merge(problem) -> dict[str, Expected]:
    moments, other = exact(problem.inputs["moments"]), exact(problem.inputs["other"])
    after = merged(moments, other)
    of_mean = np.maximum(np.abs(moments[..., 1]), np.abs(other[..., 1]))
    return {"moments": _records(after, of_mean, after[..., 2])}


@np.errstate(all="ignore")
def finish(problem) -> dict[str, Expected]:
    count, mean, m2 = np.moveaxis(exact(problem.inputs["moments"]), -1, 0)
    rstd = reciprocal(np.sqrt(m2 / count + np.longdouble(problem.scalars["epsilon"])))
    variance = m2 / (count - problem.scalars["correction"])
    return {name: Expected(values, np.abs(values))
            for name, values in (("mean", mean), ("variance", variance), ("rstd", rstd))}


def _standardized(t: Tensor):
    """z by given moments, their rstd, and their count."""
    count, mean, m2 = t.record("moments")
    rstd = reciprocal(np.sqrt(np.where(count > 0, m2 * reciprocal(count), 0) + t.epsilon))
    return (t.x - mean) * rstd, rstd, count


@np.errstate(all="ignore")
def synchronized(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    z, _, _ = _standardized(t)
    return {"y": scale_and_shift(t, z, t.parameter("gamma", 1), t.parameter("beta", 0))}


@np.errstate(all="ignore")
def gradient_sums(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    z, _, _ = _standardized(t)
    parts = t.summed(t.dy), t.summed(t.dy * z)
    return {"sums": Expected(np.stack([part.value for part in parts], axis=-1),
                             np.stack([part.magnitude for part in parts], axis=-1))}


@np.errstate(all="ignore")
def synchronized_backward(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    z, rstd, count = _standardized(t)
    factor = rstd * t.parameter("gamma", 1)
    of_mean, of_z = (total * reciprocal(count) for total in t.record("sums"))
    terms = factor * t.dy, factor * of_mean, factor * z * of_z
    return {"dx": t.result(terms[0] - terms[1] - terms[2], *terms)}

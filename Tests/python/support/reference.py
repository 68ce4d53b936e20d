"""What each function should give, computed in np.longdouble from the stored inputs.

A formula takes a Problem and returns its outputs by argument name. np.longdouble (64 bits of mantissa or more)
is exact enough for f64 too, since means are taken in two steps: of x less its first element, then of the rest.
"""

from dataclasses import dataclass

import numpy as np

from .dtypes import exact
from .header import constants


@dataclass(frozen=True)
class Expected:
    """An output and the magnitude, of the same shape, that its error is measured against."""

    value: np.ndarray
    magnitude: np.ndarray


class Tensor:
    """The data of a problem as the formulas need it: exact, with parameters that broadcast against it."""

    def __init__(self, problem):
        self.problem = problem
        self.view = problem.view
        x = problem.inputs[problem.method.data]
        self.x = np.zeros(self.view.shape, np.longdouble) if x is None else exact(x)
        self.epsilon = np.longdouble(problem.scalars.get("epsilon", 0))

    def parameter(self, name: str, absent: float):
        """A parameter of one value per channel, or `absent` where it is NULL or unknown to the function."""
        values = self.problem.inputs.get(name)
        return np.longdouble(absent) if values is None else exact(values).reshape(self._channels_with_ones())

    def record(self, name: str):
        """The members of structs, one per channel, as parameters."""
        members = np.moveaxis(exact(self.problem.inputs[name]), -1, 0)
        return [values.reshape(self._channels_with_ones()) for values in members]

    def per_channel(self, values):
        """From values that broadcast against the tensor to one per channel."""
        return np.broadcast_to(values, self._channels_with_ones()).reshape(self.view.channel_shape)

    def _channels_with_ones(self):
        return [n if axis in self.view.channels else 1 for axis, n in enumerate(self.view.shape)]

    def kept(self, name: str):
        """An input of one value per S, with axes of one element; 0 where it is NULL."""
        values = self.problem.inputs[name]
        return np.longdouble(0) if values is None else exact(values).reshape(self._kept_with_ones())

    def over_sets(self, reduce, values):
        """reduce(values) over each S, kept as axes of one element."""
        return reduce(values, axis=self.view.reduced, keepdims=True)

    def per_set(self, values):
        """From one value per S with axes of one element to the shape of a statistic."""
        return np.broadcast_to(values, self._kept_with_ones()).reshape(self.view.kept_shape)

    def _kept_with_ones(self):
        return [1 if axis in self.view.reduced else n for axis, n in enumerate(self.view.shape)]

    def result(self, y, *terms) -> Expected:
        """An output as large as x. Its magnitude is the largest of y and the terms it is the sum of, over S."""
        largest = np.abs(y)
        for term in terms:
            largest = np.maximum(largest, np.abs(term))
        magnitude = self.over_sets(np.max, np.nan_to_num(largest, nan=0.0, posinf=0.0))
        if not self.problem.method.elementwise:
            y = np.where(self.over_sets(np.all, np.isfinite(self.x)), y, np.nan)
        return Expected(y, np.broadcast_to(magnitude, y.shape))

    def statistic(self, values, magnitude=None) -> Expected:
        values = self.per_set(values)
        return Expected(values, np.abs(values) if magnitude is None else self.per_set(magnitude))


def centre(t: Tensor):
    """Mean of each S, deviations from it, and the mean of their squares."""
    first = tuple(slice(0, 1) if axis in t.view.reduced else slice(None) for axis in range(t.x.ndim))
    mean, rest = t.x[first], t.x - t.x[first]
    for _ in range(2):
        step = t.over_sets(np.mean, rest)
        mean, rest = mean + step, rest - step
    return mean, rest, t.over_sets(np.mean, rest * rest)


def reciprocal(values):
    """1 / values, and 0 where a value is 0, as the header defines it."""
    return np.where(values == 0, 0, 1 / np.where(values == 0, 1, values))


def scale_and_shift(t: Tensor, z, gamma, beta) -> Expected:
    return t.result(z * gamma + beta, z * gamma, beta)


@np.errstate(all="ignore")
def standardize(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    mean, centred, variance = centre(t)
    if problem.scalars.get("epsilon_rule") == constants()["EPSILON_OUTSIDE_SQRT"]:
        rstd = reciprocal(np.sqrt(variance) + t.epsilon)
    else:
        rstd = reciprocal(np.sqrt(variance + t.epsilon))
    gamma, beta, z = t.parameter("gamma", 1), t.parameter("beta", 0), centred * rstd
    # The mean is known to units of the standard deviation: an element near to it is off by as much as one at that
    # distance, and gamma may be larger there than anywhere else in S.
    return {
        "y": t.result(z * gamma + beta, z * gamma, beta, np.sqrt(variance) * rstd * gamma),
        "mean": t.statistic(mean, np.maximum(np.abs(mean), np.sqrt(variance))),
        "rstd": t.statistic(rstd),
    } | _running(t, mean, variance)


def _running(t: Tensor, mean, variance) -> dict[str, Expected]:
    """Running statistics after the update; nothing where the problem has none."""
    if t.problem.inputs.get("running_mean") is None:
        return {}
    n = t.view.set_size
    momentum = np.longdouble(t.problem.scalars["momentum"])
    if t.problem.scalars["running_variance_rule"] == constants()["RUNNING_UNBIASED"]:
        variance = variance * n / (n - 1)
    expected = {}
    for name, batch in (("running_mean", mean), ("running_variance", variance)):
        old = (1 - momentum) * exact(t.problem.inputs[name])
        new = momentum * t.per_set(batch)
        # The batch's mean may itself be the small difference of large elements.
        scale = momentum * t.per_set(np.sqrt(variance)) if name == "running_mean" else 0
        expected[name] = Expected(old + new, np.maximum(np.maximum(np.abs(old), np.abs(new)), scale))
    return expected


@np.errstate(all="ignore")
def rms(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    rstd = reciprocal(np.sqrt(t.over_sets(np.mean, t.x * t.x) + t.epsilon))
    gamma = t.parameter("gamma", 1)
    if problem.scalars["one_plus_gamma"] and problem.inputs["gamma"] is not None:
        gamma = 1 + gamma
    return {"y": scale_and_shift(t, t.x * rstd, gamma, t.parameter("beta", 0)), "rstd": t.statistic(rstd)}


@np.errstate(all="ignore")
def inference(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    mean, variance = t.parameter("mean", 0), t.parameter("variance", 1)
    z = (t.x - mean) * reciprocal(np.sqrt(variance + t.epsilon))
    return {"y": scale_and_shift(t, z, t.parameter("gamma", 1), t.parameter("beta", 0))}


@np.errstate(all="ignore")
def scale_shift(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    return {"y": scale_and_shift(t, t.x, t.parameter("scale", 1), t.parameter("shift", 0))}


def norm_of(t: Tensor):
    size = np.abs(t.x)
    kind = t.problem.scalars["norm"]
    if kind == constants()["MAX"]:
        return t.over_sets(lambda v, **axes: np.max(v, initial=0, **axes), size)
    if kind == constants()["L1"]:
        return t.over_sets(np.sum, size)
    return np.sqrt(t.over_sets(np.sum, size * size))


@np.errstate(all="ignore")
def weight(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    norm = norm_of(t)
    divisor = norm + t.epsilon
    w = np.where(divisor == 0, 0, t.x * t.parameter("g", 1) * reciprocal(divisor))
    return {"w": t.result(w), "norms": t.statistic(norm)}


@np.errstate(all="ignore")
def lp(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    norm = norm_of(t)
    y = t.x * reciprocal(np.maximum(norm, t.epsilon))
    return {"y": t.result(y), "norms": t.statistic(norm)}


@np.errstate(all="ignore")
def moments(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    mean, _, variance = centre(t)
    n = t.view.set_size
    return {
        "mean": t.statistic(mean, np.maximum(np.abs(mean), np.sqrt(variance))),
        "variance": t.statistic(variance * n / (n - problem.scalars["correction"])),
    }

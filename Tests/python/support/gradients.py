"""Gradients of the reference: what each backward function should give, from the formulas that the header states."""

import numpy as np

from .dtypes import exact
from .header import constants
from .reference import Expected, Tensor, centre, norm_of, reciprocal


class Gradient(Tensor):
    """The data of a backward problem, with the gradient of the forward function's output."""

    def __init__(self, problem):
        super().__init__(problem)
        self.dy = exact(problem.inputs[problem.method.incoming])

    def parameter_gradients(self, z, least_z=0) -> dict[str, Expected]:
        """Sums of dy * z and of dy over the elements of each parameter, as far as the function has them. least_z: the
        size that z counts as at least, because of the error of what was subtracted."""
        size = np.abs(self.dy) * np.maximum(np.abs(z), least_z)
        sums = self.summed(self.dy * z, size), self.summed(self.dy)
        names = self.problem.method.parameter_gradients
        return {name: added(self.problem, name, part) for name, part in zip(names, sums, strict=False)}

    def summed(self, summands, size=None) -> Expected:
        """A sum for each channel. size: what a summand's own error is measured against, the smallest normal number of
        the type of computation at least."""
        axes = tuple(axis for axis in range(summands.ndim) if axis not in self.view.channels)
        least = self.problem.dtype.statistics.smallest_normal
        size = np.abs(summands if size is None else size)
        return summed(summands, axes, np.where(size == 0, 0, np.maximum(size, least)))


def summed(summands, axes: tuple[int, ...], size=None) -> Expected:
    """A sum over axes. Its error is measured against the root of the sum of squares, and against the largest sum on
    the way, because each addition rounds that."""
    size = summands if size is None else size
    total = np.sum(summands, axis=axes)
    in_order = np.moveaxis(summands, axes, range(len(axes))).reshape(-1, *total.shape)
    on_the_way = np.max(np.abs(np.cumsum(in_order, axis=0)), axis=0, initial=0)
    return Expected(total, np.maximum(np.sqrt(np.sum(size * size, axis=axes)), on_the_way))


def added(problem, name: str, gradient: Expected) -> Expected:
    """A gradient that is added to what its output holds, if it is."""
    before = problem.inputs.get(name)
    if before is None:
        return gradient
    before = exact(before)
    value = before + gradient.value
    return Expected(value, np.maximum(np.maximum(gradient.magnitude, np.abs(before)), np.abs(value)))


@np.errstate(all="ignore")
def saved(problem) -> dict[str, np.ndarray]:
    """What the forward function has saved, by the names of the inputs of the backward one."""
    t, names = Tensor(problem), problem.method.saved
    if "norms" in names:
        return {"norms": t.per_set(norm_of(t))}
    mean, _, variance = centre(t) if "mean" in names else (0, None, t.over_sets(np.mean, t.x * t.x))
    rstd = _rstd(t, variance)
    return {name: t.per_set(values) for name, values in (("mean", mean), ("rstd", rstd)) if name in names}


def _rstd(t: Tensor, variance):
    if t.problem.scalars.get("epsilon_rule") == constants()["EPSILON_OUTSIDE_SQRT"]:
        return reciprocal(np.sqrt(variance) + t.epsilon)
    return reciprocal(np.sqrt(variance + t.epsilon))


@np.errstate(all="ignore")
def standardize(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    mean, centred, variance = centre(t)
    deviation, rstd = np.sqrt(variance), _rstd(t, variance)
    outside = problem.scalars.get("epsilon_rule") == constants()["EPSILON_OUTSIDE_SQRT"]
    # Outside of the root, rstd changes with the deviation, whose derivative is centred / (n * deviation).
    share = (deviation + t.epsilon) * reciprocal(deviation) if outside else 1
    z, h = centred * rstd, t.dy * t.parameter("gamma", 1)
    slope = share * t.over_sets(np.mean, h * z)
    dx = rstd * (h - t.over_sets(np.mean, h) - z * slope)
    return {"dx": t.result(dx, rstd * h)} | t.parameter_gradients(z, deviation * rstd)


@np.errstate(all="ignore")
def rms(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    rstd = _rstd(t, t.over_sets(np.mean, t.x * t.x))
    gamma = t.parameter("gamma", 1)
    if problem.scalars["one_plus_gamma"] and problem.inputs["gamma"] is not None:
        gamma = 1 + gamma
    z, h = t.x * rstd, t.dy * gamma
    dx = rstd * (h - z * t.over_sets(np.mean, h * z))
    return {"dx": t.result(dx, rstd * h)} | t.parameter_gradients(z)


@np.errstate(all="ignore")
def inference(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    rstd = reciprocal(np.sqrt(t.parameter("variance", 1) + t.epsilon))
    dx = rstd * t.parameter("gamma", 1) * t.dy
    return {"dx": Expected(dx, np.abs(dx))} | t.parameter_gradients((t.x - t.parameter("mean", 0)) * rstd)


@np.errstate(all="ignore")
def scale_shift(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    dx = t.dy * t.parameter("scale", 1)
    return {"dx": Expected(dx, np.abs(dx))} | t.parameter_gradients(t.x)


def _change_of_norm(t: Gradient, norm):
    """d(norm)/dv of every element."""
    kind = t.problem.scalars["norm"]
    if kind == constants()["L2"]:
        return t.x * reciprocal(norm)
    if kind == constants()["L1"]:
        return np.sign(t.x)
    largest = np.abs(t.x) == norm
    return np.sign(t.x) * largest / t.over_sets(np.sum, largest)


def _divided(t: Gradient, norm, inverse, h, z, changes=True) -> Expected:
    """dx of what was divided by a norm. changes: where the divisor changes with the elements. With the largest of them
    goes all of a sum over S, whose error may be larger than that of any element."""
    slope = summed(h * z, t.view.reduced)
    total, size = (np.where(changes, np.expand_dims(part, t.view.reduced), 0)
                   for part in (slope.value, slope.magnitude))
    direction = _change_of_norm(t, norm)
    return t.result(inverse * (h - total * direction), inverse * h, inverse * size * direction)


@np.errstate(all="ignore")
def weight(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    norm = norm_of(t)
    inverse = reciprocal(norm + t.epsilon)
    z, h = t.x * inverse, t.dy * t.parameter("g", 1)
    return {"dv": _divided(t, norm, inverse, h, z)} | t.parameter_gradients(z)


@np.errstate(all="ignore")
def lp(problem) -> dict[str, Expected]:
    t = Gradient(problem)
    norm = norm_of(t)
    inverse = reciprocal(np.maximum(norm, t.epsilon))
    return {"dx": _divided(t, norm, inverse, t.dy, t.x * inverse, norm >= t.epsilon)}


@np.errstate(all="ignore")
def moments(problem) -> dict[str, Expected]:
    t = Tensor(problem)
    _, centred, _ = centre(t)
    n = t.view.set_size
    of_mean = t.kept("dmean") / n + np.zeros_like(centred)
    of_variance = t.kept("dvariance") * 2 * centred / (n - problem.scalars["correction"])
    return {"dx": t.result(of_mean + of_variance, of_mean, of_variance)}

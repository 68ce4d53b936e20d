"""What a plan should give, and how far it may be off: the reference of the function, with the steps around it.

Sums before the normalization are formed in the type of computation, as a caller would form them, and rounded where they
are stored: the reference rounds them as the library does, since what a normalization makes of a rounded sum may be far
from what it makes of an exact one. From there on it is exact, and what each step rounds is counted into a bound.
"""

from dataclasses import dataclass, replace

import numpy as np

from .activations import activate, steepness
from .dtypes import DType, exact, rounded
from .execute import Run
from .limits import limit
from .plans import Fused, execute_plan
from .problem import Problem
from .reference import Expected, Tensor, centre, reciprocal

# Units in the last place that an activation may be off, and half a one for the reference.
_ACTIVATION = 2.5


@dataclass(frozen=True)
class Bounded:
    """A result and how far it may be off, both in np.longdouble."""

    value: np.ndarray
    bound: np.ndarray

    def failures(self, found: np.ndarray, dtype: DType) -> np.ndarray:
        """Which elements of `found`, stored as `dtype`, are too far off."""
        actual = exact(found)
        with np.errstate(invalid="ignore"):
            near = np.abs(actual - self.value) <= self.bound
            largest = np.longdouble(dtype.largest) * (1 - dtype.epsilon) - self.bound
            overflowed = np.isinf(actual) & (actual * self.value > 0) & (np.abs(self.value) >= largest)
        return ~(near | overflowed | (actual == self.value) | np.isnan(actual) & np.isnan(self.value))


@np.errstate(all="ignore")
def added(fused: Fused) -> np.ndarray:
    """x with what is added to it, in the type of computation; rounded to that of x where it is stored."""
    wide = fused.problem.dtype.statistics.numpy
    total = fused.given["x"].astype(wide)
    if fused.has("ADD_RESIDUAL"):
        total = total + fused.given["residual"].astype(wide)
    if fused.has("ADD_BIAS"):
        bias = Tensor(fused.problem.with_inputs(bias=fused.given["bias"])).parameter("bias", 0)
        total = total + bias.astype(wide)
    return rounded(total, fused.problem.dtype) if fused.has("STORE_SUM") else total


@np.errstate(all="ignore")
def expected(fused: Fused) -> dict[str, Bounded]:
    """y and the statistics, of a method that has fusions."""
    before, slope = fused.choices.get("activation_before", 0), fused.choices.get("slope", 0.0)
    kind = fused.problem.dtype.statistics
    # Rounded to the type of computation, whose underflow a normalization may magnify.
    data = rounded(activate(before, exact(added(fused)), slope), kind)
    # The same problem of what is normalized, with results in the type of computation.
    problem = replace(fused.problem, dtype=kind).with_inputs(x=data)
    moved = _moved(problem) if before else {}
    found = {name: _measured(problem, name, values, moved.get(name, 0)) for name, values in problem.expected.items()}
    return found | {"y": _stored(fused, _after(fused, found["y"]))}


def _measured(problem: Problem, name: str, values: Expected, moved: np.ndarray) -> Bounded:
    """With the limit of the function that is planned. moved: by how much what came before may have moved it."""
    epsilon = np.longdouble(problem.dtype.epsilon)
    return Bounded(values.value, epsilon * (limit(problem, name) * values.magnitude + moved)
                   + np.longdouble(problem.dtype.smallest_normal) * epsilon)


def _moved(problem: Problem) -> dict[str, np.ndarray]:
    """By how many epsilons each output may move when every element does, as far as an activation may be off."""
    t = Tensor(problem)
    gamma = np.abs(t.parameter("gamma", 1)) + problem.scalars.get("one_plus_gamma", 0)
    if problem.method.elementwise:
        rstd = reciprocal(np.sqrt(t.parameter("variance", 1) + t.epsilon))
        return {"y": _ACTIVATION * np.abs(t.x) * rstd * gamma}
    if problem.method.subtracts_mean:
        _, deviation, variance = centre(t)
    else:
        deviation, variance = t.x, t.over_sets(np.mean, t.x * t.x)
    rstd = reciprocal(np.sqrt(variance + t.epsilon))
    largest = t.over_sets(np.max, np.abs(t.x))
    step = _ACTIVATION * largest * rstd
    # Without an epsilon, sets of numbers near to underflow are not normalized by any number that is known.
    step = np.where((t.epsilon == 0) & (largest < problem.dtype.smallest_normal / problem.dtype.epsilon), np.inf, step)
    # The element itself, the mean, and the deviation that all of them are divided by.
    y = step * (2 + np.abs(deviation) * rstd) * gamma
    moved = {"y": y, "mean": t.per_set(_ACTIVATION * largest), "rstd": t.per_set(step * rstd)}
    return {name: np.where(np.isnan(values), np.inf, values) for name, values in moved.items()}


def _after(fused: Fused, n: Bounded) -> Bounded:
    """What follows the normalization: scale and shift of a sample, an activation, a residual."""
    epsilon = np.longdouble(fused.problem.dtype.statistics.epsilon)
    value, bound = n.value, n.bound
    if fused.has("SCALE_SHIFT_SAMPLES"):
        scale, shift = (_per_sample(fused, name) for name in ("sample_scale", "sample_shift"))
        scale = 1 if scale is None else scale + fused.choices.get("one_plus_sample_scale", 0)
        product, shift = value * scale, 0 if shift is None else shift
        value = product + shift
        bound = np.abs(scale) * bound + epsilon * (np.abs(product) + np.abs(value))
    code, slope = fused.choices.get("activation_after", 0), fused.choices.get("slope", 0.0)
    if code:
        value = activate(code, value, slope)
        bound = steepness(code, slope) * bound + _ACTIVATION * epsilon * np.abs(value)
    if fused.has("ADD_RESIDUAL_AFTER"):
        value = value + exact(fused.given["residual_after"])
        bound = bound + epsilon * np.abs(value)
    return Bounded(value, bound)


def _stored(fused: Fused, y: Bounded) -> Bounded:
    """Rounded once more, where y is not stored in the type of computation."""
    dtype = fused.output_type
    if dtype == fused.problem.dtype.statistics:
        return y
    half = np.maximum(np.longdouble(dtype.epsilon) * np.abs(y.value), np.longdouble(dtype.smallest_subnormal)) / 2
    return Bounded(y.value, (y.bound + half) * np.longdouble(1.001))


def _per_sample(fused: Fused, name: str) -> np.ndarray | None:
    """A scale or a shift of samples, shaped to broadcast against the tensor; None where it is NULL."""
    values, view = fused.given.get(name), fused.problem.view
    if values is None:
        return None
    repeated = np.repeat(exact(values), view.shape[0] // fused.samples if view.shape[0] else 1, axis=0)
    inner = [extent if axis in view.channels else 1 for axis, extent in enumerate(view.shape)][1:]
    return repeated.reshape(view.shape[0], *inner)


def assert_right(fused: Fused, run: Run) -> None:
    """Everything that a plan has written is near to the reference, and its sum is that of the reference."""
    assert run.status == 0, f"status {run.status} for {fused}"
    wanted = expected(fused)
    for name, found in run.outputs.items():
        if name == "sum":
            np.testing.assert_array_equal(found.astype(np.float64), added(fused).astype(np.float64), f"{fused}")
            continue
        dtype = fused.output_type if name == "y" else fused.problem.dtype.statistics
        wrong = wanted[name].failures(found, dtype)
        if wrong.any():
            at = np.unravel_index(np.argmax(wrong), wrong.shape)
            off = abs(np.longdouble(found[at]) - wanted[name].value[at])
            raise AssertionError(f"{name}{[int(i) for i in at]} of {fused} is {found[at]}, not {wanted[name].value[at]}"
                                 f": {wrong.sum()} are wrong, this one by {off / wanted[name].bound[at]:.3g} bounds")


def right(fused: Fused) -> Run:
    run = execute_plan(fused)
    assert_right(fused, run)
    return run

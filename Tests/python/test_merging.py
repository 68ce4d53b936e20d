"""Moments in pieces, merged, and what is normalized by them: the same as all at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import families, library
from support.checks import assert_same_bits, outputs_of
from support.dtypes import DTYPES, F16, F32, F64, DType, exact
from support.execute import execute
from support.fill import fill
from support.header import statuses
from support.limits import limit
from support.measure import error
from support.methods import METHODS, method
from support.problem import Problem
from support.reference import Expected
from support.strategies import small

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_layout = pytest.mark.parametrize("layout", [1, 2])
NAMES = {value: name for name, value in statuses().items()}
WITH_MOMENTS = [m for m in METHODS if "moments" in m.prototype.names()]
MEAN_1E5 = families.Family("mean 1e5 sd", lambda rng, view, dtype: rng.standard_normal(view.shape) + 1e5)
USED = (families.NORMAL, families.LARGE_MEAN, families.WIDE, families.HUGE, families.TINY, families.CONSTANT,
        MEAN_1E5)


@st.composite
def batches(draw, name: str, dtype: DType) -> tuple[Problem, list[slice]]:
    """A batch-like problem, and a cut of its samples into shares, some of them empty."""
    channels, positions = draw(st.sampled_from(((3, 50), (17, 7), (1, 1), (130, 1), (5, 129))))
    samples = draw(st.integers(2, 20))
    layout = draw(st.sampled_from((1, 2)))
    chosen = small(method(name), dtype, samples=samples, channels=channels, positions=positions, layout=layout).scalars
    family = draw(st.sampled_from(USED[:-1] if dtype == F16 else USED))     # f16 ends at 65504
    problem = fill(method(name), dtype, dtype.parameters[-1], chosen, family, draw(st.integers(0, 999)))
    cuts = sorted(draw(st.lists(st.integers(0, samples), max_size=4)))
    return problem, [slice(a, b) for a, b in zip([0, *cuts], [*cuts, samples], strict=True)]


def share(problem: Problem, samples: slice, name: str, **inputs) -> Problem:
    """A problem of another function on some samples of a batch."""
    used = method(name)
    scalars = {key: value for key, value in (problem.scalars | {"epsilon": 1e-5, "y_stride": 0}).items()
               if key in used.prototype.names()}
    parts = {key: problem.inputs[key][samples] for key in ("x", "dy") if key in used.prototype.inputs()}
    same = {key: problem.inputs.get(key) for key in used.prototype.inputs() if key not in parts}
    return Problem(used, problem.dtype, problem.parameter_dtype, scalars | {"samples": samples.stop - samples.start},
                   same | parts | inputs, frozenset(used.essential).difference(used.updated(scalars)))


def accumulated(problem: Problem, shares: list[slice]) -> np.ndarray:
    """Moments of the shares, one call after another."""
    moments = np.zeros((*problem.view.channel_shape, 3))
    for samples in shares:
        moments = outputs_of(share(problem, samples, "moments_accumulate", moments=moments))["moments"]
    return moments


def merged(moments: np.ndarray, other: np.ndarray) -> np.ndarray:
    merge = small(method("moments_merge"), F64, channels=len(moments))
    return outputs_of(merge.with_inputs(moments=moments, other=other))["moments"]


def collected(problem: Problem, shares: list[slice]) -> np.ndarray:
    """Moments of the shares, each on its own, merged in order: what processes do."""
    total = np.zeros((*problem.view.channel_shape, 3))
    for samples in shares:
        total = merged(total, accumulated(problem, [samples]))
    return total


def whole(problem: Problem) -> slice:
    return slice(0, problem.scalars["samples"])


@every_dtype
@given(data=st.data())
def test_pieces_have_the_moments_of_the_whole(dtype, data):
    problem, shares = data.draw(batches("moments_accumulate", dtype))
    none = np.zeros((*problem.view.channel_shape, 3))
    expected = share(problem, whole(problem), "moments_accumulate", moments=none)
    reference = expected.expected["moments"]
    # Each piece is off by the units of its own, and each step between means by the rounding of the larger one.
    allowed = limit(expected, "moments") * len(shares)
    for moments in (accumulated(problem, shares), collected(problem, shares)):
        assert np.array_equal(moments[:, 0], np.full(len(moments), problem.view.set_size))
        steps = Expected(reference.value, np.maximum(reference.magnitude, _step(problem, shares)))
        assert error(moments, steps, F64, dtype.statistics) <= allowed


def _step(problem: Problem, shares: list[slice]) -> np.ndarray:
    """What the rounding of means to f64 can do to count, mean and m2: the last by their steps, which it is the square
    of."""
    x, axes = exact(problem.inputs["x"]), problem.view.reduced
    means = [x[samples].mean(axis=axes) for samples in shares if samples.stop > samples.start]
    largest = np.max(np.abs(means), axis=0)
    rounding = largest * F64.epsilon / problem.dtype.statistics.epsilon
    spread = x.std(axis=axes)
    step = np.max(means, axis=0) - np.min(means, axis=0)
    of_m2 = 2 * step * problem.view.set_size * np.maximum(rounding, spread)
    return np.stack([np.zeros_like(largest), rounding, of_m2], axis=-1)


def test_merging_with_none_changes_no_bit():
    rng = np.random.default_rng(1)
    moments = np.stack([rng.integers(1, 99, 40), rng.standard_normal(40) * 1e9, rng.random(40)], axis=-1)
    none = np.zeros_like(moments)
    assert merged(moments, none).tobytes() == moments.tobytes()
    assert merged(none, moments).tobytes() == moments.tobytes()
    assert merged(none, none).tobytes() == none.tobytes()


def test_an_empty_piece_changes_no_bit():
    problem = small(method("moments_accumulate"), F32, samples=0)
    assert outputs_of(problem)["moments"].tobytes() == problem.inputs["moments"].tobytes()


@every_layout
@every_dtype
def test_moments_of_all_zeros_become_those_of_the_data(layout, dtype):
    """The same bits as normkit_moments gives, rounded to the statistics type."""
    accumulate = small(method("moments_accumulate"), dtype, layout=layout, samples=20, channels=9, positions=33)
    accumulate = accumulate.with_inputs(moments=np.zeros((9, 3)))
    count, mean, m2 = outputs_of(accumulate)["moments"].T
    axes = (0, 2) if layout == 1 else (0, 1)
    moments = small(method("moments"), dtype, shape=accumulate.view.shape, axes=axes, correction=0)
    outputs = outputs_of(moments.with_inputs(x=accumulate.inputs["x"]))
    assert np.array_equal(outputs["mean"], mean.astype(dtype.statistics.numpy))
    assert np.allclose(outputs["variance"], m2 / count, rtol=2 * dtype.statistics.epsilon, atol=0)


def test_the_order_of_merging_counts_in_last_bits_only():
    rng = np.random.default_rng(2)
    a, b, c = (np.stack([rng.integers(1, 9, 50) * 1.0, rng.standard_normal(50), rng.random(50)], axis=-1)
               for _ in range(3))
    left, right = merged(merged(a, b), c), merged(a, merged(b, c))
    assert np.abs(left - right).max() <= 16 * F64.epsilon * np.abs(left).max()


# ---- Batch normalization of shares


def lost_in_f64(problem: Problem) -> np.ndarray:
    """By how much units grow, per channel. Of f64 data, moments have the mean in the type of the data, without what
    that has lost by rounding: it counts in units of the mean, not of the standard deviation."""
    x, axes = exact(problem.inputs["x"]), problem.view.reduced
    mean, deviation = np.abs(x.mean(axis=axes, keepdims=True)), x.std(axis=axes, keepdims=True)
    if problem.dtype != F64:
        return np.ones_like(mean)
    return np.maximum(1, np.where(deviation == 0, 0, mean / np.where(deviation == 0, 1, deviation)))


@every_dtype
@given(data=st.data())
def test_shares_are_normalized_like_the_whole_batch(dtype, data):
    problem, shares = data.draw(batches("batch_norm_training_backward", dtype))
    forward = share(problem, whole(problem), "batch_norm_training", beta=None).with_scalars(
        momentum=0.1, running_variance_rule=0)
    moments = collected(problem, shares)
    y, dx, total = [], [], np.zeros((*problem.view.channel_shape, 2))
    for samples in shares:
        part = share(problem, samples, "batch_norm_synchronized", moments=moments, beta=None)
        y.append(outputs_of(part)["y"])
        sums = share(problem, samples, "batch_norm_gradient_sums", moments=moments)
        total += outputs_of(sums)["sums"]
    for samples in shares:
        part = share(problem, samples, "batch_norm_synchronized_backward", moments=moments, sums=total)
        dx.append(outputs_of(part)["dx"])
    lost = lost_in_f64(problem)
    for of, name, found in ((forward, "y", np.concatenate(y)), (problem, "dx", np.concatenate(dx)),
                            (problem, "dbeta", total[:, 0]), (problem, "dgamma", total[:, 1])):
        expected = of.expected[name]
        factor = lost.reshape(-1) if found.ndim == 1 else lost
        grown = Expected(expected.value, expected.magnitude * factor)
        assert error(found, grown, of.type_of(name), of.unit_type(name)) <= limit(of, name), name


@every_layout
@every_dtype
def test_sums_of_an_empty_share_are_zeros(layout, dtype):
    outputs = outputs_of(small(method("batch_norm_gradient_sums"), dtype, samples=0, layout=layout))
    assert outputs["sums"].tobytes() == np.zeros((6, 2)).tobytes()


@every_layout
@pytest.mark.parametrize("dtype", [F32, F64, F16], ids=str)
def test_one_process_is_ordinary_batch_normalization(layout, dtype):
    """Sums are those of ordinary backward, before they are rounded to the statistics type."""
    sums = small(method("batch_norm_gradient_sums"), dtype, layout=layout, samples=30, channels=20, positions=11)
    moments = accumulated(sums, [whole(sums)])
    found = outputs_of(sums.with_inputs(moments=moments))["sums"].astype(dtype.statistics.numpy)
    training = share(sums, whole(sums), "batch_norm_training_backward", gamma=None, mean=None, rstd=None)
    training = training.with_scalars(accumulate=0, dx_stride=0).asking_for("dgamma", "dbeta")
    wanted = outputs_of(training)
    assert found[:, 0].tobytes() == wanted["dbeta"].tobytes()
    unit = dtype.statistics.epsilon * np.abs(wanted["dgamma"]).max()
    assert np.abs(found[:, 1] - wanted["dgamma"]).max() <= 4 * unit


# ---- What is refused


@pytest.mark.parametrize("count", [-1.0, -np.inf, np.inf, np.nan])
@pytest.mark.parametrize("method", WITH_MOMENTS, ids=str)
def test_counts_that_none_has(method, count):
    problem = small(method, method.dtypes[0])
    for name in {"moments", "other"} & set(method.prototype.names()):
        records = problem.inputs[name].copy()
        records[2, 0] = count
        assert NAMES[execute(problem.with_inputs(**{name: records})).status] == "ERROR_MOMENTS"


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_finishing_channels_with_too_few_elements(dtype):
    """Whatever is asked for; and nothing is written for the channels before."""
    problem = small(method("moments_finish"), dtype, correction=2)
    for count, wanted in ((0, "ERROR_EMPTY_SET"), (1, "ERROR_CORRECTION"), (2, "ERROR_CORRECTION"), (3, "OK")):
        problem.inputs["moments"][4, 0] = count
        for names in (("mean", "variance", "rstd"), ("mean",), ("rstd",)):
            assert NAMES[execute(problem.asking_for(*names)).status] == wanted


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_a_constant_channel_has_rstd_zero_without_epsilon(dtype):
    problem = small(method("moments_finish"), dtype, correction=0, epsilon=0.0)
    problem.inputs["moments"][:, 2] = 0
    outputs = outputs_of(problem)
    assert np.all(outputs["rstd"] == 0) and np.all(outputs["variance"] == 0)


def test_merging_does_not_depend_on_threads():
    problem = fill(method("moments_accumulate"), F32, F32, small(
        method("moments_accumulate"), F32, samples=4, channels=3, positions=130_003).scalars, families.LARGE_MEAN, 1)
    with library.threads(1):
        wanted = execute(problem)
    for count in (2, 3, 8):
        with library.threads(count):
            assert_same_bits(execute(problem), wanted, f"{count} threads")

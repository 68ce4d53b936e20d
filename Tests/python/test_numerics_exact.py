"""Results that are compared with ==: constant sets, and data whose statistics are exact."""

import normkit
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from support import families, tensors
from support.checks import outputs_of
from support.dtypes import BF16, DTYPES, F16, F32, rounded
from support.fill import fill
from support.methods import METHODS, TYPED, method
from support.problem import Problem
from support.strategies import EXTENTS, problems, small, strides
from support.views import View

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
CENTRED = [m for m in METHODS if str(m) in (
    "layer_norm", "layer_norm_channels", "batch_norm_training", "instance_norm", "group_norm", "normalize")]


def over_channels(problem: Problem, values: np.ndarray) -> np.ndarray:
    """One value per channel, repeated over the tensor."""
    view = problem.view
    shape = [n if axis in view.channels else 1 for axis, n in enumerate(view.shape)]
    return np.broadcast_to(values.reshape(shape), view.shape)


@every_dtype
@pytest.mark.parametrize("method", CENTRED, ids=str)
@given(data=st.data())
def test_constant_set_gives_exactly_beta(method, dtype, data):
    problem = data.draw(problems(method, dtype, families.CONSTANT))
    y = outputs_of(problem).get("y")
    beta = problem.inputs.get("beta")
    wanted = np.zeros(problem.view.shape) if beta is None else over_channels(problem, beta.astype(np.float64))
    assert np.array_equal(y, rounded(wanted, dtype)), problem


@every_dtype
@pytest.mark.parametrize("method", CENTRED, ids=str)
def test_constant_set_without_epsilon_has_rstd_zero(method, dtype):
    problem = small(method, dtype, epsilon=0.0)
    x = np.full(problem.view.shape, rounded(0.1, dtype))
    outputs = outputs_of(problem.with_inputs(x=x))
    assert np.all(outputs["rstd"] == 0)
    assert np.all(outputs["mean"] == x.reshape(-1)[0].astype(dtype.statistics.numpy))


# Elements lie around means here, whether those are subtracted or asked for; elsewhere around 0.
SHIFTED = [m for m in METHODS
           if str(m).removesuffix("_backward") in (*map(str, CENTRED), "moments", "moments_accumulate")]
# With more elements, the sums over S and what is made of them no longer fit into f32.
POWERS, FEWER_POWERS = (2, 4, 8, 16, 32), (2, 4, 8)


def exact_problem(method, dtype, chosen: dict, seed: int) -> Problem:
    """A problem of dyadic data: x = m + or - 1, each for half of S; parameters are small multiples of 1/4.

    epsilon makes variance + epsilon, or a norm + epsilon, a power of four for deviations of 1.
    """
    chosen = chosen | ({"epsilon": 0.0 if "norm" in chosen else 3.0} if "epsilon" in chosen else {})
    chosen |= {"momentum": 0.5, "running_variance_rule": 1} if "momentum" in chosen else {}
    chosen |= {"correction": 0} if "correction" in chosen else {}
    if chosen.get("epsilon_rule") == 1:
        chosen["epsilon"] = 1.0
    rng = np.random.default_rng(seed)
    problem = fill(method, dtype, dtype, chosen, families.NORMAL, seed)
    view = problem.view
    quarters = {name: (np.round(4 * values.astype(np.float64)) / 4).astype(values.dtype)
                for name, values in problem.inputs.items()}
    if "variance" in quarters:
        quarters["variance"] = np.full_like(quarters["variance"], 1.0)
    for name in {"moments", "other"} & quarters.keys():
        quarters[name][..., [0, 2]] = view.set_size
    if method.data in tensors.DATA:
        x = signs(rng, view) + (np.round(4 * families.per_set(rng, view)) if method in SHIFTED else 0)
        quarters[method.data] = rounded(x, dtype)
    return problem.with_inputs(**quarters).with_saved()


def signs(rng: np.random.Generator, view: View) -> np.ndarray:
    """1 and -1, each for half of S, in any order."""
    found = np.where(np.arange(view.set_size) % 2, 1.0, -1.0)
    found = rng.permuted(np.broadcast_to(found, (*view.kept_shape, view.set_size)), axis=-1)
    order = np.argsort(view.kept + view.reduced)
    return found.reshape(*view.kept_shape, *(view.shape[axis] for axis in view.reduced)).transpose(order)


@pytest.mark.parametrize(("method", "dtype"), TYPED, ids=str)
@given(data=st.data())
def test_exact_data(method, dtype, data):
    powers = st.sampled_from(FEWER_POWERS if method.is_backward else POWERS)
    chosen = small(method, dtype, shape=tuple(data.draw(st.lists(powers, min_size=3, max_size=3)))).scalars
    chosen |= {name: data.draw(powers) for name in EXTENTS if name in chosen}
    chosen |= {"groups": 2} if "groups" in chosen else {}
    choices = {"layout": (1, 2), "norm": method.norms, "epsilon_rule": (0, 1), "one_plus_gamma": (0, 1),
               "accumulate": (0, 1)}
    chosen |= {name: data.draw(st.sampled_from(values)) for name, values in choices.items() if name in chosen}
    chosen |= data.draw(strides(method, method.view(chosen)))
    size = method.view(chosen).set_size
    is_root = chosen.get("norm") == 2 and "epsilon" in chosen
    assume(not is_root or size in (4, 16, 64, 256, 1024, 4096, 16384))
    problem = exact_problem(method, dtype, chosen, data.draw(st.integers(0, 99)))
    for name, actual in outputs_of(problem).items():
        wanted = rounded(problem.expected[name].value, problem.type_of(name))
        assert np.array_equal(actual, wanted), f"{name} of {problem}"


@pytest.mark.parametrize("size", [6, 10, 96, 1000, 50_256])
def test_exact_data_of_other_sizes(size):
    """Sums are exact here too; dividing them by S's size must be."""
    chosen = small(method("layer_norm"), F32, rows=3, size=size).scalars
    problem = exact_problem(method("layer_norm"), F32, chosen, seed=size)
    for name, actual in outputs_of(problem).items():
        assert np.array_equal(actual, rounded(problem.expected[name].value, F32)), name


# Every upper half of an f32, with lower halves at and beside a tie: all that there is to rounding to bf16.
BITS = (np.arange(1 << 16, dtype=np.uint32)[:, None] << 16 | np.uint32([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])).ravel()


@pytest.mark.parametrize("way", ("channels first", "channels last", "rows"))
@pytest.mark.parametrize("dtype", (F16, BF16), ids=str)
def test_results_are_rounded_to_even(dtype, way):
    """x and gamma are 0, beta is in f32: what is written is beta."""
    beta = BITS.view(np.float32)
    zeros = np.zeros_like(beta)
    if way == "rows":
        y = normkit.layer_norm(np.zeros((3, beta.size), dtype.numpy), zeros, beta).T
    else:
        x = np.zeros((1, beta.size, 17), dtype.numpy)
        if way == "channels last":
            x = np.zeros((1, 17, beta.size), dtype.numpy).transpose(0, 2, 1)
        y = normkit.batch_norm(x, zeros, zeros, zeros, beta)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = beta.astype(dtype.numpy).astype(np.float32)
    assert np.array_equal(y.astype(np.float32), np.broadcast_to(wanted[:, None], y.shape), equal_nan=True)

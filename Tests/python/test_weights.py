"""Weight penalties, and batch normalization folded into the layer before it."""

import numpy as np
import pytest

from support.checks import outputs_of
from support.dtypes import DTYPES, F16, F32, F64
from support.methods import method
from support.strategies import small

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
whole_dtypes = pytest.mark.parametrize("dtype", [F32, F64], ids=str)


@every_dtype
def test_penalty_of_zeros_has_no_sign(dtype):
    problem = small(method("weight_penalty"), dtype, norm=1, size=4, strength=2.0)
    outputs = outputs_of(problem.with_inputs(w=np.array([0, -0.0, 3, -1]).astype(dtype.numpy)))
    assert outputs["value"] == 8
    assert outputs["dw"].astype(np.float64).tolist() == [0, 0, 2, -2]


@pytest.mark.parametrize("norm", [1, 2])
@every_dtype
def test_penalty_without_strength_is_zero(norm, dtype):
    outputs = outputs_of(small(method("weight_penalty"), dtype, norm=norm, strength=0.0))
    assert outputs["value"] == 0 and np.all(outputs["dw"] == 0)


@pytest.mark.parametrize("norm", [1, 2])
@every_dtype
def test_value_is_overwritten_where_the_gradient_is_added(norm, dtype):
    alone = outputs_of(small(method("weight_penalty"), dtype, norm=norm))
    onto = small(method("weight_penalty"), dtype, norm=norm, accumulate=1)
    added = outputs_of(onto.with_inputs(dw=np.zeros_like(onto.inputs["dw"])))
    assert added["value"].tobytes() == alone["value"].tobytes()
    assert np.array_equal(added["dw"], alone["dw"])


@every_dtype
def test_penalty_of_no_weights(dtype):
    for accumulate in (0, 1):
        assert outputs_of(small(method("weight_penalty"), dtype, size=0, accumulate=accumulate))["value"] == 0


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_penalty_of_what_is_not_finite(norm, value):
    """It spoils the value and, but for the sign of infinity, its own gradient."""
    problem = small(method("weight_penalty"), F32, norm=norm, size=40)
    clean = outputs_of(problem)
    problem.inputs["w"][7] = value
    outputs = outputs_of(problem)
    assert not np.isfinite(outputs["value"])
    assert np.delete(outputs["dw"], 7).tobytes() == np.delete(clean["dw"], 7).tobytes()
    assert np.isnan(outputs["dw"][7]) == np.isnan(value)


def test_half_precision_values_are_summed_beyond_their_range():
    problem = small(method("weight_penalty"), F16, norm=2, size=1000, strength=1.0)
    outputs = outputs_of(problem.with_inputs(w=np.full(1000, 60000, np.float16)))
    wanted = 0.5 * 1000 * 60000.0**2
    assert abs(outputs["value"] - wanted) <= 2 * F32.epsilon * wanted


@whole_dtypes
@pytest.mark.parametrize("outer", [1, 3])
def test_the_folded_layer_is_the_layer_and_its_normalization(outer, dtype):
    """A dense layer (outer 1) or a transposed one: weights times inputs, then normalized with given statistics."""
    fold = small(method("fold_batch_norm"), dtype, outer=outer, channels=7, inner=11)
    rng = np.random.default_rng(4)
    given = rng.standard_normal((5, outer, 11))
    folded = outputs_of(fold)

    def layer(weight, bias):
        return np.einsum("noi,oci->nc", given, weight.astype(np.float64)) + bias

    before = layer(fold.inputs["weight"], fold.inputs["bias"])
    mean, variance, gamma, beta = (
        fold.inputs[name].astype(np.float64) for name in ("mean", "variance", "gamma", "beta"))
    wanted = (before - mean) / np.sqrt(variance + fold.scalars["epsilon"]) * gamma + beta
    found = layer(folded["folded_weight"], folded["folded_bias"])
    assert np.abs(found - wanted).max() <= 64 * dtype.epsilon * np.abs(wanted).max()


@whole_dtypes
def test_folding_a_channel_without_variance(dtype):
    """Where variance + epsilon is 0, rstd is 0; where it is negative, the formula gives NaN."""
    problem = small(method("fold_batch_norm"), dtype, epsilon=0.0)
    problem.inputs["variance"][[1, 2]] = 0, -1
    outputs = outputs_of(problem)
    assert np.all(outputs["folded_weight"][:, 1] == 0)
    assert outputs["folded_bias"][1] == problem.inputs["beta"][1]
    assert np.all(np.isnan(outputs["folded_weight"][:, 2])) and np.isnan(outputs["folded_bias"][2])
    others = [0, 3, 4, 5]
    assert np.all(np.isfinite(outputs["folded_weight"][:, others]))
    assert np.all(np.isfinite(outputs["folded_bias"][others]))


@whole_dtypes
def test_folding_into_a_layer_without_inputs(dtype):
    """There are biases even where there are no weights."""
    problem = small(method("fold_batch_norm"), dtype, inner=0)
    wanted = outputs_of(small(method("fold_batch_norm"), dtype).with_inputs(
        **{name: problem.inputs[name] for name in ("bias", "gamma", "beta", "mean", "variance")}))
    assert outputs_of(problem)["folded_bias"].tobytes() == wanted["folded_bias"].tobytes()

"""Single promises of the header: zero slices, empty sets, running statistics, parameters that have no effect."""

import numpy as np
import pytest

from support import library
from support.checks import assert_accurate, assert_same_bits, outputs_of
from support.dtypes import DTYPES, F16, F32
from support.execute import execute
from support.header import constants
from support.methods import METHODS, method
from support.strategies import EXTENTS, small

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_norm = pytest.mark.parametrize("norm", [1, 2, 3])


@every_norm
@every_dtype
@pytest.mark.parametrize("epsilon", [0.0, 1e-12])
def test_zero_slices_give_zeros(norm, dtype, epsilon):
    problem = small(method("weight_norm"), dtype, norm=norm, epsilon=epsilon)
    problem.inputs["v"][:, 1, :] = 0
    problem.inputs["g"][1] = 2
    outputs = outputs_of(problem)
    assert np.all(outputs["w"][:, 1, :] == 0)
    assert outputs["norms"][1] == 0
    assert np.all(np.isfinite(outputs["w"].astype(np.float64)))


@every_norm
@every_dtype
def test_zero_set_divided_by_its_norm_is_zero(norm, dtype):
    problem = small(method("lp_normalize"), dtype, norm=norm, epsilon=0.0)
    problem.inputs["x"][:, 1, :] = 0
    outputs = outputs_of(problem)
    assert np.all(outputs["y"][:, 1, :] == 0)
    assert outputs["norms"][1] == 0


def test_empty_slices_have_norm_zero():
    for sizes in ({"outer": 0}, {"inner": 0}):
        outputs = outputs_of(small(method("weight_norm"), F32, **sizes))
        assert outputs["norms"].tolist() == [0, 0, 0, 0]


@every_dtype
def test_negative_variance_gives_nan(dtype):
    problem = small(method("batch_norm_inference"), dtype)
    problem.inputs["variance"][2] = -1
    y = outputs_of(problem)["y"].astype(np.float64)
    assert np.all(np.isnan(y[:, 2]))
    assert np.all(np.isfinite(np.delete(y, 2, axis=1)))


def test_one_plus_gamma_without_gamma_has_no_effect():
    plain = small(method("rms_norm"), F32).with_inputs(gamma=None)
    assert_same_bits(execute(plain.with_scalars(one_plus_gamma=1)), execute(plain), "one_plus_gamma")


def test_one_plus_gamma_is_formed_in_the_type_of_computation():
    """1 + 2^-12 is 1 in f16, but not in f32."""
    problem = small(method("rms_norm"), F16, rows=1, size=4, one_plus_gamma=1, epsilon=0.0)
    problem.inputs["x"][...] = [[1, 1, 1, 1]]
    problem.inputs["gamma"][...] = 2.0**-12
    problem.inputs["beta"][...] = -1
    assert np.all(outputs_of(problem)["y"] == 2.0**-12)


@pytest.mark.parametrize("momentum", [0.0, 1.0])
@pytest.mark.parametrize("rule", [0, 1])
@every_dtype
def test_running_statistics_at_the_ends_of_momentum(momentum, rule, dtype):
    """Momentum 0 keeps the old values, bit for bit; momentum 1 takes those of the batch."""
    problem = small(method("batch_norm_training"), dtype, momentum=momentum, running_variance_rule=rule)
    outputs = outputs_of(problem)
    if momentum == 0:
        assert np.array_equal(outputs["running_mean"], problem.inputs["running_mean"])
        assert np.array_equal(outputs["running_variance"], problem.inputs["running_variance"])
    else:
        assert np.array_equal(outputs["running_mean"], outputs["mean"])
        assert_accurate(problem, execute(problem))


def test_group_norm_with_a_group_per_channel_is_instance_norm():
    group = small(method("group_norm"), F32, groups=6)
    instance = small(method("instance_norm"), F32)
    instance = instance.with_inputs(**{k: v.reshape(instance.inputs[k].shape) for k, v in group.inputs.items()})
    found, wanted = outputs_of(group), outputs_of(instance)
    assert np.allclose(found["y"].reshape(-1), wanted["y"].reshape(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_empty_tensor_is_a_no_op(method):
    """No S at all, or S without elements and no statistics asked for: nothing happens, successfully."""
    for name in EXTENTS:
        if name in method.prototype.names():
            problem = small(method, method.dtypes[0], **{name: 0}).asking_for(*method.essential)
            assert execute(problem).status == 0, problem


def test_norms_of_empty_slices_without_number_are_refused():
    """Another extent of 0 does not let a count through that cannot be addressed."""
    for slices in (2**61, 2**62, 2**63 - 1):
        norms = np.zeros(1, np.float32)
        status = library.load().normkit_weight_norm(1, 1, 2, 0, slices, 0, None, None, 0.0, None, norms.ctypes.data)
        assert status == constants()["ERROR_TOO_LARGE"]


@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("scale, gamma", [(1e30, 1e-12), (1e30, 1e-9), (1e-26, 1e13)])
def test_factor_and_gamma_of_opposite_extremes(layout, scale, gamma):
    """rstd fits into f32, its product with gamma does not."""
    x = (np.random.default_rng(1).standard_normal((2, 24, 24)) * scale).astype(np.float32)
    weight, y = np.full(24, gamma, np.float32), np.empty_like(x)
    status = library.load().normkit_instance_norm(1, 1, layout, 2, 24, 24, x.ctypes.data, 0, weight.ctypes.data, None, 0.0,
                                                  y.ctypes.data, 0, None, None)
    assert status == 0
    axis = 2 if layout == 1 else 1
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axis, keepdims=True)) / exact.std(axis, keepdims=True) * np.float64(weight[0])
    assert np.abs(y - exact).max() <= 2 * 2.0**-23 * np.abs(exact).max()


def test_one_channel_with_gaps_is_what_it_is_alone():
    """A gap does not change what given statistics make of a sample, however many samples there are."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((50, 8)).astype(np.float32)
    gamma, beta, mean, variance = (rng.random(1).astype(np.float32) + 1 for _ in range(4))
    together, alone = np.zeros_like(x), np.zeros_like(x)

    def infer(source, target, samples):
        pointers = [a.ctypes.data for a in (gamma, beta, mean, variance)]
        assert library.load().normkit_batch_norm_inference(1, 1, 1, samples, 1, 4, source.ctypes.data, 8, *pointers, 1e-5,
                                                           target.ctypes.data, 8) == 0

    infer(x, together, 50)
    for i in range(50):
        infer(x[i], alone[i], 1)
    assert together.tobytes() == alone.tobytes()

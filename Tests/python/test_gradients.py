"""Single promises of the header's backward functions: what was saved, accumulation, what may be NULL, ties, empty
batches, long sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import families
from support.checks import assert_accurate, assert_same_bits, outputs_of
from support.dtypes import DTYPES, F16, F32, F64
from support.execute import execute
from support.fill import fill
from support.methods import METHODS, method
from support.problem import Problem
from support.strategies import EXTENTS, problems, small

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
BACKWARD = [m for m in METHODS if m.is_backward]
WITH_SAVED = [m for m in BACKWARD if m.saved]
WITH_PARAMETERS = [m for m in BACKWARD if m.parameter_gradients]
CENTRED = [m for m in BACKWARD if "mean" in m.saved]


def with_what_forward_wrote(problem: Problem) -> Problem:
    """The problem with the statistics that the forward function writes for its x."""
    forward = method(str(problem.method).removesuffix("_backward"))
    names = forward.prototype.names()
    inputs = {name: problem.inputs.get(name) for name in forward.prototype.inputs()}
    scalars = {name: value for name, value in problem.scalars.items() if name in names}
    scalars |= {"momentum": 0.1, "running_variance_rule": 0, "y_stride": 0}
    outputs = problem.method.saved.union(forward.essential)
    saved = outputs_of(Problem(forward, problem.dtype, problem.parameter_dtype, scalars, inputs, outputs))
    return problem.with_inputs(**{name: saved[name] for name in problem.method.saved})


@every_dtype
@pytest.mark.parametrize("method", WITH_SAVED, ids=str)
@given(data=st.data())
def test_what_the_forward_function_has_saved(method, dtype, data):
    """As exact as without, also where a saved mean has lost what the deviations are made of."""
    family = data.draw(st.sampled_from((families.LARGE_MEAN, families.NORMAL, families.CONSTANT)))
    problem = with_what_forward_wrote(data.draw(problems(method, dtype, family)))
    assert_accurate(problem, execute(problem))


@pytest.mark.parametrize("ratio", [1e3, 1e5])
@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("method", CENTRED, ids=str)
def test_means_of_many_standard_deviations(method, layout, ratio):
    family = families.Family("mean", lambda rng, view, dtype: rng.standard_normal(view.shape) + ratio)
    chosen = small(method, F32, rows=37, size=300, samples=5, channels=36, positions=70, groups=6, layout=layout,
                   shape=(30, 4, 50)).scalars
    problem = fill(method, F32, F32, chosen, family, seed=3)
    formed = problem.with_inputs(**dict.fromkeys(method.saved))
    for given_or_formed in (with_what_forward_wrote(problem), formed):
        assert_accurate(given_or_formed, execute(given_or_formed))


# Functions for which the header says that epsilon counts beside saved statistics.
EPSILON_COUNTS = ("weight_norm_backward", "lp_normalize_backward")


@pytest.mark.parametrize("method", [m for m in WITH_SAVED if str(m) not in EPSILON_COUNTS], ids=str)
def test_epsilon_has_no_effect_beside_saved_statistics(method):
    problem = small(method, F32)
    for epsilon in (0.0, 7.0):
        assert_same_bits(execute(problem.with_scalars(epsilon=epsilon)), execute(problem), f"epsilon {epsilon}")


@every_dtype
def test_epsilon_outside_of_the_root_needs_no_saved_statistics(dtype):
    problem = small(method("normalize_backward"), dtype, epsilon_rule=1, epsilon=0.5)
    wrong = {name: np.full_like(problem.inputs[name], 3) for name in problem.method.saved}
    assert_same_bits(execute(problem.with_inputs(**wrong)), execute(problem), "other statistics")


# ---- Accumulation


@every_dtype
@pytest.mark.parametrize("method", WITH_PARAMETERS, ids=str)
def test_accumulation_is_one_addition(method, dtype):
    """What is added is the gradient as it is before it is rounded; dx does not change."""
    alone = small(method, dtype)
    wanted = outputs_of(alone)
    gradients = method.parameter_gradients
    onto = small(method, dtype, accumulate=1)
    zeros = {name: np.zeros_like(wanted[name]) for name in gradients}
    assert_same_bits(execute(onto.with_inputs(**zeros)), execute(alone), "added to zeros")
    found = outputs_of(onto)
    assert found[method.result].tobytes() == wanted[method.result].tobytes()
    for name in gradients:
        before, gradient = (values.astype(np.float64) for values in (onto.inputs[name], wanted[name]))
        unit = dtype.statistics.epsilon * np.maximum(np.abs(before + gradient), np.abs(gradient))
        assert np.all(np.abs(found[name] - (before + gradient)) <= unit), name


@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("method", WITH_PARAMETERS, ids=str)
def test_gradients_of_an_empty_batch(method, accumulate):
    """Without elements, gradients of parameters are zeros, or what they were."""
    for name in EXTENTS:
        if name not in method.prototype.names() or small(method, F32, **{name: 0}).view.size:
            continue
        problem = small(method, F32, **{name: 0}, accumulate=accumulate)
        outputs = outputs_of(problem)
        for gradient in method.parameter_gradients:
            before = problem.inputs[gradient] if accumulate else np.zeros_like(outputs[gradient])
            assert outputs[gradient].tobytes() == before.tobytes(), f"{gradient} of {problem}"


# ---- Single values


@every_dtype
@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("method", CENTRED, ids=str)
def test_constant_sets_without_epsilon_have_gradient_zero(method, layout, dtype):
    """Also that of gamma: z is 0."""
    problem = small(method, dtype, layout=layout, epsilon=0.0)
    x = np.full(problem.view.shape, np.array(0.1).astype(dtype.numpy))
    formed = problem.with_inputs(x=x, **dict.fromkeys(method.saved))
    for constant in (formed, problem.with_inputs(x=x).with_saved()):
        outputs = outputs_of(constant)
        assert all(np.all(outputs[name] == 0) for name in ("dx", "dgamma") if name in outputs)


@every_dtype
@pytest.mark.parametrize("norm", [1, 2, 3])
@pytest.mark.parametrize(("name", "data"), [("weight_norm_backward", "v"), ("lp_normalize_backward", "x")])
def test_zero_slices_without_epsilon_have_gradient_zero(name, data, norm, dtype):
    problem = small(method(name), dtype, norm=norm, epsilon=0.0)
    problem.inputs[data][:, 1, :] = 0
    for zeros in (problem.with_saved(), problem.with_inputs(norms=None)):
        outputs = outputs_of(zeros)
        assert np.all(outputs[zeros.method.result][:, 1, :] == 0)
        assert np.all(np.isfinite(outputs[zeros.method.result].astype(np.float64)))
        assert "dg" not in outputs or outputs["dg"][1] == 0


@pytest.mark.parametrize("saved", [True, False])
@every_dtype
def test_largest_elements_share_the_change_of_their_norm(dtype, saved):
    """v = (2, -2, 1, 0): norm 2, z = (1, -1, 1/2, 0), dg = 4 - 8 + 1 = -3, of which two elements have half."""
    problem = small(method("weight_norm_backward"), dtype, outer=1, slices=1, inner=4, norm=3, epsilon=0.0)
    v, dw = ([[values]] for values in ([2, -2, 1, 0], [4, 8, 2, 6]))
    problem = problem.with_inputs(v=np.array(v, dtype.numpy), dw=np.array(dw, dtype.numpy), g=None).with_saved()
    outputs = outputs_of(problem if saved else problem.with_inputs(norms=None))
    assert outputs["dg"].tolist() == [-3]
    assert outputs["dv"].astype(np.float64).tolist() == [[[2.75, 3.25, 1, 3]]]


@every_dtype
def test_zeros_have_no_sign_for_the_norm_l1(dtype):
    """v = (2, -1, 0, 1): norm 4, dg = 1 - 1 + 0 + 1 = 1."""
    problem = small(method("weight_norm_backward"), dtype, outer=1, slices=1, inner=4, norm=1, epsilon=0.0)
    v, dw = ([[values]] for values in ([2, -1, 0, 1], [2, 4, 8, 4]))
    problem = problem.with_inputs(v=np.array(v, dtype.numpy), dw=np.array(dw, dtype.numpy), g=None).with_saved()
    outputs = outputs_of(problem)
    assert outputs["dg"].tolist() == [1]
    assert outputs["dv"].astype(np.float64).tolist() == [[[0.25, 1.25, 2, 0.75]]]


@every_dtype
@pytest.mark.parametrize("norm", [1, 2, 3])
def test_below_epsilon_the_divisor_is_constant(norm, dtype):
    problem = small(method("lp_normalize_backward"), dtype, norm=norm, epsilon=1024.0)
    wanted = (problem.inputs["dy"].astype(np.float64) / 1024).astype(dtype.numpy)
    assert outputs_of(problem)["dx"].tobytes() == wanted.tobytes()


# ---- What may be NULL


@every_dtype
@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("method", [m for m in WITH_PARAMETERS if m.elementwise], ids=str)
def test_x_is_needed_for_the_gradient_of_gamma_alone(method, layout, dtype):
    problem = small(method, dtype, layout=layout)
    others = [name for name in problem.written() if name != method.parameter_gradients[0]]
    with_x = problem.asking_for(*others)
    without = with_x.with_inputs(x=None)
    assert_same_bits(execute(without), execute(with_x), "x NULL")
    assert_same_bits(execute(without, in_place=("dx", "dy")), execute(with_x), "x NULL, dx over dy")


@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("name", ["batch_norm_inference_backward", "layer_norm_backward", "rms_norm_backward"])
def test_no_gamma_is_gamma_one(name, layout):
    problem = small(method(name), F32, layout=layout, rows=70, size=130, channels=36, positions=41)
    ones = problem.with_inputs(gamma=np.ones(problem.view.channel_shape, np.float32))
    assert_same_bits(execute(problem.with_inputs(gamma=None)), execute(ones), name)


# ---- Long sums

_CHANNELS = dict(samples=40_009, channels=3, positions=7)
MANY = [("layer_norm_backward", dict(rows=1_000_003, size=2)), ("rms_norm_backward", dict(rows=100_003, size=7)),
        ("batch_norm_training_backward", _CHANNELS), ("batch_norm_inference_backward", _CHANNELS),
        ("instance_norm_backward", _CHANNELS), ("batch_norm_gradient_sums", _CHANNELS),
        ("group_norm_backward", dict(samples=2, channels=6, positions=40_009, groups=1)),
        ("group_norm_backward", dict(samples=2, channels=6, positions=40_009, groups=3)),
        ("group_norm_backward", dict(samples=40_009, channels=6, positions=2, groups=1)),
        ("layer_norm_channels_backward", dict(samples=40_009, channels=3, positions=7)),
        ("weight_norm_backward", dict(outer=40_009, slices=3, inner=7)),
        ("scale_shift_backward", dict(outer=40_009, channels=3, inner=7))]
LAYOUTS = [(name, sizes | {"layout": layout}) for name, sizes in MANY for layout in (1, 2)
           if layout == 1 or "layout" in method(name).prototype.names()]


@pytest.mark.parametrize(("name", "sizes"), LAYOUTS, ids=str)
def test_sums_over_many_elements(name, sizes):
    problem = small(method(name), F32, **sizes)
    asked = [name for name in problem.written() if name != "dx"]
    assert_accurate(problem, execute(problem.asking_for(*asked)))


@pytest.mark.parametrize("dtype", [F16, F64], ids=str)
@pytest.mark.parametrize("incoming", [families.LARGE_MEAN, families.WIDE], ids=str)
@pytest.mark.parametrize("method", WITH_PARAMETERS, ids=str)
def test_sums_of_one_sign_and_of_many_sizes(method, incoming, dtype):
    chosen = small(method, dtype, rows=3000, size=20, samples=300, channels=8, positions=20, slices=8, outer=300,
                   inner=20, groups=2).scalars
    problem = fill(method, dtype, dtype.parameters[-1], chosen, families.NORMAL, 5, incoming=incoming)
    assert_accurate(problem, execute(problem))

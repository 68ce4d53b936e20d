"""Every member of a description, wrong in every way that the header names: its status, and no plan."""

import ctypes
import math

import pytest

from support import library
from support.checks import assert_same_bits
from support.dtypes import DTYPES, F16, F32, F64
from support.fusing import FUSIONS, all_fusions
from support.header import constants, statuses
from support.methods import method
from support.plans import FUSABLE, LARGE, PLANNED, ROWS, Fused, creation, execute_plan
from support.strategies import EXTENTS, small

C = constants()
INT32_MAX, INT64_MIN, HUGE = 2**31 - 1, -(2**63), 2**62
NAMES = {value: name for name, value in statuses().items()}
every_method = pytest.mark.parametrize("method", FUSABLE, ids=str)
LAYER, TRAINING = method("layer_norm"), method("batch_norm_training")


def refused(fused: Fused, expected: str, **members) -> None:
    """No plan is made of a description with these members changed."""
    found = NAMES[creation(fused.choosing(**members).description)]
    assert found == expected, f"{found}, not {expected}, for {members} in {fused}"


def test_description():
    assert NAMES[creation(None)] == "ERROR_DESCRIPTION"
    for size in (0, -1, 8, 303, 305, 311, 313, INT32_MAX, INT64_MIN):
        refused(Fused(small(LAYER, F32)), "ERROR_DESCRIPTION", struct_size=size)
    status = library.load().normkit_plan_create(ctypes.addressof(Fused(small(LAYER, F32)).description), None)
    assert NAMES[status] == "ERROR_PLAN_NULL"


# Wrong values of members that every method has, or of the methods that have them.
WRONG = {
    "dtype": ("ERROR_DTYPE", [0, C["I8"], C["U8"], 7, -1, INT32_MAX]),
    "parameter_dtype": ("ERROR_PARAMETER_DTYPE", [C["I8"], 7, -1, C["F64"], C["F16"]]),
    "output_dtype": ("ERROR_OUTPUT_DTYPE", [7, -1, INT32_MAX, C["F64"]]),
    "epsilon": ("ERROR_EPSILON", [-1e-9, -math.inf, math.inf, math.nan]),
    "layout": ("ERROR_LAYOUT", [0, 3, -1]),
    "norm": ("ERROR_NORM", [0, 4, -1]),
    "epsilon_rule": ("ERROR_EPSILON_RULE", [2, -1]),
    "momentum": ("ERROR_MOMENTUM", [-0.1, 1.1, math.inf, math.nan]),
    "running_variance_rule": ("ERROR_RUNNING_VARIANCE", [2, -1]),
    "one_plus_gamma": ("ERROR_ONE_PLUS_GAMMA", [2, -1]),
    "groups": ("ERROR_GROUPS", [0, -1, 4, 5, HUGE, INT64_MIN]),
    "rank": ("ERROR_RANK", [-1, C["MAX_RANK"] + 1, INT32_MAX]),
}
COMMON = ("dtype", "output_dtype")
WRONG_MEMBERS = [(m, name, value) for m in PLANNED for name, (_, values) in WRONG.items() for value in values
                 if name in m.prototype.names() or name in COMMON]


@pytest.mark.parametrize(("method", "name", "value"), WRONG_MEMBERS, ids=str)
def test_wrong_choice(method, name, value):
    refused(Fused(small(method, F32)), WRONG[name][0], **{name: value})


@pytest.mark.parametrize("value", [0, 12, -1, INT32_MAX])
def test_method(value):
    refused(Fused(small(LAYER, F32)), "ERROR_METHOD", method=value)


@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_sizes(method):
    fused = Fused(small(method, F32))
    names = [name for name in EXTENTS if name in method.prototype.names()]
    for name in names:
        is_channels = (str(method), name) == ("scale_shift", "channels")
        member = "slices" if is_channels else name
        for value in (-1, INT64_MIN):
            refused(fused, "ERROR_" + member.upper(), **{member: value})
        for value in (2**60, HUGE, 2**63 - 2):
            refused(fused, "ERROR_TOO_LARGE", **{member: value})


@pytest.mark.parametrize("method", [m for m in PLANNED if "shape" in m.prototype.names()], ids=str)
def test_shape_and_axes(method):
    problem = small(method, F32)
    for name, value, expected in (
        ("shape", (-1, 4, 5), "ERROR_SHAPE"), ("shape", (3, 4, INT64_MIN), "ERROR_SHAPE"),
        ("shape", (HUGE, 4, 5), "ERROR_TOO_LARGE"), ("axes", (0, 3), "ERROR_AXES"), ("axes", (0, -3), "ERROR_AXES"),
        ("axis_count", -1, "ERROR_AXES"), ("axis_count", C["MAX_RANK"] + 1, "ERROR_AXES"),
    ):
        refused(Fused(problem.with_scalars(**{name: value})), expected)


@every_method
def test_strides(method):
    """At least one run for what the plan uses; and not more than can be addressed."""
    for layout in (1, 2):
        fused = all_fusions(method, F32, layout=layout)
        run = fused.problem.view.run
        for name in LARGE:
            status = {"residual_after": "RESIDUAL"}.get(name, name.upper())
            for value in (1, run - 1, -1, -run, INT64_MIN):
                refused(fused, f"ERROR_{status}_STRIDE", **{f"{name}_stride": value})
            refused(fused, "ERROR_TOO_LARGE", **{f"{name}_stride": HUGE})


@pytest.mark.parametrize("method", [m for m in PLANNED if m not in FUSABLE], ids=str)
def test_methods_without_fusions(method):
    fused = Fused(small(method, F32))
    for fusion in (*FUSIONS, "SCALE_PER_ROW"):
        refused(fused, "ERROR_FUSION", fusions=C[fusion])
    for name in ("activation_before", "activation_after"):
        refused(fused, "ERROR_ACTIVATION", **{name: C["RELU"]})
    for code in (C["F16"], C["BF16"], C["I8"], C["U8"]):
        refused(fused, "ERROR_OUTPUT_DTYPE", output_dtype=code)


@every_method
def test_fusions(method):
    fused = all_fusions(method, F32)
    for value in (64, 1 << 30, -1, -(2**31), INT32_MAX):
        refused(fused, "ERROR_FUSION", fusions=value)
    refused(fused, "ERROR_FUSION", fusions=C["STORE_SUM"])
    refused(fused, "ERROR_FUSION", fusions=C["STORE_SUM"] | C["ADD_RESIDUAL_AFTER"])
    for code in (C["F32"], C["U8"], 0):
        refused(fused, "ERROR_FUSION", fusions=C["SCALE_PER_ROW"], output_dtype=code)
    if method not in ROWS:
        refused(fused, "ERROR_FUSION", fusions=C["SCALE_PER_ROW"], output_dtype=C["I8"])


@every_method
def test_activations(method):
    fused = all_fusions(method, F32)
    for name in ("activation_before", "activation_after"):
        for value in (9, -1, INT32_MAX):
            refused(fused, "ERROR_ACTIVATION", **{name: value})
        for slope in (math.nan, math.inf, -math.inf):
            refused(fused, "ERROR_ACTIVATION", **{name: C["LEAKY_RELU"], "slope": slope})


@every_method
def test_scale_and_shift_of_samples(method):
    fused = all_fusions(method, F32)
    for value in (2, -1):
        refused(fused, "ERROR_SAMPLE_SCALE", one_plus_sample_scale=value)
    if method in ROWS:
        for value in (0, -1, 3, 5, HUGE, INT64_MIN):
            refused(fused, "ERROR_SAMPLE_SCALE", rows_per_sample=value)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_method
def test_types_of_y(method, dtype):
    """Every type beside f32 and halves but f64; beside f64 f64 alone."""
    for code in (*(other.code for other in DTYPES), C["I8"], C["U8"]):
        exists = code == F64.code if dtype == F64 else code != F64.code
        found = NAMES[creation(Fused(small(method, dtype), {"output_dtype": code}).description)]
        assert found == ("OK" if exists else "ERROR_OUTPUT_DTYPE")


def test_default_types():
    """0 is dtype, for parameters and y."""
    problem = small(LAYER, F16)
    wanted = execute_plan(Fused(problem))
    for members in ({"parameter_dtype": 0}, {"output_dtype": F16.code}):
        assert_same_bits(execute_plan(Fused(problem, members)), wanted, members)


def test_one_value_per_channel():
    refused(Fused(small(TRAINING, F32, samples=1, positions=1)), "ERROR_ONE_VALUE")


def test_fields_of_other_methods_are_ignored():
    problem = small(LAYER, F32)
    wild = {"samples": -1, "channels": HUGE, "positions": -5, "groups": 0, "outer": -1, "slices": HUGE, "inner": -1,
            "rank": 99, "axis_count": -1, "layout": 77, "norm": 77, "epsilon_rule": 77, "one_plus_gamma": 77,
            "running_variance_rule": 77, "momentum": math.nan}
    assert_same_bits(execute_plan(Fused(problem, wild)), execute_plan(Fused(problem)), wild)

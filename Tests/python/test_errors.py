"""Every argument of every function, wrong in every way that the header names: its status, and nothing written."""

import math

import pytest

from support import library
from support.checks import assert_accurate
from support.dtypes import BF16, DTYPES, F16, F32, F64, DType
from support.execute import execute
from support.header import constants, prototypes, statuses
from support.memory import Offset, Packed
from support.methods import METHODS, TYPED, Method, method
from support.problem import Problem
from support.strategies import EXTENTS, small
from support.tensors import PARAMETER_GRADIENTS, RECORDS, is_running

C = constants()
INT32_MAX, INT64_MIN, HUGE = 2**31 - 1, -(2**63), 2**62
NAMES = {value: name for name, value in statuses().items()}


def assert_status(problem: Problem, expected: set[str], **arguments) -> None:
    """The call with these arguments changed returns one of the expected statuses; execute() sees that it is clean."""
    found = NAMES[execute(problem, change=lambda blocks: arguments).status]
    assert found in expected, f"{found}, not {expected}, for {arguments} in {problem}"


# Wrong values of scalar arguments, whatever the function. Sizes and strides follow below.
WRONG = {
    "dtype": [0, 5, -1, INT32_MAX],
    "parameter_dtype": [0, 5, -1, INT32_MAX],
    "layout": [0, 3, -1],
    "norm": [0, 4, -1],
    "epsilon": [-1e-9, -math.inf, math.inf, math.nan],
    "epsilon_rule": [2, -1],
    "momentum": [-0.1, 1.1, math.inf, -math.inf, math.nan],
    "running_variance_rule": [2, -1],
    "one_plus_gamma": [2, -1],
    "accumulate": [2, -1, INT32_MAX],
    "strength": [-1e-9, -math.inf, math.inf, math.nan],
    "groups": [0, -1, 4, 5, 7, HUGE, INT64_MIN],
    "rank": [-1, C["MAX_RANK"] + 1, INT32_MAX, -(2**31)],
}
# Values that are right elsewhere.
WRONG_HERE = {("normkit_weight_penalty", "norm"): [C["MAX"]],
              ("normkit_moments_finish", "dtype"): [F16.code, BF16.code],
              ("normkit_fold_batch_norm", "dtype"): [F16.code, BF16.code]}
# Statuses that are not called like their argument. What is folded is called x and y there.
STATUS = {"running_variance_rule": "ERROR_RUNNING_VARIANCE"}
NULL_STATUS = {"dw": "ERROR_DY_NULL", "other": "ERROR_MOMENTS_NULL", "weight": "ERROR_X_NULL",
               "folded_weight": "ERROR_Y_NULL", "folded_bias": "ERROR_Y_NULL"}


def status_of(argument: str) -> str:
    return STATUS.get(argument, "ERROR_" + argument.upper())


WRONG_SCALARS = [(m, name, value) for m in METHODS for name in m.prototype.names()
                 for value in (*WRONG.get(name, ()), *WRONG_HERE.get((m.name, name), ()))]
SIZES = [(m, name) for m in METHODS for name in m.prototype.names() if name in EXTENTS]
GENERAL = [m for m in METHODS if "shape" in m.prototype.names()]
STRIDED = [m for m in METHODS if m.strides]
STRIDES = [(m, name) for m in STRIDED for name in m.strides]
CORRECTED = [m for m in METHODS if "correction" in m.prototype.names()]


def first(method: Method) -> DType:
    """A type that a function takes."""
    return method.dtypes[0]


@pytest.mark.parametrize(("method", "name", "value"), WRONG_SCALARS, ids=str)
def test_wrong_scalar(method, name, value):
    assert_status(small(method, first(method)), {status_of(name)}, **{name: value})


@pytest.mark.parametrize("method", [m for m in METHODS if "parameter_dtype" in m.prototype.names()], ids=str)
def test_parameter_dtype_beside_each_dtype(method):
    """Buffers are laid out for f64, so that every type fits into them."""
    problem = small(method, F64)
    for dtype in DTYPES:
        for wrong in set(DTYPES) - set(dtype.parameters):
            assert_status(problem, {"ERROR_PARAMETER_DTYPE"}, dtype=dtype.code, parameter_dtype=wrong.code)


@pytest.mark.parametrize("value", [-1, -7, INT64_MIN])
@pytest.mark.parametrize(("method", "name"), SIZES, ids=str)
def test_negative_size(method, name, value):
    assert_status(small(method, first(method)), {status_of(name)}, **{name: value})


@pytest.mark.parametrize("value", [2**60, HUGE, 2**63 - 2])
@pytest.mark.parametrize(("method", "name"), SIZES, ids=str)
def test_sizes_beyond_the_address_space(method, name, value):
    assert_status(small(method, first(method)), {"ERROR_TOO_LARGE"}, **{name: value})


@pytest.mark.parametrize(("method", "name"), SIZES, ids=str)
def test_a_huge_size_beside_empty_ones(method, name):
    """Nothing to normalize, but there may be as many gradients of parameters to write as the size says."""
    change = {other: 0 for other in EXTENTS if other in method.prototype.names()} | {name: HUGE}
    assert_status(small(method, first(method)), {"ERROR_TOO_LARGE"}, **change)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_all_sizes_huge(method):
    names = [name for name in EXTENTS if name in method.prototype.names()]
    change = {name: HUGE for name in names} or {"shape": (HUGE, HUGE, HUGE)}
    assert_status(small(method, first(method)), {"ERROR_TOO_LARGE"}, **change)


@pytest.mark.parametrize("method", GENERAL, ids=str)
def test_shape_and_axes(method):
    problem = small(method, F32)
    assert_status(problem, {"ERROR_SHAPE"}, shape=None)
    for shape in ((-1, 4, 5), (3, -4, 5), (3, 4, INT64_MIN)):
        assert_status(problem, {"ERROR_SHAPE"}, shape=shape)
    for shape in ((HUGE, 4, 5), (3, 2**60, 5), (2**31, 2**31, 2)):
        assert_status(problem, {"ERROR_TOO_LARGE"}, shape=shape)
    assert_status(problem, {"ERROR_AXES"}, axes=None)
    for axes in ((0, 3), (-4, 1), (0, 0), (0, -3), (1, -2), (INT32_MAX, 0), (-(2**31), 0)):
        assert_status(problem, {"ERROR_AXES"}, axes=axes)
    assert_status(problem, {"ERROR_AXES"}, axes=(0, 1, 2, -1), axis_count=4)
    assert_status(problem, {"ERROR_AXES"}, axis_count=-1)


@pytest.mark.parametrize("value", [-1, 20, 21, HUGE, INT64_MIN])
@pytest.mark.parametrize("method", CORRECTED, ids=str)
def test_correction(method, value):
    """The S of these problems has 15 elements, and no channel 20."""
    assert_status(small(method, F32), {"ERROR_CORRECTION"}, correction=value)


@pytest.mark.parametrize("method", [m for m in CORRECTED if m in GENERAL], ids=str)
def test_correction_may_reach_the_size_of_the_set_less_one(method):
    problem = small(method, F32)
    assert_status(problem, {"ERROR_CORRECTION"}, correction=15)
    problem = problem.with_scalars(correction=14)
    assert_accurate(problem, execute(problem))


@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize(("method", "name"), STRIDES, ids=str)
def test_strides_that_are_too_small(method, name, layout):
    problem = small(method, F32, layout=layout)
    for value in (-1, 1, problem.view.run - 1, -problem.view.run, INT64_MIN):
        assert_status(problem, {status_of(name)}, **{name: value})


@pytest.mark.parametrize(("method", "name"), STRIDES, ids=str)
def test_strides_beyond_the_address_space(method, name):
    for value in (2**61, HUGE, 2**63 - 1):
        assert_status(small(method, F32), {"ERROR_TOO_LARGE"}, **{name: value})


def null_status(method: Method, name: str) -> str:
    if is_running(name):
        return "ERROR_RUNNING_NULL"
    return "ERROR_SAVED_NULL" if name in method.saved else NULL_STATUS.get(name, f"ERROR_{name.upper()}_NULL")


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_null(method):
    """NULL for every buffer in turn: its status, or success where it is optional on its own."""
    problem = small(method, first(method))
    for parameter in method.prototype.buffers():
        name = parameter.name
        if frozenset((name,)) in method.optional:
            assert_status(problem, {"OK"}, **{name: None})
        else:
            assert_status(problem, {null_status(method, name)}, **{name: None})


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_optional_buffers_may_all_be_null(method):
    problem = small(method, first(method))
    free = frozenset().union(*method.optional)
    problem = problem.asking_for(*method.essential)
    problem = problem.with_inputs(**{name: None for name in problem.inputs if name in free})
    assert_accurate(problem, execute(problem))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_nothing_but_optional_outputs_may_be_null(method):
    """A call that is asked for nothing succeeds and writes nothing."""
    problem = small(method, first(method))
    optional = [name for name in problem.written() if frozenset((name,)) in method.optional]
    if set(optional) == set(problem.written()):
        assert_status(problem.asking_for(), {"OK"})


@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("name", ["batch_norm_training", "batch_norm_training_backward"])
def test_one_value_per_channel_in_training(name, layout):
    problem = small(method(name), F32, samples=1, positions=1, layout=layout)
    assert_status(problem, {"ERROR_ONE_VALUE"})
    assert_status(problem.asking_for(problem.method.result), {"ERROR_ONE_VALUE"})


# ---- Overlap


def overlap_status(problem: Problem, name: str) -> str:
    if problem.method.name == "normkit_weight_penalty":
        return "ERROR_PENALTY_OVERLAP"
    if name in PARAMETER_GRADIENTS:
        return "ERROR_PARAMETER_OVERLAP"
    if name in RECORDS:
        return "ERROR_MOMENTS_OVERLAP"
    if is_running(name):
        return "ERROR_RUNNING_OVERLAP"
    named = {"y": "Y", "w": "Y", "dx": "DX", "dv": "DX", "folded_weight": "FOLDED", "folded_bias": "FOLDED"}
    return f"ERROR_{named.get(name, 'STATISTICS')}_OVERLAP"


@pytest.mark.parametrize(("method", "dtype"), [(m, d) for m, d in TYPED if d != F16], ids=str)
def test_partial_overlap(method, dtype):
    """Each output, by its first or last byte, over each other buffer."""
    problem = small(method, dtype)
    outputs = problem.written()
    for output in outputs:
        for other in problem.inputs.keys() | problem.outputs:
            if other == output:
                continue
            expected = {overlap_status(problem, name) for name in (output, other) if name in outputs}
            for place in ("first byte", "last byte", "same address"):
                if place == "same address" and (output, other) in problem.places:
                    continue

                def shifted(blocks, place=place, output=output, other=other):
                    start, size = blocks[other].address, blocks[other].bytes.size
                    return {output: {"first byte": start + size - 1, "same address": start,
                                     "last byte": start - blocks[output].bytes.size + 1}[place]}

                found = NAMES[execute(problem, Offset(3), change=shifted).status]
                if output == "moments" and place != "same address":
                    expected.add("ERROR_MOMENTS")   # what is read there has no meaning
                assert found in expected, f"{found}, not {expected}: {place} of {output} on {other}, {problem}"


@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("method", [m for m in STRIDED if m.result], ids=str)
def test_in_place_with_another_stride(method, layout):
    problem = small(method, F32, layout=layout)
    for output, place in problem.places:
        strides = {f"{place}_stride": problem.view.run + 1, f"{output}_stride": problem.view.run + 2}
        found = execute(problem.with_scalars(**strides),
                        change=lambda blocks, output=output, place=place: {output: blocks[place].address})
        assert NAMES[found.status] == overlap_status(problem, output)


@pytest.mark.parametrize(("method", "dtype"), TYPED, ids=str)
def test_buffers_that_touch_do_not_overlap(method, dtype):
    problem = small(method, dtype)
    assert_accurate(problem, execute(problem, Packed(1 << 14)))


PAIRS = [(m, *pair) for m in METHODS for pair in (("gamma", "beta"), ("x", "dy"), ("v", "dw"))
         if set(pair) <= set(m.prototype.inputs())]


@pytest.mark.parametrize(("method", "one", "other"), PAIRS, ids=str)
def test_inputs_may_overlap(method, one, other):
    problem = small(method, method.dtypes[-1])
    problem = problem.with_inputs(**{other: problem.inputs[one]})
    run = execute(problem, change=lambda blocks: {other: blocks[one].address})
    assert_accurate(problem, run)


# ---- Empty sets

EMPTY = [("layer_norm", dict(size=0)), ("layer_norm_channels", dict(channels=0)), ("rms_norm", dict(size=0)),
         ("instance_norm", dict(positions=0)), ("group_norm", dict(positions=0)), ("group_norm", dict(channels=0)),
         ("batch_norm_training", dict(samples=0)), ("batch_norm_training", dict(positions=0)),
         ("normalize", dict(shape=(3, 0, 2), axes=(1, 2))), ("moments", dict(shape=(3, 0, 2), axes=(1,)))]


@pytest.mark.parametrize(("name", "sizes"), EMPTY)
def test_statistics_of_an_empty_set(name, sizes):
    """Each statistic alone asks for what an empty S does not have."""
    problem = small(method(name), F32, **sizes, correction=0)
    for statistic in problem.method.statistics:
        asked = [statistic] + ([problem.method.result] if problem.method.result else [])
        assert_status(problem.asking_for(*asked), {"ERROR_EMPTY_SET"})


def test_running_statistics_of_an_empty_batch():
    problem = small(method("batch_norm_training"), F32, samples=0)
    running = {name: values for name, values in problem.inputs.items() if is_running(name)}
    assert_status(problem.asking_for("y").with_inputs(**running), {"ERROR_EMPTY_SET"})


NO_SETS = [("layer_norm", dict(rows=0)), ("layer_norm_channels", dict(samples=0)), ("rms_norm", dict(rows=0)),
           ("layer_norm_channels", dict(positions=0)), ("instance_norm", dict(samples=0)),
           ("instance_norm", dict(channels=0)), ("group_norm", dict(samples=0)),
           ("batch_norm_training", dict(channels=0)), ("weight_norm", dict(slices=0)),
           ("normalize", dict(shape=(3, 0, 2), axes=(0,))), ("lp_normalize", dict(shape=(3, 0, 2), axes=(0,))),
           ("moments", dict(shape=(3, 0, 2), axes=(0,))), ("moments_merge", dict(channels=0)),
           ("moments_finish", dict(channels=0)), ("batch_norm_gradient_sums", dict(channels=0)),
           ("normalize_backward", dict(shape=(3, 0, 2), axes=(0,))),
           ("moments_backward", dict(shape=(3, 0, 2), axes=(0,)))]


@pytest.mark.parametrize(("name", "sizes"), NO_SETS)
def test_no_set_at_all_is_a_no_op(name, sizes):
    assert_status(small(method(name), F32, **sizes), {"OK"})


# ---- The library


def test_every_status_has_its_own_sentence():
    sentences = {name: library.load().normkit_status_string(value).decode() for name, value in statuses().items()}
    assert all(sentences.values())
    assert len(set(sentences.values())) == len(sentences)


@pytest.mark.parametrize("value", [-1, 15, 1000, INT32_MAX, -(2**31)])
def test_unknown_status_has_a_sentence(value):
    assert library.load().normkit_status_string(value)


@pytest.mark.parametrize("count", [0, -1, C["MAX_THREADS"] + 1, INT32_MAX, -(2**31)])
def test_thread_count(count):
    with library.threads(3):
        assert library.load().normkit_set_thread_count(count) == C["ERROR_THREAD_COUNT"]
        assert library.load().normkit_thread_count() == 3


def test_most_threads():
    with library.threads(C["MAX_THREADS"]):
        assert library.load().normkit_thread_count() == C["MAX_THREADS"]


def test_version():
    version = [C[f"VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH")]
    assert library.load().normkit_version() == C["VERSION"] == 10000 * version[0] + 100 * version[1] + version[2]
    assert library.load().normkit_version_string().decode() == ".".join(map(str, version))


def test_instruction_set_has_a_known_name():
    assert library.isa() in ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-bf16", "arm64")


def test_every_function_on_data_is_described():
    """A function added to the header needs an entry in METHODS."""
    on_data = {name for name, prototype in prototypes().items() if prototype.buffers()}
    assert on_data == {m.name for m in METHODS}

"""Every operand of a run, wrong in every way that the header names: its status, and nothing written."""

import ctypes
import math

import pytest

from support import library
from support.checks import assert_same_bits
from support.dtypes import F16, F32
from support.execute import execute
from support.fusing import FUSIONS, all_fusions, fuse
from support.header import constants, statuses
from support.memory import Packed
from support.methods import Method, method
from support.plans import FUSABLE, PLANNED, ROWS, Fused, execute_plan, in_parts, operand_of, plan
from support.strategies import small

C = constants()
INT32_MAX, INT64_MIN = 2**31 - 1, -(2**63)
NAMES = {value: name for name, value in statuses().items()}
every_method = pytest.mark.parametrize("method", FUSABLE, ids=str)
LAYER, TRAINING = method("layer_norm"), method("batch_norm_training")


def assert_status(fused: Fused, expected: str | set[str], call=None, parts: int = 1, **members) -> None:
    """The run with these members changed returns an expected status; execute_plan() sees that it is clean."""
    def change(operands, blocks):
        for name, value in members.items():
            setattr(operands, name, value)

    run = execute_plan(fused, parts=parts, change=change, **({"call": call} if call else {}))
    found, wanted = NAMES[run.status], {expected} if isinstance(expected, str) else expected
    assert found in wanted, f"{found}, not {wanted}, for {members} in {fused}"


@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_operands(method):
    fused = Fused(small(method, F32))
    for size in (0, -1, 8, 183, 185, INT64_MIN):
        assert_status(fused, "ERROR_OPERANDS", struct_size=size)
    lib = library.load()
    with plan(fused.description) as handle:
        for run in (lib.normkit_plan_run, lib.normkit_plan_run_threads):
            assert NAMES[run(handle, None)] == "ERROR_OPERANDS"
        assert NAMES[lib.normkit_plan_run_part(handle, None, 0, 0, 1)] == "ERROR_OPERANDS"
        assert NAMES[lib.normkit_plan_run_parallel(handle, None, 1, library.PARALLEL_FOR(), None)] == "ERROR_OPERANDS"


def test_no_plan():
    lib = library.load()
    type_ = library.struct("normkit_operands")
    operands = ctypes.addressof(type_(struct_size=ctypes.sizeof(type_)))
    for run in (lib.normkit_plan_run, lib.normkit_plan_run_threads):
        assert NAMES[run(None, operands)] == "ERROR_PLAN_NULL"
    assert NAMES[lib.normkit_plan_run_part(None, operands, 0, 0, 1)] == "ERROR_PLAN_NULL"
    assert NAMES[lib.normkit_plan_run_parallel(None, operands, 1, library.PARALLEL_FOR(), None)] == "ERROR_PLAN_NULL"
    assert lib.normkit_plan_workspace(None, 1) == -1
    lib.normkit_plan_destroy(None)


REQUIRED = {"x": "X_NULL", "y": "Y_NULL", "residual": "RESIDUAL_NULL", "residual_after": "RESIDUAL_NULL",
            "bias": "BIAS_NULL", "sum": "SUM_NULL"}


@every_method
def test_missing_operands(method):
    fused = all_fusions(method, F32)
    for name, status in REQUIRED.items():
        assert_status(fused, f"ERROR_{status}", **{name: None})
    assert_status(fused, "ERROR_SAMPLES_NULL", sample_scale=None, sample_shift=None)
    for one in ({"sample_scale": None}, {"sample_shift": None}, {"gamma": None, "beta": None}):
        assert_status(fused, "OK", **one)
    if str(method) == "batch_norm_inference":
        assert_status(fused, "ERROR_MEAN_NULL", given_mean=None)
        assert_status(fused, "ERROR_VARIANCE_NULL", given_variance=None)


def test_missing_operands_of_methods_without_fusions():
    weight = Fused(small(method("weight_norm"), F32))
    assert_status(weight, "ERROR_V_NULL", x=None)
    assert_status(weight, "ERROR_W_NULL", y=None)
    training = Fused(small(TRAINING, F32))
    for name in ("running_mean", "running_variance"):
        assert_status(training, "ERROR_RUNNING_NULL", **{name: None})


def test_row_scales():
    fused = fuse(small(LAYER, F32), fusions=("SCALE_PER_ROW",), output_dtype=C["I8"])
    assert_status(fused, "OK")
    assert_status(fused, "ERROR_ROW_SCALES_NULL", row_scales=None)
    assert_status(fused, "OK", output_scale=math.nan, zero_point=INT32_MAX)


@pytest.mark.parametrize(("output", "low", "high"), [("I8", -128, 127), ("U8", 0, 255)])
@every_method
def test_scale_and_zero_point(method, output, low, high):
    fused = fuse(small(method, F32), output_dtype=C[output])
    for scale in (0.0, -1.0, math.inf, -math.inf, math.nan):
        assert_status(fused, "ERROR_OUTPUT_SCALE", output_scale=scale)
    for point in (low - 1, high + 1, INT32_MAX, -(2**31)):
        assert_status(fused, "ERROR_OUTPUT_SCALE", output_scale=1.0, zero_point=point)
    for point in (low, high):
        assert_status(fused, "OK", output_scale=1.0, zero_point=point)


# ---- Parts and workspaces


def one_part(phase: int, part: int, parts: int):
    return lambda handle, operands: library.load().normkit_plan_run_part(
        handle, ctypes.addressof(operands), phase, part, parts)


@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_parts_out_of_range(method):
    fused = Fused(small(method, F32))
    with plan(fused.description) as handle:
        phases = library.load().normkit_plan_phases(handle)
        assert library.load().normkit_plan_most_parts(handle) >= 1 and phases >= 1
        for parts in (0, -1, -(2**31)):
            assert library.load().normkit_plan_workspace(handle, parts) == -1
    for phase, part, parts in ((0, 0, 0), (0, 0, -1), (0, 1, 1), (0, -1, 1), (0, 3, 3), (phases, 0, 1), (-1, 0, 1),
                               (0, INT32_MAX, INT32_MAX), (0, 0, -(2**31))):
        assert_status(fused, "ERROR_PARTS", one_part(phase, part, parts), parts=max(1, min(parts, 3)))


@pytest.mark.parametrize(("activation", "cost"), [("IDENTITY", 1), ("RELU", 1), ("HARD_SWISH", 2), ("GELU", 5)])
def test_useful_parts(activation, cost):
    """Parts have so much work at least; there are no more of them than threads and than a plan can be cut into."""
    lib = library.load()

    def check(rows: int, size: int, threads: int) -> int:
        description = library.struct("normkit_description")(
            dtype=C["F32"], method=C["LAYER_NORM"], rows=rows, size=size, epsilon=1e-5, activation_after=C[activation])
        description.struct_size = ctypes.sizeof(description)
        with plan(description) as handle:
            found, most = lib.normkit_plan_useful_parts(handle, threads), lib.normkit_plan_most_parts(handle)
        assert found == max(1, min(threads, most, rows * size * cost // 16384))
        return found

    assert [check(0, 100, 4), check(1, 100, 4), check(1000, 1000, 0), check(1000, 1000, -1)] == [1] * 4
    assert check(128, 127, 8) == 1 if cost == 1 else check(128, 384, 8) > 1
    assert check(1000, 1000, 8) == 8 and check(10_000, 1000, INT32_MAX) > 100
    assert check(2**20, 2**20, 3) == 3
    assert lib.normkit_plan_useful_parts(None, 3) == 1


def test_no_parallel_loop():
    def call(handle, operands):
        return library.load().normkit_plan_run_parallel(
            handle, ctypes.addressof(operands), 3, library.PARALLEL_FOR(), None)

    assert_status(Fused(small(LAYER, F32)), "ERROR_PARALLEL_NULL", call, parts=3)


def test_more_parts_than_there_is_work_for():
    fused = all_fusions(LAYER, F32)
    assert_same_bits(execute_plan(fused, in_parts(50), 50), execute_plan(fused), fused)
    with plan(fused.description) as handle:
        assert library.load().normkit_plan_workspace(handle, INT32_MAX) < 1 << 20


def in_need(method: Method) -> Fused:
    """A plan that needs a workspace."""
    return fuse(small(method, F16), ("ADD_RESIDUAL_AFTER",))


@every_method
def test_workspace(method):
    fused = in_need(method)
    with plan(fused.description) as handle:
        size = library.load().normkit_plan_workspace(handle, 1)
    assert size > 0
    assert_status(fused, "ERROR_WORKSPACE", workspace=None)
    for wrong in (size - 1, 0, -1, INT64_MIN):
        assert_status(fused, "ERROR_WORKSPACE", workspace_bytes=wrong)
    assert_status(fused, "OK", workspace_bytes=2**62)
    if size > 64:
        assert_status(fused, "ERROR_WORKSPACE", one_part(0, 0, 1), workspace_bytes=64)


def test_workspace_of_sets_that_parts_share():
    """Few long rows: only several parts need one, for the sums that they hand to each other."""
    fused = Fused(small(LAYER, F32, rows=2, size=100_001))
    with plan(fused.description) as handle:
        alone, several = (library.load().normkit_plan_workspace(handle, parts) for parts in (1, 3))
    assert alone == 0 < several
    assert_status(fused, "OK", workspace=None, workspace_bytes=0)
    assert_status(fused, "ERROR_WORKSPACE", in_parts(3), parts=3, workspace=None)
    assert_status(fused, "ERROR_WORKSPACE", in_parts(3), parts=3, workspace_bytes=several - 1)


# ---- Overlap


def overlap_statuses(*operands: str) -> set[str]:
    named = {"y": "Y", "sum": "SUM", "mean": "STATISTICS", "rstd": "STATISTICS", "norms": "STATISTICS",
             "row_scales": "ROW_SCALES", "workspace": "WORKSPACE", "running_mean": "RUNNING",
             "running_variance": "RUNNING"}
    return {f"ERROR_{named[name]}_OVERLAP" for name in operands if name in named}


def allowed(output: str, other: str) -> bool:
    return (output, other) in {("y", "x"), ("y", "residual"), ("y", "residual_after"), ("sum", "x"),
                               ("sum", "residual")}


def assert_no_overlap(fused: Fused) -> None:
    """Each output, by its first or last byte or from the same address on, over each other buffer."""
    outputs = [*fused.written, "workspace"]
    for output in outputs:
        for other in dict.fromkeys((*fused.given, *outputs)):
            for place in ("first byte", "last byte", "same address"):
                if other == output or place == "same address" and (allowed(output, other) or allowed(other, output)):
                    continue

                def change(operands, blocks, place=place, output=output, other=other):
                    start, size = blocks[other].address, blocks[other].bytes.size
                    setattr(operands, output, {"first byte": start + size - 1, "same address": start,
                                               "last byte": start - blocks[output].bytes.size + 1}[place])

                found, wanted = NAMES[execute_plan(fused, change=change).status], overlap_statuses(output, other)
                assert found in wanted, f"{found}, not {wanted}: {place} of {output} on {other}, {fused}"


@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
@every_method
def test_partial_overlap(method, dtype):
    fused = all_fusions(method, dtype)
    with plan(fused.description) as handle:
        assert library.load().normkit_plan_workspace(handle, 1) > 0
    assert_no_overlap(fused)


@pytest.mark.parametrize("method", ROWS, ids=str)
def test_partial_overlap_of_row_scales(method):
    assert_no_overlap(fuse(small(method, F32), (*FUSIONS, "SCALE_PER_ROW"), output_dtype=C["I8"]))


def test_y_and_sum_in_the_same_place():
    for place in ("x", "residual"):
        fused = all_fusions(LAYER, F32)
        found = execute_plan(fused, in_place={"y": place}, change=lambda operands, blocks, place=place: setattr(
            operands, "sum", blocks[place].address))
        assert NAMES[found.status] in overlap_statuses("y", "sum")


@every_method
def test_in_place_with_another_stride(method):
    run = all_fusions(method, F32).problem.view.run
    for output, place in (("y", "x"), ("y", "residual"), ("y", "residual_after"), ("sum", "x"), ("sum", "residual")):
        fused = all_fusions(method, F32).choosing(**{f"{place}_stride": run + 1, f"{output}_stride": run + 2})
        found = execute_plan(fused, change=lambda operands, blocks, output=output, place=place: setattr(
            operands, output, blocks[place].address))
        assert NAMES[found.status] in overlap_statuses(output)


def test_in_place_with_another_type():
    fused = all_fusions(LAYER, F32).choosing(output_dtype=F16.code)
    found = execute_plan(fused, change=lambda operands, blocks: setattr(operands, "y", blocks["x"].address))
    assert NAMES[found.status] in overlap_statuses("y")


@every_method
def test_buffers_that_touch_do_not_overlap(method):
    fused = all_fusions(method, F16)
    assert_same_bits(execute_plan(fused, memory=Packed(1 << 16)), execute_plan(fused), fused)


@every_method
def test_inputs_may_overlap(method):
    fused = all_fusions(method, F32)
    same = Fused(fused.problem, fused.choices, fused.inputs | {"residual": fused.given["x"],
                                                               "residual_after": fused.given["x"]})
    run = execute_plan(same, change=lambda operands, blocks: [
        setattr(operands, name, blocks["x"].address) for name in ("residual", "residual_after")])
    assert_same_bits(run, execute_plan(same), same)


# ---- Empty sets

EMPTY = [dict(rows=0), dict(size=0), dict(samples=0), dict(channels=0), dict(positions=0)]


@pytest.mark.parametrize("sizes", EMPTY, ids=str)
@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_without_elements(method, sizes):
    """The status of the function; and where a plan adds something, there is nothing to add it to."""
    problem = small(method, F32, **sizes)
    for asked in (problem, problem.asking_for(method.result)):
        wanted = execute(asked)
        with plan(Fused(asked).description) as handle:
            assert library.load().normkit_plan_most_parts(handle) >= 1
            run = execute_plan(Fused(asked), handle=handle)
        assert NAMES[run.status] == NAMES[wanted.status]
        for name, found in wanted.outputs.items():
            assert found.tobytes() == run.outputs[operand_of(problem, name)].tobytes()
        if problem.view.size == 0 and method in FUSABLE:
            fused = fuse(asked, FUSIONS, rows_per_sample=1)
            empty = {name: None for name in REQUIRED}
            assert_status(fused, NAMES[wanted.status], **empty)


def test_operands_that_the_plan_does_not_use_are_ignored():
    """Whatever they are: pointers to nothing."""
    fused = Fused(small(LAYER, F32))
    unused = ("residual", "bias", "sample_scale", "sample_shift", "residual_after", "given_mean", "given_variance",
              "norms", "running_mean", "running_variance", "sum", "row_scales")
    wild = {name: 1 for name in unused} | {"output_scale": math.nan, "zero_point": -9}
    assert_status(fused, "OK", **wild)

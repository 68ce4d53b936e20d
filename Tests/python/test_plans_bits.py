"""Plans give the same bits: in any number of parts, in any order, from any threads, in place, with gaps, without
fusions as the function does, and whatever else they store."""

import ctypes
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from support import families, library
from support.checks import assert_same_bits
from support.dtypes import BF16, DTYPES, F16, F32, F64, DType, rounded
from support.execute import Run
from support.fusing import FUSIONS, fuse, layouts, outputs_beside
from support.header import constants
from support.memory import Guarded, Offset
from support.methods import Method
from support.plans import FUSABLE, PLANNED, ROWS, Fused, execute_plan, in_parts, plan
from support.strategies import small

C = constants()
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_method = pytest.mark.parametrize("method", FUSABLE, ids=str)
# More parts than one, in blocks or as a whole; few sets, which parts share; few short ones, which they do not.
SIZES = [{"rows": 90, "size": 1025, "samples": 3, "channels": 96, "positions": 151, "groups": 8, "outer": 3,
          "slices": 40, "inner": 70, "shape": (5, 40, 60), "axes": (2,)},
         {"rows": 2, "size": 100_001, "samples": 2, "channels": 2, "positions": 50_001, "groups": 1, "outer": 2,
          "slices": 2, "inner": 50_001, "shape": (2, 2, 50_001), "axes": (0, 2)},
         {"rows": 6, "size": 36, "samples": 2, "channels": 6, "positions": 6, "groups": 3, "outer": 2, "slices": 6,
          "inner": 6, "shape": (6, 6, 6), "axes": (2,)}]


def forwards(parts: int) -> list[int]:
    return list(range(parts))


def backwards(parts: int) -> list[int]:
    return list(reversed(range(parts)))


def shuffled(parts: int) -> list[int]:
    order = list(range(parts))
    random.Random(parts).shuffle(order)
    return order


def variants(method: Method, dtype: DType) -> list[Fused]:
    """A plan without fusions and one with all of them, of each size and layout."""
    found = []
    for sizes in SIZES:
        for layout in layouts(method):
            problem = small(method, dtype, **sizes, **layout)
            found.append(Fused(problem))
            if method in FUSABLE:
                found.append(fuse(problem, FUSIONS, 1, rows_per_sample=problem.scalars.get("rows", 2) // 2,
                                  activation_before=C["TANH"], activation_after=C["SILU"]))
    return found


@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_parts(method, dtype):
    most = 0
    for fused in variants(method, dtype):
        with plan(fused.description) as handle:
            most = max(most, library.load().normkit_plan_most_parts(handle))
            alone = execute_plan(fused, handle=handle)
            for parts in range(1, 8):
                order = (forwards, backwards, shuffled)[parts % 3]
                run = execute_plan(fused, in_parts(parts, order), parts, handle=handle)
                assert_same_bits(run, alone, f"{parts} parts, {fused}")
    assert most > 1


def through(pool: ThreadPoolExecutor, parts: int):
    """The call of an engine that has its own parallel loop."""
    def loop(context, count, task, argument):
        assert count <= parts and context == 77
        list(pool.map(lambda i: task(argument, i), range(count)))

    callback = library.PARALLEL_FOR(loop)

    def call(handle, operands):
        return library.load().normkit_plan_run_parallel(handle, ctypes.addressof(operands), parts, callback, 77)
    return call


@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_threads(method, dtype):
    """Of a caller's parallel loop, and of the library itself."""
    with ThreadPoolExecutor(4) as pool:
        for fused in variants(method, dtype):
            with plan(fused.description) as handle:
                alone = execute_plan(fused, handle=handle)
                for parts in (1, 3, 8):
                    run = execute_plan(fused, through(pool, parts), parts, handle=handle)
                    assert_same_bits(run, alone, f"{parts} parts in a pool, {fused}")


def with_own_threads(handle, operands):
    return library.load().normkit_plan_run_threads(handle, ctypes.addressof(operands))


# Tensors of some MiB: many sets and few.
MEGABYTES = [{"rows": 900, "samples": 12, "outer": 90, "shape": (90, 40, 90)},
             {"rows": 2, "size": 300_001, "samples": 3, "channels": 6, "positions": 100_001, "groups": 2, "outer": 2,
              "slices": 2, "inner": 100_001, "shape": (3, 2, 100_001), "axes": (0, 2)}]


@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_threads_of_the_library(method):
    for sizes in MEGABYTES:
        problem = small(method, F32, **SIZES[0] | sizes)
        fused = [Fused(problem)]
        if method in FUSABLE:
            fused.append(fuse(problem, FUSIONS, 2, rows_per_sample=1, activation_after=C["GELU"]))
        for one in fused:
            alone = execute_plan(one)
            for count in (1, 2, 5):
                with library.threads(count):
                    assert_same_bits(execute_plan(one, with_own_threads, count), alone, f"{count} threads, {one}")


def test_one_plan_in_many_threads_at_a_time():
    """Each with operands of its own."""
    fused = fuse(small(FUSABLE[0], F16, rows=60, size=700), FUSIONS, 4, rows_per_sample=3, activation_after=C["GELU"])
    others = [fuse(fused.problem, FUSIONS, seed, rows_per_sample=3, activation_after=C["GELU"]) for seed in range(12)]
    wanted = [execute_plan(other) for other in others]
    with plan(fused.description) as handle, ThreadPoolExecutor(6) as pool:
        runs = pool.map(lambda n: execute_plan(others[n % 12], memory=Offset(n), handle=handle), range(120))
        for n, run in enumerate(runs):
            assert_same_bits(run, wanted[n % 12], f"run {n}")


# ---- Memory

PLACES = [{"y": "x"}, {"y": "residual"}, {"y": "residual_after"}, {"sum": "x"}, {"sum": "residual"},
          {"sum": "x", "y": "residual"}, {"sum": "x", "y": "residual_after"}, {"sum": "residual", "y": "x"},
          {"sum": "residual", "y": "residual_after"}]


@pytest.mark.parametrize("places", PLACES, ids=str)
@every_dtype
@every_method
def test_in_place(method, dtype, places):
    for layout in layouts(method):
        fused = fuse(small(method, dtype, **layout, **SIZES[0]), FUSIONS, 6, rows_per_sample=45)
        elsewhere = execute_plan(fused)
        run = execute_plan(fused, in_place=places)
        assert_same_bits(run, elsewhere, f"{places}, {fused}")
        run = execute_plan(fused, in_parts(5, shuffled), 5, in_place=places)
        assert_same_bits(run, elsewhere, f"{places}, five parts, {fused}")


@every_dtype
@every_method
def test_y_takes_the_place_of_a_residual_that_is_added_to_nothing_stored(method, dtype):
    """Without a sum and a residual afterwards the work may be done in y itself."""
    for layout in layouts(method):
        fused = fuse(small(method, dtype, **layout), ("ADD_RESIDUAL", "ADD_BIAS"), 7)
        elsewhere = execute_plan(fused)
        for place in ("x", "residual"):
            assert_same_bits(execute_plan(fused, in_place={"y": place}), elsewhere, f"y in {place}, {fused}")


@every_dtype
@every_method
def test_gaps(method, dtype):
    for layout in layouts(method):
        fused = fuse(small(method, dtype, **layout, rows=33), FUSIONS, 8, rows_per_sample=3)
        run = fused.problem.view.run
        gaps = fused.choosing(x_stride=run + 1, y_stride=run + 7, residual_stride=run + 3, sum_stride=run + 16,
                              residual_after_stride=run + 2)
        dense, apart = execute_plan(fused), execute_plan(gaps)
        if fused.problem.view.crosses_runs:
            assert apart.outputs["sum"].tobytes() == dense.outputs["sum"].tobytes()
        else:
            assert_same_bits(apart, dense, gaps)


@pytest.mark.parametrize("side", ["begin", "end"])
@every_dtype
@every_method
def test_nothing_is_read_beside_the_operands(method, dtype, side):
    memory = Guarded(side)
    for layout in layouts(method):
        for gap in (0, 3):
            fused = fuse(small(method, dtype, **layout, size=37, channels=14), FUSIONS, 9)
            names = ("x", "y", "residual", "sum", "residual_after")
            strides = {f"{name}_stride": fused.problem.view.run + gap for name in names}
            memory.reset()
            assert execute_plan(fused.choosing(**strides), memory=memory).status == 0


# ---- What is stored


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
@every_method
def test_y_is_rounded_once(method, dtype):
    """Every other type of y holds what rounding the widest one gives."""
    for layout in layouts(method):
        fused = fuse(small(method, dtype, **layout, rows=40), FUSIONS, 10, rows_per_sample=5)
        widest = execute_plan(fused.choosing(output_dtype=F32.code)).outputs["y"]
        for code in outputs_beside(dtype):
            other = fused.choosing(output_dtype=code)
            found = execute_plan(other).outputs["y"]
            wanted = rounded(widest, other.output_type)
            assert_same_bits(Run(0, {"y": found}), Run(0, {"y": wanted}), other)


@pytest.mark.parametrize("family", [families.NORMAL, families.WIDE, families.TINY, families.HUGE], ids=str)
@every_dtype
@every_method
def test_relu_takes_the_place_of_what_is_negative(method, dtype, family):
    """And of nothing else: not of NaN, of either sign. Whatever is done before, and whichever way elements go."""
    for sizes in ({"rows": 9, "size": 37, "channels": 12, "positions": 37, "groups": 3}, {"size": 16, "positions": 1}):
        for layout in layouts(method):
            problem = small(method, dtype, **sizes, **layout)
            data = family.draw(np.random.default_rng(13), problem.view, dtype)
            data.flat[:2] = np.nan, -np.nan
            for fusions in ((), FUSIONS[:3], FUSIONS[:2], FUSIONS[:4]):
                plain = fuse(problem.with_inputs(x=data), fusions, 13, family, rows_per_sample=1)
                found = execute_plan(plain.choosing(activation_after=C["RELU"])).outputs["y"].astype(np.float64)
                y = execute_plan(plain).outputs["y"].astype(np.float64)
                np.testing.assert_array_equal(found, np.where(y < 0, 0, y), str(plain))


@every_dtype
@every_method
def test_a_sum_that_is_stored_is_what_is_normalized(method, dtype):
    """In one plan with all that follows, and without it, as in two."""
    for layout in layouts(method):
        for more in ((), FUSIONS[3:]):
            fused = fuse(small(method, dtype, **layout, rows=40), FUSIONS[:3] + more, 11, rows_per_sample=5)
            found = execute_plan(fused).outputs
            total = fused.problem.with_inputs(x=found.pop("sum"))
            fusions = sum(C[fusion] for fusion in more)
            after = Fused(total, fused.choices | {"fusions": fusions}, fused.inputs)
            assert_same_bits(execute_plan(after), Run(0, found), fused)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@every_method
def test_y_does_not_depend_on_what_else_is_stored(method, dtype):
    """For types whose sums are not rounded on their way into memory."""
    for layout in layouts(method):
        fused = fuse(small(method, dtype, **layout, rows=40), FUSIONS[:3], 11)
        without = fuse(fused.problem.asking_for("y"), FUSIONS[:2], 11)
        y = {"y": execute_plan(fused).outputs["y"]}
        assert_same_bits(execute_plan(without), Run(0, y), without)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@every_method
def test_a_residual_that_is_added_before_is_that_of_a_sum(method, dtype):
    """For types whose sums are not rounded on their way into memory."""
    for layout in layouts(method):
        fused = fuse(small(method, dtype, **layout), ("ADD_RESIDUAL",), 12)
        total = fused.problem.with_inputs(x=fused.problem.inputs["x"] + fused.inputs["residual"])
        assert_same_bits(execute_plan(fused), execute_plan(Fused(total)), fused)


@every_dtype
@every_method
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_set(method, value, dtype):
    """One of the residual: all of its set where a mean is subtracted, or where it is NaN; no other."""
    for layout in layouts(method):
        clean = fuse(small(method, dtype, **layout), FUSIONS[:2], 13)
        view, residual = clean.problem.view, clean.inputs["residual"].copy()
        index = tuple(extent // 2 for extent in view.shape)
        residual[index] = value
        own = np.zeros(view.shape, bool)
        elementwise = clean.problem.method.elementwise
        own[index if elementwise else tuple(
            slice(None) if axis in view.reduced else i for axis, i in enumerate(index))] = True
        found = execute_plan(Fused(clean.problem, clean.choices, clean.inputs | {"residual": residual})).outputs["y"]
        wanted = execute_plan(clean).outputs["y"]
        assert found[~own].tobytes() == wanted[~own].tobytes()
        if np.isnan(value) or method.subtracts_mean:
            assert np.isnan(found[own].astype(np.float64)).all()
        else:
            assert not np.isfinite(found[index].astype(np.float64))


@pytest.mark.parametrize("method", ROWS, ids=str)
def test_the_same_row_in_any_batch(method):
    fused = fuse(small(method, F16, rows=64, size=200), FUSIONS[:3], 14)
    whole = execute_plan(fused)
    for row in (0, 17, 63):
        inputs = {name: values[row:row + 1] if name == "residual" else values for name, values in fused.inputs.items()}
        problem = fused.problem.with_scalars(rows=1).with_inputs(x=fused.problem.inputs["x"][row:row + 1])
        alone = execute_plan(Fused(problem, fused.choices, inputs))
        for name, found in alone.outputs.items():
            assert found.tobytes() == whole.outputs[name][row:row + 1].tobytes(), f"{name} of row {row}"

"""Plans that store integers: exactly what the header says of the y of the same plan in f32."""

import numpy as np
import pytest

from support.dtypes import BF16, F16, F32
from support.fusing import FUSIONS, fuse, layouts
from support.header import constants
from support.plans import FUSABLE, ROWS, Fused, execute_plan, in_parts
from support.strategies import small

C = constants()
DTYPES = pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=str)
RANGES = {C["I8"]: (-128, 127), C["U8"]: (0, 255)}


def quantized(y: np.ndarray, scale, zero_point: int, low: int, high: int) -> np.ndarray:
    """Integers of y, in the type of computation as y itself."""
    with np.errstate(all="ignore"):
        steps = np.rint(y / np.float32(scale)) + np.float32(zero_point)
    return np.where(np.isnan(y), zero_point, np.clip(steps, low, high)).astype(np.int64)


def stored(fused: Fused, **options) -> np.ndarray:
    run = execute_plan(fused, **options)
    assert run.status == 0
    return run.outputs["y"].astype(np.int64)


@pytest.mark.parametrize("output", RANGES)
@DTYPES
@pytest.mark.parametrize("method", FUSABLE, ids=str)
def test_every_method(method, dtype, output):
    low, high = RANGES[output]
    for layout in layouts(method):
        fused = fuse(small(method, dtype, **layout, rows=60, size=37, positions=9), FUSIONS, 1, rows_per_sample=4)
        y = execute_plan(fused.choosing(output_dtype=F32.code)).outputs["y"]
        for scale in (0.02, 0.03125, 1.0, 1e-30, 1e30):
            for zero_point in (low, high, 0, 3):
                integers = Fused(fused.problem, fused.choices | {"output_dtype": output}, fused.inputs,
                                 {"output_scale": scale, "zero_point": zero_point})
                wanted = quantized(y, scale, zero_point, low, high)
                np.testing.assert_array_equal(stored(integers), wanted, str(integers))


def given(values: np.ndarray, **choices) -> Fused:
    """A plan whose y is `values`: of given statistics that change nothing."""
    method = next(m for m in FUSABLE if str(m) == "batch_norm_inference")
    problem = small(method, F32, samples=1, channels=1, positions=values.size, epsilon=0.0)
    one = np.ones(1, np.float32)
    inputs = {"x": values.reshape(1, 1, -1), "gamma": None, "beta": None, "mean": 0 * one, "variance": one}
    return Fused(problem.with_inputs(**inputs), choices)


@pytest.mark.parametrize("output", RANGES)
def test_ties_limits_and_what_is_no_number(output):
    low, high = RANGES[output]
    values = np.concatenate([np.arange(-300, 300, 0.25), [0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45],
                             np.nextafter(np.arange(-9.5, 9), np.float32(99)),
                             np.nextafter(np.arange(-9.5, 9), np.float32(-99))]).astype(np.float32)
    for scale in (1.0, 0.5, 3.0):
        for zero_point in (0, 7, high):
            fused = Fused(given(values).problem, {"output_dtype": output},
                          numbers={"output_scale": scale, "zero_point": zero_point})
            wanted = quantized(values, scale, zero_point, low, high)
            np.testing.assert_array_equal(stored(fused).reshape(-1), wanted)
            assert {low, high, zero_point} <= set(wanted)


def test_gaps_and_bytes_beside_them():
    for method in FUSABLE:
        for layout in layouts(method):
            fused = fuse(small(method, F32, **layout), ("ADD_RESIDUAL",), 2, output_dtype=C["I8"])
            fused = Fused(fused.problem, fused.choices, fused.inputs, {"output_scale": 0.02})
            apart = fused.choosing(y_stride=fused.problem.view.run + 5)
            np.testing.assert_array_equal(stored(apart), stored(fused))


# ---- A scale for each row


def by_row(fused: Fused) -> Fused:
    return fused.choosing(fusions=fused.choices["fusions"] | C["SCALE_PER_ROW"], output_dtype=C["I8"])


@DTYPES
@pytest.mark.parametrize("fusions", [(), FUSIONS], ids=len)
@pytest.mark.parametrize("size", [1, 5, 64, 1000, 5003])
@pytest.mark.parametrize("method", ROWS, ids=str)
def test_scale_per_row(method, dtype, size, fusions):
    fused = fuse(small(method, dtype, rows=24, size=size), fusions, 3, rows_per_sample=6)
    y = execute_plan(fused.choosing(output_dtype=F32.code)).outputs["y"]
    run = execute_plan(by_row(fused))
    scales = np.abs(y).max(axis=1) / np.float32(127)
    np.testing.assert_array_equal(run.outputs["row_scales"], scales)
    wanted = quantized(y, np.where(scales == 0, 1, scales)[:, None], 0, -127, 127)
    np.testing.assert_array_equal(run.outputs["y"], wanted)
    for parts in (2, 7):
        again = execute_plan(by_row(fused), in_parts(parts), parts)
        assert all(again.outputs[name].tobytes() == found.tobytes() for name, found in run.outputs.items())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_rows_without_a_scale(value):
    """NaN gives 0, zeros give zeros, and the rows beside them are as they were. The row is added after the
    normalization, so that the others of its elements are finite."""
    fused = fuse(small(ROWS[0], F32, rows=4, size=40), ("ADD_RESIDUAL_AFTER",), 4)
    clean = execute_plan(by_row(fused)).outputs
    after = fused.inputs["residual_after"].copy()
    if value == 0:
        after[1] = 0
        problem = fused.problem.with_inputs(gamma=np.zeros(40, np.float32), beta=np.zeros(40, np.float32))
        found = execute_plan(by_row(Fused(problem, fused.choices, {"residual_after": after}))).outputs
        assert not found["y"][1].any() and found["row_scales"][1] == 0
        return
    after[1, 7] = value
    found = execute_plan(by_row(Fused(fused.problem, fused.choices, {"residual_after": after}))).outputs
    others = [0, 2, 3]
    assert found["y"][others].tobytes() == clean["y"][others].tobytes()
    assert found["row_scales"][others].tobytes() == clean["row_scales"][others].tobytes()
    if np.isnan(value):
        assert found["y"][1, 7] == 0


@pytest.mark.parametrize("method", ROWS, ids=str)
def test_what_the_scales_are_for(method):
    """Integer times scale is as near to y as half a step, and the largest of a row is 127."""
    fused = fuse(small(method, F32, rows=50, size=384), FUSIONS, 5, rows_per_sample=10)
    y = execute_plan(fused).outputs["y"].astype(np.float64)
    found = execute_plan(by_row(fused)).outputs
    steps = found["row_scales"].astype(np.float64)[:, None]
    assert np.abs(found["y"] * steps - y).max() <= 0.5001 * steps.max()
    assert (np.abs(found["y"].astype(int)).max(axis=1) == 127).all()

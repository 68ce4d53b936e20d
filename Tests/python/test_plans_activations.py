"""Activations of plans: at most two units in the last place from the exact value, for every kind of argument; of halves,
what rounding makes of a value within 2^-16."""

import numpy as np
import pytest

from support import library
from support.activations import CODES, NAMES, activate
from support.dtypes import BF16, DTYPES, F16, F32, F64, DType, exact, rounded
from support.fused import right
from support.fusing import FUSIONS, fuse, layouts
from support.header import constants
from support.methods import method
from support.plans import FUSABLE, Fused, execute_plan
from support.strategies import small

C = constants()
ACTIVATIONS = [(name, code) for name, code in zip(NAMES, CODES, strict=True) if code]
every_activation = pytest.mark.parametrize(("name", "code"), ACTIVATIONS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
# Two units, half a one more without fma, and a third for the reference of f64, whose own type is hardly wider.
_UNITS = {F32: 2.5 if library.isa() == "x86-64-v2" else 2.0, F64: 2.34}
SLOPE = -0.37


def arguments(dtype: DType) -> np.ndarray:
    """Numbers of every size and sign: all of a half, many of the others, most where activations are curved."""
    if dtype.is_half:
        every = np.arange(65536, dtype=np.uint16).view(dtype.numpy)
        return every[np.isfinite(every.astype(np.float32))]
    rng = np.random.default_rng(1)
    least, most = (-45, 38) if dtype == F32 else (-320, 308)
    sizes = np.exp(np.log(10) * rng.uniform(least, most, 20_000))
    curved = np.concatenate([rng.uniform(-40, 40, 60_000), rng.uniform(-4, 4, 500_000), rng.uniform(-120, 120, 4000),
                             rng.uniform(-800, 800, 4000), np.linspace(-3.001, 3.001, 6003)])
    return rounded(np.concatenate([sizes, -sizes, curved, [0.0, -0.0, dtype.largest, -dtype.largest]]), dtype)


def of_given(values: np.ndarray, dtype: DType, **choices) -> Fused:
    """A plan that does nothing else to its x: its statistics are given, and change nothing."""
    problem = small(method("batch_norm_inference"), dtype, samples=1, channels=1, positions=values.size, epsilon=0.0)
    one = np.ones(1, dtype.statistics.numpy)
    inputs = {"x": values.reshape(1, 1, -1), "gamma": None, "beta": None, "mean": 0 * one, "variance": one}
    return Fused(problem.with_inputs(**inputs), choices)


def spacing(values: np.ndarray, dtype: DType) -> np.ndarray:
    """One unit in the last place of each value."""
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log2(np.abs(values)))
    unit = np.exp2(np.maximum(np.where(np.isfinite(exponent), exponent, -20000), -16000))
    return np.maximum(unit * np.longdouble(dtype.epsilon), np.longdouble(dtype.smallest_subnormal))


def most_off(found: np.ndarray, wanted: np.ndarray, dtype: DType) -> tuple[int, np.longdouble]:
    """Which element is furthest from what is wanted, and by how many units in the last place."""
    actual = exact(found)
    units = np.abs(actual - wanted) / spacing(wanted, dtype)
    overflowed = np.isinf(actual) & (np.abs(wanted) > dtype.largest)
    units = np.where(overflowed | (actual == wanted), 0, units)
    worst = int(np.argmax(np.where(np.isnan(units), np.inf, units)))
    return worst, units[worst]


@pytest.mark.parametrize("side", ["activation_before", "activation_after"])
@every_dtype
@every_activation
def test_accuracy(name, code, dtype, side):
    x = arguments(dtype)
    found = execute_plan(of_given(x, dtype, **{side: code, "slope": SLOPE})).outputs["y"].reshape(-1)
    # A slope is a number of the type of computation.
    slope = float(dtype.statistics.numpy.type(SLOPE))
    worst, units = most_off(found, activate(code, exact(x), slope), dtype)
    # A half is rounded once more, from what is off by two units of f32, or, if it is the result, by 2^-16.
    before = 2 * float(np.finfo(np.float32).eps) if side == "activation_before" else 2.0**-16
    limit = _UNITS.get(dtype, 0.5 + before / dtype.epsilon)
    assert units <= limit, f"{name}({x[worst]!r}) is {found[worst]!r}, off by {units:.3g} units"


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@every_activation
def test_accuracy_of_halves_from_f32(name, code, dtype):
    """Arguments that are not halves."""
    x = arguments(F32)
    code_of = {F16: C["F16"], BF16: C["BF16"]}[dtype]
    fused = of_given(x, F32, activation_after=code, slope=SLOPE, output_dtype=code_of)
    found = execute_plan(fused).outputs["y"].reshape(-1)
    worst, units = most_off(found, activate(code, exact(x), float(np.float32(SLOPE))), dtype)
    assert units <= 0.5 + 2.0**-16 / dtype.epsilon, f"{name}({x[worst]!r}) is {found[worst]!r}, off by {units:.3g} units"


@every_dtype
@every_activation
def test_nan_and_infinity(name, code, dtype):
    values = rounded([np.nan, 1.0, np.inf, -1.0], dtype)
    run = execute_plan(of_given(values, dtype, activation_after=code, slope=0.5))
    found = run.outputs["y"].astype(np.float64)[0, 0]
    assert np.isnan(found[0])
    assert found[2] == (1 if name in ("SIGMOID", "TANH") else np.inf)
    assert np.isfinite(found[[1, 3]]).all()


@pytest.mark.parametrize(("name", "limit"), [("RELU", 0), ("SIGMOID", 0), ("TANH", -1), ("LEAKY_RELU", -np.inf)])
@every_dtype
def test_minus_infinity(name, limit, dtype):
    found = execute_plan(of_given(rounded([-np.inf], dtype), dtype, activation_after=C[name], slope=0.5)).outputs["y"]
    assert found.astype(np.float64)[0, 0, 0] == limit


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 100])
@every_activation
def test_each_element_is_alone(name, code, count):
    """An element has the same bits wherever it stands."""
    x = rounded(np.random.default_rng(2).normal(0, 3, 100), F32)
    together = execute_plan(of_given(x, F32, activation_after=code, slope=0.1)).outputs["y"][0, 0, :count]
    few = execute_plan(of_given(x[:count], F32, activation_after=code, slope=0.1)).outputs["y"][0, 0]
    assert few.tobytes() == together.tobytes()


@pytest.mark.parametrize("dtype", [F32, F64, F16, BF16], ids=str)
@every_activation
@pytest.mark.parametrize("one", FUSABLE, ids=str)
def test_around_every_method(one, name, code, dtype):
    for layout in layouts(one):
        problem = small(one, dtype, **layout, size=37)
        right(fuse(problem, (), 1, activation_after=code, slope=SLOPE))
        right(fuse(problem, FUSIONS[:3], 2, activation_before=code, slope=SLOPE))
        right(fuse(problem, FUSIONS, 3, activation_before=code, activation_after=code, slope=0.01, rows_per_sample=2))


@pytest.mark.parametrize("slope", [0.0, 1.0, -2.5, 0.01, 1e30])
def test_slope(slope):
    x = rounded([-3.0, -1e-3, -0.0, 0.0, 5.0], F32)
    found = execute_plan(of_given(x, F32, activation_after=C["LEAKY_RELU"], slope=slope)).outputs["y"][0, 0]
    np.testing.assert_array_equal(found, np.where(x < 0, np.float32(slope) * x, x))

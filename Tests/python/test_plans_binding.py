"""normkit.Plan: the same bits as the C interface, what it refuses before the library is called, threads, memory."""

import contextlib
import pickle
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

import normkit
from normkit._engine import Run
from normkit._plan_abi import Activation, Fusion, Method
from support.dtypes import DTYPES
from support.fusing import FUSIONS, fuse, layouts
from support.header import constants
from support.plans import FUSABLE, PLANNED, Fused, execute_plan
from support.strategies import small

C = constants()
LAYOUTS = {1: "channels_first", 2: "channels_last"}
ROWS, SIZE = 6, 10
X = np.random.default_rng(0).normal(size=(ROWS, SIZE)).astype(np.float32)


def named(value: int, names: tuple[str, ...]) -> str:
    return next(name.lower() for name in names if C[name] == value)


def described(fused: Fused) -> normkit.Plan:
    """The plan of a description."""
    d, method = fused.description, str(fused.problem.method)
    kinds = {C[str(dtype).upper()]: dtype.numpy.name for dtype in DTYPES}
    fusions = {name.lower(): bool(d.fusions & C[name]) for name in Fusion.__members__}
    wanted = dict(
        dtype=kinds[d.dtype], parameter_dtype=kinds[d.parameter_dtype], output_dtype=kinds.get(d.output_dtype),
        epsilon=d.epsilon, slope=d.slope, momentum=d.momentum,
        activation_before=Activation(d.activation_before).name.lower(),
        activation_after=Activation(d.activation_after).name.lower(), **fusions)
    for name in ("rows", "size", "samples", "channels", "positions", "groups", "outer", "slices", "inner",
                 "one_plus_gamma", "one_plus_sample_scale", "rows_per_sample", "x_stride", "y_stride",
                 "residual_stride", "sum_stride", "residual_after_stride"):
        if getattr(d, name):
            wanted[name] = getattr(d, name)
    if d.layout:
        wanted["layout"] = LAYOUTS[d.layout]
    if d.norm:
        wanted["norm"] = named(d.norm, ("L1", "L2", "MAX"))
    if "shape" in fused.problem.scalars:
        wanted |= {"shape": tuple(d.shape[:d.rank]), "axes": tuple(d.axes[:d.axis_count])}
    return normkit.Plan(method, **wanted)


def arrays_of(fused: Fused) -> dict[str, np.ndarray]:
    """The operands, groups of channels as channels, with outputs that hold something else."""
    found = {name: values.copy() for name, values in fused.given.items()}
    found |= {name: np.full(fused.shape(name), 77, fused.numpy_type(name)) for name in fused.written
              if name not in found}
    if str(fused.problem.method) == "group_norm":
        scalars = fused.problem.scalars
        n, c, l = scalars["samples"], scalars["channels"], scalars["positions"]
        shape = (n, c, l) if scalars["layout"] == 1 else (n, l, c)
        for name, values in found.items():
            if values.shape == fused.problem.view.shape:
                found[name] = values.reshape(shape)
            elif name in ("gamma", "beta", "bias"):
                found[name] = values.reshape(c)
            elif name.startswith("sample_"):
                found[name] = values.reshape(n, c)
    return found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_same_bits_as_the_c_interface(method, dtype):
    for layout in layouts(method):
        cases = [Fused(small(method, dtype, **layout))]
        if method in FUSABLE:
            cases.append(fuse(small(method, dtype, **layout), FUSIONS, 1, activation_after=C["RELU"],
                              one_plus_sample_scale=1, rows_per_sample=2))
        for fused in cases:
            plan, arrays = described(fused), arrays_of(fused)
            wanted = execute_plan(fused).outputs
            plan.run(**arrays)
            for name, values in wanted.items():
                assert arrays[name].tobytes() == values.tobytes(), f"{name} of {fused}"


def layer(**choices) -> normkit.Plan:
    return normkit.Plan("layer_norm", **{"rows": ROWS, "size": SIZE} | choices)


# ---- What is refused


@pytest.mark.parametrize(("choices", "error", "words"), [
    ({"dtype": "float128"}, ValueError, "dtype is float128; it must be one of float32"),
    ({"dtype": "int8"}, ValueError, "dtype is int8"),
    ({"dtype": np.int64}, ValueError, "dtype is int64"),
    ({"output_dtype": "int32"}, ValueError, "output_dtype is int32; it must be one of .* int8, uint8"),
    ({"activation_after": "swish"}, ValueError, "activation_after is 'swish'; it must be one of identity, relu"),
    ({"activation_before": 3}, ValueError, "activation_before is 3"),
    ({"layout": "NCHW"}, ValueError, "layout is 'NCHW'; it must be one of channels_first, channels_last"),
    ({"norm": "l3"}, ValueError, "norm is 'l3'; it must be one of l1, l2, max"),
    ({"epsilon_rule": "both"}, ValueError, "must be one of inside_sqrt, outside_sqrt"),
    ({"running_variance_rule": "x"}, ValueError, "must be one of unbiased, biased"),
    ({"rows": 1.5}, TypeError, "rows is a float; it must be an integer"),
    ({"epsilon": "1"}, TypeError, "epsilon is a str; it must be a number"),
])
def test_descriptions_that_are_no_descriptions(choices, error, words):
    with pytest.raises(error, match=words):
        layer(**choices)


def test_unknown_method():
    with pytest.raises(ValueError, match="method is 'layernorm'; it must be one of layer_norm, layer_norm_channels"):
        normkit.Plan("layernorm")


@pytest.mark.parametrize(("choices", "status"), [
    ({"rows": -1}, "ERROR_ROWS"), ({"size": 2**64 + 3}, "ERROR_TOO_LARGE"), ({"rows": -(2**70)}, "ERROR_ROWS"),
    ({"epsilon": -1}, "ERROR_EPSILON"), ({"store_sum": True}, "ERROR_FUSION"), ({"x_stride": 3}, "ERROR_X_STRIDE"),
    ({"scale_shift_samples": True, "rows_per_sample": 4}, "ERROR_SAMPLE_SCALE"),
    ({"parameter_dtype": "float64"}, "ERROR_PARAMETER_DTYPE"), ({"output_dtype": "float64"}, "ERROR_OUTPUT_DTYPE"),
])
def test_descriptions_that_the_library_refuses(choices, status):
    with pytest.raises(normkit.NormKitError) as caught:
        layer(**choices)
    assert caught.value.status == normkit.Status[status] and caught.value.function == "normkit_plan_create"


@pytest.mark.parametrize(("name", "value", "error", "words"), [
    ("x", X.tolist(), TypeError, "x is a list; a plan takes NumPy arrays"),
    ("x", np.ma.masked_array(X), TypeError, "x is a MaskedArray"),
    ("x", X.astype(np.float64), TypeError, "x has dtype float64; this plan needs float32"),
    ("x", X.astype(">f4"), TypeError, "x has dtype >f4"),
    ("x", X.reshape(-1), ValueError, r"x has shape \(60,\); this plan needs \(6, 10\)"),
    ("x", X[:, ::-1], ValueError, r"x has strides of \(40, -4\) bytes; this plan needs contiguous memory"),
    ("x", np.broadcast_to(X[:1], X.shape), ValueError, "x has strides"),
    ("y", np.broadcast_to(np.float32(1), X.shape), ValueError, "y has strides"),
    ("gamma", np.ones(SIZE, np.float16), TypeError, "gamma has dtype float16"),
    ("gamma", np.ones(SIZE + 1, np.float32), ValueError, r"gamma has shape \(11,\); this plan needs \(10,\)"),
    ("gamma", np.ones(2 * SIZE, np.float32)[::2], ValueError, "gamma has strides"),
    ("mean", np.ones(ROWS), TypeError, "mean has dtype float64; this plan needs float32"),
    ("residual", X, ValueError, "residual is not used by this plan"),
    ("running_mean", X[0], ValueError, "running_mean is not used by this plan"),
    ("gama", X[0], ValueError, "gama is not used by this plan"),
    ("output_scale", "1", TypeError, "output_scale is a str"),
    ("zero_point", 0.5, TypeError, "zero_point is a float"),
    ("workspace", bytearray(9), TypeError, "workspace is a bytearray"),
    ("workspace", np.ones((4, 4))[:, ::2], ValueError, "workspace is read-only or not contiguous"),
])
def test_operands_that_do_not_fit(name, value, error, words):
    y = np.full_like(X, 77)
    with pytest.raises(error, match=words):
        layer().run(**{"x": X, "y": y} | {name: value})
    assert (y == 77).all()


def test_read_only_outputs():
    y = np.full_like(X, 77)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="y is read-only"):
        layer().run(x=X, y=y)


@pytest.mark.parametrize(("arrays", "status"), [
    ({}, "ERROR_X_NULL"), ({"x": X}, "ERROR_Y_NULL"),
    ({"x": X, "y": X.copy()}, "ERROR_RESIDUAL_NULL"),
])
def test_operands_that_are_missing(arrays, status):
    with pytest.raises(normkit.NormKitError) as caught:
        layer(add_residual=True).run(**arrays)
    assert caught.value.status == normkit.Status[status] and caught.value.function == "normkit_plan_run"


def test_gaps_that_the_plan_does_not_have():
    wide = np.zeros((ROWS, SIZE + 3), np.float32)
    wide[:, :SIZE] = X
    y = np.empty_like(X)
    plan = layer(x_stride=SIZE + 3)
    plan.run(x=wide[:, :SIZE], y=y)
    assert y.tobytes() == normkit.layer_norm(X).tobytes()
    with pytest.raises(ValueError, match=r"x has strides of \(40, 4\) bytes; this plan needs \(52, 4\), as x_stride"):
        plan.run(x=X, y=y)


def test_gaps_between_positions():
    memory = np.random.default_rng(1).normal(size=(2, 5, 9)).astype(np.float32)
    y = np.empty((2, 5, 6), np.float32)
    plan = normkit.Plan("group_norm", samples=2, positions=5, channels=6, groups=3, layout="channels_last", x_stride=9)
    plan.run(x=memory[..., 2:8], y=y)
    wanted = normkit.group_norm(np.ascontiguousarray(memory[..., 2:8].transpose(0, 2, 1)), 3)
    np.testing.assert_allclose(y, wanted.transpose(0, 2, 1), rtol=0, atol=1e-6)


# ---- Parts, threads, memory


def large() -> tuple[normkit.Plan, dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    plan = normkit.Plan("rms_norm", rows=300, size=200, dtype="float16", add_residual=True, store_sum=True,
                        output_dtype="int8", scale_per_row=True)
    x, residual = rng.normal(size=(2, 300, 200)).astype(np.float16)
    return plan, {"x": x, "residual": residual, "sum": np.empty_like(x), "y": np.empty((300, 200), np.int8),
                  "row_scales": np.empty(300, np.float32)}


def results(arrays: dict[str, np.ndarray]) -> list[bytes]:
    return [arrays[name].tobytes() for name in ("sum", "y", "row_scales")]


def forget(arrays: dict[str, np.ndarray]) -> None:
    for name in ("sum", "y", "row_scales"):
        arrays[name][...] = 1


def every(pool):
    return lambda count, task: list(pool.map(task, range(count)))


def test_ways_to_run():
    plan, arrays = large()
    plan.run(**arrays)
    wanted = results(arrays)
    assert plan.most_parts > 4 and plan.workspace(4) > plan.workspace()
    assert plan.useful_parts(1) == 1 and 1 < plan.useful_parts(4) <= 4

    forget(arrays)
    workspace = np.empty(plan.workspace(4), np.uint8)
    for phase in range(plan.phases):
        for part in (2, 0, 3, 1):
            plan.run_part(phase, part, 4, workspace=workspace, **arrays)
    assert results(arrays) == wanted

    with ThreadPoolExecutor(3) as pool:
        forget(arrays)
        plan.run_parallel(every(pool), parts=5, **arrays)
        assert results(arrays) == wanted
        run = plan.bind(parts=3, **arrays)
        for _ in range(20):
            forget(arrays)
            run.parallel(every(pool))
            assert results(arrays) == wanted

    before = normkit.get_num_threads()
    for count in (1, 4):
        normkit.set_num_threads(count)
        forget(arrays)
        plan.run_threads(**arrays)
        assert results(arrays) == wanted
    normkit.set_num_threads(before)


def test_phases():
    """Few long sets, which parts share."""
    x = np.random.default_rng(3).normal(size=(1, 400_001)).astype(np.float32)
    x = np.concatenate([x, 2 * x])
    plan = normkit.Plan("layer_norm", rows=2, size=400_001)
    y, parts = np.empty_like(x), 4
    assert plan.phases == 3
    run = plan.bind(x=x, y=y, parts=parts)
    for phase in range(3):
        for part in range(parts):
            run.part(phase, part)
    assert y.tobytes() == normkit.layer_norm(x).tobytes()


def test_one_phase_where_nothing_is_summed():
    """Parts share a set whose statistics are given, each on its own, in any order, without memory between them."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(4, 1001, 48)).astype(np.float32)
    gamma, beta, mean, variance = (rng.uniform(0.5, 2, 48).astype(np.float32) for _ in range(4))
    plan = normkit.Plan("batch_norm_inference", samples=4, channels=48, positions=1001, layout="channels_last")
    y, parts = np.empty_like(x), 5
    assert plan.phases == 1 and plan.workspace(parts) == 0 and plan.most_parts >= parts
    run = plan.bind(x=x, y=y, gamma=gamma, beta=beta, given_mean=mean, given_variance=variance, parts=parts)
    for part in reversed(range(parts)):
        run.part(0, part)
    wanted = normkit.batch_norm(x, mean, variance, gamma, beta, channel_axis=-1)
    assert y.tobytes() == wanted.tobytes()


def test_parts_that_do_not_exist():
    plan, arrays = large()
    with pytest.raises(ValueError, match="parts is 0; it must be at least 1"):
        plan.workspace(0)
    with pytest.raises(ValueError, match="workspace is missing: all parts share one of [0-9]+ bytes"):
        plan.run_part(0, 0, 4, **arrays)
    for phase, part in ((0, 4), (0, -1), (plan.phases, 0), (0, 2**33)):
        with pytest.raises(normkit.NormKitError) as caught:
            plan.run_part(phase, part, 4, workspace=np.empty(plan.workspace(4), np.uint8), **arrays)
        assert caught.value.status == normkit.Status.ERROR_PARTS
    with pytest.raises(normkit.NormKitError) as caught:
        plan.run(workspace=np.empty(64, np.uint8), **arrays)
    assert caught.value.status == normkit.Status.ERROR_WORKSPACE


def test_loop_that_raises():
    plan, arrays = large()

    def loop(count, task):
        task(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        plan.run_parallel(loop, parts=4, **arrays)


def test_loop_that_leaves_parts_out():
    plan, arrays = large()
    with pytest.raises(RuntimeError, match="parallel_for has returned after 1 of 4 parts"):
        plan.run_parallel(lambda count, task: task(0), parts=4, **arrays)


def test_loop_that_returns_too_early():
    """Parts that have begun are waited for; later ones find out that it is too late."""
    plan, arrays = large()
    gate, kept = threading.Event(), []

    def run_all(count, task):
        gate.set()
        with contextlib.suppress(RuntimeError):
            for i in range(count):
                task(i)

    def loop(count, task):
        kept.append(task)
        threading.Thread(target=run_all, args=(count, task)).start()
        gate.wait()

    try:
        plan.run_parallel(loop, parts=4, **arrays)
    except RuntimeError as error:
        assert "parallel_for has returned" in str(error)
    with pytest.raises(RuntimeError, match="before all parts were run"):
        kept[0](0)


def test_many_threads_at_a_time():
    plan, arrays = large()
    plan.run(**arrays)
    wanted = results(arrays)

    def one(_):
        mine = {name: values.copy() for name, values in arrays.items()}
        forget(mine)
        plan.run(**mine)
        return results(mine) == wanted

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))


def test_a_bound_run_holds_its_arrays():
    plan = layer()
    x, y = X.copy(), np.empty_like(X)
    run = plan.bind(x=x, y=y)
    assert isinstance(run, Run) and run.arrays["x"] is x
    del plan, x
    for factor in (1, 3):
        run.arrays["x"][...] = X * factor
        run()
        assert y.tobytes() == normkit.layer_norm(X * np.float32(factor)).tobytes()


def test_nothing_is_copied():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(500, 1000)).astype(np.float32)
    plan = normkit.Plan("layer_norm", rows=500, size=1000, add_residual=True)
    arrays = {"x": x, "residual": x, "y": np.empty_like(x)}
    plan.run(**arrays)
    tracemalloc.start()
    plan.run(**arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000


def test_in_place():
    plan = layer(add_residual=True, store_sum=True)
    residual, x = X[::-1].copy(), X.copy()
    plan.run(x=x, residual=residual, sum=residual, y=x)
    assert (residual == X + X[::-1]).all()
    assert x.tobytes() == normkit.layer_norm(X + X[::-1]).tobytes()


def test_pickled():
    plan = normkit.Plan("rms_norm", rows=ROWS, size=SIZE, dtype=ml_dtypes.bfloat16, one_plus_gamma=True)
    again = pickle.loads(pickle.dumps(plan))
    assert repr(again) == repr(plan) == "<Plan of rms_norm, (6, 10) bfloat16>"
    x, one = X.astype(ml_dtypes.bfloat16), np.ones(SIZE, ml_dtypes.bfloat16)
    y, other = np.empty_like(x), np.empty_like(x)
    plan.run(x=x, gamma=one, y=y)
    del plan
    again.run(x=x, gamma=one, y=other)
    assert y.tobytes() == other.tobytes()


def test_every_method_has_a_name():
    assert {str(m) for m in PLANNED} == {name.lower() for name in Method.__members__}


def test_integers():
    plan = normkit.Plan("layer_norm", rows=ROWS, size=SIZE, output_dtype=np.uint8)
    y, exact = np.empty(X.shape, np.uint8), normkit.layer_norm(X)
    plan.run(x=X, y=y, output_scale=0.02, zero_point=128)
    np.testing.assert_array_equal(y, np.clip(np.rint(exact / np.float32(0.02)) + 128, 0, 255))
    with pytest.raises(normkit.NormKitError) as caught:
        plan.run(x=X, y=y)
    assert caught.value.status == normkit.Status.ERROR_OUTPUT_SCALE


def test_wide_parameters_beside_halves():
    plan = normkit.Plan("layer_norm", rows=ROWS, size=SIZE, dtype="float16", parameter_dtype="float32")
    x, gamma = X.astype(np.float16), np.linspace(0, 1, SIZE, dtype=np.float32)
    y = np.empty_like(x)
    plan.run(x=x, gamma=gamma, y=y)
    assert y.tobytes() == normkit.layer_norm(x, gamma).tobytes()

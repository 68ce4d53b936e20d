"""NormKit's operators in ONNX Runtime, against the formulas in f64."""

import threading

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from scipy.special import erf  # noqa: E402
from support.onnx_models import model, run, session, value  # noqa: E402

EPSILON = 2.0**-10  # attributes are f32
ACTIVATIONS = {
    "Relu": lambda v: np.maximum(v, 0),
    "LeakyRelu": lambda v: np.where(v < 0, 0.2 * v, v),
    "Gelu": lambda v: v * (1 + erf(v / np.sqrt(2))) / 2,
    "GeluTanh": lambda v: v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))) / 2,
    "Silu": lambda v: v / (1 + np.exp(-v)),
    "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "Tanh": np.tanh,
    "HardSwish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
}
# numpy type, ONNX type, units of error: halves are rounded once, of f32 and f64 several times
TYPES = {"f32": (np.float32, TensorProto.FLOAT, 8), "f64": (np.float64, TensorProto.DOUBLE, 8),
         "f16": (np.float16, TensorProto.FLOAT16, 1)}


def normalize(x, axes, parameters, rms=False):
    """The formula in f64; parameters gamma, beta are shaped as they are broadcast."""
    gamma, beta = parameters
    mean = 0 if rms else x.mean(axis=axes, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + EPSILON)
    return (x - mean) * rstd * gamma + beta, mean, rstd


def random(shape, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *shape]).normal(1, 2, shape).astype(dtype)


def node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs, outputs, domain="normkit", epsilon=EPSILON, **attributes)


def check(found, exact, dtype, units):
    limit = units * np.finfo(dtype).eps * np.abs(exact).max()
    assert found.shape == exact.shape and found.dtype == dtype
    assert np.abs(found.astype(np.float64) - exact).max() <= limit


def channels(operator, x):
    """The exact result of an operator of channels, with gamma and beta of each channel."""
    n, c = x.shape[:2]
    shape = (c, *[1] * (x.ndim - 2))
    gamma, beta = random((c,), x.dtype, 1), random((c,), x.dtype, 2)
    wide = [p.astype(np.float64).reshape(shape) for p in (gamma, beta)]
    x = x.astype(np.float64)
    if operator == "InstanceNormalization":
        exact = normalize(x, tuple(range(2, x.ndim)), wide)[0]
    elif operator == "ChannelLayerNormalization":
        exact = normalize(x, 1, wide)[0]
    else:
        groups = normalize(x.reshape(n, 2, -1), 2, (1, 0))[0].reshape(x.shape)
        exact = groups * wide[0] + wide[1]
    return exact, {"gamma": gamma, "beta": beta}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("operator", ["InstanceNormalization", "GroupNormalization", "ChannelLayerNormalization"])
def test_channels(operator, kind):
    dtype, onnx_type, units = TYPES[kind]
    x = random((2, 6, 5, 7), dtype)
    exact, parameters = channels(operator, x)
    attributes = {"num_groups": 2} if operator == "GroupNormalization" else {}
    made = model([node(operator, ["x", "gamma", "beta"], ["y"], **attributes)],
                 [value("x", x.shape, onnx_type)], [value("y", None, onnx_type)], parameters)
    check(run(made, {"x": x})[0], exact, dtype, units)


@pytest.mark.parametrize("kind", TYPES)
def test_batch(kind):
    dtype, onnx_type, units = TYPES[kind]
    statistics = np.float64 if kind == "f64" else np.float32
    x, gamma, beta = random((2, 3, 4, 5), dtype), random((3,), dtype, 1), random((3,), dtype, 2)
    mean, variance = random((3,), statistics, 3), random((3,), statistics, 4) ** 2
    made = model([node("BatchNormalization", ["x", "gamma", "beta", "mean", "variance"], ["y"])],
                 [value("x", x.shape, onnx_type)], [value("y", None, onnx_type)],
                 {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance})
    wide = [p.astype(np.float64)[:, None, None] for p in (gamma, beta, mean, variance)]
    exact = (x.astype(np.float64) - wide[2]) / np.sqrt(wide[3] + EPSILON) * wide[0] + wide[1]
    check(run(made, {"x": x})[0], exact, dtype, units)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("axis", [-1, 1, -2])
@pytest.mark.parametrize("rms", [False, True])
def test_rows_with_statistics(rms, axis, kind):
    dtype, onnx_type, units = TYPES[kind]
    statistics = np.float64 if kind == "f64" else np.float32
    x = random((2, 3, 4, 5), dtype)
    parameters = {"gamma": random(x.shape[axis:], dtype, 1)}
    if not rms:
        parameters["beta"] = random(x.shape[axis:], dtype, 2)
    wide = [parameters[name].astype(np.float64) if name in parameters else 0 for name in ("gamma", "beta")]
    exact, mean, rstd = normalize(x.astype(np.float64), tuple(range(axis % 4, 4)), wide, rms)
    kind_of_statistics = TensorProto.DOUBLE if kind == "f64" else TensorProto.FLOAT
    names = ["rstd"] if rms else ["mean", "rstd"]
    made = model([node("RMSNormalization" if rms else "LayerNormalization",
                       ["x", *parameters], ["y", *names], axis=axis)],
                 [value("x", x.shape, onnx_type)],
                 [value("y", None, onnx_type), *(value(name, None, kind_of_statistics) for name in names)],
                 parameters)
    y, *found = run(made, {"x": x})
    check(y, exact, dtype, units)
    for one, wanted in zip(found, [rstd] if rms else [mean, rstd]):
        check(one, wanted, statistics, 8)


@pytest.mark.parametrize("rms, given", [
    (False, "gamma"), (False, "gamma beta"), (False, "gamma beta bias"), (True, "gamma"), (True, "gamma bias")])
@pytest.mark.parametrize("shapes", [((2, 3, 8), (2, 3, 8)), ((2, 3, 8), (3, 8)), ((2, 3, 8), (2, 1, 8)),
                                    ((1, 8), (4, 3, 8)), ((2, 3, 1), (1, 8))])
def test_residuals_are_added_and_the_sum_is_given(rms, shapes, given):
    x, skip = random(shapes[0]), random(shapes[1], seed=9)
    parameters = {name: random((8,), seed=i) for i, name in enumerate(given.split())}
    made = model([node("SkipRMSNormalization" if rms else "SkipLayerNormalization", ["x", "skip", *parameters],
                       ["y", "", "sum"] if rms else ["y", "", "", "sum"])],
                 {"x": shapes[0], "skip": shapes[1]}, ["y", "sum"], parameters)
    y, total = run(made, {"x": x, "skip": skip})
    wanted = x.astype(np.float64) + skip + parameters.get("bias", 0)
    check(total, wanted, np.float32, 2)
    exact = normalize(wanted, -1, [parameters["gamma"], parameters.get("beta", 0)], rms)[0]
    check(y, exact, np.float32, 12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", [True, False])
def test_activations(rows, activation):
    x = random((4, 6, 9))
    attributes = {"activation": activation, "slope": 0.2}
    if rows:
        made = node("LayerNormalization", ["x", "gamma", "beta"], ["y"], **attributes)
        parameters = {"gamma": random((9,), seed=1), "beta": random((9,), seed=2)}
        exact = normalize(x.astype(np.float64), -1, parameters.values())[0]
    else:
        made = node("InstanceNormalization", ["x", "gamma", "beta"], ["y"], **attributes)
        exact, parameters = channels("InstanceNormalization", x)
    found = run(model([made], {"x": x.shape}, ["y"], parameters), {"x": x})[0]
    check(found, ACTIVATIONS[activation](exact), np.float32, 8)


def two_in_a_row():
    """A model in which the second normalization may be written over the first."""
    parameters = {"gamma": random((384,), seed=1), "beta": random((384,), seed=2)}
    nodes = [node("LayerNormalization", ["x", "gamma", "beta"], ["a"]),
             node("SkipLayerNormalization", ["a", "x", "gamma", "beta"], ["b", "", "", "sum"]),
             node("LayerNormalization", ["b", "gamma", "beta"], ["y"])]
    return model(nodes, {"x": ["rows", 384]}, ["y", "sum"], parameters)


def test_threads_do_not_change_a_bit():
    x = random((600, 384))
    one, many = (run(two_in_a_row(), {"x": x}, threads) for threads in (1, 4))
    for a, b in zip(one, many):
        np.testing.assert_array_equal(a, b)


def test_many_shapes_in_many_threads_at_a_time():
    made = session(two_in_a_row(), threads=2)
    x = random((40, 384))
    wanted = made.run(None, {"x": x})[0]
    failures = []

    def work(seed):
        for rows in np.random.default_rng(seed).permutation(np.arange(1, 41)):
            y = made.run(None, {"x": x[:rows]})[0]
            if not np.array_equal(y, wanted[:rows]):
                failures.append(rows)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_no_rows():
    assert run(two_in_a_row(), {"x": np.empty((0, 384), np.float32)})[0].shape == (0, 384)


@pytest.mark.parametrize("change, message", [
    ({"gamma": np.ones(7, np.float32)}, "another size"),
    ({"axis": 3}, "axis"),
    ({"activation": "Softmax"}, "no such activation"),
    ({"x": (2, 1, 8), "skip": (3, 2, 8)}, "broadcast"),
    ({"epsilon": -1.0}, "epsilon"),
])
def test_what_makes_no_sense_is_refused(change, message):
    shapes = {"x": change.get("x", (2, 8)), "skip": change.get("skip", (2, 8))}
    made = node("SkipLayerNormalization", ["x", "skip", "gamma"], ["y"], **{
        key: value for key, value in change.items() if key in ("axis", "activation")})
    if "epsilon" in change:
        made.attribute[0].f = change["epsilon"]
    unknown = {name: [None] * len(shape) for name, shape in shapes.items()}
    made = model([made], unknown, ["y"], {"gamma": change.get("gamma", np.ones(8, np.float32))})
    with pytest.raises(Exception, match=message):
        run(made, {name: random(shape) for name, shape in shapes.items()})

"""The Python functions on every kind of array and element type, against plain NumPy formulas in f64."""

import math

import numpy as np
import pytest

import normkit
from support.kinds import DTYPES, KINDS, PAIRS, to_numpy

torch = pytest.importorskip("torch")

SHAPE = (3, 8, 5, 4)


def standardized(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def affine(z, w, b):
    return z * w[:, None, None] + b[:, None, None]


def grouped(x, w, b):
    z = standardized(x.reshape(3, 2, 4, 5, 4), (2, 3, 4)).reshape(x.shape)
    return affine(z, w, b)


def divided(x, norm):
    return x / norm


# Name: extent of weight and bias, the call, the same in f64.
FUNCTIONS = {
    "layer_norm": (
        4,
        lambda x, w, b, **o: normkit.layer_norm(x, w, b, **o),
        lambda x, w, b: standardized(x, 3) * w + b,
    ),
    "layer_norm over channels": (
        8,
        lambda x, w, b, **o: normkit.layer_norm(x, w, b, channel_axis=1, **o),
        lambda x, w, b: affine(standardized(x, 1), w, b),
    ),
    "rms_norm": (
        4,
        lambda x, w, b, **o: normkit.rms_norm(x, w, b, 1e-3, **o),
        lambda x, w, b: x / np.sqrt((x * x).mean(3, keepdims=True) + 1e-3) * w + b,
    ),
    "rms_norm with 1 + weight": (
        4,
        lambda x, w, b, **o: normkit.rms_norm(x, w, b, 1e-3, one_plus_weight=True, **o),
        lambda x, w, b: x / np.sqrt((x * x).mean(3, keepdims=True) + 1e-3) * (1 + w) + b,
    ),
    "batch_norm": (
        8,
        lambda x, w, b, **o: normkit.batch_norm(x, None, None, w, b, training=True, **o),
        lambda x, w, b: affine(standardized(x, (0, 2, 3)), w, b),
    ),
    "instance_norm": (
        8,
        lambda x, w, b, **o: normkit.instance_norm(x, None, None, w, b, **o),
        lambda x, w, b: affine(standardized(x, (2, 3)), w, b),
    ),
    "group_norm": (8, lambda x, w, b, **o: normkit.group_norm(x, 2, w, b, **o), grouped),
    "weight_norm": (
        8,
        lambda x, w, _, **o: normkit.weight_norm(x, w, 1, **o),
        lambda x, w, _: divided(x, np.sqrt((x * x).sum((0, 2, 3), keepdims=True))) * w[:, None, None],
    ),
    "weight_norm l1": (
        8,
        lambda x, w, _, **o: normkit.weight_norm(x, w, -3, norm="l1", **o),
        lambda x, w, _: divided(x, abs(x).sum((0, 2, 3), keepdims=True)) * w[:, None, None],
    ),
    "weight_norm max, whole": (
        1,
        lambda x, w, _, **o: normkit.weight_norm(x, w, None, norm="max", eps=0.5, **o),
        lambda x, w, _: divided(x, abs(x).max() + 0.5) * w,
    ),
    "normalize": (
        1,
        lambda x, _, __, **o: normkit.normalize(x, (1, -1), **o),
        lambda x, _, __: standardized(x, (1, 3)),
    ),
    "normalize, eps outside": (
        1,
        lambda x, _, __, **o: normkit.normalize(x, 2, eps=0.1, epsilon_inside=False, **o),
        lambda x, _, __: (x - x.mean(2, keepdims=True)) / (x.std(2, keepdims=True) + 0.1),
    ),
    "normalize l1": (
        1,
        lambda x, _, __, **o: normkit.normalize(x, 0, p=1, **o),
        lambda x, _, __: divided(x, abs(x).sum(0, keepdims=True)),
    ),
    "normalize l2": (
        1,
        lambda x, _, __, **o: normkit.normalize(x, p=2, **o),
        lambda x, _, __: divided(x, np.sqrt((x * x).sum())),
    ),
    "normalize max": (
        1,
        lambda x, _, __, **o: normkit.normalize(x, (2, 3), p=math.inf, **o),
        lambda x, _, __: divided(x, abs(x).max((2, 3), keepdims=True)),
    ),
    "scale_shift": (8, lambda x, w, b, **o: normkit.scale_shift(x, w, b, **o), affine),
    "scale_shift last": (
        4,
        lambda x, w, b, **o: normkit.scale_shift(x, w, b, -1, **o),
        lambda x, w, b: x * w + b,
    ),
}


def arguments(name, dtype, seed=0):
    """x, weight and bias as NumPy arrays."""
    random = np.random.default_rng(seed)
    extent = FUNCTIONS[name][0]
    x = random.normal(1, 2, SHAPE).astype(DTYPES[dtype])
    return x, *(random.normal(1, 0.5, extent).astype(DTYPES[dtype]) for _ in range(2))


def tolerance(dtype):
    # Rounding of the result, and of f32 computation relative to numbers up to about 10.
    return {"float32": 2e-6, "float64": 1e-14, "float16": 4e-3, "bfloat16": 3e-2}[dtype]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
def test_values_and_kind(name, kind, dtype):
    _, function, reference = FUNCTIONS[name]
    plain = arguments(name, dtype)
    before = [array.tobytes() for array in plain]
    x, w, b = (KINDS[kind](array) for array in plain)

    y = function(x, w, b)

    expected = reference(*(array.astype(np.float64) for array in plain))
    np.testing.assert_allclose(to_numpy(y), expected, rtol=tolerance(dtype), atol=tolerance(dtype))
    assert type(y) is (type(x) if kind in ("numpy", "torch", "jax") else np.ndarray)
    assert str(y.dtype).removeprefix("torch.") == dtype
    assert [array.tobytes() for array in plain] == before


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack", "buffer"])
def test_out_and_in_place(name, kind):
    _, function, _ = FUNCTIONS[name]
    x, w, b = arguments(name, "float32")
    expected = function(x.copy(), w, b)

    out = KINDS[kind](np.full(SHAPE, 7, np.float32))
    assert function(KINDS[kind](x.copy()), w, b, out=out) is out
    x = KINDS[kind](x.copy())
    assert function(x, w, b, out=x) is x
    for result in (out, x):
        result = result.tensor if kind == "dlpack" else result
        np.testing.assert_array_equal(to_numpy(result), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("normalize")])
def test_parameters_in_f32_beside_halves(name, dtype):
    _, function, reference = FUNCTIONS[name]
    x, w, b = arguments(name, dtype)
    w, b = w.astype(np.float32) + np.float32(1e-4), b.astype(np.float32)
    expected = reference(*(array.astype(np.float64) for array in (x, w, b)))
    y = function(x, w, b)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(to_numpy(y), expected, rtol=tolerance(dtype), atol=tolerance(dtype))


def test_row_of_several_axes():
    x = np.random.default_rng(1).normal(size=SHAPE)
    w, b = np.random.default_rng(2).normal(size=(2, 5, 4))
    expected = standardized(x, (2, 3)) * w + b
    for y in (normkit.layer_norm(x, w, b), normkit.layer_norm(x, w, b, normalized_shape=(5, 4))):
        np.testing.assert_allclose(y, expected, atol=1e-13)
    np.testing.assert_allclose(normkit.layer_norm(x, bias=b), standardized(x, (2, 3)) + b, atol=1e-13)
    np.testing.assert_allclose(normkit.layer_norm(x, normalized_shape=4), standardized(x, 3), atol=1e-13)
    np.testing.assert_allclose(
        normkit.rms_norm(x, normalized_shape=SHAPE), x / np.sqrt((x * x).mean()), atol=1e-13
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_default_eps_is_torchs(dtype):
    x = torch.tensor([[1e-4, -2e-4, 3e-4, 5e-5]], dtype=getattr(torch, dtype))
    expected = torch.nn.functional.rms_norm(x, (4,))
    np.testing.assert_allclose(to_numpy(normkit.rms_norm(x)), to_numpy(expected), rtol=2 * tolerance(dtype))


def test_statistics():
    x = np.random.default_rng(1).normal(3, 2, SHAPE)

    def check(results, axes, shape, rule=lambda mean, variance: (mean, 1 / np.sqrt(variance + 1e-5))):
        for found, expected in zip(results[1:], rule(x.mean(axes), x.var(axes)), strict=True):
            assert found.shape == shape and found.dtype == np.float64
            np.testing.assert_allclose(found, expected, rtol=1e-12)

    check(normkit.layer_norm(x, return_stats=True), 3, (3, 8, 5))
    check(normkit.layer_norm(x, channel_axis=1, return_stats=True), 1, (3, 5, 4))
    check(normkit.batch_norm(x, None, None, training=True, return_stats=True), (0, 2, 3), (8,))
    check(normkit.instance_norm(x, return_stats=True), (2, 3), (3, 8))
    check(normkit.normalize(x, (0, 2), return_stats=True), (0, 2), (8, 4))
    check((x, *normkit.moments(x, (0, 2))), (0, 2), (8, 4), lambda mean, variance: (mean, variance))
    check((x, *normkit.moments(x)), (0, 1, 2, 3), (), lambda mean, variance: (mean, variance))
    check((x, *normkit.moments(x, 2, 1)), 2, (3, 8, 4), lambda mean, variance: (mean, variance * 5 / 4))

    _, mean, rstd = normkit.group_norm(x, 2, return_stats=True)
    groups = x.reshape(3, 2, -1)
    np.testing.assert_allclose(mean, groups.mean(2), rtol=1e-12)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(groups.var(2) + 1e-5), rtol=1e-12)
    _, rstd = normkit.rms_norm(x, eps=0, return_stats=True)
    np.testing.assert_allclose(rstd, 1 / np.sqrt((x * x).mean(3)), rtol=1e-12)
    _, norms = normkit.weight_norm(x, dim=1, return_norms=True)
    np.testing.assert_allclose(norms, np.sqrt((x * x).sum((0, 2, 3))), rtol=1e-12)
    _, norm = normkit.weight_norm(x, dim=None, norm="l1", return_norms=True)
    np.testing.assert_allclose(norm, abs(x).sum(), rtol=1e-12)
    _, norm = normkit.normalize(x, 1, p=math.inf, return_stats=True)
    np.testing.assert_allclose(norm, abs(x).max(1), rtol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("kind", ["numpy", "torch", "jax"])
def test_statistics_are_f32_and_of_the_callers_kind(dtype, kind):
    x = KINDS[kind](np.ones(SHAPE, DTYPES[dtype]))
    for result in normkit.layer_norm(x, return_stats=True)[1:]:
        assert type(result) is type(x) and str(result.dtype).removeprefix("torch.") == "float32"


def test_weight_norm_takes_g_as_torch_stores_it():
    v = torch.randn(6, 3, 2, dtype=torch.float64)
    for dim in (0, 1, 2):
        g = torch.rand(*(v.shape[i] if i == dim else 1 for i in range(3)), dtype=torch.float64)
        expected = v * g / v.norm(dim=[i for i in range(3) if i != dim], keepdim=True)
        for given in (g, g.flatten()):
            torch.testing.assert_close(normkit.weight_norm(v, given, dim), expected)


def test_scalars_and_empty_arrays():
    scalar = np.float32(5)
    mean, variance = normkit.moments(scalar)
    assert (mean, variance) == (5, 0) and mean.shape == ()
    assert normkit.normalize(np.array(5.0), p=2) == 1
    for call in (normkit.layer_norm, normkit.rms_norm, normkit.instance_norm, normkit.normalize):
        for shape in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
            for x in (np.empty(shape, np.float32), torch.empty(shape), torch.empty(shape, dtype=torch.bfloat16)):
                y = call(x)
                assert y.shape == x.shape and type(y) is type(x)
    assert normkit.moments(np.empty((0, 3)), 1)[0].shape == (0,)

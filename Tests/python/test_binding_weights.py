"""Penalties on weights, and batch normalization folded into the layer before it."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import normkit
from support.kinds import DTYPES, KINDS, PAIRS, to_numpy
from support.layouts import UNFIT, allocated, batch

torch = pytest.importorskip("torch")
functional = torch.nn.functional

VALUE = {"l1": lambda w: abs(w).sum(), "l2": lambda w: (w * w).sum() / 2}
GRADIENT = {"l1": np.sign, "l2": lambda w: w}


def weights(dtype, shape=(6, 5, 4)):
    w = np.random.default_rng(0).normal(0, 2, shape).astype(DTYPES[dtype])
    w.flat[3] = 0
    return w


def epsilon(dtype):
    return float(ml_dtypes.finfo(DTYPES[dtype]).eps)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
def test_penalty(norm, kind, dtype):
    plain = weights(dtype)
    exact = plain.astype(np.float64)
    w = KINDS[kind](plain)
    value, dw = normkit.weight_penalty(w, 0.25, norm)
    expected = 0.25 * VALUE[norm](exact)
    assert isinstance(value, float)
    assert abs(value - expected) <= 4 * epsilon("float64" if dtype == "float64" else "float32") * expected
    # A power of two as strength: every gradient is exact.
    np.testing.assert_array_equal(to_numpy(dw), 0.25 * GRADIENT[norm](exact))
    assert type(dw) is (type(w) if kind in ("numpy", "torch", "jax") else np.ndarray)
    assert str(dw.dtype).removeprefix("torch.") == dtype
    # The gradient is that of the value, as autograd sees it.
    leaf = torch.from_numpy(exact).requires_grad_()
    (0.25 * VALUE[norm](leaf)).backward()
    np.testing.assert_array_equal(to_numpy(dw), leaf.grad)


@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack", "buffer"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_penalty_into_dw(norm, dtype, kind):
    w = weights(dtype)
    for accumulate, before in ((True, 2), (False, np.nan)):
        dw = KINDS[kind](np.full(w.shape, before, w.dtype))
        value, out = normkit.weight_penalty(KINDS[kind](w), 0.25, norm, dw=dw, accumulate=accumulate)
        assert out is dw
        expected = 0.25 * GRADIENT[norm](w.astype(np.float64)) + (before if accumulate else 0)
        found = to_numpy(dw.tensor if kind == "dlpack" else dw)
        np.testing.assert_allclose(found, expected, rtol=0, atol=epsilon(dtype) * abs(expected).max())
        assert value == normkit.weight_penalty(w, 0.25, norm)[0]


@pytest.mark.parametrize("mask", [*itertools.product([False, True], repeat=2)])
def test_penalty_output_mask(mask):
    w = weights("float32")
    both = normkit.weight_penalty(w, 0.1)
    for found, expected, is_wanted in zip(normkit.weight_penalty(w, 0.1, output_mask=mask), both, mask, strict=True):
        np.testing.assert_array_equal(found, expected if is_wanted else None)


def test_penalty_of_nothing():
    value, dw = normkit.weight_penalty(np.empty((0, 3), np.float32), 1)
    assert value == 0 and dw.shape == (0, 3)
    assert normkit.weight_penalty(np.float64(3), 2) == (9, 6)


def test_penalty_layouts():
    for order in ((0, 1, 2), (2, 0, 1)):
        w = batch((30, 40, 50)).transpose(order)
        value, dw = normkit.weight_penalty(w, 0.5)
        assert dw.strides == w.strides
        np.testing.assert_array_equal(dw, w / 2)
        assert value == normkit.weight_penalty(w.transpose(np.argsort(order)), 0.5)[0]
        assert allocated(lambda w=w, dw=dw: normkit.weight_penalty(w, 0.5, dw=dw)) < 0.1 * w.nbytes
        assert allocated(lambda w=w: normkit.weight_penalty(w, 0.5, output_mask=(True, False))) < 0.1 * w.nbytes


@pytest.mark.parametrize("layout", UNFIT)
def test_penalty_of_other_layouts(layout):
    w = UNFIT[layout]()
    value, dw = normkit.weight_penalty(w, 0.5)
    np.testing.assert_array_equal(dw, w / 2)
    np.testing.assert_allclose(value, 0.25 * (w.astype(np.float64) ** 2).sum(), rtol=4 * epsilon("float32"))


C = 6


def batch_norm_parameters(dtype, seed=1):
    """running_mean, running_var, gamma, beta."""
    random = np.random.default_rng(seed)
    mean, gamma, beta = random.normal(0, 1, (3, C)).astype(dtype)
    return mean, random.uniform(0.5, 2, C).astype(dtype), gamma, beta


# The weight's shape, the axis of output channels, and the layer for torch in f64.
LAYERS = {
    "dense": ((C, 4), 0, lambda x, w, b: functional.linear(x, w, b), (3, 4)),
    "dense, stored [in, out]": ((4, C), -1, lambda x, w, b: functional.linear(x, w.T, b), (3, 4)),
    "convolution": ((C, 4, 3, 3), 0, functional.conv2d, (2, 4, 7, 8)),
    "transposed convolution": ((4, C, 3, 3), 1, functional.conv_transpose2d, (2, 4, 5, 6)),
    "convolution of groups": ((C, 2, 3), 0, lambda x, w, b: functional.conv1d(x, w, b, groups=2), (2, 4, 7)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack", "buffer"])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_folded_layer_is_both_layers(name, has_bias, kind, dtype):
    shape, axis, layer, data = LAYERS[name]
    random = np.random.default_rng(0)
    weight, bias = random.normal(0, 1, shape).astype(dtype), random.normal(0, 1, C).astype(dtype)
    others = batch_norm_parameters(dtype)
    given = [KINDS[kind](array) for array in (weight, bias, *others)]
    folded = normkit.fold_batch_norm(given[0], given[1] if has_bias else None, *given[2:], channel_axis=axis)
    assert folded[0].shape == shape and folded[1].shape == (C,)
    for array in folded:
        assert type(array) is (type(given[0]) if kind in ("numpy", "torch") else np.ndarray)
        assert str(array.dtype).removeprefix("torch.") == dtype

    x = torch.from_numpy(random.normal(0, 1, data))
    w, b, mean, var, gamma, beta = (torch.from_numpy(array.astype(np.float64)) for array in (weight, bias, *others))
    expected = functional.batch_norm(layer(x, w, b if has_bias else None), mean, var, gamma, beta)
    found = layer(x, *(torch.from_numpy(to_numpy(array)) for array in folded))
    # Folding has rounded each weight and bias a few times; up to 37 products of them are summed.
    magnitude = layer(abs(x), *(torch.from_numpy(abs(to_numpy(array))) for array in folded)).max()
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * epsilon(dtype) * float(magnitude))


def test_folding_without_gamma_and_beta():
    weight, (mean, var, _, _) = batch((C, 4)), batch_norm_parameters(np.float32)
    ones, zeros = np.ones(C, np.float32), np.zeros(C, np.float32)
    for found, expected in zip(
        normkit.fold_batch_norm(weight, None, mean, var, eps=1e-3),
        normkit.fold_batch_norm(weight, zeros, mean, var, ones, zeros, 1e-3),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_folding_in_any_order_of_axes():
    parameters = batch_norm_parameters(np.float32)
    kernel = batch((3, 3, 4, C)).transpose(3, 2, 0, 1)  # stored [kH, kW, in, out], seen as torch's
    folded, bias = normkit.fold_batch_norm(kernel, None, *parameters)
    expected, expected_bias = normkit.fold_batch_norm(np.ascontiguousarray(kernel), None, *parameters)
    assert folded.strides == kernel.strides
    np.testing.assert_array_equal(folded, expected)
    np.testing.assert_array_equal(bias, expected_bias)

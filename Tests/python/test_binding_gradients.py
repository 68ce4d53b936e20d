"""The backward functions on every kind of array and element type, against torch's autograd in f64."""

import itertools
import math

import numpy as np
import pytest

import normkit
from support.kinds import DTYPES, KINDS, PAIRS, to_numpy

torch = pytest.importorskip("torch")
functional = torch.nn.functional

SHAPE = (3, 8, 5, 4)


def affine(z, w, b):
    return z * w[:, None, None] + b[:, None, None]


def over_channels(x, w, b):
    return functional.layer_norm(x.movedim(1, -1), (8,), w, b).movedim(-1, 1)


def rms(x):
    return x / ((x * x).mean(3, keepdim=True) + 1e-3).sqrt()


def norm(x, p, axes):
    """The norm over `axes`; amax shares its gradient among elements that are as large."""
    if p == 2:
        return (x * x).sum(axes, keepdim=True).sqrt()
    return {1: abs(x).sum, math.inf: abs(x).amax}[p](axes, keepdim=True)


def only_dx(backward):
    """The backward function of one without parameters, as if it had a weight and bias."""
    return lambda dy, x, w, **o: (backward(dy, x, **o),)


# Name: shape of weight and bias, the backward function, the forward function for autograd.
WEIGHTED = {
    "layer_norm": (
        (4,), normkit.layer_norm_backward, lambda x, w, b: functional.layer_norm(x, (4,), w, b)
    ),
    "layer_norm, two axes": (
        (5, 4), normkit.layer_norm_backward, lambda x, w, b: functional.layer_norm(x, (5, 4), w, b)
    ),
    "layer_norm over channels": (
        (8,), lambda dy, x, w, **o: normkit.layer_norm_backward(dy, x, w, channel_axis=1, **o), over_channels
    ),
    "rms_norm": (
        (4,), lambda dy, x, w, **o: normkit.rms_norm_backward(dy, x, w, 1e-3, **o), lambda x, w, b: rms(x) * w + b
    ),
    "rms_norm with 1 + weight": (
        (4,),
        lambda dy, x, w, **o: normkit.rms_norm_backward(dy, x, w, 1e-3, one_plus_weight=True, **o),
        lambda x, w, b: rms(x) * (1 + w) + b,
    ),
    "batch_norm": (
        (8,), normkit.batch_norm_backward, lambda x, w, b: functional.batch_norm(x, None, None, w, b, True)
    ),
    "instance_norm": (
        (8,), normkit.instance_norm_backward, lambda x, w, b: functional.instance_norm(x, None, None, w, b)
    ),
    "group_norm": (
        (8,),
        lambda dy, x, w, **o: normkit.group_norm_backward(dy, x, 2, w, **o),
        lambda x, w, b: functional.group_norm(x, 2, w, b),
    ),
    "scale_shift": ((8,), normkit.scale_shift_backward, affine),
    "scale_shift last": (
        (4,),
        lambda dy, x, w, **o: normkit.scale_shift_backward(dy, x, w, channel_axis=-1, **o),
        lambda x, w, b: x * w + b,
    ),
}
FUNCTIONS = {
    **WEIGHTED,
    "weight_norm": (
        (8, 1, 1),
        lambda dy, x, w, **o: normkit.weight_norm_backward(dy, x, w[:, 0, 0], 1, **o),
        lambda x, w, _: x * w / norm(x, 2, (0, 2, 3)),
    ),
    "weight_norm l1": (
        (1, 8, 1, 1),
        lambda dy, x, w, **o: normkit.weight_norm_backward(dy, x, w, -3, norm="l1", **o),
        lambda x, w, _: x * w / norm(x, 1, (0, 2, 3)),
    ),
    "weight_norm max, whole": (
        (),
        lambda dy, x, w, **o: normkit.weight_norm_backward(dy, x, w, None, norm="max", eps=0.5, **o),
        lambda x, w, _: x * w / (norm(x, math.inf, (0, 1, 2, 3)) + 0.5),
    ),
    "normalize": (
        (),
        only_dx(lambda dy, x, **o: normkit.normalize_backward(dy, x, (1, -1), **o)),
        lambda x, _, __: (x - x.mean((1, 3), True)) / (x.var((1, 3), correction=0, keepdim=True) + 1e-5).sqrt(),
    ),
    "normalize, eps outside": (
        (),
        only_dx(lambda dy, x, **o: normkit.normalize_backward(dy, x, 2, eps=0.1, epsilon_inside=False, **o)),
        lambda x, _, __: (x - x.mean(2, True)) / (x.std(2, correction=0, keepdim=True) + 0.1),
    ),
    "normalize l1": (
        (),
        only_dx(lambda dy, x, **o: normkit.normalize_backward(dy, x, 0, p=1, **o)),
        lambda x, _, __: x / norm(x, 1, (0,)),
    ),
    "normalize l2": (
        (),
        only_dx(lambda dy, x, **o: normkit.normalize_backward(dy, x, p=2, **o)),
        lambda x, _, __: x / norm(x, 2, (0, 1, 2, 3)),
    ),
    "normalize max, some below eps": (
        (),
        only_dx(lambda dy, x, **o: normkit.normalize_backward(dy, x, (2, 3), p=math.inf, eps=5, **o)),
        lambda x, _, __: x / norm(x, math.inf, (2, 3)).clamp_min(5),
    ),
}
# "weight_norm" is asked with g as [slices], which buffers and DLPack alone cannot be cut to.
EVERY_KIND = [name for name in FUNCTIONS if name != "weight_norm"]


def arguments(name, dtype, seed=0):
    """dy, x and weight as NumPy arrays."""
    random = np.random.default_rng(seed)
    dy, x = random.normal(0, 1, SHAPE), random.normal(1, 2, SHAPE)
    w = random.normal(1, 0.5, FUNCTIONS[name][0])
    return [np.asarray(array).astype(DTYPES[dtype]) for array in (dy, x, w)]


def autograd(forward, dy, x, w):
    """The gradients of x, weight and bias in f64, without those that `forward` does not have."""
    leaves = [torch.from_numpy(np.asarray(a, np.float64).copy()).requires_grad_() for a in (x, w, np.zeros(w.shape))]
    forward(*leaves).backward(torch.from_numpy(dy.astype(np.float64)))
    return [leaf.grad.numpy() for leaf in leaves if leaf.grad is not None]


def epsilon(dtype):
    return {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]


def check(found, expected, dy, dtype):
    """dx and the gradients of parameters, as far as they were wanted, to 4 of the header's units. Of these, the
    largest |rstd * gamma * dy| is about the largest |dx|; the root of the sum of squares of dy * z, where |z| is up
    to 4, is at most 4 times that of dy."""
    statistics = "float64" if dtype == "float64" else "float32"
    units = [epsilon(dtype) * abs(expected[0]).max(), *[epsilon(statistics) * 4 * np.linalg.norm(to_numpy(dy))] * 2]
    for one, other, unit in zip(found, expected, units):
        if one is not None:
            assert to_numpy(one).shape == other.shape
            np.testing.assert_allclose(to_numpy(one), other, rtol=0, atol=4 * unit)


def dtype_name(array):
    return str(array.dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", EVERY_KIND)
@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
def test_values_and_kind(name, kind, dtype):
    _, backward, forward = FUNCTIONS[name]
    plain = arguments(name, dtype)
    before = [array.tobytes() for array in plain]
    given = [KINDS[kind](array) for array in plain]

    gradients = backward(*given)

    expected = autograd(forward, *plain)
    assert len(gradients) == len(expected)
    check(gradients, expected, plain[0], dtype)
    for gradient in gradients:
        assert type(gradient) is (type(given[1]) if kind in ("numpy", "torch", "jax") else np.ndarray)
    dx, *others = map(dtype_name, gradients)
    assert dx == dtype and set(others) <= {"float64" if dtype == "float64" else "float32"}
    assert [array.tobytes() for array in plain] == before


def test_weight_norm_gradient_has_the_shape_of_g():
    dy, v, g = arguments("weight_norm", "float64")
    expected = autograd(FUNCTIONS["weight_norm"][2], dy, v, g)
    for shape in ((8,), (1, 8, 1, 1)):
        dv, dg = normkit.weight_norm_backward(dy, v, g.reshape(shape), 1)
        assert dg.shape == shape
        check((dv, dg.reshape(8, 1, 1)), expected, dy, "float64")
    out = np.zeros((1, 8, 1, 1))
    assert normkit.weight_norm_backward(dy, v, g[:, 0, 0], 1, dg=out)[1] is out
    np.testing.assert_array_equal(out, dg)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_parameters_in_f32_beside_halves(name, dtype):
    _, backward, forward = FUNCTIONS[name]
    dy, x, w = arguments(name, dtype)
    w = w.astype(np.float32) + np.float32(1e-4)
    gradients = backward(dy, x, w)
    check(gradients, autograd(forward, dy, x, w), dy, dtype)


@pytest.mark.parametrize("name", WEIGHTED)
def test_without_a_weight_it_counts_as_one(name):
    shape, backward, _ = FUNCTIONS[name]
    dy, x, w = arguments(name, "float32")
    options = {"normalized_shape": shape} if "layer_norm" in name and "channels" not in name else {}
    for found, expected in zip(backward(dy, x, None, **options), backward(dy, x, np.ones_like(w)), strict=True):
        if "1 + weight" not in name:
            np.testing.assert_array_equal(found, expected)
        assert found.shape == expected.shape


# Functions, and what they return as statistics, as options of their backward function.
SAVED = {
    "layer_norm": lambda x: {"stats": normkit.layer_norm(x, return_stats=True)[1:]},
    "layer_norm, two axes": lambda x: {"stats": normkit.layer_norm(x, normalized_shape=(5, 4), return_stats=True)[1:]},
    "layer_norm over channels": lambda x: {"stats": normkit.layer_norm(x, channel_axis=1, return_stats=True)[1:]},
    "rms_norm": lambda x: {"rstd": normkit.rms_norm(x, eps=1e-3, return_stats=True)[1]},
    "batch_norm": lambda x: {"stats": normkit.batch_norm(x, None, None, training=True, return_stats=True)[1:]},
    "instance_norm": lambda x: {"stats": normkit.instance_norm(x, return_stats=True)[1:]},
    "group_norm": lambda x: {"stats": normkit.group_norm(x, 2, return_stats=True)[1:]},
    "weight_norm l1": lambda x: {"norms": normkit.weight_norm(x, dim=1, norm="l1", return_norms=True)[1]},
    "normalize": lambda x: {"stats": normkit.normalize(x, (1, 3), return_stats=True)[1:]},
    "normalize l1": lambda x: {"stats": normkit.normalize(x, 0, p=1, return_stats=True)[1:]},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SAVED)
def test_saved_statistics(name, dtype):
    _, backward, forward = FUNCTIONS[name]
    dy, x, w = arguments(name, dtype)
    saved = SAVED[name](x)
    dx, *others = backward(dy, x, w, **saved)
    check((dx, *others), autograd(forward, dy, x, w), dy, dtype)
    # They are what is computed with.
    doubled = {key: [2 * one for one in value] if key == "stats" else 2 * value for key, value in saved.items()}
    assert not np.allclose(to_numpy(backward(dy, x, w, **doubled)[0]), to_numpy(dx))


@pytest.mark.parametrize("mask", [*itertools.product([False, True], repeat=3)])
@pytest.mark.parametrize("name", WEIGHTED)
def test_output_mask(name, mask):
    _, backward, forward = FUNCTIONS[name]
    dy, x, w = arguments(name, "float32")
    gradients = backward(dy, x, w, output_mask=mask)
    assert [gradient is not None for gradient in gradients] == list(mask)
    check(gradients, autograd(forward, dy, x, w), dy, "float32")


@pytest.mark.parametrize("mask", [(True, False), (False, True), (False, False)])
def test_output_mask_of_weights(mask):
    _, backward, forward = FUNCTIONS["weight_norm l1"]
    dw, v, g = arguments("weight_norm l1", "float32")
    gradients = backward(dw, v, g, output_mask=mask)
    assert [gradient is not None for gradient in gradients] == list(mask)
    check(gradients, autograd(forward, dw, v, g), dw, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack", "buffer"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_accumulate(name, kind, dtype):
    _, backward, _ = FUNCTIONS[name]
    dy, x, w = arguments(name, dtype)
    new = backward(dy, x, w)
    statistics = np.float64 if dtype == "float64" else np.float32
    for accumulate, before in ((True, 3), (False, np.nan)):
        outs = [KINDS[kind](np.full(w.shape, before, statistics)) for _ in range(2)]
        given = dict(zip(("dweight", "dbias"), outs))
        dx, dweight, dbias = backward(*(KINDS[kind](a) for a in (dy, x, w)), accumulate=accumulate, **given)
        assert dweight is outs[0] and dbias is outs[1]
        np.testing.assert_array_equal(to_numpy(dx), to_numpy(new[0]))
        for out, gradient in zip(outs, new[1:], strict=True):
            found = to_numpy(out.tensor if kind == "dlpack" else out)
            if accumulate:
                unit = np.finfo(statistics).eps * (3 + abs(gradient))
                assert (abs(found - 3 - to_numpy(gradient)) <= unit).all()
            else:
                np.testing.assert_array_equal(found, gradient)


@pytest.mark.parametrize("name", EVERY_KIND)
@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack", "buffer"])
def test_dx_and_in_place(name, kind):
    _, backward, _ = FUNCTIONS[name]
    plain = arguments(name, "float32")
    expected = backward(*plain)
    key = "dv" if name.startswith("weight_norm") else "dx"
    for place in ("new", "dy", "x"):
        dy, x, w = (KINDS[kind](array.copy()) for array in plain)
        out = {"new": KINDS[kind](np.full(SHAPE, np.nan, np.float32)), "dy": dy, "x": x}[place]
        dx, *others = backward(dy, x, w, **{key: out})
        assert dx is out
        for found, other in zip((out.tensor if kind == "dlpack" else out, *others), expected, strict=True):
            np.testing.assert_array_equal(to_numpy(found), other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_frozen_statistics(dtype):
    dy, x, w = arguments("batch_norm", dtype)
    statistics = np.float64 if dtype == "float64" else np.float32
    mean, var = np.linspace(-1, 1, 8, dtype=statistics), np.linspace(0.5, 2, 8, dtype=statistics)
    constants = [torch.from_numpy(a.astype(np.float64)) for a in (mean, var)]
    frozen = {"running_mean": mean, "running_var": var, "training": False}
    expected = autograd(lambda x, w, b: functional.batch_norm(x, *constants, w, b), dy, x, w)
    check(normkit.batch_norm_backward(dy, x, w, **frozen), expected, dy, dtype)
    # As after an instance normalization from running statistics.
    expected = autograd(
        lambda x, w, b: functional.instance_norm(x, *constants, w, b, use_input_stats=False), dy, x, w
    )
    check(normkit.batch_norm_backward(dy, x, w, **frozen), expected, dy, dtype)
    # Without dweight nothing depends on x.
    dx, _, dbias = normkit.batch_norm_backward(dy, None, w, output_mask=(True, False, True), **frozen)
    check((dx, None, dbias), expected, dy, dtype)


def test_scale_shift_without_x():
    dy, x, w = arguments("scale_shift", "float32")
    dx, dweight, dbias = normkit.scale_shift_backward(dy, None, w, output_mask=(True, False, True))
    expected = normkit.scale_shift_backward(dy, x, w)
    assert dweight is None
    np.testing.assert_array_equal(dx, expected[0])
    np.testing.assert_array_equal(dbias, expected[2])


@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
@pytest.mark.parametrize(("axes", "correction"), [((0, 2), 1), (None, 0), (-1, 2)])
def test_moments(kind, dtype, axes, correction):
    x = arguments("normalize", dtype)[1]
    kept = np.zeros(SHAPE).mean(axes)
    statistics = np.float64 if dtype == "float64" else np.float32
    dmean, dvar = (np.random.default_rng(seed).normal(size=kept.shape).astype(statistics) for seed in (1, 2))

    leaf = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    mean, var = leaf.mean(axes), leaf.var(axes, correction=correction)
    d = [torch.from_numpy(np.asarray(a, np.float64)) for a in (dmean, dvar)]
    given = [KINDS[kind](np.asarray(a)) for a in (dmean, dvar)]
    array = KINDS[kind](x)
    for which in ((True, True), (True, False), (False, True)):
        leaf.grad = None
        sum((m * g).sum() for m, g, used in zip((mean, var), d, which) if used).backward(retain_graph=True)
        dx = normkit.moments_backward(*(g if used else None for g, used in zip(given, which)), array, axes, correction)
        assert dtype_name(dx) == dtype
        check([dx], [leaf.grad.numpy()], d[0], dtype)
    np.testing.assert_array_equal(normkit.moments_backward(None, None, x, axes, correction), np.zeros(SHAPE))
    expected = normkit.moments_backward(dmean, dvar, x, axes, correction)
    assert normkit.moments_backward(dmean, dvar, x, axes, correction, dx=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_no_samples(name, kind):
    shape, backward, _ = FUNCTIONS[name]
    empty, w = KINDS[kind](np.empty((0, 8, 5, 4), np.float32)), KINDS[kind](np.ones(shape, np.float32))
    dx, *others = backward(empty, empty, w)
    assert dx.shape == (0, 8, 5, 4) and type(dx) is type(empty)
    for gradient in others:
        np.testing.assert_array_equal(gradient, np.zeros(shape))
    held = KINDS[kind](np.full(shape, 3, np.float32))
    backward(empty, empty, w, output_mask=(True, True, False), dweight=held, accumulate=True)
    np.testing.assert_array_equal(held, np.full(shape, 3))


def test_constant_rows_have_gradient_zero_without_epsilon():
    dy, x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32), np.full((3, 8), 7, np.float32)
    dx, dweight, dbias = normkit.layer_norm_backward(dy[0], x, eps=0)
    np.testing.assert_array_equal(dx, np.zeros((3, 8)))
    np.testing.assert_array_equal(dweight, np.zeros(8))
    np.testing.assert_allclose(dbias, dy[0].sum(0, np.float64), rtol=1e-6, atol=1e-6)

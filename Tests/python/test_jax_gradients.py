"""Gradients of normkit.jax against those that JAX finds for the formulas, in float64 where that tells more."""

import numpy as np
import pytest

pytest.importorskip("jax")
import test_jax as base  # noqa: E402  (it builds the library)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import normkit.jax as nj  # noqa: E402

values = base.values


def standardized(x, axes, eps=1e-5):
    centred = x - x.mean(axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axes, keepdims=True) + eps)


def per_channel(parameter, x):
    return parameter.reshape(-1, *[1] * (x.ndim - 2))


def group_formula(x, w, b):
    z = standardized(x.reshape(x.shape[0], 2, -1), -1).reshape(x.shape)
    return z * per_channel(w, x) + per_channel(b, x)


def batch_formula(x, w, b, mean, var):
    z = (x - per_channel(mean, x)) * jax.lax.rsqrt(per_channel(var, x) + 1e-5)
    return z * per_channel(w, x) + per_channel(b, x)


def weight_formula(v, g):
    return v * g[:, None] / jnp.sqrt(jnp.square(v).sum(1, keepdims=True))


def added(function):
    def both(x, r, w, b):
        y, total = function(x, r, w, b)
        return y + 3 * total * x
    return both


def added_formula(x, r, w, b):
    return standardized(x + r, -1) * w + b, x + r


# Function, formula, shapes of the arguments.
CASES = {
    "layer_norm": (nj.layer_norm, lambda x, w, b: standardized(x, -1) * w + b, [(7, 24), (24,), (24,)]),
    "layer_norm, two axes": (
        nj.layer_norm, lambda x, w, b: standardized(x, (1, 2)) * w + b, [(3, 4, 6), (4, 6), (4, 6)]),
    "layer_norm, plain": (nj.layer_norm, lambda x: standardized(x, -1), [(7, 24)]),
    "rms_norm": (
        lambda x, w, b: nj.rms_norm(x, w, b, 1e-3),
        lambda x, w, b: x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-3) * w + b,
        [(7, 24), (24,), (24,)]),
    "add_layer_norm": (added(nj.add_layer_norm), added(added_formula), [(5, 16), (5, 16), (16,), (16,)]),
    "instance_norm": (
        nj.instance_norm, lambda x, w, b: standardized(x, (2, 3)) * per_channel(w, x) + per_channel(b, x),
        [(2, 6, 5, 4), (6,), (6,)]),
    "group_norm": (lambda x, w, b: nj.group_norm(x, 2, w, b), group_formula, [(2, 6, 5, 4), (6,), (6,)]),
    "batch_norm": (
        lambda x, w, b, m, v: nj.batch_norm(x, m, v * v + 1, w, b),
        lambda x, w, b, m, v: batch_formula(x, w, b, m, v * v + 1), [(3, 6, 4), (6,), (6,), (6,), (6,)]),
    "batch_norm, plain": (
        lambda x, m, v: nj.batch_norm(x, m, v * v + 1),
        lambda x, m, v: batch_formula(x, jnp.ones(6), jnp.zeros(6), m, v * v + 1), [(3, 6, 4), (6,), (6,)]),
    "weight_norm": (nj.weight_norm, weight_formula, [(6, 10), (6,)]),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    function, formula, shapes = CASES[name]
    with jax.enable_x64(True):
        arguments = [values(*shape, dtype="float64") for shape in shapes]
        dy = values(*shapes[0], dtype="float64")
        every = tuple(range(len(shapes)))
        found = jax.jit(jax.grad(lambda *a: (function(*a) * dy).sum(), every))(*arguments)
        expected = jax.grad(lambda *a: (formula(*a) * dy).sum(), every)(*arguments)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["layer_norm", "weight_norm"])
def test_gradients_of_each_member_of_a_batch(name):
    """vmap of grad, and grad through vmap, with a parameter that is shared and one that is not."""
    function, formula, shapes = CASES[name]
    with jax.enable_x64(True):
        x, w = values(4, *shapes[0], dtype="float64"), values(4, *shapes[1], dtype="float64")
        rest = [values(*shape, dtype="float64") for shape in shapes[2:]]
        for axes, parameter in (((0, None), w[0]), ((0, 0), w)):
            pairs = []
            for one in (function, formula):
                loss = lambda x, w, one=one: jnp.square(one(x, w, *rest)).sum()  # noqa: E731
                per_member = jax.vmap(jax.grad(loss, (0, 1)), axes)(x, parameter)
                through = jax.grad(lambda x, w, loss=loss: jax.vmap(loss, axes)(x, w).sum(), (0, 1))(x, parameter)
                pairs.append((per_member, through))
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), *pairs)


@pytest.mark.parametrize(("dtype", "parameter_dtype"), base.DTYPES)
def test_gradients_have_the_dtypes_of_their_arguments(dtype, parameter_dtype):
    x, dy = (values(6, 32, dtype=dtype) for _ in range(2))
    w = values(32, dtype=parameter_dtype)
    found = jax.grad(lambda x, w: (nj.layer_norm(x, w, w) * dy).sum(dtype="float32"), (0, 1))(x, w)
    assert [one.dtype.name for one in found] == [dtype, parameter_dtype]
    wide = [one.astype("float32") for one in (x, w)]
    formula = CASES["layer_norm"][1]
    expected = jax.grad(lambda x, w: (formula(x, w, w) * dy.astype("float32")).sum(), (0, 1))(*wide)
    for one, other in zip(found, expected, strict=True):
        unit = base.EPSILON[one.dtype.name] * np.abs(other).max()
        assert np.abs(base.exact(one) - base.exact(other)).max() <= (4 if one.dtype == jnp.float32 else 1) * unit


def test_a_second_gradient_is_refused():
    with pytest.raises(ValueError, match="FFI|JVP|differentiat"):
        jax.grad(lambda x: jax.grad(lambda x: nj.layer_norm(x)[0, 0])(x)[0, 1])(values(2, 4))

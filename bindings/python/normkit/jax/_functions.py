"""The normalizations as functions of JAX arrays."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, Sequence

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from .._abi import Layout, Norm
from .._plan_abi import Fusion, Method
from ._arguments import affine, array, channels_of, parameter, row_shape
from ._calls import Operands, Spec, statistics_dtype
from ._normalize import normalize


@partial(jax.jit, static_argnames=("eps", "normalized_shape"))
def layer_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    normalized_shape: tuple[int, ...] | None = None,
) -> Array:
    """Layer normalization: ``(x - mean) / sqrt(var + eps) * weight + bias``, mean and variance over a row.

    A row is the trailing axes that `weight` (or `bias`) has, the last axis without one, unless `normalized_shape` says
    which extents they have.

    Args:
        x: float32, float64, float16 or bfloat16.
        weight, bias: x's dtype, or float32 beside float16 and bfloat16.
        eps: added to the variance. A number, no array.

    Returns:
        y, with x's shape and dtype.

    Raises:
        TypeError, ValueError: naming the argument.

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016.

    >>> import jax.numpy as jnp
    >>> layer_norm(jnp.array([[1.0, 3.0], [10.0, 30.0]]), eps=0.0)
    Array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """
    x = array(x, "x")
    return _rows(Method.LAYER_NORM, x, weight, bias, eps, normalized_shape)


@partial(jax.jit, static_argnames=("eps", "normalized_shape"))
def rms_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float | None = None,
    *,
    normalized_shape: tuple[int, ...] | None = None,
) -> Array:
    """RMS normalization: ``x / sqrt(mean(x * x) + eps) * weight + bias``, the mean over a row.

    As `layer_norm`, without a mean that is subtracted. An `eps` of None is the machine epsilon of the type of
    computation: 2**-23, for float64 2**-52.

    Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019.

    >>> import jax.numpy as jnp
    >>> rms_norm(jnp.array([3.0, -3.0, 3.0]), eps=0.0)
    Array([ 1., -1.,  1.], dtype=float32)
    """
    x = array(x, "x")
    return _rows(Method.RMS_NORM, x, weight, bias, _machine_epsilon(x) if eps is None else eps, normalized_shape)


@partial(jax.jit, static_argnames=("eps",))
def add_layer_norm(
    x: ArrayLike,
    residual: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Array]:
    """``(layer_norm(x + residual, weight, bias, eps), x + residual)`` in one pass over memory.

    The sum is normalized as it is returned. `residual` has x's shape and dtype.

    >>> import jax.numpy as jnp
    >>> add_layer_norm(jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0]), eps=0.0)
    (Array([-1.,  1.], dtype=float32), Array([1., 3.], dtype=float32))
    """
    x = array(x, "x")
    return _added(Method.LAYER_NORM, x, residual, weight, bias, eps)


@partial(jax.jit, static_argnames=("eps",))
def add_rms_norm(
    x: ArrayLike,
    residual: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float | None = None,
) -> tuple[Array, Array]:
    """``(rms_norm(x + residual, weight, bias, eps), x + residual)``, as `add_layer_norm`."""
    x = array(x, "x")
    return _added(Method.RMS_NORM, x, residual, weight, bias, _machine_epsilon(x) if eps is None else eps)


@partial(jax.jit, static_argnames=("eps", "channel_axis"))
def batch_norm(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
) -> Array:
    """Batch normalization with the given mean and variance, as in inference:
    ``(x - mean) / sqrt(var + eps) * weight + bias``.

    Args:
        x: [N, C, spatial...]; with ``channel_axis=-1`` [N, spatial..., C].
        mean, var: [C], float32 (float64 for float64).
        weight, bias: [C], x's dtype, or float32 beside float16 and bfloat16.
        eps: added to the variance. A number, no array.

    Source: Ioffe, Szegedy, "Batch Normalization", 2015.

    >>> import jax.numpy as jnp
    >>> batch_norm(jnp.array([[1.0], [5.0]]), jnp.array([3.0]), jnp.array([4.0]), eps=0.0)
    Array([[-1.],
           [ 1.]], dtype=float32)
    """
    x = array(x, "x")
    shape, layout = channels_of(x, channel_axis)
    c = x.shape[channel_axis]
    given = {
        name: parameter(value, argument, (c,), (statistics_dtype(x),))
        for name, argument, value in (("given_mean", "mean", mean), ("given_variance", "var", var))
    }
    spec = Spec(Method.BATCH_NORM_INFERENCE, eps, layout=layout)
    return _normalized(spec, x, shape, {**given, **affine(x, weight, bias, (c,))})


@partial(jax.jit, static_argnames=("eps", "channel_axis"))
def instance_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
) -> Array:
    """Instance normalization: mean and variance over the positions of each channel of each sample.

    For the arguments see `batch_norm`.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", 2016.

    >>> import jax.numpy as jnp
    >>> instance_norm(jnp.array([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0)
    Array([[[-1.,  1.],
            [-1.,  1.]]], dtype=float32)
    """
    x = array(x, "x")
    shape, layout = channels_of(x, channel_axis)
    operands = affine(x, weight, bias, (x.shape[channel_axis],))
    return _normalized(Spec(Method.INSTANCE_NORM, eps, layout=layout), x, shape, operands)


@partial(jax.jit, static_argnames=("num_groups", "eps", "channel_axis"))
def group_norm(
    x: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
) -> Array:
    """Group normalization: mean and variance over each of `num_groups` runs of neighbouring channels of a sample.

    For the other arguments see `batch_norm`.

    Source: Wu, He, "Group Normalization", 2018.

    >>> import jax.numpy as jnp
    >>> group_norm(jnp.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
    Array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    x = array(x, "x")
    shape, layout = channels_of(x, channel_axis)
    channels = x.shape[channel_axis]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"num_groups is {num_groups}; it must divide the {channels} channels")
    spec = Spec(Method.GROUP_NORM, eps, layout=layout, groups=num_groups)
    return _normalized(spec, x, shape, affine(x, weight, bias, (channels,)))


@partial(jax.jit, static_argnames=("dim", "norm", "eps"))
def weight_norm(
    v: ArrayLike,
    g: ArrayLike | None = None,
    dim: int | None = 0,
    *,
    norm: Literal["l1", "l2", "max"] = "l2",
    eps: float = 0.0,
) -> Array:
    """Weight normalization, ``v * g / (norm(v) + eps)``: one norm per slice along `dim`; None makes `v` one slice.

    `g` has one number per slice, in any shape. A slice of zeros stays zeros, and has gradient 0.

    Source: Salimans, Kingma, "Weight Normalization", 2016; L1 and max: Hoffer et al., "Norm matters", 2018.

    >>> import jax.numpy as jnp
    >>> weight_norm(jnp.array([[3.0, 4.0]]), jnp.array([[10.0]]))
    Array([[6., 8.]], dtype=float32)
    """
    v = array(v, "v")
    if norm.upper() not in Norm.__members__:
        raise ValueError(f"norm is {norm!r}; it must be l1, l2 or max")
    shape = (1, 1, v.size)
    if dim is not None:
        if not -v.ndim <= dim < v.ndim:
            raise ValueError(f"dim is {dim}; v has {v.ndim} axes")
        axis = dim % v.ndim
        shape = math.prod(v.shape[:axis]), v.shape[axis], math.prod(v.shape[axis + 1 :])
    operands: Operands = {}
    if g is not None:
        g = array(g, "g")
        if g.size != shape[1]:
            raise ValueError(f"g has shape {g.shape}; it must have one number for each of {shape[1]} slices")
        operands = affine(v, g.reshape(-1), None, (shape[1],), "g")
    return _normalized(Spec(Method.WEIGHT_NORM, eps, norm=Norm[norm.upper()]), v, shape, operands)


def _machine_epsilon(x: Array) -> float:
    return float(np.finfo(statistics_dtype(x)).eps)


def _rows(
    method: Method,
    x: Array,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    eps: float,
    normalized_shape: Sequence[int] | None,
) -> Array:
    row = row_shape(x, weight, bias, normalized_shape)
    return _normalized(Spec(method, eps), x, (-1, math.prod(row)), affine(x, weight, bias, row))


def _added(
    method: Method, x: Array, residual: ArrayLike, weight: ArrayLike | None, bias: ArrayLike | None, eps: float
) -> tuple[Array, Array]:
    row = row_shape(x, weight, bias, None)
    residual = parameter(residual, "residual", x.shape, (x.dtype,))
    if x.size == 0:
        return x, residual
    shape = (-1, math.prod(row))
    operands = {"x": x.reshape(shape), "residual": residual.reshape(shape), **affine(x, weight, bias, row)}
    found = normalize(Spec(method, eps, fusions=Fusion.ADD_RESIDUAL | Fusion.STORE_SUM), operands)
    return found["y"].reshape(x.shape), found["sum"].reshape(x.shape)


def _normalized(spec: Spec, x: Array, shape: Sequence[int], operands: Operands) -> Array:
    if x.size == 0:
        return x
    return normalize(spec, {"x": x.reshape(shape), **operands})["y"].reshape(x.shape)

"""Arguments: what they have to be, and the shapes in which the library takes them."""

from __future__ import annotations

import math
from typing import Any, Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from .._abi import Layout
from ._calls import DTYPES, Operands


def array(value: ArrayLike, name: str) -> Array:
    """`value` as an array. Raises TypeError, naming the argument, if it has none of the library's dtypes."""
    found = jnp.asarray(value)
    if found.dtype.name not in DTYPES:
        raise TypeError(f"{name} has dtype {found.dtype}; it must have one of {', '.join(DTYPES)}")
    return found


def parameter(value: ArrayLike, name: str, shape: Sequence[int], dtypes: Sequence[Any]) -> Array:
    """`value` as an array of this shape. Raises TypeError or ValueError, naming it, if it is another one."""
    found = array(value, name)
    if found.shape != tuple(shape):
        raise ValueError(f"{name} has shape {found.shape}; it must have {tuple(shape)}")
    if found.dtype not in dtypes:
        accepted = " or ".join(jnp.dtype(dtype).name for dtype in dtypes)
        raise TypeError(f"{name} has dtype {found.dtype}; it must have {accepted}")
    return found


def affine(
    x: Array, weight: ArrayLike | None, bias: ArrayLike | None, shape: Sequence[int], name: str = "weight"
) -> Operands:
    """gamma and beta, as far as they are there, in one axis."""
    dtypes = (x.dtype,) if x.dtype.itemsize > 2 else (x.dtype, jnp.dtype(jnp.float32))
    found = {}
    for operand, argument, value in (("gamma", name, weight), ("beta", "bias", bias)):
        if value is not None:
            found[operand] = parameter(value, argument, shape, dtypes).reshape(math.prod(shape))
    if len({one.dtype for one in found.values()}) > 1:
        raise TypeError(f"weight has dtype {found['gamma'].dtype}, and bias {found['beta'].dtype}; they must have one")
    return found


def row_shape(
    x: Array, weight: ArrayLike | None, bias: ArrayLike | None, normalized_shape: Sequence[int] | None
) -> tuple[int, ...]:
    """The extents of the trailing axes that are normalized over."""
    if normalized_shape is not None:
        name, row = "normalized_shape", tuple(normalized_shape)
    elif weight is not None:
        name, row = "weight", jnp.shape(weight)
    elif bias is not None:
        name, row = "bias", jnp.shape(bias)
    else:
        name, row = "the row", x.shape[-1:]
    if not row or x.shape[-len(row) :] != row:
        raise ValueError(f"{name} is {row}; x has shape {x.shape}, whose last axes it must match")
    return row


def channels_of(x: Array, channel_axis: int) -> tuple[tuple[int, int, int], Layout]:
    """The shape with one axis of positions, and where the channels stand."""
    if x.ndim < 2:
        raise ValueError(f"x has shape {x.shape}; it must have samples and channels")
    if channel_axis in (-1, x.ndim - 1) and channel_axis != 1:
        return (x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1]), Layout.CHANNELS_LAST
    if channel_axis == 1:
        return (x.shape[0], x.shape[1], math.prod(x.shape[2:])), Layout.CHANNELS_FIRST
    raise ValueError(f"channel_axis is {channel_axis}; it must be 1 or -1")

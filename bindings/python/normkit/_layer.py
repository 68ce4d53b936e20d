"""Layer normalization."""

from __future__ import annotations

import math
from typing import Any, Literal, Sequence, overload

from ._abi import Layout
from ._arrays import Array, describe
from ._channels import channel_axis_of
from ._library import library
from ._parameters import optional, parameters
from ._placement import Arrangement, by_stride, kept_statistics, place, returned
from ._rows import NO_STRIDE, plain_rows, trailing_axes
from ._scalars import real
from ._types import ArrayT, SupportsDLPack

_layer_norm = library.normkit_layer_norm


@overload
def layer_norm(
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    channel_axis: int | None = None,
    out: ArrayT | None = None,
    return_stats: Literal[False] = False,
) -> ArrayT: ...
@overload
def layer_norm(
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    channel_axis: int | None = None,
    out: ArrayT | None = None,
    return_stats: Literal[True],
) -> tuple[ArrayT, ArrayT, ArrayT]: ...
def layer_norm(
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    channel_axis: int | None = None,
    out: ArrayT | None = None,
    return_stats: bool = False,
) -> Any:
    """Layer normalization: ``(x - mean) / sqrt(var + eps) * weight + bias``, mean and variance over a row.

    A row is the trailing axes that `weight` (or `bias`) has, the last axis without one. Two other choices:

    * ``normalized_shape``: the extents of the trailing axes, as in `torch.nn.functional.layer_norm`;
      `weight` and `bias` have this shape.
    * ``channel_axis=1``: over the channels at each position of [N, C, spatial...]; -1 is the last axis.
      `weight` and `bias` have shape [C].

    Args:
        x: float32, float64, float16 or bfloat16.
        weight, bias: x's dtype, or float32 beside float16 and bfloat16.
        eps: added to the variance.
        out: where the result goes: an array of x's shape and dtype, `x` itself for in place.
        return_stats: also return mean and 1 / sqrt(var + eps), with the shape of the axes that are not
            normalized over, in float32 (float64 for float64).

    Returns:
        y, an array like `x`, or ``(y, mean, rstd)``.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016; over channels: LayerNorm2d of Liu et al.,
    "A ConvNet for the 2020s", 2022.

    >>> import numpy as np
    >>> x = np.array([[1, 2, 3], [4, 6, 8]], np.float32)
    >>> layer_norm(x, eps=0).round(3)
    array([[-1.225,  0.   ,  1.225],
           [-1.225,  0.   ,  1.225]], dtype=float32)
    >>> y, mean, rstd = layer_norm(x, normalized_shape=x.shape, return_stats=True)
    >>> mean
    array(4., dtype=float32)
    """
    if normalized_shape is None and channel_axis is None and not return_stats and type(eps) is float:
        plain = plain_rows(x, weight, bias, out)
        if plain is not None:
            dtype, rows, size, px, gamma, beta, py, y = plain
            _layer_norm(dtype, dtype, rows, size, px, NO_STRIDE, gamma, beta, eps, py, NO_STRIDE, None, None)
            return y

    array = describe(x, "x")
    gamma, beta = optional(weight, "weight"), optional(bias, "bias")
    if channel_axis is None:
        axes = trailing_axes(array, gamma, beta, normalized_shape)
    elif normalized_shape is None:
        axes = (channel_axis_of(array, channel_axis),)
    else:
        raise ValueError("normalized_shape and channel_axis exclude each other")
    row = tuple(array.shape[axis] for axis in axes)
    p = parameters(array, gamma, beta, row)
    kept = [axis for axis in range(len(array.shape)) if axis not in axes]

    def arrange(array: Array) -> list[Arrangement]:
        rows = Arrangement((*by_stride(array, kept), *axes), len(kept), Layout.CHANNELS_LAST)
        if len(axes) > 1 or not kept:
            return [rows]
        first = Arrangement((0, *axes, *by_stride(array, kept[1:])), 1, Layout.CHANNELS_FIRST)
        return [rows, first] if axes[0] == len(kept) else [first, rows]

    at = place(array, out, arrange)
    mean = kept_statistics(array, at.arrangement, kept) if return_stats else None
    rstd = kept_statistics(array, at.arrangement, kept) if return_stats else None
    extents = [array.shape[axis] for axis in kept]
    sizes: tuple[int, ...]
    if at.arrangement.layout is Layout.CHANNELS_LAST:
        function, sizes = _layer_norm, (math.prod(extents), math.prod(row))
    else:
        function = library.normkit_layer_norm_channels
        sizes = extents[0], row[0], math.prod(extents[1:])
    function(
        array.dtype, p.dtype, *sizes, at.x, at.x_stride, p.weight, p.bias, real(eps, "eps"),
        at.y, at.y_stride, mean, rstd,
    )
    return returned(at.y, mean, rstd)

"""Layer normalization."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal, Sequence, overload

from ._abi import Layout
from ._arrays import Array, describe
from ._channels import channel_axis_of
from ._gradients import Form, backward, saved_statistics, wanted
from ._library import functions
from ._parameters import optional, parameters
from ._placement import Arrange, Arrangement, by_stride, kept_order, kept_statistics, place, returned
from ._rows import Rows, trailing_rows
from ._scalars import real
from ._types import ArrayT, SupportsDLPack

_FORWARD = {
    Layout.CHANNELS_LAST: functions.normkit_layer_norm,
    Layout.CHANNELS_FIRST: functions.normkit_layer_norm_channels,
}
_BACKWARD = {
    Layout.CHANNELS_LAST: functions.normkit_layer_norm_backward,
    Layout.CHANNELS_FIRST: functions.normkit_layer_norm_channels_backward,
}


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
    array = describe(x, "x")
    gamma, beta = optional(weight, "weight"), optional(bias, "bias")
    rows = _rows(array, gamma, beta, normalized_shape, channel_axis)
    p = parameters(array, gamma, beta, rows.shape)
    at = place(array, out, rows.arrange)
    mean = kept_statistics(array, at.arrangement, rows.kept) if return_stats else None
    rstd = kept_statistics(array, at.arrangement, rows.kept) if return_stats else None
    _FORWARD[at.arrangement.layout](
        array.dtype, p.dtype, *_sizes(array, rows, at.arrangement), at.x, at.x_stride, p.weight, p.bias,
        real(eps, "eps"), at.y, at.y_stride, mean, rstd,
    )
    return returned(at.y, mean, rstd)


def layer_norm_backward(
    dy: ArrayT,
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    channel_axis: int | None = None,
    stats: Sequence[SupportsDLPack] | None = None,
    output_mask: Sequence[bool] = (True, True, True),
    dx: ArrayT | None = None,
    dweight: SupportsDLPack | None = None,
    dbias: SupportsDLPack | None = None,
    accumulate: bool = False,
) -> tuple[ArrayT | None, ArrayT | None, ArrayT | None]:
    """Gradients of `layer_norm` with respect to x, weight and bias.

    With ``z = (x - mean) * rstd`` and ``h = dy * weight``, and means over a row, sums over the rows:
    ``dx = rstd * (h - mean(h) - z * mean(h * z))``, ``dweight = sum(dy * z)``, ``dbias = sum(dy)``.

    Args:
        dy: the gradient of a loss with respect to y, with x's shape and dtype. Copied once if it does not lie
            in memory as `x` does.
        x: what `layer_norm` was given.
        weight, eps, normalized_shape, channel_axis: as `layer_norm` was given them. A weight of None counts
            as 1; then the row is the last axis, unless `normalized_shape` says otherwise.
        stats: ``(mean, rstd)``, as `layer_norm` returned them for this `x`: they spare one reading of it.
            None: they are formed again.
        output_mask: which of dx, dweight and dbias are wanted; the others are not formed.
        dx: where dx goes: an array of x's shape and dtype, `dy` or `x` itself for in place.
        dweight, dbias: where these go: contiguous, with the shape of `weight`, float32 (float64 for float64).
        accumulate: add to what the given `dweight` and `dbias` hold.

    Returns:
        ``(dx, dweight, dbias)``, arrays like `x`, None for what is not wanted. dweight and dbias are float32
        (float64 for float64), also for a weight of another dtype.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x = np.array([[1, 2, 3], [4, 6, 8]], np.float32)
    >>> dy = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    >>> dx, dweight, dbias = layer_norm_backward(dy, x, eps=0)
    >>> dx.round(3)
    array([[ 0.204, -0.408,  0.204],
           [ 0.102, -0.204,  0.102]], dtype=float32)
    >>> dbias
    array([1., 0., 1.], dtype=float32)
    """
    want = wanted(output_mask, accumulate, dx=dx, dweight=dweight, dbias=dbias)
    array, gamma = describe(x, "x"), optional(weight, "weight")
    rows = _rows(array, gamma, None, normalized_shape, channel_axis)
    kept = tuple(array.shape[axis] for axis in rows.kept)

    def form(arrangement: Arrangement) -> Form:
        saved = saved_statistics(array, stats, kept, kept_order(arrangement, rows.kept))
        return Form(_BACKWARD[arrangement.layout], _sizes(array, rows, arrangement), rows.shape, saved)

    return backward(array, dy, gamma, eps, want, rows.arrange, form)


def _rows(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    normalized_shape: int | Sequence[int] | None,
    channel_axis: int | None,
) -> Rows:
    """What is normalized over: trailing axes, or the channels at each position."""
    if channel_axis is None:
        rows = trailing_rows(x, weight, bias, normalized_shape)
        if len(rows.shape) > 1 or not rows.kept:
            return rows
        channel = len(rows.kept)
    elif normalized_shape is None:
        channel = channel_axis_of(x, channel_axis)
    else:
        raise ValueError("normalized_shape and channel_axis exclude each other")
    kept, arrange = _channel(len(x.shape), channel)
    return Rows(kept, (x.shape[channel],), arrange)


@functools.cache
def _channel(rank: int, channel: int) -> tuple[Sequence[int], Arrange]:
    """The axes that are kept beside `channel`; and its forms: rows of channels, or one for each position."""
    kept = [axis for axis in range(rank) if axis != channel]

    def forms(every: Sequence[int], positions: Sequence[int]) -> list[Arrangement]:
        last = Arrangement((*every, channel), len(kept), Layout.CHANNELS_LAST)
        first = Arrangement((0, channel, *positions), 1, Layout.CHANNELS_FIRST)
        return [last, first] if channel == len(kept) else [first, last]

    contiguous = forms(kept, kept[1:])

    def arrange(array: Array) -> list[Arrangement]:
        if array.strides is None:
            return contiguous
        return forms(by_stride(array, kept), by_stride(array, kept[1:]))

    return kept, arrange


def _sizes(x: Array, rows: Rows, arrangement: Arrangement) -> tuple[int, ...]:
    """The library's rows and size, or samples, channels and positions."""
    extents = [x.shape[axis] for axis in rows.kept]
    if arrangement.layout is Layout.CHANNELS_LAST:
        return math.prod(extents), math.prod(rows.shape)
    return extents[0], rows.shape[0], math.prod(extents[1:])

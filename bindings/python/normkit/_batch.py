"""Batch normalization."""

from __future__ import annotations

from typing import Any, Literal, SupportsIndex, overload

from ._abi import RunningVariance
from ._arrays import describe
from ._channels import place_channels
from ._library import library
from ._parameters import optional, parameters, running_statistics
from ._placement import returned, statistics
from ._scalars import integer, real
from ._types import ArrayT, SupportsDLPack


@overload
def batch_norm(
    x: ArrayT,
    running_mean: SupportsDLPack | None,
    running_var: SupportsDLPack | None,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    num_batches_tracked: SupportsIndex | None = None,
    unbiased_running_var: bool = True,
    out: ArrayT | None = None,
    return_stats: Literal[False] = False,
) -> ArrayT: ...
@overload
def batch_norm(
    x: ArrayT,
    running_mean: SupportsDLPack | None,
    running_var: SupportsDLPack | None,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    num_batches_tracked: SupportsIndex | None = None,
    unbiased_running_var: bool = True,
    out: ArrayT | None = None,
    return_stats: Literal[True],
) -> tuple[ArrayT, ArrayT, ArrayT]: ...
def batch_norm(
    x: ArrayT,
    running_mean: SupportsDLPack | None,
    running_var: SupportsDLPack | None,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    num_batches_tracked: SupportsIndex | None = None,
    unbiased_running_var: bool = True,
    out: ArrayT | None = None,
    return_stats: bool = False,
) -> Any:
    """Batch normalization: ``(x - mean) / sqrt(var + eps) * weight + bias`` per channel.

    In training, mean and variance are those of the batch, over all samples and positions, and
    `running_mean` and `running_var`, if given, are updated in place:
    ``running = (1 - momentum) * running + momentum * batch``. Otherwise they are the mean and variance.

    Args:
        x: [N, C] or [N, C, spatial...]; with ``channel_axis=-1`` [N, spatial..., C]. float32, float64,
            float16 or bfloat16.
        running_mean, running_var: [C], float32 (float64 for float64); both, or in training None for both.
        weight, bias: [C], x's dtype, or float32 beside float16 and bfloat16.
        momentum: the weight of this batch. None is a cumulative average: 1 / (num_batches_tracked + 1).
        eps: added to the variance.
        channel_axis: 1 or -1. Either way the memory may be channels first or channels last.
        num_batches_tracked: batches in the running statistics before this one. It is not changed.
        unbiased_running_var: fold the variance with n - 1 into `running_var`, as PyTorch does; False: with
            n, as ONNX does.
        out: where the result goes: an array of x's shape and dtype, `x` itself for in place.
        return_stats: in training, also return the batch's mean and 1 / sqrt(var + eps), each [C].

    Returns:
        y, an array like `x`, or ``(y, mean, rstd)``.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written. In training also if there is
            only one value per channel.

    Source: Ioffe, Szegedy, "Batch Normalization", 2015.

    >>> import numpy as np
    >>> x = np.array([[1, 10], [3, 30]], np.float32)
    >>> mean, var = np.zeros(2, np.float32), np.ones(2, np.float32)
    >>> batch_norm(x, mean, var, training=True, momentum=0.5, eps=0)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> mean, var
    (array([ 1., 10.], dtype=float32), array([  1.5, 100.5], dtype=float32))
    """
    array = describe(x, "x")
    at, sizes = place_channels(array, out, channel_axis)
    channels = (sizes[2],)
    p = parameters(array, optional(weight, "weight"), optional(bias, "bias"), channels)
    running = running_statistics(array, running_mean, running_var, sizes[2], updated=training)
    before_y = array.dtype, p.dtype, *sizes, at.x, at.x_stride, p.weight, p.bias
    if not training:
        if running is None:
            raise ValueError("running_mean and running_var are missing; without training they are needed")
        if return_stats:
            raise ValueError("return_stats needs training: without it the statistics are the caller's own")
        library.normkit_batch_norm_inference(*before_y, *running, real(eps, "eps"), at.y, at.y_stride)
        return returned(at.y)
    mean = statistics(array, channels) if return_stats else None
    rstd = statistics(array, channels) if return_stats else None
    library.normkit_batch_norm_training(
        *before_y,
        real(eps, "eps"),
        *(running or (None, None)),
        RunningVariance.RUNNING_UNBIASED if unbiased_running_var else RunningVariance.RUNNING_BIASED,
        _momentum(momentum, num_batches_tracked),
        at.y,
        at.y_stride,
        mean,
        rstd,
    )
    return returned(at.y, mean, rstd)


def _momentum(momentum: float | None, num_batches_tracked: SupportsIndex | None) -> float:
    if momentum is not None:
        return real(momentum, "momentum")
    if num_batches_tracked is None:
        raise ValueError("num_batches_tracked is missing; a cumulative average (momentum=None) needs it")
    batches = integer(num_batches_tracked, "num_batches_tracked")
    if batches < 0:
        raise ValueError(f"num_batches_tracked is {batches}; it must not be negative")
    return 1 / (batches + 1)

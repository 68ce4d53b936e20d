"""Batch normalization."""

from __future__ import annotations

from typing import Any, Literal, Sequence, SupportsIndex, overload

from ._abi import RunningVariance
from ._arrays import Array, describe
from ._channels import by_channel, channel_sizes, place_channels
from ._gradients import Form, backward, leading, saved_statistics, wanted
from ._library import functions
from ._parameters import Running, optional, parameters, running_statistics
from ._placement import Arrangement, returned, statistics
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
    before_y = array.dtype, p.dtype, *sizes, at.x, at.x_stride, p.weight, p.bias
    if not training:
        constants = _constants(array, running_mean, running_var, sizes[2])
        if return_stats:
            raise ValueError("return_stats needs training: without it the statistics are the caller's own")
        functions.normkit_batch_norm_inference(*before_y, *constants, real(eps, "eps"), at.y, at.y_stride)
        return returned(at.y)
    running = running_statistics(array, running_mean, running_var, sizes[2], updated=True)
    mean = statistics(array, channels) if return_stats else None
    rstd = statistics(array, channels) if return_stats else None
    functions.normkit_batch_norm_training(
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


def batch_norm_backward(
    dy: ArrayT,
    x: ArrayT | None,
    weight: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    running_mean: SupportsDLPack | None = None,
    running_var: SupportsDLPack | None = None,
    training: bool = True,
    channel_axis: int = 1,
    stats: Sequence[SupportsDLPack] | None = None,
    output_mask: Sequence[bool] = (True, True, True),
    dx: ArrayT | None = None,
    dweight: SupportsDLPack | None = None,
    dbias: SupportsDLPack | None = None,
    accumulate: bool = False,
) -> tuple[ArrayT | None, ArrayT | None, ArrayT | None]:
    """Gradients of `batch_norm` with respect to x, weight and bias.

    In training, the formulas are those of `layer_norm_backward`, with means and sums over a channel. Without
    training mean and variance are constants, also where `instance_norm` was given them:
    ``dx = dy * weight / sqrt(running_var + eps)``.

    Args:
        x, weight, eps, channel_axis: as `batch_norm` was given them. Without training `x` may be None if
            dweight is not wanted.
        training: whether `batch_norm` took the statistics of the batch.
        running_mean, running_var: without training, as `batch_norm` was given them. In training they have no
            part in it.
        stats: in training, ``(mean, rstd)`` as `batch_norm` returned them for this `x`: they spare one
            reading of it.
        dy, output_mask, dx, dweight, dbias, accumulate: see `layer_norm_backward`; dweight and dbias have
            shape [C].

    Returns:
        ``(dx, dweight, dbias)``, arrays like `x`, None for what is not wanted. dweight and dbias are float32
        (float64 for float64).

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written. In training also if there is
            only one value per channel.

    >>> import numpy as np
    >>> x, dy = np.array([[1], [2], [6]], np.float32), np.array([[1], [0], [0]], np.float32)
    >>> mean, var = np.array([2], np.float32), np.array([4], np.float32)
    >>> frozen = {"running_mean": mean, "running_var": var, "training": False}
    >>> dx, dweight, dbias = batch_norm_backward(dy, x, eps=0, **frozen)
    >>> dx.T, dweight, dbias
    (array([[0.5, 0. , 0. ]], dtype=float32), array([-0.5], dtype=float32), array([1.], dtype=float32))
    """
    want = wanted(output_mask, accumulate, dx=dx, dweight=dweight, dbias=dbias)
    array = describe(x, "x") if training else leading(dy, x, want)

    def form(arrangement: Arrangement) -> Form:
        sizes = channel_sizes(array, arrangement)
        channels = (sizes[2],)
        if training:
            saved = saved_statistics(array, stats, channels)
            return Form(functions.normkit_batch_norm_training_backward, sizes, channels, saved)
        if stats is not None:
            raise ValueError("stats needs training: without it the statistics are the running ones")
        constants = _constants(array, running_mean, running_var, sizes[2])
        return Form(functions.normkit_batch_norm_inference_backward, sizes, channels, constants)

    gamma = optional(weight, "weight")
    return backward(array, dy, gamma, eps, want, by_channel(array, channel_axis), form)


def _constants(x: Array, running_mean: Any, running_var: Any, channels: int) -> Running:
    """The running statistics, where they are the mean and variance."""
    running = running_statistics(x, running_mean, running_var, channels, updated=False)
    if running is None:
        raise ValueError("running_mean and running_var are missing; without training they are needed")
    return running


def _momentum(momentum: float | None, num_batches_tracked: SupportsIndex | None) -> float:
    if momentum is not None:
        return real(momentum, "momentum")
    if num_batches_tracked is None:
        raise ValueError("num_batches_tracked is missing; a cumulative average (momentum=None) needs it")
    batches = integer(num_batches_tracked, "num_batches_tracked")
    if batches < 0:
        raise ValueError(f"num_batches_tracked is {batches}; it must not be negative")
    return 1 / (batches + 1)

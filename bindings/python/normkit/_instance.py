"""Instance normalization."""

from __future__ import annotations

from typing import Any, Literal, Sequence, overload

import numpy as np

from ._abi import Layout
from ._arrays import describe, numpy_dtype
from ._axes import reduction
from ._channels import ChannelCall, by_channel, channel_sizes, place_channels
from ._gradients import Form, backward, saved_statistics, wanted
from ._library import functions
from ._parameters import Running, optional, parameters, running_statistics
from ._placement import Arrangement, Given, Result, arranged_copy, returned, statistics
from ._scalars import real
from ._types import ArrayT, SupportsDLPack


@overload
def instance_norm(
    x: ArrayT,
    running_mean: SupportsDLPack | None = None,
    running_var: SupportsDLPack | None = None,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: ArrayT | None = None,
    return_stats: Literal[False] = False,
) -> ArrayT: ...
@overload
def instance_norm(
    x: ArrayT,
    running_mean: SupportsDLPack | None = None,
    running_var: SupportsDLPack | None = None,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: ArrayT | None = None,
    return_stats: Literal[True],
) -> tuple[ArrayT, ArrayT, ArrayT]: ...
def instance_norm(
    x: ArrayT,
    running_mean: SupportsDLPack | None = None,
    running_var: SupportsDLPack | None = None,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: ArrayT | None = None,
    return_stats: bool = False,
) -> Any:
    """Instance normalization: ``(x - mean) / sqrt(var + eps) * weight + bias`` per sample and channel.

    With `use_input_stats`, mean and variance are those of each sample's channel, over its positions, and
    `running_mean` and `running_var`, if given, are updated in place with their mean over the samples:
    ``running = (1 - momentum) * running + momentum * mean of the samples' statistics``, the variance with
    n - 1 for n positions. Otherwise they are the mean and variance.

    Args:
        x: [N, C, spatial...]; with ``channel_axis=-1`` [N, spatial..., C]. float32, float64, float16 or
            bfloat16. To update running statistics, `x` with a sample stride is copied once.
        running_mean, running_var: [C], float32 (float64 for float64); both, or with `use_input_stats`
            None for both.
        weight, bias: [C], x's dtype, or float32 beside float16 and bfloat16.
        momentum: the weight of this call in the running statistics.
        eps: added to the variance.
        channel_axis: 1 or -1. Either way the memory may be channels first or channels last.
        out: where the result goes: an array of x's shape and dtype, `x` itself for in place.
        return_stats: with `use_input_stats`, also return mean and 1 / sqrt(var + eps), each [N, C].

    Returns:
        y, an array like `x`, or ``(y, mean, rstd)``.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", 2016.

    >>> import numpy as np
    >>> instance_norm(np.array([[[1, 3], [10, 30]]], np.float32), eps=0)
    array([[[-1.,  1.],
            [-1.,  1.]]], dtype=float32)
    """
    array = describe(x, "x")
    call = place_channels(array, out, channel_axis)
    channels = call.sizes[2]
    p = parameters(array, optional(weight, "weight"), optional(bias, "bias"), (channels,))
    running = running_statistics(array, running_mean, running_var, channels, updated=use_input_stats)
    if not use_input_stats:
        if running is None:
            raise ValueError("running_mean and running_var are missing; without use_input_stats they are needed")
        if return_stats:
            raise ValueError("return_stats needs use_input_stats: without it the statistics are the caller's own")
        at = call.at
        functions.normkit_batch_norm_inference(
            array.dtype, p.dtype, *call.sizes, at.x, at.x_stride, p.weight, p.bias, *running, real(eps, "eps"),
            at.y, at.y_stride,
        )
        return returned(at.y)
    folded = None
    if running is not None:
        call, folded = _fold(call, running, real(momentum, "momentum"))
    mean = statistics(array, (array.shape[0], channels)) if return_stats else None
    rstd = statistics(array, (array.shape[0], channels)) if return_stats else None
    at = call.at
    functions.normkit_instance_norm(
        array.dtype, p.dtype, *call.sizes, at.x, at.x_stride, p.weight, p.bias, real(eps, "eps"),
        at.y, at.y_stride, mean, rstd,
    )
    if running is not None and folded is not None:
        for memory, values in zip(running, folded):
            memory.bits()[...] = values.view(memory.bits().dtype)
    return returned(at.y, mean, rstd)


def instance_norm_backward(
    dy: ArrayT,
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    stats: Sequence[SupportsDLPack] | None = None,
    output_mask: Sequence[bool] = (True, True, True),
    dx: ArrayT | None = None,
    dweight: SupportsDLPack | None = None,
    dbias: SupportsDLPack | None = None,
    accumulate: bool = False,
) -> tuple[ArrayT | None, ArrayT | None, ArrayT | None]:
    """Gradients of `instance_norm` with respect to x, weight and bias, with `use_input_stats`.

    The formulas are those of `layer_norm_backward`, with means over a channel of a sample, and sums over a
    channel of all samples. Without `use_input_stats` they are those of `batch_norm_backward` without
    training.

    Args:
        x, weight, eps, channel_axis: as `instance_norm` was given them.
        stats: ``(mean, rstd)`` as `instance_norm` returned them for this `x`: they spare one reading of it.
        dy, output_mask, dx, dweight, dbias, accumulate: see `layer_norm_backward`; dweight and dbias have
            shape [C].

    Returns:
        ``(dx, dweight, dbias)``, arrays like `x`, None for what is not wanted. dweight and dbias are float32
        (float64 for float64).

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x, dy = np.array([[[1, 3, 5], [0, 0, 9]]], np.float32), np.array([[[1, 0, 0], [0, 2, 0]]], np.float32)
    >>> dx, dweight, dbias = instance_norm_backward(dy, x, eps=0)
    >>> dweight.round(3), dbias
    (array([-1.225, -1.414], dtype=float32), array([1., 2.], dtype=float32))
    """
    want = wanted(output_mask, accumulate, dx=dx, dweight=dweight, dbias=dbias)
    array = describe(x, "x")

    def form(arrangement: Arrangement) -> Form:
        sizes = channel_sizes(array, arrangement)
        _, samples, channels, _ = sizes
        saved = saved_statistics(array, stats, (samples, channels))
        return Form(functions.normkit_instance_norm_backward, sizes, (channels,), saved)

    gamma = optional(weight, "weight")
    return backward(array, dy, gamma, eps, want, by_channel(array, channel_axis), form)


def _fold(
    call: ChannelCall, running: Running, momentum: float
) -> tuple[ChannelCall, list[np.ndarray[Any, Any]]]:
    """The new running mean and variance; and `call`, with x copied if it was not contiguous."""
    at, (layout, samples, channels, positions) = call
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}; it must be in [0, 1]")
    if samples == 0 or positions < 2:
        raise ValueError(
            f"x has {samples} samples of {positions} positions; to update running_var it needs at least"
            " one sample, and two positions in it"
        )
    others = [running.mean, running.variance, at.x, *([at.y.memory] if isinstance(at.y, Given) else [])]
    for memory in running:
        others.remove(memory)
        for other in others:
            if np.may_share_memory(memory.bits(), other.bits()):
                raise ValueError(f"{memory.name} overlaps {other.name}")
    if at.x_stride:
        at = at._replace(x=arranged_copy(at.x, at.arrangement.order), x_stride=0)
    dtype = numpy_dtype(at.x.statistics_dtype)
    mean, variance = (Result.of_numpy(np.empty((samples, channels), dtype)) for _ in running)
    order = (0, 1, 2) if layout is Layout.CHANNELS_FIRST else (0, 2, 1)
    functions.normkit_moments(
        at.x.dtype,
        *reduction((samples, channels, positions), order, [2]),
        at.x,
        1,
        mean,
        variance,
    )
    folded = [
        ((1 - momentum) * memory.bits().view(dtype) + momentum * batch.value.mean(0, np.float64)).astype(dtype)
        for memory, batch in zip(running, (mean, variance))
    ]
    return call._replace(at=at), folded

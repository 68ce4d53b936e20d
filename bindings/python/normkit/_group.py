"""Group normalization."""

from __future__ import annotations

from typing import Any, Literal, Sequence, overload

from ._arrays import describe
from ._channels import by_channel, channel_sizes, place_channels
from ._gradients import Form, backward, saved_statistics, wanted
from ._library import functions
from ._parameters import optional, parameters
from ._placement import Arrangement, returned, statistics
from ._scalars import integer, real
from ._types import ArrayT, SupportsDLPack


@overload
def group_norm(
    x: ArrayT,
    num_groups: int,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: ArrayT | None = None,
    return_stats: Literal[False] = False,
) -> ArrayT: ...
@overload
def group_norm(
    x: ArrayT,
    num_groups: int,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: ArrayT | None = None,
    return_stats: Literal[True],
) -> tuple[ArrayT, ArrayT, ArrayT]: ...
def group_norm(
    x: ArrayT,
    num_groups: int,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: ArrayT | None = None,
    return_stats: bool = False,
) -> Any:
    """Group normalization: ``(x - mean) / sqrt(var + eps) * weight + bias`` per sample and group.

    The channels are cut into `num_groups` runs of neighbours; mean and variance are over the elements of
    one group of one sample.

    Args:
        x: [N, C] or [N, C, spatial...]; with ``channel_axis=-1`` [N, spatial..., C]. float32, float64,
            float16 or bfloat16.
        num_groups: a divisor of C.
        weight, bias: [C], x's dtype, or float32 beside float16 and bfloat16.
        eps: added to the variance.
        channel_axis: 1 or -1. Either way the memory may be channels first or channels last.
        out: where the result goes: an array of x's shape and dtype, `x` itself for in place.
        return_stats: also return mean and 1 / sqrt(var + eps), each [N, num_groups].

    Returns:
        y, an array like `x`, or ``(y, mean, rstd)``.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    Source: Wu, He, "Group Normalization", 2018.

    >>> import numpy as np
    >>> group_norm(np.array([[1, 3, 10, 30]], np.float32), 2, eps=0)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    array = describe(x, "x")
    at, sizes = place_channels(array, out, channel_axis)
    _, samples, channels, _ = sizes
    num_groups = _groups(num_groups, channels)
    p = parameters(array, optional(weight, "weight"), optional(bias, "bias"), (channels,))
    mean = statistics(array, (samples, num_groups)) if return_stats else None
    rstd = statistics(array, (samples, num_groups)) if return_stats else None
    functions.normkit_group_norm(
        array.dtype, p.dtype, *sizes, num_groups, at.x, at.x_stride, p.weight, p.bias, real(eps, "eps"),
        at.y, at.y_stride, mean, rstd,
    )
    return returned(at.y, mean, rstd)


def group_norm_backward(
    dy: ArrayT,
    x: ArrayT,
    num_groups: int,
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
    """Gradients of `group_norm` with respect to x, weight and bias.

    The formulas are those of `layer_norm_backward`, with means over a group, and sums over a channel.

    Args:
        x, num_groups, weight, eps, channel_axis: as `group_norm` was given them.
        stats: ``(mean, rstd)`` as `group_norm` returned them for this `x`: they spare one reading of it.
        dy, output_mask, dx, dweight, dbias, accumulate: see `layer_norm_backward`; dweight and dbias have
            shape [C].

    Returns:
        ``(dx, dweight, dbias)``, arrays like `x`, None for what is not wanted. dweight and dbias are float32
        (float64 for float64).

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x, dy = np.array([[1, 2, 3, 7]], np.float32), np.array([[0, 1, 0, 1]], np.float32)
    >>> dx, dweight, dbias = group_norm_backward(dy, x, 2, eps=0)
    >>> dweight
    array([0., 1., 0., 1.], dtype=float32)
    """
    want = wanted(output_mask, accumulate, dx=dx, dweight=dweight, dbias=dbias)
    array = describe(x, "x")

    def form(arrangement: Arrangement) -> Form:
        sizes = channel_sizes(array, arrangement)
        _, samples, channels, _ = sizes
        groups = _groups(num_groups, channels)
        saved = saved_statistics(array, stats, (samples, groups))
        return Form(functions.normkit_group_norm_backward, (*sizes, groups), (channels,), saved)

    gamma = optional(weight, "weight")
    return backward(array, dy, gamma, eps, want, by_channel(array, channel_axis), form)


def _groups(num_groups: int, channels: int) -> int:
    num_groups = integer(num_groups, "num_groups")
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"num_groups is {num_groups}; it must divide the {channels} channels of x")
    return num_groups

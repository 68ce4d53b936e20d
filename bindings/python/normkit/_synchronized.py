"""Batch normalization of a batch that is spread over several processes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._abi import CHANNEL_GRADIENT, DType
from ._arrays import describe
from ._channels import by_channel, channel_sizes, place_channels
from ._gradients import Wanted, place_gradient
from ._library import functions
from ._moments import Doubles, Moments, moments_memory
from ._parameters import optional, parameters
from ._placement import contiguous, returned
from ._scalars import real
from ._types import ArrayT, SupportsDLPack


def batch_norm_synchronized(
    x: ArrayT,
    moments: Moments,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    out: ArrayT | None = None,
) -> ArrayT:
    """Batch normalization with the statistics of `moments`, as a rule those of a batch on several processes.

    Each process (1) forms the moments of its share, ``Moments(C).accumulate(x)``, (2) collects the
    `Moments.data` of all processes, (3) merges them in the order of the processes, so that all have the same
    bits, and (4) calls this function. A process with an empty share takes part in it. Running statistics come
    from `Moments.finish`.

    Args:
        x: this process's share: [N, C] or [N, C, spatial...]; with ``channel_axis=-1`` [N, spatial..., C].
            float32, float64, float16 or bfloat16.
        moments: those of all processes.
        weight, bias: [C], x's dtype, or float32 beside float16 and bfloat16.
        eps: added to the variance.
        channel_axis: 1 or -1. Either way the memory may be channels first or channels last.
        out: where the result goes: an array of x's shape and dtype, `x` itself for in place.

    Returns:
        y, an array like `x`.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> shares = np.array([[1], [3]], np.float32), np.array([[5], [7]], np.float32)
    >>> moments = Moments(1)
    >>> for share in shares:
    ...     _ = moments.merge(Moments(1).accumulate(share))
    >>> np.concatenate([batch_norm_synchronized(share, moments, eps=0) for share in shares]).round(3).T
    array([[-1.342, -0.447,  0.447,  1.342]], dtype=float32)
    """
    array = describe(x, "x")
    at, sizes = place_channels(array, out, channel_axis)
    p = parameters(array, optional(weight, "weight"), optional(bias, "bias"), (sizes[2],))
    functions.normkit_batch_norm_synchronized(
        array.dtype, p.dtype, *sizes, at.x, at.x_stride, p.weight, p.bias,
        moments_memory(moments, "moments", sizes[2]), real(eps, "eps"), at.y, at.y_stride,
    )
    result: ArrayT = returned(at.y)
    return result


def batch_norm_gradient_sums(
    dy: ArrayT, x: ArrayT, moments: Moments, eps: float = 1e-5, *, channel_axis: int = 1
) -> Doubles:
    """Backward of `batch_norm_synchronized`, first half: the sums over this process's share.

    They are added up over all processes and given to `batch_norm_synchronized_backward`.

    Args:
        dy: the gradient of a loss with respect to y, with x's shape and dtype. Copied once if it does not lie
            in memory as `x` does.
        x, moments, eps, channel_axis: as `batch_norm_synchronized` was given them.

    Returns:
        A NumPy array [C, 2], float64: per channel the sum of dy, which is the gradient of bias, and the sum
        of ``dy * (x - mean) * rstd``, which is that of weight.

    Raises:
        TypeError, ValueError: naming the argument.

    >>> import numpy as np
    >>> x, dy = np.array([[1], [3]], np.float32), np.array([[5], [1]], np.float32)
    >>> batch_norm_gradient_sums(dy, x, Moments(1).accumulate(x), eps=0)
    array([[ 6., -4.]])
    """
    array = describe(x, "x")
    at = place_gradient(array, dy, Wanted(None, (), False), by_channel(array, channel_axis))
    sizes = channel_sizes(array, at.arrangement)
    sums = np.empty((sizes[2], len(CHANNEL_GRADIENT)))
    functions.normkit_batch_norm_gradient_sums(
        array.dtype, *sizes, *at.inputs, moments_memory(moments, "moments", sizes[2]), real(eps, "eps"),
        describe(sums, "the result"),
    )
    return sums


def batch_norm_synchronized_backward(
    dy: ArrayT,
    x: ArrayT,
    moments: Moments,
    sums: SupportsDLPack,
    weight: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 1,
    dx: ArrayT | None = None,
) -> ArrayT:
    """Backward of `batch_norm_synchronized`, second half: dx of this process's share.

    Args:
        sums: [C, 2], float64: those of `batch_norm_gradient_sums`, added up over all processes.
        x, moments, weight, eps, channel_axis: as `batch_norm_synchronized` was given them.
        dy: see `batch_norm_gradient_sums`.
        dx: where the result goes: an array of x's shape and dtype, `dy` or `x` itself for in place.

    Returns:
        dx, an array like `x`. The gradients of bias and weight are ``sums[:, 0]`` and ``sums[:, 1]``.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x, dy = np.array([[1], [2], [6]], np.float32), np.array([[1], [0], [2]], np.float32)
    >>> moments = Moments(1).accumulate(x)
    >>> sums = batch_norm_gradient_sums(dy, x, moments)
    >>> batch_norm_synchronized_backward(dy, x, moments, sums).round(3).T
    array([[ 0.265, -0.331,  0.066]], dtype=float32)
    """
    array = describe(x, "x")
    at = place_gradient(array, dy, Wanted(("dx", dx), (), False), by_channel(array, channel_axis))
    sizes = channel_sizes(array, at.arrangement)
    p = parameters(array, optional(weight, "weight"), None, (sizes[2],))
    totals = describe(sums, "sums")
    totals.require_dtype(DType.F64)
    totals.require_shape((sizes[2], len(CHANNEL_GRADIENT)))
    functions.normkit_batch_norm_synchronized_backward(
        array.dtype, p.dtype, *sizes, *at.inputs, p.weight, moments_memory(moments, "moments", sizes[2]),
        contiguous(totals), real(eps, "eps"), at.dx, at.dx_stride,
    )
    result: ArrayT = returned(at.dx)
    return result

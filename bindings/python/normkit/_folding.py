"""Batch normalization folded into the layer before it."""

from __future__ import annotations

from typing import Any

from ._abi import DType
from ._arrays import Array, describe
from ._axes import around, axis_of
from ._library import functions
from ._placement import allocate, contiguous, dense, place, returned
from ._scalars import real
from ._types import ArrayT, SupportsDLPack


def fold_batch_norm(
    weight: ArrayT,
    bias: SupportsDLPack | None,
    running_mean: SupportsDLPack,
    running_var: SupportsDLPack,
    gamma: SupportsDLPack | None = None,
    beta: SupportsDLPack | None = None,
    eps: float = 1e-5,
    *,
    channel_axis: int = 0,
) -> tuple[ArrayT, ArrayT]:
    """Fold a batch normalization into the convolution or dense layer before it.

    That layer alone then gives what both gave in inference, up to rounding. Per output channel its weight is
    ``weight * gamma * rstd``, its bias ``(bias - running_mean) * gamma * rstd + beta``, where rstd is
    ``1 / sqrt(running_var + eps)``.

    Args:
        weight: the layer's weight, float32 or float64. Copied once if there are gaps in it.
        bias: the layer's bias, [C] for C output channels; None is 0.
        running_mean, running_var, gamma, beta, eps: those of the batch normalization, [C] each. A gamma of
            None is 1, a beta of None is 0.
        channel_axis: the axis of `weight` that counts output channels: 0 for convolutions and dense layers in
            PyTorch's order, 1 for transposed convolutions (one of several groups has to be cut into them
            first), -1 for kernels stored [..., in, out].

    Returns:
        ``(weight, bias)``, new arrays like `weight`.

    Raises:
        TypeError, ValueError: naming the argument.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", 2018, section 3.2.

    >>> import numpy as np
    >>> weight, mean, var = np.array([[1, 2], [3, 4]], np.float32), np.float32([1, 1]), np.float32([3, 3])
    >>> fold_batch_norm(weight, None, mean, var, eps=1)
    (array([[0.5, 1. ],
           [1.5, 2. ]], dtype=float32), array([-0.5, -0.5], dtype=float32))
    """
    array = describe(weight, "weight")
    array.require_dtype(DType.F32, DType.F64)
    axis = axis_of(array, channel_axis, "channel_axis")
    channels = array.shape[axis]
    at = place(array, None, dense)
    folded_bias = allocate(array, array.dtype, (channels,))
    functions.normkit_fold_batch_norm(
        array.dtype, *around(array.shape, at.arrangement.order, axis), at.x,
        None if bias is None else _per_channel(array, bias, "bias", channels),
        None if gamma is None else _per_channel(array, gamma, "gamma", channels),
        None if beta is None else _per_channel(array, beta, "beta", channels),
        _per_channel(array, running_mean, "running_mean", channels),
        _per_channel(array, running_var, "running_var", channels),
        real(eps, "eps"), at.y, folded_bias,
    )
    result: tuple[ArrayT, ArrayT] = returned(at.y, folded_bias)
    return result


def _per_channel(weight: Array, array: Any, name: str, channels: int) -> Array:
    memory = describe(array, name)
    memory.require_dtype(weight.dtype)
    memory.require_shape((channels,))
    return contiguous(memory)

"""RMS normalization."""

from __future__ import annotations

import math
from typing import Any, Literal, Sequence, overload

import numpy as np

from ._abi import DType
from ._arrays import Array, describe
from ._library import library
from ._parameters import optional, parameters
from ._placement import Arrangement, by_stride, kept_statistics, place, returned
from ._rows import NO_STRIDE, plain_rows, trailing_axes
from ._scalars import real
from ._types import ArrayT, SupportsDLPack

_rms_norm = library.normkit_rms_norm

# What eps=None means.
_MACHINE_EPSILON = {
    dtype: float(np.finfo(np.float64 if dtype == DType.F64 else np.float32).eps) for dtype in DType
}


@overload
def rms_norm(
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float | None = None,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    one_plus_weight: bool = False,
    out: ArrayT | None = None,
    return_stats: Literal[False] = False,
) -> ArrayT: ...
@overload
def rms_norm(
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float | None = None,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    one_plus_weight: bool = False,
    out: ArrayT | None = None,
    return_stats: Literal[True],
) -> tuple[ArrayT, ArrayT]: ...
def rms_norm(
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    eps: float | None = None,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    one_plus_weight: bool = False,
    out: ArrayT | None = None,
    return_stats: bool = False,
) -> Any:
    """RMS normalization: ``x / sqrt(mean(x * x) + eps) * weight + bias``, the mean over a row.

    What a row is, and `weight`, `bias` and `out`: see `layer_norm`.

    Args:
        eps: added to the mean of the squares. None is the machine epsilon of the type of computation, as
            in `torch.nn.functional.rms_norm`: 2**-23, for float64 2**-52.
        one_plus_weight: multiply by ``1 + weight``, as models do that store the weight around 0.
        return_stats: also return 1 / sqrt(mean(x * x) + eps), with the shape of the axes that are not
            normalized over, in float32 (float64 for float64).

    Returns:
        y, an array like `x`, or ``(y, rstd)``.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019.

    >>> import numpy as np
    >>> rms_norm(np.array([[3, -3, 3, 3]], np.float32), eps=0)
    array([[ 1., -1.,  1.,  1.]], dtype=float32)
    """
    if normalized_shape is None and not return_stats and (eps is None or type(eps) is float):
        plain = plain_rows(x, weight, bias, out)
        if plain is not None:
            dtype, rows, size, px, gamma, beta, py, y = plain
            if eps is None:
                eps = _MACHINE_EPSILON[dtype.value]
            _rms_norm(
                dtype, dtype, rows, size, px, NO_STRIDE, gamma, beta, bool(one_plus_weight), eps, py, NO_STRIDE, None
            )
            return y

    array = describe(x, "x")
    gamma, beta = optional(weight, "weight"), optional(bias, "bias")
    axes = trailing_axes(array, gamma, beta, normalized_shape)
    p = parameters(array, gamma, beta, tuple(array.shape[axis] for axis in axes))
    kept = range(len(array.shape) - len(axes))

    def arrange(array: Array) -> list[Arrangement]:
        return [Arrangement((*by_stride(array, kept), *axes), len(kept))]

    at = place(array, out, arrange)
    rstd = kept_statistics(array, at.arrangement, kept) if return_stats else None
    rows, size = math.prod(array.shape[: len(kept)]), math.prod(array.shape[len(kept) :])
    eps = _MACHINE_EPSILON[array.dtype] if eps is None else real(eps, "eps")
    _rms_norm(
        array.dtype, p.dtype, rows, size, at.x, at.x_stride, p.weight, p.bias, bool(one_plus_weight), eps,
        at.y, at.y_stride, rstd,
    )
    return returned(at.y, rstd)

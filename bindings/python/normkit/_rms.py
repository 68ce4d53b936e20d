"""RMS normalization."""

from __future__ import annotations

import math
from typing import Any, Literal, Sequence, overload

import numpy as np

from ._abi import DType
from ._arrays import Array, describe
from ._gradients import Form, backward, saved, wanted
from ._library import functions
from ._parameters import optional, parameters
from ._placement import Arrangement, kept_order, kept_statistics, place, returned
from ._rows import Rows, trailing_rows
from ._scalars import real
from ._types import ArrayT, SupportsDLPack

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
    array = describe(x, "x")
    gamma, beta = optional(weight, "weight"), optional(bias, "bias")
    over = trailing_rows(array, gamma, beta, normalized_shape)
    p = parameters(array, gamma, beta, over.shape)
    at = place(array, out, over.arrange)
    rstd = kept_statistics(array, at.arrangement, over.kept) if return_stats else None
    functions.normkit_rms_norm(
        array.dtype, p.dtype, *_sizes(array, over), at.x, at.x_stride, p.weight, p.bias,
        bool(one_plus_weight), _epsilon(array, eps), at.y, at.y_stride, rstd,
    )
    return returned(at.y, rstd)


def rms_norm_backward(
    dy: ArrayT,
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    eps: float | None = None,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    one_plus_weight: bool = False,
    rstd: SupportsDLPack | None = None,
    output_mask: Sequence[bool] = (True, True, True),
    dx: ArrayT | None = None,
    dweight: SupportsDLPack | None = None,
    dbias: SupportsDLPack | None = None,
    accumulate: bool = False,
) -> tuple[ArrayT | None, ArrayT | None, ArrayT | None]:
    """Gradients of `rms_norm` with respect to x, weight and bias.

    With ``z = x * rstd`` and ``h = dy * weight`` (``dy * (1 + weight)`` with `one_plus_weight`), the mean
    over a row: ``dx = rstd * (h - z * mean(h * z))``; dweight and dbias as in `layer_norm_backward`.

    Args:
        x, weight, eps, normalized_shape, one_plus_weight: as `rms_norm` was given them.
        rstd: as `rms_norm` returned it for this `x`: it spares one reading of it. None: it is formed again.
        dy, output_mask, dx, dweight, dbias, accumulate: see `layer_norm_backward`.

    Returns:
        ``(dx, dweight, dbias)``, arrays like `x`, None for what is not wanted. dweight and dbias are float32
        (float64 for float64).

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x, dy = np.array([[3, -3, 3, 3]], np.float32), np.array([[3, 0, 0, 0]], np.float32)
    >>> dx, dweight, dbias = rms_norm_backward(dy, x, eps=0)
    >>> dx, dweight
    (array([[ 0.75,  0.25, -0.25, -0.25]], dtype=float32), array([3., 0., 0., 0.], dtype=float32))
    """
    want = wanted(output_mask, accumulate, dx=dx, dweight=dweight, dbias=dbias)
    array, gamma = describe(x, "x"), optional(weight, "weight")
    over = trailing_rows(array, gamma, None, normalized_shape)
    kept = array.shape[: len(over.kept)]

    def form(arrangement: Arrangement) -> Form:
        inverse = saved(array, rstd, "rstd", kept, kept_order(arrangement, over.kept))
        sizes = _sizes(array, over)
        return Form(functions.normkit_rms_norm_backward, sizes, over.shape, (bool(one_plus_weight), inverse))

    return backward(array, dy, gamma, _epsilon(array, eps), want, over.arrange, form)


def _sizes(x: Array, over: Rows) -> tuple[int, int]:
    """The library's rows and size."""
    return math.prod(x.shape[: len(over.kept)]), math.prod(over.shape)


def _epsilon(x: Array, eps: float | None) -> float:
    return _MACHINE_EPSILON[x.dtype] if eps is None else real(eps, "eps")

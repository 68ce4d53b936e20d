"""Normalization and statistics over any subset of axes."""

from __future__ import annotations

import math
from typing import Any, Literal, Sequence, overload

from ._abi import EpsilonRule, Norm
from ._arrays import describe
from ._axes import axis_list, reduction
from ._library import library
from ._placement import dense, fit, kept_statistics, place, returned
from ._scalars import integer, real
from ._types import ArrayT

_NORMS = {1: Norm.L1, 2: Norm.L2, math.inf: Norm.MAX}


@overload
def normalize(
    x: ArrayT,
    axes: int | Sequence[int] | None = None,
    p: float | None = None,
    eps: float | None = None,
    *,
    epsilon_inside: bool = True,
    out: ArrayT | None = None,
    return_stats: Literal[False] = False,
) -> ArrayT: ...
@overload
def normalize(
    x: ArrayT,
    axes: int | Sequence[int] | None = None,
    p: float | None = None,
    eps: float | None = None,
    *,
    epsilon_inside: bool = True,
    out: ArrayT | None = None,
    return_stats: Literal[True],
) -> tuple[ArrayT, ...]: ...
def normalize(
    x: ArrayT,
    axes: int | Sequence[int] | None = None,
    p: float | None = None,
    eps: float | None = None,
    *,
    epsilon_inside: bool = True,
    out: ArrayT | None = None,
    return_stats: bool = False,
) -> Any:
    """Normalization over any axes: to mean 0 and variance 1, or to norm 1.

    * ``p=None``: ``(x - mean) / sqrt(var + eps)``, as ONNX MeanVarianceNormalization; with
      ``epsilon_inside=False`` ``(x - mean) / (sqrt(var) + eps)``. eps is 1e-5 if not given.
    * ``p`` 1, 2 or `math.inf`: ``x / max(norm, eps)``, as `torch.nn.functional.normalize`, where the norm is
      the sum of absolute values, the root of the sum of squares, or the largest absolute value. eps is
      1e-12 if not given.

    Args:
        x: float32, float64, float16 or bfloat16, at most 8 axes. Copied once if there are gaps in it.
        axes: the axes that mean and variance, or the norm, run over; None is all of them.
        out: where the result goes: an array of x's shape and dtype, `x` itself for in place.
        return_stats: also return mean and 1 / sqrt(var + eps) (or 1 / (sqrt(var) + eps)), or the norm, with
            the shape of the other axes, in float32 (float64 for float64).

    Returns:
        y, an array like `x`, or ``(y, mean, rstd)``, or ``(y, norm)``.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x = np.array([[3, 4], [6, 8]], np.float32)
    >>> normalize(x, axes=1, p=2)
    array([[0.6, 0.8],
           [0.6, 0.8]], dtype=float32)
    >>> normalize(x, axes=0, eps=0)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """
    array = describe(x, "x")
    listed = axis_list(array, axes)
    if p is not None and p not in _NORMS:
        raise ValueError(f"p is {p}; it must be None, 1, 2 or inf")
    at = place(array, out, dense)
    over = reduction(array.shape, at.arrangement.order, listed)
    kept = [axis for axis in range(len(array.shape)) if axis not in listed]
    first = kept_statistics(array, at.arrangement, kept) if return_stats else None
    if p is not None:
        norm, eps = _NORMS[p], 1e-12 if eps is None else real(eps, "eps")
        library.normkit_lp_normalize(array.dtype, norm, *over, at.x, eps, at.y, first)
        return returned(at.y, first)
    rstd = kept_statistics(array, at.arrangement, kept) if return_stats else None
    rule = EpsilonRule.EPSILON_INSIDE_SQRT if epsilon_inside else EpsilonRule.EPSILON_OUTSIDE_SQRT
    eps = 1e-5 if eps is None else real(eps, "eps")
    library.normkit_normalize(array.dtype, *over, at.x, eps, rule, at.y, first, rstd)
    return returned(at.y, first, rstd)


def moments(
    x: ArrayT, axes: int | Sequence[int] | None = None, correction: int = 0
) -> tuple[ArrayT, ArrayT]:
    """Mean and variance over any axes.

    Args:
        x: float32, float64, float16 or bfloat16, at most 8 axes. Copied once if there are gaps in it.
        axes: the axes to run over; None is all of them.
        correction: the variance is the sum of squared deviations / (number of elements - correction).

    Returns:
        ``(mean, variance)``, arrays like `x` with the shape of the other axes, float32 (float64 for
        float64).

    Raises:
        TypeError, ValueError: naming the argument; also if there are no elements to average.

    >>> import numpy as np
    >>> mean, variance = moments(np.array([[1, 3], [10, 30]], np.float32), axes=1, correction=1)
    >>> mean, variance
    (array([ 2., 20.], dtype=float32), array([  2., 200.], dtype=float32))
    """
    array = describe(x, "x")
    listed = axis_list(array, axes)
    kept = [axis for axis in range(len(array.shape)) if axis not in listed]
    choices = dense(array)
    _, stored, _ = fit(array, choices)
    over = reduction(array.shape, choices[0].order, listed)
    mean = kept_statistics(array, choices[0], kept)
    variance = kept_statistics(array, choices[0], kept)
    library.normkit_moments(array.dtype, *over, stored, integer(correction, "correction"), mean, variance)
    result: tuple[ArrayT, ArrayT] = returned(mean, variance)
    return result

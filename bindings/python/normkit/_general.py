"""Normalization and statistics over any subset of axes."""

from __future__ import annotations

import math
from typing import Any, Literal, Sequence, overload

from ._abi import EpsilonRule, Norm
from ._arrays import describe
from ._axes import axis_list, reduction
from ._gradients import place_gradient, saved, saved_statistics, wanted
from ._library import functions
from ._placement import dense, fit, kept_order, kept_statistics, place, returned
from ._scalars import integer, real
from ._types import ArrayT, SupportsDLPack

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
    norm = _norm(p)
    at = place(array, out, dense)
    over = reduction(array.shape, at.arrangement.order, listed)
    kept = [axis for axis in range(len(array.shape)) if axis not in listed]
    first = kept_statistics(array, at.arrangement, kept) if return_stats else None
    if norm is not None:
        functions.normkit_lp_normalize(array.dtype, norm, *over, at.x, _epsilon(eps, norm), at.y, first)
        return returned(at.y, first)
    rstd = kept_statistics(array, at.arrangement, kept) if return_stats else None
    functions.normkit_normalize(
        array.dtype, *over, at.x, _epsilon(eps, norm), _epsilon_rule(epsilon_inside), at.y, first, rstd
    )
    return returned(at.y, first, rstd)


def normalize_backward(
    dy: ArrayT,
    x: ArrayT,
    axes: int | Sequence[int] | None = None,
    p: float | None = None,
    eps: float | None = None,
    *,
    epsilon_inside: bool = True,
    stats: Sequence[SupportsDLPack] | None = None,
    dx: ArrayT | None = None,
) -> ArrayT:
    """Gradient of `normalize` with respect to x.

    For ``p=None`` that of `layer_norm_backward` without a weight, over `axes`. For a norm
    ``dx = (dy - sum(dy * y) * n) / norm``, where n is the gradient of the norm: y for p 2, the sign of x for
    p 1, and for `math.inf` the sign of x at the elements as large as the norm, divided by their number;
    ``dx = dy / eps`` where the norm is below eps.

    Args:
        dy: the gradient of a loss with respect to y, with x's shape and dtype. Copied once if it does not lie
            in memory as `x` does.
        x, axes, p, eps, epsilon_inside: as `normalize` was given them.
        stats: ``(mean, rstd)`` or ``(norm,)`` as `normalize` returned them for this `x`: they spare one
            reading of it (not with ``epsilon_inside=False``). None: they are formed again.
        dx: where the result goes: an array of x's shape and dtype, `dy` or `x` itself for in place.

    Returns:
        dx, an array like `x`.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> normalize_backward(np.array([1, 0], np.float32), np.array([3, 4], np.float32), p=2).round(3)
    array([ 0.128, -0.096], dtype=float32)
    """
    array = describe(x, "x")
    listed = axis_list(array, axes)
    norm = _norm(p)
    at = place_gradient(array, dy, wanted((True,), False, dx=dx), dense)
    seen, _, gradient, _ = at.inputs
    over = reduction(array.shape, at.arrangement.order, listed)
    kept = [axis for axis in range(len(array.shape)) if axis not in listed]
    shape, order = tuple(array.shape[axis] for axis in kept), kept_order(at.arrangement, kept)
    if norm is not None:
        (norms,) = saved_statistics(array, stats, shape, order, ("norm",))
        functions.normkit_lp_normalize_backward(
            array.dtype, norm, *over, seen, gradient, norms, _epsilon(eps, norm), at.dx
        )
    else:
        mean, rstd = saved_statistics(array, stats, shape, order)
        functions.normkit_normalize_backward(
            array.dtype, *over, seen, gradient, mean, rstd,
            _epsilon(eps, norm), _epsilon_rule(epsilon_inside), at.dx,
        )
    result: ArrayT = returned(at.dx)
    return result


def _norm(p: float | None) -> Norm | None:
    if p is not None and p not in _NORMS:
        raise ValueError(f"p is {p}; it must be None, 1, 2 or inf")
    return None if p is None else _NORMS[p]


def _epsilon(eps: float | None, norm: Norm | None) -> float:
    if eps is None:
        return 1e-5 if norm is None else 1e-12
    return real(eps, "eps")


def _epsilon_rule(inside: bool) -> EpsilonRule:
    return EpsilonRule.EPSILON_INSIDE_SQRT if inside else EpsilonRule.EPSILON_OUTSIDE_SQRT


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
    arrangement, stored, _ = fit(array, dense(array))
    over = reduction(array.shape, arrangement.order, listed)
    mean = kept_statistics(array, arrangement, kept)
    variance = kept_statistics(array, arrangement, kept)
    functions.normkit_moments(array.dtype, *over, stored, integer(correction, "correction"), mean, variance)
    result: tuple[ArrayT, ArrayT] = returned(mean, variance)
    return result


def moments_backward(
    dmean: SupportsDLPack | None,
    dvar: SupportsDLPack | None,
    x: ArrayT,
    axes: int | Sequence[int] | None = None,
    correction: int = 0,
    *,
    dx: ArrayT | None = None,
) -> ArrayT:
    """Gradient of `moments` with respect to x.

    For n elements ``dx = dmean / n + dvar * 2 * (x - mean) / (n - correction)``.

    Args:
        dmean, dvar: the gradients of a loss with respect to mean and variance, with their shape and dtype;
            None is 0.
        x, axes, correction: as `moments` was given them.
        dx: where the result goes: an array of x's shape and dtype, `x` itself for in place.

    Returns:
        dx, an array like `x`.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x = np.array([1, 2, 6], np.float32)
    >>> moments_backward(np.array(3, np.float32), np.array(1.5, np.float32), x)
    array([-1.,  0.,  4.], dtype=float32)
    """
    array = describe(x, "x")
    listed = axis_list(array, axes)
    kept = [axis for axis in range(len(array.shape)) if axis not in listed]
    at = place(array, dx, dense, "dx")
    shape, order = tuple(array.shape[axis] for axis in kept), kept_order(at.arrangement, kept)
    functions.normkit_moments_backward(
        array.dtype,
        *reduction(array.shape, at.arrangement.order, listed),
        at.x,
        saved(array, dmean, "dmean", shape, order),
        saved(array, dvar, "dvar", shape, order),
        integer(correction, "correction"),
        at.y,
    )
    result: ArrayT = returned(at.y)
    return result

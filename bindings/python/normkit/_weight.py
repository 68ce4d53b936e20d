"""Weight normalization, and scale and shift: one parameter per slice along an axis."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

from ._abi import Norm
from ._arrays import Array, Shape, describe
from ._library import library
from ._parameters import optional, parameters
from ._placement import dense, place, returned, statistics
from ._scalars import integer, real
from ._types import ArrayT, SupportsDLPack

_NORMS = {"l1": Norm.L1, "l2": Norm.L2, "max": Norm.MAX}


@overload
def weight_norm(
    v: ArrayT,
    g: SupportsDLPack | None = None,
    dim: int | None = 0,
    *,
    norm: Literal["l1", "l2", "max"] = "l2",
    eps: float = 0.0,
    out: ArrayT | None = None,
    return_norms: Literal[False] = False,
) -> ArrayT: ...
@overload
def weight_norm(
    v: ArrayT,
    g: SupportsDLPack | None = None,
    dim: int | None = 0,
    *,
    norm: Literal["l1", "l2", "max"] = "l2",
    eps: float = 0.0,
    out: ArrayT | None = None,
    return_norms: Literal[True],
) -> tuple[ArrayT, ArrayT]: ...
def weight_norm(
    v: ArrayT,
    g: SupportsDLPack | None = None,
    dim: int | None = 0,
    *,
    norm: Literal["l1", "l2", "max"] = "l2",
    eps: float = 0.0,
    out: ArrayT | None = None,
    return_norms: bool = False,
) -> Any:
    """Weight normalization: ``v * g / (norm(v) + eps)``, one norm per slice along an axis.

    Args:
        v: a weight tensor, float32, float64, float16 or bfloat16. Copied once if there are gaps in it.
        g: one value per slice: [slices], or v's number of axes with extent 1 in all but `dim`, as PyTorch
            stores it; None is 1. v's dtype, or float32 beside float16 and bfloat16.
        dim: the axis that counts slices; None makes the whole tensor one slice.
        norm: "l2", "l1" or "max" (the largest absolute value).
        eps: added to the norm.
        out: where the result goes: an array of v's shape and dtype, `v` itself for in place.
        return_norms: also return the norms, without eps: [slices], or a scalar array if `dim` is None, in
            float32 (float64 for float64).

    Returns:
        w, an array like `v`, or ``(w, norms)``. A slice of zeros stays zeros.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    Source: Salimans, Kingma, "Weight Normalization", 2016; L1 and max: Hoffer et al., "Norm matters", 2018.

    >>> import numpy as np
    >>> w, norms = weight_norm(np.array([[3, 4], [0, 2]], np.float32), return_norms=True)
    >>> w
    array([[0.6, 0.8],
           [0. , 1. ]], dtype=float32)
    >>> norms
    array([5., 2.], dtype=float32)
    """
    array = describe(v, "v")
    if norm not in _NORMS:
        raise ValueError(f"norm is {norm!r}; it must be one of 'l1', 'l2', 'max'")
    axis = None if dim is None else _axis(array, dim, "dim")
    slices = () if axis is None else (array.shape[axis],)
    kept = tuple(extent if i == axis else 1 for i, extent in enumerate(array.shape))
    p = parameters(array, optional(g, "g"), None, slices, kept, *([(1,)] if axis is None else []))
    at = place(array, out, dense)
    norms = statistics(array, slices) if return_norms else None
    library.normkit_weight_norm(
        array.dtype, p.dtype, _NORMS[norm], *_around(array.shape, at.arrangement.order, axis),
        at.x, p.weight, real(eps, "eps"), at.y, norms,
    )
    return returned(at.y, norms)


def scale_shift(
    x: ArrayT,
    weight: SupportsDLPack | None = None,
    bias: SupportsDLPack | None = None,
    channel_axis: int = 1,
    *,
    out: ArrayT | None = None,
) -> ArrayT:
    """Scale and shift: ``x * weight + bias``, one weight and bias per channel.

    Args:
        x: float32, float64, float16 or bfloat16. Copied once if there are gaps in it.
        weight, bias: [C], x's dtype, or float32 beside float16 and bfloat16; None is 1 and 0.
        channel_axis: any axis of `x`.
        out: where the result goes: an array of x's shape and dtype, `x` itself for in place.

    Returns:
        An array like `x`.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x = np.array([[1, 2], [3, 4]], np.float32)
    >>> scale_shift(x, np.array([1, 10], np.float32), np.array([0, 5], np.float32))
    array([[ 1., 25.],
           [ 3., 45.]], dtype=float32)
    """
    array = describe(x, "x")
    axis = _axis(array, channel_axis, "channel_axis")
    p = parameters(array, optional(weight, "weight"), optional(bias, "bias"), (array.shape[axis],))
    at = place(array, out, dense)
    sizes = _around(array.shape, at.arrangement.order, axis)
    library.normkit_scale_shift(array.dtype, p.dtype, *sizes, at.x, p.weight, p.bias, at.y)
    result: ArrayT = returned(at.y)
    return result


def _axis(array: Array, axis: int, name: str) -> int:
    """`axis` counted from the start. Raises ValueError, naming the argument `name`, if `array` lacks it."""
    rank = len(array.shape)
    axis = integer(axis, name)
    if not -rank <= axis < rank:
        raise ValueError(f"{name} is {axis}; {array.name} has {rank} axes")
    return axis % rank


def _around(shape: Shape, order: Shape, axis: int | None) -> tuple[int, int, int]:
    """Elements before, along and after `axis`, in memory order; the whole tensor is one slice for None."""
    if axis is None:
        return 1, 1, math.prod(shape)
    place = order.index(axis)
    return (
        math.prod(shape[i] for i in order[:place]),
        shape[axis],
        math.prod(shape[i] for i in order[place + 1 :]),
    )

"""Weight normalization, and scale and shift: one parameter per slice along an axis."""

from __future__ import annotations

from typing import Any, Literal, Sequence, overload

from ._abi import Norm
from ._arrays import Array, Shape, describe
from ._axes import around, axis_of
from ._gradients import finished, leading, parameter_gradients, place_gradient, saved, wanted
from ._library import functions
from ._parameters import optional, parameters
from ._placement import dense, place, returned, statistics
from ._scalars import real
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
    kind = _norm(norm)
    axis = None if dim is None else axis_of(array, dim, "dim")
    slices, *others = _slice_shapes(array, axis)
    p = parameters(array, optional(g, "g"), None, slices, *others)
    at = place(array, out, dense)
    norms = statistics(array, slices) if return_norms else None
    functions.normkit_weight_norm(
        array.dtype, p.dtype, kind, *around(array.shape, at.arrangement.order, axis),
        at.x, p.weight, real(eps, "eps"), at.y, norms,
    )
    return returned(at.y, norms)


def weight_norm_backward(
    dw: ArrayT,
    v: ArrayT,
    g: SupportsDLPack | None = None,
    dim: int | None = 0,
    *,
    norm: Literal["l1", "l2", "max"] = "l2",
    eps: float = 0.0,
    norms: SupportsDLPack | None = None,
    output_mask: Sequence[bool] = (True, True),
    dv: ArrayT | None = None,
    dg: SupportsDLPack | None = None,
    accumulate: bool = False,
) -> tuple[ArrayT | None, ArrayT | None]:
    """Gradients of `weight_norm` with respect to v and g.

    With ``z = v / (norm + eps)``, and sums over a slice: ``dg = sum(dw * z)``,
    ``dv = (dw - dg * n) * g / (norm + eps)``, where n is the gradient of the norm: ``v / norm`` for l2, the
    sign of v for l1, and for max the sign of v at the elements as large as the norm, divided by their number.
    A slice of zeros has gradient 0.

    Args:
        dw: the gradient of a loss with respect to w, with v's shape and dtype. Copied once if it does not lie
            in memory as `v` does.
        v, g, dim, norm, eps: as `weight_norm` was given them. A g of None counts as 1.
        norms: as `weight_norm` returned them for this `v`: they spare one reading of it. None: they are
            formed again.
        output_mask: which of dv and dg are wanted.
        dv: where dv goes: an array of v's shape and dtype, `dw` or `v` itself for in place.
        dg: where dg goes: contiguous, with a shape that `g` may have, float32 (float64 for float64).
        accumulate: add to what the given `dg` holds.

    Returns:
        ``(dv, dg)``, arrays like `v`, None for what is not wanted. dg has the shape of `g`, [slices] without
        one, and is float32 (float64 for float64).

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> v, dw = np.array([[3, 4], [0, 2]], np.float32), np.array([[1, 0], [1, 1]], np.float32)
    >>> dv, dg = weight_norm_backward(dw, v)
    >>> dv.round(3)
    array([[ 0.128, -0.096],
           [ 0.5  ,  0.   ]], dtype=float32)
    >>> dg
    array([0.6, 1. ], dtype=float32)
    """
    want = wanted(output_mask, accumulate, dv=dv, dg=dg)
    array, scale = describe(v, "v"), optional(g, "g")
    kind = _norm(norm)
    axis = None if dim is None else axis_of(array, dim, "dim")
    shapes = _slice_shapes(array, axis)
    p = parameters(array, scale, None, *shapes)
    at = place_gradient(array, dw, want, dense, "dw")
    seen, _, gradient, _ = at.inputs
    lengths = saved(array, norms, "norms", shapes[0])
    (dscale,) = parameter_gradients(array, want, *([] if scale is None else [scale.shape]), *shapes)
    functions.normkit_weight_norm_backward(
        array.dtype, p.dtype, kind, *around(array.shape, at.arrangement.order, axis),
        seen, gradient, p.weight, lengths, real(eps, "eps"), at.dx, dscale, want.accumulate,
    )
    return finished(at.dx, dscale)


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
    axis = axis_of(array, channel_axis, "channel_axis")
    p = parameters(array, optional(weight, "weight"), optional(bias, "bias"), (array.shape[axis],))
    at = place(array, out, dense)
    sizes = around(array.shape, at.arrangement.order, axis)
    functions.normkit_scale_shift(array.dtype, p.dtype, *sizes, at.x, p.weight, p.bias, at.y)
    result: ArrayT = returned(at.y)
    return result


def scale_shift_backward(
    dy: ArrayT,
    x: ArrayT | None,
    weight: SupportsDLPack | None = None,
    channel_axis: int = 1,
    *,
    output_mask: Sequence[bool] = (True, True, True),
    dx: ArrayT | None = None,
    dweight: SupportsDLPack | None = None,
    dbias: SupportsDLPack | None = None,
    accumulate: bool = False,
) -> tuple[ArrayT | None, ArrayT | None, ArrayT | None]:
    """Gradients of `scale_shift` with respect to x, weight and bias.

    ``dx = dy * weight``; ``dweight = sum(dy * x)`` and ``dbias = sum(dy)`` per channel.

    Args:
        x, weight, channel_axis: as `scale_shift` was given them. `x` may be None if dweight is not wanted.
        dy, output_mask, dx, dweight, dbias, accumulate: see `layer_norm_backward`; dweight and dbias have
            shape [C].

    Returns:
        ``(dx, dweight, dbias)``, arrays like `x`, None for what is not wanted. dweight and dbias are float32
        (float64 for float64).

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> x, dy = np.array([[1, 2], [3, 4]], np.float32), np.array([[1, 0], [1, 1]], np.float32)
    >>> dx, dweight, dbias = scale_shift_backward(dy, x, np.array([1, 10], np.float32))
    >>> dx
    array([[ 1.,  0.],
           [ 1., 10.]], dtype=float32)
    >>> dweight, dbias
    (array([4., 4.], dtype=float32), array([2., 1.], dtype=float32))
    """
    want = wanted(output_mask, accumulate, dx=dx, dweight=dweight, dbias=dbias)
    array = leading(dy, x, want)
    axis = axis_of(array, channel_axis, "channel_axis")
    channels = (array.shape[axis],)
    p = parameters(array, optional(weight, "weight"), None, channels)
    at = place_gradient(array, dy, want, dense)
    seen, _, gradient, _ = at.inputs
    dscale, dshift = parameter_gradients(array, want, channels)
    functions.normkit_scale_shift_backward(
        array.dtype, p.dtype, *around(array.shape, at.arrangement.order, axis),
        seen, gradient, p.weight, at.dx, dscale, dshift, want.accumulate,
    )
    return finished(at.dx, dscale, dshift)


def _norm(norm: str) -> Norm:
    if norm not in _NORMS:
        raise ValueError(f"norm is {norm!r}; it must be one of 'l1', 'l2', 'max'")
    return _NORMS[norm]


def _slice_shapes(v: Array, axis: int | None) -> list[Shape]:
    """The shapes that one value per slice may have, that of the norms first."""
    if axis is None:
        return [(), (1,) * len(v.shape), (1,)]
    kept = tuple(extent if i == axis else 1 for i, extent in enumerate(v.shape))
    return [(v.shape[axis],), kept]

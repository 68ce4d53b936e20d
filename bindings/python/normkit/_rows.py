"""Tensors seen as rows: the trailing axes are a row, the others count rows."""

from __future__ import annotations

import functools
from ctypes import addressof, c_int32, c_int64
from typing import Any, NamedTuple, Sequence

from numpy import empty, ndarray

from ._abi import Layout
from ._arrays import NO_BORROW, NUMPY_DTYPES, Array, Shape, borrow
from ._placement import Arrange, Arrangement, by_stride
from ._scalars import integers


# ctypes takes its own integers faster than Python's.
NO_STRIDE = c_int64(0)
_PLAIN_DTYPES = {numpy_dtype: c_int32(dtype) for numpy_dtype, dtype in NUMPY_DTYPES.items()}


def plain_rows(x: Any, weight: Any, bias: Any, out: Any) -> tuple[Any, ...] | None:
    """The short way for the plainest call, where describing the arrays would take longer than the work.

    Returns the element type, rows, size, the addresses of x, weight, bias and y, and the array to return;
    None if anything is not a contiguous, writable NumPy array of x's dtype, normalized over its last axis.
    Complaints are left to the long way.
    """
    if type(x) is not ndarray:
        return None
    shape, numpy_dtype = x.shape, x.dtype
    dtype = _PLAIN_DTYPES.get(numpy_dtype)
    if dtype is None or not shape or not x.size:
        return None
    row = shape[-1:]
    gamma = beta = None
    try:
        if weight is not None:
            if type(weight) is not ndarray or weight.dtype is not numpy_dtype or weight.shape != row:
                return None
            gamma = addressof(borrow(weight))
        if bias is not None:
            if type(bias) is not ndarray or bias.dtype is not numpy_dtype or bias.shape != row:
                return None
            beta = addressof(borrow(bias))
        if out is None:
            out = empty(shape, numpy_dtype)
        elif type(out) is not ndarray or out.dtype is not numpy_dtype or out.shape != shape:
            return None
        size = shape[-1]
        return dtype, x.size // size, size, addressof(borrow(x)), gamma, beta, addressof(borrow(out)), out
    except NO_BORROW:
        return None


class Rows(NamedTuple):
    """A tensor seen as rows.

    kept: the axes that count them.
    shape: the extents of the others, which make up a row.
    arrange: lists the forms that the library takes.
    """

    kept: Sequence[int]
    shape: Shape
    arrange: Arrange


def trailing_rows(
    x: Array, weight: Array | None, bias: Array | None, normalized_shape: int | Sequence[int] | None
) -> Rows:
    """Rows of trailing axes of `x`: as many as `normalized_shape`, else as `weight` or `bias` has, else one.

    Raises ValueError, naming the argument, if `x` does not end in those extents.
    """
    parameter = weight or bias
    if normalized_shape is not None:
        name = "normalized_shape"
        row = integers(normalized_shape, name)
    elif parameter is not None:
        name, row = f"the shape of {parameter.name}", parameter.shape
    else:
        name, row = "the row", x.shape[-1:]
    if not row or x.shape[-len(row) :] != row:
        raise ValueError(f"{name} is {row}; {x.name} has shape {x.shape}, whose last axes it must match")
    kept = len(x.shape) - len(row)
    return Rows(range(kept), row, _trailing(len(x.shape), kept))


@functools.cache
def _trailing(rank: int, kept: int) -> Arrange:
    axes, counting = range(kept, rank), range(kept)

    def forms(counting: Sequence[int]) -> list[Arrangement]:
        return [Arrangement((*counting, *axes), kept, Layout.CHANNELS_LAST)]

    contiguous = forms(counting)
    return lambda array: contiguous if array.strides is None else forms(by_stride(array, counting))

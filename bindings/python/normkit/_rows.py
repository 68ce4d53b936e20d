"""Tensors seen as rows: the trailing axes are a row, the others count rows."""

from __future__ import annotations

import functools
from typing import NamedTuple, Sequence

from ._abi import Layout
from ._arrays import Array, Shape
from ._placement import Arrange, Arrangement, by_stride
from ._scalars import integers


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

"""Penalties on weights."""

from __future__ import annotations

import ctypes
import math
from typing import Literal, Sequence

from ._abi import Norm
from ._arrays import describe
from ._gradients import finished, wanted
from ._library import functions
from ._placement import dense, fit, place
from ._scalars import real
from ._types import ArrayT

_NORMS = {"l1": Norm.L1, "l2": Norm.L2}


def weight_penalty(
    w: ArrayT,
    strength: float,
    norm: Literal["l1", "l2"] = "l2",
    *,
    output_mask: Sequence[bool] = (True, True),
    dw: ArrayT | None = None,
    accumulate: bool = False,
) -> tuple[float | None, ArrayT | None]:
    """A penalty on weights, and its gradient.

    * ``norm="l2"``: ``strength / 2 * sum(w * w)``, with gradient ``strength * w`` (weight decay)
    * ``norm="l1"``: ``strength * sum(abs(w))``, with gradient ``strength * sign(w)``

    Args:
        w: a tensor, float32, float64, float16 or bfloat16. Copied once if there are gaps in it.
        strength: not negative.
        output_mask: which of value and dw are wanted.
        dw: where the gradient goes: an array of w's shape and dtype, but not `w`.
        accumulate: add to what the given `dw` holds.

    Returns:
        ``(value, dw)``: a float and an array like `w`; None for what is not wanted.

    Raises:
        TypeError, ValueError: naming the argument; nothing has been written.

    >>> import numpy as np
    >>> weight_penalty(np.array([3, -4], np.float32), 0.5)
    (6.25, array([ 1.5, -2. ], dtype=float32))
    """
    array = describe(w, "w")
    if norm not in _NORMS:
        raise ValueError(f"norm is {norm!r}; it must be 'l1' or 'l2'")
    value, (gradient,), _ = wanted(output_mask, accumulate, value=None, dw=dw)
    total = None if value is None else ctypes.c_double()
    if gradient is None:
        _, seen, _ = fit(array, dense(array))
        result = None
    elif accumulate and dw is None:
        raise ValueError("dw is missing; accumulate adds to what it holds")
    else:
        _, seen, _, result, _ = place(array, dw, dense, "dw")
    functions.normkit_weight_penalty(
        array.dtype, _NORMS[norm], math.prod(array.shape), seen, real(strength, "strength"),
        total, result, bool(accumulate),
    )
    return None if total is None else total.value, *finished(result)

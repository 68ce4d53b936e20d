"""The small arrays beside x: weight and bias, running statistics."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._abi import DType
from ._arrays import Array, Shape, describe
from ._placement import arranged_copy, is_contiguous


class Parameters(NamedTuple):
    """Weight and bias, either of which may be absent, and the element type of both."""

    dtype: DType
    weight: Array | None
    bias: Array | None


def parameters(x: Array, weight: Array | None, bias: Array | None, *shapes: Shape) -> Parameters:
    """Check `weight` and `bias` for `x`: one of `shapes`, and the same element type, that of `x` or
    float32 beside float16 and bfloat16. Parameters that are not contiguous are copied.
    """
    ready = []
    dtype = None
    for parameter in (weight, bias):
        if parameter is not None:
            half = x.dtype in (DType.F16, DType.BF16)
            parameter.require_dtype(*((x.dtype, DType.F32) if half else (x.dtype,)))
            parameter.require_shape(*shapes)
            if dtype not in (None, parameter.dtype):
                raise TypeError("weight and bias have different dtypes; they must have the same")
            dtype = parameter.dtype
            if not is_contiguous(parameter):
                parameter = arranged_copy(parameter, tuple(range(len(parameter.shape))))
        ready.append(parameter)
    return Parameters(x.dtype if dtype is None else dtype, *ready)


def optional(array: Any, name: str) -> Array | None:
    """`array` described, or None."""
    return None if array is None else describe(array, name)


class Running(NamedTuple):
    """Running mean and variance."""

    mean: Array
    variance: Array


def running_statistics(x: Array, mean: Any, variance: Any, channels: int, updated: bool) -> Running | None:
    """Check the running statistics for `x`; None if there are none.

    Raises TypeError or ValueError, naming the argument, unless both or none are given, with shape
    [channels] and the statistics type, contiguous and writable if they are to be `updated`.
    """
    if (mean is None) != (variance is None):
        missing = "running_mean" if mean is None else "running_var"
        raise ValueError(f"{missing} is missing; running_mean and running_var come together")
    if mean is None:
        return None
    arrays = []
    for array in (describe(mean, "running_mean"), describe(variance, "running_var")):
        array.require_dtype(x.statistics_dtype)
        array.require_shape((channels,))
        if updated:
            array.require_writable()
        if not is_contiguous(array):
            if updated:
                raise ValueError(f"{array.name} is not contiguous, and is to be updated in place")
            array = arranged_copy(array, (0,))
        arrays.append(array)
    return Running(*arrays)

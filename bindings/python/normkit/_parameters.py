"""The small arrays beside x: weight and bias, running statistics."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._abi import DType
from ._arrays import Array, Shape, describe
from ._placement import contiguous, is_contiguous


# Parameters have the element type of the data, or float32 beside float16 and bfloat16.
_PARAMETER_DTYPES = {
    DType.F32: (DType.F32,),
    DType.F64: (DType.F64,),
    DType.F16: (DType.F16, DType.F32),
    DType.BF16: (DType.BF16, DType.F32),
}


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
            parameter.require_dtype(*_PARAMETER_DTYPES[x.dtype])
            parameter.require_shape(*shapes)
            if dtype is not None and dtype is not parameter.dtype:
                raise TypeError("weight and bias have different dtypes; they must have the same")
            dtype = parameter.dtype
            parameter = contiguous(parameter)
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
                raise ValueError(f"{array.name} is not contiguous, and is to be updated in place")
        arrays.append(contiguous(array))
    return Running(*arrays)

"""What `normkit.h` says of plans, in Python: constants and structures.

As `_abi.py`, a copy of the header that ``Tests/python/test_abi.py`` compares with it.
"""

from __future__ import annotations

import ctypes
import enum
import re
from typing import Any


class Method(enum.IntEnum):
    """Which function a plan is of."""

    LAYER_NORM = 1
    LAYER_NORM_CHANNELS = 2
    RMS_NORM = 3
    BATCH_NORM_INFERENCE = 4
    BATCH_NORM_TRAINING = 5
    INSTANCE_NORM = 6
    GROUP_NORM = 7
    WEIGHT_NORM = 8
    SCALE_SHIFT = 9
    NORMALIZE = 10
    LP_NORMALIZE = 11


class Fusion(enum.IntFlag):
    """What a plan does beside the normalization."""

    ADD_RESIDUAL = 1
    ADD_BIAS = 2
    STORE_SUM = 4
    SCALE_SHIFT_SAMPLES = 8
    ADD_RESIDUAL_AFTER = 16
    SCALE_PER_ROW = 32


class Activation(enum.IntEnum):
    """Which function a plan applies before or after the normalization."""

    IDENTITY = 0
    RELU = 1
    LEAKY_RELU = 2
    GELU = 3
    GELU_TANH = 4
    SILU = 5
    SIGMOID = 6
    TANH = 7
    HARD_SWISH = 8


class OutputDType(enum.IntEnum):
    """How an element of a plan's y may be stored beside the types of `DType`."""

    I8 = 5
    U8 = 6


SCALARS: dict[str, type] = {
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
}

# The members of the structures of plans, as the header declares them, without `NORMKIT_`.
DESCRIPTION = """
int64_t struct_size;
int32_t method;
int32_t dtype;
int32_t parameter_dtype;
int32_t output_dtype;
int64_t rows, size;
int64_t samples, channels, positions, groups;
int64_t outer, slices, inner;
int64_t shape[8];
int32_t rank, axis_count;
int32_t axes[8];
int32_t layout, norm, epsilon_rule, one_plus_gamma, running_variance_rule;
int32_t fusions;
int32_t activation_before, activation_after;
int32_t one_plus_sample_scale;
double slope;
int64_t rows_per_sample;
double epsilon, momentum;
int64_t x_stride, y_stride, residual_stride, sum_stride, residual_after_stride;
"""
OPERANDS = """
int64_t struct_size;
const void *x;
const void *residual;
const void *bias;
const void *gamma, *beta;
const void *given_mean;
const void *given_variance;
const void *sample_scale;
const void *sample_shift;
const void *residual_after;
void *sum;
void *y;
void *mean, *rstd;
void *norms;
void *running_mean, *running_variance;
float *row_scales;
double output_scale;
int32_t zero_point;
void *workspace;
int64_t workspace_bytes;
"""

# Functions that a caller passes: what one part of a run is, and a loop that calls it for each part.
TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
PARALLEL_FOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, TASK, ctypes.c_void_p)


def _members(declarations: str) -> list[tuple[str, Any]]:
    """Names and types for ctypes, in order; every pointer is an address."""
    found: list[tuple[str, Any]] = []
    for kind, names in re.findall(r"(?:const )?(\w+) (.+);", declarations):
        for name in names.split(", "):
            stem, _, extent = name.partition("[")
            scalar: Any = ctypes.c_void_p if name[0] == "*" else SCALARS[kind]
            found.append((stem.lstrip("*"), scalar * int(extent[:-1]) if extent else scalar))
    return found


class Description(ctypes.Structure):
    """What is planned."""

    _fields_ = _members(DESCRIPTION)


class Operands(ctypes.Structure):
    """What a run of a plan reads and writes."""

    _fields_ = _members(OPERANDS)

"""The C interface of ``include/normkit.h`` in Python: constants and prototypes.

Everything here is a copy of the header; ``Tests/python/test_abi.py`` compares the two.
"""

from __future__ import annotations

import ctypes
import enum
import re
from typing import Any

from ._plan_abi import PARALLEL_FOR, SCALARS, Description, Operands

VERSION_MAJOR = 0
VERSION_MINOR = 1
VERSION_PATCH = 0
VERSION = 100
MAX_RANK = 8
MAX_THREADS = 256


class Status(enum.IntEnum):
    """What a call of the library returned: `OK`, or the argument at fault."""

    OK = 0
    ERROR_DTYPE = 1
    ERROR_PARAMETER_DTYPE = 2
    ERROR_LAYOUT = 3
    ERROR_NORM = 4
    ERROR_EPSILON = 5
    ERROR_EPSILON_RULE = 6
    ERROR_MOMENTUM = 7
    ERROR_RUNNING_VARIANCE = 8
    ERROR_ONE_PLUS_GAMMA = 9
    ERROR_CORRECTION = 10
    ERROR_THREAD_COUNT = 11
    ERROR_ACCUMULATE = 12
    ERROR_STRENGTH = 13
    ERROR_ROWS = 20
    ERROR_SIZE = 21
    ERROR_SAMPLES = 22
    ERROR_CHANNELS = 23
    ERROR_POSITIONS = 24
    ERROR_GROUPS = 25
    ERROR_RANK = 26
    ERROR_SHAPE = 27
    ERROR_AXES = 28
    ERROR_X_STRIDE = 29
    ERROR_Y_STRIDE = 30
    ERROR_TOO_LARGE = 31
    ERROR_EMPTY_SET = 32
    ERROR_ONE_VALUE = 33
    ERROR_OUTER = 34
    ERROR_SLICES = 35
    ERROR_INNER = 36
    ERROR_DY_STRIDE = 37
    ERROR_DX_STRIDE = 38
    ERROR_X_NULL = 40
    ERROR_Y_NULL = 41
    ERROR_MEAN_NULL = 42
    ERROR_VARIANCE_NULL = 43
    ERROR_V_NULL = 44
    ERROR_W_NULL = 45
    ERROR_RUNNING_NULL = 46
    ERROR_DY_NULL = 47
    ERROR_SAVED_NULL = 48
    ERROR_MOMENTS_NULL = 49
    ERROR_SUMS_NULL = 50
    ERROR_MOMENTS = 51
    ERROR_Y_OVERLAP = 60
    ERROR_STATISTICS_OVERLAP = 61
    ERROR_RUNNING_OVERLAP = 62
    ERROR_DX_OVERLAP = 63
    ERROR_PARAMETER_OVERLAP = 64
    ERROR_MOMENTS_OVERLAP = 65
    ERROR_PENALTY_OVERLAP = 66
    ERROR_FOLDED_OVERLAP = 67
    ERROR_PROCESSOR = 80
    ERROR_MEMORY = 81
    ERROR_DESCRIPTION = 90
    ERROR_METHOD = 91
    ERROR_OUTPUT_DTYPE = 92
    ERROR_FUSION = 93
    ERROR_ACTIVATION = 94
    ERROR_RESIDUAL_STRIDE = 95
    ERROR_SUM_STRIDE = 96
    ERROR_SAMPLE_SCALE = 97
    ERROR_PLAN_NULL = 98
    ERROR_OPERANDS = 99
    ERROR_PARTS = 100
    ERROR_PARALLEL_NULL = 101
    ERROR_RESIDUAL_NULL = 102
    ERROR_BIAS_NULL = 103
    ERROR_SUM_NULL = 104
    ERROR_SAMPLES_NULL = 105
    ERROR_ROW_SCALES_NULL = 106
    ERROR_OUTPUT_SCALE = 107
    ERROR_WORKSPACE = 108
    ERROR_SUM_OVERLAP = 109
    ERROR_ROW_SCALES_OVERLAP = 110
    ERROR_WORKSPACE_OVERLAP = 111


class DType(enum.IntEnum):
    """How an element is stored."""

    F32 = 1
    F64 = 2
    F16 = 3
    BF16 = 4


class Layout(enum.IntEnum):
    """Where the channels stand in memory."""

    CHANNELS_FIRST = 1
    CHANNELS_LAST = 2


class Norm(enum.IntEnum):
    """What a slice or set is divided by."""

    L1 = 1
    L2 = 2
    MAX = 3


class EpsilonRule(enum.IntEnum):
    """Where `normkit_normalize` puts epsilon."""

    EPSILON_INSIDE_SQRT = 0
    EPSILON_OUTSIDE_SQRT = 1


class RunningVariance(enum.IntEnum):
    """Which variance of the batch goes into the running variance."""

    RUNNING_UNBIASED = 0
    RUNNING_BIASED = 1


# The structures consist of doubles: arrays of them are float64 arrays whose last axis is one of these.
CHANNEL_MOMENTS = ("count", "mean", "m2")
CHANNEL_GRADIENT = ("dy", "dy_z")


# The declarations of the header, without `normkit_` and line breaks: result type, name, parameters.
DECLARATIONS = """
const char *status_string(normkit_status status);
normkit_status layer_norm(int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);
normkit_status layer_norm_channels(int32_t dtype, int32_t parameter_dtype,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);
normkit_status rms_norm(int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *gamma, const void *beta,
    int32_t one_plus_gamma, double epsilon, void *y, int64_t y_stride, void *rstd);
normkit_status batch_norm_inference(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta,
    const void *mean, const void *variance, double epsilon, void *y, int64_t y_stride);
normkit_status batch_norm_training(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *running_mean, void *running_variance, int32_t running_variance_rule, double momentum,
    void *y, int64_t y_stride, void *mean, void *rstd);
normkit_status instance_norm(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);
normkit_status group_norm(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions, int64_t groups,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);
normkit_status weight_norm(int32_t dtype, int32_t parameter_dtype, int32_t norm,
    int64_t outer, int64_t slices, int64_t inner,
    const void *v, const void *g, double epsilon, void *w, void *norms);
normkit_status normalize(int32_t dtype, int32_t rank, const int64_t *shape,
    int32_t axis_count, const int32_t *axes,
    const void *x, double epsilon, int32_t epsilon_rule, void *y, void *mean, void *rstd);
normkit_status lp_normalize(int32_t dtype, int32_t norm, int32_t rank, const int64_t *shape,
    int32_t axis_count, const int32_t *axes, const void *x, double epsilon, void *y, void *norms);
normkit_status moments(int32_t dtype, int32_t rank, const int64_t *shape,
    int32_t axis_count, const int32_t *axes,
    const void *x, int64_t correction, void *mean, void *variance);
normkit_status scale_shift(int32_t dtype, int32_t parameter_dtype,
    int64_t outer, int64_t channels, int64_t inner,
    const void *x, const void *scale, const void *shift, void *y);
normkit_status layer_norm_backward(int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);
normkit_status layer_norm_channels_backward(int32_t dtype, int32_t parameter_dtype,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);
normkit_status rms_norm_backward(int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    int32_t one_plus_gamma, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);
normkit_status batch_norm_inference_backward(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *variance, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);
normkit_status batch_norm_training_backward(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);
normkit_status instance_norm_backward(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);
normkit_status group_norm_backward(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions, int64_t groups,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);
normkit_status weight_norm_backward(int32_t dtype, int32_t parameter_dtype, int32_t norm,
    int64_t outer, int64_t slices, int64_t inner,
    const void *v, const void *dw, const void *g, const void *norms, double epsilon,
    void *dv, void *dg, int32_t accumulate);
normkit_status normalize_backward(int32_t dtype, int32_t rank, const int64_t *shape,
    int32_t axis_count, const int32_t *axes, const void *x, const void *dy,
    const void *mean, const void *rstd, double epsilon, int32_t epsilon_rule, void *dx);
normkit_status lp_normalize_backward(int32_t dtype, int32_t norm, int32_t rank, const int64_t *shape,
    int32_t axis_count, const int32_t *axes, const void *x, const void *dy,
    const void *norms, double epsilon, void *dx);
normkit_status moments_backward(int32_t dtype, int32_t rank, const int64_t *shape,
    int32_t axis_count, const int32_t *axes, const void *x,
    const void *dmean, const void *dvariance, int64_t correction, void *dx);
normkit_status scale_shift_backward(int32_t dtype, int32_t parameter_dtype,
    int64_t outer, int64_t channels, int64_t inner,
    const void *x, const void *dy, const void *scale,
    void *dx, void *dscale, void *dshift, int32_t accumulate);
normkit_status moments_accumulate(int32_t dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, normkit_channel_moments *moments);
normkit_status moments_merge(int64_t channels,
    normkit_channel_moments *moments, const normkit_channel_moments *other);
normkit_status moments_finish(int32_t dtype, int64_t channels, const normkit_channel_moments *moments,
    int64_t correction, double epsilon, void *mean, void *variance, void *rstd);
normkit_status batch_norm_synchronized(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta,
    const normkit_channel_moments *moments, double epsilon, void *y, int64_t y_stride);
normkit_status batch_norm_gradient_sums(int32_t dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride,
    const normkit_channel_moments *moments, double epsilon, normkit_channel_gradient *sums);
normkit_status batch_norm_synchronized_backward(int32_t dtype, int32_t parameter_dtype, int32_t layout,
    int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const normkit_channel_moments *moments, const normkit_channel_gradient *sums, double epsilon,
    void *dx, int64_t dx_stride);
normkit_status weight_penalty(int32_t dtype, int32_t norm, int64_t size, const void *w, double strength,
    double *value, void *dw, int32_t accumulate);
normkit_status fold_batch_norm(int32_t dtype, int64_t outer, int64_t channels, int64_t inner,
    const void *weight, const void *bias, const void *gamma, const void *beta,
    const void *mean, const void *variance, double epsilon,
    void *folded_weight, void *folded_bias);
normkit_status plan_create(const normkit_description *description, normkit_plan **plan);
void plan_destroy(normkit_plan *plan);
int32_t plan_most_parts(const normkit_plan *plan);
int32_t plan_useful_parts(const normkit_plan *plan, int32_t threads);
int32_t plan_phases(const normkit_plan *plan);
int64_t plan_workspace(const normkit_plan *plan, int32_t parts);
normkit_status plan_run(const normkit_plan *plan, const normkit_operands *operands);
normkit_status plan_run_part(const normkit_plan *plan, const normkit_operands *operands,
    int32_t phase, int32_t part, int32_t parts);
normkit_status plan_run_parallel(const normkit_plan *plan, const normkit_operands *operands, int32_t parts,
    normkit_parallel_for parallel_for, void *context);
normkit_status plan_run_threads(const normkit_plan *plan, const normkit_operands *operands);
int32_t version(void);
const char *version_string(void);
const char *isa(void);
normkit_status set_thread_count(int32_t count);
int32_t thread_count(void);
"""

# Whether memory is only read (`const`) makes no difference to ctypes. Structures are passed by the address of
# the float64 array that stands for them.
_TYPES: dict[str, Any] = {
    **SCALARS,
    "normkit_status": ctypes.c_int32,
    "void": None,
    "void *": ctypes.c_void_p,
    "const void *": ctypes.c_void_p,
    "const char *": ctypes.c_char_p,
    "const int32_t *": ctypes.POINTER(ctypes.c_int32),
    "const int64_t *": ctypes.POINTER(ctypes.c_int64),
    "double *": ctypes.POINTER(ctypes.c_double),
    "normkit_channel_moments *": ctypes.c_void_p,
    "const normkit_channel_moments *": ctypes.c_void_p,
    "normkit_channel_gradient *": ctypes.c_void_p,
    "const normkit_channel_gradient *": ctypes.c_void_p,
    "const normkit_description *": ctypes.POINTER(Description),
    "const normkit_operands *": ctypes.POINTER(Operands),
    "normkit_plan *": ctypes.c_void_p,
    "const normkit_plan *": ctypes.c_void_p,
    "normkit_plan * *": ctypes.POINTER(ctypes.c_void_p),
    "normkit_parallel_for": PARALLEL_FOR,
}


class Prototype:
    """Result type, parameter names and parameter types of one function."""

    def __init__(self, result: str, parameters: str) -> None:
        words = [p.replace("*", "* ").split() for p in parameters.split(",") if p != "void"]
        self.result = _TYPES[result]
        self.returns_status = result == "normkit_status"
        self.names = tuple(name for *_, name in words)
        self.types = tuple(_TYPES[" ".join(kind)] for *kind, _ in words)


PROTOTYPES = {
    f"normkit_{name}": Prototype(result.strip(), parameters)
    for result, name, parameters in re.findall(r"(.+?)(\w+)\(([^)]*)\);", DECLARATIONS)
}

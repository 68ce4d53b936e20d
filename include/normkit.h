/* NormKit: normalization of raw buffers in memory.
 *
 * All activation normalizations are the same two steps:
 *   1. standardize:      z = (x - mean(S)) / sqrt(variance(S) + epsilon)
 *   2. scale and shift:  y = z * gamma + beta
 * They differ only in S, the set of elements that mean and variance are taken over. Weight
 * normalization divides each slice of a weight tensor by its norm and multiplies it by g.
 *
 * What holds for every function here:
 *
 *  - Buffers belong to the caller. Nothing is kept after a call returns and nothing has to be freed.
 *    No alignment is asked for, not even that of an element, except by the structs and `double *`.
 *  - Sizes and strides are counted in elements, never in bytes. Size 0 is allowed.
 *  - gamma and beta may be NULL: scale 1, shift 0. Outputs marked "optional" may be NULL.
 *  - y may be x (same address, same stride), and dx may be x or dy. Any other overlap of an output with another
 *    buffer is refused. A buffer in the gaps of a strided one counts as overlapping it, unless both have gaps and
 *    the same stride. Inputs may overlap each other.
 *  - A call that does not return NORMKIT_OK has written nothing. The status says which argument is at fault.
 *  - Any thread may call any function at any time, as long as no two calls write the same memory.
 *    A forked child may go on calling. No function prints, aborts, throws, or changes signals, locale or the
 *    floating-point environment (except for its exception flags). The default rounding mode, without flushing of
 *    subnormals to zero, is assumed. A call needs less than 96 KB of stack.
 *  - Threads are started only if the process asked for more than one (normkit_set_thread_count, NORMKIT_THREADS)
 *    and the work is large enough for several. Memory is allocated only then, and by backward functions (a copy of
 *    gamma, and sums for dgamma and dbeta); it is freed before the call returns.
 *  - f32, f16 and bf16 data are computed in f32 (sums that f32 cannot hold, in f64), f64 data in f64.
 *    "Statistics type" below means f64 for f64 data and f32 for all other data.
 *  - y is a few units in the last place away from the exact result for the given input; the unit is that of the
 *    largest of |y|, |z * gamma|, |beta| and |gamma| * deviation * rstd in S. A mean is as near in units of the
 *    larger of itself and the standard deviation. Means up to 10^6 standard deviations and |x| up to 1e30 (f64:
 *    1e-150 to 1e150) do not change that. A constant S gives exactly beta, also if epsilon is 0: where variance
 *    + epsilon is 0, rstd is defined as 0.
 *  - NaN and infinity touch nothing outside of their own S. A NaN makes every element of S NaN, and so does an
 *    infinity where a mean of S is subtracted; where none is (RMS, weights, norms), x / infinity is 0 for the finite
 *    elements and NaN for the infinite ones. With given statistics, an element changes nothing but its own result.
 *  - The same input gives the same bits for any number of threads, for any number of samples or rows around it, in
 *    place or not, on x86-64-v3, x86-64-v4, x86-64-v4-bf16 and arm64. What may change last bits: x86-64-v2, which has
 *    no fused multiply-add; a gap between samples or positions, where S runs across it; an extent of 1 in the place
 *    of a larger one. Which NaN a NaN is, is not defined.
 *  - An empty S (no elements) is a successful no-op unless its statistics are asked for.
 *
 * Copyright (c) 2026 the NormKit authors. MIT licence. */
#ifndef NORMKIT_H
#define NORMKIT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define NORMKIT_API __attribute__((visibility("default")))
#else
#define NORMKIT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------------------------ */

#define NORMKIT_VERSION_MAJOR 0
#define NORMKIT_VERSION_MINOR 1
#define NORMKIT_VERSION_PATCH 0
/* One comparable number, 10000 * major + 100 * minor + patch. Compare it with normkit_version(). */
#define NORMKIT_VERSION 100

/* ---- Status ------------------------------------------------------------------------------------------- */

/* 0 is success; every other value names the argument at fault. Values never change their meaning. */
typedef int32_t normkit_status;

enum {
    NORMKIT_OK = 0,

    /* choices */
    NORMKIT_ERROR_DTYPE = 1,              /* dtype is none of the NORMKIT_F… and NORMKIT_BF… values */
    NORMKIT_ERROR_PARAMETER_DTYPE = 2,    /* parameter_dtype is neither dtype nor, beside f16 and bf16, f32 */
    NORMKIT_ERROR_LAYOUT = 3,             /* layout is neither channels first nor channels last */
    NORMKIT_ERROR_NORM = 4,               /* norm is none of L1, L2, MAX */
    NORMKIT_ERROR_EPSILON = 5,            /* epsilon is negative, infinite or NaN */
    NORMKIT_ERROR_EPSILON_RULE = 6,       /* epsilon_rule is none of the NORMKIT_EPSILON_… values */
    NORMKIT_ERROR_MOMENTUM = 7,           /* momentum is outside of [0, 1] or NaN */
    NORMKIT_ERROR_RUNNING_VARIANCE = 8,   /* running_variance_rule is none of the NORMKIT_RUNNING_… values */
    NORMKIT_ERROR_ONE_PLUS_GAMMA = 9,     /* one_plus_gamma is neither 0 nor 1 */
    NORMKIT_ERROR_CORRECTION = 10,        /* correction is negative or not below the size of S */
    NORMKIT_ERROR_THREAD_COUNT = 11,      /* count is below 1 or above NORMKIT_MAX_THREADS */
    NORMKIT_ERROR_ACCUMULATE = 12,        /* accumulate is neither 0 nor 1 */
    NORMKIT_ERROR_STRENGTH = 13,          /* strength is negative, infinite or NaN */

    /* sizes */
    NORMKIT_ERROR_ROWS = 20,              /* rows is negative */
    NORMKIT_ERROR_SIZE = 21,              /* size is negative */
    NORMKIT_ERROR_SAMPLES = 22,           /* samples is negative */
    NORMKIT_ERROR_CHANNELS = 23,          /* channels is negative */
    NORMKIT_ERROR_POSITIONS = 24,         /* positions is negative */
    NORMKIT_ERROR_GROUPS = 25,            /* groups is below 1 or does not divide channels */
    NORMKIT_ERROR_RANK = 26,              /* rank is outside of 0 … NORMKIT_MAX_RANK */
    NORMKIT_ERROR_SHAPE = 27,             /* shape is NULL or has a negative extent */
    NORMKIT_ERROR_AXES = 28,              /* axes is NULL, an axis is outside of the rank, or one is given twice */
    NORMKIT_ERROR_X_STRIDE = 29,          /* x_stride is neither 0 nor at least one contiguous run */
    NORMKIT_ERROR_Y_STRIDE = 30,          /* y_stride is neither 0 nor at least one contiguous run */
    NORMKIT_ERROR_TOO_LARGE = 31,         /* sizes and strides multiply to more bytes than can be addressed */
    NORMKIT_ERROR_EMPTY_SET = 32,         /* statistics are asked for, and S has no elements */
    NORMKIT_ERROR_ONE_VALUE = 33,         /* batch training with one value per channel: its variance is 0 */
    NORMKIT_ERROR_OUTER = 34,             /* outer is negative */
    NORMKIT_ERROR_SLICES = 35,            /* slices is negative */
    NORMKIT_ERROR_INNER = 36,             /* inner is negative */
    NORMKIT_ERROR_DY_STRIDE = 37,         /* dy_stride is neither 0 nor at least one contiguous run */
    NORMKIT_ERROR_DX_STRIDE = 38,         /* dx_stride is neither 0 nor at least one contiguous run */

    /* pointers */
    NORMKIT_ERROR_X_NULL = 40,            /* x is NULL */
    NORMKIT_ERROR_Y_NULL = 41,            /* y is NULL */
    NORMKIT_ERROR_MEAN_NULL = 42,         /* mean is NULL */
    NORMKIT_ERROR_VARIANCE_NULL = 43,     /* variance is NULL */
    NORMKIT_ERROR_V_NULL = 44,            /* v is NULL */
    NORMKIT_ERROR_W_NULL = 45,            /* w is NULL */
    NORMKIT_ERROR_RUNNING_NULL = 46,      /* one of running_mean and running_variance is NULL, the other is not */
    NORMKIT_ERROR_DY_NULL = 47,           /* dy (or dw) is NULL */
    NORMKIT_ERROR_SAVED_NULL = 48,        /* one of mean and rstd is NULL, the other is not */
    NORMKIT_ERROR_MOMENTS_NULL = 49,      /* moments (or other) is NULL */
    NORMKIT_ERROR_SUMS_NULL = 50,         /* sums is NULL */
    NORMKIT_ERROR_MOMENTS = 51,           /* a count of moments is negative, infinite or NaN */

    /* overlap */
    NORMKIT_ERROR_Y_OVERLAP = 60,         /* y (or w) overlaps another buffer, and is not exactly x (or v) */
    NORMKIT_ERROR_STATISTICS_OVERLAP = 61,/* a statistics or norms output overlaps another buffer */
    NORMKIT_ERROR_RUNNING_OVERLAP = 62,   /* running_mean or running_variance overlaps another buffer */
    NORMKIT_ERROR_DX_OVERLAP = 63,        /* dx (or dv) overlaps another buffer and is not exactly x (v) or dy (dw) */
    NORMKIT_ERROR_PARAMETER_OVERLAP = 64, /* dgamma, dbeta, dg, dscale or dshift overlaps another buffer */
    NORMKIT_ERROR_MOMENTS_OVERLAP = 65,   /* moments or sums, as outputs, overlap another buffer */
    NORMKIT_ERROR_PENALTY_OVERLAP = 66,   /* value or dw of a penalty overlaps another buffer */
    NORMKIT_ERROR_FOLDED_OVERLAP = 67,    /* a folded output overlaps another buffer and is not exactly its input */

    /* the machine */
    NORMKIT_ERROR_PROCESSOR = 80,         /* this processor is older than x86-64-v2 */
    NORMKIT_ERROR_MEMORY = 81,            /* there is no memory for the sums of a backward function, or for a plan */

    /* plans */
    NORMKIT_ERROR_DESCRIPTION = 90,      /* description is NULL, or its struct_size is not one of this header */
    NORMKIT_ERROR_METHOD = 91,           /* method is none of NORMKIT_LAYER_NORM and its siblings */
    NORMKIT_ERROR_OUTPUT_DTYPE = 92,     /* output_dtype is no dtype, or does not exist beside dtype and method */
    NORMKIT_ERROR_FUSION = 93,           /* fusions has an unknown bit, or one that does not exist on the method */
    NORMKIT_ERROR_ACTIVATION = 94,       /* an activation is unknown, or none on the method; slope is not finite */
    NORMKIT_ERROR_RESIDUAL_STRIDE = 95,  /* a residual's stride is neither 0 nor at least one contiguous run */
    NORMKIT_ERROR_SUM_STRIDE = 96,       /* sum_stride is neither 0 nor at least one contiguous run */
    NORMKIT_ERROR_SAMPLE_SCALE = 97,     /* rows_per_sample does not divide rows; one_plus_sample_scale is not 0 or 1 */
    NORMKIT_ERROR_PLAN_NULL = 98,        /* plan (or where it goes) is NULL */
    NORMKIT_ERROR_OPERANDS = 99,         /* operands is NULL, or its struct_size is not one of this header */
    NORMKIT_ERROR_PARTS = 100,           /* parts is below 1, or phase or part is out of range */
    NORMKIT_ERROR_PARALLEL_NULL = 101,   /* parallel_for is NULL */
    NORMKIT_ERROR_RESIDUAL_NULL = 102,   /* residual or residual_after is NULL */
    NORMKIT_ERROR_BIAS_NULL = 103,       /* bias is NULL */
    NORMKIT_ERROR_SUM_NULL = 104,        /* sum is NULL */
    NORMKIT_ERROR_SAMPLES_NULL = 105,    /* sample_scale and sample_shift are both NULL */
    NORMKIT_ERROR_ROW_SCALES_NULL = 106, /* row_scales is NULL */
    NORMKIT_ERROR_OUTPUT_SCALE = 107,    /* output_scale is not positive and finite, or zero_point is out of range */
    NORMKIT_ERROR_WORKSPACE = 108,       /* workspace is NULL or smaller than normkit_plan_workspace says */
    NORMKIT_ERROR_SUM_OVERLAP = 109,     /* sum overlaps another buffer, and is not exactly x or residual */
    NORMKIT_ERROR_ROW_SCALES_OVERLAP = 110,/* row_scales overlaps another buffer */
    NORMKIT_ERROR_WORKSPACE_OVERLAP = 111  /* workspace overlaps another buffer */
};

/* A sentence in English for a status, in static memory; never NULL. */
NORMKIT_API const char *normkit_status_string(normkit_status status);

/* ---- Choices ------------------------------------------------------------------------------------------ */

/* dtype: how an element is stored. parameter_dtype (gamma, beta, g, scale, shift) is dtype itself, or
 * NORMKIT_F32 beside f16 or bf16 data. */
enum {
    NORMKIT_F32 = 1,  /* IEEE 754 binary32 */
    NORMKIT_F64 = 2,  /* IEEE 754 binary64 */
    NORMKIT_F16 = 3,  /* IEEE 754 binary16 */
    NORMKIT_BF16 = 4  /* bfloat16: the upper half of a binary32 */
};

/* layout: where the channels stand. "positions" is the product of all spatial extents: 1 for [N, C],
 * H * W for images, D * H * W for volumes. */
enum {
    NORMKIT_CHANNELS_FIRST = 1, /* x[n][c][l], index (n * channels + c) * positions + l : NCHW, NCDHW */
    NORMKIT_CHANNELS_LAST = 2   /* x[n][l][c], index (n * positions + l) * channels + c : NHWC, NDHWC */
};

/* norm: what a slice or set is divided by. */
enum {
    NORMKIT_L1 = 1,  /* sum of |v| */
    NORMKIT_L2 = 2,  /* square root of the sum of v * v */
    NORMKIT_MAX = 3  /* largest |v| */
};

/* epsilon_rule: where normkit_normalize puts epsilon. */
enum {
    NORMKIT_EPSILON_INSIDE_SQRT = 0,  /* rstd = 1 / sqrt(variance + epsilon), as everywhere else */
    NORMKIT_EPSILON_OUTSIDE_SQRT = 1  /* rstd = 1 / (sqrt(variance) + epsilon), as in ONNX */
};

/* running_variance_rule: what is folded into the running variance, with n values per channel. */
enum {
    NORMKIT_RUNNING_UNBIASED = 0, /* sum of squared deviations / (n - 1), as in PyTorch */
    NORMKIT_RUNNING_BIASED = 1    /* sum of squared deviations / n, as in ONNX */
};

#define NORMKIT_MAX_RANK 8
#define NORMKIT_MAX_THREADS 256

/* Row strides. x_stride and y_stride let a slice of a larger buffer be used without a copy. They count the
 * elements from the start of one contiguous run to the start of the next: one row (layer, RMS), one sample
 * (channels first), one position (channels last; samples follow each other without a gap). 0 means that the
 * runs follow each other without a gap. */

/* ---- Layer normalization ------------------------------------------------------------------------------ */

/* Layer normalization over rows: S is one row of `size` elements.
 *
 * x, y         [rows, size] dtype; row strides x_stride, y_stride
 * gamma, beta  [size] parameter_dtype, optional
 * mean, rstd   [rows] statistics type, optional outputs
 *
 * The last k axes of a tensor, or a whole sample, are a row: multiply their extents.
 * Semantics: torch.nn.functional.layer_norm, ONNX LayerNormalization (its InvStdDev is rstd).
 * Source: Ba, Kiros, Hinton, "Layer Normalization", 2016. */
NORMKIT_API normkit_status normkit_layer_norm(
    int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);

/* Layer normalization over the channels at each position of a channels-first tensor: S is
 * { x[n][c][l] : all c }. For channels last, this is normkit_layer_norm with size = channels.
 *
 * x, y         [samples, channels, positions] dtype; sample strides x_stride, y_stride
 * gamma, beta  [channels] parameter_dtype, optional
 * mean, rstd   [samples, positions] statistics type, optional outputs
 *
 * Source: the LayerNorm2d of Liu et al., "A ConvNet for the 2020s" (ConvNeXt), 2022. */
NORMKIT_API normkit_status normkit_layer_norm_channels(
    int32_t dtype, int32_t parameter_dtype, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);

/* RMS normalization over rows: as layer normalization, without a mean:
 *   rstd = 1 / sqrt(mean over S of x * x  +  epsilon);  y = x * rstd * gamma + beta
 *
 * x, y            [rows, size] dtype; row strides x_stride, y_stride
 * gamma, beta     [size] parameter_dtype, optional
 * one_plus_gamma  1: multiply by 1 + gamma (the sum is formed in the type of computation); 0: by gamma.
 *                 Without a gamma it has no effect.
 * rstd            [rows] statistics type, optional output
 *
 * Semantics: torch.nn.functional.rms_norm, ONNX RMSNormalization.
 * Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019. */
NORMKIT_API normkit_status normkit_rms_norm(
    int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, int32_t one_plus_gamma, double epsilon,
    void *y, int64_t y_stride, void *rstd);

/* ---- Batch normalization ------------------------------------------------------------------------------ */

/* Batch normalization in inference: mean and variance are given per channel.
 *
 * x, y            [samples, channels, positions] in `layout`, dtype; strides x_stride, y_stride
 * gamma, beta     [channels] parameter_dtype, optional
 * mean, variance  [channels] statistics type, inputs. A negative variance gives NaN, as the formula does.
 *
 * Also instance normalization from running statistics: the formula is the same.
 * Semantics: torch.nn.functional.batch_norm(training=False), ONNX BatchNormalization(training_mode=0).
 * Source: Ioffe, Szegedy, "Batch Normalization", 2015. */
NORMKIT_API normkit_status normkit_batch_norm_inference(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta,
    const void *mean, const void *variance, double epsilon,
    void *y, int64_t y_stride);

/* Batch normalization in training: S is { x[n][c][l] : all n and l }, one S per channel.
 *
 * x, y                    [samples, channels, positions] in `layout`, dtype; strides x_stride, y_stride
 * gamma, beta             [channels] parameter_dtype, optional
 * running_mean, running_variance
 *                         [channels] statistics type, both or none: updated in place as
 *                         running = (1 - momentum) * running + momentum * batch
 * running_variance_rule   NORMKIT_RUNNING_UNBIASED or NORMKIT_RUNNING_BIASED
 * momentum                weight of this batch, in [0, 1]: PyTorch's `momentum`; ONNX's is 1 minus it. For a
 *                         cumulative average pass 1 / (number of batches so far, this one counted).
 * mean, rstd              [channels] statistics type, optional outputs (the batch's own)
 *
 * One value per channel (samples * positions == 1) has no variance: NORMKIT_ERROR_ONE_VALUE.
 * Semantics: torch.nn.functional.batch_norm(training=True), ONNX BatchNormalization(training_mode=1).
 * Source: Ioffe, Szegedy, "Batch Normalization", 2015. */
NORMKIT_API normkit_status normkit_batch_norm_training(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *running_mean, void *running_variance, int32_t running_variance_rule, double momentum,
    void *y, int64_t y_stride, void *mean, void *rstd);

/* ---- Instance and group normalization ----------------------------------------------------------------- */

/* Instance normalization: S is { x[n][c][l] : all l }, one S per sample and channel.
 *
 * x, y         [samples, channels, positions] in `layout`, dtype; strides x_stride, y_stride
 * gamma, beta  [channels] parameter_dtype, optional
 * mean, rstd   [samples, channels] statistics type, optional outputs
 *
 * Semantics: torch.nn.functional.instance_norm, ONNX InstanceNormalization.
 * Source: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", 2016. */
NORMKIT_API normkit_status normkit_instance_norm(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);

/* Group normalization: the channels are cut into `groups` runs of channels / groups neighbours; S is the
 * elements of one group of one sample.
 *
 * x, y         [samples, channels, positions] in `layout`, dtype; strides x_stride, y_stride
 * gamma, beta  [channels] parameter_dtype, optional
 * mean, rstd   [samples, groups] statistics type, optional outputs
 *
 * groups == channels is instance normalization; groups == 1 is layer normalization over a whole sample with
 * one gamma and beta per channel.
 * Semantics: torch.nn.functional.group_norm, ONNX GroupNormalization (opset 21).
 * Source: Wu, He, "Group Normalization", 2018. */
NORMKIT_API normkit_status normkit_group_norm(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    int64_t groups,
    const void *x, int64_t x_stride, const void *gamma, const void *beta, double epsilon,
    void *y, int64_t y_stride, void *mean, void *rstd);

/* ---- Weight normalization ----------------------------------------------------------------------------- */

/* Weight normalization: w = v * g / (norm(v) + epsilon), one norm per slice along an axis.
 * A tensor of shape [outer…, slices, inner…] is seen as [outer, slices, inner]; slice s is
 * { v[o][s][i] : all o and i }. The whole tensor is one slice: outer = slices = 1.
 *
 * v, w     [outer, slices, inner] dtype, contiguous; w may be v
 * g        [slices] parameter_dtype, or NULL for 1
 * norms    [slices] statistics type, optional output (without epsilon)
 * epsilon  added to the norm; usually 0
 *
 * A slice of zeros gives zeros: where norm + epsilon is 0, v is multiplied by 0. An empty slice has norm 0.
 * Semantics: torch._weight_norm (L2), which gives NaN for zeros.
 * Source: Salimans, Kingma, "Weight Normalization", 2016; L1 and max: Hoffer et al., "Norm matters", 2018. */
NORMKIT_API normkit_status normkit_weight_norm(
    int32_t dtype, int32_t parameter_dtype, int32_t norm, int64_t outer, int64_t slices, int64_t inner,
    const void *v, const void *g, double epsilon,
    void *w, void *norms);

/* ---- The general form: any subset of axes ------------------------------------------------------------- */

/* In the functions of this section x has shape[0] * … * shape[rank - 1] elements, contiguous, last axis
 * fastest. axes[0 … axis_count - 1] are the axes that S runs over; a negative axis counts from the end; no axis
 * may be given twice. Axes that are not listed are kept: there is one S, and one statistic, per index over the
 * kept axes, in their order. axis_count 0 makes every element its own S. */

/* Mean and variance normalization: y = (x - mean(S)) * rstd(S).
 *
 * x, y          [shape] dtype, contiguous
 * epsilon_rule  NORMKIT_EPSILON_INSIDE_SQRT or NORMKIT_EPSILON_OUTSIDE_SQRT
 * mean, rstd    [kept axes] statistics type, optional outputs
 *
 * Semantics: ONNX MeanVarianceNormalization (epsilon 1e-9 outside of the root), OpenVINO MVN. */
NORMKIT_API normkit_status normkit_normalize(
    int32_t dtype, int32_t rank, const int64_t *shape, int32_t axis_count, const int32_t *axes,
    const void *x, double epsilon, int32_t epsilon_rule,
    void *y, void *mean, void *rstd);

/* Division by a norm: y = x / max(norm(S), epsilon). Where that maximum is 0, y is 0. An empty S has norm 0.
 *
 * x, y   [shape] dtype, contiguous
 * norms  [kept axes] statistics type, optional output
 *
 * Semantics: torch.nn.functional.normalize, ONNX LpNormalization (epsilon 0). */
NORMKIT_API normkit_status normkit_lp_normalize(
    int32_t dtype, int32_t norm, int32_t rank, const int64_t *shape, int32_t axis_count, const int32_t *axes,
    const void *x, double epsilon,
    void *y, void *norms);

/* Step 1 alone, the statistics: mean and variance of each S.
 *
 * x               [shape] dtype, contiguous
 * correction      variance = sum of squared deviations / (number of elements - correction): 0 or 1, as a rule
 * mean, variance  [kept axes] statistics type, optional outputs
 *
 * An empty S has no statistics: NORMKIT_ERROR_EMPTY_SET, unless there is no S at all (a kept extent is 0). */
NORMKIT_API normkit_status normkit_moments(
    int32_t dtype, int32_t rank, const int64_t *shape, int32_t axis_count, const int32_t *axes,
    const void *x, int64_t correction,
    void *mean, void *variance);

/* Step 2 alone, scale and shift: y = x * scale + shift, one scale and shift per channel.
 * A tensor of shape [outer…, channels, inner…] is seen as [outer, channels, inner].
 *
 * x, y          [outer, channels, inner] dtype, contiguous
 * scale, shift  [channels] parameter_dtype, each may be NULL (scale 1, shift 0) */
NORMKIT_API normkit_status normkit_scale_shift(
    int32_t dtype, int32_t parameter_dtype, int64_t outer, int64_t channels, int64_t inner,
    const void *x, const void *scale, const void *shift,
    void *y);

/* ---- Backward ----------------------------------------------------------------------------------------- */

/* A backward function takes dy, the gradient of a loss with respect to y, and gives those with respect to x, gamma
 * and beta, in one call. What holds for all of them, beside what holds everywhere:
 *
 *  - dx, dgamma and dbeta are optional outputs: what is NULL is not formed.
 *  - x and dy are the forward function's input and the gradient of its output, in the same shape, dtype and layout;
 *    dx has them too. x_stride, dy_stride and dx_stride are row strides as in the forward functions.
 *  - dx may be exactly x or exactly dy (same address, same stride).
 *  - dgamma and dbeta have the statistics type, also beside f16 and bf16 parameters. accumulate 0: they are
 *    overwritten, without elements with zeros; 1: the gradient is added to what they hold. dx is overwritten.
 *  - mean and rstd are what the forward function wrote for this x, both or neither. NULL: they are formed again from
 *    x, with epsilon. Saved ones spare a sweep over x; the result is as exact with either, because what a saved mean
 *    has lost by rounding is found again on the way. epsilon has no effect beside saved ones unless a function says
 *    otherwise, but has to be valid.
 *  - beta is not needed. gamma NULL is 1.
 *  - dx is a few units in the last place away from the exact result for the given input; the unit is that of the
 *    largest of |rstd * gamma * dy| and |dx| in S. For a parameter gradient it is that of the root of the sum
 *    of squares of what it is the sum of, of |dgamma| itself, or of the largest partial sum, whichever is
 *    largest; where a mean is subtracted, |z| counts as deviation * rstd at least. That holds where |dy *
 *    gamma| is 0 or between 1e-30 and 1e30 (f64: 1e-280 and 1e280) and rstd is no larger than the largest f32
 *    (f64).
 *  - A constant S has z = 0, as in the forward function, so that epsilon 0 gives dx 0. */

/* Gradient of normkit_layer_norm: with h = dy * gamma,
 *   dx = rstd * (h - mean over S of h - z * mean over S of (h * z))
 *   dgamma = sum over rows of dy * z;  dbeta = sum over rows of dy
 *
 * x, dy, dx      [rows, size] dtype; row strides x_stride, dy_stride, dx_stride
 * gamma          [size] parameter_dtype, optional
 * mean, rstd     [rows] statistics type, inputs, both or none
 * dgamma, dbeta  [size] statistics type
 *
 * Semantics: torch.ops.aten.native_layer_norm_backward. */
NORMKIT_API normkit_status normkit_layer_norm_backward(
    int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);

/* Gradient of normkit_layer_norm_channels.
 *
 * x, dy, dx      [samples, channels, positions] dtype; sample strides x_stride, dy_stride, dx_stride
 * gamma          [channels] parameter_dtype, optional
 * mean, rstd     [samples, positions] statistics type, inputs, both or none
 * dgamma, dbeta  [channels] statistics type */
NORMKIT_API normkit_status normkit_layer_norm_channels_backward(
    int32_t dtype, int32_t parameter_dtype, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);

/* Gradient of normkit_rms_norm: dx = rstd * (h - z * mean over S of (h * z)), where h is dy * gamma, or
 * dy * (1 + gamma) if one_plus_gamma is 1.
 *
 * x, dy, dx      [rows, size] dtype; row strides x_stride, dy_stride, dx_stride
 * gamma          [size] parameter_dtype, optional
 * rstd           [rows] statistics type, optional input
 * dgamma, dbeta  [size] statistics type */
NORMKIT_API normkit_status normkit_rms_norm_backward(
    int32_t dtype, int32_t parameter_dtype, int64_t rows, int64_t size,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma, int32_t one_plus_gamma,
    const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);

/* Gradient of normkit_batch_norm_inference: mean and variance are constants (frozen statistics), so that
 * dx = rstd * gamma * dy.
 *
 * x, dy, dx       [samples, channels, positions] in `layout`, dtype; strides x_stride, dy_stride, dx_stride.
 *                 x may be NULL if dgamma is.
 * gamma           [channels] parameter_dtype, optional
 * mean, variance  [channels] statistics type, inputs
 * dgamma, dbeta   [channels] statistics type */
NORMKIT_API normkit_status normkit_batch_norm_inference_backward(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *variance, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);

/* Gradient of normkit_batch_norm_training: the formulas of normkit_layer_norm_backward, with its S. Running
 * statistics have no part in it.
 *
 * x, dy, dx      [samples, channels, positions] in `layout`, dtype; strides x_stride, dy_stride, dx_stride
 * gamma          [channels] parameter_dtype, optional
 * mean, rstd     [channels] statistics type, inputs, both or none
 * dgamma, dbeta  [channels] statistics type
 *
 * One value per channel: NORMKIT_ERROR_ONE_VALUE.
 * Semantics: torch.ops.aten.native_batch_norm_backward(train=True). */
NORMKIT_API normkit_status normkit_batch_norm_training_backward(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);

/* Gradient of normkit_instance_norm.
 *
 * x, dy, dx      [samples, channels, positions] in `layout`, dtype; strides x_stride, dy_stride, dx_stride
 * gamma          [channels] parameter_dtype, optional
 * mean, rstd     [samples, channels] statistics type, inputs, both or none
 * dgamma, dbeta  [channels] statistics type */
NORMKIT_API normkit_status normkit_instance_norm_backward(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);

/* Gradient of normkit_group_norm.
 *
 * x, dy, dx      [samples, channels, positions] in `layout`, dtype; strides x_stride, dy_stride, dx_stride
 * gamma          [channels] parameter_dtype, optional
 * mean, rstd     [samples, groups] statistics type, inputs, both or none
 * dgamma, dbeta  [channels] statistics type
 *
 * Semantics: torch.ops.aten.native_group_norm_backward. */
NORMKIT_API normkit_status normkit_group_norm_backward(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    int64_t groups,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const void *mean, const void *rstd, double epsilon,
    void *dx, int64_t dx_stride, void *dgamma, void *dbeta, int32_t accumulate);

/* Gradient of normkit_weight_norm: with z = v / (norm + epsilon),
 *   dg = sum over the slice of dw * z;  dv = g / (norm + epsilon) * (dw - dg * d(norm)/dv)
 * where d(norm)/dv is v / norm (L2), sign(v) (L1), or, for the largest |v|, sign(v) / k at the k elements that are
 * as large, and 0 elsewhere. A slice whose norm + epsilon is 0 has gradient 0.
 *
 * v, dw, dv  [outer, slices, inner] dtype, contiguous; dv may be exactly v or dw
 * g          [slices] parameter_dtype, or NULL for 1
 * norms      [slices] statistics type, optional input: what normkit_weight_norm wrote. epsilon is used beside it.
 * dg         [slices] statistics type, optional output; accumulate as for dgamma */
NORMKIT_API normkit_status normkit_weight_norm_backward(
    int32_t dtype, int32_t parameter_dtype, int32_t norm, int64_t outer, int64_t slices, int64_t inner,
    const void *v, const void *dw, const void *g, const void *norms, double epsilon,
    void *dv, void *dg, int32_t accumulate);

/* Gradient of normkit_normalize.
 *
 * x, dy, dx   [shape] dtype, contiguous
 * mean, rstd  [kept axes] statistics type, inputs, both or none. With NORMKIT_EPSILON_OUTSIDE_SQRT they are formed
 *             again in any case: the gradient needs the standard deviation, which rstd alone does not give. */
NORMKIT_API normkit_status normkit_normalize_backward(
    int32_t dtype, int32_t rank, const int64_t *shape, int32_t axis_count, const int32_t *axes,
    const void *x, const void *dy, const void *mean, const void *rstd, double epsilon, int32_t epsilon_rule,
    void *dx);

/* Gradient of normkit_lp_normalize: that of weight normalization where norm >= epsilon, and dy / epsilon elsewhere.
 *
 * x, dy, dx  [shape] dtype, contiguous
 * norms      [kept axes] statistics type, optional input: what normkit_lp_normalize wrote */
NORMKIT_API normkit_status normkit_lp_normalize_backward(
    int32_t dtype, int32_t norm, int32_t rank, const int64_t *shape, int32_t axis_count, const int32_t *axes,
    const void *x, const void *dy, const void *norms, double epsilon,
    void *dx);

/* Gradient of normkit_moments: with n elements in S,
 *   dx = dmean / n + dvariance * 2 * (x - mean) / (n - correction)
 *
 * x, dx             [shape] dtype, contiguous; dx may be exactly x
 * dmean, dvariance  [kept axes] statistics type, inputs; NULL is 0 */
NORMKIT_API normkit_status normkit_moments_backward(
    int32_t dtype, int32_t rank, const int64_t *shape, int32_t axis_count, const int32_t *axes,
    const void *x, const void *dmean, const void *dvariance, int64_t correction,
    void *dx);

/* Gradient of normkit_scale_shift: dx = dy * scale; dscale = sum of dy * x, dshift = sum of dy, per channel.
 *
 * x, dy, dx       [outer, channels, inner] dtype, contiguous. x may be NULL if dscale is.
 * scale           [channels] parameter_dtype, or NULL for 1
 * dscale, dshift  [channels] statistics type, optional outputs; accumulate as for dgamma */
NORMKIT_API normkit_status normkit_scale_shift_backward(
    int32_t dtype, int32_t parameter_dtype, int64_t outer, int64_t channels, int64_t inner,
    const void *x, const void *dy, const void *scale,
    void *dx, void *dscale, void *dshift, int32_t accumulate);

/* ---- Statistics that are merged: data in pieces, several machines --------------------------------------- */

/* What is known of the elements seen so far: how many, their mean, and the sum of their squared deviations from it.
 * All zeros: none yet. Plain memory: it may be copied, stored, and sent to a machine of the same byte order. */
typedef struct {
    double count, mean, m2;
} normkit_channel_moments;

/* Adds the elements of each channel to its moments, by Chan's formula. The sums over x are as exact as in
 * normkit_moments; x is read once.
 *
 * x        [samples, channels, positions] in `layout`, dtype; row stride x_stride
 * moments  [channels], read and written. They may not overlap x.
 *
 * The result depends, in its last bits, on how the data were cut into calls, and on nothing else.
 * Source: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979. */
NORMKIT_API normkit_status normkit_moments_accumulate(
    int32_t dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride,
    normkit_channel_moments *moments);

/* moments[c] = moments[c] merged with other[c], for `channels` channels. Merging with none changes no bit.
 * Machines that merge the same moments in the same order have the same bits. */
NORMKIT_API normkit_status normkit_moments_merge(
    int64_t channels, normkit_channel_moments *moments, const normkit_channel_moments *other);

/* Mean, variance and reciprocal standard deviation of moments.
 *
 * dtype       NORMKIT_F32 or NORMKIT_F64: the type of the outputs
 * correction  variance = m2 / (count - correction)
 * epsilon     rstd = 1 / sqrt(m2 / count + epsilon), whatever the correction; 0 where the root is 0
 * mean, variance, rstd
 *             [channels] dtype, optional outputs
 *
 * A channel without elements: NORMKIT_ERROR_EMPTY_SET; one with no more elements than `correction`:
 * NORMKIT_ERROR_CORRECTION. */
NORMKIT_API normkit_status normkit_moments_finish(
    int32_t dtype, int64_t channels, const normkit_channel_moments *moments, int64_t correction, double epsilon,
    void *mean, void *variance, void *rstd);

/* Batch normalization with the statistics of `moments`, which may be those of a batch that is spread over several
 * processes: SyncBatchNorm. Forward, each process
 *   1. forms the moments of its share (normkit_moments_accumulate from all zeros),
 *   2. collects those of all processes (an all-gather of 24 bytes per channel and process),
 *   3. merges them in the order of the processes, so that all have the same bits (normkit_moments_merge),
 *   4. calls this function. Running statistics come from normkit_moments_finish.
 * A process with an empty share takes part with moments of all zeros. Moments without elements standardize none:
 * NORMKIT_ERROR_EMPTY_SET, in all three functions, if x has elements.
 *
 * f64 data whose mean is many standard deviations are standardized as exactly as an f64 mean allows: the error in
 * units grows as that ratio. f32, f16 and bf16 data are not affected.
 *
 * x, y         [samples, channels, positions] in `layout`, dtype; strides x_stride, y_stride
 * gamma, beta  [channels] parameter_dtype, optional
 * moments      [channels], of all processes
 *
 * Semantics: torch.nn.SyncBatchNorm. */
NORMKIT_API normkit_status normkit_batch_norm_synchronized(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *gamma, const void *beta,
    const normkit_channel_moments *moments, double epsilon,
    void *y, int64_t y_stride);

/* Sums over the elements of a channel: of dy (the gradient of beta) and of dy * z (the gradient of gamma). */
typedef struct {
    double dy, dy_z;
} normkit_channel_gradient;

/* Backward of normkit_batch_norm_synchronized, first half: the sums over this process's share. They are then added
 * up over all processes (16 bytes per channel).
 *
 * x, dy    [samples, channels, positions] in `layout`, dtype; strides x_stride, dy_stride
 * moments  [channels], of all processes
 * sums     [channels], output, overwritten */
NORMKIT_API normkit_status normkit_batch_norm_gradient_sums(
    int32_t dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride,
    const normkit_channel_moments *moments, double epsilon,
    normkit_channel_gradient *sums);

/* Second half: dx of this process's share, from the sums of all processes.
 *
 * x, dy, dx  [samples, channels, positions] in `layout`, dtype; strides x_stride, dy_stride, dx_stride
 * gamma      [channels] parameter_dtype, optional
 * moments    [channels], of all processes
 * sums       [channels], of all processes; dbeta and dgamma are sums[c].dy and sums[c].dy_z */
NORMKIT_API normkit_status normkit_batch_norm_synchronized_backward(
    int32_t dtype, int32_t parameter_dtype, int32_t layout, int64_t samples, int64_t channels, int64_t positions,
    const void *x, int64_t x_stride, const void *dy, int64_t dy_stride, const void *gamma,
    const normkit_channel_moments *moments, const normkit_channel_gradient *sums, double epsilon,
    void *dx, int64_t dx_stride);

/* ---- Weights ------------------------------------------------------------------------------------------ */

/* A penalty on weights, with its gradient:
 *   NORMKIT_L1: value = strength * sum of |w|,          dw = strength * sign(w)
 *   NORMKIT_L2: value = strength / 2 * sum of w * w,    dw = strength * w   (weight decay)
 *
 * w           [size] dtype, contiguous
 * strength    not negative
 * value       one double, optional output
 * dw          [size] dtype, optional output; it may not overlap w
 * accumulate  0: dw is overwritten; 1: the gradient is added to it. value is overwritten.
 *
 * NORMKIT_MAX is refused (NORMKIT_ERROR_NORM). */
NORMKIT_API normkit_status normkit_weight_penalty(
    int32_t dtype, int32_t norm, int64_t size, const void *w, double strength,
    double *value, void *dw, int32_t accumulate);

/* Folds batch normalization in inference into the convolution or dense layer before it, so that that layer alone
 * gives what both gave, up to rounding: per output channel,
 *   folded_weight = weight * gamma * rstd;  folded_bias = (bias - mean) * gamma * rstd + beta
 * where rstd = 1 / sqrt(variance + epsilon).
 *
 * dtype           NORMKIT_F32 or NORMKIT_F64, of everything
 * weight, folded_weight
 *                 [outer, channels, inner], contiguous: output channels first (a convolution's [O, I, kH, kW], a dense
 *                 layer's [O, I]) is outer = 1; a transposed convolution's [I, O, kH, kW] is outer = I. Either may be
 *                 NULL only if there are no elements. folded_weight may be weight.
 *                 (else NORMKIT_ERROR_X_NULL, NORMKIT_ERROR_Y_NULL)
 * bias            [channels], NULL for 0
 * gamma, beta     [channels], optional
 * mean, variance  [channels]
 * folded_bias     [channels]; may be bias. NULL: NORMKIT_ERROR_Y_NULL
 *
 * Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
 * Inference", 2018, section 3.2. */
NORMKIT_API normkit_status normkit_fold_batch_norm(
    int32_t dtype, int64_t outer, int64_t channels, int64_t inner,
    const void *weight, const void *bias, const void *gamma, const void *beta,
    const void *mean, const void *variance, double epsilon,
    void *folded_weight, void *folded_bias);

/* ---- Plans: for engines ------------------------------------------------------------------------------- */

/* An engine that runs the same normalization many times describes it once, makes a plan of the description, and runs
 * the plan. A plan also takes in what stands before and after the normalization, in the same pass over memory:
 *
 *     s = x + residual + bias              stored to `sum` if wanted
 *     n = normalize(activation_before(s))  with gamma, beta
 *     a = activation_after(n * sample_scale + sample_shift)
 *     y = a + residual_after               converted to output_dtype
 *
 * Every step but the normalization is optional. Up to y, all of it is computed in the type of computation, so that y
 * is rounded once; but a `sum` that is stored is what is normalized, as it is stored, also in halves. sum, mean and
 * rstd are then what the backward function needs, and y is that of an addition and a normalization one after the other.
 *
 *  - A plan is never written after normkit_plan_create: any number of threads may run it at the same time, with
 *    operands that do not overlap.
 *  - Running a plan allocates nothing, starts no thread, waits for nobody and takes no lock (normkit_plan_run_threads
 *    does what normkit_set_thread_count asked for).
 *  - The same bits for any number of parts, and, without fusions, the same bits as the function of the method. */
typedef struct normkit_plan normkit_plan;

/* method: which function of this header is planned, and which fields of the description say its sizes. Fields of
 * other methods are ignored. */
enum {
    NORMKIT_LAYER_NORM = 1,             /* rows, size */
    NORMKIT_LAYER_NORM_CHANNELS = 2,    /* samples, channels, positions */
    NORMKIT_RMS_NORM = 3,               /* rows, size; one_plus_gamma */
    NORMKIT_BATCH_NORM_INFERENCE = 4,   /* layout, samples, channels, positions */
    NORMKIT_BATCH_NORM_TRAINING = 5,    /* layout, samples, channels, positions; momentum, running_variance_rule */
    NORMKIT_INSTANCE_NORM = 6,          /* layout, samples, channels, positions */
    NORMKIT_GROUP_NORM = 7,             /* layout, samples, channels, positions, groups */
    NORMKIT_WEIGHT_NORM = 8,            /* outer, slices, inner; norm */
    NORMKIT_SCALE_SHIFT = 9,            /* outer, slices (the channels), inner */
    NORMKIT_NORMALIZE = 10,             /* rank, shape, axis_count, axes; epsilon_rule */
    NORMKIT_LP_NORMALIZE = 11           /* rank, shape, axis_count, axes; norm */
};

/* fusions: what is done beside the normalization, added up. */
enum {
    NORMKIT_ADD_RESIDUAL = 1,           /* x + residual */
    NORMKIT_ADD_BIAS = 2,               /* x + bias, one per feature (layer, RMS) or channel */
    NORMKIT_STORE_SUM = 4,              /* x with what was added to it is stored to `sum` */
    NORMKIT_SCALE_SHIFT_SAMPLES = 8,    /* adaptive normalization: a scale and a shift of each sample */
    NORMKIT_ADD_RESIDUAL_AFTER = 16,    /* y + residual_after */
    NORMKIT_SCALE_PER_ROW = 32          /* int8 output: a scale for each row, found on the way */
};

/* activation_before, activation_after. At most 2 units in the last place (2.5 on x86-64-v2) from the exact value of the
 * function for the given argument. Where y is of halves and nothing is added after the activation, it is rounded from a
 * value within 2^-16 of the exact one, and at most 0.54 units off. NaN gives NaN. */
enum {
    NORMKIT_IDENTITY = 0,
    NORMKIT_RELU = 1,                   /* max(v, 0) */
    NORMKIT_LEAKY_RELU = 2,             /* v < 0 ? slope * v : v */
    NORMKIT_GELU = 3,                   /* v * (1 + erf(v / sqrt(2))) / 2 */
    NORMKIT_GELU_TANH = 4,              /* v * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 * v^3))) / 2 */
    NORMKIT_SILU = 5,                   /* v / (1 + exp(-v)) */
    NORMKIT_SIGMOID = 6,                /* 1 / (1 + exp(-v)) */
    NORMKIT_TANH = 7,
    NORMKIT_HARD_SWISH = 8              /* v * min(max(v / 6 + 1 / 2, 0), 1) */
};

/* output_dtype, beside the dtypes above: y as integers, q = y / scale rounded to the nearest (ties to even)
 * + zero_point, limited to the range of the type; NaN gives the zero point. */
enum {
    NORMKIT_I8 = 5,
    NORMKIT_U8 = 6
};

/* What is planned. Set all of it to 0, then struct_size and what is needed. */
typedef struct {
    int64_t struct_size;                /* sizeof(normkit_description) */
    int32_t method;
    int32_t dtype;                      /* of x, residual, sum, residual_after */
    int32_t parameter_dtype;            /* of gamma, beta, bias, sample_scale, sample_shift; 0: dtype */
    int32_t output_dtype;               /* of y: F32, F16, BF16, I8 or U8 for f32 and half data, F64; 0: dtype */

    int64_t rows, size;
    int64_t samples, channels, positions, groups;
    int64_t outer, slices, inner;
    int64_t shape[NORMKIT_MAX_RANK];
    int32_t rank, axis_count;
    int32_t axes[NORMKIT_MAX_RANK];
    int32_t layout, norm, epsilon_rule, one_plus_gamma, running_variance_rule;

    int32_t fusions;                    /* sum of NORMKIT_ADD_RESIDUAL and its siblings */
    int32_t activation_before, activation_after;
    int32_t one_plus_sample_scale;      /* 1: multiply by 1 + sample_scale; 0: by sample_scale */
    double slope;                       /* of leaky ReLU */
    int64_t rows_per_sample;            /* layer, RMS with NORMKIT_SCALE_SHIFT_SAMPLES: rows that share a scale and
                                           a shift; divides rows */
    double epsilon, momentum;

    /* Row strides as above: 0 is no gaps. Only rows and data with channels have them. */
    int64_t x_stride, y_stride, residual_stride, sum_stride, residual_after_stride;
} normkit_description;

/* What a run reads and writes; shapes as in the function of the method. Set all of it to 0, then struct_size and what
 * is needed. What the plan does not use is ignored. */
typedef struct {
    int64_t struct_size;                /* sizeof(normkit_operands) */
    const void *x;                      /* also v */
    const void *residual;               /* as x */
    const void *bias;                   /* [size] or [channels] */
    const void *gamma, *beta;           /* scale and shift; weight norm: gamma is g, and there is no beta; normalize
                                           and Lp have neither. May be NULL */
    const void *given_mean;             /* batch norm in inference: [channels] statistics type */
    const void *given_variance;
    const void *sample_scale;           /* [rows / rows_per_sample, size] or [samples, channels]; one of the two may */
    const void *sample_shift;           /* be NULL: no scale, no shift */
    const void *residual_after;         /* as x */
    void *sum;                          /* as x; may be exactly x or residual */
    void *y;                            /* also w. May be exactly x, residual or residual_after if dtype and stride
                                           are the same */
    void *mean, *rstd;                  /* optional outputs of the statistics type */
    void *norms;                        /* the same of weight and Lp normalization */
    void *running_mean, *running_variance;
    float *row_scales;                  /* [rows], output of NORMKIT_SCALE_PER_ROW: the largest |y| of the row / 127 */
    double output_scale;                /* integer outputs otherwise: positive and finite, in f32 */
    int32_t zero_point;                 /* in the range of the type; with NORMKIT_SCALE_PER_ROW ignored, 0 */
    void *workspace;                    /* any alignment; NULL if the plan needs none */
    int64_t workspace_bytes;
} normkit_operands;

/* Makes a plan. Which fusion exists on which method:
 *
 *                      residual, bias,   activation   activation,        scale and shift   scale
 *                      sum               before       residual, output   of samples        per row
 *                                                     dtype after
 *   layer, RMS         yes               yes          yes                yes               yes
 *   layer (channels),
 *   batch inference,
 *   instance, group    yes               yes          yes                yes               no
 *   other methods      no                no           no                 no                no
 *
 * What does not exist is refused (NORMKIT_ERROR_FUSION, NORMKIT_ERROR_ACTIVATION, NORMKIT_ERROR_OUTPUT_DTYPE), and so
 * is a NORMKIT_STORE_SUM without something to add. Statistics outputs are those of what is normalized.
 *
 * plan  output: to be freed with normkit_plan_destroy. Set to NULL on failure.
 *
 * This function allocates the plan; no other does. */
NORMKIT_API normkit_status normkit_plan_create(const normkit_description *description, normkit_plan **plan);

/* Frees a plan that nobody runs any more. NULL is allowed. */
NORMKIT_API void normkit_plan_destroy(normkit_plan *plan);

/* Into how many parts a run can be cut at most, and phases: `phases` rounds of parts, of which each has to be complete
 * before the next begins. Both are fixed for a plan and at least 1. */
NORMKIT_API int32_t normkit_plan_most_parts(const normkit_plan *plan);
NORMKIT_API int32_t normkit_plan_phases(const normkit_plan *plan);

/* Into how many parts to cut a run for `threads` threads that are awake: as many as are worth handing one to another
 * thread, which takes about 16384 elements to normalize, fewer with an activation. At most `threads` and
 * normkit_plan_most_parts, and at least 1, also where plan is NULL or threads is below 1. */
NORMKIT_API int32_t normkit_plan_useful_parts(const normkit_plan *plan, int32_t threads);

/* Bytes of workspace for a run that is cut into `parts` parts; 0 if none is needed, -1 if plan is NULL or parts is
 * below 1. */
NORMKIT_API int64_t normkit_plan_workspace(const normkit_plan *plan, int32_t parts);

/* Runs a plan on the calling thread, as one part. */
NORMKIT_API normkit_status normkit_plan_run(const normkit_plan *plan, const normkit_operands *operands);

/* Runs one part of one phase, 0 <= part < parts, 0 <= phase < phases, for engines that call with threads of their own.
 * Every part is called with the same operands, and every part of a phase before the first of the next. Parts beyond
 * normkit_plan_most_parts find nothing to do. */
NORMKIT_API normkit_status normkit_plan_run_part(
    const normkit_plan *plan, const normkit_operands *operands, int32_t phase, int32_t part, int32_t parts);

/* An engine's own parallel loop: calls task(argument, i) for each i from 0 to count - 1, on any threads, in any order,
 * and returns when all calls have returned. */
typedef void (*normkit_task)(void *argument, size_t i);
typedef void (*normkit_parallel_for)(void *context, size_t count, normkit_task task, void *argument);

/* Runs a plan through `parallel_for`, in `parts` parts. One part is run without it. */
NORMKIT_API normkit_status normkit_plan_run_parallel(
    const normkit_plan *plan, const normkit_operands *operands, int32_t parts,
    normkit_parallel_for parallel_for, void *context);

/* Runs a plan on NormKit's own threads, if the process asked for them (normkit_set_thread_count) and the work is large
 * enough. The workspace has to be that of normkit_thread_count() parts. */
NORMKIT_API normkit_status normkit_plan_run_threads(const normkit_plan *plan, const normkit_operands *operands);

/* ---- The library -------------------------------------------------------------------------------------- */

/* NORMKIT_VERSION of the library that was loaded, and the same as text, "0.1.0". */
NORMKIT_API int32_t normkit_version(void);
NORMKIT_API const char *normkit_version_string(void);

/* Name of the instruction set in use: "x86-64-v4-bf16" (x86-64-v4 with instructions for bfloat16), "x86-64-v4",
 * "x86-64-v3", "x86-64-v2" or "arm64"; "none" if the processor has none of them. The best one that processor and
 * operating system support is chosen once, at the first call that needs it. The environment variable NORMKIT_ISA,
 * set to one of these names before that call, chooses a lower one; a name that is unknown or not supported is
 * ignored. */
NORMKIT_API const char *normkit_isa(void);

/* How many threads one call may use, the caller's own counted. 1 unless the environment variable
 * NORMKIT_THREADS or this function says otherwise: then large calls are shared with threads that are started
 * at the first such call and wait for the next, awake for about 50 microseconds, then asleep. On Linux they keep
 * off the processor that the caller runs on, if they may run on another (sched_setaffinity, of these threads alone).
 * Small calls never leave the calling thread. Results do not depend on the count. Setting it does not disturb calls
 * that are under way in other threads. */
NORMKIT_API normkit_status normkit_set_thread_count(int32_t count);
NORMKIT_API int32_t normkit_thread_count(void);

#ifdef __cplusplus
}
#endif

#endif /* NORMKIT_H */

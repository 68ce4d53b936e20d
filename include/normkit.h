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
 *    No alignment is asked for, not even that of an element.
 *  - Sizes and strides are counted in elements, never in bytes. Size 0 is allowed.
 *  - gamma and beta may be NULL: scale 1, shift 0. Outputs marked "optional" may be NULL.
 *  - y may be x (same address, same stride). Any other overlap of an output with another buffer is
 *    refused. A buffer in the gaps of a strided one counts as overlapping it, unless both have gaps and the same
 *    stride. Inputs may overlap each other.
 *  - A call that does not return NORMKIT_OK has written nothing. The status says which argument is at fault.
 *  - Any thread may call any function at any time, as long as no two calls write the same memory.
 *    A forked child may go on calling. No function prints, aborts, throws, or changes signals, locale or the
 *    floating-point environment (except for its exception flags). The default rounding mode, without flushing of
 *    subnormals to zero, is assumed. A call needs about 40 KB of stack.
 *  - Memory is allocated, and threads are started, only if the process asked for more than one thread
 *    (normkit_set_thread_count, NORMKIT_THREADS) and the work is large enough for several.
 *  - f32, f16 and bf16 data are computed in f32 (sums that f32 cannot hold, in f64), f64 data in f64.
 *    "Statistics type" below means f64 for f64 data and f32 for all other data.
 *  - y is a few units in the last place away from the exact result for the given input; the unit is that of the
 *    largest of |y|, |z * gamma| and |beta| in S. A mean is as near in units of the larger of itself and the standard
 *    deviation. Means up to 10^6 standard deviations and |x| up to 1e30 (f64: 1e-150 to 1e150) do not change that.
 *    A constant S gives exactly beta, also if epsilon is 0: where variance + epsilon is 0, rstd is defined as 0.
 *  - NaN and infinity touch nothing outside of their own S. A NaN makes every element of S NaN, and so does an
 *    infinity where a mean of S is subtracted; where none is (RMS, weights, norms), x / infinity is 0 for the finite
 *    elements and NaN for the infinite ones. With given statistics, an element changes nothing but its own result.
 *  - The same input gives the same bits for any number of threads, for any number of samples or rows around it, in
 *    place or not, on x86-64-v3, x86-64-v4 and arm64. What may change last bits: x86-64-v2, which has no fused
 *    multiply-add; a gap between samples or positions, where S runs across it; an extent of 1 in the place of a
 *    larger one. Which NaN a NaN is, is not defined.
 *  - An empty S (no elements) is a successful no-op unless its statistics are asked for.
 *
 * Copyright (c) 2026 the NormKit authors. MIT licence. */
#ifndef NORMKIT_H
#define NORMKIT_H

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

    /* pointers */
    NORMKIT_ERROR_X_NULL = 40,            /* x is NULL */
    NORMKIT_ERROR_Y_NULL = 41,            /* y is NULL */
    NORMKIT_ERROR_MEAN_NULL = 42,         /* mean is NULL */
    NORMKIT_ERROR_VARIANCE_NULL = 43,     /* variance is NULL */
    NORMKIT_ERROR_V_NULL = 44,            /* v is NULL */
    NORMKIT_ERROR_W_NULL = 45,            /* w is NULL */
    NORMKIT_ERROR_RUNNING_NULL = 46,      /* one of running_mean and running_variance is NULL, the other is not */

    /* overlap */
    NORMKIT_ERROR_Y_OVERLAP = 60,         /* y (or w) overlaps another buffer, and is not exactly x (or v) */
    NORMKIT_ERROR_STATISTICS_OVERLAP = 61,/* a statistics or norms output overlaps another buffer */
    NORMKIT_ERROR_RUNNING_OVERLAP = 62,   /* running_mean or running_variance overlaps another buffer */

    /* the machine */
    NORMKIT_ERROR_PROCESSOR = 80          /* this processor is older than x86-64-v2 */
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

/* ---- The library -------------------------------------------------------------------------------------- */

/* NORMKIT_VERSION of the library that was loaded, and the same as text, "0.1.0". */
NORMKIT_API int32_t normkit_version(void);
NORMKIT_API const char *normkit_version_string(void);

/* Name of the instruction set in use: "x86-64-v4", "x86-64-v3", "x86-64-v2" or "arm64"; "none" if the processor
 * has none of them. The best one that processor and operating system support is chosen once, at the first call
 * that needs it. The environment variable NORMKIT_ISA, set to one of these names before that call, chooses a
 * lower one; a name that is unknown or not supported is ignored. */
NORMKIT_API const char *normkit_isa(void);

/* How many threads one call may use, the caller's own counted. 1 unless the environment variable
 * NORMKIT_THREADS or this function says otherwise: then large calls are shared with threads that are started
 * at the first such call and wait, asleep, for the next. Small calls never leave the calling thread. Results do
 * not depend on the count. Setting it does not disturb calls that are under way in other threads. */
NORMKIT_API normkit_status normkit_set_thread_count(int32_t count);
NORMKIT_API int32_t normkit_thread_count(void);

#ifdef __cplusplus
}
#endif

#endif /* NORMKIT_H */

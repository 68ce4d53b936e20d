/* NormKit as operators of ggml graphs, on the CPU and on ggml's own threads.
 *
 * A normalization, with what stands before and after it, becomes one custom node of the graph (ggml_custom_4d): a plan
 * of NormKit that is made when the node is made, and whose parts are run by ggml's threads. Names as in normkit.h;
 * shapes as in ggml, innermost first:
 *
 *   NORMKIT_LAYER_NORM, NORMKIT_RMS_NORM   each row of ne[0] elements, as ggml_norm and ggml_rms_norm
 *   NORMKIT_GROUP_NORM                     [width, height, channels, samples], as ggml_group_norm
 *
 * Strides (nb) are used as they are where rows (layer, RMS) or samples (group) are contiguous, whatever stands between
 * them: slices, permuted heads, gaps. Other tensors are copied by a node of ggml_cont in front.
 *
 * Copyright (c) 2026 the NormKit authors. MIT licence. */
#ifndef NORMKIT_GGML_H
#define NORMKIT_GGML_H

#include <ggml.h>
#include <normkit.h>

#if defined(__GNUC__) || defined(__clang__)
#define NORMKIT_GGML_API __attribute__((visibility("default")))
#else
#define NORMKIT_GGML_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Owns what the nodes of some graphs need when they are computed. One thread at a time may add nodes to it. */
typedef struct normkit_ggml normkit_ggml;

/* threads: the most threads that will compute the graphs, at least 1. With more of them, some of them may have nothing
 * to do. NULL if there is no memory. */
NORMKIT_GGML_API normkit_ggml *normkit_ggml_new(int threads);

/* To be called when no graph with these nodes will be computed again. NULL is allowed. */
NORMKIT_GGML_API void normkit_ggml_free(normkit_ggml *nodes);

/* Operators of ggml cannot fail. If NormKit refused a call while a graph was computed, this is its first status;
 * what the node should have written is then undefined. NORMKIT_OK otherwise. */
NORMKIT_GGML_API normkit_status normkit_ggml_status(const normkit_ggml *nodes);

/* What a node computes:
 *
 *     s = x + residual + bias                              also an output, if asked for
 *     n = normalize(activation_before(s)) * gamma + beta
 *     y = activation_after(n * sample_scale + sample_shift) + residual_after
 *
 * Set all of it to 0, then method, x, epsilon and what else is needed. Absent tensors are NULL. Types are F32, F16,
 * BF16 or F64; parameters have that of x or F32, the same for all of them. */
typedef struct {
    int32_t method;
    int32_t type;                       /* of y, an enum ggml_type; 0 is GGML_TYPE_F32 */
    int32_t in_place;                   /* 1: y is written over x, and has its strides; nothing is copied then */
    int32_t one_plus_gamma;             /* RMS norm */
    int32_t one_plus_sample_scale;      /* 1: multiply by 1 + sample_scale */
    int32_t activation_before, activation_after;
    int64_t groups;                     /* group norm; divides the channels */
    double epsilon, slope;
    struct ggml_tensor *x;
    struct ggml_tensor *residual, *residual_after;  /* of the shape and type of x */
    struct ggml_tensor *bias, *gamma, *beta;        /* ne[0] elements, or one for each channel; contiguous */
    struct ggml_tensor *sample_scale, *sample_shift;/* contiguous. Layer, RMS: rows [ne[0], …] with 1 for the inner
                                                       dimensions of x that share a row, [width, 1, samples] beside
                                                       [width, tokens, samples]. Group: [channels, samples] or
                                                       [1, 1, channels, samples] */
} normkit_ggml_description;

/* Adds a node to `context`. *y is the result, in the shape of x. `sum` is NULL, or *sum becomes s; x must not be
 * written in place then.
 *
 * Returns NULL, or a sentence that says why there is no such node; then nothing was added. */
NORMKIT_GGML_API const char *normkit_ggml_add(
    normkit_ggml *nodes, struct ggml_context *context, const normkit_ggml_description *description,
    struct ggml_tensor **y, struct ggml_tensor **sum);

/* Copies the type, the extents and the strides of a tensor, for languages that do not read ggml.h. */
NORMKIT_GGML_API void normkit_ggml_layout(
    const struct ggml_tensor *tensor, int32_t *type, int64_t ne[GGML_MAX_DIMS], size_t nb[GGML_MAX_DIMS]);

#ifdef __cplusplus
}
#endif

#endif /* NORMKIT_GGML_H */

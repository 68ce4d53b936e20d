/* A stage: one pass over a block of elements beside their normalization, while they are in cache. Blocks are worked on
 * in the natural type, that of the computation: Double for f64, Float for all others. */
#ifndef NORMKIT_STAGE_H
#define NORMKIT_STAGE_H

#include "vectors.h"

/* What a stage does to the block at `work`. Integers are stored as normkit.h says. */
enum {
    NK_GATHER = 1,      /* work = source + other + bias; without source: work itself; without the others: 0 */
    NK_FORM = 2,        /* the same, but work is of type dtype, as what is added; also written to destination, if any */
    NK_AFFINE = 3,      /* work = work * source + other, parameters; NULL: 1 and 0 */
    NK_ACTIVATE = 4,    /* destination = activation(work), halves from what is within 2^-16 of it; NULL: work itself */
    NK_RECTIFY = 5,     /* destination = ReLU(work), both of halves; NULL: work itself */
    NK_STORE = 6,       /* destination = work */
    NK_STORE_I8 = 7,
    NK_STORE_U8 = 8,
    NK_STORE_ROWS = 9   /* the same as I8, with a scale for each row, which is written to `scales` */
};

/* Activations; the values of NORMKIT_RELU and its siblings. */
enum {
    NK_RELU = 1,
    NK_LEAKY_RELU = 2,
    NK_GELU = 3,
    NK_GELU_TANH = 4,
    NK_SILU = 5,
    NK_SIGMOID = 6,
    NK_TANH = 7,
    NK_HARD_SWISH = 8
};

/* `rows` rows of `length` elements; steps lead from row to row, in elements. */
typedef struct {
    int32_t operation, is_double;
    int64_t rows, length;
    void *work;
    int64_t work_step;
    int32_t dtype;              /* of source and other, or of destination */
    const void *source, *other;
    int64_t source_step, other_step;
    const void *bias;           /* parameters */
    int32_t bias_dtype;
    int64_t segment;            /* parameters: element i of a row has parameter i / segment */
    int32_t one_plus_scale;
    int32_t activation;
    double slope;
    void *destination;
    int64_t destination_step;
    int32_t streams;            /* whether what it has of whole lines is written past the caches; its address is a
                                   multiple of an element */
    const void *ahead;          /* what is read next, brought near while `destination` is written, in rows like those
                                   of the block; NULL: nothing */
    int64_t ahead_step, ahead_size;     /* bytes from row to row, and of an element */
    double scale;
    int32_t zero_point;
    float *scales;              /* of row i: entry i; not aligned */
} nk_stage;

NK_INLINE void nk_bring_near(const void *p) { __builtin_prefetch(p); }

/* Halves: 0 where they are negative, but not NaN, which `infinity`, the negative one, is the last of as integers. */
typedef int16_t nk_i16x32 __attribute__((vector_size(64)));
typedef int16_t nk_i16x32_there __attribute__((vector_size(64), aligned(1), may_alias));
NK_INLINE nk_i16x32 nk_rectified(const void *x, int16_t infinity) {
    nk_i16x32 v = *(const nk_i16x32_there *)x;
    return v & (v > infinity);
}
/* Thirty-two, past the caches, to a multiple of 64 bytes. */
NK_INLINE void nk_stream_rectified(const void *x, void *y, int16_t infinity) {
    __builtin_nontemporal_store(nk_rectified(x, infinity), (nk_i16x32 *)y);
}
/* Elements i to end - 1. */
NK_INLINE void nk_rectify_halves(const void *x, void *y, int64_t i, int64_t end, int16_t infinity) {
    typedef int16_t half __attribute__((aligned(1), may_alias));
    const half *from = x;
    half *to = y;
    for (; i + 32 <= end; i += 32) *(nk_i16x32_there *)(to + i) = nk_rectified(from + i, infinity);
    for (; i < end; i++) to[i] = from[i] > infinity ? from[i] : 0;
}

/* v / scale, rounded to the nearest integer, ties to even, + zero_point, between low and high; zero_point for NaN. */
NK_INLINE void nk_quantize(void *p, float scale, float zero_point, float low, float high) {
    nk_f32x16_there *v = p;
    nk_f32x16 q = __builtin_elementwise_roundeven(*v / scale);
    q = (nk_f32x16)((nk_u32x16)q & (nk_u32x16)(q == q)) + zero_point;
    *v = __builtin_elementwise_min(__builtin_elementwise_max(q, (nk_f32x16){} + low), (nk_f32x16){} + high);
}

/* Stores the first `count` lanes of v, integers from -128 to 255, as bytes. */
NK_INLINE void nk_store_bytes(void *p, int64_t count, nk_f32x16 v) {
    typedef uint8_t bytes __attribute__((vector_size(16)));
    bytes b = __builtin_convertvector(__builtin_convertvector(v, nk_i32x16), bytes);
    memcpy(p, &b, (size_t)count);
}
#endif

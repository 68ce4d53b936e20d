/* Sixteen lanes: the vocabulary of vector instructions that the kernels are written in.
 *
 * Every kernel works on sixteen logical lanes, whatever the width of the registers; that is what makes results
 * the same on every instruction set. The types below are imported by Swift as SIMD16<Float> and SIMD16<Double>.
 * Swift's own operations on them are generic loops over lanes: they compile slowly, some of them to long scalar
 * sequences, and some to functions that the linker would share between modules compiled for different processors.
 * Each function here is one vector operation, and is always inlined. */
#ifndef NORMKIT_VECTORS_H
#define NORMKIT_VECTORS_H

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define NK_INLINE static inline __attribute__((always_inline, unused))

typedef float nk_f32x16 __attribute__((vector_size(64)));
typedef double nk_f64x16 __attribute__((vector_size(128)));
typedef double nk_f64x8 __attribute__((vector_size(64)));
typedef uint16_t nk_u16x16 __attribute__((vector_size(32)));
typedef uint32_t nk_u32x16 __attribute__((vector_size(64)));
typedef int32_t nk_i32x16 __attribute__((vector_size(64)));
typedef uint64_t nk_u64x16 __attribute__((vector_size(128)));
typedef int64_t nk_i64x16 __attribute__((vector_size(128)));

/* Whether there are registers for the sums of four vectors at once. Where there are not, one vector of sixteen lanes
 * is four registers, and hides the latency of additions by itself. */
#if defined(__AVX2__) || defined(__aarch64__)
enum { NK_FOUR_VECTORS = 1 };
#else
enum { NK_FOUR_VECTORS = 0 };
#endif

/* Whether sixteen lanes of f64 are two registers, so that joining sums is less code than calling what joins them. */
#if defined(__AVX512F__)
enum { NK_WIDE_REGISTERS = 1 };
#else
enum { NK_WIDE_REGISTERS = 0 };
#endif

/* ---- Between f32 and f64 ------------------------------------------------------------------------------ */

NK_INLINE nk_f64x16 nk_widen(nk_f32x16 v) { return __builtin_convertvector(v, nk_f64x16); }
NK_INLINE nk_f32x16 nk_narrow(nk_f64x16 v) { return __builtin_convertvector(v, nk_f32x16); }

/* ---- Arithmetic, lane by lane --------------------------------------------------------------------------- */

NK_INLINE nk_f32x16 nk_splat_f32(float v) { return (nk_f32x16){v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
NK_INLINE nk_f64x16 nk_splat_f64(double v) { return (nk_f64x16){v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
NK_INLINE nk_f32x16 nk_add_f32(nk_f32x16 a, nk_f32x16 b) { return a + b; }
NK_INLINE nk_f64x16 nk_add_f64(nk_f64x16 a, nk_f64x16 b) { return a + b; }
NK_INLINE nk_f32x16 nk_subtract_f32(nk_f32x16 a, nk_f32x16 b) { return a - b; }
NK_INLINE nk_f64x16 nk_subtract_f64(nk_f64x16 a, nk_f64x16 b) { return a - b; }
NK_INLINE nk_f32x16 nk_multiply_f32(nk_f32x16 a, nk_f32x16 b) { return a * b; }
NK_INLINE nk_f64x16 nk_multiply_f64(nk_f64x16 a, nk_f64x16 b) { return a * b; }

/* ---- a * b + c, rounded once where the processor can --------------------------------------------------- */

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
NK_INLINE nk_f32x16 nk_fma_f32(nk_f32x16 a, nk_f32x16 b, nk_f32x16 c) { return __builtin_elementwise_fma(a, b, c); }
NK_INLINE nk_f64x16 nk_fma_f64(nk_f64x16 a, nk_f64x16 b, nk_f64x16 c) { return __builtin_elementwise_fma(a, b, c); }
#else
/* Without the instruction, a true fused multiply-add is a call of fmaf per lane, 20 to 40 times slower. */
NK_INLINE nk_f32x16 nk_fma_f32(nk_f32x16 a, nk_f32x16 b, nk_f32x16 c) { return a * b + c; }
NK_INLINE nk_f64x16 nk_fma_f64(nk_f64x16 a, nk_f64x16 b, nk_f64x16 c) { return a * b + c; }
#endif

/* ---- Magnitudes --------------------------------------------------------------------------------------- */

NK_INLINE nk_f32x16 nk_abs_f32(nk_f32x16 v) { return (nk_f32x16)((nk_u32x16)v & 0x7fffffffu); }
NK_INLINE nk_f64x16 nk_abs_f64(nk_f64x16 v) { return (nk_f64x16)((nk_u64x16)v & 0x7fffffffffffffffull); }

/* The larger of two magnitudes, both without a sign. Their bits are compared as integers, which orders NaN above
 * infinity, so that a NaN wins and is not lost. */
NK_INLINE nk_f32x16 nk_max_f32(nk_f32x16 a, nk_f32x16 b) {
    return (nk_f32x16)__builtin_elementwise_max((nk_u32x16)a, (nk_u32x16)b);
}
NK_INLINE nk_f64x16 nk_max_f64(nk_f64x16 a, nk_f64x16 b) {
    return (nk_f64x16)__builtin_elementwise_max((nk_u64x16)a, (nk_u64x16)b);
}

/* 1 or -1 with the sign of v, 0 for zeros, NaN for NaN. */
NK_INLINE nk_f32x16 nk_sign_f32(nk_f32x16 v) {
    nk_u32x16 is_nan = (nk_u32x16)(v != v);
    nk_u32x16 sign = (nk_u32x16)__builtin_convertvector((v < 0) - (v > 0), nk_f32x16);
    return (nk_f32x16)(((nk_u32x16)v & is_nan) | (sign & ~is_nan));
}
NK_INLINE nk_f64x16 nk_sign_f64(nk_f64x16 v) {
    nk_u64x16 is_nan = (nk_u64x16)(v != v);
    nk_u64x16 sign = (nk_u64x16)__builtin_convertvector((v < 0) - (v > 0), nk_f64x16);
    return (nk_f64x16)(((nk_u64x16)v & is_nan) | (sign & ~is_nan));
}

/* 1 where the magnitude of v is `magnitude`, 0 elsewhere. */
NK_INLINE nk_f32x16 nk_reaches_f32(nk_f32x16 v, nk_f32x16 magnitude) {
    return __builtin_convertvector(-(nk_abs_f32(v) == magnitude), nk_f32x16);
}
NK_INLINE nk_f64x16 nk_reaches_f64(nk_f64x16 v, nk_f64x16 magnitude) {
    return __builtin_convertvector(-(nk_abs_f64(v) == magnitude), nk_f64x16);
}

/* ---- Reductions: always the same tree, 16 -> 8 -> 4 -> 2 -> 1 ------------------------------------------ */

#define NK_TREE(v, combine)                                                                                   \
    __typeof__(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7)) a8 = combine(                           \
        __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),                                                \
        __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));                                         \
    __typeof__(__builtin_shufflevector(v, v, 0, 1, 2, 3)) a4 = combine(                                       \
        __builtin_shufflevector(a8, a8, 0, 1, 2, 3), __builtin_shufflevector(a8, a8, 4, 5, 6, 7));            \
    __typeof__(__builtin_shufflevector(v, v, 0, 1)) a2 = combine(                                             \
        __builtin_shufflevector(a4, a4, 0, 1), __builtin_shufflevector(a4, a4, 2, 3));                        \
    return combine(a2[0], a2[1])

#define NK_ADD(a, b) ((a) + (b))
NK_INLINE float nk_sum_f32(nk_f32x16 v) { NK_TREE(v, NK_ADD); }
NK_INLINE double nk_sum_f64(nk_f64x16 v) { NK_TREE(v, NK_ADD); }
NK_INLINE double nk_largest_f64(nk_f64x16 v) {
    nk_u64x16 bits = (nk_u64x16)v;
    uint64_t largest = __builtin_reduce_max(bits);
    double result;
    memcpy(&result, &largest, sizeof result);
    return result;
}

/* ---- Loading and storing whole vectors ----------------------------------------------------------------- */

#define NK_LOAD(type, pointer) ({ type nk_loaded; memcpy(&nk_loaded, (pointer), sizeof nk_loaded); nk_loaded; })

NK_INLINE nk_f32x16 nk_load_f32(const void *p) { return NK_LOAD(nk_f32x16, p); }
NK_INLINE nk_f64x16 nk_load_f64(const void *p) { return NK_LOAD(nk_f64x16, p); }
NK_INLINE void nk_store_f32(void *p, nk_f32x16 v) { memcpy(p, &v, sizeof v); }
NK_INLINE void nk_store_f64(void *p, nk_f64x16 v) { memcpy(p, &v, sizeof v); }

/* bfloat16 is the upper half of a binary32; rounding is to nearest, ties to even, NaN stays a (quiet) NaN. */
NK_INLINE nk_f32x16 nk_from_bf16(nk_u16x16 h) {
    return (nk_f32x16)(__builtin_convertvector(h, nk_u32x16) << 16);
}
NK_INLINE nk_u16x16 nk_to_bf16(nk_f32x16 v) {
    nk_u32x16 u = (nk_u32x16)v;
    nk_u32x16 rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    nk_u32x16 quiet = (u >> 16) | 0x40u;
    nk_u32x16 is_nan = (nk_u32x16)((u & 0x7fffffffu) > 0x7f800000u);
    return __builtin_convertvector((rounded & ~is_nan) | (quiet & is_nan), nk_u16x16);
}

#if defined(__F16C__) || defined(__aarch64__)
typedef _Float16 nk_f16x16 __attribute__((vector_size(32)));
NK_INLINE nk_f32x16 nk_from_f16(nk_u16x16 h) { return __builtin_convertvector((nk_f16x16)h, nk_f32x16); }
NK_INLINE nk_u16x16 nk_to_f16(nk_f32x16 v) { return (nk_u16x16)__builtin_convertvector(v, nk_f16x16); }
#else
/* Without conversion instructions, this is too much code to be inlined everywhere; see half.c. */
void nk_sixteen_from_f16(const nk_u16x16 *h, nk_f32x16 *v);
void nk_sixteen_to_f16(const nk_f32x16 *v, nk_u16x16 *h);
NK_INLINE nk_f32x16 nk_from_f16(nk_u16x16 h) {
    nk_f32x16 v;
    nk_sixteen_from_f16(&h, &v);
    return v;
}
NK_INLINE nk_u16x16 nk_to_f16(nk_f32x16 v) {
    nk_u16x16 h;
    nk_sixteen_to_f16(&v, &h);
    return h;
}
#endif

NK_INLINE nk_f32x16 nk_load_f16(const void *p) { return nk_from_f16(NK_LOAD(nk_u16x16, p)); }
NK_INLINE nk_f32x16 nk_load_bf16(const void *p) { return nk_from_bf16(NK_LOAD(nk_u16x16, p)); }
NK_INLINE void nk_store_f16(void *p, nk_f32x16 v) { nk_u16x16 h = nk_to_f16(v); memcpy(p, &h, sizeof h); }
NK_INLINE void nk_store_bf16(void *p, nk_f32x16 v) { nk_u16x16 h = nk_to_bf16(v); memcpy(p, &h, sizeof h); }

/* ---- Loading and storing the first `count` lanes, 0 < count < 16 --------------------------------------- */

#if defined(__AVX512BW__) && defined(__AVX512VL__)
NK_INLINE nk_f32x16 nk_load_part_f32(const void *p, int64_t count) {
    return (nk_f32x16)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
}
NK_INLINE void nk_store_part_f32(void *p, int64_t count, nk_f32x16 v) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), (__m512)v);
}
NK_INLINE nk_u16x16 nk_load_part_u16(const void *p, int64_t count) {
    return (nk_u16x16)_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1u), p);
}
NK_INLINE void nk_store_part_u16(void *p, int64_t count, nk_u16x16 v) {
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << count) - 1u), (__m256i)v);
}
#else
/* A plain loop over a buffer: unrolled, it would be larger than the kernels around it. */
#define NK_LOAD_PART(type, element, p, count)                                                                 \
    element part[16] = {0};                                                                                   \
    _Pragma("clang loop unroll(disable) vectorize(disable)") for (int64_t i = 0; i < (count); i++)            \
        memcpy(&part[i], (const char *)(p) + i * (int64_t)sizeof(element), sizeof(element));                  \
    return NK_LOAD(type, part)
#define NK_STORE_PART(element, p, count, v)                                                                   \
    element part[16];                                                                                         \
    memcpy(part, &(v), sizeof part);                                                                          \
    _Pragma("clang loop unroll(disable) vectorize(disable)") for (int64_t i = 0; i < (count); i++)            \
        memcpy((char *)(p) + i * (int64_t)sizeof(element), &part[i], sizeof(element))
#if defined(__AVX2__)
NK_INLINE __m256i nk_mask8(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
NK_INLINE nk_f32x16 nk_load_part_f32(const void *p, int64_t count) {
    typedef float f32x8 __attribute__((vector_size(32)));
    f32x8 low = (f32x8)_mm256_maskload_ps(p, nk_mask8(count));
    f32x8 high = (f32x8)_mm256_maskload_ps((const float *)p + 8, nk_mask8(count - 8));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
NK_INLINE void nk_store_part_f32(void *p, int64_t count, nk_f32x16 v) {
    _mm256_maskstore_ps(p, nk_mask8(count), (__m256)__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_maskstore_ps((float *)p + 8, nk_mask8(count - 8),
                        (__m256)__builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#else
NK_INLINE nk_f32x16 nk_load_part_f32(const void *p, int64_t count) { NK_LOAD_PART(nk_f32x16, float, p, count); }
NK_INLINE void nk_store_part_f32(void *p, int64_t count, nk_f32x16 v) { NK_STORE_PART(float, p, count, v); }
#endif
NK_INLINE nk_u16x16 nk_load_part_u16(const void *p, int64_t count) { NK_LOAD_PART(nk_u16x16, uint16_t, p, count); }
NK_INLINE void nk_store_part_u16(void *p, int64_t count, nk_u16x16 v) { NK_STORE_PART(uint16_t, p, count, v); }
#endif

#if defined(__AVX512BW__) && defined(__AVX512VL__)
NK_INLINE nk_f64x16 nk_load_part_f64(const void *p, int64_t count) {
    unsigned mask = (1u << count) - 1u;
    nk_f64x8 low = (nk_f64x8)_mm512_maskz_loadu_pd((__mmask8)mask, p);
    nk_f64x8 high = (nk_f64x8)_mm512_maskz_loadu_pd((__mmask8)(mask >> 8), (const double *)p + 8);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
NK_INLINE void nk_store_part_f64(void *p, int64_t count, nk_f64x16 v) {
    unsigned mask = (1u << count) - 1u;
    _mm512_mask_storeu_pd(p, (__mmask8)mask, (__m512d)__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7));
    _mm512_mask_storeu_pd((double *)p + 8, (__mmask8)(mask >> 8),
                          (__m512d)__builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#else
NK_INLINE nk_f64x16 nk_load_part_f64(const void *p, int64_t count) { NK_LOAD_PART(nk_f64x16, double, p, count); }
NK_INLINE void nk_store_part_f64(void *p, int64_t count, nk_f64x16 v) { NK_STORE_PART(double, p, count, v); }
#endif

NK_INLINE nk_f32x16 nk_load_part_f16(const void *p, int64_t count) { return nk_from_f16(nk_load_part_u16(p, count)); }
NK_INLINE nk_f32x16 nk_load_part_bf16(const void *p, int64_t count) { return nk_from_bf16(nk_load_part_u16(p, count)); }
NK_INLINE void nk_store_part_f16(void *p, int64_t count, nk_f32x16 v) { nk_store_part_u16(p, count, nk_to_f16(v)); }
NK_INLINE void nk_store_part_bf16(void *p, int64_t count, nk_f32x16 v) { nk_store_part_u16(p, count, nk_to_bf16(v)); }

/* Asks for `bytes` bytes of memory to be brought near, to be read or to be written. Harmless at any address. */
NK_INLINE void nk_prefetch(const void *p, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + i, 0, 3);
}
NK_INLINE void nk_prefetch_to_write(const void *p, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)p + i, 1, 3);
}

/* Square root, exact; __builtin_sqrt would call libm to have errno set. */
NK_INLINE double nk_sqrt(double v) { return __builtin_elementwise_sqrt(v); }

/* ---- Choosing lanes ------------------------------------------------------------------------------------ */

/* The first `count` lanes of v, then lanes of `fill`. */
NK_INLINE nk_f32x16 nk_fill_f32(nk_f32x16 v, int64_t count, nk_f32x16 fill) {
    const nk_i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    nk_u32x16 keep = (nk_u32x16)(lane < (int32_t)count);
    return (nk_f32x16)(((nk_u32x16)v & keep) | ((nk_u32x16)fill & ~keep));
}
NK_INLINE nk_f64x16 nk_fill_f64(nk_f64x16 v, int64_t count, nk_f64x16 fill) {
    const nk_i64x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    nk_u64x16 keep = (nk_u64x16)(lane < count);
    return (nk_f64x16)(((nk_u64x16)v & keep) | ((nk_u64x16)fill & ~keep));
}

/* Lanes of a where `choose` is not 0, lanes of b elsewhere. */
NK_INLINE nk_f64x16 nk_choose_f64(nk_f64x16 choose, nk_f64x16 a, nk_f64x16 b) {
    nk_u64x16 mask = (nk_u64x16)(choose != 0.0);
    return (nk_f64x16)(((nk_u64x16)a & mask) | ((nk_u64x16)b & ~mask));
}

#undef NK_TREE
#undef NK_ADD
#endif

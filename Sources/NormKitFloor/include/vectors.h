/* Sixteen lanes: the vocabulary of vector instructions that the kernels are written in.
 *
 * Every kernel works on sixteen logical lanes, whatever the width of the registers; that is what makes results
 * the same on every instruction set. The types below are imported by Swift as SIMD16<Float> and SIMD16<Double>.
 * Swift's own additions and multiplications of them are vector instructions. What is here it does not have, or as
 * loops over lanes, which compile to long scalar sequences or to functions that the linker would share between
 * modules compiled for different processors. Each function here is one vector operation, and is always inlined.
 *
 * No function that Swift calls returns a vector: Swift takes returned vectors apart into registers of four lanes,
 * and the optimizer does not always put them together again. They change the vector at `p`, or write one to `v`. */
#ifndef NORMKIT_VECTORS_H
#define NORMKIT_VECTORS_H

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define NK_INLINE static inline __attribute__((always_inline, unused))

typedef float nk_f32x8 __attribute__((vector_size(32)));
typedef float nk_f32x16 __attribute__((vector_size(64)));
typedef double nk_f64x16 __attribute__((vector_size(128)));
typedef double nk_f64x8 __attribute__((vector_size(64)));
typedef uint16_t nk_u16x16 __attribute__((vector_size(32)));
typedef uint16_t nk_u16x32 __attribute__((vector_size(64)));
typedef uint32_t nk_u32x8 __attribute__((vector_size(32)));
typedef uint32_t nk_u32x16 __attribute__((vector_size(64)));
typedef int32_t nk_i32x16 __attribute__((vector_size(64)));
typedef uint64_t nk_u64x16 __attribute__((vector_size(128)));
typedef int64_t nk_i64x16 __attribute__((vector_size(128)));

/* The same in Swift's memory, which is aligned to 16 at most. */
typedef nk_f32x16 nk_f32x16_there __attribute__((aligned(8), may_alias));
typedef nk_f64x16 nk_f64x16_there __attribute__((aligned(8), may_alias));
typedef nk_u32x16 nk_u32x16_there __attribute__((aligned(8), may_alias));

/* Whether there are registers for several vectors at once. Where there are not, one vector of sixteen lanes is four
 * registers, and hides the latency of additions by itself. */
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

/* Whether a * b + c is rounded once. Without the instruction, that would be a call of fmaf per lane, 20 to 40 times
 * slower. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
enum { NK_HAS_FMA = 1 };
#else
enum { NK_HAS_FMA = 0 };
#endif

/* ---- Between f32 and f64 ------------------------------------------------------------------------------ */

NK_INLINE void nk_widen(nk_f32x16 v, void *wide) {
    *(nk_f64x16_there *)wide = __builtin_convertvector(v, nk_f64x16);
}
NK_INLINE void nk_narrow(nk_f64x16 v, void *narrow) {
    *(nk_f32x16_there *)narrow = __builtin_convertvector(v, nk_f32x16);
}

/* ---- Arithmetic, where Swift's own is not always put together to vectors ------------------------------- */

#define NK_ARITHMETIC(type)                                                                                   \
    NK_INLINE void nk_add_##type(void *p, nk_##type##x16 b) { *(nk_##type##x16_there *)p += b; }               \
    NK_INLINE void nk_subtract_##type(void *p, nk_##type##x16 b) { *(nk_##type##x16_there *)p -= b; }          \
    NK_INLINE void nk_multiply_##type(void *p, nk_##type##x16 b) { *(nk_##type##x16_there *)p *= b; }
NK_ARITHMETIC(f32)
NK_ARITHMETIC(f64)
#undef NK_ARITHMETIC

/* ---- Magnitudes --------------------------------------------------------------------------------------- */

NK_INLINE void nk_abs_f32(void *p) {
    nk_f32x16_there *v = p;
    *v = (nk_f32x16)((nk_u32x16)*v & 0x7fffffffu);
}
NK_INLINE void nk_abs_f64(void *p) {
    nk_f64x16_there *v = p;
    *v = (nk_f64x16)((nk_u64x16)*v & 0x7fffffffffffffffull);
}

/* The larger of two magnitudes, both without a sign. Their bits are compared as integers, which orders NaN above
 * infinity, so that a NaN wins and is not lost. */
NK_INLINE void nk_max_f32(void *p, nk_f32x16 b) {
    nk_f32x16_there *a = p;
    *a = (nk_f32x16)__builtin_elementwise_max((nk_u32x16)*a, (nk_u32x16)b);
}
NK_INLINE void nk_max_f64(void *p, nk_f64x16 b) {
    nk_f64x16_there *a = p;
    *a = (nk_f64x16)__builtin_elementwise_max((nk_u64x16)*a, (nk_u64x16)b);
}

/* 1 or -1 with the sign of v, 0 for zeros, NaN for NaN. */
NK_INLINE void nk_sign_f32(void *p) {
    nk_f32x16_there *v = p;
    nk_u32x16 is_nan = (nk_u32x16)(*v != *v);
    nk_u32x16 sign = (nk_u32x16)__builtin_convertvector((*v < 0) - (*v > 0), nk_f32x16);
    *v = (nk_f32x16)(((nk_u32x16)*v & is_nan) | (sign & ~is_nan));
}
NK_INLINE void nk_sign_f64(void *p) {
    nk_f64x16_there *v = p;
    nk_u64x16 is_nan = (nk_u64x16)(*v != *v);
    nk_u64x16 sign = (nk_u64x16)__builtin_convertvector((*v < 0) - (*v > 0), nk_f64x16);
    *v = (nk_f64x16)(((nk_u64x16)*v & is_nan) | (sign & ~is_nan));
}

/* 1 where the magnitude of v is `magnitude` or more, 0 elsewhere. */
NK_INLINE void nk_reaches_f32(void *p, nk_f32x16 magnitude) {
    nk_f32x16_there *v = p;
    nk_abs_f32(v);
    *v = __builtin_convertvector(-(*v >= magnitude), nk_f32x16);
}
NK_INLINE void nk_reaches_f64(void *p, nk_f64x16 magnitude) {
    nk_f64x16_there *v = p;
    nk_abs_f64(v);
    *v = __builtin_convertvector(-(*v >= magnitude), nk_f64x16);
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

/* Asks for what stands at p, which need not be there, to be brought to the second-level cache. */
NK_INLINE void nk_prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }
/* The same to the first, because it will be written. */
NK_INLINE void nk_prefetch_to_write(void *p) { __builtin_prefetch(p, 1, 3); }

/* ---- Storing whole vectors past the caches: p is a multiple of 64 bytes -------------------------------- */

NK_INLINE void nk_stream_f32(void *p, nk_f32x16 v) { __builtin_nontemporal_store(v, (nk_f32x16 *)p); }
NK_INLINE void nk_stream_f64(void *p, nk_f64x16 v) {
    typedef nk_f64x16 at_line __attribute__((aligned(64)));
    __builtin_nontemporal_store(v, (at_line *)p);
}

/* Such stores are not ordered with others until this. */
NK_INLINE void nk_finish_streams(void) {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

/* ---- Loading and storing the first `count` lanes, 0 < count <= 16; loaded lanes behind them are 0 --------- */

#if defined(__AVX512BW__) && defined(__AVX512VL__)
NK_INLINE void nk_load_part_f32(const void *p, int64_t count, void *v) {
    *(nk_f32x16_there *)v = (nk_f32x16)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
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
NK_INLINE void nk_load_part_f64(const void *p, int64_t count, void *v) {
    unsigned mask = (1u << count) - 1u;
    nk_f64x8 low = (nk_f64x8)_mm512_maskz_loadu_pd((__mmask8)mask, p);
    nk_f64x8 high = (nk_f64x8)_mm512_maskz_loadu_pd((__mmask8)(mask >> 8), (const double *)p + 8);
    *(nk_f64x16_there *)v = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
NK_INLINE void nk_store_part_f64(void *p, int64_t count, nk_f64x16 v) {
    unsigned mask = (1u << count) - 1u;
    _mm512_mask_storeu_pd(p, (__mmask8)mask, (__m512d)__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7));
    _mm512_mask_storeu_pd((double *)p + 8, (__mmask8)(mask >> 8),
                          (__m512d)__builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#else
/* Sixteen, eight, four, two, one elements. Called: inlined everywhere, this would be larger than the kernels around
 * it. */
#define NK_COPY_PART(name, element)                                                                           \
    static __attribute__((noinline, unused)) void name(char *to, const char *from, int64_t count) {           \
        for (int step = 16; step > 0; step /= 2)                                                              \
            if (count & step) {                                                                               \
                memcpy(to, from, (size_t)step * sizeof(element));                                             \
                to += step * (int64_t)sizeof(element);                                                        \
                from += step * (int64_t)sizeof(element);                                                      \
            }                                                                                                 \
    }
NK_COPY_PART(nk_copy_part_u16, uint16_t)
NK_COPY_PART(nk_copy_part_f32, float)
NK_COPY_PART(nk_copy_part_f64, double)
#undef NK_COPY_PART

#if defined(__AVX2__)
/* Stores by a mask are slow on AMD's processors, and are not used. */
NK_INLINE __m256i nk_mask8(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
NK_INLINE void nk_load_part_f32(const void *p, int64_t count, void *v) {
    typedef float f32x8 __attribute__((vector_size(32)));
    f32x8 low = (f32x8)_mm256_maskload_ps(p, nk_mask8(count));
    f32x8 high = (f32x8)_mm256_maskload_ps((const float *)p + 8, nk_mask8(count - 8));
    *(nk_f32x16_there *)v = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
#else
NK_INLINE void nk_load_part_f32(const void *p, int64_t count, void *v) {
    nk_f32x16 loaded = {0};
    nk_copy_part_f32((char *)&loaded, p, count);
    *(nk_f32x16_there *)v = loaded;
}
#endif
NK_INLINE void nk_store_part_f32(void *p, int64_t count, nk_f32x16 v) { nk_copy_part_f32(p, (const char *)&v, count); }
NK_INLINE nk_u16x16 nk_load_part_u16(const void *p, int64_t count) {
    nk_u16x16 h = {0};
    nk_copy_part_u16((char *)&h, p, count);
    return h;
}
NK_INLINE void nk_store_part_u16(void *p, int64_t count, nk_u16x16 v) { nk_copy_part_u16(p, (const char *)&v, count); }
NK_INLINE void nk_load_part_f64(const void *p, int64_t count, void *v) {
    nk_f64x16 loaded = {0};
    nk_copy_part_f64((char *)&loaded, p, count);
    *(nk_f64x16_there *)v = loaded;
}
NK_INLINE void nk_store_part_f64(void *p, int64_t count, nk_f64x16 v) { nk_copy_part_f64(p, (const char *)&v, count); }
#endif

/* Square root, exact; __builtin_sqrt would call libm to have errno set. */
NK_INLINE double nk_sqrt(double v) { return __builtin_elementwise_sqrt(v); }

/* ---- Choosing lanes ------------------------------------------------------------------------------------ */

/* Keeps the first `count` lanes of v, and takes those behind them from `fill`. */
NK_INLINE void nk_fill_f32(void *p, int64_t count, nk_f32x16 fill) {
    nk_f32x16_there *v = p;
    const nk_i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    nk_u32x16 keep = (nk_u32x16)(lane < (int32_t)count);
    *v = (nk_f32x16)(((nk_u32x16)*v & keep) | ((nk_u32x16)fill & ~keep));
}
NK_INLINE void nk_fill_f64(void *p, int64_t count, nk_f64x16 fill) {
    nk_f64x16_there *v = p;
    const nk_i64x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    nk_u64x16 keep = (nk_u64x16)(lane < count);
    *v = (nk_f64x16)(((nk_u64x16)*v & keep) | ((nk_u64x16)fill & ~keep));
}

/* Replaces lanes of v by those of `by` where `choose` is not 0. */
NK_INLINE void nk_replace_f64(void *p, nk_f64x16 choose, nk_f64x16 by) {
    nk_f64x16_there *v = p;
    nk_u64x16 mask = (nk_u64x16)(choose != 0.0);
    *v = (nk_f64x16)(((nk_u64x16)by & mask) | ((nk_u64x16)*v & ~mask));
}

#undef NK_TREE
#undef NK_ADD
#endif

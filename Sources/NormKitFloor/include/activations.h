/* What activation functions need beside the vocabulary of vectors.h, in the same form: comparisons, signs and
 * exponents of sixteen lanes, which change the vector at `p`. */
#ifndef NORMKIT_ACTIVATIONS_H
#define NORMKIT_ACTIVATIONS_H

#include "vectors.h"

/* a where the lanes of `condition`, the result of a comparison, hold, else b. */
#define NK_WHERE(bits, condition, a, b)                                                                       \
    (__typeof__(a))(((bits)(condition) & (bits)(a)) | (~(bits)(condition) & (bits)(b)))

#define NK_ACTIVATION_PRIMITIVES(type, lanes, lanes_there, bits, sign_bit, mantissa)                          \
    /* The smaller, or the larger, of v and a limit. NaN stays NaN, and a zero the zero that it is. */        \
    NK_INLINE void nk_at_most_##type(void *p, lanes limit) {                                                  \
        lanes_there *v = p;                                                                                   \
        *v = NK_WHERE(bits, limit < *v, limit, *v);                                                           \
    }                                                                                                         \
    NK_INLINE void nk_at_least_##type(void *p, lanes limit) {                                                 \
        lanes_there *v = p;                                                                                   \
        *v = NK_WHERE(bits, limit > *v, limit, *v);                                                           \
    }                                                                                                         \
    /* `other` where v is negative, that is, less than 0. */                                                  \
    NK_INLINE void nk_where_negative_##type(void *p, lanes other) {                                           \
        lanes_there *v = p;                                                                                   \
        *v = NK_WHERE(bits, *v < 0, other, *v);                                                               \
    }                                                                                                         \
    /* 0 where v is less than 0, else 1. */                                                                   \
    NK_INLINE void nk_step_##type(void *p) {                                                                  \
        lanes_there *v = p;                                                                                   \
        lanes zero = {0};                                                                                     \
        *v = NK_WHERE(bits, *v < 0, zero, zero + 1);                                                          \
    }                                                                                                         \
    NK_INLINE void nk_negate_##type(void *p) {                                                                \
        lanes_there *v = p;                                                                                   \
        *v = -*v;                                                                                             \
    }                                                                                                         \
    NK_INLINE void nk_copy_sign_##type(void *p, lanes signs) {                                                \
        lanes_there *v = p;                                                                                   \
        *v = (lanes)(((bits)*v & ~sign_bit) | ((bits)signs & sign_bit));                                      \
    }                                                                                                         \
    /* The number whose exponent field is the low bits of v. */                                               \
    NK_INLINE void nk_exponent_##type(void *p) {                                                              \
        lanes_there *v = p;                                                                                   \
        *v = (lanes)((bits)*v << mantissa);                                                                   \
    }

NK_ACTIVATION_PRIMITIVES(f32, nk_f32x16, nk_f32x16_there, nk_u32x16, 0x80000000u, 23)
NK_ACTIVATION_PRIMITIVES(f64, nk_f64x16, nk_f64x16_there, nk_u64x16, 0x8000000000000000ull, 52)
#undef NK_ACTIVATION_PRIMITIVES

/* The number of the half octave of v: twice its exponent, and 1 more in the upper half of the octave. */
NK_INLINE void nk_half_octave_f32(void *p) { *(nk_u32x16_there *)p >>= 22; }

/* For each lane the entry of a table that the last three bits of v say. */
#if defined(__AVX512F__)
NK_INLINE void nk_look_up_f32(void *p, nk_f32x8 table) {
    nk_f32x16 twice = __builtin_shufflevector(table, table, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    *(nk_f32x16_there *)p = (nk_f32x16)_mm512_permutexvar_ps(*(__m512i_u *)p, (__m512)twice);
}
#elif defined(__AVX2__)
NK_INLINE void nk_look_up_f32(void *p, nk_f32x8 table) {
    __m256i_u *v = p;
    for (int i = 0; i < 2; i++) v[i] = (__m256i)_mm256_permutevar8x32_ps((__m256)table, v[i]);
}
#elif defined(__aarch64__)
NK_INLINE void nk_look_up_f32(void *p, nk_f32x8 table) {
    typedef uint32_t four __attribute__((vector_size(16), aligned(8), may_alias));
    uint8x16x2_t bytes;
    memcpy(&bytes, &table, sizeof bytes);
    four *v = p;
    /* An index of a number is turned to those of its four bytes. */
    for (int i = 0; i < 4; i++) v[i] = (four)vqtbl2q_u8(bytes, (uint8x16_t)((v[i] & 7) * 0x04040404u + 0x03020100u));
}
#else
/* Called: where elements are looked up one by one, it is much code. */
static __attribute__((noinline, unused)) void nk_find_entries_f32(void *p, const nk_f32x8 *table) {
    nk_u32x16_there *v = p;
    nk_f32x16 found;
    for (int i = 0; i < 16; i++) found[i] = (*table)[(*v)[i] & 7];
    *(nk_f32x16_there *)p = found;
}
NK_INLINE void nk_look_up_f32(void *p, nk_f32x8 table) { nk_find_entries_f32(p, &table); }
#endif

/* What a product lost by rounding, p = a * b - product, where there is no instruction that rounds it once. Called: in
 * the registers of such processors this is much code. */
static __attribute__((noinline, unused)) void nk_find_product_error_f32(void *p, const void *a, const void *b) {
    const nk_f32x16_there *left = a, *right = b;
    nk_f32x16_there *product = p;
    nk_f64x16 exact = __builtin_convertvector(*left, nk_f64x16) * __builtin_convertvector(*right, nk_f64x16);
    *product = __builtin_convertvector(exact - __builtin_convertvector(*product, nk_f64x16), nk_f32x16);
}
/* By Dekker's halves; a and b are less than 2^996. */
static __attribute__((noinline, unused)) void nk_find_product_error_f64(void *p, const void *a, const void *b) {
    typedef double f64x2 __attribute__((vector_size(16), aligned(8), may_alias));
    f64x2 *product = p;
    for (int i = 0; i < 8; i++) {
        f64x2 x = ((const f64x2 *)a)[i], y = ((const f64x2 *)b)[i];
        f64x2 x_shift = x * 0x1p27 + x, y_shift = y * 0x1p27 + y;
        f64x2 x_high = x_shift - (x_shift - x), y_high = y_shift - (y_shift - y);
        f64x2 x_low = x - x_high, y_low = y - y_high;
        product[i] = ((x_high * y_high - product[i]) + x_high * y_low + x_low * y_high) + x_low * y_low;
    }
}
NK_INLINE void nk_product_error_f32(void *p, nk_f32x16 a, nk_f32x16 b) { nk_find_product_error_f32(p, &a, &b); }
NK_INLINE void nk_product_error_f64(void *p, nk_f64x16 a, nk_f64x16 b) { nk_find_product_error_f64(p, &a, &b); }

#endif

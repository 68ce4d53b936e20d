/* Halves: numbers of 16 bits, bfloat16 and binary16, as sixteen lanes of f32. */
#ifndef NORMKIT_HALVES_H
#define NORMKIT_HALVES_H

#include "vectors.h"

/* ---- Conversion --------------------------------------------------------------------------------------- */

/* bfloat16 is the upper half of a binary32; rounding is to nearest, ties to even. A NaN has to be quiet, as results of
 * arithmetic are, and stays one, because nothing is added to it. */
NK_INLINE void nk_from_bf16(nk_u16x16 h, void *v) {
    *(nk_f32x16_there *)v = (nk_f32x16)(__builtin_convertvector(h, nk_u32x16) << 16);
}
#if defined(__x86_64__)
/* Whether there is an instruction for that, which only some of the processors with AVX-512 have. Set when the
 * instruction set is chosen. */
extern __attribute__((visibility("hidden"))) _Bool nk_converts_bf16;
enum { NK_SUBNORMAL = 0x20 };
#endif
NK_INLINE nk_u16x16 nk_to_bf16(nk_f32x16 v) {
#if defined(__AVX512F__)
    if (__atomic_load_n(&nk_converts_bf16, __ATOMIC_RELAXED)) {
        nk_u16x16 h;
        __asm__("vcvtneps2bf16 %1, %0" : "=v"(h) : "v"(v));
        /* It takes subnormal numbers for zeros. */
        if (__builtin_expect(_mm512_fpclass_ps_mask((__m512)v, NK_SUBNORMAL) == 0, 1)) return h;
    }
#endif
    nk_u32x16 u = (nk_u32x16)v, is_nan = (nk_u32x16)(v != v);
    nk_u32x16 rounded = u + ((((u >> 16) & 1u) + 0x7fffu) & ~is_nan);
    return __builtin_convertvector(rounded >> 16, nk_u16x16);
}

/* The same with the elements in mixed order: those with even indices, then those with odd ones. They lie in the lower
 * and upper halves of words of 32 bits, so that nothing has to be moved between lanes, and are rounded as halves, all
 * by one instruction. Of x86-64, a vector is mixed; with AVX-512, two are, and a single one is not. */
#if defined(__x86_64__) && !defined(__AVX512F__)
#define NK_MIX(v) __builtin_shufflevector(v, v, 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)
#define NK_UNMIX_LOW(a, b) __builtin_shufflevector(a, a, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15)
#define NK_UNMIX_HIGH(a, b) NK_UNMIX_LOW(b, a)
#define NK_BLEND(a, b)                                                                                        \
    __builtin_shufflevector((nk_u16x16)(a), (nk_u16x16)(b), 0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12,   \
                            29, 14, 31)
typedef nk_u32x8 nk_words;
typedef nk_u16x16 nk_word_halves;
#else
#define NK_MIX(v) (v)
#if defined(__AVX512F__)
#define NK_UNMIX_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define NK_UNMIX_HIGH(a, b) \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define NK_UNMIX_LOW(a, b) (a)
#define NK_UNMIX_HIGH(a, b) (b)
#endif
#define NK_BLEND(a, b)                                                                                        \
    __builtin_shufflevector((nk_u16x32)(a), (nk_u16x32)(b), 0, 33, 2, 35, 4, 37, 6, 39, 8, 41, 10, 43, 12, 45,  \
                            14, 47, 16, 49, 18, 51, 20, 53, 22, 55, 24, 57, 26, 59, 28, 61, 30, 63)
typedef nk_u32x16 nk_words;
typedef nk_u16x32 nk_word_halves;
#endif
NK_INLINE nk_word_halves nk_round_words(nk_words even, nk_words odd) {
    nk_word_halves upper = NK_BLEND(even >> 16, odd), lower = NK_BLEND(even, odd << 16);
    /* Without its sign, a quiet NaN is 0x7fc0 or more. Twice that less an odd number is odd; less than nothing is 0. */
    const nk_word_halves below_nan = (nk_word_halves){0} + (uint16_t)0xff7f;
    nk_word_halves is_nan = __builtin_elementwise_sub_sat(upper + upper, below_nan), is_even = ~upper & 1;
    lower = __builtin_elementwise_sub_sat(lower, is_nan << 15);
    return upper + (__builtin_elementwise_sub_sat(lower, is_even) >> 15);
}
#undef NK_BLEND

#if defined(__x86_64__) && !defined(__AVX512F__)
NK_INLINE void nk_from_mixed_bf16(nk_u16x16 h, void *v) {
    nk_u32x8 pairs = (nk_u32x8)h, even = pairs << 16, odd = pairs & 0xffff0000u;
    *(nk_u32x16_there *)v =
        __builtin_shufflevector(even, odd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
NK_INLINE nk_u16x16 nk_to_mixed_bf16(nk_f32x16 v) {
    nk_u32x16 u = (nk_u32x16)v;
    return nk_round_words(__builtin_shufflevector(u, u, 0, 1, 2, 3, 4, 5, 6, 7),
                          __builtin_shufflevector(u, u, 8, 9, 10, 11, 12, 13, 14, 15));
}
#else
NK_INLINE void nk_from_mixed_bf16(nk_u16x16 h, void *v) { nk_from_bf16(h, v); }
NK_INLINE nk_u16x16 nk_to_mixed_bf16(nk_f32x16 v) { return nk_to_bf16(v); }
#endif

#if defined(__AVX512F__)
/* Thirty-two by one instruction, in their own order. Returns whether it could. */
NK_INLINE _Bool nk_convert_pair_bf16(nk_f32x16 first, nk_f32x16 second, nk_u16x32 *halves) {
    if (__builtin_expect(!__atomic_load_n(&nk_converts_bf16, __ATOMIC_RELAXED), 0)) return 0;
    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(*halves) : "v"(second), "v"(first));
    __mmask16 subnormal = _mm512_fpclass_ps_mask((__m512)first, NK_SUBNORMAL) |
                          _mm512_fpclass_ps_mask((__m512)second, NK_SUBNORMAL);
    return subnormal == 0;
}
#endif

#define NK_INTERLEAVE(a, b)                                                                                   \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11,  \
                            27, 12, 28, 13, 29, 14, 30, 15, 31)
NK_INLINE nk_u16x32 nk_to_two_bf16(nk_f32x16 even, nk_f32x16 odd) {
#if defined(__AVX512F__)
    nk_u16x32 v;
    if (__builtin_expect(nk_convert_pair_bf16(even, odd, &v), 1)) return NK_INTERLEAVE(v, v);
    return nk_round_words((nk_u32x16)even, (nk_u32x16)odd);
#else
    nk_u16x16 even_halves = nk_to_bf16(even), odd_halves = nk_to_bf16(odd);
    return NK_INTERLEAVE(even_halves, odd_halves);
#endif
}
#undef NK_INTERLEAVE

/* Brings lanes to mixed order. */
NK_INLINE void nk_mix_f32(void *p) { *(nk_f32x16_there *)p = NK_MIX(*(nk_f32x16_there *)p); }
NK_INLINE void nk_mix_f64(void *p) { *(nk_f64x16_there *)p = NK_MIX(*(nk_f64x16_there *)p); }

#if defined(__F16C__) || defined(__aarch64__)
typedef _Float16 nk_f16x16 __attribute__((vector_size(32)));
NK_INLINE void nk_from_f16(nk_u16x16 h, void *v) {
    *(nk_f32x16_there *)v = __builtin_convertvector((nk_f16x16)h, nk_f32x16);
}
NK_INLINE nk_u16x16 nk_to_f16(nk_f32x16 v) {
    nk_u16x16 h = (nk_u16x16)__builtin_convertvector(v, nk_f16x16);
#if defined(__AVX512F__)
    /* Stored by an instruction of its own, because to convert into memory takes twice as long. */
    __asm__("" : "+v"(h));
#endif
    return h;
}
#else
/* Without conversion instructions, this is too much code to be inlined everywhere; see half.c. */
void nk_sixteen_from_f16(const nk_u16x16 *h, nk_f32x16 *v);
void nk_sixteen_to_f16(const nk_f32x16 *v, nk_u16x16 *h);
NK_INLINE void nk_from_f16(nk_u16x16 h, void *v) {
    nk_f32x16 wide;
    nk_sixteen_from_f16(&h, &wide);
    *(nk_f32x16_there *)v = wide;
}
NK_INLINE nk_u16x16 nk_to_f16(nk_f32x16 v) {
    nk_u16x16 h;
    nk_sixteen_to_f16(&v, &h);
    return h;
}
#endif

NK_INLINE nk_u16x16 nk_load_u16(const void *p) {
    nk_u16x16 h;
    memcpy(&h, p, sizeof h);
    return h;
}

/* ---- Loading and storing: whole vectors, past the caches to a multiple of 32 bytes, and parts ------------ */

#define NK_HALVES(type)                                                                                       \
    NK_INLINE void nk_load_##type(const void *p, void *v) { nk_from_##type(nk_load_u16(p), v); }               \
    NK_INLINE void nk_store_##type(void *p, nk_f32x16 v) {                                                    \
        nk_u16x16 h = nk_to_##type(v);                                                                        \
        memcpy(p, &h, sizeof h);                                                                              \
    }                                                                                                         \
    NK_INLINE void nk_stream_##type(void *p, nk_f32x16 v) {                                                   \
        __builtin_nontemporal_store(nk_to_##type(v), (nk_u16x16 *)p);                                         \
    }                                                                                                         \
    NK_INLINE void nk_load_part_##type(const void *p, int64_t count, void *v) {                               \
        nk_from_##type(nk_load_part_u16(p, count), v);                                                        \
    }                                                                                                         \
    NK_INLINE void nk_store_part_##type(void *p, int64_t count, nk_f32x16 v) {                                \
        nk_store_part_u16(p, count, nk_to_##type(v));                                                         \
    }
NK_HALVES(f16)
NK_HALVES(bf16)
NK_HALVES(mixed_bf16)
#undef NK_HALVES

/* Thirty-two of mixed order. */
NK_INLINE void nk_load_two_bf16(const void *p, void *even, void *odd) {
    nk_u32x16 words;
    memcpy(&words, p, sizeof words);
    *(nk_u32x16_there *)even = words << 16;
    *(nk_u32x16_there *)odd = words & 0xffff0000u;
}
/* Thirty-two in their own order. */
NK_INLINE nk_u16x32 nk_to_pair_bf16(nk_f32x16 first, nk_f32x16 second) {
    nk_u16x32 v;
#if defined(__AVX512F__)
    if (__builtin_expect(nk_convert_pair_bf16(first, second, &v), 1)) return v;
    v = nk_round_words((nk_u32x16)first, (nk_u32x16)second);
    return __builtin_shufflevector(v, v, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 1, 3, 5, 7, 9, 11,
                                   13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#else
    nk_u16x16 halves[2] = {nk_to_bf16(first), nk_to_bf16(second)};
    memcpy(&v, halves, sizeof v);
    return v;
#endif
}
/* Either; past the caches to a multiple of 64 bytes. */
#define NK_THIRTY_TWO(order)                                                                                  \
    NK_INLINE void nk_store_##order##_bf16(void *p, nk_f32x16 first, nk_f32x16 second) {                      \
        nk_u16x32 h = nk_to_##order##_bf16(first, second);                                                    \
        memcpy(p, &h, sizeof h);                                                                              \
    }                                                                                                         \
    NK_INLINE void nk_stream_##order##_bf16(void *p, nk_f32x16 first, nk_f32x16 second) {                     \
        __builtin_nontemporal_store(nk_to_##order##_bf16(first, second), (nk_u16x32 *)p);                     \
    }
NK_THIRTY_TWO(two)
NK_THIRTY_TWO(pair)
#undef NK_THIRTY_TWO

/* Brings 32 values to mixed order. */
NK_INLINE void nk_mix_two_f32(void *p) {
    nk_f32x16_there *v = p;
    nk_f32x16 low = v[0], high = v[1];
    v[0] = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    v[1] = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
NK_INLINE void nk_mix_two_f64(void *p) {
    nk_f64x16_there *v = p;
    nk_f64x16 low = v[0], high = v[1];
    v[0] = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    v[1] = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

/* Keeps the compiler from computing halves of a vector one by one, because of what is done to them afterwards. */
#if defined(__AVX512F__)
#define NK_WHOLE_REGISTER(v) __asm__("" : "+v"(v))
#else
#define NK_WHOLE_REGISTER(v) (void)0
#endif

/* Brings two vectors of values back from that order; where a single vector is mixed, each. */
NK_INLINE void nk_unmix_f32(void *a, void *b) {
    nk_f32x16 first = *(nk_f32x16_there *)a, second = *(nk_f32x16_there *)b;
    NK_WHOLE_REGISTER(first);
    NK_WHOLE_REGISTER(second);
    *(nk_f32x16_there *)a = NK_UNMIX_LOW(first, second);
    *(nk_f32x16_there *)b = NK_UNMIX_HIGH(first, second);
}
NK_INLINE void nk_unmix_f64(void *a, void *b) {
    nk_f64x16 first = *(nk_f64x16_there *)a, second = *(nk_f64x16_there *)b;
    *(nk_f64x16_there *)a = NK_UNMIX_LOW(first, second);
    *(nk_f64x16_there *)b = NK_UNMIX_HIGH(first, second);
}

/* One element. */
NK_INLINE float nk_value_f16(const void *p) {
#if defined(__F16C__) || defined(__aarch64__)
    _Float16 h;
    memcpy(&h, p, sizeof h);
    return (float)h;
#else
    nk_f32x16 v;
    nk_load_part_f16(p, 1, &v);
    return v[0];
#endif
}

#undef NK_MIX
#undef NK_UNMIX_LOW
#undef NK_UNMIX_HIGH
#endif

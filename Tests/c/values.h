/* Pseudo-random numbers that are made of bits, and so the same for every compiler and machine. */
#ifndef VALUES_H
#define VALUES_H

#include <normkit.h>
#include <stddef.h>
#include <string.h>

static uint64_t random_state = 0x9e3779b97f4a7c15u;    /* never 0 */

static inline uint64_t random_bits(void)
{
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return random_state;
}

/* Size of an element in bytes; 8, the largest, for what is no dtype. */
static inline size_t element_size(int32_t dtype)
{
    if (dtype == NORMKIT_I8 || dtype == NORMKIT_U8)
        return 1;
    return dtype == NORMKIT_F32 ? 4 : dtype == NORMKIT_F16 || dtype == NORMKIT_BF16 ? 2 : 8;
}

static inline int32_t statistics_type(int32_t dtype) { return dtype == NORMKIT_F64 ? NORMKIT_F64 : NORMKIT_F32; }

/* Values in [1/8, 8), of both signs unless `positive`. */
static inline void fill(int32_t dtype, void *values, int64_t count, int positive)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = random_bits(), sign = positive ? 0 : bits >> 63, exponent = (bits >> 56) % 6;
        uint64_t f64 = sign << 63 | (1020 + exponent) << 52 | (bits & 0xfffffffffffff);
        uint32_t f32 = (uint32_t)(sign << 31 | (124 + exponent) << 23 | (bits & 0x7fffff));
        uint16_t f16 = (uint16_t)(sign << 15 | (12 + exponent) << 10 | (bits & 0x3ff));
        uint16_t bf16 = (uint16_t)(f32 >> 16);
        const void *one = dtype == NORMKIT_F32 ? (void *)&f32 : dtype == NORMKIT_F16 ? (void *)&f16
                          : dtype == NORMKIT_BF16 ? (void *)&bf16 : (void *)&f64;
        memcpy((char *)values + (size_t)i * element_size(dtype), one, element_size(dtype));
    }
}

#endif

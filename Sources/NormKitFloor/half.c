#include "halves.h"

#if !defined(__F16C__) && !defined(__aarch64__)

/* binary16 without conversion instructions. Up: the exponent is moved over as it is and corrected by an exact
 * multiplication by 2^112, which also normalizes subnormals. Down: adding and subtracting a magic number rounds
 * to the spacing of the result, to nearest, ties to even. */
void nk_sixteen_from_f16(const nk_u16x16 *h, nk_f32x16 *v) {
    nk_u32x16 u = __builtin_convertvector(*h, nk_u32x16);
    nk_u32x16 sign = (u & 0x8000u) << 16;
    nk_u32x16 magnitude = (u & 0x7fffu) << 13;
    nk_f32x16 value = (nk_f32x16)magnitude * 0x1p112f;
    nk_u32x16 special = (nk_u32x16)((u & 0x7c00u) == 0x7c00u);
    nk_u32x16 quiet = (nk_u32x16)((u & 0x7fffu) > 0x7c00u) & 0x00400000u;
    nk_u32x16 bits = ((nk_u32x16)value & ~special) | ((magnitude | 0x7f800000u | quiet) & special);
    *v = (nk_f32x16)(bits | sign);
}

void nk_sixteen_to_f16(const nk_f32x16 *v, nk_u16x16 *h) {
    nk_u32x16 u = (nk_u32x16)*v;
    nk_u32x16 sign = (u >> 16) & 0x8000u;
    nk_u32x16 magnitude = u & 0x7fffffffu;
    nk_u32x16 is_nan = (nk_u32x16)(magnitude > 0x7f800000u);
    nk_u32x16 is_large = (nk_u32x16)(magnitude >= 0x477ff000u);            /* rounds to infinity */
    nk_u32x16 is_small = (nk_u32x16)(magnitude < 0x38800000u);             /* subnormal result */
    nk_u32x16 normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    nk_u32x16 subnormal = (nk_u32x16)((nk_f32x16)magnitude + 0.5f) - 0x3f000000u;
    nk_u32x16 finite = (normal & ~is_small) | (subnormal & is_small);
    nk_u32x16 nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
    nk_u32x16 bits = (finite & ~is_large) | (0x7c00u & is_large & ~is_nan) | (nan & is_nan);
    *h = __builtin_convertvector(bits | sign, nk_u16x16);
}

#endif

/* Four numbers in f64: what is made of the sums of four sets, side by side. They are changed where they are, as sixteen
 * lanes are in vectors.h. */
#ifndef NORMKIT_FOURS_H
#define NORMKIT_FOURS_H

#include "vectors.h"

typedef double nk_f64x4 __attribute__((vector_size(32)));
typedef int64_t nk_i64x4 __attribute__((vector_size(32)));
typedef nk_f64x4 nk_f64x4_there __attribute__((aligned(8), may_alias));
typedef float nk_f32x4_there __attribute__((vector_size(16), aligned(4), may_alias));

/* ---- Sums --------------------------------------------------------------------------------------------- */

/* Four vectors are added up in two steps, by the tree 16 -> 8 -> 4 -> 2 -> 1. After its first addition the tree is in
 * f64, so that what was added to nothing but zeros is exact. The first step leaves four numbers of a vector ... */
NK_INLINE void nk_fold_f32(nk_f32x16 v, void *folded) {
    __auto_type eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                        __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    *(nk_f64x4_there *)folded =
        __builtin_convertvector(__builtin_shufflevector(eight, eight, 0, 1, 2, 3), nk_f64x4) +
        __builtin_convertvector(__builtin_shufflevector(eight, eight, 4, 5, 6, 7), nk_f64x4);
}
/* ... and the second makes a vector of the sums of four such. */
NK_INLINE void nk_sum_folded(const void *folded, void *sums) {
    const nk_f64x4_there *v = folded;
    nk_f64x4 ac = __builtin_shufflevector(v[0], v[2], 0, 1, 4, 5) + __builtin_shufflevector(v[0], v[2], 2, 3, 6, 7);
    nk_f64x4 bd = __builtin_shufflevector(v[1], v[3], 0, 1, 4, 5) + __builtin_shufflevector(v[1], v[3], 2, 3, 6, 7);
    *(nk_f64x4_there *)sums = __builtin_shufflevector(ac, bd, 0, 4, 2, 6) + __builtin_shufflevector(ac, bd, 1, 5, 3, 7);
}

/* ---- Between f32 and f64 ------------------------------------------------------------------------------ */

NK_INLINE void nk_get_four_f32(const void *numbers, void *p) {
    *(nk_f64x4_there *)p = __builtin_convertvector(*(const nk_f32x4_there *)numbers, nk_f64x4);
}
NK_INLINE void nk_put_four_f32(const void *p, void *numbers) {
    typedef float f32x4 __attribute__((vector_size(16)));
    *(nk_f32x4_there *)numbers = __builtin_convertvector(*(const nk_f64x4_there *)p, f32x4);
}
NK_INLINE void nk_round_to_f32(void *p) {
    nk_f32x4_there rounded;
    nk_put_four_f32(p, &rounded);
    nk_get_four_f32(&rounded, p);
}

/* ---- Arithmetic, questions, order ---------------------------------------------------------------------- */

/* 0 for what is negative. */
NK_INLINE void nk_floor_at_0(void *p) {
    nk_f64x4_there *v = p;
    *v = (nk_f64x4)((nk_i64x4)*v & ~(*v < 0));
}
/* 0 where `other` is 0. */
NK_INLINE void nk_clear_with(void *p, const void *other) {
    nk_f64x4_there *v = p;
    *v = (nk_f64x4)((nk_i64x4)*v & ~(*(const nk_f64x4_there *)other == 0));
}
/* 1 / v, but 0 for 0. */
NK_INLINE void nk_inverse(void *p) {
    nk_f64x4_there *v = p;
    *v = (nk_f64x4)((nk_i64x4)(1 / *v) & ~(*v == 0));
}
NK_INLINE void nk_negate(void *p) {
    nk_f64x4_there *v = p;
    *v = -*v;
}
NK_INLINE void nk_root(void *p) {
    nk_f64x4_there *v = p;
    *v = __builtin_elementwise_sqrt(*v);
}

/* Whether all are at least `least`, and finite. */
NK_INLINE _Bool nk_are_between(const void *p, double least) {
    const nk_f64x4_there *v = p;
    return __builtin_reduce_and((nk_i64x4)(*v >= least) & (*v < __builtin_inf())) != 0;
}
/* The same for the magnitudes of four floats, which are not larger than `most`. */
NK_INLINE _Bool nk_are_between_f32(const void *numbers, float least, float most) {
    __auto_type magnitude = __builtin_elementwise_abs(*(const nk_f32x4_there *)numbers);
    return __builtin_reduce_and((magnitude >= least) & (magnitude <= most)) != 0;
}
/* Whether some number of a is larger than its neighbour in b. */
NK_INLINE _Bool nk_exceed(const void *a, const void *b) {
    return __builtin_reduce_or(*(const nk_f64x4_there *)a > *(const nk_f64x4_there *)b) != 0;
}
/* Whether the magnitude of one of sixteen numbers is larger than `most`, or smaller than `least` and not 0. */
NK_INLINE _Bool nk_leave(const void *p, double least, double most) {
    const nk_f64x4_there *v = p;
    nk_i64x4 outside = {0};
    for (int i = 0; i < 4; i++) {
        nk_f64x4 magnitude = __builtin_elementwise_abs(v[i]);
        outside |= ((magnitude < least) & (magnitude != 0.0)) | (magnitude > most);
    }
    return __builtin_reduce_or(outside) != 0;
}
/* The transpose of four times four numbers. */
NK_INLINE void nk_transpose(const void *rows, void *columns) {
    const nk_f64x4_there *v = rows;
    nk_f64x4_there *to = columns;
    nk_f64x4 a = __builtin_shufflevector(v[0], v[1], 0, 4, 2, 6), b = __builtin_shufflevector(v[0], v[1], 1, 5, 3, 7);
    nk_f64x4 c = __builtin_shufflevector(v[2], v[3], 0, 4, 2, 6), d = __builtin_shufflevector(v[2], v[3], 1, 5, 3, 7);
    to[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    to[1] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    to[2] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    to[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}
/* Four pairs of a number of the first four and one of the second. */
NK_INLINE void nk_pair(const void *first, const void *second, void *pairs) {
    const nk_f64x4_there *a = first, *b = second;
    nk_f64x4_there *to = pairs;
    to[0] = __builtin_shufflevector(*a, *b, 0, 4, 1, 5);
    to[1] = __builtin_shufflevector(*a, *b, 2, 6, 3, 7);
}
/* The reverse. */
NK_INLINE void nk_unpair(const void *pairs, void *first, void *second) {
    const nk_f64x4_there *v = pairs;
    *(nk_f64x4_there *)first = __builtin_shufflevector(v[0], v[1], 0, 2, 4, 6);
    *(nk_f64x4_there *)second = __builtin_shufflevector(v[0], v[1], 1, 3, 5, 7);
}

#endif

/* Parameters that change nothing, for thirty-two elements: what stands in place of gamma and beta that are absent. */
#ifndef NORMKIT_NEUTRAL_H
#define NORMKIT_NEUTRAL_H

#include <stdint.h>

/* Ones, and negative zeros: what they are added to keeps its sign, even if it is 0. */
#define NK_NEUTRAL(name, type)                                                                                \
    extern const __attribute__((visibility("hidden"))) struct { type ones[32], zeros[32]; } nk_neutral_##name;  \
    static inline const void *_Nonnull nk_ones_##name(void) { return nk_neutral_##name.ones; }                 \
    static inline const void *_Nonnull nk_zeros_##name(void) { return nk_neutral_##name.zeros; }
NK_NEUTRAL(f32, float)
NK_NEUTRAL(f64, double)
NK_NEUTRAL(f16, uint16_t)
NK_NEUTRAL(bf16, uint16_t)
#undef NK_NEUTRAL

#endif

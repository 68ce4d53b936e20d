#include "neutral.h"

#define FOUR(value) value, value, value, value
#define THIRTY_TWO(value) FOUR(FOUR(value)), FOUR(FOUR(value))
#define NEUTRAL(name, one, zero) \
    _Alignas(64) const __typeof__(nk_neutral_##name) nk_neutral_##name = {{THIRTY_TWO(one)}, {THIRTY_TWO(zero)}};

NEUTRAL(f32, 1, -0.0f)
NEUTRAL(f64, 1, -0.0)
NEUTRAL(f16, 0x3c00, 0x8000)
NEUTRAL(bf16, 0x3f80, 0x8000)

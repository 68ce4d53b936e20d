"""Rows of random shapes, as networks have them: what nobody has tuned for."""

import random

from .rows import Row

SIZES = (
    *(32, 48, 64, 80, 96, 128, 160, 192, 200, 256, 320, 384, 512, 640, 768, 1000, 1024, 1280, 1536),
    *(2048, 2560, 3072, 4096, 5120, 8192),
)
CHANNELS = (3, 8, 16, 24, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 256, 320, 512, 640, 960, 1024, 2048)
SIDES = (4, 7, 8, 10, 14, 16, 20, 28, 32, 40, 56, 64, 80, 112)
SAMPLES = (1, 2, 4, 8, 16, 32)
SLICES = (64, 128, 256, 512, 768, 1024, 2048)
SLICE_SIZES = (27, 64, 147, 288, 576, 768, 1152, 2304, 3072)
GROUPS = (1, 2, 4, 8, 16, 32)
MOST_ELEMENTS = 1 << 23

OF_ROWS = ("layer", "RMS", "residual layer")
OF_IMAGES = ("layer over channels", "batch inference", "batch training", "group", "instance")
FORWARD_ALONE = ("residual layer", "batch inference")
IN_HALVES_FORWARD = ("layer over channels", "batch inference", "instance")


def sample(rows: int, seed: int) -> list[Row]:
    """So many rows; the same for the same seed."""
    rng = random.Random(seed)
    found: dict[Row, None] = {}
    while len(found) < rows:
        found[_row(rng)] = None
    return list(found)


def _row(rng: random.Random) -> Row:
    family = rng.choice((*OF_ROWS, *OF_IMAGES, "weight"))
    direction = "forward" if family in FORWARD_ALONE else rng.choice(("forward", "backward"))
    has_halves = family in (*OF_ROWS, "group") or (family in IN_HALVES_FORWARD and direction == "forward")
    dtype = rng.choice(("f32", "f32", "bf16", "f16")) if has_halves else "f32"
    if family == "weight":
        return Row(direction, family, (rng.choice(SLICES), rng.choice(SLICE_SIZES)))
    if family in OF_ROWS:
        size = rng.choice(SIZES)
        return Row(direction, family, (max(1, int(2 ** rng.uniform(10, 23)) // size), size), dtype)
    samples, channels, side = rng.choice(SAMPLES), rng.choice(CHANNELS), rng.choice(SIDES)
    samples = max(1, min(samples, MOST_ELEMENTS // (channels * side * side)))
    groups = rng.choice([groups for groups in GROUPS if channels % groups == 0]) if family == "group" else 1
    is_last = family != "layer over channels" and rng.random() < 0.5
    return Row(direction, family, (samples, channels, side, side), dtype, is_last, groups)

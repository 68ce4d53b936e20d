"""What is measured: a row is one normalization of one tensor."""

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np

DTYPES = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16), "f16": np.dtype(np.float16)}
HALVES = ("f32", "bf16", "f16")


@dataclass(frozen=True)
class Row:
    """direction: forward or backward.

    family: layer, RMS, layer over channels, batch inference, batch training, instance, group, weight, or residual
    layer: the layer normalization of x + residual, which is stored, too.
    shape: [rows, size], [slices, elements of a slice], or [samples, channels, spatial…] in whatever layout.
    """

    direction: str
    family: str
    shape: tuple[int, ...]
    dtype: str = "f32"
    is_last: bool = False
    groups: int = 1

    @property
    def problem(self) -> str:
        """The title without the dtype."""
        shape = self.shape if not self.is_last else (*self.shape[:1], *self.shape[2:], self.shape[1])
        return " ".join(
            [
                self.family,
                "×".join(map(str, shape)),
                *([f"{self.groups} groups"] if self.groups > 1 else []),
                *(["channels last"] if self.is_last else []),
            ]
        )

    @property
    def title(self) -> str:
        return f"{self.problem} {self.dtype}"

    @property
    def is_rows(self) -> bool:
        return self.family in ("layer", "residual layer", "RMS")

    @property
    def has_beta(self) -> bool:
        return self.family not in ("RMS", "weight")

    @property
    def bytes(self) -> int:
        """Of x."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize

    @property
    def copied_bytes(self) -> int:
        """Those that a plain copy reads and writes to move as many as this row has to at least."""
        if self.direction == "backward":  # two tensors are read and one is written
            return self.bytes * 3 // 2
        return self.bytes * 2 if self.family == "residual layer" else self.bytes

    def has(self, words: list[str]) -> bool:
        """Whether the direction and the title have all of the words."""
        return set(map(str.lower, words)) <= set(f"{self.direction} {self.title}".lower().split())


TRANSFORMERS = (
    (1, 768),
    (16, 768),
    (197, 384),
    (512, 768),
    (1000, 100),
    (2048, 1024),
    (4096, 4096),
    (12, 50257),
)
SHORT = ((4096, 16), (4096, 64), (2048, 128))
RESNET = ((8, 64, 56, 56), (8, 256, 14, 14), (32, 512, 7, 7))
CONVNEXT = (8, 96, 56, 56)
DIFFUSION = ((4, 128, 64, 64), (2, 320, 64, 64), (2, 1280, 16, 16))
STYLE = (4, 64, 128, 128)
DENSE = ((256, 1024), (64, 4096))
WEIGHTS = ((1024, 1024), (512, 256 * 9))


def _positions_as_rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """A channels-last tensor, normalized over its channels, is rows."""
    samples, channels, *spatial = shape
    return samples * math.prod(spatial), channels


def _rows(
    direction: str,
    family: str,
    shapes: tuple,
    dtypes: tuple = ("f32",),
    layouts: tuple = (False,),
    groups: int = 1,
) -> list[Row]:
    return [
        Row(direction, family, shape, dtype, is_last, groups)
        for shape in shapes
        for is_last in layouts
        for dtype in dtypes
    ]


BOTH = (False, True)
ROWS = (
    *_rows("forward", "layer", (*TRANSFORMERS, *SHORT, _positions_as_rows(CONVNEXT)), HALVES),
    *_rows("forward", "layer over channels", (CONVNEXT,), HALVES),
    *_rows("forward", "residual layer", ((512, 768), (2048, 1024)), HALVES),
    *_rows("forward", "RMS", TRANSFORMERS, HALVES),
    *_rows("forward", "batch inference", RESNET, HALVES, BOTH),
    *_rows("forward", "batch training", RESNET, layouts=BOTH),
    *_rows("forward", "batch training", DENSE),
    *_rows("forward", "group", DIFFUSION, HALVES, BOTH, groups=32),
    *_rows("forward", "instance", (STYLE,), layouts=BOTH),
    *_rows("forward", "weight", WEIGHTS),
    *_rows("backward", "layer", ((16, 768), (512, 768), (2048, 1024)), HALVES),
    *_rows("backward", "layer", ((4096, 64),)),
    *_rows("backward", "layer over channels", (CONVNEXT,)),
    *_rows("backward", "RMS", ((512, 768), (2048, 1024)), HALVES),
    *_rows("backward", "batch training", (RESNET[0], RESNET[2]), layouts=BOTH),
    *_rows("backward", "batch training", (DENSE[0],)),
    *_rows("backward", "group", (DIFFUSION[0], DIFFUSION[2]), layouts=BOTH, groups=32),
    *_rows("backward", "group", (DIFFUSION[0],), ("bf16",), BOTH, groups=32),
    *_rows("backward", "instance", (STYLE,), layouts=BOTH),
    *_rows("backward", "weight", WEIGHTS[:1]),
)

KILOBYTE = 1 << 10
SWEEP_ROW = 1024


def _of_bytes(dtype: str, size: int) -> Row:
    elements = size // DTYPES[dtype].itemsize
    row = min(elements, SWEEP_ROW)
    return Row("forward", "layer", (elements // row, row), dtype)


# Layer normalization of 1 KB to 1 GB, by factors of 4.
SWEEP = tuple(_of_bytes(dtype, KILOBYTE << shift) for dtype in ("f32", "bf16") for shift in range(0, 21, 2))

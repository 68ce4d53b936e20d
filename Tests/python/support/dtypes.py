"""The storage types of the header."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from .header import constants


@dataclass(frozen=True)
class DType:
    name: str
    numpy: np.dtype

    @property
    def code(self) -> int:
        return constants()[self.name]

    @property
    def is_half(self) -> bool:
        return self.numpy.itemsize == 2

    @property
    def statistics(self) -> "DType":
        """The type of means, rstds, variances and norms."""
        return F64 if self == F64 else F32

    @property
    def parameters(self) -> tuple["DType", ...]:
        """The types that gamma, beta and their like may have beside this one."""
        return (self, F32) if self.is_half else (self,)

    @property
    def epsilon(self) -> float:
        return float(ml_dtypes.finfo(self.numpy).eps)

    @property
    def smallest_normal(self) -> float:
        return float(ml_dtypes.finfo(self.numpy).smallest_normal)

    @property
    def smallest_subnormal(self) -> float:
        return float(ml_dtypes.finfo(self.numpy).smallest_subnormal)

    @property
    def largest(self) -> float:
        return float(ml_dtypes.finfo(self.numpy).max)

    def __str__(self) -> str:
        return self.name.lower()


F32 = DType("F32", np.dtype(np.float32))
F64 = DType("F64", np.dtype(np.float64))
F16 = DType("F16", np.dtype(np.float16))
BF16 = DType("BF16", np.dtype(ml_dtypes.bfloat16))
DTYPES = (F32, F64, F16, BF16)


def exact(array: np.ndarray) -> np.ndarray:
    """The same values as np.longdouble, which holds each storage type without rounding."""
    return array.astype(np.float64).astype(np.longdouble)


def rounded(values, dtype: DType) -> np.ndarray:
    """Values rounded to a storage type; too large ones become infinite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(values, dtype=np.float64).astype(dtype.numpy)

"""The error that a result may have, in the units of measure.py."""

import math

from . import library
from .dtypes import F32, F64
from .header import constants
from .problem import Problem
from .tensors import PARAMETER_GRADIENTS

# x - mean, rstd, their product, and scale and shift are rounded by half a unit each.
_F32 = 2.0
# f64 has no wider type for its sums, so that mean and rstd are a little off before they are rounded.
_F64 = 4.0
# f16 and bf16 are computed in f32: what is left is the rounding of the output, half a unit.
_HALF = 0.52
# Without fused multiply-add squares and the product with gamma are rounded too; the squares of a constant all the
# same way, which f64 sums have no wider type for.
_NO_FMA = {F32: 0.5, F64: 1.5}
# dx = rstd * (h - mean of h - z * slope), slope = mean of (h * z): half a unit each for h, for the product with slope,
# for two differences and for the product with rstd, one for z and one for slope. They do not all come together.
_DX = {F32: 4.0, F64: 6.0}
# Two units for a summand dy * z; and 32 equal summands, added one after another in f32, are off by 32 / 8. More are
# added in f64, which has nothing wider for its own sums: n roundings of half a unit, which are more or less random.
_SUM = 6.0
_F64_SUM = 0.25
# Without fused multiply-add, three more products are rounded, of equal summands all the same way.
_NO_FMA_SUM = 1.5


def limit(problem: Problem, name: str) -> float:
    """The limit for one output of a problem."""
    dtype = problem.unit_type(name)
    has_fma = library.isa() != "x86-64-v2" or dtype.is_half
    result = _DX if problem.method.is_backward else {F32: _F32, F64: _F64}
    units = result.get(dtype, _HALF) + (0 if has_fma else _NO_FMA[dtype])
    if _is_sum(problem, name) and not dtype.is_half:
        random = _F64_SUM * math.sqrt(problem.view.size) if dtype == F64 else 0
        units = _SUM + random + (0 if has_fma else _NO_FMA_SUM)
    # A variance is off by twice as much as the rstd that belongs to it, a sum of squares as the norm.
    return 2 * units if name in ("variance", "running_variance", "moments", "value") else units


def _is_sum(problem: Problem, name: str) -> bool:
    """Whether an output is a sum of products. So is the gradient of the largest element, where that is the norm."""
    is_largest = problem.method.is_backward and problem.scalars.get("norm") == constants()["MAX"]
    return name in PARAMETER_GRADIENTS or name == "sums" or is_largest

"""The error that a result may have, in the units of measure.py."""

from . import library
from .dtypes import F32, F64
from .problem import Problem

# x - mean, rstd, their product, and scale and shift are rounded by half a unit each.
_F32 = 2.0
# f64 has no wider type for its sums, so that mean and rstd are a little off before they are rounded.
_F64 = 4.0
# f16 and bf16 are computed in f32: what is left is the rounding of the output, half a unit.
_HALF = 0.52
# Without fused multiply-add squares and the product with gamma are rounded too; the squares of a constant all the
# same way, which f64 sums have no wider type for.
_NO_FMA = {F32: 0.5, F64: 1.5}


def limit(problem: Problem, name: str) -> float:
    """The limit for one output of a problem, result or statistic."""
    dtype = problem.output_type(name)
    units = {F32: _F32, F64: _F64}.get(dtype, _HALF)
    if library.isa() == "x86-64-v2" and not dtype.is_half:
        units += _NO_FMA[dtype]
    # A variance is off by twice as much as the rstd that belongs to it.
    return 2 * units if name in ("variance", "running_variance") else units

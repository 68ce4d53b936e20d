"""What the name of an argument says about its tensor: the same name means the same in every function."""

from .dtypes import F64, DType
from .views import View

# As large as the data, in its type, with row strides where the function has them.
DATA = frozenset(("x", "y", "v", "w", "dy", "dx", "dv", "dw", "weight", "folded_weight"))
# One value per channel, in the type of parameters.
PARAMETERS = frozenset(("gamma", "beta", "g", "scale", "shift", "bias", "folded_bias"))
# One value per channel, in the statistics type.
PARAMETER_GRADIENTS = frozenset(("dgamma", "dbeta", "dg", "dscale", "dshift"))
# Structs of doubles, one per channel, and how many doubles each has.
RECORDS = {"moments": 3, "other": 3, "sums": 2}
# One value per S, in the statistics type.
STATISTICS = frozenset(("mean", "rstd", "variance", "norms"))
# What may be NULL wherever it occurs.
OPTIONAL = PARAMETERS.union(PARAMETER_GRADIENTS, ("dx", "dv", "dmean", "dvariance", "value")) - {"folded_bias"}

# The inputs that an output may be exactly.
_PLACES = {"y": ("x",), "w": ("v",), "dx": ("x", "dy"), "dv": ("v", "dw"), "folded_weight": ("weight",),
           "folded_bias": ("bias",)}


def is_running(name: str) -> bool:
    """Whether an argument is a running statistic, which is updated in place."""
    return name.startswith("running_") and name != "running_variance_rule"


def shape_of(name: str, view: View) -> tuple[int, ...]:
    """Shape of the tensor of an argument; structs are their doubles, along a last axis."""
    if name in DATA:
        return view.shape
    if name in PARAMETERS or name in PARAMETER_GRADIENTS:
        return view.channel_shape
    return (*view.channel_shape, RECORDS[name]) if name in RECORDS else view.kept_shape


def type_of(name: str, dtype: DType, parameter_dtype: DType) -> DType:
    """How the elements of an argument are stored."""
    if name in DATA:
        return dtype
    if name in PARAMETERS:
        return parameter_dtype
    return F64 if name in RECORDS or name == "value" else dtype.statistics


def places(inputs: set[str], outputs: set[str]) -> list[tuple[str, str]]:
    """Each output and an input that it may be exactly."""
    return [(output, name) for output in _PLACES if output in outputs for name in _PLACES[output] if name in inputs]

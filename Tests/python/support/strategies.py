"""Hypothesis strategies: problems of any method.

Hypothesis chooses sizes, choices, strides and which arguments are NULL; values come from a seed that it chooses.
"""

from hypothesis import strategies as st

from . import families
from .dtypes import DType
from .fill import fill
from .header import constants
from .methods import Method
from .problem import Problem
from .views import View

# One less, one more and exactly a vector of 16 lanes or a block of 64; primes; some that are long.
_LENGTHS = (1, 2, 3, 4, 5, 7, 8, 13, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 127, 128, 129)
_LONG = (191, 255, 257, 509, 1000, 1023, 1025, 2049, 4099)
_BUDGET = 6000

_CHOICES = {
    "epsilon": st.sampled_from((1e-5, 0.0, 1e-12, 0.1)),
    "epsilon_rule": st.sampled_from((0, 1)),
    "one_plus_gamma": st.sampled_from((0, 1)),
    "momentum": st.sampled_from((0.1, 0.0, 0.5, 1.0)),
    "running_variance_rule": st.sampled_from((0, 1)),
    "layout": st.sampled_from((1, 2)),
    "accumulate": st.sampled_from((0, 1)),
    "strength": st.sampled_from((0.5, 0.0, 1e-4, 3.0)),
}
EXTENTS = ("rows", "size", "samples", "channels", "positions", "outer", "slices", "inner")


@st.composite
def _extents(draw, count: int, budget: int = _BUDGET) -> list[int]:
    """`count` positive extents whose product is at most the budget, in any order of drawing."""
    extents = [1] * count
    for index in draw(st.permutations(range(count))):
        allowed = [n for n in _LENGTHS + _LONG if n <= budget] or [1]
        extents[index] = draw(st.sampled_from(allowed))
        budget //= extents[index]
    return extents


@st.composite
def _general_form(draw) -> dict:
    """rank, shape, axis_count and axes: any subset of axes, some of them negative, in any order."""
    rank = draw(st.integers(0, constants()["MAX_RANK"]))
    shape = tuple(draw(_extents(rank)))
    axes = draw(st.permutations(range(rank)))[:draw(st.integers(0, rank))]
    axes = tuple(axis - rank if draw(st.booleans()) else axis for axis in axes)
    return {"rank": rank, "shape": shape, "axis_count": len(axes), "axes": axes}


@st.composite
def _sizes(draw, names: list[str]) -> dict:
    if "shape" in names:
        return draw(_general_form())
    wanted = [name for name in names if name in EXTENTS]
    if "groups" not in names:
        return dict(zip(wanted, draw(_extents(len(wanted))), strict=True))
    *extents, groups = draw(_extents(len(wanted) + 1))
    sizes = dict(zip(wanted, extents, strict=True)) | {"groups": groups}
    return sizes | {"channels": sizes["channels"] * groups}


@st.composite
def scalars(draw, method: Method) -> dict:
    """All arguments that are no tensors, valid and not empty. Strides are 0."""
    names = method.prototype.names()
    found = draw(_sizes(names)) | {name: draw(_CHOICES[name]) for name in names if name in _CHOICES}
    found |= {"norm": draw(st.sampled_from(method.norms))} if "norm" in names else {}
    if "batch_norm_training" in method.name and found["samples"] * found["positions"] == 1:
        found["samples"] = 2
    found |= {name: 0 for name in method.strides}
    if "correction" in names:
        may_correct = method.data == "moments" or method.view(found).set_size > 1
        found["correction"] = draw(st.sampled_from((0, 1))) if may_correct else 0
    return found


@st.composite
def strides(draw, method: Method, view: View) -> dict:
    """Row strides, where there are any: contiguous, 0 or with gaps."""
    gaps = st.sampled_from((None, 0, 1, 3, 16, 61))
    found = {}
    for name in method.strides:
        gap = draw(gaps)
        found[name] = 0 if gap is None else view.run + gap
    return found


@st.composite
def problems(draw, method: Method, dtype: DType, family: families.Family | None = None) -> Problem:
    """Any valid problem of a method, with anything optional left out now and then."""
    chosen = draw(scalars(method))
    chosen |= draw(strides(method, method.view(chosen)))
    family = family or draw(st.sampled_from(families.families(method, dtype)))
    incoming = draw(st.sampled_from(families.incoming(method))) if method.incoming else families.NORMAL
    absent = frozenset().union(*(names for names in method.optional if draw(st.integers(0, 3)) == 0))
    parameter_dtype = draw(st.sampled_from(method.parameters(dtype)))
    seed = draw(st.integers(0, 2**32 - 1))
    return fill(method, dtype, parameter_dtype, chosen, family, seed, absent, incoming)


def small(method: Method, dtype: DType, **changes) -> Problem:
    """A fixed small problem of a method, with every optional argument; scalars may be changed by name."""
    names = method.prototype.names()
    defaults = {
        "rows": 4, "size": 6, "samples": 4, "channels": 6, "positions": 5, "groups": 2,
        "outer": 3, "slices": 4, "inner": 5, "rank": 3, "shape": (3, 4, 5), "axis_count": 2, "axes": (0, 2),
        "layout": 1, "norm": 2, "epsilon": 1e-5, "epsilon_rule": 0, "one_plus_gamma": 0, "momentum": 0.1,
        "running_variance_rule": 0, "correction": 1, "accumulate": 0, "strength": 0.5,
    } | dict.fromkeys(method.strides, 0) | changes
    chosen = {name: value for name, value in defaults.items() if name in names}
    chosen |= {"rank": len(chosen["shape"]), "axis_count": len(chosen["axes"])} if "shape" in names else {}
    return fill(method, dtype, dtype, chosen, families.NORMAL, seed=1)

"""Plans with their data: fixed ones from a seed, and a Hypothesis strategy."""

import numpy as np
from hypothesis import strategies as st

from . import families
from .activations import CODES
from .dtypes import DTYPES, F64, DType, rounded
from .header import constants
from .methods import Method
from .plans import LARGE, ROWS, Fused
from .problem import Problem
from .strategies import problems, small

C = constants()
FUSIONS = ("ADD_RESIDUAL", "ADD_BIAS", "STORE_SUM", "SCALE_SHIFT_SAMPLES", "ADD_RESIDUAL_AFTER")


def fuse(problem: Problem, fusions: tuple[str, ...] = (), seed: int = 0, family: families.Family = families.NORMAL,
         without: str | None = None, **choices) -> Fused:
    """A plan of a problem. without: sample_scale or sample_shift, to be left NULL."""
    rng = np.random.default_rng(seed)
    choices = {"fusions": sum(C[fusion] for fusion in fusions)} | choices
    if problem.method in ROWS and "SCALE_SHIFT_SAMPLES" in fusions:
        choices.setdefault("rows_per_sample", 1)
    bare = Fused(problem, choices)
    names = {"ADD_RESIDUAL": ("residual",), "ADD_BIAS": ("bias",), "ADD_RESIDUAL_AFTER": ("residual_after",),
             "SCALE_SHIFT_SAMPLES": ("sample_scale", "sample_shift")}
    inputs = {}
    for fusion in fusions:
        for name in names.get(fusion, ()):
            if name in LARGE:
                inputs[name] = family.draw(rng, problem.view, problem.dtype)
            elif name != without:
                inputs[name] = rounded(rng.standard_normal(bare.shape(name)), problem.parameter_dtype)
    return Fused(problem, choices, inputs)


def all_fusions(method: Method, dtype: DType, **changes) -> Fused:
    """A fixed small plan with everything at once."""
    return fuse(small(method, dtype, **changes), FUSIONS, seed=3, activation_after=C["RELU"])


def layouts(method: Method) -> list[dict]:
    return [{"layout": 1}, {"layout": 2}] if "layout" in method.prototype.names() else [{}]


def outputs_beside(dtype: DType) -> list[int]:
    """The codes of the types of y that are not integers."""
    return [F64.code] if dtype == F64 else [other.code for other in DTYPES if other != F64]


@st.composite
def fused_problems(draw, method: Method, dtype: DType, activations: tuple[int, ...] = CODES) -> Fused:
    """Any plan of a method that has fusions, and that does not store integers."""
    used = [families.NORMAL, families.LARGE_MEAN, families.WIDE, families.ZEROS]
    problem = draw(problems(method, dtype, draw(st.sampled_from(used))))
    fusions = {fusion for fusion in FUSIONS if draw(st.booleans())}
    if not fusions & {"ADD_RESIDUAL", "ADD_BIAS"}:
        fusions.discard("STORE_SUM")
    choices = {name: draw(st.sampled_from(activations)) for name in ("activation_before", "activation_after")}
    choices |= {"output_dtype": draw(st.sampled_from((0, *outputs_beside(dtype)))),
                "slope": draw(st.sampled_from((0.01, 0.0, -0.5, 1.0))),
                "one_plus_sample_scale": draw(st.sampled_from((0, 1)))}
    if method in ROWS:
        rows = problem.scalars["rows"]
        choices["rows_per_sample"] = draw(st.sampled_from([n for n in range(1, rows + 1) if rows % n == 0]))
    for name in ("residual", "residual_after", "sum"):
        gap = draw(st.sampled_from((None, 0, 1, 3, 16, 61)))
        choices[f"{name}_stride"] = 0 if gap is None else problem.view.run + gap
    without = draw(st.sampled_from((None, "sample_scale", "sample_shift")))
    seed = draw(st.integers(0, 2**32 - 1))
    ordered = tuple(fusion for fusion in FUSIONS if fusion in fusions)
    return fuse(problem, ordered, seed, draw(st.sampled_from(used)), without, **choices)

"""The error measure: |actual - expected| in units of the storage type's epsilon times the magnitude of S."""

import numpy as np

from .dtypes import DType, exact
from .execute import Run
from .problem import Problem
from .reference import Expected


def error(actual: np.ndarray, expected: Expected, dtype: DType, unit_type: DType | None = None) -> float:
    """The largest error of an array, in units; infinite where NaN, infinity or sign do not agree.

    One unit is epsilon * magnitude, but never less than the spacing of subnormals. A reference that is, by some units,
    beyond the range of the storage type may have become infinite. unit_type: the type whose epsilon counts, if not the
    storage type.
    """
    if actual.size == 0:
        return 0.0
    value = expected.value
    found = exact(actual)
    unit = np.maximum((unit_type or dtype).epsilon * expected.magnitude, np.longdouble(dtype.smallest_subnormal))
    with np.errstate(invalid="ignore"):
        units = np.abs(found - value) / unit
    same = np.isnan(found) & np.isnan(value) | (found == value)
    limit = np.longdouble(dtype.largest) * (1 - dtype.epsilon)
    overflowed = np.isinf(found) & (np.where(found > 0, value, -value) + unit > limit)
    units = np.where(same | overflowed, 0, np.where(np.isfinite(units), units, np.inf))
    return float(units.max())


def errors(problem: Problem, run: Run) -> dict[str, float]:
    """The error of every output of a run, in units."""
    assert run.status == 0, f"status {run.status} for {problem}"
    return {name: error(actual, problem.expected[name], problem.type_of(name), problem.unit_type(name))
            for name, actual in run.outputs.items()}

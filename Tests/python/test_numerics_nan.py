"""NaN and infinity touch nothing outside of their own S: neither results nor, backward, the gradient of a
parameter that S has no part in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import families
from support.checks import outputs_of
from support.dtypes import DTYPES
from support.methods import METHODS
from support.problem import Problem
from support.strategies import problems

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
WITH_SETS = [m for m in METHODS if m.result in ("y", "w") and not m.elementwise]


def poisoned(problem: Problem, name: str, value: float, seed: int) -> tuple[Problem, np.ndarray]:
    """A problem with one element of an input replaced, and which elements belong to its S."""
    view = problem.view
    index = np.unravel_index(np.random.default_rng(seed).integers(view.size), view.shape)
    values = problem.inputs[name].copy()
    values[index] = value
    own = tuple(slice(None) if axis in view.reduced else i for axis, i in enumerate(index))
    mask = np.zeros(view.shape, bool)
    mask[index if problem.method.elementwise else own] = True
    return problem.with_inputs(**{name: values}), mask


@every_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", WITH_SETS, ids=str)
@given(data=st.data())
def test_nan_and_infinity_stay_in_their_set(method, value, dtype, data):
    clean = data.draw(problems(method, dtype, families.NORMAL))
    problem, own = poisoned(clean, method.data, value, data.draw(st.integers(0, 99)))
    wanted = outputs_of(clean)
    found = outputs_of(problem)
    # Without a mean that is subtracted, x / infinity is 0 for the finite elements.
    infinite = ~np.isfinite(problem.inputs[method.data])
    spoilt = own if method.subtracts_mean or np.isnan(value) else own & infinite
    assert np.array_equal(np.isnan(found[method.result].astype(np.float64)), spoilt), problem
    assert found[method.result][~own].tobytes() == wanted[method.result][~own].tobytes(), problem
    others = ~own.all(axis=problem.view.reduced)
    for name in method.statistics:
        if name in found:
            assert found[name][others].tobytes() == wanted[name][others].tobytes(), f"{name} of {problem}"


@every_dtype
@pytest.mark.parametrize("method", [m for m in METHODS if m.result == "y" and m.elementwise], ids=str)
@given(data=st.data())
def test_nan_stays_in_its_element(method, dtype, data):
    clean = data.draw(problems(method, dtype, families.NORMAL))
    problem, own = poisoned(clean, method.data, np.nan, data.draw(st.integers(0, 99)))
    wanted, found = outputs_of(clean)["y"], outputs_of(problem)["y"]
    assert np.all(np.isnan(found[own].astype(np.float64)))
    assert found[~own].tobytes() == wanted[~own].tobytes()


@every_dtype
@pytest.mark.parametrize("method", [m for m in METHODS if m.is_backward], ids=str)
@given(data=st.data())
def test_nan_and_infinity_stay_in_the_gradients_of_their_set(method, dtype, data):
    """Statistics are formed again from x or are those that were saved for the x with the NaN."""
    value = data.draw(st.sampled_from((np.nan, np.inf, -np.inf)))
    clean = data.draw(problems(method, dtype, families.NORMAL))
    inputs = [name for name in (method.data, method.incoming) if name and clean.inputs[name] is not None]
    name = data.draw(st.sampled_from(inputs))
    problem, own = poisoned(clean, name, value, data.draw(st.integers(0, 99)))
    if name == method.data and method.saved and clean.inputs[min(method.saved)] is not None:
        kept = own.any(axis=problem.view.reduced)
        saved = {name: np.where(kept, np.nan, clean.inputs[name]).astype(clean.inputs[name].dtype)
                 for name in method.saved}
        problem = problem.with_inputs(**saved)
    wanted, found = outputs_of(clean), outputs_of(problem)
    if method.result in found:
        assert found[method.result][~own].tobytes() == wanted[method.result][~own].tobytes(), problem
        if np.isnan(value) and not (method.elementwise and name == method.data):
            assert np.all(np.isnan(found[method.result][own].astype(np.float64))), problem
    touched = own.any(axis=tuple(axis for axis in range(own.ndim) if axis not in problem.view.channels))
    for gradient in method.parameter_gradients:
        if gradient in found:
            same = found[gradient][~touched].tobytes() == wanted[gradient][~touched].tobytes()
            assert same, f"{gradient} of {problem}"

"""Assertions that several tests share."""

import numpy as np

from .execute import Run, execute
from .limits import limit
from .measure import errors
from .problem import Problem


def assert_accurate(problem: Problem, run: Run) -> None:
    """Every output is as near to the reference as limits.py asks."""
    for name, units in errors(problem, run).items():
        assert units <= limit(problem, name), f"{name} of {problem} is off by {units:.3g} units"


def assert_same_bits(run: Run, other: Run, what: object) -> None:
    """Both runs succeeded with the same outputs, bit for bit."""
    assert run.status == other.status == 0, f"{what}: status {run.status}, {other.status}"
    for name, found in run.outputs.items():
        wanted = other.outputs[name]
        assert found.tobytes() == wanted.tobytes(), f"{name} differs: {what}, {_first(found, wanted)}"


def assert_same_with_gaps(problem: Problem, run: Run, contiguous: Run) -> None:
    """A strided run has the bits of the contiguous one; where S runs across the gaps, they may change its last bits,
    and the reference is what counts."""
    if problem.view.crosses_runs and problem.view.size > 0:
        assert_accurate(problem, run)
    else:
        assert_same_bits(run, contiguous, f"strided: {problem}")


def _first(found: np.ndarray, wanted: np.ndarray) -> str:
    """Where two arrays differ in their bits first."""
    found, wanted = found.reshape(-1), wanted.reshape(-1)
    index = int(np.flatnonzero(found.view(f"u{found.itemsize}") != wanted.view(f"u{found.itemsize}"))[0])
    return f"first at element {index}: {found[index]!r} and {wanted[index]!r}"


def outputs_of(problem: Problem, **options) -> dict[str, np.ndarray]:
    """The outputs of a call that must succeed."""
    run = execute(problem, **options)
    assert run.status == 0, f"status {run.status} for {problem}"
    return run.outputs

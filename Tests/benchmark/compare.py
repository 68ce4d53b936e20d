"""One row through all systems: prepared, checked, timed."""

from dataclasses import dataclass, field, replace
from types import ModuleType

from .comparison import Measured
from .problem import Problem
from .systems import Prepared
from .timing import Effort, Times, measure, promising, settle_down

LARGEST_CHECKED = 1 << 27  # bytes: larger tensors are only in the sweep, whose smaller ones are checked


@dataclass
class Result(Measured):
    """A system's. `failure` says why there are no times."""

    system: str
    way: str = ""
    errors: dict[str, float] = field(default_factory=dict)  # in units
    is_right: bool = True
    failure: str = ""
    times: Times | None = None


def compare(problem: Problem, threads: int, systems: dict[str, ModuleType], effort: Effort) -> list[Result]:
    """A system that lacks the operation has no result; of several ways, the fastest has."""

    def settle(key: tuple[str, str]) -> None:
        systems[key[0]].set_threads(threads)
        if threads > 1:
            settle_down()

    row, failed, tried = problem.row, [], {}
    kept: dict[tuple[str, str], Prepared] = {}  # with the memory that their calls use
    for name, system in systems.items():
        blank = Result(row.direction, row.family, row.problem, row.dtype, row.bytes, threads, name)
        try:
            system.set_threads(threads)
            ways = {(name, way.way): way for way in system.prepare(problem, threads)}
            for key in promising({key: way.call for key, way in ways.items()}, settle):
                tried[key] = _checked(problem, ways[key], blank)
                kept[key] = ways[key]
        except Exception as failure:  # whatever a system throws: the table says so
            failed.append(replace(blank, failure=f"{type(failure).__name__}: {failure}"))
            kept = {key: way for key, way in kept.items() if key[0] != name}
    for key, times in measure({key: way.call for key, way in kept.items()}, effort, settle).items():
        tried[key].times = times
    return [*_best(list(tried.values())), *failed]


def _checked(problem: Problem, way: Prepared, blank: Result) -> Result:
    """With its errors, and without times yet."""
    if blank.system == "copy" or problem.row.bytes > LARGEST_CHECKED:
        return replace(blank, way=way.way)
    problem.clear()
    outputs = way.outputs()
    errors = problem.errors(outputs)
    return replace(blank, way=way.way, errors=errors, is_right=problem.is_right(errors, outputs))


def _best(tried: list[Result]) -> list[Result]:
    """The fastest way of each system whose results are right, or else the fastest."""
    found: dict[str, Result] = {}
    for result in tried:
        best = found.get(result.system)
        if result.times and (best is None or _rank(result) < _rank(best)):
            found[result.system] = result
    return list(found.values())


def _rank(result: Result) -> tuple[bool, float]:
    assert result.times
    return not result.is_right, result.times.median

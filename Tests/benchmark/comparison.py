"""What follows from the results of a row on so many threads."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields


@dataclass
class Measured:
    """A row, on so many threads."""

    direction: str
    family: str
    problem: str
    dtype: str
    bytes: int
    threads: int

    @property
    def title(self) -> str:
        return f"{self.problem} {self.dtype}"


@dataclass
class Comparison(Measured):
    """Seconds are medians. Peers whose results are wrong have times, and are never the best one."""

    seconds: dict[str, float]
    wrong: set[str]

    @property
    def own(self) -> float:
        return self.seconds["NormKit"]

    def ratio(self, system: str) -> float | None:
        """Its time ÷ NormKit's: above 1, NormKit is faster. None where it lacks the operation."""
        return self.seconds[system] / self.own if system in self.seconds else None

    @property
    def best(self) -> str | None:
        """The fastest peer."""
        peers = self.seconds.keys() - self.wrong - {"NormKit", "copy"}
        return min(peers, key=self.seconds.__getitem__, default=None)

    @property
    def best_ratio(self) -> float:
        """Of a row that has a peer."""
        assert self.best
        return self.seconds[self.best] / self.own


def comparisons(results: list[dict]) -> list[Comparison]:
    """In the order of the results; without rows that NormKit has no time for."""
    found: dict[tuple, Comparison] = {}
    for r in results:
        choice = tuple(r[field.name] for field in fields(Measured))
        row = found.setdefault(choice, Comparison(*choice, {}, set()))
        if r["times"]:
            row.seconds[r["system"]] = r["times"]["median"]
        if not r["is_right"]:
            row.wrong.add(r["system"])
    return [row for row in found.values() if "NormKit" in row.seconds]


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def grouped(rows: list[Comparison], key: Callable[[Comparison], str]) -> dict[str, list[Comparison]]:
    """Those with a peer, by a key, in the order of their first."""
    found = defaultdict(list)
    for row in rows:
        if row.best:
            found[key(row)].append(row)
    return dict(found)

"""What an experiment is, and what comes of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

import numpy as np

REPRODUCED, PARTLY, NOT = "reproduced", "partly", "not"


@dataclass
class Table:
    """Numbers beside a figure: strings under a header, the first column naming its row."""

    header: list[str]
    rows: list[list[str]]


@dataclass
class Picture:
    """A figure of the page.

    title: what is shown. svg: as `drawing.svg` returns it. look: one sentence on what to look at.
    table: the numbers behind it. wide: it needs the whole width of the page.
    """

    title: str
    svg: str
    look: str
    table: Table | None = None
    wide: bool = False


@dataclass
class Result:
    """What an experiment found.

    verdict: REPRODUCED, PARTLY or NOT. line: the numbers that decided it, in one line.
    numbers: all that was measured: dictionaries, lists, arrays, numbers. setup: what was done, in a few sentences.
    comment: what else has to be said, for one where the claim holds only in part.
    """

    verdict: str
    line: str
    numbers: dict[str, Any]
    pictures: list[Picture] = field(default_factory=list)
    setup: str = ""
    comment: str = ""

    def __post_init__(self):
        if self.verdict not in (REPRODUCED, PARTLY, NOT):
            raise ValueError(f"verdict is {self.verdict!r}; it must be one of {REPRODUCED!r}, {PARTLY!r}, {NOT!r}")

    def as_json(self):
        """All but the drawings, as a dictionary for JSON. Numbers that are not finite become None."""
        content = plain(asdict(self))
        for picture in content["pictures"]:
            del picture["svg"]
        return content


@dataclass(frozen=True)
class Experiment:
    """An experiment. Each module has one, with the name EXPERIMENT.

    name: by which it is run. title: of its section. claim: the sentence that is tested. source: papers.
    run: run(progress, fast) is a Result. `progress(iterable, what)` shows a progress bar while it is iterated over;
    `fast` asks for a small version that takes a few seconds, of which only the direction is to be trusted.
    """

    name: str
    title: str
    claim: str
    source: str
    run: Callable[[Callable[..., Any], bool], Result]


def plain(value):
    """Of plain Python types all through, as JSON has them."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def quiet(iterable, what=""):
    """The `progress` that shows nothing."""
    return iterable


def verdict(*holds):
    """REPRODUCED if all parts of a claim hold, NOT if none does, PARTLY otherwise."""
    return REPRODUCED if all(holds) else PARTLY if any(holds) else NOT

"""Times of calls that take turns, so that a busy machine slows all alike."""

import contextlib
import gc
import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Key = TypeVar("Key")

SETTLE_SECONDS = 50e-3  # at most
FEWEST_ROUNDS = 5
LONG_SECONDS = 50e-3  # such a call finds nothing in the caches, whatever was called before


@dataclass(frozen=True)
class Effort:
    rounds: int  # at most
    round_seconds: float  # a call that is shorter is repeated
    seconds: float  # for all calls: after so long there are no more rounds than FEWEST_ROUNDS


FULL = Effort(rounds=60, round_seconds=2e-3, seconds=4)
QUICK = Effort(rounds=15, round_seconds=1e-3, seconds=1)
TRIAL = Effort(rounds=3, round_seconds=3e-4, seconds=0)
PROMISING = 1.5  # times the shortest median


@dataclass(frozen=True)
class Times:
    """Seconds of one call: median and quartiles over the rounds."""

    median: float
    lower: float
    upper: float
    rounds: int


def measure(
    calls: dict[Key, Callable[[], object]], effort: Effort, settle: Callable[[Key], None]
) -> dict[Key, Times]:
    """settle is called with the key of a call before it is timed, and so is the call, unless it is long."""
    counts, long = {}, set()
    for key, call in calls.items():
        settle(key)
        if seconds(call, 1) > LONG_SECONDS:
            long.add(key)
        counts[key] = 1 if key in long else max(1, round(effort.round_seconds / seconds(call, 3)))
    samples: dict[Key, list[float]] = {key: [] for key in calls}
    order, shuffle, start = list(calls), random.Random(0).shuffle, time.perf_counter()
    gc.collect()
    gc.disable()
    for done in range(effort.rounds):
        if done >= FEWEST_ROUNDS and time.perf_counter() - start > effort.seconds:
            break
        shuffle(order)
        for key in order:
            settle(key)
            if key not in long:
                calls[key]()
            samples[key].append(seconds(calls[key], counts[key]))
    gc.enable()
    return {key: _times(found) for key, found in samples.items()}


def settle_down() -> None:
    """Waits until the threads that other systems have used, and that go on looking for work, have fallen asleep."""
    end = time.perf_counter() + SETTLE_SECONDS
    while time.perf_counter() < end and _others_run():
        time.sleep(1e-3)


def _others_run() -> bool:
    """Whether a thread of this process runs, or waits for a processor, beside this one."""
    own = str(threading.get_native_id())
    for task in Path("/proc/self/task").iterdir():
        if task.name != own:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (task / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                    return True
    return False


def promising(calls: dict[Key, Callable[[], object]], settle: Callable[[Key], None]) -> list[Key]:
    """The calls that may be the fastest, after a short trial."""
    if len(calls) < 2:
        return list(calls)
    found = measure(calls, TRIAL, settle)
    shortest = min(times.median for times in found.values())
    return [key for key, times in found.items() if times.median <= PROMISING * shortest]


def _times(samples: list[float]) -> Times:
    lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return Times(median, lower, upper, len(samples))


def seconds(call: Callable[[], object], count: int) -> float:
    """Seconds per call over `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count

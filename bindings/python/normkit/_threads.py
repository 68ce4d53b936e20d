"""How many threads one call may use."""

from __future__ import annotations

import os

from ._abi import MAX_THREADS
from ._library import functions
from ._scalars import integer


def set_num_threads(count: int) -> None:
    """Let large calls use up to `count` threads, the caller's own counted: 1 to 256.

    Results do not depend on the count. Calls that are under way in other threads are not disturbed. Threads are
    started at the first call that is worth several; on Linux they keep off the processor that the caller runs on.
    Raises NormKitError if `count` is out of range.
    """
    # Kept in the range of a C int, so that no count wraps around to one that is in range.
    functions.normkit_set_thread_count(max(0, min(integer(count, "count"), MAX_THREADS + 1)))


def get_num_threads() -> int:
    """How many threads one call may use."""
    return int(functions.normkit_thread_count())


def use_available_cores() -> None:
    """Set the thread count to the cores that this process may use, unless NORMKIT_THREADS is set."""
    if "NORMKIT_THREADS" in os.environ:
        return
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    set_num_threads(min(cores, MAX_THREADS))

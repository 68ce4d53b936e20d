"""The memory that backward calls need: counted by allocations.c in a second process, which runs this module."""

import ctypes
import json
import os
import subprocess
import sys
import tempfile

from . import systems
from .building import shared_object
from .problem import Problem
from .rows import ROWS

COUNTED = ("NormKit", "PyTorch", "oneDNN")  # JAX frees its results some time later, which cannot be told apart


def backward(words: list[str]) -> list[dict]:
    """Bytes for each backward row that has the words, each system and number of threads.

    What a call has allocated at its peak beyond its outputs, and what the system holds for it (oneDNN's
    scratchpad).
    """
    if not any(row.direction == "backward" and row.has(words) for row in ROWS):
        return []
    with tempfile.TemporaryDirectory() as folder:
        counter = shared_object("allocations.c", folder)
        counted = subprocess.run(
            [sys.executable, "-m", __name__, *words],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"LD_PRELOAD": str(counter)},
        )
    return json.loads(counted.stdout)


def _count(words: list[str]) -> list[dict]:
    """In the process with allocations.c."""
    counter, found = ctypes.CDLL(None), []
    counter.allocations_peak.restype = ctypes.c_int64
    loaded, _ = systems.load()
    for row in ROWS:
        if row.direction == "forward" or not row.has(words):
            continue
        problem = Problem(row)
        for name, system in loaded.items():
            if name not in COUNTED:
                continue
            for threads in sorted({1, systems.ALL_THREADS}):
                system.set_threads(threads)
                for way in system.prepare(problem, threads)[:1]:
                    way.call()
                    counter.allocations_start()
                    way.call()
                    size = counter.allocations_peak() - way.returned + way.held
                    found.append({"title": row.title, "system": name, "threads": threads, "bytes": size})
    return found


if __name__ == "__main__":
    json.dump(_count(sys.argv[1:]), sys.stdout)

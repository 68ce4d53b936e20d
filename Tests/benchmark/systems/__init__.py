"""The systems that are compared. Each is a module with

NAME                       as the tables write it
version()                  of what is installed
set_threads(count)         for calls that follow; nothing where a prepared call has its own
prepare(problem, threads)  the ways in which it does the problem: none where it lacks the operation

A module fails to be imported where its system is not installed.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import SubprocessError
from types import ModuleType

import numpy as np

PEERS = ("torch", "onednn", "onnxruntime", "openvino", "jax")
ALL_THREADS = len(os.sched_getaffinity(0))
ALL = ("normkit", *PEERS, "copy")


@dataclass
class Prepared:
    """A call that is ready, with nothing to be looked up, and what it leaves behind.

    Its memory may be freed with this object.
    """

    call: Callable[[], object]
    outputs: Callable[[], dict[str, np.ndarray]] = field(default=dict)  # calls, and gives what was written
    way: str = ""  # told apart from the other ways of the same system
    returned: int = 0  # bytes of outputs that the call allocates
    held: int = 0  # bytes that the system keeps for it


def load() -> tuple[dict[str, ModuleType], list[str]]:
    """The installed systems by name, and a sentence for each of the others."""
    found, missing = {}, []
    for name in ALL:
        try:
            system = importlib.import_module(f".{name}", __name__)
        except (ImportError, OSError, SubprocessError) as problem:
            missing.append(f"{name} is left out: {problem}")
        else:
            found[system.NAME] = system
    return found, missing

"""A plain copy, which reads and writes as many bytes as the pass does at least."""

import ctypes
import importlib
import importlib.util
from functools import cache, partial
from types import ModuleType

import numpy as np

from ..problem import Problem, aligned
from . import Prepared

NAME = "copy"


def version() -> str:
    return "libc memcpy"


@cache
def _torch() -> ModuleType | None:
    """Without it there is no copy on several threads."""
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


def set_threads(count: int) -> None:
    if torch := _torch():
        torch.set_num_threads(count)


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    """By memcpy, and, on several threads, by PyTorch, which shares large copies among them."""
    source = problem.x.view(np.uint8)
    if problem.row.copied_bytes == source.size:
        target = problem.outputs["y"].view(np.uint8)
    else:
        source = aligned(np.resize(source, problem.row.copied_bytes), source.dtype)
        target = aligned(np.zeros_like(source), source.dtype)
    memcpy = ctypes.CDLL(None).memcpy
    memcpy.restype = ctypes.c_void_p
    arguments = (
        ctypes.c_void_p(target.ctypes.data),
        ctypes.c_void_p(source.ctypes.data),
        ctypes.c_size_t(source.size),
    )
    kept = source, target

    def outputs() -> dict[str, np.ndarray]:
        return {"copy": kept[1]}

    ways = [Prepared(partial(memcpy, *arguments), outputs, "memcpy")]
    if threads > 1 and (torch := _torch()):
        ways.append(
            Prepared(partial(torch.from_numpy(target).copy_, torch.from_numpy(source)), outputs, "PyTorch")
        )
    return ways

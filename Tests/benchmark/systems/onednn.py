"""oneDNN, by onednn.c, which is built against its headers: primitives on plain formats.

It is looked for in the folder ONEDNN_ROOT (with include/ and lib/), else in that of the running Python, where
the packages onednn-cpu-gomp and onednn-devel-cpu-gomp put it. Theirs is version 3.2, which has no group and no
RMS normalization; any later version 3 with OpenMP will do.
"""

import ctypes
import math
import os
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np

from ..building import shared_object
from ..problem import Problem
from ..reference import EPSILON
from . import Prepared

NAME = "oneDNN"
FAMILIES = ("layer", "RMS", "batch training", "batch inference", "group", "residual layer")
DTYPES = ("f32", "bf16", "f16")
BUFFERS = ("x", "dy", "gamma", "beta", "mean", "variance", "y", "dx", "dgamma", "dbeta", "residual", "sum")


class _Problem(ctypes.Structure):
    """`problem` of onednn.c."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("family", "dtype", "is_backward", "is_last", "threads")),
        ("shape", ctypes.c_int64 * 3),
        ("groups", ctypes.c_int64),
        ("epsilon", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in BUFFERS),
    ]


@cache
def _library() -> ctypes.CDLL:
    root = Path(os.environ.get("ONEDNN_ROOT", sys.prefix))
    if not (root / "include/oneapi/dnnl/dnnl.h").exists():
        raise ImportError(f"no oneDNN in {root}")
    with tempfile.TemporaryDirectory() as folder:
        built = shared_object(
            "systems/onednn.c",
            folder,
            "-fopenmp",
            f"-I{root}/include",
            f"-L{root}/lib",
            f"-Wl,-rpath,{root}/lib",
            "-ldnnl",
        )
        library = ctypes.CDLL(str(built))
    library.onednn_prepare.restype = ctypes.c_void_p
    library.onednn_execute.argtypes = library.onednn_scratchpad.argtypes = [ctypes.c_void_p]
    library.onednn_free.argtypes = [ctypes.c_void_p]
    library.onednn_scratchpad.restype = ctypes.c_int64
    return library


_library()  # else there is no oneDNN


def version() -> str:
    number = _library().onednn_version()
    return f"{number // 100}.{number % 100}"


def set_threads(count: int) -> None:
    """A primitive has its own."""


class _Primitive:
    """It is freed with the call that holds it."""

    def __init__(self, handle: int, problem: Problem) -> None:
        self.handle, self.problem = handle, problem

    def __del__(self) -> None:
        _library().onednn_free(self.handle)

    def outputs(self) -> dict[str, np.ndarray]:
        assert _library().onednn_execute(self.handle) == 0
        return self.problem.outputs


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    row = problem.row
    if row.family not in FAMILIES or (row.direction == "backward" and row.family == "batch inference"):
        return []
    buffers = {name: getattr(problem, name, None) for name in BUFFERS} | problem.outputs
    if row.family == "batch training" and row.direction == "forward":
        buffers |= {"mean": problem.batch_mean, "variance": problem.batch_spread}
    description = _Problem(
        family=FAMILIES.index(row.family),
        dtype=DTYPES.index(row.dtype),
        is_backward=row.direction == "backward",
        is_last=row.is_last,
        threads=threads,
        groups=row.groups,
        epsilon=EPSILON,
        shape=(ctypes.c_int64 * 3)(*row.shape[:2], math.prod(row.shape[2:])),
        **{name: array.ctypes.data for name, array in buffers.items() if array is not None},
    )
    library = _library()
    handle = library.onednn_prepare(ctypes.byref(description))
    if not handle:
        return []
    primitive = _Primitive(handle, problem)
    return [
        Prepared(
            partial(library.onednn_execute, ctypes.c_void_p(handle)),
            primitive.outputs,
            held=library.onednn_scratchpad(handle),
        )
    ]

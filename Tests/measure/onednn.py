"""oneDNN, where it can be had: onednn.c is built against its headers and loaded.

It is looked for in the folder ONEDNN_ROOT (with include/ and lib/), else in that of the running Python.
PyPI has it:

    python3 -m venv FOLDER && FOLDER/bin/pip install onednn-cpu-gomp onednn-devel-cpu-gomp

That is version 3.2, which has no group and no RMS normalization; any later version 3 with OpenMP will do.
"""

import ctypes
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from building import shared_object
from gradients import EPSILON, Problem

FAMILIES = ("layer", "rms", "batch", "group")
OUTPUTS = ("dx", "dgamma", "dbeta")


class _Problem(ctypes.Structure):
    """`problem` of onednn.c."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("family", "is_bf16", "is_last", "threads")),
        ("shape", ctypes.c_int64 * 4),
        ("groups", ctypes.c_int64),
        ("epsilon", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("x", "dy", "gamma", "mean", "variance", *OUTPUTS)),
    ]


@cache
def load() -> ctypes.CDLL | None:
    """The library made from onednn.c; None where oneDNN is not installed."""
    root = Path(os.environ.get("ONEDNN_ROOT", sys.prefix))
    if not (root / "include/oneapi/dnnl/dnnl.h").exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        built = shared_object("onednn.c", folder, "-fopenmp", f"-I{root}/include", f"-L{root}/lib",
                              f"-Wl,-rpath,{root}/lib", "-ldnnl")  # fmt: skip
        library = ctypes.CDLL(str(built))
    library.onednn_prepare.restype = ctypes.c_void_p
    library.onednn_execute.argtypes = library.onednn_scratchpad.argtypes = [ctypes.c_void_p]
    library.onednn_scratchpad.restype = ctypes.c_int64
    return library


def version() -> str:
    number = load().onednn_version()
    return f"{number // 100}.{number % 100}"


def prepare(problem: Problem, outputs: dict[str, np.ndarray], threads: int) -> ctypes.c_void_p | None:
    """A primitive that writes into `outputs`; None where there is no oneDNN, or it cannot do that."""
    case, library = problem.case, load()
    if library is None or case.family not in FAMILIES:
        return None
    buffers = {name: getattr(problem, name) for name in ("x", "dy", "gamma", "mean", "variance")} | outputs
    description = _Problem(
        family=FAMILIES.index(case.family), is_bf16=case.dtype == "bf16", is_last=case.is_last,
        threads=threads, shape=(ctypes.c_int64 * 4)(*case.shape), groups=case.groups, epsilon=EPSILON,
        **{name: array.ctypes.data for name, array in buffers.items()})  # fmt: skip
    handle = library.onednn_prepare(ctypes.byref(description))
    return ctypes.c_void_p(handle) if handle else None

"""NormKit: the C functions, with arguments that are ready."""

import math
from functools import partial

import numpy as np
from support import library

from ..problem import MOMENTUM, Problem
from ..reference import EPSILON
from . import Prepared

NAME = "NormKit"
F32, DTYPES = 1, {"f32": 1, "f16": 3, "bf16": 4}
L2 = 2


def version() -> str:
    return library.load().normkit_version_string().decode()


def set_threads(count: int) -> None:
    assert library.load().normkit_set_thread_count(count) == 0


def _address(values: np.ndarray | None) -> int | None:
    return None if values is None else values.ctypes.data


def _choices(problem: Problem) -> tuple[int, ...]:
    """Types, layout where there is a choice, and sizes, as all functions take them."""
    row = problem.row
    types, sizes = (DTYPES[row.dtype], F32), (row.shape[0], row.shape[1], math.prod(row.shape[2:]))
    if row.is_rows:
        return *types, *sizes[:2]
    if row.family == "layer over channels":
        return *types, *sizes
    if row.family == "weight":
        return *types, L2, 1, *row.shape
    groups = (row.groups,) if row.family == "group" else ()
    return *types, 2 if row.is_last else 1, *sizes, *groups


def _forward(problem: Problem) -> tuple[str, tuple]:
    x, gamma, beta, y = map(_address, (problem.x, problem.gamma, problem.beta, problem.outputs["y"]))
    sizes, inputs = _choices(problem), (x, 0, gamma, beta)
    family = problem.row.family
    if family == "RMS":
        return "rms_norm", (*sizes, x, 0, gamma, None, 0, EPSILON, y, 0, None)
    if family == "weight":
        return "weight_norm", (*sizes, x, gamma, 0.0, y, None)
    if family == "batch inference":
        known = map(_address, (problem.mean, problem.variance))
        return "batch_norm_inference", (*sizes, *inputs, *known, EPSILON, y, 0)
    if family == "batch training":
        saved = map(_address, (problem.batch_mean, problem.batch_spread))
        running = map(_address, (problem.running_mean, problem.running_variance))
        return "batch_norm_training", (*sizes, *inputs, EPSILON, *running, 0, MOMENTUM, y, 0, *saved)
    name = {"layer over channels": "layer_norm_channels"}.get(family, f"{family}_norm")
    return name, (*sizes, *inputs, EPSILON, y, 0, None, None)


def _backward(problem: Problem) -> tuple[str, tuple]:
    x, dy, gamma, mean, rstd = map(_address, (problem.x, problem.dy, problem.gamma, problem.mean, problem.rstd))
    dx, dgamma, dbeta = (_address(problem.outputs.get(name)) for name in ("dx", "dgamma", "dbeta"))
    sizes, family = _choices(problem), problem.row.family
    if family == "weight":
        return "weight_norm_backward", (*sizes, x, dy, gamma, rstd, 0.0, dx, dgamma, 0)
    known = (0, rstd) if family == "RMS" else (mean, rstd)  # RMS: one_plus_gamma
    name = {
        "RMS": "rms_norm",
        "layer over channels": "layer_norm_channels",
        "batch training": "batch_norm_training",
    }.get(family, f"{family}_norm")
    return f"{name}_backward", (*sizes, x, 0, dy, 0, gamma, *known, EPSILON, dx, 0, dgamma, dbeta, 0)


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    name, arguments = (_forward if problem.row.direction == "forward" else _backward)(problem)
    types = getattr(library.load(), f"normkit_{name}").argtypes
    bare = library.load()[f"normkit_{name}"]  # does not look at the types again
    call = partial(bare, *(kind(value) for kind, value in zip(types, arguments, strict=True)))

    def outputs() -> dict[str, np.ndarray]:
        status = call()
        assert status == 0, f"{name}: status {status}"
        return problem.outputs

    return [Prepared(call, outputs)]

"""NormKit: the C functions, with arguments that are ready; a plan where a residual is added."""

import ctypes
import math
from collections.abc import Callable
from functools import partial

import numpy as np
from support import library

from ..problem import MOMENTUM, Problem
from ..reference import EPSILON
from . import Prepared

NAME = "NormKit"
F32, DTYPES = 1, {"f32": 1, "f16": 3, "bf16": 4}
L2 = 2
LAYER_NORM, ADD_RESIDUAL, STORE_SUM = 1, 1, 4


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


class _Plan:
    """Layer normalization of x + residual, with its memory, on NormKit's threads."""

    def __init__(self, problem: Problem, threads: int) -> None:
        row, functions = problem.row, library.load()
        description = library.struct("normkit_description")(
            method=LAYER_NORM,
            dtype=DTYPES[row.dtype],
            parameter_dtype=F32,
            rows=row.shape[0],
            size=row.shape[1],
            fusions=ADD_RESIDUAL + STORE_SUM,
            epsilon=EPSILON,
        )
        description.struct_size = ctypes.sizeof(description)
        self.plan = ctypes.c_void_p()
        assert functions.normkit_plan_create(ctypes.addressof(description), ctypes.addressof(self.plan)) == 0
        self.workspace = np.empty(functions.normkit_plan_workspace(self.plan, threads), np.uint8)
        self.operands = library.struct("normkit_operands")(
            x=_address(problem.x),
            residual=_address(problem.residual),
            gamma=_address(problem.gamma),
            beta=_address(problem.beta),
            **{name: _address(values) for name, values in problem.outputs.items()},
            workspace=_address(self.workspace),
            workspace_bytes=self.workspace.size,
        )
        self.operands.struct_size = ctypes.sizeof(self.operands)
        bare = functions["normkit_plan_run_threads"]
        self.run = partial(bare, self.plan, ctypes.c_void_p(ctypes.addressof(self.operands)))

    def __call__(self) -> int:
        return self.run()

    def __del__(self) -> None:
        library.load().normkit_plan_destroy(self.plan)


def _function(problem: Problem) -> Callable[[], int]:
    name, arguments = (_forward if problem.row.direction == "forward" else _backward)(problem)
    types = getattr(library.load(), f"normkit_{name}").argtypes
    bare = library.load()[f"normkit_{name}"]  # does not look at the types again
    return partial(bare, *(kind(value) for kind, value in zip(types, arguments, strict=True)))


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    call = _Plan(problem, threads) if problem.row.family == "residual layer" else _function(problem)

    def outputs() -> dict[str, np.ndarray]:
        status = call()
        assert status == 0, f"{problem.row.title}: status {status}"
        return problem.outputs

    return [Prepared(call, outputs)]

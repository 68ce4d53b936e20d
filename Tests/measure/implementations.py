"""The problems of backward.py through NormKit, PyTorch and oneDNN, and a copy of as many bytes.

Each function prepares a call for a number of threads: with buffers that are there, statistics that a
forward pass has saved, and nothing to be looked up. It gives None where the implementation is missing or
lacks the operation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onednn
from gradients import DTYPES, EPSILON, Problem
from support import library
from timing import aligned, find_torch

Prepare = Callable[[Problem, int], "Prepared | None"]


@dataclass
class Prepared:
    """A call that is ready, and what it leaves behind."""

    call: Callable[[], object]
    outputs: Callable[[], dict[str, np.ndarray]] = field(default=dict)  # what was written, in memory order
    returned: int = 0   # bytes of outputs that the call allocates
    held: int = 0       # bytes that the implementation keeps for it


def _outputs(problem: Problem) -> dict[str, np.ndarray]:
    """Outputs to write into, touched, so that their pages exist."""
    return {
        name: aligned(np.zeros_like(problem.x), problem.x.dtype) if name in ("dx", "w")
        else aligned(np.zeros_like(problem.gamma))
        for name in problem.exact
    }  # fmt: skip


def normkit(problem: Problem, threads: int) -> Prepared:
    case, outputs = problem.case, _outputs(problem)
    kept = [problem, outputs]
    x, dy, gamma, mean, rstd = (
        getattr(problem, name).ctypes.data for name in ("x", "dy", "gamma", "mean", "rstd"))  # fmt: skip
    dx, dgamma, dbeta, w = (outputs[name].ctypes.data if name in outputs else None
                            for name in ("dx", "dgamma", "dbeta", "w"))  # fmt: skip
    dtype, f32, layout = 1 if case.dtype == "f32" else 4, 1, 2 if case.is_last else 1
    shape = case.shape if case.is_rows else (*case.shape[:2], case.shape[2] * case.shape[3])
    inputs, gradients = (x, 0, dy, 0, gamma), (EPSILON, dx, 0, dgamma, dbeta, 0)
    name, arguments = {
        "layer": ("layer_norm_backward", (dtype, f32, *shape, *inputs, mean, rstd, *gradients)),
        "rms": ("rms_norm_backward", (dtype, f32, *shape, *inputs, 0, rstd, *gradients)),
        "batch": ("batch_norm_training_backward",
                  (dtype, f32, layout, *shape, *inputs, mean, rstd, *gradients)),
        "group": ("group_norm_backward",
                  (dtype, f32, layout, *shape, case.groups, *inputs, mean, rstd, *gradients)),
        "weight": ("weight_norm", (dtype, f32, 2, 1, *shape, x, gamma, 0.0, w, rstd)),
        "weight_backward": ("weight_norm_backward",
                            (dtype, f32, 2, 1, *shape, x, dy, gamma, rstd, 0.0, dx, dgamma, 0)),
    }[case.family]  # fmt: skip
    function = getattr(library.load(), f"normkit_{name}")
    status = function(*arguments)
    assert status == 0, f"{name}: status {status}"
    return Prepared(lambda: function(*arguments), lambda: kept[1])


def torch(problem: Problem, threads: int) -> Prepared | None:
    pytorch = find_torch()
    if pytorch is None:
        return None
    case, aten = problem.case, pytorch.ops.aten

    def tensor(array: np.ndarray):
        if case.dtype == "bf16" and array.dtype == DTYPES["bf16"]:
            return pytorch.from_numpy(array.view(np.int16)).view(pytorch.bfloat16)
        return pytorch.from_numpy(array)

    def data(array: np.ndarray):
        if case.is_last:
            n, c, h, w = case.shape
            return tensor(array).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return tensor(array).reshape(case.shape)

    x, dy = data(problem.x), data(problem.dy)
    gamma, mean, rstd = map(tensor, (problem.gamma, problem.mean, problem.rstd))
    if case.is_rows:
        rows, size = case.shape
        mean, rstd = mean.reshape(-1, 1), rstd.reshape(-1, 1)
    else:
        n, c, h, w = case.shape
    if case.family == "rms":    # on the CPU there is no operator for it: what autograd does
        x.requires_grad_(), gamma.requires_grad_()
        with pytorch.enable_grad():
            y = pytorch.nn.functional.rms_norm(x, (size,), gamma, EPSILON)
    all_three = [True, True, True]
    call = {
        "layer": lambda: aten.native_layer_norm_backward(dy, x, [size], mean, rstd, gamma, gamma, all_three),
        "rms": lambda: pytorch.autograd.grad(y, (x, gamma), dy, retain_graph=True),
        "batch": lambda: aten.native_batch_norm_backward(
            dy, x, gamma, None, None, mean, rstd, True, EPSILON, all_three),
        "group": lambda: aten.native_group_norm_backward(
            dy, x, mean.reshape(n, -1), rstd.reshape(n, -1), gamma, n, c, h * w, case.groups, all_three),
        "weight": lambda: aten._weight_norm_interface(x, gamma.reshape(-1, 1), 0),
        "weight_backward": lambda: aten._weight_norm_interface_backward(dy, x, gamma.reshape(-1, 1), rstd, 0),
    }[case.family]

    def outputs() -> dict[str, np.ndarray]:
        found = {}
        for name, value in zip(problem.exact, call(), strict=False):   # weights: and the norms
            value = value.permute(0, 2, 3, 1) if name == "dx" and case.is_last else value
            found[name] = value.contiguous().float().numpy().reshape(-1)
        return found

    returned = sum(value.nbytes for value in call())
    return Prepared(call, outputs, returned)


def one_dnn(problem: Problem, threads: int) -> Prepared | None:
    outputs = _outputs(problem)
    handle = onednn.prepare(problem, outputs, threads)
    if handle is None:
        return None
    kept, execute = [problem, outputs], onednn.load().onednn_execute
    assert execute(handle) == 0
    return Prepared(lambda: execute(handle), lambda: kept[1], held=onednn.load().onednn_scratchpad(handle))


def copy(problem: Problem, threads: int) -> Prepared:
    """Reads and writes as many bytes as the pass does at least.

    Two tensors are read and one is written (forward, one and one), so that 1.5 times the bytes of x (forward,
    those of x) are copied. By PyTorch where it is there, on all threads.
    """
    size = problem.x.size if "w" in problem.exact else problem.x.size * 3 // 2
    source = aligned(np.resize(problem.x, size), problem.x.dtype)
    target = aligned(np.zeros(source.shape), source.dtype)
    if (pytorch := find_torch()) is None:
        return Prepared(lambda: np.copyto(target, source))
    to, of = (pytorch.from_numpy(array.view(np.int8)) for array in (target, source))
    return Prepared(lambda: to.copy_(of))


PEERS: dict[str, Prepare] = {"PyTorch": torch, "oneDNN": one_dnn}
ALL: dict[str, Prepare] = {"NormKit": normkit} | PEERS | {"copy": copy}

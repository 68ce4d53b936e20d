"""PyTorch: the functions of torch.nn.functional, what autograd calls for their gradients, and `out=` variants.

Outputs of ordinary calls come from the allocator, which keeps memory (allocator.py). Halves are tried with
parameters in f32 and in their own type. PyTorch has no operation for layer normalization over channels.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from ..problem import MOMENTUM, Problem
from ..reference import EPSILON, IS_DATA
from ..rows import DTYPES
from . import Prepared

NAME = "PyTorch"
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
ALL_THREE = [True, True, True]

torch.set_grad_enabled(False)
warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # one of the ways that are tried
aten = torch.ops.aten


def version() -> str:
    return torch.__version__


def set_threads(count: int) -> None:
    torch.set_num_threads(count)


def _array(tensor: torch.Tensor) -> np.ndarray:
    """NumPy's bfloat16 is that of ml_dtypes, which PyTorch doesn't know."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(DTYPES["bf16"])
    return tensor.numpy()


class Tensors:
    """Those of a problem, in its memory, in the shapes that PyTorch wants."""

    def __init__(self, problem: Problem, parameter_dtype: torch.dtype) -> None:
        self.row, self.problem = problem.row, problem
        self.x = self.data(problem.x)
        self.gamma, self.beta = (torch.from_numpy(v).to(parameter_dtype) for v in (problem.gamma, problem.beta))
        if self.row.direction == "backward":
            self.dy = self.data(problem.dy)
            self.mean, self.rstd = map(torch.from_numpy, (problem.mean, problem.rstd))
        else:
            self.y = self.data(problem.outputs["y"])
        if self.row.family == "residual layer":
            self.residual, self.sum = self.data(problem.residual), self.data(problem.outputs["sum"])

    def data(self, values: np.ndarray) -> torch.Tensor:
        row = self.row
        is_bf16 = row.dtype == "bf16"
        tensor = torch.from_numpy(values.view(np.int16) if is_bf16 else values).view(TYPES[row.dtype])
        if row.is_last:
            return tensor.reshape(row.shape[0], *row.shape[2:], row.shape[1]).movedim(-1, 1)
        return tensor.reshape(row.shape)

    def in_memory_order(self, tensor: torch.Tensor) -> np.ndarray:
        """Of data of the row's type and layout."""
        return _array((tensor.movedim(1, -1) if self.row.is_last else tensor).contiguous().reshape(-1))


def _forward(t: Tensors) -> Iterator[tuple[str, Callable]]:
    """Calls that give y, and calls that write it."""
    row, problem, parameters = t.row, t.problem, (t.gamma, t.beta)
    samples, channels, *spatial = row.shape
    if row.family == "layer":
        yield "", partial(F.layer_norm, t.x, (channels,), *parameters, EPSILON)
        write = partial(
            aten.native_layer_norm.out, out0=t.y, out1=torch.empty(samples, 1), out2=torch.empty(samples, 1)
        )
        yield "out=", partial(write, t.x, (channels,), *parameters, EPSILON)
    elif row.family == "residual layer":
        saved = torch.empty(samples, 1), torch.empty(samples, 1)

        def returned() -> tuple[torch.Tensor, torch.Tensor]:
            total = t.x + t.residual
            return F.layer_norm(total, (channels,), *parameters, EPSILON), total

        def written() -> tuple[torch.Tensor, torch.Tensor]:
            torch.add(t.x, t.residual, out=t.sum)
            aten.native_layer_norm.out(
                t.sum, (channels,), *parameters, EPSILON, out0=t.y, out1=saved[0], out2=saved[1]
            )
            return t.y, t.sum

        yield "", returned
        yield "out=", written
    elif row.family == "RMS":
        yield "", partial(F.rms_norm, t.x, (channels,), t.gamma, EPSILON)
    elif row.family.startswith("batch"):
        is_training = row.family == "batch training"
        arrays = (
            (problem.running_mean, problem.running_variance)
            if is_training
            else (problem.mean, problem.variance)
        )
        mean, variance = map(torch.from_numpy, arrays)
        yield "", partial(F.batch_norm, t.x, mean, variance, t.gamma, t.beta, is_training, MOMENTUM, EPSILON)
        saved = torch.empty(channels * is_training), torch.empty(channels * is_training)
        write = partial(aten.native_batch_norm.out, out=t.y, save_mean=saved[0], save_invstd=saved[1])
        yield "out=", partial(write, t.x, *parameters, mean, variance, is_training, MOMENTUM, EPSILON)
    elif row.family == "group":
        yield "", partial(F.group_norm, t.x, row.groups, *parameters, EPSILON)
        saved = torch.empty(samples, row.groups), torch.empty(samples, row.groups)
        write = partial(aten.native_group_norm.out, out0=t.y, out1=saved[0], out2=saved[1])
        yield (
            "out=",
            partial(write, t.x, *parameters, samples, channels, math.prod(spatial), row.groups, EPSILON),
        )
    elif row.family == "instance":
        yield "", partial(F.instance_norm, t.x, weight=t.gamma, bias=t.beta, eps=EPSILON)
    elif row.family == "weight":
        g = t.gamma.reshape(-1, 1)
        yield "", partial(aten._weight_norm_interface, t.x, g, 0)
        write = partial(aten._weight_norm_interface.out, out0=t.y, out1=torch.empty(samples, 1))
        yield "out=", partial(write, t.x, g, 0)


def _backward(t: Tensors) -> Callable | None:
    """A call that gives the gradients: what autograd calls, or autograd where that is several operations."""
    row, x, dy, gamma = t.row, t.x, t.dy, t.gamma
    samples, channels, *spatial = row.shape
    if row.family == "layer":
        saved = (s.to(gamma.dtype).reshape(-1, 1) for s in (t.mean, t.rstd))
        return partial(aten.native_layer_norm_backward, dy, x, [channels], *saved, gamma, t.beta, ALL_THREE)
    if row.family == "batch training":
        return partial(
            aten.native_batch_norm_backward, dy, x, gamma, None, None, t.mean, t.rstd, True, EPSILON, ALL_THREE
        )
    if row.family == "group":
        saved = (s.to(gamma.dtype).reshape(samples, -1) for s in (t.mean, t.rstd))
        return partial(
            aten.native_group_norm_backward,
            dy,
            x,
            *saved,
            gamma,
            samples,
            channels,
            math.prod(spatial),
            row.groups,
            ALL_THREE,
        )
    if row.family == "weight":
        return partial(
            aten._weight_norm_interface_backward, dy, x, gamma.reshape(-1, 1), t.rstd.reshape(-1, 1), 0
        )
    normalize = {
        "RMS": lambda: F.rms_norm(x, (channels,), gamma, EPSILON),
        "instance": lambda: F.instance_norm(x, weight=gamma, bias=t.beta, eps=EPSILON),
    }.get(row.family)
    if normalize is None:
        return None
    leaves = (x, gamma) if row.family == "RMS" else (x, gamma, t.beta)
    for leaf in leaves:
        leaf.requires_grad_()
    with torch.enable_grad():
        y = normalize()
    return partial(torch.autograd.grad, y, leaves, dy, retain_graph=True)


def _results(t: Tensors, result: object) -> dict[str, np.ndarray]:
    """What a call gave; a result of another type than x is not the same operation, and left out."""
    found = {}
    values = result if isinstance(result, tuple) else (result,)
    for name, value in zip(t.problem.outputs, values, strict=False):  # the forward ones give statistics, too
        if name not in IS_DATA:
            found[name] = _array(value.contiguous().reshape(-1))
        elif value.dtype == t.x.dtype:
            found[name] = t.in_memory_order(value.detach())
    return found


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    found = []
    for dtype in dict.fromkeys((torch.float32, TYPES[problem.row.dtype])):
        t = Tensors(problem, dtype)
        calls = _forward(t) if problem.row.direction == "forward" else [("", _backward(t))]
        for way, call in calls:
            if call is None:
                continue
            try:
                result = call()
            except RuntimeError:  # no mixed types there
                continue
            names = [way, "f32 parameters" if dtype != t.x.dtype and dtype == torch.float32 else ""]
            results = result if isinstance(result, tuple) else (result,)
            returned = 0 if way == "out=" else sum(value.nbytes for value in results)
            outputs = partial(lambda t, call: _results(t, call()), t, call)
            found.append(Prepared(call, outputs, " ".join(filter(None, names)), returned))
    return found

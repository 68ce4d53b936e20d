"""Normalizations with what stands before or after them, as plans of NormKit and as operators of PyTorch."""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any, Callable, Sequence

import torch
from torch import Tensor

from .._engine import Plan
from .._library import library, refusal
from .._plan_abi import Operands
from . import _short as short
from ._autograd import is_transformed
from ._operators import define_inference, machine_epsilon


@functools.lru_cache(maxsize=1000)
def _plan(method: str, **choices: Any) -> Plan:
    return Plan(method, **choices)


def _run(plan: Plan, x: Tensor, y: Tensor, **others: Tensor | None) -> None:
    """Run a plan on memory that lies as it wants it, on NormKit's threads."""
    operands = Operands(struct_size=ctypes.sizeof(Operands), x=x.data_ptr(), y=y.data_ptr())
    for name, tensor in others.items():
        if tensor is not None:
            setattr(operands, name, tensor.data_ptr())
    needed = library.normkit_plan_workspace(plan._handle, library.normkit_thread_count())
    if needed:
        workspace = torch.empty(needed, dtype=torch.uint8)
        operands.workspace, operands.workspace_bytes = workspace.data_ptr(), needed
    status = library.normkit_plan_run_threads(plan._handle, ctypes.byref(operands))
    if status:
        raise refusal(status, "normkit_plan_run_threads")


def _contiguous(tensor: Tensor) -> Tensor:
    return tensor.contiguous().resolve_neg()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _checked(x: Tensor, row: Sequence[int], **others: Tensor | None) -> dict[str, Any]:
    """The dtypes for a plan. Raises TypeError or ValueError, naming the argument, if one does not fit."""
    if x.device.type != "cpu":
        raise TypeError(f"input is on {x.device}; NormKit needs it on the CPU")
    dtypes = set()
    for name, tensor in others.items():
        if tensor is None:
            continue
        if name == "residual":
            if tensor.shape != x.shape or tensor.dtype != x.dtype:
                raise ValueError(f"residual is {_name(tensor.dtype)} {tuple(tensor.shape)}, input another array")
        elif tensor.shape != torch.Size(row):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must have {tuple(row)}")
        else:
            dtypes.add(tensor.dtype)
    if len(dtypes) > 1:
        raise TypeError("weight and bias have two dtypes")
    return {"dtype": _name(x.dtype), "parameter_dtype": _name(dtypes.pop()) if dtypes else None}


def _rows(
    method: str, x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float | None,
    residual: Tensor | None = None, store_sum: bool = False, activation: str = "identity",
) -> tuple[Tensor, Tensor | None]:
    """Rows of the trailing axes `shape`."""
    if eps is None and method == "rms_norm":
        eps = machine_epsilon(x)
    found = short.fused_rows(method, x, residual, shape, weight, bias, eps, activation, store_sum)
    if found is not None:
        return found[0], found[1] if store_sum else None
    count = len(shape)
    if not count or x.shape[-count:] != torch.Size(shape):
        raise ValueError(f"normalized_shape is {tuple(shape)}; input has shape {tuple(x.shape)}")
    dtypes = _checked(x, shape, weight=weight, bias=bias, residual=residual)
    size = math.prod(shape)
    choices = {"add_residual": residual is not None, "store_sum": store_sum, "activation_after": activation}
    plan = _plan(method, rows=x.numel() // size if size else 0, size=size, epsilon=eps, **dtypes, **choices)
    x = _contiguous(x)
    residual, weight, bias = (None if one is None else _contiguous(one) for one in (residual, weight, bias))
    y = torch.empty_like(x)
    total = torch.empty_like(x) if store_sum else None
    _run(plan, x, y, residual=residual, gamma=weight, beta=bias, sum=total)
    return y, total


def _run_add_layer_norm(x: Any, residual: Any, weight: Any, bias: Any, shape: Any, eps: float) -> Tensor:
    return _rows("layer_norm", x, shape, weight, bias, eps, residual)[0]


def _run_add_layer_norm_sum(x: Any, residual: Any, weight: Any, bias: Any, shape: Any, eps: float) -> Any:
    return _rows("layer_norm", x, shape, weight, bias, eps, residual, store_sum=True)


def _run_add_rms_norm(x: Any, residual: Any, weight: Any, shape: Any, eps: float | None) -> Tensor:
    return _rows("rms_norm", x, shape, weight, None, eps, residual)[0]


def _run_add_rms_norm_sum(x: Any, residual: Any, weight: Any, shape: Any, eps: float | None) -> Any:
    return _rows("rms_norm", x, shape, weight, None, eps, residual, store_sum=True)


def _run_layer_norm_activation(x: Any, weight: Any, bias: Any, shape: Any, eps: float, activation: str) -> Tensor:
    return _rows("layer_norm", x, shape, weight, bias, eps, activation=activation)[0]


def _run_group_norm_activation(x: Any, weight: Any, bias: Any, groups: int, eps: float, activation: str) -> Tensor:
    if (found := short.fused_groups(x, groups, weight, bias, eps, activation)) is not None:
        return found
    if x.dim() < 2:
        raise ValueError(f"input has shape {tuple(x.shape)}; it must have samples and channels")
    dtypes = _checked(x, x.shape[1:2], weight=weight, bias=bias)
    is_last = not x.is_contiguous() and _is_channels_last(x)
    plan = _plan(
        "group_norm", samples=x.shape[0], channels=x.shape[1], positions=math.prod(x.shape[2:]), groups=groups,
        layout="channels_last" if is_last else "channels_first", epsilon=eps, activation_after=activation, **dtypes,
    )
    x = x.resolve_neg() if is_last else _contiguous(x)
    y = torch.empty_like(x)
    weight, bias = (None if one is None else _contiguous(one) for one in (weight, bias))
    _run(plan, x, y, gamma=weight, beta=bias)
    return y


def _is_channels_last(x: Tensor) -> bool:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.dim() in formats and x.is_contiguous(memory_format=formats[x.dim()])


_ROW = "SymInt[] normalized_shape, float"
_LAYER = f"Tensor x, Tensor residual, Tensor? weight, Tensor? bias, {_ROW} eps"
_RMS = f"Tensor x, Tensor residual, Tensor? weight, {_ROW}? eps"
_AFFINE = "Tensor x, Tensor? weight, Tensor? bias"


def _as_rows(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _one(x: Tensor, *_: Any) -> Tensor:
    return _as_rows(x)


def _two(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return _as_rows(x), _as_rows(x)


def _like_channels(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x) if _is_channels_last(x) else _as_rows(x)


class _Operator:
    """An operator; outside of a graph, what it runs."""

    def __init__(
        self, name: str, schema: str, results: int, run: Callable[..., Any], fake: Callable[..., Any]
    ) -> None:
        self._run, self._operator = run, define_inference(name, schema, results, run, fake)

    def __call__(self, *arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            return self._operator(*arguments)
        if is_transformed():
            raise RuntimeError("normkit.torch takes no part in torch.func's transforms and forward-mode gradients")
        return self._run(*arguments)


# The first of two returns y, the second also the sum.
add_layer_norm = (
    _Operator("add_layer_norm", _LAYER, 1, _run_add_layer_norm, _one),
    _Operator("add_layer_norm_sum", _LAYER, 2, _run_add_layer_norm_sum, _two),
)
add_rms_norm = (
    _Operator("add_rms_norm", _RMS, 1, _run_add_rms_norm, _one),
    _Operator("add_rms_norm_sum", _RMS, 2, _run_add_rms_norm_sum, _two),
)
layer_norm_activation = _Operator(
    "layer_norm_activation", f"{_AFFINE}, {_ROW} eps, str activation", 1, _run_layer_norm_activation, _one
)
group_norm_activation = _Operator(
    "group_norm_activation", f"{_AFFINE}, int num_groups, float eps, str activation", 1,
    _run_group_norm_activation, _like_channels,
)

"""Normalizations together with what stands before or after them, in one pass over memory.

Where gradients are recorded, the steps are done one after another, as they are then needed one by one. In the graphs of
`torch.compile` and `torch.export` these functions are operators of the namespace `normkit`; `fuse` puts them there.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Literal, Sequence, overload

import torch
from torch import Tensor

from . import _planned as planned
from . import functional
from ._autograd import is_recorded

__all__ = ["add_layer_norm", "add_rms_norm", "group_norm_activation", "layer_norm_activation"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.nn.functional.relu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": functools.partial(torch.nn.functional.gelu, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_swish": torch.nn.functional.hardswish,
}
Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "hard_swish"]


@overload
def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    return_sum: Literal[False] = False,
) -> Tensor: ...
@overload
def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    return_sum: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def add_layer_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    return_sum: bool = False,
) -> Any:
    """``layer_norm(input + residual, ...)``, and with `return_sum` a tuple of it and ``input + residual``.

    With `return_sum`, the sum is normalized as it is returned; without, before it is rounded to halves. `residual` has
    the shape and dtype of `input`.

    >>> add_layer_norm(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]), (2,), eps=0.0, return_sum=True)
    (tensor([-1.,  1.]), tensor([1., 3.]))
    """
    shape = functional.extents(normalized_shape)
    if is_recorded(input, weight, bias) or is_recorded(residual):
        total = input + residual
        y = functional.layer_norm(total, shape, weight, bias, eps)
        return (y, total) if return_sum else y
    return planned.add_layer_norm[return_sum](input, residual, weight, bias, shape, eps)


@overload
def add_rms_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    return_sum: Literal[False] = False,
) -> Tensor: ...
@overload
def add_rms_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    return_sum: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def add_rms_norm(
    input: Tensor,
    residual: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
    *,
    return_sum: bool = False,
) -> Any:
    """``rms_norm(input + residual, ...)``, as `add_layer_norm`.

    >>> add_rms_norm(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), (2,), eps=0.0)
    tensor([1., 1.])
    """
    shape = functional.extents(normalized_shape)
    if is_recorded(input, weight, residual):
        total = input + residual
        y = functional.rms_norm(total, shape, weight, eps)
        return (y, total) if return_sum else y
    return planned.add_rms_norm[return_sum](input, residual, weight, shape, eps)


def layer_norm_activation(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    activation: Activation = "gelu",
) -> Tensor:
    """``activation(layer_norm(input, ...))``.

    >>> layer_norm_activation(torch.tensor([1.0, 3.0]), (2,), eps=0.0, activation="relu")
    tensor([0., 1.])
    """
    shape = functional.extents(normalized_shape)
    if is_recorded(input, weight, bias):
        return _activation(activation)(functional.layer_norm(input, shape, weight, bias, eps))
    y: Tensor = planned.layer_norm_activation(input, weight, bias, shape, eps, activation)
    return y


def group_norm_activation(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    activation: Activation = "silu",
) -> Tensor:
    """``activation(group_norm(input, ...))``.

    >>> group_norm_activation(torch.tensor([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0, activation="relu")
    tensor([[0., 1., 0., 1.]])
    """
    if is_recorded(input, weight, bias):
        return _activation(activation)(functional.group_norm(input, num_groups, weight, bias, eps))
    y: Tensor = planned.group_norm_activation(input, weight, bias, num_groups, eps, activation)
    return y


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in _ACTIVATIONS:
        raise ValueError(f"activation is {name!r}; it must be one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]

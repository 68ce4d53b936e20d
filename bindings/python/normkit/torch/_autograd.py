"""A function of normkit and its backward function, as one operation of PyTorch's autograd."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

# Takes x, and by keyword weight, bias and return_stats. Returns y, or with return_stats a tuple of y and what
# its backward function is to be given as `stats`.
Forward = Callable[..., Any]
# Takes dy and x, and by keyword weight, stats and output_mask. Returns the gradients of x, weight and bias.
Backward = Callable[..., Any]


def differentiable(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    forward: Forward,
    backward: Backward,
    **choices: Any,
) -> Tensor:
    """``forward(x, weight=weight, bias=bias)`` with the gradients that `backward` finds.

    Both get `choices`, too. It can be differentiated once. Statistics are only asked for if there will be
    gradients; of nothing, there are none.
    """
    if torch.compiler.is_dynamo_compiling():
        return _uncompiled()(x, weight, bias, forward, backward, **choices)
    if isinstance(x, Tensor):
        x = x.resolve_neg()
    if isinstance(weight, Tensor):
        weight = weight.resolve_neg()
    if isinstance(bias, Tensor):
        bias = bias.resolve_neg()
    recorded = is_recorded(x, weight, bias)
    if not recorded and not is_transformed():  # autograd's way costs more than a small normalization
        return forward(x, weight=weight, bias=bias, return_stats=False, **choices)  # type: ignore[no-any-return]
    apply: Callable[..., Tensor] = _Normalization.apply
    return_stats = recorded and x.numel() > 0
    return apply(x, weight, bias, partial(forward, **choices), partial(backward, **choices), return_stats)


def is_recorded(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> bool:
    """Whether there will be gradients."""
    return torch.is_grad_enabled() and (
        x.requires_grad
        or (weight is not None and weight.requires_grad)
        or (bias is not None and bias.requires_grad)
    )


def is_transformed() -> bool:
    """Whether `torch.func` or forward-mode gradients may be at work, which `_Normalization` refuses."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active or forward_ad._current_level >= 0


_disabled: Callable[..., Tensor] | None = None


def _uncompiled() -> Callable[..., Tensor]:
    """`differentiable`, which torch.compile leaves as it is. A decorator would import the compiler."""
    global _disabled
    if _disabled is None:
        _disabled = torch.compiler.disable(differentiable)  # type: ignore[no-untyped-call]
    return _disabled


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        forward: Forward,
        backward: Backward,
        return_stats: bool,
    ) -> Any:
        result = forward(x, weight=weight, bias=bias, return_stats=return_stats)
        y, *stats = result if return_stats else (result,)
        ctx.save_for_backward(x, weight, *stats)
        ctx.backward_function = backward
        ctx.strides = y.stride()
        ctx.parameter_dtypes = None if weight is None else weight.dtype, None if bias is None else bias.dtype
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        # Where gradients are to be differentiated, that is refused; else, nothing is recorded, and no guard needed.
        return _refused_twice(ctx, dy) if torch.is_grad_enabled() else _gradients(ctx, dy)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *stats = ctx.saved_tensors
    if dy.stride() != ctx.strides:  # that of a sum, for one, is a number that is seen as a tensor
        dy = torch.empty_strided(dy.shape, ctx.strides, dtype=dy.dtype, device=dy.device).copy_(dy)
    dx, dweight, dbias = ctx.backward_function(
        dy.resolve_neg(), x, weight=weight, stats=stats or None, output_mask=ctx.needs_input_grad[:3]
    )
    # They come in the statistics type, float32 for halves, and are rounded once, here.
    weight_dtype, bias_dtype = ctx.parameter_dtypes
    if dweight is not None and dweight.dtype is not weight_dtype:
        dweight = dweight.to(weight_dtype)
    if dbias is not None and dbias.dtype is not bias_dtype:
        dbias = dbias.to(bias_dtype)
    return dx, dweight, dbias, None, None, None


_refused_twice = once_differentiable(_gradients)

"""The normalizations as pairs of functions: what `_autograd.Forward` and `_autograd.Backward` say, of normkit's."""

from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import Tensor

import normkit

from ._operators import statistics_dtype

_HALVES = (torch.float16, torch.bfloat16)


def statistics(x: Tensor, running: Tensor | None) -> Tensor | None:
    """Running statistics in the type that those of `x` have: float32 for halves."""
    if running is None or running.dtype not in _HALVES:
        return running
    return running.to(statistics_dtype(x))


def rms_norm_backward(dy: Tensor, x: Tensor, *, stats: Sequence[Tensor] | None, **others: Any) -> Any:
    return normkit.rms_norm_backward(dy, x, rstd=stats[0] if stats else None, **others)


def batch_norm_constant(
    x: Tensor,
    *,
    weight: Tensor | None,
    bias: Tensor | None,
    return_stats: bool,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    eps: float,
) -> Any:
    """Batch normalization whose mean and variance are the running ones, in the statistics type."""
    y = normkit.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
    # Kept for backward as statistics are, so that autograd notices if they are updated in between.
    return (y, running_mean, running_var) if return_stats else y


def batch_norm_constant_backward(
    dy: Tensor,
    x: Tensor,
    *,
    stats: Sequence[Tensor] | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    **others: Any,
) -> Any:
    mean, var = stats or (running_mean, running_var)
    return normkit.batch_norm_backward(dy, x, running_mean=mean, running_var=var, training=False, **others)


def batch_norm_tracked(x: Tensor, **arguments: Any) -> Any:
    """Batch normalization in training that returns new running statistics beside those of the batch."""
    return _tracked(normkit.batch_norm, x, training=True, **arguments)


def instance_norm_tracked(x: Tensor, **arguments: Any) -> Any:
    """Instance normalization that returns new running statistics beside those of the samples."""
    return _tracked(normkit.instance_norm, x, **arguments)


def _tracked(
    function: Any,
    x: Tensor,
    *,
    return_stats: bool,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    **arguments: Any,
) -> Any:
    if not return_stats:
        return function(x, running_mean=None, running_var=None, **arguments)
    before = statistics(x, running_mean), statistics(x, running_var)
    mean, var = (None if running is None else running.clone() for running in before)
    found = function(x, running_mean=mean, running_var=var, return_stats=True, **arguments)
    return *found, *(found[1].new_empty(0) if running is None else running for running in (mean, var))


def batch_norm_tracked_backward(dy: Tensor, x: Tensor, **others: Any) -> Any:
    return _tracked_backward(normkit.batch_norm_backward, dy, x, **others)


def instance_norm_tracked_backward(dy: Tensor, x: Tensor, **others: Any) -> Any:
    return _tracked_backward(normkit.instance_norm_backward, dy, x, **others)


def _tracked_backward(
    function: Any,
    dy: Tensor,
    x: Tensor,
    *,
    stats: Sequence[Tensor] | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    **others: Any,
) -> Any:
    return function(dy, x, stats=stats[:2] if stats else None, **others)


def weight_norm(v: Tensor, *, weight: Tensor | None, bias: None, return_stats: Any, **choices: Any) -> Any:
    return normkit.weight_norm(v, weight, return_norms=return_stats, **choices)


def weight_norm_backward(
    dw: Tensor,
    v: Tensor,
    *,
    weight: Tensor | None,
    stats: Sequence[Tensor] | None,
    output_mask: Sequence[bool],
    **choices: Any,
) -> Any:
    choices |= {"norms": stats[0] if stats else None, "output_mask": output_mask[:2]}
    return *normkit.weight_norm_backward(dw, v, weight, **choices), None


def normalize(x: Tensor, *, weight: None, bias: None, **choices: Any) -> Any:
    return normkit.normalize(x, **choices)


def normalize_backward(
    dy: Tensor, x: Tensor, *, weight: None, output_mask: Sequence[bool], **choices: Any
) -> Any:
    return normkit.normalize_backward(dy, x, **choices), None, None

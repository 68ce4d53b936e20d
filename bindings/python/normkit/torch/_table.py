"""The normalizations as operators: `torch.ops.normkit.layer_norm` and its siblings."""

from __future__ import annotations

from typing import Any, Sequence

from torch import Tensor

import normkit

from . import _families as families
from ._operators import Normalization

_AFFINE = "Tensor x, Tensor? weight, Tensor? bias"
_TRACKED = "Tensor? running_mean, Tensor? running_var, float momentum, float eps"

# Shapes of statistics. Extents may be symbols.
Shapes = Sequence[Sequence[Any]]


def _rows(x: Tensor, normalized_shape: Sequence[Any], eps: float | None) -> Shapes:
    return [x.shape[: x.dim() - len(normalized_shape)]] * 2


def _row(x: Tensor, normalized_shape: Sequence[Any], eps: float | None) -> Shapes:
    return _rows(x, normalized_shape, eps)[:1]


def _groups(x: Tensor, num_groups: int, eps: float) -> Shapes:
    return [(x.shape[0], num_groups)] * 2


def _running(x: Tensor, *running: Tensor | None) -> Shapes:
    return [(0,) if one is None else x.shape[1:2] for one in running]


def _channels(x: Tensor, mean: Tensor | None, var: Tensor | None, momentum: float, eps: float) -> Shapes:
    return [x.shape[1:2], x.shape[1:2], *_running(x, mean, var)]


def _sample_channels(x: Tensor, mean: Tensor | None, var: Tensor | None, momentum: float, eps: float) -> Shapes:
    return [x.shape[:2], x.shape[:2], *_running(x, mean, var)]


def _slices(v: Tensor, dim: int | None, norm: str) -> Shapes:
    return [() if dim is None else (v.shape[dim],)]


def _kept(x: Tensor, axes: Sequence[int], p: float, eps: float) -> Shapes:
    over = {axis % x.dim() for axis in axes}
    return [[extent for axis, extent in enumerate(x.shape) if axis not in over]]


layer_norm = Normalization(
    "layer_norm", _AFFINE, "SymInt[] normalized_shape, float eps",
    normkit.layer_norm, normkit.layer_norm_backward, 2, _rows,
)
rms_norm = Normalization(
    "rms_norm", "Tensor x, Tensor? weight", "SymInt[] normalized_shape, float? eps",
    normkit.rms_norm, families.rms_norm_backward, 1, _row,
)
group_norm = Normalization(
    "group_norm", _AFFINE, "int num_groups, float eps",
    normkit.group_norm, normkit.group_norm_backward, 2, _groups,
)
instance_norm = Normalization(
    "instance_norm", _AFFINE, _TRACKED,
    families.instance_norm_tracked, families.instance_norm_tracked_backward, 4, _sample_channels,
)
batch_norm_training = Normalization(
    "batch_norm_training", _AFFINE, _TRACKED,
    families.batch_norm_tracked, families.batch_norm_tracked_backward, 4, _channels,
)
batch_norm_inference = Normalization(
    "batch_norm_inference", _AFFINE, "Tensor? running_mean, Tensor? running_var, float eps",
    families.batch_norm_constant, families.batch_norm_constant_backward,
)
weight_norm = Normalization(
    "weight_norm", "Tensor v, Tensor? g", "int? dim, str norm",
    families.weight_norm, families.weight_norm_backward, 1, _slices,
)
normalize = Normalization(
    "normalize", "Tensor x", "int[] axes, float p, float eps",
    families.normalize, families.normalize_backward, 1, _kept,
)

"""Batch normalization over the batch of all processes of a process group."""

from __future__ import annotations

from functools import partial
from typing import Any, Sequence

import torch
from torch import Tensor, distributed

import normkit

from ._autograd import differentiable
from ._modules import BatchNorm
from .functional import updated


class SyncBatchNorm(BatchNorm):
    """`torch.nn.SyncBatchNorm` on the CPU, computed by NormKit: its batch is that of all processes.

    In training, each process sends 24 bytes per channel forward and 16 backward, in one all-gather each, over
    any backend of torch.distributed that takes tensors on the CPU. What is collected is added up in the order
    of the ranks: all have the same bits. Shares may have different sizes; a process with an empty share takes
    part with a tensor of no samples. As in PyTorch, gradients of weight and bias are those of this process's
    share (DistributedDataParallel takes their mean), and without a process group, or with one process in it,
    this is batch normalization.

    It is no subclass of `torch.nn.SyncBatchNorm`, which DistributedDataParallel refuses on the CPU. For all
    batch normalizations of a model: ``convert(torch.nn.SyncBatchNorm.convert_sync_batchnorm(model))``.

    Args:
        num_features, eps, momentum, affine, track_running_stats, device, dtype, bias: as for `BatchNorm2d`.
        process_group: the processes; None is all of them.

    >>> import torch
    >>> SyncBatchNorm(1, eps=0.0, affine=False)(torch.tensor([[1.0], [3.0]])).T
    tensor([[-1.,  1.]])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        **bias: bool,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def _normalize(
        self, x: Tensor, mean: Tensor | None, var: Tensor | None, training: bool, momentum: float
    ) -> Tensor:
        group = self.process_group
        if not (self.training and distributed.is_available() and distributed.is_initialized()):
            return super()._normalize(x, mean, var, training, momentum)
        if distributed.get_world_size(group) == 1:
            return super()._normalize(x, mean, var, training, momentum)
        moments = _moments(x.detach(), group)
        y = differentiable(
            x,
            self.weight,
            self.bias,
            _forward,
            partial(_backward, group=group),
            moments=moments,
            eps=self.eps,
        )
        if mean is not None and var is not None and moments.count.any():
            _update(x, mean, var, moments, momentum)
        return y


def _gather(own: Any, group: Any) -> list[Tensor]:
    """The NumPy array `own` of every process, in the order of the ranks. They have to have the same shape."""
    tensor = torch.from_numpy(own)
    gathered = [torch.empty_like(tensor) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(gathered, tensor, group=group)
    return gathered


def _moments(x: Tensor, group: Any) -> normkit.Moments:
    """The moments of the elements of all processes."""
    share = normkit.Moments(x.shape[1]).accumulate(x)
    moments = normkit.Moments(x.shape[1])
    for data in _gather(share.data, group):
        moments.merge(normkit.Moments.from_data(data))
    if (moments.count == 1).any():
        raise ValueError("all processes together have one value per channel: its variance is 0")
    return moments


def _update(x: Tensor, mean: Tensor, var: Tensor, moments: normkit.Moments, momentum: float) -> None:
    """Fold the mean and the unbiased variance of all processes' batches into the running ones."""
    with updated(x, mean, var) as running:
        found = moments.finish(correction=1)[:2]
        for tensor, batch in zip(running, found):
            if tensor is not None:
                tensor.copy_((1 - momentum) * tensor.double() + momentum * torch.from_numpy(batch))


def _forward(x: Tensor, *, return_stats: bool, **others: Any) -> Any:
    y = normkit.batch_norm_synchronized(x, **others)
    return (y,) if return_stats else y


def _backward(
    dy: Tensor,
    x: Tensor,
    *,
    weight: Tensor | None,
    stats: None,
    output_mask: Sequence[bool],
    moments: normkit.Moments,
    eps: float,
    group: Any,
) -> tuple[Tensor | None, ...]:
    share = normkit.batch_norm_gradient_sums(dy, x, moments, eps)
    dx = None
    if output_mask[0]:
        sums = sum(_gather(share, group), torch.zeros(share.shape, dtype=torch.float64))
        dx = normkit.batch_norm_synchronized_backward(dy, x, moments, sums, weight, eps)
    dbias, dweight = torch.from_numpy(share).unbind(1)
    return dx, dweight if output_mask[1] else None, dbias if output_mask[2] else None

"""The normalization modules of `torch.nn`, computed by NormKit.

They subclass PyTorch's and take the same arguments; parameters, buffers and state dicts are the same. What
they change is which functions are called.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules import batchnorm, instancenorm

from . import functional

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
]


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm`, computed by NormKit.

    >>> import torch
    >>> LayerNorm(2, eps=0.0, elementwise_affine=False)(torch.tensor([[1.0, 3.0], [10.0, 30.0]]))
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm`, computed by NormKit.

    >>> import torch
    >>> RMSNorm(3, eps=0.0, elementwise_affine=False)(torch.tensor([3.0, -3.0, 3.0]))
    tensor([ 1., -1.,  1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, computed by NormKit.

    >>> import torch
    >>> GroupNorm(2, 4, eps=0.0, affine=False)(torch.tensor([[1.0, 3.0, 10.0, 30.0]]))
    tensor([[-1.,  1., -1.,  1.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class BatchNorm(batchnorm._BatchNorm):
    """What batch normalizations have in common: whose statistics are taken, when running ones are updated.

    A refused batch is not counted in `num_batches_tracked`, as it changes nothing else.
    """

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        updating = self.training and self.track_running_stats
        counter = self.num_batches_tracked if updating else None
        momentum = self.momentum
        if momentum is None:  # a cumulative average
            momentum = 0.0 if counter is None else 1 / (int(counter) + 1)
        known = updating or not self.training
        y = self._normalize(
            input,
            self.running_mean if known else None,
            self.running_var if known else None,
            self.training or self.running_mean is None,
            momentum,
        )
        if counter is not None:
            counter.add_(1)
        return y

    def _normalize(
        self, x: Tensor, mean: Tensor | None, var: Tensor | None, training: bool, momentum: float
    ) -> Tensor:
        return functional.batch_norm(x, mean, var, self.weight, self.bias, training, momentum, self.eps)


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d`, computed by NormKit.

    >>> import torch
    >>> BatchNorm1d(1, eps=0.0, affine=False)(torch.tensor([[1.0], [3.0]])).T
    tensor([[-1.,  1.]])
    """


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, computed by NormKit.

    >>> import torch
    >>> BatchNorm2d(1, eps=0.0, affine=False)(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[[[-1.,  1.]]]])
    """


class BatchNorm3d(BatchNorm, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d`, computed by NormKit.

    >>> import torch
    >>> BatchNorm3d(1, eps=0.0, affine=False)(torch.tensor([[[[[1.0, 3.0]]]]]))
    tensor([[[[[-1.,  1.]]]]])
    """


class InstanceNorm(instancenorm._InstanceNorm):
    """What instance normalizations have in common."""

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return functional.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(InstanceNorm, nn.InstanceNorm1d):
    """`torch.nn.InstanceNorm1d`, computed by NormKit.

    >>> import torch
    >>> InstanceNorm1d(1, eps=0.0)(torch.tensor([[[1.0, 3.0]], [[10.0, 30.0]]]))[:, 0]
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """


class InstanceNorm2d(InstanceNorm, nn.InstanceNorm2d):
    """`torch.nn.InstanceNorm2d`, computed by NormKit.

    >>> import torch
    >>> InstanceNorm2d(1, eps=0.0)(torch.tensor([[[[1.0, 3.0]]], [[[10.0, 30.0]]]]))[:, 0, 0]
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """


class InstanceNorm3d(InstanceNorm, nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d`, computed by NormKit.

    >>> import torch
    >>> InstanceNorm3d(1, eps=0.0)(torch.tensor([[[[[1.0, 3.0]]]], [[[[10.0, 30.0]]]]]))[:, 0, 0, 0]
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """

"""NormKit in PyTorch, on the CPU: the normalizations of `torch.nn`, modules and functions, with gradients.

`convert` lets NormKit compute the normalizations of a model that there is already. The modules here take the
place of those of `torch.nn` in a new one. `functional` has the functions of `torch.nn.functional` that
normalize; those that share no name with anything else are here, too. Some take in the addition before a normalization
or the activation after it; `fuse` and `backend` let them do so in the graphs of torch.export and torch.compile.

>>> import torch
>>> import normkit.torch
>>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
>>> model, changed = normkit.torch.convert(model)
>>> changed
Counter({'BatchNorm2d': 1})
>>> model(torch.randn(4, 1, 6, 6)).sum().backward()
>>> model[1].bias.grad.shape
torch.Size([8])
"""

from . import functional
from ._conversion import convert
from ._fusion import backend, fuse
from ._modules import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    RMSNorm,
)
from ._parametrization import WeightNorm, weight_norm
from ._synchronized import SyncBatchNorm
from .fused import add_layer_norm, add_rms_norm, group_norm_activation, layer_norm_activation
from .functional import batch_norm, group_norm, instance_norm, layer_norm, normalize, rms_norm

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
    "SyncBatchNorm",
    "WeightNorm",
    "add_layer_norm",
    "add_rms_norm",
    "backend",
    "batch_norm",
    "convert",
    "functional",
    "fuse",
    "group_norm",
    "group_norm_activation",
    "instance_norm",
    "layer_norm",
    "layer_norm_activation",
    "normalize",
    "rms_norm",
    "weight_norm",
]

"""Turn the normalizations of a whole model into NormKit's."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrizations

from . import _modules
from ._parametrization import WeightNorm
from ._synchronized import SyncBatchNorm

ModelT = TypeVar("ModelT", bound=nn.Module)

_COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    **{getattr(nn, name): getattr(_modules, name) for name in _modules.__all__},
    nn.SyncBatchNorm: SyncBatchNorm,
    parametrizations._WeightNorm: WeightNorm,
}


def convert(model: ModelT) -> tuple[ModelT, Counter[str]]:
    """Let NormKit compute all normalizations of a model: `model` itself is changed, in place.

    The modules stay the same objects and change their class. So parameters, buffers, hooks, training mode and
    whoever refers to them stay as they are: optimizers go on, state dicts are exchanged freely. For a changed
    copy, pass ``copy.deepcopy(model)``.

    Changed are the modules of `torch.nn` that have a counterpart here (`torch.nn.SyncBatchNorm` among them),
    and the parametrizations of `torch.nn.utils.parametrizations.weight_norm`. Subclasses of them and
    normalizations of other packages are left alone, as they may compute something else.
    `torch.nn.TransformerEncoderLayer` in evaluation without gradients calls a fused function of PyTorch
    instead of its modules, converted or not.

    Returns:
        ``(model, changed)``, where `changed` counts the modules that were changed by their class.

    Raises:
        ValueError: if one of these modules is not on the CPU; nothing has been changed.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.ReLU())
    >>> model, changed = convert(model)
    >>> model[1]
    LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
    >>> changed
    Counter({'LayerNorm': 1})
    """
    found = [(name, module) for name, module in model.named_modules() if type(module) in _COUNTERPARTS]
    for name, module in found:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.device.type != "cpu":
                raise ValueError(f"{name or 'the model'} is on {tensor.device}; NormKit needs it on the CPU")
    for _, module in found:
        module.__class__ = _COUNTERPARTS[type(module)]
    return model, Counter(type(module).__name__ for _, module in found)

"""Weight normalization of a module's parameter."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import normkit

from . import functional

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class WeightNorm(parametrizations._WeightNorm):
    """The parametrization that `weight_norm` registers: w from g and v."""

    norm: Literal["l1", "l2", "max"] = "l2"

    def __init__(self, dim: int | None = 0, norm: Literal["l1", "l2", "max"] = "l2") -> None:
        super().__init__(dim)
        self.norm = norm

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return functional.weight_norm(weight_v, weight_g, self._axis, self.norm)

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """g and v of a weight: its norms, and itself."""
        axis = self._axis
        _, norms = normkit.weight_norm(weight, dim=axis, norm=self.norm, return_norms=True)
        if axis is not None:
            norms = norms.reshape([-1 if i == axis % weight.dim() else 1 for i in range(weight.dim())])
        return norms.to(weight.dtype), weight

    @property
    def _axis(self) -> int | None:
        # PyTorch stores None as -1, and takes -1 for None.
        return None if self.dim == -1 else self.dim


def weight_norm(
    module: ModuleT, name: str = "weight", dim: int | None = 0, norm: Literal["l1", "l2", "max"] = "l2"
) -> ModuleT:
    """Replace a parameter of `module` by g and v, ``weight = v * g / norm(v)``, and return `module`.

    As `torch.nn.utils.parametrizations.weight_norm`, whose state dicts have the same keys; those of its
    predecessor `torch.nn.utils.weight_norm` are read, too. `torch.nn.utils.parametrize` removes it again.

    Args:
        name: the parameter.
        dim: the axis that counts slices, each of which has a norm. None, and -1, as in PyTorch: the whole
            parameter.
        norm: "l2", "l1" or "max" (the largest absolute value).

    >>> import torch
    >>> layer = weight_norm(torch.nn.Linear(4, 2), norm="max")
    >>> layer.parametrizations.weight.original0.shape
    torch.Size([2, 1])
    """
    parametrize.register_parametrization(module, name, WeightNorm(dim, norm), unsafe=True)

    def rename(state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        for key, original in ((f"{prefix}{name}_g", "original0"), (f"{prefix}{name}_v", "original1")):
            if key in state_dict:
                state_dict[f"{prefix}parametrizations.{name}.{original}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(rename)  # type: ignore[no-untyped-call]
    return module

"""The pairs of functions for `_autograd` of normalizations that have a short way, which they go where it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Sequence

from torch import Tensor

import normkit

from . import _families as families
from . import _short as short


@dataclass(frozen=True)
class Pair:
    """One normalization, by the name of its function in normkit, and the number that the short way wants to know."""

    name: str
    number: Callable[[dict[str, Any]], int | None]

    def forward(
        self, x: Tensor, *, weight: Tensor | None, bias: Tensor | None, return_stats: bool, eps: float | None,
        **choices: Any,
    ) -> Any:
        if return_stats:
            results = short.recorded(self.name, x, weight, bias, eps, self.number(choices))
            if results is not None:
                return results
        function = getattr(normkit, self.name)
        return function(x, weight=weight, bias=bias, return_stats=return_stats, eps=eps, **choices)

    def backward(
        self, dy: Tensor, x: Tensor, *, weight: Tensor | None, stats: Sequence[Tensor] | None,
        output_mask: Sequence[bool], eps: float | None, **choices: Any,
    ) -> Any:
        if stats:
            results = short.backward(self.name, dy, x, weight, stats, output_mask, eps, self.number(choices))
            if results is not None:
                return results
        module = families if self.name == "rms_norm" else normkit
        function = getattr(module, f"{self.name}_backward")
        return function(dy, x, weight=weight, stats=stats, output_mask=output_mask, eps=eps, **choices)


def _size(choices: dict[str, Any]) -> int | None:
    return short.only(choices["normalized_shape"])


def _groups(choices: dict[str, Any]) -> int | None:
    groups = choices["num_groups"]
    return groups if type(groups) is int else None


layer_norm = Pair("layer_norm", _size)
rms_norm = Pair("rms_norm", _size)
group_norm = Pair("group_norm", _groups)
instance_norm = Pair("instance_norm", lambda choices: 0)
# In training; forward, running statistics are the long way's.
batch_norm = Pair("batch_norm", lambda choices: 0)

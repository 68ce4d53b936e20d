"""Fuse the steps around normalizations in graphs of torch.fx."""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any, Callable

import torch
from torch import fx

from . import _planned, _table  # noqa: F401  (they define the operators)

_KIT, _ATEN = torch.ops.normkit, torch.ops.aten
_ADDITIONS = (operator.add, torch.add, _ATEN.add.Tensor)
_ADDED = {
    _KIT.layer_norm.default: (_KIT.add_layer_norm.default, _KIT.add_layer_norm_sum.default),
    _KIT.rms_norm.default: (_KIT.add_rms_norm.default, _KIT.add_rms_norm_sum.default),
}
_ACTIVATED = {
    _KIT.layer_norm.default: _KIT.layer_norm_activation.default,
    _KIT.group_norm.default: _KIT.group_norm_activation.default,
}
_ACTIVATIONS: dict[Any, str] = {
    torch.nn.functional.relu: "relu", torch.relu: "relu", _ATEN.relu.default: "relu",
    torch.nn.functional.silu: "silu", _ATEN.silu.default: "silu",
    torch.sigmoid: "sigmoid", _ATEN.sigmoid.default: "sigmoid",
    torch.tanh: "tanh", _ATEN.tanh.default: "tanh",
    torch.nn.functional.hardswish: "hard_swish", _ATEN.hardswish.default: "hard_swish",
    torch.nn.functional.gelu: "gelu", torch._C._nn.gelu: "gelu", _ATEN.gelu.default: "gelu",
}  # fmt: skip


def fuse(module: fx.GraphModule) -> Counter[str]:
    """Let each normalization of NormKit in a graph take in the addition before it or the activation after it.

    `module` itself is changed: a graph that torch.compile or torch.export made of a converted model, for inference.
    Returns how many operators of which name are new.

    >>> import normkit.torch
    >>> class Block(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.norm = normkit.torch.LayerNorm(8)
    ...     def forward(self, x, residual):
    ...         return self.norm(x + residual)
    >>> with torch.no_grad():
    ...     graph = torch.export.export(Block(), (torch.ones(2, 8), torch.ones(2, 8))).module()
    >>> fuse(graph)
    Counter({'add_layer_norm': 1})
    """
    found: Counter[str] = Counter()
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        fusion = _fuse_addition(module.graph, node) or _fuse_activation(module.graph, node)
        if fusion:
            found[fusion] += 1
    if found:
        module.graph.lint()
        module.recompile()
    return found


def backend(compiler: str | Callable[..., Any] = "inductor") -> Callable[..., Any]:
    """A backend for torch.compile that fuses, and then leaves the graph to another: ``torch.compile(model,
    backend=normkit.torch.backend())``.
    """

    def compile_fused(module: fx.GraphModule, inputs: list[Any]) -> Any:
        from torch._dynamo import lookup_backend

        fuse(module)
        compile_graph: Any = lookup_backend(compiler) if isinstance(compiler, str) else compiler
        return compile_graph(module, inputs)

    return compile_fused


def _value(node: Any) -> Any:
    """What stands for the tensor that a node computes."""
    if not isinstance(node, fx.Node):
        return None
    value = node.meta.get("val", node.meta.get("example_value"))
    return value if isinstance(value, torch.Tensor) else None


def _fuse_addition(graph: fx.Graph, norm: fx.Node) -> str | None:
    if norm.target not in _ADDED or not isinstance(norm.args[0], fx.Node):
        return None
    addition = norm.args[0]
    if addition.op != "call_function" or addition.target not in _ADDITIONS or addition.kwargs or norm.kwargs:
        return None
    values = [_value(addend) for addend in addition.args]
    if any(value is None for value in values) or len(values) != 2:
        return None
    if values[0].shape != values[1].shape or values[0].dtype != values[1].dtype:
        return None
    # Who else needs the sum gets it from the new operator, and so has to come later.
    others = [user for user in addition.users if user is not norm]
    if any(user < norm for user in others):
        return None
    alone, with_sum = _ADDED[norm.target]
    target = with_sum if others else alone
    with graph.inserting_before(norm):
        fusion = graph.call_function(target, (*addition.args, *norm.args[1:]))
        y, total = fusion, fusion
        if others:
            y, total = (graph.call_function(operator.getitem, (fusion, index)) for index in range(2))
    _replace(graph, norm, y)
    if others:
        _replace(graph, addition, total)
    else:
        graph.erase_node(addition)
    return str(target._schema.name).split("::")[1]


def _fuse_activation(graph: fx.Graph, activation: fx.Node) -> str | None:
    name = _ACTIVATIONS.get(activation.target)
    if name is None or not activation.args or not isinstance(activation.args[0], fx.Node):
        return None
    norm = activation.args[0]
    if norm.op != "call_function" or norm.target not in _ACTIVATED or len(norm.users) > 1 or norm.kwargs:
        return None
    kwargs = {key: value for key, value in activation.kwargs.items() if key != "inplace"}
    if name == "gelu" and kwargs.get("approximate", "none") == "tanh":
        name = "gelu_tanh"
    elif any(value != "none" for value in kwargs.values()) or len(activation.args) > 1:
        return None
    with graph.inserting_before(activation):
        fusion = graph.call_function(_ACTIVATED[norm.target], (*norm.args, name))
    _replace(graph, activation, fusion)
    graph.erase_node(norm)
    return str(_ACTIVATED[norm.target]._schema.name).split("::")[1]


def _replace(graph: fx.Graph, old: fx.Node, new: fx.Node) -> None:
    new.meta = dict(old.meta)
    old.replace_all_uses_with(new)
    graph.erase_node(old)

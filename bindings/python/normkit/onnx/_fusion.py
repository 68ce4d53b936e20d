"""Taking in what stands beside a normalization: the residual before it, the activation after it."""

from __future__ import annotations

import math

from onnx import NodeProto, helper

from ._graph import DOMAIN, Graph, attributes
from ._native import make
from ._pattern import Either, Match, Number, Op, Pattern, Tensor

_SKIP = {"LayerNormalization": "SkipLayerNormalization", "RMSNormalization": "SkipRMSNormalization"}

_Y = Tensor("y")
_ERF = Op("Add", Op("Erf", Either(Op("Div", _Y, Number(math.sqrt(2))), Op("Mul", _Y, Number(math.sqrt(0.5))))),
          Number(1))


def _product(*factors: Pattern) -> Pattern:
    """The product of three factors in any order of multiplication."""
    a, b, c = factors
    return Either(*(Op("Mul", Op("Mul", p, q), r) for p, q, r in ((a, b, c), (a, c, b), (b, c, a))))


_SCALED = Either(_Y, Op("Mul", _Y, Number(1)))
_SIX = Op("Clip", Op("Add", _Y, Number(3)), Number(0), Number(6))

# Activations that are spelled out. The first that matches counts.
_COMPOSED: list[tuple[str, Pattern]] = [
    ("Silu", Op("Mul", _Y, Op("Sigmoid", _SCALED))),
    ("Gelu", Either(_product(_Y, _ERF, Number(0.5)), Op("Div", Op("Mul", _Y, _ERF), Number(2)))),
    ("HardSwish", Either(Op("Mul", _Y, Op("HardSigmoid", _Y, alpha=1 / 6, beta=0.5)),
                         Op("Div", Op("Mul", _Y, _SIX), Number(6)),
                         _product(_Y, _SIX, Number(1 / 6)),
                         Op("Mul", _Y, Op("Div", _SIX, Number(6))))),
]
_DEEPEST = 6  # nodes on the longest way through one of them


def _single_activation(node: NodeProto) -> tuple[str, dict[str, float]] | None:
    """The activation that one node is, and attributes of it."""
    values = attributes(node)
    own = node.domain in ("", "ai.onnx")
    if own and node.op_type in ("Relu", "Sigmoid", "Tanh", "HardSwish"):
        return node.op_type, {}
    if own and node.op_type == "LeakyRelu":
        return "LeakyRelu", {"slope": float(values.get("alpha", 0.01))}
    if own and node.op_type == "Gelu":
        return ("GeluTanh" if values.get("approximate") == "tanh" else "Gelu"), {}
    if own and node.op_type == "Swish" and values.get("alpha", 1.0) == 1:
        return "Silu", {}
    if node.domain == "com.microsoft" and len(node.input) == 1:
        if node.op_type == "Gelu":
            return "Gelu", {}
        if node.op_type == "FastGelu":
            return "GeluTanh", {}
        if node.op_type == "QuickGelu" and values.get("alpha") == 1:
            return "Silu", {}
    return None


def _composed_activation(graph: Graph, y: str) -> tuple[str, Match, NodeProto] | None:
    """(name, match, last node) of an activation of y that is spelled out and that all readers of y belong to."""
    names, seen = [y], {y}
    for _ in range(_DEEPEST):
        names = [output for name in names for node in graph.readers(name) for output in node.output
                 if output not in seen]
        seen.update(names)
        for name in names:
            for activation, pattern in _COMPOSED:
                match = pattern.first(graph, name)
                if match is None or match.tensors["y"] != y:
                    continue
                inner = [output for node in match.nodes for output in node.output if output != name]
                if all(graph.only_read_by(inside, match.nodes) for inside in (y, *inner)):
                    return activation, match, graph.producer[name]
    return None


def take_in_activation(graph: Graph, node: NodeProto) -> tuple[NodeProto, str] | None:
    """A node that does what `node` and the activation behind it do, and the name of that; None if there is none."""
    y = node.output[0]
    reader = graph.only_reader(y)
    single = _single_activation(reader) if reader is not None else None
    if reader is not None and single is not None:
        (name, values), replaced, last = single, [reader], reader
    else:
        composed = _composed_activation(graph, y)
        if composed is None:
            return None
        name, match, last = composed
        values, replaced = {}, list(match.nodes)
    new = NodeProto()
    new.CopyFrom(node)
    new.output[0] = last.output[0]
    new.attribute.append(helper.make_attribute("activation", name))
    new.attribute.extend(helper.make_attribute(key, value) for key, value in values.items())
    graph.nodes = [other for other in graph.nodes if other is not node]
    graph.replace(replaced, new)
    return new, name


def _split_bias(graph: Graph, name: str, size: int | None) -> tuple[str, str, NodeProto] | None:
    """(what a bias is added to, bias, the Add) if that is what a tensor is, and nobody else needs it."""
    add = graph.producer.get(name)
    if add is None or add.op_type != "Add" or add.domain not in ("", "ai.onnx") or graph.only_reader(name) is None:
        return None
    for x, bias in ((add.input[0], add.input[1]), (add.input[1], add.input[0])):
        array = graph.constant(bias)
        if array is not None and array.shape == (size,) and graph.constant(x) is None:
            shape = graph.shape(x)
            if shape is not None and shape[-1:] == (size,):
                return x, bias, add
    return None


def take_in_residual(graph: Graph, node: NodeProto) -> tuple[NodeProto, list[str]] | None:
    """A node that does what `node` and the addition before it do, and what that is; None if there is none.

    Where others need the sum as well, the node gives it to them.
    """
    values = attributes(node)
    x = node.input[0]
    add = graph.producer.get(x)
    if node.op_type not in _SKIP or values.get("axis", -1) != -1 or add is None or any(node.output[1:]):
        return None
    if add.op_type != "Add" or add.domain not in ("", "ai.onnx"):
        return None
    parameters = list(node.input[1:])
    # What others make of the sum must not be needed here, and a constant is no residual.
    if not parameters or any(graph.constant(name) is None for name in parameters):
        return None
    if add.input[0] == add.input[1] or any(graph.constant(name) is not None for name in add.input):
        return None
    types = {graph.element_type(name) for name in (*add.input, *parameters)}
    if len(types - {None}) > 1:
        return None

    first, second = add.input
    gamma = graph.constant(parameters[0])
    replaced, taken, bias = [node, add], ["residual"], ""
    for this, other in ((first, second), (second, first)):
        found = _split_bias(graph, this, gamma.size if gamma is not None else None)
        if found is not None:
            first, second, bias = found[0], other, found[1]
            replaced.append(found[2])
            taken.append("bias")
            break
    wanted = not graph.only_read_by(x, [node])
    sum_ = x if wanted else ""
    if wanted:
        graph.declare(x)
    if node.op_type == "LayerNormalization":
        if bias and len(parameters) == 1 and gamma is not None:
            parameters.append(graph.add_constant(gamma * 0))
        inputs = [first, second, *(parameters + ["", ""])[:2], bias]
        outputs = [node.output[0], "", "", sum_]
    else:
        inputs, outputs = [first, second, parameters[0], bias], [node.output[0], "", sum_]
    kept = {key: value for key, value in values.items() if key in ("epsilon", "activation", "slope")}
    new = make(_SKIP[node.op_type], inputs, outputs, **kept)
    graph.replace(replaced, new)
    return new, taken


def own_nodes(graph: Graph) -> list[NodeProto]:
    return [node for node in graph.nodes if node.domain == DOMAIN]

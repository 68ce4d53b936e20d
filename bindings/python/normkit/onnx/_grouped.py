"""Group normalization as exporters write it for opsets without it: an instance normalization between two Reshapes."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ._graph import Graph, attributes
from ._native import SUPPORTED, make


def _groups(graph: Graph, reshape: NodeProto) -> int | None:
    """The number of groups that x [N, C, …] is reshaped to, [N, groups, rest]."""
    target = graph.constant(reshape.input[1])
    if target is None or target.shape != (3,) or target[1] < 1 or target[2] != -1:
        return None
    if attributes(reshape).get("allowzero"):
        return None
    shape = graph.shape(reshape.input[0])
    same_samples = target[0] == 0 or shape is not None and shape[:1] == (target[0],)
    return int(target[1]) if same_samples else None


def _restores(graph: Graph, reshape: NodeProto, x: str) -> bool:
    """Whether a Reshape gives the shape that x has."""
    source = graph.producer.get(reshape.input[1])
    if source is not None and source.op_type == "Shape" and source.input[0] == x and not attributes(source):
        return True
    target, shape = graph.constant(reshape.input[1]), graph.shape(x)
    if target is None or shape is None or target.ndim != 1 or len(target) != len(shape):
        return False
    pairs = list(zip(target.tolist(), shape))
    if pairs[0][0] == 0 and not attributes(reshape).get("allowzero"):  # the number of samples, which is still there
        pairs = pairs[1:]
    return sum(wanted == -1 for wanted, _ in pairs) <= 1 and all(wanted in (-1, known) for wanted, known in pairs)


def _per_channel(graph: Graph, name: str, x: str) -> np.ndarray | None:
    """A constant [C, 1, …] or [1, C, 1, …] as [C], None if it is something else."""
    array, shape = graph.constant(name), graph.shape(x)
    if array is None or shape is None or array.ndim > len(shape) or graph.element_type(name) not in SUPPORTED:
        return None
    extents = (1,) * (len(shape) - array.ndim) + array.shape
    if array.size != extents[1] or array.size < 2 or shape[1] not in (None, array.size):
        return None
    return array.reshape(-1)


def convert(graph: Graph, node: NodeProto) -> tuple[NodeProto, list[NodeProto]] | None:
    """The group normalization that an instance normalization is the middle of, with the nodes that it replaces."""
    before, after = graph.producer.get(node.input[0]), graph.only_reader(node.output[0])
    if before is None or before.op_type != "Reshape" or after is None or after.op_type != "Reshape":
        return None
    x = before.input[0]
    groups = _groups(graph, before)
    scale, shift = (graph.constant(name) for name in node.input[1:])
    if groups is None or scale is None or shift is None or not _restores(graph, after, x):
        return None
    if (scale != 1).any() or shift.any():
        return None

    found, nodes, output = [], [before, node, after], after.output[0]
    if after.input[1] in graph.producer:
        nodes.append(graph.producer[after.input[1]])  # makes the shape
    for op_type in ("Mul", "Add"):
        reader = graph.only_reader(output)
        if reader is None or reader.op_type != op_type:
            break
        values = _per_channel(graph, reader.input[1] if reader.input[0] == output else reader.input[0], x)
        if values is None:
            break
        found.append(graph.add_constant(values))
        nodes.append(reader)
        output = reader.output[0]
    if not found or graph.element_type(x) not in (None, *SUPPORTED):
        return None
    return make("GroupNormalization", [x, *found], [output], num_groups=groups,
                epsilon=attributes(node).get("epsilon", 1e-5)), nodes

"""Normalizations that are one node of a model: ONNX's own and those of ONNX Runtime."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ._graph import DOMAIN, Graph, attributes

SUPPORTED = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
_HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


class NotConvertible(Exception):
    """Says why a node stays as it is."""


def make(operator: str, inputs: list[str], outputs: list[str], **values: Any) -> NodeProto:
    """A node of NormKit's, named after what it makes."""
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    while outputs and not outputs[-1]:
        outputs = outputs[:-1]
    return helper.make_node(operator, inputs, outputs, name=f"normkit/{outputs[0]}", domain=DOMAIN, **values)


def _optional(names: Any, index: int) -> str:
    return names[index] if index < len(names) else ""


def _check_types(graph: Graph, names: list[str]) -> None:
    """All of one type, as far as it is known, and that one of NormKit's."""
    types = {graph.element_type(name) for name in names if name} - {None}
    if not types <= SUPPORTED:
        raise NotConvertible("data of a type that is not normalized")
    if len(types) > 1:
        raise NotConvertible("parameters of another type than the data")


def _check_stash_type(values: dict[str, Any]) -> None:
    if values.get("stash_type", 1) != 1:
        raise NotConvertible("computed in another type than f32 (stash_type)")


def _check_parameter(graph: Graph, name: str, x: str, axis: int) -> None:
    """A parameter of rows: shaped as a row, not broadcast to it."""
    shape, data = graph.shape(name) if name else None, graph.shape(x)
    if shape is None:
        return
    if data is not None:
        row = data[axis:]
        while len(shape) > len(row) and shape[0] == 1:
            shape = shape[1:]
        if len(shape) != len(row) or any(a is not None and b is not None and a != b for a, b in zip(shape, row)):
            raise NotConvertible("parameters that are broadcast")
    elif any(extent != 1 for extent in shape[:-1]) and axis == -1:
        raise NotConvertible("parameters that are broadcast")


def layer_normalization(graph: Graph, node: NodeProto) -> NodeProto:
    values = attributes(node)
    x, gamma, beta = node.input[0], node.input[1], _optional(node.input, 2)
    axis = int(values.get("axis", -1))
    _check_stash_type(values)
    _check_types(graph, [x, gamma, beta])
    for name in (gamma, beta):
        _check_parameter(graph, name, x, axis)
    if graph.element_type(x) == TensorProto.DOUBLE and len(node.output) > 1:
        raise NotConvertible("f64 with statistics of another type")
    return make("LayerNormalization", [x, gamma, beta], list(node.output), axis=axis,
                epsilon=values.get("epsilon", 1e-5))


def rms_normalization(graph: Graph, node: NodeProto) -> NodeProto:
    values = attributes(node)
    x, gamma = node.input
    axis = int(values.get("axis", -1))
    _check_stash_type(values)
    _check_types(graph, [x, gamma])
    _check_parameter(graph, gamma, x, axis)
    if graph.element_type(x) == TensorProto.DOUBLE and len(node.output) > 1:
        raise NotConvertible("f64 with statistics of another type")
    return make("RMSNormalization", [x, gamma], list(node.output), axis=axis, epsilon=values.get("epsilon", 1e-5))


def _zeros_like(graph: Graph, gamma: str) -> str:
    array = graph.constant(gamma)
    if array is None:
        raise NotConvertible("a bias without beta, and a gamma that is not constant")
    return graph.add_constant(np.zeros_like(array))


def skip_layer_normalization(graph: Graph, node: NodeProto) -> NodeProto:
    names = list(node.input)
    _check_types(graph, names)
    bias, beta = _optional(names, 4), _optional(names, 3)
    if bias and not beta:
        beta = _zeros_like(graph, names[2])  # older releases of ONNX Runtime crash where an input in between is missing
    return make("SkipLayerNormalization", [*names[:3], beta, bias], list(node.output),
                epsilon=attributes(node).get("epsilon", 1e-12))


def skip_rms_normalization(graph: Graph, node: NodeProto) -> NodeProto:
    _check_types(graph, list(node.input))
    outputs = list(node.output)
    if _optional(outputs, 1):
        raise NotConvertible("a mean is asked for, which there is not")
    return make("SkipRMSNormalization", list(node.input), [outputs[0], _optional(outputs, 2), _optional(outputs, 3)],
                epsilon=attributes(node).get("epsilon", 1e-12))


def batch_normalization(graph: Graph, node: NodeProto) -> NodeProto:
    values = attributes(node)
    if graph.opset < 7 or not values.get("spatial", 1):
        raise NotConvertible("an old form of it")
    if values.get("training_mode", 0) or any(node.output[1:]):
        raise NotConvertible("in training")
    shape = graph.shape(node.input[0])
    if shape is not None and len(shape) < 2:
        raise NotConvertible("no axis of channels")
    x, gamma, beta, mean, variance = node.input
    _check_types(graph, [x, gamma, beta])
    statistics = [_statistics(graph, x, name) for name in (mean, variance)]
    return make("BatchNormalization", [x, gamma, beta, *statistics], [node.output[0]],
                epsilon=values.get("epsilon", 1e-5))


def _statistics(graph: Graph, x: str, name: str) -> str:
    """Given statistics as NormKit reads them: f32 for halves."""
    kind = graph.element_type(x)
    if kind is None or graph.element_type(name) == (TensorProto.FLOAT if kind in _HALVES else kind):
        return name
    array = graph.constant(name)
    if array is None or kind not in _HALVES:
        raise NotConvertible("statistics of another type than the data")
    return graph.add_constant(array.astype(np.float32))


def instance_normalization(graph: Graph, node: NodeProto) -> NodeProto:
    _check_types(graph, list(node.input))
    return make("InstanceNormalization", list(node.input), list(node.output),
                epsilon=attributes(node).get("epsilon", 1e-5))


def group_normalization(graph: Graph, node: NodeProto) -> NodeProto:
    values = attributes(node)
    _check_stash_type(values)
    _check_types(graph, list(node.input))
    x, *parameters = node.input
    groups = int(values["num_groups"])
    if graph.opset < 21:  # one value per group
        shape = graph.shape(x)
        arrays = [graph.constant(name) for name in parameters]
        channels = shape[1] if shape is not None and len(shape) > 1 else None
        if channels is None or channels % groups or any(a is None for a in arrays):
            raise NotConvertible("parameters per group that are not constant")
        parameters = [graph.add_constant(np.repeat(a, channels // groups)) for a in arrays if a is not None]
    return make("GroupNormalization", [x, *parameters], list(node.output), num_groups=groups,
                epsilon=values.get("epsilon", 1e-5))


CONVERSIONS: dict[tuple[str, str], Callable[[Graph, NodeProto], NodeProto]] = {
    ("", "LayerNormalization"): layer_normalization,
    ("", "RMSNormalization"): rms_normalization,
    ("", "SimplifiedLayerNormalization"): rms_normalization,
    ("com.microsoft", "SimplifiedLayerNormalization"): rms_normalization,
    ("com.microsoft", "SkipLayerNormalization"): skip_layer_normalization,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): skip_rms_normalization,
    ("", "BatchNormalization"): batch_normalization,
    ("", "InstanceNormalization"): instance_normalization,
    ("", "GroupNormalization"): group_normalization,
}

OTHERS = {"MeanVarianceNormalization", "LpNormalization", "LRN", "EmbedLayerNormalization", "GroupNorm",
          "SkipGroupNorm"}


def folded_by_runtime(graph: Graph, node: NodeProto) -> bool:
    """Whether ONNX Runtime, optimizing, folds a batch normalization into the convolution before it."""
    before = graph.producer.get(node.input[0])
    return (before is not None and before.op_type == "Conv" and before.domain in ("", "ai.onnx")
            and graph.only_reader(node.input[0]) is node
            and all(graph.constant(name) is not None for name in (*before.input[1:], *node.input[1:])))

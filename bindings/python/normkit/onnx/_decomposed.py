"""Normalizations that an exporter has spelled out in smaller nodes."""

from __future__ import annotations

from typing import Iterator

import numpy as np
from onnx import NodeProto

from ._graph import Graph
from ._native import SUPPORTED, NotConvertible, make
from ._pattern import Either, Match, Mean, Number, Op, Pattern, Scalar, Tensor


def _square(of: Pattern) -> Pattern:
    return Either(Op("Pow", of, Number(2)), Op("Mul", of, of))


def _divided_by_root(value: Pattern, of: Pattern) -> Pattern:
    """value / sqrt(mean of `of` squared + epsilon), also times a gamma that stands beside the root."""
    sum_ = Op("Add", Mean(_square(of)), Scalar("epsilon"))
    root = Either(Op("Sqrt", sum_), Op("Pow", sum_, Number(0.5)))
    inverse = Either(Op("Reciprocal", root), Op("Div", Number(1), root), Op("Pow", sum_, Number(-0.5)))
    return Either(Op("Div", value, root), Op("Mul", value, Either(inverse, Op("Mul", inverse, Tensor("gamma")))))


_X = Tensor("x")
_CENTERED = Op("Sub", _X, Mean(_X))
LAYER = _divided_by_root(_CENTERED, _CENTERED)
RMS = _divided_by_root(_X, _X)


def _parameter(graph: Graph, name: str, x: str, axes: tuple[int, ...], channels: bool) -> str | None:
    """A constant that multiplies or shifts the features alone, as the name of a tensor that holds just them.

    None if it is not that.
    """
    array, shape = graph.constant(name), graph.shape(x)
    if array is None or graph.element_type(name) not in SUPPORTED:
        return None
    if shape is not None and array.ndim > len(shape):
        return None
    if channels:
        assert shape is not None
        extents = array.shape if array.ndim == len(shape) else (1,) * (len(shape) - array.ndim) + array.shape
        if any(extent != 1 for i, extent in enumerate(extents) if i != 1) or extents[1] != shape[1]:
            return None
        return graph.add_constant(array.reshape(-1)) if array.ndim != 1 else name
    row = shape[axes[0]:] if shape is not None else (None,) * len(axes)
    last = array.shape[-len(row):]
    if array.size != np.prod(last, dtype=int) or len(last) < len(row):
        return None
    # An unknown extent: the operator compares the sizes when it runs. But a single value is meant for any size.
    if any(known is not None and extent != known for extent, known in zip(last, row)):
        return None
    if shape is None and array.size == 1 or any(k is None and e == 1 for e, k in zip(last, row)):
        return None
    return name if array.ndim == len(row) else graph.add_constant(array.reshape(last))


def _trailing_axes(graph: Graph, x: str, axes: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """(axes from the end, or (1,); whether they are the axis of channels)."""
    shape = graph.shape(x)
    if shape is not None:
        counted = tuple(sorted(axis - len(shape) if axis >= 0 else axis for axis in axes))
    elif all(axis < 0 for axis in axes):
        counted = tuple(sorted(axes))
    else:
        raise NotConvertible("axes of a tensor of unknown rank")
    if counted == tuple(range(-len(counted), 0)):
        return counted, False
    if shape is not None and counted == (1 - len(shape),):
        return (1,), True
    raise NotConvertible("axes that are not the last")


def _only_reader_of_type(graph: Graph, name: str, op_type: str) -> NodeProto | None:
    reader = graph.only_reader(name)
    return reader if reader is not None and reader.op_type == op_type and reader.domain in ("", "ai.onnx") else None


def _other(node: NodeProto, name: str) -> str:
    return str(node.input[1] if node.input[0] == name else node.input[0])


def candidates(graph: Graph) -> Iterator[tuple[NodeProto, Match, bool]]:
    """(last node, match, whether it is an RMS normalization) for each that is spelled out, without gamma and beta."""
    for node in list(graph.nodes):
        if node.op_type not in ("Div", "Mul") or node.domain not in ("", "ai.onnx"):
            continue
        for pattern, rms in ((LAYER, False), (RMS, True)):
            match = pattern.first(graph, node.output[0])
            if match is not None:
                yield node, match, rms
                break


def convert(graph: Graph, node: NodeProto, match: Match, rms: bool) -> tuple[NodeProto, list[NodeProto]]:
    """The node that takes the place of a match, with the gamma and beta behind it, and all nodes that it replaces."""
    x = match.tensors["x"]
    kind = graph.element_type(x)
    if kind is not None and kind not in SUPPORTED:
        raise NotConvertible("data of a type that is not normalized")
    axes, channels = _trailing_axes(graph, x, match.values["axes"])
    if channels and rms:
        raise NotConvertible("axes that are not the last")
    gamma = beta = None
    if "gamma" in match.tensors:
        gamma = _parameter(graph, match.tensors["gamma"], x, axes, channels)
        if gamma is None:
            raise NotConvertible("a gamma that is not one per feature")
    nodes, output = list(match.nodes), node.output[0]
    if gamma is None:
        scale = _only_reader_of_type(graph, output, "Mul")
        if scale is not None:
            gamma = _parameter(graph, _other(scale, output), x, axes, channels)
        if scale is not None and gamma is not None:
            nodes.append(scale)
            output = scale.output[0]
    if not rms:
        shift = _only_reader_of_type(graph, output, "Add")
        if shift is not None:
            beta = _parameter(graph, _other(shift, output), x, axes, channels)
        if shift is not None and beta is not None:
            nodes.append(shift)
            output = shift.output[0]
            if gamma is None:  # no input in the middle is left out
                values = graph.constant(beta)
                assert values is not None
                gamma = graph.add_constant(np.ones_like(values))
    operator = "RMSNormalization" if rms else "ChannelLayerNormalization" if channels else "LayerNormalization"
    inputs = [x, gamma or ""] if rms else [x, gamma or "", beta or ""]
    axis = {} if channels else {"axis": axes[0]}
    return make(operator, inputs, [output], epsilon=match.values["epsilon"], **axis), nodes

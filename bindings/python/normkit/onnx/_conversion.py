"""Let NormKit compute the normalizations of a model."""

from __future__ import annotations

from onnx import ModelProto, NodeProto

from . import _decomposed, _fusion, _grouped, _native
from ._graph import Graph
from ._report import Conversion, Left, Report


def convert(model: ModelProto, *, keep_foldable: bool = True) -> tuple[ModelProto, Report]:
    """A copy of a model whose normalizations are operators of NormKit's, in the domain "normkit".

    Changed are the operators of ONNX (LayerNormalization, RMSNormalization, BatchNormalization in inference,
    InstanceNormalization, GroupNormalization), those that ONNX Runtime makes of them when it optimizes
    (SimplifiedLayerNormalization, SkipLayerNormalization, SkipSimplifiedLayerNormalization), and layer and RMS
    normalizations that an exporter has spelled out (ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add and
    other ways to write it). What stands beside them is taken in: the addition of a residual and of a bias before, an
    activation after. Names of inputs, outputs and tensors in between stay the same.

    What does not match in every detail is left as it is, and so are the bodies of If, Loop and Scan and functions of
    the model. The model means the same; sums that a model rounds between its nodes are rounded once.

    To run the model, ONNX Runtime needs NormKit's library of operators: see `register` and `session`.

    Args:
        model: the model, up to 2 GB. It is not changed.
        keep_foldable: leave alone a batch normalization directly behind a convolution. ONNX Runtime folds it into the
            weights of the convolution, so that it costs nothing, unless its optimizations are switched off.

    Returns:
        ``(model, report)``; the `Report` says what was converted, and what was left and why.
    """
    converted = ModelProto()
    converted.CopyFrom(model)
    graph, report = Graph(converted), Report()
    conversions: dict[str, Conversion] = {}

    def note(node: NodeProto, source: str) -> None:
        conversions[node.output[0]] = Conversion(node.output[0], node.op_type, source)

    for node in [node for node in graph.nodes if node.op_type == "InstanceNormalization"]:
        found = _grouped.convert(graph, node)
        if found is not None:
            graph.replace(found[1], found[0])
            note(found[0], "decomposed")

    for node in list(graph.nodes):
        if node.op_type in _native.OTHERS:
            report.left.append(Left(node.output[0], node.op_type, "there is no operator for it"))
        operator = _native.CONVERSIONS.get((node.domain.replace("ai.onnx", ""), node.op_type))
        if operator is None:
            continue
        if keep_foldable and node.op_type == "BatchNormalization" and _native.folded_by_runtime(graph, node):
            report.left.append(Left(node.output[0], node.op_type, "folded into a convolution by ONNX Runtime"))
            continue
        try:
            new = operator(graph, node)
        except _native.NotConvertible as reason:
            report.left.append(Left(node.output[0], node.op_type, str(reason)))
            continue
        graph.replace([node], new)
        note(new, node.op_type)

    for node, match, rms in _decomposed.candidates(graph):
        try:
            new, replaced = _decomposed.convert(graph, node, match, rms)
        except _native.NotConvertible as reason:
            report.left.append(Left(node.output[0], node.op_type, str(reason)))
            continue
        graph.replace(replaced, new)
        note(new, "decomposed")

    for node in _fusion.own_nodes(graph):
        _take_in(graph, node, conversions)
    graph.finish()
    report.converted = list(conversions.values())
    return converted, report


def _take_in(graph: Graph, node: NodeProto, conversions: dict[str, Conversion]) -> None:
    """Take in what stands beside a node of NormKit's."""
    conversion = conversions.pop(node.output[0])
    residual = _fusion.take_in_residual(graph, node)
    if residual is not None:
        node, taken = residual
        conversion.taken_in += taken
    activation = _fusion.take_in_activation(graph, node)
    if activation is not None:
        node, name = activation
        conversion.taken_in.append(name)
    conversion.operator = node.op_type
    conversion.name = node.output[0]
    conversions[conversion.name] = conversion

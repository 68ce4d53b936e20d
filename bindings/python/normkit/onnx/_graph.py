"""The graph of a model, as it is looked at and changed by a conversion."""

from __future__ import annotations

from typing import Any, Iterator, Sequence

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

DOMAIN = "normkit"


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of a node by name, strings as str."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _names_used(graph: GraphProto) -> Iterator[str]:
    """Every name that nodes of a subgraph read, those of the graph around it among them."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for subgraph in _subgraphs(node):
            yield from _names_used(subgraph)


class Graph:
    """A model's main graph. Nodes are replaced; what is not used any more afterwards goes at the end, in `finish`.

    Attributes:
        nodes: the nodes, in no particular order while there are changes.
        producer: the node that makes a tensor, by the tensor's name.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}.get("ai.onnx", 0)
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.outputs = {output.name for output in model.graph.output}
        # An initializer that is an input, too, is only a default.
        given = {value.name for value in model.graph.input}
        self._initializers = {t.name: t for t in model.graph.initializer if t.name not in given}
        self._arrays: dict[str, np.ndarray] = {}
        self._replaced: list[NodeProto] = []
        self._made: list[TensorProto] = []
        self._index()
        self._types = self._infer_types()

    def _index(self) -> None:
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self._readers: dict[str, list[NodeProto]] = {}
        self._captured: set[str] = set()
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)
            for subgraph in _subgraphs(node):
                self._captured.update(_names_used(subgraph))

    def _infer_types(self) -> dict[str, onnx.TypeProto.Tensor]:
        try:
            inferred = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):  # then what the model says has to do
            inferred = self.model.graph
        values = (*self.model.graph.value_info, *inferred.value_info, *inferred.input, *inferred.output)
        return {value.name: value.type.tensor_type for value in values if value.type.HasField("tensor_type")}

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Extents of a tensor, None where they are not known; None if not even the rank is known."""
        array = self.constant(name)
        if array is not None:
            return array.shape
        known = self._types.get(name)
        if known is None or not known.HasField("shape"):
            return None
        return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in known.shape.dim)

    def element_type(self, name: str) -> int | None:
        """The TensorProto data type of a tensor, None if it is not known."""
        if name in self._initializers:
            return int(self._initializers[name].data_type)
        array = self.constant(name)
        if array is not None:
            return int(helper.np_dtype_to_tensor_dtype(array.dtype))
        known = self._types.get(name)
        return int(known.elem_type) or None if known is not None else None

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a tensor that is always the same: an initializer or a Constant node."""
        if name not in self._arrays:
            array = self._read_constant(name)
            if array is None:
                return None
            self._arrays[name] = array
        return self._arrays[name]

    def _read_constant(self, name: str) -> np.ndarray | None:
        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name])
        node = self.producer.get(name)
        if node is None or node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            return None
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if attribute.name == "value":
                return numpy_helper.to_array(value)
            if attribute.name in ("value_float", "value_floats"):
                return np.array(value, np.float32)
            if attribute.name in ("value_int", "value_ints"):
                return np.array(value, np.int64)
        return None

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element, which adds no axis to what it is combined with."""
        array = self.constant(name)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 and array.ndim < 2 else None

    def declare(self, name: str) -> None:
        """Write the type of a tensor into the model, as far as it is known, for those who cannot infer it."""
        known = self._types.get(name)
        if known is not None and all(value.name != name for value in (*self.model.graph.value_info,
                                                                      *self.model.graph.output)):
            value = self.model.graph.value_info.add(name=name)
            value.type.tensor_type.CopyFrom(known)

    def readers(self, name: str) -> list[NodeProto]:
        """The nodes of the main graph that read a tensor, each once."""
        return self._readers.get(name, [])

    def only_read_by(self, name: str, nodes: Sequence[NodeProto]) -> bool:
        """Whether nobody but these nodes needs a tensor."""
        if name in self.outputs or name in self._captured:
            return False
        return all(any(reader is node for node in nodes) for reader in self.readers(name))

    def only_reader(self, name: str) -> NodeProto | None:
        """The one node that needs a tensor, None if there are several or it is needed elsewhere."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and self.only_read_by(name, readers) else None

    def add_constant(self, array: np.ndarray) -> str:
        """Name of a new initializer."""
        name = f"normkit_{len(self._made)}"
        while name in self._initializers or name in self.producer or name in self._types:
            name += "_"
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        self._made.append(tensor)
        self._initializers[name] = tensor
        return name

    def replace(self, old: Sequence[NodeProto], new: NodeProto) -> None:
        """Put `new` in, and take out what makes the same tensors, and those of `old` that nobody reads any more."""
        made = set(new.output) - {""}
        self.nodes = [node for node in self.nodes if not any(name in made for name in node.output)]
        self.nodes.append(new)
        self._index()
        self._drop_unused(old)
        self._replaced += old

    def _drop_unused(self, among: Sequence[NodeProto]) -> None:
        """Take out those of some nodes that nobody reads, and then those that nobody reads without them."""
        candidates = {id(node) for node in among}
        while True:
            used = {name for node in self.nodes for name in node.input} | self.outputs | self._captured
            kept = [node for node in self.nodes
                    if id(node) not in candidates or any(name in used for name in node.output)]
            if len(kept) == len(self.nodes):
                return
            self.nodes = kept
            self._index()

    def finish(self) -> None:
        """Write the changes to the model: without what is not used any more, in an order in which it can be run."""
        before = {name for node in self.model.graph.node for name in node.input}
        read = {name for node in self._replaced for name in node.input}
        self._drop_unused([node for node in self.nodes
                           if node.op_type == "Constant" and any(name in read for name in node.output)])
        self._sort()
        del self.model.graph.node[:]
        self.model.graph.node.extend(self.nodes)
        after = {name for node in self.nodes for name in node.input} | self.outputs | self._captured
        kept = [t for t in self.model.graph.initializer if t.name in after or t.name not in before]
        kept += [t for t in self._made if t.name in after]
        if len(kept) != len(self.model.graph.initializer) or self._made:
            del self.model.graph.initializer[:]
            self.model.graph.initializer.extend(kept)
        if any(node.domain == DOMAIN for node in self.nodes) and all(
                entry.domain != DOMAIN for entry in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))

    def _sort(self) -> None:
        """Order the nodes so that each comes after those whose outputs it reads, otherwise as in the model."""
        place = {name: i for i, node in enumerate(self.model.graph.node) for name in node.output if name}
        self.nodes.sort(key=lambda node: max((place.get(name, 0) for name in node.output), default=0))
        sorted_nodes: list[NodeProto] = []
        state: dict[int, bool] = {}  # by identity of a node: False while it waits for others, True when it is placed
        for root in self.nodes:
            stack = [root]
            while stack:
                node = stack[-1]
                if id(node) not in state:
                    state[id(node)] = False
                    names = [*node.input, *(name for graph in _subgraphs(node) for name in _names_used(graph))]
                    needed = [self.producer[name] for name in names if name in self.producer]
                    stack += [other for other in needed if id(other) not in state]
                    continue
                stack.pop()
                if not state[id(node)]:
                    state[id(node)] = True
                    sorted_nodes.append(node)
        self.nodes = sorted_nodes

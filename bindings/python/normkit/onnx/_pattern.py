"""Patterns of nodes: what an operator looks like that an exporter has spelled out in smaller ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterator

import numpy as np
from onnx import NodeProto

from ._graph import Graph, attributes

_COMMUTATIVE = {"Add", "Mul"}
_NEAR = 1e-4  # constants such as the root of 2 are written with more or fewer digits


@dataclass(frozen=True)
class Match:
    """What a pattern has found.

    tensors: names of tensors, by the names that the pattern gives them.
    values: what else it has noted: scalars, axes.
    nodes: the nodes that it consists of.
    """

    tensors: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    nodes: tuple[NodeProto, ...] = ()

    def with_tensor(self, key: str, name: str) -> Match | None:
        """With a tensor noted, None if the same key stands for another one."""
        if key in self.tensors:
            return self if self.tensors[key] == name else None
        return Match({**self.tensors, key: name}, self.values, self.nodes)

    def with_value(self, key: str, value: object) -> Match | None:
        if key in self.values:
            return self if self.values[key] == value else None
        return Match(self.tensors, {**self.values, key: value}, self.nodes)

    def with_node(self, node: NodeProto) -> Match:
        if any(node is other for other in self.nodes):
            return self
        return Match(self.tensors, self.values, (*self.nodes, node))


class Pattern:
    """Something that a tensor may be. `find` gives each way in which it is that."""

    def find(self, graph: Graph, name: str, match: Match) -> Iterator[Match]:
        raise NotImplementedError

    def first(self, graph: Graph, name: str) -> Match | None:
        """The first match for a tensor, None if there is none."""
        return next(self.find(graph, name, Match()), None)


@dataclass(frozen=True)
class Tensor(Pattern):
    """Any tensor; the same one wherever the same key stands."""

    key: str

    def find(self, graph: Graph, name: str, match: Match) -> Iterator[Match]:
        found = match.with_tensor(self.key, name)
        if found is not None:
            yield found


@dataclass(frozen=True)
class Scalar(Pattern):
    """A constant with one element, noted by its key."""

    key: str

    def find(self, graph: Graph, name: str, match: Match) -> Iterator[Match]:
        value = graph.scalar(name)
        found = None if value is None else match.with_value(self.key, value)
        if found is not None:
            yield found


@dataclass(frozen=True)
class Number(Pattern):
    """A constant with one element of this value."""

    value: float

    def find(self, graph: Graph, name: str, match: Match) -> Iterator[Match]:
        value = graph.scalar(name)
        if value is not None and np.isclose(value, self.value, rtol=_NEAR, atol=0):
            yield match


class Either(Pattern):
    """One of several patterns."""

    def __init__(self, *patterns: Pattern) -> None:
        self.patterns = patterns

    def find(self, graph: Graph, name: str, match: Match) -> Iterator[Match]:
        for pattern in self.patterns:
            yield from pattern.find(graph, name, match)


class Op(Pattern):
    """The first output of a node of ONNX with these inputs; in any order if that does not matter."""

    def __init__(self, op_type: str, *inputs: Pattern, **near: float) -> None:
        self.op_type = op_type
        self.inputs = inputs
        self.near = near  # attributes that have to have these values, written or by default

    def find(self, graph: Graph, name: str, match: Match) -> Iterator[Match]:
        node = graph.producer.get(name)
        if node is None or node.op_type != self.op_type or node.domain not in ("", "ai.onnx"):
            return
        if len(node.input) != len(self.inputs) or len(node.output) != 1 or not self._attributes_match(node):
            return
        match = match.with_node(node)
        yield from self._find_inputs(graph, list(node.input), match)
        if self.op_type in _COMMUTATIVE:
            yield from self._find_inputs(graph, list(node.input)[::-1], match)

    def _attributes_match(self, node: NodeProto) -> bool:
        values = attributes(node)
        return all(key in values and np.isclose(values[key], value, rtol=_NEAR, atol=0)
                   for key, value in self.near.items())

    def _find_inputs(self, graph: Graph, names: list[str], match: Match) -> Iterator[Match]:
        def from_input(index: int, match: Match) -> Iterator[Match]:
            if index == len(names):
                yield match
                return
            for found in self.inputs[index].find(graph, names[index], match):
                yield from from_input(index + 1, found)

        yield from from_input(0, match)


class Mean(Pattern):
    """ReduceMean that keeps its axes as extents of 1; over the same axes everywhere in a pattern."""

    def __init__(self, of: Pattern) -> None:
        self.of = of

    def find(self, graph: Graph, name: str, match: Match) -> Iterator[Match]:
        node = graph.producer.get(name)
        if node is None or node.op_type != "ReduceMean" or node.domain not in ("", "ai.onnx"):
            return
        values = attributes(node)
        axes = values.get("axes")
        if axes is None and len(node.input) == 2:
            constant = graph.constant(node.input[1])
            axes = None if constant is None else constant.reshape(-1).tolist()
        if not axes or not values.get("keepdims", 1):
            return
        found = match.with_node(node).with_value("axes", tuple(axes))
        if found is not None:
            yield from self.of.find(graph, node.input[0], found)

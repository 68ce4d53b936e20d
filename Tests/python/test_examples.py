"""The examples: their numbers in small runs, and that a wrong number ends them with an error."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"
sys.path.insert(0, str(EXAMPLES))

import sentence_encoder  # noqa: E402
import text_direction  # noqa: E402

import normkit  # noqa: E402


@pytest.fixture(scope="module")
def encoder():
    return sentence_encoder.Encoder(
        np.float32, sentence_encoder.normkit_layer_norm, sentence_encoder.normkit_l2_normalize)


@pytest.fixture(scope="module")
def network():
    """The network, its batch norms, two photographed and two rendered pictures, each upright and turned."""
    model = text_direction.load_model()
    batch, upside_down = text_direction.pictures()
    few = [0, 5, 12, 14, 18, 23, 30, 32]
    return model, text_direction.batch_norms(model), batch[few], upside_down[few]


@pytest.fixture(scope="module")
def run(network):
    model, nodes, batch, _ = network
    return text_direction.run_onnxruntime(model, batch, nodes)


def test_embeddings_agree_with_f64(encoder):
    reference = sentence_encoder.Encoder(
        np.float64, sentence_encoder.numpy_layer_norm, sentence_encoder.numpy_l2_normalize)
    texts = sentence_encoder.SENTENCES[:6]
    calls = encoder.norm_calls
    embeddings = encoder.encode(texts)
    assert encoder.norm_calls - calls == 13
    assert embeddings.shape == (6, 384) and embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, reference.encode(texts), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)


def test_similarities_agree_with_the_published_ones(encoder):
    embeddings = encoder.encode(sentence_encoder.PUBLISHED_SENTENCES)
    np.testing.assert_allclose(embeddings @ embeddings.T, sentence_encoder.PUBLISHED, rtol=0, atol=1e-4)


def test_padding_does_not_change_an_embedding(encoder):
    short, long = "A piano has 88 keys.", "The Moon circles the Earth in about 27 days, and the Sun does not."
    np.testing.assert_allclose(encoder.encode([short, long])[0], encoder.encode([short])[0], rtol=0, atol=1e-6)


def test_batch_norms_agree_with_f64_and_onnxruntime(network, run):
    _, nodes, _, _ = network
    _, tensors, nodes_run = run
    assert len(nodes) == nodes_run == 35
    for node in nodes:
        to_exact, _, to_runtime = text_direction.compare(node, tensors[node.input], tensors[node.output])
        assert to_exact < 3 and to_runtime < 4, node.name


def test_network_with_normkit_reads_the_direction(network, run):
    model, _, batch, upside_down = network
    probabilities, calls = text_direction.run_with_normkit(model, batch)
    assert calls == 35
    np.testing.assert_array_equal(probabilities.argmax(axis=1), upside_down)
    np.testing.assert_allclose(probabilities, run[0], rtol=0, atol=1e-5)


def test_saved_batch_norm_has_the_c_examples_format(network, run, tmp_path):
    _, nodes, _, _ = network
    node, tensors = nodes[6], run[1]
    x, y = tensors[node.input], tensors[node.output]
    text_direction.save_for_c(tmp_path / "norm", node, x, y)

    content = (tmp_path / "norm").read_bytes()
    assert list(np.frombuffer(content, np.int64, 3)) == [8, 8, 6 * 96]
    values = np.frombuffer(content, np.float32, offset=24)
    assert values[0] == np.float32(1e-5)
    parts = np.split(values[1:], np.cumsum([x.size, 8, 8, 8, 8]))
    for part, array in zip(parts, [x, node.gamma, node.beta, node.mean, node.variance, y], strict=True):
        np.testing.assert_array_equal(part, array.ravel())


def test_a_wrong_layer_norm_ends_the_example(monkeypatch):
    layer_norm = normkit.layer_norm
    # An epsilon that is far too large, but small enough that the search still finds the right sentences.
    monkeypatch.setattr(normkit, "layer_norm", lambda *arrays, eps, out: layer_norm(*arrays, eps=eps + 1e-4, out=out))
    with pytest.raises(SystemExit, match="FAILED: largest difference"):
        sentence_encoder.main(["--repeats", "1"])


def test_a_wrong_batch_norm_ends_the_example(monkeypatch):
    batch_norm = normkit.batch_norm
    monkeypatch.setattr(normkit, "batch_norm",
                        lambda *arrays, eps, **options: batch_norm(*arrays, eps=eps + 1e-6, **options))
    with pytest.raises(SystemExit, match="FAILED: probabilities"):
        text_direction.main(["--repeats", "1"])


def test_a_wrong_batch_norm_alone_ends_the_example(monkeypatch):
    def folded(node, x):
        # Scale and shift in half precision.
        scale = (node.gamma / np.sqrt(node.variance + node.epsilon)).astype(np.float16)
        shift = (node.beta - node.mean * scale).astype(np.float16)
        return x * scale[:, None, None] + shift[:, None, None]

    monkeypatch.setattr(text_direction.BatchNorm, "normkit", folded)
    with pytest.raises(SystemExit, match="FAILED: NormKit to f64"):
        text_direction.main(["--repeats", "1"])


@pytest.mark.parametrize("example", ["sentence_encoder.py", "text_direction.py"])
def test_examples_explain_themselves(example):
    shown = subprocess.run([sys.executable, EXAMPLES / example, "--help"], capture_output=True, text=True, check=True)
    assert "--repeats" in shown.stdout and "NormKit" in shown.stdout

"""The article's experiment on the statistics of batch normalization in training and afterwards."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from article import data, layers, statistics_gap  # noqa: E402
from article.experiment import quiet  # noqa: E402


def test_the_gap_is_there_and_recomputing_closes_it():
    numbers = statistics_gap.EXPERIMENT.run(quiet, True).numbers
    cells = {(cell["batch"], cell["momentum"]): cell for cell in numbers["cells"]}
    assert len(cells) == numbers["closer"] == 4
    # Few steps and a small momentum: the statistics that it began with are still in it.
    late = cells[64, 0.01]
    assert late["running"][0] > 2 * late["recomputed"][0]
    # A large momentum: the statistics are those of the last few batches, noisy if these are small.
    assert cells[4, 0.5]["gap"][1] > 1.3 * cells[64, 0.5]["gap"][1]
    for cell in cells.values():
        assert cell["gap after"][1] < 0.7 * cell["gap"][1]


def test_recomputed_statistics_are_those_of_all_images():
    network, x = statistics_gap.network(0, 0.1), data.digits().x[:250]
    network.forward(x)
    statistics_gap.recompute(network, x)
    y = x
    for layer in network.layers:
        if isinstance(layer, layers.BatchNorm):
            rows = y.reshape(-1, y.shape[-1]).astype(float)
            np.testing.assert_allclose(layer.running_mean, rows.mean(axis=0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(layer.running_var, rows.var(axis=0), rtol=1e-5)
        y = layer.forward(y, training=False)


def test_measuring_leaves_the_running_statistics_as_they_are():
    network, digits = statistics_gap.network(0, 0.1), data.digits()
    network.forward(digits.x[:64])
    norms = [network.layers[at] for at in statistics_gap.norms(network)]
    before = [(norm.running_mean.copy(), norm.running_var.copy()) for norm in norms]
    statistics_gap.gap(network, digits.x[:100], 10)
    _, accuracy = statistics_gap.with_statistics_of_batches(network, digits.x[:64], digits.labels[:64], 64)
    for norm, statistics in zip(norms, before, strict=True):
        np.testing.assert_array_equal([norm.running_mean, norm.running_var], statistics)
    # The same as in training.
    logits = network.forward(digits.x[:64])
    assert accuracy == (logits.argmax(axis=1) == digits.labels[:64]).mean()

"""The article's experiment on the smoothness of the loss."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from article import data, layers, smoothness  # noqa: E402
from article.experiment import quiet  # noqa: E402
from article.perceptron import perceptron  # noqa: E402


@pytest.fixture(scope="module")
def numbers():
    return smoothness.EXPERIMENT.run(quiet, True).numbers


@pytest.mark.parametrize(("measure", "least"), [("loss", 1.5), ("gradient", 2), ("smoothness", 1.2)])
def test_smoother_with_batch_norm(measure, least, numbers):
    assert numbers["holds"][measure] and min(numbers["ratios"][measure]) > least


def test_bound_of_the_gradient_holds(numbers):
    assert numbers["bound"]["error"] < 1e-4 and numbers["bound"]["channels"] > 100
    assert 0 < numbers["bound"]["removed"] < 1


def test_probes_leave_the_network_where_it_is():
    digits = data.digits().rows()
    network = perceptron(np.random.default_rng(0), layers.BatchNorm)
    before = [parameter.value.copy() for parameter in network.parameters()]
    loss, start, probes = smoothness.probe(network, digits.x[:60], digits.labels[:60], 0.1)
    for parameter, value in zip(network.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)
    # The shortest probe is in the direction in which the loss falls, by about length * |gradient|².
    assert loss - 1.1 * 0.05 * np.square(start).sum() < probes[0, 0] < loss
    assert (probes[:, 1:] > 0).all()

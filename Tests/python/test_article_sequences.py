"""The article's experiment on sequences, and the recurrent network in it: gradients against finite differences."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from article import sequences  # noqa: E402
from article.experiment import quiet  # noqa: E402
from article.recurrent import METHODS, Recurrent  # noqa: E402

LENGTHS = np.array([4, 4, 3, 1])  # in the last step there are 2 rows, in the third 3


def in_double(method, lengths):
    """A small network, its inputs, and factors for a loss, in f64."""
    random = np.random.default_rng(0)
    network = Recurrent(random, method, 3, 5, 2, steps=6)
    for parameter in network.parameters():
        parameter.value = parameter.value + 0.1 * random.standard_normal(parameter.value.shape)
    network.weight.value, network.weight.gradient = (
        array.astype(float) for array in (network.weight.value, network.weight.gradient))
    network.running_mean, network.running_var = (
        array.astype(float) for array in (network.running_mean, network.running_var))
    x = random.standard_normal((len(lengths), lengths[0], 3))
    return network, x, random.standard_normal((len(lengths), 2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [LENGTHS, np.array([5, 2, 2])], ids=["rows", "a single row"])
def test_gradients(method, training, lengths):
    network, x, factors = in_double(method, lengths)
    network.batches[:2], network.momentum = 1, 0.0  # the running statistics, which a single row takes, stay as they are
    network.running_mean[...], network.running_var[...] = 0.2, 0.5

    def loss():
        return float((network.forward(x, lengths, training) * factors).sum())

    loss()
    network.backward(factors)
    for parameter in network.parameters():
        gradient = parameter.gradient.copy()
        for index in np.ndindex(parameter.value.shape):
            value = parameter.value[index]
            parameter.value[index] = value + 1e-6
            above = loss()
            parameter.value[index] = value - 1e-6
            expected = (above - loss()) / 2e-6
            parameter.value[index] = value
            assert gradient[index] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_what_is_behind_an_end_does_not_count():
    network, x, _ = in_double("layer", LENGTHS)
    expected = network.forward(x, LENGTHS)
    x[2, 3:], x[3, 1:] = 7, -7
    np.testing.assert_array_equal(network.forward(x, LENGTHS), expected)


def test_later_steps_take_the_last_statistics():
    network, x, _ = in_double("batch", LENGTHS)
    network.forward(x, LENGTHS)
    assert list(network.batches) == [1, 1, 1, 1, 0, 0]
    long = np.concatenate([x, x], axis=1)
    changed = network.forward(long, np.full(4, 6), training=False)
    network.running_mean[4:], network.running_var[4:] = 5, 9  # not trained: never looked at
    np.testing.assert_array_equal(network.forward(long, np.full(4, 6), training=False), changed)


def test_different_lengths_are_bad_for_batch_norm():
    numbers = sequences.EXPERIMENT.run(quiet, True).numbers
    different, same = (numbers[f"accuracy, {lengths}"] for lengths in ("different lengths", "the same length"))
    assert different["layer"] > different["batch"] + 0.04
    assert same["batch"] - different["batch"] > same["layer"] - different["layer"] + 0.05
    assert min(same.values()) > 0.7


def test_stretched_images_keep_their_rows():
    images = np.random.default_rng(0).standard_normal((2, 8, 8)).astype(np.float32)
    stretched = sequences.stretch(images, np.array([8, 15]))
    np.testing.assert_allclose(stretched[0, :8], images[0], atol=1e-6)
    np.testing.assert_allclose(stretched[1, ::2], images[1], atol=1e-5)
    assert not stretched[0, 8:].any()

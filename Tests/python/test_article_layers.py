"""The layers and the training that the article's experiments are made of: gradients against finite differences."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("sklearn")

from article import data, layers, training  # noqa: E402

import normkit  # noqa: E402

IMAGES, ROWS = (3, 4, 4, 6), (5, 6)


def made(seed=0):
    """Layers and the shapes of what they are given."""
    random = np.random.default_rng(seed)
    return {
        "dense": (layers.Dense(random, 6, 3), ROWS),
        "dense, positions": (layers.Dense(random, 6, 3, bias=False), IMAGES),
        "convolution": (layers.Convolution(random, 6, 2), IMAGES),
        "convolution, even": (layers.Convolution(random, 6, 2, size=2), IMAGES),
        "weight norm l2": (layers.WeightNorm(layers.Dense(random, 6, 3)), ROWS),
        "weight norm l1": (layers.WeightNorm(layers.Convolution(random, 6, 2), "l1"), IMAGES),
        "batch norm": (layers.BatchNorm(6), ROWS),
        "batch norm, images": (layers.BatchNorm(6), IMAGES),
        "layer norm": (layers.LayerNorm(6), ROWS),
        "layer norm, images": (layers.LayerNorm(6), IMAGES),
        "rms norm": (layers.RMSNorm(6), ROWS),
        "instance norm": (layers.InstanceNorm(6), IMAGES),
        "group norm": (layers.GroupNorm(6, 2), ROWS),
        "group norm, images": (layers.GroupNorm(6, 3), IMAGES),
        "relu": (layers.ReLU(), ROWS),
        "tanh": (layers.Tanh(), ROWS),
        "sigmoid": (layers.Sigmoid(), ROWS),
        "average pool": (layers.AveragePool(2), IMAGES),
        "sequential": (layers.Sequential(layers.Convolution(random, 6, 4), layers.BatchNorm(4), layers.Tanh(),
                                         layers.AveragePool(), layers.Flatten(), layers.Dense(random, 16, 2)), IMAGES),
    }


def in_double(layer):
    """Make all arrays of a layer f64, for finite differences; parameters that are alike become different."""
    random = np.random.default_rng(1)
    for parameter in layer.parameters():
        parameter.value = parameter.value + 0.1 * random.standard_normal(parameter.value.shape)
    for inner in getattr(layer, "layers", [layer]):
        for name, value in vars(inner).items():
            if isinstance(value, np.ndarray):
                setattr(inner, name, value.astype(np.float64))


def finite_differences(function, array, step=1e-6):
    """The gradient of function() with respect to an array, which is changed in place and restored."""
    result = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = function()
        array[index] = value - step
        result[index] = (above - function()) / (2 * step)
        array[index] = value
    return result


@pytest.mark.parametrize("name", made())
@pytest.mark.parametrize("mode", [True, False])
def test_gradients(name, mode):
    layer, shape = made()[name]
    in_double(layer)
    random = np.random.default_rng(2)
    x = random.standard_normal(shape)
    factors = random.standard_normal(layer.forward(x, mode).shape)

    def loss():
        return float((layer.forward(x, mode) * factors).sum())

    loss()
    dx = layer.backward(factors)
    found = [parameter.gradient.copy() for parameter in layer.parameters()]
    np.testing.assert_allclose(dx, finite_differences(loss, x), rtol=1e-5, atol=1e-7)
    for parameter, gradient in zip(layer.parameters(), found):
        np.testing.assert_allclose(gradient, finite_differences(loss, parameter.value), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", made())
def test_single_precision_stays(name):
    layer, shape = made()[name]
    y = layer.forward(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    assert y.dtype == layer.backward(y).dtype == np.float32
    assert all(parameter.gradient.dtype == np.float32 for parameter in layer.parameters())
    assert all(parameter.gradient.shape == parameter.value.shape for parameter in layer.parameters())


def test_weight_norm_starts_with_the_weight_of_the_layer():
    dense = layers.Dense(np.random.default_rng(0), 6, 3)
    before = dense.weight.value.copy()
    layers.WeightNorm(dense, "l1").forward(np.ones((2, 6), np.float32))
    np.testing.assert_allclose(dense.weight.value, before, rtol=1e-6)


@pytest.mark.parametrize("loss", [
    lambda y: training.softmax_cross_entropy(y, np.array([0, 2, 1, 1])),
    lambda y: training.squared_error(y, np.ones((4, 3))),
])
def test_gradients_of_losses(loss):
    y = np.random.default_rng(0).standard_normal((4, 3))
    np.testing.assert_allclose(loss(y)[1], finite_differences(lambda: loss(y)[0], y), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_penalty_is_added_to_the_gradients_of_weights(norm):
    dense = layers.Dense(np.random.default_rng(0), 6, 3)
    dense.forward(np.ones((2, 6), np.float32))
    dense.backward(np.ones((2, 3), np.float32))
    before, bias = dense.weight.gradient.copy(), dense.bias.gradient.copy()
    value = training.add_penalty(dense.parameters(), 0.5, norm)
    expected, gradient = normkit.weight_penalty(dense.weight.value, 0.5, norm)
    assert value == expected
    np.testing.assert_allclose(dense.weight.gradient, before + gradient, rtol=1e-6)
    np.testing.assert_array_equal(dense.bias.gradient, bias)


@pytest.mark.parametrize("optimizer", [lambda p: training.SGD(p, 0.1, 0.9), lambda p: training.Adam(p, 0.01)])
def test_training_learns_the_digits(optimizer):
    digits = data.digits().rows()
    random = np.random.default_rng(0)
    network = layers.Sequential(layers.Dense(random, 64, 32), layers.BatchNorm(32), layers.ReLU(),
                                layers.Dense(random, 32, 10))
    losses = training.train(network, optimizer(network.parameters()), digits.x, digits.labels, 4, 60)
    assert len(losses) == 80 and losses[-10:].mean() < 0.3 * losses[:5].mean()
    assert training.evaluate(network, digits.test_x, digits.test_labels)[1] > 0.9


def test_a_training_that_diverges_ends():
    digits = data.digits().rows()
    network = layers.Sequential(layers.Dense(np.random.default_rng(0), 64, 32), layers.Dense(
        np.random.default_rng(1), 32, 10))
    losses = training.train(network, training.SGD(network.parameters(), 1e6), digits.x, digits.labels, 1, 60)
    assert np.isinf(losses[-1])
    assert training.evaluate(network, digits.test_x, digits.test_labels)[1] < 0.3


def test_data():
    digits = data.digits()
    assert digits.x.shape == (1200, 8, 8, 1) and digits.test_x.shape == (597, 8, 8, 1)
    assert digits.rows().first(100).x.shape == (100, 64)
    assert len(set(map(bytes, np.concatenate([digits.x, digits.test_x])))) > 1780  # a few digits are equal

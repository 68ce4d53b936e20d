"""The article's experiment on internal covariate shift."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from article import covariate_shift, data  # noqa: E402
from article.experiment import quiet  # noqa: E402


def test_noise_shakes_the_distributions_and_training_goes_on():
    numbers = covariate_shift.EXPERIMENT.run(quiet, True).numbers
    shift, loss = numbers["shift"], numbers["mean loss"]
    assert shift["noisy"].mean() > 5 * shift["batch"].mean()
    assert loss["batch"].mean() < loss["noisy"].mean() < loss["none"].mean()
    assert numbers["share of the gain that is kept"] > 0.4


def test_noise_has_the_shape_that_is_asked_for():
    x = np.random.default_rng(0).standard_normal((2000, 50)).astype(np.float32)
    noise = covariate_shift.ShiftingNoise(np.random.default_rng(1))
    shifted, again = noise.forward(x), noise.forward(x)
    means, deviations = shifted.mean(axis=0), shifted.std(axis=0)
    assert 0.2 < np.abs(means).mean() < 0.3  # uniform in +-0.5
    assert np.abs(deviations - 1.125).max() < 0.3 and deviations.std() > 0.03
    assert np.abs(again.mean(axis=0) - means).mean() > 0.2  # other ones at each step
    assert noise.forward(x, training=False) is x


def test_gradient_of_noise():
    x = np.random.default_rng(0).standard_normal((4, 3))
    one, other = (covariate_shift.ShiftingNoise(np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_allclose(other.forward(x + 1) - one.forward(x), one.backward(np.ones_like(x)), rtol=1e-12)


def test_gradient_shift_leaves_the_network_where_it_is():
    digits = data.digits().rows()
    network = covariate_shift.network("batch", 0)
    before = [parameter.value.copy() for parameter in network.parameters()]
    cosines = covariate_shift.gradient_shift(network, digits.x[:60], digits.labels[:60], 0.1)
    for parameter, value in zip(network.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)
    assert len(cosines) == covariate_shift.HIDDEN and all(0 < cosine < 1 for cosine in cosines)
    still = covariate_shift.gradient_shift(network, digits.x[:60], digits.labels[:60], 0.0)
    np.testing.assert_allclose(still, 1, atol=1e-5)

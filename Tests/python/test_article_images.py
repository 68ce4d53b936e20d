"""The article's experiment on style transfer."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("sklearn")
pytest.importorskip("skimage")
pytest.importorskip("matplotlib")

from article import images  # noqa: E402
from article.experiment import quiet  # noqa: E402


def test_instance_norm_draws_the_style_whatever_the_contrast():
    numbers = images.EXPERIMENT.run(quiet, True).numbers
    loss, rise = numbers["test loss"], numbers["rise at low contrast"]
    for way in ("batch", "batch, of the test"):
        assert loss["instance"].mean() < 0.97 * loss[way].mean()
        assert rise["instance"] < 0.95 * rise[way]
    assert 0.8 < rise["instance"] < 1.25


def test_gradient_of_the_loss():
    random = np.random.default_rng(0)
    loss = images.StyleLoss(images.style_picture())
    content = images.crops(random, 2).astype(float)
    picture = content + 0.1 * random.standard_normal(content.shape)
    direction = random.standard_normal(content.shape)
    *_, gradient = loss(picture, content)

    def total(step):
        style, shown, _ = loss(picture + step * direction, content)
        return style + images.CONTENT * shown

    assert (gradient * direction).sum() == pytest.approx((total(1e-6) - total(-1e-6)) / 2e-6, rel=1e-4)


def test_loss_is_least_where_it_should_be():
    style = images.style_picture()
    loss = images.StyleLoss(style)
    other = images.test_photographs()[:1]
    assert loss(style[None], style[None])[:2] == pytest.approx((0, 0), abs=1e-9)
    style_loss, content_loss, _ = loss(other, other)
    assert style_loss > 0.05 and content_loss == 0


def test_contrast_keeps_the_mean():
    photographs = images.test_photographs()
    pale = images.with_contrast(photographs, 0.25)
    np.testing.assert_allclose(pale.mean(axis=(1, 2)), photographs.mean(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(pale.std(axis=(1, 2)), 0.25 * photographs.std(axis=(1, 2)), rtol=1e-3)

"""The article's experiment on re-scaling: the whole table, and what it is measured with."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from article import rescaling  # noqa: E402
from article.experiment import REPRODUCED, quiet  # noqa: E402

METHODS = list(rescaling.CLAIMED)


@pytest.fixture(scope="module")
def result():
    return rescaling.EXPERIMENT.run(quiet, True)


def test_all_of_the_table_is_as_derived(result):
    assert result.verdict == REPRODUCED
    numbers = result.numbers
    assert numbers["right"] == numbers["cells"] == len(METHODS) * len(rescaling.KINDS)
    assert numbers["largest invariant"] < 1e-6 and numbers["smallest other"] > 0.1


def test_powers_of_two_change_no_bit(result):
    """Of the output, and of the gradient but for its scale."""
    numbers = result.numbers
    assert numbers["exact"] == numbers["invariant"] == sum(map(len, rescaling.CLAIMED.values()))
    assert numbers["gradients exact"] == numbers["gradients"] > 0
    assert numbers["largest cosine of gradient and weights"] < 1e-5
    for row in numbers["methods"].values():
        for cell in row.values():
            assert cell["exact exponents"] == ((-20, 20) if cell["claimed"] else (0, 0))


@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_that_of_the_output(method):
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((3, 5, 9)), random.standard_normal((rescaling.FILTERS, 9))
    dy = random.standard_normal((3, 5, rescaling.FILTERS))
    direction = random.standard_normal(weight.shape)
    above, below = (float((rescaling.output(method, x, weight + step * direction) * dy).sum()) for step in (1e-6, -1e-6))
    assert (rescaling.gradient(method, x, weight, dy) * direction).sum() == pytest.approx((above - below) / 2e-6, rel=1e-5)

"""The article's experiments in their fast versions: the direction of each claim, for a fixed seed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

from article import batch_size, convergence, families, layers, position, sets_of_elements  # noqa: E402
from article.experiment import quiet  # noqa: E402

import normkit  # noqa: E402



@pytest.fixture(autouse=True)
def one_thread():
    before = normkit.get_num_threads()
    normkit.set_num_threads(1)
    yield
    normkit.set_num_threads(before)


def found(experiment):
    """The numbers of the fast version, as JSON has them; all text and drawings are made, too."""
    result = experiment.EXPERIMENT.run(quiet, True)
    assert result.line and result.setup and all(picture.svg.startswith("<svg") for picture in result.pictures)
    return json.loads(json.dumps(result.as_json(), allow_nan=False))["numbers"]


def test_sets_are_those_of_the_definition():
    numbers = found(sets_of_elements)
    assert len(numbers["as defined"]) == 12 and all(numbers["as defined"].values())
    for row in numbers["identities"]:
        assert row["largest difference"] <= 4 * np.finfo(np.float32).eps, row


def test_sets_of_a_wrong_normalization_are_not_those_of_the_definition():
    x = np.random.default_rng(0).standard_normal(sets_of_elements.SHAPE).astype(np.float32)
    numbers = sets_of_elements.sets(sets_of_elements.influence(lambda x: normkit.group_norm(x, 2), x))
    _, common = sets_of_elements.METHODS["group"]
    assert numbers.max() + 1 == 2 * len(x) and not np.array_equal(numbers, sets_of_elements.defined_sets(common))
    # Neighbours have an influence on each other here, but not those on those of these: no partition.
    assert sets_of_elements.sets(sets_of_elements.influence(lambda x: x + np.roll(x, 1, 1), x)) is None


def test_families_fix_activations_or_weights():
    numbers = found(families)
    for way, measured in numbers.items():
        assert (measured["activations"] < 1e-5) == (way in families.ACTIVATIONS), way
        assert (measured["weights"] < 1e-5) == (way in families.WEIGHTS), way
    # A penalty makes the norm smaller. In two epochs by 2 % at the least, for four seeds.
    for penalty in families.PENALTIES:
        assert numbers[penalty]["weight norm"] < 0.99 * numbers["none"]["weight norm"]


def test_both_positions_train_faster_than_no_normalization():
    for measured in found(position)["differences"].values():
        assert measured["both positions help"]


def test_compare_is_a_paired_t_interval():
    mean, half = position.compare([1.0, 2.0, 4.0], [2.0, 4.0, 7.0])  # differences 1, 2, 3
    assert mean == 2 and half == pytest.approx(4.302653 / np.sqrt(3))


def test_batch_norm_is_faster_and_needs_less_care():
    numbers = found(convergence)
    assert numbers["steps"]["batch"] < 0.8 * numbers["steps"]["none"]  # 0.51 to 0.60 for four seeds
    assert numbers["pairs that work"]["batch"] >= numbers["pairs that work"]["none"] + 3  # of 12; 5 to 7 more
    assert numbers["rates that work"]["batch"][1] > numbers["rates that work"]["none"][1]
    # Less noise, a smaller training loss.
    by_rows = {rows: np.mean(values["train loss"]) for rows, values in numbers["noise"].items()}
    assert by_rows["128"] < by_rows["16"] < by_rows["4"]


def test_statistics_of_parts_are_those_of_batch_norms_of_the_parts():
    random = np.random.default_rng(0)
    x, dy = random.standard_normal((2, 12, 5)).astype(np.float32)
    parts = convergence.PartsBatchNorm(5, 4)
    parts.weight.value = random.standard_normal(5).astype(np.float32)
    y, dx = parts.forward(x), parts.backward(dy)
    dweight = 0
    for rows in np.split(np.arange(12), 3):
        alone = layers.BatchNorm(5)
        alone.weight.value = parts.weight.value
        np.testing.assert_array_equal(y[rows], alone.forward(x[rows]))
        np.testing.assert_array_equal(dx[rows], alone.backward(dy[rows]))
        dweight = dweight + alone.weight.gradient
    np.testing.assert_allclose(parts.weight.gradient, dweight, rtol=1e-5)
    np.testing.assert_allclose(parts.bias.gradient, dy.sum(axis=0), rtol=1e-5)


def test_small_batches_spoil_batch_norm():
    numbers = found(batch_size)
    assert numbers["points lost"]["batch"] > 20  # 43 to 74 for four seeds
    assert numbers["points lost"]["group"] < 5 and numbers["points lost"]["layer"] < 5
    for of in numbers["noise"].values():
        assert of["mean"] == sorted(of["mean"], reverse=True)
    # That of rows is the standard error of a mean, 1 / sqrt(n), less what drawing without replacement takes.
    np.testing.assert_allclose(numbers["noise"]["rows"]["mean"], 1 / np.sqrt(numbers["sizes"]), rtol=0.15)

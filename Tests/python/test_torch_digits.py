"""The example that trains networks in PyTorch: its numbers, and that a wrong gradient ends it with an error."""

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"
sys.path.insert(0, str(EXAMPLES))

import train_digits  # noqa: E402

import normkit  # noqa: E402
from normkit.torch import _short  # noqa: E402


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads(), normkit.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    normkit.set_num_threads(before[1])


def test_trainings_agree(capsys):
    train_digits.main(["--epochs", "8"])
    printed = capsys.readouterr().out
    assert printed.count("  ok: ") == 8
    assert "of NormKit: 2 BatchNorm2d, 1 BatchNorm1d" in printed
    assert "of NormKit: 2 GroupNorm, 1 LayerNorm" in printed


@pytest.mark.parametrize("name, network", [
    ("batch_norm", "batch"), ("group_norm", "group and layer"), ("layer_norm", "group and layer"),
])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_wrong_gradient_ends_the_example(name, network, which, monkeypatch):
    """A gradient of x, weight or bias that is 1e-3 of itself too large."""
    monkeypatch.setattr(_short, "available", False)
    backward = getattr(normkit, f"{name}_backward")

    def wrong(*arguments, **keywords):
        gradients = backward(*arguments, **keywords)
        gradients[which].mul_(1.001)
        return gradients

    monkeypatch.setattr(normkit, f"{name}_backward", wrong)
    with pytest.raises(SystemExit, match="FAILED: (the first 23 losses|NormKit's losses)"):
        train_digits.compare(network, 2)


def test_wrong_running_statistics_end_the_example(monkeypatch):
    batch_norm = normkit.batch_norm

    def wrong(*arguments, **keywords):
        if keywords.get("training"):
            keywords["momentum"] = 1e-3
        return batch_norm(*arguments, **keywords)

    monkeypatch.setattr(normkit, "batch_norm", wrong)
    with pytest.raises(SystemExit, match="FAILED: .* test digits"):
        train_digits.compare("batch", 2)


def test_it_explains_itself():
    shown = subprocess.run(
        [sys.executable, EXAMPLES / "train_digits.py", "--help"], capture_output=True, text=True, check=True)
    assert "--epochs" in shown.stdout and "NormKit" in shown.stdout

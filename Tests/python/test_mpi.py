"""Batch normalization on several processes that MPI starts, and that talk over the loopback network.

This file is also the program that each of the processes runs: it gives its share of every batch to the layer
of the examples, and saves what it got.
"""

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from support import families
from support.dtypes import DTYPES, F64, DType, exact
from support.families import Family
from support.fill import fill
from support.header import ROOT, constants
from support.limits import limit
from support.measure import error
from support.methods import method
from support.problem import Problem
from support.reference import Expected

BINDING = ROOT / "bindings" / "python"
EXAMPLES = BINDING / "examples"
RANKS = 4
TIME_LIMIT = 300  # seconds; a few are enough where nothing else runs
# Samples of each rank.
SHARES = ((3, 3, 3, 3), (1, 7, 2, 3), (0, 5, 0, 6), (0, 0, 9, 0))
MOMENTUM = 0.25
STATE = ("running_mean", "running_variance", "dgamma", "dbeta")  # what every rank has

needs_mpirun = pytest.mark.skipif(
    shutil.which("mpirun") is None, reason="no mpirun; scripts/setup.sh installs it")


def test_setup_installed_mpi():
    """Where setup.sh has been run, as continuous integration does, none of these tests may be skipped."""
    if not (ROOT / ".venv" / "installed.txt").exists():
        pytest.skip("scripts/setup.sh has not been run in this checkout")
    assert shutil.which("mpirun")


def mpirun(ranks: int, *program: str | Path) -> subprocess.CompletedProcess:
    """Run a Python program on so many processes; all are ended when one of them fails, or when time is up."""
    network = ["--mca", "pml", "ob1", "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo"]
    return subprocess.run(
        ["mpirun", "--oversubscribe", "--timeout", str(TIME_LIMIT), "-n", str(ranks), *network,
         sys.executable, "-m", "mpi4py", *program],
        env={**os.environ, "PYTHONPATH": str(BINDING), "OMPI_ALLOW_RUN_AS_ROOT": "1",
             "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
        capture_output=True, text=True, timeout=TIME_LIMIT + 30,
    )


@dataclass(frozen=True)
class Case:
    """A batch of which each rank has so many samples. layout: 1 for channels first, 2 for channels last."""

    dtype: DType
    family: Family
    layout: int
    shares: tuple[int, ...]

    @property
    def channel_axis(self) -> int:
        return 1 if self.layout == 1 else -1

    def forward(self) -> Problem:
        """The whole batch on one process."""
        return self._problem("batch_norm_training")

    def backward(self) -> Problem:
        """The gradient of `forward`."""
        forward, backward = self.forward().inputs, self._problem("batch_norm_training_backward")
        return backward.with_inputs(x=forward["x"], gamma=forward["gamma"])

    def _problem(self, name: str) -> Problem:
        scalars = {"samples": sum(self.shares), "channels": 19, "positions": 37, "layout": self.layout,
                   "epsilon": 1e-5, "momentum": MOMENTUM,
                   "running_variance_rule": constants()["RUNNING_UNBIASED"]}
        return fill(method(name), self.dtype, self.dtype.parameters[-1], scalars, self.family, seed=3)

    def __str__(self) -> str:
        return f"{self.family} {self.dtype}, layout {self.layout}, shares {self.shares}"


def cases(dtype: DType) -> Iterator[Case]:
    """Batches of a dtype. Large means are left out of f64: moments hold nothing wider than f64 for a mean."""
    for family in (families.NORMAL, families.CONSTANT, families.LARGE_MEAN)[:2 if dtype == F64 else 3]:
        for layout in (1, 2):
            for shares in SHARES:
                yield Case(dtype, family, layout, shares)


def run_shares(folder: Path) -> None:
    """What each process does: the layer on its share of each case; saves the outputs by the case's name."""
    from mpi4py import MPI

    sys.path.append(str(EXAMPLES))
    from _synchronized import SynchronizedBatchNorm

    communicator, outputs = MPI.COMM_WORLD, {}
    for case in (case for dtype in DTYPES for case in cases(dtype)):
        whole, incoming = case.forward().inputs, case.backward().inputs["dy"]
        first = sum(case.shares[:communicator.rank])
        share = slice(first, first + case.shares[communicator.rank])
        layer = SynchronizedBatchNorm(len(whole["gamma"]), communicator, channel_axis=case.channel_axis,
                                      momentum=MOMENTUM, dtype=case.dtype.statistics.numpy)
        layer.weight, layer.bias = whole["gamma"], whole["beta"]
        layer.running_mean, layer.running_var = whole["running_mean"], whole["running_variance"]
        y = layer.forward(whole["x"][share])
        dx = layer.backward(incoming[share])
        state = layer.running_mean, layer.running_var, layer.weight_gradient, layer.bias_gradient
        outputs[str(case)] = {"y": y, "dx": dx} | dict(zip(STATE, state, strict=True))
    (folder / str(communicator.rank)).write_bytes(pickle.dumps(outputs))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, dict[str, np.ndarray]]]:
    """The outputs of each process, by the name of the case."""
    folder = tmp_path_factory.mktemp("ranks")
    done = mpirun(RANKS, __file__, folder)
    assert done.returncode == 0, done.stderr
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(RANKS)]


@needs_mpirun
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_four_processes_are_one(dtype, ranks):
    for case in cases(dtype):
        outputs = [rank[str(case)] for rank in ranks]
        for name in STATE:
            assert len({found[name].tobytes() for found in outputs}) == 1, f"{name} of ranks differs: {case}"
        joined = {name: np.concatenate([found[name] for found in outputs]) for name in ("y", "dx")}
        assert_near(case, outputs[0] | joined)


def assert_near(case: Case, outputs: dict[str, np.ndarray]) -> None:
    """What the processes got is as near to the exact result as one process has to be, and as near to that;
    two roundings to a half type may be a unit apart."""
    alone = on_one_process(case)
    for problem in (case.forward(), case.backward()):
        for name in problem.expected.keys() & outputs.keys():
            expected, dtype, most = problem.expected[name], problem.type_of(name), limit(problem, name)
            units = error(outputs[name], expected, dtype)
            assert units <= most, f"{name} is off by {units:.3g} units: {case}"
            apart = error(outputs[name], Expected(exact(alone[name]), expected.magnitude), dtype)
            assert apart <= max(most, 2), f"{name} is {apart:.3g} units from one process: {case}"


def on_one_process(case: Case) -> dict[str, np.ndarray]:
    """The same outputs from the whole batch."""
    import normkit

    x, gamma, beta, mean, variance = (
        case.forward().inputs[name] for name in ("x", "gamma", "beta", "running_mean", "running_variance"))
    y = normkit.batch_norm(x, mean, variance, gamma, beta, True, MOMENTUM, channel_axis=case.channel_axis)
    dx, dgamma, dbeta = normkit.batch_norm_backward(
        case.backward().inputs["dy"], x, gamma, channel_axis=case.channel_axis)
    return {"y": y, "dx": dx} | dict(zip(STATE, (mean, variance, dgamma, dbeta), strict=True))


def example(ranks: int, epochs: int, change: str = "") -> subprocess.CompletedProcess:
    """Run examples/synchronized_batch_norm.py, after a change of its functions by a piece of code."""
    return mpirun(ranks, "-c", f"""
import sys; sys.path.append({str(EXAMPLES)!r})
import synchronized_batch_norm as example
{change}
example.main(["--epochs", "{epochs}"])
""")


@needs_mpirun
@pytest.mark.parametrize(("ranks", "shares"), [(1, [120]), (4, [12, 24, 36, 48])])
def test_example_learns_digits(ranks, shares):
    done = example(ranks, epochs=6)
    assert done.returncode == 0, done.stderr
    assert f"1437 digits in batches of 120, of which the processes have {shares}\n" in done.stdout
    rows = re.findall(r"^  (\d) +(\d\.\d{6}) +(\d\.\d{6})$", done.stdout, re.MULTILINE)
    number, losses, alone = np.array(rows, np.float64).T
    assert list(number) == [1, 2, 3, 4, 5, 6]
    assert losses[0] > 0.5 and losses[-1] < 0.1
    np.testing.assert_allclose(losses, alone, rtol=0, atol=1.5e-6)  # printed with six digits
    bits, difference, correct = (line for line in done.stdout.splitlines() if line.startswith("  ok: "))
    assert "same bits on all processes" in bits
    assert difference.endswith("units (limit 72)") and ("difference 0.0" in difference) == (ranks == 1)
    assert int(correct.split()[1]) >= 342


@needs_mpirun
@pytest.mark.parametrize(("change", "error"), [
    # The gradients of weights stay on their rank.
    ("example.sum_in_rank_order = lambda own, communicator: own", "parameters and running statistics"),
    # All ranks take the sums of the last one.
    ("import _synchronized; _synchronized.add_up = lambda terms: terms[-1]", "they are those of one process"),
], ids=["gradients", "statistics"])
def test_wrong_sums_end_the_example(change, error):
    done = example(2, 1, change)
    assert done.returncode == 1
    assert f"FAILED: {error}" in done.stderr


if __name__ == "__main__":
    run_shares(Path(sys.argv[1]))

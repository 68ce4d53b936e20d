"""The package as a whole: documentation, types, how the library is found, the cost of a call."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import timeit
from pathlib import Path

import numpy as np
import pytest

import normkit

PYTHON = Path(__file__).resolve().parents[2] / "bindings" / "python"

MODULES = [module.name for module in pkgutil.iter_modules(normkit.__path__, "normkit.")]


@pytest.mark.parametrize("name", [name for name in normkit.__all__ if callable(getattr(normkit, name))])
def test_everything_public_is_documented(name):
    assert getattr(normkit, name).__doc__


def test_doctests():
    modules = [normkit, *(importlib.import_module(name) for name in MODULES if not name.endswith("__main__"))]
    results = [doctest.testmod(module) for module in modules]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 20


def test_readme():
    pytest.importorskip("torch")
    failed, attempted = doctest.testfile(str(PYTHON / "README.md"), module_relative=False)
    assert attempted > 5 and failed == 0


def mypy(*arguments, tmp_path):
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, *arguments]
    return subprocess.run(command, cwd=PYTHON, capture_output=True, text=True, env={**os.environ, "MYPYPATH": "."})


def test_types(tmp_path):
    pytest.importorskip("mypy")
    done = mypy("normkit", tmp_path=tmp_path)
    assert done.returncode == 0, done.stdout


def test_types_of_calls(tmp_path):
    pytest.importorskip("mypy")
    source = tmp_path / "calls.py"
    source.write_text("""
import numpy as np
import normkit
x = np.ones((2, 3), np.float32)
reveal_type(normkit.layer_norm(x, x[0], out=x))
reveal_type(normkit.rms_norm(x, return_stats=True))
reveal_type(normkit.layer_norm_backward(x, x, x[0])[0])
reveal_type(normkit.prepare(normkit.layer_norm, x, out=x))
reveal_type(normkit.Moments(3).accumulate(x).merge(normkit.Moments(3)).data)
normkit.batch_norm_synchronized(x, x)
normkit.layer_norm([1.0])
normkit.group_norm(x, "2")
""")
    printed = mypy(source, tmp_path=tmp_path).stdout
    assert re.search(r'type is "numpy.ndarray', printed) and re.search(r'type is "tuple\[numpy.ndarray', printed)
    assert 'type is "def () -> ' in printed
    assert re.search(r'type is "numpy.ndarray.*\| None"', printed) and re.search(r'float64', printed)
    assert re.search(r'Argument 2 to "batch_norm_synchronized" has incompatible type.*"Moments"', printed)
    assert re.findall(r'error: No overload variant of "(\w+)" matches', printed) == ["layer_norm", "group_norm"]


def imported(**environment):
    return subprocess.run(
        [sys.executable, "-c", "import normkit; print(normkit.library_path())"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(PYTHON), **environment},
    )


def test_library_that_is_missing(tmp_path):
    done = imported(NORMKIT_LIBRARY=str(tmp_path / "nowhere.so"))
    assert done.returncode == 1
    assert f"  {tmp_path}/nowhere.so: " in done.stderr and "ImportError" in done.stderr
    assert "Set NORMKIT_LIBRARY" in done.stderr


def test_every_path_that_was_tried_is_named(tmp_path):
    from normkit._library import load

    paths = [tmp_path / "one.so", tmp_path / "two.so"]
    paths[1].write_text("no library")
    with pytest.raises(ImportError) as caught:
        load(paths)
    assert f"{paths[0]}: " in str(caught.value) and f"{paths[1]}: " in str(caught.value)


def test_another_library(tmp_path):
    import ctypes.util

    done = imported(NORMKIT_LIBRARY=ctypes.util.find_library("c"))
    assert done.returncode == 1 and "normkit_version" in done.stderr


def test_version_that_does_not_match(monkeypatch):
    from normkit import _abi, _library

    monkeypatch.setattr(_abi, "VERSION", 200)
    monkeypatch.setattr(_abi, "VERSION_MINOR", 2)
    with pytest.raises(ImportError, match=r"is NormKit \d+\.\d+\.\d+; this package needs 0.2"):
        _library.load([Path(normkit.library_path())])


def test_module_prints_what_is_in_use():
    done = subprocess.run(
        [sys.executable, "-m", "normkit"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(PYTHON), "NORMKIT_THREADS": "5"},
    )
    lines = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())
    assert lines == {
        "version": normkit.version(),
        "library": normkit.library_path(),
        "instruction set": normkit.instruction_set(),
        "threads": "5",
    }


def test_cost_of_a_small_call():
    """At most 1.25 times PyTorch's, on one row of 64. The two take turns, so that both meet the same machine."""
    torch = pytest.importorskip("torch")
    x, y = np.ones((2, 1, 64), np.float32)
    w, b = np.ones((2, 64), np.float32)
    tx, tw, tb = map(torch.from_numpy, (x, w, b))
    torch_norm, norm = torch.nn.functional.layer_norm, normkit.layer_norm
    ours = timeit.Timer(lambda: norm(x, w, b, out=y))
    theirs = timeit.Timer(lambda: torch_norm(tx, (64,), tw, tb))
    best = [float("inf")] * 2
    for _ in range(500):
        best = [min(best[0], ours.timeit(200)), min(best[1], theirs.timeit(200))]
    assert best[0] < 1.25 * best[1]

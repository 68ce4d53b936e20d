"""The wheel carries the library: it works in a fresh environment, on a machine that has no Swift."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import onnxruntime
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "bindings" / "python"
LIBRARY = ROOT / ".build" / "release" / "libnormkit.so"

NORMALIZE = """
import numpy as np, normkit
y = normkit.layer_norm(np.array([[1, 3]], np.float32), eps=0)
print(y.tolist(), normkit.library_path())
"""

CONVERT = """
import numpy as np, normkit.onnx, onnx
model = onnx.parser.parse_model('''
    <ir_version: 8, opset_import: ["": 17]> example (float[1, 2] x) => (float[1, 2] y)
    <float[2] gamma = {1, 1}> { y = LayerNormalization<epsilon = 0.0>(x, gamma) }''')
session = normkit.onnx.session(model)
print(normkit.onnx.convert(model)[1])
print(session.run(None, {"x": np.array([[1, 3]], np.float32)})[0].tolist())
"""

EAGER = """
import torch, normkit.torch
y = normkit.torch.layer_norm(torch.tensor([[1.0, 3.0]]), 2, eps=0.0)
print(normkit.torch._short.available, y.tolist())
"""


def environment(**changed):
    """This process's environment without Swift, and without what would lead to the checkout."""
    path = [folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "swift").exists()]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "NORMKIT_LIBRARY")}
    return {**kept, "PATH": os.pathsep.join(path), **changed}


def pip_wheel(folder, env):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, PACKAGE]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def source_files():
    """Everything in the package's folder but what Python leaves there when a module is imported."""
    return {path for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    before = source_files()
    done = pip_wheel(folder, environment(NORMKIT_LIBRARY=str(LIBRARY)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert source_files() == before
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of an environment in which nothing but the wheel and NumPy is installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], env=environment(), check=True)
    return python


def run(python, *arguments, **changed):
    command = [python, *arguments]
    done = subprocess.run(command, cwd="/", env=environment(**changed), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_name_and_content(wheel):
    version = re.search(r"define NORMKIT_VERSION_MAJOR (\d+)", (ROOT / "include" / "normkit.h").read_text())
    assert version and wheel.name.startswith(f"normkit-{version[1]}.")
    assert re.search(r"-py3-none-(manylinux_2_\d+|linux)_(x86_64|aarch64)\.whl$", wheel.name)
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(PACKAGE)) for path in (PACKAGE / "normkit").rglob("*.py")}
    libraries = {f"normkit/libnormkit{engine}.so" for engine in ("", "_onnxruntime", "_torch")}
    assert {*modules, *libraries, "normkit/py.typed"} == {n for n in names if n.startswith("normkit/")}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_tag_is_the_newest_glibc_that_the_library_asks_for(wheel):
    asked = subprocess.run(["readelf", "-V", LIBRARY], capture_output=True, text=True, check=True).stdout
    newest = max(int(minor) for minor in re.findall(r"Name: GLIBC_2\.(\d+)", asked))
    assert f"-manylinux_2_{newest}_" in wheel.name


def test_module_runs(installed):
    printed = run(installed, "-m", "normkit")
    site = subprocess.run([installed, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"],
                          capture_output=True, text=True, check=True).stdout.strip()
    assert re.fullmatch(
        rf"version +\d+\.\d+\.\d+\nlibrary +{re.escape(site)}/normkit/libnormkit.so\n"
        r"instruction set +(x86-64-v[234](-bf16)?|arm64)\nthreads +[1-9]\d*\n",
        printed,
    )


def test_normalizes(installed):
    assert run(installed, "-c", NORMALIZE).startswith("[[-1.0, 1.0]] ")


def test_runs_in_onnxruntime(installed):
    """With the operators that the wheel carries. ONNX Runtime is that of the environment of the tests."""
    packages = Path(onnxruntime.__file__).parents[1]
    printed = run(installed, "-c", CONVERT, PYTHONPATH=str(packages))
    assert printed == "1 x LayerNormalization -> LayerNormalization\n[[-1.0, 1.0]]\n"


def test_runs_in_pytorch(installed):
    """With the kernels that the wheel carries. PyTorch is that of the environment of the tests."""
    torch = pytest.importorskip("torch")
    printed = run(installed, "-c", EAGER, PYTHONPATH=str(Path(torch.__file__).parents[1]))
    assert printed == "True [[-1.0, 1.0]]\n"


def test_named_library_comes_first(installed, tmp_path):
    copy = shutil.copy(LIBRARY, tmp_path / "other.so")
    assert run(installed, "-c", NORMALIZE, NORMKIT_LIBRARY=copy).split()[-1] == str(copy)


def test_build_without_swift_says_so(tmp_path):
    done = pip_wheel(tmp_path, environment())
    assert done.returncode != 0
    assert "there is no swift in PATH" in done.stdout + done.stderr

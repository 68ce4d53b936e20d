"""The examples of README.md do what they say."""

import doctest
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"


def test_python_examples():
    failed, tried = doctest.testfile(str(README), module_relative=False)
    assert tried > 0 and failed == 0


def test_c_example(tmp_path):
    source = re.search(r"```c\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    (tmp_path / "example.c").write_text(source)
    library = ROOT / ".build" / "release"
    subprocess.run(
        ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "example.c", "-o", "example", f"-I{ROOT}/include",
         f"-L{library}", f"-Wl,-rpath,{library}", "-lnormkit"], cwd=tmp_path, check=True)
    run = subprocess.run(["./example"], cwd=tmp_path, check=True, capture_output=True, text=True)
    # (1 - 2.5) / sqrt(1.25) = -1.342, …, and the last two times gamma = 2
    assert run.stdout == "-1.342 -0.447 0.894 2.683\n"

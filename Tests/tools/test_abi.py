"""The binary interface, compared with the committed description of it (normkit.abi).

The description is made by abidw (Debian package abigail-tools) from the functions as the header declares them; that
the library implements exactly these declarations is checked by the compiler when it is built. It has the type of
every parameter and the value of every constant. Where the interface was meant to grow, write it anew with

    .venv/bin/python Tests/tools/test_abi.py
"""

import subprocess
import tempfile
from pathlib import Path

import product

DESCRIPTION = Path(__file__).with_name("normkit.abi")


def describe() -> str:
    with tempfile.TemporaryDirectory() as directory:
        source, library = Path(directory, "normkit.c"), Path(directory, "normkit.so")
        source.write_text(product.definitions())
        # Freestanding: the integer types come from the compiler, so that nothing of the C library is described.
        product.output(
            "gcc", "-w", "-g", "-ffreestanding", "-fno-eliminate-unused-debug-types", "-shared", "-fPIC",
            "-Wl,-soname,libnormkit.so.0", f"-Wl,--version-script={product.MAP}",
            "-I", product.HEADER.parent, "-o", library, source,
        )  # fmt: skip
        return product.output(
            "abidw", "--load-all-types", "--headers-dir", product.HEADER.parent,
            "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", library,
        ).replace(str(source), "normkit.c")  # fmt: skip


def test_interface_is_the_described_one(tmp_path):
    now = tmp_path / "now.abi"
    now.write_text(describe())
    difference = subprocess.run(
        ["abidiff", "--non-reachable-types", "--harmless", DESCRIPTION, now],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert difference.returncode == 0, difference.stdout + difference.stderr


if __name__ == "__main__":
    DESCRIPTION.write_text(describe())

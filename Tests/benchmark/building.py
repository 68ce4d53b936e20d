"""C files of this folder as shared objects."""

import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent


def shared_object(source: str, folder: str, *options: str) -> Path:
    """Builds a C file, named from this folder, for POSIX and what GNU adds, into `folder`."""
    built = Path(folder, Path(source).stem).with_suffix(".so")
    common = ("-std=c99", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-pedantic", "-shared", "-fPIC")
    subprocess.run(["cc", *common, FOLDER / source, "-o", built, *options], check=True)
    return built

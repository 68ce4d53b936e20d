"""Build the shared library and carry it inside the package.

NORMKIT_LIBRARY names a library that is already built; otherwise Swift builds it from the source checkout
that this folder belongs to. The operators for ONNX Runtime and the kernels for PyTorch come with it on Linux, if there
is a C compiler.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILE_NAME = "libnormkit.dylib" if sys.platform == "darwin" else "libnormkit.so"
# Libraries for engines, by the folder of `bindings` that builds each, and what needs it.
ENGINES = {
    "onnxruntime": ("libnormkit_onnxruntime.so", "normkit.onnx needs it"),
    "torch": ("libnormkit_torch.so", "small normalizations of normkit.torch take twice as long"),
}


def header_version() -> str:
    """The version that include/normkit.h declares, as this package's own version."""
    header = (ROOT / "include" / "normkit.h").read_text()
    parts = [re.search(rf"#define NORMKIT_VERSION_{part} (\d+)", header) for part in ("MAJOR", "MINOR", "PATCH")]
    return ".".join(part[1] for part in parts if part)


def built_library() -> Path:
    """Path of the library, built if NORMKIT_LIBRARY does not name one."""
    named = os.environ.get("NORMKIT_LIBRARY")
    if named:
        return Path(named).resolve(strict=True)
    if shutil.which("swift") is None:
        raise SystemExit(
            "normkit is built with Swift, and there is no swift in PATH: install it from https://swift.org,"
            " or set NORMKIT_LIBRARY to a built " + FILE_NAME
        )
    command = ["swift", "build", "-c", "release", "--product", "normkit", "--package-path", str(ROOT)]
    subprocess.run(command, check=True)
    folder = subprocess.run([*command, "--show-bin-path"], check=True, capture_output=True, text=True).stdout.strip()
    return Path(folder) / FILE_NAME


def build_engines(library: Path, target: Path) -> None:
    """Build the libraries for engines into the folder `target`. They need nothing of the engines."""
    compiler = os.environ.get("CC", "cc")
    if not sys.platform.startswith("linux") or shutil.which(compiler) is None:
        for name, need in ENGINES.values():
            print(f"without {name}, which is built on Linux, with a C compiler: {need}")
        return
    # In a folder of its own: the scripts leave a link to the library beside it.
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy2(library, Path(folder) / FILE_NAME)
        for engine, (name, _) in ENGINES.items():
            subprocess.run([ROOT / "bindings" / engine / "build.sh", folder], check=True)
            shutil.copy2(Path(folder) / name, target)


def platform_tag(*libraries: Path) -> str:
    """The platform that `libraries` run on, with the oldest glibc that has the symbols they ask for."""
    machine = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    if not sys.platform.startswith("linux"):
        return machine
    asked = [found for library in libraries for found in re.findall(rb"GLIBC_(\d+)\.(\d+)", library.read_bytes())]
    if not asked or platform.libc_ver()[0] != "glibc":
        return machine
    major, minor = max((int(major), int(minor)) for major, minor in asked)
    # 2.5 is the oldest glibc that pip has a name for.
    return f"manylinux_{major}_{max(minor, 5)}_{platform.machine()}"


def carried(build_lib: Path) -> list[Path]:
    """The libraries that the package carries."""
    paths = [build_lib / "normkit" / name for name in (FILE_NAME, *(name for name, _ in ENGINES.values()))]
    return [path for path in paths if path.exists()]


class BuildLibrary(Command):
    """Copy the library to where the package is being put together."""

    description = "build the shared library"
    user_options = []

    def initialize_options(self):
        self.build_lib = None
        self.editable_mode = False

    def finalize_options(self):
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self):
        library = built_library()
        # An editable install finds the library in the build folder of the checkout.
        if not self.editable_mode:
            target = Path(self.build_lib) / "normkit"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target / FILE_NAME)
            build_engines(library, target)

    def get_source_files(self):
        return []

    def get_outputs(self):
        if self.editable_mode:
            return []
        return [str(path) for path in carried(Path(self.build_lib))]

    def get_output_mapping(self):
        return {}


class BuildWithLibrary(build):
    sub_commands = [*build.sub_commands, ("build_library", None)]


class PlatformDistribution(Distribution):
    def has_ext_modules(self):
        return True


class PlatformWheel(bdist_wheel):
    """A wheel for every Python 3 and one platform: there is a shared library in it, but no extension module."""

    def get_tag(self):
        libraries = carried(Path(self.get_finalized_command("build").build_lib))
        if not libraries:  # an editable wheel, which carries none
            return super().get_tag()
        return "py3", "none", platform_tag(*libraries)


# Outside of the source tree, where leftovers of one build would get into the next.
with tempfile.TemporaryDirectory() as scratch:
    setup(
        distclass=PlatformDistribution,
        version=header_version(),
        cmdclass={"build": BuildWithLibrary, "build_library": BuildLibrary, "bdist_wheel": PlatformWheel},
        options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}},
    )

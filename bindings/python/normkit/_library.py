"""Find and load the shared library, and turn its statuses into exceptions."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator

from . import _abi

FILE_NAME = "libnormkit.dylib" if sys.platform == "darwin" else "libnormkit.so"


class NormKitError(ValueError):
    """The library refused a call and wrote nothing.

    Attributes:
        status: the status as a number, one of `normkit.Status`.
        function: the C function that returned it, such as ``"normkit_layer_norm"``.
        sentence: what the library says about the status.
    """

    def __init__(self, status: int, function: str, sentence: str) -> None:
        super().__init__(status, function, sentence)
        self.status = status
        self.function = function
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.function}: {self.sentence}"


def candidates(
    file_name: str = FILE_NAME, variable: str = "NORMKIT_LIBRARY", folder: str = "", built: str = "release"
) -> list[Path]:
    """Paths where a library may be, best first.

    What the environment `variable` names alone if it is set; otherwise the file packaged in `folder` of this package,
    then in the folder `built` of the build of the source checkout that this package belongs to, if it belongs to one.
    """
    named = os.environ.get(variable)
    if named:
        return [Path(named)]
    package = Path(__file__).resolve().parent
    paths = [package / folder / file_name]
    if len(package.parents) > 2 and (package.parents[2] / "Package.swift").is_file():
        paths.append(package.parents[2] / ".build" / built / file_name)
    return paths


def load_first(
    paths: list[Path], what: str, remedy: str, prepare: Callable[[ctypes.CDLL, Path], None] | None = None
) -> ctypes.CDLL:
    """Load the first of `paths` that loads and that `prepare` takes.

    Raises ImportError, with every path and the reason, if there is none, and what `prepare` raises beside OSError and
    AttributeError.
    """
    failures = []
    for path in paths:
        try:
            library = ctypes.CDLL(str(path))
            if prepare is not None:
                prepare(library, path)
        except (OSError, AttributeError) as error:  # not loadable; not this library
            failures.append(f"  {path}: {error}")
        else:
            return library
    raise ImportError(f"{what} could not be loaded. Tried:\n" + "\n".join(failures) + f"\n{remedy}")


def load(paths: list[Path]) -> ctypes.CDLL:
    """Load the first of `paths` that loads, with its prototypes set and its version checked.

    Raises ImportError, with every path and the reason, if none loads or the version does not match.
    """
    remedy = "Set NORMKIT_LIBRARY to the file, or build it: swift build -c release --product normkit"
    return load_first(paths, "the NormKit library", remedy, _set_prototypes)


def _set_prototypes(library: ctypes.CDLL, path: Path) -> None:
    library.normkit_version.restype = ctypes.c_int32
    version = library.normkit_version()
    # The interface may change with the minor version while the major version is 0.
    if version // 100 != _abi.VERSION // 100:
        raise ImportError(
            f"{path} is NormKit {version // 10000}.{version // 100 % 100}.{version % 100}; this package"
            f" needs {_abi.VERSION_MAJOR}.{_abi.VERSION_MINOR}"
        )
    for name, prototype in _abi.PROTOTYPES.items():
        function = getattr(library, name)
        function.argtypes = prototype.types
        function.restype = prototype.result


library = load(candidates())
_keeping_the_lock = ctypes.PyDLL(library._name, handle=library._handle)

# Takes the name of a function and its arguments.
Inspect = Callable[[str, "tuple[Any, ...]"], None]


class _Thread(threading.local):
    inspect: Inspect | None = None


_thread = _Thread()


@contextmanager
def inspected(inspect: Inspect) -> Iterator[None]:
    """In this thread, calls by `functions` are not made, but handed to `inspect`."""
    _thread.inspect = inspect
    try:
        yield
    finally:
        _thread.inspect = None


def _call(function: Any, *arguments: Any) -> None:
    inspect = _thread.inspect
    if inspect is not None:
        inspect(function.__name__, arguments)
        return
    status = function(*arguments)
    if status:
        raise refusal(status, function.__name__)


def refusal(status: int, function: str) -> NormKitError:
    """The exception for what the function of this name returned."""
    return NormKitError(status, function, library.normkit_status_string(status).decode())


# Those of the library, by the same names. Where they return a status, these raise an exception instead.
functions = SimpleNamespace(
    **{
        name: partial(_call, getattr(library, name)) if prototype.returns_status else getattr(library, name)
        for name, prototype in _abi.PROTOTYPES.items()
    }
)


# So many elements, of all arrays together, take some microseconds.
_FEW = 4096


def native(function: str, elements: int) -> Any:
    """The function of this name, which returns the status, for arguments that are objects of ctypes (None for
    NULL, Python's integers for int32_t). ctypes takes them in half the time of others.

    For few `elements` it keeps Python's lock. Other threads then wait for microseconds, where Python lets them
    wait for 5 ms in any case. To let go of the lock would take a twentieth of a small call.
    """
    return (_keeping_the_lock if elements <= _FEW else library)[function]


def version() -> str:
    """Version of the loaded library, such as ``"0.1.0"``."""
    return str(library.normkit_version_string().decode())


def library_path() -> str:
    """Path of the loaded library."""
    return str(library._name)


def instruction_set() -> str:
    """Instruction set in use: ``"x86-64-v4-bf16"``, ``"x86-64-v4"``, ``"x86-64-v3"``, ``"x86-64-v2"``, ``"arm64"`` or
    ``"none"``."""
    return str(library.normkit_isa().decode())

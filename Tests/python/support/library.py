"""The shared library, bound by the prototypes of its header.

NORMKIT_LIBRARY names the library; by default it is .build/release/libnormkit.so at the root.
"""

import contextlib
import ctypes
import os
from functools import cache

from . import header

TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
PARALLEL_FOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, TASK, ctypes.c_void_p)

_CTYPES = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "double": ctypes.c_double,
           "normkit_status": ctypes.c_int32, "void": None, "normkit_parallel_for": PARALLEL_FOR}


def _ctype(parameter: header.Parameter | header.Member):
    if parameter.pointer:
        return ctypes.c_char_p if parameter.type == "char" else ctypes.c_void_p
    return _CTYPES[parameter.type]


@cache
def struct(name: str) -> type[ctypes.Structure]:
    """The type of a struct of the header."""
    fields = [(m.name, _ctype(m) if m.count is None else _ctype(m) * m.count) for m in header.structs()[name]]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


@cache
def load() -> ctypes.CDLL:
    """The library, with argument and result types set for every function of the header."""
    path = os.environ.get("NORMKIT_LIBRARY", header.ROOT / ".build" / "release" / "libnormkit.so")
    library = ctypes.CDLL(str(path))
    for prototype in header.prototypes().values():
        function = getattr(library, prototype.name)
        function.argtypes = [_ctype(parameter) for parameter in prototype.parameters]
        function.restype = _ctype(prototype.result)
    return library


def call(name: str, arguments: dict) -> int:
    """Call a function with its arguments by name; returns the status.

    Pointers are addresses or None; `shape` and `axes` may be given as tuples.
    """
    values = []
    for parameter in header.prototypes()[name].parameters:
        value = arguments[parameter.name]
        if parameter.pointer and isinstance(value, tuple):
            value = (_CTYPES[parameter.type] * len(value))(*value)
        values.append(value)
    return getattr(load(), name)(*values)


def isa() -> str:
    """The instruction set in use."""
    return load().normkit_isa().decode()


@contextlib.contextmanager
def threads(count: int):
    """Let calls use `count` threads for the length of a with statement."""
    before = load().normkit_thread_count()
    assert load().normkit_set_thread_count(count) == 0
    try:
        yield
    finally:
        load().normkit_set_thread_count(before)

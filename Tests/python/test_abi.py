"""The Python binding's copy of the C interface is the header's, in both directions."""

import ctypes
import re

import pytest

from normkit import _abi, _library, _plan_abi
from support import header

ENUMERATIONS = (
    _abi.Status,
    _abi.DType,
    _abi.Layout,
    _abi.Norm,
    _abi.EpsilonRule,
    _abi.RunningVariance,
    _plan_abi.Method,
    _plan_abi.Fusion,
    _plan_abi.Activation,
    _plan_abi.OutputDType,
)
STRUCTURES = {"normkit_description": _plan_abi.Description, "normkit_operands": _plan_abi.Operands}
SCALARS = {
    "normkit_status": ctypes.c_int32,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
    "void": None,
    "normkit_parallel_for": _plan_abi.PARALLEL_FOR,
}
POINTERS = {"char": ctypes.c_char_p, "normkit_plan *": ctypes.POINTER(ctypes.c_void_p)} | {
    name: ctypes.POINTER(structure) for name, structure in STRUCTURES.items()}


def ctype(parameter):
    """The ctypes type for a type of the header."""
    if not parameter.pointer:
        return SCALARS[parameter.type]
    if parameter.type in SCALARS:
        return ctypes.POINTER(SCALARS[parameter.type])
    return POINTERS.get(parameter.type, ctypes.c_void_p)


def test_constants():
    defined = {name: value for name, value in vars(_abi).items() if name.startswith(("VERSION", "MAX_"))}
    for enumeration in ENUMERATIONS:
        defined.update({name: int(member) for name, member in enumeration.__members__.items()})
    assert defined == header.constants()


def test_structures():
    """They consist of doubles, so that a float64 array stands for them."""
    found = re.findall(r"typedef struct \{\s*double ([\w, ]+);\s*\} normkit_(\w+);", header.PATH.read_text())
    assert {name: tuple(members.split(", ")) for members, name in found} == {
        "channel_moments": _abi.CHANNEL_MOMENTS, "channel_gradient": _abi.CHANNEL_GRADIENT,
    }


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_of_plans(name):
    """Every member, in its order; pointers are addresses."""
    wanted = []
    for member in header.structs()[name]:
        kind = ctypes.c_void_p if member.pointer else SCALARS[member.type]
        wanted.append((member.name, kind if member.count is None else kind * member.count))
    assert STRUCTURES[name]._fields_ == wanted


def test_functions():
    assert set(_abi.PROTOTYPES) == set(header.prototypes())


@pytest.mark.parametrize("name", _abi.PROTOTYPES)
def test_prototype(name):
    ours, theirs = _abi.PROTOTYPES[name], header.prototypes()[name]
    assert list(ours.names) == theirs.names()
    assert list(ours.types) == [ctype(parameter) for parameter in theirs.parameters]
    assert ours.result == ctype(theirs.result)
    assert ours.returns_status == (theirs.result.type == "normkit_status")


@pytest.mark.parametrize("name", _abi.PROTOTYPES)
def test_loaded_function_has_its_prototype(name):
    function, prototype = getattr(_library.library, name), _abi.PROTOTYPES[name]
    assert tuple(function.argtypes) == prototype.types
    assert function.restype == prototype.result


def test_every_status_has_a_sentence():
    sentences = {_library.library.normkit_status_string(status) for status in _abi.Status}
    assert len(sentences) == len(_abi.Status)

"""Prototypes and constants read from include/normkit.h, so that tests follow the header and nothing else."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pycparser import c_ast, c_parser

ROOT = Path(__file__).resolve().parents[3]
PATH = ROOT / "include" / "normkit.h"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a prototype: a scalar ("int32_t", "double" …) or a pointer to `type`, which may be a pointer
    itself."""

    name: str
    type: str
    pointer: bool
    const: bool

    @property
    def is_buffer(self) -> bool:
        """Whether this is a tensor (void *, double * or an array of structs), not a scalar or an array of integers, and
        not what a caller's own function is called with."""
        tensors = ("void", "double", "normkit_channel_moments", "normkit_channel_gradient")
        return self.pointer and self.name != "context" and self.type in tensors

    @property
    def is_output(self) -> bool:
        return self.is_buffer and not self.const


@dataclass(frozen=True)
class Prototype:
    name: str
    result: Parameter
    parameters: tuple[Parameter, ...]

    def names(self) -> list[str]:
        return [parameter.name for parameter in self.parameters]

    def buffers(self) -> list[Parameter]:
        return [parameter for parameter in self.parameters if parameter.is_buffer]

    def inputs(self) -> list[str]:
        return [parameter.name for parameter in self.buffers() if not parameter.is_output]

    def outputs(self) -> list[str]:
        return [parameter.name for parameter in self.buffers() if parameter.is_output]


@dataclass(frozen=True)
class Member:
    """One member of a struct. count: how many elements it has as an array, None if it is none."""

    name: str
    type: str
    pointer: bool
    count: int | None


def _parameter(name: str, node) -> Parameter:
    pointer = isinstance(node, c_ast.PtrDecl)
    declared, suffix = node.type if pointer else node, ""
    while isinstance(declared, c_ast.PtrDecl):
        declared, suffix = declared.type, suffix + " *"
    return Parameter(name, " ".join(declared.type.names) + suffix, pointer, "const" in declared.quals)


def _member(node) -> Member:
    is_array = isinstance(node.type, c_ast.ArrayDecl)
    parameter = _parameter(node.name, node.type.type if is_array else node.type)
    count = constants()[node.type.dim.name.removeprefix("NORMKIT_")] if is_array else None
    return Member(node.name, parameter.type, parameter.pointer, count)


def _source() -> str:
    return re.sub(r"/\*.*?\*/", "", PATH.read_text(), flags=re.DOTALL)


@cache
def _declarations() -> c_ast.FileAST:
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", _source(), flags=re.DOTALL)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE).replace("NORMKIT_API", "")
    return c_parser.CParser().parse(
        "typedef int int32_t; typedef long int64_t; typedef unsigned long size_t;" + text)


@cache
def prototypes() -> dict[str, Prototype]:
    """Every function of the header by name."""
    found = {}
    for node in _declarations().ext:
        if isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl):
            declared = [d for d in node.type.args.params if isinstance(d, c_ast.Decl)]
            found[node.name] = Prototype(
                node.name, _parameter("", node.type.type), tuple(_parameter(d.name, d.type) for d in declared)
            )
    return found


@cache
def constants() -> dict[str, int]:
    """Every enumerator and every integer #define, without the prefix NORMKIT_."""
    values = {name: int(value) for name, value in re.findall(r"#define NORMKIT_(\w+) (\d+)", _source())}
    for node in _declarations().ext:
        if isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.Enum):
            for enumerator in node.type.values.enumerators:
                values[enumerator.name.removeprefix("NORMKIT_")] = int(enumerator.value.value)
    return values


@cache
def structs() -> dict[str, tuple[Member, ...]]:
    """The members of every struct that the header defines, by name."""
    return {node.name: tuple(map(_member, node.type.type.decls)) for node in _declarations().ext
            if isinstance(node, c_ast.Typedef) and isinstance(node.type.type, c_ast.Struct) and node.type.type.decls}


def statuses() -> dict[str, int]:
    """OK and every ERROR_… of the header."""
    return {name: value for name, value in constants().items() if name == "OK" or name.startswith("ERROR_")}

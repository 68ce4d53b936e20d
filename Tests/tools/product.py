"""The product: what include/normkit.h declares, read with a C parser, and the library that was built."""

import subprocess
import sys
from pathlib import Path

from pycparser import c_ast, c_generator, c_parser

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "include" / "normkit.h"
MAP = ROOT / "include" / "normkit.map"
BUILD = ROOT / ".build" / "release"
LIBRARY = BUILD / "libnormkit.so"


def output(*command: str | Path) -> str:
    """What a command prints; it has to succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declarations() -> list[c_ast.Decl]:
    """Every function declared by the header, in its order."""
    text = output("gcc", "-E", "-P", "-D__attribute__(x)=", "-D__extension__=", HEADER)
    tree = c_parser.CParser().parse(text)
    return [node for node in tree.ext if isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl)]


def functions() -> list[str]:
    """Names of the functions declared by the header."""
    return [declaration.name for declaration in declarations()]


def every_symbol() -> str:
    """A C program that takes the address of each function: it links only where all of them exist."""
    entries = "".join(f"    (function){name},\n" for name in functions())
    return (
        "#include <normkit.h>\n\n"
        "typedef void (*function)(void);\n"
        f"static const function all[] = {{\n{entries}}};\n\n"
        "int main(void)\n{\n"
        "    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)\n"
        "        if (!all[i])\n            return 1;\n"
        "    return 0;\n}\n"
    )


def definitions() -> str:
    """A C file that defines each function as the header declares it, without a body: what debug information, and so
    the description of the binary interface, can be made from."""
    generator = c_generator.CGenerator()
    bodies = "".join(f"{generator.visit(node)} {{ __builtin_trap(); }}\n" for node in declarations())
    return f"#include <normkit.h>\n{bodies}"


if __name__ == "__main__":
    print({"every_symbol": every_symbol, "definitions": definitions}[sys.argv[1]](), end="")

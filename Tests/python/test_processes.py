"""Threads, forked children, and other libraries in the same process."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import normkit

PYTHON = Path(__file__).resolve().parents[2] / "bindings" / "python"

# Large enough for several threads.
LARGE = np.random.default_rng(0).normal(1, 2, (2048, 1024)).astype(np.float32)


@pytest.fixture(autouse=True)
def two_threads():
    before = normkit.get_num_threads()
    normkit.set_num_threads(2)
    yield
    normkit.set_num_threads(before)


def digest():
    outputs = normkit.layer_norm(LARGE), normkit.group_norm(LARGE.reshape(32, 64, 1024), 8)
    gradients = normkit.layer_norm_backward(LARGE, outputs[0], np.ones(1024, np.float32))
    return hash(b"".join(array.tobytes() for array in outputs + gradients))


def child(queue):
    queue.put((digest(), normkit.get_num_threads()))


def test_forked_child_goes_on_calling():
    expected = digest()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=child, args=(queue,)) for _ in range(3)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert results == [(expected, 2)] * 3
    assert digest() == expected


def test_fork_of_a_fork_while_threads_are_calling():
    expected = digest()
    stop = threading.Event()

    def keep_calling():
        while not stop.is_set():
            digest()

    threads = [threading.Thread(target=keep_calling) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            assert forked(lambda: digest() == expected and forked(lambda: digest() == expected))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def forked(check):
    """Whether `check` holds in a forked child; a child that hangs is ended by its alarm."""
    pid = os.fork()
    if pid == 0:
        try:
            import signal

            signal.alarm(60)
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_threads_give_the_same_bits():
    random = np.random.default_rng(1)
    inputs = [random.normal(size=(rows, 512)).astype(np.float32) for rows in (1, 7, 64, 1500)]
    expected = [normkit.layer_norm(x).tobytes() for x in inputs]
    wrong = []

    def work(shift):
        for i in range(40):
            index = (i + shift) % len(inputs)
            if normkit.layer_norm(inputs[index]).tobytes() != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("count", [1, 2, 3, 8, 256])
def test_thread_count_does_not_change_the_bits(count):
    expected = digest()
    normkit.set_num_threads(count)
    assert normkit.get_num_threads() == count
    assert digest() == expected


AFFINITY = """
import os, sys
import numpy as np
import normkit
allowed = set(map(int, sys.argv[1].split(",")))
os.sched_setaffinity(0, allowed)
normkit.set_num_threads(3)
x = np.ones((2048, 1024), np.float32)
before = set(os.listdir("/proc/self/task"))
for _ in range(50):
    normkit.layer_norm(x)
assert os.sched_getaffinity(0) == allowed
own = {int(task) for task in set(os.listdir("/proc/self/task")) - before}
assert len(own) == 2, own
for thread in own:
    placed = os.sched_getaffinity(thread)
    assert placed <= allowed and len(placed) >= max(1, len(allowed) - 1), placed
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_threads_stay_where_the_process_may_run():
    processors = sorted(os.sched_getaffinity(0))
    for allowed in (processors[:1], processors):
        code = [sys.executable, "-c", AFFINITY, ",".join(map(str, allowed))]
        subprocess.run(code, env={**os.environ, "PYTHONPATH": str(PYTHON)}, check=True, timeout=60)


def test_the_lock_of_the_interpreter_is_released():
    """While one thread is in a call, another runs."""
    x = np.ones((8192, 4096), np.float32)
    call, stamps = [], []

    def work():
        start = time.perf_counter()
        normkit.layer_norm(x, out=x)
        call.extend([start, time.perf_counter()])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # no thread is made to give up the lock
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while not call:
            stamps.append(time.perf_counter())
            time.sleep(0)
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sum(call[0] < stamp < call[1] for stamp in stamps) > 10


def run(code, *arguments, **environment):
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(PYTHON), **environment},
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("first", ["normkit", "torch"])
def test_beside_torch(first):
    pytest.importorskip("torch")
    second = {"normkit": "torch", "torch": "normkit"}[first]
    assert run(f"""
import {first}, {second}
x = torch.randn(512, 1024)
for _ in range(3):
    close = torch.allclose(normkit.layer_norm(x), torch.nn.functional.layer_norm(x, (1024,)), atol=1e-5)
    print(close)
""") == ["True"] * 3


def test_torch_is_not_imported():
    assert run("import normkit, sys; print('torch' in sys.modules, 'ml_dtypes' in sys.modules)") == ["False", "False"]


def test_two_copies_of_the_library(tmp_path):
    copy = shutil.copy(normkit.library_path(), tmp_path / "copy.so")
    assert run("""
import sys, numpy as np, normkit
from pathlib import Path
from normkit._library import load
x, results = np.random.default_rng(0).normal(size=(512, 4096)), []
copy = load([Path(sys.argv[1])])
copy.normkit_set_thread_count(2)
y = np.empty_like(x)
for _ in range(3):
    copy.normkit_layer_norm(2, 2, 512, 4096, x.ctypes.data, 0, None, None, 1e-5, y.ctypes.data, 0, None, None)
    print((normkit.layer_norm(x) == y).all())
normkit.set_num_threads(1)
print(copy.normkit_thread_count())
""", str(copy)) == ["True", "True", "True", "2"]


def test_cores_of_the_process_are_the_threads():
    code = "import os, normkit; print(normkit.get_num_threads(), len(os.sched_getaffinity(0)))"
    without = {k: v for k, v in os.environ.items() if k != "NORMKIT_THREADS"}
    threads, cores = subprocess.run(
        [sys.executable, "-c", code], env={**without, "PYTHONPATH": str(PYTHON)}, capture_output=True, text=True,
        check=True,
    ).stdout.split()
    assert threads == cores
    one = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " + code
    assert subprocess.run(
        [sys.executable, "-c", one], env={**without, "PYTHONPATH": str(PYTHON)}, capture_output=True, text=True,
        check=True,
    ).stdout.split() == ["1", "1"]
    assert run(code, NORMKIT_THREADS="3")[0] == "3"

"""Experiments in processes of their own, side by side."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module

from tqdm import tqdm

import normkit

# In the order of the page.
MODULES = (
    "sets_of_elements", "families", "position", "convergence", "batch_size", "images", "sequences", "statistics_gap",
    "rescaling", "covariate_shift", "smoothness",
)


def experiment(name):
    return import_module(f"{__package__}.{name}").EXPERIMENT


def start_worker(lock, numbers):
    """In each process: the lock of the progress bars, and a line of its own for them."""
    global _line
    tqdm.set_lock(lock)
    _line = numbers.get()
    normkit.set_num_threads(1)  # the arrays are small


def run_one(name, fast):
    """(result, seconds) of an experiment, in a process of its own. The seconds are of the processor."""

    def progress(iterable, what=""):
        return tqdm(iterable, f"{name}: {what}", position=_line, leave=False, disable=None)

    one, start = experiment(name), time.process_time()
    return one.run(progress, fast), time.process_time() - start


def run_all(names, fast, jobs):
    """Pairs (name, (result, seconds)), as they come."""
    # Spawned, not forked: a child begins with nothing that the experiments could have left behind.
    context = multiprocessing.get_context("spawn")
    lock, numbers = context.RLock(), context.Queue()
    tqdm.set_lock(lock)
    for line in range(jobs):
        numbers.put(line + 1)
    with ProcessPoolExecutor(jobs, context, start_worker, (lock, numbers)) as pool:
        futures = {pool.submit(run_one, name, fast): name for name in names}
        for future in tqdm(as_completed(futures), "experiments", len(futures), position=0, leave=False, disable=None):
            yield futures[future], future.result()

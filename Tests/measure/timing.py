"""Times of calls that take turns."""

import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from tqdm import trange

Key = TypeVar("Key")

ROUNDS = 60
ROUND_SECONDS = 2e-3


def aligned(values: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes, as engines and PyTorch allocate; NumPy does not."""
    dtype = np.dtype(dtype)
    memory = np.empty(values.size + 64 // dtype.itemsize, dtype)
    start = -memory.ctypes.data % 64 // dtype.itemsize
    copy = memory[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy


def find_torch():
    """PyTorch on one thread, without gradients; None if it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    return torch


def medians(
    calls: dict[Key, Callable[[], object]], title: str, prepare: Callable[[Key], None] = lambda key: None
) -> dict[Key, float]:
    """Median seconds per call. Calls take turns, so that a busy machine slows all alike.

    prepare is called with the key of a call before it is timed.
    """
    counts = {}
    for key, call in calls.items():
        prepare(key)
        counts[key] = max(1, round(ROUND_SECONDS / seconds(call, 3)))
    samples: dict[Key, list[float]] = {key: [] for key in calls}
    for _ in trange(ROUNDS, desc=title, leave=False, disable=None):
        for key, call in calls.items():
            prepare(key)
            samples[key].append(seconds(call, counts[key]))
    return {key: statistics.median(times) for key, times in samples.items()}


def seconds(call: Callable[[], object], count: int) -> float:
    """Seconds per call over `count` calls."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count

"""Where buffers lie: at any byte offset between canaries, or against pages that must not be touched.

A memory is a function from a number of bytes to a Block. Bytes that belong to no tensor hold 0xFF, which is NaN
in every storage type: reading one shows in the result, writing one is seen by comparison.
"""

import ctypes
import mmap
from dataclasses import dataclass

import numpy as np

CANARY = 0xFF
_SLACK = 1024


@dataclass(frozen=True)
class Block:
    """bytes: exactly the buffer. around: the buffer with all canaries that lie around it."""

    bytes: np.ndarray
    around: np.ndarray

    @property
    def address(self) -> int:
        return self.bytes.ctypes.data


class Offset:
    """Buffers at byte offsets drawn from a seed: unaligned, odd ones too."""

    def __init__(self, seed: int):
        self._offsets = np.random.default_rng(seed)

    def __call__(self, size: int) -> Block:
        around = np.full(size + 2 * _SLACK, CANARY, np.uint8)
        start = _SLACK + int(self._offsets.integers(-64, 64))
        return Block(around[start:start + size], around)


class Packed:
    """Buffers that follow each other without a byte between them."""

    def __init__(self, capacity: int):
        self._region = np.full(capacity, CANARY, np.uint8)
        self._used = 0

    def __call__(self, size: int) -> Block:
        block = self._region[self._used:self._used + size]
        assert block.size == size, "capacity is too small"
        self._used += size
        return Block(block, block)


class Guarded:
    """Buffers that end ("end") or begin ("begin") at a page that can be neither read nor written.

    Regions are kept for the next use: call reset() between calls of the library.
    """

    def __init__(self, side: str, capacity: int = 1 << 18):
        self._side, self._capacity = side, -(-capacity // mmap.PAGESIZE) * mmap.PAGESIZE
        self._regions: list[np.ndarray] = []
        self._used = 0

    def reset(self) -> None:
        self._used = 0

    def __call__(self, size: int) -> Block:
        assert size <= self._capacity
        if self._used == len(self._regions):
            self._regions.append(self._map())
        usable = self._regions[self._used]
        self._used += 1
        start = self._capacity - size if self._side == "end" else 0
        # A page beside the buffer is enough for canaries, and cheap to fill and compare.
        near = slice(max(0, start - 256), start + size + 256)
        usable[near] = CANARY
        return Block(usable[start:start + size], usable[near])

    def _map(self) -> np.ndarray:
        region = np.frombuffer(mmap.mmap(-1, self._capacity + 2 * mmap.PAGESIZE), np.uint8)
        usable = region[mmap.PAGESIZE:-mmap.PAGESIZE]
        for guard in (region[:mmap.PAGESIZE], region[-mmap.PAGESIZE:]):
            _protect(guard.ctypes.data, mmap.PAGESIZE)
        return usable


def _protect(address: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    prot_none = 0
    if libc.mprotect(address, length, prot_none) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")

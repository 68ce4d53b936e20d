"""The C library's allocator: memory that was freed is kept, so that no system pays for page faults."""

import ctypes

# malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
MEGABYTE = 1 << 20


def keep_memory() -> None:
    """Large blocks come from the heap, too, which never shrinks, and which all threads share."""
    mallopt = ctypes.CDLL(None).mallopt
    choices = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 64 * MEGABYTE, M_ARENA_MAX: 1}
    for parameter, value in choices.items():
        assert mallopt(parameter, value) == 1, f"mallopt({parameter}, {value})"

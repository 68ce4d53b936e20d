"""Arrays by how they lie in memory, and how much memory a call takes."""

import tracemalloc

import numpy as np

SAMPLES, CHANNELS, HEIGHT, WIDTH = 3, 32, 40, 36
ELEMENTS = SAMPLES * CHANNELS * HEIGHT * WIDTH


def allocated(call):
    """Most bytes that NumPy and Python had allocated during `call`; all copies are made by NumPy."""
    call()  # whatever is allocated once only
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def batch(shape, seed=0):
    return np.random.default_rng(seed).normal(2, 3, shape).astype(np.float32)


NCHW = (SAMPLES, CHANNELS, HEIGHT, WIDTH)

# Arrays of shape NCHW, by how they lie in memory, that channel functions take as they are.
CHANNEL_LAYOUTS = {
    "channels first": lambda: batch(NCHW),
    "channels last": lambda: batch((SAMPLES, HEIGHT, WIDTH, CHANNELS)).transpose(0, 3, 1, 2),
    "positions transposed": lambda: batch((SAMPLES, CHANNELS, WIDTH, HEIGHT)).transpose(0, 1, 3, 2),
    "every other sample": lambda: batch((2 * SAMPLES, CHANNELS, HEIGHT, WIDTH))[::2],
    "half of the channels": lambda: batch((SAMPLES, 2 * CHANNELS, HEIGHT, WIDTH))[:, CHANNELS:],
    "channels last, some": lambda: batch((SAMPLES, HEIGHT, WIDTH, CHANNELS + 5))[..., 5:].transpose(0, 3, 1, 2),
    "read-only": lambda: np.broadcast_to(batch(NCHW), NCHW),
}

# Arrays that functions of rows take as they are.
ROW_LAYOUTS = {
    "some columns": lambda: batch((300, 130))[:, 10:],
    "some columns of a batch": lambda: batch((30, 20, 130))[..., :128],
    "every third row": lambda: batch((300, 128))[::3],
    "heads": lambda: batch((4, 64, 8, 32)).transpose(0, 2, 1, 3),
    "heads of a fused projection": lambda: batch((4, 64, 24, 32))[:, :, 8:16].reshape(4 * 64, 8, 32)[:, ::8],
    "sequence first": lambda: batch((50, 8, 64)).transpose(1, 0, 2),
}


def rows_at(stride):
    """100 rows of 128 elements, `stride` bytes from one to the next."""
    array = np.ndarray((100, 128), np.float32, bytearray(100 * stride), strides=(stride, 4))
    array[...] = batch((100, 128))
    return array


# Arrays that are copied once.
UNFIT = {
    "every other column": lambda: batch((100, 256))[:, ::2],
    "backwards": lambda: batch((100, 128))[::-1],
    "broadcast": lambda: np.broadcast_to(batch(128), (100, 128)),
    "strides that are no whole elements": lambda: rows_at(514),
}

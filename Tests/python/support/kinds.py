"""The kinds of arrays that the Python binding takes."""

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")

DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


class OnlyDLPack:
    """An array that has nothing but DLPack, by way of a tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


def to_torch(array):
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_buffer(array):
    """A bytearray, typed; a memoryview of the array for float16, which memoryview.cast lacks."""
    if array.dtype == np.float16:
        return memoryview(array)
    return memoryview(bytearray(array.tobytes())).cast(array.dtype.char, array.shape)


def to_jax(array):
    return pytest.importorskip("jax.numpy").asarray(array)


KINDS = {
    "numpy": lambda array: array,
    "torch": to_torch,
    "dlpack": lambda array: OnlyDLPack(to_torch(array)),
    "buffer": to_buffer,
    "jax": to_jax,
}


def to_numpy(array):
    """Any kind of array in f64."""
    if isinstance(array, torch.Tensor):
        array = array.double().numpy()
    return np.asarray(array).astype(np.float64)


# Buffers have no bfloat16; JAX has float64 only if it is told so at its start.
PAIRS = [(k, d) for k in KINDS for d in DTYPES if (k, d) not in {("buffer", "bfloat16"), ("jax", "float64")}]

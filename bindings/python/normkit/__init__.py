"""Normalization of arrays in memory: layer, RMS, batch, instance, group and weight normalization.

Every function takes NumPy arrays, PyTorch tensors on the CPU, and objects with ``__dlpack__`` or the buffer
protocol, reads and writes their memory without copying it where that is possible, and returns an array of
the caller's kind: NumPy for plain buffers, and for DLPack arrays that have no ``__array_namespace__``.

>>> import numpy as np
>>> import normkit
>>> normkit.layer_norm(np.array([[1, 3], [10, 30]], np.float32), eps=0)
array([[-1.,  1.],
       [-1.,  1.]], dtype=float32)
"""

from ._abi import Status
from ._batch import batch_norm
from ._general import moments, normalize
from ._group import group_norm
from ._instance import instance_norm
from ._layer import layer_norm
from ._library import NormKitError, instruction_set, library_path, version
from ._rms import rms_norm
from ._threads import get_num_threads, set_num_threads, use_available_cores
from ._weight import scale_shift, weight_norm

__all__ = [
    "NormKitError",
    "Status",
    "batch_norm",
    "get_num_threads",
    "group_norm",
    "instance_norm",
    "instruction_set",
    "layer_norm",
    "library_path",
    "moments",
    "normalize",
    "rms_norm",
    "scale_shift",
    "set_num_threads",
    "version",
    "weight_norm",
]

__version__ = version()

use_available_cores()

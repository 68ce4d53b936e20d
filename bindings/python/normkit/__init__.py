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
from ._batch import batch_norm, batch_norm_backward
from ._engine import Plan
from ._folding import fold_batch_norm
from ._general import moments, moments_backward, normalize, normalize_backward
from ._group import group_norm, group_norm_backward
from ._instance import instance_norm, instance_norm_backward
from ._layer import layer_norm, layer_norm_backward
from ._library import NormKitError, instruction_set, library_path, version
from ._moments import Moments
from ._penalty import weight_penalty
from ._prepare import prepare
from ._repeat import repeated
from ._rms import rms_norm, rms_norm_backward
from ._synchronized import batch_norm_gradient_sums, batch_norm_synchronized, batch_norm_synchronized_backward
from ._threads import get_num_threads, set_num_threads, use_available_cores
from ._weight import scale_shift, scale_shift_backward, weight_norm, weight_norm_backward

__all__ = [
    "Moments",
    "NormKitError",
    "Plan",
    "Status",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_gradient_sums",
    "batch_norm_synchronized",
    "batch_norm_synchronized_backward",
    "fold_batch_norm",
    "get_num_threads",
    "group_norm",
    "group_norm_backward",
    "instance_norm",
    "instance_norm_backward",
    "instruction_set",
    "layer_norm",
    "layer_norm_backward",
    "library_path",
    "moments",
    "moments_backward",
    "normalize",
    "normalize_backward",
    "prepare",
    "rms_norm",
    "rms_norm_backward",
    "scale_shift",
    "scale_shift_backward",
    "set_num_threads",
    "version",
    "weight_norm",
    "weight_norm_backward",
    "weight_penalty",
]

__version__ = version()

batch_norm = repeated(batch_norm)
batch_norm_backward = repeated(batch_norm_backward)
batch_norm_synchronized = repeated(batch_norm_synchronized)
batch_norm_synchronized_backward = repeated(batch_norm_synchronized_backward)
fold_batch_norm = repeated(fold_batch_norm)
group_norm = repeated(group_norm)
group_norm_backward = repeated(group_norm_backward)
instance_norm = repeated(instance_norm)
instance_norm_backward = repeated(instance_norm_backward)
layer_norm = repeated(layer_norm)
layer_norm_backward = repeated(layer_norm_backward)
moments = repeated(moments)
moments_backward = repeated(moments_backward)
normalize = repeated(normalize)
normalize_backward = repeated(normalize_backward)
rms_norm = repeated(rms_norm)
rms_norm_backward = repeated(rms_norm_backward)
scale_shift = repeated(scale_shift)
scale_shift_backward = repeated(scale_shift_backward)
weight_norm = repeated(weight_norm)
weight_norm_backward = repeated(weight_norm_backward)
weight_penalty = repeated(weight_penalty)

use_available_cores()

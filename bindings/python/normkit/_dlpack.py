"""Read a DLPack capsule: where an array's memory is and what is in it.

The capsule is only looked into, not consumed: its name stays as it is, so its own destructor calls the
producer's deleter once the last reference to it is dropped.

Source: the C structures of DLPack 1.1, https://dmlc.github.io/dlpack/latest/c_api.html
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

from ._abi import DType

_CPU = 1  # kDLCPU
_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY
_DTYPES = {  # (type code, bits): kDLFloat is 2, kDLBfloat is 4
    (2, 16): DType.F16,
    (2, 32): DType.F32,
    (2, 64): DType.F64,
    (4, 16): DType.BF16,
}


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("type_code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _VersionedTensor(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


# Own prototypes: those of ctypes.pythonapi are shared with everybody else in the process.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class Memory(NamedTuple):
    """What a capsule says. `strides` are in elements, None if contiguous. `capsule` keeps the memory."""

    capsule: object
    address: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    writable: bool


def read(array: Any, name: str) -> Memory:
    """Memory of an `array` that has ``__dlpack__`` and ``__dlpack_device__``.

    A capsule of the older form (before DLPack 1.0) cannot say whether it may be written to: it counts as
    read-only. Raises TypeError, naming the argument `name`, for memory that is not the processor's and
    for element types that NormKit does not have.
    """
    device = int(array.__dlpack_device__()[0])
    if device != _CPU:
        raise TypeError(f"{name} is on device {device} (of DLPack's numbering); NormKit needs it on the CPU")
    try:
        capsule = array.__dlpack__(max_version=(1, 1))
    except TypeError:  # a producer from before DLPack 1.0 knows no such argument
        capsule = array.__dlpack__()
    if _is_valid(capsule, b"dltensor_versioned"):
        versioned = _VersionedTensor.from_address(_get_pointer(capsule, b"dltensor_versioned"))
        if versioned.major != 1:
            raise TypeError(f"{name} speaks DLPack {versioned.major}; NormKit reads version 1")
        tensor, writable = versioned.tensor, not versioned.flags & _READ_ONLY
    else:
        tensor, writable = _Tensor.from_address(_get_pointer(capsule, b"dltensor")), False
    dtype = _DTYPES.get((tensor.type_code, tensor.bits)) if tensor.lanes == 1 else None
    if dtype is None:
        raise TypeError(
            f"{name} has DLPack type code {tensor.type_code} with {tensor.bits} bits;"
            " NormKit takes float32, float64, float16 and bfloat16"
        )
    return Memory(
        capsule,
        (tensor.data or 0) + tensor.byte_offset,
        dtype,
        tuple(tensor.shape[: tensor.ndim]),
        tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None,
        writable,
    )

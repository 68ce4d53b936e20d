"""Accept the caller's arrays without copying them, and make results of the same kind.

Four kinds are taken: NumPy arrays, PyTorch tensors, whatever has ``__dlpack__``, and whatever has the
buffer protocol. PyTorch is never imported here: who passes a tensor has imported it.
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
from typing import Any, Callable, NamedTuple

import numpy as np

from . import _dlpack
from ._abi import DType

Shape = tuple[int, ...]

ITEM_SIZES = {DType.F32: 4, DType.F64: 8, DType.F16: 2, DType.BF16: 2}
NUMPY_DTYPES = {
    np.dtype(np.float32): DType.F32,
    np.dtype(np.float64): DType.F64,
    np.dtype(np.float16): DType.F16,
}
# Statistics of float64 data are float64, of all other data float32.
STATISTICS_DTYPES = {dtype: DType.F64 if dtype == DType.F64 else DType.F32 for dtype in DType}
_NAMES = {DType.F32: "float32", DType.F64: "float64", DType.F16: "float16", DType.BF16: "bfloat16"}
_ACCEPTED = "NormKit takes float32, float64, float16 and bfloat16"

# In CPython a NumPy array is a C structure whose first field, after Python's own, is the address of its data.
# ``pointer_at(id(array) + HEADER)`` reads it in a tenth of the time that `ndarray.ctypes.data` takes. The field
# stays where it is: compiled extensions read it there.
pointer_at = ctypes.c_void_p.from_address
HEADER = object.__basicsize__


def _has_header() -> bool:
    if sys.implementation.name != "cpython":
        return False
    array = np.empty(1)
    return pointer_at(id(array) + HEADER).value == array.ctypes.data


HAS_HEADER = _has_header()


class Kind(NamedTuple):
    """Which library an array is of: how its library makes arrays, and how the caller gets them.

    empty: returns what makes arrays of a shape and dtype. With an order of axes, they lie in memory in that order.
    """

    empty: Callable[[Shape, DType, "Shape | None"], Callable[[], Any]]
    pointer: Callable[[Any], ctypes.c_void_p]
    finish: Callable[[Any], Any]


class Array:
    """Where the memory of an array is and what is in it. ctypes passes it as its address.

    Attributes:
        name: the caller's argument, for messages.
        strides: bytes from one index of an axis to the next; None if contiguous, last axis fastest.
        owner: keeps the memory alive.
    """

    __slots__ = ("name", "kind", "_as_parameter_", "dtype", "shape", "strides", "writable", "owner")

    def __init__(
        self,
        name: str,
        kind: Kind,
        address: int,
        dtype: DType,
        shape: Shape,
        strides: Shape | None,
        writable: bool,
        owner: object,
    ) -> None:
        self.name = name
        self.kind = kind
        self._as_parameter_ = address
        self.dtype = dtype
        self.shape = shape
        self.strides = strides
        self.writable = writable
        self.owner = owner

    @property
    def statistics_dtype(self) -> DType:
        return STATISTICS_DTYPES[self.dtype]

    @property
    def byte_strides(self) -> Shape:
        """`strides`, spelled out for contiguous memory."""
        if self.strides is not None:
            return self.strides
        inner = [self.shape[axis + 1 :] for axis in range(len(self.shape))]
        return tuple(ITEM_SIZES[self.dtype] * math.prod(extents) for extents in inner)

    def bits(self) -> np.ndarray[Any, Any]:
        """This memory as a NumPy array of unsigned integers of the elements' size."""
        return np.asarray(_Interface(self))

    def require_dtype(self, *accepted: DType) -> None:
        if self.dtype not in accepted:
            names = " or ".join(_NAMES[dtype] for dtype in accepted)
            raise TypeError(f"{self.name} has dtype {_NAMES[self.dtype]}; it must have {names}")

    def require_shape(self, *accepted: Shape) -> None:
        if self.shape not in accepted:
            shapes = " or ".join(str(shape) for shape in accepted)
            raise ValueError(f"{self.name} has shape {self.shape}; it must have {shapes}")

    def require_writable(self) -> None:
        if not self.writable:
            raise ValueError(f"{self.name} is read-only")


class _Interface:
    """https://numpy.org/doc/stable/reference/arrays.interface.html"""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.__array_interface__ = {
            "version": 3,
            "typestr": np.dtype(f"u{ITEM_SIZES[array.dtype]}").str,
            "shape": array.shape,
            "strides": array.strides,
            "data": (array._as_parameter_, not array.writable),
        }


def describe(array: Any, name: str) -> Array:
    """Where `array` is, without a copy.

    Raises TypeError or ValueError, naming the argument `name`, if NormKit cannot take it.
    """
    if isinstance(array, np.ndarray):
        return _describe_numpy(array, name)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return _describe_torch(torch, array, name)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _describe_dlpack(array, name)
    try:
        buffer = memoryview(array)
    except TypeError:
        raise TypeError(
            f"{name} is a {type(array).__name__}; NormKit takes NumPy arrays, PyTorch tensors, and objects"
            " with __dlpack__ or the buffer protocol"
        ) from None
    return _describe_numpy(np.asarray(buffer), name)


# ---- NumPy and the buffer protocol ---------------------------------------------------------------------


@functools.cache
def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """NumPy's name of an element type. Raises ImportError for bfloat16 without the package ml_dtypes."""
    if dtype == DType.BF16:
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(_NAMES[dtype])


def _pointer(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return pointer_at(id(array) + HEADER) if HAS_HEADER else ctypes.c_void_p(array.ctypes.data)


def _empty(shape: Shape, dtype: DType, order: Shape | None) -> Callable[[], Any]:
    if order is None:
        return functools.partial(np.empty, shape, numpy_dtype(dtype))
    stored = tuple(shape[axis] for axis in order)
    axes = tuple(int(axis) for axis in np.argsort(order))
    return lambda: np.empty(stored, numpy_dtype(dtype)).transpose(axes)


NUMPY = Kind(empty=_empty, pointer=_pointer, finish=lambda array: array)


def _describe_numpy(array: np.ndarray[Any, Any], name: str) -> Array:
    dtype = NUMPY_DTYPES.get(array.dtype)
    if dtype is None:
        if array.dtype.name != "bfloat16":
            raise TypeError(f"{name} has dtype {array.dtype}; {_ACCEPTED}{_hint(array.dtype)}")
        dtype = DType.BF16
    if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and NormKit has no masks; pass {name}.filled(...)")
    flags = array.flags
    strides = None if flags.c_contiguous else array.strides
    return Array(name, NUMPY, _pointer(array).value or 0, dtype, array.shape, strides, flags.writeable, array)


def _hint(dtype: np.dtype[Any]) -> str:
    if not dtype.isnative:
        return " in native byte order"
    if dtype == np.uint8:
        return "; give bytes a type with memoryview(...).cast('f')"
    return ""


# ---- PyTorch -------------------------------------------------------------------------------------------


def _describe_torch(torch: Any, tensor: Any, name: str) -> Array:
    if not tensor.is_cpu or tensor.layout is not torch.strided:
        raise TypeError(f"{name} is a {tensor.layout} tensor on {tensor.device}; NormKit needs it dense on the CPU")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} requires grad, and this function records none: those of normkit.torch do."
            f" Or call it under torch.no_grad(), or pass {name}.detach()"
        )
    if tensor.is_neg():
        raise ValueError(f"{name} is a view that torch negates lazily; pass {name}.resolve_neg()")
    kind, dtypes = _torch_kind(torch)
    dtype = dtypes.get(tensor.dtype)
    if dtype is None:
        raise TypeError(f"{name} has dtype {tensor.dtype}; {_ACCEPTED}")
    strides = None
    if not tensor.is_contiguous():
        size = ITEM_SIZES[dtype]
        strides = tuple(size * stride for stride in tensor.stride())
    return Array(name, kind, tensor.data_ptr(), dtype, tuple(tensor.shape), strides, True, tensor)


@functools.cache
def _torch_kind(torch: Any) -> tuple[Kind, dict[Any, DType]]:
    dtypes = {dtype: getattr(torch, name) for dtype, name in _NAMES.items()}

    def empty(shape: Shape, dtype: DType, order: Shape | None) -> Callable[[], Any]:
        # With strides, because torch.empty takes twice as long to read a shape from a tuple.
        strides, step = [0] * len(shape), 1
        for axis in reversed(range(len(shape)) if order is None else order):
            strides[axis] = step
            step *= max(1, shape[axis])
        return functools.partial(torch.empty_strided, shape, strides, dtype=dtypes[dtype])

    kind = Kind(
        empty=empty, pointer=lambda tensor: ctypes.c_void_p(tensor.data_ptr()), finish=lambda tensor: tensor
    )
    return kind, {name: dtype for dtype, name in dtypes.items()}


# ---- DLPack --------------------------------------------------------------------------------------------


def _describe_dlpack(array: Any, name: str) -> Array:
    memory = _dlpack.read(array, name)
    kind = NUMPY
    if hasattr(array, "__array_namespace__"):
        kind = NUMPY._replace(finish=_to_namespace(array.__array_namespace__()))
    strides = memory.strides
    if strides is not None:
        strides = tuple(ITEM_SIZES[memory.dtype] * stride for stride in strides)
    return Array(
        name, kind, memory.address, memory.dtype, memory.shape, strides, memory.writable, memory.capsule
    )


def _to_namespace(namespace: Any) -> Callable[[np.ndarray[Any, Any]], Any]:
    def finish(array: np.ndarray[Any, Any]) -> Any:
        # NumPy cannot export bfloat16 by DLPack.
        if array.dtype in NUMPY_DTYPES:
            return namespace.from_dlpack(array)
        return namespace.asarray(array)

    return finish

"""The arrays that a plan reads and writes: what each has to be, and the structure that the library takes."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from ._abi import DType, Layout
from ._arrays import NUMPY, STATISTICS_DTYPES, Shape, numpy_dtype
from ._plan_abi import Description, Fusion, Method, Operands, OutputDType
from ._scalars import integer, real

ROWS = (Method.LAYER_NORM, Method.RMS_NORM)
SLICES = (Method.WEIGHT_NORM, Method.SCALE_SHIFT)
GENERAL = (Method.NORMALIZE, Method.LP_NORMALIZE)
_SIZE = ctypes.sizeof(Operands)
_OUTPUTS = frozenset(("sum", "y", "mean", "rstd", "norms", "running_mean", "running_variance", "row_scales"))


class Form(NamedTuple):
    """What an operand has to be. strides: in bytes, as `numpy.ndarray.strides`."""

    dtype: np.dtype[Any]
    shape: Shape
    strides: Shape
    contiguous: bool


class _Data(NamedTuple):
    """shape: of x. outer: how many of its axes run over contiguous runs. sets: the shape of a statistic."""

    shape: Shape
    outer: int
    parameters: Shape
    sets: Shape


def _data(d: Description) -> _Data:
    method = d.method
    if method in ROWS:
        return _Data((d.rows, d.size), 1, (d.size,), (d.rows,))
    if method in SLICES:
        return _Data((d.outer, d.slices, d.inner), 0, (d.slices,), (d.slices,))
    if method in GENERAL:
        shape = tuple(d.shape[: d.rank])
        reduced = {axis % d.rank for axis in d.axes[: d.axis_count]}
        return _Data(shape, 0, (), tuple(n for axis, n in enumerate(shape) if axis not in reduced))
    n, c, l = d.samples, d.channels, d.positions
    is_last = d.layout == Layout.CHANNELS_LAST and method != Method.LAYER_NORM_CHANNELS
    sets = {
        Method.LAYER_NORM_CHANNELS: (n, l),
        Method.INSTANCE_NORM: (n, c),
        Method.GROUP_NORM: (n, d.groups),
    }.get(method, (c,))
    return _Data((n, l, c) if is_last else (n, c, l), 2 if is_last else 1, (c,), sets)


def numpy_dtype_of(dtype: int) -> np.dtype[Any]:
    """NumPy's name of an element type, also of one that only y has."""
    if dtype in OutputDType.__members__.values():
        return np.dtype(np.int8 if dtype == OutputDType.I8 else np.uint8)
    return numpy_dtype(DType(dtype))


def forms(d: Description) -> dict[str, Form]:
    """Every operand that a plan of this description uses, those that may be left out among them."""
    data = _data(d)
    statistics = STATISTICS_DTYPES[DType(d.dtype)]
    found: dict[str, Form] = {}

    def add(names: str, dtype: int, shape: Shape, stride: int = 0) -> None:
        element = numpy_dtype_of(dtype)
        strides = _strides(shape, element.itemsize, data.outer if stride else 0, stride)
        contiguous = strides == _strides(shape, element.itemsize, 0, 0)
        found.update(dict.fromkeys(names.split(), Form(element, shape, strides, contiguous)))

    add("x", d.dtype, data.shape, d.x_stride)
    add("y", d.output_dtype or d.dtype, data.shape, d.y_stride)
    parameter = d.parameter_dtype or d.dtype
    method, fusions = d.method, Fusion(d.fusions)
    if method not in GENERAL:
        add("gamma" if method == Method.WEIGHT_NORM else "gamma beta", parameter, data.parameters)
    if method in (Method.WEIGHT_NORM, Method.LP_NORMALIZE):
        add("norms", statistics, data.sets)
    elif method == Method.BATCH_NORM_INFERENCE:
        add("given_mean given_variance", statistics, data.sets)
    elif method != Method.SCALE_SHIFT:
        add("rstd" if method == Method.RMS_NORM else "mean rstd", statistics, data.sets)
    if method == Method.BATCH_NORM_TRAINING:
        add("running_mean running_variance", statistics, data.sets)
    if fusions & Fusion.ADD_RESIDUAL:
        add("residual", d.dtype, data.shape, d.residual_stride)
    if fusions & Fusion.ADD_BIAS:
        add("bias", parameter, data.parameters)
    if fusions & Fusion.STORE_SUM:
        add("sum", d.dtype, data.shape, d.sum_stride)
    if fusions & Fusion.SCALE_SHIFT_SAMPLES:
        samples = d.rows // d.rows_per_sample if method in ROWS else d.samples
        add("sample_scale sample_shift", parameter, (samples, *data.parameters))
    if fusions & Fusion.ADD_RESIDUAL_AFTER:
        add("residual_after", d.dtype, data.shape, d.residual_after_stride)
    if fusions & Fusion.SCALE_PER_ROW:
        add("row_scales", DType.F32, (d.rows,))
    return found


def _strides(shape: Shape, item: int, outer: int, stride: int) -> Shape:
    """Bytes from one index to the next along each axis. The last of the first `outer` axes has `stride` elements."""
    found, step = [], item
    for axis in reversed(range(len(shape))):
        if axis == outer - 1:
            step = stride * item
        found.append(step)
        step *= shape[axis]
    return tuple(reversed(found))


def operands(used: dict[str, Form], given: dict[str, Any]) -> Operands:
    """The structure for the library. Numbers among `given` are output_scale and zero_point.

    Raises TypeError or ValueError, naming the operand, if it is not what `used` says.
    """
    found = Operands(struct_size=_SIZE)
    for name, value in given.items():
        if name == "output_scale":
            found.output_scale = real(value, name)
        elif name == "zero_point":
            # Kept in the range of a C int, so that no number wraps around to one that is in range.
            found.zero_point = max(-(2**31), min(integer(value, name), 2**31 - 1))
        elif value is not None:
            form = used.get(name)
            if form is None:
                raise ValueError(f"{name} is not used by this plan")
            setattr(found, name, _address(name, value, form))
    return found


def place_workspace(found: Operands, workspace: np.ndarray[Any, Any]) -> None:
    """Let a run work in `workspace`, an array of any type.

    Raises TypeError or ValueError if it is no NumPy array, read-only, or not contiguous.
    """
    if not isinstance(workspace, np.ndarray):
        raise TypeError(f"workspace is a {type(workspace).__name__}; it must be a NumPy array")
    if not (workspace.flags.c_contiguous and workspace.flags.writeable):
        raise ValueError("workspace is read-only or not contiguous")
    found.workspace = NUMPY.pointer(workspace).value
    found.workspace_bytes = workspace.nbytes


def _address(name: str, array: Any, form: Form) -> int | None:
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a {type(array).__name__}; a plan takes NumPy arrays")
    if array.dtype != form.dtype:
        raise TypeError(f"{name} has dtype {array.dtype}; this plan needs {form.dtype}")
    if array.shape != form.shape:
        raise ValueError(f"{name} has shape {array.shape}; this plan needs {form.shape}")
    flags = array.flags
    if not (form.contiguous and flags.c_contiguous) and 0 not in form.shape:
        for extent, stride, wanted in zip(form.shape, array.strides, form.strides):
            if extent > 1 and stride != wanted:
                needed = "contiguous memory" if form.contiguous else f"{form.strides}, as {name}_stride says"
                raise ValueError(f"{name} has strides of {array.strides} bytes; this plan needs {needed}")
    if name in _OUTPUTS and not flags.writeable:
        raise ValueError(f"{name} is read-only")
    return NUMPY.pointer(array).value

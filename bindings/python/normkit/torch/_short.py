"""The short way of eager code: operators whose kernels are in C, `bindings/torch`.

Python between PyTorch and NormKit costs more than a small normalization. These operators take what models mostly ask
for, dense tensors on the CPU with parameters of one type; for anything else their functions return None, without a
result and without an error, and the caller goes the long way. So they do where the library of kernels is not there.
Where gradients are recorded, autograd calls a function forward and one backward, in Python, and `recorded` and
`backward` are what these call.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any, Sequence

import torch
from torch import Tensor

from .. import _library as _normkit  # loaded first: the kernels then find this one
from .._plan_abi import Activation, Method
from ._autograd import is_recorded, is_transformed
from ._operators import define_short, machine_epsilon

FILE_NAME = "libnormkit_torch.so"
_VARIABLE = "NORMKIT_TORCH_LIBRARY"

# Of weight and bias, x stands in for what is not given.
_GIVEN = "Tensor weight, Tensor bias, bool has_weight, bool has_bias"
_AFFINE = f"Tensor x, {_GIVEN}"
_SCHEMAS = {
    "layer_norm": f"{_AFFINE}, int size, float eps",
    "rms_norm": "Tensor x, Tensor weight, bool has_weight, int size, float eps",
    "group_norm": f"{_AFFINE}, int groups, float eps",
    "instance_norm": f"{_AFFINE}, float eps",
}
_layer_norm, _rms_norm, _group_norm, _instance_norm = (
    define_short(f"{name}_short", schema) for name, schema in _SCHEMAS.items()
)
_recorded = {
    # Beside y, mean and rstd; of RMS normalization rstd.
    name: define_short(f"{name}_recorded_short", schema, 2 if name == "rms_norm" else 3)
    for name, schema in _SCHEMAS.items()
}
_GRADIENT = (
    "Tensor dy, Tensor x, Tensor weight, Tensor mean, Tensor rstd, bool has_weight, "
    "bool wants_x, bool wants_weight, bool wants_bias, float eps, int method, int number"
)
_backward = define_short("backward_short", _GRADIENT, 3)
_METHODS = {name: int(Method[name.upper()]) for name in _SCHEMAS} | {"batch_norm": int(Method.BATCH_NORM_TRAINING)}
_ROWS = (
    "Tensor x, Tensor residual, Tensor weight, Tensor bias, bool has_residual, bool has_weight, bool has_bias, "
    "bool is_rms, int size, int activation, float eps"
)
# The first returns y, the second also the sum.
_fused_rows = define_short("fused_rows_short", _ROWS), define_short("fused_rows_sum_short", _ROWS, 2)
_fused_groups = define_short("fused_groups_short", f"{_AFFINE}, int groups, int activation, float eps")
_batch_norm = define_short("batch_norm_short", f"Tensor x, Tensor mean, Tensor var, {_GIVEN}, float eps")


def _load() -> bool:
    """Load the kernels and register them. Returns whether that was done. What the environment names has to load."""
    try:
        # PyTorch has loaded it; only its handle is asked for.
        pytorch = ctypes.CDLL("libtorch_cpu.so", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except (OSError, AttributeError):  # PyTorch in another form; no such flag in the system
        return False
    paths = _normkit.candidates(FILE_NAME, _VARIABLE)
    is_named = bool(os.environ.get(_VARIABLE))
    if not is_named:
        beside = Path(_normkit.library_path()).resolve().parent / FILE_NAME
        paths = [path for path in dict.fromkeys([beside, *paths]) if path.is_file()]
    try:
        library = _normkit.load_first(
            paths, "the NormKit library for PyTorch", "Build it: bindings/torch/build.sh", _set_prototype
        )
    except ImportError:
        if is_named:
            raise
        return False
    return bool(library.normkit_torch_register(pytorch._handle) == 0)


def _set_prototype(library: ctypes.CDLL, path: Path) -> None:
    library.normkit_torch_register.argtypes = [ctypes.c_void_p]
    library.normkit_torch_register.restype = ctypes.c_int32


available = _load()


def layer_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor | None:
    """Of the last axis."""
    size = only(normalized_shape)
    if size is None or _is_seldom(eps, x, weight, bias):
        return None
    return _result(_layer_norm, x, *_stand_ins(x, weight, bias), size, eps)


def rms_norm(
    x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None, eps: float | None
) -> Tensor | None:
    """Of the last axis."""
    size = only(normalized_shape)
    if size is None or _is_seldom(0.0 if eps is None else eps, x, weight):
        return None
    if eps is None:
        eps = machine_epsilon(x)
    return _result(_rms_norm, x, x if weight is None else weight, weight is not None, size, eps)


def group_norm(x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor | None:
    """Of [N, C, *]."""
    if type(groups) is not int or _is_seldom(eps, x, weight, bias):
        return None
    return _result(_group_norm, x, *_stand_ins(x, weight, bias), groups, eps)


def instance_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor | None:
    """Of [N, C, *], without running statistics."""
    if _is_seldom(eps, x, weight, bias):
        return None
    return _result(_instance_norm, x, *_stand_ins(x, weight, bias), eps)


def batch_norm(
    x: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor | None:
    """Of [N, C, *], with given statistics."""
    if mean is None or var is None or _is_seldom(eps, x, weight, bias) or _is_seldom(eps, mean, var):
        return None
    return _result(_batch_norm, x, mean, var, *_stand_ins(x, weight, bias), eps)


def fused_rows(
    method: str, x: Tensor, residual: Tensor | None, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None,
    eps: float | None, activation: str, store_sum: bool,
) -> tuple[Tensor, ...] | None:
    """y, and the sum if it is to be stored, of layer or RMS normalization of ``x + residual``."""
    size, code = only(shape), _ACTIVATIONS.get(activation)
    if size is None or code is None or _is_seldom(eps, x, weight, bias) or type(residual) not in _PLAIN:
        return None
    arguments = (
        x, x if residual is None else residual, x if weight is None else weight, x if bias is None else bias,
        residual is not None, weight is not None, bias is not None,
        method == "rms_norm", size, code, eps,
    )  # fmt: skip
    if store_sum:
        return _results(_fused_rows[1], (True, True), *arguments)
    y = _result(_fused_rows[0], *arguments)
    return None if y is None else (y,)


def fused_groups(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, activation: str
) -> Tensor | None:
    """Group normalization with an activation behind it."""
    code = _ACTIVATIONS.get(activation)
    if type(groups) is not int or code is None or _is_seldom(eps, x, weight, bias):
        return None
    return _result(_fused_groups, x, *_stand_ins(x, weight, bias), groups, code, eps)


def recorded(
    name: str, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float | None, number: int | None
) -> tuple[Tensor, ...] | None:
    """y and the statistics that its gradient needs. `number`: the size of rows, the groups of channels, or 0."""
    if eps is None and name == "rms_norm":
        eps = machine_epsilon(x)
    if number is None or not _is_plain(eps, x, weight, bias) or not _may_lie_so(name, x):
        return None
    given: tuple[Any, ...] = _stand_ins(x, weight, bias)
    if name == "rms_norm":
        given = given[0], given[2]
    if name != "instance_norm":
        given += (number,)
    return _results(_recorded[name], (True,), x, *given, eps)


def backward(
    name: str, dy: Tensor, x: Tensor, weight: Tensor | None, stats: Sequence[Tensor], wanted: Sequence[bool],
    eps: float | None, number: int | None,
) -> list[Tensor | None] | None:
    """The gradients of x, weight and bias that are wanted, from the statistics that `recorded` has left."""
    if eps is None and name == "rms_norm":
        eps = machine_epsilon(x)
    if number is None or not _is_plain(eps, x, weight, dy) or not _may_lie_so(name, x) or is_transformed():
        return None
    tensors = dy, x, x if weight is None else weight, stats[0], stats[-1]
    results = _results(_backward, wanted, *tensors, weight is not None, *wanted, eps, _METHODS[name], number)
    return None if results is None else [result if wants else None for result, wants in zip(results, wanted)]


def only(normalized_shape: int | Sequence[int]) -> int | None:
    """The extent of the last axis, if that is all."""
    if isinstance(normalized_shape, (tuple, list)) and len(normalized_shape) == 1:
        (normalized_shape,) = normalized_shape
    return normalized_shape if type(normalized_shape) is int else None


# But for the one that needs a slope.
_ACTIVATIONS = {one.name.lower(): int(one) for one in Activation if one is not Activation.LEAKY_RELU}
# What has no behaviour of its own.
_PLAIN = {Tensor, torch.nn.Parameter, type(None)}


def _is_seldom(eps: Any, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> bool:
    """Whether the long way has to see this: gradients will be recorded, transforms are at work, which it refuses, or it
    is not what it should be."""
    return not _is_plain(eps, x, weight, bias) or is_recorded(x, weight, bias) or is_transformed()


def _is_plain(eps: Any, x: Tensor, *others: Tensor | None) -> bool:
    """Whether there are kernels, and all is what they take it for."""
    return available and type(eps) is float and type(x) in _PLAIN and all(type(other) in _PLAIN for other in others)


def _may_lie_so(name: str, x: Tensor) -> bool:
    """Whether it is worth asking a kernel: rows have to be contiguous."""
    return x.is_contiguous() or name not in ("layer_norm", "rms_norm")


def _stand_ins(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor, bool, bool]:
    return x if weight is None else weight, x if bias is None else bias, weight is not None, bias is not None


def _ask(operator: Any, *arguments: Any) -> Any:
    try:
        return operator(*arguments)
    except RuntimeError:  # no kernel for such tensors: the long way says what is wrong
        return None


def _result(operator: Any, *arguments: Any) -> Tensor | None:
    y: Tensor | None = _ask(operator, *arguments)
    return y if y is not None and y.numel() else None


def _results(operator: Any, wanted: Sequence[bool], *arguments: Any) -> tuple[Tensor, ...] | None:
    """The same of several results, of which those that are wanted have elements."""
    results: tuple[Tensor, ...] | None = _ask(operator, *arguments)
    if results is None:
        return None
    return results if all(result.numel() for result, wants in zip(results, wanted) if wants) else None

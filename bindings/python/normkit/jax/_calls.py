"""Calls of NormKit in programs of XLA: their operands in the shapes of ``normkit.h``, and what `jax.vmap` makes of
them."""

from __future__ import annotations

import functools
import math
from typing import Any, Callable, Dict, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_batching import custom_vmap

from .._abi import DType, Layout
from .._plan_abi import Method
from ._library import BACKWARD, FORWARD

# Arrays by the names that they have in ``normkit.h``.
Operands = Dict[str, Array]

DTYPES = {"float32": DType.F32, "float64": DType.F64, "float16": DType.F16, "bfloat16": DType.BF16}
# Results that are laid out as x is. Others are statistics, or gradients of parameters.
_LIKE_X = ("y", "sum", "dx")
_ROWS = (Method.LAYER_NORM, Method.RMS_NORM)


class Spec:
    """What is normalized, and how: a method and the fields of ``normkit_description`` that are no sizes.

    Two of the same contents are equal, as XLA's programs are found again by them.
    """

    def __init__(self, method: Method, epsilon: float, **choices: int) -> None:
        self.method, self.epsilon, self.choices = method, float(epsilon), choices
        self._key = method, self.epsilon, tuple(sorted(choices.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def sizes(self, shape: Sequence[int]) -> dict[str, int]:
        """The sizes that ``normkit_description`` takes, for an x of this shape."""
        if self.method in _ROWS:
            return dict(zip(("rows", "size"), shape))
        if self.method == Method.WEIGHT_NORM:
            return dict(zip(("outer", "slices", "inner"), shape))
        if self.choices["layout"] == Layout.CHANNELS_FIRST:
            return dict(zip(("samples", "channels", "positions"), shape))
        return dict(zip(("samples", "positions", "channels"), shape))

    def parameters(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a parameter, for an x of this shape."""
        sizes = self.sizes(shape)
        return (sizes.get("size") or sizes.get("slices") or sizes.get("channels") or 0,)

    def is_parameter(self, name: str) -> bool:
        """Whether the operand of this name is there once, not for each row or sample."""
        return name in ("gamma", "beta") or self.method == Method.BATCH_NORM_INFERENCE and (
            name in ("mean", "variance", "given_mean", "given_variance")
        )

    def statistics(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a statistic of the sets that are standardized."""
        sizes = self.sizes(shape)
        if self.method in _ROWS:
            return (sizes["rows"],)
        if self.method == Method.WEIGHT_NORM:
            return (sizes["slices"],)
        per_sample = self.choices["groups"] if self.method == Method.GROUP_NORM else sizes["channels"]
        return sizes["samples"], per_sample


def statistics_dtype(x: Any) -> Any:
    """The type of statistics of `x`, and of gradients of its parameters."""
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32


def _array(shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


@functools.lru_cache(maxsize=None)
def forward(spec: Spec, results: tuple[str, ...]) -> Callable[[Operands], Operands]:
    """What calls the forward function: takes its operands by name, and returns `results` by name."""

    def outputs(x: Array) -> list[jax.ShapeDtypeStruct]:
        statistic = _array(spec.statistics(x.shape), statistics_dtype(x))
        return [_array(x.shape, x.dtype) if name in _LIKE_X else statistic for name in results]

    return _call(FORWARD, spec, results, outputs)


@functools.lru_cache(maxsize=None)
def backward(spec: Spec, results: tuple[str, ...]) -> Callable[[Operands], Operands]:
    """The same of the backward function."""

    def outputs(x: Array) -> list[jax.ShapeDtypeStruct]:
        parameter = _array(spec.parameters(x.shape), statistics_dtype(x))
        return [_array(x.shape, x.dtype) if name in _LIKE_X else parameter for name in results]

    return _call(BACKWARD, spec, results, outputs)


def _call(
    target: str, spec: Spec, results: tuple[str, ...], outputs: Callable[[Array], list[jax.ShapeDtypeStruct]]
) -> Callable[[Operands], Operands]:
    @custom_vmap
    def call(operands: Operands) -> Operands:
        x = operands["x"]
        parameter = operands.get("gamma", operands.get("beta", x))
        integers = {
            "method": spec.method,
            "dtype": DTYPES[x.dtype.name],
            "parameter_dtype": DTYPES[parameter.dtype.name],
            **spec.sizes(x.shape),
            **spec.choices,
        }
        found = jax.ffi.ffi_call(target, outputs(x))(
            *operands.values(),
            operands=" ".join((*operands, *results)),
            epsilon=np.float64(spec.epsilon),
            **{name: np.int64(value) for name, value in integers.items()},
        )
        return dict(zip(results, found))

    @call.def_vmap  # type: ignore[untyped-decorator, unused-ignore]
    def batched(axis_size: int, batched: Sequence[dict[str, bool]], operands: Operands) -> Any:
        (is_batched,) = batched
        if any(name in ("dgamma", "dbeta") for name in results) or _has_own_parameters(spec, is_batched):
            found = _one_by_one(call, is_batched, operands)
        else:
            found = _together(spec, call, axis_size, is_batched, operands)
        return found, dict.fromkeys(results, True)

    return call


def _has_own_parameters(spec: Spec, is_batched: dict[str, bool]) -> bool:
    """Whether the members of a batch cannot be taken for more rows or samples."""
    return spec.method == Method.WEIGHT_NORM or any(
        is_batched[name] for name in is_batched if spec.is_parameter(name)
    )


def _one_by_one(
    call: Callable[[Operands], Operands], is_batched: dict[str, bool], operands: Operands
) -> Operands:
    """The members of a batch in a loop."""
    shared = {name: array for name, array in operands.items() if not is_batched[name]}
    own = {name: array for name, array in operands.items() if is_batched[name]}
    # In the order of `operands`, which is that of the call.
    order = list(operands)
    found: Operands = jax.lax.map(lambda one: call({name: {**shared, **one}[name] for name in order}), own)
    return found


def _together(
    spec: Spec,
    call: Callable[[Operands], Operands],
    axis_size: int,
    is_batched: dict[str, bool],
    operands: Operands,
) -> Operands:
    """The members of a batch as more rows or samples of one call."""

    def merged(name: str, array: Array) -> Array:
        if spec.is_parameter(name):
            return array
        if not is_batched[name]:
            array = jnp.broadcast_to(array, (axis_size, *array.shape))
        return array.reshape(math.prod(array.shape[:2]), *array.shape[2:])

    found = call({name: merged(name, array) for name, array in operands.items()})
    return {
        name: array.reshape(axis_size, array.shape[0] // axis_size, *array.shape[1:])
        for name, array in found.items()
    }

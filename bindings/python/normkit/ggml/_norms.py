"""Normalizations as nodes of a ggml graph."""

from __future__ import annotations

import ctypes
from typing import Any, Literal, overload

from ._graph import Tensor, type_number
from ._library import Description, nodes

_LAYER_NORM, _RMS_NORM, _GROUP_NORM = 1, 3, 7
_ACTIVATIONS = {
    None: 0, "relu": 1, "leaky_relu": 2, "gelu": 3, "gelu_tanh": 4, "silu": 5, "sigmoid": 6, "tanh": 7, "hard_swish": 8,
}
_TENSORS = {
    "residual": "residual", "residual_after": "residual_after", "input_bias": "bias", "weight": "gamma",
    "bias": "beta", "sample_scale": "sample_scale", "sample_shift": "sample_shift",
}


@overload
def norm(x: Tensor, eps: float, *, return_sum: Literal[True], **options: Any) -> tuple[Tensor, Tensor]: ...
@overload
def norm(x: Tensor, eps: float, *, return_sum: Literal[False] = False, **options: Any) -> Tensor: ...
def norm(x: Tensor, eps: float, **options: Any) -> Tensor | tuple[Tensor, Tensor]:
    """Layer normalization of the rows of `x`, as ``ggml_norm``, with what stands around it in the same node::

        s = x + residual + input_bias
        n = normalize(activation_before(s)) * weight + bias
        y = activation(n * sample_scale + sample_shift) + residual_after

    Options (all of them tensors unless said otherwise):
        weight, bias, input_bias: one row.
        residual, residual_after: of the shape of `x`.
        sample_scale, sample_shift: rows, with 1 for the inner dimensions of `x` that share a row; ``[width, 1,
            samples]`` beside ``[width, tokens, samples]`` in ggml's order. With `one_plus_scale=True` the scale is
            1 + sample_scale.
        activation_before, activation: "relu", "leaky_relu" (with `slope`), "gelu", "gelu_tanh", "silu", "sigmoid",
            "tanh" or "hard_swish".
        in_place: True to write y over x, with its strides. A tensor that is used elsewhere must not be overwritten.
        dtype: NumPy dtype of y; float32 unless given, in place that of x.
        return_sum: True for a pair, y and s.

    Rows may lie apart and in any order. If the elements of a row are not next to each other, `x` is copied by
    ``ggml_cont`` first; but not in place, if each of its features lies in one piece (a permuted picture).

    Raises ValueError if there is no such node.
    """
    return _add(_LAYER_NORM, x, eps, options)


@overload
def rms_norm(x: Tensor, eps: float, *, return_sum: Literal[True], **options: Any) -> tuple[Tensor, Tensor]: ...
@overload
def rms_norm(x: Tensor, eps: float, *, return_sum: Literal[False] = False, **options: Any) -> Tensor: ...
def rms_norm(x: Tensor, eps: float, **options: Any) -> Tensor | tuple[Tensor, Tensor]:
    """RMS normalization of the rows of `x`, as ``ggml_rms_norm``, with the options of `norm`.

    With `one_plus_weight=True` it multiplies by 1 + weight.
    """
    return _add(_RMS_NORM, x, eps, options)


@overload
def group_norm(
    x: Tensor, groups: int, eps: float, *, return_sum: Literal[True], **options: Any) -> tuple[Tensor, Tensor]: ...
@overload
def group_norm(x: Tensor, groups: int, eps: float, *, return_sum: Literal[False] = False, **options: Any) -> Tensor: ...
def group_norm(x: Tensor, groups: int, eps: float, **options: Any) -> Tensor | tuple[Tensor, Tensor]:
    """Group normalization of `x`, [width, height, channels, samples] in ggml's order, as ``ggml_group_norm``.

    The options are those of `norm`; weight, bias and input_bias have one element for each channel, sample_scale and
    sample_shift one for each channel of each sample. `groups` divides the channels. In place, the channels may be
    innermost in memory.
    """
    return _add(_GROUP_NORM, x, eps, options, groups=groups)


def _add(
    method: int, x: Tensor, eps: float, options: dict[str, Any], groups: int = 0
) -> Tensor | tuple[Tensor, Tensor]:
    in_place = bool(options.pop("in_place", False))
    dtype = options.pop("dtype", None)
    return_sum = bool(options.pop("return_sum", False))
    description = Description(
        method=method, epsilon=eps, groups=groups, x=x.address, in_place=in_place,
        type=x.layout()[0] if in_place and dtype is None else type_number(dtype or "float32"),
        one_plus_gamma=bool(options.pop("one_plus_weight", False)),
        one_plus_sample_scale=bool(options.pop("one_plus_scale", False)),
        activation_before=_activation(options.pop("activation_before", None)),
        activation_after=_activation(options.pop("activation", None)),
        slope=options.pop("slope", 0.01),
    )
    for name, field in _TENSORS.items():
        tensor = options.pop(name, None)
        setattr(description, field, tensor.address if tensor is not None else None)
    if options:
        raise TypeError(f"no such option: {', '.join(options)}")

    context = x.context
    y, total = ctypes.c_void_p(), ctypes.c_void_p()
    # Three copies, the node and two views at most.
    error = nodes.normkit_ggml_add(
        context.nodes_address, context.room(6), description, ctypes.byref(y),
        ctypes.byref(total) if return_sum else None)
    if error:
        raise ValueError(error.decode())
    result = Tensor(context, y.value or 0)
    return (result, Tensor(context, total.value or 0)) if return_sum else result


def _activation(name: str | None) -> int:
    if name not in _ACTIVATIONS:
        raise ValueError(f"{name} is no activation; those are {', '.join(str(a) for a in _ACTIVATIONS if a)}")
    return _ACTIVATIONS[name]

"""Calls of the Python functions, one or more of each, with arrays for all results."""

from typing import Any, Callable, NamedTuple

import numpy as np

import normkit

SHAPE = (2, 6, 4)
ROW, CHANNELS = (4,), (6,)


class Call(NamedTuple):
    """inputs, outputs: shapes by argument; a tuple of shapes for a tuple of arrays. Outputs are in the order in
    which they are returned. Arguments in `statistics` have the statistics type.
    """

    function: Callable[..., Any]
    inputs: dict[str, Any]
    outputs: dict[str, tuple[int, ...]]
    statistics: set[str] = set()
    choices: dict[str, Any] = {}

    def arrays(self, dtype: Any, seed: int = 0) -> dict[str, Any]:
        """The arguments that are arrays, with random contents, positive where they are statistics."""
        rng = np.random.default_rng(seed)
        wide = dtype if dtype == np.float64 else np.float32

        def array(name: str, shape: Any) -> Any:
            if shape and isinstance(shape[0], tuple):
                return tuple(array(name, one) for one in shape)
            values = rng.normal(size=shape)
            return np.abs(values).astype(wide) + wide(0.5) if name in self.statistics else values.astype(dtype)

        return {name: array(name, shape) for name, shape in {**self.inputs, **self.outputs}.items()}


def _forward(function: Callable[..., Any], parameters: tuple[int, ...], **choices: Any) -> Call:
    inputs = {"x": SHAPE, "weight": parameters, "bias": parameters}
    return Call(function, inputs, {"out": SHAPE}, set(), choices)


def _backward(
    function: Callable[..., Any], parameters: tuple[int, ...], statistics: dict[str, Any], **choices: Any
) -> Call:
    return Call(
        function,
        {"dy": SHAPE, "x": SHAPE, "weight": parameters, **statistics},
        {"dx": SHAPE, "dweight": parameters, "dbias": parameters},
        {*statistics, "dweight", "dbias"},
        choices,
    )


_RUNNING = {"running_mean": CHANNELS, "running_var": CHANNELS}


def _with_running(call: Call) -> Call:
    return call._replace(inputs={**call.inputs, **_RUNNING}, statistics={*call.statistics, *_RUNNING})


CALLS = {
    "layer_norm": _forward(normkit.layer_norm, ROW),
    "layer_norm over channels": _forward(normkit.layer_norm, CHANNELS, channel_axis=1),
    "layer_norm, normalized_shape": _forward(normkit.layer_norm, ROW, normalized_shape=ROW, eps=1e-3),
    "rms_norm": _forward(normkit.rms_norm, ROW, one_plus_weight=True),
    "batch_norm": _with_running(_forward(normkit.batch_norm, CHANNELS)),
    "batch_norm in training": _with_running(_forward(normkit.batch_norm, CHANNELS, training=True)),
    "instance_norm": _forward(normkit.instance_norm, CHANNELS),
    "group_norm": _forward(normkit.group_norm, CHANNELS, num_groups=3),
    "scale_shift": _forward(normkit.scale_shift, CHANNELS),
    "weight_norm": Call(normkit.weight_norm, {"v": SHAPE, "g": SHAPE[:1]}, {"out": SHAPE}),
    "normalize": Call(normkit.normalize, {"x": SHAPE}, {"out": SHAPE}, set(), {"axes": (0, -1)}),
    "normalize by a norm": Call(normkit.normalize, {"x": SHAPE}, {"out": SHAPE}, set(), {"axes": [1], "p": 2}),
    "weight_penalty": Call(
        normkit.weight_penalty,
        {"w": SHAPE},
        {"dw": SHAPE},
        set(),
        {"strength": 0.5, "output_mask": (False, True)},
    ),
    "layer_norm_backward": _backward(normkit.layer_norm_backward, ROW, {"stats": (SHAPE[:2],) * 2}),
    "layer_norm_backward over channels": _backward(
        normkit.layer_norm_backward, CHANNELS, {"stats": ((2, 4),) * 2}, channel_axis=1
    ),
    "rms_norm_backward": _backward(normkit.rms_norm_backward, ROW, {"rstd": SHAPE[:2]}),
    "batch_norm_backward": _backward(normkit.batch_norm_backward, CHANNELS, {"stats": (CHANNELS,) * 2}),
    "batch_norm_backward, frozen": _backward(normkit.batch_norm_backward, CHANNELS, _RUNNING, training=False),
    "instance_norm_backward": _backward(normkit.instance_norm_backward, CHANNELS, {}),
    "group_norm_backward": _backward(
        normkit.group_norm_backward, CHANNELS, {"stats": ((2, 3),) * 2}, num_groups=3, accumulate=True
    ),
    "scale_shift_backward": _backward(normkit.scale_shift_backward, CHANNELS, {}),
    "weight_norm_backward": Call(
        normkit.weight_norm_backward,
        {"dw": SHAPE, "v": SHAPE, "g": SHAPE[:1], "norms": SHAPE[:1]},
        {"dv": SHAPE, "dg": SHAPE[:1]},
        {"norms", "dg"},
    ),
    "normalize_backward": Call(
        normkit.normalize_backward, {"dy": SHAPE, "x": SHAPE}, {"dx": SHAPE}, set(), {"axes": 1, "p": 1}
    ),
    "moments_backward": Call(
        normkit.moments_backward,
        {"dmean": CHANNELS, "dvar": CHANNELS, "x": SHAPE},
        {"dx": SHAPE},
        {"dmean", "dvar"},
        {"axes": (0, 2), "correction": 1},
    ),
}


def every_array(value: Any, change: Callable[[Any], Any]) -> Any:
    """`value`, an array or a tuple of them, with `change` applied to each."""
    return tuple(change(one) for one in value) if isinstance(value, tuple) else change(value)


def bits(array: Any) -> bytes:
    """What an array of any kind holds."""
    if hasattr(array, "tensor"):
        array = array.tensor
    if type(array).__module__.startswith("torch"):
        import torch

        array = array.contiguous()
        array = array.view(torch.int16).numpy() if array.dtype == torch.bfloat16 else array.numpy()
    return np.asarray(array).tobytes()


def _spread(array: np.ndarray) -> np.ndarray:
    memory = np.zeros((array.shape[0], 2, *array.shape[1:]), array.dtype)
    memory[:, 0] = array
    return memory[:, 0]


def _channels_last(array: np.ndarray) -> np.ndarray:
    return np.array(array.swapaxes(1, -1)).swapaxes(1, -1)


# The same values in other places of memory. Functions that cannot do with one make a copy.
LAYOUTS = {"contiguous": np.array, "with gaps": _spread, "channels last": _channels_last}

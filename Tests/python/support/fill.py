"""The data of a problem, drawn from a seed."""

import numpy as np

from . import families, tensors
from .dtypes import DType, rounded
from .families import Family
from .methods import Method
from .problem import Problem
from .views import View

# Larger numbers may have no variance that a statistics type can hold.
_LARGEST = 1e37


def fill(method: Method, dtype: DType, parameter_dtype: DType, chosen: dict, family: Family, seed: int,
         absent: frozenset[str] = frozenset(), incoming: Family = families.NORMAL) -> Problem:
    """A problem with data from a seed.

    absent: optional arguments to leave NULL.
    incoming: the family of the gradient that a backward function is given.
    """
    rng = np.random.default_rng(seed)
    view, updated = method.view(chosen), method.updated(chosen)
    data = family.draw(rng, view, dtype)
    inputs, outputs = {}, set()
    for parameter in method.prototype.buffers():
        name = parameter.name
        if parameter.is_output and name not in updated:
            outputs |= {name} - absent
        elif name in absent:
            inputs[name] = None
        elif name in tensors.DATA:
            inputs[name] = data if name == method.data else incoming.draw(rng, view, dtype)
        elif name in method.saved:
            inputs[name] = np.zeros(view.kept_shape, dtype.statistics.numpy)
        elif name in tensors.RECORDS:
            inputs[name] = _records(rng, name, data, view)
        elif tensors.is_running(name) or name in ("mean", "variance"):
            inputs[name] = _statistic(rng, name, data, view, dtype)
        else:
            values = rng.standard_normal(tensors.shape_of(name, view))
            inputs[name] = rounded(values, tensors.type_of(name, dtype, parameter_dtype))
    problem = Problem(method, dtype, parameter_dtype, chosen, inputs, frozenset(outputs))
    return problem.with_saved() if view.size else problem


def _statistic(rng, name: str, x: np.ndarray, view: View, dtype: DType) -> np.ndarray:
    """A given mean or variance per channel, near to that of the data and finite."""
    if x.size == 0:
        return np.ones(view.kept_shape, dtype.statistics.numpy)
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        values = x.std(axis=view.reduced)
        values = values**2 * rng.uniform(0.5, 2, values.shape) if name.endswith("variance") else (
            x.mean(axis=view.reduced) + values * rng.standard_normal(values.shape))
    return rounded(np.clip(values, -_LARGEST, _LARGEST), dtype.statistics)


def _records(rng, name: str, x: np.ndarray, view: View) -> np.ndarray:
    """Structs per channel: sums of gradients; moments near to those of the data, of which some are of no elements."""
    if name == "sums":
        return rng.standard_normal((*view.channel_shape, 2))
    if not view.reduced or x.size == 0:
        mean, spread, least = rng.standard_normal(view.channel_shape), np.ones(view.channel_shape), 2
    else:
        x = x.astype(np.float64)
        mean, spread, least = x.mean(axis=view.reduced), x.std(axis=view.reduced), view.set_size
    count = least + rng.integers(0, 3 * least, view.channel_shape).astype(np.float64)
    mean = mean + 0.5 * spread * rng.standard_normal(view.channel_shape)
    m2 = count * spread * spread * rng.uniform(0.5, 2, view.channel_shape)
    return np.stack([count, mean, m2], axis=-1)

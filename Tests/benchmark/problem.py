"""The data of a row, and what a system has made of them."""

import math
from functools import cached_property

import numpy as np

from . import reference
from .reference import IS_DATA, Exact, Statistics
from .rows import DTYPES, Row

MOMENTUM = 0.1
RANDOM_ELEMENTS = 1 << 24  # larger tensors repeat so many


def aligned(values: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes, as engines and PyTorch allocate; NumPy does not."""
    dtype = np.dtype(dtype)
    memory = np.empty(values.size + 64 // dtype.itemsize, dtype)
    start = -memory.ctypes.data % 64 // dtype.itemsize
    copy = memory[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy


class Problem:
    """Arrays in memory order, aligned; parameters and statistics are f32.

    gamma and beta have values of the row's type, so that a system may take them in either type. For weights, x
    is v, gamma is g, rstd are the norms, y is w, dx is dv and dgamma is dg. All systems that write into given
    memory write into the same `outputs`.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self.dtype = DTYPES[row.dtype]
        rng = np.random.default_rng(0)
        size, parameters = math.prod(row.shape), row.shape[0 if row.family == "weight" else 1]

        def data() -> np.ndarray:
            values = rng.standard_normal(min(size, RANDOM_ELEMENTS), np.float32).astype(self.dtype)
            return aligned(np.resize(values, size), self.dtype)

        def vector() -> np.ndarray:
            return aligned(rng.standard_normal(parameters).astype(self.dtype))

        self.x, self.gamma, self.beta = data(), vector(), vector()
        self.added = {"x": self.x}  # what is added up and then normalized, by name
        names = ["y"]
        if row.family == "residual layer":
            self.added["residual"] = self.residual = data()
            names.append("sum")
        if row.direction == "backward":
            self.dy = data()
            names = ["dx", "dgamma", "dbeta"] if row.has_beta else ["dx", "dgamma"]
        if row.family == "batch inference":
            self.mean, self.variance = vector(), aligned(rng.uniform(0.5, 2, parameters))
        if row.family == "batch training":
            self.running_mean, self.running_variance = np.zeros_like(self.gamma), np.ones_like(self.gamma)
            self.batch_mean, self.batch_spread = np.zeros_like(self.gamma), np.zeros_like(self.gamma)
        if row.direction == "backward":  # what the forward pass has saved
            known = self.statistics
            self.mean, self.variance = aligned(known.mean.reshape(-1)), aligned(known.variance.reshape(-1))
            self.rstd = aligned((1 / known.rstd if row.family == "weight" else known.rstd).reshape(-1))
        self.outputs = {
            name: aligned(np.zeros_like(self.x), self.dtype)
            if name in IS_DATA
            else aligned(np.zeros_like(self.gamma))
            for name in names
        }

    @cached_property
    def statistics(self) -> Statistics:
        """Those that this row standardizes with."""
        if self.row.family == "batch inference":
            mean, variance = (reference.parameter(self.row, values) for values in (self.mean, self.variance))
            return Statistics(mean, variance, 1 / np.sqrt(variance + reference.EPSILON))
        return reference.statistics(self.row, self.normalized)

    @cached_property
    def normalized(self) -> np.ndarray:
        """What is normalized, viewed."""
        return sum(reference.viewed(self.row, values) for values in self.added.values())

    @cached_property
    def exact(self) -> dict[str, Exact]:
        row = self.row
        x = self.normalized
        gamma, beta = (reference.parameter(row, values) for values in (self.gamma, self.beta))
        if row.direction == "forward":
            exact = reference.forward(row, x, self.statistics, gamma, beta)
            return exact | {"sum": reference.stored(row, x)} if "sum" in self.outputs else exact
        return reference.backward(row, x, reference.viewed(row, self.dy), self.statistics, gamma)

    def clear(self) -> None:
        """So that no system passes with the results of another."""
        for values in self.outputs.values():
            values[...] = np.nan

    def errors(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """The largest error of each output in units; infinite for one that is not there or not finite."""
        found = {}
        for name, exact in self.exact.items():
            error = reference.error(self.row, name, outputs[name], exact) if name in outputs else math.inf
            found[name] = error if math.isfinite(error) else math.inf
        return found

    def is_right(self, errors: dict[str, float], outputs: dict[str, np.ndarray]) -> bool:
        return all(
            name in outputs and errors[name] <= reference.bound(self.row, name, exact, outputs[name].dtype)
            for name, exact in self.exact.items()
        )

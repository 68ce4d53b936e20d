"""Problems for backward.py: their data, their exact results, and errors in the header's units.

The results are formed from the stored inputs in f64 (f32 and bf16 data leave half of its digits unused).
"""

import math
from dataclasses import dataclass, field
from functools import partial

import ml_dtypes
import numpy as np
from timing import aligned

EPSILON = 1e-5
DTYPES = {"f32": np.dtype(np.float32), "bf16": np.dtype(ml_dtypes.bfloat16)}


@dataclass(frozen=True)
class Case:
    """family: layer, rms, batch, group, weight or weight_backward.

    shape: [rows, size], [slices, elements of a slice] or [samples, channels, height, width].
    """

    family: str
    shape: tuple[int, ...]
    dtype: str = "f32"
    is_last: bool = False
    groups: int = 1

    @property
    def title(self) -> str:
        shape = self.shape if not self.is_last else (*self.shape[:1], *self.shape[2:], self.shape[1])
        return " ".join([
            self.family.replace("_", " "), "×".join(map(str, shape)),
            *([f"{self.groups} groups"] if self.groups > 1 else []),
            *(["(channels last)"] if self.is_last else []),
            *([self.dtype] if self.dtype != "f32" else []),
        ])  # fmt: skip

    @property
    def is_rows(self) -> bool:
        return len(self.shape) == 2


@dataclass
class Exact:
    """A result and its unit without the factor of the storage type, in the shape of the view."""

    value: np.ndarray
    magnitude: np.ndarray


@dataclass
class Problem:
    """Arrays in memory order, aligned; gamma and statistics are f32.

    For weights, x is v, gamma is g, and rstd are the norms.
    """

    case: Case
    x: np.ndarray = field(init=False)
    dy: np.ndarray = field(init=False)
    gamma: np.ndarray = field(init=False)
    mean: np.ndarray = field(init=False)
    variance: np.ndarray = field(init=False)
    rstd: np.ndarray = field(init=False)
    exact: dict[str, Exact] = field(init=False)

    def __post_init__(self) -> None:
        case, rng = self.case, np.random.default_rng(0)
        is_weight = case.family.startswith("weight")
        parameters = case.shape[1 - is_weight]
        size, dtype = math.prod(case.shape), DTYPES[case.dtype]
        self.x, self.dy = (aligned(rng.standard_normal(size), dtype) for _ in range(2))
        self.gamma = aligned(rng.standard_normal(parameters))
        x, dy = self.viewed(self.x), self.viewed(self.dy)
        sets, others = self._axes
        gamma = self.gamma.astype(np.float64).reshape(self._parameters)
        centred = case.family not in ("rms", "weight", "weight_backward")
        mean = x.mean(sets, keepdims=True) * centred
        variance = np.square(x - mean).mean(sets, keepdims=True)
        norm = np.sqrt(np.square(x).sum(sets, keepdims=True))
        rstd = 1 / norm if is_weight else 1 / np.sqrt(variance + EPSILON)
        z, h = (x - mean) * rstd, dy * gamma
        self.mean, self.variance = aligned(mean.reshape(-1)), aligned(variance.reshape(-1))
        self.rstd = aligned((norm if is_weight else rstd).reshape(-1))

        if case.family == "weight":
            self.exact = {"w": Exact(z * gamma, np.abs(z * gamma).max(sets, keepdims=True))}
            return
        # d(norm)/dv is v / norm: there a sum takes the place of the mean over S.
        average = partial(np.sum if is_weight else np.mean, axis=sets, keepdims=True)
        dx = rstd * (h - average(h) * centred - z * average(h * z))
        self.exact = {"dx": Exact(dx, np.abs(rstd * h).max(sets, keepdims=True))}
        for name, terms in ("dgamma", dy * z), ("dbeta", dy):
            if name == "dgamma" or not is_weight and case.family != "rms":
                root = np.sqrt(np.square(terms).sum(others, keepdims=True))
                self.exact[name] = Exact(terms.sum(others, keepdims=True), root)

    @property
    def _axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the view: those of S, and those that the gradient of a parameter is summed over."""
        family = self.case.family
        if family in ("layer", "rms"):
            return (1,), (0,)
        if family == "group":
            return (2, 3), (0, 3)
        return ((0, 2), (0, 2)) if family == "batch" else ((1,), (1,))

    @property
    def _parameters(self) -> tuple[int, ...]:
        family, channels = self.case.family, self.case.shape[1]
        if family == "group":
            return (1, self.case.groups, channels // self.case.groups, 1)
        return (1, channels, 1) if family == "batch" else (-1, 1) if family.startswith("weight") else (1, -1)

    def viewed(self, values: np.ndarray) -> np.ndarray:
        """Data in memory order as [rows, size] or [samples, (groups,) channels, positions], in f64."""
        case, values = self.case, values.astype(np.float64)
        if case.is_rows:
            return values.reshape(case.shape)
        n, c, positions = case.shape[0], case.shape[1], case.shape[2] * case.shape[3]
        if case.is_last:
            values = values.reshape(n, positions, c).swapaxes(1, 2)
        grouped = (case.groups, c // case.groups) if case.family == "group" else (c,)
        return values.reshape(n, *grouped, positions)

    def errors(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """The largest error of each output, in units in the last place as the header counts them."""
        found = {}
        for name, exact in self.exact.items():
            if name not in outputs:
                continue
            is_data = name in ("dx", "w")
            epsilon = float(ml_dtypes.finfo(DTYPES[self.case.dtype] if is_data else np.float32).eps)
            values = self.viewed(outputs[name]) if is_data else outputs[name].reshape(exact.value.shape)
            found[name] = float(np.max(np.abs(values - exact.value) / (epsilon * exact.magnitude)))
        return found

"""What each activation should give, in np.longdouble, without the cancellation that the definitions have."""

import numpy as np

from .header import constants

_LONG = np.longdouble
_PI = 4 * np.arctan(_LONG(1))

NAMES = ("IDENTITY", "RELU", "LEAKY_RELU", "GELU", "GELU_TANH", "SILU", "SIGMOID", "TANH", "HARD_SWISH")
CODES = tuple(constants()[name] for name in NAMES)


def _near_tail(x: np.ndarray) -> np.ndarray:
    """erfc(x) of 0 <= x < 2: 1 less a series of positive terms."""
    term, total = x, x
    for n in range(1, 60):
        term = term * 2 * x * x / (2 * n + 1)
        total = total + term
    return 1 - 2 / np.sqrt(_PI) * np.exp(-x * x) * total


def _far_tail(v: np.ndarray) -> np.ndarray:
    """erfc(v / sqrt(2)) of large v: a continued fraction, and the square of v in two parts, for its rounding would
    matter."""
    x = v / np.sqrt(_LONG(2))
    fraction = np.zeros_like(x)
    for n in range(160, 0, -1):
        fraction = n / _LONG(2) / (x + fraction)
    high = v.astype(np.float32).astype(_LONG)
    exponential = np.exp(-high * high / 2) * np.exp(-(v - high) * (v + high) / 2)
    return exponential / np.sqrt(_PI) / (x + fraction)


def _tail(v: np.ndarray) -> np.ndarray:
    """erfc(v / sqrt(2)) of v >= 0; it is 0 where v is 200, and NaN where v is."""
    x = v / np.sqrt(_LONG(2))
    found = np.where(np.isnan(v), v, 0)
    near, far = x < 2, (x >= 2) & (v < 200)
    found[near], found[far] = _near_tail(x[near]), _far_tail(v[far])
    return found


def _gelu(v, slope):
    tail = _tail(np.abs(v))
    return v * np.where(v < 0, tail, 2 - tail) / 2


def _gelu_tanh(v, slope):
    return v / (1 + np.exp(-2 * np.sqrt(2 / _PI) * (v + _LONG("0.044715") * v * v * v)))


_FUNCTIONS = {
    "IDENTITY": lambda v, slope: v,
    "RELU": lambda v, slope: np.maximum(v, 0),
    "LEAKY_RELU": lambda v, slope: np.where(v < 0, _LONG(slope) * v, v),
    "GELU": _gelu,
    "GELU_TANH": _gelu_tanh,
    "SILU": lambda v, slope: v / (1 + np.exp(-v)),
    "SIGMOID": lambda v, slope: 1 / (1 + np.exp(-v)),
    "TANH": lambda v, slope: np.tanh(v),
    "HARD_SWISH": lambda v, slope: v * (np.clip(v + 3, 0, 6) / 6),
}


@np.errstate(all="ignore")
def activate(code: int, values: np.ndarray, slope: float = 0.0) -> np.ndarray:
    """The function of this code, one of CODES, of values in np.longdouble."""
    return _FUNCTIONS[NAMES[CODES.index(code)]](values, slope)


def steepness(code: int, slope: float = 0.0) -> float:
    """By how much a difference of two arguments may grow."""
    return max(1.0, abs(slope)) if code == constants()["LEAKY_RELU"] else 1.2 if code else 1.0

"""Numbers among the arguments."""

from __future__ import annotations

import numbers
import operator
from typing import Any


def real(value: Any, name: str) -> float:
    """`value` as a float. Raises TypeError, naming the argument `name`, if it is no real number."""
    if type(value) is float:
        return value
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is a {type(value).__name__}; it must be a number")
    return float(value)


def integer(value: Any, name: str) -> int:
    """`value` as an int. Raises TypeError, naming the argument `name`, if it is no integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a {type(value).__name__}; it must be an integer") from None


def integers(value: Any, name: str) -> tuple[int, ...]:
    """One integer or several, as a tuple."""
    if hasattr(value, "__len__"):
        return tuple(integer(one, name) for one in value)
    return (integer(value, name),)

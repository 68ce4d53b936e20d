"""Types of arguments and results for static checking."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar


class SupportsDLPack(Protocol):
    """An array: NumPy's, PyTorch's, JAX's.

    At run time objects with the buffer protocol are taken as well, and NumPy arrays returned for them;
    for a static check, wrap them with `numpy.asarray`.
    """

    def __dlpack__(self) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, Any]: ...


ArrayT = TypeVar("ArrayT", bound=SupportsDLPack)

"""Calls that are prepared once and then repeated."""

from __future__ import annotations

import ctypes
import functools
import sys
import weakref
from typing import Any, Callable, TypeVar

import numpy as np

from ._arrays import Array
from ._library import refusal
from ._placement import New
from ._plan import Unrepeatable, request
from ._repeat import FUNCTIONS

ResultT = TypeVar("ResultT")


class _Pointer(ctypes.c_void_p):
    """The address of an array that is held."""

    held: Any


def prepare(function: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> Callable[[], ResultT]:
    """Bind `function`, one of NormKit's, to its arguments: returns `run`, and ``run()`` does and returns what
    ``function(*args, **kwargs)`` does, with the same bits, at a quarter of the cost of a small call.

    The arguments are checked here; nothing is computed. Each run reads what the arrays hold by then, and writes
    into the arrays that were given for results. Numbers keep the values that they have here.

    Args:
        function: a forward or backward function that takes arrays for its results: ``out=``, ``dx=``,
            ``dweight=`` and so on. For all that it returns they have to be given. (Statistics that
            ``return_stats`` adds cannot be.) Running statistics of `batch_norm` are updated by each run.
        args, kwargs: its arguments: arrays of any kind that it takes, in memory that needs no copy.

    Returns:
        A function without arguments. It raises `NormKitError` if the library refuses, as it refuses arrays that
        overlap; nothing has been written then. Any thread may call it; two threads at a time may not, as they
        would write the same memory.

    The memory is held as long as `run` is. In the meantime NumPy, PyTorch and bytearray refuse to resize it.
    Where a tensor is given other memory (``tensor.data = other``), or a name another array, `run` stays with
    the memory that it was bound to.

    Raises:
        TypeError, ValueError: as `function` does; also if it cannot be prepared, a result has no array, or an
            array would have to be copied.

    >>> import numpy as np
    >>> import normkit
    >>> x, y = np.array([[1, 3]], np.float32), np.empty((1, 2), np.float32)
    >>> run = normkit.prepare(normkit.layer_norm, x, eps=0, out=y)
    >>> run()
    array([[-1.,  1.]], dtype=float32)
    >>> x[0, 0] = 5
    >>> run() is y, y
    (True, array([[ 1., -1.]], dtype=float32))
    """
    plain = getattr(function, "__wrapped__", function)
    if plain not in FUNCTIONS:
        raise TypeError(f"{function!r} cannot be prepared; it must be a function of normkit that computes")
    try:
        asked = request(functools.partial(plain, *args, **kwargs))
    except Unrepeatable as error:
        raise ValueError(f"this call cannot be prepared: {error}") from None
    native, arguments = asked.native()
    name: str = asked.name
    returned: ResultT = asked.returned
    call = functools.partial(native, *map(_held, arguments))

    def run() -> ResultT:
        status = call()
        if status:
            raise refusal(status, name)
        return returned

    return run


def _held(argument: Any) -> Any:
    """`argument`; for an array a pointer that keeps its memory where it is."""
    if isinstance(argument, New):
        raise ValueError("a result has no array; a prepared call needs one for each (out; dx, dweight, ...)")
    if not isinstance(argument, Array):
        return argument
    pointer = _Pointer(argument._as_parameter_)
    pointer.held = argument.owner, _pinned(argument.owner)
    return pointer


def _pinned(owner: Any) -> Any:
    """What keeps `owner` from being resized."""
    if isinstance(owner, np.ndarray):
        return weakref.ref(owner)  # NumPy resizes no array that has one, not even with refcheck=False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(owner, torch.Tensor):
        # PyTorch resizes no memory that NumPy sees, too. NumPy lacks bfloat16.
        return owner.detach().view(torch.int16 if owner.dtype == torch.bfloat16 else owner.dtype).numpy()
    return None

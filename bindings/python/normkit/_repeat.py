"""Calls like one that was made before take a short way.

What a function asks of the library follows from the types, shapes and strides of its arrays and from the
numbers beside them, not from addresses and contents. So it is found out once, as a `Plan`, and kept under all
of that as the key. Calls without a plan take the long way: those with other kinds of arguments, those that need
copies, and those that are refused here. What the library itself checks, overlaps for one, it checks every time.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple, TypeVar

from numpy import ndarray

from ._arrays import HAS_HEADER, HEADER, pointer_at
from ._library import refusal
from ._plan import Unrepeatable, plan

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# Functions that ask one thing of the library, as `plan` needs them.
FUNCTIONS: set[Callable[..., Any]] = set()

# Plans by their keys, as tuples, which Python takes apart soonest: empty where there can be none, None where
# the key was met once.
Plans = Dict[Tuple[Any, ...], Optional[Tuple[Any, ...]]]

_NUMBERS = frozenset({float, int, bool, str, type(None)})
_SEQUENCES = frozenset({tuple, list})
_MOST_VALUES = 100
_MOST_PLANS = 1000


def repeated(function: FunctionT) -> FunctionT:
    """`function`, which keeps plans."""
    FUNCTIONS.add(function)
    if not HAS_HEADER:
        return function
    plans: Plans = {}
    # To compare a key with that of the call before takes half the time of looking it up.
    latest: tuple[Any, Any] = None, None

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        # All that matters is in the key; types are, because 1, 1.0 and True are equal.
        key: list[Any] = [*kwargs]
        arrays: list[Any] = [None]
        pointers: list[Any] = [None]
        values = [*args, *kwargs.values()]
        for value in values:
            kind = type(value)
            if kind is ndarray:
                key += value.dtype, value.shape
                if not value.flags.carray:
                    key += value.strides, value.flags.num
                arrays.append(value)
                pointers.append(pointer_at(id(value) + HEADER))
            elif kind in _NUMBERS:
                key += kind, value or repr(value)  # repr tells 0.0 from -0.0
            elif kind in _SEQUENCES and len(values) + len(value) <= _MOST_VALUES:
                key += kind, len(value)
                values += value  # which the loop goes through, too
            elif (
                (torch := _MODULES.get(kind) or _torch_of(kind))
                and value.is_cpu
                and value.layout is torch.strided
                and not (value.requires_grad and torch.is_grad_enabled())
                and not value.is_neg()
            ):
                key += value.dtype, value.shape, value.stride()
                arrays.append(value)
                pointers.append(ctypes.c_void_p(value.data_ptr()))
            else:
                return function(*args, **kwargs)
        nonlocal latest
        latest_key, known = latest
        if latest_key != key:
            known = plans.get(tuple(key))
            if known:
                latest = key, known
        if not known:
            _learn(plans, tuple(key), function, args, kwargs, arrays[1:])
            return function(*args, **kwargs)
        call, name, new, constants, arguments, results = known
        for make, pointer in new:
            array = make()
            arrays.append(array)
            pointers.append(pointer(array))
        status = call(*arguments(pointers + constants))
        if status:
            raise refusal(status, name)
        return results(arrays)

    wrapper.__module__ = "normkit"  # where its name is found, by pickle for one
    return wrapper  # type: ignore[return-value]


# PyTorch, by the classes of its tensors; nothing until who passes one has imported it.
_MODULES: Dict[Any, Any] = {}


def _torch_of(kind: Any) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None:
        _MODULES.update({torch.Tensor: torch, torch.nn.Parameter: torch})
    return _MODULES.get(kind)


def _learn(
    plans: Plans,
    key: tuple[Any, ...],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    arrays: list[Any],
) -> None:
    """Make a plan for `key` when it is met for the second time; many are met once."""
    if key not in plans:
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plans[key] = None
    elif plans[key] is None:
        # Stand-ins tell arrays apart also where one is given twice: later there may be two in its place.
        stand_ins = [array.view() if type(array) is ndarray else array.detach() for array in arrays]
        try:
            values = _replaced((*args, *kwargs.values()), zip(arrays, stand_ins))
            call = functools.partial(function, *values[: len(args)], **dict(zip(kwargs, values[len(args) :])))
            plans[key] = tuple(plan(call, stand_ins))
        except Unrepeatable:
            plans[key] = ()


def _replaced(values: Iterable[Any], pairs: Iterator[tuple[Any, Any]]) -> list[Any]:
    """`values` with each array replaced by the other one of its pair. Pairs come in the order of `repeated`."""
    replaced = []
    for value in values:
        if type(value) not in _NUMBERS and type(value) not in _SEQUENCES:
            array, stand_in = next(pairs)
            if array is not value:
                raise Unrepeatable("the order is another one where sequences are in sequences")
            value = stand_in
        replaced.append(value)
    return [type(value)(_replaced(value, pairs)) if type(value) in _SEQUENCES else value for value in replaced]

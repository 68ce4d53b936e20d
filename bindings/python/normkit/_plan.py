"""What a function of NormKit asks of the library, found out without asking it."""

from __future__ import annotations

import ctypes
import math
from operator import itemgetter
from typing import Any, Callable, NamedTuple

from ._abi import PROTOTYPES
from ._arrays import Array
from ._library import inspected, native
from ._placement import Copy, Given, New


class Unrepeatable(Exception):
    """What a function does cannot be done again by one call of the library. Says why."""


class Request(NamedTuple):
    """A call of the library: the function's name in C, its arguments, and what the caller is then returned."""

    name: str
    arguments: tuple[Any, ...]
    returned: Any

    def native(self) -> tuple[Any, list[Any]]:
        """The function, and the arguments as ctypes takes them soonest, but for each array an Array or New."""
        arguments: list[Any] = []
        elements = 0
        kinds: tuple[Any, ...] = PROTOTYPES[self.name].types
        for argument, kind in zip(self.arguments, kinds):
            if isinstance(argument, Given):
                argument = argument.memory
            if isinstance(argument, Array):
                elements += math.prod(argument.shape)
            elif isinstance(argument, (int, float)):
                argument = kind(argument)
                if kind is ctypes.c_int32:
                    argument = argument.value  # the only integers that need no type
            arguments.append(argument)
        return native(self.name, elements), arguments


def request(call: Callable[[], Any]) -> Request:
    """What `call`, a call of one of NormKit's functions, asks of the library. Nothing is computed.

    Raises Unrepeatable if that is not all that it does, and what `call` raises.
    """
    requests: list[tuple[str, tuple[Any, ...]]] = []

    def inspect(name: str, arguments: tuple[Any, ...]) -> None:
        for argument in arguments:
            if isinstance(argument, Copy):
                raise Unrepeatable(f"{argument.name} does not lie in memory as it has to, and would be copied")
            if not isinstance(argument, (Array, Given, New, int, float, ctypes.Array, type(None))):
                raise Unrepeatable("one call of the library is not all that it does")
        requests.append((name, arguments))

    with inspected(inspect):
        returned = call()
    ((name, arguments),) = requests
    return Request(name, arguments, returned)


class Plan(NamedTuple):
    """A request that waits for its arrays.

    function, name: what is called, as `native` returns it, and its name in C.
    new: what makes each result that the caller has no array for, and what finds its memory.
    constants: the arguments that are no arrays.
    arguments: picks the arguments from None, pointers to the arrays and to the new results, and the constants.
    results: picks what is returned from None, the arrays, and the new results.
    """

    function: Any
    name: str
    new: list[Any]
    constants: list[Any]
    arguments: Callable[[list[Any]], tuple[Any, ...]]
    results: Callable[[list[Any]], Any]


def plan(call: Callable[[], Any], arrays: list[Any]) -> Plan:
    """What `call` asks of the library for `arrays`, and others like them.

    Raises Unrepeatable as `request` does, and if it makes no use of one of them: its contents may matter.
    """
    asked = request(call)
    function, arguments = asked.native()
    new = [argument for argument in arguments if isinstance(argument, New)]
    values = [None, *arrays, *(result.value for result in new)]
    position = {id(value): index for index, value in enumerate(values)}
    constants: list[Any] = []
    picked = []
    for argument in arguments:
        if isinstance(argument, (Array, New)):
            picked.append(position[id(argument.owner if isinstance(argument, Array) else argument.value)])
        else:
            picked.append(len(values) + len(constants))
            constants.append(argument)
    if not set(picked).issuperset(range(1, len(values))):
        raise Unrepeatable("an array is not used")
    returned = asked.returned if isinstance(asked.returned, tuple) else (asked.returned,)
    results = itemgetter(*[position[id(value)] for value in returned])
    made = [(result.make, result.pointer) for result in new]
    return Plan(function, asked.name, made, constants, itemgetter(*picked), results)

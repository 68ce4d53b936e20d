"""Fixed problems, the same in every process and on every machine."""

from collections.abc import Iterator

from . import families
from .dtypes import DTYPES, DType
from .fill import fill
from .methods import METHODS, Method
from .problem import Problem
from .strategies import EXTENTS, small

# For the general form: the place of the extent that varies, and axes with contiguous, strided and mixed S.
_GENERAL = [((), (-1,)), ((3,), (1,)), ((3,), (0,)), ((2, 3), (1, 2)), ((2, 3, 2), (0, 2)), ((2, 3, 2), (1, 3))]
# Few sets of some 10^5 elements, and many of some tens: each tensor has several MiB, so that threads may share it.
_FEW_LARGE = {"rows": 2, "size": 700_001, "samples": 3, "channels": 4, "positions": 70_001, "groups": 2,
              "outer": 3, "slices": 4, "inner": 70_001, "shape": (3, 4, 70_001), "axes": (0, 2)}
_MANY_SMALL = {"rows": 13_007, "size": 65, "samples": 61, "channels": 260, "positions": 53, "groups": 130,
               "outer": 61, "slices": 260, "inner": 53, "shape": (61, 260, 53), "axes": (2,)}


def each_extent(method: Method, length: int) -> list[dict]:
    """Sizes in which each extent of a method in turn is `length`, and the others are small."""
    names = method.prototype.names()
    if "shape" in names:
        return [{"shape": (*before, length, 3), "axes": axes} for before, axes in _GENERAL
                if all(axis < len(before) + 2 for axis in axes)]
    found = []
    for name in EXTENTS:
        if name in names:
            small_sizes = {"rows": 3, "size": 5, "samples": 3, "channels": 4, "positions": 3, "groups": 2,
                           "outer": 2, "slices": 3, "inner": 3}
            scale = 2 if name == "channels" and "groups" in names else 1
            found.append(small_sizes | {name: scale * length})
    return found


def variants(method: Method) -> list[dict]:
    """The choices that lead to different paths: both layouts, all norms, both rules for epsilon."""
    found = [{}]
    for name, values in (("layout", (1, 2)), ("norm", method.norms), ("epsilon_rule", (0, 1))):
        if name in method.prototype.names():
            found = [chosen | {name: value} for chosen in found for value in values]
    return found


def absences(method: Method) -> list[frozenset[str]]:
    """Nothing, and what a forward function may not have saved."""
    return [frozenset(), method.saved] if method.saved else [frozenset()]


def short_problems(dtype: DType, lengths: tuple[int, ...]) -> Iterator[Problem]:
    """Every method and variant with each extent of each length; families of data, saved statistics and accumulation in
    turn."""
    count = 0
    for method in typed(dtype):
        used, incoming = families.families(method, dtype), families.incoming(method)
        for length in lengths:
            for chosen in (sizes | variant for sizes in each_extent(method, length) for variant in variants(method)):
                count += 1
                absent = absences(method)[count % len(absences(method))]
                changes = chosen | {"correction": 0, "accumulate": count // 2 % 2}
                yield _filled(method, dtype, changes, used[count % len(used)], count, absent,
                              incoming[count % len(incoming)])


def large_problems(method: Method, dtype: DType, without: list[frozenset[str]]) -> Iterator[Problem]:
    """A method on tensors of several MiB: few large sets, many small ones. without: see absences()."""
    for sizes in (_FEW_LARGE, _MANY_SMALL):
        for variant in variants(method):
            for absent in without:
                yield _filled(method, dtype, sizes | variant, families.LARGE_MEAN, 7, absent)


def digest_problems() -> Iterator[Problem]:
    """What is compared between instruction sets: all dtypes, short and long."""
    for dtype in DTYPES:
        yield from short_problems(dtype, (2, 7, 16, 37, 130, 1025))
        for method in typed(dtype):
            yield from large_problems(method, dtype, absences(method)[-1:])


def typed(dtype: DType) -> list[Method]:
    """The methods that take a type."""
    return [method for method in METHODS if dtype in method.dtypes]


def _filled(method: Method, dtype: DType, changes: dict, family: families.Family, seed: int,
            absent: frozenset[str], incoming: families.Family = families.NORMAL) -> Problem:
    chosen = small(method, dtype, **changes).scalars
    return fill(method, dtype, dtype.parameters[-1], chosen, family, seed, absent, incoming)

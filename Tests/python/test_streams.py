"""Large outputs are written past the caches, in whole lines, wherever they begin: the bits are the same as when they are
not, because they do not begin where an element may."""

import numpy as np
import pytest

from support import library
from support.catalogue import variants
from support.checks import assert_same_bits
from support.dtypes import BF16, F16, F32, F64
from support.execute import execute
from support.fusing import FUSIONS, fuse, layouts
from support.header import constants
from support.memory import CANARY, Block
from support.methods import TYPED
from support.plans import FUSABLE, execute_plan, in_parts
from support.strategies import small

C = constants()
LINE = 64

# Five million elements each, of halves twice as many, which is enough on any processor: with runs of whole cache
# lines, with runs of others, and with rows of few channels, several of which are whole lines, and of which the last
# piece that threads share has three or six.
SIZES = (
    {"rows": 2400, "size": 2080, "samples": 27, "channels": 64, "positions": 2880, "groups": 8,
     "outer": 27, "slices": 64, "inner": 2880, "shape": (27, 64, 2880), "axes": (0, 2)},
    {"rows": 76_001, "size": 65, "samples": 36, "channels": 512, "positions": 265, "groups": 32,
     "outer": 36, "slices": 512, "inner": 265, "shape": (36, 512, 265), "axes": (1,)},
    {"rows": 152_025, "size": 32, "samples": 3, "channels": 40, "positions": 40_001, "groups": 4,
     "outer": 3, "slices": 40, "inner": 40_001, "shape": (3, 40_004, 40), "axes": (1,)},
)  # fmt: skip


def of_size(sizes: dict, dtype) -> dict:
    """The same with as many bytes as f32 has."""
    times = max(1, F32.numpy.itemsize // dtype.numpy.itemsize)
    first, *rest = sizes["shape"]
    larger = {name: times * sizes[name] for name in ("rows", "samples", "outer")}
    return sizes | larger | {"shape": (times * first, *rest)}


class AtLine:
    """Buffers that begin `behind` bytes behind the begin of a cache line, between canaries."""

    def __init__(self, behind: int):
        self._behind = behind

    def __call__(self, size: int) -> Block:
        around = np.full(size + 4 * LINE, CANARY, np.uint8)
        start = -around.ctypes.data % LINE + LINE + self._behind
        return Block(around[start:start + size], around)


@pytest.mark.parametrize("sizes", SIZES, ids=("lines", "others", "few"))
@pytest.mark.parametrize(
    ("method", "dtype"), [(method, dtype) for method, dtype in TYPED if dtype in (F32, BF16) and method.result], ids=str)
def test_streamed_bits(method, dtype, sizes):
    """In both layouts."""
    for chosen in variants(method):
        if chosen.get("norm", 2) == 2 and chosen.get("epsilon_rule", 0) == 0:
            problem = small(method, dtype, **of_size(sizes, dtype), **chosen, correction=0)
            stored = execute(problem, AtLine(1))
            with library.threads(2):
                assert_same_bits(execute(problem, AtLine(0)), stored, f"streamed by two threads: {problem}")
            for behind in (0, dtype.numpy.itemsize, 16):
                assert_same_bits(execute(problem, AtLine(behind)), stored, f"streamed {behind} bytes on: {problem}")


# Of plans: runs of whole lines, of them in f64 alone (and not of whole vectors then), and of others.
PLANNED_SIZES = ({"size": 1040, "channels": 64, "positions": 288}, {"size": 24, "channels": 24, "positions": 24},
                 {"size": 65, "channels": 33, "positions": 49})
PLANNED_BYTES = 19 << 20
PLANNED_CHOICES = ((FUSIONS[:3], {}), (FUSIONS, {}), (("SCALE_SHIFT_SAMPLES",), {"output_dtype": F16.code}),
                   ((), {"activation_after": C["RELU"]}), ((), {"activation_after": C["HARD_SWISH"]}))


@pytest.mark.parametrize("sizes", PLANNED_SIZES, ids=("lines", "half a vector", "others"))
@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
@pytest.mark.parametrize("method", FUSABLE, ids=str)
def test_streamed_plans(method, dtype, sizes):
    """The sum and the result, wherever they begin, in any number of parts, with the sum where one of its terms was."""
    elements = PLANNED_BYTES // dtype.numpy.itemsize
    counts = {"rows": elements // sizes["size"] // 3 * 3, "groups": 1,
              "samples": elements // (sizes["channels"] * sizes["positions"])}
    for layout in layouts(method):
        problem = small(method, dtype, **sizes, **counts, **layout)
        for fusions, choices in PLANNED_CHOICES:
            if dtype == F64 and "output_dtype" in choices:
                continue
            fused = fuse(problem, fusions, 1, rows_per_sample=counts["rows"] // 3, **choices)
            stored = execute_plan(fused, memory=AtLine(1))
            for behind in (0, dtype.numpy.itemsize, 16):
                assert_same_bits(execute_plan(fused, memory=AtLine(behind)), stored, f"{behind}, {fusions}, {fused}")
            run = execute_plan(fused, in_parts(3, lambda parts: [2, 0, 1]), 3, AtLine(0))
            assert_same_bits(run, stored, f"three parts, {fusions}, {fused}")
            if "STORE_SUM" in fusions:
                run = execute_plan(fused, memory=AtLine(0), in_place={"sum": "residual", "y": "x"})
                assert_same_bits(run, stored, f"in place, {fusions}, {fused}")

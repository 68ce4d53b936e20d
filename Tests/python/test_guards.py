"""No byte outside of a buffer is touched: every buffer against pages that can be neither read nor written."""

import pytest

from support.catalogue import each_extent, variants
from support.checks import assert_same_bits, assert_same_with_gaps
from support.dtypes import DTYPES
from support.execute import execute
from support.memory import Guarded
from support.methods import METHODS
from support.strategies import small

# Nothing to three vectors of 16 lanes, with every tail; then around blocks of several vectors.
LENGTHS = (*range(66), 95, 97, 127, 128, 129, 191, 193, 255, 257)
GUARDED = {side: Guarded(side) for side in ("begin", "end")}


@pytest.mark.parametrize("side", GUARDED)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_buffers_against_guard_pages(method, dtype, side):
    """Out of place, in place and strided; the outputs are those of buffers in ordinary memory."""
    memory = GUARDED[side]
    for length in LENGTHS:
        for number, sizes in enumerate(each_extent(method, length)):
            chosen = sizes | variants(method)[(length + number) % len(variants(method))]
            problem = small(method, dtype, **chosen, correction=0)
            if length == 0:
                if not method.result:
                    continue  # nothing but statistics, which an empty S does not have
                problem = problem.asking_for(method.result)
            wanted = execute(problem)
            for mode in ("out of place", "in place", "strided"):
                if mode == "in place" and not method.result or mode == "strided" and not method.has_strides:
                    continue
                gap = problem.view.run + 3 if mode == "strided" else 0
                placed = problem.with_scalars(x_stride=gap, y_stride=gap) if method.has_strides else problem
                memory.reset()
                run = execute(placed, memory, in_place=mode == "in place")
                if mode == "strided":
                    assert_same_with_gaps(placed, run, wanted)
                else:
                    assert_same_bits(run, wanted, f"{mode}: {placed}")

"""No byte outside of a buffer is touched: every buffer against pages that can be neither read nor written."""

import pytest

from support.catalogue import each_extent, variants
from support.checks import assert_same_bits, assert_same_with_gaps
from support.execute import execute
from support.memory import Guarded
from support.methods import TYPED
from support.strategies import small

# Nothing to three vectors of 16 lanes, with every tail; then around blocks of several vectors.
LENGTHS = (*range(66), 95, 97, 127, 128, 129, 191, 193, 255, 257)
FEWER_LENGTHS = (*range(34), 47, 49, 63, 64, 65, 127, 129, 193, 257)
GUARDED = {side: Guarded(side) for side in ("begin", "end")}


@pytest.mark.parametrize("side", GUARDED)
@pytest.mark.parametrize(("method", "dtype"), TYPED, ids=str)
def test_buffers_against_guard_pages(method, dtype, side):
    """Out of place, in place and strided; the outputs are those of buffers in ordinary memory."""
    memory = GUARDED[side]
    for length in FEWER_LENGTHS if method.is_backward else LENGTHS:
        for number, sizes in enumerate(each_extent(method, length)):
            chosen = sizes | variants(method)[(length + number) % len(variants(method))]
            problem = small(method, dtype, **chosen, correction=0, accumulate=length % 2)
            if length == 0:
                if not method.result:
                    continue  # nothing but statistics, which an empty S does not have
                problem = problem.asking_for(*method.essential)
            wanted = execute(problem)
            for place in (None, *problem.places):
                memory.reset()
                assert_same_bits(execute(problem, memory, in_place=place), wanted, f"in place, {place}: {problem}")
            if method.strides:
                strided = problem.with_scalars(**dict.fromkeys(method.strides, problem.view.run + 3))
                memory.reset()
                assert_same_with_gaps(strided, execute(strided, memory), wanted)

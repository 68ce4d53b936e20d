"""Plans: every fusion of every method, near to a reference; without fusions, the bits of the function."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, seed

from support import families
from support.checks import assert_same_bits
from support.dtypes import DTYPES, F16, F32
from support.execute import Run, execute
from support.fused import right
from support.fusing import FUSIONS, fuse, fused_problems, layouts
from support.header import constants
from support.plans import FUSABLE, PLANNED, Fused, execute_plan, operand_of
from support.strategies import problems, small

C = constants()
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_method = pytest.mark.parametrize("method", FUSABLE, ids=str)
SUBSETS = [subset for count in range(len(FUSIONS) + 1) for subset in combinations(FUSIONS, count)
           if "STORE_SUM" not in subset or {"ADD_RESIDUAL", "ADD_BIAS"} & set(subset)]
# Long rows and many of them; channels of many and of few positions: more than what is worked on at one time.
LARGE = [{"rows": 3, "size": 9001, "samples": 2, "channels": 6, "positions": 3001, "groups": 2},
         {"rows": 510, "size": 33, "samples": 3, "channels": 96, "positions": 51, "groups": 8},
         {"rows": 90, "size": 130, "samples": 2, "channels": 1030, "positions": 5, "groups": 103}]


@every_dtype
@pytest.mark.parametrize("method", PLANNED, ids=str)
def test_without_fusions_the_bits_are_those_of_the_function(method, dtype):
    @given(problems(method, dtype))
    @seed(20)
    def check(problem):
        run = execute(problem)
        named = Run(run.status, {operand_of(problem, name): found for name, found in run.outputs.items()})
        assert_same_bits(execute_plan(Fused(problem)), named, problem)

    check()


@every_dtype
@every_method
def test_every_set_of_fusions(method, dtype):
    for layout in layouts(method):
        for number, subset in enumerate(SUBSETS):
            right(fuse(small(method, dtype, **layout), subset, number, rows_per_sample=2))


@every_dtype
@every_method
def test_any_plan(method, dtype):
    @given(fused_problems(method, dtype))
    @seed(21)
    def check(fused):
        right(fused)

    check()


@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
@pytest.mark.parametrize("sizes", LARGE, ids=lambda sizes: str(sizes["size"]))
@every_method
def test_larger_than_a_block(method, sizes, dtype):
    for layout in layouts(method):
        problem = small(method, dtype, **sizes, **layout)
        right(fuse(problem, FUSIONS, 5, rows_per_sample=sizes["rows"] // 3, one_plus_sample_scale=1))
        right(fuse(problem, ("ADD_RESIDUAL_AFTER",), 6, activation_before=C["SILU"], activation_after=C["GELU"]))


@every_dtype
@pytest.mark.parametrize("family", [families.LARGE_MEAN, families.WIDE, families.TINY, families.HUGE], ids=str)
@every_method
def test_unusual_numbers(method, family, dtype):
    for layout in layouts(method):
        problem = small(method, dtype, **layout)
        data = family.draw(np.random.default_rng(8), problem.view, dtype)
        right(fuse(problem.with_inputs(x=data), FUSIONS[:3], 9, family))

"""Every function against its reference: any sizes, dtypes, strides, offsets and families of data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import families
from support.checks import assert_accurate
from support.dtypes import DTYPES, F16, F32, F64
from support.execute import execute
from support.fill import fill
from support.memory import Offset
from support.methods import METHODS, TYPED, method
from support.strategies import problems, small

every_method_and_dtype = pytest.mark.parametrize(("method", "dtype"), TYPED, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
offsets = st.builds(Offset, st.integers(0, 2**32 - 1))


@every_method_and_dtype
@given(data=st.data())
def test_accuracy(method, dtype, data):
    """Out of place, and over each input that an output may be."""
    problem = data.draw(problems(method, dtype))
    in_place = data.draw(st.sampled_from((None, *problem.places)))
    if in_place and method.strides:
        output, place = in_place
        problem = problem.with_scalars(**{f"{output}_stride": problem.stride(place)})
    assert_accurate(problem, execute(problem, data.draw(offsets), in_place=in_place))


# Sizes at which S has some 10^5 to 10^6 elements, so that sums are long, and no power of two. Backward, where the
# reference is slow, they are smaller.
LONG = {
    "layer_norm": dict(rows=2, size=300_007),
    "layer_norm_channels": dict(samples=1, channels=20_011, positions=19),
    "rms_norm": dict(rows=2, size=300_007),
    "batch_norm_training": dict(samples=9, channels=3, positions=20_011),
    "instance_norm": dict(samples=2, channels=2, positions=100_003),
    "group_norm": dict(samples=1, channels=14, groups=2, positions=30_011),
    "weight_norm": dict(outer=3, slices=2, inner=50_021),
    "normalize": dict(shape=(7, 3, 20_011), axes=(0, 2)),
    "lp_normalize": dict(shape=(7, 3, 20_011), axes=(0, 2)),
    "moments": dict(shape=(7, 3, 20_011), axes=(0, 2)),
    "layer_norm_backward": dict(rows=2, size=100_003),
    "layer_norm_channels_backward": dict(samples=1, channels=10_007, positions=19),
    "rms_norm_backward": dict(rows=2, size=100_003),
    "batch_norm_training_backward": dict(samples=9, channels=3, positions=7_001),
    "instance_norm_backward": dict(samples=2, channels=2, positions=40_009),
    "group_norm_backward": dict(samples=1, channels=14, groups=2, positions=10_007),
    "weight_norm_backward": dict(outer=3, slices=2, inner=20_011),
    "normalize_backward": dict(shape=(7, 3, 9_001), axes=(0, 2)),
    "lp_normalize_backward": dict(shape=(7, 3, 9_001), axes=(0, 2)),
    "moments_backward": dict(shape=(7, 3, 9_001), axes=(0, 2)),
    "moments_accumulate": dict(samples=9, channels=3, positions=7_001),
    "batch_norm_gradient_sums": dict(samples=9, channels=3, positions=7_001),
    "weight_penalty": dict(size=300_007),
}
LAYOUTS = [(name, layout) for name in LONG for layout in (1, 2) if layout == 1 or
           "layout" in method(name).prototype.names()]


@pytest.mark.parametrize("family", [families.NORMAL, families.LARGE_MEAN, families.CONSTANT], ids=str)
@pytest.mark.parametrize("dtype", [F32, F64, F16], ids=str)
@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_long_sets(name, layout, dtype, family):
    chosen = small(method(name), dtype, **LONG[name], layout=layout).scalars
    problem = fill(method(name), dtype, dtype, chosen, family, seed=len(name))
    assert_accurate(problem, execute(problem))


# Kept and reduced axes in turn, more often than a matrix of rows and columns could express.
INTERLEAVED = [
    ((5, 4, 3, 17), (0, 2)), ((5, 4, 3, 17), (1, 3)), ((2, 3, 4, 3, 5, 7), (1, 3, 5)), ((2, 3, 4, 3, 5, 7), (0, 2, 4)),
    ((2, 3, 2, 3, 2, 3, 2, 5), (1, 3, 5, 7)), ((2, 3, 2, 3, 2, 3, 2, 5), (-8, 2, -4, 6)), ((1, 9, 1, 33), (0, 1, 2)),
    ((3, 1, 70, 1), (2, 1)), ((6, 65), ()), ((), ()), ((257,), (0,)),
]


@every_dtype
@pytest.mark.parametrize("name", [str(m) for m in METHODS if "axes" in m.prototype.names()])
@pytest.mark.parametrize(("shape", "axes"), INTERLEAVED, ids=str)
def test_interleaved_axes(name, dtype, shape, axes):
    problem = small(method(name), dtype, shape=shape, axes=axes, correction=0)
    assert_accurate(problem, execute(problem))

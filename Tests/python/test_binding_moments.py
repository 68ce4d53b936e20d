"""Moments of data in pieces, and batch normalization that is synchronized by them."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import normkit
from support.kinds import DTYPES, KINDS, PAIRS, to_numpy
from support.layouts import CHANNEL_LAYOUTS, CHANNELS, NCHW, allocated, batch

torch = pytest.importorskip("torch")

EPSILON = 2.0**-52


def values(shape=(7, 6, 5), seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(3, 2, shape).astype(dtype)


def moments_of(x, channel_axis=1):
    return normkit.Moments(x.shape[channel_axis]).accumulate(x, channel_axis)


def rounding(dtype):
    return float(ml_dtypes.finfo(dtype).eps)


def statistics(dtype):
    """The unit of sums over elements of `dtype`."""
    return rounding(np.float64 if dtype == np.float64 else np.float32)


def check(moments, x, axes=(0, 2)):
    """Moments of x's elements: exact counts; mean and m2 to 4 units, those of the header."""
    exact, unit = x.astype(np.longdouble), statistics(x.dtype)
    mean, deviation = exact.mean(axes), exact.std(axes)
    count = x.size // len(mean)
    np.testing.assert_array_equal(moments.count, np.full(len(mean), count))
    assert (abs(moments.mean - mean) <= 4 * unit * np.maximum(abs(mean), deviation)).all()
    np.testing.assert_allclose(moments.m2, np.asarray(count * deviation**2, np.float64), rtol=4 * unit)


@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
def test_accumulate(kind, dtype):
    x = values(dtype=DTYPES[dtype])
    moments = normkit.Moments(6)
    assert moments.accumulate(KINDS[kind](x)) is moments
    check(moments, x)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    check(normkit.Moments(6).accumulate(KINDS[kind](last), channel_axis=-1), x)


@pytest.mark.parametrize("layout", CHANNEL_LAYOUTS)
def test_layouts_without_a_copy(layout):
    x = CHANNEL_LAYOUTS[layout]()
    moments = moments_of(x)
    check(moments, x, (0, 2, 3))
    check(normkit.Moments(CHANNELS).accumulate(np.moveaxis(x, 1, -1), channel_axis=-1), x, (0, 2, 3))
    assert allocated(lambda: moments.accumulate(x)) < 0.1 * x.nbytes
    torch_moments = normkit.Moments(CHANNELS).accumulate(torch.from_numpy(x.copy("K")))
    assert torch_moments == moments_of(x.copy("K"))


def test_pieces_are_the_whole():
    x = values((100, 6, 5))
    streamed = normkit.Moments(6)
    for piece in np.array_split(x, 9):
        streamed.accumulate(piece)
    streamed.accumulate(x[:0])
    check(streamed, x)
    merged = normkit.Moments(6)
    for piece in np.array_split(x, 4):
        assert merged.merge(moments_of(piece)) is merged
    check(merged, x)


def test_merging_with_none_changes_no_bit():
    moments, none = moments_of(values()), normkit.Moments(6)
    before = moments.data.copy()
    assert (moments.merge(none).data == before).all()
    assert none.merge(moments) == moments


def test_finish():
    x = values(dtype=np.float64)
    moments = moments_of(x)
    for correction, eps in ((0, 0.0), (1, 1e-5)):
        mean, var, rstd = moments.finish(correction, eps)
        np.testing.assert_allclose(mean, x.mean((0, 2)), rtol=1e-14)
        np.testing.assert_allclose(var, x.var((0, 2), ddof=correction), rtol=1e-14)
        np.testing.assert_allclose(rstd, 1 / np.sqrt(x.var((0, 2)) + eps), rtol=1e-14)
    single = moments.finish(dtype=np.float32)
    for one, other in zip(single, moments.finish(), strict=True):
        assert one.dtype == np.float32 and other.dtype == np.float64
        np.testing.assert_array_equal(one, other.astype(np.float32))
    constant = moments_of(np.full((3, 2), 7, np.float32))
    np.testing.assert_array_equal(constant.finish()[2], [0, 0])


def test_data_is_shared():
    moments = moments_of(values())
    assert moments.channels == 6
    assert moments.data.shape == (6, 3) and moments.data.dtype == np.float64 and moments.data.flags.c_contiguous
    for column, view in enumerate((moments.count, moments.mean, moments.m2)):
        np.testing.assert_array_equal(view, moments.data[:, column])
        assert np.shares_memory(view, moments.data)
    before = moments.data
    moments.accumulate(values(seed=1))
    assert moments.data is before and moments.count[0] == 70


@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack", "buffer"])
def test_from_data(kind):
    array = moments_of(values()).data.copy()
    given = KINDS[kind](array)
    moments = normkit.Moments.from_data(given)
    np.testing.assert_array_equal(moments.data, array)
    moments.accumulate(values(seed=1))
    found = to_numpy(given.tensor if kind == "dlpack" else given)
    np.testing.assert_array_equal(found, moments.data)
    assert found[0, 0] == 70


def test_pickle_copy_and_equality():
    moments = moments_of(values())
    for other in (
        pickle.loads(pickle.dumps(moments)), copy.deepcopy(moments), normkit.Moments.from_data(moments.data.copy())
    ):
        assert other == moments and other.data is not moments.data
        other.accumulate(values(seed=1))
        assert other != moments
    assert moments != normkit.Moments(5) and moments != "moments"
    with pytest.raises(TypeError, match="unhashable"):
        hash(moments)
    shown = repr(moments_of(np.array([[1, 2], [3, 6]], np.float32)))
    assert eval(shown, {"Moments": normkit.Moments, "np": np}) == moments_of(np.array([[1, 2], [3, 6]], np.float32))


def synchronized(shares, dys, weight, bias, channels=6, channel_axis=1, eps=1e-5):
    """y, dx of each share, and dweight and dbias, as several processes would form them."""
    moments = normkit.Moments(channels)
    for share in shares:
        moments.merge(normkit.Moments(channels).accumulate(share, channel_axis))
    options = {"eps": eps, "channel_axis": channel_axis}
    ys = [normkit.batch_norm_synchronized(share, moments, weight, bias, **options) for share in shares]
    pairs = list(zip(dys, shares, strict=True))
    sums = sum(normkit.batch_norm_gradient_sums(dy, share, moments, **options) for dy, share in pairs)
    dxs = [
        normkit.batch_norm_synchronized_backward(dy, share, moments, sums, weight, **options) for dy, share in pairs
    ]
    return ys, dxs, sums[:, 1], sums[:, 0]


@pytest.mark.parametrize(("kind", "dtype"), PAIRS)
@pytest.mark.parametrize("channel_axis", [1, -1])
def test_shares_are_the_whole_batch(kind, dtype, channel_axis):
    x, dy = values((9, 6, 4, 5), 0, DTYPES[dtype]), (values((9, 6, 4, 5), 1) - 3).astype(DTYPES[dtype])
    weight, bias = (np.linspace(0.5, 2, 6).astype(DTYPES[dtype]) for _ in range(2))
    leaves = [torch.from_numpy(a.astype(np.float64)).requires_grad_() for a in (x, weight, bias)]
    y = torch.nn.functional.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
    y.backward(torch.from_numpy(dy.astype(np.float64)))

    if channel_axis == -1:
        x, dy = (np.ascontiguousarray(np.moveaxis(array, 1, -1)) for array in (x, dy))
    # The second share is empty, but for buffers: a memoryview is not cast to a shape without elements.
    cuts = [0, 2, 9] if kind == "buffer" else [0, 2, 2, 9]
    shares, dys = ([KINDS[kind](a[i:j].copy()) for i, j in zip(cuts, cuts[1:])] for a in (x, dy))
    ys, dxs, dweight, dbias = synchronized(
        shares, dys, *(KINDS[kind](a) for a in (weight, bias)), channel_axis=channel_axis
    )

    # 4 units of the result, and as many of the reference, which is in f64.
    tolerance = 4 * (rounding(DTYPES[dtype]) + EPSILON)
    for parts, whole in ((ys, y.detach()), (dxs, leaves[0].grad)):
        if kind in ("numpy", "torch", "jax"):
            assert type(parts[0]) is type(shares[0])
        joined = np.concatenate([to_numpy(part) for part in parts])
        if channel_axis == -1:
            joined = np.moveaxis(joined, -1, 1)
        np.testing.assert_allclose(joined, whole, rtol=0, atol=tolerance * abs(whole).max())
    # |z| is up to 4, so that the root of the sum of squares of dy * z is at most 4 times that of dy.
    unit = statistics(DTYPES[dtype]) * np.linalg.norm(dy.astype(np.float64))
    np.testing.assert_allclose(dweight, leaves[1].grad, rtol=0, atol=16 * unit)
    np.testing.assert_allclose(dbias, leaves[2].grad, rtol=0, atol=4 * unit)


def test_one_share_is_batch_norm():
    x, dy = values((9, 6, 5)), values((9, 6, 5), 1)
    w, b = np.linspace(0.5, 2, 6, dtype=np.float32), np.linspace(-1, 1, 6, dtype=np.float32)
    (y,), (dx,), dweight, dbias = synchronized([x], [dy], w, b)
    np.testing.assert_allclose(y, normkit.batch_norm(x, None, None, w, b, training=True), rtol=1e-5, atol=1e-6)
    for found, expected in zip((dx, dweight, dbias), normkit.batch_norm_backward(dy, x, w), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", CHANNEL_LAYOUTS)
def test_synchronized_layouts_without_a_copy(layout):
    x, dy, w = CHANNEL_LAYOUTS[layout](), batch(NCHW, 1), np.linspace(0.5, 1.5, CHANNELS, dtype=np.float32)
    moments, unit = moments_of(x), 4 * statistics(np.float32)
    plain = np.ascontiguousarray(x)
    y, out = normkit.batch_norm_synchronized(x, moments, w), np.empty_like(x)
    np.testing.assert_array_equal(y, normkit.batch_norm_synchronized(plain, moments, w))
    assert normkit.batch_norm_synchronized(x, moments, w, out=out) is out
    np.testing.assert_array_equal(out, y)
    assert allocated(lambda: normkit.batch_norm_synchronized(x, moments, w, out=out)) < 0.1 * x.nbytes

    sums = normkit.batch_norm_gradient_sums(dy, plain, moments)
    # The unit of a sum is the root of the sum of squares of what is summed: dy, and dy * z with |z| up to 5.
    np.testing.assert_allclose(
        normkit.batch_norm_gradient_sums(dy, x, moments), sums, rtol=0, atol=5 * unit * np.linalg.norm(dy)
    )
    expected = normkit.batch_norm_synchronized_backward(dy, plain, moments, sums, w)
    dx = normkit.batch_norm_synchronized_backward(dy, x, moments, sums, w)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=unit * abs(expected).max())
    for place in ("dy", "x", "new"):
        alike = np.empty_like(dx)
        alike[...] = dy
        given = {"dy": alike, "x": x.copy("K")}
        given["dx"] = given.get(place, np.empty_like(dx))
        normkit.batch_norm_synchronized_backward(**given, moments=moments, sums=sums, weight=w)
        np.testing.assert_array_equal(given["dx"], dx)


X = values((4, 6, 5))
MOMENTS = moments_of(X)
SUMS = np.zeros((6, 2))
M, A, SY, GS, SB = (
    normkit.Moments, MOMENTS.accumulate, normkit.batch_norm_synchronized, normkit.batch_norm_gradient_sums,
    normkit.batch_norm_synchronized_backward,
)


def read_only(array):
    array.flags.writeable = False
    return array


def without_a_mean():
    moments = M(6)
    moments.count[:] = -1
    return moments


REFUSED = [
    (M, {"channels": -1}, ValueError, "channels is -1"),
    (M, {"channels": 2.0}, TypeError, "channels is a float"),
    (M.from_data, {"array": np.zeros((6, 3), np.float32)}, TypeError, "array has dtype float32; it must have float64"),
    (M.from_data, {"array": np.zeros(3)}, ValueError, r"array has shape \(3,\); it must have \(channels, 3\)"),
    (M.from_data, {"array": np.zeros((6, 2))}, ValueError, r"array has shape \(6, 2\); it must have \(6, 3\)"),
    (M.from_data, {"array": read_only(np.zeros((6, 3)))}, ValueError, "array is read-only"),
    (M.from_data, {"array": np.zeros((3, 6)).T}, ValueError, "array is not contiguous"),
    (A, {"x": X[:, :5]}, ValueError, "moments has 6 channels; it must have 5"),
    (A, {"x": X[0, 0]}, ValueError, r"x has shape \(5,\)"),
    (A, {"x": X, "channel_axis": 0}, ValueError, "channel_axis is 0"),
    (A, {"x": X.astype(np.int32)}, TypeError, "x has dtype int32"),
    (MOMENTS.merge, {"other": M(5)}, ValueError, "other has 5 channels; it must have 6"),
    (MOMENTS.merge, {"other": SUMS}, TypeError, "other is a ndarray; it must be a normkit.Moments"),
    (MOMENTS.merge, {"other": without_a_mean()}, normkit.NormKitError, "a count of moments is negative"),
    (MOMENTS.merge, {"other": MOMENTS}, normkit.NormKitError, "moments .* overlap"),
    (MOMENTS.finish, {"dtype": np.float16}, TypeError, "dtype is float16; it must be float32 or float64"),
    (MOMENTS.finish, {"correction": 20}, normkit.NormKitError, "correction"),
    (MOMENTS.finish, {"correction": 0.5}, TypeError, "correction is a float"),
    (MOMENTS.finish, {"eps": -1}, normkit.NormKitError, "epsilon is negative"),
    (M(6).finish, {}, normkit.NormKitError, "no elements"),
    (SY, {"x": X, "moments": M(5)}, ValueError, "moments has 5 channels; it must have 6"),
    (SY, {"x": X, "moments": MOMENTS.data}, TypeError, "moments is a ndarray"),
    (SY, {"x": X, "moments": MOMENTS, "eps": "0"}, TypeError, "eps is a str"),
    (SY, {"x": X, "moments": MOMENTS, "weight": SUMS[:, 0]}, TypeError, "weight has dtype float64"),
    (GS, {"dy": X[:3], "x": X, "moments": MOMENTS}, ValueError, r"dy has shape \(3, 6, 5\)"),
    (GS, {"dy": X, "x": X, "moments": None}, TypeError, "moments is a NoneType"),
    (SB, {"dy": X, "x": X, "moments": MOMENTS, "sums": SUMS[:5]}, ValueError, r"sums has shape \(5, 2\)"),
    (SB, {"dy": X, "x": X, "moments": MOMENTS, "sums": SUMS.astype(np.float32)}, TypeError, "sums has dtype float32"),
    (SB, {"dy": X, "x": X, "moments": MOMENTS, "sums": SUMS, "dx": np.zeros((4, 6, 5))}, TypeError,
     "dx has dtype float64"),
]


@pytest.mark.parametrize(("function", "arguments", "exception", "message"), REFUSED)
def test_refused(function, arguments, exception, message):
    before = X.tobytes(), MOMENTS.data.tobytes(), SUMS.tobytes()
    with pytest.raises(exception, match=message) as caught:
        function(**arguments)
    assert caught.type is exception
    assert (X.tobytes(), MOMENTS.data.tobytes(), SUMS.tobytes()) == before

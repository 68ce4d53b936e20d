"""Memory layouts of backward functions: x, dy and dx alike without a copy, dy otherwise with one."""

import numpy as np
import pytest

import normkit
from support.layouts import CHANNEL_LAYOUTS, CHANNELS, ELEMENTS, NCHW, ROW_LAYOUTS, UNFIT, allocated, batch

torch = pytest.importorskip("torch")

W = np.linspace(0.5, 1.5, CHANNELS, dtype=np.float32)
CHANNEL_CALLS = {
    "batch_norm": lambda dy, x, **o: normkit.batch_norm_backward(dy, x, W, **o),
    "batch_norm frozen": lambda dy, x, **o: normkit.batch_norm_backward(
        dy, x, W, running_mean=W, running_var=W, training=False, **o
    ),
    "instance_norm": lambda dy, x, **o: normkit.instance_norm_backward(dy, x, W, **o),
    "group_norm": lambda dy, x, **o: normkit.group_norm_backward(dy, x, 4, W, **o),
    "layer_norm": lambda dy, x, channel_axis=1, **o: normkit.layer_norm_backward(
        dy, x, W, channel_axis=channel_axis, **o
    ),
}
ROW_CALLS = {"layer_norm": normkit.layer_norm_backward, "rms_norm": normkit.rms_norm_backward}


def like(x, seed=1):
    """Other values that lie in memory as `x` does."""
    storage = x
    while isinstance(storage.base, np.ndarray):
        storage = storage.base
    other = np.random.default_rng(seed).normal(0, 1, storage.shape).astype(np.float32)
    offset = x.__array_interface__["data"][0] - storage.__array_interface__["data"][0]
    return np.ndarray(x.shape, x.dtype, other.data, offset, x.strides)


def check_equal(found, expected):
    """The same up to a few last bits: other layouts may sum in another order."""
    for one, other in zip(found, expected, strict=True):
        unit = 2.0**-23 * abs(np.asarray(other)).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=16 * unit)


@pytest.mark.parametrize("layout", CHANNEL_LAYOUTS)
@pytest.mark.parametrize("name", CHANNEL_CALLS)
def test_channel_layouts_without_a_copy(layout, name):
    call, x = CHANNEL_CALLS[name], CHANNEL_LAYOUTS[layout]()
    dy = like(x)
    expected = call(np.ascontiguousarray(dy), np.ascontiguousarray(x))
    gradients = call(dy, x)
    check_equal(gradients, expected)
    assert allocated(lambda: call(dy, x)) < 1.5 * 4 * ELEMENTS
    dx = gradients[0].copy("K")
    assert allocated(lambda: call(dy, x, dx=dx)) < 0.5 * 4 * ELEMENTS
    np.testing.assert_array_equal(dx, gradients[0])
    # The same memory with its axes in the other order.
    moved = [np.moveaxis(array, 1, -1) for array in (dy, x)]
    dx, *others = call(*moved, channel_axis=-1)
    assert dx.strides == np.moveaxis(gradients[0], 1, -1).strides
    check_equal((np.moveaxis(dx, -1, 1), *others), gradients)
    assert allocated(lambda: call(*moved, channel_axis=-1)) < 1.5 * 4 * ELEMENTS


@pytest.mark.parametrize("name", CHANNEL_CALLS)
def test_dy_in_another_layout_is_copied_once(name):
    call, x = CHANNEL_CALLS[name], CHANNEL_LAYOUTS["channels last"]()
    dy = batch(NCHW, seed=1)
    expected = call(like(x) * 0 + dy, x)
    dx, *others = call(dy, x)
    assert dx.strides == x.strides
    for found, other in zip((dx, *others), expected, strict=True):
        np.testing.assert_array_equal(found, other)
    assert x.nbytes <= allocated(lambda: call(dy, x, dx=dx)) < 1.5 * x.nbytes
    np.testing.assert_array_equal(dx, expected[0])
    # A dx that lies as dy does: x is copied.
    call(dy, x, dx=dy)
    check_equal([dy], [expected[0]])


@pytest.mark.parametrize("name", CHANNEL_CALLS)
def test_torch_memory_format_is_kept(name):
    x, dy = (torch.from_numpy(batch(NCHW, seed)).contiguous(memory_format=torch.channels_last) for seed in (0, 1))
    dx = CHANNEL_CALLS[name](dy, x)[0]
    assert dx.is_contiguous(memory_format=torch.channels_last) and dx.shape == x.shape
    assert torch.equal(dx, CHANNEL_CALLS[name](dy.contiguous(), x)[0])


@pytest.mark.parametrize("layout", ROW_LAYOUTS)
@pytest.mark.parametrize("name", ROW_CALLS)
def test_row_layouts_without_a_copy(layout, name):
    call, x = ROW_CALLS[name], ROW_LAYOUTS[layout]()
    dy = like(x)
    expected = call(np.ascontiguousarray(dy), np.ascontiguousarray(x))
    gradients = call(dy, x)
    check_equal(gradients, expected)
    assert allocated(lambda: call(dy, x)) < 1.5 * x.nbytes
    assert allocated(lambda: call(dy, x, dx=gradients[0])) < 0.5 * x.nbytes

    for place in (dy, x):
        storage = place.base
        original, before = place.copy(), storage.copy()
        call(dy, x, dx=place)
        np.testing.assert_array_equal(place, gradients[0])
        place[...] = original
        np.testing.assert_array_equal(storage, before)  # the gaps between the rows are as they were


@pytest.mark.parametrize("layout", ROW_LAYOUTS)
def test_saved_statistics_follow_the_rows(layout):
    """As they were returned, and in an array that lies otherwise in memory."""
    x = ROW_LAYOUTS[layout]()
    dy, stats = like(x), normkit.layer_norm(x, return_stats=True)[1:]
    expected = normkit.layer_norm_backward(dy, x)
    check_equal(normkit.layer_norm_backward(dy, x, stats=stats), expected)
    check_equal(normkit.layer_norm_backward(dy, x, stats=[one.copy("C") for one in stats]), expected)
    check_equal(normkit.layer_norm_backward(dy, x, stats=[one.copy("F") for one in stats]), expected)


DENSE_CALLS = {
    "normalize": lambda dy, x, **o: (normkit.normalize_backward(dy, x, (0, 2), **o),),
    "normalize l2": lambda dy, x, **o: (normkit.normalize_backward(dy, x, 1, p=2, **o),),
    "scale_shift": lambda dy, x, **o: normkit.scale_shift_backward(
        dy, x, np.arange(x.shape[1], dtype=np.float32), **o
    ),
    "weight_norm": lambda dy, x, **o: normkit.weight_norm_backward(dy, x, None, 1, **o),
}


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("name", DENSE_CALLS)
def test_any_order_of_axes_without_a_copy(name, order):
    call, x = DENSE_CALLS[name], batch((30, 40, 50)).transpose(order)
    dy = like(x)
    gradients = call(dy, x)
    check_equal(gradients, call(np.ascontiguousarray(dy), np.ascontiguousarray(x)))
    assert gradients[0].strides == x.strides
    out = {"dv" if name == "weight_norm" else "dx": gradients[0]}
    assert allocated(lambda: call(dy, x, **out)) < 0.5 * x.nbytes
    if order != (0, 1, 2):
        dy = np.ascontiguousarray(dy)
        assert x.nbytes <= allocated(lambda: call(dy, x, **out)) < 1.5 * x.nbytes


def test_moments_of_a_transposed_array():
    x = batch((3, 4, 5, 6)).transpose(2, 0, 3, 1)
    dmean, dvar = np.random.default_rng(1).normal(size=(2, 5, 6, 4)).astype(np.float32)
    dx = normkit.moments_backward(dmean, dvar, x, 1)
    assert dx.strides == x.strides
    check_equal([dx], [normkit.moments_backward(dmean, dvar, np.ascontiguousarray(x), 1)])


@pytest.mark.parametrize("layout", UNFIT)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "normalize l2", "scale_shift", "weight_norm"])
def test_other_layouts_are_copied_once(layout, name):
    call = {**ROW_CALLS, **DENSE_CALLS}[name]
    unfit, fit = UNFIT[layout](), batch((100, 128), seed=1)
    copy, out = np.ascontiguousarray(unfit), {"dv" if name == "weight_norm" else "dx": np.empty_like(fit)}
    for found, expected in zip(call(unfit, fit), call(copy, fit), strict=True):
        np.testing.assert_array_equal(found, expected)
    check_equal(call(fit, unfit), call(fit, copy))
    for arguments in ((unfit, fit), (fit, unfit)):
        assert fit.nbytes <= allocated(lambda: call(*arguments, **out)) < 1.5 * fit.nbytes


@pytest.mark.parametrize("name", CHANNEL_CALLS)
def test_expanded_dy(name):
    """The gradient of a sum is one number, expanded."""
    call, x = CHANNEL_CALLS[name], torch.from_numpy(batch(NCHW))
    dy = torch.tensor(0.5).expand(NCHW)
    assert set(dy.stride()) == {0}
    for found, expected in zip(call(dy, x), call(dy.contiguous(), x), strict=True):
        assert torch.equal(found, expected)


def test_dx_that_does_not_fit():
    x = batch((4, 6, 5))
    for dx in (np.zeros((4, 6, 10), np.float32)[..., ::2], np.zeros((4, 6, 5), np.float32)[::-1]):
        with pytest.raises(ValueError, match="dx is not contiguous"):
            normkit.layer_norm_backward(x, x, dx=dx)
        assert (dx == 0).all()


def test_strided_weight():
    x, dy, w = batch((5, 8)), batch((5, 8), seed=1), batch((8, 2))[:, 0]
    for function in (normkit.layer_norm_backward, normkit.rms_norm_backward, normkit.scale_shift_backward):
        for found, expected in zip(function(dy, x, w), function(dy, x, w.copy()), strict=True):
            np.testing.assert_array_equal(found, expected)

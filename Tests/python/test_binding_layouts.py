"""Memory layouts: which are taken without a copy, and that results lie in memory as their input does."""

import numpy as np
import pytest

import normkit
from support.layouts import (
    CHANNEL_LAYOUTS, CHANNELS, ELEMENTS, HEIGHT, NCHW, ROW_LAYOUTS, SAMPLES, UNFIT, WIDTH, allocated, batch,
)

torch = pytest.importorskip("torch")

CHANNEL_CALLS = {
    "batch_norm": lambda x, **o: normkit.batch_norm(x, None, None, training=True, **o),
    "batch_norm inference": lambda x, **o: normkit.batch_norm(x, *np.ones((2, CHANNELS), np.float32), **o),
    "instance_norm": normkit.instance_norm,
    "group_norm": lambda x, **o: normkit.group_norm(x, 4, **o),
    "layer_norm": lambda x, channel_axis=1, **o: normkit.layer_norm(x, channel_axis=channel_axis, **o),
}


@pytest.mark.parametrize("layout", CHANNEL_LAYOUTS)
@pytest.mark.parametrize("name", CHANNEL_CALLS)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_channel_layouts_without_a_copy(layout, name, kind):
    call, x = CHANNEL_CALLS[name], CHANNEL_LAYOUTS[layout]()
    expected = call(np.ascontiguousarray(x))
    if kind == "torch":
        if not x.flags.writeable:
            x = x.copy()
        x = torch.from_numpy(x)
    y = call(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)

    assert allocated(lambda: call(x)) < (1.5 if kind == "numpy" else 0.5) * 4 * ELEMENTS
    out = y.clone() if kind == "torch" else y.copy("K")
    assert allocated(lambda: call(x, out=out)) < 0.5 * 4 * ELEMENTS
    np.testing.assert_array_equal(out, y)
    # The same memory with its axes in the other order.
    moved, y_moved = ((np.moveaxis(a, 1, -1) if kind == "numpy" else a.movedim(1, -1)) for a in (x, y))
    np.testing.assert_array_equal(call(moved, channel_axis=-1), y_moved)
    assert allocated(lambda: call(moved, channel_axis=-1)) < (1.5 if kind == "numpy" else 0.5) * 4 * ELEMENTS


@pytest.mark.parametrize("name", CHANNEL_CALLS)
def test_torch_memory_format_is_kept(name):
    x = torch.from_numpy(batch(NCHW)).contiguous(memory_format=torch.channels_last)
    y = CHANNEL_CALLS[name](x)
    assert y.is_contiguous(memory_format=torch.channels_last) and y.shape == x.shape
    for other in (normkit.scale_shift(x), normkit.weight_norm(x), normkit.normalize(x, (2, 3))):
        assert other.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", ROW_LAYOUTS)
@pytest.mark.parametrize("function", [normkit.layer_norm, normkit.rms_norm])
def test_row_layouts_without_a_copy(layout, function):
    x = ROW_LAYOUTS[layout]()
    assert not x.flags.c_contiguous
    expected = function(np.ascontiguousarray(x), return_stats=True)
    y, *statistics = function(x, return_stats=True)
    for found, wanted in zip((y, *statistics), expected, strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted)
    assert allocated(lambda: function(x)) < 1.5 * x.nbytes
    assert allocated(lambda: function(x, out=y)) < 0.5 * x.nbytes

    storage = x.base
    original, before = x.copy(), storage.copy()
    function(x, out=x)
    np.testing.assert_array_equal(x, expected[0])
    x[...] = original
    np.testing.assert_array_equal(storage, before)  # the gaps between the rows are as they were


def test_layer_norm_over_a_last_axis_that_is_strided():
    """[N, C, L] seen as [N, L, C], as a permutation before a layer normalization leaves it."""
    x = batch((8, 64, 100)).transpose(0, 2, 1)
    y = normkit.layer_norm(x)
    assert y.strides == x.strides and allocated(lambda: normkit.layer_norm(x, out=y)) < 0.5 * x.nbytes
    np.testing.assert_allclose(y, normkit.layer_norm(np.ascontiguousarray(x)), rtol=1e-5, atol=1e-5)


DENSE_CALLS = {
    "normalize": lambda x, **o: normkit.normalize(x, (0, 2), **o),
    "normalize l2": lambda x, **o: normkit.normalize(x, 1, p=2, **o),
    "scale_shift": lambda x, **o: normkit.scale_shift(x, np.arange(x.shape[1], dtype=np.float32), **o),
    "weight_norm": lambda x, **o: normkit.weight_norm(x, dim=1, **o),
    "moments": lambda x, **o: normkit.moments(x, (0, 2)),
}


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("name", DENSE_CALLS)
def test_any_order_of_axes_without_a_copy(name, order):
    call, x = DENSE_CALLS[name], batch((30, 40, 50)).transpose(order)
    found, expected = call(x), call(np.ascontiguousarray(x))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if name != "moments":
        assert found.strides == x.strides
        assert allocated(lambda: call(x, out=found)) < 0.5 * x.nbytes
    else:
        assert allocated(lambda: call(x)) < 0.5 * x.nbytes


def test_statistics_of_a_transposed_array_follow_its_axes():
    x = batch((3, 4, 5, 6)).transpose(2, 0, 3, 1)
    for found, expected in zip(normkit.moments(x, 1), normkit.moments(np.ascontiguousarray(x), 1)):
        assert found.shape == (5, 6, 4)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("layout", UNFIT)
@pytest.mark.parametrize("call", [normkit.layer_norm, normkit.rms_norm, normkit.normalize, normkit.scale_shift])
def test_other_layouts_are_copied_once(layout, call):
    x = UNFIT[layout]()
    out = np.empty(x.shape, np.float32)
    call(x, out=out)
    np.testing.assert_array_equal(out, call(np.ascontiguousarray(x)))
    size = out.nbytes
    assert size <= allocated(lambda: call(x, out=out)) < 1.5 * size


def test_out_in_another_layout_costs_one_copy():
    x = batch(NCHW)
    out = np.empty((SAMPLES, HEIGHT, WIDTH, CHANNELS), np.float32).transpose(0, 3, 1, 2)
    for call in CHANNEL_CALLS.values():
        call(x, out=out)
        np.testing.assert_allclose(out, call(x), rtol=1e-5, atol=1e-5)
        assert x.nbytes <= allocated(lambda call=call: call(x, out=out)) < 1.5 * x.nbytes


def test_address_that_is_not_aligned():
    storage = np.zeros(4 * 64 + 1, np.uint8)
    x = storage[1:].view(np.float32)
    x[:] = batch(64)
    np.testing.assert_array_equal(normkit.layer_norm(x), normkit.layer_norm(x.copy()))


def test_strided_parameters():
    x, w = batch((5, 8)), batch((8, 2))[:, 0]
    for function in (normkit.layer_norm, normkit.rms_norm, normkit.scale_shift):
        np.testing.assert_array_equal(function(x, w, w[::-1]), function(x, w.copy(), w[::-1].copy()))

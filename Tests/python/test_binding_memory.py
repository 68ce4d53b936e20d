"""Whose memory it is: DLPack producers are held during the call and released after it."""

import gc
import sys
import weakref

import numpy as np
import pytest

import normkit

torch = pytest.importorskip("torch")


class Producer:
    """A DLPack producer that counts its capsules: `versioned` ones, or those from before DLPack 1.0."""

    def __init__(self, array, versioned):
        self.array = array
        self.versioned = versioned

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        if not self.versioned and options:
            raise TypeError("unexpected keyword argument")
        return self.array.__dlpack__(**options)


@pytest.mark.parametrize("versioned", [False, True])
def test_memory_is_released_after_the_call(versioned):
    array = np.ones((3, 4), np.float32)
    before, alive = sys.getrefcount(array), weakref.ref(array)
    producer = Producer(array, versioned)
    held = sys.getrefcount(array)
    for _ in range(100):
        normkit.layer_norm(producer, producer.array[0])
        normkit.layer_norm_backward(producer, producer, producer.array[0])
        normkit.Moments(4).accumulate(producer)
    with pytest.raises(normkit.NormKitError):
        normkit.layer_norm(producer, eps=-1)
    gc.collect()
    assert sys.getrefcount(array) == held == before + 1
    del array, producer
    gc.collect()
    assert alive() is None


def test_capsule_is_not_consumed():
    """Its destructor has to release the memory, so its name stays."""
    array = np.ones(4, np.float32)
    capsule = array.__dlpack__(max_version=(1, 1))

    class Once:
        __dlpack_device__ = array.__dlpack_device__

        def __dlpack__(self, **_):
            return capsule

    normkit.layer_norm(Once())
    assert '"dltensor_versioned"' in repr(capsule)


def test_out_must_say_that_it_may_be_written():
    """A capsule from before DLPack 1.0 cannot say so, and JAX arrays, which never change, still come as one."""
    x, out = np.ones((3, 4), np.float32), np.full((3, 4), 7, np.float32)
    with pytest.raises(ValueError, match="out is read-only"):
        normkit.layer_norm(x, out=Producer(out, versioned=False))
    assert (out == 7).all()
    normkit.layer_norm(x, out=Producer(out, versioned=True))
    assert (out == 0).all()
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        normkit.layer_norm(x, out=Producer(out, versioned=True))


def test_strides_and_offset_of_a_producer():
    tensor = torch.arange(48, dtype=torch.bfloat16).reshape(6, 8)
    view = tensor[1::2, 2:6]
    found = normkit.layer_norm(Producer(view, versioned=True))
    np.testing.assert_array_equal(found.astype(np.float32), normkit.layer_norm(view.contiguous()).float())


@pytest.mark.parametrize(("device", "message"), [(2, "x is on device 2"), (8, "x is on device 8")])
def test_memory_of_another_device(device, message):
    class Elsewhere:
        def __dlpack_device__(self):
            return device, 0

        def __dlpack__(self, **_):
            raise AssertionError("the capsule was asked for")

    with pytest.raises(TypeError, match=message):
        normkit.layer_norm(Elsewhere())


def test_dlpack_of_other_types():
    with pytest.raises(TypeError, match="x has DLPack type code 0 with 64 bits.*bfloat16"):
        normkit.layer_norm(Producer(np.ones(3, np.int64), versioned=True))


def test_jax_result_that_is_still_being_computed():
    jax = pytest.importorskip("jax")
    x = jax.numpy.ones((1000, 1000))
    for _ in range(5):
        x = jax.jit(lambda x: x @ x / 1000 + jax.numpy.arange(1000.0))(x)
        np.testing.assert_array_equal(normkit.layer_norm(x), normkit.layer_norm(np.asarray(x)))


def test_buffer_can_be_resized_after_the_call():
    storage = bytearray(np.ones(8, np.float32).tobytes())
    view = memoryview(storage).cast("f")
    normkit.layer_norm(view, out=view)
    assert storage == bytes(32)
    view.release()
    gc.collect()
    storage.extend(b"more")


def test_new_results_own_their_memory():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    y = normkit.layer_norm(x)
    expected = y.copy()
    x[...] = 0
    del x
    gc.collect()
    np.testing.assert_array_equal(y, expected)


def test_memory_does_not_grow():
    import resource

    x = torch.randn(64, 512, 16).transpose(1, 2)
    def calls(count):
        for _ in range(count):
            normkit.layer_norm(x, return_stats=True)
            normkit.group_norm(Producer(x, True), 4)
            normkit.layer_norm_backward(x, x)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = calls(20)
    assert calls(200) - before < 20_000  # KiB; one leaked result a call would be 400,000

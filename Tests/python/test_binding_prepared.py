"""Calls that are prepared once and repeated: the same bits as the direct call, in memory that is held."""

import gc
import threading
import timeit
import weakref

import numpy as np
import pytest

import normkit
import normkit.torch
from support.calls import CALLS, bits, every_array
from support.kinds import DTYPES, KINDS, PAIRS

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
ROW = np.ones(8, np.float32)


def results(returned):
    return returned if isinstance(returned, tuple) else (returned,)


def memory(arguments):
    return [bits(one) for value in arguments.values() for one in results(value)]


@pytest.mark.parametrize(("kind", "dtype"), [(kind, dtype) for kind, dtype in PAIRS if kind != "jax"])
@pytest.mark.parametrize("name", CALLS)
def test_same_as_the_direct_call(name, kind, dtype):
    """Also where the arrays hold something else by then, and run after run."""
    call = CALLS[name]
    mine = call.arrays(DTYPES[dtype])
    prepared = {name: every_array(value, KINDS[kind]) for name, value in mine.items()}
    before = memory(prepared)
    run = normkit.prepare(call.function, **prepared, **call.choices)
    assert memory(prepared) == before
    direct = {name: every_array(value, KINDS[kind]) for name, value in call.arrays(DTYPES[dtype]).items()}
    for seed in range(3):
        for arguments in (prepared, direct):
            for value, contents in zip(arguments.values(), call.arrays(DTYPES[dtype], seed).values()):
                for one, new in zip(results(value), results(contents)):
                    fill(one, new)
        for _ in range(2):
            found, wanted = run(), call.function(**direct, **call.choices)
            given = iter(prepared[argument] for argument in call.outputs)
            assert type(found) is type(wanted)
            for one, other in zip(results(found), results(wanted)):
                assert (one is None) == (other is None)
                assert one is None or one is next(given)
            assert memory(prepared) == memory(direct)


def fill(array, values):
    """Put the NumPy array `values` into an array of any kind."""
    raw = np.frombuffer(values.tobytes(), np.uint8)
    if isinstance(array, (np.ndarray, memoryview)):
        np.asarray(array).view(np.uint8).reshape(-1)[...] = raw
    else:
        tensor = getattr(array, "tensor", array)
        tensor.view(torch.uint8).reshape(-1).copy_(torch.from_numpy(raw.copy()))


def test_running_statistics_are_updated_by_each_run():
    mean, var = np.zeros(8, np.float32), np.ones(8, np.float32)
    run = normkit.prepare(normkit.batch_norm, X, mean, var, training=True, momentum=0.5, out=np.empty_like(X))
    assert not mean.any()
    for runs in range(1, 4):
        run()
        np.testing.assert_allclose(mean, X.mean(0) * (1 - 0.5**runs), rtol=1e-5)


def test_statistics_of_several_processes():
    moments = normkit.Moments(8).accumulate(X)
    out = np.empty_like(X)
    run = normkit.prepare(normkit.batch_norm_synchronized, X, moments, out=out)
    assert (run() == normkit.batch_norm_synchronized(X, moments)).all()
    moments.accumulate(X + 1)
    assert (run() == normkit.batch_norm_synchronized(X, moments)).all()


def test_in_place_and_strided():
    wide = np.zeros((3, 16), np.float32)
    wide[:, 4:12] = X
    normkit.prepare(normkit.layer_norm, wide[:, 4:12], out=wide[:, 4:12])()
    assert (wide[:, 4:12] == normkit.layer_norm(X)).all() and not wide[:, :4].any() and not wide[:, 12:].any()
    images = torch.randn(2, 8, 3, 3).to(memory_format=torch.channels_last)
    out = torch.empty_like(images)
    assert torch.equal(normkit.prepare(normkit.group_norm, images, 2, out=out)(), normkit.group_norm(images, 2))


def test_inputs_may_be_read_only():
    x = X.copy()
    x.flags.writeable = False
    run = normkit.prepare(normkit.layer_norm, x, out=np.empty_like(x))
    assert (run() == normkit.layer_norm(X)).all()


@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack", "buffer"])
def test_memory_is_held_as_long_as_the_call_is(kind):
    values, out = X.copy(), np.empty_like(X)
    x = KINDS[kind](values)
    owner = x.tensor if kind == "dlpack" else x
    alive = weakref.ref(owner)
    run = normkit.prepare(normkit.layer_norm, x, out=out)
    del values, x, owner
    gc.collect()
    garbage = [np.full_like(X, 7) for _ in range(100)]
    assert (run() == normkit.layer_norm(X)).all() and len(garbage) == 100
    del run
    gc.collect()
    assert alive() is None


def test_arrays_cannot_be_resized():
    x, out = X.copy(), np.empty_like(X)
    run = normkit.prepare(normkit.layer_norm, x, out=out)
    for options in ({}, {"refcheck": False}):
        with pytest.raises(ValueError, match="cannot resize"):
            x.resize((1000, 8), **options)
    assert (run() == normkit.layer_norm(X)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_cannot_be_resized(dtype):
    x, out = torch.from_numpy(X).to(dtype, copy=True), torch.empty(X.shape, dtype=dtype)
    expected = normkit.layer_norm(x)
    run = normkit.prepare(normkit.layer_norm, x, out=out)
    for tensor in (x, out):
        with pytest.raises(RuntimeError, match="not resizable"):
            tensor.untyped_storage().resize_(100_000)
    x.data = torch.zeros(3, 8, dtype=dtype)  # it is the memory that is bound, which nobody else holds now
    gc.collect()
    assert torch.equal(run(), expected)


def test_buffers_cannot_be_resized():
    storage = bytearray(X.tobytes())
    run = normkit.prepare(normkit.layer_norm, memoryview(storage).cast("f", X.shape), out=np.empty_like(X))
    with pytest.raises(BufferError):
        storage.extend(b"more")
    assert (run() == normkit.layer_norm(X)).all()
    del run
    gc.collect()
    storage.extend(b"more")


READ_ONLY = X.copy()
READ_ONLY.flags.writeable = False
STATISTICS = {"running_mean": np.zeros(6, np.float32), "running_var": np.ones(6, np.float32)}
FOLDING = {"bias": None, "running_mean": np.zeros(3, np.float32), "running_var": np.ones(3, np.float32)}
IMAGES = np.ones((2, 6, 4), np.float32)
DX = {"dy": X, "x": X, "dx": X.copy()}
OTHER = "cannot be prepared"
NOT_ALL = "one call of the library is not all"
GAPS = np.ones(16, np.float32)[::2]

REFUSED = [
    # results without an array
    (normkit.layer_norm, {"x": X}, ValueError, "a result has no array"),
    (normkit.layer_norm, {"x": X, "out": X.copy(), "return_stats": True}, ValueError, "a result has no array"),
    (normkit.layer_norm_backward, {**DX, "dbias": ROW}, ValueError, "a result has no array"),
    (normkit.moments, {"x": X}, ValueError, "a result has no array"),
    (normkit.fold_batch_norm, {"weight": X, **FOLDING}, ValueError, "a result has no array"),
    # more than one call of the library
    (normkit.instance_norm, {"x": IMAGES, "out": IMAGES.copy(), **STATISTICS}, ValueError, NOT_ALL),
    (normkit.weight_penalty, {"w": X, "strength": 1, "dw": X.copy()}, ValueError, NOT_ALL),
    # copies
    (normkit.layer_norm, {"x": X[:, ::2], "out": X[:, :4].copy()}, ValueError, "x does not lie .* copied"),
    (normkit.layer_norm, {"x": X, "weight": GAPS, "out": X.copy()}, ValueError, "weight does"),
    (normkit.layer_norm_backward, {**DX, "dy": X[::-1], "output_mask": (1, 0, 0)}, ValueError, "dy does"),
    # what the function itself refuses
    (normkit.layer_norm, {"x": X, "out": READ_ONLY}, ValueError, "out is read-only"),
    (normkit.layer_norm, {"x": X, "out": X[:2].copy()}, ValueError, r"out has shape \(2, 8\)"),
    (normkit.layer_norm, {"x": X, "out": X.copy(), "eps": "1"}, TypeError, "eps is a str"),
    (normkit.layer_norm, {"y": X}, TypeError, "y"),
    # other functions
    (normkit.batch_norm_gradient_sums, {"dy": X, "x": X, "moments": normkit.Moments(8)}, TypeError, OTHER),
    (normkit.torch.layer_norm, {"input": torch.ones(3, 8), "normalized_shape": 8}, TypeError, OTHER),
    (np.add, {}, TypeError, OTHER),
]


@pytest.mark.parametrize(("function", "arguments", "exception", "message"), REFUSED)
def test_refused(function, arguments, exception, message):
    before = [value.tobytes() for value in arguments.values() if isinstance(value, np.ndarray)]
    with pytest.raises(exception, match=message) as caught:
        normkit.prepare(function, **arguments)
    assert caught.type is exception
    assert [value.tobytes() for value in arguments.values() if isinstance(value, np.ndarray)] == before
    # Calls are made again, and not looked at.
    assert (normkit.layer_norm(np.ones((1, 3), np.float32)) == 0).all()


def test_statuses_are_raised_by_the_run():
    memory = np.arange(32, dtype=np.float32).reshape(4, 8)
    before = memory.tobytes()
    run = normkit.prepare(normkit.layer_norm, memory[:3], out=memory[1:])
    for _ in range(2):
        with pytest.raises(normkit.NormKitError, match="overlap") as caught:
            run()
        assert caught.value.function == "normkit_layer_norm"
        assert caught.value.status == normkit.Status.ERROR_Y_OVERLAP
    assert memory.tobytes() == before


def test_one_run_for_each_of_several_threads():
    inputs = [np.random.default_rng(seed).normal(size=(64, 32)) for seed in range(4)]
    outputs = [np.empty_like(x) for x in inputs]

    def work(x, out):
        run = normkit.prepare(normkit.layer_norm, x, out=out)
        for _ in range(2000):
            run()

    threads = [threading.Thread(target=work, args=pair) for pair in zip(inputs, outputs)]
    for thread in threads:
        thread.start()
    for _ in range(100):  # in the meantime, calls of this thread are not mistaken for those that are prepared
        assert normkit.layer_norm(X).any()
    for thread in threads:
        thread.join()
    for x, out in zip(inputs, outputs):
        assert (out == normkit.layer_norm(x)).all()


def test_cost():
    """Under half of the direct call's, on one row of 64. The two take turns: both meet the same machine."""
    x, y = np.ones((2, 1, 64), np.float32)
    prepared = timeit.Timer(normkit.prepare(normkit.layer_norm, x, out=y))
    direct = timeit.Timer(lambda: normkit.layer_norm(x, out=y))
    best = [float("inf")] * 2
    for _ in range(300):
        best = [min(best[0], prepared.timeit(200)), min(best[1], direct.timeit(200))]
    assert best[0] < 0.5 * best[1]

"""Calls that are like earlier ones take a short way; that must not be seen in anything but the time."""

import gc
import inspect
import pickle
import warnings
import weakref

import numpy as np
import pytest

import normkit
from support.calls import CALLS, LAYOUTS, SHAPE, bits, every_array
from support.kinds import DTYPES, KINDS

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
TIMES = 4  # at the third the short way is taken


def the_long_way(function, *args, **kwargs):
    return function.__wrapped__(*args, **kwargs)


def results(returned):
    return returned if isinstance(returned, tuple) else (returned,)


def strides(array):
    return array.strides if isinstance(array, np.ndarray) else array.stride()


def assert_the_same(found, wanted):
    assert type(found) is type(wanted)
    for one, other in zip(results(found), results(wanted)):
        assert (one is None) == (other is None)
        if one is not None:
            assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
            assert bits(one) == bits(other)
            assert strides(one) == strides(other)


def called(call, arrays, outputs):
    """What the function returns for `arrays()`, by both ways, and what became of the arrays."""
    ways = []
    for function in (call.function, call.function.__wrapped__):
        own = {name: value for name, value in arrays().items() if outputs or name in call.inputs}
        returned = function(**own, **call.choices)
        if outputs:
            given = [own[name] for name in call.outputs]
            assert all(one is out for one, out in zip((r for r in results(returned) if r is not None), given))
        ways.append((returned, [bits(one) for value in own.values() for one in results(value)]))
    return ways


@pytest.mark.parametrize("outputs", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", CALLS)
def test_same_as_the_long_way(name, kind, dtype, layout, outputs):
    call = CALLS[name]
    if not outputs and call.choices.get("accumulate"):
        pytest.skip("needs something to add to")
    for seed in range(TIMES):

        def arrays():
            made = call.arrays(DTYPES[dtype], seed)
            for name, shape in call.inputs.items():
                if shape == SHAPE:
                    made[name] = LAYOUTS[layout](made[name])
            return {name: every_array(value, KINDS[kind]) for name, value in made.items()}

        (found, after), (wanted, wanted_after) = called(call, arrays, outputs)
        assert_the_same(found, wanted)
        assert after == wanted_after


def test_statistics_that_are_returned():
    for seed in range(TIMES):
        x = np.random.default_rng(seed).normal(size=(3, 8))
        assert_the_same(
            normkit.layer_norm(x, return_stats=True), the_long_way(normkit.layer_norm, x, return_stats=True)
        )
        assert_the_same(normkit.moments(x, 1), the_long_way(normkit.moments, x, 1))


def test_in_place_after_out_of_place_and_the_other_way_round():
    expected = the_long_way(normkit.layer_norm, X)
    for _ in range(TIMES):
        x, out = X.copy(), np.empty_like(X)
        assert normkit.layer_norm(x, out=out) is out
        assert (x == X).all() and (out == expected).all()
    assert normkit.layer_norm(x, out=x) is x
    assert (x == expected).all()
    for _ in range(TIMES):
        x = X.copy()
        normkit.rms_norm(x, out=x)
    x, out = X.copy(), np.empty_like(X)
    normkit.rms_norm(x, out=out)
    assert (x == X).all() and (out == the_long_way(normkit.rms_norm, X)).all()


def test_numbers_that_are_equal_and_not_of_one_type():
    for _ in range(TIMES):
        normkit.group_norm(X, 1)
        normkit.normalize(X, (0, 1))
    with pytest.raises(TypeError, match="num_groups is a float"):
        normkit.group_norm(X, 1.0)
    with pytest.raises(TypeError, match="axes is a float"):
        normkit.normalize(X, (0, 1.0))


def test_memory_that_changes_its_properties():
    x, out = X.copy(), np.empty_like(X)
    for _ in range(TIMES):
        normkit.layer_norm(x, out=out)
    x.flags.writeable = False
    assert (normkit.layer_norm(x, out=out) == the_long_way(normkit.layer_norm, x)).all()
    before, out.flags.writeable = out.tobytes(), False
    with pytest.raises(ValueError, match="out is read-only"):
        normkit.layer_norm(x + 1, out=out)
    assert out.tobytes() == before
    wide = np.zeros((3, 16), np.float32)
    normkit.layer_norm(x, out=wide[:, 4:12])
    assert (wide[:, 4:12] == normkit.layer_norm(x)).all() and not wide[:, :4].any() and not wide[:, 12:].any()


def test_arrays_in_sequences_in_sequences():
    """A mask is what is true; which array is which must not get lost."""
    y, *stats = normkit.layer_norm(X, return_stats=True)
    for _ in range(TIMES):
        found = normkit.layer_norm_backward(X, X, output_mask=([y], [stats[1]], []), stats=tuple(stats))
        wanted = the_long_way(normkit.layer_norm_backward, X, X, output_mask=(True, True, False), stats=stats)
        assert_the_same(found, wanted)


def test_gradients_that_are_recorded_now():
    x, weight = torch.from_numpy(X), torch.ones(8, requires_grad=True)
    with torch.no_grad():
        for _ in range(TIMES):
            normkit.layer_norm(x, weight)
    with pytest.raises(ValueError, match="weight requires grad"):
        normkit.layer_norm(x, weight)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_numbers_in_arrays(kind):
    """What they hold is an argument, too."""
    for batches in range(6):
        mean, var = np.zeros(8, np.float32), np.ones(8, np.float32)
        normkit.batch_norm(X, mean, var, training=True, momentum=None, num_batches_tracked=kind(batches))
        np.testing.assert_allclose(mean, X.mean(0) / (batches + 1), rtol=1e-5)


def test_several_calls_of_the_library():
    x = np.random.default_rng(1).normal(size=SHAPE)
    mean, var = np.zeros(6), np.ones(6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(TIMES):
            normkit.instance_norm(x, mean, var, momentum=0.5)
    np.testing.assert_allclose(mean, x.mean((0, 2)) * (1 - 0.5**TIMES))


def test_refusals_of_the_library():
    out = np.full_like(X, 7)
    for _ in range(TIMES):
        with pytest.raises(normkit.NormKitError) as caught:
            normkit.layer_norm(X, eps=-1.0, out=out)
        assert caught.value.function == "normkit_layer_norm"
        assert caught.value.status == normkit.Status.ERROR_EPSILON
    memory = np.zeros((2, 3, 8), np.float32)
    for _ in range(TIMES):
        normkit.layer_norm(memory[0], out=memory[1])
    with pytest.raises(normkit.NormKitError, match="overlap"):
        normkit.layer_norm(memory.reshape(6, 8)[:3], out=memory.reshape(6, 8)[1:4])
    assert (out == 7).all()


def test_arrays_are_not_kept():
    x = np.ones((3, 8), np.float32)
    tensor, alive = torch.ones(3, 8), weakref.ref(x)
    for _ in range(TIMES):
        normkit.layer_norm(x)
        normkit.layer_norm(tensor)
    alive_tensor = weakref.ref(tensor)
    del x, tensor
    gc.collect()
    assert alive() is None and alive_tensor() is None


def test_more_shapes_than_are_remembered():
    for _ in range(2):
        for size in range(1, 1200):
            assert not normkit.layer_norm(np.ones((1, size), np.float32)).any()


def test_containers_that_are_no_arguments():
    endless = []
    endless.append(endless)
    for value in (endless, [1.0] * 10_000):
        for _ in range(TIMES):
            with pytest.raises(TypeError, match="x is a list"):
                normkit.layer_norm(value)


@pytest.mark.parametrize("name", ["layer_norm", "group_norm_backward"])
def test_functions_look_like_themselves(name):
    function = getattr(normkit, name)
    assert pickle.loads(pickle.dumps(function)) is function
    assert function.__name__ == name and f">>> {'dx, ' if 'backward' in name else ''}" in function.__doc__
    assert inspect.signature(function) == inspect.signature(function.__wrapped__)

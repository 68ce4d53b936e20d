"""The modules of normkit.torch against those of torch.nn: results, gradients, running statistics, options, memory
format, state dicts and copies."""

import copy
import io
import pickle
from typing import Any, Callable, NamedTuple

import pytest

torch = pytest.importorskip("torch")

import normkit.torch  # noqa: E402
from normkit.torch import _short  # noqa: E402
from support import library  # noqa: E402


class Case(NamedTuple):
    """arguments: of the module. shape: of x. sets: x with the elements of one S along the last axis. reduced: the axes
    that gradients of weight and bias are summed over."""

    arguments: tuple[Any, ...]
    shape: tuple[int, ...]
    sets: Callable[[Any], Any]
    reduced: tuple[int, ...]


def per_channel(x):
    return x.movedim(1, 0).flatten(1)


CASES = {
    "LayerNorm": Case((24,), (7, 24), lambda x: x, (0,)),
    "LayerNorm, two axes": Case(((5, 4),), (3, 6, 5, 4), lambda x: x.flatten(2), (0, 1)),
    "RMSNorm": Case((24, 1e-3), (2, 7, 24), lambda x: x, (0, 1)),
    "GroupNorm": Case((3, 12), (2, 12, 5, 4), lambda x: x.reshape(2, 3, -1), (0, 2, 3)),
    "GroupNorm, one position": Case((3, 12), (4, 12), lambda x: x.reshape(4, 3, -1), (0,)),
    "BatchNorm1d": Case((6,), (9, 6), per_channel, (0,)),
    "BatchNorm1d, positions": Case((6,), (4, 6, 5), per_channel, (0, 2)),
    "BatchNorm2d": Case((6,), (3, 6, 5, 4), per_channel, (0, 2, 3)),
    "BatchNorm3d": Case((6,), (2, 6, 3, 4, 5), per_channel, (0, 2, 3, 4)),
    "InstanceNorm1d": Case((6,), (3, 6, 20), lambda x: x, (0, 2)),
    "InstanceNorm2d": Case((6,), (3, 6, 5, 4), lambda x: x.flatten(2), (0, 2, 3)),
    "InstanceNorm3d": Case((6,), (2, 6, 3, 4, 5), lambda x: x.flatten(2), (0, 2, 3, 4)),
}
TRACKED = [name for name in CASES if name.startswith(("Batch", "Instance"))]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

# Errors in units (eps of f32 or f64 times the scale of a result), as in support/limits.py.
UNITS = {"y": 2, "x": 4, "weight": 6, "bias": 6}
WITHOUT_FMA = 0.5
HALVES = (torch.float16, torch.bfloat16)


def make(kit, name, dtype=torch.float32, **options):
    """A module with parameters that are not 1 and 0. kit: torch.nn or normkit.torch."""
    torch.manual_seed(0)
    if name.startswith("Instance"):
        options = {"affine": True, "track_running_stats": True, **options}
    module = getattr(kit, name.split(",")[0])(*CASES[name].arguments, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(1, 0.5)
    return module.to(dtype)


def batch(name, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(CASES[name].shape, generator=generator, dtype=torch.float64) * 2 + 1).to(dtype)


def exact_twin(module, name):
    """torch.nn's module in f64 with the same parameters and buffers."""
    options = {"track_running_stats": module.track_running_stats} if hasattr(module, "track_running_stats") else {}
    twin = make(torch.nn, name, torch.float64, **options)
    twin.load_state_dict(module.state_dict())
    return twin.train(module.training)


def results(module, x, dy):
    """y and the gradients, by name."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    module.zero_grad()
    y = module(x)
    y.backward(dy)
    return {"y": y.detach(), "x": x.grad, **{key: parameter.grad for key, parameter in module.named_parameters()}}


def scales(name, module, x, dy, exact):
    """What the error of each result is measured by (include/normkit.h); module is in f64 and in its state before."""
    case = CASES[name]
    z = copy.deepcopy(module)
    for parameter in z.parameters():
        parameter.data.fill_(1 if parameter is z.weight else 0)
    z = z(x).detach()
    sets = case.sets(x)
    if not module.training and name in TRACKED:
        rstd = (module.running_var + module.eps).rsqrt()
    elif name == "RMSNorm":
        rstd = (sets.square().mean(-1) + module.eps).rsqrt()
    else:
        rstd = (sets.var(-1, correction=0) + module.eps).rsqrt()
    weight, bias = module.weight, getattr(module, "bias", None)
    largest = [exact["y"].abs().max(), z.abs().max() * weight.abs().max()]
    return {
        "y": max(*largest, *([] if bias is None else [bias.abs().max()])),
        "x": rstd.max() * weight.abs().max() * dy.abs().max(),
        "weight": (dy * z).square().sum(case.reduced).sqrt().max(),
        "bias": dy.square().sum(case.reduced).sqrt().max(),
    }


def rounding(value):
    """What rounding to a half adds to the error of each element: half a unit of it, or of the smallest normal
    number."""
    half = torch.finfo(value.dtype)
    return half.eps / 2 * value.double().abs().clamp(min=half.tiny) if value.dtype in HALVES else 0


def assert_near(name, module, x, dy):
    """The results of `module` are those of torch.nn in f64, up to the errors that the header allows, and rounding."""
    exact_module = exact_twin(module, name)
    before = copy.deepcopy(exact_module)
    found = results(module, x, dy)
    exact = results(exact_module, x.double(), dy.double())
    sizes = scales(name, before, x.double(), dy.double(), exact)
    assert found.keys() == exact.keys()
    # In f64 torch's own sums count: n terms, added one after another, are off by n / 2 units.
    doubt = x.numel() / 2 if x.dtype == torch.float64 else 0
    eps = torch.finfo(torch.float64 if x.dtype == torch.float64 else torch.float32).eps
    for key, value in found.items():
        assert value.dtype == (x if key in "xy" else module.weight).dtype
        units = UNITS[key] + doubt + WITHOUT_FMA * (library.isa() == "x86-64-v2")
        assert ((value.double() - exact[key]).abs() <= units * eps * sizes[key] + rounding(value)).all(), key


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients(name, dtype):
    module = make(normkit.torch, name, dtype)
    assert_near(name, module, batch(name, dtype), batch(name, dtype, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_halves_beside_f32_parameters(name, dtype):
    module = make(normkit.torch, name)
    assert_near(name, module, batch(name, dtype), batch(name, dtype, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TRACKED)
def test_evaluation(name, dtype):
    module = make(normkit.torch, name, dtype)
    for seed in range(3):
        module(batch(name, dtype, seed))
    before = copy.deepcopy(module.state_dict())
    assert_near(name, module.eval(), batch(name, dtype), batch(name, dtype, 1))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("momentum", [0.1, 0.6, None])
@pytest.mark.parametrize("name", [name for name in TRACKED if name.startswith("Batch")])
def test_running_statistics(name, momentum, dtype):
    steps = 4
    module = make(normkit.torch, name, dtype, momentum=momentum)
    exact = exact_twin(module, name)
    exact.momentum = momentum
    for seed in range(steps):
        module(batch(name, dtype, seed))
        exact(batch(name, dtype, seed).double())
    ours, other = module.state_dict(), exact.state_dict()
    assert ours["num_batches_tracked"] == other["num_batches_tracked"] == steps
    # A mean is off by 2 units, a variance by twice as much, and each folding rounds three times.
    units = 5.5 + (batch(name).numel() / 2 if dtype == torch.float64 else 0)
    eps = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    deviation = max(batch(name, torch.float64, seed).std() for seed in range(steps))
    for key, least in (("running_mean", deviation), ("running_var", deviation**2)):
        largest = max(other[key].abs().max(), least)
        error = (ours[key].double() - other[key]).abs()
        assert (error <= steps * (units * eps * largest + rounding(ours[key]))).all(), key


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("name", [name for name in TRACKED if name.startswith("Instance")])
def test_running_statistics_of_instances(name, momentum):
    modules = [make(kit, name, torch.float64, momentum=momentum) for kit in (torch.nn, normkit.torch)]
    for module in modules:
        for seed in range(3):
            module(batch(name, torch.float64, seed))
    for key, value in modules[1].state_dict().items():
        torch.testing.assert_close(value, modules[0].state_dict()[key])


OPTIONS = [
    ("LayerNorm", {"bias": False}),
    ("LayerNorm", {"elementwise_affine": False}),
    ("LayerNorm, two axes", {"bias": False, "eps": 0.5}),
    ("RMSNorm", {"elementwise_affine": False}),
    ("GroupNorm", {"affine": False}),
    *((name, {"affine": False}) for name in TRACKED),
    *((name, {"track_running_stats": False}) for name in TRACKED),
    *((name, {"affine": False, "track_running_stats": False, "eps": 0.5}) for name in TRACKED),
    *((name, {"bias": False}) for name in TRACKED),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name, options", OPTIONS)
def test_options(name, options, training):
    theirs, ours = (make(kit, name, torch.float64, **options) for kit in (torch.nn, normkit.torch))
    assert repr(ours) == repr(theirs)
    x, dy = batch(name, torch.float64), batch(name, torch.float64, 1)
    for module in (theirs, ours):
        module(x)
        module.train(training)
    expected, found = results(theirs, x, dy), results(ours, x, dy)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_statistics_that_are_no_longer_tracked(training):
    """Switched off later: PyTorch then leaves the buffers alone in training, and reads them in evaluation."""
    theirs, ours = (make(kit, "BatchNorm2d", torch.float64) for kit in (torch.nn, normkit.torch))
    for module in (theirs, ours):
        module(batch("BatchNorm2d", torch.float64))
        module.track_running_stats = False
        module.train(training)
    x = batch("BatchNorm2d", torch.float64, 1)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["GroupNorm", "BatchNorm2d", "BatchNorm3d", "InstanceNorm2d", "InstanceNorm3d"])
def test_channels_last_is_kept(name, dtype):
    form = torch.channels_last if len(CASES[name].shape) == 4 else torch.channels_last_3d
    module = make(normkit.torch, name, dtype)
    x, dy = (batch(name, dtype, seed).to(memory_format=form) for seed in (0, 1))
    found = results(module, x, dy)
    assert found["y"].is_contiguous(memory_format=form) and found["x"].is_contiguous(memory_format=form)
    again = results(make(normkit.torch, name, dtype), x, dy.contiguous())
    assert again["x"].is_contiguous(memory_format=form)
    assert all(torch.equal(again[key], value) for key, value in found.items())
    assert_near(name, make(normkit.torch, name, dtype), x, dy)


@pytest.mark.parametrize("name", ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"])
def test_one_sample_without_a_batch(name):
    theirs, ours = (make(kit, name, torch.float64) for kit in (torch.nn, normkit.torch))
    x, dy = (batch(name, torch.float64, seed)[0] for seed in (0, 1))
    torch.testing.assert_close(results(ours, x, dy), results(theirs, x, dy))


@pytest.mark.parametrize("name", TRACKED)
def test_wrong_number_of_axes(name):
    x = torch.ones(2, 6, *[3] * 4)
    for kit in (torch.nn, normkit.torch):
        with pytest.raises(ValueError, match="expected .* input"):
            make(kit, name)(x)


def test_a_refused_batch_changes_nothing():
    module = make(normkit.torch, "BatchNorm1d")
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError):
        module(torch.ones(1, 6))
    with pytest.raises(TypeError):
        module(torch.ones(3, 6, dtype=torch.float64))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", [name for name in TRACKED if name.startswith("Batch")])
def test_empty_batch(name):
    theirs, ours = (make(kit, name) for kit in (torch.nn, normkit.torch))
    x = batch(name)[:0]
    for module in (theirs, ours):
        module(batch(name))
        results(module, x, x)
    assert not ours.weight.grad.any()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("name", [name for name in TRACKED if name.startswith("Instance")])
def test_empty_batch_of_instances(name):
    """PyTorch fails, where statistics are tracked."""
    module, x = make(normkit.torch, name), batch(name)[:0]
    before = copy.deepcopy(module.state_dict())
    results(module, x, x)
    assert not module.weight.grad.any()
    torch.testing.assert_close(module.state_dict(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_state_dicts_are_exchanged(name, dtype):
    theirs, ours = (make(kit, name, dtype) for kit in (torch.nn, normkit.torch))
    for source, target in ((theirs, ours), (ours, theirs)):
        with torch.no_grad():
            for tensor in source.state_dict().values():
                tensor.add_(3)
        target.load_state_dict(source.state_dict(), strict=True)
        assert list(target.state_dict()) == list(source.state_dict())
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())
        assert target.state_dict()._metadata == source.state_dict()._metadata


def saved_and_loaded(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(module):
    return pickle.loads(pickle.dumps(module))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled, saved_and_loaded])
@pytest.mark.parametrize("name", CASES)
def test_copies(name, copied):
    module = make(normkit.torch, name)
    x, dy = batch(name), batch(name, seed=1)
    other = copied(module)
    assert type(other) is type(module) and other.weight is not module.weight
    expected, found = results(module, x, dy), results(other, x, dy)
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("name", CASES)
def test_it_is_normkit_that_computes(name, monkeypatch):
    monkeypatch.setattr(_short, "available", False)
    module, x = make(normkit.torch, name), batch(name)
    called = []
    for function in ("layer_norm", "rms_norm", "group_norm", "batch_norm", "instance_norm"):
        monkeypatch.setattr(torch, function, None)  # what torch.nn.functional calls
        original = getattr(normkit, function)

        def call(*arguments, function=function, original=original, **keywords):
            called.append(function)
            return original(*arguments, **keywords)

        monkeypatch.setattr(normkit, function, call)
    module(x)
    assert [function.replace("_", "") for function in called] == [type(module).__name__.rstrip("123d").lower()]


def test_autocast():
    """Under it a convolution gives bfloat16 to a normalization with float32 parameters."""
    torch.manual_seed(0)
    results_of = {}
    for kit in (torch.nn, normkit.torch):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), kit.BatchNorm2d(8), torch.nn.ReLU(), kit.GroupNorm(2, 8), torch.nn.Flatten(),
            torch.nn.Linear(128, 16), kit.LayerNorm(16), torch.nn.Linear(16, 16), kit.RMSNorm(16, 1e-5),
        )
        x = torch.randn(4, 3, 6, 6)
        with torch.autocast("cpu", torch.bfloat16):
            y = model(x)
        y.float().square().sum().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
        results_of[kit] = y
    theirs, ours = results_of.values()
    assert ours.dtype == theirs.dtype
    # Both round the results of eight layers to bfloat16, by half a unit each.
    assert (ours.float() - theirs.float()).abs().max() <= 8 * torch.finfo(torch.bfloat16).eps * theirs.abs().max()

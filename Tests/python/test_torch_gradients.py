"""normkit.torch.functional under PyTorch's autograd: the gradients are those of finite differences, in every layout of
memory; what autograd cannot have is refused."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies

torch = pytest.importorskip("torch")

import normkit  # noqa: E402
from normkit.torch import _short, functional  # noqa: E402

# With it rstd is at most 10, and so are the higher derivatives that finite differences leave out: at a step of 1e-6
# they are below 1e-8, and the rounding of the results is below 1e-8, too.
EPS = 1e-2

CHANNELS, CLOSE = 4, {"eps": 1e-6, "atol": 1e-7, "rtol": 1e-6}


def parameters(*shape):
    return values(*shape, seed=1) + 1, values(*shape, seed=2)


def values(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def running(dtype=torch.float64):
    return torch.linspace(-1, 1, CHANNELS, dtype=dtype), torch.linspace(0.5, 2, CHANNELS, dtype=dtype)


# Name: the shape of weight and bias, and the function of x, weight and bias.
OVER_ROWS = {
    "layer_norm": lambda x, w, b: functional.layer_norm(x, w.shape, w, b, EPS),
    "rms_norm": lambda x, w, b: functional.rms_norm(x, w.shape, w, EPS) + 0 * b,
}
OVER_CHANNELS = {
    "group_norm": lambda x, w, b: functional.group_norm(x, 2, w, b, EPS),
    "batch_norm": lambda x, w, b: functional.batch_norm(x, None, None, w, b, True, eps=EPS),
    "batch_norm that updates": lambda x, w, b: functional.batch_norm(x, *running(), w, b, True, 0.3, EPS),
    "batch_norm with constants": lambda x, w, b: functional.batch_norm(x, *running(), w, b, eps=EPS),
    "instance_norm": lambda x, w, b: functional.instance_norm(x, None, None, w, b, eps=EPS),
    "instance_norm that updates": lambda x, w, b: functional.instance_norm(x, *running(), w, b, True, 0.3, EPS),
    "instance_norm with constants": lambda x, w, b: functional.instance_norm(x, *running(), w, b, False, eps=EPS),
}

# How x lies in memory. PyTorch gives dy in a layout of its own.
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "turned": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "with gaps": lambda x: torch.stack([x, x], 1)[:, 0],
    "with gaps everywhere": lambda x: torch.stack([x, x], -1)[..., 0],
    "repeated": lambda x: x[:1].expand(x.shape),
}
SHAPES = [(3, CHANNELS, 2), (2, CHANNELS, 3, 2), (2, CHANNELS, 2, 1, 3)]


def check(function, *inputs):
    assert torch.autograd.gradcheck(function, [tensor.requires_grad_() for tensor in inputs], **CLOSE)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("name", OVER_ROWS)
def test_over_rows(name, axes, layout):
    x = values(2, 3, 4, 3)
    check(lambda x, *p: OVER_ROWS[name](LAYOUTS[layout](x), *p), x, *parameters(*x.shape[-axes:]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OVER_CHANNELS)
def test_over_channels(name, shape, layout):
    check(lambda x, *p: OVER_CHANNELS[name](LAYOUTS[layout](x), *p), values(*shape), *parameters(CHANNELS))


@pytest.mark.parametrize("name", ["group_norm", "batch_norm", "batch_norm that updates", "batch_norm with constants"])
def test_without_positions(name):
    check(OVER_CHANNELS[name], values(5, CHANNELS), *parameters(CHANNELS))


def test_layer_norm_over_channels_of_images():
    def over_channels(x, w, b):
        return functional.layer_norm(x.movedim(1, -1), w.shape, w, b, EPS).movedim(-1, 1)

    check(over_channels, values(2, 5, 3, 2), *parameters(5))


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("dim", [0, 1, 2, None])
@pytest.mark.parametrize("layout", ["contiguous", "turned", "with gaps everywhere"])
def test_weight_norm(norm, dim, layout):
    v = values(3, 4, 2)
    g = values(*(extent if axis == dim else 1 for axis, extent in enumerate(v.shape)), seed=1)
    check(lambda v, g: functional.weight_norm(LAYOUTS[layout](v), g, dim, norm), v, g)
    check(lambda v: functional.weight_norm(LAYOUTS[layout](v), None, dim, norm), v)


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize("dim", [0, 1, -1, (0, 2)])
def test_normalize(p, dim):
    x = values(3, 4, 2)
    torch.testing.assert_close(functional.normalize(x, p, dim), torch.nn.functional.normalize(x, p, dim))
    check(lambda x: functional.normalize(x, p, dim), x)


@given(
    name=strategies.sampled_from(sorted(OVER_CHANNELS)),
    shape=strategies.lists(strategies.integers(1, 4), min_size=2, max_size=4),
    layout=strategies.sampled_from(sorted(LAYOUTS)),
    seed=strategies.integers(0, 1000),
)
def test_any_shape(name, shape, layout, seed):
    samples, *positions = shape
    if math.prod(positions) == 1:
        positions.append(2)  # one value has no variance
    x = values(samples, CHANNELS, *positions, seed=seed)
    check(lambda x, *p: OVER_CHANNELS[name](LAYOUTS[layout](x), *p), x, *parameters(CHANNELS))


@pytest.mark.parametrize("wanted", [(x, w, b) for x in (0, 1) for w in (0, 1) for b in (0, 1) if x or w or b])
@pytest.mark.parametrize("name", [*OVER_ROWS, *OVER_CHANNELS])
def test_some_gradients(name, wanted, monkeypatch):
    """What requires no gradient gets none, and the others are the same bits as among all."""
    monkeypatch.setattr(_short, "available", False)
    function = {**OVER_ROWS, **OVER_CHANNELS}[name]
    x = values(2, CHANNELS, 3, 3 if name in OVER_CHANNELS else CHANNELS)
    inputs, everything = (
        [tensor.requires_grad_(bool(require)) for tensor, require in zip((x.clone(), *parameters(CHANNELS)), require)]
        for require in (wanted, (1, 1, 1))
    )
    dy = values(*x.shape, seed=3)
    function(*everything).backward(dy)
    method = "batch_norm" if "constants" in name else name.split()[0]
    masks = watch(monkeypatch, f"{method}_backward", "output_mask")
    function(*inputs).backward(dy)
    for tensor, other, require in zip(inputs, everything, wanted):
        assert torch.equal(tensor.grad, other.grad) if require else tensor.grad is None
    asked = (*wanted[:2], 0) if name == "rms_norm" else wanted  # which has no bias
    assert masks == ([asked] if any(asked) else [])


def watch(monkeypatch, name, argument):
    """The values of a keyword argument in the calls of a function of normkit."""
    function, seen = getattr(normkit, name), []

    def watched(*arguments, **keywords):
        seen.append(keywords[argument])
        return function(*arguments, **keywords)

    monkeypatch.setattr(normkit, name, watched)
    return seen


def test_statistics_are_asked_for_only_with_gradients(monkeypatch):
    monkeypatch.setattr(_short, "available", False)
    asked = watch(monkeypatch, "layer_norm", "return_stats")
    x = values(3, 4).requires_grad_()
    functional.layer_norm(x, (4,))
    functional.layer_norm(x.detach(), (4,))
    with torch.no_grad():
        assert not functional.layer_norm(x, (4,)).requires_grad
    with torch.inference_mode():
        functional.layer_norm(x, (4,))
    assert asked == [True, False, False, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("parameter_dtype", ["half", torch.float32])
def test_gradients_have_the_dtypes_of_what_they_belong_to(dtype, parameter_dtype):
    parameter_dtype = dtype if parameter_dtype == "half" else parameter_dtype
    x = values(64, 8, dtype=dtype).requires_grad_()
    w, b = (p.to(parameter_dtype).requires_grad_() for p in parameters(8))
    dy = values(64, 8, seed=3, dtype=dtype)
    y = functional.layer_norm(x, (8,), w, b)
    y.backward(dy)
    assert [t.dtype for t in (y, x.grad, w.grad, b.grad)] == [dtype, dtype, parameter_dtype, parameter_dtype]
    # Summed in f32 or better, and rounded once: half a unit, and some units of f32.
    exact = dy.double().sum(0)
    largest = torch.finfo(parameter_dtype).eps / 2 * exact.abs().max() + 6 * 2**-23 * dy.double().norm(dim=0).max()
    assert (b.grad.double() - exact).abs().max() <= largest


@pytest.mark.parametrize("name", [*OVER_ROWS, *OVER_CHANNELS])
@pytest.mark.parametrize("shape", [(0, CHANNELS, 3, CHANNELS), (2, CHANNELS, 0, CHANNELS)])
def test_nothing(name, shape):
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    w, b = (p.requires_grad_() for p in parameters(CHANNELS))
    y = {**OVER_ROWS, **OVER_CHANNELS}[name](x, w, b)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    assert not w.grad.any() and not b.grad.any()


def test_gradient_that_is_negated_lazily():
    x = values(3, 4).requires_grad_()
    dy = torch.complex(values(3, 4), values(3, 4, seed=1)).conj().imag
    assert dy.is_neg()
    (lazy,) = torch.autograd.grad(functional.layer_norm(x, (4,)), x, dy)
    (plain,) = torch.autograd.grad(functional.layer_norm(x, (4,)), x, dy.resolve_neg())
    assert torch.equal(lazy, plain)


def test_second_derivatives_are_refused():
    x = values(3, 4).requires_grad_()
    (dx,) = torch.autograd.grad(functional.layer_norm(x, (4,)).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        dx.sum().backward()


def test_forward_mode_is_refused():
    from torch.autograd import forward_ad

    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        functional.layer_norm(forward_ad.make_dual(values(3, 4), values(3, 4, seed=1)), (4,))


@pytest.mark.parametrize("transform", [torch.vmap, lambda f: torch.func.grad(lambda x: f(x).sum())])
def test_function_transforms_are_refused(transform):
    with pytest.raises(RuntimeError, match="functorch|setup_context"):
        transform(lambda x: functional.layer_norm(x, (4,)))(values(3, 4))


def test_input_that_was_changed_before_backward_is_noticed():
    x = values(3, 4).requires_grad_()
    inner = x * 1
    y = functional.layer_norm(inner, (4,)).sum()
    inner.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("update", [functional.batch_norm, functional.instance_norm])
def test_running_statistics_that_were_updated_before_backward_are_noticed(dtype, update):
    x = values(3, CHANNELS, 2, dtype=dtype).requires_grad_()
    mean, var = running(dtype)
    y = functional.batch_norm(x, mean, var).sum()
    update(x, mean, var, None, None, True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_running_statistics_in_inference_mode():
    x, (mean, var) = values(3, CHANNELS, 2), running()
    with torch.inference_mode():
        created = [mean.clone(), var.clone()]
        functional.batch_norm(x, *created, training=True)
    functional.batch_norm(x, mean, var, training=True)
    assert torch.equal(created[0], mean) and torch.equal(created[1], var)


def test_refused_arguments_are_named():
    x, (mean, var) = values(3, CHANNELS, 2), running()
    with pytest.raises(ValueError, match="running_mean is missing"):
        functional.batch_norm(x, None, var, training=True)
    with pytest.raises(TypeError, match="weight has dtype float32"):
        functional.layer_norm(x, (2,), torch.ones(2))
    with pytest.raises(TypeError, match="x is a .* on meta"):
        functional.layer_norm(x.to("meta"), (2,))
    assert torch.equal(mean, running()[0])


def test_import_leaves_the_compiler_alone():
    """It would double the time of importing PyTorch."""
    code = "import sys, normkit.torch; print('torch._dynamo' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(normkit.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

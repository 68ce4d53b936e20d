"""normkit.torch.weight_norm against torch.nn.utils.parametrizations.weight_norm."""

import copy

import pytest

torch = pytest.importorskip("torch")

import normkit.torch  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402

LAYERS = {
    "linear": (lambda: torch.nn.Linear(6, 4), (5, 6)),
    "convolution": (lambda: torch.nn.Conv2d(3, 8, (3, 2)), (2, 3, 6, 6)),
    "transposed convolution": (lambda: torch.nn.ConvTranspose1d(3, 4, 3), (2, 3, 6)),
}
# w and dv are 2 and 4 units off, dg 6; a unit is eps times the largest value that was summed or multiplied. What a
# layer computes from them here is a sum of up to 18 products.
EPS32 = 2**-23


def layer(name, dtype=torch.float32):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    return make().to(dtype), torch.randn(shape, dtype=torch.float64).to(dtype)


def results(module, x):
    y = module(x)
    y.square().sum().backward()
    return {"y": y, **{key: parameter.grad for key, parameter in module.named_parameters()}}


@pytest.mark.parametrize("dim", [0, 1, -2, None, -1])
@pytest.mark.parametrize("name", LAYERS)
def test_it_is_torchs(name, dim):
    plain, x = layer(name, torch.float64)
    theirs = parametrizations.weight_norm(copy.deepcopy(plain), dim=dim)
    ours = normkit.torch.weight_norm(copy.deepcopy(plain), dim=dim)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(results(ours, x), results(theirs, x))


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_weight_is_as_before(name, dtype, norm):
    plain, _ = layer(name, dtype)
    module = normkit.torch.weight_norm(copy.deepcopy(plain), norm=norm)
    g, v = module.parametrizations.weight.original0, module.parametrizations.weight.original1
    assert g.dtype == v.dtype == module.weight.dtype == dtype
    assert torch.equal(v, plain.weight) and g.shape == (len(v), *[1] * (v.dim() - 1))
    if dtype == torch.float32:
        allowed = 2 * EPS32 * plain.weight.abs().max()
    else:  # g and w are rounded by half a unit each
        allowed = torch.finfo(dtype).eps * plain.weight.float().abs().max()
    assert (module.weight.float() - plain.weight.float()).abs().max() <= allowed
    slices = v.detach().double().flatten(1)
    length = {"l1": slices.abs().sum(1), "l2": slices.norm(dim=1), "max": slices.abs().amax(1)}[norm]
    torch.testing.assert_close(g.detach().flatten().double(), length, rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("norm", ["l1", "max"])
def test_other_norms_have_their_own_gradients(norm):
    module, x = layer("linear", torch.float64)
    normkit.torch.weight_norm(module, norm=norm)
    found = results(module, x)
    g, v = (parameter.detach().clone().requires_grad_() for parameter in module.parametrizations.weight.parameters())
    length = v.abs().sum(1, keepdim=True) if norm == "l1" else v.abs().amax(1, keepdim=True)
    torch.nn.functional.linear(x, v * g / length, module.bias.detach()).square().sum().backward()
    torch.testing.assert_close(found["parametrizations.weight.original0"], g.grad)
    torch.testing.assert_close(found["parametrizations.weight.original1"], v.grad)


def test_state_dicts_are_exchanged():
    plain, _ = layer("linear")
    theirs = parametrizations.weight_norm(copy.deepcopy(plain))
    ours = normkit.torch.weight_norm(layer("linear")[0])
    for source, target in ((theirs, ours), (ours, theirs)):
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.add_(3)
        target.load_state_dict(source.state_dict(), strict=True)
        assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


def test_state_dicts_of_the_predecessor_are_read():
    plain, _ = layer("linear")
    state = {"bias": plain.bias, "weight_g": torch.full((4, 1), 2.0), "weight_v": torch.ones(4, 6)}
    ours = normkit.torch.weight_norm(plain)
    ours.load_state_dict(state, strict=True)
    assert (ours.parametrizations.weight.original0 == 2).all() and (ours.parametrizations.weight.original1 == 1).all()


def test_it_can_be_assigned_to_and_removed():
    module, _ = layer("linear")
    normkit.torch.weight_norm(module)
    wanted = torch.arange(24.0).reshape(4, 6) + 1
    module.weight = wanted
    torch.testing.assert_close(module.weight.detach(), wanted)
    parametrize.remove_parametrizations(module, "weight")
    assert type(module) is torch.nn.Linear
    torch.testing.assert_close(module.weight.detach(), wanted)


def test_a_slice_of_zeros_stays_zeros():
    module, x = layer("linear")
    with torch.no_grad():
        module.weight[1] = 0
    normkit.torch.weight_norm(module)
    found = results(module, x)
    assert not module.weight[1].any() and torch.isfinite(module.weight).all()
    assert not found["parametrizations.weight.original1"][1].any()


def test_copies():
    module, x = layer("convolution")
    normkit.torch.weight_norm(module, norm="max")
    other = copy.deepcopy(module)
    assert other.parametrizations.weight[0].norm == "max"
    assert torch.equal(other(x), module(x))
    saved = normkit.torch.weight_norm(layer("convolution")[0], norm="max")
    saved.load_state_dict(module.state_dict())
    assert torch.equal(saved(x), module(x))

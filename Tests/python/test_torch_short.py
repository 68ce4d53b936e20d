"""The short way of eager code through PyTorch's dispatcher: the bits of the long way, and what is left to that."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings, strategies

torch = pytest.importorskip("torch")

from normkit.torch import _short, functional, fused  # noqa: E402
from support.ways import DTYPES, FORMATS, Ways, calls, parameter, problems, tensor  # noqa: E402


def test_kernels_are_there():
    assert _short.available


@pytest.fixture
def ways(monkeypatch):
    return Ways(monkeypatch)


@settings(max_examples=60, deadline=None)
@given(problems(least_size=1))
def test_bits_are_those_of_the_long_way(problem):
    x, weight, bias, groups, form = problem
    with pytest.MonkeyPatch.context() as patch:
        ways = Ways(patch)
        for function, arguments in calls(x, weight, bias, groups):
            assert ways(function, x, *arguments) or form != "contiguous"


@pytest.mark.parametrize("dtype", DTYPES)
def test_short_way_is_taken(ways, dtype):
    x = tensor((2, 6, 3, 4), dtype)
    for function, arguments in calls(x, parameter(6, dtype, False), parameter(6, dtype, False), 3):
        assert ways(function, x, *arguments)
    for function, arguments in [*calls(x, None, None, 3)][2:]:
        assert ways(function, tensor((2, 6, 3, 4), dtype, "channels last"), *arguments)
    assert ways(functional.layer_norm, x, 4)
    assert ways(functional.rms_norm, x, [4], None, 1e-3)


def test_parameters_of_modules(ways):
    """Which want gradients, where none are recorded; and where they are."""
    module = torch.nn.LayerNorm(8)
    with torch.no_grad():
        assert ways(functional.layer_norm, torch.randn(3, 8), (8,), module.weight, module.bias)
    with torch.inference_mode():
        assert ways(functional.layer_norm, torch.randn(3, 8), (8,), module.weight, module.bias)
    assert not ways(functional.layer_norm, torch.randn(3, 8), (8,), module.weight, module.bias)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (functional.layer_norm, ((3, 4),)),
        (functional.layer_norm, (4, torch.ones(8)[::2])),
        (functional.group_norm, (3, torch.ones(1).expand(6))),
        (functional.batch_norm, (torch.zeros(6), torch.ones(12)[::2])),
    ],
    ids=["several axes", "weight with gaps", "expanded", "variance with gaps"],
)
def test_results_agree_whichever_way(ways, function, arguments):
    ways(function, torch.randn(2, 6, 3, 4), *arguments)


def test_empty_data(ways):
    assert not ways(functional.layer_norm, torch.empty(0, 4), 4)
    assert not ways(functional.group_norm, torch.empty(2, 6, 0), 3)


def test_views_that_negate(ways):
    x = torch.complex(torch.randn(3, 8), torch.randn(3, 8)).conj().imag
    assert x.is_neg()
    assert ways(functional.layer_norm, x, 8)


@pytest.mark.parametrize("form", ["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bits_do_not_depend_on_threads(ways, dtype, form):
    """Work that is shared between PyTorch's threads."""
    x, weight, bias = tensor((5, 24, 61, 83), dtype, form), tensor((24,), dtype), tensor((24,), dtype)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for function, arguments in calls(x, weight, bias, 4):
            assert ways(function, x, *arguments) or form != "contiguous"
    finally:
        torch.set_num_threads(threads)


# ---- Fusions


@settings(max_examples=60, deadline=None)
@given(
    strategies.lists(strategies.integers(1, 5), min_size=0, max_size=2), strategies.integers(1, 3),
    strategies.integers(1, 3), strategies.sampled_from(DTYPES), strategies.sampled_from(FORMATS),
    strategies.booleans(), strategies.booleans(), strategies.sampled_from(["relu", "gelu", "silu", "hard_swish"]),
)  # fmt: skip
def test_fusions_are_those_of_the_long_way(positions, groups, size, dtype, form, has_weight, has_bias, activation):
    with pytest.MonkeyPatch.context() as patch:
        ways = Ways(patch)
        channels = groups * size
        x = tensor((2, channels, *positions), dtype, form)
        residual = tensor(x.shape, dtype, form)
        of_last, of_channels = (
            [parameter(count, dtype, False) if has else None for has in (has_weight, has_bias)]
            for count in (x.shape[-1], channels)
        )
        eps, last = 1e-3, x.shape[-1:]
        for function, arguments in (
            (fused.add_layer_norm, (residual, last, *of_last, eps)),
            (fused.add_rms_norm, (residual, last, of_last[0])),
            (fused.layer_norm_activation, (last, *of_last, eps, activation)),
            (fused.group_norm_activation, (groups, *of_channels, eps, activation)),
        ):
            assert ways(function, x, *arguments) or form != "contiguous"


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 5, 3), (2, 6, 2, 3, 4), (2, 6, 2, 3, 1, 2)])
def test_groups_whose_channels_are_last(ways, shape):
    """What the operator returns in a graph is what it has promised."""
    order = [0, *range(2, len(shape)), 1]
    x = torch.randn([shape[k] for k in order]).permute(0, -1, *range(1, len(shape) - 1))
    ways(fused.group_norm_activation, x, 2)
    torch.library.opcheck(
        torch.ops.normkit.group_norm_activation.default, (x, None, None, 2, 1e-5, "gelu"),
        test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_returned_by_the_short_way(monkeypatch, dtype):
    x, residual, weight = tensor((3, 5, 8), dtype), tensor((3, 5, 8), dtype), tensor((8,), dtype)
    found = fused.add_layer_norm(x, residual, 8, weight, return_sum=True)
    monkeypatch.setattr(_short, "available", False)
    expected = fused.add_layer_norm(x, residual, 8, weight, return_sum=True)
    assert torch.equal(found[1], x + residual)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (fused.add_layer_norm, (torch.randn(3, 7), 8), "residual"),
        (fused.add_layer_norm, (torch.randn(3, 8).double(), 8), "residual"),
        (fused.layer_norm_activation, (8, None, None, 1e-5, "softmax"), "activation"),
        (fused.group_norm_activation, (3,), "groups"),
    ],
)
def test_refusals_of_fusions_are_those_of_the_long_way(monkeypatch, function, arguments, message):
    def refusal():
        with pytest.raises(ValueError) as caught:
            function(torch.randn(3, 8), *arguments)
        return str(caught.value)

    found = refusal()
    monkeypatch.setattr(_short, "available", False)
    assert found == refusal() and message in found


@pytest.mark.parametrize("strides", [(6, 77, 1), (6, 1, 1)])
def test_strides_of_one_element(ways, strides):
    x = torch.empty_strided((4, 1, 6), strides).copy_(torch.randn(4, 1, 6))
    assert ways(functional.layer_norm, x, 6)


class Plain(torch.Tensor):
    pass


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (functional.layer_norm, (torch.randn(3, 8).as_subclass(Plain), 8)),
        (functional.layer_norm, (torch.randn(3, 8), 8, torch.ones(8).as_subclass(Plain))),
        (functional.layer_norm, (torch.randn(3, 8), 8, None, None, 1)),
        (functional.group_norm, (torch.randn(3, 8), True)),
    ],
    ids=["subclass", "subclass of a parameter", "eps is an integer", "groups is a bool"],
)
def test_what_is_seldom_is_left_to_the_long_way(ways, function, arguments):
    before = ways.taken
    try:
        function(*arguments)
    except TypeError:
        pass
    assert ways.taken == before


def test_statistics_that_want_gradients_are_refused():
    mean = torch.zeros(8, requires_grad=True)
    with pytest.raises(ValueError, match="running_mean requires grad"):
        functional.batch_norm(torch.randn(3, 8), mean, torch.ones(8))


@pytest.mark.parametrize(
    ("function", "x", "arguments", "message"),
    [
        (functional.layer_norm, torch.randn(3, 4), (5,), "normalized_shape"),
        (functional.layer_norm, torch.randn(3, 4), (4, torch.ones(3)), "weight"),
        (functional.layer_norm, torch.randn(3, 4), (4, torch.ones(4).double()), "weight"),
        (functional.layer_norm, torch.randn(3, 4), (4, None, None, "x"), "eps"),
        (functional.layer_norm, torch.randn(3, 4), (4, None, None, -1.0), "eps"),
        (functional.layer_norm, torch.randn(3, 4), (4, None, None, torch.tensor(1e-3)), "eps"),
        (functional.layer_norm, torch.zeros(3, 4, dtype=torch.int32), (4,), "x"),
        (functional.layer_norm, torch.empty(3, 4, device="meta"), (4,), "meta"),
        (functional.layer_norm, torch.randn(3, 4).to_sparse(), (4,), "x"),
        (functional.group_norm, torch.randn(2, 6), (4,), "groups"),
        (functional.group_norm, torch.randn(6), (3,), "x"),
        (functional.batch_norm, torch.randn(2, 6), (torch.zeros(5), torch.ones(6)), "running_mean"),
    ],
)
def test_refusals_are_those_of_the_long_way(monkeypatch, function, x, arguments, message):
    def refusal():
        with pytest.raises((ValueError, TypeError)) as caught:
            function(x, *arguments)
        return type(caught.value), str(caught.value)

    found = refusal()
    monkeypatch.setattr(_short, "available", False)
    assert found == refusal()
    assert message in found[1]


def test_threads_at_once():
    x, weight = torch.randn(64, 96), torch.randn(96)
    expected = functional.layer_norm(x, 96, weight)
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: functional.layer_norm(x, 96, weight), range(400)):
            assert torch.equal(y, expected)


MEMORY = """
import resource, torch
from normkit.torch import functional
x, weight = torch.randn(256, 1024), torch.ones(1024)
parameter = torch.ones(1024, requires_grad=True)
held = x._use_count(), weight._use_count()
def use(count):
    for _ in range(count):
        functional.layer_norm(x, 1024, weight)  # a MiB each
        functional.layer_norm(x, (256, 1024))
        functional.group_norm(x, 4, weight)
        y = functional.layer_norm(x, 1024, parameter)
        y.backward(x)
        parameter.grad = None
use(20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
use(300)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, (x._use_count(), weight._use_count()) == held)
"""


def test_memory_is_freed():
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True True\n", done.stderr


USE = """
import torch
import normkit.torch
from normkit.torch import _short
print(_short.available, normkit.torch.layer_norm(torch.tensor([[1.0, 3.0]]), 2, eps=0.0).tolist())
"""


def run(before="", **changed):
    command = [sys.executable, "-c", before + USE]
    return subprocess.run(command, env={**os.environ, **changed}, capture_output=True, text=True, timeout=120)


def test_named_library_has_to_load(tmp_path):
    done = run(NORMKIT_TORCH_LIBRARY=str(tmp_path / "none.so"))
    assert done.returncode != 0 and "none.so" in done.stderr and "bindings/torch/build.sh" in done.stderr


def test_without_kernels_the_long_way_is_taken():
    hide = """
from pathlib import Path
is_file = Path.is_file
Path.is_file = lambda path: "torch" not in path.name and is_file(path)
"""
    done = run(hide)
    assert done.stdout == "False [[-1.0, 1.0]]\n", done.stderr

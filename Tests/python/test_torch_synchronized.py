"""normkit.torch.SyncBatchNorm with four processes on this machine, over gloo.

The file is also the program that each of the processes runs: all cases in a row, each with a share of a batch.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import normkit.torch  # noqa: E402
from torch import distributed, nn  # noqa: E402

RANKS, CHANNELS, STEPS = 4, 5, 2
SIZES = {"even": [3, 3, 3, 3], "uneven": [1, 4, 2, 6], "empty": [0, 5, 0, 3], "one value each": [1, 1, 1, 1]}
F32, F64, F16, BF16 = torch.float32, torch.float64, torch.float16, torch.bfloat16

# Name: sizes of the shares, positions, dtype, options of the module.
CASES = {
    "even": ("even", (4, 3), F32, {}),
    "uneven": ("uneven", (4, 3), F32, {}),
    "uneven, f64": ("uneven", (4, 3), F64, {}),
    "uneven, f16": ("uneven", (4, 3), F16, {}),
    "uneven, bf16": ("uneven", (4, 3), BF16, {}),
    "uneven, rows": ("uneven", (), F32, {}),
    "uneven, volumes": ("uneven", (2, 2, 3), F32, {}),
    "empty": ("empty", (4, 3), F32, {}),
    "one value each": ("one value each", (), F32, {}),
    "cumulative": ("uneven", (4, 3), F32, {"momentum": None}),
    "without parameters": ("uneven", (4, 3), F32, {"affine": False}),
    "without bias": ("uneven", (4, 3), F32, {"bias": False}),
    "without running statistics": ("uneven", (4, 3), F32, {"track_running_stats": False}),
}


def module(kind, dtype=F32, **options):
    torch.manual_seed(0)
    norm = kind(CHANNELS, **options)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.normal_(1, 0.5)
    return norm.to(dtype)


def batches(case):
    """x and dy of each step, of all processes together. Means are far from 0, which merging has to bear."""
    sizes, positions, dtype, _ = CASES[case]
    generator = torch.Generator().manual_seed(0)
    shape = (STEPS, 2, sum(SIZES[sizes]), CHANNELS, *positions)
    values = torch.randn(shape, generator=generator, dtype=F64)
    values[:, 0] += 100 * torch.arange(CHANNELS).reshape(-1, *[1] * len(positions))
    return values.to(dtype)


def shares(case, tensor):
    return tensor.split(SIZES[CASES[case][0]])


def steps(norm, x_and_dy):
    """y and dx of each step; gradients of parameters add up."""
    found = []
    for x, dy in x_and_dy:
        x = x.clone().requires_grad_()
        y = norm(x)
        y.backward(dy)
        found.append((y.detach(), x.grad))
    return found


# ---- In each process ------------------------------------------------------------------------------------


def run(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    results = {"cases": {}}
    for case, (_, _, dtype, options) in CASES.items():
        norm = module(normkit.torch.SyncBatchNorm, dtype, **options)
        own = [(shares(case, x)[rank], shares(case, dy)[rank]) for x, dy in batches(case)]
        results["cases"][case] = {
            "steps": steps(norm, own),
            "gradients": {key: parameter.grad for key, parameter in norm.named_parameters()},
            "state": norm.state_dict(),
            "evaluated": norm.eval()(own[0][0]).detach(),
        }
    results["channels last"] = channels_last(rank)
    results["group"] = in_pairs(rank)
    results["parallel"] = data_parallel(rank)
    results["frozen input"] = without_gradient_of_input(rank)
    with pytest.raises(ValueError, match="one value per channel"):
        norm = module(normkit.torch.SyncBatchNorm)
        norm(torch.ones(1 if rank == 2 else 0, CHANNELS))
    with pytest.raises(ValueError, match="expected at least 2D input"):
        norm(torch.ones(CHANNELS))
    norm(torch.ones(0, CHANNELS))
    assert not norm.running_mean.any() and norm.num_batches_tracked == 1
    torch.save(results, f"{folder}/{rank}")
    distributed.destroy_process_group()


def channels_last(rank):
    """The same as with channels first, in channels-last memory."""
    own = [shares("uneven", tensor)[rank] for tensor in batches("uneven")[0]]
    turned = [tensor.to(memory_format=torch.channels_last) for tensor in own]
    (expected,), (found,) = (steps(module(normkit.torch.SyncBatchNorm), [pair]) for pair in (own, turned))
    return {
        "expected": expected, "found": found,
        "kept": all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in found),
    }


def in_pairs(rank):
    """Ranks 0 and 1, and 2 and 3, have a batch of their own."""
    groups = [distributed.new_group([0, 1]), distributed.new_group([2, 3])]
    norm = module(normkit.torch.SyncBatchNorm, process_group=groups[rank // 2])
    return steps(norm, [[shares("even", tensor)[rank] for tensor in batches("even")[0]]])[0]


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(CHANNELS, 6, 2), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(36, 2)
    return nn.Sequential(*layers).double()


def train(model, x):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def data_parallel(rank):
    model, changed = normkit.torch.convert(nn.SyncBatchNorm.convert_sync_batchnorm(network()))
    assert changed == {"SyncBatchNorm": 1}
    train(nn.parallel.DistributedDataParallel(model), shares("even", batches("even")[0][0])[rank].double())
    return model.state_dict()


def without_gradient_of_input(rank):
    norm = module(normkit.torch.SyncBatchNorm)
    x, dy = (shares("uneven", tensor)[rank] for tensor in batches("uneven")[0])
    norm(x).backward(dy)
    return norm.weight.grad, norm.bias.grad


# ---- In the process of the tests --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The results of the processes."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": str(Path(normkit.__file__).parents[1]), "GLOO_SOCKET_IFNAME": "lo"}
    commands = [[sys.executable, __file__, str(rank), folder] for rank in range(RANKS)]
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * RANKS, "\n".join(errors)
    return [torch.load(folder / str(rank)) for rank in range(RANKS)]


def within_two_units(value, other):
    other = other.double()
    eps = torch.finfo(value.dtype).eps if value.is_floating_point() else 0
    return (value.double() - other).abs().max() <= 2 * eps * other.abs().max()


def joined(found):
    """The steps of all ranks put together: y and dx of each."""
    return [[torch.cat(parts) for parts in zip(*step)] for step in zip(*found)]


@pytest.mark.parametrize("case", CASES)
def test_all_ranks_have_the_same_bits(case, ranks):
    first, *others = (rank["cases"][case]["state"] for rank in ranks)
    for other in others:
        assert all(torch.equal(value, first[key]) for key, value in other.items())


def exact(case):
    """y and dx in f64 by PyTorch, for the whole batch; the module after all steps; and z in each step."""
    _, positions, dtype, options = CASES[case]
    norm = module(normkit.torch.SyncBatchNorm, dtype, **options).double()
    kind = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][len(positions)]
    twin = module(kind, F64, **options)
    twin.load_state_dict(norm.state_dict())
    found = steps(twin, batches(case).double())
    standardized = [module(kind, F64, affine=False)(x) for x, _ in batches(case).double()]
    return found, twin, standardized


# One process alone is 2 units off in y, 4 in dx and 6 in gradients of parameters (support/limits.py); rounding results
# to halves adds half a unit of theirs. PyTorch's own sums in f64 are off by half a unit for each term.
def close(found, expected, scale, units, doubt=0.0):
    eps = torch.finfo(F64 if found.dtype == F64 else F32).eps
    rounded = torch.finfo(found.dtype).eps / 2 * expected.abs().clamp(min=torch.finfo(found.dtype).tiny) * (
        found.dtype in (F16, BF16))
    return ((found.double() - expected).abs() <= (units + doubt * (found.dtype == F64)) * eps * scale + rounded).all()


def scale_of_dx(norm, x, dy):
    """The largest |rstd * gamma * dy| of each channel, whose units are those of dx."""
    x_of_channel, dy_of_channel = (tensor.movedim(1, 0).flatten(1) for tensor in (x, dy))
    rstd = (x_of_channel.var(1, correction=0) + norm.eps).rsqrt()
    weight = torch.ones(()) if norm.weight is None else norm.weight.detach().double().abs()
    return (rstd * weight * dy_of_channel.abs().amax(1)).reshape(-1, *[1] * (x.ndim - 2))


@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_the_whole_batch(case, ranks):
    expected, twin, standardized = exact(case)
    found = joined([rank["cases"][case]["steps"] for rank in ranks])
    weight = torch.ones(()) if twin.weight is None else twin.weight.detach().abs().max()
    bias = torch.zeros(()) if twin.bias is None else twin.bias.detach().abs().max()
    for (y, dx), (exact_y, exact_dx), (x, dy), z in zip(
        found, expected, batches(case).double(), standardized, strict=True
    ):
        # The mean of a channel is known in units of itself: x is 400 standard deviations from 0 in the last one.
        doubt = x[:, 0].numel() * x.abs().max()
        assert close(y, exact_y, max(exact_y.abs().max(), (z * weight).abs().max(), bias), 2, doubt)
        assert close(dx, exact_dx, scale_of_dx(twin, x, dy), 4, doubt)


@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_one_process_alone(case, ranks):
    """Beside the same function with one process, which has the whole batch: within 2 units."""
    _, _, dtype, options = CASES[case]
    norm = module(normkit.torch.SyncBatchNorm, dtype, **options)
    alone = steps(norm, batches(case))
    eps = torch.finfo(dtype).eps
    found = joined([rank["cases"][case]["steps"] for rank in ranks])
    for step, expected, (x, dy) in zip(found, alone, batches(case).double(), strict=True):
        scales = expected[0].double().abs().max(), scale_of_dx(norm, x, dy)
        for value, other, scale in zip(step, expected, scales, strict=True):
            if dtype == F64:  # moments hold a mean of up to 400 standard deviations in f64, which rounds it
                scale = 400 * scale
            assert ((value.double() - other.double()).abs() <= 2 * eps * scale).all()
    for key, value in ranks[0]["cases"][case]["state"].items():
        assert within_two_units(value, norm.state_dict()[key])
    evaluated = torch.cat([rank["cases"][case]["evaluated"] for rank in ranks])
    expected = norm.eval()(batches(case)[0][0]).detach()
    if norm.running_mean is not None:
        # 2 units by the mean, 2 by the root of the variance, and 2 by the evaluation itself.
        scale = expected.double().abs().max() + (norm.running_mean.abs() * norm.running_var.rsqrt()).max()
        assert (evaluated.double() - expected.double()).abs().max() <= 6 * eps * scale


@pytest.mark.parametrize("case", [case for case in CASES if case != "without parameters"])
def test_gradients_of_parameters_are_those_of_shares(case, ranks):
    """Added up they are those of the whole batch."""
    _, twin, standardized = exact(case)
    dy = batches(case)[:, 1].double()
    scale = {"weight": (dy * torch.stack(standardized)), "bias": dy}
    doubt = dy[:, :, 0].numel() * batches(case).abs().max()
    reduced = [axis for axis in range(dy.dim()) if axis != 2]
    for key, parameter in twin.named_parameters():
        parts = [rank["cases"][case]["gradients"][key] for rank in ranks]
        root = scale[key].square().sum(reduced).sqrt().max()
        # Parts of halves are rounded for themselves, in each step and when they are added.
        half = parts[0].dtype in (F16, BF16)
        lost = 2 * STEPS * torch.finfo(parts[0].dtype).eps * sum(part.double().abs() for part in parts) if half else 0
        total = sum(part.double() for part in parts)
        eps = torch.finfo(F64 if parts[0].dtype == F64 else F32).eps
        units = 6 * RANKS + (doubt if parts[0].dtype == F64 else 0)
        assert ((total - parameter.grad).abs() <= units * eps * root + lost).all()


def test_running_variance_is_unbiased(ranks):
    x = batches("uneven")[0][0].double().movedim(1, 0).flatten(1)
    state = ranks[0]["cases"]["without parameters"]["state"]
    assert state["num_batches_tracked"] == STEPS
    second = batches("uneven")[1][0].double().movedim(1, 0).flatten(1)
    expected = 0.9 * (0.9 + 0.1 * x.var(1)) + 0.1 * second.var(1)
    torch.testing.assert_close(state["running_var"].double(), expected, rtol=8 * 2**-23, atol=0)


def test_channels_last(ranks):
    for rank in ranks:
        result = rank["channels last"]
        assert result["kept"]
        assert len(result["found"][0]) and all(map(within_two_units, result["found"], result["expected"]))


def test_process_groups(ranks):
    for pair in (slice(0, 2), slice(2, 4)):
        x, dy = (torch.cat(shares("even", tensor)[pair]) for tensor in batches("even")[0])
        expected = steps(module(normkit.torch.SyncBatchNorm), [(x, dy)])[0]
        found = [torch.cat(parts) for parts in zip(*(rank["group"] for rank in ranks[pair]))]
        assert all(map(within_two_units, found, expected))


def test_data_parallel_training_is_that_of_the_whole_batch(ranks):
    model = network()
    train(model, batches("even")[0][0].double())
    for rank in ranks:
        torch.testing.assert_close(rank["parallel"], model.state_dict(), rtol=1e-8, atol=1e-9)
        assert all(torch.equal(value, ranks[0]["parallel"][key]) for key, value in rank["parallel"].items())


def test_input_without_gradient(ranks):
    total = [sum(parts) for parts in zip(*(rank["frozen input"] for rank in ranks))]
    norm = module(nn.BatchNorm2d, F64)
    x, dy = batches("uneven")[0].double()
    norm(x).backward(dy)
    for value, other in zip(total, (norm.weight.grad, norm.bias.grad)):
        torch.testing.assert_close(value.double(), other, rtol=0, atol=6 * RANKS * 2**-23 * dy.norm().item())


@pytest.mark.parametrize("training", [True, False])
def test_without_processes_it_is_batch_normalization(training):
    found = []
    for kind in (normkit.torch.BatchNorm2d, normkit.torch.SyncBatchNorm):
        norm = module(kind)
        norm(batches("even")[0][0])
        norm.train(training)
        found.append([*steps(norm, batches("even")), norm.state_dict()])
    *batch, state = found[0]
    *synchronized, other_state = found[1]
    assert all(torch.equal(a, b) for one, other in zip(batch, synchronized) for a, b in zip(one, other))
    assert all(torch.equal(value, other_state[key]) for key, value in state.items())


def test_state_dicts_are_exchanged():
    theirs, ours = module(nn.SyncBatchNorm), module(normkit.torch.SyncBatchNorm)
    ours(batches("even")[0][0])
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert repr(ours) == repr(theirs)


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2])

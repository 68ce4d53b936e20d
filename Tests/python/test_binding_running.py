"""Running statistics of batch and instance normalization, against PyTorch's."""


import numpy as np
import pytest

import normkit

torch = pytest.importorskip("torch")
functional = torch.nn.functional

SHAPES = [(7, 6), (4, 6, 5), (3, 6, 4, 5), (2, 6, 2, 3, 4)]


def batch(shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 3).to(dtype)


def running(dtype=torch.float32):
    statistics = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.linspace(-1, 1, 6, dtype=statistics), torch.linspace(0.5, 2, 6, dtype=statistics)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_training_updates_as_torch(shape, dtype, channels_last):
    x = batch(shape, dtype)
    mean, variance = running(dtype)
    expected_mean, expected_variance = mean.clone(), variance.clone()
    # Torch's own running statistics of halves would be rounded on the way.
    functional.batch_norm(x.to(mean.dtype), expected_mean, expected_variance, training=True, momentum=0.3)
    if channels_last:
        x = x.movedim(1, -1).contiguous()
    normkit.batch_norm(x, mean, variance, training=True, momentum=0.3, channel_axis=-1 if channels_last else 1)
    torch.testing.assert_close(mean, expected_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, expected_variance, rtol=1e-5, atol=1e-6)


def test_batch_inference_reads_the_running_statistics():
    x, (mean, variance) = batch((3, 6, 4)), running()
    before = mean.clone(), variance.clone()
    w, b = torch.rand(6), torch.rand(6)
    torch.testing.assert_close(
        normkit.batch_norm(x, mean, variance, w, b), functional.batch_norm(x, mean, variance, w, b)
    )
    assert torch.equal(mean, before[0]) and torch.equal(variance, before[1])


def test_cumulative_average_is_that_of_torchs_module():
    module = torch.nn.BatchNorm1d(6, momentum=None, affine=False)
    mean, variance = np.zeros(6, np.float32), np.ones(6, np.float32)
    for seed in range(4):
        x = batch((5, 6), seed=seed)
        normkit.batch_norm(
            x.numpy(), mean, variance, training=True, momentum=None,
            num_batches_tracked=module.num_batches_tracked,
        )
        module(x)
    np.testing.assert_allclose(mean, module.running_mean, rtol=1e-5)
    np.testing.assert_allclose(variance, module.running_var, rtol=1e-5)


def test_biased_running_variance():
    x, (mean, variance) = batch((3, 6, 4)), running()
    expected = 0.75 * variance + 0.25 * x.var((0, 2), correction=0)
    normkit.batch_norm(x, mean, variance, training=True, momentum=0.25, unbiased_running_var=False)
    torch.testing.assert_close(variance, expected)


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", ["first", "last", "strided", "in place"])
def test_instance_updates_as_torch(shape, dtype, layout):
    x = batch(shape, dtype)
    w, b = torch.rand(6).to(dtype), torch.rand(6).to(dtype)
    mean, variance = running(dtype)
    expected_mean, expected_variance = mean.clone(), variance.clone()
    expected = functional.instance_norm(
        x.to(mean.dtype), expected_mean, expected_variance, w.to(mean.dtype), b.to(mean.dtype), momentum=0.3
    )
    axis, out = 1, None
    if layout == "last":
        x, axis, expected = x.movedim(1, -1).contiguous(), -1, expected.movedim(1, -1)
    if layout == "strided":
        x = torch.stack([x, x], 1)[:, 0]
        assert not x.is_contiguous()
    if layout == "in place":
        out = x
    y = normkit.instance_norm(x, mean, variance, w, b, momentum=0.3, channel_axis=axis, out=out)
    loose = {"rtol": 2e-2, "atol": 3e-2} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(y.to(mean.dtype), expected, **loose)
    torch.testing.assert_close(mean, expected_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, expected_variance, rtol=1e-5, atol=1e-6)


def test_instance_inference_reads_the_running_statistics():
    x, (mean, variance) = batch((3, 6, 4)), running()
    torch.testing.assert_close(
        normkit.instance_norm(x, mean, variance, use_input_stats=False),
        functional.instance_norm(x, mean, variance, use_input_stats=False),
    )

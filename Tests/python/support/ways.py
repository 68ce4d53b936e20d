"""Both ways of functions of `normkit.torch`: the short one through PyTorch's dispatcher, and the long one."""

from typing import NamedTuple

import torch
from hypothesis import strategies
from normkit.torch import _short, functional

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
FORMATS = ["contiguous", "channels last", "transposed", "a part"]


class Watched:
    """Counts how often the short way gave a result, by the function of `_short` that asks for it."""

    def __init__(self, monkeypatch, name):
        self.monkeypatch, self.taken = monkeypatch, 0
        ask = getattr(_short, name)

        def watched(*arguments):
            result = ask(*arguments)
            self.taken += result is not None
            return result

        monkeypatch.setattr(_short, name, watched)

    def both(self, call):
        """What a call gives by the short way, where that is open, and by the long one, and how often it was open."""
        before = self.taken
        found = call()
        with self.monkeypatch.context() as patch:
            patch.setattr(_short, "available", False)
            return found, call(), self.taken - before


class Ways(Watched):
    """Calls that record no gradients."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch, "_result")

    def __call__(self, function, x, *arguments):
        """Whether the short way gave the result, which both agree on."""
        y, expected, taken = self.both(lambda: function(x, *arguments))
        assert y.dtype == x.dtype and y.shape == x.shape and y.stride() == expected.stride()
        assert torch.equal(y.nan_to_num(7), expected.nan_to_num(7))
        return taken > 0


def tensor(shape, dtype, form="contiguous"):
    x = (torch.randn(shape, dtype=torch.float64) * 3 + 1).to(dtype)
    if form == "channels last" and len(shape) in (4, 5):
        return x.contiguous(memory_format=[torch.channels_last, torch.channels_last_3d][len(shape) - 4])
    if form == "transposed" and len(shape) > 1:
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if form == "a part":
        return torch.cat([x, x], dim=-1)[..., : shape[-1]]
    return x


def parameter(count, dtype, wide):
    """Of x's dtype, or float32 beside halves if `wide`."""
    return tensor((count,), torch.float32 if wide and dtype is not torch.float64 else dtype)


class Problem(NamedTuple):
    x: torch.Tensor
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    groups: int
    form: str


@strategies.composite
def problems(draw, least_size: int) -> Problem:
    """x of any rank, dtype and format, with parameters or without. least_size: channels of a group at least."""
    positions = draw(strategies.lists(strategies.integers(1, 5), min_size=0, max_size=3))
    groups, size = draw(strategies.integers(1, 3)), draw(strategies.integers(least_size, 3))
    dtype, form = draw(strategies.sampled_from(DTYPES)), draw(strategies.sampled_from(FORMATS))
    channels, wide = groups * size, draw(strategies.booleans())
    weight, bias = (
        parameter(channels, dtype, wide) if draw(strategies.booleans()) else None for _ in ("weight", "bias"))
    return Problem(tensor((2, channels, *positions), dtype, form), weight, bias, groups, form)


def calls(x, weight, bias, groups):
    """Functions with the arguments behind x."""
    channels = x.shape[1]
    last = x.shape[-1:]
    statistics = torch.float64 if x.dtype == torch.float64 else torch.float32
    mean, var = torch.randn(channels, dtype=statistics), torch.rand(channels, dtype=statistics) + 0.5
    of_last = [None if one is None else tensor(tuple(last), one.dtype) for one in (weight, bias)]
    yield functional.layer_norm, (last, *of_last, 1e-3)
    yield functional.rms_norm, (last, of_last[0])
    yield functional.group_norm, (groups, weight, bias)
    yield functional.batch_norm, (mean, var, weight, bias)
    if x.dim() > 2:
        yield functional.instance_norm, (None, None, weight, bias)

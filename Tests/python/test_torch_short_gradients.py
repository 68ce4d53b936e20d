"""The short way of eager code where gradients are recorded: the bits of the long way, forward and backward."""

import pytest
from hypothesis import given, settings, strategies

torch = pytest.importorskip("torch")

from normkit.torch import functional, fused  # noqa: E402
from support.ways import DTYPES, Watched, calls, parameter, problems, tensor  # noqa: E402


def recorded_calls(x, weight, bias, groups):
    """Those of `calls` where gradients are recorded, and how often the short way is open to them."""
    for function, arguments in calls(x, weight, bias, groups):
        if function is functional.batch_norm:
            yield function, (None, None, weight, bias, True), 1  # backward alone
        else:
            yield function, arguments, 2


def gradients(function, x, arguments, wanted, dy):
    """y, and the gradients of x and of the parameters among the arguments that are wanted."""
    parameters = [one for one in arguments if isinstance(one, torch.Tensor)]
    inputs = [tensor.detach().requires_grad_(wants) for tensor, wants in zip([x, *parameters], wanted)]
    given = iter(inputs[1:])
    y = function(inputs[0], *(next(given) if isinstance(one, torch.Tensor) else one for one in arguments))
    y.backward(dy)
    return [y.detach(), *(tensor.grad for tensor in inputs)]


class Recorded(Watched):
    """Calls whose gradients are formed."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch, "_results")

    def __call__(self, function, x, arguments, wanted=(True, True, True), dy=None):
        """How often the short way was taken, forward and backward, with what both agree on."""
        dy = torch.randn_like(x) if dy is None else dy
        found, expected, taken = self.both(lambda: gradients(function, x, arguments, wanted, dy))
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert one.dtype == other.dtype and one.stride() == other.stride()
                assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))
        return taken


@pytest.fixture
def recorded(monkeypatch):
    return Recorded(monkeypatch)


@settings(max_examples=60, deadline=None)
@given(problems(least_size=2), strategies.lists(strategies.booleans(), min_size=3, max_size=3))
def test_gradients_are_those_of_the_long_way(problem, wanted):
    x, weight, bias, groups, form = problem
    with pytest.MonkeyPatch.context() as patch:
        recorded = Recorded(patch)
        for function, arguments, ways in recorded_calls(x, weight, bias, groups):
            tensors = sum(isinstance(one, torch.Tensor) for one in arguments)
            if any(wanted[: 1 + tensors]):
                one_value = function is functional.instance_norm and x[0, 0].numel() == 1
                if not one_value:
                    assert recorded(function, x, arguments, wanted) == ways or form != "contiguous"


@pytest.mark.parametrize("form", ["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_short_way_is_taken_with_gradients(recorded, dtype, form):
    x, weight, bias = tensor((2, 6, 3, 4), dtype, form), parameter(6, dtype, False), parameter(6, dtype, False)
    of_channels = [*recorded_calls(x, weight, bias, 3)][2:]
    for function, arguments, ways in of_channels if form == "channels last" else recorded_calls(x, weight, bias, 3):
        assert recorded(function, x, arguments) == ways


def test_gradients_that_lie_in_another_way(recorded):
    x = torch.randn(2, 6, 3, 4)
    last = torch.randn(2, 6, 3, 4).contiguous(memory_format=torch.channels_last)
    for dy in (last, torch.tensor(3.0).expand_as(x)):
        for function, arguments, ways in recorded_calls(x, torch.randn(6), torch.randn(6), 2):
            assert recorded(function, x, arguments, dy=dy) == ways


def test_only_the_last_axis_has_a_short_way(recorded):
    assert recorded(functional.layer_norm, torch.randn(2, 3, 4), ((3, 4),)) == 0
    assert recorded(functional.layer_norm, torch.randn(2, 3, 4), ((4,), torch.ones(8)[::2])) == 0


def test_running_statistics_of_instances_go_the_long_way(recorded):
    mean, var = torch.zeros(6), torch.ones(6)
    x = torch.randn(2, 6, 5, requires_grad=True)
    functional.instance_norm(x, mean, var).sum().backward()
    assert recorded.taken == 0 and mean.any()


@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("call", [
    lambda x: functional.layer_norm(x, 4, eps=None), lambda x: functional.group_norm(x, 3, eps=None),
    lambda x: fused.add_layer_norm(x, x, 4, eps=None), lambda x: fused.layer_norm_activation(x, 4, eps=None),
])
def test_only_rms_normalization_has_an_epsilon_of_its_own(call, records):
    with pytest.raises(TypeError, match="eps"):
        call(torch.randn(2, 3, 4, requires_grad=records))


def test_weights_that_are_negated_lazily(recorded):
    weight = torch._neg_view(torch.randn(8))
    assert recorded(functional.layer_norm, torch.randn(3, 8), (8, weight)) == 2


def test_rows_with_gaps_do_not_ask(recorded):
    assert recorded(functional.layer_norm, torch.randn(8, 3).t(), (8,)) == 0


def test_gradients_are_not_differentiated_by_the_short_way():
    x = torch.randn(3, 8, requires_grad=True)
    (dx,) = torch.autograd.grad(functional.layer_norm(x, 8).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        dx.sum().backward()

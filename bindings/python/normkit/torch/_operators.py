"""How operators of PyTorch's dispatcher are defined, in the namespace `normkit`: what torch.compile and torch.export
put into their graphs. `_table` lists them.

Outside of a graph, the dispatcher's way through Python costs more than a small normalization. So eager code takes
another one (`_autograd.differentiable`), and the functions choose by `torch.compiler.is_compiling`.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

import torch
from torch import Tensor

from ._autograd import Backward, Forward, is_recorded

# Takes x and, by position, the choices. Returns the shapes of the statistics.
Shapes = Callable[..., Sequence[Sequence[Any]]]

_library = torch.library.Library("normkit", "DEF")  # type: ignore[no-untyped-call]


def statistics_dtype(x: Tensor) -> torch.dtype:
    """The type of statistics of `x`, and of the sums that gradients of its parameters are."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def machine_epsilon(x: Tensor) -> float:
    """What an epsilon of None is for RMS normalization of `x`: that of the type of statistics."""
    return 2.0**-52 if x.dtype == torch.float64 else 2.0**-23


def placed(x: Tensor, y: Tensor) -> Tensor:
    """`y`, lying in memory as `torch.empty_like(x)` does, which graphs rely on."""
    if x.is_contiguous() and y.is_contiguous():
        return y
    like = torch.empty_like(x)
    return y if y.stride() == like.stride() else like.copy_(y)


def define(
    name: str, schema: str, results: int, implementation: Callable[..., Any], fake: Callable[..., Any]
) -> Any:
    """Define the operator `name` of the arguments `schema` and return it. No argument may be written.

    fake: makes results of the same shape, dtype and strides where tensors have no contents.
    """
    returns = "Tensor" if results == 1 else f"({', '.join(['Tensor'] * results)})"
    _library.define(f"{name}({schema}) -> {returns}")  # type: ignore[no-untyped-call]
    _library.impl(name, implementation, "CPU")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"normkit::{name}", fake, lib=_library)
    return getattr(torch.ops.normkit, name).default


def define_short(name: str, schema: str, results: int = 1) -> Any:
    """Define an operator for eager code that records nothing, whose kernel comes from elsewhere, and return it."""
    returned = "Tensor" if results == 1 else "(" + ", ".join(["Tensor"] * results) + ")"
    _library.define(f"{name}({schema}) -> {returned}")  # type: ignore[no-untyped-call]
    # Without this, the dispatcher stops at autograd on its way to the kernel.
    _library.impl(name, torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    return getattr(torch.ops.normkit, name).default


def define_inference(
    name: str, schema: str, results: int, implementation: Callable[..., Any], fake: Callable[..., Any]
) -> Any:
    """The same for an operator without gradients, which says so."""

    def refuse(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(f"normkit::{name} is for inference and has no gradient")

    operator = define(name, schema, results, implementation, fake)
    torch.library.register_autograd(operator, refuse, lib=_library)
    return operator


class Normalization:
    """The operators of one normalization, such as

        layer_norm                  y
        layer_norm_with_statistics  y and statistics, which backward is spared from forming again
        layer_norm_backward         gradients of x, weight and bias; one that is not wanted has no elements

    Called, it is the first of them; the second, if there will be gradients.

    Args:
        name: of the first; the others are named after it.
        tensors: the arguments that may have gradients, as in a schema: x, weight and bias, or the first one or two.
        choices: the other arguments, by whose names `forward` and `backward` take them.
        forward, backward: as for `differentiable`.
        statistics: how many there are; without any, there is only the first operator.
        shapes: of the statistics.
    """

    def __init__(
        self,
        name: str,
        tensors: str,
        choices: str,
        forward: Forward,
        backward: Backward,
        statistics: int = 0,
        shapes: Shapes | None = None,
    ) -> None:
        self._forward, self._backward, self._shapes = forward, backward, shapes
        self._inputs = len(tensors.split(","))
        self._choices = [choice.split()[-1] for choice in choices.split(",")]
        self._plain = define(name, f"{tensors}, {choices}", 1, self._run, self._fake)
        self.with_statistics = self._plain
        if statistics:
            self.with_statistics = define(
                f"{name}_with_statistics", f"{tensors}, {choices}", 1 + statistics, self._run_all, self._fake_all
            )
        self._gradients = define(
            f"{name}_backward",
            f"Tensor dy, {tensors}, Tensor[] stats, bool[] output_mask, {choices}",
            self._inputs,
            self._differentiate,
            self._differentiate_fake,
        )
        for forward_operator in {self._plain, self.with_statistics}:
            torch.library.register_autograd(
                forward_operator, self._propagate, setup_context=self._save, lib=_library
            )
        torch.library.register_autograd(self._gradients, _refuse, lib=_library)

    def __call__(self, *arguments: Any) -> Tensor:
        operator = self.with_statistics if is_recorded(*arguments[: self._inputs]) else self._plain
        results = operator(*arguments)
        y: Tensor = results if isinstance(results, Tensor) else results[0]
        return y

    def _split(self, arguments: Sequence[Any]) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
        """x, its parameters and the choices, as `forward` and `backward` take them."""
        x, *parameters = arguments[: self._inputs]
        weight, bias = (*parameters, None, None)[:2]
        return x, {"weight": weight, "bias": bias}, dict(zip(self._choices, arguments[self._inputs :]))

    def _run(self, *arguments: Any) -> Tensor:
        x, parameters, choices = self._split(arguments)
        return placed(x, self._forward(x, **parameters, return_stats=False, **choices))

    def _fake(self, x: Tensor, *_: Any) -> Tensor:
        return torch.empty_like(x)

    def _run_all(self, *arguments: Any) -> tuple[Tensor, ...]:
        x, parameters, choices = self._split(arguments)
        if x.numel() == 0:  # which has no statistics
            return self._run(*arguments), *(one.zero_() for one in self._fake_all(*arguments)[1:])
        y, *stats = self._forward(x, **parameters, return_stats=True, **choices)
        return placed(x, y), *(one.contiguous() for one in stats)

    def _fake_all(self, x: Tensor, *others: Any) -> tuple[Tensor, ...]:
        assert self._shapes is not None
        shapes = self._shapes(x, *others[self._inputs - 1 :])
        return torch.empty_like(x), *(x.new_empty(shape, dtype=statistics_dtype(x)) for shape in shapes)

    def _differentiate(self, dy: Tensor, *arguments: Any) -> Any:
        inputs, (stats, mask, *chosen) = arguments[: self._inputs], arguments[self._inputs :]
        x, parameters, choices = self._split((*inputs, *chosen))
        found = self._backward(
            dy, x, weight=parameters["weight"], stats=stats if stats and x.numel() else None,
            output_mask=(*mask, False, False)[:3], **choices
        )
        dx, *others = (x.new_empty(0) if gradient is None else gradient for gradient in found[: self._inputs])
        return _results([placed(x, dx) if mask[0] else dx, *(gradient.contiguous() for gradient in others)])

    def _differentiate_fake(self, dy: Tensor, *arguments: Any) -> Any:
        inputs, mask = arguments[: self._inputs], arguments[self._inputs + 1]
        x, *parameters = inputs
        made = [torch.empty_like(x) if mask[0] else x.new_empty(0)]
        for wanted, parameter in zip(mask[1:], parameters):
            dtype = statistics_dtype(x) if wanted else x.dtype
            made.append(x.new_empty(parameter.shape if wanted else 0, dtype=dtype))
        return _results(made)

    def _save(self, ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        stats = () if isinstance(output, Tensor) else output[1:]
        chosen = inputs[self._inputs :]
        ctx.choices = [None if isinstance(choice, Tensor) else choice for choice in chosen]
        # Running statistics. Beside those of the batch, backward has no use for them, and they are updated.
        tensors = [choice if isinstance(choice, Tensor) and not stats else None for choice in chosen]
        ctx.save_for_backward(*inputs[: self._inputs], *stats, *tensors)
        ctx.mark_non_differentiable(*stats)
        ctx.set_materialize_grads(False)

    def _propagate(self, ctx: Any, dy: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        nothing = [None] * len(ctx.choices)
        if dy is None:
            return *[None] * self._inputs, *nothing
        saved, rest = ctx.saved_tensors[: self._inputs], ctx.saved_tensors[self._inputs :]
        stats, tensors = rest[: len(rest) - len(nothing)], rest[len(rest) - len(nothing) :]
        choices = [choice if tensor is None else tensor for choice, tensor in zip(ctx.choices, tensors)]
        mask = list(ctx.needs_input_grad[: self._inputs])
        found = self._gradients(dy, *saved, list(stats), mask, *choices)
        # Gradients of parameters come in the statistics type, float32 for halves, and are rounded once, here.
        gradients = [
            gradient.to(tensor.dtype) if wanted else None
            for gradient, tensor, wanted in zip([found] if self._inputs == 1 else found, saved, mask)
        ]
        return *gradients, *nothing


def _results(tensors: list[Tensor]) -> Any:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _refuse(ctx: Any, *gradients: Any) -> Any:
    raise RuntimeError("a normalization of normkit.torch can be differentiated once")

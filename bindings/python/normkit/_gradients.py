"""What backward functions have in common: which gradients are wanted, where they go, how x, dy and dx lie."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

from ._arrays import Array, Shape, describe
from ._parameters import parameters
from ._placement import Arrange, Arrangement, Result, contiguous, fit, given, is_contiguous, place, statistics
from ._scalars import real

# A gradient that is wanted: the argument for it, and the array that it holds or None.
Gradient = tuple[str, Any]


class Wanted(NamedTuple):
    """The gradients that a caller wants, None for the others: that of the input, and those of parameters."""

    dx: Gradient | None
    parameters: Sequence[Gradient | None]
    accumulate: bool


def wanted(output_mask: Sequence[bool], accumulate: bool, **outputs: Any) -> Wanted:
    """What `output_mask` asks for. `outputs` are the arguments for it, that for dx first.

    Raises TypeError or ValueError, naming the argument, for a mask that does not say it for each of them, and
    for an output that it does not ask for.
    """
    if not hasattr(output_mask, "__len__"):
        raise TypeError(f"output_mask is a {type(output_mask).__name__}; it must be ({', '.join(outputs)})")
    if len(output_mask) != len(outputs):
        raise ValueError(f"output_mask has {len(output_mask)} entries; it must be ({', '.join(outputs)})")
    gradients: list[Gradient | None] = []
    for gradient, is_wanted in zip(outputs.items(), output_mask):
        if not is_wanted and gradient[1] is not None:
            raise ValueError(f"{gradient[0]} is given, and output_mask does not ask for it")
        gradients.append(gradient if is_wanted else None)
    return Wanted(gradients[0], gradients[1:], bool(accumulate))


def leading(dy: Any, x: Any, want: Wanted) -> Array:
    """`x` where it is needed: without the gradient of a weight it may be None, and `dy` stands in for it."""
    return describe(dy, "dy") if x is None and want.parameters[0] is None else describe(x, "x")


class GradientPlacement(NamedTuple):
    """x, dy and dx, lying in memory as `arrangement` says. `inputs` are x and dy, each with its stride."""

    arrangement: Arrangement
    inputs: tuple[Array, int, Array, int]
    dx: Result | None
    dx_stride: int


def place_gradient(x: Array, dy: Any, want: Wanted, arrange: Arrange, name: str = "dy") -> GradientPlacement:
    """Find an arrangement that fits `x` and the caller's dx, as `place` does; `dy`, the argument `name`, is
    copied if it does not fit. dx is allocated if the caller has none, and absent if it is not wanted.
    """
    gradient = describe(dy, name)
    gradient.require_dtype(x.dtype)
    gradient.require_shape(x.shape)
    result, result_stride = None, 0
    if want.dx is None:
        arrangement, x, x_stride = fit(x, arrange(x))
    else:
        dx_name, dx = want.dx
        arrangement, x, x_stride, result, result_stride = place(x, dx, arrange, dx_name)
    _, gradient, dy_stride = fit(gradient, [arrangement])
    return GradientPlacement(arrangement, (x, x_stride, gradient, dy_stride), result, result_stride)


def saved(x: Array, array: Any, name: str, shape: Shape, order: Shape | None = None) -> Array | None:
    """A statistic of `x` that the forward function returned, or None; copied if it lies in another `order`.

    Raises TypeError or ValueError, naming the argument `name`, if it has another shape or is not of the
    statistics type.
    """
    if array is None:
        return None
    memory = describe(array, name)
    memory.require_dtype(x.statistics_dtype)
    memory.require_shape(shape)
    return contiguous(memory, order)


def saved_statistics(
    x: Array, stats: Any, shape: Shape, order: Shape | None = None, names: Sequence[str] = ("mean", "rstd")
) -> list[Array | None]:
    """The statistics of `x` called `names`, as the forward function returned them; None for each without."""
    if stats is None:
        return [None] * len(names)
    if not hasattr(stats, "__len__"):
        raise TypeError(f"stats is a {type(stats).__name__}; it must be ({', '.join(names)})")
    if len(stats) != len(names) or any([one is None for one in stats]):
        raise ValueError(f"stats has to be ({', '.join(names)}), as they were returned")
    return [saved(x, one, f"{name} in stats", shape, order) for name, one in zip(names, stats)]


def parameter_gradients(x: Array, want: Wanted, *shapes: Shape) -> list[Result | None]:
    """Where gradients of parameters go: the caller's arrays, of one of `shapes`, or new ones of the first.

    Raises TypeError or ValueError, naming the argument, if one is not contiguous or not of the statistics
    type, and if there is nothing to add to.
    """
    results: list[Result | None] = []
    for gradient in want.parameters:
        if gradient is None:
            results.append(None)
            continue
        name, out = gradient
        if out is not None:
            result = given(out, name, x.statistics_dtype, *shapes)
            if not is_contiguous(result.memory):
                raise ValueError(f"{name} is not contiguous")
            results.append(result)
        elif want.accumulate:
            raise ValueError(f"{name} is missing; accumulate adds to what it holds")
        else:
            results.append(statistics(x, shapes[0]))
    return results


def finished(*results: Result | None) -> tuple[Any, ...]:
    """What the caller gets: the gradients, None for those that are not wanted."""
    return tuple([None if result is None else result.finish(result.value) for result in results])


class Form(NamedTuple):
    """How the library sees the tensors of one call: which function, the sizes, the shape of weight and bias,
    and what stands between gamma and epsilon.
    """

    function: Any
    sizes: tuple[int, ...]
    parameter: Shape
    statistics: Sequence[Any]


def backward(
    x: Array,
    dy: Any,
    weight: Array | None,
    eps: float,
    want: Wanted,
    arrange: Arrange,
    form: Callable[[Arrangement], Form],
) -> tuple[Any, ...]:
    """Call the function that `form` names for the arrangement that was found: one that takes x, dy, gamma,
    statistics and epsilon. Returns ``(dx, dweight, dbias)``.
    """
    at = place_gradient(x, dy, want, arrange)
    function, sizes, shape, statistics = form(at.arrangement)
    p = parameters(x, weight, None, shape)
    dgamma, dbeta = parameter_gradients(x, want, shape)
    function(
        x.dtype, p.dtype, *sizes, *at.inputs, p.weight, *statistics, real(eps, "eps"),
        at.dx, at.dx_stride, dgamma, dbeta, want.accumulate,
    )
    return finished(at.dx, dgamma, dbeta)

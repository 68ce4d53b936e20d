"""The functions of `torch.nn.functional` that normalize, computed by NormKit, with gradients.

Arguments and results are those of PyTorch, but every tensor has to be on the CPU, and the result has x's
dtype and lies in memory as x does. Beside float16 and bfloat16 data, weight and bias may be float32. A
gradient can be formed once: where a loss contains gradients (`create_graph`), their own gradients are refused
with an error.

What models mostly ask for goes through kernels in C, which share their work between PyTorch's threads
(`torch.set_num_threads`); gradients, and everything else, use NormKit's (`normkit.set_num_threads`).

In the graphs of `torch.compile` and `torch.export` these functions are operators of the namespace `normkit`, as
`torch.ops.normkit.layer_norm`; who loads a graph that has them imports `normkit.torch` before. Forward-mode gradients
and the transforms of `torch.func` are refused. `torch.jit` and `torch.fx.symbolic_trace` cannot follow these functions.

>>> import torch
>>> x = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
>>> y = layer_norm(x, (3,))
>>> y[0, 0].backward()
>>> x.grad.mul(100).round()
tensor([[ 20., -41.,  20.]])
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import Iterator, Literal, Sequence

import torch
from torch import Tensor

import normkit

from . import _families as families
from . import _recorded as recorded
from . import _short as short
from . import _table as operators
from ._autograd import differentiable
from ._families import statistics
from ._operators import Normalization

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "normalize", "rms_norm", "weight_norm"]


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalization over the trailing axes `normalized_shape`, as `torch.nn.functional.layer_norm`.

    >>> layer_norm(torch.tensor([[1.0, 3.0], [10.0, 30.0]]), (2,), eps=0.0)
    tensor([[-1.,  1.],
            [-1.,  1.]])
    """
    if torch.compiler.is_compiling():
        return operators.layer_norm(input, weight, bias, extents(normalized_shape), eps)
    if (y := short.layer_norm(input, normalized_shape, weight, bias, eps)) is not None:
        return y
    return differentiable(
        input, weight, bias, recorded.layer_norm.forward, recorded.layer_norm.backward,
        normalized_shape=normalized_shape, eps=eps,
    )


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """RMS normalization over the trailing axes `normalized_shape`, as `torch.nn.functional.rms_norm`.

    An `eps` of None is the machine epsilon of the type of computation: 2**-23, for float64 2**-52.

    >>> rms_norm(torch.tensor([3.0, -3.0, 3.0]), (3,), eps=0.0)
    tensor([ 1., -1.,  1.])
    """
    if torch.compiler.is_compiling():
        return operators.rms_norm(input, weight, extents(normalized_shape), eps)
    if (y := short.rms_norm(input, normalized_shape, weight, eps)) is not None:
        return y
    return differentiable(
        input, weight, None, recorded.rms_norm.forward, recorded.rms_norm.backward,
        normalized_shape=normalized_shape, eps=eps,
    )


def extents(normalized_shape: int | Sequence[int]) -> list[int]:
    """One integer or several, as a list."""
    return [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group normalization of [N, C, *], as `torch.nn.functional.group_norm`.

    >>> group_norm(torch.tensor([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
    tensor([[-1.,  1., -1.,  1.]])
    """
    if torch.compiler.is_compiling():
        return operators.group_norm(input, weight, bias, num_groups, eps)
    if (y := short.group_norm(input, num_groups, weight, bias, eps)) is not None:
        return y
    return differentiable(
        input, weight, bias, recorded.group_norm.forward, recorded.group_norm.backward,
        num_groups=num_groups, eps=eps,
    )


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalization of [N, C, *], as `torch.nn.functional.batch_norm`.

    >>> mean, var = torch.zeros(1), torch.ones(1)
    >>> batch_norm(torch.tensor([[1.0], [3.0]]), mean, var, training=True, momentum=0.5, eps=0.0)
    tensor([[-1.],
            [ 1.]])
    >>> mean, var
    (tensor([1.]), tensor([1.5000]))
    """
    if not training:
        return _with_constants(input, running_mean, running_var, weight, bias, eps)
    if input.numel() == 0:
        running_mean = running_var = None  # nothing is folded into them
    if torch.compiler.is_compiling():
        return _tracked(operators.batch_norm_training, input, weight, bias, running_mean, running_var, momentum, eps)
    with updated(input, running_mean, running_var) as (mean, var):
        forward = partial(
            normkit.batch_norm, running_mean=mean, running_var=var, training=True, momentum=momentum
        )
        return differentiable(input, weight, bias, forward, recorded.batch_norm.backward, eps=eps)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalization of [N, C, *], as `torch.nn.functional.instance_norm`.

    >>> instance_norm(torch.tensor([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0)
    tensor([[[-1.,  1.],
             [-1.,  1.]]])
    """
    if not use_input_stats:
        return _with_constants(input, running_mean, running_var, weight, bias, eps)
    if input.numel() == 0:
        running_mean = running_var = None  # nothing is folded into them
    if torch.compiler.is_compiling():
        return _tracked(operators.instance_norm, input, weight, bias, running_mean, running_var, momentum, eps)
    if running_mean is None and running_var is None:
        if (y := short.instance_norm(input, weight, bias, eps)) is not None:
            return y
        pair = recorded.instance_norm
        return differentiable(input, weight, bias, pair.forward, pair.backward, eps=eps)
    with updated(input, running_mean, running_var) as (mean, var):
        forward = partial(normkit.instance_norm, running_mean=mean, running_var=var, momentum=momentum)
        return differentiable(input, weight, bias, forward, normkit.instance_norm_backward, eps=eps)


def _with_constants(
    x: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Batch normalization whose mean and variance are the running ones."""
    mean, var = statistics(x, mean), statistics(x, var)
    if torch.compiler.is_compiling():
        return operators.batch_norm_inference(x, weight, bias, mean, var, eps)
    if (y := short.batch_norm(x, mean, var, weight, bias, eps)) is not None:
        return y
    return differentiable(
        x, weight, bias, families.batch_norm_constant, families.batch_norm_constant_backward,
        running_mean=mean, running_var=var, eps=eps,
    )


def _tracked(
    operator: Normalization,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch or instance normalization in a graph: what is updated is what the operator returns."""
    if mean is None and var is None:
        return operator(x, weight, bias, mean, var, momentum, eps)
    y: Tensor
    y, _, _, *found = operator.with_statistics(x, weight, bias, mean, var, momentum, eps)
    for running, new in zip((mean, var), found):
        if running is not None:
            running.copy_(new)
    return y


@contextmanager
def updated(x: Tensor, *running: Tensor | None) -> Iterator[list[Tensor | None]]:
    """Running statistics for NormKit to update; those of a module of halves are rounded after it.

    Autograd is told that they have changed, which it cannot see.
    """
    written = [statistics(x, tensor) for tensor in running]
    yield written
    for tensor, result in zip(running, written):
        if tensor is not None and result is not None:
            if result is not tensor:
                tensor.copy_(result)
            elif not tensor.is_inference():
                torch.autograd.graph.increment_version(tensor)


def weight_norm(
    v: Tensor, g: Tensor | None = None, dim: int | None = 0, norm: Literal["l1", "l2", "max"] = "l2"
) -> Tensor:
    """Weight normalization, ``v * g / norm(v)``: one norm per slice along `dim`; None makes `v` one slice.

    A slice of zeros stays zeros, and has gradient 0.

    >>> weight_norm(torch.tensor([[3.0, 4.0]]), torch.tensor([[10.0]]))
    tensor([[6., 8.]])
    """
    if torch.compiler.is_compiling():
        return operators.weight_norm(v, g, dim, norm)
    return differentiable(v, g, None, families.weight_norm, families.weight_norm_backward, dim=dim, norm=norm)


def normalize(input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12) -> Tensor:
    """Division by a norm, ``input / max(norm, eps)``, as `torch.nn.functional.normalize`.

    `p` is 1, 2 or `math.inf`.

    >>> normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    if torch.compiler.is_compiling():
        return operators.normalize(input, extents(dim), p, eps)
    return differentiable(
        input, None, None, families.normalize, families.normalize_backward, axes=dim, p=p, eps=eps
    )

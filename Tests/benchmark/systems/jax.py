"""JAX: the formula as one writes it, under jit, on arrays of the device; backward, what jax.vjp makes of it.

Halves are computed in f32, which XLA fuses. The threads of its CPU device are as many as the process has
processors, and cannot be fewer: there is no JAX on one thread, unless the process has one.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..problem import MOMENTUM, Problem
from ..reference import EPSILON
from . import ALL_THREADS, Prepared

NAME = "JAX"
F32 = jnp.float32


def version() -> str:
    return jax.__version__


def set_threads(count: int) -> None:
    """All of the process."""


def _normalize(problem: Problem) -> Callable:
    """From x, gamma and beta (RMS and weights: x and gamma) to y."""
    row = problem.row
    channel = -1 if row.is_last or row.is_rows else 1
    spatial = (1,) * (len(row.shape) - 2)
    across = (-1,) if channel == -1 else (-1, *spatial)  # how parameters are broadcast
    positions = tuple(range(1, len(row.shape) - 1) if row.is_last else range(2, len(row.shape)))
    axes = {
        "layer": (-1,),
        "residual layer": (-1,),
        "RMS": (-1,),
        "layer over channels": (1,),
        "batch training": (0, *positions),
        "instance": positions,
        "weight": (1,),
    }.get(row.family)

    def affine(z, gamma, beta):
        return z * gamma.astype(F32).reshape(across) + beta.astype(F32).reshape(across)

    def standardized(x, axes):
        mean = x.mean(axes, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(x.var(axes, keepdims=True) + EPSILON)

    def usual(x, gamma, beta):
        return affine(standardized(x.astype(F32), axes), gamma, beta).astype(x.dtype)

    def residual(x, r, gamma, beta):
        return usual(x + r, gamma, beta), x + r

    def training(x, gamma, beta, running_mean, running_variance):
        wide = x.astype(F32)
        mean, variance = wide.mean(axes), wide.var(axes)
        values = x.size // mean.size
        scale = gamma * jax.lax.rsqrt(variance + EPSILON)
        return (
            affine(wide - mean.reshape(across), scale, beta),
            running_mean + MOMENTUM * (mean - running_mean),
            running_variance + MOMENTUM * (variance * (values / (values - 1)) - running_variance),
        )

    def rms(x, gamma):
        wide = x.astype(F32)
        scale = jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + EPSILON)
        return (wide * scale * gamma.astype(F32)).astype(x.dtype)

    def group(x, gamma, beta):
        groups, size = row.groups, row.shape[1] // row.groups
        cut = (*x.shape[:-1], groups, size) if row.is_last else (x.shape[0], groups, size, *x.shape[2:])
        sets = (*positions, -1) if row.is_last else (2, *(axis + 1 for axis in positions))
        z = standardized(x.astype(F32).reshape(cut), sets).reshape(x.shape)
        return affine(z, gamma, beta).astype(x.dtype)

    def batch(x, gamma, beta, mean, variance):
        scale = gamma.astype(F32) * jax.lax.rsqrt(variance + EPSILON)
        return affine(x.astype(F32), scale, beta - mean * scale).astype(x.dtype)

    def weight(v, g):
        return v * (g[:, None] * jax.lax.rsqrt(jnp.square(v).sum(1, keepdims=True)))

    if row.family == "batch training" and row.direction == "forward":
        return training
    others: dict[str, Callable] = {
        "residual layer": residual,
        "RMS": rms,
        "group": group,
        "batch inference": batch,
        "weight": weight,
    }
    return others.get(row.family, usual)


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    if threads != ALL_THREADS:
        return []
    row = problem.row
    shape = row.shape if not row.is_last else (row.shape[0], *row.shape[2:], row.shape[1])
    parameters = [problem.gamma, problem.beta] if row.has_beta else [problem.gamma]
    arguments = [
        *(jnp.asarray(values.reshape(shape)) for values in problem.added.values()),
        *(jnp.asarray(p.astype(problem.dtype)) for p in parameters),
    ]
    if row.family == "batch inference":
        arguments += [jnp.asarray(problem.mean), jnp.asarray(problem.variance)]
    if row.family == "batch training" and row.direction == "forward":
        arguments += [jnp.asarray(problem.running_mean), jnp.asarray(problem.running_variance)]
    if row.direction == "backward":
        _, pull = jax.jit(lambda *inputs: jax.vjp(_normalize(problem), *inputs))(*arguments)
        function, arguments = jax.jit(lambda pull, dy: pull(dy)), [pull, jnp.asarray(problem.dy.reshape(shape))]
    else:
        function = jax.jit(_normalize(problem))

    def call():
        return jax.block_until_ready(function(*arguments))

    def outputs() -> dict[str, np.ndarray]:
        result = call()
        values = result if isinstance(result, tuple) else (result,)
        return {
            name: np.asarray(value).reshape(-1) for name, value in zip(problem.outputs, values, strict=False)
        }

    return [Prepared(call, outputs, returned=sum(v.nbytes for v in jax.tree.leaves(call())))]

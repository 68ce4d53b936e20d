"""A normalization that JAX can differentiate: once, in reverse mode."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from .._plan_abi import Fusion, Method
from ._calls import Operands, Spec, backward, forward

# What a forward function keeps for its backward function.
_STATISTICS = {
    Method.LAYER_NORM: ("mean", "rstd"),
    Method.RMS_NORM: ("rstd",),
    Method.INSTANCE_NORM: ("mean", "rstd"),
    Method.GROUP_NORM: ("mean", "rstd"),
    Method.WEIGHT_NORM: ("norms",),
    Method.BATCH_NORM_INFERENCE: (),
}


def _results(spec: Spec) -> tuple[str, ...]:
    return ("y", "sum") if spec.choices.get("fusions", 0) & Fusion.STORE_SUM else ("y",)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def normalize(spec: Spec, operands: Operands) -> Operands:
    """`y`, and `sum` if the specification has it."""
    return forward(spec, _results(spec))(operands)


def _forward(spec: Spec, operands: Operands) -> tuple[Operands, Any]:
    found = forward(spec, (*_results(spec), *_STATISTICS[spec.method]))(operands)
    results = {name: found.pop(name) for name in _results(spec)}
    # What was normalized: the statistics that are left in `found` are of it.
    x = results.get("sum", operands["x"])
    return results, (operands, x, found)


def _backward(spec: Spec, saved: Any, gradients: Operands) -> tuple[Operands]:
    operands, x, statistics = saved
    given = {"x": x, "dy": gradients["y"], **statistics}
    if "gamma" in operands:
        given["gamma"] = operands["gamma"]
    is_constant = spec.method == Method.BATCH_NORM_INFERENCE
    if is_constant:
        given |= {"mean": operands["given_mean"], "variance": operands["given_variance"]}
    wanted = ["dx"]
    if "gamma" in operands or is_constant:
        wanted.append("dgamma")
    if "beta" in operands or is_constant:
        wanted.append("dbeta")
    plain = Spec(spec.method, spec.epsilon, **{name: n for name, n in spec.choices.items() if name != "fusions"})
    found = backward(plain, tuple(wanted))(given)

    dx = found["dx"] + gradients["sum"] if "sum" in gradients else found["dx"]
    results = {"x": dx}
    if "residual" in operands:
        results["residual"] = dx
    # Gradients of parameters come in the statistics type, float32 for halves.
    for name in ("gamma", "beta"):
        if name in operands:
            results[name] = found["d" + name].astype(operands[name].dtype)
    if is_constant:
        variance = operands["given_variance"]
        rstd = jax.lax.rsqrt(variance + jnp.asarray(spec.epsilon, variance.dtype))
        scale = rstd * operands["gamma"].astype(variance.dtype) if "gamma" in operands else rstd
        results["given_mean"] = -scale * found["dbeta"]
        results["given_variance"] = -0.5 * rstd * scale * found["dgamma"]
    return (results,)


normalize.defvjp(_forward, _backward)

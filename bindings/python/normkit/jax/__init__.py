"""NormKit in JAX, on the CPU: normalizations as calls that XLA compiles into its programs.

They work under `jax.jit`, `jax.vmap` and `jax.grad` (once, in reverse mode), and share XLA's threads. The library of
the calls is built by ``bindings/jax/build.sh``.

>>> import jax
>>> import jax.numpy as jnp
>>> import normkit.jax
>>> x = jnp.array([[1.0, 2.0, 3.0]])
>>> (100 * jax.grad(lambda x: normkit.jax.layer_norm(x)[0, 0])(x)).round()
Array([[ 20., -41.,  20.]], dtype=float32)
"""

from ._functions import (
    add_layer_norm,
    add_rms_norm,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
    weight_norm,
)

__all__ = [
    "add_layer_norm",
    "add_rms_norm",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "rms_norm",
    "weight_norm",
]

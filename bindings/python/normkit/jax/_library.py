"""Find and load the library of XLA's calls, and register what is in it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import jax

from .. import _library as _normkit  # loaded first: libnormkit_jax.so then finds this one

FILE_NAME = "libnormkit_jax.so"
FORWARD, BACKWARD = "normkit_forward", "normkit_backward"


def load(paths: list[Path]) -> ctypes.CDLL:
    """Load the first of `paths` that loads. Raises ImportError, with every path and the reason, if none does."""
    remedy = "Set NORMKIT_JAX_LIBRARY to the file, or build it: bindings/jax/build.sh"
    return _normkit.load_first(paths, "the NormKit library for JAX", remedy)


def _register(found: ctypes.CDLL) -> None:
    def handler(name: str) -> Any:
        return jax.ffi.pycapsule(getattr(found, name))  # type: ignore[no-untyped-call]

    def address(name: str) -> Any:
        memory = ctypes.addressof(ctypes.c_char.in_dll(found, name))
        return jax.ffi.pycapsule(memory)  # type: ignore[no-untyped-call]

    state = {"type_id": address("normkit_jax_state_type"), "type_info": address("normkit_jax_state_info")}
    jax.ffi.register_ffi_type("normkit_plan", state)  # type: ignore[arg-type]
    stages = {"instantiate": handler("normkit_jax_instantiate"), "execute": handler("normkit_jax_execute")}
    jax.ffi.register_ffi_target(FORWARD, stages, platform="cpu")
    jax.ffi.register_ffi_target(BACKWARD, handler("normkit_jax_backward"), platform="cpu")


# Held as long as XLA may call it.
library = load(_normkit.candidates(FILE_NAME, "NORMKIT_JAX_LIBRARY", "jax", "jax"))
_register(library)

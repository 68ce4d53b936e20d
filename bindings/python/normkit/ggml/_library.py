"""Find and load ggml and the library of NormKit's nodes, and say which arguments their functions take."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any, Dict, List, Tuple

from .. import _library as _normkit  # loaded first: libnormkit_ggml.so then finds this one

FILE_NAME = "libnormkit_ggml.so"


class InitParams(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


class Description(ctypes.Structure):
    """normkit_ggml_description."""

    _fields_ = [
        *((name, c_int32) for name in (
            "method", "type", "in_place", "one_plus_gamma", "one_plus_sample_scale", "activation_before",
            "activation_after")),
        ("groups", c_int64),
        ("epsilon", ctypes.c_double),
        ("slope", ctypes.c_double),
        *((name, c_void_p) for name in (
            "x", "residual", "residual_after", "bias", "gamma", "beta", "sample_scale", "sample_shift")),
    ]


# Type of the result and of the arguments, by name.
Prototypes = Dict[str, Tuple[Any, List[Any]]]

_NODES: Prototypes = {
    "normkit_ggml_new": (c_void_p, [c_int]),
    "normkit_ggml_free": (None, [c_void_p]),
    "normkit_ggml_status": (c_int32, [c_void_p]),
    "normkit_ggml_add": (
        c_char_p, [c_void_p, c_void_p, POINTER(Description), POINTER(c_void_p), POINTER(c_void_p)]),
    "normkit_ggml_layout": (None, [c_void_p, POINTER(c_int32), POINTER(c_int64), POINTER(c_size_t)]),
}

_BASE: Prototypes = {
    "ggml_version": (c_char_p, []),
    "ggml_init": (c_void_p, [InitParams]),
    "ggml_free": (None, [c_void_p]),
    "ggml_tensor_overhead": (c_size_t, []),
    "ggml_graph_overhead_custom": (c_size_t, [c_size_t, c_bool]),
    "ggml_used_mem": (c_size_t, [c_void_p]),
    "ggml_nbytes": (c_size_t, [c_void_p]),
    "ggml_n_dims": (c_int, [c_void_p]),
    "ggml_new_tensor": (c_void_p, [c_void_p, c_int, c_int, POINTER(c_int64)]),
    "ggml_set_output": (None, [c_void_p]),
    "ggml_new_graph_custom": (c_void_p, [c_void_p, c_size_t, c_bool]),
    "ggml_build_forward_expand": (None, [c_void_p, c_void_p]),
    "ggml_graph_n_nodes": (c_int, [c_void_p]),
    "ggml_threadpool_params_init": (None, [c_void_p, c_int]),
    "ggml_gallocr_new": (c_void_p, [c_void_p]),
    "ggml_gallocr_free": (None, [c_void_p]),
    "ggml_gallocr_alloc_graph": (c_bool, [c_void_p, c_void_p]),
    "ggml_gallocr_get_buffer_size": (c_size_t, [c_void_p, c_int]),
    "ggml_backend_cpu_buffer_type": (c_void_p, []),
    "ggml_backend_buft_alloc_buffer": (c_void_p, [c_void_p, c_size_t]),
    "ggml_backend_buffer_get_base": (c_void_p, [c_void_p]),
    "ggml_backend_buffer_free": (None, [c_void_p]),
    "ggml_backend_tensor_alloc": (c_int, [c_void_p, c_void_p, c_void_p]),
    "ggml_backend_tensor_set": (None, [c_void_p, c_void_p, c_size_t, c_size_t]),
    "ggml_backend_tensor_get": (None, [c_void_p, c_void_p, c_size_t, c_size_t]),
    "ggml_backend_graph_compute": (c_int, [c_void_p, c_void_p]),
    "ggml_backend_free": (None, [c_void_p]),
}

_CPU: Prototypes = {
    "ggml_backend_cpu_init": (c_void_p, []),
    "ggml_backend_cpu_set_n_threads": (None, [c_void_p, c_int]),
    "ggml_backend_cpu_set_threadpool": (None, [c_void_p, c_void_p]),
    "ggml_threadpool_new": (c_void_p, [c_void_p]),
    "ggml_threadpool_free": (None, [c_void_p]),
}

# What stands behind the context among the arguments of ggml's operators: t a tensor, i int, l int64_t, z size_t,
# f float. All return a tensor.
OPERATORS = {
    "add": "tt", "add_inplace": "tt", "cast": "ti", "cont": "t", "gelu": "t", "gelu_erf": "t", "get_rows": "tt",
    "group_norm": "tif", "group_norm_inplace": "tif", "mul": "tt", "mul_mat": "tt", "norm": "tf", "norm_inplace": "tf",
    "permute": "tiiii", "repeat": "tt", "reshape_2d": "tll", "reshape_3d": "tlll", "reshape_4d": "tllll",
    "rms_norm": "tf", "rms_norm_inplace": "tf", "scale": "tf", "silu": "t", "soft_max_ext": "ttff", "sub": "tt",
    "transpose": "t", "view_2d": "tllzz", "view_3d": "tlllzzz", "view_4d": "tllllzzzz",
}
_CODES = {"t": c_void_p, "i": c_int, "l": c_int64, "z": c_size_t, "f": c_float}


def _set_prototypes(library: ctypes.CDLL, prototypes: Prototypes) -> None:
    for name, (result, arguments) in prototypes.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments


def _ggml_folder() -> Path:
    """The folder of ggml's libraries."""
    prefix = os.environ.get("GGML")
    if not prefix:
        package = importlib.util.find_spec("libggml")
        if package is None or not package.submodule_search_locations:
            raise ImportError("ggml is missing: pip install libggml-python, or set GGML to the prefix of another one")
        prefix = package.submodule_search_locations[0]
    for folder in (Path(prefix) / "lib64", Path(prefix) / "lib"):
        if (folder / "libggml-base.so").exists():
            return folder
    raise ImportError(f"there is no libggml-base.so in lib64 or lib of {prefix}")


def _load() -> tuple[ctypes.CDLL, ctypes.CDLL, ctypes.CDLL]:
    folder = _ggml_folder()
    try:
        base, cpu = (ctypes.CDLL(str(folder / f"libggml-{part}.so")) for part in ("base", "cpu"))
        _set_prototypes(base, _BASE)
        _set_prototypes(cpu, _CPU)
        _set_prototypes(base, {
            f"ggml_{name}": (c_void_p, [c_void_p, *(_CODES[code] for code in codes)])
            for name, codes in OPERATORS.items()})
    except (OSError, AttributeError) as error:
        raise ImportError(f"ggml in {folder} could not be loaded: {error}") from error
    nodes = _normkit.load_first(
        _normkit.candidates(FILE_NAME, "NORMKIT_GGML_LIBRARY", "ggml", "ggml"),
        "the NormKit library for ggml",
        "Set NORMKIT_GGML_LIBRARY to the file, or build it: bindings/ggml/build.sh",
        lambda library, _: _set_prototypes(library, _NODES),
    )
    return base, cpu, nodes


base, cpu, nodes = _load()


def refusal(status: int) -> Exception:
    """The exception for a status that a node ran into."""
    return _normkit.refusal(status, "normkit_plan_run")

"""Running converted models in ONNX Runtime."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

import onnx

from .. import _library
from ._conversion import convert

# Not for `convert`, which needs only the package onnx.
if TYPE_CHECKING:
    import onnxruntime  # type: ignore[import-untyped]

FILE_NAME = "libnormkit_onnxruntime.so"


def library_path() -> str:
    """Path of the library of operators.

    That is ``NORMKIT_ONNXRUNTIME_LIBRARY`` if it is set; otherwise the file beside the library that `normkit` has
    loaded, beside this module, or in the build folder of the source checkout that this module belongs to.

    Raises:
        ImportError: if there is none.
    """
    named = os.environ.get("NORMKIT_ONNXRUNTIME_LIBRARY")
    if named:
        return named
    folders = [Path(_library.library_path()).resolve().parent, Path(__file__).resolve().parent,
               *(path.parent for path in _library.candidates())]
    for folder in folders:
        if (folder / FILE_NAME).is_file():
            return str(folder / FILE_NAME)
    raise ImportError(
        f"there is no {FILE_NAME} in {', '.join(map(str, dict.fromkeys(folders)))}."
        " Build it: bindings/onnxruntime/build.sh, or set NORMKIT_ONNXRUNTIME_LIBRARY to the file"
    )


def register(options: onnxruntime.SessionOptions) -> onnxruntime.SessionOptions:
    """Add NormKit's operators to those of a session that is made with `options`, which are returned.

    >>> import onnxruntime
    >>> import normkit.onnx
    >>> options = normkit.onnx.register(onnxruntime.SessionOptions())
    """
    # The library calls the one of NormKit that the process has loaded, which is that of the package `normkit`.
    options.register_custom_ops_library(library_path())
    return options


def optimize(model: onnx.ModelProto | str | os.PathLike[str]) -> onnx.ModelProto:
    """A model as ONNX Runtime optimizes it, with what it can optimize on any processor.

    It folds batch normalizations into convolutions and finds attention, GELU and other things that it has operators
    for. Some of that it would not find any more after `convert`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3  # it warns that such a model is for this machine, which is where it is used
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else os.fspath(model)
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def session(
    model: onnx.ModelProto | str | os.PathLike[str],
    options: onnxruntime.SessionOptions | None = None,
    *,
    providers: Sequence[Any] = ("CPUExecutionProvider",),
) -> onnxruntime.InferenceSession:
    """A session in which NormKit computes the normalizations of a model: `optimize`, `convert`, `register` in one.

    Args:
        model: a model or the path of its file, up to 2 GB.
        options: as for `onnxruntime.InferenceSession`; NormKit's operators are added to them.
        providers: the same.

    >>> import numpy, onnx
    >>> import normkit.onnx
    >>> model = onnx.parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["": 17]>
    ...     example (float[N, 4] x, float[4] gamma) => (float[N, 4] y) { y = LayerNormalization(x, gamma) }''')
    >>> x = numpy.array([[1, 2, 3, 4]], numpy.float32)
    >>> normkit.onnx.session(model).run(None, {"x": x, "gamma": numpy.ones(4, numpy.float32)})[0].round(2)
    array([[-1.34, -0.45,  0.45,  1.34]], dtype=float32)
    """
    import onnxruntime

    converted, _ = convert(optimize(model))
    options = register(options or onnxruntime.SessionOptions())
    return onnxruntime.InferenceSession(converted.SerializeToString(), options, providers=list(providers))

"""Small ONNX models, and running them in ONNX Runtime with NormKit's operators, which are built for the tests."""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import normkit
import onnx
import onnxruntime
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parents[3]
OPSETS = {"": 17, "com.microsoft": 1, "normkit": 1}


@cache
def build_operators():
    """Build the library of operators beside a copy of NormKit's, where `normkit.onnx` is told to find it."""
    if "NORMKIT_ONNXRUNTIME_LIBRARY" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="normkit-onnxruntime-")
    os.symlink(Path(normkit.library_path()).resolve(), f"{folder}/libnormkit.so")
    command = [ROOT / "bindings" / "onnxruntime" / "build.sh", folder]
    subprocess.run(command, check=True, capture_output=True, text=True)
    os.environ["NORMKIT_ONNXRUNTIME_LIBRARY"] = f"{folder}/libnormkit_onnxruntime.so"


def value(name, shape, kind=onnx.TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, constants=None, **opsets):
    """A model of nodes, with inputs as {name: shape} or value infos, names of outputs, and constants {name: array}."""
    inputs = [value(*item) if isinstance(item, tuple) else item
              for item in (inputs.items() if isinstance(inputs, dict) else inputs)]
    outputs = [value(name, None) if isinstance(name, str) else name for name in outputs]
    initializers = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    ids = [helper.make_opsetid(domain, version) for domain, version in {**OPSETS, **opsets}.items()]
    return helper.make_model(graph, opset_imports=ids, ir_version=10)


def session(of, threads=1):
    """A session with NormKit's operators and without ONNX Runtime's optimizations."""
    build_operators()
    import normkit.onnx

    options = normkit.onnx.register(onnxruntime.SessionOptions())
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(of.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(of, inputs, threads=1):
    """The outputs of a model."""
    return session(of, threads).run(None, inputs)

"""ONNX Runtime: a model of one node with its parameters as constants, bound to the problem's memory.

Group normalization is a function of the ONNX standard that ONNX Runtime makes of several operations;
SimplifiedLayerNormalization is its own RMS normalization. It has no bf16, no channels last, no training and no
weight normalization on the processor.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import onnx
import onnxruntime

from ..problem import Problem
from ..reference import EPSILON
from . import Prepared

NAME = "ONNX Runtime"
OPSET = 23
TYPES = {"f32": onnx.TensorProto.FLOAT, "bf16": onnx.TensorProto.BFLOAT16, "f16": onnx.TensorProto.FLOAT16}
OPERATORS = {
    "layer": ("LayerNormalization",),
    "residual layer": ("SkipLayerNormalization",),
    "RMS": ("RMSNormalization", "SimplifiedLayerNormalization"),
    "batch inference": ("BatchNormalization",),
    "instance": ("InstanceNormalization",),
    "group": ("GroupNormalization",),
}


def version() -> str:
    return onnxruntime.__version__


def set_threads(count: int) -> None:
    """A session has its own."""


def _model(problem: Problem, operator: str) -> bytes:
    row, kind = problem.row, TYPES[problem.row.dtype]
    constants = {"gamma": problem.gamma}
    if row.has_beta:
        constants["beta"] = problem.beta
    if row.family == "batch inference":
        constants |= {"mean": problem.mean, "variance": problem.variance}
    attributes: dict[str, Any] = {"epsilon": EPSILON}
    if row.family == "group":
        attributes["num_groups"] = row.groups
    if operator == "SimplifiedLayerNormalization":
        attributes |= {"axis": -1, "stash_type": 1}
    outputs, domain = ["y"], ""
    if "sum" in problem.outputs:  # its own operator; the second and the third output are statistics
        outputs, domain = ["y", "", "", "sum"], "com.microsoft"
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, [*problem.added, *constants], outputs, domain=domain, **attributes)],
        row.family,
        [onnx.helper.make_tensor_value_info(name, kind, row.shape) for name in problem.added],
        [onnx.helper.make_tensor_value_info(name, kind, row.shape) for name in problem.outputs],
        [onnx.helper.make_tensor(name, kind, values.shape, values) for name, values in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def _sessions(problem: Problem, threads: int) -> Iterator[tuple[str, onnxruntime.InferenceSession]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what it lacks, it says by exceptions
    for operator in OPERATORS.get(problem.row.family, ()):
        try:
            yield (
                operator,
                onnxruntime.InferenceSession(
                    _model(problem, operator), options, providers=["CPUExecutionProvider"]
                ),
            )
        except Exception:  # no kernel; its own exceptions have no common ancestor but this
            continue


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    row = problem.row
    found: list[Prepared] = []
    if row.direction == "backward" or row.is_last or row.dtype == "bf16":  # it has no bf16 on the CPU
        return found
    for operator, session in _sessions(problem, threads):
        binding = session.io_binding()
        memory = ("cpu", 0, problem.dtype, row.shape)
        for name, values in problem.added.items():
            binding.bind_input(name, *memory, values.ctypes.data)
        for name, values in problem.outputs.items():
            binding.bind_output(name, *memory, values.ctypes.data)
        call = partial(session.run_with_iobinding, binding)

        def outputs(call=call) -> dict:
            call()
            return problem.outputs

        found.append(Prepared(call, outputs, operator if len(OPERATORS[row.family]) > 1 else ""))
    return found

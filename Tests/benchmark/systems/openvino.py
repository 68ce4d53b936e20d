"""OpenVINO's CPU plugin: a model of one normalization with its parameters as constants.

Hint for latency, computation in f32, and tensors that are the problem's memory. It has no training, no
gradients and no channels last.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import openvino
from openvino import Type
from openvino import opset13 as op

from ..problem import Problem
from ..reference import EPSILON
from . import Prepared

NAME = "OpenVINO"
TYPES = {"f32": Type.f32, "bf16": Type.bf16, "f16": Type.f16}


def version() -> str:
    return openvino.__version__.partition("-")[0]


def set_threads(count: int) -> None:
    """A compiled model has its own."""


def _node(problem: Problem, x: openvino.Node) -> openvino.Node | None:
    row = problem.row
    spatial = (1,) * (len(row.shape) - 2)

    def constant(values: np.ndarray, shape: tuple[int, ...]) -> openvino.Node:
        kept = op.constant(values.reshape(shape), Type.f32)
        return kept if row.dtype == "f32" else op.convert(kept, row.dtype)

    def over(axes: list[int], parameters: tuple[int, ...]) -> openvino.Node:
        z = op.mvn(x, op.constant(axes, Type.i64), True, EPSILON, "INSIDE_SQRT")
        return op.add(op.multiply(z, constant(problem.gamma, parameters)), constant(problem.beta, parameters))

    if row.family in ("layer", "residual layer"):
        return over([-1], (1, -1))
    if row.family == "layer over channels":
        return over([1], (1, -1, *spatial))
    if row.family == "instance":
        return over([2, 3], (1, -1, *spatial))
    if row.family == "RMS":  # what the plugin makes one operation of
        mean = op.reduce_mean(op.power(x, constant(np.array([2]), (1, 1))), op.constant([-1], Type.i64), True)
        root = op.sqrt(op.add(mean, constant(np.array([EPSILON]), (1, 1))))
        scaled = op.multiply(x, op.divide(constant(np.array([1]), (1, 1)), root))
        return op.multiply(constant(problem.gamma, (1, -1)), scaled)
    vectors = [constant(values, (-1,)) for values in (problem.gamma, problem.beta)]
    if row.family == "group":
        return op.group_normalization(x, *vectors, row.groups, EPSILON)
    if row.family == "batch inference":
        known = [constant(values, (-1,)) for values in (problem.mean, problem.variance)]
        return op.batch_norm_inference(x, *vectors, *known, EPSILON)
    return None


def prepare(problem: Problem, threads: int) -> list[Prepared]:
    row = problem.row
    if row.direction == "backward" or row.is_last:
        return []
    parameters = [op.parameter(row.shape, TYPES[row.dtype]) for _ in problem.added]
    x = op.add(*parameters) if len(parameters) > 1 else parameters[0]
    node = _node(problem, x)
    if node is None:
        return []
    compiled = openvino.Core().compile_model(
        openvino.Model([node, x] if "sum" in problem.outputs else [node], parameters),
        "CPU",
        {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"},
    )
    request = compiled.create_infer_request()
    for i, values in enumerate(problem.added.values()):
        request.set_input_tensor(i, _tensor(problem, values))
    for i, values in enumerate(problem.outputs.values()):
        request.set_output_tensor(i, _tensor(problem, values))

    def in_two_steps() -> None:
        request.start_async()
        request.wait()

    ways: dict[str, Callable] = {
        "infer": partial(request.infer, share_outputs=True),
        "start_async": in_two_steps,
    }
    return [Prepared(call, partial(_outputs, problem, call), way) for way, call in ways.items()]


def _tensor(problem: Problem, values: np.ndarray) -> openvino.Tensor:
    values = values.view(np.uint16) if problem.row.dtype == "bf16" else values  # it doesn't know NumPy's
    return openvino.Tensor(values, list(problem.row.shape), TYPES[problem.row.dtype])


def _outputs(problem: Problem, call: Callable[[], object]) -> dict[str, np.ndarray]:
    call()
    return problem.outputs

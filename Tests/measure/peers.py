"""The same problems through PyTorch and ONNX Runtime on the CPU, where they are installed."""

import importlib.util
from collections.abc import Callable
from functools import cache

import numpy as np
from support.problem import Problem


def accuracy() -> dict[str, Callable[[Problem], np.ndarray | None]]:
    """From the name of each peer to a function from a problem to y, in the memory order of the problem.

    The functions give None where the peer lacks the operation.
    """
    found = {}
    if importlib.util.find_spec("torch"):
        found["PyTorch"] = _torch
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        found["ONNX Runtime"] = _onnxruntime
    return found


def _is_channels_last(problem: Problem) -> bool:
    return problem.scalars.get("layout") == 2


def _arrays(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, gamma and beta; zeros for an absent beta, which some peers ask for."""
    x, gamma, beta = (problem.inputs[name] for name in ("x", "gamma", "beta"))
    return x, gamma, np.zeros_like(gamma) if beta is None else beta


def _torch(problem: Problem) -> np.ndarray:
    import torch
    from torch.nn import functional as F

    s, epsilon = problem.scalars, problem.scalars["epsilon"]
    x, gamma, beta = (torch.from_numpy(array) for array in _arrays(problem))
    name = str(problem.method)
    if name == "layer_norm":
        return F.layer_norm(x, (s["size"],), gamma, beta, epsilon).numpy()
    if name == "rms_norm":
        return (F.rms_norm(x, (s["size"],), gamma, epsilon) + beta).numpy()
    gamma, beta = gamma.reshape(-1), beta.reshape(-1)
    side = round(s["positions"] ** 0.5)
    if _is_channels_last(problem):
        x = x.reshape(s["samples"], side, side, s["channels"]).permute(0, 3, 1, 2)
    else:
        x = x.reshape(s["samples"], s["channels"], side, side)
    if name == "batch_norm_training":
        y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=epsilon)
    elif name == "instance_norm":
        y = F.instance_norm(x, weight=gamma, bias=beta, eps=epsilon)
    else:
        y = F.group_norm(x, s["groups"], gamma, beta, epsilon)
    return (y.permute(0, 2, 3, 1) if _is_channels_last(problem) else y).contiguous().numpy()


# Operator and operator set. ONNX Runtime has no batch normalization in training on the CPU.
_OPERATORS = {
    "layer_norm": ("LayerNormalization", 17),
    "rms_norm": ("RMSNormalization", 23),
    "instance_norm": ("InstanceNormalization", 17),
    "group_norm": ("GroupNormalization", 21),
}


def _onnxruntime(problem: Problem) -> np.ndarray | None:
    name = str(problem.method)
    if name not in _OPERATORS or _is_channels_last(problem):
        return None
    s = problem.scalars
    attributes = (("epsilon", s["epsilon"]), *((("num_groups", s["groups"]),) if name == "group_norm" else ()))
    x, gamma, beta = _arrays(problem)
    gamma, beta = gamma.reshape(-1), beta.reshape(-1)
    x = x if name.startswith(("layer", "rms")) else x.reshape(s["samples"], s["channels"], s["positions"])
    if name == "rms_norm":
        return _session(name, attributes, 2).run(None, {"x": x, "gamma": gamma})[0] + beta
    return _session(name, attributes, 3).run(None, {"x": x, "gamma": gamma, "beta": beta})[0]


@cache
def _session(name: str, attributes: tuple, inputs: int):
    """An inference session for one node with `inputs` inputs."""
    import onnx
    import onnxruntime

    operator, opset = _OPERATORS[name]
    names = ["x", "gamma", "beta"][:inputs]
    tensor = onnx.TensorProto.FLOAT
    ranks = {"x": 2 if name in ("layer_norm", "rms_norm") else 3, "gamma": 1, "beta": 1}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, names, ["y"], **dict(attributes))], name,
        [onnx.helper.make_tensor_value_info(n, tensor, [None] * ranks[n]) for n in names],
        [onnx.helper.make_tensor_value_info("y", tensor, [None] * ranks["x"])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

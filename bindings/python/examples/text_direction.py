"""Is a line of text upright or upside down? A real network, its 35 batch normalizations done by NormKit.

The network is ch_ppocr_mobile_v2.0_cls from PaddleOCR, shipped in the package rapidocr-onnxruntime. It looks at lines
cut from a photographed page (scikit-image's sample image `page`) and at rendered ones, each upright and turned by 180
degrees. Two checks:

1. The whole network with NormKit as its batch normalization against ONNX Runtime: the same probabilities.
2. Each batch normalization alone, with the input that it had in ONNX Runtime: NormKit and ONNX Runtime against the
   formula in f64, and against each other. Errors are in units of f32 epsilon (2^-23) times the largest value of
   their channel.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from _shared import best_time, check, library, model_directory, table
import normkit

BATCH_NORMS = 35
HEIGHT, WIDTH = 48, 192  # of the network's input
LEAST_CORRECT = 0.95  # share of the pictures; the network itself is not perfect
PROBABILITY_LIMIT = 1e-5  # NormKit's network against ONNX Runtime's
ERROR_LIMIT = 3.0  # NormKit's batch norm against f64, in f32 epsilon of the channel's largest value
RUNTIME_LIMIT = 4.0  # the same against ONNX Runtime, which has an error of its own

# (left, top, right, bottom) of pieces of text in the sample image, in pixels.
PHOTOGRAPHED = [
    (4, 11, 236, 38), (3, 47, 92, 66), (94, 48, 226, 67), (228, 47, 381, 66), (3, 65, 118, 84), (120, 65, 250, 84),
    (252, 63, 381, 83), (3, 83, 136, 102), (138, 83, 258, 102), (256, 80, 381, 100), (3, 101, 118, 119),
    (118, 100, 250, 119),
]
RENDERED = [
    "Batch normalization", "Ioffe and Szegedy, 2015", "mean and variance", "Exit to the right", "37 degrees Celsius",
    "upside down?",
]


@dataclass
class BatchNorm:
    """A BatchNormalization node: its name, parameters [C], epsilon, and the names of its input and output."""

    name: str
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    input: str
    output: str

    def normkit(self, x):
        return normkit.batch_norm(x, self.mean, self.variance, self.gamma, self.beta, training=False,
                                  eps=self.epsilon, channel_axis=1)

    def formula(self, x, dtype):
        """The defining formula in NumPy, in the given type; x [N, C, H, W]."""
        gamma, beta, mean, variance = (
            p.astype(dtype)[:, None, None] for p in (self.gamma, self.beta, self.mean, self.variance))
        return (x.astype(dtype, copy=False) - mean) * (gamma / np.sqrt(variance + dtype(self.epsilon))) + beta


def load_model():
    return onnx.load(model_directory("rapidocr-onnxruntime") / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx")


def batch_norms(model):
    """The model's BatchNormalization nodes, in order."""
    constants = {node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
                 for node in model.graph.node if node.op_type == "Constant"}
    found = []
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
            parameters = [constants[name] for name in node.input[1:]]
            found.append(BatchNorm(node.name, *parameters, epsilon, node.input[0], node.output[0]))
    return found


def pictures():
    """Network inputs [36, 3, 48, 192], f32 in [-1, 1], and whether each is upside down."""
    page = Image.fromarray(data.page())
    lines = [page.crop(box) for box in PHOTOGRAPHED]
    font = ImageFont.load_default(size=36)  # Aileron, which Pillow carries
    for text in RENDERED:
        left, top, right, bottom = font.getbbox(text)
        lines.append(Image.new("L", (right + 16, bottom + 16), 255))
        ImageDraw.Draw(lines[-1]).text((8, 8), text, font=font, fill=0)
    lines += [line.rotate(180) for line in lines]

    batch = np.zeros((len(lines), 3, HEIGHT, WIDTH), np.float32)
    for picture, line in zip(batch, lines):
        width = min(WIDTH, -(-line.width * HEIGHT // line.height))
        picture[:, :, :width] = np.asarray(line.resize((width, HEIGHT), Image.BILINEAR)) / 127.5 - 1
    return batch, np.arange(len(lines)) >= len(lines) // 2


def run_onnxruntime(model, batch, nodes):
    """Run the model without graph optimization, which would fold its batch norms into the convolutions.

    Returns (probabilities [N, 2], tensors by name: every batch norm's input and output, number of batch norms run).
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [name for node in nodes for name in (node.input, node.output)]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory() as directory:
        options.optimized_model_filepath = f"{directory}/run.onnx"
        session = onnxruntime.InferenceSession(watched.SerializeToString(), options)
        as_run = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    probabilities, *tensors = session.run(None, {session.get_inputs()[0].name: batch})
    return probabilities, dict(zip(names, tensors)), as_run.count("BatchNormalization")


def run_with_normkit(model, batch):
    """Run the model in ONNX's reference evaluator with NormKit's batch norm: (probabilities, batch norms run)."""
    calls = 0

    class BatchNormalization(OpRun):
        def _run(self, x, gamma, beta, mean, variance, epsilon, **_):
            nonlocal calls
            calls += 1
            return (normkit.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon, channel_axis=1),)

    evaluator = ReferenceEvaluator(model, new_ops=[BatchNormalization])
    return evaluator.run(None, {model.graph.input[0].name: batch})[0], calls


def compare(node, x, runtime_y):
    """Largest differences NormKit - f64, ONNX Runtime - f64, NormKit - ONNX Runtime for the input x [N, C, H, W].

    They are in units of f32 epsilon times the largest absolute value of the channel.
    """
    y, exact = node.normkit(x), node.formula(x, np.float64)
    unit = np.finfo(np.float32).eps * np.abs(exact).max(axis=(0, 2, 3), keepdims=True)
    return [(np.abs(a - b) / unit).max() for a, b in [(y, exact), (runtime_y, exact), (y, runtime_y)]]


def save_for_c(path, node, x, y):
    """Write one batch norm in the format that the C example reads: sizes, epsilon, x, parameters, expected y."""
    samples, channels, height, width = x.shape
    with open(path, "wb") as file:
        np.array([samples, channels, height * width], np.int64).tofile(file)
        for values in (node.epsilon, x, node.gamma, node.beta, node.mean, node.variance, y):
            np.ascontiguousarray(values, np.float32).tofile(file)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", metavar="FILE", help="write the first batch norm's data for bindings/c/example")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of all batch norms; the fastest counts")
    options = parser.parse_args(arguments)

    model, (batch, upside_down) = load_model(), pictures()
    nodes = batch_norms(model)
    expected, tensors, nodes_run = run_onnxruntime(model, batch, nodes)
    print(f"\n{len(batch)} pictures of text, upright and turned by 180 degrees")
    start = time.perf_counter()
    probabilities, calls = run_with_normkit(model, batch)
    print(f"  network with NormKit's batch norms: {time.perf_counter() - start:.1f} s")
    check(calls == BATCH_NORMS, f"{calls} batch normalizations in one pass, all by NormKit")
    correct = (probabilities.argmax(axis=1) == upside_down).sum()
    check(correct >= LEAST_CORRECT * len(batch), f"direction right for {correct} of {len(batch)} pictures")
    difference = np.abs(probabilities - expected).max()
    check(difference < PROBABILITY_LIMIT,
          f"probabilities as from ONNX Runtime: difference {difference:.1e} (limit {PROBABILITY_LIMIT:.0e})")

    print("\nEach batch norm alone; differences in f32 epsilon of the channel's largest value")
    check(nodes_run == BATCH_NORMS, f"ONNX Runtime ran {nodes_run} BatchNormalization nodes, none was folded")
    errors = [compare(node, tensors[node.input], tensors[node.output]) for node in nodes]
    table(["node", "shape", "NormKit - f64", "ONNX Runtime - f64", "NormKit - ONNX Runtime"],
          [[node.name, str(list(tensors[node.input].shape)), *(f"{e:.2f}" for e in row)]
           for node, row in zip(nodes, errors)])
    to_exact, _, to_runtime = np.max(errors, axis=0)
    check(to_exact < ERROR_LIMIT, f"NormKit to f64: at most {to_exact:.2f} (limit {ERROR_LIMIT:.0f})")
    check(to_runtime < RUNTIME_LIMIT, f"NormKit to ONNX Runtime: at most {to_runtime:.2f} (limit {RUNTIME_LIMIT:.0f})")

    print(f"\nTime of all {len(nodes)} batch norms, {len(batch)} pictures; {library()}")
    seconds = [
        best_time(lambda: [node.normkit(tensors[node.input]) for node in nodes], options.repeats),
        best_time(lambda: [node.formula(tensors[node.input], np.float32) for node in nodes], options.repeats),
        best_time(lambda: [tensors[node.input].copy() for node in nodes], options.repeats)]
    table(["by", "ms"], [[name, f"{s * 1e3:.2f}"] for name, s in zip(["NormKit", "NumPy", "copying alone"], seconds)])

    if options.save:
        save_for_c(options.save, nodes[0], tensors[nodes[0].input], tensors[nodes[0].output])


if __name__ == "__main__":
    main()

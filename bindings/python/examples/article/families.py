"""Two families: what is fixed by normalizing activations, by normalizing weights, and by a penalty on weights."""

import numpy as np

import normkit

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict

# 10 ways x 3 seeds x 20 epochs of 20 steps: some 25 s. A few epochs more change no order.
EPOCHS, SEEDS, BATCH = 20, 3, 60
LEARNING_RATE, MOMENTUM = 0.02, 0.9  # so small that the network without normalization is trained as well
L2, L1 = 1e-2, 1e-3  # strengths of the penalties

ACTIVATIONS = {
    "batch": layers.BatchNorm, "layer": layers.LayerNorm, "instance": layers.InstanceNorm,
    "group": layers.GroupNorm, "rms": layers.RMSNorm,
}
# The axes of [N, height, width, C] that a mean is over; of group normalization those of [N, height, width, groups, -1].
AXES = {"batch": (0, 1, 2), "layer": 3, "instance": (1, 2), "group": (1, 2, 4), "rms": 3}
WEIGHTS = {"weight, L2": "l2", "weight, L1": "l1"}
PENALTIES = {"penalty, L2": (L2, "l2"), "penalty, L1": (L1, "l1")}
WAYS = ("none", *ACTIVATIONS, *WEIGHTS, *PENALTIES)
COLOURS = drawing.COLOURS | {
    "weight, L2": drawing.COLOURS["weight"], "weight, L1": "#7d9c2f",
    "penalty, L2": "#c25450", "penalty, L1": "#c98a86",
}
NEAR_ZERO = 1e-3  # of the weights' scale at the start, about 0.1 to 0.5


class Recorder(layers.Identity):
    """Remembers what passed through it."""

    def forward(self, x, training=True):
        self.x = x
        return x


def network(way, seed):
    """Two convolutions and a dense layer; all but the last are normalized."""
    random = np.random.default_rng(seed)

    def block(inputs, outputs):
        convolution = layers.Convolution(random, inputs, outputs)
        if way in WEIGHTS:
            convolution = layers.WeightNorm(convolution, WEIGHTS[way])
        norm = ACTIVATIONS[way](outputs) if way in ACTIVATIONS else layers.Identity()
        return [convolution, Recorder(), norm, layers.ReLU(), layers.AveragePool()]

    return layers.Sequential(*block(1, 8), *block(8, 16), layers.Flatten(), layers.Dense(random, 64, 10))


def measure(way, seed, epochs):
    """Train a network, and measure it: loss and accuracy, its weights, and how its activations are spread."""
    digits = data.digits()
    trained = network(way, seed)
    losses = training.train(trained, training.SGD(trained.parameters(), LEARNING_RATE, MOMENTUM), digits.x,
                            digits.labels, epochs, BATCH, seed, PENALTIES.get(way))
    test_loss, accuracy = training.evaluate(trained, digits.test_x, digits.test_labels)
    steps = len(losses) // epochs
    weights = [layer.layer if isinstance(layer, layers.WeightNorm) else layer for layer in trained.layers
               if isinstance(layer, (layers.WeightNorm, layers.Convolution))]
    values = [layer.weight.value for layer in weights]
    return {
        "losses": losses.reshape(epochs, steps).mean(axis=1),
        "first loss": losses[:steps].mean(), "train loss": losses[-steps:].mean(),
        "test loss": test_loss, "accuracy": accuracy,
        "weight norm": float(np.sqrt(sum(np.square(value).sum(dtype=np.float64) for value in values))),
        "near zero": float(np.mean(np.concatenate([np.abs(value).ravel() for value in values]) < NEAR_ZERO)),
        "activations": activation_deviation(way, trained, digits.x[:BATCH]),
        "weights": weight_deviation(way, seed, trained),
    }


def activation_deviation(way, trained, x):
    """What is normalized, before its scale and shift: the largest distance of mean from 0, mean square from 1.

    Without a normalization the sets are those of batch normalization. RMS normalization leaves the mean alone.
    """
    trained.forward(x, training=True)
    largest = 0.0
    for z in [layer.x for layer in trained.layers if isinstance(layer, Recorder)]:
        if way in ACTIVATIONS:
            plain = ACTIVATIONS[way](z.shape[-1])  # scale 1, shift 0
            plain.eps = 1e-12  # the variance that is divided by, and no more
            z = plain.forward(z)
        if way == "group":
            z = z.reshape(*z.shape[:3], plain.groups, z.shape[3] // plain.groups)
        mean, var = normkit.moments(z, AXES.get(way, AXES["batch"]))
        square = var + mean * mean
        live = square > 1e-3  # a set of equal elements has no variance to be made 1
        largest = max(largest, float(np.abs(square - 1)[live].max(initial=0)),
                      0.0 if way == "rms" else float(np.abs(mean).max()))
    return largest


def weight_deviation(way, seed, trained):
    """The largest relative distance of the norm of an output's weights from what it started with, or from g.

    The norm that the way fixes; without weight normalization the L2 norm.
    """
    largest = 0.0
    for layer, before in zip(trained.layers, network(way, seed).layers):
        if isinstance(layer, layers.WeightNorm):
            _, norms = normkit.weight_norm(layer.layer.weight.value, dim=-1, norm=layer.norm, return_norms=True)
            goal = np.abs(layer.g.value)
        elif isinstance(layer, layers.Convolution):
            _, norms = normkit.weight_norm(layer.weight.value, dim=-1, return_norms=True)
            _, goal = normkit.weight_norm(before.weight.value, dim=-1, return_norms=True)
        else:
            continue
        largest = max(largest, float(np.abs(norms / goal - 1).max()))
    return largest


def draw_training(mean, epochs):
    figure, ax = drawing.subplots()
    for way in WAYS:
        style = "--" if way in WEIGHTS else ":" if way in PENALTIES else "-"
        ax.plot(np.arange(1, epochs + 1), mean[way]["losses"], style, color=COLOURS[way], label=way)
    ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss, without penalty")
    ax.legend(ncols=2)
    return drawing.svg(figure)


def draw_fixed(mean):
    figure, ax = drawing.subplots()
    for way, measured in mean.items():
        marker = "s" if way in WEIGHTS else "^" if way in PENALTIES else "o"
        ax.plot(measured["activations"], measured["weights"], marker, color=COLOURS[way], label=way, markersize=6)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("activations: distance from mean 0, square 1")
    ax.set_ylabel("weights: distance from the norm set")
    ax.legend(loc="center", ncols=2)
    return drawing.svg(figure)


def run(progress, fast):
    epochs, seeds = (2, 1) if fast else (EPOCHS, SEEDS)
    runs = {way: [measure(way, seed, epochs) for seed in range(seeds)] for way in progress(WAYS, "networks")}
    mean = {way: {key: np.mean([one[key] for one in several], axis=0) for key in several[0]}
            for way, several in runs.items()}
    worst_activation = max(mean[way]["activations"] for way in ACTIVATIONS)
    worst_weight = max(mean[way]["weights"] for way in WEIGHTS)
    others = [way for way in WAYS if way not in ACTIVATIONS]
    least_free = min(mean[way]["activations"] for way in others)
    base, l2, l1 = (mean[way] for way in ("none", "penalty, L2", "penalty, L1"))
    table = Table(
        ["", "train loss", "test loss", "accuracy", "weight norm", "weights near 0"],
        [[way, f"{m['train loss']:.4f}", f"{m['test loss']:.3f}", f"{100 * m['accuracy']:.1f} %",
          f"{m['weight norm']:.2f}", f"{100 * m['near zero']:.1f} %"] for way, m in mean.items()])
    fixed = Table(
        ["", "activations: from mean 0, square 1", "weights: from the norm set, else from the first"],
        [[way, f"{m['activations']:.1e}", f"{m['weights']:.1e}"]
         for way, m in mean.items()])
    return Result(
        verdict(worst_activation < 1e-3 < 0.1 < least_free, worst_weight < 1e-5,
                l2["weight norm"] < base["weight norm"] and l1["near zero"] > 2 * base["near zero"]),
        f"activations are normalized to {worst_activation:.0e} by the one family, off by {least_free:.1f} or more in "
        f"the other; norms of weights are what they are set to, to {worst_weight:.0e}; a penalty only shrinks them: "
        f"{base['weight norm']:.1f} without, {l2['weight norm']:.1f} with L2, {100 * l1['near zero']:.0f} % near 0 "
        "with L1",
        {way: m | {"of seeds": {key: [one[key] for one in runs[way]] for key in ("accuracy", "test loss")}}
         for way, m in mean.items()},
        [Picture("Training", draw_training(mean, epochs),
                 "Solid: activations are normalized; dashed: weights are; dotted: a penalty on weights. The order in "
                 "the first epochs tells what helps the training, the table what helps on the test images.", table),
         Picture("What is fixed", draw_fixed(mean),
                 "Left are the methods that fix the activations, whatever the weights; at the bottom those that fix "
                 "the weights, whatever the data; no method is both, and penalties are neither.", fixed)],
        "The same network (convolution to 8 and to 16 channels, each with ReLU and pooling; dense layer) on 1200 "
        f"digits of 8 x 8 pixels, {epochs} epochs, batches of {BATCH}, gradient descent with momentum at the same "
        f"learning rate {LEARNING_RATE}, means of {seeds} seeds. Penalties: L2 with {L2}, L1 with {L1}.")


EXPERIMENT = Experiment(
    "families", "Activations or weights",
    "Normalization over activations and normalization over weights are two families; L1 and L2 penalties restrict "
    "weights, too, but by the loss.",
    "Salimans, Kingma, “Weight Normalization”, 2016; Hoffer et al., “Norm matters”, 2018", run)

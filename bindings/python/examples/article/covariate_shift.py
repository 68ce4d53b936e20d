"""Whether batch normalization helps because the distributions of the layers' inputs stand still: they are shaken."""

import numpy as np

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict
from .perceptron import perceptron

# 300 steps of 3 to 10 ms, for 3 networks x (3 seeds + 4 other rates): some 20 s. The noise takes the most of it: each
# activation has two random numbers of its own.
STEPS, SEEDS, BATCH = 300, 3, 60
HIDDEN = 8  # layers; deep enough that batch normalization helps, for that is what is asked about
LEARNING_RATE, OTHER_RATES = 0.2, (0.05, 0.1, 0.4, 0.8)
# Of the noise: its mean is drawn from [-SHIFT, SHIFT] and its factor from [1, SCALE] at each step, for each
# unit; each sample's from [-SPREAD, SPREAD] around the mean, and normal around the factor.
SHIFT, SCALE, SPREAD = 0.5, 1.25, 0.1
NETWORKS = {"none": "without", "batch": "batch norm", "noisy": "noisy batch norm"}
COLOURS = {"none": drawing.COLOURS["none"], "batch": drawing.COLOURS["batch"], "noisy": drawing.COLOURS["layer"]}


class ShiftingNoise(layers.Layer):
    """Noise whose mean is not 0 and whose factor is not 1, with other ones at each step: a covariate shift.

    None of it without training.
    """

    def __init__(self, random):
        self._random = random

    def forward(self, x, training=True):
        if not training:
            self._factor = np.ones_like(x)
            return x
        random = self._random
        mean, factor = random.uniform(-SHIFT, SHIFT, x.shape[-1]), random.uniform(1, SCALE, x.shape[-1])
        self._factor = (factor + SPREAD * random.standard_normal(x.shape)).astype(x.dtype)
        return x * self._factor + (mean + random.uniform(-SPREAD, SPREAD, x.shape)).astype(x.dtype)

    def backward(self, dy):
        return dy * self._factor


def network(kind, seed):
    """Without normalization, with batch normalization, or with batch normalization and noise behind it."""
    random, noise = np.random.default_rng(seed), np.random.default_rng(1000 + seed)
    norm = {
        "none": None,
        "batch": layers.BatchNorm,
        "noisy": lambda channels: layers.Sequential(layers.BatchNorm(channels), ShiftingNoise(noise)),
    }[kind]
    return perceptron(random, norm, HIDDEN)


def inputs_of_dense(trained, x):
    """What each dense layer but the first is given in training: where a covariate shift would be."""
    found = []
    for layer in trained.layers:
        if isinstance(layer, layers.Dense):
            found.append(x)
        x = layer.forward(x, True)
    return found[1:]


def gradient_shift(trained, x, labels, rate):
    """How much the updates of the layers before a layer turn its gradient: of each dense layer but the first.

    The cosine of its gradient before and after the update of those before it. The change of a gradient by that is what
    Santurkar et al. call internal covariate shift, definition 2.1. The network stays where it is.
    """
    dense = [layer for layer in trained.layers if isinstance(layer, layers.Dense)]
    training.loss_and_gradients(trained, x, labels)
    before = [layer.weight.gradient.copy() for layer in dense]
    parameters = trained.parameters()
    values = [parameter.value.copy() for parameter in parameters]
    moves = [rate * parameter.gradient for parameter in parameters]
    result = []
    for layer, old in list(zip(dense, before))[1:]:
        for parameter, value, move in zip(parameters, values, moves):
            if parameter is layer.weight:
                break  # this one and those behind it stay
            parameter.value[...] = value - move
        training.loss_and_gradients(trained, x, labels)
        new = layer.weight.gradient
        lengths = np.linalg.norm(old) * np.linalg.norm(new)
        result.append(float((old * new).sum() / lengths) if lengths else 1.0)
    for parameter, value in zip(parameters, values):
        parameter.value[...] = value
    return result


def moments(arrays):
    """Mean and standard deviation of each unit of each layer: [layers, 2, units]."""
    return np.array([(array.mean(axis=0), array.std(axis=0)) for array in arrays])


def study(kind, rate, seed, steps, watch=True):
    """One training by plain gradient descent: a dictionary of arrays over its steps.

    watch: also measure the shifts. The losses of a training that diverges are infinite from there on.
    """
    digits = data.digits().rows()
    trained = network(kind, seed)
    optimizer = training.SGD(trained.parameters(), rate)
    random = np.random.default_rng(seed)
    watched = digits.x[:BATCH]  # the same images at each step: what moves is the network
    found = {"loss": np.full(steps, np.inf), "shift": [], "cosine": [], "unit": []}
    last = None
    for step in range(steps):
        chosen = random.choice(len(digits.x), BATCH, replace=False)
        x, labels = digits.x[chosen], digits.labels[chosen]
        if watch:
            inputs = inputs_of_dense(trained, watched)
            now = moments(inputs)
            found["unit"].append((inputs[HIDDEN // 2][:, 0].mean(), inputs[HIDDEN // 2][:, 0].std()))
            if last is not None:  # in standard deviations of the layer
                found["shift"].append(np.abs(now - last).mean(axis=(1, 2)) / last[:, 1].mean(axis=1))
            last = now
            if kind != "noisy" and step % 10 == 0:
                found["cosine"].append(gradient_shift(trained, x, labels, rate))
        with np.errstate(over="ignore", invalid="ignore"):
            loss = training.loss_and_gradients(trained, x, labels)
        if not np.isfinite(loss):
            break
        found["loss"][step] = loss
        optimizer.step()
    found["accuracy"] = training.evaluate(trained, digits.test_x, digits.test_labels)[1]
    return {key: np.array(value) for key, value in found.items()}


def smooth(losses, window=10):
    return np.convolve(losses, np.full(window, 1 / window), "valid")


def draw_losses(studies):
    figure, ax = drawing.subplots()
    for kind, found in studies.items():
        curves = np.array([smooth(one["loss"]) for one in found])
        ax.plot(curves.mean(axis=0), color=COLOURS[kind], label=NETWORKS[kind])
        ax.fill_between(np.arange(curves.shape[1]), curves.min(axis=0), curves.max(axis=0), color=COLOURS[kind],
                        alpha=0.25, linewidth=0)
    ax.set_yscale("log")
    ax.set_xlabel("step of the training")
    ax.set_ylabel("training loss")
    ax.legend()
    return drawing.svg(figure)


def draw_unit(studies):
    """Mean and standard deviation of one unit in the middle, over the steps: one panel for each network."""
    figure, axes = drawing.subplots(1, len(NETWORKS), size=(8.5, 2.9))
    for ax, (kind, found) in zip(axes, studies.items()):
        mean, deviation = found[0]["unit"].T
        ax.fill_between(np.arange(len(mean)), mean - deviation, mean + deviation, color=COLOURS[kind], alpha=0.3,
                        linewidth=0)
        ax.plot(mean, color=COLOURS[kind], linewidth=1)
        ax.set_title(NETWORKS[kind])
        ax.set_xlabel("step of the training")
    axes[0].set_ylabel("an input of a middle layer")
    return drawing.svg(figure)


def draw_rates(by_rate):
    figure, ax = drawing.subplots()
    for kind, label in NETWORKS.items():
        rates = [rate for rate in sorted(by_rate) if np.isfinite(by_rate[rate][kind])]
        ax.plot(rates, [by_rate[rate][kind] for rate in rates], "o-", color=COLOURS[kind], label=label)
    ax.axhline(np.log(10), color=drawing.INK, linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(list(by_rate), [f"{rate:g}" for rate in by_rate])
    ax.minorticks_off()
    ax.set_xlabel("learning rate")
    ax.set_ylabel("mean loss of the training")
    ax.legend()
    return drawing.svg(figure)


def draw_cosines(cosines):
    figure, ax = drawing.subplots()
    for kind, values in cosines.items():
        ax.plot(np.arange(2, 2 + len(values)), values, "o-", color=COLOURS[kind], label=NETWORKS[kind])
    ax.set_ylim(-0.05, 1.05)
    ax.set_xlabel("layer")
    ax.set_ylabel("cosine of its gradient before and after")
    ax.legend()
    return drawing.svg(figure)


def run(progress, fast):
    steps, seeds = (60, 1) if fast else (STEPS, SEEDS)
    other_rates = () if fast else OTHER_RATES
    studies = {kind: [study(kind, LEARNING_RATE, seed, steps) for seed in range(seeds)]
               for kind in progress(NETWORKS, "networks")}
    means = {kind: np.array([one["loss"].mean() for one in found]) for kind, found in studies.items()}
    by_rate = {rate: {kind: float(study(kind, rate, 0, steps, watch=False)["loss"].mean()) for kind in NETWORKS}
               for rate in progress(other_rates, "learning rates")}
    by_rate[LEARNING_RATE] = {kind: float(values[0]) for kind, values in means.items()}
    # Per network and layer, over steps and seeds.
    shifts = {kind: np.mean([one["shift"].mean(axis=0) for one in found], axis=0) for kind, found in studies.items()}
    cosines = {kind: np.mean([one["cosine"].mean(axis=0) for one in studies[kind]], axis=0)
               for kind in ("none", "batch")}
    kept = float((means["none"] - means["noisy"]).mean() / (means["none"] - means["batch"]).mean())
    ratios = {kind: float(shifts["noisy"].mean() / shifts[kind].mean()) for kind in ("none", "batch")}
    less_stable = int((shifts["noisy"] > shifts["none"]).sum())
    holds = {
        "with noise distributions are less stable than without normalization": ratios["none"] > 1,
        "the noisy network trains faster than without": bool((means["noisy"] < means["none"]).all()),
        "with batch normalization gradients are turned as much as without":
            bool(cosines["batch"].mean() <= cosines["none"].mean()),
    }
    table = Table(
        ["", "mean loss", "last 10 steps", "test accuracy"],
        [[NETWORKS[kind], f"{means[kind].mean():.3f}", f"{np.mean([one['loss'][-10:] for one in found]):.3f}",
          f"{100 * np.mean([one['accuracy'] for one in found]):.1f} %"] for kind, found in studies.items()])
    shift_table = Table(
        ["shift from step to step", *(f"layer {layer}" for layer in (2, HIDDEN // 2 + 2, HIDDEN + 1))],
        [[NETWORKS[kind], *(f"{values[at]:.4f}" for at in (0, HIDDEN // 2, HIDDEN - 1))]
         for kind, values in shifts.items()])
    rate_table = Table(
        ["learning rate", *NETWORKS.values()],
        [[f"{rate:g}", *(f"{value:.3f}" if np.isfinite(value) else "diverges" for value in by_rate[rate].values())]
         for rate in sorted(by_rate)])
    cosine_table = Table(
        ["", "mean", "smallest", "largest"],
        [[NETWORKS[kind], *(f"{value:.2f}" for value in (values.mean(), values.min(), values.max()))]
         for kind, values in cosines.items()])
    turned = f"cosine {cosines['batch'].mean():.2f} with batch normalization, {cosines['none'].mean():.2f} without"
    return Result(
        verdict(*holds.values()),
        f"with noise the inputs of layers shift {ratios['batch']:.0f} times as much as with batch normalization, "
        f"{ratios['none']:.1f} times as much as without, and {100 * kept:.0f} % of what it gains is still gained (mean "
        "loss "
        + ", ".join(f"{NETWORKS[kind]} {values.mean():.2f}" for kind, values in means.items())
        + f"); gradients are turned by the layers before: {turned}",
        {"holds": holds, "mean loss": means, "share of the gain that is kept": kept, "shift": shifts,
         "shift with noise in parts of": ratios, "layers that are less stable with noise": less_stable,
         "cosine": cosines, "mean loss by rate": by_rate,
         "accuracy": {kind: [float(one["accuracy"]) for one in found] for kind, found in studies.items()},
         "loss": {kind: np.mean([one["loss"] for one in found], axis=0) for kind, found in studies.items()}},
        [Picture("Training with shaken distributions", draw_losses(studies),
                 "If stable distributions were what helps, the noisy network would have to be the slowest.", table),
         Picture("The distribution of one input", draw_unit(studies),
                 "Mean and standard deviation of the same unit at each step, for the same images. With the noise it "
                 "stands "
                 "still least of all.", shift_table, wide=True),
         Picture("Over learning rates", draw_rates(by_rate),
                 "Mean loss of the whole training; the dotted line is that of a guess, a missing point is a training "
                 "that diverges. At small rates normalization gains nothing "
                 "here, at large ones the network without it fails, and the noisy one does not.", rate_table),
         Picture("The gradient's own shift", draw_cosines(cosines),
                 "How much the update of the layers before a layer turns its gradient: 1 is not at all. The study "
                 "found no "
                 "smaller shift with batch normalization.", cosine_table)],
        f"{HIDDEN} dense layers of 48 with ReLU on the digits: without, with batch normalization, and with noise "
        f"behind each batch normalization: every activation times and plus random numbers, of a mean in ±{SHIFT} and a "
        f"factor of 1 to {SCALE} that are other ones for each unit and step. Plain gradient descent at "
        f"{LEARNING_RATE}, {steps} steps, batches of {BATCH}, {seeds} seeds (the other rates one). Shift: how far mean "
        "and standard deviation of an input of a layer move in a step, in standard deviations.",
        "As the study found? " + "; ".join(f"{what}: {'yes' if yes else 'no'}" for what, yes in holds.items())
        + f". Less stable with noise than without normalization: {less_stable} of {HIDDEN} layers. Without it the "
        "inputs of the last layers move a lot at this learning rate. The noisy network is tested without noise, with "
        "running statistics that the noise is in: that costs accuracy, but not training.")


EXPERIMENT = Experiment(
    "covariate_shift", "Not by reducing covariate shift",
    "Batch normalization does not work by reducing internal covariate shift: with distributions that shift at random "
    "it trains as well.",
    "Santurkar, Tsipras, Ilyas, Madry, “How Does Batch Normalization Help Optimization?”, 2018, sections 2.1 and 2.2; "
    "the "
    "other view: Ioffe, Szegedy, “Batch Normalization”, 2015", run)

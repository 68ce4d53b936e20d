"""Normalization before or after the activation, with the spread over seeds."""

import numpy as np
from scipy import stats

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict

# 8 seeds x 10 networks x 10 epochs of 20 steps: some 40 s. The seeds decide it: the
# difference is smaller than the spread over them.
EPOCHS, SEEDS, BATCH = 10, 8, 60
LEARNING_RATE, MOMENTUM = 0.05, 0.9
NORMS = {"batch": layers.BatchNorm, "group": layers.GroupNorm}
ACTIVATIONS = {"ReLU": layers.ReLU, "tanh": layers.Tanh}
POSITIONS = "before", "after"


def network(method, position, activation, seed):
    """Two convolutions and a dense layer, each with a normalization before or after its activation."""
    random = np.random.default_rng(seed)

    def block(layer, outputs):
        active = ACTIVATIONS[activation]()
        if method == "none":
            return [layer, active]
        norm = NORMS[method](outputs)
        return [layer, *([norm, active] if position == "before" else [active, norm])]

    return layers.Sequential(
        *block(layers.Convolution(random, 1, 8), 8), layers.AveragePool(),
        *block(layers.Convolution(random, 8, 16), 16), layers.AveragePool(), layers.Flatten(),
        *block(layers.Dense(random, 64, 32), 32), layers.Dense(random, 32, 10))


def measure(way, seed, epochs):
    """Training loss of the last epoch, of the first, loss and accuracy on the test images."""
    digits = data.digits()
    trained = network(*way, seed)
    losses = training.train(trained, training.SGD(trained.parameters(), LEARNING_RATE, MOMENTUM), digits.x,
                            digits.labels, epochs, BATCH, seed)
    steps = len(losses) // epochs
    loss, accuracy = training.evaluate(trained, digits.test_x, digits.test_labels)
    return losses[:steps].mean(), losses[-steps:].mean(), loss, accuracy


def compare(before, after):
    """Mean difference of pairs (same seed), after - before, and half the width of its 95 % interval."""
    differences = np.subtract(after, before)
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return float(differences.mean()), float(half)


def draw(results, activations):
    figure, axes = drawing.subplots(1, len(activations), size=(5.2, 3.2), sharey=True, squeeze=False)
    for ax, activation in zip(axes.flat, activations):
        ways = [way for way in results if way[2] == activation]
        for at, way in enumerate(ways):
            method, position, _ = way
            accuracy = 100 * results[way][:, 3]
            colour = drawing.COLOURS[method]
            jitter = np.linspace(-0.16, 0.16, len(accuracy))
            ax.plot(at + jitter, accuracy, "o", color=colour, alpha=0.5,
                    markerfacecolor="none" if position == "after" else colour)
            ax.plot([at - 0.28, at + 0.28], [accuracy.mean()] * 2, color=colour, linewidth=2.5)
        ax.set_xticks(range(len(ways)), [method if method == "none" else f"{method}\n{position}"
                                         for method, position, _ in ways], fontsize=8)
        ax.set_title(activation)
    axes[0, 0].set_ylabel("accuracy on test images, %")
    return drawing.svg(figure)


def run(progress, fast):
    epochs, seeds, activations = (3, 3, ["ReLU"]) if fast else (EPOCHS, SEEDS, list(ACTIVATIONS))
    ways = [(method, position, activation) for activation in activations for method, position in
            [("none", "-"), *((method, position) for method in NORMS for position in POSITIONS)]]
    results = {way: np.array([measure(way, seed, epochs) for seed in range(seeds)])
               for way in progress(ways, "networks")}
    differences, helps, sooner = {}, {}, {}
    for activation in activations:
        for method in NORMS:
            before, after = (results[method, position, activation] for position in POSITIONS)
            differences[method, activation] = compare(100 * before[:, 3], 100 * after[:, 3])
            sooner[method, activation] = bool(after[:, 0].mean() < before[:, 0].mean())
            helps[method, activation] = max(
                results[method, position, activation][:, 0].mean() for position in POSITIONS
            ) < results["none", "-", activation][:, 0].mean()
    decided = {key: "after" if mean > half else "before" if mean < -half else "neither"
               for key, (mean, half) in differences.items()}
    table = Table(
        ["", "loss, first epoch", "last epoch", "test loss", "accuracy"],
        [[" ".join((activation, method, *([] if method == "none" else [position]))),
          *(f"{value:.3f}" for value in values.mean(0)[:3]),
          f"{100 * values[:, 3].mean():.2f} ± {100 * values[:, 3].std(ddof=1):.2f} %"]
         for (method, position, activation), values in results.items()])
    intervals = Table(
        ["after - before", "accuracy, points", "better"],
        [[f"{method}, {activation}", f"{mean:+.2f} ± {half:.2f}", decided[method, activation]]
         for (method, activation), (mean, half) in differences.items()])
    figure, ax = drawing.subplots(size=(5.2, 0.9 + 0.42 * len(differences)))
    for at, ((method, activation), (mean, half)) in enumerate(differences.items()):
        ax.errorbar(mean, at, xerr=half, fmt="o", color=drawing.COLOURS[method], capsize=4)
    ax.axvline(0, color=drawing.INK, linewidth=0.8)
    ax.set_yticks(range(len(differences)), [", ".join(key) for key in differences])
    ax.set_ylim(-0.6, len(differences) - 0.4)
    ax.invert_yaxis()
    ax.set_xlabel("after - before, points of accuracy; 95 % interval")
    undecided = sum(value == "neither" for value in decided.values())
    return Result(
        verdict(all(helps.values()), undecided == len(decided)),
        "accuracy after - before: " + "; ".join(
            f"{method}, {activation} {mean:+.2f} ± {half:.2f}" for (method, activation), (mean, half)
            in differences.items()) + f" points; undecided in {undecided} of {len(decided)}",
        {"ways": [{"method": method, "position": position, "activation": activation,
                   **dict(zip(("first loss", "last loss", "test loss", "accuracy"), values.T))}
                  for (method, position, activation), values in results.items()],
         "differences": {", ".join(key): {"points": mean, "half width": half, "better": decided[key],
                                          "both positions help": helps[key], "after is faster at first": sooner[key]}
                         for key, (mean, half) in differences.items()}},
        [Picture("Accuracy of each seed", draw(results, activations),
                 "Filled: before the activation; hollow: after. The bar is the mean. Compare the distance of two bars "
                 "with the height of the clouds.", table),
         Picture("The difference", drawing.svg(figure),
                 "Pairs of the same seed are compared, which have the same weights at first and the same batches. An "
                 "interval across the line in the middle is no difference.", intervals)],
        "The same network with the normalization of each layer before or after its activation, and without, on 1200 "
        f"digits; {epochs} epochs, batches of {BATCH}, gradient descent with momentum at {LEARNING_RATE}; {seeds} "
        "seeds. Reproduced: both positions train faster than no normalization, and no pair has a difference beyond "
        "its 95 % interval. Partly: one of the two.",
        f"In the first epoch the training loss is smaller after the activation in {sum(sooner.values())} of "
        f"{len(sooner)} pairs. Where an interval decides, it is for "
        + (", ".join(f"{value} ({', '.join(key)})" for key, value in decided.items() if value != "neither") or "none")
        + ". Of four intervals of 95 % one misses by chance in a fifth of such tables.")


EXPERIMENT = Experiment(
    "position", "Before or after the activation",
    "Normalization works before the activation as well as after it; which is better is not settled.",
    "Ioffe, Szegedy, “Batch Normalization”, 2015 (before); Mishkin, Sergievskiy, Matas, “Systematic evaluation of "
    "convolution neural network advances”, 2017 (after)", run)

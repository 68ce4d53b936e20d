"""The statistics of batch normalization in training and afterwards: how far apart they are, and what closes the gap."""

import numpy as np

import normkit

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict

# A grid of 5 x 3 trainings of 2 seeds, of which those with batches of 2 take the most: 600 steps of 2 ms per epoch.
BATCHES, MOMENTA = (2, 4, 8, 16, 64), (0.01, 0.1, 0.5)
EPOCHS, SEEDS = 3, 2
# The rate that is right for the largest batch; smaller ones take less, by the root (Hoffer et al., 2017).
LEARNING_RATE = 0.1
PIECE = 100  # images that are looked at together when statistics are recomputed


def network(seed, momentum):
    """Two convolutions and a dense layer with batch normalization."""
    random = np.random.default_rng(seed)
    return layers.Sequential(
        layers.Convolution(random, 1, 8), layers.BatchNorm(8, momentum), layers.ReLU(), layers.AveragePool(),
        layers.Convolution(random, 8, 16), layers.BatchNorm(16, momentum), layers.ReLU(), layers.AveragePool(),
        layers.Flatten(), layers.Dense(random, 64, 32), layers.BatchNorm(32, momentum), layers.ReLU(),
        layers.Dense(random, 32, 10))


def norms(trained):
    """Places of the batch normalizations among the layers."""
    return [at for at, layer in enumerate(trained.layers) if isinstance(layer, layers.BatchNorm)]


def true_statistics(trained, x, at, batch=None):
    """Moments of what the normalization at this place is given, over all of x.

    batch: in training mode, with batches of this size, as it was in training; None: as it is afterwards. The data
    come in pieces: `normkit.Moments` merges them.
    """
    norm = trained.layers[at]
    moments = normkit.Moments(len(norm.running_mean))
    size = batch or PIECE
    end = len(x) - len(x) % batch if batch else len(x)  # in training, what does not fill a batch is left out
    for start in range(0, end, size):
        y = x[start:start + size]
        for layer in trained.layers[:at]:
            y = forward_untouched(layer, y) if batch else layer.forward(y, training=False)
        moments.accumulate(y.reshape(-1, y.shape[-1]))
    return moments


def forward_untouched(layer, x):
    """A layer in training mode, whose running statistics stay what they are."""
    if not isinstance(layer, layers.BatchNorm):
        return layer.forward(x, training=True)
    return normkit.batch_norm(x, None, None, layer.weight.value, layer.bias.value, training=True, eps=layer.eps,
                              channel_axis=-1)


def recompute(trained, x):
    """Replace the running statistics by those of all of x: one layer after the other, as each changes the next."""
    for at in norms(trained):
        mean, variance, _ = true_statistics(trained, x, at).finish(dtype=np.float32)
        trained.layers[at].running_mean, trained.layers[at].running_var = mean, variance


def gap(trained, x, batch):
    """How far running statistics are from those that the network was trained with, over all normalizations.

    (mean, variance): the distance of means in standard deviations, and of variances in parts of themselves.
    """
    means, variances = [], []
    for at in norms(trained):
        mean, variance, _ = true_statistics(trained, x, at, batch).finish()
        running = trained.layers[at]
        alive = variance > 1e-12
        means.append(np.abs(running.running_mean - mean)[alive] / np.sqrt(variance[alive]))
        variances.append(np.abs(running.running_var / np.where(alive, variance, 1) - 1)[alive])
    return float(np.concatenate(means).mean()), float(np.concatenate(variances).mean())


def with_statistics_of_batches(trained, x, labels, batch):
    """(loss, accuracy) as in training: with the statistics of batches of this size."""
    losses, right = [], []
    for start in range(0, len(x) - len(x) % batch, batch):
        y = x[start:start + batch]
        for layer in trained.layers:
            y = forward_untouched(layer, y)
        losses.append(training.softmax_cross_entropy(y, labels[start:start + batch])[0])
        right.append(y.argmax(axis=1) == labels[start:start + batch])
    return float(np.mean(losses)), float(np.mean(right))


def study(batch, momentum, seed, epochs):
    """One training, and what its network is worth with the statistics of batches, running, and recomputed."""
    digits = data.digits()
    trained = network(seed, momentum)
    optimizer = training.SGD(trained.parameters(), LEARNING_RATE * np.sqrt(batch / BATCHES[-1]), 0.9)
    training.train(trained, optimizer, digits.x, digits.labels, epochs, batch, seed)
    test = digits.test_x, digits.test_labels
    found = {"gap": gap(trained, digits.x, batch),
             "of the batch": with_statistics_of_batches(trained, *test, batch),
             "running": training.evaluate(trained, *test)}
    recompute(trained, digits.x)
    return {**found, "gap after": gap(trained, digits.x, batch), "recomputed": training.evaluate(trained, *test)}


STYLES = dict(zip(MOMENTA, (":", "-", "--")))


def lines(ax, grid, batches, what, column, colour, label, momenta):
    for momentum in momenta:
        ax.plot(batches, [grid[batch, momentum][what][column] for batch in batches], "o" + STYLES[momentum],
                color=drawing.COLOURS[colour], label=f"{label}{momentum:g}")


def ticks(ax, batches):
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(batches, map(str, batches))
    ax.set_xlabel("images in a batch of the training")
    ax.legend()


def draw_gap(grid, batches, momenta):
    figure, ax = drawing.subplots()
    lines(ax, grid, batches, "gap", 1, "batch", "running, momentum ", momenta)
    ax.plot(batches, [grid[batch, momenta[0]]["gap after"][1] for batch in batches], "o-",
            color=drawing.COLOURS["instance"], label="recomputed")
    ax.set_ylabel("variance: relative distance")
    ticks(ax, batches)
    return drawing.svg(figure)


def draw_loss(grid, batches, momenta):
    figure, ax = drawing.subplots()
    lines(ax, grid, batches, "running", 0, "batch", "running, momentum ", momenta)
    for what, colour in (("of the batch", "none"), ("recomputed", "instance")):
        ax.plot(batches, [grid[batch, momenta[0]][what][0] for batch in batches], "o-", color=drawing.COLOURS[colour],
                label=what)
    ax.set_ylabel("test loss")
    ticks(ax, batches)
    return drawing.svg(figure)


def run(progress, fast):
    batches, momenta = ((4, 64), (0.01, 0.5)) if fast else (BATCHES, MOMENTA)
    epochs, seeds = (1, 1) if fast else (EPOCHS, SEEDS)
    cells = [(batch, momentum) for batch in batches for momentum in momenta]
    grid = {}
    for batch, momentum in progress(cells, "batch and momentum"):
        found = [study(batch, momentum, seed, epochs) for seed in range(seeds)]
        grid[batch, momentum] = {key: np.mean([one[key] for one in found], axis=0) for key in found[0]}
    worse = sum(cell["running"][0] > cell["recomputed"][0] for cell in grid.values())
    closer = sum((cell["gap after"] < cell["gap"]).all() for cell in grid.values())
    noisiest = momenta[-1]
    first, last = (grid[batch, noisiest] for batch in (batches[0], batches[-1]))
    slow = [grid[batch, momenta[0]]["gap"][1] for batch in (batches[0], batches[-1])]
    holds = {
        "running statistics cost test loss in most cells": worse > len(cells) / 2,
        "at each momentum they are farther off, the smaller the batches": all(
            grid[batches[0], momentum]["gap"][1] > grid[batches[-1], momentum]["gap"][1] for momentum in momenta),
        "recomputed ones are closer in each cell": closer == len(cells),
    }
    worst = max(cells, key=lambda cell: grid[cell]["running"][0] - grid[cell]["recomputed"][0])
    table = Table(
        ["batch, momentum", "means", "variances", "recomputed: means", "variances"],
        [[f"{batch}, {momentum:g}", *(f"{value:.3f}" for value in (*cell["gap"], *cell["gap after"]))]
         for (batch, momentum), cell in grid.items()])
    loss_table = Table(
        ["batch, momentum", "of the batch", "running", "recomputed"],
        [[f"{batch}, {momentum:g}", *(f"{cell[what][0]:.3f}" for what in ("of the batch", "running", "recomputed"))]
         for (batch, momentum), cell in grid.items()])
    degenerate = (
        " In batches of 2 a dense layer's normalized values are all near 1 or -1: those networks have learned little, "
        "and no statistics mend that.")
    return Result(
        verdict(*holds.values()),
        f"variances are off by {100 * first['gap'][1]:.0f} % at batches of {batches[0]} and "
        f"{100 * last['gap'][1]:.0f} % at {batches[-1]} with momentum {noisiest:g}, {100 * slow[0]:.0f} % and "
        f"{100 * slow[1]:.0f} % with {momenta[0]:g}; running statistics cost test loss in {worse} of {len(cells)}, "
        f"at most {grid[worst]['running'][0]:.2f} instead of {grid[worst]['recomputed'][0]:.2f} (batch {worst[0]}, "
        f"momentum {worst[1]:g}); recomputing brings them closer in {closer} of {len(cells)}",
        {"holds": holds, "worse": worse, "closer": closer,
         "cells": [{"batch": batch, "momentum": momentum, **cell} for (batch, momentum), cell in grid.items()]},
        [Picture("How far the running statistics are off", draw_gap(grid, batches, momenta),
                 "Distance of the variances from those of all batches of the training. A small momentum has not "
                 "arrived yet "
                 "where there were few steps, at the right; a large one is noisy, at the left.", table),
         Picture("What that costs", draw_loss(grid, batches, momenta),
                 "Test loss of the same networks with three kinds of statistics: of batches of the test images, "
                 "running, and "
                 "recomputed over all training images. The last one should be the lowest.", loss_table)],
        f"Two convolutions and a dense layer, each with batch normalization, on the digits; {epochs} epochs, gradient "
        f"descent with momentum at {LEARNING_RATE} for batches of {BATCHES[-1]} and less by the root for smaller ones, "
        f"{seeds} seeds. The momentum of the running statistics does not change the training. The distances are to the "
        "statistics in batches as in training, in standard deviations and parts of the variance. Then normkit.Moments "
        "merges the statistics of all training images, layer by layer.",
        "As claimed? " + "; ".join(f"{what}: {'yes' if yes else 'no'}" for what, yes in holds.items())
        + f". With a momentum of {momenta[0]:g} the steps are too few, where batches are large, to arrive at the "
        "statistics."
        + (degenerate if 2 in batches else ""))


EXPERIMENT = Experiment(
    "statistics_gap", "Limit of batch normalization: training and afterwards differ",
    "The statistics of batches in training and the running ones afterwards differ; the more, the smaller the batches.",
    "Ioffe, “Batch Renormalization”, 2017; recomputed statistics: Wu, Johnson, “Rethinking ‘Batch’ in BatchNorm”, "
    "2021",
    run)

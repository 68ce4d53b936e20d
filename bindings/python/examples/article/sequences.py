"""A recurrent network with normalization in each step, on sequences of the same and of different lengths."""

import numpy as np

from . import data, drawing, training
from .experiment import Experiment, Picture, Result, Table, verdict
from .recurrent import METHODS, Recurrent

# 3 methods x 2 kinds of lengths x 3 seeds trainings, and 3 x 2 for the batches, 1 to 2 s each: some 35 s.
EPOCHS, SEEDS, BATCH = 8, 3, 40
BATCHES = (10, 120)  # other sizes of batches, with different lengths
HIDDEN, LEARNING_RATE = 64, 2e-3
ROWS = 8  # of an image
SHORTEST, LONGEST, MORE = 8, 32, 6.0  # steps of a sequence in training; the mean of what is beyond the shortest
SAME = 13  # steps, where all sequences have as many: the mean of the others
TESTED = (8, 12, 16, 24, 32, 48, 64)  # lengths; the last two are longer than any in training


def stretch(images, lengths):
    """Images [N, 8, 8] as sequences of rows, read at different speeds: [N, steps, 8], zero behind each end."""
    sequences = np.zeros((len(images), lengths.max(), images.shape[2]), np.float32)
    for sequence, image, length in zip(sequences, images, lengths):
        places = np.linspace(0, ROWS - 1, length)
        below = np.minimum(places.astype(int), ROWS - 2)
        part = (places - below)[:, None]
        sequence[:length] = image[below] * (1 - part) + image[below + 1] * part
    return sequences


def prepared(images, labels, lengths):
    """Sequences, lengths and labels, the longest first."""
    order = np.argsort(-lengths, kind="stable")
    return stretch(images[order], lengths[order]), lengths[order], labels[order]


def draw_lengths(random, count):
    """Many short ones and few long ones, as sentences are."""
    return np.minimum(SHORTEST - 1 + random.geometric(1 / MORE, count), LONGEST)


def train(method, different, seed, epochs, batch):
    """(network, loss of each epoch, share of steps of training that had a single row)."""
    digits = data.digits()
    random = np.random.default_rng(seed)
    network = Recurrent(random, method, digits.x.shape[2], HIDDEN, 10, LONGEST)
    optimizer = training.Adam(network.parameters(), LEARNING_RATE)
    losses = []
    for _ in range(epochs):
        steps = []
        for chosen in training.batches(len(digits.x), batch, random):
            lengths = draw_lengths(random, batch) if different else np.full(batch, SAME)
            x, lengths, labels = prepared(digits.x[chosen, :, :, 0], digits.labels[chosen], lengths)
            loss, gradient = training.softmax_cross_entropy(network.forward(x, lengths), labels)
            network.backward(gradient)
            optimizer.step()
            steps.append(loss)
        losses.append(np.mean(steps))
    return network, losses


def accuracy(network, lengths, seed=0):
    """Share of the test digits that are recognized. lengths: one for all; None: different ones, as in training."""
    digits = data.digits()
    count = len(digits.test_x)
    lengths = draw_lengths(np.random.default_rng(seed), count) if lengths is None else np.full(count, lengths)
    x, lengths, labels = prepared(digits.test_x[..., 0], digits.test_labels, lengths)
    return float((network.forward(x, lengths, training=False).argmax(axis=1) == labels).mean())


def draw_losses(studies):
    figure, axes = drawing.subplots(1, 2, size=(8.5, 3.3), sharey=True)
    for ax, different in zip(axes, (False, True)):
        for method in METHODS:
            losses = np.array([one["loss"] for one in studies[method, different]])
            epochs = np.arange(1, losses.shape[1] + 1)
            ax.plot(epochs, losses.mean(axis=0), color=drawing.COLOURS[method], label=method)
            ax.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=drawing.COLOURS[method], alpha=0.25,
                            linewidth=0)
        ax.set_title("different lengths" if different else "the same length")
        ax.set_xticks(epochs)
        ax.set_xlabel("epoch")
    axes[0].set_ylabel("training loss")
    axes[0].legend()
    return drawing.svg(figure)


def draw_by_length(studies, tested):
    figure, ax = drawing.subplots()
    for method in METHODS:
        values = 100 * np.array([one["by length"] for one in studies[method, True]])
        ax.plot(tested, values.mean(axis=0), "o-", color=drawing.COLOURS[method], label=method)
        ax.fill_between(tested, values.min(axis=0), values.max(axis=0), color=drawing.COLOURS[method], alpha=0.25,
                        linewidth=0)
    ax.axvline(LONGEST, color=drawing.INK, linewidth=0.8, linestyle=":")
    ax.set_xlabel("steps of the sequences in the test")
    ax.set_ylabel("accuracy, %")
    ax.legend()
    return drawing.svg(figure)


def draw_by_batch(by_batch):
    figure, ax = drawing.subplots()
    sizes = sorted(by_batch)
    for method in METHODS:
        ax.plot(sizes, [100 * by_batch[size][method] for size in sizes], "o-", color=drawing.COLOURS[method],
                label=method)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, map(str, sizes))
    ax.set_xlabel("sequences in a batch")
    ax.set_ylabel("accuracy, %")
    ax.legend()
    return drawing.svg(figure)


def run(progress, fast):
    epochs, seeds, sizes = (3, 1, ()) if fast else (EPOCHS, SEEDS, BATCHES)
    tested = TESTED[::3] if fast else TESTED
    studies = {(method, different): [] for method in METHODS for different in (False, True)}
    for method, different in progress(studies, "trainings"):
        for seed in range(seeds):
            network, losses = train(method, different, seed, epochs, BATCH)
            studies[method, different].append({
                "loss": losses, "accuracy": accuracy(network, None if different else SAME),
                "by length": [accuracy(network, length) for length in tested] if different else []})
    by_batch = {size: {method: accuracy(train(method, True, 0, epochs, size)[0], None) for method in METHODS}
                for size in progress(sizes, "batch sizes")}
    by_batch[BATCH] = {method: studies[method, True][0]["accuracy"] for method in METHODS}
    mean = {key: float(np.mean([one["accuracy"] for one in found])) for key, found in studies.items()}
    last = {key: float(np.mean([one["loss"][-1] for one in found])) for key, found in studies.items()}
    holds = {
        "different lengths: layer better than batch": all(
            one["accuracy"] > other["accuracy"] for one, other in zip(studies["layer", True], studies["batch", True])),
        "different lengths cost batch more than layer":
            mean["batch", False] - mean["batch", True] > mean["layer", False] - mean["layer", True],
    }
    longer = {method: float(np.mean([one["by length"][-1] for one in studies[method, True]])) for method in METHODS}
    table = Table(
        ["", "same length: loss", "accuracy", "different: loss", "accuracy"],
        [[method, *(text for different in (False, True) for text in (
            f"{last[method, different]:.3f}", f"{100 * mean[method, different]:.1f} %"))] for method in METHODS])
    lengths_table = Table(
        ["steps", *METHODS],
        [[str(length), *(f"{100 * np.mean([one['by length'][at] for one in studies[method, True]]):.1f} %"
                         for method in METHODS)] for at, length in enumerate(tested)])
    batch_table = Table(
        ["batch", *METHODS],
        [[str(size), *(f"{100 * by_batch[size][method]:.1f} %" for method in METHODS)] for size in sorted(by_batch)])
    return Result(
        verdict(*holds.values()),
        "accuracy on sequences of different lengths " + ", ".join(
            f"{method} {100 * mean[method, True]:.1f} %" for method in METHODS)
        + "; of the same length " + ", ".join(f"{method} {100 * mean[method, False]:.1f} %" for method in METHODS)
        + f"; {tested[-1]} steps, twice as many as in training: " + ", ".join(
            f"{method} {100 * value:.1f} %" for method, value in longer.items()),
        {"holds": holds,
         **{f"{name}, {'different lengths' if different else 'the same length'}":
            {method: values[method, different] for method in METHODS}
            for name, values in (("accuracy", mean), ("last loss", last)) for different in (False, True)},
         "accuracy by length": {method: [one["by length"] for one in studies[method, True]] for method in METHODS},
         "lengths": tested, "accuracy by batch": by_batch},
        [Picture("Training", draw_losses(studies),
                 "The same digits, read row by row in as many steps each, and at different speeds. Compare the curve "
                 "of batch "
                 "normalization on the left and on the right.", table, wide=True),
         Picture("By length", draw_by_length(studies, tested),
                 f"Trained with different lengths up to {LONGEST} (dotted): few are long, so the statistics of late "
                 "steps are "
                 "of few rows, and beyond the line there are none.", lengths_table),
         Picture("By batch size", draw_by_batch(by_batch),
                 "Different lengths, one seed. What matters is the distance of batch normalization to the others.",
                 batch_table)],
        f"A recurrent network with {HIDDEN} hidden units and tanh reads the rows of a digit, stretched to {SHORTEST} "
        f"to {LONGEST} steps (mean {SAME}, most of them short), and names it after the last one. The sum of input and "
        "state is normalized in each step: by layer normalization, by batch normalization with statistics of each "
        f"step, or not. Adam, {epochs} epochs, batches of {BATCH}, {seeds} seeds. Reproduced: with different lengths "
        "layer normalization is better than batch normalization for each seed, and batch normalization loses more by "
        "them.",
        f"Layer normalization is not needed here: without any the accuracy is {100 * mean['none', True]:.1f} %. In the "
        "batches of different sizes all have as many epochs: larger ones have fewer steps. On sequences longer than in "
        "training all three get worse.")


EXPERIMENT = Experiment(
    "sequences", "Limit of batch normalization: sequences",
    "In recurrent networks, where sequences have different lengths, batch normalization in each step suffers from "
    "statistics of few rows; layer normalization does not.",
    "Ba, Kiros, Hinton, “Layer Normalization”, 2016; batch normalization per step: Cooijmans et al., “Recurrent Batch "
    "Normalization”, 2017", run)

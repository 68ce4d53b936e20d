"""What batch normalization does for a training: speed, learning rates, initialization, and noise that regularizes."""

import numpy as np

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict

# The grid decides the size: 2 x 7 x 7 x 2 seeds trainings of 5 epochs of 20 steps, 0.2 s each; the noise takes a third.
EPOCHS, SEEDS, BATCH, MOMENTUM = 5, 2, 60, 0.9
HIDDEN, WIDTH = 5, 48  # layers; deep enough that the scale of the weights matters
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the usual standard deviation sqrt(2 / inputs)
TRAINED = 0.9  # accuracy on the training images from which a training counts as one that works

# Noise: few images, so that a network can learn them by heart, and large batches, whose statistics are taken of
# all or of parts.
FEW, NOISE_BATCH, PARTS, NOISE_EPOCHS, NOISE_SEEDS, NOISE_RATE = 384, 128, (128, 32, 16, 8, 4), 40, 6, 0.03
JUDGED = 16  # rows, the middle of PARTS: what the verdict is about, chosen before anything was measured


class PartsBatchNorm(layers.BatchNorm):
    """Batch normalization, in training with the statistics of so many rows at a time: the same steps, more noise."""

    def __init__(self, channels, rows):
        super().__init__(channels)
        self.rows = rows

    def forward(self, x, training=True):
        if not training:
            return super().forward(x, training)
        self._parts = []
        for start in range(0, len(x), self.rows):
            part = layers.BatchNorm(x.shape[1])
            part.weight, part.bias = self.weight, self.bias
            part.running_mean, part.running_var, part.momentum = self.running_mean, self.running_var, self.momentum
            self._parts.append((part, part.forward(x[start:start + self.rows])))
        return np.concatenate([y for _, y in self._parts])

    def backward(self, dy):
        gradients = []
        dweight, dbias = np.zeros_like(self.weight.value), np.zeros_like(self.bias.value)
        for (part, _), piece in zip(self._parts, np.split(dy, len(self._parts))):
            gradients.append(part.backward(piece))
            dweight += self.weight.gradient  # shared: the part has set it
            dbias += self.bias.gradient
        self.weight.gradient, self.bias.gradient = dweight, dbias
        return np.concatenate(gradients)


def network(norm, scale, seed):
    """A deep network of dense layers. norm: of a number of channels, or None."""
    random = np.random.default_rng(seed)
    sizes = [64, *[WIDTH] * HIDDEN]
    hidden = [layer for inputs, outputs in zip(sizes, sizes[1:]) for layer in (
        layers.Dense(random, inputs, outputs, scale), norm(outputs) if norm else layers.Identity(), layers.ReLU())]
    return layers.Sequential(*hidden, layers.Dense(random, WIDTH, 10, scale))


def one_training(norm, rate, scale, seed, epochs):
    """(accuracy on the training images, loss of each step)."""
    digits = data.digits().rows()
    trained = network(norm, scale, seed)
    losses = training.train(trained, training.SGD(trained.parameters(), rate, MOMENTUM), digits.x, digits.labels,
                            epochs, BATCH, seed)
    return training.evaluate(trained, digits.x, digits.labels)[1], losses


def grid(norm, rates, scales, seeds, epochs):
    """Accuracy [scales, rates], mean over seeds; losses [scales, rates, steps]."""
    runs = [[[one_training(norm, rate, scale, seed, epochs) for seed in range(seeds)] for rate in rates]
            for scale in scales]
    accuracy = np.array([[np.mean([one[0] for one in seeded]) for seeded in row] for row in runs])
    losses = np.array([[np.mean([one[1] for one in seeded], axis=0) for seeded in row] for row in runs])
    return accuracy, losses


def noise(rows, seed, epochs):
    """(loss on the few training images, on the test images, accuracy on them), trained with statistics of `rows`
    rows; None: without normalization."""
    digits = data.digits().rows().first(FEW)
    norm = None if rows is None else lambda channels: PartsBatchNorm(channels, rows)
    trained = network(norm, 1.0, seed)
    training.train(trained, training.SGD(trained.parameters(), NOISE_RATE, MOMENTUM), digits.x, digits.labels, epochs,
                   NOISE_BATCH, seed)
    train_loss, _ = training.evaluate(trained, digits.x, digits.labels)
    return train_loss, *training.evaluate(trained, digits.test_x, digits.test_labels)


def span(works, values):
    """(smallest, largest) of the values that work; None if none does."""
    found = [value for value, ok in zip(values, works) if ok]
    return (min(found), max(found)) if found else None


def wide(a, b):
    """Whether the span a is a wider one than b, as a ratio."""
    return a is not None and (b is None or a[1] / a[0] > b[1] / b[0])


def text(found):
    return "none" if found is None else f"{found[0]:g} to {found[1]:g}"


def smooth(losses):
    """The mean of 10 steps, up to each step from the tenth on."""
    return np.convolve(losses, np.full(10, 0.1), "valid")


def steps_to(losses, goal):
    """How many steps until the loss, as a mean of 10 steps, is at most `goal`; None if never."""
    below = np.flatnonzero(smooth(losses) <= goal * (1 + 1e-9))  # of means that are rounded differently
    return int(below[0]) + 10 if len(below) else None


def draw_grids(grids, rates, scales):
    figure, axes = drawing.subplots(1, 2, size=(8.5, 3.6), sharey=True)
    for ax, (name, (accuracy, _)) in zip(axes, grids.items()):
        for (row, column), value in np.ndenumerate(accuracy):
            ax.barh(row, 0.94, 0.94, column - 0.47, color=drawing.COLOURS["batch" if name == "batch" else "layer"],
                    alpha=max(0.06, (value - 0.1) / 0.9) ** 1.5)
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=9)
        ax.set_title({"none": "without normalization", "batch": "with batch normalization"}[name])
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set_yticks(range(len(scales)), [f"{scale:g}" for scale in scales])
        ax.set_xlabel("learning rate")
        ax.grid(False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("scale of the first weights")
    return drawing.svg(figure)


def draw_losses(grids, best):
    figure, ax = drawing.subplots()
    for name, (_, losses) in grids.items():
        for what, index, style in (("best rate", best[name], "-"), ("largest common rate", best["same"], ":")):
            ax.plot(np.arange(10, losses.shape[-1] + 1), smooth(losses[index]), style, color=drawing.COLOURS[name],
                    label=f"{name}, {what}")
    ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("training loss, mean of 10 steps")
    ax.legend()
    return drawing.svg(figure)


def draw_noise(values):
    figure, ax = drawing.subplots()
    rows = [row for row in values if row is not None]
    for column, label, colour in ((1, "test", "batch"), (0, "training", "none")):
        mean = np.array([values[row][:, column].mean() for row in rows])
        error = np.array([values[row][:, column].std(ddof=1) / np.sqrt(len(values[row])) for row in rows])
        ax.errorbar(rows, mean, error, fmt="o-", color=drawing.COLOURS[colour], capsize=3, label=label)
        ax.axhline(values[None][:, column].mean(), color=drawing.COLOURS[colour], linestyle=":",
                   label=f"{label}, without normalization")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(rows, [str(row) for row in rows])
    ax.set_xlabel("rows that the statistics are of, in batches of 128")
    ax.set_ylabel("loss")
    ax.legend()
    return drawing.svg(figure)


def run(progress, fast):
    rates, scales = (RATES[2:6], SCALES[::3]) if fast else (RATES, SCALES)
    epochs = 3 if fast else EPOCHS
    grids = {name: grid(norm, rates, scales, SEEDS, epochs)
             for name, norm in progress({"none": None, "batch": layers.BatchNorm}.items(), "grids")}
    usual = scales.index(1.0)
    works = {name: accuracy >= TRAINED for name, (accuracy, _) in grids.items()}
    # As in the paper: how soon a training is where the best one without normalization ends, each at the rate that is
    # best for that.
    goal = float(grids["none"][1][usual, :, -10:].mean(axis=1).min())
    best, fewest = {}, {}
    for name, (_, losses) in grids.items():
        steps = [steps_to(row, goal) for row in losses[usual]]
        fewest[name] = min((count for count in steps if count), default=None)
        best[name] = usual, steps.index(fewest[name])
    common = np.flatnonzero(works["none"][usual] & works["batch"][usual])
    best["same"] = usual, int(common[-1]) if len(common) else 0
    by_rate = {name: span(works[name][usual], rates) for name in grids}
    by_scale = {name: span(works[name].any(axis=1), scales) for name in grids}
    cells = {name: int(works[name].sum()) for name in grids}

    rows = [None, *(PARTS[::2] if fast else PARTS)]
    noise_epochs, noise_seeds = (20, 2) if fast else (NOISE_EPOCHS, NOISE_SEEDS)
    noisy = {row: np.array([noise(row, seed, noise_epochs) for seed in range(noise_seeds)])
             for row in progress(rows, "noise")}
    test_loss = {row: float(values[:, 1].mean()) for row, values in noisy.items()}
    whole = PARTS[0]
    better = int((noisy[JUDGED][:, 1] < noisy[whole][:, 1]).sum())  # pairs of the same seed

    faster = fewest["batch"] is not None and (fewest["none"] is None or fewest["batch"] <= 0.9 * fewest["none"])
    larger = by_rate["batch"] is not None and (by_rate["none"] is None or by_rate["batch"][1] > by_rate["none"][1])
    careless = wide(by_scale["batch"], by_scale["none"])
    regularizes = test_loss[JUDGED] < test_loss[whole] and better >= 0.75 * noise_seeds
    parts_of_claim = {"faster": faster, "larger rates": larger, "initialization": careless, "noise": regularizes}
    spans = Table(
        ["", "without", "with batch norm"],
        [["learning rates that work", text(by_rate["none"]), text(by_rate["batch"])],
         ["scales that work at some rate", text(by_scale["none"]), text(by_scale["batch"])],
         ["pairs of both that work", *(f"{cells[name]} of {works[name].size}" for name in grids)]])
    speed = Table(
        ["", "best rate", f"steps to loss {goal:.3f}", "loss at the end"],
        [[name, f"{rates[best[name][1]]:g}", str(fewest[name] or "never"),
          f"{grids[name][1][best[name]][-10:].mean():.3f}"] for name in grids])
    noise_table = Table(
        ["statistics of", "training loss", "test loss", "test accuracy"],
        [["no normalization" if row is None else f"{row} rows", f"{values[:, 0].mean():.4f}",
          f"{values[:, 1].mean():.3f} ± {values[:, 1].std(ddof=1) / np.sqrt(len(values)):.3f}",
          f"{100 * values[:, 2].mean():.1f} %"] for row, values in noisy.items()])
    return Result(
        verdict(*parts_of_claim.values()),
        f"loss {goal:.3f} in {fewest['batch'] or 'no'} steps instead of {fewest['none'] or 'never'}; learning rates "
        f"that work {text(by_rate['batch'])} instead of {text(by_rate['none'])}; scales of the first weights "
        f"{text(by_scale['batch'])} instead of {text(by_scale['none'])}; test loss {test_loss[JUDGED]:.3f} with the "
        f"noise of {JUDGED} rows, {test_loss[whole]:.3f} with {whole}, better in {better} of {noise_seeds} seeds",
        {"parts": parts_of_claim, "rates": rates, "scales": scales,
         "accuracy": {name: accuracy for name, (accuracy, _) in grids.items()},
         "steps": fewest, "rates that work": by_rate, "scales that work": by_scale, "pairs that work": cells,
         "noise": {str(row): dict(zip(("train loss", "test loss", "test accuracy"), values.T))
                   for row, values in noisy.items()}},
        [Picture("Learning rate and initialization", draw_grids(grids, rates, scales),
                 "Each cell is a training: its accuracy on the training images in percent. What matters is how much "
                 "of the plane is filled.", spans, wide=True),
         Picture("Convergence", draw_losses(grids, best),
                 "Each at its own best learning rate, and both at the largest rate at which both work (dotted); the "
                 "usual scale of the first weights.", speed),
         Picture("Noise of the statistics", draw_noise(noisy),
                 "To the left the statistics are of fewer rows and noisier, while batches and steps are the same. "
                 "Noise regularizes if the test loss falls to the left at first, and the training loss does not.",
                 noise_table)],
        f"{HIDDEN} hidden layers of {WIDTH} with ReLU on 1200 digits, {epochs} epochs, batches of {BATCH}, gradient "
        f"descent with momentum, {SEEDS} seeds; a training works if it recognizes {100 * TRAINED:.0f} % of the "
        f"training images. For the noise {FEW} digits are learned in batches of {NOISE_BATCH} for {noise_epochs} "
        f"epochs, with the mean and variance of all rows of a batch or of a part of them at a time; {noise_seeds} "
        f"seeds. The verdict on the noise is that on {JUDGED} rows: a smaller test loss, in three of four seeds at "
        "least.",
        "The parts of the claim: "
        + "; ".join(f"{name}: {'yes' if holds else 'no'}" for name, holds in parts_of_claim.items()) + ".")


EXPERIMENT = Experiment(
    "convergence", "What batch normalization does for a training",
    "Batch normalization converges faster, allows larger learning rates, needs less care with initialization, and "
    "regularizes by the noise of its statistics.",
    "Ioffe, Szegedy, “Batch Normalization”, 2015; statistics of parts of a batch: Hoffer, Hubara, Soudry, “Train "
    "longer, generalize better”, 2017", run)

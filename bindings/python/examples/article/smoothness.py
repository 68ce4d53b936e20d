"""How smooth the loss is along the gradient, step by step through a training, with and without normalization."""

import numpy as np

import normkit

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict
from .perceptron import perceptron

# Each step is probed at 8 places, with the gradient: 9 passes of 1.5 ms for each of 200 steps, 2 networks, 2 rates,
# 3 seeds: some 30 s.
STEPS, SEEDS, BATCH = 200, 3, 60
LEARNING_RATE, SLOWER = 0.1, 0.03  # the figures are of the first
PROBES = np.linspace(0.5, 4, 8)  # lengths of the steps that are tried, in learning rates
NORMS = {"none": None, "batch": layers.BatchNorm}
# What is measured at a step, over its probes.
MEASURES = {
    "loss": "range of the loss",
    "gradient": "change of the gradient",
    "smoothness": "effective smoothness",
}


def gradients(parameters):
    """All gradients, one after the other."""
    return np.concatenate([parameter.gradient.ravel() for parameter in parameters])


def move(parameters, values, direction, length):
    """Set the parameters to values - length * direction."""
    at = 0
    for parameter, value in zip(parameters, values):
        step = direction[at:at + value.size].reshape(value.shape)
        parameter.value[...] = value - np.float32(length) * step
        at += value.size


def probe(network, x, labels, rate):
    """Along the gradient of a batch, from where the network is: it stays there.

    Returns the gradient, and, for each probe, the loss, the distance of its gradient from that at the start, and this
    distance in parts of the way. The last's maximum is called effective beta-smoothness: a lower bound of the
    Lipschitz constant of the gradient.
    """
    parameters = network.parameters()
    loss = training.loss_and_gradients(network, x, labels)
    start = gradients(parameters)
    values = [parameter.value.copy() for parameter in parameters]
    found = []
    for length in PROBES * rate:
        move(parameters, values, start, length)
        probed = training.loss_and_gradients(network, x, labels)
        distance = np.linalg.norm(gradients(parameters) - start)
        found.append((probed, distance, distance / (length * np.linalg.norm(start))))
    move(parameters, values, start, 0)
    return loss, start, np.array(found)


def bound(network, x, labels):
    """Both sides of the bound of the gradient before a batch normalization by that after it: [layers, channels] each.

    With y -> (y - mean) / sigma * gamma + beta = z and normalized values n, per channel and for m rows: |dL/dy|² is
    gamma² / sigma² (|dL/dz|² - (sum dL/dz)² / m - <dL/dz, n>² / m). The third array is gamma² / sigma² |dL/dz|².
    """
    inputs = []
    y = x
    for layer in network.layers:
        inputs.append(y)
        y = layer.forward(y, True)
    _, dy = training.softmax_cross_entropy(y, labels)
    rows = []
    for layer, before in zip(reversed(network.layers), reversed(inputs)):
        after, dy = dy, layer.backward(dy)
        if not isinstance(layer, layers.BatchNorm):
            continue
        normalized, _, rstd = normkit.normalize(before.astype(float), axes=0, eps=layer.eps, return_stats=True)
        scale = np.square(layer.weight.value * rstd)
        z = after.astype(float)
        removed = z.sum(axis=0) ** 2 + (z * normalized).sum(axis=0) ** 2
        rows.append((np.square(dy, dtype=float).sum(axis=0), scale * ((z**2).sum(axis=0) - removed / len(x)),
                     scale * (z**2).sum(axis=0)))
    return np.array(rows).transpose(1, 0, 2)


def study(name, rate, seed, steps):
    """One training by plain gradient descent: a dictionary of arrays over its steps."""
    digits = data.digits().rows()
    network = perceptron(np.random.default_rng(seed), NORMS[name])
    random = np.random.default_rng(seed)
    found = {"loss": [], "lowest": [], "highest": [], "bounds": []}
    for step in range(steps):
        chosen = random.choice(len(digits.x), BATCH, replace=False)
        x, labels = digits.x[chosen], digits.labels[chosen]
        loss, start, probes = probe(network, x, labels, rate)
        found["loss"].append(loss)
        found["lowest"].append(probes.min(axis=0))
        found["highest"].append(probes.max(axis=0))
        if name == "batch" and step % 10 == 0:
            found["bounds"].append(bound(network, x, labels))
        parameters = network.parameters()
        move(parameters, [parameter.value.copy() for parameter in parameters], start, rate)
    found["accuracy"] = training.evaluate(network, digits.test_x, digits.test_labels)[1]
    return {key: np.array(value) for key, value in found.items()}


def sizes(found):
    """What a step's probes say about smoothness: range of the loss, largest change of the gradient, and smoothness."""
    return np.stack([found["highest"][:, 0] - found["lowest"][:, 0], found["highest"][:, 1], found["highest"][:, 2]], 1)


def draw(studies, measure):
    """The band of a measure over the steps, mean of the seeds."""
    column = list(MEASURES).index(measure)
    figure, ax = drawing.subplots()
    for name, found in studies.items():
        low, high = (np.mean([one[key][:, column] for one in found], axis=0) for key in ("lowest", "highest"))
        colour = drawing.COLOURS[name]
        label = "batch normalization" if name == "batch" else "without"
        if measure == "smoothness":
            ax.plot(high, color=colour, linewidth=1.2, label=label)
        else:
            ax.fill_between(np.arange(len(low)), low, high, color=colour, alpha=0.55, linewidth=0.4, label=label)
    if measure == "loss":
        ax.set_yscale("log")
    ax.set_xlabel("step of the training")
    ax.set_ylabel({"loss": "loss along the gradient", "gradient": "distance of gradients",
                   "smoothness": "largest distance / way"}[measure])
    ax.legend()
    return drawing.svg(figure)


def draw_bound(bounds):
    left, _, plain = bounds
    figure, ax = drawing.subplots()
    # Not all: each is an element of the SVG.
    some = np.random.default_rng(0).choice(left.size, min(left.size, 500), replace=False)
    ax.loglog(plain[some], left[some], ".", color=drawing.COLOURS["batch"], markersize=3, alpha=0.5)
    ends = np.array([plain[some].min(), plain[some].max()])
    ax.loglog(ends, ends, ":", color=drawing.INK, linewidth=1)
    ax.set_xlabel("(gamma / sigma)² × square of the gradient after")
    ax.set_ylabel("square of the gradient before")
    return drawing.svg(figure)


def compare(progress, rate, seeds, steps):
    """The studies of each network at a rate; and, per seed, the measures without in parts of those with batch norm."""
    runs = [(name, seed) for name in NORMS for seed in range(seeds)]
    studies = {name: [] for name in NORMS}
    for name, seed in progress(runs, f"trainings, rate {rate}"):
        studies[name].append(study(name, rate, seed, steps))
    # Per seed the median over the steps: without normalization single steps are far off, and a mean would be theirs.
    medians = {name: np.array([np.median(sizes(one), axis=0) for one in found]) for name, found in studies.items()}
    return studies, medians["none"] / medians["batch"]


def run(progress, fast):
    steps, seeds = (30, 1) if fast else (STEPS, SEEDS)
    studies, ratios = compare(progress, LEARNING_RATE, seeds, steps)
    slower, slower_ratios = compare(progress, SLOWER, seeds, steps)
    share = {name: np.mean([sizes(one) for one in found], axis=0) for name, found in studies.items()}
    larger = (share["none"] > share["batch"]).mean(axis=0)
    bounds = np.concatenate([one["bounds"] for one in studies["batch"]]).transpose(1, 0, 2, 3).reshape(3, -1)
    alive = bounds[2] > 1e-6 * bounds[2].max()  # the others are rounding
    left, right, plain = bounds[:, alive]
    error = float(np.abs(left - right).max() / plain.max())
    removed = float(np.median(1 - right / plain))
    holds = {measure: bool((ratios[:, column] > 1).all()) for column, measure in enumerate(MEASURES)}

    def table(measure):
        column = list(MEASURES).index(measure)
        rows = [[name, f"{np.median(share[name][:, column]):.3g}", f"{share[name][:, column].max():.3g}"]
                for name in NORMS]
        return Table(["", f"{MEASURES[measure]}, median", "largest"], rows)

    return Result(
        verdict(*holds.values()),
        ", ".join(f"{what} {np.median(ratios[:, column]):.1f} times as large without (of {seeds} seeds at least "
                  f"{ratios[:, column].min():.1f})" for column, what in enumerate(MEASURES.values()))
        + f"; the bound of the gradient holds to {error:.0e}",
        {"holds": holds, "ratios": dict(zip(MEASURES, ratios.T)),
         "ratios at the smaller rate": dict(zip(MEASURES, slower_ratios.T)),
         "share of steps where it is larger without": dict(zip(MEASURES, larger)),
         "accuracy": {name: [float(one["accuracy"]) for one in found] for name, found in studies.items()},
         "accuracy at the smaller rate": {name: [float(one["accuracy"]) for one in found]
                                          for name, found in slower.items()},
         "bound": {"error": error, "removed": removed, "channels": int(alive.sum())},
         "steps": {name: {"loss": np.mean([one["loss"] for one in found], axis=0),
                          "lowest": np.mean([one["lowest"] for one in found], axis=0),
                          "highest": np.mean([one["highest"] for one in found], axis=0)}
                   for name, found in studies.items()}},
        [Picture("The loss along the gradient", draw(studies, "loss"),
                 "At each step, the losses that are found on the way along the gradient. The narrower the band, the "
                 "more "
                 "can a step be relied on; where it reaches up, the step leads uphill.", table("loss")),
         Picture("How far gradients can be predicted", draw(studies, "gradient"),
                 "The distance between the gradient at the start and those on the way. Low: the direction is still "
                 "right "
                 "where the step ends.", table("gradient")),
         Picture("Effective smoothness", draw(studies, "smoothness"),
                 "The change of the gradient in parts of the way, the largest of each step: a lower bound of its "
                 "Lipschitz "
                 "constant. The curve with batch normalization should be the lower one.", table("smoothness")),
         Picture("The bound of the gradient", draw_bound(bounds[:, alive]),
                 "Some channels, one point each: the square of the gradient before the normalization, over that behind "
                 "it. All points lie on the dotted line or below it: normalization takes a part of the gradient away.",
                 Table(["", ""], [["part that is taken away, median", f"{100 * removed:.0f} %"],
                                  ["difference of both sides of the theorem", f"{error:.0e}"],
                                  ["channels", str(int(alive.sum()))]]))],
        f"Five dense layers of 48 with ReLU on the digits, plain gradient descent, learning rate {LEARNING_RATE} for "
        f"both, {steps} steps with batches of {BATCH}, {seeds} seeds. At each step the same batch is looked at again "
        f"after steps of {PROBES[0]:g} to {PROBES[-1]:g} learning rates along its gradient. Bands are means of the "
        "seeds. Reproduced: all three measures are smaller with batch normalization, as median over the steps, for "
        "each seed.",
        f"At a learning rate of {SLOWER}, with shorter steps, they are "
        + ", ".join(f"{ratio:.1f}" for ratio in np.median(slower_ratios, axis=0))
        + " times as large without, in this order.")


EXPERIMENT = Experiment(
    "smoothness", "Batch normalization makes the loss smoother",
    "Batch normalization works by making the loss smoother: loss and gradient change less along a step (smaller "
    "Lipschitz constants), so gradients can be relied on.",
    "Santurkar, Tsipras, Ilyas, Madry, “How Does Batch Normalization Help Optimization?”, 2018, figure 4 and theorem "
    "4.1",
    run)

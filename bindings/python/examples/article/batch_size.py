"""A limit: with small batches, the statistics of batch normalization are noise."""

import numpy as np

import normkit

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict

# The smallest batches decide the size: 600 steps per epoch, 0.6 ms each. 4 networks x 3 seeds x 3 epochs over all
# sizes are some 40 s.
SIZES = (2, 4, 8, 16, 32, 64, 128)
EPOCHS, SEEDS = 3, 3
RATE_PER_SAMPLE, MOMENTUM = 0.1 / 64, 0.9  # the learning rate grows with the batch, as in Wu and He (2018)
# The normalization of the convolutions, which has the positions of the images beside the batch, and that of the dense
# layer, where a batch of 2 has 2 values for each channel.
METHODS = {
    "batch": (layers.BatchNorm, layers.BatchNorm),
    "batch, images only": (layers.BatchNorm, layers.Identity),
    "group": (layers.GroupNorm, layers.GroupNorm),
    "layer": (layers.LayerNorm, layers.LayerNorm),
}
COLOURS = {method: drawing.COLOURS[method.split(",")[0]] for method in METHODS}
DRAWS = 200  # random batches that the noise is measured with


def network(method, seed):
    """Two convolutions and two dense layers; all but the last are normalized."""
    random = np.random.default_rng(seed)
    norm, norm_of_rows = METHODS[method]
    last = layers.Identity() if norm_of_rows is layers.Identity else norm_of_rows(32)
    return layers.Sequential(
        layers.Convolution(random, 1, 8), norm(8), layers.ReLU(), layers.AveragePool(),
        layers.Convolution(random, 8, 16), norm(16), layers.ReLU(), layers.AveragePool(),
        layers.Flatten(), layers.Dense(random, 64, 32), last, layers.ReLU(), layers.Dense(random, 32, 10))


def measure(method, size, seed, epochs):
    """(accuracy on the test images, test loss, training loss over the last quarter of the steps)."""
    digits = data.digits()
    trained = network(method, seed)
    optimizer = training.SGD(trained.parameters(), RATE_PER_SAMPLE * size, MOMENTUM)
    losses = training.train(trained, optimizer, digits.x, digits.labels, epochs, size, seed)
    loss, accuracy = training.evaluate(trained, digits.test_x, digits.test_labels)
    return accuracy, loss, losses[-(len(losses) // 4):].mean()


def noise(sizes, draws):
    """By normalization ("8 x 8 positions", ...): the noise of the mean of a batch, in units of the standard deviation
    over all images, and of its standard deviation, relative; each [sizes], root mean squares over channels and batches.

    In a network as it is before training.
    """
    digits = data.digits()
    random = np.random.default_rng(0)
    inner, x, inputs = network("batch", 0), digits.x, {}
    for layer in inner.layers:
        if isinstance(layer, layers.BatchNorm):
            positions = "rows" if x.ndim == 2 else f"{x.shape[1]} x {x.shape[2]} positions"
            inputs[positions] = x
        x = layer.forward(x, training=True)
    result = {}
    for positions, x in inputs.items():
        axes = tuple(range(x.ndim - 1))
        mean, var = normkit.moments(x, axes)
        live = var > 1e-6
        of_mean, of_deviation = [], []
        for size in sizes:
            drawn = [normkit.moments(x[random.choice(len(x), size, replace=False)], axes) for _ in range(draws)]
            means, variances = (np.array(values)[:, live] for values in zip(*drawn))
            of_mean.append(np.sqrt(np.mean((means - mean[live]) ** 2 / var[live])))
            of_deviation.append(np.sqrt(np.mean((np.sqrt(variances / var[live]) - 1) ** 2)))
        result[positions] = {"mean": np.array(of_mean), "deviation": np.array(of_deviation)}
    return result


def draw_accuracy(results, sizes):
    figure, ax = drawing.subplots()
    for method, values in results.items():
        mean, spread = 100 * values[..., 0].mean(1), 100 * values[..., 0].std(1)
        ax.plot(sizes, mean, "o--" if "," in method else "o-", color=COLOURS[method], label=method)
        ax.fill_between(sizes, mean - spread, mean + spread, color=COLOURS[method], alpha=0.18, linewidth=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.set_xlabel("batch size")
    ax.set_ylabel("accuracy on test images, %")
    ax.legend()
    return drawing.svg(figure)


def draw_noise(noises, sizes):
    figure, ax = drawing.subplots()
    for (positions, values), colour in zip(noises.items(), ("instance", "group", "batch")):
        ax.plot(sizes, values["mean"], "o-", color=drawing.COLOURS[colour], label=f"mean, {positions}")
        ax.plot(sizes, values["deviation"], "s--", color=drawing.COLOURS[colour], label=f"deviation, {positions}")
    ax.plot(sizes, 1 / np.sqrt(sizes), color=drawing.COLOURS["none"], linewidth=1, label="1 / √batch size")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xticks(sizes, [str(size) for size in sizes])
    parts = (1, 4, 16, 64, 256)
    ax.set_yticks([1 / part for part in parts], ["1", *(f"1/{part}" for part in parts[1:])])
    ax.set_xlabel("batch size")
    ax.set_ylabel("noise, in standard deviations")
    ax.set_ylim(bottom=1 / 1024)  # room for the legend
    ax.legend(fontsize=8, loc="lower left", ncols=2)
    return drawing.svg(figure)


def run(progress, fast):
    sizes, epochs, seeds, draws = ((2, 16, 64), 1, 1, 50) if fast else (SIZES, EPOCHS, SEEDS, DRAWS)
    results = {method: np.array([[measure(method, size, seed, epochs) for seed in range(seeds)]
                                 for size in progress(sizes, method)]) for method in METHODS}
    noises = noise(sizes, draws)
    accuracy = {method: 100 * values[..., 0].mean(1) for method, values in results.items()}
    # What a method loses in the smallest batches, against its own best.
    loss = {method: float(values.max() - values[0]) for method, values in accuracy.items()}
    rows = noises["rows"]
    growth = float(rows["mean"][0] / rows["mean"][-1])
    table = Table(
        ["batch", *(f"{method}, %" for method in METHODS)],
        [[str(size), *(f"{accuracy[method][at]:.1f}" for method in METHODS)] for at, size in enumerate(sizes)])
    kinds = [(positions, kind) for positions in noises for kind in ("mean", "deviation")]
    noise_table = Table(
        ["batch", *(f"{kind}, {positions}" for positions, kind in kinds)],
        [[str(size), *(f"{noises[positions][kind][at]:.3f}" for positions, kind in kinds)]
         for at, size in enumerate(sizes)])
    others = "group", "layer"
    behind = {method: float(accuracy[method][0] - accuracy["batch"][0]) for method in others}
    return Result(
        verdict(all(loss["batch"] > 2 * max(loss[method], 0.5) for method in others),
                all(value > 0 for value in behind.values())),
        f"batches of {sizes[0]} cost batch norm {loss['batch']:.1f} points of accuracy, group norm "
        f"{loss['group']:.1f}, layer norm {loss['layer']:.1f}, batch norm of images alone "
        f"{loss['batch, images only']:.1f}; there it has {accuracy['batch'][0]:.1f} %, group norm "
        f"{accuracy['group'][0]:.1f} %; the noise of the mean is {rows['mean'][0]:.2f} standard deviations, "
        f"{growth:.1f} times that of batches of {sizes[-1]}",
        {"sizes": sizes, "accuracy": accuracy, "points lost": loss, "behind": behind, "noise": noises,
         "training loss": {method: values[..., 2].mean(1) for method, values in results.items()},
         "test loss": {method: values[..., 1].mean(1) for method, values in results.items()}},
        [Picture("Accuracy", draw_accuracy(results, sizes),
                 "To the left batches get smaller. Batch normalization falls off, the others, which form their "
                 "statistics within a sample, do not. (Large batches make few steps in the same number of epochs: "
                 "that is the fall to the right, of all alike.) Dashed: batch normalization of the convolutions "
                 "alone, whose statistics are of many positions.", table),
         Picture("Noise of the statistics", draw_noise(noises, sizes),
                 "How far the mean and standard deviation of a random batch are from those of all images. Positions "
                 "of an image help, where there are any; where there are only rows, the noise follows the grey line.",
                 noise_table)],
        f"The same network (two convolutions, two dense layers) on 1200 digits for {epochs} epochs, the learning rate "
        f"proportional to the batch size, {seeds} seeds. The noise is that of {draws} random batches of each size in "
        "the untrained network. Reproduced: the smallest batches cost batch normalization at least twice as much as "
        "the others, and it is behind both there.")


EXPERIMENT = Experiment(
    "batch_size", "Limit of batch normalization: small batches",
    "Small batches spoil batch normalization, because their statistics are noise; layer and group normalization do not "
    "depend on the batch.",
    "Wu, He, “Group Normalization”, 2018", run)

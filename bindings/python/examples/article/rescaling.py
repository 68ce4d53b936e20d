"""What changes if weights or data are multiplied by a number: each method against each kind of re-scaling."""

from functools import partial

import numpy as np

import normkit

from . import data, drawing
from .experiment import Experiment, Picture, Result, Table, verdict

# A convolution of 3 x 3 pixels, as a matrix product over windows. Small: all is computed anew for each of some 280
# powers of two, for each method and kind, in a second or two.
IMAGES, SIZE, FILTERS, GROUPS = 32, 3, 16, 4
FACTOR = 3.0  # not a power of two: each product is rounded anew
EXPONENTS = range(-149, 128)  # of the powers of two that f32 has
CHOSEN_FILTER = CHOSEN_IMAGE = 5
INVARIANT = 1e-5  # the largest relative difference that rounding accounts for: 100 roundings of f32

KINDS = {"vector": "a weight vector", "matrix": "the weight matrix", "data": "the data", "image": "one image"}
WEIGHTS = "weight L2", "weight L1", "weight max"
# What the papers derive; the last column is that of Ba et al., for a single training case.
CLAIMED = {
    "none": (),
    "batch": ("vector", "matrix", "data"),
    "layer": ("matrix", "data", "image"),
    "RMS": ("matrix", "data", "image"),
    "instance": ("vector", "matrix", "data", "image"),
    "group": ("matrix", "data", "image"),
    **{name: ("vector", "matrix") for name in WEIGHTS},
}


def activation_norm(method, positions, eps):
    """The forward and the backward function of a normalization of z [N, positions, filters]; no parameters."""
    forward, backward, options = {
        "batch": (partial(normkit.batch_norm, running_mean=None, running_var=None, training=True),
                  normkit.batch_norm_backward, {"channel_axis": -1}),
        "layer": (normkit.layer_norm, normkit.layer_norm_backward, {"normalized_shape": (positions, FILTERS)}),
        "RMS": (normkit.rms_norm, normkit.rms_norm_backward, {"normalized_shape": (positions, FILTERS)}),
        "instance": (normkit.instance_norm, normkit.instance_norm_backward, {"channel_axis": -1}),
        "group": (normkit.group_norm, normkit.group_norm_backward, {"num_groups": GROUPS, "channel_axis": -1}),
    }[method]
    return partial(forward, eps=eps, **options), partial(backward, eps=eps, **options)


def output(method, x, weight, eps=0.0):
    """The convolution with normalization: y [N, positions, filters], of windows x and a weight [filters, inputs]."""
    if method == "none":
        return x @ weight.T
    if method in WEIGHTS:
        return x @ normkit.weight_norm(weight, norm=method.split()[1].lower(), eps=eps).T
    return activation_norm(method, x.shape[1], eps)[0](x @ weight.T)


def gradient(method, x, weight, dy):
    """The gradient of sum(dy * y) with respect to the weight."""
    if method in WEIGHTS or method == "none":
        product = _rows(dy).T @ _rows(x)
        if method == "none":
            return product
        return normkit.weight_norm_backward(product, weight, norm=method.split()[1].lower())[0]
    dz, *_ = activation_norm(method, x.shape[1], 0.0)[1](dy, x @ weight.T)
    return _rows(dz).T @ _rows(x)


def _rows(array):
    return array.reshape(-1, array.shape[-1])


def windows():
    """Each 3 x 3 window of some digits: [N, positions, 9]."""
    images = data.digits().x[:IMAGES, ..., 0]
    views = np.lib.stride_tricks.sliding_window_view(images, (SIZE, SIZE), (1, 2))
    return np.ascontiguousarray(views.reshape(IMAGES, -1, SIZE * SIZE))


def scaled(kind, x, weight, factor):
    """x and weight after a re-scaling."""
    x, weight, factor = x.copy(), weight.copy(), np.float32(factor)
    part = {"vector": weight[CHOSEN_FILTER], "matrix": weight, "data": x, "image": x[CHOSEN_IMAGE]}[kind]
    part *= factor
    return x, weight


def difference(a, b):
    """The largest difference, relative to the largest value of b."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def exact_exponents(method, kind, x, weight, exponents):
    """(lowest, highest) of the exponents k around 0 for which a factor of 2**k changes no bit; (0, 0) if none."""
    expected = output(method, x, weight).tobytes()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        equal = {k for k in exponents
                 if output(method, *scaled(kind, x, weight, 2.0**k)).tobytes() == expected}
    low = high = 0
    while low - 1 in equal:
        low -= 1
    while high + 1 in equal:
        high += 1
    return low, high


def gradients(method, kind, x, weight, dy, factor):
    """What the gradient of the re-scaled weights is, in parts of the gradient before; and its angle to them.

    factor: norm after / norm before. cosine: of the gradient and the weight vector, the largest of all filters. 0 is
    what invariance asks for: along a direction in which nothing changes, there is no slope.
    """
    before = gradient(method, x, weight, dy)
    after = gradient(method, *scaled(kind, x, weight, factor), dy)
    chosen = CHOSEN_FILTER if kind == "vector" else slice(None)
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(weight, axis=1)
    return {"factor": float(np.linalg.norm(after[chosen]) / np.linalg.norm(before[chosen])),
            "cosine": float((np.abs((before * weight).sum(axis=1)) / lengths).max()),
            "exact": bool(np.array_equal(after[chosen] * np.float32(factor), before[chosen]))}


def draw_curves(curves, exponents):
    """The difference over the exponent, with an epsilon of 1e-5: one panel for each kind."""
    figure, axes = drawing.subplots(1, len(KINDS), size=(8.5, 3.4), sharey=True)
    for ax, kind in zip(axes, KINDS):
        for method, colour in (("batch", "batch"), ("layer", "layer"), ("instance", "instance"), ("group", "group"),
                               ("weight L2", "weight")):
            values = np.maximum(curves[method][kind], 1e-8)
            ax.plot(exponents, values, color=drawing.COLOURS[colour], label=method, linewidth=1.5)
        ax.set_yscale("log")
        ax.set_ylim(5e-9, 1e3)
        ax.set_title(KINDS[kind])
        ax.set_xlabel("exponent k")
    axes[0].set_ylabel("difference of the output")
    axes[1].legend(fontsize=7.5, loc="upper right")
    return drawing.svg(figure)


def draw_table(measured):
    """The table as a picture: methods down, kinds across."""
    figure, ax = drawing.subplots(size=(5.2, 3.6))
    for row, method in enumerate(CLAIMED):
        for column, kind in enumerate(KINDS):
            found = measured[method][kind]
            colour = drawing.COLOURS["instance" if found["invariant"] else "layer"]
            ax.barh(row, 0.94, 0.9, column - 0.47, color=colour, alpha=0.5 if found["invariant"] else 0.25)
            low, high = found["exact exponents"]
            text = f"{found['difference']:.0e}" + (f"\n{low} … {high}" if low < high else "")
            ax.text(column, row, text, ha="center", va="center", fontsize=7.5, linespacing=0.95)
    ax.set_xticks(range(len(KINDS)), [name.replace("weight ", "weight\n") for name in KINDS.values()])
    ax.set_yticks(range(len(CLAIMED)), CLAIMED)
    ax.invert_yaxis()
    ax.xaxis.tick_top()
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return drawing.svg(figure)


def run(progress, fast):
    random = np.random.default_rng(0)
    x = windows()
    weight = random.standard_normal((FILTERS, SIZE * SIZE)).astype(np.float32)
    dy = random.standard_normal((*x.shape[:2], FILTERS)).astype(np.float32)
    exponents = range(-20, 21) if fast else EXPONENTS
    steps = range(-20, 21, 4) if fast else range(-20, 21)
    measured, curves = {}, {}
    for method in progress(CLAIMED, "methods"):
        y, usual = output(method, x, weight), output(method, x, weight, 1e-5)
        measured[method], curves[method] = {}, {}
        for kind in KINDS:
            found = difference(output(method, *scaled(kind, x, weight, FACTOR)), y)
            measured[method][kind] = {
                "claimed": kind in CLAIMED[method], "invariant": found <= INVARIANT, "difference": found,
                "difference with epsilon": difference(
                    output(method, *scaled(kind, x, weight, FACTOR), 1e-5), usual),
                "exact exponents": exact_exponents(method, kind, x, weight, exponents),
                "gradient": gradients(method, kind, x, weight, dy, 4.0),
            }
            curves[method][kind] = [difference(output(method, *scaled(kind, x, weight, 2.0**k), 1e-5), usual)
                                    for k in steps]
    cells = [found for row in measured.values() for found in row.values()]
    right = sum(found["invariant"] == found["claimed"] for found in cells)
    invariant = [found for found in cells if found["invariant"]]
    largest = max(found["difference"] for found in invariant)
    smallest = min(found["difference"] for found in cells if not found["invariant"])
    exact = sum(found["exact exponents"][0] < 0 < found["exact exponents"][1] for found in invariant)
    slopes = [(row[kind]["gradient"], kind) for row in measured.values() for kind in ("vector", "matrix")
              if row[kind]["invariant"]]
    inverse = sum(slope["exact"] for slope, _ in slopes)
    orthogonal = max(slope["cosine"] for slope, kind in slopes if kind == "vector")
    columns = ["exponents, same bits", *KINDS.values()]
    sizes = Table(columns, [[method, *(
        "{} … {}".format(*row[kind]["exact exponents"]) if row[kind]["invariant"] else "changes" for kind in KINDS)]
        for method, row in measured.items()])
    slope_table = Table(
        ["", "vector x 4", "matrix x 4", "cosine"],
        [[method, *(f"{row[kind]['gradient']['factor']:.3g}" + (
            " exactly" if row[kind]["gradient"]["exact"] else "") for kind in ("vector", "matrix")),
          f"{row['vector']['gradient']['cosine']:.0e}"] for method, row in measured.items()])
    figure, ax = drawing.subplots(size=(5.2, 3.4))
    for at, (method, row) in enumerate(measured.items()):
        for kind, marker, colour in (("vector", "o", "batch"), ("matrix", "s", "group")):
            ax.plot(row[kind]["gradient"]["factor"], at, marker, color=drawing.COLOURS[colour],
                    markerfacecolor=drawing.COLOURS[colour] if row[kind]["invariant"] else "none",
                    label=KINDS[kind] if method == "batch" else None)
    ax.axvline(0.25, color=drawing.INK, linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(measured)), measured)
    ax.invert_yaxis()
    ax.set_xlabel("size of its gradient after multiplying by 4")
    ax.legend()
    return Result(
        verdict(right == len(cells), inverse == len(slopes)),
        f"{right} of {len(cells)} cells of the table as derived; differences at most {largest:.0e} where invariant, at "
        f"least {smallest:.2f} elsewhere; {exact} of {len(invariant)} to the bit for powers of two; gradients smaller "
        f"by the same power of two, to the bit, in {inverse} of {len(slopes)}",
        {"methods": measured, "right": right, "cells": len(cells), "invariant": len(invariant), "exact": exact,
         "largest invariant": largest, "smallest other": smallest, "gradients": len(slopes),
         "gradients exact": inverse, "largest cosine of gradient and weights": orthogonal,
         "curves": {"exponents": list(steps), "differences": curves}},
        [Picture("Method and kind of re-scaling", draw_table(measured),
                 f"Green: the output stays. Above, its relative difference after a factor of {FACTOR:g}; below, the "
                 "exponents of two around 0 for which not one bit changes. Beyond them f32 overflows or loses digits.",
                 sizes),
         Picture("The gradient", drawing.svg(figure),
                 "Filled: the output is invariant, and then the gradient is a quarter (dotted line): large weights "
                 "take small steps. Cosine: the largest between a weight vector and its gradient, 0 where its length "
                 "is free.",
                 slope_table),
         Picture("With an epsilon", draw_curves(curves, list(steps)),
                 "The factor is 2 to the power of k, and epsilon 1e-5. Where a method is invariant, its curve stays at "
                 "the "
                 "bottom until the variance, or the norm, comes down to epsilon, at the left: invariance ends there.",
                 wide=True)],
        f"A convolution of {FILTERS} filters of 3 x 3 over {IMAGES} digits, in f32, then the normalization without "
        "parameters, epsilon 0. A weight vector is one filter. The layer's and RMS's set is all of an image's outputs; "
        "the normalizations of weights have one norm for each filter. “One image” is a training case that is scaled "
        "alone.")


EXPERIMENT = Experiment(
    "rescaling", "Re-scaling of weights and data",
    "Batch and instance normalization are invariant to re-scaling of a weight vector, of the weight matrix and of the "
    "data; layer and group normalization to the latter two; weight normalization to the former two.",
    "Ba, Kiros, Hinton, “Layer Normalization”, 2016, table 1; gradients: Salimans, Kingma, “Weight Normalization”, "
    "2016",
    run)

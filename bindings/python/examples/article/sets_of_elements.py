"""Two steps, and the set S that they run over: found by asking the library, element by element."""

import numpy as np

import normkit

from . import drawing
from .experiment import Experiment, Picture, Result, Table, verdict

SAMPLES, CHANNELS, HEIGHT, WIDTH = SHAPE = 3, 6, 2, 2  # small enough to be drawn
GROUPS = 3
CHOSEN = 1, 2, 0, 1  # the element whose set is drawn in full colour

# The functions, each of [N, C, H, W] (of weights: [outputs, inputs, H, W]), and what S is by definition: the indices
# that two elements of one set have in common.
METHODS = {
    "batch": (lambda x: normkit.batch_norm(x, None, None, training=True), lambda n, c, h, w: (c,)),
    "layer": (lambda x: normkit.layer_norm(x, normalized_shape=x.shape[1:]), lambda n, c, h, w: (n,)),
    "layer, position": (lambda x: normkit.layer_norm(x, channel_axis=1), lambda n, c, h, w: (n, h, w)),
    "instance": (normkit.instance_norm, lambda n, c, h, w: (n, c)),
    "group": (lambda x: normkit.group_norm(x, GROUPS), lambda n, c, h, w: (n, c // (CHANNELS // GROUPS))),
    "weight": (normkit.weight_norm, lambda n, c, h, w: (n,)),
}

# A shape of the data at which both functions have the same set S.
SAME = [
    ("group, 1 group", "layer", (3, 6, 4, 4), lambda x: normkit.group_norm(x, 1), METHODS["layer"][0]),
    ("group, C groups", "instance", (3, 6, 4, 4), lambda x: normkit.group_norm(x, 6), METHODS["instance"][0]),
    ("batch, N = 1", "instance", (1, 6, 4, 4), METHODS["batch"][0], METHODS["instance"][0]),
    ("layer, C = 1", "instance", (3, 1, 4, 4), METHODS["layer"][0], METHODS["instance"][0]),
    ("layer, H = W = 1", "layer, position", (3, 6, 1, 1), METHODS["layer"][0],
     METHODS["layer, position"][0]),
    ("batch, N = C = 1", "layer", (1, 1, 4, 4), METHODS["batch"][0], METHODS["layer"][0]),
    ("batch, N = C = 1", "group", (1, 1, 4, 4), METHODS["batch"][0], lambda x: normkit.group_norm(x, 1)),
    ("batch", "the same two steps over N, H, W", (3, 6, 4, 4), METHODS["batch"][0],
     lambda x: normkit.normalize(x, (0, 2, 3))),
    ("layer", "the same two steps over C, H, W", (3, 6, 4, 4), METHODS["layer"][0],
     lambda x: normkit.normalize(x, (1, 2, 3))),
    ("instance", "the same two steps over H, W", (3, 6, 4, 4), METHODS["instance"][0],
     lambda x: normkit.normalize(x, (2, 3))),
]


def channels_last(x):
    """The same array [N, C, H, W] in memory as [N, H, W, C]."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def influence(function, x):
    """[elements, elements]: whether a change of one element of x changes the result at the other.

    (x - mean) * rstd changes at all elements whose mean and rstd the changed one has a part in: its set S.
    """
    before = function(x)
    result = np.empty((x.size, x.size), bool)
    for element, index in enumerate(np.ndindex(x.shape)):
        changed = x.copy(order="K")
        changed[index] += 3
        result[element] = (function(changed) != before).ravel()
    return result


def sets(matrix):
    """The number of each element's set, counted in order of appearance; None if they are no partition."""
    representatives = matrix.argmax(axis=1)  # the first element of each element's set
    numbers = np.unique(representatives, return_inverse=True)[1]
    return numbers if np.array_equal(matrix, numbers[:, None] == numbers) else None


def defined_sets(common):
    """The same by definition: one set for each value of the indices that its elements have in common."""
    keys = [common(*index) for index in np.ndindex(SHAPE)]
    return np.array([list(dict.fromkeys(keys)).index(key) for key in keys])


def found_sets(random, progress):
    """By method and layout: the sets of a random tensor, and whether they are those of the definition."""
    x = random.standard_normal(SHAPE).astype(np.float32)
    found, agree = {}, {}
    for name, (function, common) in progress(METHODS.items(), "sets"):
        for layout, array in (("channels first", x), ("channels last", channels_last(x))):
            numbers = sets(influence(function, array))
            found[name, layout] = numbers
            agree[name, layout] = numbers is not None and bool((numbers == defined_sets(common)).all())
    return found, agree


def identities(random):
    """Rows for the table: both names, the shape, elements with the same bits, all elements, largest difference."""
    rows = []
    for name, other, shape, function, other_function in SAME:
        x = random.standard_normal(shape).astype(np.float32)
        a, b = function(x), other_function(x)
        rows.append((name, other, shape, int((a.view(np.int32) == b.view(np.int32)).sum()), x.size,
                     float(np.abs(a - b).max())))
    return rows


def draw_sets(found):
    """Each method's sets as cells, samples downwards and channels across, each a square of positions."""
    figure, axes = drawing.subplots(2, 3, size=(8.5, 4.1))
    chosen = np.ravel_multi_index(CHOSEN, SHAPE)
    for ax, name in zip(axes.flat, METHODS):
        numbers = found[name, "channels first"]
        colour = drawing.COLOURS[name.split(",")[0]]
        for (n, c, h, w), number in zip(np.ndindex(SHAPE), numbers):
            own = number == numbers[chosen]
            left, top = c * (WIDTH + 0.5) + w, n * (HEIGHT + 0.5) + h
            ax.bar(left + 0.5, 0.9, 0.9, top + 0.05, color=colour if own else drawing.COLOURS["none"],
                   alpha=1 if own else 0.14 + 0.16 * (number % 3))
        left, top = CHOSEN[1] * (WIDTH + 0.5) + CHOSEN[3], CHOSEN[0] * (HEIGHT + 0.5) + CHOSEN[2]
        ax.plot(left + 0.5, top + 0.5, "o", color=drawing.INK, markersize=5)
        size = (numbers == numbers[chosen]).sum()
        ax.set_title(f"{name}: {numbers.max() + 1} sets of {size}")
        weights = name == "weight"
        ax.set_xticks(np.arange(CHANNELS) * (WIDTH + 0.5) + WIDTH / 2, range(CHANNELS))
        ax.set_yticks(np.arange(SAMPLES) * (HEIGHT + 0.5) + HEIGHT / 2, range(SAMPLES))
        ax.set_xlabel("input channel" if weights else "channel")
        ax.set_ylabel("output channel" if weights else "sample")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(False)
        ax.set_aspect("equal")
        ax.invert_yaxis()
    return drawing.svg(figure)


def draw_memory(found):
    """One line of memory for each method and layout, the elements of the chosen one's set in colour."""
    figure, axes = drawing.subplots(1, 2, size=(8.5, 2.6), sharey=True)
    chosen = np.ravel_multi_index(CHOSEN, SHAPE)
    names = [name for name in METHODS if name != "weight"]
    for ax, layout in zip(axes, ("channels first", "channels last")):
        for row, name in enumerate(names):
            numbers = found[name, layout]
            own = (numbers == numbers[chosen]).reshape(SHAPE)
            in_memory = (own if layout == "channels first" else own.transpose(0, 2, 3, 1)).ravel()
            ax.broken_barh([(at, 0.9) for at in range(own.size)], (row + 0.15, 0.7), color=[
                drawing.COLOURS[name.split(",")[0]] if mine else (0.54, 0.56, 0.6, 0.22) for mine in in_memory])
        ax.set_title(f"{layout}: " + ("[N, C, H, W]" if layout == "channels first" else "[N, H, W, C]"))
        ax.set_xlabel("address, in elements")
        ax.set_yticks(np.arange(len(names)) + 0.5, names)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(False)
    axes[0].invert_yaxis()
    return drawing.svg(figure)


def run(progress, fast):
    random = np.random.default_rng(0)
    found, agree = found_sets(random, progress)
    rows = identities(random)
    equal_bits = sum(same == size for *_, same, size, _ in rows)
    furthest = max(row[-1] for row in rows)
    methods = Table(
        ["method", "sets", "elements in each", "as defined"],
        [[name, str(found[name, "channels first"].max() + 1),
          str(np.bincount(found[name, "channels first"])[0]),
          "both layouts" if agree[name, "channels first"] and agree[name, "channels last"] else "no"]
         for name in METHODS])
    same = Table(
        ["method", "is", "equal bits", "largest difference"],
        [[name, other, f"{bits} of {size}", f"{difference:.1g}"] for name, other, _, bits, size, difference in rows])
    pictures = [Picture(
        "The set S of one element", draw_sets(found),
        "The dot is an element, in colour is all that its mean and variance are formed of; the other sets are grey. "
        "Each small square is the positions of one channel of one sample.", methods, wide=True)]
    pictures.append(Picture(
        "Where S lies in memory", draw_memory(found),
        "The same sets as a processor sees them: whether S is one run of memory, pieces, or single elements depends on "
        "the layout; the result does not.", same, wide=True))
    return Result(
        verdict(all(agree.values()), furthest <= 4 * np.finfo(np.float32).eps),
        f"{sum(agree.values())} of {len(agree)} partitions into sets are as defined; {equal_bits} of {len(rows)} "
        "identities hold in every bit" + (f", the others up to {furthest:.1g}" if furthest else ""),
        {"as defined": {", ".join(key): value for key, value in agree.items()},
         "identities": [{"method": name, "is": other, "shape": shape, "equal bits": bits, "elements": size,
                         "largest difference": difference} for name, other, shape, bits, size, difference in rows]},
        pictures,
        f"A tensor of {SAMPLES} samples, {CHANNELS} channels and {HEIGHT} x {WIDTH} positions. Each of its "
        f"{np.prod(SHAPE)} elements is changed in turn, and the library is asked which results change: those that "
        "share a mean and a variance with it. Where two methods have the same set for the shape of the data, their "
        "results are compared bit by bit.")


EXPERIMENT = Experiment(
    "sets_of_elements", "Two steps, one set",
    "All methods subtract a mean and divide by a standard deviation, and differ only in the set S of elements that "
    "these are formed of.",
    "Wu, He, “Group Normalization”, 2018", run)

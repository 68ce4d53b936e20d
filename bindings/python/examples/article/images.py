"""A small style transfer: one network is trained to draw photographs in the style of another picture."""

import functools

import numpy as np

from . import data, drawing, layers, training
from .experiment import Experiment, Picture, Result, Table, verdict

# 2 methods x 2 seeds trainings of 250 steps of 35 ms: some 40 s. Crops and channels are as small as the style allows.
STEPS, SEEDS, BATCH, CROP = 250, 2, 4, 32
CHANNELS, LEARNING_RATE = 16, 5e-3
FEATURES, FILTER, SCALES = 24, 5, 2  # of the loss: random filters, their size, and halvings of the picture
CONTENT = 0.5  # its weight beside that of the style
SIZE = 96  # of the photographs
TEST = "coffee", "chelsea"  # photographs that are not trained with
CONTRASTS = (1.0, 0.5, 0.25, 0.125)
NORMS = {"batch": layers.BatchNorm, "instance": layers.InstanceNorm}


@functools.cache
def style_picture():
    """A stained section of tissue, scikit-image's sample: [SIZE, SIZE, 3] in [0, 1]."""
    from skimage import data as samples
    from skimage import transform

    picture = samples.immunohistochemistry()[:384, :384] / 255
    return transform.resize(picture, (SIZE, SIZE), anti_aliasing=True).astype(np.float32)


def with_contrast(images, contrast):
    """Images whose values are drawn towards their mean."""
    return images.mean(axis=(1, 2), keepdims=True) * (1 - contrast) + images * contrast


class StyleLoss:
    """How far pictures are from the style, and from what they show, in the outputs of random filters.

    The filters are fixed: the style is the products of their outputs, averaged over all positions (Gram matrix);
    the content is the outputs on the smaller scale. That random filters do for textures is from Ustyuzhaninov et al.
    """

    def __init__(self, style, seed=0):
        random = np.random.default_rng(seed)
        self._filters = [[layers.Convolution(random, 3, FEATURES, FILTER, bias=False), layers.ReLU()]
                         for _ in range(SCALES)]
        # Half of the filters see no plain colour, only what changes from place to place.
        for convolution, _ in self._filters:
            weight = convolution.weight.value.reshape(FILTER * FILTER, 3, FEATURES)
            weight[:, :, ::2] -= weight[:, :, ::2].mean(axis=0)
        self._halves = [layers.AveragePool() for _ in range(SCALES - 1)]
        self._style = [gram(output)[0] for output in self._outputs(style[None] - 0.5)]

    def _outputs(self, images):
        outputs = []
        for scale, (convolution, active) in enumerate(self._filters):
            if scale:
                images = self._halves[scale - 1].forward(images)
            outputs.append(active.forward(convolution.forward(images)))
        return outputs

    def __call__(self, images, content):
        """(style loss, content loss, gradient of style + CONTENT * content), each loss in parts of its target."""
        wanted = self._outputs(content - 0.5)[-1]
        outputs = self._outputs(images - 0.5)
        count, style_loss, gradients = len(images), 0.0, []
        for output, target in zip(outputs, self._style):
            difference = gram(output) - target
            size = np.square(target).sum() * count * SCALES
            style_loss += float(np.square(difference).sum() / size)
            positions = output.shape[1] * output.shape[2]
            rows = output.reshape(count, positions, FEATURES)
            gradients.append((rows @ difference).reshape(output.shape) * (4 / (positions * size)))
        size = np.square(wanted).sum()
        difference = outputs[-1] - wanted
        gradients[-1] = gradients[-1] + difference * (2 * CONTENT / size)
        return style_loss, float(np.square(difference).sum() / size), self._backward(gradients)

    def _backward(self, gradients):
        dx = 0
        for scale in reversed(range(SCALES)):
            convolution, active = self._filters[scale]
            dx = dx + convolution.backward(active.backward(gradients[scale]))
            if scale:
                dx = self._halves[scale - 1].backward(dx)
        return dx


def gram(output):
    """[N, FEATURES, FEATURES]: mean over all positions of the products of features."""
    rows = output.reshape(len(output), -1, output.shape[-1])
    return rows.transpose(0, 2, 1) @ rows / np.float32(rows.shape[1])


def network(method, seed):
    random = np.random.default_rng(seed)
    blocks = []
    for inputs in (3, CHANNELS, CHANNELS):
        blocks += [layers.Convolution(random, inputs, CHANNELS), NORMS[method](CHANNELS), layers.ReLU()]
    return layers.Sequential(*blocks, layers.Convolution(random, CHANNELS, 3), layers.Sigmoid())


def crops(random, count):
    """Pieces of the photographs for the training: [count, CROP, CROP, 3]."""
    pictures = [picture for name, picture in data.photographs(SIZE).items() if name not in TEST]
    pieces = []
    for _ in range(count):
        picture = pictures[random.integers(len(pictures))]
        top, left = random.integers(SIZE - CROP + 1, size=2)
        pieces.append(picture[top:top + CROP, left:left + CROP, :][:, ::random.choice([-1, 1])])
    return np.array(pieces)


def train(method, seed, steps):
    """(network, losses [steps, 2]: style and content)."""
    loss = StyleLoss(style_picture())
    trained = network(method, seed)
    optimizer = training.Adam(trained.parameters(), LEARNING_RATE)
    random = np.random.default_rng(seed)
    losses = []
    for _ in range(steps):
        x = crops(random, BATCH)
        *both, gradient = loss(trained.forward(x - 0.5), x)
        trained.backward(gradient)
        optimizer.step()
        losses.append(both)
    return trained, np.array(losses)


def test_photographs():
    return np.array([data.photographs(SIZE)[name] for name in TEST])


# How a trained network is used: batch normalization with running statistics, or with those of the test images.
WAYS = {"batch": ("batch", False), "batch, of the test": ("batch", True), "instance": ("instance", False)}
COLOURS = dict(zip(WAYS, (drawing.COLOURS["batch"], drawing.COLOURS["group"], drawing.COLOURS["instance"])))


def stylized(networks, way, images):
    """Photographs in the style."""
    method, of_batch = WAYS[way]
    return networks[method].forward(images - 0.5, training=of_batch)


def measure(networks):
    """Style and content loss of the test photographs, at each contrast: {way: [contrasts, 2]}."""
    loss, photographs = StyleLoss(style_picture()), test_photographs()
    found = {}
    for way in WAYS:
        rows = []
        for contrast in CONTRASTS:
            images = with_contrast(photographs, contrast)
            # What is to be seen is what the photograph shows in full contrast.
            rows.append(loss(stylized(networks, way, images), photographs)[:2])
        found[way] = np.array(rows)
    return found


def draw_pictures(networks):
    photographs = test_photographs()
    columns = [(at, contrast) for at in range(len(TEST)) for contrast in (CONTRASTS[0], CONTRASTS[2])]
    rows = {"photograph": None, "batch": "batch", "batch, stat. of\nthese images": "batch, of the test",
            "instance": "instance"}
    figure, axes = drawing.subplots(len(rows), len(columns) + 1, size=(8.5, 6.6))
    for line, (label, way) in zip(axes, rows.items()):
        for ax, (at, contrast) in zip(line[1:], columns):
            images = with_contrast(photographs, contrast)
            ax.imshow((stylized(networks, way, images) if way else images)[at], interpolation="none")
        line[1].set_ylabel(label)
    axes[0, 0].imshow(style_picture(), interpolation="none")
    axes[0, 0].set_title("style")
    for ax, (_, contrast) in zip(axes[0, 1:], columns):
        ax.set_title("full contrast" if contrast == 1 else f"contrast {contrast:g}")
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    for ax in axes[1:, 0]:
        ax.set_visible(False)
    return drawing.svg(figure)


def draw_training(losses):
    figure, ax = drawing.subplots()
    window = np.full(10, 0.1)
    for method, found in losses.items():
        total = np.array([np.convolve(one @ [1, CONTENT], window, "valid") for one in found])
        ax.plot(total.mean(axis=0), color=drawing.COLOURS[method], label=method)
        ax.fill_between(np.arange(total.shape[1]), total.min(axis=0), total.max(axis=0), color=drawing.COLOURS[method],
                        alpha=0.25, linewidth=0)
    ax.set_ylim(0)
    ax.set_xlabel("step of the training")
    ax.set_ylabel("training loss")
    ax.legend()
    return drawing.svg(figure)


def draw_contrast(tests):
    figure, ax = drawing.subplots()
    for way in WAYS:
        values = np.array([one[way][:, 0] for one in tests])
        ax.plot(CONTRASTS, values.mean(axis=0), "o-", color=COLOURS[way], label=way)
        ax.fill_between(CONTRASTS, values.min(axis=0), values.max(axis=0), color=COLOURS[way], alpha=0.25, linewidth=0)
    ax.set_xscale("log", base=2)
    ax.set_ylim(0)
    ax.set_xticks(CONTRASTS, [f"{contrast:g}" for contrast in CONTRASTS])
    ax.set_xlabel("contrast of the photographs")
    ax.set_ylabel("style loss")
    ax.legend()
    return drawing.svg(figure)


def run(progress, fast):
    steps, seeds = (40, 1) if fast else (STEPS, SEEDS)
    trainings = [(method, seed) for seed in range(seeds) for method in NORMS]
    networks = [{} for _ in range(seeds)]
    losses = {method: [] for method in NORMS}
    for method, seed in progress(trainings, "trainings"):
        networks[seed][method], found = train(method, seed, steps)
        losses[method].append(found)
    tests = [measure(one) for one in networks]
    total = {way: np.array([one[way][0] @ [1, CONTENT] for one in tests]) for way in WAYS}
    low = CONTRASTS.index(0.25)
    style = {way: np.mean([one[way][:, 0] for one in tests], axis=0) for way in WAYS}
    content = {way: np.mean([one[way][:, 1] for one in tests], axis=0) for way in WAYS}
    rise = {way: float(values[low] / values[0]) for way, values in style.items()}
    trained = {method: float(np.mean([one[-steps // 5:] @ [1, CONTENT] for one in found]))
               for method, found in losses.items()}
    others = [way for way in WAYS if way != "instance"]
    holds = {
        "lower test loss, each seed": all((total["instance"] < total[way]).all() for way in others),
        "style rises less at low contrast": all(rise["instance"] < rise[way] for way in others),
    }
    table = Table(
        ["", "training loss", "style, test", "content, test"],
        [[way, f"{trained[WAYS[way][0]]:.3f}", f"{style[way][0]:.3f}", f"{content[way][0]:.3f}"] for way in WAYS])
    contrast_table = Table(
        ["style loss at contrast", *WAYS],
        [[f"{contrast:g}", *(f"{style[way][at]:.3f}" for way in WAYS)] for at, contrast in enumerate(CONTRASTS)])
    return Result(
        verdict(*holds.values()),
        "test loss " + ", ".join(f"{way} {values.mean():.2f}" for way, values in total.items())
        + "; style loss at a quarter of the contrast "
        + ", ".join(f"{way} × {value:.2f}" for way, value in rise.items()),
        {"holds": holds, "test loss": total, "style by contrast": style, "content by contrast": content,
         "rise at low contrast": rise, "contrasts": CONTRASTS, "training loss": trained,
         "losses": {method: np.mean(found, axis=0) for method, found in losses.items()}},
        [Picture("Photographs in the style of a picture", draw_pictures(networks[0]),
                 "Photographs that were not trained with, in full contrast and in a quarter of it. Does the picture "
                 "keep its "
                 "style where the photograph is pale?", wide=True),
         Picture("Training", draw_training(losses),
                 "Style and content loss together, averaged over 10 steps; the area is between the seeds.", table),
         Picture("Contrast", draw_contrast(tests),
                 "A style does not depend on the contrast of what is drawn. A flat line is what is wanted.",
                 contrast_table)],
        f"Three convolutions of {CHANNELS} channels, each with normalization and ReLU, and a fourth one draw crops of "
        f"{CROP} x {CROP} pixels of four photographs, {steps} steps of Adam with batches of {BATCH}, {seeds} seeds. "
        f"Losses are those of {FEATURES} random filters on {SCALES} scales: products of their outputs for the style, "
        f"outputs for the content (weight {CONTENT:g}), both in parts of the target's. Tested on two other "
        "photographs, batch normalization with running statistics and with those of the test images.")


EXPERIMENT = Experiment(
    "images", "Limit of batch normalization: tasks on pixels",
    "Where each image is to be treated for itself, as in style transfer, instance normalization is better than batch "
    "normalization.",
    "Ulyanov, Vedaldi, Lempitsky, “Instance Normalization: The Missing Ingredient for Fast Stylization”, 2016; random "
    "filters for styles: Ustyuzhaninov et al., “Texture Synthesis Using Shallow Convolutional Networks with Random "
    "Filters”, 2016",
    run)

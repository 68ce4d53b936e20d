"""Training in PyTorch, with its normalization modules and with NormKit's.

    python train_digits.py

Two small convolutional networks, one with batch normalization, one with group and layer normalization, learn
scikit-learn's handwritten digits, 1797 images of 8 x 8 pixels. Each is trained three times from the same
seed: with PyTorch's modules, with NormKit's (`normkit.torch.convert`), and, as the measure, with PyTorch's in
f64. Checked:

1. In the first epoch the losses of both trainings in f32 are the same in each step, to 1e-5 of themselves.
   A step rounds some 20 arrays, each by about 1e-7; 23 such steps, whose errors add up like a random walk,
   make some 1e-6.
2. In the whole training NormKit's losses are at most 4 times as far from those in f64 as PyTorch's are: what
   rounding did grows from step to step, in both alike.
3. The digits of the test set are recognized, by both equally well.

The networks are smooth, with SiLU and average pooling. At the corner of a ReLU and between two equal pixels
of a maximum pooling, the last bit decides which of two gradients is taken, and trainings that differ in
nothing but rounding part there.
"""

import argparse
import math
import time

import torch
from sklearn.datasets import load_digits
from torch import nn
from tqdm import tqdm

from _shared import check, library, normkit, table

import normkit.torch

BATCH, TEST = 64, 360  # images: in a batch; for the test
LEARNING_RATE, MOMENTUM = 0.05, 0.9
SAME = 1e-5  # relative difference of two losses in the first epoch
FURTHER = 4  # how much further from f64 one training may be than the other
LEAST_CORRECT = 0.95  # share of the test images

# The normalizations of the two convolutions and of the dense layer.
NETWORKS = {
    "batch": lambda: (nn.BatchNorm2d(16), nn.BatchNorm2d(32), nn.BatchNorm1d(64)),
    "group and layer": lambda: (nn.GroupNorm(4, 16), nn.GroupNorm(8, 32), nn.LayerNorm(64)),
}


def network(name, seed=0):
    """The network, the same for the same seed."""
    torch.manual_seed(seed)
    first, second, third = NETWORKS[name]()
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), first, nn.SiLU(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), second, nn.SiLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), third, nn.SiLU(), nn.Linear(64, 10),
    )


def digits():
    """Images [N, 1, 8, 8] in [0, 1] and labels [N], in random order."""
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return images.reshape(-1, 1, 8, 8)[order] / 16, labels[order]


def train(model, images, labels, epochs, seed=0):
    """Train by gradient descent with momentum: the loss of each step, [epochs, steps]."""
    random = torch.Generator().manual_seed(seed)  # the same for all trainings, and so are the batches
    images = images.to(next(model.parameters()).dtype)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM)
    losses = []
    for _ in tqdm(range(epochs), leave=False, disable=None):
        steps = []
        for batch in torch.randperm(len(labels), generator=random).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            steps.append(loss.item())
        losses.append(steps)
    return torch.tensor(losses, dtype=torch.float64)


@torch.no_grad()
def recognized(model, images):
    """The digits that a trained network sees."""
    return model.eval()(images.to(next(model.parameters()).dtype)).argmax(dim=1)


def difference(losses, others):
    """The largest relative difference in each epoch."""
    return ((losses - others).abs() / others).amax(dim=1)


def compare(name, epochs):
    """Train the network with PyTorch's and with NormKit's modules, print both curves, and check them."""
    images, labels = digits()
    models = {"PyTorch": network(name), "NormKit": network(name), "PyTorch, f64": network(name).double()}
    _, changed = normkit.torch.convert(models["NormKit"])
    print(f"\n{name} normalization; of NormKit: {', '.join(f'{n} {kind}' for kind, n in changed.items())}")
    losses, seconds = {}, {}
    for kind, model in models.items():
        start = time.perf_counter()
        losses[kind] = train(model, images[:-TEST], labels[:-TEST], epochs)
        seconds[kind] = time.perf_counter() - start
    theirs, ours, exact = losses.values()
    distances = [difference(ours, theirs), difference(theirs, exact), difference(ours, exact)]
    table(
        ["epoch", "loss, PyTorch", "loss, NormKit", "difference", "PyTorch to f64", "NormKit to f64"],
        [[str(epoch), f"{a:.6f}", f"{b:.6f}", *(f"{value:.1e}" for value in row)]
         for epoch, (a, b, *row) in enumerate(zip(theirs.mean(1), ours.mean(1), *distances), 1)])
    print("  seconds: " + ", ".join(f"{kind} {value:.1f}" for kind, value in seconds.items()))

    first = distances[0][0]
    check(first <= SAME, f"the first {ours.shape[1]} losses are the same: relative difference {first:.1e}"
                         f" (limit {SAME:.0e})")
    distance, limit = distances[2].max(), FURTHER * distances[1].max()
    check(distance <= limit, f"NormKit's losses are those in f64 up to {distance:.1e} (limit {limit:.1e})")
    seen = [recognized(models[kind], images[-TEST:]) for kind in ("PyTorch", "NormKit")]
    correct = [int((digit == labels[-TEST:]).sum()) for digit in seen]
    check(min(correct) >= LEAST_CORRECT * TEST,
          f"{correct[0]} (PyTorch) and {correct[1]} (NormKit) of {TEST} test digits are recognized")
    # Where the two disagree, either may be right, as in tosses of a coin: three standard deviations.
    different = int((seen[0] != seen[1]).sum())
    check(abs(correct[0] - correct[1]) <= 3 * math.sqrt(different), f"they disagree on {different} of them")


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8, help="times that each training image is used")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # the arrays are small
    normkit.set_num_threads(1)
    print(f"{library()}; PyTorch {torch.__version__}")
    for name in NETWORKS:
        compare(name, options.epochs)


if __name__ == "__main__":
    main()

"""Training on several processes, with batch normalization over the batch of all of them.

    mpirun -n 4 python -m mpi4py synchronized_batch_norm.py

with --oversubscribe where there are fewer cores than processes. Without mpirun it is one process.

A small convolutional network learns scikit-learn's handwritten digits, 1797 images of 8 x 8 pixels. Every
process has a share of each batch; the shares have different sizes. What is summed over the batch is summed
over the processes: the statistics of both batch normalizations, their gradients, and those of the weights.
Checked at the end:

1. Parameters and running statistics have the same bits on every process.
2. They are those that one process alone finds with the whole batches, up to rounding. A unit is f32 epsilon
   (2^-23) times the largest value of an array. In each step each of the two trainings rounds a parameter by
   half a unit: the limit is one unit per step.
3. The digits of the test set are recognized.
"""

import argparse
import hashlib
import os

# NumPy's matrix products: the processes share the cores, and waiting threads of OpenBLAS would spin.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
from mpi4py import MPI  # noqa: E402
from scipy.special import log_softmax  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from tqdm import trange  # noqa: E402

from _shared import check, library, table  # noqa: E402
from _synchronized import SynchronizedBatchNorm, sum_in_rank_order  # noqa: E402

BATCH, TEST = 120, 360  # images: in a batch, of all processes together; for the test
LEARNING_RATE, MOMENTUM = 0.1, 0.9
LEAST_CORRECT = 0.95  # share of the test images
CHANNELS, WIDTH, CLASSES = 16, 64, 10  # of the convolution, of the hidden layer, digits
WINDOW, POSITIONS = 3 * 3, 6 * 6  # of the convolution: its input at one position; positions in an 8 x 8 image


class Dense:
    """A matrix product over the last axis, whose weights are trained by gradient descent with momentum."""

    def __init__(self, random, inputs, outputs):
        self.weight = (random.standard_normal((inputs, outputs)) * np.sqrt(1 / inputs)).astype(np.float32)

    def forward(self, x):
        self._x = x
        return x @ self.weight

    def backward(self, dy):
        """Form the gradient of the weights for this rank's share; returns that of the input."""
        rows = dy.reshape(-1, dy.shape[-1])
        self.weight_gradient = self._x.reshape(len(rows), -1).T @ rows
        return dy @ self.weight.T


class Network:
    """Convolution, batch norm, tanh; dense layer, batch norm, tanh; dense layer.

    tanh is smooth. At the corner of a ReLU the last bit of a sum decides which of two gradients is taken, and
    trainings that differ in nothing but rounding part there.
    """

    def __init__(self, communicator, seed):
        random = np.random.default_rng(seed)
        self.dense = [Dense(random, *sizes) for sizes in
                      ((WINDOW, CHANNELS), (POSITIONS * CHANNELS, WIDTH), (WIDTH, CLASSES))]
        self.norms = [SynchronizedBatchNorm(channels, communicator, channel_axis=-1)
                      for channels in (CHANNELS, WIDTH)]

    def logits(self, windows, training):
        """From the windows of the images [N, positions, window] to logits [N, classes]."""
        y = windows
        self._active = []
        for dense, norm in zip(self.dense, self.norms):
            y = dense.forward(y)
            y = norm.forward(y) if training else norm.evaluate(y)
            self._active.append(np.tanh(y))
            y = self._active[-1].reshape(len(y), -1)
        return self.dense[-1].forward(y)

    def backward(self, gradient):
        """From the gradient of the logits to those of all weights; of dense layers, this rank's part."""
        gradient = self.dense[-1].backward(gradient)
        for dense, norm, active in reversed(list(zip(self.dense, self.norms, self._active))):
            gradient = dense.backward(norm.backward(gradient.reshape(active.shape) * (1 - active * active)))

    def parameters(self):
        """Pairs of an array that is trained and its gradient."""
        return ([(layer.weight, layer.weight_gradient) for layer in (*self.dense, *self.norms)]
                + [(norm.bias, norm.bias_gradient) for norm in self.norms])

    def state(self):
        """Parameters and running statistics."""
        return ([parameter for parameter, _ in self.parameters()]
                + [running for norm in self.norms for running in (norm.running_mean, norm.running_var)])


def share(indices, rank, ranks):
    """A rank's part of a batch. Shares are uneven: rank r has r + 1 parts of 1 + 2 + ... + ranks."""
    first, last = (len(indices) * r * (r + 1) // (ranks * (ranks + 1)) for r in (rank, rank + 1))
    return indices[first:last]


def loss_and_gradient(logits, labels, batch):
    """This rank's part of the mean cross-entropy of a batch, and its gradient with respect to the logits."""
    log_probabilities = log_softmax(logits, axis=1)
    truth = np.eye(CLASSES, dtype=np.float32)[labels]
    loss = -float((log_probabilities * truth).sum()) / batch
    return loss, (np.exp(log_probabilities) - truth) / np.float32(batch)


def train(communicator, windows, labels, epochs, seed=0):
    """Train on all ranks of a communicator: (network, mean loss of each epoch, number of steps)."""
    network = Network(communicator, seed)
    random = np.random.default_rng(seed)  # the same on every rank, and so are the batches
    velocities, losses, steps = None, [], 0
    for _ in trange(epochs, desc=f"training on {communicator.size}", leave=False,
                    disable=None if communicator.rank == 0 else True):
        order, loss = random.permutation(len(labels)), 0.0
        for batch in np.split(order, range(BATCH, len(order), BATCH)):
            own = share(batch, communicator.rank, communicator.size)
            logits = network.logits(windows[own], training=True)
            part, gradient = loss_and_gradient(logits, labels[own], len(batch))
            network.backward(gradient)
            add_dense_gradients(network, communicator)
            velocities = velocities or [np.zeros_like(parameter) for parameter, _ in network.parameters()]
            for velocity, (parameter, gradient) in zip(velocities, network.parameters()):
                velocity[:] = MOMENTUM * velocity + gradient
                parameter -= LEARNING_RATE * velocity
            loss += communicator.allreduce(part) * len(batch)
            steps += 1
        losses.append(loss / len(order))
    return network, losses, steps


def add_dense_gradients(network, communicator):
    """Replace each rank's part of the dense layers' gradients by the sum over all ranks, in one message."""
    parts = [dense.weight_gradient for dense in network.dense]
    total = sum_in_rank_order(np.concatenate([part.reshape(-1) for part in parts]), communicator)
    for dense, gradient in zip(network.dense, np.split(total, np.cumsum([part.size for part in parts])[:-1])):
        dense.weight_gradient = gradient.reshape(dense.weight.shape)


def digits():
    """Windows [N, positions, window] in [0, 1] and labels [N], in random order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = images.reshape(-1, 8, 8)[order].astype(np.float32) / 16
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), (1, 2))
    return windows.reshape(-1, POSITIONS, WINDOW), labels[order]


def difference(network, other):
    """The largest difference of two networks, in f32 epsilon times the largest value of each array."""
    return max(np.abs(a - b).max() / (np.finfo(np.float32).eps * np.abs(b).max())
               for a, b in zip(network.state(), other.state(), strict=True))


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8, help="times that each training image is used")
    options = parser.parse_args(arguments)

    communicator = MPI.COMM_WORLD
    windows, labels = digits()
    training = windows[:-TEST], labels[:-TEST]
    network, losses, steps = train(communicator, *training, options.epochs)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in network.state())).hexdigest()
    digests = communicator.gather(digest)
    if communicator.rank > 0:
        return

    print(library())
    shares = [len(share(range(BATCH), rank, communicator.size)) for rank in range(communicator.size)]
    print(f"\n{len(training[0])} digits in batches of {BATCH}, of which the processes have {shares}")
    alone, losses_alone, _ = train(MPI.COMM_SELF, *training, options.epochs)
    table(["epoch", "loss", "one process alone"],
          [[str(epoch), f"{a:.6f}", f"{b:.6f}"] for epoch, (a, b) in enumerate(zip(losses, losses_alone), 1)])

    check(set(digests) == {digest},
          f"parameters and running statistics have the same bits on all processes: {digest[:16]}")
    units = difference(network, alone)
    check(units <= steps,
          f"they are those of one process alone: difference {units:.1f} units (limit {steps})")
    correct = (network.logits(windows[-TEST:], training=False).argmax(axis=1) == labels[-TEST:]).sum()
    check(correct >= LEAST_CORRECT * TEST, f"{correct} of {TEST} test digits are recognized")


if __name__ == "__main__":
    main()

"""Training: loss, optimizers, and the loop."""

import numpy as np

import normkit


def softmax_cross_entropy(logits, labels):
    """The mean cross-entropy of a batch, and its gradient with respect to the logits [N, classes]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(logarithms)
    gradient[rows, labels] -= 1
    return -float(logarithms[rows, labels].mean()), gradient / np.asarray(len(labels), gradient.dtype)


def squared_error(y, target):
    """The mean squared error, and its gradient with respect to y."""
    difference = y - target
    return float(np.square(difference).mean()), difference * np.asarray(2 / difference.size, difference.dtype)


class SGD:
    """Gradient descent with momentum."""

    def __init__(self, parameters, learning_rate, momentum=0.0):
        self.parameters, self.learning_rate, self.momentum = parameters, learning_rate, momentum
        self._velocities = [np.zeros_like(parameter.value) for parameter in parameters]

    def step(self):
        for parameter, velocity in zip(self.parameters, self._velocities):
            velocity *= self.momentum
            velocity += parameter.gradient
            parameter.value -= self.learning_rate * velocity


class Adam:
    """Kingma, Ba, "Adam: A Method for Stochastic Optimization", 2015."""

    def __init__(self, parameters, learning_rate, betas=(0.9, 0.999), eps=1e-8):
        self.parameters, self.learning_rate, self.betas, self.eps = parameters, learning_rate, betas, eps
        self._first = [np.zeros_like(parameter.value) for parameter in parameters]
        self._second = [np.zeros_like(parameter.value) for parameter in parameters]
        self._steps = 0

    def step(self):
        self._steps += 1
        one, two = self.betas
        rate = self.learning_rate * np.sqrt(1 - two**self._steps) / (1 - one**self._steps)
        for parameter, first, second in zip(self.parameters, self._first, self._second):
            first += (1 - one) * (parameter.gradient - first)
            second += (1 - two) * (np.square(parameter.gradient) - second)
            parameter.value -= (rate * first / (np.sqrt(second) + self.eps)).astype(parameter.value.dtype)


def batches(count, size, random):
    """One epoch: arrays of `size` indices below `count`, in random order. Those left over are left out."""
    order = random.permutation(count)
    return [order[start:start + size] for start in range(0, count - size + 1, size)]


def loss_and_gradients(network, x, labels):
    """The loss of a batch in training; the gradients are in the network's parameters then."""
    loss, gradient = softmax_cross_entropy(network.forward(x, training=True), labels)
    network.backward(gradient)
    return loss


def add_penalty(parameters, strength, norm):
    """Add the gradient of an "l1" or "l2" penalty to those of the weights; returns its value."""
    return sum(normkit.weight_penalty(parameter.value, strength, norm, dw=parameter.gradient, accumulate=True)[0]
               for parameter in parameters if parameter.penalized)


def train(network, optimizer, x, labels, epochs, batch, seed=0, penalty=None, after_step=None):
    """Train a classifier; returns the loss of each step, without penalty.

    seed: of the order of the samples. penalty: (strength, "l1" or "l2"). after_step: called as after_step(step).
    A loss that is not finite ends the training; the steps that are left out count as infinite.
    """
    random = np.random.default_rng(seed)
    steps = epochs * (len(x) // batch)
    losses = np.full(steps, np.inf)
    indices = (index for _ in range(epochs) for index in batches(len(x), batch, random))
    with np.errstate(over="ignore", invalid="ignore"):  # a training may diverge: that is a result here
        for step, index in enumerate(indices):
            loss = loss_and_gradients(network, x[index], labels[index])
            if not np.isfinite(loss):
                break
            losses[step] = loss
            if penalty:
                add_penalty(optimizer.parameters, *penalty)
            optimizer.step()
            if after_step:
                after_step(step)
    return losses


def evaluate(network, x, labels):
    """(loss, share that is recognized) of a trained network, without statistics of the batch."""
    with np.errstate(over="ignore", invalid="ignore"):
        logits = network.forward(x, training=False)
        if not np.isfinite(logits).all():
            return np.inf, float(np.mean(labels == 0))  # all are taken for the first class
        loss, _ = softmax_cross_entropy(logits, labels)
    return loss, float(np.mean(logits.argmax(axis=1) == labels))

"""A recurrent network over sequences of different lengths, with a normalization in each step."""

import numpy as np

import normkit

from .layers import Parameter

METHODS = ("none", "layer", "batch")


class Recurrent:
    """``h = tanh(norm(x @ wx + h @ wh))`` from step to step, and a dense layer after the last step of each sequence.

    method: "layer", "batch" or "none", where the norm is but its bias. Batch normalization has statistics of its own in
    each step, as in Cooijmans et al., with as many rows as there are sequences that long. Steps later than all that
    were trained take the running statistics of the last one trained; so does, in training, a single row, which has
    no variance. There they are constants, also for the gradient.

    Sequences come sorted: the longest first. So those that go on in a step are the first ones.
    """

    def __init__(self, random, method, inputs, hidden, classes, steps, momentum=0.1):
        self.method, self.momentum = method, momentum
        self.wx = Parameter(random.standard_normal((inputs, hidden)) / np.sqrt(inputs))
        self.wh = Parameter(np.linalg.qr(random.standard_normal((hidden, hidden)))[0])
        self.weight = Parameter(np.ones(hidden))
        self.bias = Parameter(np.zeros(hidden))
        self.out = Parameter(random.standard_normal((hidden, classes)) / np.sqrt(hidden))
        self.out_bias = Parameter(np.zeros(classes))
        self.running_mean = np.zeros((steps, hidden), np.float32)
        self.running_var = np.ones((steps, hidden), np.float32)
        self.batches = np.zeros(steps, int)  # that are in the running statistics

    def parameters(self):
        weight = [] if self.method == "none" else [self.weight]
        return [self.wx, self.wh, *weight, self.bias, self.out, self.out_bias]

    def forward(self, x, lengths, training=True):
        """Logits [N, classes] of sequences x [N, steps, inputs], of which sequence i has lengths[i]."""
        h = np.zeros((len(x), self.wh.value.shape[0]), x.dtype)
        self._steps = []
        for step in range(lengths[0]):
            active = int((lengths > step).sum())
            before = h[:active].copy()
            inputs = np.ascontiguousarray(x[:active, step])
            a = inputs @ self.wx.value + before @ self.wh.value
            z, how = self._normalize(a, step, training)
            h[:active] = np.tanh(z)
            self._steps.append((active, inputs, before, a, how, h[:active].copy()))
        self._h = h
        return h @ self.out.value + self.out_bias.value

    def backward(self, dy):
        """Set the gradients of all parameters, from that of the logits."""
        for parameter in self.parameters():
            parameter.gradient = np.zeros_like(parameter.value)
        self.out.gradient = self._h.T @ dy
        self.out_bias.gradient = dy.sum(axis=0)
        dh = dy @ self.out.value.T
        for active, inputs, before, a, how, h in reversed(self._steps):
            da = self._normalize_backward(dh[:active] * (1 - h * h), a, how)
            self.wx.gradient += inputs.T @ da
            self.wh.gradient += before.T @ da
            dh[:active] = da @ self.wh.value.T

    def _normalize(self, a, step, training):
        """The result, and what the gradient needs: statistics, or that those of the batch were not taken."""
        weight, bias = self.weight.value, self.bias.value
        if self.method == "none":
            return a + bias, None
        if self.method == "layer":
            z, *stats = normkit.layer_norm(a, weight, bias, return_stats=True)
            return z, {"stats": stats}
        if training and len(a) > 1:
            # The first batch is taken as it is: there is nothing yet that it could be averaged with.
            momentum = self.momentum if self.batches[step] else 1.0
            self.batches[step] += 1
            z, *stats = normkit.batch_norm(a, self.running_mean[step], self.running_var[step], weight, bias,
                                           training=True, momentum=momentum, return_stats=True)
            return z, {"stats": stats}
        trained = np.flatnonzero(self.batches[:step + 1])
        at = trained[-1] if len(trained) else 0
        # Copies: a later step of the same sequence may change them before the gradient is taken.
        running = {"running_mean": self.running_mean[at].copy(), "running_var": self.running_var[at].copy()}
        return normkit.batch_norm(a, weight=weight, bias=bias, **running), {"training": False, **running}

    def _normalize_backward(self, dz, a, how):
        sums = {"dweight": self.weight.gradient, "dbias": self.bias.gradient, "accumulate": True}
        if self.method == "none":
            self.bias.gradient += dz.sum(axis=0)
            return dz
        gradient = {"layer": normkit.layer_norm_backward, "batch": normkit.batch_norm_backward}[self.method]
        return gradient(dz, a, self.weight.value, **how, **sums)[0]

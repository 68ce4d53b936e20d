"""Layers of small networks: matrix products by NumPy, normalization and its gradients by NormKit.

Channels are the last axis: [N, C] or [N, height, width, C]. A layer has

* ``forward(x, training=True)``, which remembers what `backward` needs of its latest call;
* ``backward(dy)``, which returns dx and sets the gradients of its parameters;
* ``parameters()``, what is trained.
"""

import numpy as np

import normkit


class Parameter:
    """An array that is trained. penalized: whether it is a weight, which a penalty is for."""

    def __init__(self, value, penalized=False):
        self.value = np.ascontiguousarray(value, np.float32)
        self.gradient = np.zeros_like(self.value)
        self.penalized = penalized


class Layer:
    """A layer without parameters, and the default of the others."""

    def parameters(self):
        return [value for value in vars(self).values() if isinstance(value, Parameter)]


class Dense(Layer):
    """``x @ weight + bias`` over the last axis. weight: [inputs, outputs], normal, of variance scale² * 2 / inputs.

    2 / inputs keeps the variance where a ReLU follows (He et al., 2015).
    """

    def __init__(self, random, inputs, outputs, scale=1.0, bias=True):
        weight = random.standard_normal((inputs, outputs)) * (scale * np.sqrt(2 / inputs))
        self.weight = Parameter(weight, penalized=True)
        self.bias = Parameter(np.zeros(outputs)) if bias else None

    def forward(self, x, training=True):
        self._rows, self._shape = x.reshape(-1, x.shape[-1]), x.shape
        y = self._rows @ self.weight.value
        if self.bias:
            y += self.bias.value
        return y.reshape(*x.shape[:-1], -1)

    def backward(self, dy):
        rows = dy.reshape(len(self._rows), -1)
        self.weight.gradient = self._rows.T @ rows
        if self.bias:
            self.bias.gradient = rows.sum(axis=0)
        return (rows @ self.weight.value.T).reshape(self._shape)


class Convolution(Dense):
    """2-d convolution of images [N, height, width, inputs], padded with zeros so that their size stays.

    A matrix product over windows of size x size pixels. weight: [size * size * inputs, outputs].
    """

    def __init__(self, random, inputs, outputs, size=3, scale=1.0, bias=True):
        super().__init__(random, size * size * inputs, outputs, scale, bias)
        self.size = size

    def forward(self, x, training=True):
        samples, height, width, inputs = self._images = x.shape
        padded, inner = self._padded(x.dtype)
        inner[...] = x
        windows = np.empty((samples, height, width, self.size, self.size, inputs), x.dtype)
        for row in range(self.size):
            for column in range(self.size):
                windows[:, :, :, row, column] = padded[:, row:row + height, column:column + width]
        return super().forward(windows.reshape(samples, height, width, -1))

    def backward(self, dy):
        samples, height, width, inputs = self._images
        windows = super().backward(dy).reshape(samples, height, width, self.size, self.size, inputs)
        dx, inner = self._padded(dy.dtype)
        for row in range(self.size):
            for column in range(self.size):
                dx[:, row:row + height, column:column + width] += windows[:, :, :, row, column]
        return inner

    def _padded(self, dtype):
        """Zeros with a margin around each image, and the view of them that is the images."""
        samples, height, width, inputs = self._images
        before = self.size // 2
        padded = np.zeros((samples, height + self.size - 1, width + self.size - 1, inputs), dtype)
        return padded, padded[:, before:before + height, before:before + width]


class WeightNorm(Layer):
    """A dense layer or a convolution, whose weight is v * g / norm(v), one norm and one g for each output.

    g starts with the norm of the layer's weight, so that this is unchanged at first. norm: "l2", "l1" or "max".
    """

    def __init__(self, layer, norm="l2"):
        self.layer, self.norm = layer, norm
        self.v = Parameter(layer.weight.value)
        _, norms = normkit.weight_norm(self.v.value, dim=-1, norm=norm, return_norms=True)
        self.g = Parameter(norms)

    def forward(self, x, training=True):
        self.layer.weight.value, self._norms = normkit.weight_norm(
            self.v.value, self.g.value, dim=-1, norm=self.norm, return_norms=True)
        return self.layer.forward(x, training)

    def backward(self, dy):
        dx = self.layer.backward(dy)
        self.v.gradient, self.g.gradient = normkit.weight_norm_backward(
            self.layer.weight.gradient, self.v.value, self.g.value, dim=-1, norm=self.norm, norms=self._norms)
        return dx

    def parameters(self):
        return [self.v, self.g, *([self.layer.bias] if self.layer.bias else [])]


class BatchNorm(Layer):
    """Mean and variance of each channel over the batch; of the running statistics if not in training."""

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        self.weight, self.bias = Parameter(np.ones(channels)), Parameter(np.zeros(channels))
        self.running_mean, self.running_var = np.zeros(channels, np.float32), np.ones(channels, np.float32)
        self.momentum, self.eps = momentum, eps

    def forward(self, x, training=True):
        self._x, self._training = x, training
        running = self.running_mean, self.running_var
        parameters = self.weight.value, self.bias.value
        if not training:
            return normkit.batch_norm(x, *running, *parameters, eps=self.eps, channel_axis=-1)
        y, *self._stats = normkit.batch_norm(
            x, *running, *parameters, training=True, momentum=self.momentum, eps=self.eps, channel_axis=-1,
            return_stats=True)
        return y

    def backward(self, dy):
        if self._training:
            how = {"stats": self._stats}
        else:
            how = {"training": False, "running_mean": self.running_mean, "running_var": self.running_var}
        dx, self.weight.gradient, self.bias.gradient = normkit.batch_norm_backward(
            dy, self._x, self.weight.value, self.eps, channel_axis=-1, **how)
        return dx


class SampleNorm(Layer):
    """What the normalizations within a sample have in common: it is the same in training and afterwards.

    Subclasses have NormKit's function and its gradient. There is a weight and a bias for each channel.
    """

    _options = {"channel_axis": -1}

    def __init__(self, channels, eps=1e-5):
        self.weight, self.bias = Parameter(np.ones(channels)), Parameter(np.zeros(channels))
        self.eps = eps

    def forward(self, x, training=True):
        self._x = x
        y, *self._stats = self._function(
            x, *self._numbers(), weight=self.weight.value, bias=self.bias.value, eps=self.eps, return_stats=True,
            **self._options)
        return y

    def backward(self, dy):
        dx, self.weight.gradient, self.bias.gradient = self._gradient(
            dy, self._x, *self._numbers(), weight=self.weight.value, eps=self.eps, **self._saved(),
            **self._options)
        return dx

    def _numbers(self):
        return ()

    def _saved(self):
        return {"stats": self._stats}


class LayerNorm(SampleNorm):
    """Mean and variance over the channels at each position; of rows [N, C] over each row."""

    _function, _gradient = staticmethod(normkit.layer_norm), staticmethod(normkit.layer_norm_backward)


class RMSNorm(SampleNorm):
    """Root mean square over the channels at each position; no mean is subtracted."""

    _function, _gradient = staticmethod(normkit.rms_norm), staticmethod(normkit.rms_norm_backward)
    _options = {}

    def _saved(self):
        return {"rstd": self._stats[0]}


class InstanceNorm(SampleNorm):
    """Mean and variance of each channel of each image, over its positions."""

    _function, _gradient = staticmethod(normkit.instance_norm), staticmethod(normkit.instance_norm_backward)


class GroupNorm(SampleNorm):
    """Mean and variance of each group of neighbouring channels of each sample. One group is layer normalization
    over a whole sample."""

    _function, _gradient = staticmethod(normkit.group_norm), staticmethod(normkit.group_norm_backward)

    def __init__(self, channels, groups=4, eps=1e-5):
        super().__init__(channels, eps)
        self.groups = groups

    def _numbers(self):
        return (self.groups,)


class Identity(Layer):
    """Nothing, where a normalization may be."""

    def forward(self, x, training=True):
        return x

    def backward(self, dy):
        return dy


class ReLU(Layer):
    def forward(self, x, training=True):
        self._positive = x > 0
        return x * self._positive

    def backward(self, dy):
        return dy * self._positive


class Tanh(Layer):
    def forward(self, x, training=True):
        self._y = np.tanh(x)
        return self._y

    def backward(self, dy):
        return dy * (1 - self._y * self._y)


class Sigmoid(Layer):
    def forward(self, x, training=True):
        self._y = 0.5 * (1 + np.tanh(0.5 * x))  # does not overflow
        return self._y

    def backward(self, dy):
        return dy * self._y * (1 - self._y)


class AveragePool(Layer):
    """The mean of each square of size x size pixels of images [N, height, width, C]."""

    def __init__(self, size=2):
        self.size = size

    def forward(self, x, training=True):
        self._shape = x.shape
        squares = (x[:, row::self.size, column::self.size] for row in range(self.size) for column in range(self.size))
        return sum(squares) * np.asarray(1 / self.size**2, x.dtype)

    def backward(self, dy):
        dx = np.empty(self._shape, dy.dtype)
        share = dy * np.asarray(1 / self.size**2, dy.dtype)
        for row in range(self.size):
            for column in range(self.size):
                dx[:, row::self.size, column::self.size] = share
        return dx


class Flatten(Layer):
    """A row for each sample."""

    def forward(self, x, training=True):
        self._shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy):
        return dy.reshape(self._shape)


class Sequential(Layer):
    """One layer after the other. Nested ones are taken apart: `layers` has none."""

    def __init__(self, *layers):
        self.layers = [inner for layer in layers
                       for inner in (layer.layers if isinstance(layer, Sequential) else [layer])]

    def forward(self, x, training=True):
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, dy):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def parameters(self):
        return [parameter for layer in self.layers for parameter in layer.parameters()]

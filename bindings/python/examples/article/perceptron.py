"""The network of several experiments: dense layers, each with a normalization and a ReLU."""

from . import layers


def perceptron(random, norm=None, hidden=5, width=48, inputs=64, classes=10):
    """`hidden` layers of `width`. norm: the normalization, of a number of channels; None: without."""
    sizes = [inputs, *[width] * hidden]
    blocks = []
    for before, after in zip(sizes, sizes[1:]):
        blocks += [layers.Dense(random, before, after), *([norm(after)] if norm else []), layers.ReLU()]
    return layers.Sequential(*blocks, layers.Dense(random, width, classes))

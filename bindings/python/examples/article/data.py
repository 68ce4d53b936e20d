"""The data: scikit-learn's handwritten digits, and sample photographs of scikit-learn and scikit-image."""

import functools
from typing import NamedTuple

import numpy as np

TEST = 597  # images for the test: a third of the digits


class Split(NamedTuple):
    """Images [N, 8, 8, 1] of mean 0 and variance 1, and their digits [N]: for training and for the test."""

    x: np.ndarray
    labels: np.ndarray
    test_x: np.ndarray
    test_labels: np.ndarray

    def rows(self):
        """The same with a row of 64 pixels for each image."""
        return self._replace(x=self.x.reshape(len(self.x), -1), test_x=self.test_x.reshape(len(self.test_x), -1))

    def first(self, count):
        """The same with so many images for the training."""
        return self._replace(x=self.x[:count], labels=self.labels[:count])


@functools.cache
def digits(seed=0):
    """The 1797 digits, in the same random order for the same seed."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images = ((images - images.mean()) / images.std()).astype(np.float32)[order].reshape(-1, 8, 8, 1)
    labels = labels[order]
    return Split(images[:-TEST], labels[:-TEST], images[-TEST:], labels[-TEST:])


@functools.cache
def photographs(size=64):
    """Sample pictures, by name: arrays [size, size, 3] in [0, 1], the middle square made smaller."""
    from skimage import data, transform
    from sklearn.datasets import load_sample_images

    pictures = {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
    pictures.update(zip(("china", "flower"), load_sample_images().images))
    result = {}
    for name, picture in pictures.items():
        side = min(picture.shape[:2])
        top, left = ((extent - side) // 2 for extent in picture.shape[:2])
        square = picture[top:top + side, left:left + side] / 255
        result[name] = transform.resize(square, (size, size), anti_aliasing=True).astype(np.float32)
    return result

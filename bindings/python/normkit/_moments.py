"""Statistics per channel that are merged: of data that come in pieces, or lie on several machines."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._abi import CHANNEL_MOMENTS, DType
from ._arrays import NUMPY_DTYPES, Array, describe
from ._channels import by_channel, channel_sizes
from ._library import functions
from ._placement import fit, is_contiguous
from ._scalars import integer, real
from ._types import SupportsDLPack

Doubles = np.ndarray[Any, np.dtype[np.float64]]


class Moments:
    """What is known of the elements of each channel: how many they were, their mean, and the sum of their
    squared deviations from it.

    Pieces of data are added by `accumulate`, in any number of calls; moments of other data by `merge`.
    Between processes `data` is what is sent: processes that merge the same moments in the same order have the
    same bits. Moments can be pickled, and compared with ``==``.

    Args:
        channels: the number of channels. There are no elements at first.

    Source: Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances",
    1979.

    >>> import numpy as np
    >>> moments = Moments(2).accumulate(np.array([[1, 10], [3, 30]], np.float32))
    >>> moments = moments.merge(Moments(2).accumulate(np.array([[5, 20]], np.float32)))
    >>> moments.count, moments.mean, moments.m2
    (array([3., 3.]), array([ 3., 20.]), array([  8., 200.]))
    >>> mean, var, rstd = moments.finish(correction=1)
    >>> var
    array([  4., 100.])
    """

    def __init__(self, channels: int) -> None:
        channels = integer(channels, "channels")
        if channels < 0:
            raise ValueError(f"channels is {channels}; it must not be negative")
        self._data: Doubles = np.zeros((channels, len(CHANNEL_MOMENTS)))

    @classmethod
    def from_data(cls, array: SupportsDLPack) -> Moments:
        """Moments over the memory of `array`, which is not copied: [channels, 3], float64, as `data` is.

        Raises TypeError or ValueError if it is of another type or shape, read-only, or not contiguous.
        """
        memory = describe(array, "array")
        memory.require_dtype(DType.F64)
        if len(memory.shape) != 2:
            raise ValueError(f"array has shape {memory.shape}; it must have (channels, 3)")
        memory.require_shape((memory.shape[0], len(CHANNEL_MOMENTS)))
        memory.require_writable()
        if not is_contiguous(memory):
            raise ValueError("array is not contiguous")
        moments = cls(0)
        moments._data = memory.bits().view(np.float64)
        return moments

    @property
    def data(self) -> Doubles:
        """[channels, 3]: count, mean and m2 of each channel. It shares memory with these moments."""
        return self._data

    @property
    def channels(self) -> int:
        return len(self._data)

    @property
    def count(self) -> Doubles:
        """[channels]: how many elements there were."""
        return self._data[:, 0]

    @property
    def mean(self) -> Doubles:
        """[channels]: their mean, 0 if there were none."""
        return self._data[:, 1]

    @property
    def m2(self) -> Doubles:
        """[channels]: the sum of their squared deviations from the mean."""
        return self._data[:, 2]

    def accumulate(self, x: SupportsDLPack, channel_axis: int = 1) -> Moments:
        """Add the elements of `x`: [N, C] or [N, C, spatial...]; with ``channel_axis=-1`` [N, spatial..., C].

        Returns these moments. Raises TypeError or ValueError, naming the argument; nothing has been added.
        """
        array = describe(x, "x")
        arrangement, seen, stride = fit(array, by_channel(array, channel_axis)(array))
        sizes = channel_sizes(array, arrangement)
        functions.normkit_moments_accumulate(
            array.dtype, *sizes, seen, stride, moments_memory(self, "moments", sizes[2])
        )
        return self

    def merge(self, other: Moments) -> Moments:
        """Add the elements of `other`, other moments of as many channels. Returns these moments.

        Merging with moments of no elements changes no bit. Raises TypeError or ValueError, naming the
        argument; nothing has been added.
        """
        theirs = moments_memory(other, "other", self.channels)
        functions.normkit_moments_merge(self.channels, moments_memory(self, "moments", self.channels), theirs)
        return self

    def finish(
        self, correction: int = 0, eps: float = 0.0, dtype: Any = np.float64
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Mean, variance and reciprocal standard deviation of each channel.

        Args:
            correction: the variance is m2 / (count - correction).
            eps: rstd is 1 / sqrt(m2 / count + eps), whatever the correction; 0 where the root is 0.
            dtype: float64 or float32.

        Returns:
            ``(mean, var, rstd)``, NumPy arrays [channels].

        Raises:
            TypeError, ValueError: naming the argument; also if a channel has no elements, or no more than
                `correction`.
        """
        numpy_dtype = np.dtype(dtype)
        code = NUMPY_DTYPES.get(numpy_dtype)
        if code not in (DType.F32, DType.F64):
            raise TypeError(f"dtype is {numpy_dtype}; it must be float32 or float64")
        mean, variance, rstd = results = tuple(np.empty(self.channels, numpy_dtype) for _ in range(3))
        functions.normkit_moments_finish(
            code,
            self.channels,
            moments_memory(self, "moments", self.channels),
            integer(correction, "correction"),
            real(eps, "eps"),
            *(describe(result, "the result") for result in results),
        )
        return mean, variance, rstd

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moments):
            return NotImplemented
        return np.array_equal(self._data, other._data)

    __hash__ = None  # type: ignore[assignment]  # they change

    def __repr__(self) -> str:
        return f"Moments.from_data(np.{self._data!r})"


def moments_memory(moments: Any, name: str, channels: int) -> Array:
    """Where the data of `moments` are. Raises TypeError or ValueError, naming the argument `name`, if they
    are no `Moments`, or of another number of channels.
    """
    if not isinstance(moments, Moments):
        raise TypeError(f"{name} is a {type(moments).__name__}; it must be a normkit.Moments")
    if moments.channels != channels:
        raise ValueError(f"{name} has {moments.channels} channels; it must have {channels}")
    return describe(moments.data, name)

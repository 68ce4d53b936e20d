"""Batch normalization over the batch of all processes of a program: SyncBatchNorm, over MPI.

What it costs. Per layer, each process sends 24 bytes per channel forward (count, mean, sum of squared
deviations) and 16 backward (sums of dy and of dy * z), each in one collective call, however large its share
of the batch is. It receives as much from every other process: with 256 channels and 64 processes, 393 KB
forward. So what is received and merged grows with the ranks. Where they are many, let groups of ranks (those
of one machine) merge first, then one rank of each group the results of the groups, and hand them back: a
tree. All ranks have the same bits with a tree, too, as long as its shape is fixed and each node merges its
branches in rank order.

Why the order. Sums in floating point depend on it. How an MPI library adds up in Allreduce is its own choice,
which may change with the number of ranks, the size of the message and the network. Here everything is added
up in rank order: all ranks have the same bits, and so has the next run with the same shares.

One machine:       mpirun -n 4 python -m mpi4py program.py
Several machines:  mpirun --hostfile hosts -n 16 python -m mpi4py program.py
with a line `name slots=8` for each machine in the file `hosts`. With `-m mpi4py` a process that fails ends
the others, which would wait for it otherwise.
"""

import numpy as np

from _shared import normkit


def gather_in_rank_order(own, communicator):
    """The array `own` of every rank, [ranks, ...]: one all-gather. They have to have the same shape."""
    gathered = np.empty((communicator.size, *own.shape), own.dtype)
    communicator.Allgather(np.ascontiguousarray(own), gathered)
    return gathered


def sum_in_rank_order(own, communicator):
    """The sum of the array `own` over all ranks: an all-reduce in a fixed order, for large arrays.

    Each rank adds up one piece of the array and sends the sum to all. It receives twice the array's bytes,
    however many ranks there are.
    """
    size = communicator.size
    pieces = np.zeros((size, -(-own.size // size)), own.dtype)
    pieces.reshape(-1)[:own.size] = own.reshape(-1)
    received = np.empty_like(pieces)
    communicator.Alltoall(pieces, received)
    return gather_in_rank_order(add_up(received), communicator).reshape(-1)[:own.size].reshape(own.shape)


def add_up(terms):
    """Sum over the first axis, in its order."""
    total = np.zeros_like(terms[0])
    for term in terms:
        total += term
    return total


class SynchronizedBatchNorm:
    """A batch normalization layer, whose batch is that of all ranks of a communicator.

    Shares may have different sizes; a rank without samples takes part with an array of none. After
    `backward`, `weight_gradient` and `bias_gradient` are those of the whole batch on every rank, not to be
    reduced again.

    Args:
        channels: C. The layer takes [N, C, spatial...]; with ``channel_axis=-1`` [N, spatial..., C].
        communicator: of mpi4py, such as MPI.COMM_WORLD.
        dtype: of parameters and running statistics: float64 for float64 data, float32 for all other.
    """

    def __init__(self, channels, communicator, *, channel_axis=1, eps=1e-5, momentum=0.1, dtype=np.float32):
        self.communicator, self.channel_axis = communicator, channel_axis
        self.eps, self.momentum, self.dtype = eps, momentum, dtype
        self.weight, self.bias = np.ones(channels, dtype), np.zeros(channels, dtype)
        self.running_mean, self.running_var = np.zeros(channels, dtype), np.ones(channels, dtype)

    def forward(self, x):
        """Normalize this rank's share of the batch, and update the running statistics."""
        share = normkit.Moments(len(self.weight)).accumulate(x, channel_axis=self.channel_axis)
        moments = normkit.Moments(len(self.weight))
        for data in gather_in_rank_order(share.data, self.communicator):
            moments.merge(normkit.Moments.from_data(data))
        self._saved = x, moments

        mean, var, _ = moments.finish(correction=1, dtype=self.dtype)
        for running, batch in ((self.running_mean, mean), (self.running_var, var)):
            running += self.momentum * (batch - running)
        return normkit.batch_norm_synchronized(
            x, moments, self.weight, self.bias, self.eps, channel_axis=self.channel_axis)

    def backward(self, dy):
        """From the gradient of this rank's output to that of its input, after `forward`."""
        x, moments = self._saved
        share = normkit.batch_norm_gradient_sums(dy, x, moments, self.eps, channel_axis=self.channel_axis)
        sums = add_up(gather_in_rank_order(share, self.communicator))
        self.bias_gradient, self.weight_gradient = sums.T.astype(self.dtype)
        return normkit.batch_norm_synchronized_backward(
            dy, x, moments, sums, self.weight, self.eps, channel_axis=self.channel_axis)

    def evaluate(self, x):
        """Normalize with the running statistics; no communication."""
        return normkit.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                                  eps=self.eps, channel_axis=self.channel_axis)

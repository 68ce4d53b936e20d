"""Mean and variance of a data set that does not fit into memory, in one pass that may be interrupted.

The data are photographs in a file, f32 [images, height, width, 3]: crops of scikit-image's sample pictures,
mirrored, brightened and darkened, as networks are trained with. Chunk by chunk the file is mapped into memory
and added to a normkit.Moments, per colour or per pixel, without a copy. Checked:

1. However large the file is, memory grows by no more than a chunk and 4 MB.
2. Mean and variance agree with two passes over the file in f64. A unit is f32 epsilon (2^-23) times the
   larger of mean and standard deviation, or times the variance.
3. Interrupted half-way and resumed from its checkpoint, the pass ends with the same bits.

With --folder, a run that was ended at any time goes on in the same folder.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from skimage import data
from tqdm import tqdm

from _shared import check, library, table
import normkit

IMAGE = (96, 96, 3)  # height, width, colours
IMAGE_BYTES = int(np.prod(IMAGE)) * np.dtype(np.float32).itemsize
CHANNELS = {"colour": IMAGE[-1], "pixel": int(np.prod(IMAGE))}
MEMORY_LIMIT = 4e6  # bytes, beside a chunk: moments, checkpoint, progress bar
MEAN_LIMIT, VARIANCE_LIMIT = 2.0, 4.0  # units


class Photographs:
    """The file of photographs, read in chunks of so many images.

    resident: the most memory that the program had, in bytes, while it worked on a chunk.
    """

    def __init__(self, path, chunk):
        self.path, self.chunk = path, chunk
        self.images = path.stat().st_size // IMAGE_BYTES
        self.pieces = self.images, chunk  # the last bits of moments depend on how the data were cut
        self.resident = 0

    def chunks(self, what, first=0):
        """The chunks from image `first` on, each mapped only while it is used; with a progress bar."""
        with tqdm(total=self.images * IMAGE_BYTES, initial=first * IMAGE_BYTES, desc=what, unit="B",
                  unit_scale=True, leave=False, disable=None) as progress:
            for start in range(first, self.images, self.chunk):
                count = min(self.chunk, self.images - start)
                yield np.memmap(self.path, np.float32, "r", start * IMAGE_BYTES, (count, *IMAGE))
                self.resident = max(self.resident, resident())
                progress.update(count * IMAGE_BYTES)


def resident():
    """Memory of this program in bytes, what it has mapped and touched included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def write(path, images, seed=0):
    """Write so many photographs, the same ones for the same seed."""
    random = np.random.default_rng(seed)
    sources = [picture().astype(np.float32) / 255 for picture in (
        data.astronaut, data.chelsea, data.coffee, data.hubble_deep_field, data.rocket)]
    with open(path, "wb") as file:
        for _ in tqdm(range(images), "writing", leave=False, disable=None):
            source = sources[random.integers(len(sources))]
            top, left = (random.integers(size - extent + 1) for size, extent in zip(source.shape, IMAGE[:2]))
            crop = source[top:top + IMAGE[0], left:left + IMAGE[1]]
            mirrored, light = crop[:, ::random.choice([-1, 1])], np.float32(random.uniform(0.7, 1.3))
            np.clip(mirrored * light, 0, 1).tofile(file)


def accumulate(photographs, channels, checkpoint, stop=None):
    """Moments of the photographs, saved to the file `checkpoint` after each chunk, begun with what it holds.

    stop: end after so many images, as an interruption does.
    """
    moments, seen = normkit.Moments(channels), 0
    if checkpoint.exists():
        moments, seen = resume(photographs, channels, checkpoint)
    for images in photographs.chunks("one pass", seen):
        moments.accumulate(images.reshape(-1, channels))
        seen += len(images)
        save(checkpoint, moments=moments.data, seen=seen, pieces=photographs.pieces)
        if stop is not None and seen >= stop:
            break
    return moments


def save(path, **arrays):
    """Replace the file in one step: whenever the program ends, there is an old checkpoint or a new one."""
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.savez(file, **arrays)
    os.replace(partial, path)


def resume(photographs, channels, checkpoint):
    """Moments and the number of images in them, if the checkpoint is of the same data in the same chunks."""
    with np.load(checkpoint) as saved:
        moments, seen, pieces = saved["moments"], int(saved["seen"]), saved["pieces"]
    if len(moments) != channels or not np.array_equal(pieces, photographs.pieces):
        sys.exit(f"{checkpoint} is of {pieces[0]} images in chunks of {pieces[1]}, {len(moments)} channels")
    print(f"  resumed after {seen} of {photographs.images} images")
    return normkit.Moments.from_data(moments), seen


def two_passes(photographs, channels):
    """Mean and variance as they are defined, in f64: a pass for the mean, another for deviations from it."""
    rows = photographs.images * IMAGE_BYTES // (4 * channels)
    mean = sum(chunk.reshape(-1, channels).sum(axis=0, dtype=np.float64)
               for chunk in photographs.chunks("reference: mean")) / rows
    return mean, sum(np.square(chunk.reshape(-1, channels) - mean).sum(axis=0)
                     for chunk in photographs.chunks("reference: variance")) / rows


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.06, help="size of the file")
    parser.add_argument("--chunk-megabytes", type=float, default=8)
    parser.add_argument("--channels", choices=CHANNELS, default="colour", help="what has a mean of its own")
    parser.add_argument("--folder", type=Path, help="for the file and the checkpoints")
    options = parser.parse_args(arguments)
    print(library())
    with tempfile.TemporaryDirectory() as temporary:
        run(options, options.folder or Path(temporary))


def run(options, folder):
    path, channels = folder / "photographs.f32", CHANNELS[options.channels]
    images = round(options.gigabytes * 1e9 / IMAGE_BYTES)
    if not path.exists() or path.stat().st_size != images * IMAGE_BYTES:
        write(path, images)
    whole, half = folder / "whole.npz", folder / "half.npz"
    photographs = Photographs(path, max(1, round(options.chunk_megabytes * 1e6 / IMAGE_BYTES)))
    chunk = photographs.chunk * IMAGE_BYTES
    print(f"\n{images} photographs, {path.stat().st_size / 1e6:.0f} MB, in chunks of {chunk / 1e6:.1f} MB")

    before, start = resident(), time.perf_counter()
    moments = accumulate(photographs, channels, whole)
    seconds, grown = time.perf_counter() - start, photographs.resident - before
    print(f"  one pass: {seconds:.2f} s, {channels} channels with {moments.count[0]:.0f} elements each")
    check(grown <= chunk + MEMORY_LIMIT, f"memory grew by {grown / 1e6:.1f} MB")

    mean, variance, _ = moments.finish()
    expected_mean, expected_variance = two_passes(photographs, channels)
    deviation = np.sqrt(expected_variance)
    if options.channels == "colour":
        table(["colour", "mean", "standard deviation"],
              [[name, *(f"{value:.6f}" for value in values)]
               for name, *values in zip(("red", "green", "blue"), mean, np.sqrt(variance))])
    for name, found, expected, magnitude, limit in (
            ("means", mean, expected_mean, np.maximum(np.abs(expected_mean), deviation), MEAN_LIMIT),
            ("variances", variance, expected_variance, expected_variance, VARIANCE_LIMIT)):
        units = (np.abs(found - expected) / (np.finfo(np.float32).eps * magnitude)).max()
        check(units <= limit,
              f"{name} as from two passes in f64: difference {units:.2f} units (limit {limit:.0f})")

    half.unlink(missing_ok=True)
    accumulate(photographs, channels, half, stop=images // 2)
    resumed = accumulate(photographs, channels, half)
    check(resumed.data.tobytes() == moments.data.tobytes(), "interrupted and resumed: the same bits")
    whole.unlink()
    half.unlink()


if __name__ == "__main__":
    main()

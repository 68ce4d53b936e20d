"""The examples of statistics in pieces: streamed from a file, and on one process without MPI's launcher."""

import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from support.header import ROOT

BINDING = ROOT / "bindings" / "python"
EXAMPLES = BINDING / "examples"
sys.path.insert(0, str(EXAMPLES))

import stream_statistics  # noqa: E402

import normkit  # noqa: E402

SMALL = ["--gigabytes", "0.015", "--chunk-megabytes", "1"]
IMAGES, CHUNK = 136, 9  # that these options stand for


def run(example: str, *arguments: object, change: str = "") -> subprocess.CompletedProcess:
    """Run an example, after a change of its functions by a piece of code."""
    code = f"import sys; sys.path.append({str(EXAMPLES)!r}); import {example} as example\n{change}\n"
    return subprocess.run(
        [sys.executable, "-c", f"{code}example.main(sys.argv[1:])", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(BINDING)}, capture_output=True, text=True, timeout=300,
    )


def written(folder) -> np.ndarray:
    """The photographs in a folder, in f64."""
    values = np.fromfile(folder / "photographs.f32", np.float32)
    return values.reshape(-1, *stream_statistics.IMAGE).astype(np.float64)


def test_stream_has_the_statistics_of_the_file(tmp_path):
    done = run("stream_statistics", *SMALL, "--folder", tmp_path)
    assert done.returncode == 0, done.stderr
    photographs = written(tmp_path)
    assert len(photographs) == IMAGES and 0 <= photographs.min() < photographs.max() <= 1
    assert len(np.unique(photographs[:, 40, 40], axis=0)) > IMAGES // 2  # they are different pictures
    for colour, values in zip(("red", "green", "blue"), np.moveaxis(photographs, -1, 0), strict=True):
        mean, deviation = re.search(rf"{colour} +(\S+) +(\S+)", done.stdout).groups()
        assert (mean, deviation) == (f"{values.mean():.6f}", f"{values.std():.6f}")
    assert f"3 channels with {photographs.size // 3} elements each" in done.stdout
    assert f"resumed after {8 * CHUNK} of {IMAGES} images" in done.stdout
    grown, *rest = re.findall(r"  ok: (.*)", done.stdout)
    assert float(re.search(r"memory grew by (\S+) MB", grown)[1]) < 5
    assert [line.split()[0] for line in rest] == ["means", "variances", "interrupted"]
    assert [path.name for path in tmp_path.iterdir()] == ["photographs.f32"]


def test_stream_per_pixel():
    done = run("stream_statistics", *SMALL, "--channels", "pixel")
    assert done.returncode == 0, done.stderr
    assert f"{96 * 96 * 3} channels with {IMAGES} elements each" in done.stdout
    assert done.stdout.count("  ok: ") == 4


@pytest.mark.parametrize("channels", ["colour", "pixel"])
def test_killed_stream_goes_on(channels, tmp_path):
    """Killed in its fourth chunk, the pass goes on after the third, and ends as if nothing had happened."""
    kill = """
import os, signal, normkit
add, calls = normkit.Moments.accumulate, 0
def accumulate(moments, x):
    global calls
    calls += 1
    return add(moments, x) if calls < 4 else os.kill(os.getpid(), signal.SIGKILL)
normkit.Moments.accumulate = accumulate
"""
    options = [*SMALL, "--channels", channels, "--folder", tmp_path]
    assert run("stream_statistics", *options, change=kill).returncode == -signal.SIGKILL
    assert (tmp_path / "whole.npz").exists()
    done = run("stream_statistics", *options)
    assert done.returncode == 0, done.stderr
    assert f"resumed after {3 * CHUNK} of {IMAGES} images" in done.stdout


@pytest.mark.parametrize("channels", [3, 96 * 96 * 3])
def test_resumed_pass_has_the_bits_of_one_without_checkpoints(channels, tmp_path):
    stream_statistics.write(tmp_path / "file", 23)
    photographs = stream_statistics.Photographs(tmp_path / "file", 5)
    expected = normkit.Moments(channels)
    for images in photographs.chunks("expected"):
        expected.accumulate(images.reshape(-1, channels))
    for stop in (5, 10, 15, 20, 23):
        moments = stream_statistics.accumulate(photographs, channels, tmp_path / "checkpoint", stop)
        assert moments.count[0] * channels == stop * np.prod(stream_statistics.IMAGE)
    assert moments == expected and moments.data.tobytes() == expected.data.tobytes()


@pytest.mark.parametrize(("images", "chunk", "channels"), [(24, 5, 3), (23, 6, 3), (23, 5, 9)])
def test_checkpoint_of_something_else_is_refused(images, chunk, channels, tmp_path):
    path, checkpoint = tmp_path / "file", tmp_path / "checkpoint"
    stream_statistics.write(path, 23)
    stream_statistics.accumulate(stream_statistics.Photographs(path, 5), 3, checkpoint, stop=5)
    stream_statistics.write(path, images)
    with pytest.raises(SystemExit, match="is of 23 images in chunks of 5, 3 channels"):
        stream_statistics.accumulate(stream_statistics.Photographs(path, chunk), channels, checkpoint)


@pytest.mark.parametrize(("change", "error"), [
    ("example.resident = lambda sizes=iter(range(0, 10**10, 10**6)): next(sizes)", "memory grew by"),
    ("Moments.finish = lambda moments: (finish(moments)[0] + 1e-6, *finish(moments)[1:])", "means"),
    ("Moments.finish = lambda moments: finish(moments, correction=1)", "variances"),
    ("go = example.resume; example.resume = lambda *a: (go(*a)[0], go(*a)[1] - 1)", "interrupted"),
], ids=["memory", "means", "variances", "resumption"])
def test_wrong_number_ends_the_stream(change, error):
    # Few elements per channel: there n - 1 in the place of n is more than a rounding.
    given = "Moments = example.normkit.Moments; finish = Moments.finish"
    done = run("stream_statistics", *SMALL, "--channels", "pixel", change=f"{given}; {change}")
    assert done.returncode == 1
    assert f"FAILED: {error}" in done.stderr


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no MPI library; scripts/setup.sh installs it")
def test_synchronized_example_without_mpirun():
    done = run("synchronized_batch_norm", "--epochs", 5)
    assert done.returncode == 0, done.stderr
    assert "of which the processes have [120]" in done.stdout and "difference 0.0 units" in done.stdout


@pytest.mark.parametrize(("example", "option"), [("synchronized_batch_norm", "--epochs"),
                                                 ("stream_statistics", "--gigabytes")])
def test_examples_explain_themselves(example, option):
    shown = run(example, "--help")
    assert shown.returncode == 0 and option in shown.stdout

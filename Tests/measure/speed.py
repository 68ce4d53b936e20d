"""Compare the speed of f32 normalizations with PyTorch's and with a plain copy, on one thread.

All run in one process, in turn, many times; each number is the median time of one call. Outputs are allocated
before. The last column is the time as a multiple of the time to copy the same bytes (np.copyto).

Needs the Python package of NormKit (found in bindings/python) and, for the comparison, PyTorch.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bindings" / "python"))

import normkit  # noqa: E402
from timing import aligned, find_torch, medians  # noqa: E402


def layer(rows: int, size: int) -> dict[str, Callable[[], object]]:
    """Layer normalization of [rows, size] with weight and bias."""
    x, y, weight, bias = arrays((rows, size), size)
    calls = {"copy": lambda: np.copyto(y, x), "NormKit": lambda: normkit.layer_norm(x, weight, bias, out=y)}
    if torch := find_torch():
        tx, ty, tw, tb = map(torch.from_numpy, (x, aligned(y), weight, bias))
        mean, rstd = torch.empty(rows, 1), torch.empty(rows, 1)
        calls["PyTorch"] = lambda: torch.nn.functional.layer_norm(tx, (size,), tw, tb)
        calls["PyTorch, out="] = lambda: torch.ops.aten.native_layer_norm.out(
            tx, (size,), tw, tb, 1e-5, out0=ty, out1=mean, out2=rstd)
    return calls


def group(shape: tuple[int, ...], groups: int) -> dict[str, Callable[[], object]]:
    """Group normalization of [N, C, H, W] with weight and bias."""
    x, y, weight, bias = arrays(shape, shape[1])
    calls = {"copy": lambda: np.copyto(y, x), "NormKit": lambda: normkit.group_norm(x, groups, weight, bias, out=y)}
    if torch := find_torch():
        n, c, h, w = shape
        tx, ty, tw, tb = map(torch.from_numpy, (x, aligned(y), weight, bias))
        mean, rstd = torch.empty(n, groups), torch.empty(n, groups)
        calls["PyTorch"] = lambda: torch.nn.functional.group_norm(tx, groups, tw, tb)
        calls["PyTorch, out="] = lambda: torch.ops.aten.native_group_norm.out(
            tx, tw, tb, n, c, h * w, groups, 1e-5, out0=ty, out1=mean, out2=rstd)
    return calls


def arrays(shape: tuple[int, ...], channels: int) -> list[np.ndarray]:
    """x, y, weight and bias in f32; y is touched, so that its pages exist."""
    rng = np.random.default_rng(0)
    return [aligned(rng.standard_normal(s)) for s in (shape, shape, channels, channels)]


def main() -> None:
    normkit.set_num_threads(1)
    cases = {
        "layer 512x768": layer(512, 768),
        "layer 1x64": layer(1, 64),
        "group 4x128x64x64, 32": group((4, 128, 64, 64), 32),
    }
    print(f"f32, one thread, {normkit.instruction_set()}")
    print(f"{'':24}{'':16}{'microseconds':>14}{'of NormKit':>12}{'of a copy':>12}")
    for title, calls in cases.items():
        found = medians(calls, title)
        for name, median in found.items():
            print(f"{title:24}{name:16}{median * 1e6:14.2f}{median / found['NormKit']:12.2f}"
                  f"{median / found['copy']:12.2f}")
            title = ""


if __name__ == "__main__":
    main()

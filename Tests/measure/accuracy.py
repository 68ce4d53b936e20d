"""Print the errors of f32 normalizations beside those of PyTorch and ONNX Runtime, where installed.

Unit: the epsilon of f32 (2^-23) times the largest |reference| of the same S. The reference is computed in more
than f64 from the stored inputs. gamma is normal, epsilon is 1e-5; there is a beta, normal too, where x is constant,
and none elsewhere, so that it does not hide errors. Exit status 1 if a cell of NormKit is
above 2.

NORMKIT_LIBRARY names the library; by default it is .build/release/libnormkit.so.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import peers  # noqa: E402
from support import families, library  # noqa: E402
from support.dtypes import F32  # noqa: E402
from support.execute import execute  # noqa: E402
from support.families import Family  # noqa: E402
from support.measure import error  # noqa: E402
from support.methods import method  # noqa: E402
from support.problem import Problem  # noqa: E402
from support.strategies import fill, small  # noqa: E402

LIMIT = 2.0


def scaled(scale: float, offset: float) -> Callable:
    return lambda rng, view, dtype: scale * rng.standard_normal(view.shape) + offset


CONSTANT = Family("constant", lambda rng, view, dtype: np.full(view.shape, 1234.0))
COLUMNS = (
    families.NORMAL,
    Family("mean 1e3 sd", scaled(1, 1e3)),
    Family("mean 1e5 sd", scaled(1, 1e5)),
    CONSTANT,
    Family("1e25", scaled(1e25, 0)),
    Family("1e-25", scaled(1e-25, 0)),
)
IMAGE = dict(samples=2, channels=64, positions=56 * 56, groups=32)
ROWS = (
    ("layer 64x1024", "layer_norm", dict(rows=64, size=1024)),
    ("layer 4x50257", "layer_norm", dict(rows=4, size=50257)),
    ("RMS 64x1024", "rms_norm", dict(rows=64, size=1024)),
    ("batch training 8x32x28x28", "batch_norm_training", dict(samples=8, channels=32, positions=28 * 28)),
    ("batch training 8x28x28x32", "batch_norm_training", dict(samples=8, channels=32, positions=28 * 28, layout=2)),
    ("instance 2x64x56x56", "instance_norm", IMAGE),
    ("instance 2x56x56x64", "instance_norm", IMAGE | dict(layout=2)),
    ("group 2x64x56x56", "group_norm", IMAGE),
    ("group 2x56x56x64", "group_norm", IMAGE | dict(layout=2)),
)


def normkit(problem: Problem) -> np.ndarray:
    run = execute(problem)
    assert run.status == 0, f"status {run.status} for {problem}"
    return run.outputs["y"]


def cell(compute: Callable[[Problem], np.ndarray | None], problem: Problem) -> float | None:
    """The error of y in units; None where the implementation lacks the operation."""
    y = compute(problem)
    return None if y is None else error(y.reshape(problem.view.shape), problem.expected["y"], F32)


def main() -> int:
    implementations = {"NormKit": normkit} | peers.accuracy()
    print(f"Largest error in units of f32 epsilon times the largest |reference| of S ({library.isa()})")
    print(f"{'':28}{'':14}" + "".join(f"{column.name:>13}" for column in COLUMNS))
    worst = 0.0
    for title, name, sizes in ROWS:
        chosen = small(method(name), F32, **sizes).scalars
        problems = [fill(method(name), F32, F32, chosen, column, seed=1,
                         absent=frozenset() if column is CONSTANT else frozenset(("beta",))) for column in COLUMNS]
        for implementation, compute in implementations.items():
            cells = [cell(compute, problem) for problem in problems]
            print(f"{title:28}{implementation:14}" + "".join(
                f"{'-':>13}" if c is None else f"{c:13.2f}" if c < 1e4 else f"{c:13.1e}" for c in cells))
            title = ""
            if implementation == "NormKit":
                worst = max(worst, *cells)
    print(f"\nNormKit's largest error: {worst:.2f} units; the limit is {LIMIT:g}.")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())

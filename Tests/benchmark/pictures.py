"""The results as pictures, each as SVG and PNG."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from .comparison import Comparison, comparisons
from .report import by_threads, on

# Colours of Okabe and Ito, which the colour-blind can tell apart.
SYSTEMS = {
    "NormKit": ("#0072B2", "o"),
    "PyTorch": ("#D55E00", "s"),
    "oneDNN": ("#009E73", "^"),
    "ONNX Runtime": ("#E69F00", "D"),
    "OpenVINO": ("#CC79A7", "v"),
    "JAX": ("#56B4E9", "P"),
    "copy": ("#000000", ""),
}
DTYPES = {"f32": "#0072B2", "bf16": "#E69F00", "f16": "#009E73"}
DIRECTIONS = {"forward": ("#0072B2", "o"), "backward": ("#D55E00", "^")}
IMAGES = ("layer over channels", "batch inference", "batch training", "group", "instance")

matplotlib.use("Agg")
pyplot.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",
        "axes.grid": True,
        "grid.color": "#dddddd",
        "axes.axisbelow": True,
        "figure.constrained_layout.use": True,
    }
)


def draw(measured: dict, folder: Path) -> None:
    for name, figure in figures(measured):
        for kind in ("svg", "png"):
            figure.savefig(folder / f"{name}.{kind}", dpi=110)
        pyplot.close(figure)


def figures(measured: dict) -> Iterator[tuple[str, Figure]]:
    rows = comparisons(measured["results"])
    counts = sorted({row.threads for row in rows})
    for direction in ("forward", "backward"):
        for name, is_image in ("rows", False), ("images", True):
            chosen = [
                row
                for row in rows
                if row.direction == direction and (row.family in IMAGES) == is_image and row.best
            ]
            if chosen:
                yield f"ratio-{direction}-{name}", ratios(chosen, counts, direction)
    if len(counts) > 1:
        yield "threads", threads(rows, counts[-1])
    sweep = comparisons(measured["sweep"])
    for count in sorted({row.threads for row in sweep}):
        name = on(count).replace(" ", "-")
        yield f"sizes-{name}", sizes([row for row in sweep if row.threads == count], count)


def ratios(rows: list[Comparison], counts: list[int], direction: str) -> Figure:
    """Bars from 1 to the best peer's time ÷ NormKit's; one per row, grouped by family and problem."""
    lines, height = _lines(rows)
    figure, axes = pyplot.subplots(
        1,
        len(counts),
        sharey=True,
        sharex=True,
        squeeze=False,
        figsize=(2.2 + 4.2 * len(counts), 1.3 + 0.165 * height),
    )
    for axis, count in zip(axes[0], counts, strict=True):
        for row in rows:
            if row.threads == count:
                _bar(axis, lines[row.family, row.problem, row.dtype], row)
        axis.axvline(1, color="black", linewidth=1)
        axis.set_xscale("log")
        _plain(axis.xaxis, (1, 2, 5))
        axis.set_title(on(count), fontsize=10)
        axis.grid(visible=False, axis="y")
        axis.set_xlabel("← peer faster   time of the fastest peer ÷ NormKit's   NormKit faster →", fontsize=8)
        axis.tick_params("y", length=0)
    _labels(axes[0][0], lines)
    axes[0][0].set_ylim(height, -1)
    lowest, highest = min(row.best_ratio for row in rows), max(row.best_ratio for row in rows)
    margin = max(2.0, (max(highest, 2) / min(lowest, 0.7)) ** 0.35)  # for the text at the ends of the bars
    axes[0][0].set_xlim(min(lowest, 0.7) / (margin if lowest < 1 else 1), max(highest, 2) * margin)
    names = [name for name in DTYPES if any(row.dtype == name for row in rows)]
    handles = [matplotlib.patches.Patch(color=DTYPES[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)
    figure.suptitle(f"NormKit against the fastest peer, {direction}", x=0.02, ha="left", fontweight="bold")
    return figure


def _lines(rows: list[Comparison]) -> tuple[dict[tuple[str, str, str], float], float]:
    """Where the bar of each family, problem and dtype is, from above, and where the last one ends."""
    found: dict[tuple[str, str, str], float] = {}
    place, family, problem = 0.0, "", ""
    for row in sorted(rows, key=lambda row: _order(rows, row)):
        if (row.family, row.problem, row.dtype) in found:
            continue
        if row.family != family:
            place += 2.4 if family else 1.2
        elif row.problem != problem:
            place += 0.5
        family, problem = row.family, row.problem
        found[row.family, row.problem, row.dtype] = place
        place += 1
    return found, place


def _order(rows: list[Comparison], row: Comparison) -> tuple[int, int]:
    """Families together, and problems in them; else as they come."""
    return ([r.family for r in rows].index(row.family), [r.problem for r in rows].index(row.problem))


def _bar(axis: Axes, line: float, row: Comparison) -> None:
    ratio = row.best_ratio
    axis.barh(line, ratio - 1, left=1, height=0.86, color=DTYPES[row.dtype])
    is_faster = ratio >= 1
    axis.annotate(
        f"{ratio:.2f} {row.best}",
        (ratio, line),
        (3 if is_faster else -3, 0),
        textcoords="offset points",
        va="center",
        ha="left" if is_faster else "right",
        fontsize=6.5,
    )


def _labels(axis: Axes, lines: dict[tuple[str, str, str], float]) -> None:
    """Problems at the middle of their bars; families, in bold, above their first."""
    problems: dict[tuple[str, str], list[float]] = {}
    for (family, problem, _), line in lines.items():
        problems.setdefault((family, problem), []).append(line)
    axis.set_yticks(
        [sum(found) / len(found) for found in problems.values()],
        [problem.removeprefix(family).strip() for family, problem in problems],
        fontsize=8,
    )
    for family in dict.fromkeys(family for family, _ in problems):
        first = min(line for (name, _, _), line in lines.items() if name == family)
        axis.annotate(
            family,
            (0, first - 1.15),
            (-6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontweight="bold",
            fontsize=9,
        )


def sizes(rows: list[Comparison], count: int) -> Figure:
    """Time over size above, and as a multiple of the copy's below; a column per dtype."""
    dtypes = [dtype for dtype in DTYPES if any(row.dtype == dtype for row in rows)]
    figure, axes = pyplot.subplots(
        2, len(dtypes), sharex=True, sharey="row", squeeze=False, figsize=(5.2 * len(dtypes), 8)
    )
    for column, dtype in enumerate(dtypes):
        chosen = [row for row in rows if row.dtype == dtype]
        for system, (colour, marker) in SYSTEMS.items():
            points = [row for row in chosen if system in row.seconds and system not in row.wrong]
            style = {
                "color": colour,
                "marker": marker,
                "label": system,
                "markersize": 4,
                "linestyle": "--" if system == "copy" else "-",
                "zorder": 3 if system == "NormKit" else 2,
                "linewidth": 2.2 if system == "NormKit" else 1.3,
            }
            if points:
                seen = [row.bytes for row in points]
                axes[0][column].plot(seen, [row.seconds[system] for row in points], **style)
                axes[1][column].plot(
                    seen, [row.seconds[system] / row.seconds["copy"] for row in points], **style
                )
        axes[0][column].set_title(f"layer normalization, {dtype}", fontsize=10)
        axes[1][column].set_xlabel("size of x")
    for axis in axes.flat:
        axis.set(xscale="log", yscale="log")
        axis.xaxis.set_major_locator(LogLocator(2, [1], numticks=99))
        axis.set_xticks([1 << shift for shift in range(10, 31, 4)])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _size(size)))
    axes[0][0].set_ylabel("time of a call")
    axes[1][0].set_ylabel("time ÷ that of the copy")
    for upper, lower in zip(*axes, strict=True):
        _plain(upper.yaxis, (1,))
        upper.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _time(seconds)))
        _plain(lower.yaxis, (1, 2, 5))
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(f"Time over size, on {on(count)}", x=0.02, ha="left", fontweight="bold")
    return figure


def _size(size: float) -> str:
    for unit, name in (1 << 30, "GB"), (1 << 20, "MB"):
        if size >= unit:
            return f"{size / unit:.0f} {name}"
    return f"{size / 1024:.0f} KB"


def _time(seconds: float) -> str:
    for unit, name in (1, "s"), (1e-3, "ms"):
        if seconds >= 0.99 * unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds * 1e6:g} µs"


def threads(rows: list[Comparison], count: int) -> Figure:
    """Time on one thread ÷ that on all, over the time on one."""
    figure, axes = pyplot.subplots(1, 2, sharex=True, sharey=True, figsize=(10, 4.6))
    for direction, (colour, marker) in DIRECTIONS.items():
        points: list[list[tuple[float, float]]] = [[], []]
        for by_count in by_threads([row for row in rows if row.direction == direction]).values():
            one, many = by_count.get(1), by_count.get(count)
            if one and many:
                points[0].append((one.own, one.own / many.own))
                if many.best and many.best in one.seconds:
                    points[1].append((one.seconds[many.best], one.seconds[many.best] / many.seconds[many.best]))
        for axis, found in zip(axes, points, strict=True):
            if found:
                across, up = zip(*found, strict=True)
                axis.scatter(
                    [x * 1e6 for x in across], up, 22, colour, marker, alpha=0.75, linewidths=0, label=direction
                )
    for axis, name in zip(axes, ("NormKit", "the peer that is fastest on all threads"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="time of a call on one thread in µs")
        axis.set_title(name, fontsize=10)
        _plain(axis.yaxis, (1, 2, 5))
        _plain(axis.xaxis, (1,))
        axis.axhline(1, color="black", linewidth=1)
        axis.axhline(count, color="black", linewidth=1, linestyle="--")
    axes[0].set_ylabel(f"times as fast on {on(count)}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.suptitle(f"One thread against {count}", x=0.02, ha="left", fontweight="bold")
    return figure


def _plain(axis: matplotlib.axis.Axis, digits: tuple[int, ...]) -> None:
    """A logarithmic axis with numbers as one writes them."""
    axis.set_major_locator(LogLocator(10, digits, numticks=99))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())

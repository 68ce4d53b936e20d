"""Figures for a page that may be light or dark.

Text, axes and grid have the colour of the page's text (currentColor in SVG), and the background is the page's. Lines
and areas have colours of middle lightness, to be seen on white and on near-black.
"""

import io
import re

import matplotlib
from matplotlib.figure import Figure

# One colour for each method, in all figures.
COLOURS = {
    "none": "#8a8f98",
    "batch": "#2f8fd8",
    "layer": "#e0823d",
    "instance": "#2fa36b",
    "group": "#a06bd6",
    "rms": "#d65f8c",
    "weight": "#b59a2a",
}
SERIES = [COLOURS[name] for name in ("batch", "layer", "instance", "group", "rms", "weight", "none")]
INK = "#010203"  # a colour that no figure has, for what becomes currentColor

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "article",  # the same identifiers, and so the same file, in each run
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "axes.prop_cycle": matplotlib.cycler(color=SERIES),
}

matplotlib.rcParams.update(STYLE)  # also for what is added to axes later: legends and texts


def subplots(rows=1, columns=1, size=(5.2, 3.4), **options):
    """A figure and its axes, as matplotlib's function of that name. size: of the whole, in inches."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def svg(figure):
    """The figure as an SVG element to be put into a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r'<metadata>.*?</metadata>', "", text, flags=re.DOTALL)
    # Names of groups: matplotlib numbers them in each figure anew, and in a page they have to be unique.
    text = re.sub(r'<g id="[a-z0-9_.]*_\d+">', "<g>", text)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()
    head = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}" role="img">'
    text = re.sub(r"^<svg[^>]*>", head, text)
    return text.replace(INK, "currentColor")

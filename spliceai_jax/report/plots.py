"""How a figure becomes SVG that follows the page's colours, and PNG for slides."""

import io
import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports on its font cache and its folders

COLOURS = {
    "ink": "#23272d",
    "faint": "#d9d6cf",
    "untouched": "#94826b",
    "tuned": "#0b7285",
    "donor": "#4150c9",
    "acceptor": "#cf4a0c",
    "train": "#2f6f4f",
    "validation": "#a0620a",
    "test": "#7a3fa0",
    "base-a": "#2b8a3f",
    "base-c": "#1c6fc6",
    "base-g": "#d68a00",
    "base-t": "#c9305f",
}
"""The page's names -> the light theme's colours. The SVG refers to them by name and so follows the theme."""

DOTTED = (0, (1, 2))
"""matplotlib's pattern for the line that marks a place in a figure."""

_SIZE = (4.6, 3.1)
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.linewidth": 0.6,
    "grid.color": COLOURS["faint"],
    "grid.linewidth": 0.5,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Drawing:
    """A figure of a page: an SVG element."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class Plot(Drawing):
    """A figure that is also a PNG file, with its content."""

    png: bytes


def plot(name: str, title: str, panel: Callable[[Axes], None]) -> Plot:
    """Draw a figure of a single panel."""
    return plot_figure(name, title, lambda figure: panel(figure.add_subplot()))


def plot_figure(name: str, title: str, fill: Callable[[Figure], None], grid: bool = True) -> Plot:
    """Draw a figure that `fill` puts panels into."""
    with _styled(name, grid):
        figure, svg = _drawn(fill)
        png = io.BytesIO()
        figure.set_layout_engine("none")  # it is laid out already
        figure.savefig(png, format="png", dpi=160, facecolor="white")
    return Plot(name, title, _inline(svg, name, title), png.getvalue())


def draw_figure(name: str, title: str, fill: Callable[[Figure], None], grid: bool = True) -> Drawing:
    """Draw a figure for a page alone."""
    with _styled(name, grid):
        _, svg = _drawn(fill)
    return Drawing(name, title, _inline(svg, name, title))


def _styled(name: str, grid: bool) -> AbstractContextManager[None]:
    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name, "axes.grid": grid})


def _drawn(fill: Callable[[Figure], None]) -> tuple[Figure, str]:
    """Return a figure that `fill` puts panels into, and its SVG."""
    figure, svg = Figure(_SIZE), io.StringIO()
    fill(figure)
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return figure, svg.getvalue()


def _inline(svg: str, name: str, title: str) -> str:
    """Turn an SVG file into an element of a page: scalable, with a label, the page's colours, and ids of its own."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, value in COLOURS.items():
        svg = svg.replace(value, f"var(--{colour})")
    opening, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    return f'<svg role="img" aria-label="{title}" {box[0] if box else ""} xmlns:xlink="http://www.w3.org/1999/xlink">{rest}'

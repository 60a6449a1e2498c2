"""The report's figures, drawn by matplotlib: SVG that follows the page's colours, and PNG for slides."""

import io
import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.text import TextPath
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Affine2D

from spliceai_jax.history import History
from spliceai_jax.report.scoring import KINDS, LOGO_SPANS, SCORE_CLASSES, SiteView, TestView

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its font cache and its folders

COLOURS = {
    "ink": "#23272d",
    "faint": "#d9d6cf",
    "untouched": "#94826b",
    "tuned": "#0b7285",
    "donor": "#4150c9",
    "acceptor": "#cf4a0c",
    "base-a": "#2b8a3f",
    "base-c": "#1c6fc6",
    "base-g": "#d68a00",
    "base-t": "#c9305f",
}
"""The page's names -> the light theme's colours. In the SVG they stand by name, so that they follow the theme."""

_SIZE = (4.6, 3.1)
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.linewidth": 0.6,
    "axes.grid": True,
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
_POINTS = 400
"""A line has so many at most: more cannot be seen and only swell the page."""

_LEAST_IN_CLASS = 5
"""A share of fewer positions says nothing."""


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        name: Of the PNG file.
        title: In words.
        svg: For the page.
        png: For everything else.
    """

    name: str
    title: str
    svg: str
    png: bytes


def draw(history: History, batches_per_epoch: int, view: TestView | None) -> Iterator[Plot]:
    """Every figure that there is something to show in."""
    if history.update_losses:
        yield _plot("loss", "Loss over steps", lambda ax: _loss(ax, history, batches_per_epoch))
        yield _plot("learning_rate", "Learning rate over steps", lambda ax: _learning_rate(ax, history))
    if history.epochs:
        yield _plot("auprc", "AUPRC over epochs", lambda ax: _over_epochs(ax, history, "AUPRC"))
        yield _plot("top_k", "Top-k accuracy over epochs", lambda ax: _over_epochs(ax, history, "top-k accuracy"))
    if view is None:
        return
    for kind in KINDS:
        views = {model: view.views[model, kind] for model in view.metrics}
        named = kind.capitalize()
        yield _plot(f"precision_recall_{kind}", f"{named}s: precision and recall", _over(_precision_recall, views))
        yield _plot(f"scores_{kind}", f"{named} scores of sites and of other positions", _over(_scores, views))
        yield _plot(f"calibration_{kind}", f"{named} scores as probabilities", _over(_calibration, views))
        yield _logos(kind, view)


def _over(panel: Callable[[Axes, dict[str, SiteView]], None], views: dict[str, SiteView]) -> Callable[[Axes], None]:
    return lambda ax: panel(ax, views)


def _plot(name: str, title: str, panel: Callable[[Axes], None]) -> Plot:
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(_SIZE)
        panel(figure.add_subplot())
        return _rendered(figure, name, title)


def _rendered(figure: Figure, name: str, title: str) -> Plot:
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    figure.set_layout_engine("none")  # laid out already
    figure.savefig(png, format="png", dpi=160, facecolor="white")
    return Plot(name, title, _inline(svg.getvalue(), name, title), png.getvalue())


def _inline(svg: str, name: str, title: str) -> str:
    """An SVG file -> an element of a page: scalable, named, its colours the page's, its ids its own."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, value in COLOURS.items():
        svg = svg.replace(value, f"var(--{colour})")
    opening, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    return f'<svg role="img" aria-label="{title}" {box[0] if box else ""} xmlns:xlink="http://www.w3.org/1999/xlink">{rest}'


# -- training ----------------------------------------------------------------------------------------------------


def _thinned(values: list[float]) -> tuple[np.ndarray, np.ndarray, int]:
    """Steps, means of so many neighbours, how many."""
    each = math.ceil(len(values) / _POINTS)
    whole = np.asarray(values[: len(values) // each * each]).reshape(-1, each)
    return (np.arange(len(whole)) + 0.5) * each, whole.mean(1), each


def _loss(ax: Axes, history: History, batches_per_epoch: int) -> None:
    steps, losses, each = _thinned(history.update_losses)
    label = "training, each batch" if each == 1 else f"training, mean of {each} batches"
    ax.plot(steps, losses, color=COLOURS["untouched"], linewidth=1, label=label)
    measured = [epoch.validation.metrics.loss for epoch in history.epochs]
    places = [batches_per_epoch * (number + 1) for number in range(len(measured))]
    if history.untouched:
        measured, places = [history.untouched["validation"].metrics.loss, *measured], [0, *places]
    ax.plot(places, measured, color=COLOURS["tuned"], marker="o", markersize=3.5, label="validation")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("step (batch)")
    ax.set_ylabel("loss a position")
    if history.epochs:
        best = batches_per_epoch * (history.best_epoch + 1)
        _mark_best(ax, best, history.epochs[history.best_epoch].validation.metrics.loss)
    ax.legend()


def _mark_best(ax: Axes, x: float, y: float) -> None:
    ax.axvline(x, color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (1, 2)))
    ax.plot([x], [y], marker="o", markersize=8, markerfacecolor="none", markeredgecolor=COLOURS["ink"])
    _name_best(ax, x, at=1)


def _name_best(ax: Axes, x: float, at: float) -> None:
    place, beside = ax.get_xaxis_transform(), "offset points"
    ax.annotate("best", (x, at), (4, 2), xycoords=place, textcoords=beside, va="top" if at else "bottom")


def _learning_rate(ax: Axes, history: History) -> None:
    steps, rates, _ = _thinned(history.update_rates)
    ax.plot(steps, rates, color=COLOURS["tuned"])
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("step (batch)")
    ax.set_ylabel("learning rate")


def _over_epochs(ax: Axes, history: History, measure: str) -> None:
    epochs = list(range(len(history.epochs)))
    for kind in KINDS:
        for split, line in (("test", "-"), ("validation", (0, (2, 2)))):
            records = [getattr(epoch, split) for epoch in history.epochs]
            places = epochs
            if history.untouched:
                records, places = [history.untouched[split], *records], [-1, *epochs]
            sites = [getattr(record.metrics, kind) for record in records]
            values = [site.auprc if measure == "AUPRC" else site.top_k[1] for site in sites]
            ax.plot(
                places, values, color=COLOURS[kind], linestyle=line, marker="o", markersize=3, label=f"{kind}s, {split}"
            )
    ax.axvline(history.best_epoch, color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (1, 2)))
    _name_best(ax, history.best_epoch, at=0)
    every = math.ceil(len(epochs) / 10)
    ax.set_xticks([-1, *epochs[::every]], ["before", *map(str, epochs[::every])])
    ax.set_xlabel("epoch")
    ax.set_ylabel(measure)
    ax.legend(fontsize=8)


# -- scores ------------------------------------------------------------------------------------------------------


def _precision_recall(ax: Axes, views: dict[str, SiteView]) -> None:
    for model, view in views.items():
        keep = np.unique(np.linspace(0, view.recall.size - 1, _POINTS).astype(int))
        recall, precision = view.recall[keep], view.precision[keep]
        ax.plot([0, *recall], [precision[0], *precision], color=COLOURS[model], label=model)
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("recall: share of the sites that are found")
    ax.set_ylabel("precision: share that are sites")
    ax.legend(loc="lower left")


def _scores(ax: Axes, views: dict[str, SiteView]) -> None:
    edges = np.linspace(0, 1, SCORE_CLASSES + 1)
    for model, view in views.items():
        for counts, name, line in ((view.sites, "sites", "-"), (view.others, "others", (0, (2, 1.5)))):
            ax.stairs(counts, edges, color=COLOURS[model], linestyle=line, linewidth=1.5, label=f"{name}, {model}")
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0.7)
    ax.set_xlim(0, 1)
    ax.set_xlabel("score")
    ax.set_ylabel("positions")
    ax.legend(fontsize=8, loc="upper center", ncols=2)


def _calibration(ax: Axes, views: dict[str, SiteView]) -> None:
    ax.plot([0, 1], [0, 1], color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (1, 2)))
    for model, view in views.items():
        sites, others, sums = (
            part.reshape(-1, 2).sum(1) for part in (view.sites, view.others, view.score_sums)
        )  # tenths are enough
        total = sites + others
        shown = total >= _LEAST_IN_CLASS
        share, score, n = sites[shown] / total[shown], sums[shown] / total[shown], total[shown]
        low, high = _wilson(share, n)
        ax.errorbar(
            score,
            share,
            [share - low, high - share],
            color=COLOURS[model],
            elinewidth=0.8,
            marker="o",
            markersize=3.5,
            label=model,
        )
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("score")
    ax.set_ylabel("share that are sites")
    ax.legend(loc="upper left")


def _wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a share of n."""
    z = 1.96
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


# -- logos -------------------------------------------------------------------------------------------------------


def _logos(kind: str, view: TestView) -> Plot:
    name, title = f"logo_{kind}", f"Bases around {kind}s, labelled and called"
    rows = [(f"labelled: {int(view.labels[kind][0].sum()):,}", view.labels[kind])]
    for model in reversed(view.metrics):
        called = view.views[model, kind]
        rows.append((f"called, {model}: {called.called:,}", called.calls))
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name, "axes.grid": False}):
        figure = Figure(_SIZE)
        panels = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
        for ax, (label, counts) in zip(panels, rows, strict=True):
            _logo(ax, counts)
            ax.set_title(label, loc="left", pad=2)
            ax.set_yticks([0, 1, 2])
        places = LOGO_SPANS[kind]
        first_downstream = 1 if kind == "donor" else 0
        for ax in panels:
            ax.axvline(
                first_downstream - places.start - 0.5, color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (1, 2))
            )
        # No base is numbered 0: the last one upstream of the boundary is -1, the first one downstream +1.
        numbers = [place - first_downstream + (place >= first_downstream) for place in places]
        shown = [i for i, number in enumerate(numbers) if kind == "donor" or number % 5 == 0 or number in (-1, 3)]
        panels[-1].set_xticks(shown, [f"{numbers[i]:+d}" for i in shown])
        panels[-1].set_xlabel("exon | intron" if kind == "donor" else "intron | exon")
        panels[len(panels) // 2].set_ylabel("bits")
        return _rendered(figure, name, title)


@cache
def _glyph(letter: str) -> tuple[TextPath, float, float, float, float]:
    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    return path, box.x0, box.y0, box.width, box.height


def _logo(ax: Axes, counts: np.ndarray) -> None:
    """Letters as high as their share of the information at their place, the commonest on top."""
    ax.set_xlim(-0.5, len(counts) - 0.5)
    ax.set_ylim(0, 2)
    for place, at_place in enumerate(counts):
        share = at_place / max(at_place.sum(), 1)
        if not share.sum():
            continue
        bits = 2 + sum(p * math.log2(p) for p in share if p)
        bottom = 0.0
        for base in np.argsort(share, kind="stable"):
            height = float(share[base] * bits)
            if height < 0.01:
                continue
            path, x0, y0, width, full = _glyph("ACGT"[base])
            fitted = Affine2D().translate(-x0, -y0).scale(0.92 / width, height / full).translate(place - 0.46, bottom)
            ax.add_patch(PathPatch(fitted.transform_path(path), color=COLOURS[f"base-{'acgt'[base]}"], linewidth=0))
            bottom += height

"""Panels that show how the models score the test set for one kind of site."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from spliceai_jax.architecture import SiteKind
from spliceai_jax.evaluation.calibrated import BeforeAndAfter
from spliceai_jax.report.comparison import SCORE_BINS, SiteScores
from spliceai_jax.report.mistakes import ModelName
from spliceai_jax.report.plots import COLOURS, DOTTED, Plot, plot
from spliceai_jax.report.training_panels import MOST_POINTS

_LEAST_IN_BIN = 5
"""The fewest positions in a bin of the calibration; a share of fewer says nothing."""


def precision_recall(ax: Axes, scores: Mapping[ModelName, SiteScores]) -> None:
    """Draw the precision-recall curve of every model."""
    for model, found in scores.items():
        keep = np.unique(np.linspace(0, found.recall.size - 1, MOST_POINTS).astype(int))
        recall, precision = found.recall[keep], found.precision[keep]
        ax.plot([0, *recall], [precision[0], *precision], color=COLOURS[model], label=model)
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("recall: share of the sites that are found")
    ax.set_ylabel("precision: share that are sites")
    ax.legend(loc="lower left")


def histograms(ax: Axes, scores: Mapping[ModelName, SiteScores]) -> None:
    """Draw how many sites and other positions have which score, for every model."""
    edges = np.linspace(0, 1, SCORE_BINS + 1)
    for model, found in scores.items():
        for counts, name, line in ((found.sites, "sites", "-"), (found.others, "others", (0, (2, 1.5)))):
            ax.stairs(counts, edges, color=COLOURS[model], linestyle=line, linewidth=1.5, label=f"{name}, {model}")
    ax.set_yscale("log")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0.7)
    ax.set_xlim(0, 1)
    ax.set_xlabel("score")
    ax.set_ylabel("positions")
    ax.legend(fontsize=8, loc="upper center", ncols=2)


class Curve(NamedTuple):
    """A reliability curve.

    Attributes:
        colour: The name of its colour.
        scores: The mean score in each bin.
        shares: The share of sites in each bin.
        positions: The number of positions in each bin.
    """

    colour: str
    scores: Float[np.ndarray, " bins"]
    shares: Float[np.ndarray, " bins"]
    positions: Shaped[np.ndarray, " bins"]


def calibration(ax: Axes, scores: Mapping[ModelName, SiteScores]) -> None:
    """Draw the share of sites among the positions of each tenth of the scores, for every model."""
    curves: dict[str, Curve] = {}
    for model, found in scores.items():
        sites, others, sums = (
            counts.reshape(-1, 2).sum(1) for counts in (found.sites, found.others, found.score_sums)
        )  # two bins are a tenth
        total = sites + others
        some = np.maximum(total, 1)
        curves[model] = Curve(model, sums / some, sites / some, total)
    reliability_curves(ax, curves)


def reliability_plot(kind: SiteKind, measures: BeforeAndAfter) -> Plot:
    """Draw the shares of sites among the candidates for one kind of site, before calibration and after it."""
    named = {"before calibration": ("untouched", measures.before), "after": ("tuned", measures.after)}
    curves = {}
    for name, (colour, found) in named.items():
        bins = found.site(kind)
        curves[name] = Curve(colour, *map(np.array, (bins.scores, bins.shares, bins.positions)))
    title = f"{kind.capitalize()} scores as probabilities, calibrated"
    return plot(f"reliability_{kind}", title, partial(reliability_curves, curves=curves))


def reliability_curves(ax: Axes, curves: Mapping[str, Curve]) -> None:
    """Draw reliability curves with 95 % intervals; bins of few positions are left out."""
    ax.plot([0, 1], [0, 1], color=COLOURS["ink"], linewidth=0.8, linestyle=DOTTED)
    for name, curve in curves.items():
        score, share, total = curve.scores, curve.shares, curve.positions
        shown = total >= _LEAST_IN_BIN
        score, share, n = score[shown], share[shown], total[shown]
        low, high = _wilson(share, n)
        ax.errorbar(
            score,
            share,
            [share - low, high - share],
            color=COLOURS[curve.colour],
            elinewidth=0.8,
            marker="o",
            markersize=3.5,
            label=name,
        )
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("score")
    ax.set_ylabel("share that are sites")
    ax.legend(loc="upper left")


def _wilson(
    share: Float[np.ndarray, " bins"], n: Shaped[np.ndarray, " bins"]
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Return the limits of Wilson's 95 % interval for a share of n."""
    z = 1.96
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.minimum(middle - half, share), np.maximum(middle + half, share)

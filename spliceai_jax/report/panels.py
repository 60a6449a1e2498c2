"""Panels of the page's figures: how training went, and how the models score the test set."""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.evaluation.calibration import BeforeAndAfter
from spliceai_jax.evaluation.metrics import Measure
from spliceai_jax.report.mistakes import ModelName
from spliceai_jax.report.plots import COLOURS, DOTTED, Plot, plot
from spliceai_jax.report.test_set import SCORE_BINS, SiteScores
from spliceai_jax.runs.history import History, Split

MOST_POINTS = 400
"""The most points of a line: more cannot be seen and only swell the page."""


def loss(ax: Axes, history: History, batches_per_epoch: int, tuned: int | None) -> None:
    """Draw the training loss of every batch, and the validation loss after every epoch.

    Arguments:
        tuned: The epoch to mark; None: no epoch is done.
    """
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
    ax.set_ylabel("loss per position")
    if tuned is not None:
        _mark_tuned(ax, batches_per_epoch * (tuned + 1), history.epochs[tuned].validation.metrics.loss)
    ax.legend()


def learning_rate(ax: Axes, history: History) -> None:
    """Draw the learning rate of every batch."""
    steps, rates, _ = _thinned(history.update_rates)
    ax.plot(steps, rates, color=COLOURS["tuned"])
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("step (batch)")
    ax.set_ylabel("learning rate")


def over_epochs(
    ax: Axes, history: History, tuned: int, measure: Measure, label: str, splits: Mapping[Split, str]
) -> None:
    """Draw a measure of donors and of acceptors, before training and after every epoch that it was measured after.

    Arguments:
        splits: The two splits to draw it on, and their names in the legend; the second is drawn with a broken line.
    """
    measured = [history.untouched, *(epoch.splits for epoch in history.epochs)]
    for kind in SITE_KINDS:
        for (split, name), line in zip(splits.items(), ("-", (0, (2, 2))), strict=True):
            records = {place: found[split] for place, found in enumerate(measured, -1) if split in found}
            ax.plot(
                list(records),
                [measure.of(record.metrics.site(kind)) for record in records.values()],
                color=COLOURS[kind],
                linestyle=line,
                marker="o",
                markersize=3,
                label=f"{kind}s, {name}",
            )
    ax.axvline(tuned, color=COLOURS["ink"], linewidth=0.8, linestyle=DOTTED)
    _name_tuned(ax, tuned, at=0)
    epochs = range(0, len(history.epochs), math.ceil(len(history.epochs) / 10))
    ax.set_xticks([-1, *epochs], ["before", *map(str, epochs)])
    ax.set_xlabel("epoch")
    ax.set_ylabel(label)
    ax.legend(fontsize=8)


def _thinned(values: list[float]) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], int]:
    """Return means of equally many neighbouring values, the step in the middle of each, and how many those are."""
    each = math.ceil(len(values) / MOST_POINTS)
    whole = np.asarray(values[: len(values) // each * each]).reshape(-1, each)
    return (np.arange(len(whole)) + 0.5) * each, whole.mean(1), each


def _mark_tuned(ax: Axes, x: float, y: float) -> None:
    ax.axvline(x, color=COLOURS["ink"], linewidth=0.8, linestyle=DOTTED)
    ax.plot([x], [y], marker="o", markersize=8, markerfacecolor="none", markeredgecolor=COLOURS["ink"])
    _name_tuned(ax, x, at=1)


def _name_tuned(ax: Axes, x: float, at: float) -> None:
    place, beside = ax.get_xaxis_transform(), "offset points"
    ax.annotate("tuned", (x, at), (4, 2), xycoords=place, textcoords=beside, va="top" if at else "bottom")


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


def reliability_plot(kind: SiteKind, measures: BeforeAndAfter) -> Plot:
    """Draw the shares of sites among the candidates for one kind of site, before calibration and after it."""
    title = f"{kind.capitalize()} scores as probabilities, calibrated"
    return plot(f"reliability_{kind}", title, partial(_reliability, kind=kind, measures=measures))


def _reliability(ax: Axes, kind: SiteKind, measures: BeforeAndAfter) -> None:
    """Draw reliability curves with 95 % intervals; bins of few positions are left out."""
    ax.plot([0, 1], [0, 1], color=COLOURS["ink"], linewidth=0.8, linestyle=DOTTED)
    for name, colour, found in (
        ("before calibration", "untouched", measures.before.site(kind)),
        ("after", "tuned", measures.after.site(kind)),
    ):
        scores, shares, n = map(np.array, (found.scores, found.shares, found.positions))
        shown = n >= _LEAST_IN_BIN
        score, share = scores[shown], shares[shown]
        low, high = _wilson(share, n[shown])
        spread = [share - low, high - share]
        ax.errorbar(score, share, spread, color=COLOURS[colour], elinewidth=0.8, marker="o", markersize=3.5, label=name)
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

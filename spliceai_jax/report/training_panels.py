"""Panels that show how training went."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.evaluation.metrics import Measure
from spliceai_jax.report.plots import COLOURS, DOTTED
from spliceai_jax.runs.history import History, Split

MOST_POINTS = 400
"""The most points of a line: more cannot be seen and only swell the page."""


def loss(ax: Axes, history: History, batches_per_epoch: int, tuned: int | None) -> None:
    """Draw the training loss of every batch, and the validation loss after every epoch.

    Arguments:
        ax: The panel.
        history: What the run measured.
        batches_per_epoch: The number of batches in an epoch.
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
        ax: The panel.
        history: What the run measured.
        tuned: The epoch to mark.
        measure: The measure.
        label: The label of its axis.
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

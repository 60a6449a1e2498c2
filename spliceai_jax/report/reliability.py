"""What calibration does: a table, and reliability curves, the share of sites among positions by their score."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from spliceai_jax.architecture import SiteKind
from spliceai_jax.evaluation.calibrated import COLUMNS, BeforeAndAfter, Calibration, row
from spliceai_jax.network.temperature import in_words
from spliceai_jax.report.plots import Plot, plot
from spliceai_jax.report.score_panels import Curve, reliability_curves


@dataclass(frozen=True)
class CalibrationSection:
    """The section of the page, in digits and words.

    Attributes:
        temperature: The temperature.
        fitted_on: How many sites it was fitted on.
        candidates: The number of candidate positions in the test set.
        columns: The names of the columns.
        rows: The names and the digits of the rows.
        doubts: What to know before relying on it.
    """

    temperature: str
    fitted_on: str
    candidates: str
    columns: tuple[str, ...]
    rows: list[tuple[str, list[str]]]
    doubts: list[str]


def calibration_section(calibration: Calibration) -> CalibrationSection:
    """Return the section."""
    test = calibration.measures["test"]
    return CalibrationSection(
        temperature=in_words(calibration.temperature),
        fitted_on=calibration.fitted_on.words,
        candidates=f"{test.before.candidates:,.0f}",
        columns=COLUMNS,
        rows=[("before", row(test.before)), ("after", row(test.after))],
        doubts=[f"{doubt[0].upper()}{doubt[1:]}." for doubt in calibration.doubts],
    )


def reliability_plot(kind: SiteKind, measures: BeforeAndAfter) -> Plot:
    """Draw the curves of the candidates for one kind of site."""
    title = f"{kind.capitalize()} scores as probabilities, calibrated"
    return plot(f"reliability_{kind}", title, partial(_panel, kind=kind, measures=measures))


def _panel(ax: Axes, kind: SiteKind, measures: BeforeAndAfter) -> None:
    curves = {}
    for name, colour, found in (
        ("before calibration", "untouched", measures.before),
        ("after", "tuned", measures.after),
    ):
        bins = found.site(kind)
        curves[name] = Curve(colour, *map(np.array, (bins.scores, bins.shares, bins.positions)))
    reliability_curves(ax, curves)

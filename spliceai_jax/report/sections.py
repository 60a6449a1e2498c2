"""Sections of the page that not every run has: the old species, calibrated scores, whole sequences."""

from dataclasses import dataclass

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.calibration import Calibration, CalibrationMeasures
from spliceai_jax.evaluation.genome_metrics import PLACES, RECALL, GenomeEvaluation, GenomeMetrics, Place
from spliceai_jax.evaluation.metrics import AUPRC
from spliceai_jax.network.temperature import in_words
from spliceai_jax.report import verdict
from spliceai_jax.runs.history import Split
from spliceai_jax.runs.record import Run

_SPECIES: tuple[tuple[Split, str], ...] = (("test", "new species"), ("old_species", "old species"))

PLACE_NAMES: dict[Place, str] = {
    "inside": "inside genes",
    "antisense": "antisense of genes",
    "outside": "outside genes",
}
"""What the places are called on the page."""


@dataclass(frozen=True)
class ForgettingSection:
    """What the model forgot of the old species while it learned the new one."""

    sentence: str
    rows: list[tuple[str, SiteKind, verdict.Row]]


def forgetting_section(run: Run, changes: Differences | None) -> ForgettingSection | None:
    """Return what the section shows; None where the run has no data set of the old species, or no epoch yet.

    Arguments:
        changes: How the tuned model compares with the untouched one on the test set, where that is known.
    """
    history = run.history
    if "old_species" not in history.untouched or run.tuned_epoch is None:
        return None
    found = history.ending.sets.get("old_species") if history.ending else None
    tuned, compared = history.epochs[run.tuned_epoch].splits, {"test": changes, "old_species": found}
    rows = [
        (species, kind, verdict.row(AUPRC, kind, history.untouched[name].metrics, tuned[name].metrics, compared[name]))
        for name, species in _SPECIES
        for kind in SITE_KINDS
    ]
    unknown = "Whether the change on the old species may be chance is found when the run ends"
    return ForgettingSection(f"{found.forgetting if found else unknown}.", rows)


@dataclass(frozen=True)
class CalibrationSection:
    """What calibration does, in digits and words."""

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
        columns=_COLUMNS,
        rows=[("before", _row(test.before)), ("after", _row(test.after))],
        doubts=[f"{doubt[0].upper()}{doubt[1:]}." for doubt in calibration.doubts],
    )


_COLUMNS = ("NLL", "Brier", "ECE", "candidates", *(f"{kind}s" for kind in SITE_KINDS))
"""The names of what `_row` returns; the last three are calibration errors over candidate positions."""


def _row(measures: CalibrationMeasures) -> list[str]:
    """Return measures in digits, as `_COLUMNS` names them."""
    errors = (measures.candidates_ece, *(measures.site(kind).error for kind in SITE_KINDS))
    return [f"{measures.nll:.6f}", f"{measures.brier:.6f}", f"{measures.ece:.6f}", *(f"{x:.4f}" for x in errors)]


def calibration_table(calibration: Calibration) -> str:
    """Return a calibration as text."""
    lines = [f"temperature: {in_words(calibration.temperature)}"]
    lines.append("  ".join([" " * 18, *(f"{name:>10}" for name in _COLUMNS)]))
    for name, pair in calibration.measures.items():
        for when, measures in (("before", pair.before), ("after", pair.after)):
            lines.append("  ".join([f"{name}, {when}".rjust(18), *(f"{digits:>10}" for digits in _row(measures))]))
    lines.append(
        f"ECE: expected calibration error, over all positions; after it: over the candidates, positions with "
        f"a site's probability of 0.01 or more ({', '.join(_counted(calibration))})"
    )
    return "\n".join(lines)


def _counted(calibration: Calibration) -> list[str]:
    return [f"{pair.before.candidates:.0f} in {name}" for name, pair in calibration.measures.items()]


@dataclass(frozen=True)
class GenomeSection:
    """What the models find on whole sequences of the genome."""

    evaluation: GenomeEvaluation
    metrics: GenomeMetrics
    columns: tuple[str, ...]
    rows: list[tuple[SiteKind, str, list[str]]]
    sentences: list[str]


def genome_section(evaluation: GenomeEvaluation) -> GenomeSection:
    """Return the section."""
    tuned = evaluation.models["tuned"]
    return GenomeSection(
        evaluation=evaluation,
        metrics=tuned,
        columns=("AUPRC", "top-k", "threshold", "false per Mb", *PLACE_NAMES.values()),
        rows=[
            (kind, name, _digits(kind, metrics)) for kind in SITE_KINDS for name, metrics in evaluation.models.items()
        ],
        sentences=[_sentence(kind, tuned) for kind in SITE_KINDS],
    )


def _digits(kind: SiteKind, metrics: GenomeMetrics) -> list[str]:
    site = metrics.site(kind)
    rates = (metrics.per_megabase(kind, place) for place in (None, *PLACES))
    return [f"{site.auprc:.3f}", f"{site.top_k:.3f}", f"{site.threshold:.2g}", *(f"{rate:,.1f}" for rate in rates)]


def _sentence(kind: SiteKind, metrics: GenomeMetrics) -> str:
    site = metrics.site(kind)
    false = [f"{site.false_positives[place]:,} {PLACE_NAMES[place]}" for place in PLACES]
    return (
        f"At a score of {site.threshold:.2g}, the tuned model finds {RECALL:.0%} of the {site.sites:,} {kind}s, with "
        f"{metrics.per_megabase(kind):,.1f} false positives per megabase of strand. Altogether there are "
        f"{', '.join(false[:-1])} and {false[-1]}."
    )

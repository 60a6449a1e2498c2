"""Whether the tuned model is better than the untouched one, in words and as a table."""

from dataclasses import dataclass
from typing import Literal

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.evaluation.metrics import AUPRC, MEASURES, Measure, Metrics
from spliceai_jax.report.comparison import Comparison
from spliceai_jax.runs.read import Run


def before_and_after(run: Run, comparison: Comparison | None) -> tuple[Metrics | None, Metrics | None]:
    """Return the test metrics of the untouched and of the best model.

    They are those that the run measured. Before the run has measured the untouched model, they are those of the
    comparison.
    """
    history, compared = run.history, comparison.metrics if comparison else {}
    before = history.untouched["test"].metrics if history.untouched else compared.get("untouched")
    after = history.epochs[history.best_epoch].test.metrics if history.epochs else None
    return before, after


@dataclass(frozen=True)
class Verdict:
    """The page's first lines.

    Attributes:
        tone: Decides the colour.
        headline: A few words.
        sentence: What changed.
        model: The file to use, relative to the folder; None: there is none yet.
        chosen: Why that one.
    """

    tone: Literal["good", "bad", "open"]
    headline: str
    sentence: str
    model: str | None
    chosen: str


def reach_verdict(run: Run, before: Metrics | None, after: Metrics | None) -> Verdict:
    """Compare the best model with the untouched one."""
    history = run.history
    if after is None or before is None:
        sentence = "No epoch is done yet, so this page shows the untouched model alone."
        return Verdict("open", "Nothing to compare yet.", sentence, None, "")
    changes = [
        f"from {AUPRC.of(before.site(kind)):.3f} to {AUPRC.of(after.site(kind)):.3f} for {kind}s" for kind in SITE_KINDS
    ]
    better = after.mean_auprc >= before.mean_auprc
    chosen = f"epoch {history.best_epoch} of 0 to {len(history.epochs) - 1}, the one with the lowest validation loss"
    if not run.finished:
        chosen += f"; {len(history.epochs)} of at most {run.identity.choices.epochs} epochs are done"
    return Verdict(
        "good" if better else "bad",
        f"{'Better' if better else 'Worse'} than the untouched model{'' if run.finished else ' so far'}.",
        f"On the test set, the area under the precision-recall curve went {' and '.join(changes)}.",
        "models/model_best.pt",
        chosen,
    )


@dataclass(frozen=True)
class Row:
    """A measure of one kind of site; what was not measured is empty.

    Attributes:
        name: The measure.
        before: The untouched model's, in digits.
        after: The tuned model's, in digits.
        change: The difference with its sign, in digits.
        tone: Decides the colour of the difference.
    """

    name: str
    before: str
    after: str
    change: str
    tone: Literal["good", "bad", ""]


def rows(kind: SiteKind, before: Metrics | None, after: Metrics | None) -> list[Row]:
    """Return all measures of one kind of site, before and after."""
    return [_row(measure, kind, before, after) for measure in MEASURES]


def _row(measure: Measure, kind: SiteKind, before: Metrics | None, after: Metrics | None) -> Row:
    was, now = (None if metrics is None else measure.of(metrics.site(kind)) for metrics in (before, after))
    change = None if was is None or now is None else now - was
    return Row(
        measure.name,
        "" if was is None else f"{was:.3f}",
        "" if now is None else f"{now:.3f}",
        "" if change is None else f"{change:+.3f}".replace("-", "−"),
        "" if not change else "good" if change > 0 else "bad",
    )

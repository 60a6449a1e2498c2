"""Whether the tuned model is better than the untouched one, in words and as a table; and what looks wrong of a run."""

import math
from dataclasses import dataclass
from typing import Literal

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.display import counted
from spliceai_jax.evaluation.bootstrap import Differences, Verdict
from spliceai_jax.evaluation.metrics import AUPRC, MEASURES, TOP_K, Measure, Metrics
from spliceai_jax.report.test_set import Comparison
from spliceai_jax.runs.history import SET_NAMES, Split
from spliceai_jax.runs.record import DatasetRecord, Run


def before_and_after(run: Run, comparison: Comparison | None) -> tuple[Metrics | None, Metrics | None]:
    """Return the test metrics of the untouched and of the tuned model.

    They are those that the run measured, and while it has not measured them, those of the comparison.
    """
    history, compared = run.history, comparison.metrics if comparison else {}
    untouched = history.untouched.get("test")
    tuned = None if run.tuned_epoch is None else history.epochs[run.tuned_epoch].test
    before = untouched.metrics if untouched else compared.get("untouched")
    after = tuned.metrics if tuned else compared.get("tuned")
    return before, after


@dataclass(frozen=True)
class PageVerdict:
    """The page's first lines: `tone` decides the colour, `model` is the file to use, relative to the folder."""

    tone: Literal["good", "bad", "open"]
    headline: str
    sentence: str
    model: str | None
    chosen: str


_TONES: dict[Verdict, Literal["good", "bad", "open"]] = {"better": "good", "worse": "bad", "unclear": "open"}


def differences_on_test_set(run: Run, comparison: Comparison | None) -> Differences | None:
    """Return how the tuned model compares with the untouched one on the test set, where that is known.

    It is what the run found at its end. Without that it is what the comparison of both models finds.
    """
    if run.history.ending:
        return run.history.ending.sets["test"]
    return comparison.differences if comparison else None


def reach_verdict(run: Run, before: Metrics | None, after: Metrics | None, changes: Differences | None) -> PageVerdict:
    """Compare the tuned model with the untouched one."""
    history, choices = run.history, run.identity.choices
    if after is None or before is None:
        sentence = "No epoch is done yet, so this page shows the untouched model alone."
        return PageVerdict("open", "Nothing to compare yet.", sentence, None, "")
    by_kind = [
        f"from {AUPRC.of(before.site(kind)):.3f} to {AUPRC.of(after.site(kind)):.3f} for {kind}s" for kind in SITE_KINDS
    ]
    epoch, last = history.tuned_epoch(choices), len(history.epochs) - 1
    chosen = f"epoch {epoch} of 0 to {last}, the one with the lowest validation loss"
    if choices.tuned_is_last:
        chosen = f"epoch {epoch}, the last one"
    if not run.finished:
        chosen += f"; {len(history.epochs)} of at most {choices.epochs} epochs are done"
    headline = f"{changes.headline} the untouched model" if changes else "no verdict"
    tone, model, kept = _TONES[changes.verdict] if changes else "open", run.folder.best_model, ""
    if run.keeps_untouched:
        headline, kept = "fine-tuning has not helped", _why_untouched(run)
        tone, model = "bad" if tone == "bad" else "open", run.folder.epoch_model(epoch)
    return PageVerdict(
        tone,
        f"{headline[0].upper()}{headline[1:]}{'' if run.finished else ' so far'}.",
        f"{kept}On the test set, the area under the precision-recall curve went {' and '.join(by_kind)}. "
        f"{_certainty(changes)}",
        str(model.relative_to(run.folder.root)),
        chosen,
    )


def _why_untouched(run: Run) -> str:
    history = run.history
    before = history.untouched["validation"]
    after = history.epochs[history.tuned_epoch(run.identity.choices)].validation
    return (
        "On the validation set, the mean area under the precision-recall curve of donors and acceptors went from "
        f"{before.metrics.mean_auprc:.3f} to {after.metrics.mean_auprc:.3f}. So models/{run.folder.best_model.name} is "
        "the untouched model. "
    )


def _certainty(changes: Differences | None) -> str:
    if changes is None:
        return "How certain the change is cannot be said, since the models could not be scored again."
    mean = changes.mean_auprc
    text = f"The mean of the two changed by {_signed(mean.change)}"
    if mean.interval:
        text += f" (95\N{NO-BREAK SPACE}% interval {_between(mean.interval)}, {changes.genes} genes)"
    if not changes.decides:
        return f"{text}. {counted(changes.genes, 'gene')} in the test set: too few to tell."
    return f"{text}{', which may be chance' if changes.verdict == 'unclear' else ''}."


def _between(interval: tuple[float, float]) -> str:
    return " to ".join(map(_signed, interval))


def _signed(number: float) -> str:
    return f"{number:+.3f}".replace("-", "−")


@dataclass(frozen=True)
class Row:
    """A measure of one kind of site; what was not measured is empty.

    Attributes:
        name: The measure.
        before: The untouched model's, in digits.
        after: The tuned model's, in digits.
        change: The difference with its sign, in digits.
        interval: Its 95 % interval.
        tone: Decides the colour of the difference: none if it may be chance.
    """

    name: str
    before: str
    after: str
    change: str
    interval: str
    tone: Literal["good", "bad", ""]


def rows(kind: SiteKind, before: Metrics | None, after: Metrics | None, changes: Differences | None) -> list[Row]:
    """Return all measures of one kind of site, before and after."""
    return [row(measure, kind, before, after, changes) for measure in MEASURES]


def row(
    measure: Measure, kind: SiteKind, before: Metrics | None, after: Metrics | None, changes: Differences | None
) -> Row:
    """Return one measure of one kind of site, before and after."""
    was, now = (None if metrics is None else measure.of(metrics.site(kind)) for metrics in (before, after))
    return _row(measure, kind, was, now, changes)


def rows_of_test_files(run: Run) -> list[tuple[str, SiteKind, Row]]:
    """Return the AUPRC on each of several test files, before and after: path, kind of site, row."""
    found = run.history.ending.test_files if run.history.ending else {}
    return [
        (path, kind, _row(AUPRC, kind, auprc.before, auprc.after, changes))
        for path, changes in found.items()
        for kind in SITE_KINDS
        for auprc in [changes.site(kind)[AUPRC.key]]
    ]


def _row(measure: Measure, kind: SiteKind, was: float | None, now: float | None, changes: Differences | None) -> Row:
    found = changes.site(kind)[measure.key] if changes else None
    tone: Literal["good", "bad", ""] = ""
    if changes and found and changes.decides and found.verdict != "unclear":
        tone = "good" if found.verdict == "better" else "bad"
    return Row(
        measure.name,
        "" if was is None else f"{was:.3f}",
        "" if now is None else f"{now:.3f}",
        "" if was is None or now is None else _signed(now - was),
        _between(found.interval) if found and found.interval else "",
        tone,
    )


FEW_SITES: dict[Split, int] = {"train": 500, "validation": 100, "test": 200, "old_species": 200}
"""With fewer sites of a kind, the page warns."""

CANONICAL_SHARE = 0.95
"""With a lower share of donors followed by GT, or of acceptors preceded by AG, the page warns."""

PADDING_SHARE = 0.75
"""With a higher share of positions beyond the ends of genes, the page warns."""

STILL_IMPROVING = 0.005
"""The page warns if the last epoch's validation loss is lower than the best before it by more than this share."""


def find_warnings(
    run: Run, before: Metrics | None, after: Metrics | None, changes: Differences | None = None
) -> list[str]:
    """Return a sentence or two for everything that looks wrong.

    Arguments:
        before: The untouched model's test metrics, where they are known.
        changes: How the tuned model compares with the untouched one on the test set, where that is known.
    """
    found = []
    if run.record:
        for name, dataset in run.record.datasets.items():
            found += _data_warnings(name, dataset, after or before)
        if run.record.datasets["validation"].fingerprint == run.record.datasets["test"].fingerprint:
            found.append(
                "The test set is also the validation set, by which the best model was chosen, so its figures flatter "
                "the model. Test on genes that were used for nothing else."
            )
    found += _difference_warnings(run, changes)
    if before and after:
        found += _unfinished_warnings(run)
    return found


def _data_warnings(name: Split, dataset: DatasetRecord, tested: Metrics | None) -> list[str]:
    found = []
    if min(dataset.donors, dataset.acceptors) < FEW_SITES[name]:
        text = f"The {SET_NAMES[name]} set holds few sites: {dataset.donors} donors and {dataset.acceptors} acceptors. "
        if name == "train":
            text += "More genes are the surest way to a better model."
        elif name == "validation":
            text += "Which model is kept depends on them, and is partly chance; give a --validation-dataset."
        else:
            text += _uncertainty(tested if name == "test" else None)
        found.append(text)
    for share, sites in (
        (dataset.gt_share, "donors are followed by GT"),
        (dataset.ag_share, "acceptors are preceded by AG"),
    ):
        if share < CANONICAL_SHARE:
            found.append(
                f"Only {100 * share:.1f} % of the {SET_NAMES[name]} set's {sites}; in well annotated genomes it is "
                "98 % or more. Check that the annotation and the genome are of the same assembly, and that the labels "
                "are on the right bases."
            )
    if dataset.padding_share > PADDING_SHARE:
        found.append(
            f"{100 * dataset.padding_share:.0f} % of the {SET_NAMES[name]} set's positions lie beyond the ends of "
            "genes and have no label, because the genes are short. There is less to learn from than the number of "
            "windows suggests."
        )
    return found


def _uncertainty(tested: Metrics | None) -> str:
    """Say how precisely a share of the test set's sites is known (normal approximation, 95 %)."""
    if tested is None or not tested.donor.sites:
        return "Small differences may be chance."
    share = TOP_K.of(tested.donor)
    margin = 1.96 * math.sqrt(max(share * (1 - share), 0) / tested.donor.sites)
    return (
        f"With so few, a top-k accuracy of {share:.2f} is known only to about ±\N{NO-BREAK SPACE}{margin:.2f}; smaller "
        "differences may be chance."
    )


def _difference_warnings(run: Run, changes: Differences | None) -> list[str]:
    """Say on which sets the tuned model is worse by more than chance could explain."""
    found = []
    ending = run.history.ending
    for name, on_set in (("validation", ending and ending.sets.get("validation")), ("test", changes)):
        if not on_set or not on_set.decides:
            continue
        worse = [f"{kind}s" for kind in SITE_KINDS if on_set.site(kind)[AUPRC.key].verdict == "worse"]
        if on_set.verdict == "worse":
            advice = "Try" if run.keeps_untouched else "Look into it before you use the model; try"
            found.append(
                f"The tuned model is worse than the untouched one on the {name} set: {on_set.words}. {advice} "
                "--recipe best, more genes or a lower --learning-rate."
            )
        elif worse:
            overall = "better overall" if on_set.verdict == "better" else "not clearly different overall"
            found.append(f"On the {name} set, the tuned model is {overall} but worse on {' and '.join(worse)}.")
    return found


def _unfinished_warnings(run: Run) -> list[str]:
    """Say whether more epochs may make the model better."""
    history, choices = run.history, run.identity.choices
    losses = [epoch.validation.metrics.loss for epoch in history.epochs]
    last_is_best = history.lowest_loss_epoch == len(losses) - 1 and len(losses) == choices.epochs
    # At the end of one cycle the rates are almost nothing: the loss falls then, however many epochs there are.
    if run.finished and last_is_best and choices.scheduler != "OneCycleLR":
        earlier = min([history.untouched["validation"].metrics.loss, *losses[:-1]])
        if losses[-1] < earlier * (1 - STILL_IMPROVING):
            return [
                f"The model was still improving at the last epoch (validation loss {earlier:.5f}, then "
                f"{losses[-1]:.5f}); more --epochs may make it better."
            ]
    return []

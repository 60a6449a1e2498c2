"""The report as a page: what the figures mean in words, and what looks wrong."""

import math
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import jinja2

from spliceai_jax.card import released_as
from spliceai_jax.metrics import Metrics, SiteMetrics
from spliceai_jax.record import DatasetRecord
from spliceai_jax.report.figures import Plot
from spliceai_jax.report.run import Run
from spliceai_jax.report.scoring import CONTEXT_SHOWN, KINDS, NEAR, Error, TestView

FEW_SITES = {"train": 500, "validation": 100, "test": 200}
"""Sites of a kind; with fewer the page warns."""

CANONICAL_SHARE = 0.95
"""Of donors before GT and acceptors behind AG; in well annotated genomes 0.98 or more."""

PADDING_SHARE = 0.75
"""Of a set's positions behind the ends of genes."""

_SHOWN_ERRORS = 5
"""Of misses, and of false calls; the rest unfolds."""

STILL_IMPROVING = 0.005
"""Share by which the last epoch's validation loss beats the best before it."""

_SETS = {"train": "training", "validation": "validation", "test": "test"}


def render(run: Run, view: TestView | None, plots: dict[str, Plot], left_out: list[str]) -> str:
    """The whole page.

    Arguments:
        run: The run.
        view: What scoring the test set showed; None: it could not be scored.
        plots: The figures by name.
        left_out: In words, what could not be had.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(resources.files("spliceai_jax.report").joinpath("page.html").read_text())
    before, after = _before_and_after(run, view)
    return template.render(
        run=run,
        now=datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        verdict=_verdict(run, before, after),
        warnings=_warnings(run, before, after),
        left_out=left_out,
        before=before,
        after=after,
        kinds=[(kind, _rows(kind, before, after)) for kind in KINDS],
        plots=plots,
        errors=[
            ("Misses", "sites that the model does not call", _shown(view, missed=True)),
            ("False calls", "positions that it calls and that are no such sites", _shown(view, missed=False)),
        ],
        errors_of=view.errors_of if view else "",
        shown_errors=_SHOWN_ERRORS,
        parent_released=released_as(run.record.parent["sha256"]) if run.record else (),
        sets=_SETS,
    )


def _before_and_after(run: Run, view: TestView | None) -> tuple[Metrics | None, Metrics | None]:
    """Test metrics of the untouched and the best model, as the run measured them, else as the report did."""
    history, scored = run.history, view.metrics if view else {}
    before = history.untouched["test"].metrics if history.untouched else scored.get("untouched")
    after = history.epochs[history.best_epoch].test.metrics if history.epochs else None
    return before, after


# -- verdict -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """The page's first lines.

    Attributes:
        tone: "good", "bad" or "open".
        headline: A few words.
        sentence: What changed.
        model: Which file to use, relative to the folder; None: none yet.
        chosen: Why that one.
    """

    tone: str
    headline: str
    sentence: str
    model: str | None
    chosen: str


def _verdict(run: Run, before: Metrics | None, after: Metrics | None) -> Verdict:
    history, planned = run.history, run.identity["epochs"]
    if after is None or before is None:
        sentence = "No epoch is done yet: this page shows the untouched model alone."
        return Verdict("open", "Nothing to compare yet.", sentence, None, "")
    changes = [
        f"from {getattr(before, kind).auprc:.3f} to {getattr(after, kind).auprc:.3f} for {kind}s" for kind in KINDS
    ]
    better = after.mean_auprc >= before.mean_auprc
    headline = "Better than the untouched model" if better else "Worse than the untouched model"
    headline += "." if run.finished else ", so far."
    epochs = f"epoch {history.best_epoch} among 0 to {len(history.epochs) - 1}"
    chosen = f"{epochs}, the one with the lowest validation loss"
    if not run.finished:
        chosen += f"; {len(history.epochs)} of at most {planned} epochs are done"
    return Verdict(
        "good" if better else "bad",
        headline,
        f"On the test set the area under the precision-recall curve went {' and '.join(changes)}.",
        "models/model_best.pt",
        chosen,
    )


# -- before and after --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A measure of one kind of site.

    Attributes:
        name: The measure.
        before: Of the untouched model, in digits; empty: not measured.
        after: Of the tuned model, likewise.
        change: The difference with its sign, likewise.
        tone: "good", "bad" or "".
    """

    name: str
    before: str
    after: str
    change: str
    tone: str


def _rows(kind: str, before: Metrics | None, after: Metrics | None) -> list[Row]:
    rows = []
    for name in ("AUPRC", "top-k", "precision", "recall"):
        was, now = (None if metrics is None else _measure(getattr(metrics, kind), name) for metrics in (before, after))
        change = None if was is None or now is None else now - was
        rows.append(
            Row(
                name,
                "" if was is None else f"{was:.3f}",
                "" if now is None else f"{now:.3f}",
                "" if change is None else f"{change:+.3f}".replace("-", "−"),
                "" if not change else "good" if change > 0 else "bad",
            )
        )
    return rows


def _measure(site: SiteMetrics, name: str) -> float:
    return {"AUPRC": site.auprc, "top-k": site.top_k[1], "precision": site.precision, "recall": site.recall}[name]


# -- warnings ----------------------------------------------------------------------------------------------------


def _warnings(run: Run, before: Metrics | None, after: Metrics | None) -> list[str]:
    found = []
    if run.record:
        for name, dataset in run.record.datasets.items():
            found += _data_warnings(name, dataset, after or before)
        if run.record.datasets["validation"].fingerprint == run.record.datasets["test"].fingerprint:
            found.append(
                "The test set is the validation set too, which picked the best model: its figures flatter. Test on "
                "genes that were used for nothing else."
            )
    return found + (_run_warnings(run, before, after) if before and after else [])


def _data_warnings(name: str, dataset: DatasetRecord, tested: Metrics | None) -> list[str]:
    found = []
    if min(dataset.donors, dataset.acceptors) < FEW_SITES[name]:
        text = f"The {_SETS[name]} set holds few sites: {dataset.donors} donors and {dataset.acceptors} acceptors. "
        if name == "train":
            text += "More genes are the surest way to a better model."
        elif name == "validation":
            text += "The choice of the best epoch rests on them and is partly chance; give a --validation-dataset."
        else:
            text += _uncertainty(tested)
        found.append(text)
    for kind, share, bases, where in (
        ("donors", dataset.gt_share, "GT", "before"),
        ("acceptors", dataset.ag_share, "AG", "behind"),
    ):
        if share < CANONICAL_SHARE:
            found.append(
                f"Only {100 * share:.1f} % of the {_SETS[name]} set's {kind} stand {where} {bases}; in well annotated "
                "genomes it is 98 % or more. Look whether annotation and genome are of the same assembly, and whether "
                "the labels stand on the right base."
            )
    if dataset.padding_share > PADDING_SHARE:
        found.append(
            f"{100 * dataset.padding_share:.0f} % of the {_SETS[name]} set's positions lie behind the ends of genes "
            "and hold no label: the genes are short. There is less to learn from than the number of windows says."
        )
    return found


def _uncertainty(tested: Metrics | None) -> str:
    """How far a share of so few sites can be trusted (normal approximation, 95 %)."""
    if tested is None or not tested.donor.sites:
        return "Small differences may be chance."
    share = tested.donor.top_k[1]
    margin = 1.96 * math.sqrt(max(share * (1 - share), 0) / tested.donor.sites)
    return (
        f"With these a top-k accuracy of {share:.2f} is known to about ±\N{NO-BREAK SPACE}{margin:.2f}; smaller "
        "differences may be chance."
    )


def _run_warnings(run: Run, before: Metrics, after: Metrics) -> list[str]:
    history, found = run.history, []
    recorded = history.epochs[history.best_epoch].validation.metrics
    for name, was, now in (
        ("validation", history.untouched["validation"].metrics, recorded),
        ("test", before, after),
    ):
        worse = [f"{kind}s" for kind in KINDS if getattr(now, kind).auprc < getattr(was, kind).auprc]
        if now.mean_auprc < was.mean_auprc:
            found.append(
                f"The tuned model is worse than the untouched one on the {name} set: mean AUPRC {was.mean_auprc:.3f} "
                f"before, {now.mean_auprc:.3f} now. Look before you use it; try --recipe best, more genes or a lower "
                "--learning-rate."
            )
        elif worse:
            found.append(
                f"On the {name} set the tuned model is better on the whole but worse on {' and '.join(worse)}."
            )
    losses = [epoch.validation.metrics.loss for epoch in history.epochs]
    last_is_best = history.best_epoch == len(losses) - 1 and len(losses) == run.identity["epochs"]
    if run.finished and last_is_best:
        earlier = min([history.untouched["validation"].metrics.loss, *losses[:-1]])
        if losses[-1] < earlier * (1 - STILL_IMPROVING):
            found.append(
                f"The model was still improving at the last epoch (validation loss {earlier:.5f}, then "
                f"{losses[-1]:.5f}): more --epochs may make it better."
            )
    return found


# -- errors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownError:
    """An error as the page shows it.

    Attributes:
        error: The error.
        parts: (letters, class) of its context, which together are the sequence.
        note: What a biologist would look at first.
    """

    error: Error
    parts: list[tuple[str, str]]
    note: str


def _shown(view: TestView | None, missed: bool) -> list[ShownError]:
    if view is None:
        return []
    alike: dict[tuple[str, str], list[Error]] = {}
    for error in view.errors:
        if error.missed == missed:
            alike.setdefault((error.kind, error.bases), []).append(error)
    return [ShownError(errors[0], _parts(errors[0]), _note(errors[0], len(errors))) for errors in alike.values()]


def _intron_pair(error: Error) -> tuple[int, int, str]:
    """Where the intron's outermost two bases stand in the context, and what they should be."""
    return (
        (CONTEXT_SHOWN + 1, CONTEXT_SHOWN + 3, "GT")
        if error.kind == "donor"
        else (CONTEXT_SHOWN - 2, CONTEXT_SHOWN, "AG")
    )


def _parts(error: Error) -> list[tuple[str, str]]:
    first, last, expected = _intron_pair(error)
    bases = error.bases
    pair = (bases[first:last].lower(), "pair" if bases[first:last] == expected else "pair odd")
    if error.kind == "donor":
        return [(bases[:first], "exon"), pair, (bases[last:].lower(), "intron")]
    return [(bases[:first].lower(), "intron"), pair, (bases[last:], "exon")]


def _note(error: Error, times: int) -> str:
    first, last, expected = _intron_pair(error)
    found, canonical = error.bases[first:last], error.bases[first:last] == expected
    notes = []
    if not canonical:
        notes.append(f"{found} where {expected} is usual")
    if error.nearest is not None and error.nearest != 0:
        direction = "downstream" if error.nearest > 0 else "upstream"
        away = f"{abs(error.nearest)} base{'s' if abs(error.nearest) > 1 else ''} {direction}"
        one = f"{'an' if error.kind == 'acceptor' else 'a'} {error.kind}"
        notes.append(f"the model calls {one} {away}" if error.missed else f"{one} is annotated {away}")
    elif not error.missed:
        notes.append(f"no {error.kind} is annotated within {NEAR} bases")
    if times > 1:
        notes.append(f"{times} times, in windows of the same sequence")
    return "; ".join(notes)

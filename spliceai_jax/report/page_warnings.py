"""What looks wrong about a run, in sentences for the page."""

import math

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.metrics import AUPRC, TOP_K, Metrics
from spliceai_jax.runs.history import SET_NAMES, Split
from spliceai_jax.runs.read import Run
from spliceai_jax.runs.record import DatasetRecord

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
        run: The run.
        before: The untouched model's test metrics, where they are known.
        after: The tuned model's.
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

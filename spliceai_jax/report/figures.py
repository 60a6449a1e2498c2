"""The report's figures."""

from collections.abc import Iterator
from functools import partial

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.evaluation.metrics import AUPRC, TOP_K
from spliceai_jax.report import panels
from spliceai_jax.report.logos import draw_logos
from spliceai_jax.report.plots import Plot, plot, plot_figure
from spliceai_jax.report.test_set import Comparison
from spliceai_jax.runs.history import History, Split
from spliceai_jax.runs.record import Run


def draw(run: Run, batches_per_epoch: int, comparison: Comparison | None) -> Iterator[Plot]:
    """Draw every figure that there is something to show in.

    Arguments:
        comparison: The models on the test set; None: they could not be scored.
    """
    history = run.history
    if history.ending:
        for kind in SITE_KINDS:
            yield panels.reliability_plot(kind, history.ending.calibration.measures["test"])
    if history.update_losses:
        loss = partial(panels.loss, history=history, batches_per_epoch=batches_per_epoch, tuned=run.tuned_epoch)
        yield plot("loss", "Loss over steps", loss)
        yield plot("learning_rate", "Learning rate over steps", partial(panels.learning_rate, history=history))
    if run.tuned_epoch is not None:
        yield from _over_epochs(history, run.tuned_epoch)
    if comparison is None:
        return
    for kind in SITE_KINDS:
        scores, named = {model: comparison.scores[model, kind] for model in comparison.metrics}, kind.capitalize()
        curves = partial(panels.precision_recall, scores=scores)
        yield plot(f"precision_recall_{kind}", f"{named}s: precision and recall", curves)
        histograms = partial(panels.histograms, scores=scores)
        yield plot(f"scores_{kind}", f"{named} scores of sites and of other positions", histograms)
        yield _plot_logos(kind, comparison)


def _over_epochs(history: History, tuned: int) -> Iterator[Plot]:
    """Draw measures over epochs: on the validation and the test set, and what the run forgets of the old species."""
    splits: dict[Split, str] = {"validation": "validation", "test": "test"}
    for measure, title, label in (
        (AUPRC, "AUPRC over epochs", "AUPRC"),
        (TOP_K, "Top-k accuracy over epochs", "top-k accuracy"),
    ):
        panel = partial(panels.over_epochs, history=history, tuned=tuned, measure=measure, label=label, splits=splits)
        yield plot(measure.key, title, panel)
    if "old_species" in history.untouched:
        splits = {"test": "new species", "old_species": "old species"}
        panel = partial(panels.over_epochs, history=history, tuned=tuned, measure=AUPRC, label="AUPRC", splits=splits)
        yield plot("forgetting", "AUPRC on the new and the old species over epochs", panel)


def _plot_logos(kind: SiteKind, comparison: Comparison) -> Plot:
    """Draw the logo of the labelled sites of a kind, and below it those of the positions that each model calls."""
    labelled = comparison.labelled_bases[kind]
    logos = [(f"labelled: {int(labelled[0].sum()):,}", labelled)]
    for model in reversed(comparison.metrics):
        scores = comparison.scores[model, kind]
        logos.append((f"called, {model}: {scores.called:,}", scores.called_bases))
    title = f"Bases around {kind}s, labelled and called"
    return plot_figure(f"logo_{kind}", title, partial(draw_logos, kind=kind, logos=logos), grid=False)

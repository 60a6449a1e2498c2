"""The report's figures."""

from collections.abc import Iterator
from functools import partial

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.evaluation.metrics import AUPRC, TOP_K
from spliceai_jax.report import score_panels, training_panels
from spliceai_jax.report.comparison import Comparison
from spliceai_jax.report.logos import plot_logos
from spliceai_jax.report.plots import Plot, plot
from spliceai_jax.runs.history import History


def draw(history: History, batches_per_epoch: int, comparison: Comparison | None) -> Iterator[Plot]:
    """Draw every figure that there is something to show in.

    Arguments:
        history: What the run measured.
        batches_per_epoch: The number of batches in an epoch.
        comparison: The models on the test set; None: they could not be scored.
    """
    if history.update_losses:
        loss = partial(training_panels.loss, history=history, batches_per_epoch=batches_per_epoch)
        yield plot("loss", "Loss over steps", loss)
        yield plot("learning_rate", "Learning rate over steps", partial(training_panels.learning_rate, history=history))
    if history.epochs:
        for measure, title, label in (
            (AUPRC, "AUPRC over epochs", "AUPRC"),
            (TOP_K, "Top-k accuracy over epochs", "top-k accuracy"),
        ):
            panel = partial(training_panels.over_epochs, history=history, measure=measure, label=label)
            yield plot(measure.key, title, panel)
    if comparison is None:
        return
    for kind in SITE_KINDS:
        scores, named = {model: comparison.scores[model, kind] for model in comparison.metrics}, kind.capitalize()
        curves = partial(score_panels.precision_recall, scores=scores)
        yield plot(f"precision_recall_{kind}", f"{named}s: precision and recall", curves)
        histograms = partial(score_panels.histograms, scores=scores)
        yield plot(f"scores_{kind}", f"{named} scores of sites and of other positions", histograms)
        calibration = partial(score_panels.calibration, scores=scores)
        yield plot(f"calibration_{kind}", f"{named} scores as probabilities", calibration)
        yield plot_logos(kind, comparison)

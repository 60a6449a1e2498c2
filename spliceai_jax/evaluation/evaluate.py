"""Score models on a data set."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from spliceai_jax.architecture import ARCHITECTURES, PADDING
from spliceai_jax.data.batches import PackedBatch
from spliceai_jax.data.hdf5 import read_windows
from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance, Display, ignore
from spliceai_jax.errors import DivergedError
from spliceai_jax.evaluation.bootstrap import GeneCounts
from spliceai_jax.evaluation.metrics import Metrics, MetricsAccumulator
from spliceai_jax.in_flight import one_in_flight
from spliceai_jax.network.ensemble import GivenModel, read_models
from spliceai_jax.network.model import Variables
from spliceai_jax.network.score import mean
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.losses import cross_entropy_loss
from spliceai_jax.training.recipes import Recipe

Scores = tuple[Float[np.ndarray, "windows positions 3"], Float[np.ndarray, "windows positions"]]
"""The probabilities and losses of the positions of windows; 0 beyond a window's last label."""


def score_windows(
    engine: Engine, models: Sequence[Variables], windows: Windows, rows: int
) -> Iterator[tuple[PackedBatch, list[Scores]]]:
    """Score all windows with several models.

    Arguments:
        engine: Runs the network.
        models: Variables, placed on the engine's devices.
        windows: The windows to score.
        rows: Rows in a batch.

    Yields:
        Each batch, with the scores of its windows by every model.
    """
    dispatched = (
        (packed, [engine.evaluate(variables, packed.batch) for variables in models])
        for packed in windows.scoring_batches(rows)
    )
    for packed, found in one_in_flight(dispatched):
        yield packed, [(packed.by_window(scores), packed.by_window(losses)) for scores, losses in found]


def _together(found: Sequence[Scores], labels: UInt8[np.ndarray, "windows positions"]) -> Scores:
    """Return the mean of several models' probabilities, and its cross-entropy loss."""
    if len(found) == 1:
        return found[0]
    together = mean([probabilities for probabilities, _ in found])
    return together, np.asarray(cross_entropy_loss(jnp.asarray(together), jnp.asarray(labels)))


def evaluate_windows(
    engine: Engine,
    models: Sequence[Variables],
    windows: Windows,
    batch_size: int,
    after_batch: Advance = ignore,
    by_gene: GeneCounts | None = None,
) -> tuple[Metrics, list[float]]:
    """Evaluate a model, or the mean of several models' probabilities, on all windows, padding left out.

    Arguments:
        engine: Runs the network; the loss of a single model is the one of its recipe.
        models: Variables, placed on the engine's devices.
        windows: The windows to evaluate on.
        batch_size: The number of rows in a batch, and of windows in each logged mean loss.
        after_batch: Called with the number of windows done in each batch.
        by_gene: Counts the scores by gene as well.

    Returns:
        The metrics, and the mean loss of every `batch_size` windows in the set's order.

    Raises:
        DivergedError: A loss is infinite or not a number.
    """
    gathered = MetricsAccumulator()
    losses, labelled = np.zeros(len(windows)), np.zeros(len(windows), np.int64)
    for packed, found in score_windows(engine, models, windows, batch_size):
        positions, (probabilities, position_losses) = packed.positions, _together(found, packed.labels)
        losses[positions] = position_losses.sum(-1, dtype=np.float64)
        labelled[positions] = (packed.labels != PADDING).sum(-1)
        if not np.isfinite(total := losses[positions].sum()):
            raise DivergedError(f"{windows.files}: the model's loss here is {total}; its weights are unusable")
        gathered.add(probabilities, packed.labels, losses[positions])
        if by_gene:
            by_gene.add(positions, probabilities, packed.labels)
        after_batch(len(positions))
    # The logs follow the file's order, in which the windows are not scored.
    batches = np.arange(0, len(windows), batch_size)
    means = np.add.reduceat(losses, batches) / np.maximum(np.add.reduceat(labelled, batches), 1)
    return gathered.result(), means.tolist()


def evaluate(
    model: GivenModel,
    dataset: str | Path,
    flanking_size: int | None = None,
    display: Display | None = None,
    calibrated: bool = False,
) -> Metrics:
    """Return the metrics and cross-entropy loss of a model on a data set, computed on all devices.

    Arguments:
        model: A `.pt` file, a folder of them, a model in memory or an `Ensemble`; or several of these, all of one
            flanking size. The mean of several models' probabilities is scored.
        dataset: The HDF5 file.
        flanking_size: The flanking size that the model must have; None accepts any.
        display: Shows the progress, as `ConsoleDisplay()` does; None shows nothing.
        calibrated: Apply the temperature that lies beside the file: see `Pretrained.from_pt`. A model in memory must
            have its own.

    Raises:
        WeightsError: See `Pretrained.from_pt`.
        SettingsError: A model in memory has another flanking size, or no temperature though `calibrated`; or several
            models differ in flanking size.
        DatasetError: See `read_windows`.
    """
    models = read_models(model, flanking_size, calibrated, "model")
    architecture = ARCHITECTURES[models[0].flanking_size]
    display = display or Display()
    windows = read_windows(dataset, architecture.flanking_size, display)
    engine = Engine(architecture, Recipe())
    placed = [engine.place(one.scoring_variables) for one in models]
    with display.progress("evaluate", len(windows)) as advance:
        metrics, _ = evaluate_windows(engine, placed, windows, architecture.batch_size, advance)
    return metrics

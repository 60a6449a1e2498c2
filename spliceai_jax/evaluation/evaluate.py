"""Score models on a data set."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from spliceai_jax.architecture import ARCHITECTURES, PADDING
from spliceai_jax.data.batches import PackedBatch
from spliceai_jax.data.hdf5 import read_windows
from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance, Display, ignore
from spliceai_jax.errors import DivergedError, SettingsError
from spliceai_jax.evaluation.bootstrap import GeneCounts
from spliceai_jax.evaluation.metrics import Metrics, MetricsAccumulator
from spliceai_jax.in_flight import one_in_flight
from spliceai_jax.network.model import Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.training.engine import Engine
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


def evaluate_windows(
    engine: Engine,
    variables: Variables,
    windows: Windows,
    batch_size: int,
    after_batch: Advance = ignore,
    by_gene: GeneCounts | None = None,
) -> tuple[Metrics, list[float]]:
    """Evaluate a model on all windows, padding left out.

    Arguments:
        engine: Runs the network.
        variables: Placed on the engine's devices.
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
    for packed, [(probabilities, position_losses)] in score_windows(engine, [variables], windows, batch_size):
        positions = packed.positions
        losses[positions] = position_losses.sum(-1, dtype=np.float64)
        labelled[positions] = (packed.labels != PADDING).sum(-1)
        if not np.isfinite(total := losses[positions].sum()):
            raise DivergedError(f"{windows.source}: the model's loss here is {total}; its weights are unusable")
        gathered.add(probabilities, packed.labels, losses[positions])
        if by_gene:
            by_gene.add(positions, probabilities, packed.labels)
        after_batch(len(positions))
    # The logs follow the file's order, in which the windows are not scored.
    batches = np.arange(0, len(windows), batch_size)
    means = np.add.reduceat(losses, batches) / np.maximum(np.add.reduceat(labelled, batches), 1)
    return gathered.result(), means.tolist()


def model_to_evaluate(model: str | Path | Pretrained, flanking_size: int | None, calibrated: bool) -> Pretrained:
    """Return a model, read if it is a file, after a check that it is what `evaluate` was asked to evaluate.

    Arguments and errors are those of `evaluate`.
    """
    pretrained = model if isinstance(model, Pretrained) else Pretrained.from_pt(model, flanking_size, calibrated)
    if flanking_size not in (None, pretrained.flanking_size):
        raise SettingsError(
            f"`flanking_size` is {flanking_size}, but the model has a flanking size of {pretrained.flanking_size}; "
            f"give `flanking_size={pretrained.flanking_size}`"
        )
    if calibrated and pretrained.temperature is None:
        raise SettingsError("`calibrated`: this model in memory has no `temperature`; give one that has, or a file")
    return pretrained


def evaluate(
    model: str | Path | Pretrained,
    dataset: str | Path,
    flanking_size: int | None = None,
    display: Display | None = None,
    calibrated: bool = False,
) -> Metrics:
    """Return the metrics and cross-entropy loss of a model on a data set, computed on all devices.

    Arguments:
        model: A `.pt` file, or a model in memory.
        dataset: The HDF5 file.
        flanking_size: The flanking size that the model must have; None accepts any.
        display: Shows the progress; None shows nothing.
        calibrated: Apply the temperature that lies beside the file: see `Pretrained.from_pt`. A model in memory must
            have its own.

    Raises:
        WeightsError: See `Pretrained.from_pt`.
        SettingsError: A model in memory has another flanking size, or no temperature though `calibrated`.
        DatasetError: See `read_windows`.
    """
    pretrained = model_to_evaluate(model, flanking_size, calibrated)
    architecture = ARCHITECTURES[pretrained.flanking_size]
    display = display or Display()
    windows = read_windows(dataset, architecture.flanking_size, display)
    engine = Engine(architecture, Recipe())
    variables = engine.place(pretrained.scoring_variables)
    with display.progress("evaluate", len(windows)) as advance:
        metrics, _ = evaluate_windows(engine, variables, windows, architecture.batch_size, advance)
    return metrics

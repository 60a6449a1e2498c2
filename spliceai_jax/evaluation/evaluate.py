"""Score models on a data set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from spliceai_jax.architecture import ARCHITECTURES, PADDING
from spliceai_jax.display import Advance, Display, ignore
from spliceai_jax.errors import DivergedError
from spliceai_jax.evaluation.bootstrap import Differences, GeneCounts, Resampled, differences, genes_of
from spliceai_jax.evaluation.metrics import Metrics, MetricsAccumulator
from spliceai_jax.loops import one_in_flight
from spliceai_jax.network.ensemble import GivenModel, read_models
from spliceai_jax.network.model import Variables
from spliceai_jax.network.score import mean
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.losses import cross_entropy_loss
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.windows.batches import PackedBatch
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.windows import Windows

Labels = UInt8[np.ndarray, "windows positions"]

Scores = tuple[Float[np.ndarray, "windows positions 3"], Float[np.ndarray, "windows positions"]]
"""The probabilities and losses of the positions of windows; 0 beyond a window's last label."""

EachBatch = Callable[[Int[np.ndarray, " windows"], Labels, Sequence[Scores]], None]
"""Called with the positions of a batch's windows in their set, their labels, and their scores by every model."""


class Evaluation:
    """Evaluates a model on a set of windows, batch by batch.

    Attributes:
        gathered: What its metrics are computed from.
        by_gene: Its scores counted by gene; None where they are not wanted.
    """

    def __init__(self, windows: Windows, by_gene: GeneCounts | None = None) -> None:
        """Start empty."""
        self.gathered, self.by_gene = MetricsAccumulator(), by_gene
        self._files = windows.files
        self._losses, self._labelled = np.zeros(len(windows)), np.zeros(len(windows), np.int64)

    def add(self, positions: Int[np.ndarray, " windows"], labels: Labels, scores: Scores) -> None:
        """Add windows, given their positions in the set; padding is left out.

        Raises:
            DivergedError: A loss is infinite or not a number.
        """
        probabilities, losses = scores
        self._losses[positions] = losses.sum(-1, dtype=np.float64)
        self._labelled[positions] = (labels != PADDING).sum(-1)
        if not np.isfinite(total := self._losses[positions].sum()):
            raise DivergedError(f"{self._files}: the model's loss here is {total}; its weights are unusable")
        self.gathered.add(probabilities, labels, self._losses[positions])
        if self.by_gene:
            self.by_gene.add(positions, probabilities, labels)

    def batch_losses(self, batch_size: int) -> list[float]:
        """Return the mean loss of every `batch_size` windows, in the set's order, in which they are not scored."""
        batches = np.arange(0, len(self._losses), batch_size)
        labelled = np.add.reduceat(self._labelled, batches)
        return (np.add.reduceat(self._losses, batches) / np.maximum(labelled, 1)).tolist()

    @cached_property
    def metrics(self) -> Metrics:
        """The metrics, once all windows were added."""
        return self.gathered.result()

    def resampled(self) -> Resampled:
        """Return the measures in draws of the set's genes, which must have been counted."""
        assert self.by_gene is not None
        return self.by_gene.resampled(self.metrics)


@dataclass(frozen=True)
class ManyEvaluations:
    """Several models on one set of windows.

    Attributes:
        whole: The evaluation of each model on the set.
        by_file: Where the set consists of several files: the path of each -> the same on its windows.
    """

    whole: list[Evaluation]
    by_file: dict[str, list[Evaluation]]


def score_windows(
    engine: Engine, models: Sequence[Variables], windows: Windows, rows: int
) -> Iterator[tuple[PackedBatch, list[Scores]]]:
    """Score all windows with several models.

    Yields:
        Each batch, with the scores of its windows by every model.
    """
    dispatched = (
        (packed, [engine.evaluate(variables, packed.batch) for variables in models])
        for packed in windows.scoring_batches(rows)
    )
    for packed, found in one_in_flight(dispatched):
        yield packed, [(packed.by_window(scores), packed.by_window(losses)) for scores, losses in found]


def _together(found: Sequence[Scores], labels: Labels) -> Scores:
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
        batch_size: The number of rows in a batch, and of windows in each logged mean loss.
        after_batch: Called with the number of windows done in each batch.

    Returns:
        The metrics, and the mean loss of every `batch_size` windows in the set's order.

    Raises:
        DivergedError: A loss is infinite or not a number.
    """
    evaluation = Evaluation(windows, by_gene)
    for packed, found in score_windows(engine, models, windows, batch_size):
        evaluation.add(packed.positions, packed.labels, _together(found, packed.labels))
        after_batch(len(packed.positions))
    return evaluation.metrics, evaluation.batch_losses(batch_size)


def evaluate_each(
    engine: Engine,
    models: Sequence[Variables],
    windows: Windows,
    batch_size: int,
    seed: int,
    after_batch: Advance = ignore,
    each_batch: EachBatch | None = None,
) -> ManyEvaluations:
    """Evaluate several models, each by itself, in one pass over a set.

    Arguments:
        seed: Decides which genes are drawn for the intervals.
        after_batch: Called with the number of windows done in each batch.

    Raises:
        DivergedError: A loss is infinite or not a number.
    """

    def begin(some: Windows) -> list[Evaluation]:
        genes = genes_of(some)
        return [Evaluation(some, GeneCounts(genes, seed)) for _ in models]

    whole, by_file, first = begin(windows), dict[str, list[Evaluation]](), 0
    for part in windows.by_file:
        of_part = windows.subset(np.arange(first, first + len(part))) if windows.parts else windows
        in_file = by_file.setdefault(part.absolute_files, begin(of_part)) if windows.parts else []
        for packed, found in score_windows(engine, models, of_part, batch_size):
            positions = packed.positions + first
            for i, scores in enumerate(found):
                whole[i].add(positions, packed.labels, scores)
                if in_file:
                    in_file[i].add(packed.positions, packed.labels, scores)
            if each_batch:
                each_batch(positions, packed.labels, found)
            after_batch(len(positions))
        first += len(part)
    return ManyEvaluations(whole, by_file)


def compared(evaluations: Sequence[Evaluation]) -> Differences:
    """Return how the last of several models compares with the first on a set."""
    return differences(*(evaluations[i].resampled() for i in (0, -1)))


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

"""A run as its folder shows it, read without touching it: the run may be under way."""

from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.evaluation.genome_metrics import GenomeEvaluation
from spliceai_jax.runs import stored
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History, LoopState
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.record import Record, read_record
from spliceai_jax.training.recipes import Recipe


@dataclass(frozen=True)
class Run:
    """A run as its folder shows it.

    Attributes:
        folder: The run's folder.
        identity: What decides its result.
        record: Facts about it; None where its first session has not begun.
        history: What was measured, as of the latest checkpoint; empty before the first.
        genome: What models find on whole sequences, where that was measured.
    """

    folder: RunFolder
    identity: RunIdentity
    record: Record | None
    history: History
    genome: GenomeEvaluation | None = None

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the run stopped early."""
        return self.history.finished(self.identity.choices)

    @property
    def keeps_untouched(self) -> bool:
        """Whether the untouched model is the best one, since tuning has not helped; False before the first epoch."""
        return bool(self.history.epochs) and self.history.kept_epoch(self.identity.choices) is None

    @property
    def tuned_epoch(self) -> int | None:
        """The epoch whose model is the tuned one; None before the first is done."""
        return self.history.tuned_epoch(self.identity.choices) if self.history.epochs else None

    @property
    def tuned_model(self) -> Path | None:
        """The model of that epoch, kept as the best or not; None before the first epoch is done."""
        return tuned_model(self.folder, self.history, self.identity.choices) if self.history.epochs else None

    @property
    def tuned_sha256(self) -> str | None:
        """SHA-256 of that model's file; None before the first epoch is done."""
        return None if self.tuned_epoch is None else self.history.epochs[self.tuned_epoch].model_sha256


def read_run(root: str | Path) -> Run:
    """Read a run from its folder, or from one above it: see `RunFolder.found`.

    Raises:
        RunFolderError: It holds no run, or several, or a file of the run is damaged.
    """
    folder = RunFolder.found(root)
    identity = folder.read_identity()
    return Run(folder, identity, read_record(folder), read_history(folder), read_genome_evaluation(folder))


def read_history(folder: RunFolder) -> History:
    """Read what a run has measured as of its latest checkpoint; it is empty before the first.

    Raises:
        RunFolderError: It is damaged.
    """
    try:
        return stored.read(folder.history, LoopState).history
    except FileNotFoundError:
        return History()


def read_genome_evaluation(folder: RunFolder) -> GenomeEvaluation | None:
    """Read what a run's models find on whole sequences; None where there is none, with a warning if it is damaged."""
    return stored.unless_damaged(lambda: stored.read(folder.genome_evaluation, GenomeEvaluation))


def tuned_model(folder: RunFolder, history: History, recipe: Recipe) -> Path:
    """Return the file of the tuned epoch's model; where only its copy `model_best.pt` is left, that.

    While a run is under way, `model_best.pt` may be ahead of the history.
    """
    model = folder.epoch_model(history.tuned_epoch(recipe))
    copied = history.kept_epoch(recipe) is not None
    return folder.best_model if copied and not model.exists() else model

"""What a run's folder tells, read without touching it: the run may be under way."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spliceai_jax.checkpoints import latest_progress
from spliceai_jax.folder import RunFolder
from spliceai_jax.history import History
from spliceai_jax.recipes import Recipe
from spliceai_jax.record import Record, read_record


@dataclass(frozen=True)
class Run:
    """A run as its folder shows it.

    Attributes:
        folder: Where it lies.
        identity: What decides its result: see `Plan.identity`.
        record: See there; None for a run of an earlier version.
        history: As of the latest checkpoint; empty before the first.
    """

    folder: RunFolder
    identity: dict[str, Any]
    record: Record | None
    history: History

    @property
    def recipe(self) -> Recipe:
        """What it was asked to do."""
        return Recipe(**{field.name: self.identity[field.name] for field in fields(Recipe)})

    @property
    def finished(self) -> bool:
        """Whether all epochs are done that will be."""
        return self.history.finished(self.recipe)

    @property
    def mark(self) -> str:
        """What the page's opening says of how far the run had come."""
        return f'data-epochs="{len(self.history.epochs)}" data-finished="{str(self.finished).lower()}"'

    @property
    def best_model(self) -> Path | None:
        """The model of the history's best epoch; None before the first epoch is done."""
        if not self.history.epochs:
            return None
        # Of a run under way model_best.pt may be ahead of the checkpoint.
        model = self.folder.epoch_model(self.history.best_epoch)
        return model if model.exists() else self.folder.best_model


def read_run(root: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        RunFolderError: It holds no run, or its description is damaged.
    """
    folder = RunFolder(root)
    identity, progress = folder.description(), latest_progress(folder.checkpoints)
    return Run(folder, identity, read_record(folder), progress.history if progress else History())

"""The model of a run's tuned epoch, which is compared with the untouched one whether it is kept as the best or not."""

from pathlib import Path

from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History
from spliceai_jax.training.recipes import Recipe


def tuned_model(folder: RunFolder, history: History, recipe: Recipe) -> Path:
    """Return the file of the tuned epoch's model; where only its copy `model_best.pt` is left, that.

    While a run is under way, `model_best.pt` may be ahead of the history.
    """
    model = folder.epoch_model(history.tuned_epoch(recipe))
    copied = history.kept_epoch(recipe) is not None
    return folder.best_model if copied and not model.exists() else model

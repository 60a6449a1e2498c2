"""The model of a run's tuned epoch, which is compared with the untouched one whether it is kept as the best or not."""

import hashlib
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


def tuned_fingerprint(folder: RunFolder, history: History, recipe: Recipe) -> str:
    """Return the fingerprint of the tuned epoch's model, which is the SHA-256 of a file that a run wrote.

    Where the file is gone it is the one that the run recorded.
    """
    try:
        return hashlib.sha256(tuned_model(folder, history, recipe).read_bytes()).hexdigest()
    except OSError:
        return history.epochs[history.tuned_epoch(recipe)].model_sha256

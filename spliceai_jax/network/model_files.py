"""Which models are meant where models are given, and what lies beside a model.

A model is a `.pt` file, or an Orbax checkpoint, which is a folder. Other folders hold `.pt` files.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from spliceai_jax.errors import WeightsError

CARD, TEMPERATURE = ".json", ".temperature.json"
"""The endings of the files that lie beside a model and are about it: see `beside`."""

_OF_CHECKPOINTS = ("_METADATA", "manifest.ocdbt")
"""Files that orbax writes into the folder of a checkpoint; it cannot be read without them."""


def is_checkpoint(path: Path) -> bool:
    """Return whether this is an Orbax checkpoint, a folder such as `Pretrained.to_orbax` writes."""
    return any(os.path.lexists(path / name) for name in _OF_CHECKPOINTS)


def model_files(given: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the models that are meant: `.pt` files and Orbax checkpoints.

    A folder that is no checkpoint stands for all `.pt` files in it, in the order of their names.

    Raises:
        WeightsError: A folder is no checkpoint and holds no `.pt` file.
    """
    found: list[Path] = []
    for path in map(Path, [given] if isinstance(given, str | Path) else given):
        is_model = is_checkpoint(path) or not os.path.isdir(path)
        files = [path] if is_model else sorted(path.glob("*.pt"))
        if not files:
            raise WeightsError(
                f"{path}: this folder holds no .pt file and is no Orbax checkpoint of a model; give .pt files, a "
                "folder of them, or a checkpoint that `spliceai-jax convert` made"
            )
        found += files
    return tuple(found)


def models_to_average(given: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the models that are meant, as `model_files` does, where the mean of their probabilities is wanted.

    Raises:
        WeightsError: See `model_files`; or a folder is that of a run or of its models, one for each epoch, whose mean
            nobody wants.
    """
    for path in map(Path, [given] if isinstance(given, str | Path) else given):
        # What `transfer` makes: RUN/run.json, and RUN/models with the best model and the model of each epoch.
        for folder in (path, path / "models"):
            best = folder / "model_best.pt"
            # Path.exists raises PermissionError on Python 3.11 where a folder may not be entered.
            if os.path.exists(best) and os.path.exists(folder.parent / "run.json"):
                raise WeightsError(
                    f"{path}: the folder of a run, which holds a model for each epoch; give the best one, {best}, or "
                    "name the files"
                )
    return model_files(given)


def beside(model: Path, ending: str) -> Path:
    """Return where a file about a model lies: with ".json", at `fly.json` beside `fly.pt` or the checkpoint `fly`."""
    if is_checkpoint(model):
        folder = Path(os.path.abspath(model))  # "." has no name
        return folder.with_name(folder.name + ending)
    return model.with_name(model.stem + ending)

"""Distillation's targets: the mean of the teachers' probabilities, computed once for each window and kept on disk.

The teachers see windows as they are in the file: where the recipe mutates bases in training, the model learns to say
of the mutated window what they say of the other.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Int

from spliceai_jax import files
from spliceai_jax.architecture import CLASSES, PADDING
from spliceai_jax.data.targets import Targets
from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance
from spliceai_jax.errors import WeightsError
from spliceai_jax.evaluation.evaluate import score_windows
from spliceai_jax.network.model import Variables
from spliceai_jax.network.score import mean
from spliceai_jax.training.engine import Engine

_BYTES_A_POSITION = np.dtype(np.float16).itemsize * len(CLASSES)


def bytes_of_targets(windows: Windows) -> int:
    """Return the bytes on disk that the targets of windows take: float16, for all positions up to the last label."""
    return _BYTES_A_POSITION * int(windows.lengths.sum())


def taught_windows(
    engine: Engine,
    teachers: Sequence[Variables],
    windows: Windows,
    taught: Int[np.ndarray, " some"],
    rows: int,
    folder: Path,
    after_batch: Advance,
) -> Windows:
    """Return a set with targets for some of its windows, at every position that is not padding.

    They are in an unnamed file that is gone when the process ends. The system keeps it in memory if there is room.

    Arguments:
        engine: Runs the networks.
        teachers: The variables of each, placed on the engine's devices.
        windows: The set.
        taught: The positions in the set of the windows that get targets.
        rows: Rows in a batch.
        folder: Where the file is made.
        after_batch: Called with the number of windows done in each batch.

    Raises:
        WeightsError: The teachers' probabilities are not numbers.
        RunFolderError: The file cannot be written.
    """
    some, at = windows.subset(taught), 0
    starts = np.full(len(windows.bases), -1, np.int64)
    with tempfile.TemporaryFile(dir=folder) as file:
        for window, probabilities in _probabilities(engine, teachers, some, rows, after_batch):
            starts[some.index[window]] = at
            at += len(probabilities)
            try:
                file.write(probabilities.tobytes())
                file.flush()
            except OSError as error:
                raise files.unwritable(
                    folder, error, f"{folder}: the teachers' probabilities cannot be written"
                ) from error
        # Mapped only now that it is whole: a mapping that the disk has no room for would end the process.
        kept = np.memmap(file, np.float16, "r", shape=(at, len(CLASSES)))
    return replace(windows, given=windows.facts, targets=Targets(kept, starts))


def _probabilities(
    engine: Engine, teachers: Sequence[Variables], windows: Windows, rows: int, after_batch: Advance
) -> Iterator[tuple[int, Float16[np.ndarray, "length 3"]]]:
    """Yield each window's position in the set, and the mean of the teachers' probabilities."""
    for packed, found in score_windows(engine, teachers, windows, rows):
        together = mean([probabilities for probabilities, _ in found])
        if not np.isfinite(together).all():
            raise WeightsError("`distill_teacher`: scores that are not numbers; the weights are unusable; give others")
        together = np.where((packed.labels != PADDING)[..., None], together, 0).astype(np.float16)
        for window, probabilities in zip(packed.positions.tolist(), together, strict=True):
            yield window, probabilities[: windows.lengths[window]]
        after_batch(len(packed.positions))

"""Distillation's targets: the mean of the teachers' probabilities, computed once for each window and kept on disk.

The teachers see windows as they are in the file: where the recipe mutates bases in training, the model learns to say
of the mutated window what they say of the other.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Int

from spliceai_jax import files
from spliceai_jax.architecture import CLASSES, PADDING
from spliceai_jax.display import Advance
from spliceai_jax.errors import WeightsError
from spliceai_jax.evaluation.evaluate import score_windows
from spliceai_jax.network.model import Variables
from spliceai_jax.network.score import mean
from spliceai_jax.training.engine import Engine
from spliceai_jax.windows.targets import Targets
from spliceai_jax.windows.windows import Windows

_AT_ONCE = 256
"""Windows that are scored before their targets are written, and with them no longer lost when the process ends."""

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
    file: Path,
    after_batch: Advance,
) -> Windows:
    """Return a set with targets for some of its windows, at every position that is not padding.

    Arguments:
        taught: The positions in the set of the windows that get targets.
        file: Where the targets are kept. What an interrupted process has written there is not computed again; its name
            must tell these teachers and windows from others.
        after_batch: Called with the number of windows done in each batch.

    Raises:
        WeightsError: The teachers' probabilities are not numbers.
        RunFolderError: The file cannot be written.
    """
    some = windows.subset(taught)
    ends = some.lengths.cumsum()
    starts = np.full(len(windows.bases), -1, np.int64)
    starts[some.index] = ends - some.lengths
    try:
        with open(file, "ab") as written:
            for first in range(0, len(some), _AT_ONCE):
                chunk = some.subset(np.arange(first, min(first + _AT_ONCE, len(some))))
                end = _BYTES_A_POSITION * int(ends[first + len(chunk) - 1])
                if written.tell() >= end:
                    after_batch(len(chunk))
                    continue
                written.truncate(end - bytes_of_targets(chunk))  # a part of the chunk, if the process was killed
                written.write(_probabilities(engine, teachers, chunk, rows, after_batch).tobytes())
                written.flush()
    except OSError as error:
        raise files.unwritable(file.parent, error, f"{file}: the teachers' probabilities cannot be written") from error
    # Mapped only now that it is whole: a mapping that the disk has no room for would end the process.
    kept = np.memmap(file, np.float16, "r", shape=(int(some.lengths.sum()), len(CLASSES)))
    return replace(windows, given=windows.facts, targets=Targets(kept, starts))


def _probabilities(
    engine: Engine, teachers: Sequence[Variables], windows: Windows, rows: int, after_batch: Advance
) -> Float16[np.ndarray, "positions 3"]:
    """Return the mean of the teachers' probabilities of windows, one window after the other."""
    found: list[Float16[np.ndarray, "length 3"]] = [np.zeros((0, len(CLASSES)), np.float16)] * len(windows)
    for packed, scores in score_windows(engine, teachers, windows, rows):
        together = mean([probabilities for probabilities, _ in scores])
        if not np.isfinite(together).all():
            raise WeightsError("`distill_teacher`: scores that are not numbers; the weights are unusable; give others")
        together = np.where((packed.labels != PADDING)[..., None], together, 0).astype(np.float16)
        for window, probabilities in zip(packed.positions.tolist(), together, strict=True):
            found[window] = probabilities[: windows.lengths[window]]
        after_batch(len(packed.positions))
    return np.concatenate(found)

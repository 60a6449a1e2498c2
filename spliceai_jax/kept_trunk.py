"""The kept trunk: what the frozen part of the network makes of each window, computed once.

Where frozen BatchNorm uses its running statistics, what the frozen units hand to the first trainable one is a function
of the window alone. Training and evaluation then begin there, and end where they would have to float rounding.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO

import jax
import numpy as np

from spliceai_jax import freezing
from spliceai_jax.architecture import CHANNELS, WINDOW, Architecture
from spliceai_jax.dataset import Windows
from spliceai_jax.errors import RunFolderError
from spliceai_jax.model import Trunk, Variables
from spliceai_jax.parallel import Engine
from spliceai_jax.recipes import Recipe
from spliceai_jax.settings import TransferSettings
from spliceai_jax.training import Batch

_LIMIT_ON_CPU = 20.0
"""Gigabytes. Elsewhere nothing is kept unasked: that reading it back beats computing it is not measured there."""


def trunk_end(architecture: Architecture, recipe: Recipe) -> int:
    """The first entry of the network that is not a fixed function of the window; 0: there is nothing to keep."""
    if recipe.frozen_batchnorm != "running" or recipe.unfreeze_all:
        return 0
    return min(freezing.trainable_units(architecture, recipe), default=max(architecture.skips) + 1)


def bytes_a_window(flanking_size: int) -> int:
    """Room that a window takes: float32, 32 channels, the next unit's input and the skip sum."""
    return 4 * CHANNELS * (WINDOW + flanking_size + WINDOW)


@dataclass(frozen=True)
class TrunkPlan:
    """Whether the trunk is kept.

    Attributes:
        end: The entry that training goes on with; 0: nothing is kept.
        bytes: Room on disk that it takes.
        words: The same for the user.
    """

    end: int
    bytes: int
    words: str


def plan_trunk(
    settings: TransferSettings, architecture: Architecture, recipe: Recipe, windows: int, free: int
) -> TrunkPlan:
    """Decide whether to keep the trunk.

    Arguments:
        settings: Its `kept_trunk` is the limit.
        architecture: The network's size.
        recipe: What trains.
        windows: Windows of all sets.
        free: Bytes on disk that the run does not need otherwise.
    """
    end, bytes_needed = trunk_end(architecture, recipe), windows * bytes_a_window(architecture.flanking_size)
    limit = settings.kept_trunk
    if limit is None:
        limit = _LIMIT_ON_CPU if jax.default_backend() == "cpu" else 0.0
    if not end:
        return TrunkPlan(0, 0, "not kept: every window's activations depend on what trains")
    if jax.process_count() > 1:
        return TrunkPlan(0, 0, "not kept: with several processes every window travels")
    # A bfloat16 network goes on from bfloat16; what is kept is float32.
    if not limit or settings.precision != "float32":
        return TrunkPlan(0, 0, "not kept: computed for every batch")
    room = f"{bytes_needed / 1e9:.1f} GB"
    if bytes_needed > limit * 1e9:
        return TrunkPlan(0, 0, f"not kept: it would take {room}, --kept-trunk allows {limit:g}")
    if bytes_needed > free and settings.kept_trunk is None:
        return TrunkPlan(0, 0, f"not kept: it would take {room}, the disk has {free / 1e9:.1f} GB to spare")
    return TrunkPlan(end, bytes_needed, f"kept: computed once a window, {room} on disk")


@dataclass(frozen=True)
class KeptWindows(Windows):
    """Windows that come as kept activations.

    Attributes:
        file: A row of `bytes_a_window` each; unnamed, so that it vanishes with the process. Where memory allows the
            system keeps it there.
        slots: Row in `file` of each row of `bases`.
        end: The entry of the network that goes on from here.
    """

    file: IO[bytes]
    slots: np.ndarray
    end: int

    def batch(self, positions: np.ndarray, size: int) -> Batch:
        """The windows at these positions, filled up to `size` with windows that do not count."""
        length = self.bases.shape[1]
        x = np.empty((size, length, CHANNELS), np.float32)
        total = np.empty((size, WINDOW, CHANNELS), np.float32)
        x[len(positions) :] = total[len(positions) :] = 0
        row_bytes = x[0].nbytes + total[0].nbytes
        for i, slot in enumerate(self.slots[self.index[positions]]):
            if os.preadv(self.file.fileno(), [x[i], total[i]], int(slot) * row_bytes) != row_bytes:
                raise OSError("the file of kept activations is cut short")
        return replace(super().batch(positions, size), inputs=Trunk(x, total, self.end))


def keep_trunk(
    engine: Engine,
    variables: Variables,
    windows: Windows,
    end: int,
    batch_size: int,
    folder: Path,
    after_batch: Callable[[int], None],
) -> KeptWindows:
    """Send all windows through the network's first `end` entries and keep what comes out, in a file in `folder`.

    Raises:
        RunFolderError: The file cannot be written.
    """
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - lives as long as the windows
    for positions in windows.in_order(batch_size):
        x, total = engine.trunk(variables, windows.batch(*engine.share(positions, batch_size)), end)
        try:
            for row in range(len(positions)):
                for part in (x[row], total[row]):
                    rest = np.ascontiguousarray(part).data.cast("B")
                    while rest:  # a full disk takes a part first, then says why it takes no more
                        rest = rest[file.write(rest) :]
        except OSError as error:
            raise RunFolderError(
                f"{folder}: what the frozen part makes of the windows cannot be written ({error.strerror}); nothing "
                "else is lost; make room, or give --resume with --kept-trunk 0"
            ) from error
        after_batch(len(positions))
    slots = np.full(len(windows.bases), -1, np.int64)
    slots[windows.index] = np.arange(len(windows))
    shared = {field.name: getattr(windows, field.name) for field in fields(Windows)}
    return KeptWindows(**shared, file=file, slots=slots, end=end)

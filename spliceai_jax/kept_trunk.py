"""The kept trunk: what the frozen part of the network makes of each window, computed once.

Where frozen BatchNorm uses its running statistics, what the frozen units hand to the first trainable one is a function
of the window alone. Training and evaluation then begin there, and end where they would have to float rounding.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import IO

import jax
import numpy as np

from spliceai_jax import freezing, packing
from spliceai_jax.architecture import CHANNELS, WINDOW, Architecture
from spliceai_jax.dataset import Windows
from spliceai_jax.errors import RunFolderError
from spliceai_jax.model import Trunk, Variables
from spliceai_jax.packing import BLANK, Layout
from spliceai_jax.parallel import Engine
from spliceai_jax.recipes import Recipe
from spliceai_jax.settings import TransferSettings
from spliceai_jax.training import Batch

_BYTES = 4 * CHANNELS
"""Of a position."""

_LIMIT_ON_CPU = 20.0
"""Gigabytes. Elsewhere nothing is kept unasked: that reading it back beats computing it is not measured there."""


def trunk_end(architecture: Architecture, recipe: Recipe) -> int:
    """The first entry of the network that is not a fixed function of the window; 0: there is nothing to keep."""
    if recipe.frozen_batchnorm != "running" or recipe.unfreeze_all:
        return 0
    return min(freezing.trainable_units(architecture, recipe), default=max(architecture.skips) + 1)


def bytes_kept(windows: Windows, architecture: Architecture, end: int) -> int:
    """Room that windows take: float32, 32 channels, of each the next unit's input and the skip sum.

    Nothing is kept of what an empty window has at the same place, or of a sum that no label needs.
    """
    positions = packing.piece_sizes(windows.extents, architecture, end) + windows.lengths
    return _BYTES * int(positions.sum())


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
    settings: TransferSettings, architecture: Architecture, recipe: Recipe, sets: Sequence[Windows], free: int
) -> TrunkPlan:
    """Decide whether to keep the trunk.

    Arguments:
        settings: Its `kept_trunk` is the limit.
        architecture: The network's size.
        recipe: What trains.
        sets: All windows.
        free: Bytes on disk that the run does not need otherwise.
    """
    end = trunk_end(architecture, recipe)
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
    bytes_needed = sum(bytes_kept(windows, architecture, end) for windows in sets)
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
        file: Unnamed, so that it vanishes with the process. Where memory allows the system keeps it there.
        offsets: Where in it begins what belongs to each row of `bases`: the next unit's input, then the skip sum.
        kept: Of how many positions the input is there; the sum is of all up to the last labelled one.
        empty: That input for an empty window, (5000 + flanking_size, 32); what is not kept is the same.
        end: The entry of the network that goes on from here.
    """

    file: IO[bytes]
    offsets: np.ndarray
    kept: np.ndarray
    empty: np.ndarray
    end: int

    @property
    def begin(self) -> int:
        """The entry of the network that goes on from what `batch` gives."""
        return self.end

    def batch(self, layout: Layout) -> Batch:
        """The kept activations and the labels of a layout of this set's windows."""
        x = np.zeros((layout.rows, layout.columns, CHANNELS), np.float32)
        total = np.zeros((layout.rows, WINDOW, CHANNELS), np.float32)
        for window, row, start, size in layout.pieces:
            place = x[row, start : start + size]
            if window == BLANK:
                place[:] = self.empty
                continue
            at, length = self.index[window], self.lengths[window]
            kept, offset = int(self.kept[at]), int(self.offsets[at])
            self._read(place[:kept], offset)
            place[kept:] = self.empty[kept:size]
            self._read(total[row, start : start + length], offset + kept * _BYTES)
        return replace(super().batch(layout), inputs=Trunk(x, total, self.end))

    def _read(self, place: np.ndarray, offset: int) -> None:
        if os.preadv(self.file.fileno(), [place.data], offset) != place.nbytes:
            raise OSError("the file of kept activations is cut short")


def keep_trunk(
    engine: Engine,
    variables: Variables,
    windows: Windows,
    architecture: Architecture,
    end: int,
    rows: int,
    folder: Path,
    after_batch: Callable[[int], None],
) -> KeptWindows:
    """Send all windows through the network's first `end` entries and keep what comes out, in a file in `folder`.

    Raises:
        RunFolderError: The file cannot be written.
    """
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - lives as long as the windows
    sizes, lengths = packing.piece_sizes(windows.extents, architecture, end), windows.lengths
    offsets, kept = np.zeros(len(windows.bases), np.int64), np.zeros(len(windows.bases), np.int64)
    kept[windows.index] = sizes
    at, empty = 0, np.zeros(0)
    for layout in packing.for_trunk(windows.extents, architecture, rows):
        x, total = engine.trunk(variables, windows.batch(layout), end)
        done = 0
        for window, row, start, size in layout.pieces:
            if window == BLANK:
                empty = x[row, start : start + size].copy()
                continue
            offsets[windows.index[window]] = at
            for part in (x[row, start : start + sizes[window]], total[row, start : start + lengths[window]]):
                _write(file, part, folder)
                at += part.nbytes
            done += 1
        after_batch(done)
    shared = {field.name: getattr(windows, field.name) for field in fields(Windows)}
    return KeptWindows(**shared, file=file, offsets=offsets, kept=kept, empty=empty, end=end)


def _write(file: IO[bytes], part: np.ndarray, folder: Path) -> None:
    rest = np.ascontiguousarray(part).data.cast("B")
    try:
        while rest:  # a full disk takes a part first, then says why it takes no more
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise RunFolderError(
            f"{folder}: what the frozen part makes of the windows cannot be written ({error.strerror}); nothing "
            "else is lost; make room, or give --resume with --kept-trunk 0"
        ) from error

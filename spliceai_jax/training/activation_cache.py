"""The activation cache: the output of the frozen part of the network for every window, computed once and kept on disk.

Where frozen BatchNorm uses its running statistics, the output of the frozen units is a fixed function of a window.
Training and evaluation then start from it, and their results are the same to float rounding.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Bool, Float32, Int

from spliceai_jax.architecture import CHANNELS, Architecture
from spliceai_jax.display import Advance
from spliceai_jax.errors import RunFolderError
from spliceai_jax.network.model import Activations, Variables
from spliceai_jax.training.engine import Engine
from spliceai_jax.windows import packing
from spliceai_jax.windows.packing import BLANK, Packing
from spliceai_jax.windows.windows import Windows

_BYTES_A_POSITION = 4 * CHANNELS


def bytes_needed(sets: Sequence[Windows], architecture: Architecture, first_entry: int) -> int:
    """Return the bytes on disk that the input of the network from `first_entry` on takes.

    For each window that is the next unit's input and the skip sum, float32 in 32 channels. Positions that are like
    those of an empty window, and sums that no label needs, are left out.
    """
    return sum(
        _BYTES_A_POSITION * int((_sizes(windows, architecture, first_entry) + windows.lengths).sum())
        for windows in sets
    )


def _sizes(windows: Windows, architecture: Architecture, first_entry: int) -> Int[np.ndarray, " windows"]:
    return packing.piece_sizes(windows.extents, architecture, first_entry)


@dataclass(frozen=True, eq=False, kw_only=True)
class CachedWindows(Windows):
    """Windows whose batches consist of activations from the cache.

    Attributes:
        file: The cache, an unnamed file that is gone when the process ends. The system keeps it in memory if there is
            room.
        offsets: Where in the file the activations of each row of `bases` begin: the next unit's input, then the skip
            sum.
        sizes: For each row of `bases`, the number of positions whose input is in the file; the skip sum is there for
            all positions up to the last labelled one.
        empty: The next unit's input for an empty window, which positions beyond `sizes` share.
        next_entry: The entry of the network to continue with.
    """

    file: IO[bytes]
    offsets: Int[np.ndarray, " file_windows"]
    sizes: Int[np.ndarray, " file_windows"]
    empty: Float32[np.ndarray, "columns 32"]
    next_entry: int

    @cached_property
    def continues(self) -> Bool[np.ndarray, " windows"]:
        """Activations near the end of a window are not those in the middle of another: no window continues one."""
        return np.zeros(len(self), bool)

    @property
    def first_entry(self) -> int:
        """The entry of the network that takes the batches as its input."""
        return self.next_entry

    def _inputs(self, layout: Packing) -> Activations:
        x = np.zeros((layout.rows, layout.columns, CHANNELS), np.float32)
        skip_sum = np.zeros((layout.rows, layout.columns - self.flanking_size, CHANNELS), np.float32)
        for window, row, start, size in layout.pieces:
            place = x[row, start : start + size]
            if window == BLANK:  # shortened: its two ends, and between them one position of the many that are alike
                place[:] = np.concatenate([self.empty[: size - size // 2], self.empty[-(size // 2) :]])
                continue
            at, length = self.index[window], self.lengths[window]
            cached, offset = int(self.sizes[at]), int(self.offsets[at])
            self._read(place[:cached], offset)
            place[cached:] = self.empty[cached:size]
            self._read(skip_sum[row, start : start + length], offset + cached * _BYTES_A_POSITION)
        return Activations(x, skip_sum, self.next_entry)

    def _read(self, place: Float32[np.ndarray, "positions 32"], offset: int) -> None:
        if place.size and os.preadv(self.file.fileno(), [place.data], offset) != place.nbytes:
            raise OSError("the file of cached activations is cut short")


def cache_activations(
    engine: Engine,
    variables: Variables,
    windows: Windows,
    architecture: Architecture,
    end: int,
    rows: int,
    folder: Path,
    after_batch: Advance,
) -> CachedWindows:
    """Compute the network's entries before `end` for all windows and write their output to a file.

    Arguments:
        engine: Runs the network.
        variables: The network's variables, placed on the engine's devices.
        windows: The windows.
        architecture: The network's size.
        end: The entry of the network to continue with.
        rows: Rows in a batch.
        folder: Where the file is made.
        after_batch: Called with the number of windows done in each batch.

    Raises:
        RunFolderError: The file cannot be written.
    """
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - lives as long as the windows
    cached, lengths = _sizes(windows, architecture, end), windows.lengths
    offsets, sizes = np.zeros(len(windows.bases), np.int64), np.zeros(len(windows.bases), np.int64)
    sizes[windows.index] = cached
    at, empty = 0, np.zeros((0, CHANNELS), np.float32)
    for layout in packing.for_activations(windows.extents, architecture, rows):
        activations = engine.activations(variables, windows.batch(layout), end)
        x, skip_sum, done = np.asarray(activations.x), np.asarray(activations.skip_sum), 0
        for window, row, start, size in layout.pieces:
            if window == BLANK:
                empty = x[row, start : start + size].copy()
                continue
            offsets[windows.index[window]] = at
            for part in (x[row, start : start + cached[window]], skip_sum[row, start : start + lengths[window]]):
                _write(file, part, folder)
                at += part.nbytes
            done += 1
        after_batch(done)
    shared = {field.name: getattr(windows, field.name) for field in fields(Windows)} | {"given": windows.facts}
    return CachedWindows(**shared, file=file, offsets=offsets, sizes=sizes, empty=empty, next_entry=end)


def _write(file: IO[bytes], part: Float32[np.ndarray, "positions 32"], folder: Path) -> None:
    if not part.size:  # a window without a label has no skip sum, and memoryview cannot cast an empty array
        return
    rest = np.ascontiguousarray(part).data.cast("B")
    try:
        while rest:  # a full disk first writes a part, and fails at the next call
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise RunFolderError(
            f"{folder}: the activation cache cannot be written ({error.strerror}); nothing else is lost; make room, or "
            "go on with `resume=True` and `activation_cache=0`"
        ) from error

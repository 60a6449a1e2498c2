"""Windows side by side in the rows of a batch, without the padding behind their genes.

A window is 5000 positions long whatever its gene: in small genomes more than half of all positions lie behind a gene's
end. The network sees `flanking_size // 2` bases to either side and no more, so there is nothing to compute there:

- A score is a function of the bases around it. To score windows it is enough to lay what is labelled of each, with the
  context around it, side by side.
- Training needs the activations behind a gene's end too, since BatchNorm takes its statistics over all positions. But
  as far behind the last known base as the network sees, those of every window are those of an empty one at the same
  position. One empty window stands for all of them: its positions count as often as they are left out elsewhere. Each
  piece goes on beyond the positions that count in it for as far as these see, and between pieces stands what stands
  behind a row's end, zeros before each convolution.

Either way the result is that of whole windows, to float rounding.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from spliceai_jax.architecture import WINDOW, Architecture

BLANK = -1
"""In place of a window's number: the empty window."""

_SORTED_AT_ONCE = 4096
"""Windows that are laid out together: neighbours in their file stay near each other."""

_SHAPES = 18
"""Training batches have one of so many numbers of rows, at most; each that occurs is compiled by itself."""


@dataclass(frozen=True)
class Layout:
    """Where windows lie in a batch.

    Attributes:
        rows: Rows of the batch; some may be empty.
        columns: Bases of a whole window, 5000 + flanking_size.
        windows: (pieces,) the window that each piece is the beginning of, as its position in the set, or BLANK.
        row: (pieces,) the row that it lies in.
        start: (pieces,) its first column there.
        size: (pieces,) its bases, context included.
        real: How many windows' positions a position stands for in batch statistics, float32 (rows, columns), or (rows,)
            where it is the same throughout a row.
        inside: Whether a column belongs to a piece, bool (rows, columns); None: it does not matter.
    """

    rows: int
    columns: int
    windows: np.ndarray
    row: np.ndarray
    start: np.ndarray
    size: np.ndarray
    real: np.ndarray
    inside: np.ndarray | None = None

    @property
    def pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """Of each piece its window, row, start and size."""
        return zip(*(column.tolist() for column in (self.windows, self.row, self.start, self.size)), strict=True)

    def unpack(self, scored: np.ndarray) -> np.ndarray:
        """Bring what was computed of each labelled position back: (rows, 5000, ...) -> (pieces, 5000, ...).

        What a piece does not cover is 0.
        """
        scored = np.asarray(scored)
        found = np.zeros((len(self.windows), *scored.shape[1:]), scored.dtype)
        context = self.columns - WINDOW
        for piece, (_, row, start, size) in enumerate(self.pieces):
            found[piece, : size - context] = scored[row, start : start + size - context]
        return found


def _filled(sizes: np.ndarray, columns: int, gap: int) -> list[list[tuple[int, int]]]:
    """Fill rows one after the other, always with the longest that fits: (index in `sizes`, start) of each piece."""
    order = np.argsort(sizes, kind="stable").tolist()
    left, rows = sizes[order].tolist(), []
    while left:
        row: list[tuple[int, int]] = []
        used = 0
        while fits := bisect_right(left, columns - used):
            row.append((order.pop(fits - 1), used))
            used += left.pop(fits - 1) + gap
        rows.append(row)
    return rows


def _layout(
    filled: list[list[tuple[int, int]]], rows: int, columns: int, windows: np.ndarray, sizes: np.ndarray
) -> Layout:
    pieces = [(index, number, start) for number, row in enumerate(filled) for index, start in row]
    index, row, start = np.array(pieces, np.int64).reshape(-1, 3).T
    return Layout(rows, columns, windows[index], row, start, sizes[index], np.ones(rows, np.float32))


def _covered(layout: Layout, sizes: np.ndarray) -> np.ndarray:
    """Columns from the start of each piece on, so many, bool (rows, columns)."""
    covered = np.zeros((layout.rows, layout.columns), bool)
    for row, start, size in zip(layout.row, layout.start, sizes, strict=True):
        covered[row, start : start + size] = True
    return covered


def whole_windows(windows: np.ndarray, rows: int, columns: int) -> Layout:
    """Every window in a row of its own; rows without one do not count."""
    number = np.arange(len(windows))
    real = (np.arange(rows) < len(windows)).astype(np.float32)
    return Layout(rows, columns, windows, number, np.zeros_like(number), np.full_like(number, columns), real)


def _batches(windows: np.ndarray, sizes: np.ndarray, rows: int, columns: int, gap: int) -> Iterator[Layout]:
    for first in range(0, len(windows), _SORTED_AT_ONCE):
        some = slice(first, first + _SORTED_AT_ONCE)
        filled = _filled(sizes[some], columns, gap)
        for batch in range(0, len(filled), rows):
            yield _layout(filled[batch : batch + rows], rows, columns, windows[some], sizes[some])


def for_scoring(lengths: np.ndarray, flanking_size: int, rows: int) -> Iterator[Layout]:
    """Lay out all windows of a set to be scored, so many rows at a time.

    Arguments:
        lengths: (windows,) positions of each up to its last labelled one.
        flanking_size: Bases of context, both sides together.
        rows: Rows a batch.
    """
    return _batches(np.arange(len(lengths)), lengths + flanking_size, rows, WINDOW + flanking_size, gap=0)


def piece_sizes(extents: np.ndarray, architecture: Architecture, begin: int) -> np.ndarray:
    """How much of each window goes through the network's entries from `begin` on, if an empty one stands for the rest.

    Arguments:
        extents: (windows,) bases of each up to its last known or labelled one, context included.
        architecture: The network's size.
        begin: Its first entry that is computed; what goes into that is at hand.
    """
    needed = extents + architecture.reach() + architecture.reach(begin)
    return np.minimum(needed, WINDOW + architecture.flanking_size)


def for_trunk(extents: np.ndarray, architecture: Architecture, rows: int) -> Iterator[Layout]:
    """Lay out all windows of a set and an empty one, so that their activations are those of whole windows.

    Arguments:
        extents: See `piece_sizes`.
        architecture: The network's size.
        rows: Rows a batch.
    """
    columns = WINDOW + architecture.flanking_size
    windows = np.append(np.arange(len(extents)), BLANK)
    sizes = np.append(piece_sizes(extents, architecture, begin=0), columns)
    for layout in _batches(windows, sizes, rows, columns, architecture.gap()):
        yield replace(layout, inside=_covered(layout, layout.size))


def for_training(
    windows: np.ndarray, extents: np.ndarray, batch_size: int, architecture: Architecture, begin: int
) -> Layout:
    """Lay out a training batch, with an empty window for what is left out; whole windows where that saves nothing.

    Arguments:
        windows: (windows,) those of the batch.
        extents: See `piece_sizes`; of all windows of the set, whose mean decides how many rows a batch has at least:
            programs are compiled for few numbers of rows.
        batch_size: Windows of a whole batch.
        architecture: The network's size.
        begin: See `piece_sizes`.
    """
    columns, gap = WINDOW + architecture.flanking_size, architecture.gap(begin)
    all_sizes = piece_sizes(extents, architecture, begin)
    sizes = all_sizes[windows]
    filled = _filled(sizes, columns, gap)
    typical = batch_size * (float(all_sizes.mean()) + gap) / columns
    step = -(-batch_size // _SHAPES)
    rows = step * -(-max(len(filled) + 1, int(typical) + 1) // step)
    if rows >= batch_size:
        return whole_windows(windows, batch_size, columns)
    layout = _layout(filled, rows, columns, windows, sizes)
    # As many as count in a piece are no empty window's as well.
    counted = np.where(layout.size < columns, layout.size - architecture.reach(begin), columns)
    real, blank = _covered(layout, counted).astype(np.float32), len(filled)
    real[blank] = (counted[:, None] <= np.arange(columns)).sum(0)
    inside = _covered(layout, layout.size)
    inside[blank] = True
    return Layout(
        rows,
        columns,
        np.append(layout.windows, BLANK),
        np.append(layout.row, blank),
        np.append(layout.start, 0),
        np.append(layout.size, columns),
        real,
        inside,
    )

"""Windows side by side in the rows of a batch, without the padding beyond the ends of their genes.

A window is 5000 positions long whatever its gene: in small genomes more than half of all positions lie beyond the end
of a gene. The network sees `flanking_size // 2` bases to either side and no more, so there is nothing to compute there.

To be *scored*, windows are cut at their last labelled position and laid side by side, each with its context:

    row 0   [context|window 3, labelled part|context][context|window 0|context]......
    row 1   [context|window 7, labelled part                          |context]......

A window that follows another in the same gene is laid onto it where their bases are the same, so that these are
computed once:

    row 2   [context|window 4, all labelled|window 5, labelled part|context].........

For *training*, windows lie in rows in the same way where BatchNorm uses its running statistics. Where it uses the
batch's, these must be over all positions of all windows, padding included. But where the
network no longer sees a known base of the window, the activations are those of an empty window (all N) at the same
position. So one empty window stands for all of them: the multiplicity of each of its positions is the number of windows
that were cut before it. Most of an empty window is alike, too: between the positions that see its first base or its
last, all activations are the same. Of these a single position is computed, with the multiplicity of all together.

    row 0   [window 3, cut where it becomes like an empty one]  gap  [window 0, cut]........
    row 1   [window 7, whole                                                       ]
    row 2   [window 5, cut]  gap  [an empty window, shortened: multiplicity 0 0 0 7000 3 3 3]

Each piece also contains the bases that its last counted positions see. In the gap, which is as wide as the widest
convolution reaches, `inside` is False: the network puts zeros there before each convolution, as it does beyond the
end of a row.

Either way the result is that of whole windows, to float rounding.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from spliceai_jax.architecture import WINDOW, Architecture

BLANK = -1
"""Stands for the empty window where a window's number is expected."""

_SORTED_TOGETHER = 4096
"""The number of windows packed together, limited so that neighbours in their file stay near each other."""


@dataclass(frozen=True, eq=False)
class Packing:
    """Where windows lie in a batch. A piece is the part of a window, from its first base on, that lies in a row.

    Attributes:
        rows: Rows of the batch; some may be empty.
        columns: Bases of a row, as many as a whole window has: 5000 + flanking_size; to be scored, a multiple of that.
        windows: The window of each piece, as a position in the set, or BLANK.
        row: The row that each piece lies in.
        start: The column of its first base.
        size: Its number of bases, context included.
        multiplicity: See `Batch.multiplicity`.
        inside: See `Batch.inside`.
    """

    rows: int
    columns: int
    windows: Int[np.ndarray, " pieces"]
    row: Int[np.ndarray, " pieces"]
    start: Int[np.ndarray, " pieces"]
    size: Int[np.ndarray, " pieces"]
    multiplicity: Float[np.ndarray, "rows columns_or_1"]
    inside: Bool[np.ndarray, "rows columns"] | None = None

    @property
    def pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """The window, row, start and size of each piece."""
        return zip(*(column.tolist() for column in (self.windows, self.row, self.start, self.size)), strict=True)

    def unpack(self, scored: Shaped[np.ndarray, "rows positions *rest"]) -> Shaped[np.ndarray, "pieces 5000 *rest"]:
        """Return the results for the labelled positions of the rows, sorted by piece; 0 beyond the end of a piece."""
        found = np.zeros((len(self.windows), WINDOW, *scored.shape[2:]), scored.dtype)
        context = self.columns - scored.shape[1]
        for piece, (_, row, start, size) in enumerate(self.pieces):
            found[piece, : size - context] = scored[row, start : start + size - context]
        return found


def whole_windows(windows: Int[np.ndarray, " windows"], rows: int, columns: int) -> Packing:
    """Return a layout with a row for every window; the rows left over count for nothing."""
    number = np.arange(len(windows))
    multiplicity = (np.arange(rows) < len(windows)).astype(np.float32)[:, None]
    return Packing(rows, columns, windows, number, np.zeros_like(number), np.full_like(number, columns), multiplicity)


def for_scoring(
    lengths: Int[np.ndarray, " windows"], continues: Bool[np.ndarray, " windows"], flanking_size: int, rows: int
) -> Iterator[Packing]:
    """Yield the layouts in which all windows of a set are scored.

    Arguments:
        lengths: The number of positions of each window up to its last labelled one.
        continues: Whether each window begins with the bases that the one before it ends with, all but its first 5000.
        flanking_size: Bases of context, both sides together.
        rows: Rows of a whole window's length in a batch. Where the context is longer than a window, a row is as long as
            several, so that windows fit beside each other, and there are fewer rows.
    """
    together = 1 + flanking_size // WINDOW
    columns = together * (WINDOW + flanking_size)
    chained = _chained(continues, most=(columns - flanking_size) // WINDOW)
    firsts = np.flatnonzero(chained)
    sizes = WINDOW * (chained[firsts] - 1) + lengths[firsts + chained[firsts] - 1] + flanking_size
    for layout in _batches(firsts, sizes, -(-rows // together), columns, gap=0):
        count = chained[layout.windows]
        place = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
        windows = np.repeat(layout.windows, count) + place
        yield replace(
            layout,
            windows=windows,
            row=np.repeat(layout.row, count),
            start=np.repeat(layout.start, count) + WINDOW * place,
            size=lengths[windows] + flanking_size,
        )


def _chained(continues: Bool[np.ndarray, " windows"], most: int) -> Int[np.ndarray, " windows"]:
    """Return, for each window that is the first of a chain, the number of windows in it; 0 for the others."""
    counts, first = np.zeros(len(continues), np.int64), 0
    for window, follows in enumerate(continues.tolist()):
        if not follows or not window or counts[first] == most:
            first = window
        counts[first] += 1
    return counts


def piece_sizes(
    extents: Int[np.ndarray, " windows"], architecture: Architecture, first_entry: int
) -> Int[np.ndarray, " windows"]:
    """Return how many bases of each window must be computed if an empty window stands for the rest.

    Arguments:
        extents: The number of bases of each window, context included, up to its last known or labelled one.
        architecture: The network's size.
        first_entry: The entry of the network that computation starts from.
    """
    needed = extents + architecture.reach() + architecture.reach(first_entry)
    return np.minimum(needed, WINDOW + architecture.flanking_size)


def for_activations(extents: Int[np.ndarray, " windows"], architecture: Architecture, rows: int) -> Iterator[Packing]:
    """Yield layouts of all windows of a set, and an empty one, with the same activations as whole windows.

    Arguments:
        extents: See `piece_sizes`.
        architecture: The network's size.
        rows: Rows in a batch.
    """
    columns = WINDOW + architecture.flanking_size
    windows = np.append(np.arange(len(extents)), BLANK)
    sizes = np.append(piece_sizes(extents, architecture, first_entry=0), columns)
    for layout in _batches(windows, sizes, rows, columns, architecture.gap()):
        yield replace(layout, inside=covered(layout, layout.size))


Row = list[tuple[int, int]]
"""The pieces in a row: (index, first column) of each."""


def fill_rows(sizes: Int[np.ndarray, " pieces"], columns: int, gap: int) -> list[Row]:
    """Fill one row after another, always with the longest piece that still fits."""
    order = np.argsort(sizes, kind="stable").tolist()
    left: Any = sizes[order].tolist()
    rows: list[Row] = []
    while left:
        row: Row = []
        used = 0
        while fits := bisect_right(left, columns - used):
            row.append((order.pop(fits - 1), used))
            used += left.pop(fits - 1) + gap
        rows.append(row)
    return rows


def _batches(
    windows: Int[np.ndarray, " windows"], sizes: Int[np.ndarray, " windows"], rows: int, columns: int, gap: int
) -> Iterator[Packing]:
    for first in range(0, len(windows), _SORTED_TOGETHER):
        some = slice(first, first + _SORTED_TOGETHER)
        filled = fill_rows(sizes[some], columns, gap)
        for batch in range(0, len(filled), rows):
            yield in_rows(filled[batch : batch + rows], rows, columns, windows[some], sizes[some])


def in_rows(
    filled: list[Row],
    rows: int,
    columns: int,
    windows: Int[np.ndarray, " windows"],
    sizes: Int[np.ndarray, " windows"],
) -> Packing:
    """Return the packing of rows that `fill_rows` has filled with these windows, whose pieces have these sizes."""
    pieces = [(index, number, start) for number, row in enumerate(filled) for index, start in row]
    index, row, start = np.array(pieces, np.int64).reshape(-1, 3).T
    return Packing(rows, columns, windows[index], row, start, sizes[index], np.ones((rows, 1), np.float32))


def covered(layout: Packing, sizes: Int[np.ndarray, " pieces"]) -> Bool[np.ndarray, "rows columns"]:
    """Return a mask of the given number of columns from the start of each piece on."""
    covered = np.zeros((layout.rows, layout.columns), bool)
    for row, start, size in zip(layout.row, layout.start, sizes, strict=True):
        covered[row, start : start + size] = True
    return covered

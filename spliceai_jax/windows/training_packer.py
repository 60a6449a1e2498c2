"""How the windows of a training batch are laid side by side: see `packing`."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Int

from spliceai_jax.architecture import WINDOW, Architecture
from spliceai_jax.windows.packing import BLANK, Packing, Row, covered, fill_rows, in_rows, piece_sizes, whole_windows

_DRAWN = 100
"""The number of batches drawn to find out how many rows the batches of a set need."""

_WORTH_A_PROGRAM = 0.02
"""The share of all rows that a further number of rows must save."""


def training_packer(
    extents: Int[np.ndarray, " windows"],
    lengths: Int[np.ndarray, " windows"],
    first_entry: int,
    batch_size: int,
    architecture: Architecture,
    padding_counts: bool = True,
) -> "TrainingPacker":
    """Return what lays out the training batches of a set.

    Arguments:
        extents: See `piece_sizes`.
        lengths: The number of positions of each window up to its last labelled one.
        first_entry: See `piece_sizes`.
        batch_size: The number of windows in a full batch.
        architecture: The network's size.
        padding_counts: Whether positions without a label count in BatchNorm's statistics, or in the loss.
    """
    if padding_counts:
        return StatisticsPacker(batch_size, architecture, extents, first_entry)
    return LabelledPacker(batch_size, architecture, lengths)


@dataclass(frozen=True, eq=False)
class TrainingPacker(ABC):
    """Lays out the training batches of a set.

    Attributes:
        batch_size: The number of windows in a full batch.
        architecture: The network's size.
    """

    batch_size: int
    architecture: Architecture

    @abstractmethod
    def __call__(self, windows: Int[np.ndarray, " batch"]) -> Packing:
        """Return the layout of the batch of these windows, given as positions in the set.

        It has one of the numbers of rows in `numbers_of_rows`.
        """

    @abstractmethod
    def _sizes(self, windows: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " pieces"]:
        """Return the sizes of the pieces in the batch of these windows."""

    @property
    @abstractmethod
    def _set_size(self) -> int:
        """The number of windows in the set."""

    @property
    @abstractmethod
    def _gap(self) -> int:
        """The number of columns between two pieces in a row."""

    @cached_property
    def numbers_of_rows(self) -> tuple[int, ...]:
        """The numbers of rows that the set's batches may have, ascending: a program is compiled for each that occurs.

        The last is `batch_size`, for whole windows. Before it come at most two, which few batches exceed.
        """
        drawing = np.random.default_rng(0)
        size = min(self.batch_size, self._set_size)
        needed = [len(self._filled(drawing.permutation(self._set_size)[:size])) for _ in range(_DRAWN)]

        def cost(numbers: tuple[int, ...]) -> float:
            rows = (*numbers, self.batch_size)
            computed = sum(rows[bisect_left(numbers, number)] for number in needed)
            return computed * (1 + _WORTH_A_PROGRAM * len(numbers))

        sensible = sorted({number for number in needed if number < self.batch_size})
        choices = (numbers for count in range(3) for numbers in combinations(sensible, count))
        return (*min(choices, key=cost), self.batch_size)

    @property
    def _columns(self) -> int:
        return WINDOW + self.architecture.flanking_size

    def _filled(self, windows: Int[np.ndarray, " batch"]) -> list["Row"]:
        return fill_rows(self._sizes(windows), self._columns, self._gap)

    def _rows(self, filled: list["Row"]) -> int:
        return next(number for number in self.numbers_of_rows if number >= min(len(filled), self.batch_size))


@dataclass(frozen=True, eq=False)
class LabelledPacker(TrainingPacker):
    """Lays out what the labelled positions see: enough where BatchNorm uses its running statistics throughout.

    Attributes:
        lengths: The number of positions of each window of the set up to its last labelled one.
    """

    lengths: Int[np.ndarray, " windows"]

    def __call__(self, windows: Int[np.ndarray, " batch"]) -> Packing:  # noqa: D102
        filled = self._filled(windows)
        return in_rows(filled, self._rows(filled), self._columns, windows, self._sizes(windows))

    def _sizes(self, windows: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " pieces"]:
        return self.lengths[windows] + self.architecture.flanking_size

    @property
    def _set_size(self) -> int:
        return len(self.lengths)

    @property
    def _gap(self) -> int:
        return 0  # each labelled position sees its own window only


@dataclass(frozen=True, eq=False)
class StatisticsPacker(TrainingPacker):
    """Lays out whole windows, with an empty window for what is cut off them: the batch's statistics count all of it.

    Attributes:
        extents: See `piece_sizes`; for all windows of the set.
        first_entry: See `piece_sizes`.
    """

    extents: Int[np.ndarray, " windows"]
    first_entry: int

    def __call__(self, windows: Int[np.ndarray, " batch"]) -> Packing:  # noqa: D102
        columns, reach = self._columns, self.architecture.reach(self.first_entry)
        filled = self._filled(windows)
        rows = self._rows(filled)
        if rows == self.batch_size:
            return whole_windows(windows, rows, columns)
        layout = in_rows(filled, rows, columns, np.append(windows, BLANK), self._sizes(windows))
        blank = layout.windows == BLANK
        # The positions of a piece that count in it; the empty window counts for the others.
        counted = np.where(layout.size < columns, layout.size - reach, columns)
        multiplicity = covered(layout, counted).astype(np.float32)
        [row], [start], [size] = layout.row[blank], layout.start[blank], layout.size[blank]
        multiplicity[row, start : start + size] = self._counts_of_the_blank(counted[~blank])
        return replace(layout, multiplicity=multiplicity, inside=covered(layout, layout.size))

    @cached_property
    def _all_sizes(self) -> Int[np.ndarray, " windows"]:
        return piece_sizes(self.extents, self.architecture, self.first_entry)

    def _sizes(self, windows: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " pieces"]:
        """Return the sizes of the pieces of these windows, and of the empty one: both its ends and one position."""
        return np.append(self._all_sizes[windows], 2 * self.architecture.reach() + 1)

    @property
    def _set_size(self) -> int:
        return len(self.extents)

    @property
    def _gap(self) -> int:
        return self.architecture.gap(self.first_entry)

    def _counts_of_the_blank(self, counted: Int[np.ndarray, " batch"]) -> Int[np.ndarray, " positions"]:
        """Return the multiplicities of the shortened empty window, given the positions that the others count."""
        end = self.architecture.reach()
        counts = (counted[:, None] <= np.arange(self._columns)).sum(0)
        return np.concatenate([counts[:end], [counts[end:-end].sum()], counts[-end:]])

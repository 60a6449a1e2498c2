"""Several sets of windows as one, without their codes being copied."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spliceai_jax.windows.facts import Codes, Facts
from spliceai_jax.windows.windows import Windows


class JoinedCodes:
    """The bases or the labels of several files, one file after the other; they are indexed as an array is.

    Attributes:
        shape: The number of windows, and of codes in each.
    """

    def __init__(self, parts: Sequence[Codes]) -> None:
        """Arguments: the codes of each file, as many for a window in one as in the other."""
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), parts[0].shape[1])

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> Any:
        """Return a row, several rows given as an array, or, with a slice after a comma, some columns of them."""
        rows: Any
        columns: slice
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        parts = np.searchsorted(self._ends, rows, side="right")
        if np.ndim(rows) == 0:
            return self._part(int(parts), rows, columns)
        found = np.empty((len(rows), len(range(self.shape[1])[columns])), np.uint8)
        for number in np.unique(parts).tolist():
            found[parts == number] = self._part(number, rows[parts == number], columns)
        return found

    def _part(self, number: int, rows: Any, columns: slice) -> Any:
        part = self._parts[number]
        return part[rows - (self._ends[number] - len(part)), columns]


def joined(sets: Sequence[Windows]) -> Windows:
    """Return the windows of several sets as one, whose `parts` they are.

    A set that was itself joined counts as its parts. The shards of a set are numbered after those of the sets before
    it. A set alone is returned as it is.

    Arguments:
        sets: Sets of the same flanking size and without targets.
    """
    if len(sets) == 1:
        return sets[0]
    first_rows = np.cumsum([0, *(len(part.bases) for part in sets)])
    first_shards = np.cumsum([0, *(int(part.shards.max(initial=-1)) + 1 for part in sets)])
    return Windows(
        source=sets[0].source,
        bases=JoinedCodes([part.bases for part in sets]),
        labels=JoinedCodes([part.labels for part in sets]),
        shards=np.concatenate([first + part.shards for first, part in zip(first_shards, sets, strict=False)]),
        index=np.concatenate([first + part.index for first, part in zip(first_rows, sets, strict=False)]),
        given=Facts.joined([part.facts for part in sets]),
        parts=tuple(part for one in sets for part in one.by_file),
    )

"""OpenSpliceAI's HDF5 data sets: read, checked, split and cut into batches.

A file holds a pair of datasets a shard: `Xi`, one-hot bases (n, 15000, 4), and `Yi`, one-hot labels
(1, n, 5000, 3). In memory a base and a label are one byte each.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from spliceai_jax import packing
from spliceai_jax.architecture import BASES, CLASSES, CONTEXT, PADDING, WINDOW, Architecture
from spliceai_jax.errors import DatasetError
from spliceai_jax.packing import BLANK, Layout
from spliceai_jax.training import Batch

_SLICE = 64
"""Windows decoded at a time: the one-hot form takes eight times the room of what is kept."""

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Windows:
    """Some or all windows of a data set, in memory.

    Attributes:
        source: The file they came from.
        bases: uint8 (windows of the file, 5000 + flanking_size), 0 for N, 1 to 4 for A C G T.
        labels: uint8 (windows of the file, 5000): 0 neither, 1 acceptor, 2 donor, 3 padding behind a gene's end.
        shards: (windows of the file,) the number of the shard that holds each.
        index: Rows of these arrays that belong to this set; subsets share the arrays.
    """

    source: Path
    bases: np.ndarray
    labels: np.ndarray
    shards: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.index)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Positions of each class and of padding, (4,)."""
        counts = np.zeros(len(CLASSES) + 1, np.int64)
        for rows in self._slices():
            counts += np.bincount(self.labels[rows].ravel(), minlength=len(counts))
        return counts

    @cached_property
    def canonical_sites(self) -> dict[str, int]:
        """How many donors stand before GT, "donor", and how many acceptors behind AG, "acceptor"."""
        before, found = (self.bases.shape[1] - WINDOW) // 2, {}
        for kind, first, pair in (("donor", 1, "GT"), ("acceptor", -2, "AG")):
            found[kind] = 0
            for rows in self._slices():
                window, place = np.nonzero(self.labels[rows] == CLASSES.index(kind))
                at = before + place + first
                hits = [self.bases[rows[window], at + i] == BASES.index(base) for i, base in enumerate(pair)]
                found[kind] += int((hits[0] & hits[1]).sum())
        return found

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shard sizes, bases and labels, however the file stores them."""
        digest = hashlib.sha256(self.shards[self.index].astype("<i8").tobytes())
        for rows in self._slices():
            digest.update(self.bases[rows].tobytes())
            digest.update(self.labels[rows].tobytes())
        return digest.hexdigest()

    def _slices(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), _SLICE):
            yield self.index[start : start + _SLICE]

    def subset(self, positions: np.ndarray) -> "Windows":
        """The windows at these positions, in this order; the arrays are shared."""
        return replace(self, index=self.index[positions])

    @cached_property
    def lengths(self) -> np.ndarray:
        """Positions of each window up to its last labelled one, (windows,)."""
        return self._last(self.labels, PADDING)

    @cached_property
    def extents(self) -> np.ndarray:
        """Bases of each window, context included, up to its last known or labelled one, (windows,)."""
        labelled = self.lengths + (self.bases.shape[1] - WINDOW) // 2
        return np.maximum(self._last(self.bases, BASES.index("N")), np.where(self.lengths, labelled, 0))

    def _last(self, codes: np.ndarray, empty: int) -> np.ndarray:
        """How many columns there are up to the last one that is not empty, in each row of this set."""
        found = []
        for rows in self._slices():
            filled = codes[rows, ::-1] != empty
            found.append(np.where(filled.any(1), codes.shape[1] - filled.argmax(1), 0))
        return np.concatenate([np.zeros(0, np.int64), *found])

    @property
    def begin(self) -> int:
        """The entry of the network that goes on from what `batch` gives."""
        return 0

    def training_layout(self, positions: np.ndarray, batch_size: int, architecture: Architecture) -> Layout:
        """How the windows at these positions make up a training batch."""
        return packing.for_training(positions, self.extents, batch_size, architecture, self.begin)

    def scoring_layouts(self, rows: int) -> Iterator[Layout]:
        """Batches of so many rows in which all windows are scored."""
        return packing.for_scoring(self.lengths, self.bases.shape[1] - WINDOW, rows)

    def batch(self, layout: Layout) -> Batch:
        """Bases and labels of a layout of this set's windows."""
        bases = np.zeros((layout.rows, layout.columns), np.uint8)
        labels = np.full((layout.rows, WINDOW), PADDING, np.uint8)
        for window, row, start, size in layout.pieces:
            if window != BLANK:
                bases[row, start : start + size] = self.bases[self.index[window], :size]
                length = self.lengths[window]
                labels[row, start : start + length] = self.labels[self.index[window], :length]
        return Batch(bases, labels, layout.real, layout.inside)

    def labels_at(self, positions: np.ndarray) -> np.ndarray:
        """The labels of the windows at these positions, uint8 (windows, 5000)."""
        return self.labels[self.index[positions]]


Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""`console.Report.progress`: (title, windows) -> what is told of each few windows done."""


def _untold(title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda done: None)


def read_windows(path: str | Path, flanking_size: int, progress: Progress = _untold) -> Windows:
    """Read and check a whole data set.

    Memory: 10 kB + flanking_size bytes a window, and a constant.

    Arguments:
        path: The HDF5 file.
        flanking_size: Bases of context to keep, both sides together.
        progress: Told how far it is.

    Raises:
        DatasetError: The file is missing, damaged or not HDF5; it has no shards, or an X without its Y; a shard has
            the wrong shape or type, its X and Y differ in windows, or it holds values that are not one-hot; the set
            is empty or lacks a class of splice site altogether.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: no such data set; give an HDF5 file made by OpenSpliceAI's create-data")
    try:
        with h5py.File(path, "r", rdcc_nbytes=2**20) as file:
            windows = _read(file, path, flanking_size, progress)
    except (OSError, KeyError) as error:  # KeyError: a link that leads nowhere
        reason = str(error).replace("\n", " ")[:200]
        raise DatasetError(f"{path}: cannot be read as HDF5, it may be damaged or cut short ({reason})") from error
    check_sites(windows, f"{path}")
    return windows


def check_sites(windows: Windows, name: str) -> None:
    """Refuse a set that nothing can be learned from or measured on."""
    if not len(windows):
        raise DatasetError(f"{name}: holds no windows")
    for label, kind in enumerate(CLASSES):
        if not windows.class_counts[label]:
            raise DatasetError(
                f"{name}: not one position in its {len(windows)} windows is labelled {kind!r}; scores would mean "
                "nothing; make the data set again with an annotation that matches the genome"
            )


def _shard_numbers(file: h5py.File, path: Path) -> list[int]:
    found: dict[str, set[int]] = {
        kind: {int(match[1]) for key in file if (match := re.fullmatch(rf"{kind}(\d+)", key))} for kind in "XY"
    }
    if not found["X"] and not found["Y"]:
        raise DatasetError(f"{path}: has no shards; expected datasets X0, Y0, X1, Y1, ..., found {list(file)[:8]}")
    for kind, other in ("XY", "YX"):
        if alone := sorted(found[kind] - found[other]):
            raise DatasetError(f"{path}: has {kind}{alone[0]} but no {other}{alone[0]}; make the data set again")
    return sorted(found["X"])  # as text X10 would come before X2


def _check_form(dataset: object, name: str, path: Path, shape: tuple[int | None, ...]) -> h5py.Dataset:
    wanted = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
    if not isinstance(dataset, h5py.Dataset):
        raise DatasetError(f"{path}: {name} is a group, expected a dataset of shape {wanted}")
    fits = len(dataset.shape) == len(shape) and all(
        size in (None, found) for size, found in zip(shape, dataset.shape, strict=True)
    )
    if not fits:
        raise DatasetError(f"{path}: {name} has shape {dataset.shape}, expected {wanted}")
    if dataset.dtype.kind not in "iub":
        raise DatasetError(f"{path}: {name} holds {dataset.dtype}, expected int8")
    return dataset


def _read(file: h5py.File, path: Path, flanking_size: int, progress: Progress) -> Windows:
    sizes = []
    numbers = _shard_numbers(file, path)
    for number in numbers:
        x = _check_form(file[f"X{number}"], f"X{number}", path, (None, WINDOW + CONTEXT, len(BASES) - 1))
        y = _check_form(file[f"Y{number}"], f"Y{number}", path, (1, None, WINDOW, len(CLASSES)))
        if x.shape[0] != y.shape[1]:
            raise DatasetError(f"{path}: X{number} has {x.shape[0]} windows but Y{number} has {y.shape[1]}")
        sizes.append(x.shape[0])
    crop, total = (CONTEXT - flanking_size) // 2, sum(sizes)
    bases = np.empty((total, WINDOW + flanking_size), np.uint8)
    labels = np.empty((total, WINDOW), np.uint8)
    row = 0
    with progress(f"reading {path.name}", total) as advance:
        for number in numbers:
            x, y = file[f"X{number}"], file[f"Y{number}"]  # opened anew: HDF5 caches megabytes for each that stays open
            for start in range(0, x.shape[0], _SLICE):
                codes = _codes(x[start : start + _SLICE], f"X{number}", path)
                size = len(codes)
                bases[row : row + size] = codes[:, crop : crop + WINDOW + flanking_size]
                codes = _codes(y[0, start : start + _SLICE], f"Y{number}", path)
                labels[row : row + size] = np.where(codes == 0, PADDING, codes - 1)
                row += size
                advance(size)
    return Windows(path, bases, labels, np.repeat(numbers, sizes), np.arange(total))


def _codes(one_hot: np.ndarray, name: str, path: Path) -> np.ndarray:
    """One-hot (..., k) -> uint8 (...): 0 where all are zero, else 1 + the place of the one."""
    # Wider types are looked at before they are cut to a byte, in which -1 is 255.
    small = one_hot.view(np.uint8) if one_hot.itemsize == 1 else np.clip(one_hot, -1, 2).astype(np.uint8)
    # Products with vectors: numpy sums short last axes slowly.
    if one_hot.size and (small.max() > 1 or (small @ np.ones(small.shape[-1], np.uint8)).max() > 1):
        raise DatasetError(f"{path}: {name} holds values that are not one-hot; expected one 1 a position, or none")
    return small @ np.arange(1, small.shape[-1] + 1, dtype=np.uint8)


def gene_starts(windows: Windows) -> np.ndarray:
    """Positions in a set, taken in file order, at which a gene begins, as far as the file shows.

    A window goes on with the gene of the one before it if both are of one shard, the one before has no padding at
    its end, and the bases that both hold (the flanking size's worth) are the same.
    """
    rows = windows.index
    before, after = rows[:-1], rows[1:]
    same = (windows.shards[before] == windows.shards[after]) & (windows.labels[before, -1] != PADDING)
    for i in np.flatnonzero(same):
        same[i] = np.array_equal(windows.bases[before[i], WINDOW:], windows.bases[after[i], :-WINDOW])
    return np.flatnonzero(np.concatenate([[True], ~same]))


def split_validation(windows: Windows, seed: int) -> tuple[Windows, Windows]:
    """The documented 90:10 split of a training file.

    By whole shards where there are ten or more, otherwise by whole genes, drawn at random until a tenth of the
    windows is reached.

    Returns:
        The training and the validation windows.

    Raises:
        DatasetError: Either part would be empty or lack a class of splice site.
    """
    if len(np.unique(windows.shards)) >= 10:
        starts = np.flatnonzero(np.diff(windows.shards, prepend=-1))
    else:
        starts = gene_starts(windows)
    runs = np.split(np.arange(len(windows)), starts[1:])
    wanted, drawn = VALIDATION_SHARE * len(windows), 0
    held_out = np.zeros(len(windows), bool)
    for run in np.random.default_rng([seed, 90, 10]).permutation(len(runs)):
        if drawn >= wanted:
            break
        held_out[runs[run]] = True
        drawn += len(runs[run])
    train, validation = windows.subset(np.flatnonzero(~held_out)), windows.subset(np.flatnonzero(held_out))
    for part, name in ((train, "training"), (validation, "validation")):
        check_sites(part, f"{windows.source}: the {name} part of its 90:10 split (or give --validation-dataset)")
    return train, validation


def epoch_batches(windows: Windows, size: int, batching: str, seed: int, epoch: int) -> list[np.ndarray]:
    """The positions that make up each batch of an epoch: a function of its arguments alone.

    "pooled": all windows shuffled together, the last batch partial. "per_shard": each shard shuffled and batched
    alone and its remainder dropped, the shards in the same order every epoch (OpenSpliceAI 0.0.7).
    """
    shuffle = np.random.default_rng([seed, epoch])
    if batching == "pooled":
        order = shuffle.permutation(len(windows))
        return [order[start : start + size] for start in range(0, len(order), size)]
    shards = windows.shards[windows.index]
    batches = []
    for shard in np.random.default_rng(seed).permutation(np.unique(shards)):
        order = shuffle.permutation(np.flatnonzero(shards == shard))
        batches += [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    return batches

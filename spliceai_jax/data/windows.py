"""The windows of a data set in memory, one byte per base and per label, and the batches made from them."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import ArrayLike, Bool, Float16, Int, PyTree, Shaped, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, UNLABELLED, WINDOW, Architecture, SiteKind
from spliceai_jax.data import packing
from spliceai_jax.data.batches import Batch, PackedBatch
from spliceai_jax.data.packing import BLANK, Layout, TrainingPacker
from spliceai_jax.data.targets import Targets
from spliceai_jax.encoding import BASES
from spliceai_jax.errors import DatasetError

WINDOWS_AT_ONCE = 64
"""The number of windows decoded or searched together, which limits the memory for their one-hot form."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Some or all windows of a data set.

    Attributes:
        source: The file they came from.
        bases: The bases of every window in the file, as codes (see `encoding`).
        labels: The labels of every window in the file: an index in CLASSES, PADDING beyond the end of a gene, or
            UNLABELLED, which no file has.
        shards: The number of the shard that holds each window of the file.
        index: The rows of these arrays that belong to this set, in its order; subsets share the arrays.
        targets: The teachers' probabilities, for training batches; None: there are none.
    """

    source: Path
    bases: UInt8[np.ndarray, "file_windows bases"]
    labels: UInt8[np.ndarray, "file_windows positions"]
    shards: Int[np.ndarray, " file_windows"]
    index: Int[np.ndarray, " windows"]
    targets: Targets | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.index)

    def subset(self, positions: Int[np.ndarray, " some"]) -> "Windows":
        """Return the windows at these positions of the set, in this order."""
        return replace(self, index=self.index[positions])

    # -- what is in them -----------------------------------------------------------------------------------------

    @property
    def flanking_size(self) -> int:
        """Bases of context, both sides together."""
        return self.bases.shape[1] - WINDOW

    @cached_property
    def class_counts(self) -> Int[np.ndarray, " 4"]:
        """The number of positions of each class, and of padding."""
        counts = np.zeros(len(CLASSES) + 1, np.int64)
        for rows in self._slices():
            counts += np.bincount(self.labels[rows].ravel(), minlength=UNLABELLED + 1)[: len(counts)]
        return counts

    def count(self, kind: SiteKind) -> int:
        """Return the number of sites of a kind."""
        return int(self.class_counts[CLASSES.index(kind)])

    @property
    def padding_share(self) -> float:
        """The share of all positions that lie beyond the end of a gene."""
        return float(self.class_counts[PADDING]) / (len(self) * WINDOW)

    @cached_property
    def canonical_sites(self) -> dict[SiteKind, int]:
        """How many donors are followed by GT, and how many acceptors follow AG."""
        half, motifs = self.flanking_size // 2, {"donor": (1, "GT"), "acceptor": (-2, "AG")}
        found: dict[SiteKind, int] = dict.fromkeys(SITE_KINDS, 0)
        for rows in self._slices():
            for kind in SITE_KINDS:
                first, motif = motifs[kind]
                window, place = np.nonzero(self.labels[rows] == CLASSES.index(kind))
                hits = [
                    self.bases[rows[window], half + place + first + i] == BASES.index(base)
                    for i, base in enumerate(motif)
                ]
                found[kind] += int((hits[0] & hits[1]).sum())
        return found

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the shard numbers, the bases kept and the labels, however the file stores them."""
        digest = hashlib.sha256(self.shards[self.index].astype("<i8").tobytes())
        for rows in self._slices():
            digest.update(self.bases[rows].tobytes())
            digest.update(self.labels[rows].tobytes())
        return digest.hexdigest()

    @cached_property
    def lengths(self) -> Int[np.ndarray, " windows"]:
        """The number of positions of each window up to its last labelled one."""
        return self._last(self.labels, PADDING)

    @cached_property
    def extents(self) -> Int[np.ndarray, " windows"]:
        """The number of bases of each window, context included, up to its last known or labelled one."""
        labelled = self.lengths + self.flanking_size // 2
        return np.maximum(self._last(self.bases, BASES.index("N")), np.where(self.lengths, labelled, 0))

    @cached_property
    def continues(self) -> Bool[np.ndarray, " windows"]:
        """Whether each window begins with the bases that the one before it ends with, all but its first 5000."""
        found = np.zeros(len(self), bool)
        for start in range(1, len(self), WINDOWS_AT_ONCE):
            rows = self.index[start : start + WINDOWS_AT_ONCE]
            before = self.index[start - 1 : start - 1 + len(rows)]
            shared = self.bases[rows, : self.flanking_size] == self.bases[before, WINDOW:]
            found[start : start + len(rows)] = shared.all(1)
        return found

    def labels_at(self, positions: Int[np.ndarray, " some"]) -> UInt8[np.ndarray, "some positions"]:
        """Return the labels of the windows at these positions of the set."""
        return self.labels[self.index[positions]]

    def _last(self, codes: UInt8[np.ndarray, "file_windows columns"], empty: int) -> Int[np.ndarray, " windows"]:
        """Return the number of columns, in each row of this set, up to the last one that is not `empty`."""
        found = []
        for rows in self._slices():
            filled = codes[rows, ::-1] != empty
            found.append(np.where(filled.any(1), codes.shape[1] - filled.argmax(1), 0))
        return np.concatenate([np.zeros(0, np.int64), *found])

    def _slices(self) -> Iterator[Int[np.ndarray, " rows"]]:
        for start in range(0, len(self), WINDOWS_AT_ONCE):
            yield self.index[start : start + WINDOWS_AT_ONCE]

    # -- batches -------------------------------------------------------------------------------------------------

    @property
    def first_entry(self) -> int:
        """The entry of the network that takes the batches as its input; 0 for bases."""
        return 0

    def training_batch(self, positions: Int[np.ndarray, " some"], batch_size: int, architecture: Architecture) -> Batch:
        """Return the windows at these positions of the set as a training batch; see `packing.TrainingPacker`."""
        layout = self.packer(batch_size, architecture)(positions)
        return replace(self.batch(layout), targets=self._targets(layout))

    @cached_property
    def packer(self) -> Callable[[int, Architecture], TrainingPacker]:
        """Returns what lays out training batches of a size (its number of windows) for an architecture."""
        return cache(partial(TrainingPacker, self.extents, self.first_entry))

    def scoring_batches(self, rows: int) -> Iterator[PackedBatch]:
        """Yield the whole set, to be scored, in batches of this many windows' bases; see `packing.for_scoring`."""
        for layout in packing.for_scoring(self.lengths, self.continues, self.flanking_size, rows):
            yield PackedBatch(self.batch(layout), layout, self.labels_at(layout.windows))

    def batch(self, layout: Layout) -> Batch:
        """Return a batch of this set's windows, laid out as given."""
        labels = np.full((layout.rows, layout.columns - self.flanking_size), PADDING, np.uint8)
        for window, row, start, _ in layout.pieces:
            if window != BLANK:
                length = self.lengths[window]
                labels[row, start : start + length] = self.labels[self.index[window], :length]
        return Batch(self._inputs(layout), labels, layout.multiplicity, layout.inside)

    def _targets(self, layout: Layout) -> Float16[np.ndarray, "rows positions 3"] | None:
        if self.targets is None:
            return None
        targets = np.zeros((layout.rows, layout.columns - self.flanking_size, len(CLASSES)), np.float16)
        for window, row, start, _ in layout.pieces:
            if window != BLANK:
                length = int(self.lengths[window])
                targets[row, start : start + length] = self.targets.of(self.index[window], length)
        return targets

    def _inputs(self, layout: Layout) -> PyTree[Shaped[ArrayLike, "rows ..."]]:
        bases = np.zeros((layout.rows, layout.columns), np.uint8)
        for window, row, start, size in layout.pieces:
            if window != BLANK:
                bases[row, start : start + size] = self.bases[self.index[window], :size]
        return bases


def check_sites(windows: Windows, name: str) -> None:
    """Refuse a set that is of no use for training or evaluation.

    Raises:
        DatasetError: It is empty or lacks one of the classes altogether; the message begins with `name`.
    """
    if not len(windows):
        raise DatasetError(f"{name}: holds no windows")
    for label, kind in enumerate(CLASSES):
        if not windows.class_counts[label]:
            raise DatasetError(
                f"{name}: not one position in its {len(windows)} windows is labelled {kind!r}; scores would mean "
                "nothing; make the data set again with an annotation that matches the genome"
            )

"""The windows of a data set, one byte per base and per label, and the batches made from them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import ArrayLike, Bool, Float16, Int, PyTree, Shaped, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, WINDOW, Architecture, SiteKind
from spliceai_jax.errors import DatasetError
from spliceai_jax.windows import packing
from spliceai_jax.windows.batches import Batch, PackedBatch
from spliceai_jax.windows.facts import Codes, Facts, Fingerprint, a_few_at_once, repeated
from spliceai_jax.windows.packing import BLANK, Packing
from spliceai_jax.windows.targets import Targets
from spliceai_jax.windows.training_packer import TrainingPacker, training_packer


@dataclass(frozen=True, eq=False)
class Windows:
    """Some or all windows of a data set.

    Attributes:
        source: The file they came from; of `parts` the first one.
        bases: The bases of every window in the file, as codes (see `encoding`).
        labels: The labels of every window in the file: an index in CLASSES, PADDING beyond the end of a gene, or
            UNLABELLED, which no file has.
        shards: The number of the shard that holds each window of the file.
        index: The rows of these arrays that belong to this set, in its order; subsets share the arrays.
        given: What is known of every window in the file; None: it is found when it is needed.
        targets: The teachers' probabilities, for training batches; None: there are none.
        parts: The sets that were joined to this one, in their order; empty of one that was not made so.
    """

    source: Path
    bases: Codes
    labels: Codes
    shards: Int[np.ndarray, " file_windows"]
    index: Int[np.ndarray, " windows"]
    given: Facts | None = None
    targets: Targets | None = field(default=None, kw_only=True)
    parts: tuple["Windows", ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.index)

    def subset(self, positions: Int[np.ndarray, " some"]) -> "Windows":
        """Return the windows at these positions of the set, in this order."""
        return replace(self, index=self.index[positions], given=self.facts, parts=())

    @property
    def by_file(self) -> tuple["Windows", ...]:
        """The sets that this one consists of, one a file."""
        return self.parts or (self,)

    @property
    def files(self) -> str:
        """The file that they came from; of several, all of them."""
        return ", ".join(str(part.source) for part in self.by_file)

    @property
    def absolute_files(self) -> str:
        """The same with absolute paths."""
        return ", ".join(str(part.source.absolute()) for part in self.by_file)

    # -- what is in them -----------------------------------------------------------------------------------------

    @property
    def flanking_size(self) -> int:
        """Bases of context, both sides together."""
        return self.bases.shape[1] - WINDOW

    @cached_property
    def facts(self) -> Facts:
        """What is known of every window in the file."""
        return self.given or Facts.of(self.bases, self.labels)

    @cached_property
    def class_counts(self) -> Int[np.ndarray, " 4"]:
        """The number of positions of each class, and of padding."""
        return self.facts.class_counts[self.index].sum(0)

    def count(self, kind: SiteKind) -> int:
        """Return the number of sites of a kind."""
        return int(self.class_counts[CLASSES.index(kind)])

    @property
    def padding_share(self) -> float:
        """The share of all positions that lie beyond the end of a gene."""
        return float(self.class_counts[PADDING]) / (len(self) * WINDOW)

    @property
    def canonical_sites(self) -> dict[SiteKind, int]:
        """How many donors are followed by GT, and how many acceptors follow AG."""
        return dict(zip(SITE_KINDS, self.facts.canonical_sites[self.index].sum(0).tolist(), strict=True))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the shard numbers, the bases kept and the labels, however the file stores them."""
        if self.facts.fingerprint and np.array_equal(self.index, np.arange(len(self.bases))):
            return self.facts.fingerprint
        found = Fingerprint(self.shards[self.index])
        for rows in a_few_at_once(self.index):
            found.add(self.bases[rows], self.labels[rows])
        return str(found)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " windows"]:
        """The number of positions of each window up to its last labelled one."""
        return self.facts.lengths[self.index]

    @cached_property
    def extents(self) -> Int[np.ndarray, " windows"]:
        """The number of bases of each window, context included, up to its last known or labelled one."""
        labelled = self.lengths + self.flanking_size // 2
        return np.maximum(self.facts.known[self.index], np.where(self.lengths, labelled, 0))

    @cached_property
    def repeats(self) -> Bool[np.ndarray, " windows"]:
        """Whether each window begins with the bases that the one before it ends with, all but its first 5000."""
        found = self.facts.repeats[self.index]
        found[:1] = False
        for places in a_few_at_once(1 + np.flatnonzero(np.diff(self.index) != 1)):  # not neighbours in the file
            found[places] = repeated(self.bases[self.index[places - 1]], self.bases[self.index[places]])
        return found

    @property
    def continues(self) -> Bool[np.ndarray, " windows"]:
        """Whether each window can be laid onto the one before it; see `packing`."""
        return self.repeats

    def labels_at(self, positions: Int[np.ndarray, " some"]) -> UInt8[np.ndarray, "some positions"]:
        """Return the labels of the windows at these positions of the set."""
        found: UInt8[np.ndarray, "some positions"] = self.labels[self.index[positions]]
        return found

    # -- batches -------------------------------------------------------------------------------------------------

    @property
    def first_entry(self) -> int:
        """The entry of the network that takes the batches as its input; 0 for bases."""
        return 0

    def training_batch(
        self,
        positions: Int[np.ndarray, " some"],
        batch_size: int,
        architecture: Architecture,
        padding_counts: bool = True,
    ) -> Batch:
        """Return the windows at these positions of the set as a training batch; see `packing.TrainingPacker`.

        Arguments:
            positions: The windows.
            batch_size: The number of windows in a full batch.
            architecture: The network's size.
            padding_counts: See `packing.training_packer`.
        """
        layout = self.packer(batch_size, architecture, padding_counts)(positions)
        return replace(self.batch(layout), targets=self._targets(layout))

    @cached_property
    def packer(self) -> Callable[..., TrainingPacker]:
        """Returns what lays out training batches; for its arguments see `training_batch`."""
        return cache(partial(training_packer, self.extents, self.lengths, self.first_entry))

    def scoring_batches(self, rows: int) -> Iterator[PackedBatch]:
        """Yield the whole set, to be scored, in batches of this many windows' bases; see `packing.for_scoring`."""
        for layout in packing.for_scoring(self.lengths, self.continues, self.flanking_size, rows):
            yield PackedBatch(self.batch(layout), layout, self.labels_at(layout.windows))

    def batch(self, layout: Packing) -> Batch:
        """Return a batch of this set's windows, laid out as given."""
        labels = np.full((layout.rows, layout.columns - self.flanking_size), PADDING, np.uint8)
        for window, row, start, _ in layout.pieces:
            if window != BLANK:
                length = self.lengths[window]
                labels[row, start : start + length] = self.labels[self.index[window], :length]
        return Batch(self._inputs(layout), labels, layout.multiplicity, layout.inside)

    def _targets(self, layout: Packing) -> Float16[np.ndarray, "rows positions 3"] | None:
        if self.targets is None:
            return None
        targets = np.zeros((layout.rows, layout.columns - self.flanking_size, len(CLASSES)), np.float16)
        for window, row, start, _ in layout.pieces:
            if window != BLANK:
                length = int(self.lengths[window])
                targets[row, start : start + length] = self.targets.of(self.index[window], length)
        return targets

    def _inputs(self, layout: Packing) -> PyTree[Shaped[ArrayLike, "rows ..."]]:
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

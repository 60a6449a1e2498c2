"""Tracks of scores: sorted BED, bigWig, which holds what BED does, and splice scores for aligners (`spsc`).

A file gets its final name only when it is whole.
"""

import errno
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int

from spliceai_jax.architecture import CLASSES, SITE_KINDS, SiteKind
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import RunFolderError, SettingsError, some
from spliceai_jax.files import all_written_whole, check_writable
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.sequences import Stretch
from spliceai_jax.scoring.bed import BedForm, BedWriter
from spliceai_jax.scoring.spsc import SpliceScoreWriter

LEVELS = (0.1, 0.5, 0.9)
"""The scores of which is counted how many rows reach them."""

_STRAND_NAMES: dict[Strand, str] = {"+": "plus", "-": "minus"}

_BIGWIG_END = (0x888FFC26).to_bytes(4, "little")
"""The last bytes of a bigWig, which are written last of all."""
_BIGWIG_ENTRY, _BIGWIG_ROOM = 32, 1_000_000
"""Bytes that an entry of a bigWig may take, or a sequence's name, and those that must be left on the disk beside."""


class TrackWriter:
    """Open tracks, which the scores that reach the threshold are written to.

    Attributes:
        splice_scores: The splice scores for aligners, which have a threshold of their own, where they are wanted.
        reaching: The number of rows so far whose score reaches each of `LEVELS`, by kind of site.
    """

    def __init__(
        self,
        beds: dict[SiteKind, BedWriter],
        bigwigs: dict[tuple[SiteKind, Strand], "_BigWig"],
        lengths: dict[str, int],
        threshold: float,
        splice_scores: SpliceScoreWriter | None,
        form: BedForm,
    ) -> None:
        """Write to open files.

        Arguments:
            lengths: Name of each sequence -> its number of bases.
            form: What the rows look like, and where they lie.
        """
        self.splice_scores = splice_scores
        self.reaching = {kind: dict.fromkeys(LEVELS, 0) for kind in beds}
        self._form = form
        self._beds = beds
        self._bigwigs = bigwigs
        self._lengths = lengths
        self._threshold = np.float32(threshold)

    @property
    def rows(self) -> dict[SiteKind, int]:
        """The number of BED rows written so far, by kind of site."""
        return {kind: bed.rows for kind, bed in self._beds.items()}

    def add(
        self,
        sequence: str,
        strand: Strand,
        stretches: Sequence[Stretch],
        start: int,
        scores: Float[np.ndarray, "positions 2"],
    ) -> None:
        """Take the scores of neighbouring positions; those of a strand of a sequence come in rising order.

        Arguments:
            stretches: The stretches that these positions lie in, in order; a row carries the names of its stretch.
            start: The first position, counted from 0 on the "+" strand.
            scores: Probabilities of acceptor and donor, in the order of the "+" strand.
        """
        for kind in SITE_KINDS:
            probabilities = scores[:, CLASSES.index(kind) - 1]
            hits = np.flatnonzero(probabilities >= self._threshold)
            shift = self._form.shift(kind, strand)
            starts = hits + (start + shift)
            # At the edge of a sequence there may be no base to write the row at.
            first, last = np.searchsorted(starts, (0, self._lengths[sequence]))
            starts, found = starts[first:last], probabilities[hits[first:last]]
            if not len(starts):
                continue
            for level in LEVELS:
                self.reaching[kind][level] += int(np.count_nonzero(found >= np.float32(level)))
            cuts = np.searchsorted(starts, [stretch.start + shift for stretch in stretches[1:]]).tolist()
            for stretch, first, last in zip(stretches, [0, *cuts], [*cuts, len(starts)], strict=True):
                if first < last:
                    name = self._form.row_name(stretch, kind)
                    self._beds[kind].add(sequence, strand, name, starts[first:last], found[first:last])
            if bigwig := self._bigwigs.get((kind, strand)):
                bigwig.add(sequence, starts, found)
        if self.splice_scores:
            self.splice_scores.add(sequence, strand, start, scores)

    def flush(self, before: int | None = None) -> None:
        """Write what is complete: all positions before this one, or all of the sequence, have been added."""
        for bed in self._beds.values():
            bed.flush(None if before is None else before - 1)  # an acceptor's row may start one base earlier
        if self.splice_scores:
            self.splice_scores.flush(before)


def bed_files(folder: Path) -> dict[SiteKind, Path]:
    """Return the BED file of each kind of site in a folder of results."""
    return {kind: folder / f"{kind}_predictions.bed" for kind in SITE_KINDS}


class Tracks:
    """The output files: a BED file for each kind of site; where wanted, bigWigs, and splice scores for aligners.

    Attributes:
        beds: The BED file of each kind.
        bigwigs: The bigWig of each kind and strand that has one.
        spsc: The file of splice scores, if any.
    """

    def __init__(
        self,
        folder: Path,
        threshold: float,
        form: BedForm,
        bigwig_strands: Sequence[Strand],
        spsc: Path | None = None,
    ) -> None:
        """Name the files; nothing is written yet.

        Arguments:
            spsc: The file of splice scores for aligners, gzip if its name ends in .gz; None: they are not wanted.

        Raises:
            SettingsError: bigWigs are wanted and pyBigWig is not installed; `spsc` names another of the files.
        """
        self._threshold = threshold
        self._form = form
        self.beds = bed_files(folder)
        self.bigwigs = {
            (kind, strand): folder / f"{kind}_predictions_{_STRAND_NAMES[strand]}.bw"
            for strand in bigwig_strands
            for kind in SITE_KINDS
        }
        if self.bigwigs:
            _pybigwig()
        if spsc in self.paths:
            raise SettingsError(f"`spsc`: {spsc} is one of the other files that are written; give another name")
        self.spsc = spsc

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files in the folder, `spsc` left out."""
        return *self.beds.values(), *self.bigwigs.values()

    def check(self) -> None:
        """Refuse to write over existing files.

        Raises:
            RunFolderError: One of the files exists, or `spsc` lies where nothing can be written.
        """
        if self.spsc and os.path.lexists(self.spsc):
            raise RunFolderError(f"`spsc`: {self.spsc} exists already; give another file, or move or delete that one")
        if self.spsc:
            check_writable(self.spsc.parent, "spsc")
        for path in self.paths:
            if os.path.exists(path):
                raise RunFolderError(
                    f"{path}: holds predictions already; give another `output_dir`, or move or delete that file"
                )

    @contextmanager
    def written(self, genome: Genome) -> Iterator[TrackWriter]:
        """Open the files under other names; they get their own when the block ends without an error.

        Raises:
            RunFolderError: A file cannot be written.
            SequenceError: The form of the rows does not allow the name of a sequence.
        """
        self._form.check(name for name, length in genome.lengths.items() if length)
        paths = self.paths if self.spsc is None else (*self.paths, self.spsc)
        with all_written_whole(paths) as partial, ExitStack() as stack:
            beds = {
                kind: BedWriter(stack.enter_context(open(partial[path], "wb")), self._form)
                for kind, path in self.beds.items()
            }
            bigwigs = {
                key: stack.enter_context(closing(_BigWig(partial[path], genome.lengths)))
                for key, path in self.bigwigs.items()
            }
            splice_scores = None
            if self.spsc:
                compressed = self.spsc.suffix == ".gz"
                splice_scores = SpliceScoreWriter(partial[self.spsc], compressed, genome)
                stack.callback(splice_scores.close)
            yield TrackWriter(beds, bigwigs, genome.lengths, self._threshold, splice_scores, self._form)
            if splice_scores:
                splice_scores.finish()


class _BigWig:
    """A bigWig under way. On a full disk pyBigWig crashes, or ends as if nothing had happened; this raises OSError."""

    def __init__(self, path: Path, lengths: dict[str, int]) -> None:
        """Make the file and write its header."""
        # pyBigWig takes no others.
        if odd := [name for name in lengths if name != name.encode("utf-8", "replace").decode()]:
            raise SettingsError(f"`bigwig`: bigWigs hold names in UTF-8 only, which {some(odd)} are not; rename them")
        self._path = path
        self._check_room(len(lengths))
        self._file = _pybigwig().open(str(path), "w")
        self._file.addHeader([(name, length) for name, length in lengths.items() if length])

    def add(self, sequence: str, starts: Int[np.ndarray, " entries"], scores: Float[np.ndarray, " entries"]) -> None:
        """Add entries of one base each."""
        self._check_room(len(starts))
        self._file.addEntries(sequence, starts, values=scores.astype(np.float64), span=1)

    def close(self) -> None:
        """Write what has not been written, and check that the file is whole."""
        self._file.close()
        with open(self._path, "rb") as file:
            file.seek(-len(_BIGWIG_END), os.SEEK_END)
            if file.read() != _BIGWIG_END:
                raise self._full()

    def _check_room(self, entries: int) -> None:
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < _BIGWIG_ROOM + _BIGWIG_ENTRY * entries:
            raise self._full()

    def _full(self) -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))


def _pybigwig() -> ModuleType:
    try:
        return importlib.import_module("pyBigWig")
    except ImportError as error:
        raise SettingsError(
            "`bigwig` needs pyBigWig, which is not installed; pip install 'spliceai-jax[bigwig]'"
        ) from error

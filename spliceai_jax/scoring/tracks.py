"""Tracks of scores: sorted BED as OpenSpliceAI writes it, bigWig, and splice scores for aligners (`spsc`).

A file gets its final name only when it is whole.

A donor's row lies at the scored base, the last of the exon. An acceptor's row does not: OpenSpliceAI writes it at the
base before the scored one in the direction of transcription, the last of the intron.
"""

import errno
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Int, UInt8

from spliceai_jax.architecture import CLASSES, SITE_KINDS, SiteKind
from spliceai_jax.data.fasta import Genome
from spliceai_jax.data.selection import Stretch
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import RunFolderError, SettingsError, some
from spliceai_jax.files import all_written_whole, check_writable
from spliceai_jax.scoring.spsc import SpliceScoreWriter

_SHIFT = {("acceptor", "+"): -1, ("acceptor", "-"): 1, ("donor", "+"): 0, ("donor", "-"): 0}
"""What is added to a scored position, by kind and strand, to give the start of its row."""

_STRAND_NAMES: dict[Strand, str] = {"+": "plus", "-": "minus"}

_THOUSANDS = np.array([list(b"%03d" % i) for i in range(1000)], np.uint8)
_BIGWIG_END = (0x888FFC26).to_bytes(4, "little")
"""The last bytes of a bigWig, which are written last of all."""
_BIGWIG_ENTRY, _BIGWIG_ROOM = 32, 1_000_000
"""Bytes that an entry of a bigWig may take, or a sequence's name, and those that must be left on the disk beside."""

_DIGITS = 12
_FEW_ROWS = 40
_MORE_DIGITS = np.array([n for digits in range(1, _DIGITS) for n in (10**digits - 1, 10**digits)])
"""Starts at which the end, or the start, becomes a digit longer."""


def _decimal(numbers: Int[np.ndarray, " rows"], digits: int) -> UInt8[np.ndarray, "rows digits"]:
    """Return the last decimal digits of numbers below 10^12 in ASCII, with leading zeros."""
    groups = [_THOUSANDS[numbers // 1000**k % 1000] for k in range((digits + 2) // 3)][::-1]
    return np.concatenate(groups, axis=1)[:, -digits:]


def _lines(
    sequence: str, starts: Int[np.ndarray, " rows"], name: str, scores: Float[np.ndarray, " rows"], tail: str
) -> UInt8[np.ndarray, "rows width"]:
    """Return BED lines in ASCII; their starts have equally many digits, and so have their ends."""
    micros = np.rint(scores.astype(np.float64) * 1e6).astype(np.int64)
    if len(starts) < _FEW_ROWS:
        text = "".join(
            f"{sequence}\t{start}\t{start + 1}\t{name}\t{micro // 10**6}.{micro % 10**6:06}{tail}"
            for start, micro in zip(starts.tolist(), micros.tolist(), strict=True)
        )
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).reshape(len(starts), -1)
    # Of more rows Python's own formatting takes far longer than this.
    digits = len(str(starts[0])), len(str(starts[0] + 1))
    columns: list[str | UInt8[np.ndarray, "rows digits"]] = [
        f"{sequence}\t", _decimal(starts, digits[0]), "\t", _decimal(starts + 1, digits[1]), f"\t{name}\t",
        _decimal(micros // 10**6, 1), ".", _decimal(micros, 6), tail,
    ]  # fmt: skip
    return np.concatenate([_column(column, len(starts)) for column in columns], axis=1)


def _column(column: str | UInt8[np.ndarray, "rows width"], rows: int) -> UInt8[np.ndarray, "rows width"]:
    if isinstance(column, np.ndarray):
        return column
    letters = np.frombuffer(column.encode("utf-8", "surrogateescape"), np.uint8)
    return np.broadcast_to(letters, (rows, len(letters)))


class BedWriter:
    """Sorts rows that come nearly sorted, each strand by itself, and writes them.

    Attributes:
        rows: The number of rows written so far.
    """

    def __init__(self, file: BinaryIO, annotated: bool) -> None:
        """Write to a file.

        Arguments:
            file: The file.
            annotated: An annotation was given; without one, rows have a seventh column, as OpenSpliceAI's do.
        """
        self.rows = 0
        self._file = file
        self._tail = "\n" if annotated else "\tabsolute_coordinates\n"
        # Rows and their keys, by which they are sorted: twice the start, and 1 more on "-".
        self._waiting: list[tuple[Int[np.ndarray, " rows"], UInt8[np.ndarray, "rows width"]]] = []

    def add(
        self,
        sequence: str,
        strand: Strand,
        name: str,
        starts: Int[np.ndarray, " rows"],
        scores: Float[np.ndarray, " rows"],
    ) -> None:
        """Take rows of one strand of a sequence, in the order of their starts."""
        cuts = np.searchsorted(starts, _MORE_DIGITS)
        for first, last in zip([0, *cuts], [*cuts, len(starts)], strict=True):
            if first < last:
                part = slice(first, last)
                lines = _lines(sequence, starts[part], name, scores[part], f"\t{strand}{self._tail}")
                self._waiting.append((2 * starts[part] + (strand == "-"), lines))

    def flush(self, before: int | None = None) -> None:
        """Write the rows that start before a position, or all; no row that starts before it may be added later."""
        ready, waiting = [], []
        for keys, lines in self._waiting:
            cut = len(keys) if before is None else int(np.searchsorted(keys, 2 * before))
            ready.append((keys[:cut], lines[:cut]))
            if cut < len(keys):
                waiting.append((keys[cut:], lines[cut:]))
        self._waiting = waiting
        if not ready:
            return
        keys = np.concatenate([keys for keys, _ in ready])
        self.rows += len(keys)
        if (np.diff(keys) > 0).all():
            for _, lines in ready:
                self._file.write(lines.tobytes())
        else:
            rows = [row for _, lines in ready for row in lines.view(f"V{lines.shape[1]}").ravel().tolist()]
            self._file.write(b"".join(rows[i] for i in np.argsort(keys)))


class TrackWriter:
    """Open tracks, which the scores that reach the threshold are written to.

    Attributes:
        splice_scores: The splice scores for aligners, which have a threshold of their own, where they are wanted.
    """

    def __init__(
        self,
        beds: dict[SiteKind, BedWriter],
        bigwigs: dict[tuple[SiteKind, Strand], "_BigWig"],
        lengths: dict[str, int],
        threshold: float,
        splice_scores: SpliceScoreWriter | None,
    ) -> None:
        """Write to open files.

        Arguments:
            beds: The BED file of each kind of site.
            bigwigs: The bigWig of each kind and strand that has one.
            lengths: Name of each sequence -> its number of bases.
            threshold: The lowest score that is written.
            splice_scores: The splice scores for aligners, where they are wanted.
        """
        self.splice_scores = splice_scores
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
            sequence: The name of the sequence.
            strand: "+" or "-".
            stretches: The stretches that these positions lie in, in order; a row carries the names of its stretch.
            start: The first position, counted from 0 on the "+" strand.
            scores: Probabilities of acceptor and donor, in the order of the "+" strand.
        """
        for kind in SITE_KINDS:
            probabilities = scores[:, CLASSES.index(kind) - 1]
            hits = np.flatnonzero(probabilities >= self._threshold)
            shift = _SHIFT[kind, strand]
            starts = hits + (start + shift)
            # At the edge of a sequence there may be no base to write the row at.
            first, last = np.searchsorted(starts, (0, self._lengths[sequence]))
            starts, found = starts[first:last], probabilities[hits[first:last]]
            if not len(starts):
                continue
            cuts = np.searchsorted(starts, [stretch.start + shift for stretch in stretches[1:]]).tolist()
            for stretch, first, last in zip(stretches, [0, *cuts], [*cuts, len(starts)], strict=True):
                if first < last:
                    name = f"{stretch.name}_{kind.capitalize()}"
                    self._beds[kind].add(sequence, strand, name, starts[first:last], found[first:last])
            if bigwig := self._bigwigs.get((kind, strand)):
                bigwig.add(sequence, starts, found)
        if self.splice_scores:
            self.splice_scores.add(sequence, strand, start, scores)

    def flush(self, before: int | None = None) -> None:
        """Write what is complete: all positions before this one, or all of the sequence, have been added."""
        for bed in self._beds.values():
            bed.flush(None if before is None else before - 1)  # an acceptor's row starts one base earlier
        if self.splice_scores:
            self.splice_scores.flush(before)


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
        annotated: bool,
        bigwig_strands: Sequence[Strand],
        spsc: Path | None = None,
    ) -> None:
        """Name the files; nothing is written yet.

        Arguments:
            folder: The folder they lie in.
            threshold: The lowest score that is written.
            annotated: See `BedWriter`.
            bigwig_strands: The strands that bigWigs are written for.
            spsc: The file of splice scores for aligners, gzip if its name ends in .gz; None: they are not wanted.

        Raises:
            SettingsError: bigWigs are wanted and pyBigWig is not installed; `spsc` names another of the files.
        """
        self._threshold = threshold
        self._annotated = annotated
        self.beds = {kind: folder / f"{kind}_predictions.bed" for kind in SITE_KINDS}
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

        Arguments:
            genome: The sequences, in the order in which they will be written.

        Raises:
            RunFolderError: A file cannot be written.
        """
        paths = self.paths if self.spsc is None else (*self.paths, self.spsc)
        with all_written_whole(paths) as partial, ExitStack() as stack:
            beds = {
                kind: BedWriter(stack.enter_context(open(partial[path], "wb")), self._annotated)
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
            yield TrackWriter(beds, bigwigs, genome.lengths, self._threshold, splice_scores)
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

"""Tracks of scores: sorted BED as OpenSpliceAI writes it, bigWig, and splice scores for aligners (`spsc`).

A file gets its final name only when it is whole.

A donor's row lies at the scored base, the last of the exon. An acceptor's row does not: OpenSpliceAI writes it at the
base before the scored one in the direction of transcription, the last of the intron.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Int, UInt8

from spliceai_jax.architecture import CLASSES, SITE_KINDS, SiteKind
from spliceai_jax.data.fasta import Genome
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import RunFolderError, SettingsError
from spliceai_jax.files import check_writable
from spliceai_jax.scoring.regions import Span
from spliceai_jax.scoring.spsc import SpliceScoreWriter

_SHIFT = {("acceptor", "+"): -1, ("acceptor", "-"): 1, ("donor", "+"): 0, ("donor", "-"): 0}
"""What is added to a scored position, by kind and strand, to give the start of its row."""

_STRAND_NAMES: dict[Strand, str] = {"+": "plus", "-": "minus"}

_THOUSANDS = np.array([list(b"%03d" % i) for i in range(1000)], np.uint8)
_DIGITS = 12
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
    # Python's own formatting takes far longer.
    digits = len(str(starts[0])), len(str(starts[0] + 1))
    micros = np.rint(scores.astype(np.float64) * 1e6).astype(np.int64)
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
        bigwigs: dict[tuple[SiteKind, Strand], Any],
        lengths: dict[str, int],
        threshold: float,
        splice_scores: SpliceScoreWriter | None,
    ) -> None:
        """Write to open files.

        Arguments:
            beds: The BED file of each kind of site.
            bigwigs: pyBigWig's open files, their headers written, of the kinds and strands that have one.
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
        spans: Sequence[Span],
        start: int,
        scores: Float[np.ndarray, "positions 2"],
    ) -> None:
        """Take the scores of neighbouring positions; those of a strand of a sequence come in rising order.

        Arguments:
            sequence: The name of the sequence.
            strand: "+" or "-".
            spans: All spans that these positions lie in; where several overlap, a row carries all their names.
            start: The first position, counted from 0 on the "+" strand.
            scores: Probabilities of acceptor and donor, in the order of the "+" strand.
        """
        edges = sorted({edge for span in spans for edge in (span.start, span.end)})
        for kind in SITE_KINDS:
            probabilities = scores[:, CLASSES.index(kind) - 1]
            shift = _SHIFT[kind, strand]
            hits = np.flatnonzero(probabilities >= self._threshold)
            # At the edge of a sequence there may be no base to write the row at.
            hits = hits[(hits + start + shift >= 0) & (hits + start + shift < self._lengths[sequence])]
            if not len(hits):
                continue
            for part in np.split(hits, np.searchsorted(hits + start, edges)):
                if len(part):
                    place = start + part[0]
                    name = ",".join(span.name for span in spans if span.start <= place < span.end)
                    starts = start + shift + part
                    self._beds[kind].add(sequence, strand, f"{name}_{kind.capitalize()}", starts, probabilities[part])
            if bigwig := self._bigwigs.get((kind, strand)):
                values = probabilities[hits].astype(np.float64)
                bigwig.addEntries(sequence, (start + shift + hits), values=values, span=1)
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
        partial = {path: path.with_name(f".{path.name}.partial") for path in paths}
        try:
            with ExitStack() as stack:
                beds = {
                    kind: BedWriter(stack.enter_context(open(partial[path], "wb")), self._annotated)
                    for kind, path in self.beds.items()
                }
                bigwigs = {
                    key: stack.enter_context(_bigwig(partial[path], genome.lengths))
                    for key, path in self.bigwigs.items()
                }
                splice_scores = None
                if self.spsc:
                    self.spsc.parent.mkdir(parents=True, exist_ok=True)
                    compressed = self.spsc.suffix == ".gz"
                    splice_scores = SpliceScoreWriter(partial[self.spsc], compressed, genome)
                    stack.callback(splice_scores.close)
                yield TrackWriter(beds, bigwigs, genome.lengths, self._threshold, splice_scores)
                if splice_scores:
                    splice_scores.finish()
            for path in partial.values():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
            for path, whole in partial.items():
                os.replace(whole, path)
        except OSError as error:
            raise RunFolderError(
                f"{error.filename or self.beds['donor'].parent}: cannot be written ({error.strerror}); make room or "
                "give another `output_dir`"
            ) from error
        finally:
            for path in partial.values():
                path.unlink(missing_ok=True)


@contextmanager
def _bigwig(path: Path, lengths: dict[str, int]) -> Iterator[Any]:
    """Make a bigWig and write its header."""
    with closing(_pybigwig().open(str(path), "w")) as bigwig:
        bigwig.addHeader([(name, length) for name, length in lengths.items() if length])
        yield bigwig


def _pybigwig() -> ModuleType:
    try:
        return importlib.import_module("pyBigWig")
    except ImportError as error:
        raise SettingsError(
            "`bigwig` needs pyBigWig, which is not installed; pip install 'spliceai-jax[bigwig]'"
        ) from error

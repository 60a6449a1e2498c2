"""Predictions out: BED as OpenSpliceAI writes it, sorted, and bigWig; under their final names only when whole.

A row's place is not the scored base itself where the site is an acceptor: OpenSpliceAI writes the base before it in the
direction of transcription, the last of the intron, for a donor the scored base, the last of the exon.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from spliceai_jax.architecture import CLASSES
from spliceai_jax.errors import RunFolderError, SettingsError
from spliceai_jax.sequences import Strand

KINDS = CLASSES[1:]

_PLACE = {("acceptor", "+"): -1, ("acceptor", "-"): 1, ("donor", "+"): 0, ("donor", "-"): 0}
"""What is added to a scored position, by kind and strand, to give its row's start."""

_THOUSANDS = np.array([list(b"%03d" % i) for i in range(1000)], np.uint8)
_DIGITS = 12
_MORE_DIGITS = np.array([n for digits in range(1, _DIGITS) for n in (10**digits - 1, 10**digits)])
"""Starts at which the end, or the start, becomes a digit longer."""


def _decimal(numbers: np.ndarray, digits: int) -> np.ndarray:
    """Numbers below 10^12 as their last so many decimal digits, zeros in front, uint8 (numbers, digits) of ASCII."""
    groups = [_THOUSANDS[numbers // 1000**k % 1000] for k in range((digits + 2) // 3)][::-1]
    return np.concatenate(groups, axis=1)[:, -digits:]


def _lines(sequence: str, starts: np.ndarray, name: str, scores: np.ndarray, tail: str) -> np.ndarray:
    """BED lines whose numbers are equally long, uint8 (starts, width); Python's own formatting takes far longer."""
    digits = len(str(starts[0])), len(str(starts[0] + 1))
    micros = np.rint(scores.astype(np.float64) * 1e6).astype(np.int64)
    columns: list[str | np.ndarray] = [
        f"{sequence}\t", _decimal(starts, digits[0]), "\t", _decimal(starts + 1, digits[1]), f"\t{name}\t",
        _decimal(micros // 10**6, 1), ".", _decimal(micros, 6), tail,
    ]  # fmt: skip
    return np.concatenate([_column(column, len(starts)) for column in columns], axis=1)


def _column(column: str | np.ndarray, rows: int) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return column
    letters = np.frombuffer(column.encode("utf-8", "surrogateescape"), np.uint8)
    return np.broadcast_to(letters, (rows, len(letters)))


class BedWriter:
    """Sorts rows that come nearly sorted, each strand by itself, and writes them.

    Attributes:
        rows: Rows written so far.
    """

    def __init__(self, file: BinaryIO, annotated: bool) -> None:
        """Write to a file; rows carry OpenSpliceAI's seventh column where it does, without an annotation."""
        self.rows = 0
        self._file = file
        self._tail = "\n" if annotated else "\tabsolute_coordinates\n"
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []  # twice the start, and 1 on "-"; the lines

    def add(self, sequence: str, strand: Strand, name: str, starts: np.ndarray, scores: np.ndarray) -> None:
        """Rows of a strand of a sequence, starts rising, (rows,) each."""
        cuts = np.searchsorted(starts, _MORE_DIGITS)
        for first, last in zip([0, *cuts], [*cuts, len(starts)], strict=True):
            if first < last:
                part = slice(first, last)
                lines = _lines(sequence, starts[part], name, scores[part], f"\t{strand}{self._tail}")
                self._waiting.append((2 * starts[part] + (strand == "-"), lines))

    def flush(self, before: int | None = None) -> None:
        """Write the rows that start before a position, or all; none before it may come behind."""
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


@dataclass(frozen=True)
class Span:
    """A stretch of a sequence that rows are named after, a gene or the whole sequence.

    Attributes:
        start: Its first position, counted from 0.
        end: The position behind its last.
        name: What the rows' fourth column begins with.
    """

    start: int
    end: int
    name: str


class TrackWriter:
    """Open tracks."""

    def __init__(
        self,
        beds: dict[str, BedWriter],
        bigwigs: dict[tuple[str, Strand], Any],
        lengths: dict[str, int],
        threshold: float,
    ) -> None:
        """Write what reaches the threshold."""
        self._beds = beds
        self._bigwigs = bigwigs
        self._lengths = lengths
        self._threshold = np.float32(threshold)

    def add(self, sequence: str, strand: Strand, spans: Sequence[Span], start: int, scores: np.ndarray) -> None:
        """Scores of neighbouring positions, later ones of a strand of a sequence behind earlier ones.

        Arguments:
            sequence: Its name.
            strand: "+" or "-".
            spans: All that these positions lie in; where several overlap, a row carries all their names.
            start: The first position, counted from 0 on the sequence as it is given, on either strand.
            scores: (positions, 2) of acceptor and donor.
        """
        for column, kind in enumerate(KINDS):
            shift = _PLACE[kind, strand]
            hits = np.flatnonzero(scores[:, column] >= self._threshold)
            # At a sequence's edge there may be no base to write the row at.
            hits = hits[(hits + start + shift >= 0) & (hits + start + shift < self._lengths[sequence])]
            if not len(hits):
                continue
            edges = {edge for span in spans for edge in (span.start, span.end)}
            for part in np.split(hits, np.searchsorted(hits + start, sorted(edges))):
                if len(part):
                    place = start + part[0]
                    name = ",".join(span.name for span in spans if span.start <= place < span.end)
                    starts = start + shift + part
                    self._beds[kind].add(sequence, strand, f"{name}_{kind.capitalize()}", starts, scores[part, column])
            if bigwig := self._bigwigs.get((kind, strand)):
                values = scores[hits, column].astype(np.float64)
                bigwig.addEntries(sequence, (start + shift + hits), values=values, span=1)

    def flush(self, before: int | None = None) -> None:
        """All positions before this one, or all of the sequence, have been added on every strand."""
        for bed in self._beds.values():
            bed.flush(None if before is None else before - 1)  # an acceptor's row starts one base earlier

    @property
    def rows(self) -> dict[str, int]:
        """Rows written so far, by kind of site."""
        return {kind: bed.rows for kind, bed in self._beds.items()}


class Tracks:
    """What predictions are written to: a BED file a kind of site, and a bigWig a kind and strand where wanted."""

    def __init__(self, folder: Path, threshold: float, annotated: bool, bigwig_strands: Sequence[Strand]) -> None:
        """Only name the files; bigWigs for these strands.

        Raises:
            SettingsError: bigWigs are wanted and pyBigWig is not installed.
        """
        self._threshold = threshold
        self._annotated = annotated
        self.beds = {kind: folder / f"{kind}_predictions.bed" for kind in KINDS}
        names = {"+": "plus", "-": "minus"}
        self.bigwigs = {
            (kind, strand): folder / f"{kind}_predictions_{names[strand]}.bw"
            for strand in bigwig_strands
            for kind in KINDS
        }
        self._library: Any = None
        if self.bigwigs:
            try:
                self._library = importlib.import_module("pyBigWig")
            except ImportError as error:
                raise SettingsError(
                    "--bigwig needs pyBigWig, which is not installed; pip install 'spliceai-jax[bigwig]'"
                ) from error

    def check(self) -> None:
        """Refuse to write over what is there.

        Raises:
            RunFolderError: A file exists.
        """
        for path in self.paths:
            if path.exists():
                raise RunFolderError(
                    f"{path}: holds predictions already; give another --output-dir, or move or delete that file"
                )

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return *self.beds.values(), *self.bigwigs.values()

    @contextmanager
    def written(self, lengths: dict[str, int]) -> Iterator[TrackWriter]:
        """Write, sequences in the order of `lengths`; the files get their names at the end, if all went well."""
        partial = {path: path.with_name(f".{path.name}.partial") for path in self.paths}
        try:
            with ExitStack() as stack:
                beds = {
                    kind: BedWriter(stack.enter_context(open(partial[path], "wb")), self._annotated)
                    for kind, path in self.beds.items()
                }
                bigwigs = {}
                for key, path in self.bigwigs.items():
                    bigwigs[key] = self._library.open(str(partial[path]), "w")
                    stack.callback(bigwigs[key].close)
                    bigwigs[key].addHeader([(name, length) for name, length in lengths.items() if length])
                yield TrackWriter(beds, bigwigs, lengths, self._threshold)
            for path in partial.values():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
            for path, whole in partial.items():
                os.replace(whole, path)
        except OSError as error:
            raise RunFolderError(
                f"{error.filename or self.beds['donor'].parent}: cannot be written ({error.strerror}); make room or "
                "give another --output-dir"
            ) from error
        finally:
            for path in partial.values():
                path.unlink(missing_ok=True)

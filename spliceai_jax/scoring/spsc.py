"""Splice scores as minimap2 (`--spsc`, from 2.29) and miniprot (from 0.16) read them, and as minisplice writes them.

A line is a site: sequence, position, strand, D or A, and an integer score, between tabs. The position is that of the
cut between exon and intron, the number of bases to its left on the "+" strand, whatever the kind and the strand. Donors
are scored where the intron begins with GT, acceptors where it ends with AG, as minisplice does.

The score is twice the binary logarithm of how many times more probable a site is here than at a candidate about which
nothing is known. That takes the mean probability of all candidates, which is only known at the end. Until then the
candidates lie in an unnamed file, of at most about 3 bytes a base of the genome.
"""

import gzip
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import numpy as np
from jaxtyping import Float, Shaped

from spliceai_jax.architecture import CLASSES, SITE_KINDS, SiteKind
from spliceai_jax.encoding import BASES, Strand
from spliceai_jax.genome.fasta import Genome

LOWEST = -7
"""Scores up to this one are not written: both aligners take about as much from a site that the file does not name."""

HIGHEST = 13
"""The highest score that is written; minisplice's limit too."""

_LEAST_RATE = 1e-5
"""The least fraction of candidates that is taken for sites; below it a genome has no genes to speak of."""

_MOTIFS: dict[tuple[SiteKind, Strand], str] = {
    ("donor", "+"): "GT",
    ("acceptor", "+"): "AG",
    ("donor", "-"): "AC",
    ("acceptor", "-"): "CT",
}
"""The two bases of the intron beside the cut, read on the "+" strand."""

_SITES = tuple(_MOTIFS)
_LABELS = tuple(f"\t{strand}\t{kind[0].upper()}\t" for kind, strand in _SITES)
_CANDIDATE = np.dtype([("cut", "<i8"), ("probability", "<f4"), ("site", "u1")])
_AT_ONCE = 2**16
"""Candidates of a sequence that are read back together, at the least, unless it has fewer."""


def _pair_code(pair: str) -> int:
    first, second = map(BASES.index, pair)
    return len(BASES) * first + second


class SpliceScoreWriter:
    """Takes the scores of a genome and, when all are there, writes the splice scores.

    Attributes:
        path: The file that they are written to.
        candidates: The number of candidates so far.
        rows: The number of lines written.
    """

    def __init__(self, path: Path, compressed: bool, genome: Genome) -> None:
        """Write nothing yet.

        Arguments:
            genome: The sequences, whose bases tell the candidates.
        """
        self.candidates = self.rows = 0
        self.path = path
        self._compressed = compressed
        self._genome = genome
        self._sequence = ""
        self._total = 0.0
        self._waiting: list[Shaped[np.ndarray, " candidates"]] = []
        self._kept: list[tuple[str, int]] = []  # a sequence and a number of candidates, in the order of the file
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - `close` closes it

    def close(self) -> None:
        """Delete the unnamed file."""
        self._file.close()

    def add(self, sequence: str, strand: Strand, start: int, scores: Float[np.ndarray, "positions 2"]) -> None:
        """Take the scores of neighbouring positions; those of a strand of a sequence come in rising order.

        Arguments:
            start: The first position, counted from 0 on the "+" strand.
            scores: Probabilities of acceptor and donor, in the order of the "+" strand.
        """
        self._sequence = sequence
        bases = self._genome.bases(sequence, start - 2, start + len(scores) + 2)
        pairs = len(BASES) * bases[:-1] + bases[1:]
        for kind in SITE_KINDS:
            site = _SITES.index((kind, strand))
            intron_follows = (kind == "donor") == (strand == "+")  # to the right of the scored base of the exon
            beside = pairs[3:] if intron_follows else pairs[: len(scores)]
            places = np.flatnonzero(beside == _pair_code(_MOTIFS[kind, strand]))
            probabilities = scores[places, CLASSES.index(kind) - 1]
            self.candidates += len(places)
            self._total += float(probabilities.sum(dtype=np.float64))
            found = np.empty(len(places), _CANDIDATE)
            found["cut"], found["site"] = start + places + intron_follows, site
            found["probability"] = probabilities
            # No rate lets the others reach the lowest score.
            self._waiting.append(found[2 * np.log2(np.maximum(probabilities, 1e-30) / _LEAST_RATE) > LOWEST])

    def flush(self, before: int | None = None) -> None:
        """Put the candidates before a cut, or all of the sequence, in order; none before it may be added later."""
        if not self._waiting:
            return
        found = np.concatenate(self._waiting)
        found = found[np.lexsort((found["site"], found["cut"]))]
        cut = len(found) if before is None else int(np.searchsorted(found["cut"], before))
        self._waiting = [found[cut:]]
        if cut:
            self._file.write(found[:cut].tobytes())
            last, count = self._kept[-1] if self._kept else ("", 0)
            if last == self._sequence and count < _AT_ONCE:
                self._kept[-1] = last, count + cut
            else:
                self._kept.append((self._sequence, cut))

    @property
    def rate(self) -> float:
        """The mean probability of all candidates."""
        return max(self._total / max(self.candidates, 1), _LEAST_RATE)

    def finish(self) -> None:
        """Write the file."""
        self._file.seek(0)
        with ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(open(self.path, "wb"))
            if self._compressed:
                unnamed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
                file = cast(IO[bytes], stack.enter_context(unnamed))
            for lines in self._lines():
                file.write(lines)

    def _lines(self) -> Iterator[bytes]:
        for sequence, count in self._kept:
            found = np.frombuffer(self._file.read(count * _CANDIDATE.itemsize), _CANDIDATE)
            scores = np.minimum(np.rint(2 * np.log2(found["probability"] / self.rate)).astype(int), HIGHEST)
            written = scores > LOWEST
            self.rows += int(written.sum())
            columns = (found["cut"][written].tolist(), found["site"][written].tolist(), scores[written].tolist())
            rows = zip(*columns, strict=True)
            text = "".join(f"{sequence}\t{cut}{_LABELS[site]}{score}\n" for cut, site, score in rows)
            yield text.encode("utf-8", "surrogateescape")

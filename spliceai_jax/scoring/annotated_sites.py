"""What an annotation says of every position of a strand: whether it is a site, and whether a gene lies there."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int, Int8

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.encoding import Strand
from spliceai_jax.evaluation.genome_metrics import PLACES
from spliceai_jax.genome.annotation import Gene
from spliceai_jax.genome.splicing import introns, sites_beside

Positions = Int[np.ndarray, " positions"]
Spans = Int[np.ndarray, "spans 2"]
"""Starts and ends of stretches that do not overlap, in order."""

_NONE: Positions = np.zeros(0, np.int64)

_INSIDE, _ANTISENSE, _OUTSIDE = (PLACES.index(place) for place in ("inside", "antisense", "outside"))


class AnnotatedSites:
    """The splice sites and genes of a strand of a sequence."""

    def __init__(self, coding: Sequence[Gene], others: Sequence[Gene], strand: Strand) -> None:
        """Gather them.

        Arguments:
            coding: The sequence's genes, of both strands, whose splice sites are true.
            others: The genes of which it is left open whether their splice sites are true.
            strand: The strand.
        """
        self._sites = _sites(coding, strand)
        self._open = {
            kind: np.setdiff1d(positions, self._sites[kind]) if positions.size else positions
            for kind, positions in _sites(others, strand).items()
        }
        genes = [*coding, *others]
        self._sense = _joined((gene.start, gene.end) for gene in genes if gene.strand == strand)
        self._antisense = _joined((gene.start, gene.end) for gene in genes if gene.strand != strand)

    def count(self, kind: SiteKind) -> int:
        """Return the number of true sites."""
        return self._sites[kind].size

    def sites(self, start: int, end: int) -> dict[SiteKind, Bool[np.ndarray, " positions"]]:
        """Return whether the positions from `start` to before `end` are true sites."""
        return {kind: _marked(self._sites[kind], start, end) for kind in SITE_KINDS}

    def left_out(self, start: int, end: int) -> dict[SiteKind, Bool[np.ndarray, " positions"]]:
        """Return whether the positions are sites of the other genes only."""
        return {kind: _marked(self._open[kind], start, end) for kind in SITE_KINDS}

    def places(self, start: int, end: int) -> Int8[np.ndarray, " positions"]:
        """Return where the positions lie, as indices of `PLACES`."""
        codes = np.full(end - start, _OUTSIDE, np.int8)
        for spans, code in ((self._antisense, _ANTISENSE), (self._sense, _INSIDE)):
            first, last = np.searchsorted(spans[:, 1], start, "right"), np.searchsorted(spans[:, 0], end)
            for span_start, span_end in spans[first:last]:
                codes[max(span_start - start, 0) : span_end - start] = code
        return codes


def _sites(genes: Iterable[Gene], strand: Strand) -> dict[SiteKind, Positions]:
    """Return the positions of all sites of genes on a strand, sorted, each once."""
    found = [
        sites_beside(introns(transcript), strand)
        for gene in genes
        if gene.strand == strand
        for transcript in gene.transcripts
    ]
    if not found:  # as on many contigs of a draft genome
        return {"donor": _NONE, "acceptor": _NONE}
    return {
        "donor": np.unique(np.concatenate([sites.donors for sites in found])),
        "acceptor": np.unique(np.concatenate([sites.acceptors for sites in found])),
    }


def _joined(spans: Iterable[tuple[int, int]]) -> Spans:
    """Join spans that overlap."""
    joined: list[list[int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return np.array(joined, np.int64).reshape(-1, 2)


def _marked(positions: Positions, start: int, end: int) -> Bool[np.ndarray, " positions"]:
    marks = np.zeros(end - start, bool)
    if positions.size:
        first, last = np.searchsorted(positions, (start, end))
        marks[positions[first:last] - start] = True
    return marks

"""What an annotation says of a genome: of every position whether it is a site, and whether a gene lies there."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int8

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SequenceError, SettingsError, SpliceAIWarning, some
from spliceai_jax.evaluation.genome_metrics import PLACES
from spliceai_jax.genome.annotation import Annotation, Gene, read_annotation
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.genes_on_genome import divide_genes, genes_on_genome, organelles
from spliceai_jax.genome.splicing import introns, sites_beside

Positions = Int[np.ndarray, " positions"]
Spans = Int[np.ndarray, "spans 2"]
"""Starts and ends of stretches that do not overlap, in order."""

STRANDS: tuple[Strand, ...] = ("+", "-")

_INSIDE, _ANTISENSE, _OUTSIDE = (PLACES.index(place) for place in ("inside", "antisense", "outside"))


class AnnotatedSites:
    """The splice sites and genes of a strand of a sequence."""

    def __init__(self, coding: Sequence[Gene], others: Sequence[Gene], strand: Strand) -> None:
        """Gather them.

        Arguments:
            coding: The sequence's genes, of both strands, whose splice sites are true.
            others: The genes of which it is left open whether their splice sites are true.
        """
        self._sites, of_others = _sites(coding, strand), _sites(others, strand)
        self._open = {kind: np.setdiff1d(of_others[kind], self._sites[kind]) for kind in SITE_KINDS}
        genes = [*coding, *others]
        self._sense = _merged((gene.start, gene.end) for gene in genes if gene.strand == strand)
        self._antisense = _merged((gene.start, gene.end) for gene in genes if gene.strand != strand)

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
    transcripts = (transcript for gene in genes if gene.strand == strand for transcript in gene.transcripts)
    found = [sites_beside(introns(transcript), strand) for transcript in transcripts]
    none = np.zeros(0, np.int64)  # as on many contigs of a draft genome
    return {
        "donor": np.unique(np.concatenate([none, *(sites.donors for sites in found)])),
        "acceptor": np.unique(np.concatenate([none, *(sites.acceptors for sites in found)])),
    }


def _merged(spans: Iterable[tuple[int, int]]) -> Spans:
    """Return spans, those that overlap as one."""
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return np.array(merged, np.int64).reshape(-1, 2)


def _marked(positions: Positions, start: int, end: int) -> Bool[np.ndarray, " positions"]:
    marks = np.zeros(end - start, bool)
    first, last = np.searchsorted(positions, (start, end))
    marks[positions[first:last] - start] = True
    return marks


_NOTHING = AnnotatedSites((), (), "+")


@dataclass(frozen=True)
class GenomeTruth:
    """Sequences, and what is true of them.

    Attributes:
        genome: The genome.
        names: The sequences of it that are scored.
        genes: The number of genes whose splice sites count as true.
        annotated: (Sequence, strand) -> the sites and genes there, for sequences that have genes.
    """

    genome: Genome
    names: Collection[str]
    genes: int
    annotated: dict[tuple[str, Strand], AnnotatedSites]

    @property
    def bases(self) -> int:
        """The number of bases of the sequences."""
        return sum(self.genome.lengths[name] for name in self.names)

    def of_strand(self, sequence: str, strand: Strand) -> AnnotatedSites:
        """Return the sites and genes of a strand."""
        return self.annotated.get((sequence, strand), _NOTHING)


@contextmanager
def genome_truth(
    genome_fasta: str | Path, annotation_gff: str | Path, sequences: Sequence[str] | None, scratch: Path | None = None
) -> Iterator[GenomeTruth]:
    """Read a genome and its annotation and find out what is true.

    Arguments:
        genome_fasta: See `scoring.genome_evaluation.evaluate_genome`, as for the next two.
        sequences: The names of the sequences that are scored; None: all but those of organelles.
        scratch: See `Genome`.

    Raises:
        SequenceError: A file cannot be used, the two do not belong together, or they hold no true site.
        SettingsError: A sequence's name is unknown.
    """
    annotation = read_annotation(annotation_gff)
    with Genome(genome_fasta, scratch) as genome:
        names = _names(genome, annotation, sequences)
        placed, divided = genes_on_genome(annotation, genome, annotation_gff, names), divide_genes(annotation.genes)
        by_sequence: dict[str, tuple[list[Gene], list[Gene]]] = {gene.sequence: ([], []) for gene in placed.genes}
        for group, genes in enumerate((divided.coding, divided.others)):
            for gene in genes:
                if gene.sequence in by_sequence:
                    by_sequence[gene.sequence][group].append(gene)
        annotated = {
            (name, strand): AnnotatedSites(*genes, strand) for name, genes in by_sequence.items() for strand in STRANDS
        }
        _check(annotated, placed.genes, names, annotation_gff)
        notes = list(placed.notes)
        if divided.told_by == "nothing":
            notes.append(
                f"{annotation_gff}: has neither biotypes nor CDS, so the splice sites of all genes count as true"
            )
        for note in notes:
            warnings.warn(note, SpliceAIWarning, stacklevel=2)
        yield GenomeTruth(genome, names, sum(len(coding) for coding, _ in by_sequence.values()), annotated)


def _names(genome: Genome, annotation: Annotation, sequences: Sequence[str] | None) -> Collection[str]:
    """Return the sequences that are named, or all but those of organelles, whose introns no spliceosome removes."""
    if sequences is None:
        return genome.lengths.keys() - organelles(annotation, genome)
    unknown = [name for name in sequences if name not in genome.lengths]
    if unknown or not sequences:
        raise SettingsError(
            f"`sequences`: {genome.source} holds no {some(unknown) if unknown else 'sequence without a name'}; it "
            f"holds {some(genome.lengths)}"
        )
    return set(sequences)


def _check(
    annotated: dict[tuple[str, Strand], AnnotatedSites], genes: list[Gene], names: Collection[str], source: str | Path
) -> None:
    for kind in SITE_KINDS:
        if not any(there.count(kind) for there in annotated.values()):
            biotypes = Counter(gene.biotype or "none" for gene in genes)
            of_them = f" {len(genes)} genes, of biotypes {some(biotypes)}" if genes else " no gene"
            raise SequenceError(
                f"{source}: no {kind} of a protein-coding gene lies on the sequences that are scored ({some(names)}), "
                f"where it has{of_them}; give an annotation with exons or CDS, or other `sequences`"
            )

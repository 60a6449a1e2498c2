"""What an annotation says of the sequences of a genome, after a check that the two belong together."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SequenceError, SettingsError, SpliceAIWarning, some
from spliceai_jax.genome.annotation import Annotation, Gene, read_annotation
from spliceai_jax.genome.coding_genes import CodingGenes, divide_genes
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.same_assembly import genes_on_genome, organelles
from spliceai_jax.scoring.annotated_sites import AnnotatedSites

STRANDS: tuple[Strand, ...] = ("+", "-")

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
    annotated: Mapping[tuple[str, Strand], AnnotatedSites]

    @property
    def bases(self) -> int:
        """The number of bases of the sequences."""
        return sum(self.genome.lengths[name] for name in self.names)

    def of_strand(self, sequence: str, strand: Strand) -> AnnotatedSites:
        """Return the sites and genes of a strand."""
        return self.annotated.get((sequence, strand), _NOTHING)


@contextmanager
def genome_truth(
    genome_fasta: str | Path, annotation_gff: str | Path, sequences: Sequence[str] | None
) -> Iterator[GenomeTruth]:
    """Read a genome and its annotation and find out what is true; see `scoring.genome_evaluation.evaluate_genome`."""
    annotation = read_annotation(annotation_gff)
    with Genome(genome_fasta) as genome:
        names = _names(genome, annotation, sequences)
        placed = genes_on_genome(annotation, genome, annotation_gff, names)
        for note in placed.notes:
            warnings.warn(note, SpliceAIWarning, stacklevel=2)
        yield _with_truth(genome, names, placed.genes, divide_genes(annotation.genes), annotation_gff)


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


def _with_truth(
    genome: Genome, names: Collection[str], genes: list[Gene], divided: CodingGenes, source: str | Path
) -> GenomeTruth:
    by_sequence: dict[str, tuple[list[Gene], list[Gene]]] = {gene.sequence: ([], []) for gene in genes}
    for group, members in enumerate((divided.coding, divided.others)):
        for gene in members:
            if gene.sequence in by_sequence:
                by_sequence[gene.sequence][group].append(gene)
    annotated = {
        (name, strand): AnnotatedSites(*together, strand)
        for name, together in by_sequence.items()
        for strand in STRANDS
    }
    for kind in SITE_KINDS:
        if not any(there.count(kind) for there in annotated.values()):
            biotypes = Counter(gene.biotype or "none" for gene in genes)
            of_them = f" {len(genes)} genes, of biotypes {some(biotypes)}" if genes else " no gene"
            raise SequenceError(
                f"{source}: no {kind} of a protein-coding gene lies on the sequences that are scored ({some(names)}), "
                f"where it has{of_them}; give an annotation with exons or CDS, or other `sequences`"
            )
    if divided.told_by == "nothing":
        warnings.warn(
            f"{source}: has neither biotypes nor CDS, so the splice sites of all genes count as true",
            SpliceAIWarning,
            stacklevel=2,
        )
    return GenomeTruth(genome, names, sum(len(coding) for coding, _ in by_sequence.values()), annotated)

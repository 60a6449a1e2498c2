"""The genes of an annotation on a genome: those that code for proteins, and whether the two files belong together."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from spliceai_jax.errors import SequenceError, some
from spliceai_jax.genome.annotation import Annotation, Gene
from spliceai_jax.genome.fasta import Genome


class CodingGenes(NamedTuple):
    """The genes of an annotation, divided.

    Attributes:
        coding: The genes that code for proteins and lie in one place.
        others: All others, trans-spliced ones among them.
        told_by: What tells them apart: the annotation's biotypes, or CDS where it has no biotypes; "nothing" where it
            has neither, and all genes count as coding.
        without_biotype: The number of genes without a biotype where others have one, as in merged annotations; of
            these the genes with CDS count as coding.
    """

    coding: list[Gene]
    others: list[Gene]
    told_by: Literal["biotypes", "CDS", "nothing"]
    without_biotype: int


def divide_genes(genes: Sequence[Gene]) -> CodingGenes:
    """Divide genes into those that code for proteins and the others."""
    has_cds = [any(transcript.coding_length for transcript in gene.transcripts) for gene in genes]
    without = sum(gene.biotype is None for gene in genes)
    told_by: Literal["biotypes", "CDS", "nothing"]
    told_by = "biotypes" if without < len(genes) else "CDS" if any(has_cds) else "nothing"
    divided = CodingGenes([], [], told_by, without if told_by == "biotypes" else 0)
    for gene, cds in zip(genes, has_cds, strict=True):
        codes = told_by == "nothing" or (cds if gene.biotype is None else gene.biotype == "protein_coding")
        (divided.coding if codes and not gene.trans_spliced else divided.others).append(gene)
    return divided


class PlacedGenes(NamedTuple):
    """The genes of an annotation that lie on a genome's sequences.

    Attributes:
        genes: The genes, in the annotation's order.
        left_out: Reason -> the number of the others.
        notes: What the user should know of them.
    """

    genes: list[Gene]
    left_out: Counter[str]
    notes: list[str]


def organelles(annotation: Annotation, genome: Genome) -> frozenset[str]:
    """Return the sequences of mitochondria and plastids, by the annotation, by name or by the FASTA file's headers."""
    return annotation.organelles & genome.lengths.keys() | genome.organelles


def genes_on_genome(
    annotation: Annotation, genome: Genome, source: str | Path, names: Collection[str] | None = None
) -> PlacedGenes:
    """Return the genes that lie on the genome's sequences.

    A gene over the origin of a circular sequence, which ends beyond it in NCBI's files, is left out.

    Arguments:
        source: The annotation's file, for messages.
        names: The sequences whose genes are wanted; None: all.

    Raises:
        SequenceError: The annotation is of another genome: no name of a sequence is in both, or a wanted gene, or one
            of its exons, ends beyond its sequence.
    """
    genes = annotation.genes
    elsewhere = {gene.sequence for gene in genes if gene.sequence not in genome.lengths}
    known = [gene for gene in genes if gene.sequence in genome.lengths]
    if not known:
        raise SequenceError(
            f"{source}: none of its sequences is in {genome.source}: {some(elsewhere)} here, {some(genome.lengths)} "
            "there; give a genome and an annotation with the same sequence names"
        )
    circular = annotation.circular | organelles(annotation, genome)
    wanted: list[Gene] = []
    over_origin: list[Gene] = []
    for gene in known:
        if names is not None and gene.sequence not in names:
            continue
        if gene.end <= (length := genome.lengths[gene.sequence]):
            wanted.append(gene)
        elif gene.sequence in circular:
            over_origin.append(gene)
        else:
            raise SequenceError(
                f"{source}: gene {gene.name} ends at {gene.end}, but {gene.sequence} has {length} bases in "
                f"{genome.source}; give the annotation of this very assembly"
            )
    left_out: Counter[str] = Counter()
    notes = []
    if elsewhere:
        left_out["on a sequence that the genome lacks"] = len(genes) - len(known)
        notes.append(
            f"{len(genes) - len(known)} of {len(genes)} genes of {source} lie on sequences that {genome.source} does "
            f"not hold ({some(elsewhere)}; it holds {some(genome.lengths)}); they are left out"
        )
    if over_origin:
        left_out["over the origin of a circular sequence"] = len(over_origin)
        notes.append(
            f"{len(over_origin)} of {len(genes)} genes of {source} lie over the origin of a circular sequence "
            f"({some({gene.name for gene in over_origin})}); they are left out"
        )
    return PlacedGenes(wanted, left_out, notes)

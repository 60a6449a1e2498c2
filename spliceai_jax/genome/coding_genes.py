"""Which genes of an annotation code for proteins."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from spliceai_jax.genome.annotation import Gene


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

"""Which genes of an annotation code for proteins."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from spliceai_jax.data.annotation import Gene


class CodingGenes(NamedTuple):
    """The genes of an annotation, divided.

    Attributes:
        coding: The genes that code for proteins and lie in one place.
        others: All others, trans-spliced ones among them.
        told_by: What tells them apart: the annotation's biotypes, or CDS where it has no biotypes; "nothing" where it
            has neither, and all genes count as coding.
    """

    coding: list[Gene]
    others: list[Gene]
    told_by: Literal["biotypes", "CDS", "nothing"]


def divide_genes(genes: Sequence[Gene]) -> CodingGenes:
    """Divide genes into those that code for proteins and the others."""
    has_cds = [any(transcript.coding_length for transcript in gene.transcripts) for gene in genes]
    told_by: Literal["biotypes", "CDS", "nothing"]
    if any(gene.biotype is not None for gene in genes):
        told_by, is_coding = "biotypes", [gene.biotype == "protein_coding" for gene in genes]
    elif any(has_cds):
        told_by, is_coding = "CDS", has_cds
    else:
        told_by, is_coding = "nothing", [True] * len(genes)
    divided = CodingGenes([], [], told_by)
    for gene, codes in zip(genes, is_coding, strict=True):
        (divided.coding if codes and not gene.trans_spliced else divided.others).append(gene)
    return divided

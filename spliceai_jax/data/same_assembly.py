"""Whether an annotation belongs to a genome: names and places must fit."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from spliceai_jax.data.annotation import Gene
from spliceai_jax.data.fasta import Genome
from spliceai_jax.errors import SequenceError, some


class PlacedGenes(NamedTuple):
    """The genes of an annotation that lie on a genome's sequences.

    Attributes:
        genes: The genes, in the annotation's order.
        note: What the user should know of the others; None where there are none.
    """

    genes: list[Gene]
    note: str | None


def genes_on_genome(
    genes: Sequence[Gene], genome: Genome, source: str | Path, names: Collection[str] | None = None
) -> PlacedGenes:
    """Return the genes that lie on the genome's sequences.

    Arguments:
        genes: The annotation's genes, at least one.
        genome: The genome.
        source: The annotation, for messages.
        names: The sequences whose genes are wanted; None: all.

    Raises:
        SequenceError: The annotation is of another genome: no name of a sequence is in both, or a wanted gene, or one
            of its exons, ends beyond its sequence.
    """
    elsewhere = {gene.sequence for gene in genes if gene.sequence not in genome.lengths}
    known = [gene for gene in genes if gene.sequence in genome.lengths]
    if not known:
        raise SequenceError(
            f"{source}: none of its sequences is in {genome.source}: {some(elsewhere)} here, {some(genome.lengths)} "
            "there; give a genome and an annotation with the same sequence names"
        )
    wanted = [gene for gene in known if names is None or gene.sequence in names]
    for gene in wanted:
        end = max([gene.end, *(int(transcript.exons.max(initial=0)) for transcript in gene.transcripts)])
        if end > (length := genome.lengths[gene.sequence]):
            raise SequenceError(
                f"{source}: gene {gene.name} ends at {end}, but {gene.sequence} has {length} bases in {genome.source}; "
                "give the annotation of this very assembly"
            )
    if not elsewhere:
        return PlacedGenes(wanted, None)
    return PlacedGenes(
        wanted,
        f"{len(genes) - len(known)} of {len(genes)} genes of {source} lie on sequences that {genome.source} does not "
        f"hold ({some(elsewhere)}; it holds {some(genome.lengths)}); they are left out",
    )

"""Genes and their transcripts from the features of an annotation: what belongs to what, and what is repaired.

Annotations that people really have contradict themselves. Each rule, here and in `annotation_exons` and
`annotation_loci`, has an example of a few lines, of which only the columns that matter are shown; `Repair` counts how
often a rule changed what the file says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SequenceError
from spliceai_jax.genome.annotation_exons import transcripts_of
from spliceai_jax.genome.annotation_lines import annotation_features
from spliceai_jax.genome.annotation_loci import gene_loci
from spliceai_jax.genome.annotation_records import Draft, Lines, Locus
from spliceai_jax.genome.annotation_repairs import Repair


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript of a gene.

    Attributes:
        name: Its ID (GFF3) or transcript_id (GTF).
        start: Its first base, counted from 0.
        end: The base after its last.
        exons: Start (counted from 0) and end (the base after the last) of each exon, in the order of the sequence.
        coding_length: The number of its bases that are CDS.
        biotype: Its biotype, where the annotation gives one.
        tags: What the annotation says of it that makes it its gene's representative; a subset of `PREFERRED_TAGS`.
        exons_from_cds: Whether the annotation has neither exons nor UTRs for it, so that `exons` are its CDS.
    """

    name: str
    start: int
    end: int
    exons: Int32[np.ndarray, "exons 2"]
    coding_length: int = 0
    biotype: str | None = None
    tags: tuple[str, ...] = ()
    exons_from_cds: bool = False


@dataclass(frozen=True, slots=True)
class Gene:
    """A gene of an annotation.

    Attributes:
        name: Its ID, or else its Name, or else "unknown_gene".
        sequence: The name of the sequence that it lies on.
        start: Its first base there, or that of its transcripts, counted from 0.
        end: The base after the last one.
        strand: "+" or "-".
        symbol: The name that people know it by (Name, gene_name, gene, gene_symbol); `name` if it has none, or one that
            is no name (see `sequence_names.fault_of`).
        biotype: Its biotype under whichever attribute the annotation uses; None where it gives none.
        trans_spliced: Whether its transcripts are joined from several places.
        transcripts: Its transcripts, in the file's order.
        source: The program or database that it comes from (column 2).
    """

    name: str
    sequence: str
    start: int
    end: int
    strand: Strand
    symbol: str = ""
    biotype: str | None = None
    trans_spliced: bool = False
    transcripts: tuple[Transcript, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Annotation:
    """An annotation.

    Attributes:
        genes: The genes that have a strand, in the file's order.
        repairs: What was changed.
        organelles: The sequences that the file says are the genome of a mitochondrion or plastid.
        circular: The sequences that it says are circular.
    """

    genes: list[Gene]
    repairs: tuple[Repair, ...] = ()
    organelles: frozenset[str] = frozenset()
    circular: frozenset[str] = frozenset()


def read_annotation(path: str | Path) -> Annotation:
    """Read genes, transcripts and their exons from GFF3 or GTF, plain or compressed.

    Raises:
        SequenceError: The file is missing, damaged or neither GFF3 nor GTF, or holds no gene; the message names the
            line.
    """
    with annotation_features(Path(path)) as (form, features):
        lines = Lines(form)
        for feature in features:
            lines.add(feature)
    lines.unify_keys()
    loci = gene_loci(lines, transcripts_of(lines))
    genes = [_gene(lines, locus) for locus in loci if locus.strand]
    for locus in loci:
        if not locus.strand:
            lines.repairs.count("no strand", locus.name)
    if not genes:
        raise SequenceError(
            f"{path}: holds no feature of type gene with a strand, nor a transcript with a strand and exons or CDS; "
            "give a GFF3 or GTF file of genes"
        )
    return Annotation(genes, lines.repairs.made(), frozenset(lines.organelles), frozenset(lines.circular))


def _gene(lines: Lines, locus: Locus) -> Gene:
    """Return a gene, which spans its line and its transcripts.

    gene  200-800    mRNA  100-900  Parent of it      100 to 900, as in WormBase and TOGA
    """
    drafts = sorted(locus.drafts, key=lambda draft: draft.line)
    here = [draft for draft in drafts if draft.strand * locus.strand >= 0]
    spliced = locus.facts.trans_spliced or len(here) < len(drafts)
    spliced |= any(draft.facts.trans_spliced or draft.astray for draft in drafts)
    start = min([locus.start, *(draft.start for draft in here)])
    end = max([locus.end, *(draft.end for draft in here)])
    if locus.has_line and (start, end) != (locus.start, locus.end) and not spliced:
        lines.repairs.count("span", locus.name)
    biotype = locus.facts.gene_biotype or _shared_biotype(here)
    strand: Strand = "+" if locus.strand > 0 else "-"
    symbol = locus.facts.symbol or locus.name
    return Gene(
        locus.name,
        locus.sequence,
        start,
        end,
        strand,
        symbol,
        biotype,
        spliced,
        tuple(map(_transcript, here)),
        locus.source,
    )


def _transcript(draft: Draft) -> Transcript:
    return Transcript(
        draft.name,
        draft.start,
        draft.end,
        draft.exons,
        draft.coding_length,
        draft.facts.biotype,
        draft.facts.tags,
        draft.exons_from_cds,
    )


def _shared_biotype(drafts: Iterable[Draft]) -> str | None:
    biotypes = {draft.facts.biotype for draft in drafts if draft.facts.biotype}
    if "protein_coding" in biotypes:
        return "protein_coding"
    return biotypes.pop() if len(biotypes) == 1 else None

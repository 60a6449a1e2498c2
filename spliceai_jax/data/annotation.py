"""Genes and their transcripts from annotations, GFF3 or GTF."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32

from spliceai_jax.data.annotation_lines import Form, annotation_features
from spliceai_jax.data.annotation_places import Places, clusters, disjoint, owners, spans
from spliceai_jax.data.annotation_tables import PREFERRED_TAGS, Facts, Tables
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SequenceError

__all__ = ["PREFERRED_TAGS", "Gene", "Transcript", "read_annotation", "read_genes"]

Indices = Int[np.ndarray, " features"]


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
        exons_from_cds: Whether the annotation has no exons for it, so that `exons` are the parts of its CDS.
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
        start: Its first base there, counted from 0.
        end: The base after its last.
        strand: "+" or "-".
        symbol: The name that people know it by (Name, gene_name, gene, gene_symbol); `name` if it has none, or one that
            is no name (see `names.fault_of`).
        biotype: Its biotype under whichever attribute the annotation uses; None where it gives none.
        trans_spliced: Whether its transcripts are joined from several places.
        transcripts: Its transcripts, in the file's order.
        source: Column 2 of its line.
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
class Repair:
    """Something of an annotation that was not read as it stands.

    Attributes:
        rule: A short name that stays the same: "short gaps".
        count: How many things were repaired.
        text: The whole sentence for people.
    """

    rule: str
    count: int
    text: str


@dataclass(frozen=True)
class Annotation:
    """What was read of an annotation.

    Attributes:
        genes: Its genes, in the file's order.
        repairs: What was repaired.
    """

    genes: list[Gene]
    repairs: tuple[Repair, ...] = ()


def read_annotation(path: str | Path) -> Annotation:
    """Read an annotation's genes; see `read_genes`."""
    return Annotation(read_genes(path))


def read_genes(path: str | Path, transcripts: bool = True) -> list[Gene]:
    """Read the genes that have a strand, in the file's order, from GFF3 or GTF, plain or compressed.

    Genes are the features of type `gene` (in some files `protein_coding_gene`). Those that a GTF file gives no line of
    their own span the transcripts of their gene_id that overlap. Transcripts are a gene's children whose type is that
    of an RNA or transcript; where exons or CDS belong to the gene itself, they make one transcript of its name. Where
    several features of a sequence share an ID, a child belongs to the last of them that starts no later than itself.
    Exons that overlap are one; parts on the other strand than their gene are left out.

    Arguments:
        path: The annotation.
        transcripts: Whether to read transcripts as well.

    Raises:
        SequenceError: The file is missing, damaged or neither GFF3 nor GTF, or holds no gene; the message names the
            line.
    """
    with annotation_features(Path(path), transcripts) as (form, features):
        tables = Tables()
        for feature in features:
            tables.add(feature)
    genes = _assembled(tables, form, transcripts)
    if not genes:
        raise SequenceError(f"{path}: holds no feature of type gene with a strand; give a GFF3 or GTF file of genes")
    return genes


def _assembled(tables: Tables, form: Form, with_transcripts: bool) -> list[Gene]:
    genes, transcripts = tables.genes.places(), tables.transcripts.places()
    parts = tables.parts()
    owner = owners(transcripts, parts.key, parts.start)
    if form == "GTF":
        transcripts, owner = _with_lineless_transcripts(tables, transcripts, parts, owner)
    gene_of = owners(genes, transcripts.gene, transcripts.start)
    if form == "GTF":
        genes, gene_of = _with_lineless_genes(tables, genes, transcripts, gene_of)
    else:
        transcripts, owner, gene_of = _with_implied_transcripts(tables, genes, transcripts, parts, owner, gene_of)
    children, spliced = (
        _children(tables, genes, transcripts, gene_of, parts, owner) if with_transcripts else ({}, set())
    )
    found = []
    for index in np.argsort(genes.line, kind="stable").tolist():
        if genes.strand[index]:
            facts, members = tables.gene_facts[index], tuple(children.get(index, ()))
            found.append(
                Gene(
                    facts.name,
                    tables.sequences[index],
                    int(genes.start[index]),
                    int(genes.end[index]),
                    "+" if genes.strand[index] > 0 else "-",
                    facts.symbol,
                    facts.biotype or _shared_biotype(members),
                    facts.trans_spliced or index in spliced,
                    members,
                    facts.source,
                )
            )
    return found


def _shared_biotype(transcripts: Iterable[Transcript]) -> str | None:
    biotypes = {transcript.biotype for transcript in transcripts if transcript.biotype}
    if "protein_coding" in biotypes:
        return "protein_coding"
    return biotypes.pop() if len(biotypes) == 1 else None


def _with_lineless_transcripts(
    tables: Tables, transcripts: Places, parts: Places, owner: Indices
) -> tuple[Places, Indices]:
    """Add the transcripts that have parts but no line, and find the genes of those whose line does not name it."""
    named = (owner >= 0) & (parts.gene >= 0)
    gene = np.full(len(transcripts.gene), -1, np.int32)
    gene[owner[named]] = parts.gene[named]
    transcripts = transcripts._replace(gene=np.where(transcripts.gene < 0, gene, transcripts.gene))
    rest = np.flatnonzero((owner < 0) & (parts.gene >= 0))
    added, number = spans(parts.at(rest), parts.key[rest] * 4 + parts.strand[rest])
    owner[rest] = len(transcripts.key) + number
    tables.transcript_facts += [tables.facts_of_transcript[key] for key in added.key.tolist()]
    return transcripts.followed_by(added), owner


def _with_lineless_genes(
    tables: Tables, genes: Places, transcripts: Places, gene_of: Indices
) -> tuple[Places, Indices]:
    """Add the genes that have transcripts but no line; transcripts far from each other are of different genes."""
    rest = np.flatnonzero((gene_of < 0) & (transcripts.gene >= 0))
    orphans = transcripts.at(rest)
    _, group = np.unique(orphans.gene.astype(np.int64) * 4 + orphans.strand, return_inverse=True)
    order, cluster = clusters(group, orphans.start, orphans.end)
    added, number = spans(orphans.at(order), cluster)
    gene_of[rest[order]] = len(genes.key) + number
    tables.gene_facts += [tables.facts_of_gene[gene] for gene in added.gene.tolist()]
    tables.sequences += [tables.names[gene][0] for gene in added.gene.tolist()]
    return genes.followed_by(added), gene_of


def _with_implied_transcripts(
    tables: Tables, genes: Places, transcripts: Places, parts: Places, owner: Indices, gene_of: Indices
) -> tuple[Places, Indices, Indices]:
    """Add a transcript for each gene that has none and is itself the parent of exons or CDS."""
    rest = np.flatnonzero(owner < 0)
    holder = owners(genes, parts.key[rest], parts.start[rest])
    direct = (holder >= 0) & ~np.isin(holder, gene_of)
    rest, holder = rest[direct], holder[direct]
    added, number = spans(parts.at(rest), holder)
    owner[rest] = len(transcripts.key) + number
    holders = np.unique(holder)
    tables.transcript_facts += [Facts(tables.gene_facts[gene].name) for gene in holders.tolist()]
    return transcripts.followed_by(added), owner, np.concatenate([gene_of, holders])


def _children(
    tables: Tables, genes: Places, transcripts: Places, gene_of: Indices, parts: Places, owner: Indices
) -> tuple[dict[int, list[Transcript]], set[int]]:
    """Return the transcripts of each gene, and the genes that have some or parts of them on the other strand."""
    members = np.flatnonzero(gene_of >= 0)
    members = members[np.argsort(transcripts.line[members], kind="stable")]
    astray = transcripts.strand[members] * genes.strand[gene_of[members]] < 0
    held = np.flatnonzero(owner >= 0)
    held = held[gene_of[owner[held]] >= 0]
    astray_part = parts.strand[held] * genes.strand[gene_of[owner[held]]] < 0
    spliced = {*gene_of[members[astray]].tolist(), *gene_of[owner[held[astray_part]]].tolist()}
    spliced |= {int(gene_of[index]) for index in members.tolist() if tables.transcript_facts[index].trans_spliced}
    members, held = members[~astray], held[~astray_part]

    exons, first_exon = _disjoint_parts(parts, owner, held[held < tables.exon_count], len(gene_of))
    cds, first_cds = _disjoint_parts(parts, owner, held[held >= tables.exon_count], len(gene_of))
    coding_before = np.concatenate([[0], np.cumsum(cds[:, 1] - cds[:, 0])])
    children: dict[int, list[Transcript]] = {}
    for index in members.tolist():
        facts = tables.transcript_facts[index]
        own = exons[first_exon[index] : first_exon[index + 1]]
        coding = cds[first_cds[index] : first_cds[index + 1]]
        transcript = Transcript(
            facts.name,
            int(transcripts.start[index]),
            int(transcripts.end[index]),
            own if len(own) else coding,
            int(coding_before[first_cds[index + 1]] - coding_before[first_cds[index]]),
            facts.biotype,
            facts.tags,
            exons_from_cds=len(coding) > 0 and not len(own),
        )
        children.setdefault(int(gene_of[index]), []).append(transcript)
    return children, spliced


def _disjoint_parts(
    parts: Places, owner: Indices, which: Indices, transcripts: int
) -> tuple[Int32[np.ndarray, "parts 2"], Indices]:
    return disjoint(owner[which], parts.start[which], parts.end[which], transcripts)

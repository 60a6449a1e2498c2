"""Genes, transcripts and their parts as the lines of an annotation describe them, before rules join them."""

import re
import sys
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32

from spliceai_jax.genome.annotation_lines import (
    GENE_BIOTYPES,
    GENES_OF_TRANSCRIPTS,
    MARKS,
    PARTS,
    SYMBOLS,
    TRANS_SPLICING,
    TRANSCRIPT_BIOTYPES,
    Attributes,
    Feature,
    Form,
    first,
)
from spliceai_jax.genome.annotation_repairs import Repairs
from spliceai_jax.genome.sequence_names import GENOMES_OF_ORGANELLES, fault_of

PREFERRED_TAGS = (
    "MANE_Select",
    "Ensembl_canonical",
    "RefSeq_Select",
    "canonical_transcript",
    "appris_principal",
    "longest",
)
"""What annotations call the representative transcript of a gene, the better choice first."""

_BIOTYPE_NOTE = re.compile(r"protein_coding_gene|pseudogene|transposable_element_gene|other_RNA|(mi|t|r|nc|sn|sno)RNA")
"""TAIR10 has the biotype of a gene as its note."""

_TRANS_SPLICING = re.compile(r"(?i)trans[-_ ]splicing")
_PLAIN_TYPES = re.compile(r"(?i)m_?rna|(.*_)?transcript")


Indices = Int[np.ndarray, " features"]


class Traits(NamedTuple):
    """What a line says of its gene or transcript, beside where it lies."""

    symbol: str = ""
    gene_biotype: str | None = None
    biotype: str | None = None
    tags: tuple[str, ...] = ()
    trans_spliced: bool = False


@dataclass(slots=True)
class Draft:
    """A transcript whose gene is yet to be found.

    Attributes:
        line: The number of its line, or of its first part's.
        key: The number of its name; see `Lines`.
        name: Its name.
        gene: The name of its gene; "" for none.
        sequence: The sequence.
        start: The first base of its line or parts, counted from 0.
        end: The base after the last.
        strand: 1, -1 or 0.
        source: Column 2.
        facts: What its line says.
        parents: The features that its line names as its parents.
        implied: Whether it consists of parts of the gene itself.
        exons: See `Transcript`, as the next two.
        astray: Whether some of its parts lie on the other strand.
    """

    line: int
    key: int
    name: str
    gene: str
    sequence: str
    start: int
    end: int
    strand: int
    source: str
    facts: Traits
    parents: Sequence[str] = ()
    implied: bool = False
    exons: Int32[np.ndarray, "exons 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    coding_length: int = 0
    exons_from_cds: bool = False
    astray: bool = False


@dataclass(slots=True)
class Locus:
    """A gene while its transcripts are gathered; `has_line` tells whether the annotation has a line for it."""

    line: int
    name: str
    sequence: str
    start: int
    end: int
    strand: int
    source: str
    facts: Traits
    has_line: bool = True
    drafts: list[Draft] = field(default_factory=list)


class Parts(NamedTuple):
    """Exons, CDS, UTRs and codons: the number of the transcript's name, where each lies, its line, strand and role."""

    key: Int32[np.ndarray, " features"]
    start: Int32[np.ndarray, " features"]
    end: Int32[np.ndarray, " features"]
    line: Int32[np.ndarray, " features"]
    strand: Int[np.ndarray, " features"]
    role: Int[np.ndarray, " features"]

    def at(self, which: Indices | Bool[np.ndarray, " features"]) -> "Parts":
        """Return some of them."""
        return Parts(*(column[which] for column in self))


class GrowingParts:
    """Parts while the lines are read."""

    def __init__(self) -> None:
        """Begin with no part."""
        self._columns = [array("i") for _ in range(4)] + [array("b") for _ in range(2)]
        self._meant: Indices | None = None

    def add(self, key: int, feature: Feature) -> None:
        """Add a part."""
        values = (key, feature.start, feature.end, feature.line, feature.strand, PARTS.index(feature.role))
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def rename(self, meant: Indices) -> None:
        """Give the parts other keys: `meant` holds the new one of each."""
        self._meant = meant

    def whole(self) -> Parts:
        """Return all of them; none can be added afterwards."""
        parts = Parts(*(np.asarray(column) for column in self._columns))
        return parts if self._meant is None else parts._replace(key=self._meant[parts.key].astype(np.int32))


class Lines:
    """What an annotation's lines say, while they are read.

    A transcript is known by sequence, gene_id (in GTF) and name, since a name alone may stand for several. These three
    have a number, the key, which parts have in place of them.
    """

    def __init__(self, form: Form) -> None:
        """Begin with no lines."""
        self.form = form
        self.loci: list[Locus] = []
        self.drafts: list[Draft] = []
        self.parts = GrowingParts()
        self.names: list[tuple[str, str, str]] = []
        self.organelles: set[str] = set()
        self.circular: set[str] = set()
        self.repairs = Repairs()
        self.facts_of_lineless: dict[int, tuple[Traits, str]] = {}
        self._keys: dict[tuple[str, str, str], int] = {}
        self._with_line: set[int] = set()

    def add(self, feature: Feature) -> None:
        """Add a line."""
        role, named = feature.role, feature.named
        if role in PARTS:
            self._add_part(feature)
        elif role == "region":
            kind = first(named.attributes, "genome").lower()
            if kind.startswith(GENOMES_OF_ORGANELLES):
                self.organelles.add(feature.sequence)
            if first(named.attributes, "Is_circular").lower() == "true":
                self.circular.add(feature.sequence)
        elif role == "transcript" or (named.parents and feature.type != "gene"):
            # FlyBase's pseudogenes are transcripts: pseudogene ID=FBtr1;Parent=FBgn1
            gene = named.gene or (named.parents[0] if named.parents else "")
            if self.form == "GFF3" and not gene:
                gene = first(named.attributes, *GENES_OF_TRANSCRIPTS)
            key = self._key(feature.sequence, named.gene, named.name or f"line {feature.line}")
            self._with_line.add(key)
            self.drafts.append(_draft(feature, key, named.name, gene, named.parents))
        else:
            name = named.name or first(named.attributes, "Name") or "unknown_gene"
            place = feature.sequence, feature.start, feature.end, feature.strand
            self.loci.append(Locus(feature.line, name, *place, feature.source, _gene_facts(feature, name)))

    def _add_part(self, feature: Feature) -> None:
        named, sequence = feature.named, feature.sequence
        names = (
            [(sequence, named.gene, named.name)] if self.form == "GTF" else [(sequence, "", p) for p in named.parents]
        )
        for name in names or [(sequence, "", "")]:
            key = self._key(*name)
            self.parts.add(key, feature)
            if key not in self._with_line and key not in self.facts_of_lineless:
                self.facts_of_lineless[key] = _transcript_facts(feature), feature.source

    def _key(self, *name: str) -> int:
        key = self._keys.setdefault(name, len(self.names))  # type: ignore[arg-type]
        if key == len(self.names):
            self.names.append(name)  # type: ignore[arg-type]
        return key

    def unify_keys(self) -> None:
        """Let lines of GTF that say less of a transcript be of the one that is meant.

        A line may lack the gene_id, as AUGUSTUS's lines of transcripts do, or the transcript_id, as JGI's CDS do:

            transcript  t1                                   exon  gene_id "g1"; transcript_id "t1"
            exon        gene_id "g1"; transcript_id "t1"     CDS   gene_id "g1"; protein_id "p1"
        """
        if self.form == "GFF3":
            return
        full = [(key, name) for key, name in enumerate(self.names) if name[1] and name[2]]
        by_transcript, by_gene = defaultdict(list), defaultdict(list)
        for key, (sequence, gene, transcript) in full:
            by_transcript[sequence, transcript].append(key)
            by_gene[sequence, gene].append(key)
        meant = np.arange(len(self.names))
        for key, (sequence, gene, transcript) in enumerate(self.names):
            found = by_transcript[sequence, transcript] if not gene else by_gene[sequence, gene]
            if len(found) == 1 and not (gene and transcript):
                meant[key] = found[0]
        self.parts.rename(meant)
        for draft in self.drafts:
            draft.key = int(meant[draft.key])
            draft.gene = draft.gene or self.names[draft.key][1]


def _draft(feature: Feature, key: int, name: str, gene: str, parents: Sequence[str]) -> Draft:
    name = name or first(feature.named.attributes, "Name") or "unknown_transcript"
    place = feature.sequence, feature.start, feature.end, feature.strand
    return Draft(feature.line, key, name, gene, *place, feature.source, _transcript_facts(feature), parents)


def _gene_facts(feature: Feature, name: str) -> Traits:
    attributes = feature.named.attributes
    biotype = first(attributes, *GENE_BIOTYPES)
    if not biotype and feature.type.lower() != "gene":  # ncRNA_gene, pseudogene, transposable_element_gene
        biotype = re.sub("(?<=RNA)_gene$", "", feature.type)
    if not biotype and _BIOTYPE_NOTE.fullmatch(note := first(attributes, "Note")):
        biotype = note
    if not biotype and first(attributes, "pseudo") == "true":
        biotype = "pseudogene"
    symbol = first(attributes, *SYMBOLS) or name
    symbol = name if fault_of(symbol) else symbol
    return Traits(symbol, _normalised(biotype), trans_spliced=_is_trans_spliced(attributes))


def _transcript_facts(feature: Feature) -> Traits:
    attributes = feature.named.attributes
    if not attributes:
        return Traits()
    symbol = first(attributes, *SYMBOLS[1:])
    gene_biotype = first(attributes, *GENE_BIOTYPES)
    if not gene_biotype and feature.role == "transcript" and not _PLAIN_TYPES.fullmatch(feature.type):
        gene_biotype = feature.type  # counts for a gene that has no line: tRNA ID=t1
    return Traits(
        "" if symbol and fault_of(symbol) else symbol,
        _normalised(gene_biotype),
        _normalised(first(attributes, *TRANSCRIPT_BIOTYPES)),
        _marks(attributes),
        _is_trans_spliced(attributes),
    )


def _marks(attributes: Attributes) -> tuple[str, ...]:
    """Return what makes a transcript its gene's representative, as `PREFERRED_TAGS`.

    tag=MANE_Select   tag "RefSeq Select"   tag=appris_principal_1   canonical_transcript=1   longest=1
    """
    given = {
        re.sub(r"^(appris_principal)_?\d$", r"\1", tag.strip().replace(" ", "_")) for tag in attributes.get("tag", ())
    }
    given |= {
        mark for mark in MARKS if mark in attributes and first(attributes, mark).lower() not in ("0", "false", "no")
    }
    return tuple(tag for tag in PREFERRED_TAGS if tag in given)


def _normalised(biotype: str) -> str | None:
    same = biotype in ("protein-coding", "protein_coding_gene")
    return "protein_coding" if same else sys.intern(biotype) or None


def _is_trans_spliced(attributes: Attributes) -> bool:
    """Tell whether there is NCBI's exception or an attribute of that name."""
    said = any(_TRANS_SPLICING.fullmatch(value) for value in attributes.get("exception", ()))
    return said or any(key in attributes for key in TRANS_SPLICING)

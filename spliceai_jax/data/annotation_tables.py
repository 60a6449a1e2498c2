"""What the lines of an annotation say, by role, while they are read."""

import re
import sys
from typing import NamedTuple

from spliceai_jax.data.annotation_lines import (
    GENE_BIOTYPES,
    SYMBOLS,
    TRANS_SPLICING,
    TRANSCRIPT_BIOTYPES,
    Attributes,
    Feature,
    first,
)
from spliceai_jax.data.annotation_places import GrowingPlaces, Places
from spliceai_jax.data.names import fault_of

# What annotations call the representative transcript of a gene, the better choice first.
PREFERRED_TAGS = ("MANE_Select", "Ensembl_canonical", "RefSeq_Select")

# TAIR10 has the biotype of a gene as its note.
_BIOTYPE_NOTE = re.compile(r"protein_coding_gene|pseudogene|transposable_element_gene|other_RNA|(mi|t|r|nc|sn|sno)RNA")
_TRANS_SPLICING = re.compile(r"(?i)trans[-_ ]splicing")


class Facts(NamedTuple):
    """What a line says of its gene or transcript, beside where it lies."""

    name: str
    symbol: str = ""
    biotype: str | None = None
    tags: tuple[str, ...] = ()
    trans_spliced: bool = False
    source: str = ""


class Tables:
    """The lines of an annotation, by role.

    A name is a pair of a sequence and an ID, so that an ID may stand for different things on different sequences.
    """

    def __init__(self) -> None:
        """Begin with no lines."""
        self.names: list[tuple[str, str]] = []
        self.genes, self.transcripts, self.exons, self.cds = (GrowingPlaces() for _ in range(4))
        self.gene_facts: list[Facts] = []
        self.transcript_facts: list[Facts] = []
        self.sequences: list[str] = []
        # By key, in GTF, where some have no line of their own.
        self.facts_of_gene: dict[int, Facts] = {}
        self.facts_of_transcript: dict[int, Facts] = {}
        self._keys: dict[tuple[str, str], int] = {}

    def add(self, feature: Feature) -> None:
        """Add a line."""
        gene = self._key(feature.sequence, feature.gene)
        if feature.role == "gene":
            self.genes.add(self._key(feature.sequence, feature.name), gene, feature)
            self.gene_facts.append(_gene_facts(feature))
            self.sequences.append(feature.sequence)
            return
        if gene >= 0 and gene not in self.facts_of_gene:
            self.facts_of_gene[gene] = _gene_facts(feature)
        parents = [self._key(feature.sequence, parent) for parent in feature.parents]
        if feature.role == "transcript":
            key, facts = self._key(feature.sequence, feature.name), _transcript_facts(feature, feature.name)
            self.transcripts.add(key, parents[0] if parents else -1, feature)
            self.transcript_facts.append(facts)
            if gene >= 0:
                self.facts_of_transcript.setdefault(key, facts)
            return
        for parent in parents:
            (self.exons if feature.role == "exon" else self.cds).add(parent, gene, feature)
            if gene >= 0 and parent not in self.facts_of_transcript:
                self.facts_of_transcript[parent] = _transcript_facts(feature, self.names[parent][1])

    @property
    def exon_count(self) -> int:
        """The number of exons."""
        return len(self.exons)

    def parts(self) -> Places:
        """Return the exons and, behind them, the CDS."""
        return self.exons.places().followed_by(self.cds.places())

    def _key(self, sequence: str, name: str) -> int:
        """Return the number of a name, or -1 if it is empty."""
        if not name:
            return -1
        pair = (sequence, name)
        key = self._keys.setdefault(pair, len(self.names))
        if key == len(self.names):
            self.names.append(pair)
        return key


def _gene_facts(feature: Feature) -> Facts:
    attributes = feature.attributes
    name = feature.gene or feature.name or first(attributes, "Name") or "unknown_gene"
    biotype = first(attributes, *GENE_BIOTYPES)
    if not biotype and feature.role == "gene":
        note = first(attributes, "Note")
        biotype = feature.type if feature.type == "protein_coding_gene" else ""
        biotype = biotype or (note if _BIOTYPE_NOTE.fullmatch(note) else "")
    symbol = first(attributes, *SYMBOLS) or name
    symbol = name if fault_of(symbol) else symbol
    return Facts(name, symbol, _normalised(biotype), (), _is_trans_spliced(attributes), sys.intern(feature.source))


def _transcript_facts(feature: Feature, name: str) -> Facts:
    attributes = feature.attributes
    name = name or first(attributes, "Name") or "unknown_transcript"
    given = {tag.strip().replace(" ", "_") for tag in attributes.get("tag", ())}
    tags = tuple(tag for tag in PREFERRED_TAGS if tag in given)
    biotype = _normalised(first(attributes, *TRANSCRIPT_BIOTYPES))
    return Facts(name, "", biotype, tags, _is_trans_spliced(attributes))


def _normalised(biotype: str) -> str | None:
    same = biotype in ("protein-coding", "protein_coding_gene")
    return "protein_coding" if same else sys.intern(biotype) or None


def _is_trans_spliced(attributes: Attributes) -> bool:
    """Tell whether there is NCBI's exception or an attribute of that name."""
    said = any(_TRANS_SPLICING.fullmatch(value) for value in attributes.get("exception", ()))
    return said or any(key in attributes for key in TRANS_SPLICING)

"""Genes and their transcripts from the features of an annotation: what belongs to what, and what is repaired.

Annotations that people really have contradict themselves. Each rule below has an example of a few lines, of which only
the columns that matter are shown; `Repair` counts how often a rule changed what the file says.
"""

import re
import sys
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32

from spliceai_jax.data.annotation_lines import (
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
    annotation_features,
    first,
)
from spliceai_jax.data.joined_groups import Joined
from spliceai_jax.data.names import fault_of
from spliceai_jax.data.organelles import GENOMES_OF_ORGANELLES
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SequenceError

PREFERRED_TAGS = (
    "MANE_Select",
    "Ensembl_canonical",
    "RefSeq_Select",
    "canonical_transcript",
    "appris_principal",
    "longest",
)
"""What annotations call the representative transcript of a gene, the better choice first."""

SHORTEST_INTRON = 10
"""Exons nearer to each other than this many bases are one; see `_set_exons`."""

_FAR = 2_000_000
"""The parts of a transcript lie nearer to each other; the longest introns of animals have some 1.2 million bases."""

_FAR_IF_NAMELESS = 50_000
"""The same for parts whose transcript has a name that stands for many."""

_SHARED = 0.2
"""Two transcripts are of one gene if they share this much of the exons of the shorter one, or a splice site.

Of the 8,000 genes of shared/'s annotations of fly, worm and arabidopsis no gene falls apart by this rule, and five
pairs of genes become one, most of which do share a splice site. A splice site alone parts 13 genes.
"""

_MOST = 0.5
"""The share of transcripts named as their gene from which on such a gene_id names no gene."""

_AT_ONCE = 4096
"""The exons of so many transcripts are put together at once, so that memory does not grow with their number."""

_BIOTYPE_NOTE = re.compile(r"protein_coding_gene|pseudogene|transposable_element_gene|other_RNA|(mi|t|r|nc|sn|sno)RNA")
"""TAIR10 has the biotype of a gene as its note."""

_TRANS_SPLICING = re.compile(r"(?i)trans[-_ ]splicing")
_PLAIN_TYPES = re.compile(r"(?i)m_?rna|(.*_)?transcript")
_MANY_SHARE_IT = re.compile(r"unknown_transcript(_\d+)?|")

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
            is no name (see `names.fault_of`).
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


@dataclass(frozen=True, slots=True)
class Repair:
    """A rule that changed what an annotation says.

    Attributes:
        rule: Its short name.
        count: How often it did.
        text: What was changed, with the number and the first example, for people.
    """

    rule: str
    count: int
    text: str


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
        lines = _Lines(form)
        for feature in features:
            lines.add(feature)
    lines.unify_keys()
    transcripts = _transcripts(lines)
    genes = _genes(lines, transcripts)
    if not genes:
        raise SequenceError(
            f"{path}: holds no feature of type gene with a strand, nor a transcript with a strand and exons or CDS; "
            "give a GFF3 or GTF file of genes"
        )
    return Annotation(genes, lines.repairs.made(), frozenset(lines.organelles), frozenset(lines.circular))


# -- what the lines say ---------------------------------------------------------------------------------------------


class _Facts(NamedTuple):
    """What a line says of its gene or transcript, beside where it lies."""

    symbol: str = ""
    gene_biotype: str | None = None
    biotype: str | None = None
    tags: tuple[str, ...] = ()
    trans_spliced: bool = False


@dataclass(slots=True)
class _Draft:
    """A transcript whose gene is yet to be found.

    Attributes:
        line: The number of its line, or of its first part's.
        key: The number of its name; see `_Lines`.
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
    facts: _Facts
    parents: Sequence[str] = ()
    implied: bool = False
    exons: Int32[np.ndarray, "exons 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    coding_length: int = 0
    exons_from_cds: bool = False
    astray: bool = False


@dataclass(slots=True)
class _Locus:
    """A gene while its transcripts are gathered; `has_line` tells whether the annotation has a line for it."""

    line: int
    name: str
    sequence: str
    start: int
    end: int
    strand: int
    source: str
    facts: _Facts
    has_line: bool = True
    drafts: list[_Draft] = field(default_factory=list)


_RULES = {
    "exons put together": "transcripts whose exons were put together from exon, CDS and UTR lines",
    "short gaps": f"gaps of fewer than {SHORTEST_INTRON} bases between exons, closed since no intron is so short",
    "span": "genes extended to the ends of their transcripts, which reach beyond the gene's line",
    "no gene lines": "genes made of transcripts that have no gene line",
    "gene_id is transcript_id": "transcripts without a gene_id but their own name, grouped into genes by shared exons",
    "nameless": "transcripts told apart by their place, since several have one name or none",
    "far apart": "transcripts that do not overlap the gene that they name, taken as another gene of that name",
    "lost lines": "transcripts without a line, given to the gene that they lie in",
    "stray transcripts": "transcripts that name no gene and lie on one, left out",
    "stray parts": "exon, CDS and UTR lines that name no transcript, left out",
    "childless gene lines": "gene lines without transcripts, left out since the same gene has another name",
    "no strand": "genes without a strand, left out",
}
"""What each rule changes, in words that its number follows."""


class _Repairs:
    """Counts what each rule changes."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def count(self, rule: str, example: str, times: int = 1) -> None:
        """Count a change."""
        if times:
            self._counts[rule] += times
            self._examples.setdefault(rule, example)

    def made(self) -> tuple[Repair, ...]:
        """Return what was changed."""
        return tuple(
            Repair(rule, count, f"{said}: {count} (the first: {self._examples[rule]})")
            for rule, said in _RULES.items()
            if (count := self._counts[rule])
        )


class _Lines:
    """What an annotation's lines say, while they are read.

    A transcript is known by sequence, gene_id (in GTF) and name, since a name alone may stand for several. These three
    have a number, the key, which parts have in place of them.
    """

    def __init__(self, form: Form) -> None:
        """Begin with no lines."""
        self.form = form
        self.loci: list[_Locus] = []
        self.drafts: list[_Draft] = []
        self.parts = _GrowingParts()
        self.names: list[tuple[str, str, str]] = []
        self.organelles: set[str] = set()
        self.circular: set[str] = set()
        self.repairs = _Repairs()
        self.facts_of_lineless: dict[int, tuple[_Facts, str]] = {}
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
            self.loci.append(_Locus(feature.line, name, *place, feature.source, _gene_facts(feature, name)))

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


def _draft(feature: Feature, key: int, name: str, gene: str, parents: Sequence[str]) -> _Draft:
    name = name or first(feature.named.attributes, "Name") or "unknown_transcript"
    place = feature.sequence, feature.start, feature.end, feature.strand
    return _Draft(feature.line, key, name, gene, *place, feature.source, _transcript_facts(feature), parents)


def _gene_facts(feature: Feature, name: str) -> _Facts:
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
    return _Facts(symbol, _normalised(biotype), trans_spliced=_is_trans_spliced(attributes))


def _transcript_facts(feature: Feature) -> _Facts:
    attributes = feature.named.attributes
    if not attributes:
        return _Facts()
    symbol = first(attributes, *SYMBOLS[1:])
    gene_biotype = first(attributes, *GENE_BIOTYPES)
    if not gene_biotype and feature.role == "transcript" and not _PLAIN_TYPES.fullmatch(feature.type):
        gene_biotype = feature.type  # counts for a gene that has no line: tRNA ID=t1
    return _Facts(
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


# -- parts of transcripts: millions of them, so in columns ----------------------------------------------------------


class _Parts(NamedTuple):
    """Exons, CDS, UTRs and codons: the number of the transcript's name, where each lies, its line, strand and role."""

    key: Int32[np.ndarray, " features"]
    start: Int32[np.ndarray, " features"]
    end: Int32[np.ndarray, " features"]
    line: Int32[np.ndarray, " features"]
    strand: Int[np.ndarray, " features"]
    role: Int[np.ndarray, " features"]

    def at(self, which: Indices | Bool[np.ndarray, " features"]) -> "_Parts":
        """Return some of them."""
        return _Parts(*(column[which] for column in self))


class _GrowingParts:
    """Parts while the lines are read."""

    def __init__(self) -> None:
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

    def whole(self) -> _Parts:
        """Return all of them; none can be added afterwards."""
        parts = _Parts(*(np.asarray(column) for column in self._columns))
        return parts if self._meant is None else parts._replace(key=self._meant[parts.key].astype(np.int32))


def _transcripts(lines: _Lines) -> list[_Draft]:
    """Return all transcripts with their exons, those without a line included."""
    drafts, parts = lines.drafts, lines.parts.whole()
    owner = _owners(drafts, parts)
    owner, drafts = _with_lineless(lines, drafts, parts, owner)
    strands_of_genes = {(locus.sequence, locus.name): locus.strand for locus in lines.loci}
    for draft in drafts:
        draft.strand = draft.strand or strands_of_genes.get((draft.sequence, draft.gene), 0)
    held = np.flatnonzero(owner >= 0)
    strands = np.array([draft.strand for draft in drafts], np.int8)
    astray = parts.strand[held] * strands[owner[held]] < 0  # exons on the other strand: trans-splicing
    for index in np.unique(owner[held[astray]]).tolist():
        drafts[index].astray = True
    held = held[~astray]
    held = held[np.argsort(owner[held], kind="stable")]
    short_gaps: dict[tuple[str, int, int], str] = {}
    for begin in range(0, len(drafts), _AT_ONCE):
        members = held[slice(*np.searchsorted(owner[held], [begin, begin + _AT_ONCE]))]
        some = drafts[begin : begin + _AT_ONCE]
        short_gaps |= _set_exons(lines, some, parts.at(members), owner[members] - begin)
    lines.repairs.count("short gaps", next(iter(short_gaps.values()), ""), len(short_gaps))
    return drafts


def _owners(drafts: Sequence[_Draft], parts: _Parts) -> Indices:
    """Return the index of the transcript that each part belongs to, -1 for none.

    Of several lines with one ID a part belongs to the last that starts no later than it does, or else to the first:

        mRNA  100-200  ID=t      exon  110-150  Parent=t     of the first
        mRNA  500-600  ID=t      exon  510-550  Parent=t     of the second
    """
    keys, starts = (np.array([getattr(draft, name) for draft in drafts], np.int32) for name in ("key", "start"))
    order = np.lexsort((starts, keys))
    if not len(order):
        return np.full(len(parts.key), -1)
    sorted_keys = keys[order]
    before = np.searchsorted(_placed(sorted_keys, starts[order]), _placed(parts.key, parts.start), side="right") - 1
    after = np.minimum(before + 1, len(order) - 1)
    found = np.where(sorted_keys[after] == parts.key, order[after], -1)
    return np.where((before >= 0) & (sorted_keys[before] == parts.key), order[before], found)


def _with_lineless(lines: _Lines, drafts: list[_Draft], parts: _Parts, owner: Indices) -> tuple[Indices, list[_Draft]]:
    """Add the transcripts that have parts but no line, one for each strand and place.

    exon  100-200  +  gene_id "g"; transcript_id "t"              transcript t of gene g
    CDS   100-200  +  Parent=g               (g is a gene)        transcript g of gene g
    CDS   100-200  +  gene_id ""; transcript_id "unknown_transcript_1"     one in each gene or, without gene lines,
    CDS  9100-9200 +  gene_id ""; transcript_id "unknown_transcript_1"     in each place
    """
    rest = np.flatnonzero(owner < 0)
    if lines.form == "GFF3":  # a part of which another parent is known: Parent=AT1G01010.1,AT1G01010.1-Protein
        rest = rest[~np.isin(parts.line[rest], parts.line[owner >= 0])]
    nameless = np.array([not gene and bool(_MANY_SHARE_IT.fullmatch(name)) for _, gene, name in lines.names], bool)
    if lines.form == "GFF3" and len(rest):
        lost = rest[nameless[parts.key[rest]]]
        lines.repairs.count("stray parts", f"line {parts.line[lost].min(initial=2**31 - 1)}", len(lost))
        rest = np.setdiff1d(rest, lost)
    if not len(rest):
        return owner, drafts
    some = parts.at(rest)
    shared = nameless[some.key]
    group = some.key.astype(np.int64) * 4 + some.strand + 1
    locus = _containing(lines, some, shared)
    _, group = np.unique(np.stack([group, locus]), axis=1, return_inverse=True)
    order, run = _runs(group.ravel(), some.start, some.end, np.where(shared, _FAR_IF_NAMELESS, _FAR))
    names_of_genes = {(locus.sequence, locus.name) for locus in lines.loci}
    drafts = list(drafts)
    bounds = np.flatnonzero(np.diff(run, prepend=-1, append=run[-1] + 1))
    copies: Counter[int] = Counter()
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        members = order[begin:end]
        key = int(some.key[members[0]])
        sequence, gene, name = lines.names[key]
        implied = lines.form == "GFF3" and (sequence, name) in names_of_genes
        facts, source = lines.facts_of_lineless.get(key, (_Facts(), ""))
        owner[rest[members]] = len(drafts)
        copies[key] += 1
        drafts.append(
            _Draft(
                int(some.line[members].min()),
                key,
                name or gene or "unknown_transcript",
                name if implied else gene,
                sequence,
                int(some.start[members].min()),
                int(some.end[members].max()),
                int(some.strand[members[0]]),
                source,
                facts,
                implied=implied,
            )
        )
    for key, count in copies.items():
        if count > 1 and nameless[key]:
            lines.repairs.count("nameless", f"{lines.names[key][2] or 'no name'} on {lines.names[key][0]}", count)
    return owner, drafts


def _containing(lines: _Lines, parts: _Parts, wanted: Bool[np.ndarray, " features"]) -> Indices:
    """Return the number of the gene line, by place, that holds each of the wanted parts; -1 for the others."""
    found = np.full(len(parts.key), -1)
    places: dict[tuple[str, int], list[_Locus]] = defaultdict(list)
    for locus in lines.loci if wanted.any() else ():
        places[locus.sequence, locus.strand].append(locus)
    for index in np.flatnonzero(wanted).tolist():
        there = places[lines.names[parts.key[index]][0], int(parts.strand[index])]
        inside = [n for n, one in enumerate(there) if one.start <= parts.start[index] and parts.end[index] <= one.end]
        found[index] = min(inside, key=lambda n: there[n].end - there[n].start, default=-1)
    return found


def _set_exons(
    lines: _Lines, drafts: Sequence[_Draft], parts: _Parts, owner: Indices
) -> dict[tuple[str, int, int], str]:
    """Put the exons of transcripts together from all their parts, and return the short gaps that were closed.

    An exon is the union of exon, CDS and UTR lines that touch, overlap or lie nearer than `SHORTEST_INTRON`:

        UTR 100-120  CDS 121-200  CDS 300-400        exons 100-200 and 300-400
        exon 100-200  exon 203-300                   exon  100-300, as after a frame shift

    A CDS or UTR line that lies over an intron between exon lines says where translation begins and ends, no more:

        exon 100-200  exon 300-400  CDS 150-350      exons 100-200 and 300-400
    """
    count = len(drafts)
    is_exon, is_cds = parts.role == PARTS.index("exon"), parts.role == PARTS.index("CDS")
    exons, first_exon, gaps = _merged(parts, owner, is_exon, count, SHORTEST_INTRON)
    cds, first_cds, _ = _merged(parts, owner, is_cds, count, 0)
    begin = np.searchsorted(_placed(_numbered(first_exon), exons[:, 1]), _placed(owner, parts.start), "right")
    behind = np.searchsorted(_placed(_numbered(first_exon), exons[:, 0]), _placed(owner, parts.end), "left")
    blocks, first_block, more_gaps = _merged(parts, owner, is_exon | (behind - begin < 2), count, SHORTEST_INTRON)
    gaps = np.concatenate([gaps, more_gaps])
    places = {(drafts[index].sequence, *gap): drafts[index].name for index, *gap in gaps.tolist()}

    lengths = [np.concatenate([[0], np.cumsum(one[:, 1] - one[:, 0])]) for one in (exons, cds, blocks)]
    of_exons, of_cds, of_blocks = (
        np.diff(total[bounds]) for total, bounds in zip(lengths, (first_exon, first_cds, first_block), strict=True)
    )
    has_utr = np.zeros(count, bool)
    has_utr[owner[parts.role == PARTS.index("UTR")]] = True
    together = (of_blocks > of_exons) & ((of_exons > 0) | has_utr)
    for index in np.flatnonzero(of_blocks).tolist():
        draft = drafts[index]
        draft.exons = blocks[first_block[index] : first_block[index + 1]]
        draft.coding_length = int(of_cds[index])
        draft.exons_from_cds = not of_exons[index] and not has_utr[index]
        draft.start, draft.end = min(draft.start, int(draft.exons[0, 0])), max(draft.end, int(draft.exons[-1, 1]))
        if together[index]:
            lines.repairs.count("exons put together", draft.name)
    return places


def _merged(
    parts: _Parts, owner: Indices, which: Bool[np.ndarray, " features"], count: int, gap: int
) -> tuple[Int32[np.ndarray, "blocks 2"], Indices, Int[np.ndarray, "gaps 3"]]:
    """Join parts of each transcript that overlap or lie nearer than `gap` to each other.

    Returns:
        Start and end of each block, by transcript and start; where the blocks of each transcript begin among them; and
        the gaps that were closed: transcript, start and end.
    """
    group, start, end = owner[which], parts.start[which], parts.end[which]
    order, run = _runs(group, start, end, gap)
    group, start, end = group[order], start[order], end[order]
    firsts = np.flatnonzero(np.diff(run, prepend=-1))
    ends = np.maximum.reduceat(end, firsts) if len(firsts) else end
    reach = np.maximum.accumulate(_placed(group, end))[:-1]
    closed = np.flatnonzero((_placed(group[1:], start[1:]) > reach) & (run[1:] == run[:-1])) + 1
    gaps = np.stack([group[closed], reach[closed - 1] & (2**32 - 1), start[closed]], axis=1)
    return np.stack([start[firsts], ends], axis=1), np.searchsorted(group[firsts], np.arange(count + 1)), gaps


def _numbered(bounds: Indices) -> Indices:
    """Return the group of each block, given where those of each group begin."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))


def _runs(group: Indices, start: Indices, end: Indices, gap: Indices | int) -> tuple[Indices, Indices]:
    """Number the runs of features of a group that overlap or are nearer than `gap` bases to each other.

    Returns:
        The order of the features by group and start; and the number of the run of each, in this order.
    """
    order = np.lexsort((start, group))
    reach = np.maximum.accumulate(_placed(group[order], end[order]))
    begins = np.ones(len(order), bool)
    gaps = gap if isinstance(gap, int) else gap[order][1:]
    begins[1:] = _placed(group[order], start[order])[1:] - reach[:-1] >= gaps
    return order, np.cumsum(begins) - 1


def _placed(group: Indices, place: Indices) -> Indices:
    """Return one number that orders features by group and then by place, which is below 2**31."""
    return group.astype(np.int64) << 32 | place


# -- genes ----------------------------------------------------------------------------------------------------------


def _genes(lines: _Lines, drafts: list[_Draft]) -> list[Gene]:
    """Give each transcript to its gene, make the genes that have no line, and return all genes that have a strand."""
    orphans = _adopted(lines, drafts)
    orphans = _by_place(lines, orphans)
    named, alone = _named_and_alone(lines, orphans)
    grouped = _by_shared_exons(alone)
    if lines.form == "GTF" and len(grouped) < len(alone):
        lines.repairs.count("gene_id is transcript_id", alone[0].name, len(alone))
    made = _by_name(named) + grouped
    if lines.form == "GFF3":
        for locus in made:
            lines.repairs.count("no gene lines", locus.name)
    loci = _without_doubles(lines, made) + made
    found = []
    for locus in sorted(loci, key=lambda locus: locus.line):
        if locus.strand:
            found.append(_gene(lines, locus))
        else:
            lines.repairs.count("no strand", locus.name)
    return found


def _adopted(lines: _Lines, drafts: Iterable[_Draft]) -> list[_Draft]:
    """Give transcripts to the gene lines that they name, and return the others.

    Of several lines with one ID, or gene_id, a transcript belongs to the last that starts no later than it does, or
    else to the first, if it overlaps it or its other transcripts: PAR genes, tRNAs and NCBI's genes without a name
    stand in many places.
    """
    by_name: dict[tuple[str, str], list[_Locus]] = defaultdict(list)
    for line in sorted(lines.loci, key=_start_of):
        by_name[line.sequence, line.name].append(line)
    transcripts = {(draft.sequence, draft.name) for draft in lines.drafts}
    orphans: list[_Draft] = []
    implied: list[tuple[_Locus, _Draft]] = []
    apart: list[tuple[_Locus, _Draft]] = []
    for draft in drafts:
        there = by_name.get((draft.sequence, draft.gene), ())
        locus = next((one for one in reversed(there) if one.start <= draft.start), there[0] if there else None)
        if locus and locus.start < draft.end and draft.start < locus.end:
            if draft.implied:
                implied.append((locus, draft))
            else:
                locus.drafts.append(draft)
        elif locus:
            apart.append((locus, draft))
        elif not any((draft.sequence, parent) in transcripts for parent in draft.parents):
            # A child of a transcript is none of the gene's: miRNA ID=m1;Parent=primary_transcript1
            orphans.append(draft)
    for parent, draft in sorted(apart, key=lambda pair: _distance(*pair)):
        if any(other.start < draft.end and draft.start < other.end for other in parent.drafts):
            parent.drafts.append(draft)
        else:
            lines.repairs.count("far apart", draft.name)
            orphans.append(draft)
    for parent, draft in implied:  # parts of the gene itself count if its transcripts have none
        if not any(len(other.exons) for other in parent.drafts):
            parent.drafts.append(draft)
    return orphans


def _distance(locus: _Locus, draft: _Draft) -> int:
    return max(draft.start - locus.end, locus.start - draft.end)


def _by_place(lines: _Lines, orphans: Iterable[_Draft]) -> list[_Draft]:
    """Give transcripts that name no gene to the gene line without transcripts that they lie in; return the others.

    gene  100-900  ID=g1                          the exons of a transcript whose line was lost: of g1
    exon  100-200  Parent=t1

    Those that lie on a gene with transcripts of its own are left out: alignments of proteins, older predictions.
    """
    places: dict[tuple[str, int], list[_Locus]] = defaultdict(list)
    for locus in sorted(lines.loci, key=_start_of):
        places[locus.sequence, locus.strand].append(locus)
    reach = {place: np.maximum.accumulate([locus.end for locus in there]) for place, there in places.items()}
    rest, empty = [], {id(locus) for locus in lines.loci if not locus.drafts}
    for draft in orphans:
        place = draft.sequence, draft.strand
        if draft.gene or place not in places:
            rest.append(draft)
            continue
        first_near = int(np.searchsorted(reach[place], draft.start, "right"))
        near = places[place][first_near : bisect_left(places[place], draft.end, key=_start_of)]
        over = [locus for locus in near if locus.end > draft.start]
        around = [one for one in over if id(one) in empty and one.start <= draft.start and draft.end <= one.end]
        if around:
            min(around, key=lambda one: one.end - one.start).drafts.append(draft)
            lines.repairs.count("lost lines", draft.name)
        elif over:
            lines.repairs.count("stray transcripts", draft.name)
        else:
            rest.append(draft)
    return [draft for draft in rest if len(draft.exons) or lines.form == "GTF"]


def _named_and_alone(lines: _Lines, orphans: Sequence[_Draft]) -> tuple[list[_Draft], list[_Draft]]:
    """Divide transcripts without a gene line into those that name their gene, and the others.

    A gene_id that is the transcript's own name in most lines, as in UCSC's tables, names no gene:

        exon  gene_id "NM_1"; transcript_id "NM_1"       exon  gene_id "NM_1"; transcript_id "NM_1_dup1"
    """
    own = [
        draft
        for draft in orphans
        if draft.gene
        and lines.names[draft.key][2]  # a transcript without a name has that of its gene
        and re.fullmatch(re.escape(draft.gene) + r"(_dup\d+)?", draft.name)
    ]
    named = [draft for draft in orphans if draft.gene]
    if lines.form == "GFF3" or len(own) < _MOST * len(named):
        own = []
    alone = {id(draft) for draft in own}
    return (
        [draft for draft in named if id(draft) not in alone],
        [draft for draft in orphans if not draft.gene or id(draft) in alone],
    )


def _by_name(drafts: Sequence[_Draft]) -> list[_Locus]:
    """Make genes of transcripts that name one gene on one strand; those that do not overlap are different genes."""
    groups: dict[tuple[str, str, int], list[_Draft]] = defaultdict(list)
    for draft in drafts:
        groups[draft.sequence, draft.gene, draft.strand].append(draft)
    loci = []
    for members in groups.values():
        members.sort(key=lambda draft: draft.start)
        reach = -1
        for draft in members:
            if draft.start >= reach:
                loci.append(_locus(draft, draft.gene))
            loci[-1].drafts.append(draft)
            reach = max(reach if draft.start < reach else -1, draft.end)
    return loci


def _by_shared_exons(drafts: Sequence[_Draft]) -> list[_Locus]:
    """Make genes of transcripts of one strand that share a splice site, or `_SHARED` of the exons of the shorter.

    exon  100-200  300-400  t1
    exon  150-200  300-350  t2      of one gene with t1: the same intron
    exon  380-500  600-700  t3      another gene, which overlaps by 20 bases
    """
    groups = Joined(len(drafts))
    at_site: dict[tuple[str, int, int, int], int] = {}
    for number, draft in enumerate(drafts):
        for side, sites in enumerate((draft.exons[:-1, 1].tolist(), draft.exons[1:, 0].tolist())):
            for site in sites:
                groups.join(number, at_site.setdefault((draft.sequence, draft.strand, side, site), number))
    active: list[int] = []
    for number in sorted(range(len(drafts)), key=lambda n: (drafts[n].sequence, drafts[n].strand, drafts[n].start)):
        draft = drafts[number]
        place = draft.sequence, draft.strand
        active = [n for n in active if (drafts[n].sequence, drafts[n].strand) == place and drafts[n].end > draft.start]
        for other in active:
            if groups.group(other) != groups.group(number) and _share_enough(draft, drafts[other]):
                groups.join(number, other)
        active.append(number)
    loci: dict[int, _Locus] = {}
    for number in sorted(range(len(drafts)), key=lambda n: drafts[n].line):
        draft = drafts[number]
        name = draft.facts.symbol or draft.name
        loci.setdefault(groups.group(number), _locus(draft, name)).drafts.append(draft)
    return list(loci.values())


def _share_enough(one: _Draft, other: _Draft) -> bool:
    shared, left, right = 0, one.exons.tolist(), other.exons.tolist()
    while left and right:
        shared += max(0, min(left[-1][1], right[-1][1]) - max(left[-1][0], right[-1][0]))
        (left if left[-1][0] > right[-1][0] else right).pop()
    shorter = min(int((draft.exons[:, 1] - draft.exons[:, 0]).sum()) for draft in (one, other))
    return shared >= _SHARED * shorter


def _start_of(locus: _Locus) -> int:
    return locus.start


def _locus(draft: _Draft, name: str) -> _Locus:
    place = draft.sequence, draft.start, draft.end, draft.strand
    return _Locus(draft.line, name, *place, draft.source, draft.facts, has_line=False)


def _without_doubles(lines: _Lines, made: Sequence[_Locus]) -> list[_Locus]:
    """Leave out gene lines without transcripts of which a gene without a line covers at least half.

    gene  100-900  g1                                BRAKER's mixtures have the same gene under two names
    exon  100-200  gene_id "file_1_g1"; ...
    """
    places: dict[tuple[str, int], list[_Locus]] = defaultdict(list)
    for locus in made:
        locus.start, locus.end = min(d.start for d in locus.drafts), max(d.end for d in locus.drafts)
        places[locus.sequence, locus.strand].append(locus)
    for there in places.values():
        there.sort(key=_start_of)
    longest = max((locus.end - locus.start for locus in made), default=0)
    kept = []
    for locus in lines.loci:
        there = places.get((locus.sequence, locus.strand), [])
        if not locus.drafts and there:
            near = there[
                bisect_left(there, locus.start - longest, key=_start_of) : bisect_left(there, locus.end, key=_start_of)
            ]
            covered = max((min(one.end, locus.end) - max(one.start, locus.start) for one in near), default=0)
            if 2 * covered >= locus.end - locus.start:
                lines.repairs.count("childless gene lines", locus.name)
                continue
        kept.append(locus)
    return kept


def _gene(lines: _Lines, locus: _Locus) -> Gene:
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


def _transcript(draft: _Draft) -> Transcript:
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


def _shared_biotype(drafts: Iterable[_Draft]) -> str | None:
    biotypes = {draft.facts.biotype for draft in drafts if draft.facts.biotype}
    if "protein_coding" in biotypes:
        return "protein_coding"
    return biotypes.pop() if len(biotypes) == 1 else None

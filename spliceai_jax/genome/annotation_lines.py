"""The lines of annotations, in their dialects, as features: genes, transcripts and the parts of transcripts.

Three dialects are read. They differ in the ninth column:

    GFF3   ID=t1;Parent=g1;Name=abc         names are escaped (%20), a part may have several parents
    GTF    gene_id "g1"; transcript_id "t1";  also without semicolons, and AUGUSTUS's bare names: g1
    JGI    name "g1"; transcriptId 17         GFF2, where a name stands for a gene and its only transcript
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, Literal, NamedTuple
from urllib.parse import unquote

from spliceai_jax.errors import SequenceError
from spliceai_jax.genome.compressed import open_text
from spliceai_jax.genome.sequence_names import fault_of

Role = Literal["gene", "transcript", "exon", "CDS", "UTR", "codon", "region"]
Form = Literal["GFF3", "GTF"]
Attributes = Mapping[str, Sequence[str]]

PARTS: tuple[Role, ...] = ("exon", "CDS", "UTR", "codon")
"""The roles of the parts of transcripts. A codon is a start or stop codon, which in GTF is no part of the CDS."""

# The types of column 3, most of the Sequence Ontology; the first that matches counts. TAIR10's mRNA_TE_gene is the
# transcript of a transposable element's gene.
_ROLES: tuple[tuple[re.Pattern[bytes], Role], ...] = (
    (re.compile(rb"(?i)([a-z]+_)*coding_exon|CDS"), "CDS"),
    (re.compile(rb"(?i)([a-z]+_)*exon"), "exon"),
    (re.compile(rb"(?i)[a-z0-9'_-]*(utr|untranslated_region)|utr['_-]?[35]('|p|_prime)?"), "UTR"),
    (re.compile(rb"(start|stop)_codon"), "codon"),
    (re.compile(rb"(?i).*(rna|transcript|transcript_variant|gene_segment)|mRNA_TE_gene"), "transcript"),
    (re.compile(rb"(?i)(.+_)?(pseudo)?gene"), "gene"),
    (re.compile(rb"(?i)region|chromosome|scaffold|contig|supercontig"), "region"),
)

_LONGEST_LINE = 10_000_000

_KNOWN = 1000
"""The parts of a transcript mostly stand together, so what column 9 says is kept for this many transcripts."""

_WITH_ARTICLE: Mapping[Role, str] = {"gene": "a gene", "transcript": "a transcript", "exon": "an exon", "CDS": "a CDS"}
_STRANDS = {b"+": 1, b"-": -1, b".": 0, b"?": 0}
_LAST_BASE = 2**31 - 1
_GTF_BEGINS = re.compile(r'\s*[^\s=;"]+\s+[^\s=;]')
_GTF_PAIR = re.compile(r'(?<![^\s;])([^\s=;"]++)\s++("[^"]*+"|[^\s=;"]++)')
_GFF3_BEGINS = re.compile(r'\s*[^\s=;"]+\s*=')
_BARE = re.compile(r'([^\s=;"]+)\s*;?')
_GTF_IDS = re.compile(rb'gene_id "[^".][^"]*"; transcript_id "[^"]*";|transcript_id "[^"]*"; gene_id "[^".][^"]*";')
_GFF3_PARENT = re.compile(rb"(?:^|;) *(?:Parent|(transcript_id))=([^;]*)")

SYMBOLS = ("Name", "gene_name", "gene", "gene_symbol")
GENE_BIOTYPES = ("gene_biotype", "gene_type", "biotype", "locus_type")
TRANSCRIPT_BIOTYPES = ("transcript_biotype", "transcript_type", "biotype")
TRANS_SPLICING = ("trans_splicing", "trans-splicing", "trans_spliced")
GENES_OF_TRANSCRIPTS = ("geneID", "gene_id", "locus", "gene_name", "gene")
"""Attributes of GFF3 that name the gene of a transcript which has no parent; the first are gffread's."""

_NAMES_OF_GTF = ("gene_id", "gene", "locus_tag", "gene_name", "name")
"""Attributes that name a gene where gene_id is empty, as NCBI's may be, or missing, as in JGI's files."""

MARKS = ("Ensembl_canonical", "canonical_transcript", "longest")
"""Attributes that are 1 for the representative transcript of a gene, beside the tags of `annotation.PREFERRED_TAGS`."""

# All that is used of column 9; a human annotation has ten times as much.
_KEYS = frozenset(
    ("ID", "Parent", "transcript_id", "Note", "exception", "pseudo", "tag", "genome", "Is_circular")
    + (SYMBOLS + GENE_BIOTYPES + TRANSCRIPT_BIOTYPES + TRANS_SPLICING + GENES_OF_TRANSCRIPTS + _NAMES_OF_GTF + MARKS)
)


class Named(NamedTuple):
    """What column 9 of a line says.

    Attributes:
        name: The ID; in GTF the gene_id of a gene, and the transcript_id of a transcript or part; "" for none.
        parents: In GFF3 the features that it is a part of.
        gene: In GTF the gene_id; else "".
        attributes: What else is used, by key; each value of a key that has several.
    """

    name: str
    parents: Sequence[str]
    gene: str
    attributes: Attributes


class Feature(NamedTuple):
    """A line of an annotation.

    Attributes:
        line: Its number, from 1.
        source: Column 2.
        type: Column 3.
        role: What the type stands for.
        sequence: The name of the sequence that it lies on.
        start: Its first base there, counted from 0.
        end: The base after its last.
        strand: 1 for "+", -1 for "-", 0 where the annotation gives none.
        named: What column 9 says; of a part in GFF3 the parents alone.
    """

    line: int
    source: str
    type: str
    role: Role
    sequence: str
    start: int
    end: int
    strand: int
    named: Named


@contextmanager
def annotation_features(path: Path) -> Iterator[tuple[Form, Iterator[Feature]]]:
    """Open an annotation; give its form, and the lines that describe genes, transcripts, their parts and sequences.

    Raises:
        SequenceError: The file is missing, damaged or neither GFF3 nor GTF; the message names the line.
    """
    with open_text(path, "a GFF3 or GTF file") as file:
        form, lines = _form(_lines(file, path))
        yield form, _features(lines, form, path)


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with columns, and their numbers."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if line.startswith((b"##FASTA", b">")):
            return
        if len(line) > _LONGEST_LINE:
            raise SequenceError(f"{path}: line {number}: more than {_LONGEST_LINE} bytes; expected GFF3 or GTF")
        if not line.startswith(b"#") and line.strip():
            yield number, line


def _form(lines: Iterator[tuple[int, bytes]]) -> tuple[Form, Iterator[tuple[int, bytes]]]:
    """Find the form by the first line that shows it; until then at most as much is held as one line may have.

    Lines that are not used do not count: AUGUSTUS writes its hints (src=RM) before genes in GTF.
    """
    seen: list[tuple[int, bytes]] = []
    room = _LONGEST_LINE
    form: Form = "GFF3"
    for number, line in lines:
        if line.count(b"\t") >= 8 and _role(line.split(b"\t", 3)[2]) is None:
            continue
        seen.append((number, line))
        attributes = _text(line.rsplit(b"\t", 1)[-1])
        room -= len(line)
        if (is_gtf := _GTF_BEGINS.match(attributes)) or _GFF3_BEGINS.match(attributes) or room < 0:
            form = "GTF" if is_gtf else "GFF3"
            break
    return form, chain(seen, lines)


def _features(lines: Iterator[tuple[int, bytes]], form: Form, path: Path) -> Iterator[Feature]:
    sequence_of = lru_cache(10_000)(_sequence)
    named = _gtf(path) if form == "GTF" else _gff3(path)
    for number, line in lines:
        columns = line.rstrip(b"\r\n").split(b"\t")
        if len(columns) != 9 and (len(columns) < 9 or any(map(bytes.strip, columns[9:]))):
            found = f"{len(columns)} column{'' if len(columns) == 1 else 's'}"
            raise SequenceError(f"{path}: line {number}: {found}; expected GFF3 or GTF, 9 columns separated by tabs")
        role = _role(columns[2])
        if role is None:
            continue
        start, end = _places(columns, role, number, path)
        if (strand := _STRANDS.get(columns[6])) is None:
            found = _text(columns[6])[:20]
            raise SequenceError(f"{path}: line {number}: {_a(role)} on strand {found!r}; expected + - . or ?")
        sequence = sequence_of(columns[0], form)
        if not sequence:
            raise SequenceError(f"{path}: line {number}: no name of a sequence; expected one in the first column")
        if fault := fault_of(sequence):
            raise SequenceError(f"{path}: line {number}: {fault}")
        said = named(columns[8], role, number)
        yield Feature(number, _word(columns[1]), _word(columns[2]), role, sequence, start, end, strand, said)


@lru_cache(1000)
def _role(kind: bytes) -> Role | None:
    return next((role for pattern, role in _ROLES if pattern.fullmatch(kind)), None)


def _a(role: Role) -> str:
    return _WITH_ARTICLE.get(role, f"a {role}")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


_word = lru_cache(1000)(_text)
"""Decodes what few lines have for themselves alone."""


def _sequence(column: bytes, form: Form) -> str:
    return unquote(_text(column), errors="surrogateescape") if form == "GFF3" and b"%" in column else _text(column)


def _places(columns: list[bytes], role: Role, number: int, path: Path) -> tuple[int, int]:
    """Return the first base, counted from 0, and the base after the last."""
    first, last = columns[3], columns[4]
    if len(first) <= 20 and len(last) <= 20 and first.isdigit() and last.isdigit():  # of bytes: 0 to 9 alone
        start, end = int(first), int(last)
        if 1 <= start <= end <= _LAST_BASE:
            return start - 1, end
    found = f"{_a(role)} from {_text(first)[:20]!r} to {_text(last)[:20]!r}"
    raise SequenceError(f"{path}: line {number}: {found}; expected whole numbers from 1 to {_LAST_BASE}, in order")


Reads = Callable[[bytes, Role, int], Named]
"""Reads column 9, given the role and the number of the line."""


def _gff3(path: Path) -> Reads:
    known: dict[bytes, Named] = {}

    def read(content: bytes, role: Role, number: int) -> Named:
        if role in PARTS and (found := _GFF3_PARENT.findall(content)):
            # A transcript_id counts where there is no parent.
            ids = b",".join([value for other, value in found if not other] or [found[0][1]])
            if not (said := known.get(ids)):
                _make_room(known)
                known[ids] = said = _checked(Named("", _values(_text(ids)), "", {}), path, number)
            return said
        text = _text(content)
        if _GTF_BEGINS.match(text) and "=" not in text:
            raise SequenceError(
                f"{path}: line {number}: attributes in the form of GTF; expected GFF3, as in the lines before"
            )
        attributes: dict[str, list[str]] = {}
        for piece in text.split(";"):
            key, _, value = piece.strip(" ").partition("=")
            if key in _KEYS:
                attributes.setdefault(key, []).extend(_values(value) if value else ())
        name = ",".join(attributes.get("ID", ()))
        return _checked(Named(name, attributes.get("Parent", ()), "", attributes), path, number)

    return read


def _make_room(known: dict[bytes, Named]) -> None:
    if len(known) >= _KNOWN:
        known.clear()


def _values(text: str) -> list[str]:
    """Return the values of a key; the commas of a sentence should be escaped, but often are not."""
    values = [text] if ", " in text else text.split(",")
    return [unquote(value, errors="surrogateescape") for value in values] if "%" in text else values


def _gtf(path: Path) -> Reads:
    known: dict[bytes, Named] = {}

    def read(content: bytes, role: Role, number: int) -> Named:
        # Of the parts of a transcript the first one tells all that is used.
        ids = _GTF_IDS.match(content) if role in PARTS else None
        if ids and (said := known.get(ids[0])):
            return said
        said = _gtf_line(_text(content).strip(), role, f"{path}: line {number}")
        said = _checked(said, path, number)
        if ids:
            _make_room(known)
            known[ids[0]] = said
        return said

    return read


def _gtf_line(text: str, role: Role, place: str) -> Named:
    if _GFF3_BEGINS.match(text):
        raise SequenceError(f"{place}: attributes in the form of GFF3; expected GTF, as in the lines before")
    if bare := _BARE.fullmatch(text):
        name = bare[1] if role in ("gene", "transcript") and bare[1] != "." else ""
        return Named(name, (), name if role == "gene" else "", {})
    if text.count('"') % 2:
        raise SequenceError(f"{place}: a quotation mark that is not closed; expected them in pairs")
    attributes: dict[str, list[str]] = {}
    for key, value in _GTF_PAIR.findall(text):
        if key in _KEYS:
            values = attributes.setdefault(key, [])
            if (said := value.strip('"').strip(" ")) not in ("", "."):  # a dot stands for nothing
                values.append(said)
    gene, transcript = first(attributes, *_NAMES_OF_GTF), first(attributes, "transcript_id")
    if role == "gene":
        return Named(gene, (), gene, attributes)
    return Named(transcript, (), gene, attributes)


def _checked(said: Named, path: Path, number: int) -> Named:
    if fault := fault_of(said.name or first(said.attributes, "Name"), said.gene, *said.parents):
        raise SequenceError(f"{path}: line {number}: {fault}")
    return said


def first(attributes: Attributes, *keys: str) -> str:
    """Return the first value of the first of these keys that has one, else ""."""
    return next((attributes[key][0] for key in keys if attributes.get(key)), "")

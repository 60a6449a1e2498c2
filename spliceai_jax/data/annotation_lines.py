"""The lines of annotations, GFF3 or GTF, that describe genes, transcripts, exons and CDS."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, Literal, NamedTuple
from urllib.parse import unquote

from spliceai_jax.data.compressed import opened
from spliceai_jax.data.names import fault_of
from spliceai_jax.errors import SequenceError

Role = Literal["gene", "transcript", "exon", "CDS"]
Form = Literal["GFF3", "GTF"]
Attributes = Mapping[str, list[str]]

# The types of column 3. VEuPathDB and old releases of Ensembl call protein-coding genes `protein_coding_gene`.
_GENES = frozenset({b"gene", b"protein_coding_gene"})
_PARTS: Mapping[bytes, Role] = {b"exon": "exon", b"CDS": "CDS"}
_TRANSCRIPTS = re.compile(rb"(?i)(rna|transcript|transcript_variant|gene_segment)$")  # of the Sequence Ontology

_LONGEST_LINE = 10_000_000
_WITH_ARTICLE: Mapping[Role, str] = {"gene": "a gene", "transcript": "a transcript", "exon": "an exon", "CDS": "a CDS"}
_STRANDS = {"+": 1, "-": -1, ".": 0, "?": 0}
_LAST_BASE = 2**31 - 1
_GTF_PAIR = re.compile(r'\s*[^\s=;"]+\s+[^\s=;]')
_GFF3_PAIR = re.compile(r'\s*[^\s=;"]+\s*=')
_BARE = re.compile(r'([^\s=;"]+)\s*;?')
_GTF_PIECE = re.compile(r'(?:[^;"]++|"[^"]*+")++')  # a semicolon between quotation marks separates nothing

SYMBOLS = ("Name", "gene_name", "gene", "gene_symbol")
GENE_BIOTYPES = ("gene_biotype", "gene_type", "biotype", "locus_type")
TRANSCRIPT_BIOTYPES = ("transcript_biotype", "transcript_type", "biotype")
TRANS_SPLICING = ("trans_splicing", "trans-splicing", "trans_spliced")
_IDS = ("ID", "Parent", "gene_id", "transcript_id")
# All that is used of column 9; a human annotation has ten times as much.
_KEYS = frozenset(_IDS + SYMBOLS + GENE_BIOTYPES + TRANSCRIPT_BIOTYPES + TRANS_SPLICING + ("Note", "exception", "tag"))
_KEYS_OF_GFF3_PARTS = frozenset({"Parent"})


class Feature(NamedTuple):
    """A line of an annotation.

    Attributes:
        line: Its number, from 1.
        type: Column 3.
        role: What the type stands for.
        sequence: The name of the sequence that it lies on.
        start: Its first base there, counted from 0.
        end: The base after its last.
        strand: 1 for "+", -1 for "-", 0 where the annotation gives none.
        name: Its ID; in GTF the gene_id of a gene and the transcript_id of a transcript; "" where it has none.
        parents: What it is a part of: in GTF the gene_id of a transcript and the transcript_id of a part.
        gene: Its gene_id, in GTF; else "".
        attributes: Of column 9, what is used.
        source: Column 2.
    """

    line: int
    type: str
    role: Role
    sequence: str
    start: int
    end: int
    strand: int
    name: str
    parents: Sequence[str]
    gene: str
    attributes: Attributes
    source: str = ""


@contextmanager
def annotation_features(path: Path, transcripts: bool) -> Iterator[tuple[Form, Iterator[Feature]]]:
    """Open an annotation; give its form and the lines that describe genes, transcripts and their parts.

    Without `transcripts` those of genes alone; in GTF, where genes may have no line of their own, all in any case.

    Raises:
        SequenceError: The file is missing, damaged or neither GFF3 nor GTF; the message names the line.
    """
    with opened(path, "a GFF3 or GTF file") as file:
        form, lines = _form(_lines(file, path))
        yield form, _features(lines, form, transcripts or form == "GTF", path)


def _features(lines: Iterator[tuple[int, bytes]], form: Form, transcripts: bool, path: Path) -> Iterator[Feature]:
    for number, line in lines:
        role = _role(line.split(b"\t", 3)[2]) if line.count(b"\t") == 8 else "gene"
        if role == "gene" or (role is not None and transcripts):
            yield _feature(line, role, form, number, f"{path}: line {number}")


@lru_cache(1000)
def _role(kind: bytes) -> Role | None:
    if kind in _GENES:
        return "gene"
    if kind in _PARTS:
        return _PARTS[kind]
    return "transcript" if _TRANSCRIPTS.search(kind) else None


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
    """Tell the form by the first line whose attributes show it: AUGUSTUS gives some lines of GTF a bare ID."""
    seen: list[tuple[int, bytes]] = []
    room = _LONGEST_LINE
    form: Form = "GFF3"
    for number, line in lines:
        seen.append((number, line))
        attributes = line.rsplit(b"\t", 1)[-1].decode("utf-8", "surrogateescape")
        room -= len(line)
        if (is_gtf := _GTF_PAIR.match(attributes)) or _GFF3_PAIR.match(attributes) or room < 0:
            form = "GTF" if is_gtf else "GFF3"
            break
    return form, chain(seen, lines)


def _feature(line: bytes, role: Role, form: Form, number: int, place: str) -> Feature:
    columns = line.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\t")
    if len(columns) != 9:
        found = f"{len(columns)} column{'' if len(columns) == 1 else 's'}"
        raise SequenceError(f"{place}: {found}; expected GFF3 or GTF, 9 columns separated by tabs")
    sequence, source, kind, start, end, _, strand, _, _ = columns
    if not (_is_place(start) and _is_place(end) and int(start) <= int(end)):
        found = f"{_WITH_ARTICLE[role]} from {start[:20]!r} to {end[:20]!r}"
        raise SequenceError(f"{place}: {found}; expected whole numbers from 1 to {_LAST_BASE}, in order")
    if strand not in _STRANDS:
        raise SequenceError(f"{place}: {_WITH_ARTICLE[role]} on strand {strand[:20]!r}; expected + - . or ?")
    named = _gtf(columns, role, place) if form == "GTF" else _gff3(columns, role, place)
    if not sequence:
        raise SequenceError(f"{place}: no name of a sequence; expected one in the first column")
    if fault := fault_of(sequence, named.name or first(named.attributes, "Name"), named.gene, *named.parents):
        raise SequenceError(f"{place}: {fault}")
    return Feature(number, kind, role, sequence, int(start) - 1, int(end), _STRANDS[strand], *named, source)


def _is_place(text: str) -> bool:
    return len(text) <= 20 and text.isascii() and text.isdecimal() and 1 <= int(text) <= _LAST_BASE


class _Named(NamedTuple):
    """The last fields of a `Feature`."""

    name: str
    parents: Sequence[str]
    gene: str
    attributes: Attributes


def _gff3(columns: list[str], role: Role, place: str) -> _Named:
    text = columns[8]
    if _GTF_PAIR.match(text) and "=" not in text:
        raise SequenceError(f"{place}: attributes in the form of GTF; expected GFF3, as in the lines before")
    keys = _KEYS_OF_GFF3_PARTS if role in ("exon", "CDS") else _KEYS
    attributes: dict[str, list[str]] = {}
    for key, value in _pairs(text.split(";"), "=", keys):
        values = attributes.setdefault(key, [])
        if value:
            # The commas of a sentence should be escaped, but often are not.
            values += map(unquote, [value] if ", " in value else value.split(","))
    return _Named(",".join(attributes.get("ID", ())), attributes.get("Parent", ()), "", attributes)


def _gtf(columns: list[str], role: Role, place: str) -> _Named:
    text = columns[8].strip()
    if _GFF3_PAIR.match(text):
        raise SequenceError(f"{place}: attributes in the form of GFF3; expected GTF, as in the lines before")
    if bare := _BARE.fullmatch(text):
        name = bare[1] if role in ("gene", "transcript") and bare[1] != "." else ""
        return _Named(name, (), name if role == "gene" else "", {})
    pieces = text.split(";")
    if any(piece.count('"') % 2 for piece in pieces):
        if text.count('"') % 2:
            raise SequenceError(f"{place}: a quotation mark that is not closed; expected them in pairs")
        pieces = _GTF_PIECE.findall(text)
    attributes: dict[str, list[str]] = {}
    for key, value in _pairs(pieces, " ", _KEYS):
        values = attributes.setdefault(key, [])
        if value := value.strip('"'):
            values.append(value)
    gene, transcript = (first(attributes, key).strip(' "') for key in ("gene_id", "transcript_id"))
    if role == "gene":
        return _Named(gene, (), gene, attributes)
    gene = gene or transcript
    if role == "transcript":
        return _Named(transcript, (gene,), gene, attributes)
    return _Named("", (transcript or gene,), gene, attributes)


def _pairs(pieces: Iterable[str], separator: str, keys: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield key and value of the pieces of column 9 that are used; the value is "" where there is none."""
    for piece in pieces:
        key, _, value = piece.strip(" ").partition(separator)
        if key in keys:
            yield key, value


def first(attributes: Attributes, *keys: str) -> str:
    """Return the first value of the first of these keys that has one, else ""."""
    return next((attributes[key][0] for key in keys if attributes.get(key)), "")

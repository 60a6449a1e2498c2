"""Sequences and genes in: FASTA and GFF3, plain or in any kind of gzip, checked as they are read.

A genome is read once, from its beginning to its end, and kept on disk, a byte a base, in a file without a name: from
there any stretch of it is at hand whatever the form of the FASTA, memory does not grow with it, and no index is written
beside it.
"""

import gzip
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np

from spliceai_jax.architecture import BASES
from spliceai_jax.errors import RunFolderError, SequenceError

_CHUNK = 2**20
_SPACE = b" \t\r\n\v\f"
_UNKNOWN = b"NRYSWKMBDHVUX-*."
"""Letters read as N: IUPAC's other codes, and what stands for a gap, a stop or a masked base."""
_BAD = 255

_CODES = bytearray([_BAD] * 256)
for _letter in _UNKNOWN + _UNKNOWN.lower():
    _CODES[_letter] = 0
for _code, _base in enumerate(BASES):
    _CODES[ord(_base)] = _CODES[ord(_base.lower())] = _code
_NO_LETTER = re.compile(b"[^" + re.escape(bytes(i for i in range(256) if _CODES[i] != _BAD) + _SPACE) + b"]")
_COMPLEMENT = np.array([0, 4, 3, 2, 1], np.uint8)

Strand = Literal["+", "-"]


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[IO[bytes]]:
    """Open a file, unpacking it where its first bytes say gzip; what goes wrong while it is read names it."""
    if not path.exists() or path.is_dir():
        raise SequenceError(f"{path}: no such file; give {kind}, plain or compressed by gzip or bgzip")
    try:
        with open(path, "rb") as file:
            if file.peek(2)[:2] != b"\x1f\x8b":
                yield file
                return
            with gzip.open(file) as unpacked:
                yield cast(IO[bytes], unpacked)
    except (OSError, EOFError, zlib.error) as error:
        raise SequenceError(f"{path}: cannot be read, it may be damaged or cut short ({error!s:.200})") from error


class Genome:
    """The sequences of a FASTA file, encoded, in an unnamed file.

    Attributes:
        source: The FASTA file.
        lengths: Name of each sequence (the first word of its header) -> its bases, in the order of the names.
        known: How many bases are A, C, G or T.
    """

    def __init__(self, path: str | Path, scratch: Path) -> None:
        """Read it whole. Memory: a constant, and about 200 bytes a sequence.

        Arguments:
            path: The FASTA file; pipes are read too.
            scratch: Folder of the unnamed file, a byte a base.

        Raises:
            SequenceError: The file is missing, damaged or not FASTA, holds no bases, two sequences of one name, a
                sequence without a name, or letters that are not DNA's; the line is named.
            RunFolderError: There is no room in `scratch`.
        """
        self.source = Path(path)
        self.lengths: dict[str, int] = {}
        self.known = 0
        self._offsets: dict[str, int] = {}
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - `close` closes it
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the unnamed file go."""
        self._file.close()

    def bases(self, name: str, start: int, end: int, strand: Strand = "+") -> np.ndarray:
        """A stretch of a sequence, uint8 (end - start,), 0 for N and 1 to 4 for A C G T.

        Arguments:
            name: The sequence.
            start: Its first base, counted from 0; what lies before 0 or behind the sequence's end is N.
            end: The base behind its last.
            strand: "-" gives the reverse complement of the same stretch.
        """
        first, last = max(start, 0), min(end, self.lengths[name])
        codes = np.zeros(end - start, np.uint8)
        if first < last:
            stretch = os.pread(self._file.fileno(), last - first, self._offsets[name] + first)
            codes[first - start : last - start] = np.frombuffer(stretch, np.uint8)
        return codes if strand == "+" else _COMPLEMENT[codes[::-1]]

    def _read(self) -> None:
        name, line, header, at_line_start = None, 1, None, True
        with _opened(self.source, "a FASTA file") as file:
            while chunk := file.read(_CHUNK):
                at = 0
                while at < len(chunk):
                    if header is not None:
                        end = chunk.find(b"\n", at)
                        header += chunk[at:] if end < 0 else chunk[at:end]
                        if end < 0:
                            break
                        name, header = self._begin(header, line), None
                        line, at, at_line_start = line + 1, end + 1, True
                    elif at_line_start and chunk[at] == ord(">"):
                        header, at = b"", at + 1
                    else:
                        following = chunk.find(b"\n>", at)
                        end = len(chunk) if following < 0 else following + 1
                        self._add(name, chunk[at:end], line)
                        line += chunk.count(b"\n", at, end)
                        at, at_line_start = end, chunk[end - 1] == ord("\n")
            if header is not None:
                self._begin(header, line)
        if not any(self.lengths.values()):
            raise SequenceError(
                f"{self.source}: holds no bases in its {len(self.lengths)} sequences; give a FASTA file"
            )
        self.lengths = dict(sorted(self.lengths.items()))

    def _begin(self, header: bytes, line: int) -> str:
        words = header.decode("utf-8", "surrogateescape").split(maxsplit=1)
        if not words:
            raise SequenceError(f"{self.source}: line {line}: a sequence without a name; expected one behind the >")
        name = words[0]
        if name in self.lengths:
            raise SequenceError(
                f"{self.source}: line {line}: a second sequence named {name!r}; names (a header's first word) must "
                "differ, rename one"
            )
        self._offsets[name], self.lengths[name] = self._file.tell(), 0
        return name

    def _add(self, name: str | None, letters: bytes, line: int) -> None:
        codes = letters.translate(_CODES, _SPACE)
        if not codes:
            return
        if name is None:
            raise SequenceError(f"{self.source}: line {line}: expected FASTA, whose first line begins with >")
        if _BAD in codes and (found := _NO_LETTER.search(letters)):
            line += letters.count(b"\n", 0, found.start())
            raise SequenceError(
                f"{self.source}: line {line}: {found[0].decode('latin-1')!r} is no letter of DNA; expected A, C, G, T, "
                "N or another of IUPAC's codes"
            )
        self.lengths[name] += len(codes)
        self.known += len(codes) - codes.count(0)
        self._write(codes)

    def _write(self, codes: bytes) -> None:
        try:
            self._file.write(codes)
            self._file.flush()
        except OSError as error:
            raise RunFolderError(
                f"--output-dir: cannot keep the bases of {self.source} there, a byte each ({error.strerror}); make "
                "room or give another folder"
            ) from error


@dataclass(frozen=True)
class Gene:
    """A gene of an annotation.

    Attributes:
        name: Its ID, else its Name.
        sequence: The sequence that it lies on.
        start: Its first base there, counted from 0.
        end: The base behind its last.
        strand: Its strand.
    """

    name: str
    sequence: str
    start: int
    end: int
    strand: Strand


def read_genes(path: str | Path) -> list[Gene]:
    """The features of type `gene` that have a strand, in the file's order.

    Raises:
        SequenceError: The file is missing, damaged or not GFF3, or holds no gene; the line is named.
    """
    path, genes = Path(path), []
    with _opened(path, "a GFF3 file") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(b"##FASTA"):
                break
            if line.startswith(b"#") or not line.strip():
                continue
            # Most lines are of other types: what they hold behind that is not looked at.
            if line.count(b"\t") == 8 and line.split(b"\t", 3)[2] != b"gene":
                continue
            columns = line.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\t")
            gene = _gene(columns, f"{path}: line {number}")
            if gene is not None:
                genes.append(gene)
    if not genes:
        raise SequenceError(f"{path}: holds no feature of type gene with a strand; give a GFF3 file of genes")
    return genes


def _gene(columns: list[str], place: str) -> Gene | None:
    if len(columns) != 9:
        raise SequenceError(f"{place}: {len(columns)} columns; expected GFF3, 9 columns between tabs")
    sequence, _, _, first, last, _, strand, _, attributes = columns
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise SequenceError(f"{place}: a gene from {first!r} to {last!r}; expected whole numbers from 1, in order")
    if re.match(r'\s*\w+ "', attributes):
        raise SequenceError(f"{place}: attributes of the form of GTF; expected GFF3, convert it (gffread does)")
    if strand not in ("+", "-"):
        return None
    named = dict(part.strip().split("=", 1) for part in attributes.split(";") if "=" in part)
    name = named.get("ID") or named.get("Name") or "unknown_gene"
    return Gene(name, sequence, int(first) - 1, int(last), cast(Strand, strand))

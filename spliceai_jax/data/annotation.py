"""Genes from GFF3 annotations."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from spliceai_jax.data.compressed import opened
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SequenceError


@dataclass(frozen=True)
class Gene:
    """A gene of an annotation.

    Attributes:
        name: Its ID, or else its Name, or else "unknown_gene".
        sequence: The name of the sequence that it lies on.
        start: Its first base there, counted from 0.
        end: The base after its last.
        strand: "+" or "-".
    """

    name: str
    sequence: str
    start: int
    end: int
    strand: Strand


def read_genes(path: str | Path) -> list[Gene]:
    """Read the features of type `gene` that have a strand, in the file's order.

    Raises:
        SequenceError: The file is missing, damaged or not GFF3, or holds no gene; the message names the line.
    """
    path, genes = Path(path), []
    with opened(path, "a GFF3 file") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(b"##FASTA"):
                break
            if line.startswith(b"#") or not line.strip():
                continue
            # Most lines are of other types; leaving them undecoded saves time.
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

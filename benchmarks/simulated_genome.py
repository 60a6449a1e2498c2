"""A random genome of any size with genes of human-like sizes, written in seconds, for data.py."""

from itertools import pairwise
from pathlib import Path

import numpy as np

CHROMOSOMES = 24
EXONS = 10
LINE = 60
SLOT_USED = 0.95
"""The most of the distance from gene to gene that a gene takes."""

# Four bases a random byte.
_LETTERS = np.frombuffer(b"ACGT", np.uint8)
_FOUR = np.stack([_LETTERS[(np.arange(256) >> shift) & 3] for shift in (0, 2, 4, 6)], axis=1).copy().view(np.uint32)


def write_genome(folder: Path, bases: int, genes: int) -> tuple[Path, Path]:
    """Write `genome.fa` and `annotation.gff3`; introns begin with GT and end with AG."""
    random = np.random.default_rng(0)
    fasta, gff = folder / "genome.fa", folder / "annotation.gff3"
    length = bases // CHROMOSOMES // (4 * LINE) * 4 * LINE
    per_chromosome = -(-genes // CHROMOSOMES)
    with open(fasta, "wb") as genome, open(gff, "w") as annotation:
        annotation.write("##gff-version 3\n")
        for number in range(1, CHROMOSOMES + 1):
            letters = _FOUR[random.integers(0, 256, length // 4, np.uint8)].view(np.uint8).ravel()
            slots = np.linspace(0, length, per_chromosome + 1).astype(int)
            for first, after in pairwise(slots):
                exons, strand = _exons(random, first, after), random.choice(["+", "-"])
                _plant(letters, exons, strand)
                annotation.write(_lines(f"chr{number}", exons, strand))
            genome.write(f">chr{number}\n".encode())
            lines = np.full((length // LINE, LINE + 1), ord("\n"), np.uint8)
            lines[:, :LINE] = letters.reshape(-1, LINE)
            genome.write(lines)
    return fasta, gff


def _exons(random: np.random.Generator, first: int, after: int) -> np.ndarray:
    """Return the exons of a gene between two places: about 150 bases each; introns of 1700 in the median."""
    exons = random.lognormal(np.log(140), 0.5, EXONS).astype(int) + 20
    introns = random.lognormal(np.log(1700), 1.3, EXONS - 1)
    room = SLOT_USED * (after - first) - exons.sum()
    introns = (introns * min(1, room / introns.sum())).astype(int).clip(60)
    lengths = np.zeros(2 * EXONS - 1, int)
    lengths[::2], lengths[1::2] = exons, introns
    ends = first + 100 + np.cumsum(lengths)
    return np.stack([ends - lengths, ends], axis=1)[::2]


def _plant(letters: np.ndarray, exons: np.ndarray, strand: str) -> None:
    left, right = (b"GT", b"AG") if strand == "+" else (b"CT", b"AC")
    for start, end in zip(exons[:-1, 1], exons[1:, 0], strict=True):
        letters[start : start + 2] = tuple(left)
        letters[end - 2 : end] = tuple(right)


def _lines(sequence: str, exons: np.ndarray, strand: str) -> str:
    name = f"{sequence}_{exons[0, 0]}"
    whole = (exons[0, 0], exons[-1, 1])
    rows = [
        ("gene", *whole, f"ID={name};gene_biotype=protein_coding"),
        ("mRNA", *whole, f"ID={name}.1;Parent={name}"),
        *((kind, *exon, f"Parent={name}.1") for kind in ("exon", "CDS") for exon in exons),
    ]
    return "".join(
        f"{sequence}\tsimulated\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t.\t{attributes}\n"
        for kind, start, end, attributes in rows
    )

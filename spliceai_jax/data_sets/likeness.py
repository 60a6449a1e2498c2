"""Which genes resemble each other: their exons, joined, aligned by minimap2 on both strands."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import mappy
import numpy as np
from jaxtyping import UInt8

from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.encoding import COMPLEMENT, decode
from spliceai_jax.genome.fasta import Genome

_HITS = 50
"""The most alignments that are looked at for a gene; large families have many members."""

_ALL_OTHERS = 0x1 | 0x800000
"""Flags of minimap2: no alignment of a gene to itself, and every alignment beside that of the highest score."""

Given = TypeVar("Given")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Likeness:
    """How much a gene resembles another one.

    Attributes:
        number: The other's number among the genes searched.
        identity: The share of matching bases in the alignments of the two.
        coverage: The share of the gene's exons that these alignments cover.
    """

    number: int
    identity: float
    coverage: float


class Search:
    """A search among genes for those that a gene resembles."""

    def __init__(
        self, genes: Sequence[ChosenGene], genome: Genome, settings: CreateDataSettings, scratch: Path
    ) -> None:
        """Make the index of the genes' exons, in which a gene has its number as its name.

        Arguments:
            genes: The genes to search.
            genome: The genome.
            settings: Holds the limits of identity and coverage.
            scratch: A folder for a temporary file.
        """
        self._genes, self._genome, self._settings = genes, genome, settings
        with tempfile.NamedTemporaryFile("w", dir=scratch, suffix=".fa") as fasta:
            for number, chosen in enumerate(genes):
                fasta.write(f">{number}\n{decode(_exons(chosen, genome))}\n")
            fasta.flush()
            self._aligner = mappy.Aligner(fasta.name, preset="map-ont", best_n=_HITS)

    def most_alike(self, genes: Sequence[ChosenGene]) -> Iterator[Likeness | None]:
        """Yield, for each of some genes that are not searched themselves, the one that it resembles most, if any."""

        def found(chosen: ChosenGene) -> Likeness | None:
            # Of the one that covers most: the others cannot reach the limit where it does not.
            return max(self._alike(chosen), key=lambda one: one.coverage, default=None)

        return _in_threads(found, genes)

    def others_alike(self, numbers: Sequence[int]) -> Iterator[list[Likeness]]:
        """Yield, for each of the genes with these numbers, all others that it resembles."""
        return _in_threads(lambda number: self._alike(self._genes[number], number), numbers)

    def _alike(self, chosen: ChosenGene, number: int | None = None) -> list[Likeness]:
        bases = decode(_exons(chosen, self._genome))
        covered: dict[int, np.ndarray] = {}
        matches: Counter[int] = Counter()
        aligned: Counter[int] = Counter()
        beside_itself = {} if number is None else {"name": str(number), "extra_flags": _ALL_OTHERS}
        for hit in self._aligner.map(bases, **beside_itself):  # leaves Python's lock to the other threads
            other = int(hit.ctg)
            if hit.mlen >= self._settings.min_identity * hit.blen:
                covered.setdefault(other, np.zeros(len(bases), bool))[hit.q_st : hit.q_en] = True
                matches[other] += hit.mlen
                aligned[other] += hit.blen
        found = (
            Likeness(other, matches[other] / aligned[other], float(where.mean())) for other, where in covered.items()
        )
        return [one for one in found if one.coverage >= self._settings.min_coverage]


def _in_threads(work: Callable[[Given], Found], given: Sequence[Given]) -> Iterator[Found]:
    with ThreadPoolExecutor() as pool:
        yield from pool.map(work, given)


def _exons(chosen: ChosenGene, genome: Genome) -> UInt8[np.ndarray, " length"]:
    gene, exons = chosen.gene, chosen.canonical.exons
    first = int(exons[0, 0])
    span = genome.bases(gene.sequence, first, int(exons[:, 1].max()))
    bases = np.concatenate([span[start - first : end - first] for start, end in exons])
    return bases if gene.strand == "+" else COMPLEMENT[bases[::-1]]

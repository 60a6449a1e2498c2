"""Genes that resemble each other, their families, and sequences that are copies of each other, such as subgenomes.

The exons of each gene, joined, are aligned by minimap2 on both strands.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import mappy
import numpy as np
from jaxtyping import UInt8

from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.display import Display
from spliceai_jax.encoding import COMPLEMENT, decode
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.groups import Groups

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
        """Make the index of the genes' exons, in which a gene has its number as its name."""
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


MANY = 1 / 3
"""The share of genes from which on they count as many: two sequences with so many alike are copies of each other."""

_LARGE = 50
"""From so many genes on, a family says nothing of sequences, and its members need not all be searched for."""

_AT_ONCE = 256
"""How many genes are searched for before the families are looked at again."""


class Families:
    """The families of some genes.

    A gene that resembles another one is of its family. So a family may hold genes that are not alike but have a
    relative in common.
    """

    def __init__(self, genes: Sequence[ChosenGene], alike: Iterable[tuple[int, int]]) -> None:
        """Take the genes, and pairs of numbers of genes that resemble each other."""
        joined = Groups(len(genes))
        for one, other in alike:
            joined.join(one, other)
        self._family = {chosen: joined.group(number) for number, chosen in enumerate(genes)}
        self._members: dict[int, list[ChosenGene]] = {}
        for chosen, family in self._family.items():
            self._members.setdefault(family, []).append(chosen)
        self._copies = self._sequences_alike()

    def of(self, chosen: ChosenGene) -> int:
        """Return the number of a gene's family."""
        return self._family[chosen]

    def relatives(self, chosen: ChosenGene) -> list[ChosenGene]:
        """Return the genes of a gene's family, itself included."""
        return self._members[self._family[chosen]]

    def copies(self, sequence: str) -> list[str]:
        """Return the sequences that are copies of a sequence, itself included."""
        return self._copies[sequence]

    def share_elsewhere(self) -> float:
        """Return the share of the genes that have a relative on another sequence."""
        elsewhere = sum(
            len(members) for members in self._members.values() if len({one.gene.sequence for one in members}) > 1
        )
        return elsewhere / max(len(self._family), 1)

    def _sequences_alike(self) -> dict[str, list[str]]:
        """Return, for each sequence, its copies: those on which many of its genes have a relative."""
        genes = Counter(chosen.gene.sequence for chosen in self._family)
        names = list(genes)
        shared: dict[str, Counter[str]] = {name: Counter() for name in names}
        for members in self._members.values():
            if 1 < len(members) < _LARGE:
                there = Counter(one.gene.sequence for one in members)
                for name in there:
                    shared[name].update({other: there[name] for other in there if other != name})
        joined = Groups(len(names))
        number = {name: at for at, name in enumerate(names)}
        for name in names:
            for rank, (other, count) in enumerate(shared[name].most_common()):
                both = shared[other][name] >= MANY * genes[other]
                # A fragment may resemble parts of several sequences, which are no copies of each other for that.
                if count >= MANY * genes[name] and (both or rank == 0):
                    joined.join(number[name], number[other])
        groups: dict[int, list[str]] = {}
        for name in names:
            groups.setdefault(joined.group(number[name]), []).append(name)
        return {name: group for group in groups.values() for name in group}


def find_families(
    genes: Sequence[ChosenGene], genome: Genome, settings: CreateDataSettings, scratch: Path, display: Display
) -> Families:
    """Find the families of genes, by the same alignments and limits as paralogs."""
    search = Search(genes, genome, settings, scratch)
    joined = Groups(len(genes))
    with display.progress("families", len(genes), "genes") as advance:
        for start in range(0, len(genes), _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, len(genes)))
            # Each search for a member of a large family finds nearly all of it: once is enough.
            asked = [number for number in numbers if joined.size(number) < _LARGE]
            for number, found in zip(asked, search.others_alike(asked), strict=True):
                for one in found:
                    joined.join(number, one.number)
            advance(len(numbers))
    return Families(genes, ((number, joined.group(number)) for number in range(len(genes))))

"""Families of genes that resemble each other, and sequences that are copies of each other, such as subgenomes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.likeness import Search
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.display import Display
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.joined_groups import Joined

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
        joined = Joined(len(genes))
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
        joined = Joined(len(names))
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
    """Find the families of genes, by the same alignments and limits as paralogs.

    Arguments:
        genes: The genes.
        genome: The genome.
        settings: Holds the limits of identity and coverage.
        scratch: A folder for a temporary file.
        display: Shows the progress.
    """
    search = Search(genes, genome, settings, scratch)
    joined = Joined(len(genes))
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

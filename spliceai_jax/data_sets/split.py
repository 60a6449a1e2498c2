"""The genes of each data set: whole sequences for the test set where there are enough, else blocks of genes."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from spliceai_jax.architecture import CONTEXT
from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.likeness import MANY, Families
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.errors import SettingsError
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.groups import Groups

SetName = Literal["train", "validation", "test"]
SETS: tuple[SetName, ...] = ("test", "train", "validation")

TITLES: dict[SetName, str] = {"train": "training", "validation": "validation", "test": "test"}
"""What the sets are called in sentences."""

Sets = dict[SetName, list[ChosenGene]]
"""The genes of each data set, in the annotation's order."""

HUMAN_TEST = ("1", "3", "5", "7", "9")
"""The chromosomes of the test set of `split_method="human"`, with or without "chr" before them."""

_BLOCKS = 20
"""How many blocks the genes are cut into where whole sequences do not give a test set of the wanted size."""

_APART = CONTEXT // 2
"""The least distance, in bases, from a training gene to a test gene: no window sees bases that the other set labels."""

_NEAR_TEST = "near a gene of the test set"

_DRAWS = 20
"""How often sequences are drawn; the draw whose size is nearest to the wanted one counts."""


def split_genes(
    genes: Sequence[ChosenGene],
    genome: Genome,
    settings: CreateDataSettings,
    left_out: Counter[str],
    families: Families | None = None,
) -> tuple[Sets, str]:
    """Divide genes among the data sets; those of different sets do not overlap, on either strand.

    Arguments:
        genes: The genes, in the annotation's order.
        left_out: Counts, by reason, genes that are in no set.
        families: The families of the genes. With them, copies of a sequence are drawn together for the test set, and
            what is drawn of single genes is drawn with their families. None: every gene stands for itself.

    Returns:
        The sets, and how they were found, in words.

    Raises:
        SettingsError: A sequence that the settings name has no gene.
    """
    counts = Counter(chosen.gene.sequence for chosen in genes)
    for name in ("test_sequences", "validation_sequences"):
        for sequence in getattr(settings, name) or ():
            if not counts[sequence]:
                where = "has no gene that is taken" if sequence in genome.lengths else f"is not in {genome.source}"
                raise SettingsError(f"`{name}`: {sequence!r} {where}; expected one of {_listed(counts)}")
    held = set(settings.validation_sequences or ())
    validation = [chosen for chosen in genes if chosen.gene.sequence in held]
    others = [chosen for chosen in genes if chosen.gene.sequence not in held]
    test_names, words = _test_sequences(others, settings, families)
    if test_names:
        test = {id(chosen) for chosen in others if chosen.gene.sequence in test_names}
    else:
        test = _drawn(_blocks(others, families), 1 - settings.split_ratio, settings.random_seed)
        words = "blocks of neighbouring genes" + (" and the genes that resemble them" if families else "")
    train = [chosen for chosen in others if id(chosen) not in test]
    if not test_names:
        near = _near(train, [chosen for chosen in others if id(chosen) in test])
        left_out[_NEAR_TEST] += len(near)
        train = [chosen for chosen in train if id(chosen) not in near]
    if not held:
        units = _overlapping(train)
        if families:
            tested = {families.of(chosen) for chosen in others if id(chosen) in test}
            units = _with_relatives(units, families)
            # A gene that resembles a test gene would be left out of the validation set again.
            units = [unit for unit in units if tested.isdisjoint(map(families.of, unit))] or units
        drawn = _drawn(units, settings.val_split_ratio, settings.random_seed + 1)
        validation = [chosen for chosen in train if id(chosen) in drawn]
        train = [chosen for chosen in train if id(chosen) not in drawn]
    sets: Sets = {
        "test": [chosen for chosen in others if id(chosen) in test],
        "train": train,
        "validation": validation,
    }
    return ({"test": sets["test"]} if settings.chr_split == "test" else sets), words


def _test_sequences(
    genes: Sequence[ChosenGene], settings: CreateDataSettings, families: Families | None
) -> tuple[Collection[str], str]:
    """Return the sequences that are the test set, none if it is to be made of blocks, and how they were found."""
    counts = Counter(chosen.gene.sequence for chosen in genes)
    if settings.test_sequences:
        return set(settings.test_sequences), "the sequences that were named"
    if settings.split_method == "human":
        names = {name for name in counts if name.removeprefix("chr") in HUMAN_TEST}
        if not names or len(names) == len(counts):
            raise SettingsError(
                f"`split_method='human'` puts chromosomes {', '.join(HUMAN_TEST)} into the test set and the others "
                f"into the training set, but the genes lie on {_listed(counts)}; give `split_method='random'` or "
                "`test_sequences`"
            )
        return names, "human chromosomes by OpenSpliceAI's rule"
    wanted = (1 - settings.split_ratio) * counts.total()
    units = _copies(counts, families) if families else [[name] for name in counts]
    sizes = [sum(counts[name] for name in unit) for unit in units]
    drawn = {name for number in _draw(sizes, wanted, settings.random_seed) for name in units[number]}
    share = sum(counts[name] for name in drawn)
    # Far from the wanted size, or with nothing left to train on, whole sequences are no use.
    fits = 0.5 * wanted <= share <= 1.5 * wanted and len(drawn) < len(counts)
    if families and fits:
        fits = _shared(genes, drawn, families) <= MANY * share
    words = "whole sequences, drawn at random" + (" with their copies" if families else "")
    return (drawn, words) if fits else ((), "")


def _copies(names: Collection[str], families: Families) -> list[list[str]]:
    """Group sequences with their copies; those with a copy among the validation set's sequences are left out."""
    groups = {tuple(families.copies(name)): None for name in names}
    return [list(group) for group in groups if all(name in names for name in group)]


def _shared(genes: Sequence[ChosenGene], names: Collection[str], families: Families) -> int:
    """Return how many genes of some sequences have a relative on another one."""
    others = {families.of(chosen) for chosen in genes if chosen.gene.sequence not in names}
    return sum(chosen.gene.sequence in names and families.of(chosen) in others for chosen in genes)


def _draw(sizes: Sequence[int], wanted: float, seed: int) -> set[int]:
    """Draw at random the numbers of units whose sizes together are near to the wanted sum."""
    random = np.random.default_rng([seed, 80, 20])
    best: tuple[float, set[int]] = (wanted, set())
    for _ in range(_DRAWS):
        drawn, reached = set(), 0
        for number in map(int, random.permutation(len(sizes))):
            if abs(reached + sizes[number] - wanted) < abs(reached - wanted):
                drawn.add(number)
                reached += sizes[number]
        best = min(best, (abs(reached - wanted), drawn), key=lambda one: one[0])
    return best[1]


def _drawn(groups: list[list[ChosenGene]], share: float, seed: int) -> set[int]:
    """Return the ids of the genes of groups that are drawn until they hold a share of all genes, at least one."""
    if not groups:
        return set()
    sizes = [len(group) for group in groups]
    numbers = _draw(sizes, max(share * sum(sizes), 1), seed)
    numbers = numbers or {min(range(len(groups)), key=lambda number: sizes[number])}
    return {id(chosen) for number in numbers for chosen in groups[number]}


def _in_place(genes: Sequence[ChosenGene]) -> list[ChosenGene]:
    return sorted(genes, key=lambda chosen: (chosen.gene.sequence, chosen.gene.start, chosen.gene.end))


def _blocks(genes: Sequence[ChosenGene], families: Families | None) -> list[list[ChosenGene]]:
    """Cut genes, in the order of the genome, into blocks; one does not go over two sequences.

    With families, each gene takes its relatives into its block, wherever they lie.
    """
    size = max(len(genes) // _BLOCKS, 1)
    among, taken = set(genes), set[ChosenGene]()
    blocks: list[list[ChosenGene]] = []
    for chosen in _in_place(genes):
        if chosen in taken:
            continue
        if not blocks or len(blocks[-1]) >= size or blocks[-1][0].gene.sequence != chosen.gene.sequence:
            blocks.append([])
        relatives = [one for one in families.relatives(chosen) if one in among] if families else []
        together = [chosen, *(one for one in relatives if one is not chosen)]
        blocks[-1] += together
        taken.update(together)
    return blocks


def _with_relatives(groups: list[list[ChosenGene]], families: Families) -> list[list[ChosenGene]]:
    """Put groups that hold genes of one family together."""
    joined = Groups(len(groups))
    first: dict[int, int] = {}
    for number, group in enumerate(groups):
        for chosen in group:
            joined.join(number, first.setdefault(families.of(chosen), number))
    together: dict[int, list[ChosenGene]] = {}
    for number, group in enumerate(groups):
        together.setdefault(joined.group(number), []).extend(group)
    return list(together.values())


def _overlapping(genes: Sequence[ChosenGene]) -> list[list[ChosenGene]]:
    """Group genes whose spans overlap, on either strand."""
    groups: list[list[ChosenGene]] = []
    sequence, end = None, 0
    for chosen in _in_place(genes):
        if chosen.gene.sequence != sequence or chosen.gene.start >= end:
            groups.append([])
            sequence, end = chosen.gene.sequence, 0
        groups[-1].append(chosen)
        end = max(end, chosen.gene.end)
    return groups


def _near(genes: Sequence[ChosenGene], others: Sequence[ChosenGene]) -> set[int]:
    """Return the ids of the genes that are nearer to one of the others than `_APART`."""
    near = set()
    spans: dict[str, list[ChosenGene]] = {}
    for other in _in_place(others):
        spans.setdefault(other.gene.sequence, []).append(other)
    starts = {name: np.array([other.gene.start for other in there]) for name, there in spans.items()}
    # The furthest end of all genes up to each one, since a long gene may begin far before a short one that ends first.
    ends = {name: np.maximum.accumulate([other.gene.end for other in there]) for name, there in spans.items()}
    for chosen in genes:
        gene = chosen.gene
        if gene.sequence in spans:
            before = np.searchsorted(starts[gene.sequence], gene.end + _APART)
            if before and ends[gene.sequence][before - 1] > gene.start - _APART:
                near.add(id(chosen))
    return near


def _listed(counts: Counter[str]) -> str:
    shown = [name for name, _ in counts.most_common(8)]
    return ", ".join(map(repr, shown)) + (f" and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")

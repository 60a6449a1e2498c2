"""Genes divided among data sets that do not resemble each other, and what helps where that cannot be.

A model that has seen a gene would be tested on what it knows, if one like it were in the test set.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spliceai_jax.data_sets.genes import ChosenGene, Notes
from spliceai_jax.data_sets.likeness import MANY, Families, Search, find_families
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import TITLES, SetName, Sets, split_genes
from spliceai_jax.display import Display, counted
from spliceai_jax.errors import DatasetError, some
from spliceai_jax.genome.fasta import Genome

_SEARCHED: dict[SetName, tuple[SetName, ...]] = {"train": ("test", "validation"), "test": ("validation",)}
"""A set -> those whose genes are left out where they resemble one of its genes."""


@dataclass(frozen=True, slots=True)
class Paralog:
    """A gene that was left out.

    Attributes:
        gene: Its name.
        other: The name of the gene that it resembles most.
        other_sequence: The sequence of that gene.
        other_set: The set of that gene.
        identity: The share of matching bases in the alignments of the two.
        coverage: The share of the gene's exons that these alignments cover.
    """

    gene: str
    other: str
    other_sequence: str
    other_set: SetName
    identity: float
    coverage: float


def remove_paralogs(
    sets: Sets, genome: Genome, settings: CreateDataSettings, scratch: Path, left_out: Counter[str], display: Display
) -> tuple[Sets, dict[SetName, list[Paralog]]]:
    """Leave out genes of the test and validation sets that resemble one of another set.

    The exons of each gene, joined, are aligned by minimap2 to those of the other set's genes, both strands. Alignments
    to one gene count together.

    Arguments:
        left_out: Counts, by reason, genes that are in no set.

    Returns:
        The sets without these genes, and what was left out of each.
    """
    removed: dict[SetName, list[Paralog]] = {"test": [], "validation": []}
    for other_name, names in _SEARCHED.items():
        others = sets.get(other_name, [])
        if not others:
            continue
        search = Search(others, genome, settings, scratch)
        for name in names:
            genes, kept = sets.get(name, []), []
            with display.progress(f"paralogs, {name}", len(genes), "genes") as advance:
                for chosen, found in zip(genes, search.most_alike(genes), strict=True):
                    if found is None:
                        kept.append(chosen)
                    else:
                        other = others[found.number].gene
                        removed[name].append(
                            Paralog(
                                chosen.gene.name,
                                other.name,
                                other.sequence,
                                other_name,
                                found.identity,
                                found.coverage,
                            )
                        )
                    advance(1)
            sets = {**sets, name: kept}
    left_out["paralog of a gene of another set"] += sum(map(len, removed.values()))
    return sets, removed


_MOST_NAMES = 20
"""Nobody types more names of sequences than this."""

_OTHER_SETS = (
    "give other sequences by `test_sequences` or `validation_sequences`, or another `split_ratio` or `random_seed` to "
    "`spliceai-jax create-data`"
)


@dataclass(frozen=True, eq=False)
class Division:
    """Genes divided among data sets.

    Attributes:
        sets: The genes of each set.
        split: How the sets were found, in words.
        removed: The genes left out as paralogs, by the set that they were in.
        left_out: Reason -> the number of genes that are in no set.
    """

    sets: Sets
    split: str
    removed: dict[SetName, list[Paralog]]
    left_out: Counter[str]

    def without_introns(self) -> SetName | None:
        """Return the first set of which nothing can be learned; None if there is none."""
        return next((name for name, genes in self.sets.items() if not any(len(one.introns) for one in genes)), None)

    def loss(self) -> float:
        """Return the largest share of a set that was left out as paralogs; 1 if a set is of no use."""
        if self.without_introns():
            return 1.0
        return max(
            (len(lost) / (len(lost) + len(self.sets[name])) for name, lost in self.removed.items() if lost), default=0.0
        )


def divide(
    genes: Sequence[ChosenGene],
    genome: Genome,
    settings: CreateDataSettings,
    left_out: Counter[str],
    notes: Notes,
    scratch: Path,
    display: Display,
) -> Division:
    """Divide genes among the sets, and leave out those that resemble genes of another set.

    Where more than a third of a set would be left out and as many genes have a relative elsewhere, as in polyploids,
    the genes are divided by their families; so they are where nothing would be left of a set.

    Arguments:
        genes: The genes, in the annotation's order.
        left_out: Reason -> the number of genes that are in no set already.

    Raises:
        SettingsError: A sequence that the settings name has no gene, or the split does not suit the genome.
        DatasetError: A set would be without introns.
    """

    def divided(by: CreateDataSettings, families: Families | None) -> Division:
        counts = left_out.copy()
        sets, split = split_genes(genes, genome, by, counts, families)
        removed: dict[SetName, list[Paralog]] = {}
        if by.remove_paralogs and len(sets) > 1:
            sets, removed = remove_paralogs(sets, genome, by, scratch, counts, display)
        return Division(sets, split, removed, counts)

    division = divided(settings, None)
    if not any(division.removed.values()) or division.loss() <= MANY:
        _refuse_without_introns(division, settings, _OTHER_SETS)
        return division
    families = find_families(genes, genome, settings, scratch, display)
    alike = families.share_elsewhere()
    if alike <= MANY and not division.without_introns():
        return division  # an ordinary genome, and by chance a small set
    by_families = divided(settings, families)
    if by_families.loss() < division.loss():
        why = ", as in polyploids and pairs of haplotypes" if alike > MANY else ""
        notes.append(
            f"{settings.annotation_gff}: {alike:.0%} of the genes resemble a gene of another sequence{why}; so genes "
            "that resemble each other were drawn into one set"
        )
    division = min(by_families, division, key=Division.loss)
    if division.loss() > MANY:
        tried = (by for by in _with_copies(settings, families) if divided(by, families).loss() <= MANY)
        keeping_helps = not divided(replace(settings, remove_paralogs=False), None).without_introns()
        _tell_loss(division, settings, notes, _told(settings, next(tried, None), keeping_helps))
    return division


def _tell_loss(division: Division, settings: CreateDataSettings, notes: Notes, way_out: str) -> None:
    """Tell, with a way out, which sets lost many of their genes; refuse them if one is of no use."""
    _refuse_without_introns(division, settings, way_out)
    for name, lost in division.removed.items():
        if len(lost) > MANY * (len(lost) + len(division.sets[name])):
            notes.append(f"{settings.annotation_gff}: the {TITLES[name]} set lost {_likes(lost)}; {way_out}")


def _refuse_without_introns(division: Division, settings: CreateDataSettings, way_out: str) -> None:
    """Raise a `DatasetError` if a set has no introns."""
    if name := division.without_introns():
        genes, lost = division.sets[name], division.removed.get(name)
        what = f"{counted(len(genes), 'gene')} without a single intron" if genes else "no genes"
        because = f", since it lost {_likes(lost)}" if lost else ""
        raise DatasetError(f"{settings.annotation_gff}: the {TITLES[name]} set would hold {what}{because}; {way_out}")


def _likes(lost: Sequence[Paralog]) -> str:
    sets = " and ".join(TITLES[name] for name in dict.fromkeys(paralog.other_set for paralog in lost))
    where = some({paralog.other_sequence for paralog in lost})
    return f"{counted(len(lost), 'gene')} that resemble genes of the {sets} set, on {where}"


def _with_copies(settings: CreateDataSettings, families: Families) -> Iterator[CreateDataSettings]:
    """Yield settings in which the named sequences have their copies with them, or in which fewer are named."""
    test = _and_copies(settings.test_sequences, families)
    validation = tuple(name for name in _and_copies(settings.validation_sequences, families) if name not in test)
    for tests, validations in dict.fromkeys(((test, validation), (test, ()), ((), validation), ((), ()))):
        if max(len(tests), len(validations)) <= _MOST_NAMES:
            yield replace(settings, test_sequences=tests or None, validation_sequences=validations or None)


def _and_copies(names: Collection[str] | None, families: Families) -> tuple[str, ...]:
    return tuple(dict.fromkeys(copy for name in names or () for copy in families.copies(name)))


def _told(settings: CreateDataSettings, better: CreateDataSettings | None, keeping_helps: bool) -> str:
    """Return in words what makes settings the better ones, and whether it helps to keep paralogs."""
    changes = []
    for name in ("test_sequences", "validation_sequences"):
        now, then = getattr(settings, name), getattr(better, name, None)
        if better and sorted(now or ()) != sorted(then or ()):
            changes.append(f"give `{name}={','.join(then)}`" if then else f"leave out `{name}`")
    ways = [" and ".join(changes)] if changes else []
    if keeping_helps:
        ways.append("give `remove_paralogs=False` to `spliceai-jax create-data`, which keeps them")
    return ", or ".join(ways) or _OTHER_SETS

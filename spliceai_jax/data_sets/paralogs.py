"""Genes that resemble a gene of another data set: a model that has seen one would be tested on what it knows."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.data_sets.likeness import Search
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import SetName, Sets
from spliceai_jax.display import Display
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
        sets: The genes of each set.
        genome: The genome.
        settings: Holds the limits of identity and coverage.
        scratch: A folder for a temporary file.
        left_out: Counts, by reason, genes that are in no set.
        display: Shows the progress.

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

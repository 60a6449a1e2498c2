"""Genes that resemble a gene of another data set: a model that has seen one would be tested on what it knows."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mappy
import numpy as np
from jaxtyping import UInt8

from spliceai_jax.data.fasta import Genome
from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import SetName, Sets
from spliceai_jax.display import Display
from spliceai_jax.encoding import COMPLEMENT, decode

_SEARCHED: dict[SetName, tuple[SetName, ...]] = {"train": ("test", "validation"), "test": ("validation",)}
"""A set -> those whose genes are left out where they resemble one of its genes."""

_HITS = 50
"""The most alignments that are looked at for a gene; large families have many members."""


@dataclass(frozen=True, slots=True)
class Paralog:
    """A gene that was left out.

    Attributes:
        gene: Its name.
        other: The name of the gene that it resembles most.
        other_set: The set of that gene.
        identity: The share of matching bases in the alignments of the two.
        coverage: The share of the gene's exons that these alignments cover.
    """

    gene: str
    other: str
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
        aligner = _aligner(others, genome, scratch)
        for name in names:
            genes, kept = sets.get(name, []), []
            with display.progress(f"paralogs, {name}", len(genes), "genes") as advance:
                for chosen, found in _each(genes, others, aligner, genome, settings):
                    if found is None:
                        kept.append(chosen)
                    else:
                        number, identity, coverage = found
                        other = others[number].gene.name
                        removed[name].append(Paralog(chosen.gene.name, other, other_name, identity, coverage))
                    advance(1)
            sets = {**sets, name: kept}
    left_out["paralog of a gene of another set"] += sum(map(len, removed.values()))
    return sets, removed


def _aligner(genes: Sequence[ChosenGene], genome: Genome, scratch: Path) -> mappy.Aligner:
    """Return an index of genes' exons, in which a gene has its number as its name."""
    with tempfile.NamedTemporaryFile("w", dir=scratch, suffix=".fa") as fasta:
        for number, chosen in enumerate(genes):
            fasta.write(f">{number}\n{decode(_exons(chosen, genome))}\n")
        fasta.flush()
        return mappy.Aligner(fasta.name, preset="map-ont", best_n=_HITS)


def _each(
    genes: Sequence[ChosenGene],
    others: Sequence[ChosenGene],
    aligner: mappy.Aligner,
    genome: Genome,
    settings: CreateDataSettings,
) -> Iterator[tuple[ChosenGene, tuple[int, float, float] | None]]:
    """Yield each gene with the number of the other that it resembles most, identity and coverage; None if none."""

    def resembled(chosen: ChosenGene) -> tuple[int, float, float] | None:
        bases = decode(_exons(chosen, genome))
        covered: dict[int, np.ndarray] = {}
        matches: Counter[int] = Counter()
        aligned: Counter[int] = Counter()
        for hit in aligner.map(bases):  # leaves Python's lock to the other threads
            number = int(hit.ctg)
            if hit.mlen >= settings.min_identity * hit.blen:
                covered.setdefault(number, np.zeros(len(bases), bool))[hit.q_st : hit.q_en] = True
                matches[number] += hit.mlen
                aligned[number] += hit.blen
        if not covered:
            return None
        number = max(covered, key=lambda number: int(covered[number].sum()))
        coverage = float(covered[number].mean())
        return (number, matches[number] / aligned[number], coverage) if coverage >= settings.min_coverage else None

    with ThreadPoolExecutor() as pool:
        yield from zip(genes, pool.map(resembled, genes), strict=True)


def _exons(chosen: ChosenGene, genome: Genome) -> UInt8[np.ndarray, " length"]:
    gene, exons = chosen.gene, chosen.canonical.exons
    first = int(exons[0, 0])
    span = genome.bases(gene.sequence, first, int(exons[:, 1].max()))
    bases = np.concatenate([span[start - first : end - first] for start, end in exons])
    return bases if gene.strand == "+" else COMPLEMENT[bases[::-1]]

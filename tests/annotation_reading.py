"""What tests of annotations ask of the package: the one place that knows its names."""

import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from annotation_oracle import Found

from spliceai_jax.data_sets.genes import choose_genes
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.display import Display
from spliceai_jax.errors import SpliceAIWarning
from spliceai_jax.genome import annotation as reader
from spliceai_jax.genome.fasta import Genome


@dataclass(frozen=True)
class Read:
    """An annotation as the reader gives it: its genes, and how often it applied which rule to repair them."""

    genes: list[reader.Gene]
    repairs: Counter[str]


def read(path: Path) -> Read:
    annotation = reader.read_annotation(path)
    return Read(list(annotation.genes), Counter({repair.rule: repair.count for repair in annotation.repairs}))


def introns_of(transcript: reader.Transcript) -> list[tuple[int, int]]:
    return [(end, start) for (_, end), (start, _) in pairwise(transcript.exons.tolist()) if end < start]


def found(path: Path, transcripts: set[str] | None = None) -> list[Found]:
    """The genes that have exons, in the form of the oracle; of these transcripts, or of all."""
    genes = [
        (
            gene.sequence,
            gene.strand,
            gene.start,
            gene.end,
            frozenset(intron for transcript in gene.transcripts for intron in introns_of(transcript)),
        )
        for gene in read(path).genes
        if any(
            len(transcript.exons) and (transcripts is None or transcript.name in transcripts)
            for transcript in gene.transcripts
        )
    ]
    return sorted(genes, key=lambda gene: (gene[:4], sorted(gene[4])))


Labels = list[tuple[str, str, int, int, str]]
"""Sequence, strand, start and end of each gene, and the label of each base as a digit."""


def labels_of(length: int, strand: str, introns: Iterable[tuple[int, int]]) -> str:
    """The labels of a gene whose introns are given from its start: 1 acceptor, 2 donor."""
    labels = ["0"] * length
    for first, behind in introns:
        labels[first - 1], labels[behind] = "21" if strand == "+" else "12"
    return "".join(labels if strand == "+" else labels[::-1])


@dataclass(frozen=True)
class Chosen:
    """The genes that `create-data` takes.

    Attributes:
        labels: Their labels, in the order of the sequences.
        counted: What was repaired or left out -> how often.
        notes: What the user is told.
    """

    labels: Labels
    counted: Counter[str]
    notes: list[str]


def chosen(fasta: Path, annotation: Path, **options: object) -> Chosen:
    """Choose the genes of these files as `create-data` does with these options."""
    with TemporaryDirectory() as folder:
        settings = CreateDataSettings(
            genome_fasta=fasta, annotation_gff=annotation, output_dir=Path(folder) / "out", **options
        )
        with closing(Genome(fasta, Path(folder))) as genome, warnings.catch_warnings():
            warnings.simplefilter("ignore", SpliceAIWarning)
            choice = choose_genes(reader.read_annotation(annotation), genome, settings, Display())
            labels = sorted(
                (one.gene.sequence, one.gene.strand, one.gene.start, one.gene.end, "".join(map(str, one.labels())))
                for one in choice.genes
            )
    left_out = Counter({reason: count for reason, count in choice.left_out.items() if count})
    repairs = Counter({repair.rule: repair.count for repair in choice.repairs})
    return Chosen(labels, repairs + left_out, choice.notes)

"""The stretches of a genome that are scored: whole sequences, or genes and what lies beside them."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SettingsError, SpliceAIWarning
from spliceai_jax.genome.annotation import Annotation, Gene
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.genes_on_genome import genes_on_genome
from spliceai_jax.genome.sequences import Region, Selection, Stretch
from spliceai_jax.scoring.settings import PredictSettings

_LONGEST_COLUMN = 4000
"""About as many characters of genes' names stand in a row; a hundred genes that overlap have fewer."""


class Span(NamedTuple):
    """A stretch of a sequence that output rows are named after, a gene or the whole sequence.

    Attributes:
        start: Its first position, counted from 0.
        end: The position after its last.
        name: What the rows' fourth column begins with.
    """

    start: int
    end: int
    name: str


def whole_sequences(genome: Genome, strands: Sequence[Strand], names: Collection[str] | None = None) -> Selection:
    """Select whole sequences of a genome; every one where no names are given."""
    lengths = {name: length for name, length in genome.lengths.items() if names is None or name in names}

    # Made one by one, since a draft genome may have millions of sequences.
    def regions() -> Iterator[list[Region]]:
        for name, length in lengths.items():
            if length:
                yield [Region(name, strand, 0, length, (Stretch(0, length, (name,)),)) for strand in strands]

    return Selection(
        f"whole sequences, {' and '.join(strands)}",
        regions(),
        len(strands) * len(lengths),
        len(strands) * sum(lengths.values()),
    )


def genes_and_flanks(
    genome: Genome, genes: Sequence[Gene], flank: int, name_of: Callable[[Gene, int, int], str]
) -> Selection:
    """Select genes, each on its strand, and `flank` bases on each side of them, as far as their sequences go.

    Arguments:
        name_of: Given a gene, and where its stretch starts and ends, returns what rows are named after.
    """
    spans_of: dict[str, dict[Strand, list[Span]]] = {}
    for gene in genes:
        start, end = max(gene.start - flank, 0), min(gene.end + flank, genome.lengths[gene.sequence])
        span = Span(start, end, name_of(gene, start, end))
        spans_of.setdefault(gene.sequence, {}).setdefault(gene.strand, []).append(span)
    regions = [
        [region for strand, spans in sorted(by_strand.items()) for region in _regions(sequence, strand, spans)]
        for sequence, by_strand in sorted(spans_of.items())
    ]
    return Selection(
        f"{len(genes)} genes, each on its strand, and {flank} bases to each side",
        regions,
        sum(map(len, regions)),
        sum(region.end - region.start for together in regions for region in together),
    )


def _regions(sequence: str, strand: Strand, spans: list[Span]) -> Iterator[Region]:
    """Join spans that overlap or touch, so that no position is scored twice."""
    spans = sorted(spans)
    ends = sorted((span.end, number) for number, span in enumerate(spans))
    edges = sorted({edge for span in spans for edge in (span.start, span.end)})
    begun = ended = 0
    here: OrderedDict[int, Span] = OrderedDict()  # a dict would step over all that has been deleted
    stretches: list[Stretch] = []
    for start, end in pairwise(edges):
        while ends[ended][0] == start:
            del here[ends[ended][1]]
            ended += 1
        while begun < len(spans) and spans[begun].start == start:
            here[begun] = spans[begun]
            begun += 1
        if here:
            stretches.append(_stretch(start, end, here))
        else:
            yield Region(sequence, strand, stretches[0].start, start, stretches)
            stretches = []
    yield Region(sequence, strand, stretches[0].start, edges[-1], stretches)


def _stretch(start: int, end: int, here: Mapping[int, Span]) -> Stretch:
    names, room = [], _LONGEST_COLUMN
    for span in here.values():
        names.append(span.name)
        room -= len(span.name)
        if room < 0:
            break
    return Stretch(start, end, tuple(names), len(here) - len(names))


def genes_to_score(annotation: Annotation, genome: Genome, settings: PredictSettings) -> list[Gene]:
    """Return the genes that lie on the genome's sequences, on a strand that is to be scored.

    Genes on sequences that the genome lacks, or over the origin of a circular one, are left out with a
    `SpliceAIWarning`.

    Raises:
        SequenceError: The annotation is of another genome: a gene ends beyond its sequence, or no sequence is known.
        SettingsError: No gene is on the strand.
    """
    placed = genes_on_genome(annotation, genome, settings.annotation_file or "")
    for note in placed.notes:
        warnings.warn(note, SpliceAIWarning, stacklevel=2)
    wanted = [gene for gene in placed.genes if gene.strand in settings.strands]
    if not wanted:
        raise SettingsError(f"`strand={settings.strand!r}`: {settings.annotation_file} has no gene on that strand")
    return wanted

"""The stretches of a genome that are scored: whole sequences, or genes and what lies beside them."""

import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from spliceai_jax.data.annotation import Gene
from spliceai_jax.data.fasta import Genome
from spliceai_jax.data.same_assembly import genes_on_genome
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import SettingsError, SpliceAIWarning
from spliceai_jax.scoring.settings import PredictSettings


@dataclass(frozen=True)
class Span:
    """A stretch of a sequence that output rows are named after, a gene or the whole sequence.

    Attributes:
        start: Its first position, counted from 0.
        end: The position after its last.
        name: What the rows' fourth column begins with.
    """

    start: int
    end: int
    name: str


@dataclass(frozen=True)
class Region:
    """A stretch of one strand of a sequence, every position of which is scored.

    Attributes:
        sequence: The name of the sequence.
        strand: "+" or "-".
        start: Its first position, counted from 0 on the "+" strand.
        end: The position after its last.
        spans: What its rows are named after; together they cover the region, and they may overlap.
    """

    sequence: str
    strand: Strand
    start: int
    end: int
    spans: tuple[Span, ...]

    def spans_between(self, start: int, end: int) -> list[Span]:
        """Return the spans that have a position in this stretch."""
        return [span for span in self.spans if span.start < end and span.end > start]


@dataclass(frozen=True)
class Selection:
    """What is to be scored of a genome.

    Attributes:
        description: What it is, in words.
        regions: The regions of each sequence together, sequences in the order of their names. Those of a strand do
            not overlap. They can be iterated over once.
        count: The number of regions, empty sequences included.
        positions: The number of positions, both strands counted.
    """

    description: str
    regions: Iterable[list[Region]]
    count: int
    positions: int


def whole_sequences(genome: Genome, strands: Sequence[Strand], names: Collection[str] | None = None) -> Selection:
    """Select whole sequences of a genome; every one where no names are given."""
    lengths = {name: length for name, length in genome.lengths.items() if names is None or name in names}

    # Made one by one, since a draft genome may have millions of sequences.
    def regions() -> Iterator[list[Region]]:
        for name, length in lengths.items():
            if length:
                yield [Region(name, strand, 0, length, (Span(0, length, name),)) for strand in strands]

    return Selection(
        f"whole sequences, {' and '.join(strands)}",
        regions(),
        len(strands) * len(lengths),
        len(strands) * sum(lengths.values()),
    )


def genes_and_flanks(genome: Genome, genes: Sequence[Gene], flank: int) -> Selection:
    """Select genes, each on its strand, and `flank` bases on each side of them, as far as their sequences go."""
    stretches: dict[str, dict[Strand, list[Span]]] = {}
    for gene in genes:
        start, end = max(gene.start - flank, 0), min(gene.end + flank, genome.lengths[gene.sequence])
        # The form of OpenSpliceAI's names, which count from 1.
        name = f"{gene.name} {gene.sequence}:{start + 1}-{end}({gene.strand})"
        stretches.setdefault(gene.sequence, {}).setdefault(gene.strand, []).append(Span(start, end, name))
    regions = [
        [region for strand, spans in sorted(by_strand.items()) for region in _joined(sequence, strand, spans)]
        for sequence, by_strand in sorted(stretches.items())
    ]
    return Selection(
        f"{len(genes)} genes, each on its strand, and {flank} bases to each side",
        regions,
        sum(map(len, regions)),
        sum(region.end - region.start for together in regions for region in together),
    )


def _joined(sequence: str, strand: Strand, spans: list[Span]) -> Iterator[Region]:
    """Join spans that overlap or touch, so that no position is scored twice."""
    ordered = sorted(spans, key=lambda span: (span.start, span.end, span.name))
    joined, end = ordered[:1], ordered[0].end
    for span in ordered[1:]:
        if span.start > end:
            yield Region(sequence, strand, joined[0].start, end, tuple(joined))
            joined, end = [], span.end
        joined.append(span)
        end = max(end, span.end)
    yield Region(sequence, strand, joined[0].start, end, tuple(joined))


def genes_to_score(genes: Sequence[Gene], genome: Genome, settings: PredictSettings) -> list[Gene]:
    """Return the genes that lie on the genome's sequences, on a strand that is to be scored.

    Genes on sequences that the genome lacks are left out with a `SpliceAIWarning`.

    Raises:
        SequenceError: The annotation is of another genome: a gene ends beyond its sequence, or no sequence is known.
        SettingsError: No gene is on the strand.
    """
    known, note = genes_on_genome(genes, genome, settings.annotation_file or "")
    if note:
        warnings.warn(note, SpliceAIWarning, stacklevel=2)
    wanted = [gene for gene in known if gene.strand in settings.strands]
    if not wanted:
        raise SettingsError(f"`strand={settings.strand!r}`: {settings.annotation_file} has no gene on that strand")
    return wanted

"""Score a genome: windows that overlap by the context, on every device, written while the next are computed."""

import heapq
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock, Timeout
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spliceai_jax.architecture import ARCHITECTURES, WINDOW
from spliceai_jax.console import Report
from spliceai_jax.errors import Interrupted, RunFolderError, SequenceError, SettingsError, SpliceAIWarning, WeightsError
from spliceai_jax.folder import check_writable
from spliceai_jax.interrupts import StopRequest, stop_request
from spliceai_jax.model import SpliceAI
from spliceai_jax.operations import compiler_options
from spliceai_jax.pretrained import Pretrained
from spliceai_jax.sequences import Gene, Genome, Strand, read_genes
from spliceai_jax.settings import PredictSettings
from spliceai_jax.tracks import KINDS, Span, Tracks, TrackWriter

_LEAST_LENGTH = 20_000
_CONTEXTS = 10
"""A row scores this many times the context, so that little is computed twice; on CPUs longer ones were not faster."""

_BASES_AT_ONCE = 1_000_000
"""What a device other than a CPU, which is busy with one row, is given together: about 0.5 GB of activations."""


@dataclass(frozen=True)
class Predictions:
    """What `predict` wrote.

    Attributes:
        acceptor: The BED file of acceptors.
        donor: That of donors.
        bigwigs: The bigWig files, if any.
        rows: Rows of the two BED files, by kind of site.
        bases: Positions scored, both strands counted.
    """

    acceptor: Path
    donor: Path
    bigwigs: tuple[Path, ...]
    rows: dict[str, int]
    bases: int


@dataclass(frozen=True)
class Region:
    """A stretch of a strand to score, without a gap.

    Attributes:
        sequence: Its name.
        strand: "+" or "-".
        start: Its first position, counted from 0.
        end: The position behind its last.
        spans: What its rows are named after; together they cover it.
    """

    sequence: str
    strand: Strand
    start: int
    end: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Piece:
    """As much of a region as went into a row.

    Attributes:
        region: The region.
        start: Its first position.
        end: The position behind its last.
        place: Row, and first scored position there; None where the piece and its context are N throughout.
    """

    region: Region
    start: int
    end: int
    place: tuple[int, int] | None


@dataclass
class Batch:
    """Rows of one shape for the network.

    Attributes:
        bases: uint8 (rows, length + flanking_size).
        pieces: What lies in them, in order.
    """

    bases: np.ndarray
    pieces: list[Piece] = field(default_factory=list)


class Scorer:
    """The mean of several models' probabilities, on every device."""

    def __init__(self, models: list[Pretrained]) -> None:
        """Compile lazily; all models are of one flanking size."""
        self.flanking_size = models[0].flanking_size
        self.devices = jax.devices()
        mesh = Mesh(np.array(self.devices), ("rows",))
        network = SpliceAI(ARCHITECTURES[self.flanking_size])
        self._cut = NamedSharding(mesh, PartitionSpec("rows"))
        everywhere = NamedSharding(mesh, PartitionSpec())
        self._models = [jax.device_put(model.variables, everywhere) for model in models]

        def forward(variables: Any, bases: Array) -> Array:
            probabilities: Any = network.apply(variables, bases)
            return probabilities[..., 1:]

        shared = jax.shard_map(
            forward, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec("rows")), out_specs=PartitionSpec("rows")
        )
        self._forward = jax.jit(shared, compiler_options=compiler_options(self.devices[0].platform))

    def shape(self, bases: int, regions: int) -> tuple[int, int]:
        """Rows and bases a row that suit so many positions to score in so many regions, a multiple of the devices."""
        length = max(_LEAST_LENGTH, _CONTEXTS * self.flanking_size)
        rows = 1 if self.devices[0].platform == "cpu" else max(_BASES_AT_ONCE // length, 1)
        needed = bases + (regions - 1) * self.flanking_size
        return min(rows, -(-needed // (length * len(self.devices)))) * len(self.devices), min(length, needed)

    def __call__(self, bases: np.ndarray) -> Array:
        """Probabilities of acceptor and donor, (rows, length, 2), on their way; `bases` must not change meanwhile."""
        placed = jax.device_put(bases, self._cut)
        total = self._forward(self._models[0], placed)
        for model in self._models[1:]:
            total = total + self._forward(model, placed)
        return total / len(self._models) if len(self._models) > 1 else total


class Nothing:
    """The score of a position that sees only N, computed when the first is met."""

    def __init__(self, scorer: Scorer, shape: tuple[int, int]) -> None:
        """`shape` is that of all rows, so that nothing compiles twice."""
        self._scorer = scorer
        self._bases = shape[0], shape[1] + scorer.flanking_size

    @cached_property
    def score(self) -> np.ndarray:
        """(2,) of acceptor and donor."""
        return np.asarray(self._scorer(np.zeros(self._bases, np.uint8)))[0, 0]


def batches(
    genome: Genome, regions: Iterable[list[Region]], shape: tuple[int, int], flanking_size: int
) -> Iterator[Batch]:
    """Lay regions into rows, each piece with all the context that its sequence has around it.

    Short regions share a row, long ones take many. Pieces come in order of their sequences and starts, so that rows
    of both strands can be written sorted.

    Arguments:
        genome: The sequences.
        regions: Those of a sequence together, overlapping only on different strands.
        shape: Rows a batch and positions scored a row.
        flanking_size: Bases of context, both sides together.
    """
    rows, length = shape
    half = flanking_size // 2

    def empty() -> Batch:
        return Batch(np.zeros((rows, length + flanking_size), np.uint8))

    batch, row, used = empty(), 0, 0
    for together in regions:
        waiting = [(region.start, number) for number, region in enumerate(together)]
        heapq.heapify(waiting)
        while waiting:
            start, number = heapq.heappop(waiting)
            region = together[number]
            if used >= length:
                row, used = row + 1, 0
            if row == rows:
                yield batch
                batch, row = empty(), 0
            end = min(region.end, start + length)
            blank = not genome.bases(region.sequence, start - half, end + half).any()
            if not blank:
                end = min(end, start + length - used)
                bases = genome.bases(region.sequence, start - half, end + half, region.strand)
                batch.bases[row, used : used + len(bases)] = bases
            batch.pieces.append(Piece(region, start, end, None if blank else (row, used)))
            used += 0 if blank else end - start + flanking_size
            if end < region.end:
                heapq.heappush(waiting, (end, number))
    if batch.pieces:
        yield batch


def whole_sequences(genome: Genome, strands: Sequence[Strand]) -> Iterator[list[Region]]:
    """Every sequence of a genome that is not empty, by name."""
    for name, length in genome.lengths.items():
        if length:
            yield [Region(name, strand, 0, length, (Span(0, length, name),)) for strand in strands]


def genes_and_flanks(genome: Genome, genes: list[Gene], flank: int) -> list[list[Region]]:
    """What genes and so many bases to their sides cover, by sequence, overlapping ones of a strand joined."""
    stretches: dict[str, dict[Strand, list[Span]]] = {}
    for gene in genes:
        start, end = max(gene.start - flank, 0), min(gene.end + flank, genome.lengths[gene.sequence])
        # The form of OpenSpliceAI's names, which count from 1.
        name = f"{gene.name} {gene.sequence}:{start + 1}-{end}({gene.strand})"
        stretches.setdefault(gene.sequence, {}).setdefault(gene.strand, []).append(Span(start, end, name))
    found = []
    for sequence, by_strand in sorted(stretches.items()):
        regions = []
        for strand, spans in sorted(by_strand.items()):
            joined: list[Span] = []
            reach = 0
            for span in sorted(spans, key=lambda span: (span.start, span.end, span.name)):
                if joined and span.start > reach:
                    regions.append(Region(sequence, strand, joined[0].start, reach, tuple(joined)))
                    joined = []
                reach = max(reach, span.end) if joined else span.end
                joined.append(span)
            regions.append(Region(sequence, strand, joined[0].start, reach, tuple(joined)))
        found.append(regions)
    return found


def _check_genes(genes: list[Gene], genome: Genome, settings: PredictSettings) -> list[Gene]:
    """Those that lie on the genome's sequences, on the strand asked for; an annotation of another genome is refused."""
    here = [gene for gene in genes if gene.sequence in genome.lengths]
    for gene in here:
        if gene.end > (length := genome.lengths[gene.sequence]):
            raise SequenceError(
                f"{settings.annotation_file}: gene {gene.name} ends at {gene.end}, but {gene.sequence} has {length} "
                f"bases in {genome.source}; give the annotation of this very assembly"
            )
    if not here:
        raise SequenceError(
            f"{settings.annotation_file}: none of its sequences is in {genome.source}: {genes[0].sequence!r} here, "
            f"{next(iter(genome.lengths))!r} there; give an annotation with the same names"
        )
    if missing := len(genes) - len(here):
        warnings.warn(
            f"{missing} of {len(genes)} genes of {settings.annotation_file} lie on sequences that {genome.source} does "
            "not hold; they are left out",
            SpliceAIWarning,
            stacklevel=2,
        )
    wanted = [gene for gene in here if gene.strand in settings.strands]
    if not wanted:
        raise SettingsError(f"--strand {settings.strand}: {settings.annotation_file} has no gene on that strand")
    return wanted


def _read_models(settings: PredictSettings) -> list[Pretrained]:
    models = [Pretrained.from_pt(path, settings.flanking_size) for path in settings.model_files]
    for path, model in zip(settings.model_files, models, strict=True):
        if model.flanking_size != models[0].flanking_size:
            raise SettingsError(
                f"--model: {path} has a flanking size of {model.flanking_size} nt and {settings.model_files[0]} one of "
                f"{models[0].flanking_size} nt; models whose mean is taken must be of one flanking size"
            )
    return models


def predict(settings: PredictSettings, report: Report | None = None) -> Predictions:
    """Score a genome, or its genes, and write what reaches the threshold.

    Memory does not depend on the genome, except for some 200 bytes a sequence and a gene; on disk a byte a base is
    needed beside the results while it works.

    Arguments:
        settings: See `PredictSettings`.
        report: Told of what is done; None for silence.

    Raises:
        WeightsError: See `Pretrained.from_pt`; or the scores are not numbers.
        SequenceError: The FASTA or GFF3 file cannot be used, or one does not belong to the other.
        SettingsError: The models differ in flanking size; no gene is on the strand; pyBigWig is wanted and missing.
        RunFolderError: There are predictions already, or the folder cannot be written or is in use.
        Interrupted: A signal came; nothing is left behind.
    """
    report = report or Report()
    scorer = Scorer(_read_models(settings))
    folder = Path(settings.output_dir).absolute() / f"SpliceAI_{WINDOW}_{scorer.flanking_size}"
    annotated = settings.annotation_file is not None
    tracks = Tracks(folder, settings.threshold, annotated, settings.strands if settings.bigwig else ())
    tracks.check()
    scratch = check_writable(folder)
    genes = None if settings.annotation_file is None else read_genes(settings.annotation_file)
    with closing(Genome(settings.input_sequence, scratch)) as genome:
        flank = scorer.flanking_size // 2 if settings.gene_flank is None else settings.gene_flank
        regions: Iterable[list[Region]]
        if genes is None:
            regions = whole_sequences(genome, settings.strands)
            count = len(settings.strands) * len(genome.lengths)
            total = len(settings.strands) * sum(genome.lengths.values())
        else:
            genes = _check_genes(genes, genome, settings)
            regions = genes_and_flanks(genome, genes, flank)
            count = sum(map(len, regions))
            total = sum(region.end - region.start for together in regions for region in together)
        shape = scorer.shape(total, count)
        report.summary(
            {
                "models": f"{len(settings.model_files)} of {scorer.flanking_size} nt, on {_described(scorer.devices)}",
                "genome": f"{settings.input_sequence}: {len(genome.lengths)} sequences, "
                f"{sum(genome.lengths.values())} bases, {genome.known} of them A, C, G or T",
                "scored": f"{total} positions: "
                + (
                    f"whole sequences, {' and '.join(settings.strands)}"
                    if genes is None
                    else f"{len(genes)} genes, each on its strand, and {flank} bases to each side"
                ),
                "folder": str(folder),
            }
        )
        start = time.monotonic()
        with _held(folder), stop_request() as stop:
            tracks.check()  # another process may have written them meanwhile
            with (
                tracks.written(genome.lengths) as writer,
                report.progress("predict", total, "bases") as advance,
            ):
                _write(scorer, batches(genome, regions, shape, scorer.flanking_size), shape, writer, advance, stop)
    seconds = time.monotonic() - start
    report.line(
        f"{writer.rows['acceptor']} positions score {settings.threshold:g} or more as acceptors, "
        f"{writer.rows['donor']} as donors; {total} in {seconds:.1f} s, {total / seconds:.0f} a second"
    )
    return Predictions(
        tracks.beds["acceptor"], tracks.beds["donor"], tuple(tracks.bigwigs.values()), writer.rows, total
    )


def _described(devices: list[jax.Device]) -> str:
    return f"{len(devices)} x {devices[0].device_kind}"


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(
            f"{folder}: another process writes its predictions here; wait for it, or give another --output-dir"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _scored(scorer: Scorer, work: Iterable[Batch]) -> Iterator[tuple[Batch, Array | None]]:
    """Each batch with its scores, handed over when the next one is on its way."""
    before: tuple[Batch, Array | None] | None = None
    for batch in work:
        # Nothing is on its way for a batch of N alone.
        scores = scorer(batch.bases) if any(piece.place for piece in batch.pieces) else None
        if before:
            yield before
        before = batch, scores
    if before:
        yield before


def _write(
    scorer: Scorer,
    work: Iterable[Batch],
    shape: tuple[int, int],
    writer: TrackWriter,
    advance: Callable[[int], None],
    stop: StopRequest,
) -> None:
    nothing, sequence = Nothing(scorer, shape), None
    for batch, on_their_way in _scored(scorer, work):
        if stop.received:
            raise Interrupted(
                f"stopped by {stop.received.name}; nothing was written, give the same command again", stop.received
            )
        scores = None if on_their_way is None else np.asarray(on_their_way)
        if scores is not None and not np.isfinite(scores).all():
            raise WeightsError("--model: scores that are not numbers; the weights are unusable")
        for piece in batch.pieces:
            region, size = piece.region, piece.end - piece.start
            writer.flush(piece.start if region.sequence == sequence else None)
            sequence = region.sequence
            if piece.place is None or scores is None:
                found = np.broadcast_to(nothing.score, (size, len(KINDS)))
            else:
                row, place = piece.place
                found = scores[row, place : place + size]
            ahead = found if region.strand == "+" else found[::-1]
            spans = [span for span in region.spans if span.start < piece.end and span.end > piece.start]
            writer.add(region.sequence, region.strand, spans, piece.start, ahead)
            advance(size)
    writer.flush()

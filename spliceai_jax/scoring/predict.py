"""Score a genome: results of one batch of rows are written while the devices compute the next."""

import time
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.architecture import SiteKind
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import SpliceAIWarning
from spliceai_jax.files import check_writable, held, unexpected_errors_logged
from spliceai_jax.genome.annotation import Annotation, read_annotation
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.sequences import Selection
from spliceai_jax.loops import StopRequest, stop_request
from spliceai_jax.network.ensemble import read_models
from spliceai_jax.network.score import Scorer, scored_pieces
from spliceai_jax.scoring.bed import BedForm, bed_form
from spliceai_jax.scoring.regions import genes_and_flanks, genes_to_score, whole_sequences
from spliceai_jax.scoring.settings import PredictSettings
from spliceai_jax.scoring.tracks import LEVELS, Tracks, TrackWriter

_UNCALIBRATED = (
    "`spsc`: the scores are made of probabilities that are not calibrated; `calibrated=True` applies a temperature, "
    "which `spliceai-jax calibrate` fits"
)
_BUSY = "another process writes its predictions here; wait for it, or give another `output_dir`"


@dataclass(frozen=True)
class Predictions:
    """What `predict` wrote.

    Attributes:
        acceptor: The BED file of acceptors.
        donor: The BED file of donors.
        bigwigs: The bigWig files, if any.
        rows: The number of rows of the two BED files, by kind of site.
        reaching: How many of these rows have a score of 0.1 or more, of 0.5 or more and of 0.9 or more, by kind of site
            and by these numbers.
        bases: The number of positions scored, both strands counted.
        spsc: The file of splice scores for aligners, if any.
    """

    acceptor: Path
    donor: Path
    bigwigs: tuple[Path, ...]
    rows: dict[SiteKind, int]
    reaching: dict[SiteKind, dict[float, int]]
    bases: int
    spsc: Path | None = None


def predict(settings: PredictSettings, display: Display | None = None) -> Predictions:
    """Score a genome, or its genes, and write the scores that reach the threshold.

    Memory does not depend on the genome, except for some 200 bytes for each sequence and gene. While it works, it
    needs a byte a base on disk beside the results, and for `spsc` up to 3 more beside that file.

    Arguments:
        settings: What to score, by which models, and where to write.
        display: Shows what is done, as `ConsoleDisplay()` does; None shows nothing.

    Raises:
        WeightsError: See `Pretrained.from_pt`; or the scores are not numbers.
        SequenceError: The FASTA, GFF3 or GTF file cannot be used, or they do not belong together.
        SettingsError: The models differ in flanking size; no gene is on the strand; pyBigWig is wanted and missing.
        RunFolderError: There are predictions already, or the folder cannot be written or is in use.
        Interrupted: A signal came; nothing was written.
    """
    display = display or Display()
    models = read_models(settings.models, settings.flanking_size, settings.calibrated)
    if settings.spsc is not None and any(model.temperature is None for model in models):
        warnings.warn(_UNCALIBRATED, SpliceAIWarning, stacklevel=2)
    scorer = Scorer(models[0].flanking_size, [model.scoring_variables for model in models], settings.precision)
    folder = settings.folder(scorer.flanking_size)
    form = bed_form(settings.bed, annotated=settings.annotation_file is not None)
    spsc = None if settings.spsc is None else Path(settings.spsc).absolute()
    tracks = Tracks(folder, settings.threshold, form, settings.strands if settings.bigwig else (), spsc)
    tracks.check()
    scratch = check_writable(folder)
    annotation = None if settings.annotation_file is None else read_annotation(settings.annotation_file)
    with unexpected_errors_logged(folder / "error.log"), closing(Genome(settings.input_sequence, scratch)) as genome:
        selection = _select(settings, genome, annotation, scorer.flanking_size, form)
        display.facts(_facts(settings, genome, selection, scorer) | {"folder": str(folder)})
        start = time.monotonic()
        with stop_request() as stop, held(folder, _BUSY):
            tracks.check()  # another process may have written them meanwhile
            with (
                tracks.written(genome) as writer,
                display.progress("predict", selection.positions, "bases") as advance,
            ):
                _write(scorer, genome, selection, writer, advance, stop)
        seconds = time.monotonic() - start
    display.line(_counts(writer, settings.threshold, all(model.temperature is not None for model in models)))
    speed = f"{selection.positions} positions in {seconds:.1f} s, {selection.positions / seconds:.0f} a second"
    display.line(speed + _advice(writer, settings.threshold))
    if scores := writer.splice_scores:
        display.line(
            f"{spsc}: {scores.rows} splice scores of {scores.candidates} places with GT or AG, whose mean probability "
            f"is {scores.rate:.3g}"
        )
    bigwigs = tuple(tracks.bigwigs.values())
    beds = tracks.beds
    return Predictions(
        beds["acceptor"], beds["donor"], bigwigs, writer.rows, writer.reaching, selection.positions, spsc
    )


def _counts(writer: TrackWriter, threshold: float, calibrated: bool) -> str:
    """Say how many rows there are of each kind of site, and how many of them reach each level above the threshold."""
    levels = [level for level in LEVELS if level > threshold]
    scores = " / ".join(f"{score:g}" for score in (threshold, *levels))
    counts = (
        f"{kind}s {' / '.join(map(str, (rows, *(writer.reaching[kind][level] for level in levels))))}"
        for kind, rows in writer.rows.items()
    )
    return f"rows with a {'calibrated ' if calibrated else ''}score of {scores} or more: {', '.join(counts)}"


def _advice(writer: TrackWriter, threshold: float) -> str:
    """Say what a higher threshold would leave out, where most rows hardly say anything."""
    rows, kept = sum(writer.rows.values()), sum(reaching[LEVELS[0]] for reaching in writer.reaching.values())
    if threshold >= LEVELS[0] or kept == rows:
        return ""
    return f"; with `threshold={LEVELS[0]:g}` there would be {kept} rows instead of {rows}"


def _select(
    settings: PredictSettings, genome: Genome, annotation: Annotation | None, flanking_size: int, form: BedForm
) -> Selection:
    if annotation is None:
        return whole_sequences(genome, settings.strands)
    flank = flanking_size // 2 if settings.gene_flank is None else settings.gene_flank
    return genes_and_flanks(genome, genes_to_score(annotation, genome, settings), flank, form.gene_name)


def _facts(settings: PredictSettings, genome: Genome, selection: Selection, scorer: Scorer) -> dict[str, str]:
    devices = f"{len(scorer.devices)} x {scorer.devices[0].device_kind}"
    return {
        "models": f"{len(settings.model_files)} of {scorer.flanking_size} nt, on {devices}",
        "genome": f"{settings.input_sequence}: {len(genome.lengths)} sequences, "
        f"{sum(genome.lengths.values())} bases, {genome.known} of them A, C, G or T",
        "scored": f"{selection.positions} positions: {selection.description}",
    }


def _write(
    scorer: Scorer, genome: Genome, selection: Selection, writer: TrackWriter, advance: Advance, stop: StopRequest
) -> None:
    sequence = None
    for piece, scores in scored_pieces(scorer, genome, selection, stop, "`models`"):
        region = piece.region
        writer.flush(piece.start if region.sequence == sequence else None)
        sequence = region.sequence
        stretches = region.stretches_between(piece.start, piece.end)
        writer.add(region.sequence, region.strand, stretches, piece.start, scores[:, 1:])
        advance(piece.end - piece.start)
    writer.flush()

"""Score a model as its users meet it: on whole sequences, both strands, against all sites of an annotation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from spliceai_jax.architecture import CLASSES, SITE_KINDS
from spliceai_jax.display import Display
from spliceai_jax.evaluation.genome_metrics import (
    EvaluatedModel,
    GenomeEvaluation,
    GenomeMetrics,
    GenomeMetricsAccumulator,
)
from spliceai_jax.loops import stop_request
from spliceai_jax.network.ensemble import GivenModel, read_models
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.network.score import Scorer, scored_pieces
from spliceai_jax.scoring.genome_truth import STRANDS, GenomeTruth, genome_truth
from spliceai_jax.scoring.regions import whole_sequences


def evaluate_genome(
    model: GivenModel,
    genome_fasta: str | Path,
    annotation_gff: str | Path,
    sequences: Sequence[str] | None = None,
    flanking_size: int | None = None,
    display: Display | None = None,
    calibrated: bool = False,
) -> GenomeMetrics:
    """Score both strands of whole sequences and compare the scores with an annotation.

    The splice sites of all transcripts of protein-coding genes are true. Where the annotation gives no biotypes, genes
    with CDS are protein-coding; where it has neither, all genes are. Sites that only other genes have are neither true
    nor false and are left out. All other positions are false, N and the ends of the sequences among them. Memory does
    not grow with the genome, except for its annotation; a byte a base is needed on the disk of temporary files.

    Arguments:
        model: A `.pt` file, a folder of them, a model in memory or an `Ensemble`; or several of these: see `evaluate`.
        genome_fasta: FASTA file, plain or compressed by gzip or bgzip.
        annotation_gff: The genome's annotation.
        sequences: The names of the sequences that are scored; None: all.
        flanking_size: The flanking size that the model must have; None accepts any.
        display: Shows the progress, as `ConsoleDisplay()` does; None shows nothing.
        calibrated: See `evaluate`.

    Raises:
        WeightsError: See `Pretrained.from_pt`; or the scores are not numbers.
        SequenceError: A file cannot be used, the two do not belong together, or they hold no true site.
        SettingsError: A model in memory has another flanking size, or no temperature though `calibrated`; or a
            sequence's name is unknown.
        RunFolderError: There is no room for the genome among the temporary files.
        Interrupted: A signal came.
    """
    models = read_models(model, flanking_size, calibrated, "model")
    with genome_truth(genome_fasta, annotation_gff, sequences) as truth:
        return _evaluate(models, truth, display or Display(), "evaluate")


def evaluate_genome_models(
    models: Mapping[EvaluatedModel, Pretrained],
    genome_fasta: str | Path,
    annotation_gff: str | Path,
    sequences: Sequence[str],
    scratch: Path,
    display: Display,
) -> GenomeEvaluation:
    """Evaluate models as `evaluate_genome` does, and return what each of them finds, by its name.

    Arguments:
        models: Name ("untouched", "tuned") -> model.
        scratch: The folder for a copy of the genome: see `Genome`.

    Raises:
        SpliceAIError: See `evaluate_genome`.
    """
    with genome_truth(genome_fasta, annotation_gff, sequences, scratch) as truth:
        found = {name: _evaluate([model], truth, display, f"genome, {name} model") for name, model in models.items()}
    genome, annotation = (str(Path(path).absolute()) for path in (genome_fasta, annotation_gff))
    return GenomeEvaluation(genome, annotation, tuple(sorted(set(sequences))), found)


def _evaluate(models: Sequence[Pretrained], truth: GenomeTruth, display: Display, title: str) -> GenomeMetrics:
    selection = whole_sequences(truth.genome, STRANDS, truth.names)
    gathered = GenomeMetricsAccumulator()
    scorer = Scorer(models[0].flanking_size, [model.scoring_variables for model in models])
    with stop_request() as stop, display.progress(title, selection.positions, "bases") as advance:
        for piece, scores in scored_pieces(scorer, truth.genome, selection, stop, "`model`"):
            annotated, stretch = truth.of_strand(piece.region.sequence, piece.region.strand), (piece.start, piece.end)
            gathered.add(
                {kind: scores[:, CLASSES.index(kind)] for kind in SITE_KINDS},
                annotated.sites(*stretch),
                annotated.left_out(*stretch),
                annotated.places(*stretch),
            )
            advance(piece.end - piece.start)
    return gathered.result(len(truth.names), truth.bases, truth.genes)

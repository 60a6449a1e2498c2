"""What a run's models find on whole sequences, as kept in the run's `genome_evaluation.json`."""

from dataclasses import asdict, dataclass, field, replace

from spliceai_jax.evaluation.genome_metrics import GenomeMetrics
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.runs import stored
from spliceai_jax.runs.folder import RunFolder


@dataclass(frozen=True)
class ModelEvaluation:
    """What one model finds.

    Attributes:
        fingerprint: The model's: see `Pretrained.fingerprint`.
        metrics: Its metrics.
        temperature: Its temperature, if it is calibrated.
    """

    fingerprint: str
    metrics: GenomeMetrics
    temperature: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, model: Pretrained, metrics: GenomeMetrics) -> "ModelEvaluation":
        """Return what a model finds."""
        return cls(model.fingerprint, metrics, model.temperature)

    def is_of(self, model: Pretrained) -> bool:
        """Return whether it is this very model."""
        return (self.fingerprint, self.temperature) == (model.fingerprint, model.temperature)


@dataclass(frozen=True)
class GenomeEvaluation:
    """What models find on whole sequences of a genome.

    Attributes:
        genome: The FASTA file, absolute.
        genome_sha256: Its SHA-256.
        annotation: The annotation, absolute.
        annotation_sha256: Its SHA-256.
        sequences: The names of the sequences that were scored, sorted; None: all.
        models: Name ("untouched", "tuned") -> what the model finds.
    """

    genome: str
    genome_sha256: str
    annotation: str
    annotation_sha256: str
    sequences: tuple[str, ...] | None
    models: dict[str, ModelEvaluation] = field(default_factory=dict)

    def is_of_the_same(self, other: "GenomeEvaluation") -> bool:
        """Return whether the other's models are scored on the same sequences, wherever the files lie."""
        return all(
            getattr(self, name) == getattr(other, name) for name in ("genome_sha256", "annotation_sha256", "sequences")
        )

    def with_models(self, models: dict[str, ModelEvaluation]) -> "GenomeEvaluation":
        """Return the evaluation of these models."""
        return replace(self, models=models)

    def to_json(self) -> str:
        """Return the file's content."""
        return stored.render(asdict(self))


def read_genome_evaluation(folder: RunFolder) -> GenomeEvaluation | None:
    """Read a run's evaluation on whole sequences; None where there is none.

    One that cannot be read counts as none, with a warning.
    """
    return stored.unless_damaged(lambda: stored.read(folder.genome_evaluation, GenomeEvaluation))

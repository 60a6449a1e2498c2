"""What a run that is given a genome does with its models at the end: scores whole sequences, and the whole genome."""

from dataclasses import asdict
from pathlib import Path

from spliceai_jax import processes, stored
from spliceai_jax.data_sets.folder import DataFolder, DataSetsRecord
from spliceai_jax.display import Display
from spliceai_jax.evaluation.genome_metrics import EvaluatedModel
from spliceai_jax.fine_tuning.outcome import TransferResult
from spliceai_jax.fine_tuning.plan import Plan
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.network.temperature import temperature_beside
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History
from spliceai_jax.runs.record import read_genome_evaluation, tuned_model
from spliceai_jax.scoring.genome_evaluation import evaluate_genome_models
from spliceai_jax.scoring.predict import predict
from spliceai_jax.scoring.settings import PredictSettings
from spliceai_jax.scoring.tracks import bed_files

THRESHOLD = 0.1
"""The lowest score that is written of a whole genome; lower ones are hundreds of times as many."""

_MOST_BASES = 20_000_000
"""How many bases of test sequences are scored for the report; a CPU scores them in minutes, a human chromosome in an
hour.
"""


def evaluate_on_genome(plan: Plan, history: History, display: Display) -> None:
    """Score the untouched model and the tuned one on whole test sequences, for the report.

    Nothing is done where that was done, where all of the test set's sequences hold training genes too, or where several
    processes work.

    Arguments:
        plan: The plan of a finished run.
        history: What the run has measured.
        display: Shows the progress.

    Raises:
        SpliceAIError: See `evaluate_genome_models`.
    """
    data = plan.settings.data_settings()
    if not data or processes.several():
        return
    record = stored.read(DataFolder(data.output_dir).record, DataSetsRecord)
    names, folder = _whole_test_sequences(record), plan.folder
    if not names or read_genome_evaluation(folder):
        return
    tuned = Pretrained.from_pt(tuned_model(folder, history, plan.recipe))
    models: dict[EvaluatedModel, Pretrained] = {"untouched": plan.pretrained, "tuned": tuned}
    found = evaluate_genome_models(models, data.genome_fasta, data.annotation_gff, names, folder.root, display)
    folder.write(folder.genome_evaluation, stored.render(asdict(found)))


def _whole_test_sequences(record: DataSetsRecord) -> list[str]:
    """Return sequences of the test set that hold no other set's genes, those with most genes first."""
    others = {name for set_name, counts in record.sequences.items() if set_name != "test" for name in counts}
    free = {name: genes for name, genes in record.sequences["test"].items() if name not in others}
    taken: list[str] = []
    room = _MOST_BASES
    for name in sorted(free, key=lambda name: -free[name]):
        if record.lengths[name] <= room:
            taken.append(name)
            room -= record.lengths[name]
    return taken or sorted(free, key=lambda name: record.lengths[name])[:1]


def predict_genome(settings: TransferSettings, result: TransferResult, display: Display) -> Path | None:
    """Score the genome with a result's model where the settings say so, unless it has been done.

    The scores are calibrated, if the model's temperature could be written.

    Arguments:
        settings: What the caller asked for.
        result: The result.
        display: Shows the progress.

    Returns:
        The folder of the scores.

    Raises:
        SpliceAIError: See `predict`.
    """
    if not settings.predict:
        return None
    assert settings.genome_fasta is not None  # checked by the settings
    wanted = PredictSettings(
        input_sequence=settings.genome_fasta,
        models=result.best_model,
        output_dir=RunFolder(result.folder).predictions,
        threshold=THRESHOLD,
        strand="both",
        calibrated=temperature_beside(result.best_model).exists(),
    )
    folder = wanted.folder(RunFolder(result.folder).read_identity().flanking_size)
    beds = bed_files(folder).values()
    if not all(path.exists() for path in beds):
        for path in beds:  # one may have got its name before the run was killed
            path.unlink(missing_ok=True)
        predict(wanted, display)
    display.line(f"scores of the genome: {folder}")
    return folder

"""A finished run that is resumed: its result is shown at once, without its data sets being read."""

from dataclasses import replace

import jax

from spliceai_jax import files, processes
from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.display import Display
from spliceai_jax.errors import RunFolderError
from spliceai_jax.fine_tuning.calibrating import known_calibration
from spliceai_jax.fine_tuning.data_sets import data_files
from spliceai_jax.fine_tuning.levers import read_teachers
from spliceai_jax.fine_tuning.outcome import (
    TransferResult,
    conclude,
    show_comparison,
    show_finished,
    show_temperature,
    show_untouched,
)
from spliceai_jax.fine_tuning.plan import start
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.report.writing import is_current
from spliceai_jax.runs.checkpoints import Checkpoints
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import LoopState
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.kept import check_kept
from spliceai_jax.runs.read import read_run
from spliceai_jax.runs.record import Record, SeenFile, read_record
from spliceai_jax.training.step import init_state
from spliceai_jax.training.trainable import Trainable


def finished_run(settings: TransferSettings, display: Display) -> TransferResult | None:
    """Check a finished run as `check_kept` does, show its result and return it.

    Data sets are not read: a file counts as the one that the run has read if its path, its size and the time of its
    last change are those recorded then.

    Returns:
        The result; None if the run is not finished, is perhaps not the one that is asked for, or lacks something that
        is made at a run's end, so that the data sets have to be read.

    Raises:
        SpliceAIError: See `make_plan`, `Checkpoints` and `check_kept`.
    """
    # What is made of a whole genome has files of its own to compare.
    if not settings.resume or settings.genome_fasta is not None or processes.several():
        return None
    settings, pretrained, folder = start(settings)
    if not folder.holds_run:
        return None
    with folder.held(resume=True), files.unexpected_errors_logged(folder.error_log):
        found = _known(settings, pretrained, folder)
        loop = found and _checked(pretrained, folder, *found)
        if not loop:
            return None
        run, calibration = read_run(folder.root), known_calibration(folder)
        if not (run.comparison and calibration and is_current(run)):
            return None
    show_finished(loop.history, run.identity.choices, display)
    result = conclude(loop.history, run.identity.choices, folder, display)
    show_comparison(run.comparison, result, settings.recipe_name, display)
    show_temperature(calibration, display)
    display.line(f"report: {folder.report}")
    show_untouched(result, settings.recipe_name, display)
    return replace(result, comparison=run.comparison.sets, test_files=run.comparison.test_files)


def _known(settings: TransferSettings, pretrained: Pretrained, folder: RunFolder) -> tuple[RunIdentity, Record] | None:
    """Return what decides the result of the run in the folder, and its record, if it is the run asked for."""
    identity = folder.read_identity()
    try:
        record = read_record(folder.record)
    except RunFolderError:
        return None
    # Not recorded is which shards of windows to rehearse were taken, and how many windows an epoch has.
    if record is None or settings.train_weights is not None:
        return None
    if settings.rehearsal_dataset is not None or settings.unlabelled_dataset is not None:
        return None
    recipe, architecture = settings.effective_recipe, ARCHITECTURES[pretrained.flanking_size]
    wanted = replace(  # the data sets, which are compared below, are left
        identity,
        recipe=settings.recipe_name,
        choices=replace(
            recipe, batch_size=recipe.batch_size_of(record.datasets["train"].windows, architecture.batch_size)
        ),
        flanking_size=pretrained.flanking_size,
        random_seed=settings.random_seed,
        precision=settings.precision,
        pretrained_model=pretrained.fingerprint,
        rehearsal_dataset=None,
        unlabelled_dataset=None,
        distill_teacher=tuple(teacher.fingerprint for teacher in read_teachers(settings, pretrained)),
    )
    if wanted != identity:
        return None
    if {name: of_set.fingerprint for name, of_set in record.datasets.items()} != identity.fingerprints:
        return None
    try:
        seen = {name: SeenFile.of(path) for name, path in data_files(settings).of_sets.items()}
    except OSError:
        return None
    return (identity, record) if any(session.files == seen for session in record.sessions) else None


def _checked(pretrained: Pretrained, folder: RunFolder, identity: RunIdentity, record: Record) -> LoopState | None:
    """Return where the run stands if it is finished, after a check of all that it names."""
    recipe, architecture = identity.choices, ARCHITECTURES[identity.flanking_size]
    like = jax.device_get(init_state(pretrained.variables, Trainable.of(architecture, recipe), recipe))
    with Checkpoints(folder) as checkpoints:
        state, loop = checkpoints.restore(like) or (like, LoopState())
    if not loop.history.finished(recipe):
        return None
    check_kept(folder, identity, loop, state.variables, pretrained.pt_bytes())
    return loop

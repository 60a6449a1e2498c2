"""Make the report and write it: `report.html`, and its figures as PNG files in `report/`."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.data.hdf5 import read_windows
from spliceai_jax.data.joined import joined
from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance, ignore
from spliceai_jax.errors import RunFolderError, SpliceAIError, WeightsError
from spliceai_jax.files import write_whole
from spliceai_jax.network.model import Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.report.comparison import Comparison, compare_on_test_set
from spliceai_jax.report.mistakes import ModelName
from spliceai_jax.runs.read import Run
from spliceai_jax.runs.record import Record
from spliceai_jax.training.engine import Engine


@dataclass(frozen=True)
class Scoring:
    """What is needed to score the test set, where a run has it at hand.

    Attributes:
        engine: Runs the network.
        untouched: The variables that the run started from; None: they are not at hand.
        test: The test set.
        batch_size: Rows in a batch.
        after_batch: Called with the number of windows done in each batch.
    """

    engine: Engine
    untouched: Variables | None
    test: Windows
    batch_size: int
    after_batch: Advance = ignore


def is_current(run: Run) -> bool:
    """Return whether the page already shows all epochs of a run."""
    try:
        return _mark(run) in run.folder.report.read_text()[:1000]
    except (OSError, ValueError):
        return False


def _mark(run: Run) -> str:
    """Return the attributes of the page's first element that record how far the run had come."""
    mark = f'data-epochs="{len(run.history.epochs)}" data-finished="{str(run.finished).lower()}"'
    if run.calibration:
        mark += f' data-temperature="{run.calibration.temperature}"'
    if run.comparison:
        mark += ' data-compared="true"'
    if run.genome:
        mark += f' data-genome="{hashlib.sha256(run.genome.to_json().encode()).hexdigest()[:16]}"'
    return mark


def write_report(run: Run, scoring: Scoring | None = None) -> Path:
    """Make the report about a run, finished or under way.

    Each model is scored on the test set once more. What is no longer available (the data set, or the weights that the
    run started from) is left out, and the page says so.

    Arguments:
        run: The run.
        scoring: What is needed to score the test set; None: it is read from disk.

    Returns:
        The page's file.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    # matplotlib takes a second to import, which other commands need not wait for.
    from spliceai_jax.report.figures import draw
    from spliceai_jax.report.page import render

    comparison, left_out = _compare(run, scoring)
    plots = {plot.name: plot for plot in draw(run, _batches_per_epoch(run), comparison)}
    page = render(run, _mark(run), comparison, plots, left_out)
    try:
        run.folder.figures.mkdir(exist_ok=True)
        for plot in plots.values():
            write_whole(run.folder.figures / f"{plot.name}.png", plot.png)
        for file in run.folder.figures.glob("*.png"):
            if file.stem not in plots:
                file.unlink()  # an earlier report had more to show
        write_whole(run.folder.report, page)
    except OSError as error:
        raise RunFolderError(
            f"{run.folder.root}: the report cannot be written ({error.strerror}); make the folder writable, or copy it "
            "to a place that is"
        ) from error
    return run.folder.report


def _batches_per_epoch(run: Run) -> int:
    if run.record:
        return run.record.batches_per_epoch
    return len(run.history.update_losses) // max(len(run.history.epochs), 1)


def _compare(run: Run, scoring: Scoring | None) -> tuple[Comparison | None, list[str]]:
    """Score the models that can be had on the test set.

    Returns:
        The comparison, None where there is none to make, and what had to be left out, in words.
    """
    left_out: list[str] = []
    models: dict[ModelName, Variables] = {}
    if scoring and scoring.untouched is not None:
        models["untouched"] = scoring.untouched
    elif not scoring:
        with _or_left_out("The untouched model's curves", left_out):
            models["untouched"] = _read_untouched(run)
    if run.tuned_model:
        with _or_left_out("The tuned model's curves", left_out):
            models["tuned"] = Pretrained.from_pt(run.tuned_model, run.identity.flanking_size).variables
    if models and not scoring:
        with _or_left_out("Curves, score histograms, calibration, logos and errors", left_out):
            scoring = _read_scoring(run, models.get("untouched"))
    if not models or not scoring:
        return None, left_out
    seed = None if run.comparison else run.identity.random_seed  # what the run found at its end is shown
    comparison = compare_on_test_set(
        scoring.engine, models, scoring.test, scoring.batch_size, scoring.after_batch, seed
    )
    return comparison, left_out


@contextlib.contextmanager
def _or_left_out(what: str, left_out: list[str]) -> Iterator[None]:
    """Note what cannot be shown, and why, if the block fails."""
    try:
        yield
    except SpliceAIError as error:
        left_out.append(f"{what}: {error}.")


def _read_untouched(run: Run) -> Variables:
    path = _record(run).parent.path
    model = Pretrained.load_weights(path, run.identity.flanking_size)
    if model.fingerprint != run.identity.pretrained_model:
        raise WeightsError(f"{path}: no longer holds the weights that the run started from")
    return model.variables


def _read_scoring(run: Run, untouched: Variables | None) -> Scoring:
    architecture = ARCHITECTURES[run.identity.flanking_size]
    files = _record(run).datasets["test"].by_file
    test = joined([read_windows(file.path, architecture.flanking_size) for file in files])
    if test.fingerprint != run.identity.test_dataset:
        raise RunFolderError(f"{test.files}: no longer holds the test set of the run")
    engine = Engine(architecture, run.identity.choices, run.identity.precision)
    return Scoring(engine, untouched, test, architecture.batch_size)


def _record(run: Run) -> Record:
    if not run.record:
        raise RunFolderError(f"{run.folder.record}: missing or unreadable; it alone says where the run's files are")
    return run.record

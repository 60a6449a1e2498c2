"""Make the report and write it: `report.html`, and its figures as PNG files in `report/`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.display import Advance, ignore
from spliceai_jax.errors import Interrupted, RunFolderError, SpliceAIError, WeightsError
from spliceai_jax.files import write_whole
from spliceai_jax.network.model import Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.report.mistakes import ModelName
from spliceai_jax.report.test_set import Comparison, compare_on_test_set
from spliceai_jax.runs.record import Record, Run
from spliceai_jax.training.engine import Engine
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.joined import joined
from spliceai_jax.windows.windows import Windows


def is_current(run: Run) -> bool:
    """Return whether the page already shows all epochs of a run."""
    try:
        return _mark(run) in run.folder.report.read_text()[:1000]
    except (OSError, ValueError):
        return False


def _mark(run: Run) -> str:
    """Return the attributes of the page's first element that record how far the run had come."""
    mark = f'data-epochs="{len(run.history.epochs)}" data-finished="{str(run.finished).lower()}"'
    if run.history.ending:
        mark += f' data-temperature="{run.history.ending.calibration.temperature}"'
    if run.genome:
        mark += ' data-genome="true"'
    return mark


def write_report(run: Run, comparison: Comparison | None = None, after_batch: Advance = ignore) -> Path:
    """Make the report about a run, finished or under way.

    What is no longer available (the data set, or the weights that the run started from) is left out, and the page says
    so.

    Arguments:
        comparison: The models on the test set; None: they are read from disk and score it once more.
        after_batch: Called with the number of windows done in each batch of the latter.

    Returns:
        The page's file.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    # matplotlib takes a second to import, which other commands need not wait for.
    from spliceai_jax.report.figures import draw
    from spliceai_jax.report.page import render

    left_out: list[str] = []
    comparison = comparison or _compare(run, left_out, after_batch)
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


def _compare(run: Run, left_out: list[str], after_batch: Advance) -> Comparison | None:
    """Score the models that can be had on the test set; None where there is nothing to compare.

    Arguments:
        left_out: What has to be left out is added, in words.
    """
    models: dict[ModelName, Variables] = {}
    with _or_left_out("The untouched model's curves", left_out):
        models["untouched"] = _read_untouched(run)
    if run.tuned_model:
        with _or_left_out("The tuned model's curves", left_out):
            models["tuned"] = _read_tuned(run, run.tuned_model)
    if not models:
        return None
    with _or_left_out("Curves, score histograms, calibration, logos and errors", left_out):
        architecture = ARCHITECTURES[run.identity.flanking_size]
        engine = Engine(architecture, run.identity.choices, run.identity.precision)
        test, seed = _read_test(run), run.identity.random_seed
        return compare_on_test_set(engine, models, test, architecture.batch_size, after_batch, seed)
    return None


@contextlib.contextmanager
def _or_left_out(what: str, left_out: list[str]) -> Iterator[None]:
    """Note what cannot be shown, and why, if the block fails."""
    try:
        yield
    except Interrupted:
        raise
    except SpliceAIError as error:
        left_out.append(f"{what}: {error}.")


def _read_untouched(run: Run) -> Variables:
    path = _record(run).parent.path
    model = Pretrained.load_weights(path, run.identity.flanking_size)
    if model.fingerprint != run.identity.pretrained_model:
        raise WeightsError(f"{path}: no longer holds the weights that the run started from")
    return model.variables


def _read_tuned(run: Run, path: Path) -> Variables:
    model = Pretrained.from_pt(path, run.identity.flanking_size)
    if model.fingerprint != run.tuned_sha256:
        raise WeightsError(f"{path}: no longer holds the model after epoch {run.tuned_epoch}")
    return model.variables


def _read_test(run: Run) -> Windows:
    files = _record(run).datasets["test"].by_file
    test = joined([read_windows(file.path, run.identity.flanking_size) for file in files])
    if test.fingerprint != run.identity.test_dataset:
        raise RunFolderError(f"{test.files}: no longer holds the test set of the run")
    return test


def _record(run: Run) -> Record:
    if not run.record:
        raise RunFolderError(f"{run.folder.identity_file}: has no record, which says where the run's files are")
    return run.record

"""Put the report together and write it: `report.html`, and its figures as PNG files in `report/`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.dataset import Windows, read_windows
from spliceai_jax.errors import RunFolderError, SpliceAIError, WeightsError
from spliceai_jax.folder import write_whole
from spliceai_jax.model import Variables
from spliceai_jax.parallel import Engine, make_engine
from spliceai_jax.pretrained import Pretrained
from spliceai_jax.report.run import Run
from spliceai_jax.report.scoring import TestView, score


@dataclass(frozen=True)
class Scorer:
    """What scores the test set, where a run has it at hand.

    Attributes:
        engine: Runs the network.
        untouched: The variables that the run started from.
        test: The test set.
        batch_size: Windows at a time.
        after_batch: Called with the number of windows done in each batch.
    """

    engine: Engine
    untouched: Variables
    test: Windows
    batch_size: int
    after_batch: Callable[[int], None]


def is_current(run: Run) -> bool:
    """Whether the page shows all of a run's epochs already."""
    try:
        return run.mark in run.folder.report.read_text()[:1000]
    except (OSError, ValueError):
        return False


def write_report(run: Run, scorer: Scorer | None = None) -> Path:
    """Make the report about a run, under way or not.

    The models are scored on the test set anew, each once. What cannot be had any more (the data set, the weights that
    the run started from) is left out, and the page says so.

    Arguments:
        run: The run.
        scorer: What scores the test set; None: read everything from disk.

    Returns:
        The page.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    # matplotlib takes a second that other commands need not wait for.
    from spliceai_jax.report.figures import draw
    from spliceai_jax.report.page import render

    view, left_out = _view(run, scorer)
    plots = {plot.name: plot for plot in draw(run.history, _batches_per_epoch(run), view)}
    page = render(run, view, plots, left_out)
    try:
        run.folder.figures.mkdir(exist_ok=True)
        for plot in plots.values():
            write_whole(run.folder.figures / f"{plot.name}.png", plot.png)
        for file in run.folder.figures.glob("*.png"):
            if file.stem not in plots:
                file.unlink()  # of an earlier report, which had more to show
        write_whole(run.folder.report, page)
    except OSError as error:
        raise RunFolderError(
            f"{run.folder.root}: the report cannot be written ({error.strerror}); make the folder writable, or copy it "
            "to where it is"
        ) from error
    return run.folder.report


def _batches_per_epoch(run: Run) -> int:
    if run.record:
        return run.record.batches_per_epoch
    return len(run.history.update_losses) // max(len(run.history.epochs), 1)


def _view(run: Run, scorer: Scorer | None) -> tuple[TestView | None, list[str]]:
    """What scoring the test set shows, and what had to be left out, in words."""
    left_out: list[str] = []
    models: dict[str, Variables] = {}
    flanking_size: int = run.identity["flanking_size"]
    if scorer:
        models["untouched"] = scorer.untouched
    else:
        try:
            models["untouched"] = _parent(run)
        except SpliceAIError as error:
            left_out.append(f"The untouched model's curves: {error}.")
    if run.best_model:
        try:
            models["tuned"] = Pretrained.from_pt(run.best_model, flanking_size).variables
        except SpliceAIError as error:
            left_out.append(f"The tuned model's curves: {error}.")
    if not models:
        return None, left_out
    try:
        scorer = scorer or _scorer(run)
    except SpliceAIError as error:
        left_out.append(f"Curves, score histograms, calibration, logos and errors: {error}.")
        return None, left_out
    return score(scorer.engine, models, scorer.test, scorer.batch_size, scorer.after_batch), left_out


def _parent(run: Run) -> Variables:
    if not run.record:
        raise WeightsError(f"{run.folder.record}: not there, so that the weights' place is not known")
    path = run.record.parent["path"]
    model = Pretrained.from_pt(path, run.identity["flanking_size"])
    if model.fingerprint != run.identity["pretrained_model"]:
        raise WeightsError(f"{path}: no longer the weights that the run started from")
    return model.variables


def _scorer(run: Run) -> Scorer:
    if not run.record:
        raise RunFolderError(f"{run.folder.record}: not there, so that the test set's place is not known")
    architecture = ARCHITECTURES[run.identity["flanking_size"]]
    test = read_windows(run.record.datasets["test"].path, architecture.flanking_size)
    if test.fingerprint != run.identity["test_dataset"]:
        raise RunFolderError(f"{test.source}: no longer the test set of the run")
    engine = make_engine(architecture, run.recipe, run.identity["precision"], "jit")
    return Scorer(engine, {}, test, architecture.batch_size, lambda done: None)

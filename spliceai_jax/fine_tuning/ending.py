"""What a run does when its last epoch is over: one pass over its sets with both models, then all that is made of it.

The models are whole by then, so that a failure in what is made is a warning. What is there already is not made again:
the same command with `resume=True` makes what is missing.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from signal import Signals
from typing import Any

import numpy as np
from jaxtyping import Int

from spliceai_jax import files
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import Interrupted, SpliceAIWarning
from spliceai_jax.evaluation.calibration import MeasuredOn, calibrate_positions
from spliceai_jax.evaluation.evaluate import Labels, Scores, compared, evaluate_each
from spliceai_jax.evaluation.positions import PositionsGatherer
from spliceai_jax.fine_tuning.genome import evaluate_on_genome
from spliceai_jax.fine_tuning.plan import Plan
from spliceai_jax.fine_tuning.trainer import Trainer
from spliceai_jax.loops import StopRequest
from spliceai_jax.network.model import Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.network.temperature import temperature_beside
from spliceai_jax.report.test_set import Comparison, TestSetScores
from spliceai_jax.report.writing import is_current, write_report
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import Ending, History, SplitRecord
from spliceai_jax.runs.record import read_run

_LEAST = np.finfo(np.float32).tiny
"""Lower probabilities count as this one when their logarithm is taken."""


def measure_ending(plan: Plan, trainer: Trainer, history: History, after_batch: Advance) -> Comparison:
    """Send all sets but the training set through the untouched and the tuned model, once each, and add what is found.

    Arguments:
        plan: The plan of the run.
        trainer: Holds its sets, its engine and the weights after the last epoch.
        history: The run's history, whose last epoch is done; what was not measured of both models yet is filled in,
            and `ending`.
        after_batch: Called with the number of windows done in each batch.

    Returns:
        What the page shows of the test set.

    Raises:
        DivergedError: A loss is infinite or not a number.
    """
    engine, sets, seed = trainer.engine, trainer.measured, plan.settings.random_seed
    tuned, kept = history.tuned_epoch(plan.recipe), history.kept_epoch(plan.recipe)
    models = [engine.place(plan.pretrained.variables), engine.place(_tuned_variables(plan, trainer, history))]
    best = 0 if kept is None else 1
    page = TestSetScores(sets["test"], ("untouched", "tuned"))
    of_best: dict[MeasuredOn, PositionsGatherer] = {name: PositionsGatherer(seed) for name in ("validation", "test")}
    found = {}
    for name, windows in sets.items():

        def each_batch(positions: Int[np.ndarray, " windows"], labels: Labels, scores: Sequence[Scores]) -> None:
            if name in of_best:  # noqa: B023 - it is called before the loop goes on
                of_best[name].add(np.log(np.maximum(scores[best][0], _LEAST)), labels)  # noqa: B023
            if name == "test":  # noqa: B023
                page.add(positions, labels, scores)

        found[name] = evaluate_each(engine, models, windows, plan.rows_evaluated, seed, after_batch, each_batch)
    for name, evaluations in found.items():
        before, after = (SplitRecord(one.metrics, one.batch_losses(plan.rows_evaluated)) for one in evaluations.whole)
        history.untouched.setdefault(name, before)
        if name not in history.epochs[tuned].splits:
            filled: dict[str, Any] = {name: after}
            history.epochs[tuned] = replace(history.epochs[tuned], **filled)
    digest = plan.pretrained.fingerprint if kept is None else history.epochs[kept].model_sha256
    history.ending = Ending(
        sets={name: compared(evaluations.whole) for name, evaluations in found.items()},
        calibration=calibrate_positions(
            {name: gathered.result() for name, gathered in of_best.items()}, sets["validation"], digest, "single"
        ),
        test_files={path: compared(evaluations) for path, evaluations in found["test"].by_file.items()},
    )
    return page.comparison(found["test"].whole, history.ending.sets["test"])


def _tuned_variables(plan: Plan, trainer: Trainer, history: History) -> Variables:
    epoch = history.tuned_epoch(plan.recipe)
    if epoch == len(history.epochs) - 1:
        return trainer.variables
    return Pretrained.load_weights(plan.folder.epoch_model(epoch)).variables


def finish(plan: Plan, history: History, comparison: Comparison | None, stop: StopRequest, display: Display) -> None:
    """Make what follows from a run's end and is missing: the temperature's file, scores of whole sequences, the page.

    Arguments:
        plan: The plan of a finished run.
        history: What it has measured, its ending included.
        comparison: What the page shows of the test set; None: the set is scored once more if the page is missing.
        stop: A signal that is looked for between the batches of the latter.
        display: Shows the progress.

    Raises:
        Interrupted: A signal came.
    """
    with models_are_complete(plan.folder):
        _finish(plan, history, comparison, stop, display)


def _finish(plan: Plan, history: History, comparison: Comparison | None, stop: StopRequest, display: Display) -> None:
    def after_batch(_: int) -> None:
        if stop.received:
            raise Interrupted("", stop.received)

    with _or_warned(plan, "the temperature could not be written"):
        _write_temperature(plan, history)
    with _or_warned(plan, "whole test sequences could not be scored"):
        evaluate_on_genome(plan, history, display)
    with _or_warned(plan, "the report could not be made"):
        run = read_run(plan.folder.root)
        page = plan.folder.report if is_current(run) else write_report(run, comparison, after_batch)
        display.line(f"report: {page}")


@contextlib.contextmanager
def _or_warned(plan: Plan, failure: str) -> Iterator[None]:
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        log = plan.folder.error_log
        traceback = f"; its traceback is in {log}" if files.logged(log, error) else ""
        warnings.warn(f"{failure} ({error}{traceback}); {_again(plan.folder)}", SpliceAIWarning, stacklevel=3)


@contextlib.contextmanager
def models_are_complete(folder: RunFolder) -> Iterator[None]:
    """Say, where a signal stops the block, that the run is finished and how to go on."""
    try:
        yield
    except Interrupted as stopped:
        name = Signals(stopped.signal).name
        raise Interrupted(f"stopped by {name} after the last epoch; {_again(folder)}", stopped.signal) from None


def _again(folder: RunFolder) -> str:
    return (
        "the run is finished and its models are complete; the same command with `resume=True` makes what is missing, "
        f"and `spliceai-jax report {folder.root}` the report alone"
    )


def _write_temperature(plan: Plan, history: History) -> None:
    """Write the temperature beside the best model, where none of this very model's lies there."""
    assert history.ending is not None
    path, file = temperature_beside(plan.folder.best_model), history.ending.calibration.file
    try:
        there = path.read_text()
    except (OSError, ValueError):
        there = ""
    if f'"{file.sha256}"' not in there:  # `calibrate` may have written another one of this model
        plan.folder.write(path, file.render())

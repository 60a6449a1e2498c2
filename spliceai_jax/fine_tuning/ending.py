"""What a run does when its last epoch is over: verdict, temperature, scores of whole sequences, report.

The models are whole by then, so that a failure here is a warning. What is there already is not made again: the same
command with `resume=True` makes what is missing.
"""

import warnings
from collections.abc import Callable

import jax

from spliceai_jax import processes
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import Interrupted, SpliceAIWarning
from spliceai_jax.fine_tuning.calibrating import calibrate_best, known_calibration
from spliceai_jax.fine_tuning.comparing import compare_tuned, known_comparison, windows_compared
from spliceai_jax.fine_tuning.genome import evaluate_on_genome
from spliceai_jax.fine_tuning.outcome import TransferResult, show_comparison, show_temperature
from spliceai_jax.fine_tuning.plan import Plan
from spliceai_jax.fine_tuning.trainer import Trainer
from spliceai_jax.interrupts import StopRequest
from spliceai_jax.report.writing import Scoring, is_current, write_report
from spliceai_jax.runs.card import add_comparison
from spliceai_jax.runs.read import read_run
from spliceai_jax.training.engine import Engine


def finish(plan: Plan, trainer: Trainer, result: TransferResult, stop: StopRequest, display: Display) -> None:
    """Do all of it; of several processes the leader does.

    Arguments:
        plan: The plan of the run.
        trainer: Holds its data sets and its engine.
        result: The run's result so far.
        stop: A signal that is looked for after every batch.
        display: Shows the progress.

    Raises:
        Interrupted: A signal came.
    """
    engine = trainer.engine
    if processes.several():  # an engine that needs no other process
        engine = Engine(plan.architecture, plan.recipe, plan.settings.precision, jax.local_devices())
    again = (
        f"the run is finished and its models are complete; make the report by `spliceai-jax report {plan.folder.root}`"
        ", or everything that is missing by the same command with `resume=True`"
    )
    steps: dict[str, Callable[[], None]] = {
        "the tuned model could not be compared with the untouched one": lambda: _compare(
            plan, trainer, result, engine, after_batch, display
        ),
        "the best model could not be calibrated": lambda: _calibrate(plan, trainer, engine, after_batch, display),
        "whole test sequences could not be scored": lambda: evaluate_on_genome(plan, result.history, display),
        "the report could not be made": lambda: _report(plan, trainer, engine, after_batch, display),
    }

    def after_batch(advance: Advance) -> Advance:
        def advanced(done: int) -> None:
            advance(done)
            if stop.received:
                raise Interrupted(f"stopped by {stop.received.name} before the report was made; {again}", stop.received)

        return advanced

    for failure, step in steps.items():
        try:
            step()
        except Interrupted:
            raise
        except Exception as error:
            warnings.warn(f"{failure} ({error}); {again}", SpliceAIWarning, stacklevel=2)


def _compare(
    plan: Plan,
    trainer: Trainer,
    result: TransferResult,
    engine: Engine,
    watched: Callable[[Advance], Advance],
    display: Display,
) -> None:
    history = result.history
    if not (found := known_comparison(plan, history)):
        with display.progress("compare", 2 * windows_compared(trainer.measured)) as advance:
            found = compare_tuned(plan, history, engine, trainer.measured, watched(advance))
    if result.best_epoch is not None:
        add_comparison(plan.folder, found.sets)
    show_comparison(found, result, plan.settings.recipe_name, display)


def _calibrate(
    plan: Plan, trainer: Trainer, engine: Engine, watched: Callable[[Advance], Advance], display: Display
) -> None:
    sets = trainer.sets
    if not (calibration := known_calibration(plan.folder)):
        with display.progress("calibrate", len(sets["validation"]) + len(sets["test"])) as advance:
            calibration = calibrate_best(
                plan.folder, engine, sets, plan.rows_evaluated, plan.settings.random_seed, watched(advance)
            )
    show_temperature(calibration, display)


def _report(
    plan: Plan, trainer: Trainer, engine: Engine, watched: Callable[[Advance], Advance], display: Display
) -> None:
    if is_current(run := read_run(plan.folder.root)):
        display.line(f"report: {plan.folder.report}")
        return
    test = trainer.sets["test"]
    with display.progress("report", len(test)) as advance:
        scoring = Scoring(engine, plan.pretrained.variables, test, plan.rows_evaluated, watched(advance))
        page = write_report(run, scoring)
    display.line(f"report: {page}")

"""One run from end to end: train, evaluate, keep the best, never lose work."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from spliceai_jax import files, processes
from spliceai_jax.display import Display
from spliceai_jax.fine_tuning.comparing import known_comparison
from spliceai_jax.fine_tuning.ending import finish
from spliceai_jax.fine_tuning.extending import extend
from spliceai_jax.fine_tuning.finished import finished_run
from spliceai_jax.fine_tuning.genome import predict_genome
from spliceai_jax.fine_tuning.loop import TrainingLoop
from spliceai_jax.fine_tuning.outcome import TransferResult, conclude, show_finished, show_untouched
from spliceai_jax.fine_tuning.plan import Plan, make_data_sets, make_plan
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.fine_tuning.stop import StopVote
from spliceai_jax.fine_tuning.trainer import Trainer, initial_state
from spliceai_jax.interrupts import stop_request
from spliceai_jax.runs.checkpoints import Checkpoints
from spliceai_jax.runs.history import LoopState
from spliceai_jax.runs.kept import check_best, check_kept
from spliceai_jax.runs.record import Record, add_session, rounds_differently
from spliceai_jax.runs.tensorboard import Scalars
from spliceai_jax.runs.writer import RunWriter
from spliceai_jax.training.step import TrainState


def fine_tune(settings: TransferSettings, display: Display) -> TransferResult:
    """Fine-tune one model. The processes of the run have met already.

    Everything that can be wrong with the input is found before the first step, and before anything is written.

    Arguments:
        settings: What to do; its `pretrained_model` is one model.
        display: Shows the progress.

    Raises:
        SpliceAIError: One of its subclasses; the message says what was wrong and how to fix it.
        Interrupted: SIGTERM, SIGINT or SIGHUP came; everything needed to continue with `resume=True` was saved.
    """
    with contextlib.ExitStack() as stack:
        processes.all_or_none(lambda: make_data_sets(settings, display))
        if (result := finished_run(settings, display)) is not None:
            return result
        plan = processes.all_or_none(lambda: make_plan(settings, display))
        stack.enter_context(_folder_taken(plan, display))
        stack.enter_context(files.unexpected_errors_logged(plan.folder.error_log))
        checkpoints = stack.enter_context(Checkpoints(plan.folder))
        stop = stack.enter_context(stop_request())
        state, loop = _restored(plan, checkpoints)
        trainer = Trainer(plan, state)
        if loop.history.finished(plan.recipe):
            _check_kept(plan, trainer, loop)
            show_finished(loop.history, plan.recipe, display)
        else:
            if loop.history.untouched:
                display.line(
                    f"going on from epoch {loop.epoch + 1} of {plan.recipe.epochs}, of which {loop.batch} of "
                    f"{len(plan.batches(0))} batches are done"
                )
            record, untouched = _begin_session(plan, display), plan.pretrained.pt_bytes()
            writer = RunWriter(plan.folder, plan.identity(), record, checkpoints, untouched, _scalars(plan))
            TrainingLoop(plan, trainer, writer, StopVote(stop), loop, display).to_the_end()
            _check_kept(plan, trainer, loop)
        result = conclude(loop.history, plan.recipe, plan.folder, display)
        if not processes.leads():  # the others take no part in what follows
            return result
        finish(plan, trainer, result, stop, display)
        predictions = predict_genome(plan, display)
        check_best(plan.folder, plan.identity(), loop)  # much time may have passed
        if compared := known_comparison(plan, loop.history):
            result = replace(result, comparison=compared.sets, test_files=compared.test_files)
        show_untouched(result, plan.settings.recipe_name, display)
        return replace(result, predictions=predictions)


@contextlib.contextmanager
def _folder_taken(plan: Plan, display: Display) -> Iterator[None]:
    """Lock the run's folder; every process must see the same one, and it must hold this run or none."""
    identity = plan.identity()
    processes.check_same(identity.to_json())
    with contextlib.ExitStack() as held:
        changes: list[str | None] = []

        def take() -> bool:
            held.enter_context(plan.folder.held(plan.settings.resume))
            if plan.settings.extend and processes.leads():
                changes.append(extend(plan.folder, identity, len(plan.batches(0))))
            return plan.folder.claim(identity)

        known = processes.all_or_none(take)
        display.facts(plan.facts())
        for change in filter(None, changes):
            display.line(f"`extend`: this run is another one from now on: {change}")
        if plan.settings.resume and not known:
            display.line(f"`resume`: no run in {plan.folder.root} yet; starting one")
        processes.check_shared(plan.folder.root)
        yield


def _restored(plan: Plan, checkpoints: Checkpoints) -> tuple[TrainState, LoopState]:
    """Return what the latest checkpoint holds, or if there is none, the state before the first step."""
    start = initial_state(plan)
    state, loop = checkpoints.restore(start) or (start, LoopState())
    processes.check_same({"epoch": loop.epoch, "batch": loop.batch})
    return state, loop


def _check_kept(plan: Plan, trainer: Trainer, loop: LoopState) -> None:
    """Compare what a finished run names with what is there; of several processes the leader does."""
    last, untouched = trainer.variables, plan.pretrained.pt_bytes()
    processes.all_or_none(
        lambda: check_kept(plan.folder, plan.identity(), loop, last, untouched) if processes.leads() else None
    )


def _begin_session(plan: Plan, display: Display) -> Record:
    """Add this process to the record of the run, and return the record."""
    record = add_session(plan.folder, plan.record())
    if len({session.activation_cache for session in record.sessions}) > 1:
        display.line(
            "activations were cached in one part of this run and computed in another: it ends as if it had not been "
            "interrupted to float rounding, but not to the bit; `activation_cache` decides"
        )
    if differing := rounds_differently(record.sessions):
        display.line(
            "not all of this run is computed in the same way: it ends as if it had not been interrupted to float "
            f"rounding, but not to the bit ({'; '.join(differing)})"
        )
    return record


def _scalars(plan: Plan) -> Scalars | None:
    if not plan.settings.tensorboard or not processes.leads():
        return None
    return Scalars(plan.folder.tensorboard, len(plan.batches(0)))

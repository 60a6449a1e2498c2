"""One run from end to end: train, evaluate, keep the best, never lose work."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from spliceai_jax import files, processes
from spliceai_jax.convert import pt_bytes
from spliceai_jax.display import Display
from spliceai_jax.errors import RunFolderError, SpliceAIWarning
from spliceai_jax.fine_tuning.ending import finish
from spliceai_jax.fine_tuning.loop import TrainingLoop
from spliceai_jax.fine_tuning.outcome import TransferResult, conclude, show_ending, show_untouched
from spliceai_jax.fine_tuning.plan import Plan, make_data_sets, make_plan
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.fine_tuning.stop import StopVote
from spliceai_jax.fine_tuning.trainer import Trainer, initial_state
from spliceai_jax.loops import stop_request
from spliceai_jax.runs.checkpoints import Checkpoints
from spliceai_jax.runs.history import History, LoopState
from spliceai_jax.runs.record import Record, add_session
from spliceai_jax.runs.session import rounds_differently
from spliceai_jax.runs.writer import RunWriter, Scalars
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
        plan = processes.all_or_none(lambda: make_plan(settings, display))
        stack.enter_context(_folder_taken(plan, display))
        stack.enter_context(files.unexpected_errors_logged(plan.folder.error_log))
        checkpoints = stack.enter_context(Checkpoints(plan.folder))
        stop = stack.enter_context(stop_request())
        state, loop = _restored(plan, checkpoints)
        trainer = Trainer(plan, state)
        ended = loop.history.ending is not None
        record = plan.record() if ended else _begin_session(plan, display)
        scalars = None if ended else _scalars(plan)
        writer = RunWriter(plan.folder, plan.identity(), record, checkpoints, plan.pretrained.pt_bytes(), scalars)
        comparison = TrainingLoop(plan, trainer, writer, StopVote(stop), loop, display).to_the_end()
        processes.all_or_none(lambda: _check_best(plan, trainer, loop.history))
        result = conclude(loop.history, plan.recipe, plan.folder, display)
        show_ending(result, plan.settings.recipe_name, display)
        if processes.leads():  # the others take no part in what follows
            finish(plan, loop.history, comparison, stop, display)
            show_untouched(result, plan.settings.recipe_name, display)
        return result


@contextlib.contextmanager
def _folder_taken(plan: Plan, display: Display) -> Iterator[None]:
    """Lock the run's folder; every process must see the same one, and it must hold this run or none."""
    identity = plan.identity()
    processes.check_same(identity.to_json())
    with contextlib.ExitStack() as held:

        def take() -> bool:
            held.enter_context(plan.folder.held(plan.settings.resume))
            return plan.folder.claim(identity)

        known = processes.all_or_none(take)
        display.facts(plan.facts())
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


def _check_best(plan: Plan, trainer: Trainer, history: History) -> None:
    """See that the best model is there and whole; if it is not, make it again where its weights are at hand.

    Raises:
        RunFolderError: They are not.
    """
    kept, best = history.kept_epoch(plan.recipe), plan.folder.best_model
    wanted = plan.pretrained.fingerprint if kept is None else history.epochs[kept].model_sha256
    if not processes.leads() or _sha256(best) == wanted:
        return
    content = plan.pretrained.pt_bytes()
    if kept is not None:
        copy = plan.folder.epoch_model(kept)
        content = pt_bytes(plan.architecture.flanking_size, trainer.variables)  # those of the last epoch
        if _sha256(copy) == wanted:
            content = copy.read_bytes()
    if hashlib.sha256(content).hexdigest() != wanted:
        raise RunFolderError(
            f"{best}: missing or damaged, as is {plan.folder.epoch_model(kept or 0).name}, and no checkpoint holds "
            f"epoch {kept}; bring back a copy of one of the two, or train anew with another `exp_num`"
        )
    if best.exists():
        plan.folder.set_aside(best)
    plan.folder.write(best, content)
    warnings.warn(f"{best}: missing or damaged; made again", SpliceAIWarning, stacklevel=2)


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _begin_session(plan: Plan, display: Display) -> Record:
    """Add this process to the record of the run, and return the record."""
    record = add_session(plan.folder, plan.identity(), plan.record())
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

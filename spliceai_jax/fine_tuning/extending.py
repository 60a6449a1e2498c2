"""A run with more epochs, or more patience, than it began with: it goes on as if it had begun with them."""

from spliceai_jax.display import counted
from spliceai_jax.errors import RunFolderError
from spliceai_jax.runs import stored
from spliceai_jax.runs.card import change_recipe
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.read import read_history
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.schedules import schedule


def extend(folder: RunFolder, wanted: RunIdentity, batches: int) -> str | None:
    """Make the run in a folder one that ends later, if a run that began so would be where this one is.

    Nothing is done if the folder holds no run, or if something else differs, which `RunFolder.claim` refuses.

    Arguments:
        folder: The run's folder.
        wanted: What decides the result of the longer run.
        batches: The number of batches in an epoch.

    Returns:
        What was changed, in words; None if nothing was.

    Raises:
        RunFolderError: The longer run would have come to another place; the message says why, and what to do.
    """
    if not folder.holds_run:
        return None
    recorded = folder.read_identity()
    changes = wanted.differences(recorded)
    if not changes or not wanted.ends_otherwise_only(recorded):
        return None
    if reason := _reason_against(read_history(folder), recorded.choices, wanted.choices, batches):
        raise RunFolderError(
            f"`extend`: {folder.root} cannot become such a run ({'; '.join(changes)}): {reason}; start another run "
            f"from its best model, with `pretrained_model={folder.best_model}` and another `exp_num`"
        )
    # run.json comes last: if the process is killed before it, the same command does all of this again.
    change_recipe(folder, wanted)
    if folder.predictions.exists():  # of the model that was the best so far
        folder.set_aside(folder.predictions, "earlier")
    folder.write(folder.identity_file, stored.render(wanted.to_json()))
    return "; ".join(changes)


def _reason_against(history: History, recorded: Recipe, wanted: Recipe, batches: int) -> str | None:
    """Return why a run of the wanted recipe would not be where this one is; None if it would be."""
    if wanted.tuned_is_last != recorded.tuned_is_last:
        return "`early_stopping` decides whether the model of the last epoch is kept or that with the lowest loss"
    for epochs in range(1, len(history.epochs) + 1):
        over = History(epochs=history.epochs[:epochs]).finished(wanted)
        if over and len(history.update_rates) > epochs * batches:
            return f"it would have ended after {counted(epochs, 'epoch')}, and this one has gone on"
    rate_of = schedule(wanted.scheduler, wanted.timing, wanted.learning_rate, wanted.epochs, batches)
    for number, rate in enumerate(history.update_rates):
        if rate_of(number) != rate:
            return (
                f"{wanted.scheduler} makes the learning rates depend on the number of epochs; after "
                f"{counted(number // batches, 'epoch')} the rate would have been {rate_of(number):.3g}, not {rate:.3g}"
            )
    return None

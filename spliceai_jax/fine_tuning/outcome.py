"""The outcome of a run: the table of epochs, and the comparison with the untouched model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spliceai_jax.display import Display, counted
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.calibrated import Calibration
from spliceai_jax.evaluation.forgetting import forgetting_in_words
from spliceai_jax.evaluation.metrics import AUPRC, TOP_K
from spliceai_jax.runs.comparison import RunComparison
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History, Split, SplitRecord
from spliceai_jax.training.recipes import Recipe

_HEADER = (
    f"{'':>9}  {'train':>8}  {'validation':>10}  {'test':>8}  {'donor, test':>13}  {'acceptor, test':>14}",
    f"{'model':>9}  {'loss':>8}  {'loss':>10}  {'loss':>8}  {AUPRC.name + '  ' + TOP_K.name:>13}  "
    f"{AUPRC.name + '  ' + TOP_K.name:>14}",
)

_OLD_SPECIES = (f"  {AUPRC.name + ', old species':>18}", f"  {'donor':>8}  {'acceptor':>8}")
"""What the header has in addition where the run has a data set of the old species."""


@dataclass(frozen=True)
class TransferResult:
    """The result of a run.

    Attributes:
        best_model: The `.pt` file of the best model.
        best_epoch: The epoch that it is the result of, counted from 0: `tuned_epoch`, or None if it is the untouched
            model, since fine-tuning did not help.
        tuned_epoch: The epoch whose model is the tuned one, kept as the best or not: see `History.tuned_epoch`.
        history: Everything measured, the untouched model included.
        folder: The run's folder.
        comparison: "validation", "test" and, with `genomic_eval_dataset`, "old_species" -> how the tuned model, kept
            as the best or not, compares with the untouched one there. Empty if they could not be compared, and in
            processes other than the first.
        test_files: With several test files: the path of each -> the same comparison there.
        predictions: The folder of the best model's scores of the whole genome; None where they were not asked for.
        starts: With several models to start from: the name of each -> the result of the run from it.
        seeds: With several seeds: "seed N" -> its result. The other fields are those of the result that has the highest
            mean AUPRC on the validation set.
    """

    best_model: Path
    best_epoch: int | None
    tuned_epoch: int
    history: History
    folder: Path
    comparison: Mapping[Split, Differences] = field(default_factory=dict)
    test_files: Mapping[str, Differences] = field(default_factory=dict)
    predictions: Path | None = None
    starts: Mapping[str, "TransferResult"] = field(default_factory=dict)
    seeds: Mapping[str, "TransferResult"] = field(default_factory=dict)

    @property
    def best_measured(self) -> Mapping[Split, SplitRecord]:
        """What was measured of the best model, for every split; of the untouched one for all but "train"."""
        return self.history.untouched if self.best_epoch is None else self.history.epochs[self.best_epoch].splits

    @property
    def worse_than_untouched(self) -> tuple[Split, ...]:
        """The sets of the new species on which the best model is worse than the untouched one by more than chance."""
        return () if self.best_epoch is None else _worse(self.comparison)


def _worse(comparison: Mapping[Split, Differences]) -> tuple[Split, ...]:
    """Return the sets on which a model is clearly worse; on the old species' set that is no reason against it."""
    return tuple(name for name, found in comparison.items() if found.verdict == "worse" and name != "old_species")


def show_table_so_far(history: History, display: Display) -> None:
    """Show the header of the table of epochs, the untouched model's row, and those of the epochs that are done."""
    more = _OLD_SPECIES if "old_species" in history.untouched else ("", "")
    for line, of_old_species in zip(_HEADER, more, strict=True):
        display.line(line + of_old_species)
    display.line(_row("untouched", history.untouched, best=False))
    for number in range(len(history.epochs)):
        show_epoch(history, number, display)


def show_epoch(history: History, number: int, display: Display) -> None:
    """Show the row of an epoch."""
    epoch = history.epochs[number]
    before = [earlier.validation.metrics.loss for earlier in history.epochs[:number]]
    best = all(epoch.validation.metrics.loss < loss for loss in before)
    display.line(_row(f"model_{number}", epoch.splits, best))


def _row(name: str, measured: Mapping[Split, SplitRecord], best: bool) -> str:
    validation, test = measured["validation"].metrics, measured["test"].metrics
    loss = f"{measured['train'].metrics.loss:.5f}" if "train" in measured else ""
    donor, acceptor = (f"{AUPRC.of(site):.3f}   {TOP_K.of(site):.3f}" for site in (test.donor, test.acceptor))
    row = f"{name:>9}  {loss:>8}  {validation.loss:>10.5f}  {test.loss:>8.5f}  {donor:>13}  {acceptor:>14}"
    if "old_species" in measured:
        old = measured["old_species"].metrics
        row += f"  {AUPRC.of(old.donor):>8.3f}  {AUPRC.of(old.acceptor):>8.3f}"
    return f"{row}{'  lowest validation loss so far' if best else ''}"


def conclude(history: History, recipe: Recipe, folder: RunFolder, display: Display) -> TransferResult:
    """Show which model is the best one, and return the outcome."""
    kept = history.kept_epoch(recipe)
    words = "the untouched model" if kept is None else f"model_{kept}, after epoch {kept + 1}"
    display.line(f"best model: {folder.best_model} ({words})")
    return TransferResult(folder.best_model, kept, history.tuned_epoch(recipe), history, folder.root)


def show_finished(history: History, recipe: Recipe, display: Display) -> None:
    """Say that a run is finished already, and if it stopped early, why; show its table."""
    done, why = len(history.epochs), ""
    if done != recipe.epochs:
        why = (
            f": it stopped early, after {counted(done, 'epoch')} of at most {recipe.epochs}, the last "
            f"{history.epochs_since_lowest_loss} without a better validation loss"
        )
    display.line(f"this run is finished already{why}")
    show_table_so_far(history, display)


def show_temperature(calibration: Calibration, display: Display) -> None:
    """Show the temperature of the best model."""
    display.line(
        f"its temperature, for `predict --calibrated`: {calibration.temperature[0]:.3f}, fitted on "
        f"{calibration.fitted_on.words} of the validation set"
    )


def show_comparison(comparison: RunComparison, result: TransferResult, recipe: str, display: Display) -> None:
    """Show whether the tuned model is better than the untouched one, and what to try where a worse one is kept."""
    for name, found in comparison.sets.items():
        if name == "old_species":
            display.line(forgetting_in_words(found))
            continue
        display.line(f"{_headline(found, result)} the untouched model on the {name} set: {found.words}")
    for path, found in comparison.test_files.items():
        display.line(f"{_headline(found, result)} the untouched model on {path}: {found.words}")
    worse_on_a_file = any(found.verdict == "worse" for found in comparison.test_files.values())
    if result.best_epoch is not None and (_worse(comparison.sets) or worse_on_a_file):
        display.line(f"Look into it before you use this model; {_to_try(recipe)}.")


def _headline(found: Differences, result: TransferResult) -> str:
    if result.best_epoch is None:
        return f"model_{result.tuned_epoch} is {found.said}"
    headline = found.headline.replace("worse", "WORSE")
    return f"{headline[0].upper()}{headline[1:]}"


def show_untouched(result: TransferResult, recipe: str, display: Display) -> None:
    """Say that fine-tuning did not help, and what to try, where the best model is the untouched one."""
    if result.best_epoch is not None:
        return
    history = result.history
    before = history.untouched["validation"].metrics.mean_auprc
    after = history.epochs[result.tuned_epoch].validation.metrics.mean_auprc
    display.line(
        f"Fine-tuning did NOT help: on the validation set the mean AUPRC was {before:.4f} before it and {after:.4f} "
        f"after it (model_{result.tuned_epoch}). {result.best_model.name} is therefore the untouched model; "
        f"{_to_try(recipe)}."
    )


def _to_try(recipe: str) -> str:
    other = "`recipe='best'`" if recipe != "best" else "more genes, a longer flanking size"
    return f"try {other}, or a lower `learning_rate`"

"""The outcome of a run: the table of epochs, and the comparison with the untouched model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.display import Display, counted
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.metrics import AUPRC, TOP_K
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import Ending, History, Split, SplitRecord
from spliceai_jax.training.recipes import Recipe

_OLD_SPECIES = (f"  {AUPRC.name + ', old species':>18}", f"  {'donor':>8}  {'acceptor':>8}")
"""What the header has in addition where the old species' data set is measured."""


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
    predictions: Path | None = None
    starts: Mapping[str, "TransferResult"] = field(default_factory=dict)
    seeds: Mapping[str, "TransferResult"] = field(default_factory=dict)

    @property
    def comparison(self) -> Mapping[Split, Differences]:
        """How the tuned model, kept as the best or not, compares with the untouched one on each set (see `Ending`)."""
        return self.ending.sets

    @property
    def test_files(self) -> Mapping[str, Differences]:
        """The same comparison on each of several test files, by its path."""
        return self.ending.test_files

    @property
    def ending(self) -> Ending:
        """What was found at the run's end."""
        assert self.history.ending is not None  # the run is finished
        return self.history.ending

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


def show_table_so_far(history: History, recipe: Recipe, display: Display) -> None:
    """Show the header of the table of epochs, the untouched model's row, and those of the epochs that are done."""
    _show_header("test" if recipe.test_each_epoch else "validation", history, display)
    display.line(_row("untouched", history.untouched, recipe))
    for number in range(len(history.epochs)):
        show_epoch(history, number, recipe, display)


def show_epoch(history: History, number: int, recipe: Recipe, display: Display) -> None:
    """Show the row of an epoch."""
    epoch = history.epochs[number]
    before = [earlier.validation.metrics.loss for earlier in history.epochs[:number]]
    best = all(epoch.validation.metrics.loss < loss for loss in before)
    batches = len(history.update_losses) // len(history.epochs)
    trained = float(np.mean(history.update_losses[number * batches : (number + 1) * batches]))
    row = _row(f"model_{number}", epoch.splits, recipe, epoch.train.metrics.loss if epoch.train else trained)
    display.line(f"{row}{'  lowest validation loss so far' if best else ''}")


def _show_header(split: Split, history: History, display: Display) -> None:
    """Show the two lines above the rows; the measures of donors and acceptors are those on `split`."""
    both, old = f"{AUPRC.name}  {TOP_K.name}", split == "test" and "old_species" in history.untouched
    first = f"{'':>9}  {'train':>8}  {'validation':>10}" + (f"  {'test':>8}" if split == "test" else "")
    second = f"{'model':>9}  {'loss':>8}  {'loss':>10}" + (f"  {'loss':>8}" if split == "test" else "")
    titles = [f"{kind}, {split}" for kind in SITE_KINDS]
    first += "".join(f"  {title:>{_width(title)}}" for title in titles)
    second += "".join(f"  {both:>{_width(title)}}" for title in titles)
    for line, of_old_species in zip((first, second), _OLD_SPECIES if old else ("", ""), strict=True):
        display.line(line + of_old_species)


def _width(title: str) -> int:
    return max(len(title), len("0.000   0.000"))


def _row(name: str, measured: Mapping[Split, SplitRecord], recipe: Recipe, trained: float | None = None) -> str:
    split: Split = "test" if recipe.test_each_epoch else "validation"
    row = f"{name:>9}  {'' if trained is None else f'{trained:.5f}':>8}  {measured['validation'].metrics.loss:>10.5f}"
    if recipe.test_each_epoch:
        row += f"  {measured['test'].metrics.loss:>8.5f}"
    for kind in SITE_KINDS:
        site = measured[split].metrics.site(kind)
        row += f"  {f'{AUPRC.of(site):.3f}   {TOP_K.of(site):.3f}':>{_width(f'{kind}, {split}')}}"
    if recipe.test_each_epoch and "old_species" in measured:
        old = measured["old_species"].metrics
        row += f"  {AUPRC.of(old.donor):>8.3f}  {AUPRC.of(old.acceptor):>8.3f}"
    return row


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
    show_table_so_far(history, recipe, display)


def show_ending(result: TransferResult, recipe: str, display: Display) -> None:
    """Show whether the tuned model is better than the untouched one, what to try if it is not, and the temperature."""
    ending = result.ending
    for name, found in ending.sets.items():
        if name == "old_species":
            display.line(found.forgetting)
            continue
        display.line(f"{_headline(found, result)} the untouched model on the {name} set: {found.words}")
        if name == "test":
            for kind in SITE_KINDS:
                display.line(f"  {kind}s: {_changes(found, kind)}")
    for path, found in ending.test_files.items():
        display.line(f"{_headline(found, result)} the untouched model on {path}: {found.words}")
    worse_on_a_file = any(found.verdict == "worse" for found in ending.test_files.values())
    if result.best_epoch is not None and (_worse(ending.sets) or worse_on_a_file):
        display.line(f"Look into it before you use this model; {_to_try(recipe)}.")
    calibration = ending.calibration
    display.line(
        f"the best model's temperature, for `predict --calibrated`: {calibration.temperature[0]:.3f}, fitted on "
        f"{calibration.fitted_on.words} of the validation set"
    )


def _changes(found: Differences, kind: SiteKind) -> str:
    measures = ((measure.name, found.site(kind)[measure.key]) for measure in (AUPRC, TOP_K))
    return ", ".join(f"{name} from {one.before:.3f} to {one.after:.3f}" for name, one in measures)


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

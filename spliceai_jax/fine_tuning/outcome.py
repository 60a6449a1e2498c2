"""The outcome of a run: the table of epochs, and the comparison with the untouched model."""

from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.display import Display
from spliceai_jax.evaluation.metrics import AUPRC, TOP_K, Metrics
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History, Split

_HEADER = (
    f"{'':>9}  {'train':>8}  {'validation':>10}  {'test':>8}  {'donor, test':>13}  {'acceptor, test':>14}\n"
    f"{'epoch':>9}  {'loss':>8}  {'loss':>10}  {'loss':>8}  {AUPRC.name + '  ' + TOP_K.name:>13}  "
    f"{AUPRC.name + '  ' + TOP_K.name:>14}"
)


@dataclass(frozen=True)
class TransferResult:
    """The result of a run.

    Attributes:
        best_model: The `.pt` file of the epoch with the lowest validation loss.
        best_epoch: That epoch, counted from 0.
        history: Everything measured, the untouched model included.
        folder: The run's folder.
        worse_than_untouched: The splits ("validation", "test") on which the best model's mean of donor and acceptor
            AUPRC is below the untouched model's.
        predictions: The folder of the best model's scores of the whole genome; None where they were not asked for.
    """

    best_model: Path
    best_epoch: int
    history: History
    folder: Path
    worse_than_untouched: tuple[Split, ...]
    predictions: Path | None = None


def show_table_so_far(history: History, display: Display) -> None:
    """Show the header of the table of epochs, the untouched model's row, and those of the epochs that are done."""
    display.line(_HEADER)
    validation, test = history.untouched["validation"].metrics, history.untouched["test"].metrics
    display.line(_row("untouched", None, validation, test, best=False))
    for number in range(len(history.epochs)):
        show_epoch(history, number, display)


def show_epoch(history: History, number: int, display: Display) -> None:
    """Show the row of an epoch."""
    epoch = history.epochs[number]
    before = [earlier.validation.metrics.loss for earlier in history.epochs[:number]]
    best = all(epoch.validation.metrics.loss < loss for loss in before)
    display.line(_row(str(number), epoch.train.metrics.loss, epoch.validation.metrics, epoch.test.metrics, best))


def _row(name: str, train_loss: float | None, validation: Metrics, test: Metrics, best: bool) -> str:
    loss = "" if train_loss is None else f"{train_loss:.5f}"
    donor, acceptor = (f"{AUPRC.of(site):.3f}   {TOP_K.of(site):.3f}" for site in (test.donor, test.acceptor))
    return (
        f"{name:>9}  {loss:>8}  {validation.loss:>10.5f}  {test.loss:>8.5f}  {donor:>13}  {acceptor:>14}"
        f"{'  best so far' if best else ''}"
    )


def conclude(history: History, folder: RunFolder, recipe: str, display: Display) -> TransferResult:
    """Compare the best model with the untouched one, show the outcome and return it."""
    best = history.epochs[history.best_epoch]
    worse: list[Split] = []
    splits: tuple[Split, ...] = ("validation", "test")
    for name in splits:
        before, after = history.untouched[name].metrics.mean_auprc, best.split(name).metrics.mean_auprc
        if after < before:
            worse.append(name)
            display.line(
                f"WORSE than the untouched model on the {name} set: mean AUPRC {before:.4f} before, {after:.4f} now"
            )
    if worse:
        other = "`recipe='best'`" if recipe != "best" else "more genes, a longer flanking size"
        display.line(f"Look into it before you use this model; try {other}, or a lower `learning_rate`.")
    display.line(f"best model: {folder.best_model} (epoch {history.best_epoch})")
    return TransferResult(folder.best_model, history.best_epoch, history, folder.root, tuple(worse))

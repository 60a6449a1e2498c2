"""Fine-tuning from end to end: check everything, train, evaluate, keep the best, never lose work."""

import hashlib
import math
import time
import warnings
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spliceai_jax import freezing
from spliceai_jax.architecture import ARCHITECTURES, CLASSES, WINDOW, Architecture
from spliceai_jax.checkpoints import Checkpoints, Progress
from spliceai_jax.console import Report
from spliceai_jax.convert import pt_bytes
from spliceai_jax.dataset import Windows, epoch_batches, read_windows, split_validation
from spliceai_jax.errors import DatasetError, DivergedError, Interrupted, SpliceAIWarning
from spliceai_jax.evaluation import evaluate_windows
from spliceai_jax.folder import RunFolder, write_whole
from spliceai_jax.history import Epoch, History, SplitRecord
from spliceai_jax.interrupts import StopRequest, stop_request
from spliceai_jax.logs import render_logs
from spliceai_jax.metrics import Metrics
from spliceai_jax.parallel import Engine, make_engine
from spliceai_jax.pretrained import Pretrained
from spliceai_jax.recipes import Recipe
from spliceai_jax.schedules import schedule
from spliceai_jax.settings import TransferSettings
from spliceai_jax.training import init_state

SECONDS_BETWEEN_CHECKPOINTS = 600.0

TRAIN_WINDOWS_EVALUATED = 1000


@dataclass(frozen=True)
class TransferResult:
    """What a run leaves.

    Attributes:
        best_model: The `.pt` file of the epoch with the lowest validation loss.
        best_epoch: That epoch, counted from 0.
        history: Everything measured, the untouched model included.
        folder: The run's folder.
        worse_than_untouched: The splits ("validation", "test") on which the best model's mean of donor and acceptor
            AUPRC is below the untouched model's.
    """

    best_model: Path
    best_epoch: int
    history: History
    folder: Path
    worse_than_untouched: tuple[str, ...]


@dataclass(frozen=True)
class _Data:
    train: Windows
    validation: Windows
    test: Windows
    validation_from: str


def transfer(settings: TransferSettings, report: Report | None = None) -> TransferResult:
    """Fine-tune a model, as `spliceai-jax transfer` does.

    Everything that can be wrong with the input is found before the first step, and before anything is written.

    Arguments:
        settings: What to do.
        report: Who is told how it goes; None: nobody.

    Raises:
        SpliceAIError: Of the kind that fits; the message names what was wrong and the way out.
        Interrupted: SIGTERM or SIGINT came; everything needed to go on by `resume=True` was saved.
    """
    report = report or Report()
    recipe = settings.effective_recipe
    pretrained = Pretrained.from_pt(settings.pretrained_model, settings.flanking_size)
    architecture = ARCHITECTURES[pretrained.flanking_size]
    folder = RunFolder(
        settings.output_dir,
        settings.project_name,
        architecture.flanking_size,
        settings.exp_num,
        settings.random_seed,
    )
    weights = pt_bytes(pretrained.flanking_size, jax.device_get(pretrained.variables))
    folder.check(settings.resume, bytes_needed=_bytes_needed(len(weights), recipe))
    data = _load_data(settings, architecture.flanking_size)
    batch_size = recipe.batch_size or architecture.batch_size
    batches = len(epoch_batches(data.train, batch_size, recipe.batching, settings.random_seed, epoch=0))
    if not batches:
        raise DatasetError(
            f"{data.train.source}: no shard fills a batch of {batch_size} windows, and the recipe {settings.recipe} "
            "drops remainders; give a smaller --batch-size or another recipe"
        )
    if recipe.unfreeze > len(architecture.units) and not recipe.unfreeze_all:
        report.line(f"--unfreeze {recipe.unfreeze}: the model has {len(architecture.units)} residual units; all train")
    report.summary(_summary(settings, recipe, architecture, data, batches, batch_size, folder))
    description = {
        **{field: value for field, value in asdict(recipe).items() if field != "batch_size"},
        "batch_size": batch_size,
        "flanking_size": architecture.flanking_size,
        "random_seed": settings.random_seed,
        "precision": settings.precision,
        "pretrained_model": hashlib.sha256(weights).hexdigest(),
        "train_dataset": data.train.fingerprint,
        "validation_dataset": data.validation.fingerprint,
        "test_dataset": data.test.fingerprint,
    }
    with folder.held(settings.resume):
        if not folder.describe(description) and settings.resume:
            report.line(f"--resume: no run in {folder.root} yet; starting one")
        engine = make_engine(architecture, recipe, settings.precision, settings.parallel)
        checkpoints = Checkpoints(folder.checkpoints)
        try:
            with stop_request() as stop:
                run = _Run(settings, recipe, architecture, data, folder, engine, checkpoints, report, stop)
                return run.to_the_end(pretrained)
        finally:
            checkpoints.close()


def _bytes_needed(pt_size: int, recipe: Recipe) -> int:
    # Models of every epoch and the best; two checkpoints and a third on its way, of weights and two moments; logs.
    return (recipe.epochs + 2) * pt_size + 3 * 3 * pt_size + 10_000_000


def _load_data(settings: TransferSettings, flanking_size: int) -> _Data:
    train_path, test_path = Path(settings.train_dataset), Path(settings.test_dataset)
    sibling = train_path.with_name(train_path.name.replace("train", "validation"))
    if settings.validation_dataset is not None:
        validation_path, origin = Path(settings.validation_dataset), "--validation-dataset"
    elif sibling != train_path and sibling.exists():
        validation_path, origin = sibling, "found beside the training file, by its name"
    else:
        validation_path, origin = None, "a tenth of the training file"
    paths = [("test", test_path)] + ([("validation", validation_path)] if validation_path else [])
    train = read_windows(train_path, flanking_size)
    read = {}
    for name, path in paths:
        windows = read_windows(path, flanking_size)
        if windows.fingerprint == train.fingerprint:
            raise DatasetError(
                f"{path}: the {name} set is the training set ({train_path}); its scores would mean nothing; "
                f"give another --{name}-dataset"
            )
        read[name] = windows
    if validation_path is None:
        train, read["validation"] = split_validation(train, settings.random_seed)
    elif read["validation"].fingerprint == read["test"].fingerprint:
        warnings.warn(
            f"{test_path}: the test set is the validation set too, which picks the best model; its scores flatter",
            SpliceAIWarning,
            stacklevel=3,
        )
    return _Data(train, read["validation"], read["test"], origin)


def _summary(
    settings: TransferSettings,
    recipe: Recipe,
    architecture: Architecture,
    data: _Data,
    batches: int,
    batch_size: int,
    folder: RunFolder,
) -> dict[str, str]:
    def described(windows: Windows) -> str:
        counts = dict(zip(CLASSES, windows.class_counts[: len(CLASSES)], strict=True))
        return (
            f"{windows.source}: {len(windows)} windows, {counts['donor']} donors, {counts['acceptor']} acceptors, "
            f"{windows.class_counts[-1] / (len(windows) * WINDOW):.0%} padding"
        )

    units = len(freezing.trainable_units(architecture, recipe))
    parts = [f"{units} of {len(architecture.units)} residual units"]
    if recipe.head_trains or recipe.unfreeze_all:
        parts.append("the head")
    frozen = "running" if recipe.frozen_batchnorm == "running" else "the batch's"
    devices = jax.devices()
    return {
        "model": f"{settings.pretrained_model}: flanking size {architecture.flanking_size}",
        "train": described(data.train),
        "validation": f"{described(data.validation)} ({data.validation_from})",
        "test": described(data.test),
        "recipe": f"{settings.recipe}: {recipe.loss}, {recipe.scheduler} from {recipe.learning_rate:g}, "
        f"weight decay {recipe.weight_decay:g}",
        "trains": "everything"
        if recipe.unfreeze_all
        else f"{' and '.join(parts)}; frozen BatchNorm on {frozen} statistics",
        "epochs": f"{recipe.epochs}, {batches} batches of {batch_size} each"
        + (f", stopping after {recipe.patience} without a better validation loss" if recipe.early_stopping else ""),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({settings.parallel}, {settings.precision})",
        "output": str(folder.root),
    }


class _Run:
    """A run under way: what it is made of, and the loop."""

    def __init__(
        self,
        settings: TransferSettings,
        recipe: Recipe,
        architecture: Architecture,
        data: _Data,
        folder: RunFolder,
        engine: Engine,
        checkpoints: Checkpoints,
        report: Report,
        stop: StopRequest,
    ) -> None:
        self._settings, self._recipe, self._architecture, self._data = settings, recipe, architecture, data
        self._folder, self._engine, self._checkpoints = folder, engine, checkpoints
        self._report, self._stop = report, stop
        self._batch_size = recipe.batch_size or architecture.batch_size
        self._last_save = time.monotonic()

    def to_the_end(self, pretrained: Pretrained) -> TransferResult:
        labels = freezing.parameter_labels(self._architecture, self._recipe)
        state: Any = init_state(pretrained.variables, labels, self._recipe)
        progress = Progress(0, 0, History())
        # 1. State and progress of the latest checkpoint, or the start. 2. The untouched model's row.
        if (restored := self._checkpoints.restore(jax.device_get(state))) is not None:
            state, progress = restored
            self._report.line(f"going on from epoch {progress.epoch}, batch {progress.batch}")
        self._state, self._progress = self._engine.place(state), progress
        if not progress.history.untouched:
            progress.history.untouched = self._evaluate("before training")
        self._show_rows()
        # 3. Epochs, each training then evaluation, until the last or the stopping rule.
        while progress.epoch < self._recipe.epochs and not self._should_stop():
            self._train_epoch()
            self._finish_epoch()
        return self._result()

    # -- one epoch -------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        recipe, progress = self._recipe, self._progress
        batches = self._batches()
        rate_of = schedule(recipe.scheduler, recipe.timing, recipe.learning_rate, recipe.epochs, len(batches))
        # Losses are fetched a step late, so that the device never waits for us.
        pending: deque[tuple[float, Any]] = deque()
        first = progress.batch
        title = f"epoch {progress.epoch} of {recipe.epochs}"
        with self._report.progress(title, sum(map(len, batches[first:]))) as advance:
            for positions in batches[first:]:
                rate = rate_of(progress.epoch * len(batches) + progress.batch)
                batch = self._data.train.batch(positions, self._batch_size)
                self._state, loss = self._engine.train(self._state, batch, rate)
                pending.append((rate, loss))
                progress.batch += 1
                if len(pending) > 1:
                    self._record(*pending.popleft())
                advance(len(positions))
                if self._stop.received or time.monotonic() - self._last_save > SECONDS_BETWEEN_CHECKPOINTS:
                    while pending:
                        self._record(*pending.popleft())
                    self._save()
                    self._stop_if_asked()
            while pending:
                self._record(*pending.popleft())

    def _batches(self) -> list[np.ndarray]:
        return epoch_batches(
            self._data.train,
            self._batch_size,
            self._recipe.batching,
            self._settings.random_seed,
            self._progress.epoch,
        )

    def _record(self, rate: float, loss: Any) -> None:
        history, value = self._progress.history, float(loss)
        if not math.isfinite(value):
            raise self._diverged(f"the training loss is {value}")
        history.update_losses.append(value)
        history.update_rates.append(rate)

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"{what} at step {len(self._progress.history.update_losses)} (epoch {self._progress.epoch}); everything "
            f"saved before is kept in {self._folder.root}; try a lower --learning-rate"
        )

    def _finish_epoch(self) -> None:
        progress, history = self._progress, self._progress.history
        variables = self._engine.fetch(self._state.variables)
        # The last step's loss says nothing about the weights that it left.
        if not all(np.isfinite(value).all() for value in jax.tree.leaves(variables)):
            raise self._diverged("weights became infinite or not a number")
        trained = np.concatenate(self._batches())[:TRAIN_WINDOWS_EVALUATED]
        title = f"epoch {progress.epoch}"
        records = self._evaluate(title, train=self._data.train.subset(trained))
        history.epochs.append(Epoch(history.update_rates[-1], **records))
        # Models and logs first: if the process dies before the checkpoint they are written again, with the same bytes.
        content = pt_bytes(self._architecture.flanking_size, variables)
        write_whole(self._folder.epoch_model(progress.epoch), content)
        if history.best_epoch == progress.epoch:
            write_whole(self._folder.best_model, content)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        self._save()
        self._show_rows(len(history.epochs) - 1)
        self._stop_if_asked()

    def _evaluate(self, title: str, train: Windows | None = None) -> dict[str, SplitRecord]:
        splits = {"train": train} if train else {}
        splits |= {"validation": self._data.validation, "test": self._data.test}
        records = {}
        for name, windows in splits.items():
            with self._report.progress(f"{title}, {name}", len(windows)) as advance:

                def after_batch(done: int, advance: Any = advance) -> None:
                    advance(done)
                    if self._stop.received:
                        self._save()
                        self._stop_if_asked()

                variables = self._state.variables
                records[name] = SplitRecord(
                    *evaluate_windows(self._engine, variables, windows, self._batch_size, after_batch)
                )
        return records

    # -- what is kept ----------------------------------------------------------------------------------------

    def _save(self) -> None:
        for name, text in render_logs(self._progress.history).items():
            write_whole(self._folder.log(name), text)
        self._checkpoints.save(self._engine.fetch(self._state), self._progress)
        self._last_save = time.monotonic()

    def _stop_if_asked(self) -> None:
        if self._stop.received and self._progress.epoch < self._recipe.epochs:
            raise Interrupted(
                f"stopped by {self._stop.received.name} in epoch {self._progress.epoch}; everything is saved in "
                f"{self._folder.root}; go on with the same command and --resume",
                self._stop.received,
            )

    # -- what is shown ---------------------------------------------------------------------------------------

    def _show_rows(self, first: int | None = None) -> None:
        history = self._progress.history
        if first is None:
            untouched = history.untouched
            self._report.row("untouched", None, untouched["validation"].metrics, untouched["test"].metrics, False)
        for number, epoch in list(enumerate(history.epochs))[first or 0 :]:
            before = [earlier.validation.metrics.loss for earlier in history.epochs[:number]]
            best = all(epoch.validation.metrics.loss < loss for loss in before)
            row = (epoch.train.metrics.loss, epoch.validation.metrics, epoch.test.metrics)
            self._report.row(str(number), *row, best)

    def _should_stop(self) -> bool:
        history = self._progress.history
        if not (self._recipe.early_stopping and history.epochs):
            return False
        return history.epochs_since_best >= self._recipe.patience

    def _result(self) -> TransferResult:
        history, report = self._progress.history, self._report
        best = history.epochs[history.best_epoch]
        worse = []
        for name, record in (("validation", best.validation), ("test", best.test)):
            before, after = _mean_auprc(history.untouched[name].metrics), _mean_auprc(record.metrics)
            if after < before:
                worse.append(name)
                report.line(
                    f"WORSE than the untouched model on the {name} set: mean AUPRC {before:.4f} before, {after:.4f} now"
                )
        if worse:
            report.line("Do not use this model as it is; try --recipe best, or a lower --learning-rate.")
        report.line(f"best model: {self._folder.best_model} (epoch {history.best_epoch})")
        return TransferResult(self._folder.best_model, history.best_epoch, history, self._folder.root, tuple(worse))


def _mean_auprc(metrics: Metrics) -> float:
    return (metrics.donor.auprc + metrics.acceptor.auprc) / 2

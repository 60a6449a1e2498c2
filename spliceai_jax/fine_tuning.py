"""Fine-tuning from end to end: train, evaluate, keep the best, never lose work."""

import contextlib
import math
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spliceai_jax import freezing, processes
from spliceai_jax.card import render_card
from spliceai_jax.checkpoints import Checkpoints, Progress
from spliceai_jax.console import Report
from spliceai_jax.convert import pt_bytes
from spliceai_jax.dataset import Windows
from spliceai_jax.errors import DivergedError, Interrupted, SpliceAIWarning
from spliceai_jax.evaluation import evaluate_windows
from spliceai_jax.history import Epoch, History, SplitRecord
from spliceai_jax.interrupts import StopRequest, stop_request
from spliceai_jax.kept_trunk import keep_trunk
from spliceai_jax.logs import render_logs
from spliceai_jax.parallel import JitEngine, make_engine
from spliceai_jax.plan import Plan, make_plan
from spliceai_jax.record import record_session
from spliceai_jax.report import Scorer, is_current, read_run, write_report
from spliceai_jax.schedules import schedule
from spliceai_jax.settings import TransferSettings
from spliceai_jax.tensorboard import Scalars
from spliceai_jax.training import init_state

SECONDS_BETWEEN_CHECKPOINTS = 600.0

TRAIN_WINDOWS_EVALUATED = 1000

_SAVE = 1
"""What a process asks of all when it saved too long ago; the signals that stop a run are larger numbers."""


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
    with processes.joined(settings), contextlib.ExitStack() as held:
        if report is None or not processes.leads():
            report = Report()
        plan = processes.all_or_none(lambda: make_plan(settings, report.progress))
        processes.check_same(plan.identity())

        def take_folder() -> bool:
            held.enter_context(plan.folder.held(settings.resume))
            return plan.folder.describe(plan.identity())

        known = processes.all_or_none(take_folder)
        report.summary(plan.summary())
        if settings.resume and not known:
            report.line(f"--resume: no run in {plan.folder.root} yet; starting one")
        processes.check_shared(plan.folder.root)
        with Checkpoints(plan.folder.checkpoints) as checkpoints, stop_request() as stop:
            return _Run(plan, checkpoints, report, stop).to_the_end()


class _Run:
    """A run under way: what it is made of, and the loop."""

    def __init__(self, plan: Plan, checkpoints: Checkpoints, report: Report, stop: StopRequest) -> None:
        self._plan, self._checkpoints, self._report, self._stop = plan, checkpoints, report, stop
        self._engine = make_engine(plan.architecture, plan.recipe, plan.settings.precision, plan.settings.parallel)
        self._sets = {"train": plan.train, "validation": plan.validation, "test": plan.test}
        told = plan.settings.tensorboard and processes.leads()
        self._scalars = Scalars(plan.folder.tensorboard, len(plan.batches(0))) if told else None
        self._last_save = time.monotonic()
        self._vote = processes.Vote()
        self._stopped_by: signal.Signals | None = None

    def to_the_end(self) -> TransferResult:
        labels = freezing.parameter_labels(self._plan.architecture, self._plan.recipe)
        state: Any = init_state(self._plan.pretrained.variables, labels, self._plan.recipe)
        progress = Progress(0, 0, History())
        # 1. State and progress of the latest checkpoint, or the start.
        if (restored := processes.all_or_none(lambda: self._checkpoints.restore(jax.device_get(state)))) is not None:
            state, progress = restored
            self._report.line(f"going on from epoch {progress.epoch}, batch {progress.batch}")
        processes.check_same({"epoch": progress.epoch, "batch": progress.batch})
        self._state, self._progress = self._engine.place(state), progress
        if not self._finished:
            self._about = record_session(self._plan)
            if len({session.trunk_kept for session in self._about.sessions}) > 1:
                self._report.line(
                    "the frozen part was kept in one part of this run and computed in another: it ends as if not "
                    "interrupted, to float rounding but not to the bit; --kept-trunk decides"
                )
        self._write_logs()  # those on disk may be ahead of the checkpoint
        # 2. What the frozen part makes of each window, and the untouched model's row.
        self._keep_trunk()
        if not progress.history.untouched:
            progress.history.untouched = self._evaluate("before training")
        self._show_rows()
        # 3. Epochs, each training then evaluation, until the last or the stopping rule.
        while not self._finished:
            self._train_epoch()
            self._finish_epoch()
        result = self._result()
        self._write_report()
        return result

    # -- one epoch -------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        recipe, progress, train = self._plan.recipe, self._progress, self._sets["train"]
        batches = self._plan.batches(progress.epoch)
        rate_of = schedule(recipe.scheduler, recipe.timing, recipe.learning_rate, recipe.epochs, len(batches))
        # Losses are fetched a step late, so that the device never waits for us.
        pending: deque[tuple[float, Any]] = deque()
        first = progress.batch
        title = f"epoch {progress.epoch} of {recipe.epochs}"
        with self._report.progress(title, sum(map(len, batches[first:]))) as advance:
            for positions in batches[first:]:
                rate = rate_of(progress.epoch * len(batches) + progress.batch)
                layout = train.training_layout(positions, self._plan.batch_size, self._plan.architecture)
                self._state, loss = self._engine.train(self._state, train.batch(layout), rate)
                pending.append((rate, loss))
                progress.batch += 1
                if len(pending) > 1:
                    self._record(*pending.popleft())
                advance(len(positions))
                overdue = time.monotonic() - self._last_save > SECONDS_BETWEEN_CHECKPOINTS
                if self._agreed(_SAVE if overdue else 0):
                    while pending:
                        self._record(*pending.popleft())
                    self._save()
                    self._stop_if_asked()
            while pending:
                self._record(*pending.popleft())

    def _record(self, rate: float, loss: Any) -> None:
        history, value = self._progress.history, float(loss)
        if not math.isfinite(value):
            raise self._diverged(f"the training loss is {value}")
        history.update_losses.append(value)
        history.update_rates.append(rate)

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"{what} at step {len(self._progress.history.update_losses)} (epoch {self._progress.epoch}); everything "
            f"saved before is kept in {self._plan.folder.root}; try a lower --learning-rate"
        )

    def _finish_epoch(self) -> None:
        progress, history = self._progress, self._progress.history
        variables = self._engine.fetch(self._state.variables)
        # The last step's loss says nothing about the weights that it left.
        if not all(np.isfinite(value).all() for value in jax.tree.leaves(variables)):
            raise self._diverged("weights became infinite or not a number")
        trained = np.concatenate(self._plan.batches(progress.epoch))[:TRAIN_WINDOWS_EVALUATED]
        title = f"epoch {progress.epoch}"
        records = self._evaluate(title, train=self._sets["train"].subset(trained))
        history.epochs.append(Epoch(history.update_rates[-1], **records))
        # Models and logs first: if the process dies before the checkpoint they are written again, with the same bytes.
        content = pt_bytes(self._plan.architecture.flanking_size, variables)
        self._plan.folder.write(self._plan.folder.epoch_model(progress.epoch), content)
        if history.best_epoch == progress.epoch:
            # The card names the file it describes: between the two writes it is seen not to be the new one's.
            self._plan.folder.write(self._plan.folder.best_model, content)
            card = render_card(content, self._plan.identity(), self._about, history)
            self._plan.folder.write(self._plan.folder.best_card, card)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        self._save()
        self._show_rows(len(history.epochs) - 1)
        self._agreed(0)
        self._stop_if_asked()

    def _evaluate(self, title: str, train: Windows | None = None) -> dict[str, SplitRecord]:
        splits = {"train": train} if train else {}
        splits |= {name: self._sets[name] for name in ("validation", "test")}
        records = {}
        for name, windows in splits.items():
            with self._report.progress(f"{title}, {name}", len(windows)) as advance:
                measured = evaluate_windows(
                    self._engine, self._state.variables, windows, self._plan.batch_size, self._watched(advance)
                )
                records[name] = SplitRecord(*measured)
        return records

    def _watched(self, advance: Callable[[int], None]) -> Callable[[int], None]:
        """Advance, and stop between batches if asked; what was evaluated of this split is evaluated again."""

        def after_batch(done: int) -> None:
            advance(done)
            if self._agreed(0) > _SAVE:
                self._save()
                self._stop_if_asked()

        return after_batch

    def _keep_trunk(self) -> None:
        plan = self._plan
        if not plan.trunk.end:
            return
        with self._report.progress("frozen part", sum(map(len, self._sets.values()))) as advance:
            for name, split in self._sets.items():
                self._sets[name] = keep_trunk(
                    self._engine,
                    self._state.variables,
                    split,
                    plan.architecture,
                    plan.trunk.end,
                    plan.batch_size,
                    plan.folder.root,
                    self._watched(advance),
                )

    # -- what is kept ----------------------------------------------------------------------------------------

    def _write_logs(self) -> None:
        for name, text in render_logs(self._progress.history).items():
            self._plan.folder.write(self._plan.folder.log(name), text)
        if self._scalars:
            self._scalars.write(self._progress.history)

    def _save(self) -> None:
        self._write_logs()
        self._checkpoints.save(self._engine.fetch(self._state), self._progress)
        self._last_save = time.monotonic()

    def _agreed(self, wish: int) -> int:
        """What any process asks of all: nothing (0), `_SAVE` or, as the signal's number, to save and stop."""
        agreed = self._vote(self._stop.received or wish)
        if agreed > _SAVE:
            self._stopped_by = signal.Signals(agreed)
        return agreed

    def _stop_if_asked(self) -> None:
        if self._stopped_by and self._progress.epoch < self._plan.recipe.epochs:
            raise Interrupted(
                f"stopped by {self._stopped_by.name} in epoch {self._progress.epoch}; everything is saved in "
                f"{self._plan.folder.root}; go on with the same command and --resume",
                self._stopped_by,
            )

    def _write_report(self) -> None:
        """The run is whole before: what goes wrong here is told in a line."""
        if not processes.leads():
            return
        plan, engine = self._plan, self._engine
        if processes.several():  # the others have nothing to do with it
            engine = JitEngine(plan.architecture, plan.recipe, plan.settings.precision, jax.local_devices())
        again = f"the run is finished and its models whole; make the report by `spliceai-jax report {plan.folder.root}`"

        def after_batch(done: int) -> None:
            advance(done)
            if stopped_by := self._stop.received:
                raise Interrupted(f"stopped by {stopped_by.name} before the report was made; {again}", stopped_by)

        try:
            if is_current(run := read_run(plan.folder.root)):
                return
            variables, test = plan.pretrained.variables, self._sets["test"]
            with self._report.progress("report", len(test)) as advance:
                page = write_report(run, Scorer(engine, variables, test, plan.batch_size, after_batch))
        except Interrupted:
            raise
        except Exception as error:  # a page is not worth a run's exit status
            warnings.warn(f"the report could not be made ({error}); {again}", SpliceAIWarning, stacklevel=2)
        else:
            self._report.line(f"report: {page}")

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

    @property
    def _finished(self) -> bool:
        return self._progress.history.finished(self._plan.recipe)

    def _result(self) -> TransferResult:
        history, report = self._progress.history, self._report
        best = history.epochs[history.best_epoch]
        worse = []
        for name, record in (("validation", best.validation), ("test", best.test)):
            before, after = history.untouched[name].metrics.mean_auprc, record.metrics.mean_auprc
            if after < before:
                worse.append(name)
                report.line(
                    f"WORSE than the untouched model on the {name} set: mean AUPRC {before:.4f} before, {after:.4f} now"
                )
        if worse:
            other = "--recipe best" if self._plan.settings.recipe != "best" else "more genes, a longer flanking size"
            report.line(f"Look before you use this model; try {other}, or a lower --learning-rate.")
        report.line(f"best model: {self._plan.folder.best_model} (epoch {history.best_epoch})")
        return TransferResult(
            self._plan.folder.best_model, history.best_epoch, history, self._plan.folder.root, tuple(worse)
        )

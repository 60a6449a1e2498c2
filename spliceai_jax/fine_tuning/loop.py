"""The training loop: epochs of steps, each followed by an evaluation; it can be stopped and continued at any batch."""

import hashlib
import math
from collections.abc import Iterator
from typing import NoReturn

import jax
import numpy as np

from spliceai_jax.convert import pt_bytes
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import DivergedError, Interrupted
from spliceai_jax.fine_tuning.ending import measure_ending
from spliceai_jax.fine_tuning.outcome import show_epoch, show_finished, show_table_so_far
from spliceai_jax.fine_tuning.plan import Plan
from spliceai_jax.fine_tuning.stop import Action, Decision, StopVote
from spliceai_jax.fine_tuning.trainer import Step, Trainer
from spliceai_jax.loops import one_in_flight
from spliceai_jax.report.test_set import Comparison
from spliceai_jax.runs.history import SET_NAMES, Epoch, LoopState, Split, SplitRecord
from spliceai_jax.runs.writer import RunWriter


class TrainingLoop:
    """Takes a run from where it stands to its end."""

    def __init__(
        self, plan: Plan, trainer: Trainer, writer: RunWriter, vote: StopVote, loop: LoopState, display: Display
    ) -> None:
        """Start nothing yet; the state in `trainer` must be the one that `loop` describes."""
        self._plan, self._trainer, self._writer = plan, trainer, writer
        self._vote, self._loop, self._display = vote, loop, display

    def to_the_end(self) -> Comparison | None:
        """Train until the last epoch is done, or early stopping ends the run, and compare the models.

        Returns:
            What the page shows of the test set; None where the models had been compared before.

        Raises:
            Interrupted: A signal asked for a stop; a checkpoint has been saved.
            DivergedError: The loss or a weight became infinite or not a number.
        """
        self._writer.logs(self._loop)  # those on disk may be ahead of the checkpoint, or lost
        if self._loop.history.ending:
            if not self._plan.folder.best_card.exists():
                self._writer.card(self._loop)
            show_finished(self._loop.history, self._plan.recipe, self._display)
            return None
        self._prepare()
        while not self._finished:
            self._train_epoch()
            self._finish_epoch()
        return self._end()

    @property
    def _finished(self) -> bool:
        return self._loop.history.finished(self._plan.recipe)

    def _prepare(self) -> None:
        """Compute targets and the activation cache, and evaluate the untouched model if that has not been done."""
        loop, plan = self._loop, self._plan
        if loop.history.untouched:
            self._display.line(
                f"going on from epoch {loop.epoch + 1} of {plan.recipe.epochs}, of which {loop.batch} of "
                f"{len(plan.batches(0))} batches are done"
            )
        if self._plan.levers.teachers and not self._finished:  # before activations are cached: teachers take bases
            with self._display.progress("teachers", len(self._plan.levers.taught)) as advance:
                self._trainer.teach(self._plan.targets, self._stopping(advance))
        if self._plan.cache.wanted:
            total = sum(map(len, self._trainer.sets.values()))
            with self._display.progress("activation cache", total) as advance:
                self._trainer.cache_activations(self._plan.folder.root, self._stopping(advance))
        history = self._loop.history
        if not history.untouched:
            history.untouched = {
                name: self._evaluate("before training", name) for name in self._evaluated if name != "train"
            }
        show_table_so_far(history, self._plan.recipe, self._display)

    @property
    def _evaluated(self) -> list[Split]:
        """The splits that are evaluated after each epoch."""
        return list(self._trainer.sets) if self._plan.recipe.test_each_epoch else ["validation"]

    @property
    def _epoch(self) -> str:
        """The epoch under way, counted from 1 as a reader does; files and the history count from 0."""
        if self._finished:
            return "the comparison of the models"
        return f"epoch {self._loop.epoch + 1} of {self._plan.recipe.epochs}"

    def _train_epoch(self) -> None:
        batches = self._plan.batches(self._loop.epoch)
        with self._display.progress(self._epoch, sum(map(len, batches[self._loop.batch :]))) as advance:
            while self._loop.batch < len(batches):
                decisions: list[Decision] = []
                for step in one_in_flight(self._dispatched(decisions)):
                    self._record(step)
                    advance(step.windows)
                if decisions:
                    self._save()
                    self._stop_if(decisions[0])

    def _dispatched(self, decisions: list[Decision]) -> Iterator[Step]:
        """Dispatch steps until the epoch's end, or until a decision other than to go on, which is added to the list."""
        for step in self._trainer.steps(self._loop.epoch, self._loop.batch):
            self._loop.batch += 1
            yield step
            decision = self._vote(may_save=True)
            if decision.action is not Action.GO_ON:
                decisions.append(decision)
                return

    def _record(self, step: Step) -> None:
        history, loss = self._loop.history, float(step.loss)
        if not math.isfinite(loss):
            self._diverged(f"the training loss is {loss}")
        history.update_losses.append(loss)
        history.update_rates.append(step.rate)

    def _finish_epoch(self) -> None:
        loop, history = self._loop, self._loop.history
        variables = self._trainer.variables
        # The last step's loss was computed before its update of the weights.
        if not all(np.isfinite(value).all() for value in jax.tree.leaves(variables)):
            self._diverged("weights became infinite or not a number")
        model = pt_bytes(self._plan.architecture.flanking_size, variables)
        epoch = Epoch(
            learning_rate=history.update_rates[-1],
            model_sha256=hashlib.sha256(model).hexdigest(),
            **{name: self._evaluate(self._epoch, name) for name in self._evaluated},
        )
        history.epochs.append(epoch)
        self._writer.models(model, loop)
        loop.epoch, loop.batch = loop.epoch + 1, 0
        self._save()
        show_epoch(history, len(history.epochs) - 1, self._plan.recipe, self._display)
        decision = self._vote()
        if not self._finished:
            self._stop_if(decision)

    def _end(self) -> Comparison:
        measured = sum(map(len, self._trainer.measured.values()))
        with self._display.progress("both models on all sets", measured) as advance:
            found = measure_ending(self._plan, self._trainer, self._loop.history, self._stopping(advance))
        self._writer.card(self._loop)
        self._save()
        self._plan.targets.unlink(missing_ok=True)
        return found

    def _evaluate(self, title: str, split: Split) -> SplitRecord:
        """Evaluate the network on a split; for the training set, on some of the windows that the epoch trained on."""
        trainer = self._trainer
        windows = trainer.just_trained(self._loop.epoch) if split == "train" else trainer.sets[split]
        with self._display.progress(f"{title}, evaluation on the {SET_NAMES[split]} set", len(windows)) as advance:
            try:
                return trainer.evaluate(windows, self._stopping(advance))
            except DivergedError:
                if not self._loop.history.untouched:  # the weights that the run was given are to blame
                    raise
                self._diverged(f"the loss on the {SET_NAMES[split]} set became infinite or not a number")

    def _stopping(self, advance: Advance) -> Advance:
        """Return a progress callback that also stops the run, between batches, if asked to.

        An interrupted evaluation or activation cache is started again when the run is continued.
        """

        def after_batch(done: int) -> None:
            advance(done)
            decision = self._vote()
            if decision.action is Action.STOP:
                self._save()
                self._stop_if(decision)

        return after_batch

    def _save(self) -> None:
        self._writer.checkpoint(self._trainer.state, self._loop)
        self._vote.saved()

    def _stop_if(self, decision: Decision) -> None:
        if decision.signal is not None:
            raise Interrupted(
                f"stopped by {decision.signal.name} in {self._epoch}; everything is saved in "
                f"{self._plan.folder.root}; go on with the same command and `resume=True`",
                decision.signal,
            )

    def _diverged(self, what: str) -> NoReturn:
        raise DivergedError(
            f"{what} at step {len(self._loop.history.update_losses)} ({self._epoch}); everything saved "
            f"before is kept in {self._plan.folder.root}; try a lower `learning_rate`"
        )

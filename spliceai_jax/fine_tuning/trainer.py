"""The training state and the three things done with it: steps, evaluations, and the activation cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax import Array
from jaxtyping import Float

from spliceai_jax.display import Advance
from spliceai_jax.evaluation.evaluate import evaluate_windows
from spliceai_jax.evaluation.teaching import taught_windows
from spliceai_jax.fine_tuning.plan import Plan
from spliceai_jax.network.model import Variables
from spliceai_jax.runs.history import Split, SplitRecord
from spliceai_jax.training.activation_cache import cache_activations
from spliceai_jax.training.engine import ENGINES
from spliceai_jax.training.schedules import schedule
from spliceai_jax.training.step import TrainState, init_state
from spliceai_jax.windows.mutation import mutated
from spliceai_jax.windows.windows import Windows

TRAIN_WINDOWS_EVALUATED = 1000


@dataclass(frozen=True)
class Step:
    """A training step that has been dispatched.

    Attributes:
        windows: The number of windows in its batch.
        rate: Its learning rate.
        loss: Its loss, which the device may still be computing.
    """

    windows: int
    rate: float
    loss: Float[Array, ""]


def initial_state(plan: Plan) -> TrainState:
    """Return the state before the first step, as numpy arrays."""
    return jax.device_get(init_state(plan.pretrained.variables, plan.trainable, plan.recipe))


class Trainer:
    """The state of training on the devices, and the windows that it sees.

    Attributes:
        engine: Runs the network.
        sets: The plan's sets of windows; with the activation cache, windows of activations. To "train" belong the
            windows to rehearse, too.
    """

    def __init__(self, plan: Plan, state: TrainState) -> None:
        """Put a state of numpy arrays on the devices, to continue from; nothing is computed yet."""
        self._plan = plan
        self.engine = ENGINES[plan.settings.parallel](
            plan.architecture,
            plan.recipe,
            plan.settings.precision,
            start=plan.pretrained.variables["params"],
            seed=plan.settings.random_seed,
        )
        self.sets: dict[Split, Windows] = {**plan.sets, "train": plan.levers.trained_on}
        self._state = self.engine.place(state)

    @property
    def measured(self) -> dict[Split, Windows]:
        """The sets that the untouched model is measured on too: all but the training set."""
        return {name: windows for name, windows in self.sets.items() if name != "train"}

    @property
    def state(self) -> TrainState:
        """The state, as numpy arrays."""
        return self.engine.fetch(self._state)

    @property
    def variables(self) -> Variables:
        """The network's variables, as numpy arrays."""
        return self.engine.fetch(self._state.variables)

    def teach(self, file: Path, after_batch: Advance) -> None:
        """Compute what `file` lacks of the teachers' probabilities; training batches carry them from then on."""
        plan, windows = self._plan, self.sets["train"]
        teachers = [self.engine.place(teacher.model.scoring_variables) for teacher in plan.levers.teachers]
        self.sets["train"] = taught_windows(
            self.engine, teachers, windows, plan.levers.taught, plan.rows_evaluated, file, after_batch
        )

    def cache_activations(self, folder: Path, after_batch: Advance) -> None:
        """Compute the frozen part's output for all windows; from then on batches consist of it."""
        plan = self._plan
        for name, windows in self.sets.items():
            self.sets[name] = cache_activations(
                self.engine,
                self._state.variables,
                windows,
                plan.architecture,
                plan.trainable.first_entry,
                plan.rows_evaluated,
                folder,
                after_batch,
            )

    def steps(self, epoch: int, first_batch: int) -> Iterator[Step]:
        """Yield the training steps of an epoch from a batch on; each is dispatched when it is taken."""
        plan, recipe = self._plan, self._plan.recipe
        batches = plan.batches(epoch)
        rate_of = schedule(recipe.scheduler, recipe.timing, recipe.learning_rate, recipe.epochs, len(batches))
        for number, positions in enumerate(batches[first_batch:], first_batch):
            rate = rate_of(epoch * len(batches) + number)
            batch = self.sets["train"].training_batch(positions, plan.most_rows, plan.architecture, plan.padding_counts)
            if recipe.mutation_rate:
                random = np.random.default_rng([plan.settings.random_seed, epoch, number])
                batch = mutated(batch, recipe.mutation_rate, random)
            self._state, loss = self.engine.train(self._state, batch, rate)
            yield Step(len(positions), rate, loss)

    def just_trained(self, epoch: int) -> Windows:
        """Return the first windows of the new species, at most 1000, that an epoch trains on."""
        trained = np.concatenate(self._plan.batches(epoch))
        return self.sets["train"].subset(trained[trained < len(self._plan.train)][:TRAIN_WINDOWS_EVALUATED])

    def evaluate(self, windows: Windows, after_batch: Advance) -> SplitRecord:
        """Evaluate the network with its present weights."""
        return SplitRecord(
            *evaluate_windows(self.engine, [self._state.variables], windows, self._plan.rows_evaluated, after_batch)
        )

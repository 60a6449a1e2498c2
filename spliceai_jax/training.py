"""The training state and the two pure steps, of training and of evaluation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array

from spliceai_jax import freezing
from spliceai_jax.architecture import PADDING
from spliceai_jax.losses import Loss, named_loss
from spliceai_jax.model import SpliceAI, Trunk, Variables
from spliceai_jax.recipes import Recipe


@struct.dataclass
class TrainState:
    """Everything that a training step changes."""

    step: Array
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """What the network is evaluated with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@struct.dataclass
class Batch:
    """Rows of windows on their way through a step; see `packing.Layout`.

    Attributes:
        inputs: Bases, uint8 (rows, 5000 + flanking_size), or what the network's trunk made of them.
        labels: uint8 (rows, 5000), each in the middle of what the network sees of it; PADDING where there is none.
        real: How many windows' positions a position stands for, float32 (rows,) or (rows, 5000 + flanking_size).
        inside: bool (rows, 5000 + flanking_size), False between windows; None where it does not matter.
    """

    inputs: Array | np.ndarray | Trunk
    labels: Array | np.ndarray
    real: Array | np.ndarray
    inside: Array | np.ndarray | None = None

    def filled_up(self, multiple: int) -> "Batch":
        """The same with rows added that do not count, up to a multiple of so many."""
        missing = -len(self.labels) % multiple
        if not missing:
            return self

        def filled(array: np.ndarray, value: int = 0) -> np.ndarray:
            return np.pad(array, ((0, missing), *[(0, 0)] * (array.ndim - 1)), constant_values=value)

        return replace(jax.tree.map(filled, self), labels=filled(np.asarray(self.labels), PADDING))


TrainStep = Callable[[TrainState, Batch, Array], tuple[TrainState, Array]]
"""(state, batch, learning rate) -> (state after the step, the batch's loss)."""

EvalStep = Callable[[Variables, Batch], tuple[Array, Array]]
"""(variables, batch) -> (probabilities (rows, 5000, 3), loss of each position (rows, 5000), 0 without a label)."""


def init_state(variables: Variables, labels: freezing.Labels, recipe: Recipe) -> TrainState:
    """The state before the first step."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    freezing.check_coverage(labels, params)
    opt_state = freezing.optimizer(labels, recipe.weight_decay).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, opt_state)


def make_train_step(model: SpliceAI, recipe: Recipe) -> TrainStep:
    """A pure training step; with `model.axis_name` set each device works on its share of the batch."""
    labels = freezing.parameter_labels(model.architecture, recipe)
    on_batch_statistics = freezing.units_on_batch_statistics(model.architecture, recipe)
    optimizer = freezing.optimizer(labels, recipe.weight_decay)
    position_loss = named_loss(recipe.loss, recipe.focal_alpha)

    def over_devices(tree: Any) -> Any:
        return tree if model.axis_name is None else jax.lax.psum(tree, model.axis_name)

    def train_step(state: TrainState, batch: Batch, learning_rate: Array) -> tuple[TrainState, Array]:
        windows = batch.real.sum() / (batch.real.size // len(batch.real))
        positions = windows * batch.labels.shape[1]
        labelled = jnp.asarray(batch.labels != PADDING).sum()
        # Counted over all devices before differentiation, so that each device's gradient is its share of the whole.
        counted = jnp.maximum(over_devices(positions if recipe.padding_counts else labelled), 1)

        def loss_of(params: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
            probabilities, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                batch.inputs,
                batch.real,
                on_batch_statistics,
                batch.inside,
                mutable=["batch_stats"],
            )
            return position_loss(probabilities, jnp.asarray(batch.labels)).sum() / counted, updated["batch_stats"]

        (loss, batch_stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        loss, gradients = over_devices((loss, gradients))
        opt_state = optax.tree.set(state.opt_state, learning_rate=learning_rate)
        updates, opt_state = optimizer.update(gradients, opt_state, state.params)
        params = freezing.keep_frozen(labels, state.params, optax.apply_updates(state.params, updates))
        return TrainState(state.step + 1, params, batch_stats, opt_state), loss

    return train_step


def make_eval_step(model: SpliceAI, loss: Loss) -> EvalStep:
    """A pure evaluation step: running statistics throughout."""

    def eval_step(variables: Variables, batch: Batch) -> tuple[Array, Array]:
        probabilities: Any = model.apply(variables, batch.inputs)
        return probabilities, loss(probabilities, jnp.asarray(batch.labels))

    return eval_step


def make_trunk_step(model: SpliceAI, end: int) -> Callable[[Variables, Batch], Trunk]:
    """A pure function of (variables, batch of bases): what the network's entries before `end` make of it."""

    def trunk_step(variables: Variables, batch: Batch) -> Trunk:
        kept: Any = model.apply(variables, batch.inputs, end, batch.inside, method=SpliceAI.trunk)
        return kept

    return trunk_step

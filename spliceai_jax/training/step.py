"""The training state, and the pure functions that a run consists of: a training step and an evaluation step."""

from collections.abc import Callable
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.traverse_util import flatten_dict
from jax import Array
from jaxtyping import ArrayLike, Float, Int, UInt32

from spliceai_jax.architecture import PADDING
from spliceai_jax.network.model import Activations, SpliceAI, Tree, Variables
from spliceai_jax.training.losses import Loss, named_loss, taught
from spliceai_jax.training.optimizer import make_optimizer
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows.batches import Batch

T = TypeVar("T")


@struct.dataclass
class TrainState:
    """Everything that a training step changes."""

    step: Int[Array, ""]
    params: Tree
    batch_stats: Tree
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """The variables to evaluate the network with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


Rate = float | Float[Array, ""]
Seed = int | UInt32[ArrayLike, ""]

TrainStep = Callable[..., tuple[TrainState, Float[Array, ""]]]
"""(state, batch, learning rate, seed, start) -> (the state after the step, the batch's loss).

With the number of the step, the seed (0) decides what is dropped out. The start (None) is the parameters of the network
that the run starts from; they are needed where the recipe has `l2sp`.
"""

EvalStep = Callable[[Variables, Batch], tuple[Float[Array, "rows positions 3"], Float[Array, "rows positions"]]]
"""(variables, batch) -> (probabilities, the loss at each position: 0 where there is no label)."""


def init_state(variables: Variables, trainable: Trainable, recipe: Recipe) -> TrainState:
    """Return the state before the first step.

    Raises:
        ValueError: The variables are not those of the network that `trainable` was made for.
    """
    params, batch_stats = variables["params"], variables["batch_stats"]
    if differing := {"/".join(path) for path in flatten_dict(params)} ^ set(trainable.trains):
        raise ValueError(f"what trains and the parameters differ in {sorted(differing)}")
    opt_state = make_optimizer(trainable, recipe.weight_decay, recipe.l2sp, params).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, opt_state)


def make_train_step(model: SpliceAI, recipe: Recipe, trainable: Trainable | None = None) -> TrainStep:
    """Return a pure training step; with `model.axis_name` set each device computes its share of the batch.

    Arguments:
        model: The network.
        recipe: The loss, dropout, the weight decay and the pull toward the start are taken from it.
        trainable: What trains; None: what the recipe says.
    """
    trainable = trainable or Trainable.of(model.architecture, recipe)
    dropout = dict.fromkeys(trainable.trained_units, recipe.dropout) if recipe.dropout else None
    position_loss = taught(named_loss(recipe.loss, recipe.focal_alpha), recipe.distill_weight)

    def over_devices(tree: T) -> T:
        return tree if model.axis_name is None else jax.lax.psum(tree, model.axis_name)

    def train_step(
        state: TrainState, batch: Batch, learning_rate: Rate, seed: Seed = 0, start: Tree | None = None
    ) -> tuple[TrainState, Float[Array, ""]]:
        optimizer = make_optimizer(trainable, recipe.weight_decay, recipe.l2sp, start)
        # Counted over all devices before differentiation, so that each device's gradient is its share of the whole.
        counted = jnp.maximum(over_devices(_positions(batch) if recipe.padding_counts else _labelled(batch)), 1)

        def loss_of(params: Tree) -> tuple[Float[Array, ""], Tree]:
            probabilities, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                batch.inputs,
                batch.multiplicity,
                trainable.training_units,
                batch.inside,
                dropout,
                rngs={"dropout": jax.random.fold_in(jax.random.key(seed), state.step)} if dropout else None,
                mutable=["batch_stats"],
            )
            targets = None if batch.targets is None else jnp.asarray(batch.targets)
            losses = position_loss(probabilities, jnp.asarray(batch.labels), targets)
            return losses.sum() / counted, updated["batch_stats"]

        (loss, batch_stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        loss, gradients = over_devices((loss, gradients))
        opt_state = optax.tree.set(state.opt_state, learning_rate=learning_rate)
        updates, opt_state = optimizer.update(gradients, opt_state, state.params)
        params = trainable.keep_frozen(state.params, optax.apply_updates(state.params, updates))
        return TrainState(state.step + 1, params, batch_stats, opt_state), loss

    return train_step


def _positions(batch: Batch) -> Float[Array, ""]:
    """Count the positions of whole windows, padding included: each column's multiplicities add up to the windows."""
    windows = batch.multiplicity.sum() / batch.multiplicity.shape[1]
    return jnp.asarray(windows * batch.labels.shape[1])


def _labelled(batch: Batch) -> Int[Array, ""]:
    return jnp.asarray(batch.labels != PADDING).sum()


def make_eval_step(model: SpliceAI, loss: Loss) -> EvalStep:
    """Return a pure evaluation step, with BatchNorm on running statistics throughout."""

    def eval_step(
        variables: Variables, batch: Batch
    ) -> tuple[Float[Array, "rows positions 3"], Float[Array, "rows positions"]]:
        probabilities = cast(Array, model.apply(variables, batch.inputs))
        return probabilities, loss(probabilities, jnp.asarray(batch.labels))

    return eval_step


def make_logits_step(model: SpliceAI) -> Callable[[Variables, Batch], Float[Array, "rows positions 3"]]:
    """Return a pure function of variables and a batch: the network's output before temperature and softmax."""

    def logits_step(variables: Variables, batch: Batch) -> Float[Array, "rows positions 3"]:
        return cast(Array, model.apply(variables, batch.inputs, method=SpliceAI.logits))

    return logits_step


def make_activations_step(model: SpliceAI, end: int) -> Callable[[Variables, Batch], Activations]:
    """Return a pure function of variables and a batch of bases: the output of the network's entries before `end`."""

    def activations_step(variables: Variables, batch: Batch) -> Activations:
        activations = model.apply(variables, batch.inputs, end, batch.inside, method=SpliceAI.activations)
        return cast(Activations, activations)

    return activations_step

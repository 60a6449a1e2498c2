"""The pure steps run on all devices, by `jit` over a row of devices or by `pmap`.

Either way a step is written for one device, with its sums over the devices explicit (`axis_name`): the devices exchange
what the model asks for, and nothing that a compiler infers. The result is the same as on a single device.
"""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.stages import Lowered, Wrapped
from jaxtyping import Float

from spliceai_jax import processes
from spliceai_jax.architecture import Architecture, Precision
from spliceai_jax.data.batches import Batch
from spliceai_jax.network.mesh import AXIS, CUT, SAME, DeviceRow
from spliceai_jax.network.model import Activations, Tree, Variables, network_on
from spliceai_jax.training.losses import named_loss
from spliceai_jax.training.recipes import Parallel, Recipe
from spliceai_jax.training.step import (
    Rate,
    TrainState,
    TrainStep,
    make_activations_step,
    make_eval_step,
    make_logits_step,
    make_train_step,
)

T = TypeVar("T")
BatchStep = Callable[[Variables, Batch], T]


class Engine:
    """One program over all devices: the state is on each of them, batches are cut along their rows.

    Every process passes all rows of a batch.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        precision: Precision = "float32",
        devices: Sequence[jax.Device] | None = None,
        start: Tree | None = None,
        seed: int = 0,
    ) -> None:
        """Compile nothing yet.

        Arguments:
            architecture: The network's size.
            recipe: What trains and how.
            precision: How convolutions compute.
            devices: The devices to run on, grouped by process; None: all.
            start: The parameters of the network that the run starts from; an engine that trains by a recipe with `l2sp`
                needs them.
            seed: The run's random seed; an engine that trains by a recipe with `dropout` needs it.
        """
        self._row = DeviceRow(processes.devices() if devices is None else devices)
        # XLA would not drop a sum over a single device.
        axis_name = AXIS if len(self._row) > 1 else None
        model = network_on(self._row.devices[0].platform, architecture, precision, axis_name)
        self._model, self._recipe, self._start, self._seed = model, recipe, start, seed
        evaluate = make_eval_step(model, named_loss(recipe.loss, recipe.focal_alpha))
        # Every process computes the metrics of the whole batch, so the output is gathered on all devices.
        self._evaluate = self._compiled(evaluate, gathered=True)
        self._logits = self._compiled(make_logits_step(model), gathered=True)
        self._activations = cache(lambda end: self._compiled(make_activations_step(model, end)))

    @cached_property
    def _train(self) -> TrainStep:
        return self._compiled_train(make_train_step(self._model, self._recipe, start=self._start, seed=self._seed))

    def place(self, tree: T) -> T:
        """Copy host arrays to every device."""
        return jax.device_put(tree, self._row.same)

    def fetch(self, tree: T) -> T:
        """Return placed arrays as numpy arrays."""
        return jax.device_get(tree)

    def train(self, state: TrainState, batch: Batch, learning_rate: Rate) -> tuple[TrainState, Float[Array, ""]]:
        """Dispatch a training step and return the new state and the loss; the old state is consumed."""
        return self._train(state, self._send(batch), learning_rate)

    def evaluate(
        self, variables: Variables, batch: Batch
    ) -> tuple[Float[Array, "rows positions 3"], Float[Array, "rows positions"]]:
        """Dispatch an evaluation step and return the probabilities and each position's loss, on every process.

        Rows that fill up the batch may follow its own.
        """
        return self._evaluate(variables, self._send(batch))

    def logits(self, variables: Variables, batch: Batch) -> Float[Array, "rows positions 3"]:
        """Dispatch the network and return its output before the softmax, on every process; for rows see `evaluate`."""
        return self._logits(variables, self._send(batch))

    def activations(self, variables: Variables, batch: Batch, end: int) -> Activations:
        """Return the output of the network's entries before `end` for a batch of bases, as numpy arrays."""
        return jax.device_get(self._activations(end)(variables, self._send(batch)))

    def lower_train(self, state: TrainState, batch: Batch) -> Lowered:
        """Lower the training step for arguments of these shapes (`jax.ShapeDtypeStruct`); nothing is run."""
        return cast(Wrapped, self._train).lower(state, batch, jax.ShapeDtypeStruct((), jnp.float32))

    def lower_evaluate(self, variables: Variables, batch: Batch) -> Lowered:
        """Lower the evaluation step for arguments of these shapes; nothing is run. (By `jit` only.)"""
        return cast(Wrapped, self._evaluate).lower(variables, batch)

    def _compiled_train(self, step: TrainStep) -> TrainStep:
        return self._row.compiled(step, (SAME, CUT, SAME), SAME, donate_argnums=(0,))

    def _compiled(self, step: BatchStep[T], gathered: bool = False) -> BatchStep[T]:
        return self._row.compiled(step, (SAME, CUT), CUT, gathered)

    def _send(self, batch: Batch) -> Batch:
        return self._row.send(batch.filled_up(len(self._row)))


class PmapEngine(Engine):
    """The same steps by `pmap`, for the devices of one process: placed arrays have a leading axis of devices."""

    def place(self, tree: T) -> T:  # noqa: D102
        return jax.tree.map(lambda x: jnp.stack([x] * len(self._row)), tree)

    def fetch(self, tree: T) -> T:  # noqa: D102
        return jax.device_get(jax.tree.map(lambda x: x[0], tree))

    def _compiled_train(self, step: TrainStep) -> TrainStep:
        return jax.pmap(step, AXIS, in_axes=(0, 0, None), out_axes=(0, None), donate_argnums=0)

    def _compiled(self, step: BatchStep[T], gathered: bool = False) -> BatchStep[T]:
        mapped = jax.pmap(step, AXIS)

        def joined(variables: Variables, batch: Batch) -> T:
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(mapped(variables, batch)))

        return joined

    def _send(self, batch: Batch) -> Batch:
        filled = batch.filled_up(len(self._row))
        return jax.tree.map(lambda rows: np.reshape(rows, (len(self._row), -1, *rows.shape[1:])), filled)


ENGINES: dict[Parallel, type[Engine]] = {"jit": Engine, "pmap": PmapEngine}
"""The setting `parallel` -> the engine that it selects."""

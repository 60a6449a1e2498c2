"""The pure steps run on all devices, by `jit` over a row of devices or by `pmap`.

Either way a step is written for one device, with its sums over the devices explicit (`axis_name`): the devices exchange
what the model asks for, and nothing that a compiler infers. The result is the same as on a single device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.stages import Lowered, Wrapped
from jaxtyping import Float

from spliceai_jax import processes
from spliceai_jax.architecture import Architecture, Precision
from spliceai_jax.network.mesh import AXIS, CUT, SAME, DeviceRow
from spliceai_jax.network.model import Activations, SpliceAI, Tree, Variables, network_on
from spliceai_jax.training.losses import named_loss
from spliceai_jax.training.recipes import Parallel, Recipe
from spliceai_jax.training.step import (
    EvalStep,
    Rate,
    TrainState,
    TrainStep,
    make_activations_step,
    make_eval_step,
    make_logits_step,
    make_train_step,
)
from spliceai_jax.windows.batches import Batch

T = TypeVar("T")
BatchStep = Callable[[Variables, Batch], T]


@dataclass(frozen=True)
class _Programs:
    """The steps of one arithmetic, compiled when they are first called; runs of one process share them."""

    architecture: Architecture
    recipe: Recipe
    precision: Precision
    row: DeviceRow
    pmapped: bool

    @cached_property
    def _model(self) -> SpliceAI:
        # XLA would not drop a sum over a single device.
        axis_name = AXIS if len(self.row) > 1 else None
        return network_on(self.row.devices[0].platform, self.architecture, self.precision, axis_name)

    @cached_property
    def train(self) -> TrainStep:
        step = make_train_step(self._model, self.recipe)
        if self.pmapped:
            return jax.pmap(step, AXIS, in_axes=(0, 0, None, None, 0), out_axes=(0, None), donate_argnums=0)
        return self.row.compiled(step, (SAME, CUT, SAME, SAME, SAME), SAME, donate_argnums=(0,))

    @cached_property
    def evaluate(self) -> EvalStep:
        # Every process computes the metrics of the whole batch, so the output is gathered on all devices.
        loss = named_loss(self.recipe.loss, self.recipe.focal_alpha)
        return self._compiled(make_eval_step(self._model, loss), gathered=True)

    @cached_property
    def logits(self) -> BatchStep[Float[Array, "rows positions 3"]]:
        return self._compiled(make_logits_step(self._model), gathered=True)

    @cached_property
    def activations(self) -> Callable[[int], BatchStep[Activations]]:
        return cache(lambda end: self._compiled(make_activations_step(self._model, end)))

    def _compiled(self, step: BatchStep[T], gathered: bool = False) -> BatchStep[T]:
        if not self.pmapped:
            return self.row.compiled(step, (SAME, CUT), CUT, gathered)
        mapped = jax.pmap(step, AXIS)

        def joined(variables: Variables, batch: Batch) -> T:
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(mapped(variables, batch)))

        return joined


_row = cache(DeviceRow)
_programs = lru_cache(maxsize=16)(_Programs)


class Engine:
    """One program over all devices: the state is on each of them, batches are cut along their rows.

    Every process passes all rows of a batch. Engines of one arithmetic share what they compile.
    """

    _pmapped = False

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
        self._row = _row(tuple(processes.devices() if devices is None else devices))
        self._programs = _programs(architecture, recipe.arithmetic, precision, self._row, self._pmapped)
        self._seed = np.uint32(seed % 2**32)
        self._start = self.place(start) if recipe.l2sp and start is not None else None

    def place(self, tree: T) -> T:
        """Copy host arrays to every device."""
        return jax.device_put(tree, self._row.same)

    def fetch(self, tree: T) -> T:
        """Return placed arrays as numpy arrays."""
        return jax.device_get(tree)

    def train(self, state: TrainState, batch: Batch, learning_rate: Rate) -> tuple[TrainState, Float[Array, ""]]:
        """Dispatch a training step and return the new state and the loss; the old state is consumed."""
        return self._programs.train(state, self._send(batch), learning_rate, self._seed, self._start)

    def evaluate(
        self, variables: Variables, batch: Batch
    ) -> tuple[Float[Array, "rows positions 3"], Float[Array, "rows positions"]]:
        """Dispatch an evaluation step and return the probabilities and each position's loss, on every process.

        Rows that fill up the batch may follow its own.
        """
        return self._programs.evaluate(variables, self._send(batch))

    def logits(self, variables: Variables, batch: Batch) -> Float[Array, "rows positions 3"]:
        """Dispatch the network and return its output before the softmax, on every process; for rows see `evaluate`."""
        return self._programs.logits(variables, self._send(batch))

    def activations(self, variables: Variables, batch: Batch, end: int) -> Activations:
        """Return the output of the network's entries before `end` for a batch of bases, as numpy arrays."""
        return jax.device_get(self._programs.activations(end)(variables, self._send(batch)))

    def lower_train(self, state: TrainState, batch: Batch) -> Lowered:
        """Lower the training step for arguments of these shapes (`jax.ShapeDtypeStruct`); nothing is run."""
        rate, seed = (jax.ShapeDtypeStruct((), dtype) for dtype in (jnp.float32, jnp.uint32))
        return cast(Wrapped, self._programs.train).lower(state, batch, rate, seed, self._start)

    def lower_evaluate(self, variables: Variables, batch: Batch) -> Lowered:
        """Lower the evaluation step for arguments of these shapes; nothing is run. (By `jit` only.)"""
        return cast(Wrapped, self._programs.evaluate).lower(variables, batch)

    def _send(self, batch: Batch) -> Batch:
        return self._row.send(batch.filled_up(len(self._row)))


class PmapEngine(Engine):
    """The same steps by `pmap`, for the devices of one process: placed arrays have a leading axis of devices."""

    _pmapped = True

    def place(self, tree: T) -> T:  # noqa: D102
        return jax.tree.map(lambda x: jnp.stack([x] * len(self._row)), tree)

    def fetch(self, tree: T) -> T:  # noqa: D102
        return jax.device_get(jax.tree.map(lambda x: x[0], tree))

    def _send(self, batch: Batch) -> Batch:
        filled = batch.filled_up(len(self._row))
        return jax.tree.map(lambda rows: np.reshape(rows, (len(self._row), -1, *rows.shape[1:])), filled)


ENGINES: dict[Parallel, type[Engine]] = {"jit": Engine, "pmap": PmapEngine}
"""The setting `parallel` -> the engine that it selects."""

"""Run the pure steps on every device: `jit` over a mesh, or `pmap`. Both give the single-device result.

Either way a step's code is one device's, with its sums over devices written out (`axis_name`): what crosses between
devices is what the model asks for, and nothing that a compiler infers.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spliceai_jax import processes
from spliceai_jax.architecture import Architecture
from spliceai_jax.losses import named_loss
from spliceai_jax.model import SpliceAI, Variables
from spliceai_jax.operations import compiler_options
from spliceai_jax.recipes import Recipe
from spliceai_jax.training import Batch, make_eval_step, make_train_step, make_trunk_step

_AXIS = "windows"
_SAME, _CUT = PartitionSpec(), PartitionSpec(_AXIS)
"""The same on every device; cut along the windows."""


class Engine(Protocol):
    """What runs the steps; the state is whatever `place` made of it. Of a batch every process gives all rows."""

    def place(self, tree: Any) -> Any:
        """Copy host arrays to every device."""
        ...

    def fetch(self, tree: Any) -> Any:
        """Bring placed arrays back, as numpy."""
        ...

    def train(self, state: Any, batch: Batch, learning_rate: float) -> tuple[Any, Any]:
        """One training step: the new state (the old one is consumed) and the loss, still on its way."""
        ...

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Any, Any]:
        """Probabilities (rows, 5000, 3) and each position's loss (rows, 5000), on their way to every process.

        Behind the batch's rows there may be more, which filled it up.
        """
        ...

    def trunk(self, variables: Variables, batch: Batch, end: int) -> tuple[np.ndarray, np.ndarray]:
        """What the network's entries before `end` make of a batch of bases: see `Trunk`."""
        ...


def _model(architecture: Architecture, precision: str, devices: int) -> SpliceAI:
    # XLA does not drop a sum over one device.
    axis_name = _AXIS if devices > 1 else None
    return SpliceAI(architecture, jnp.bfloat16 if precision == "bfloat16" else None, axis_name)


class JitEngine:
    """One program over a mesh: the state on every device, the batch cut along its windows."""

    def __init__(
        self, architecture: Architecture, recipe: Recipe, precision: str, devices: Sequence[jax.Device] | None = None
    ) -> None:
        """Compile lazily, for these devices, those of a process side by side; None: for all."""
        self._mesh = Mesh(np.array(processes.devices() if devices is None else devices), (_AXIS,))
        self._devices = self._mesh.size
        self._everywhere = NamedSharding(self._mesh, _SAME)
        self._cut = NamedSharding(self._mesh, _CUT)
        model = _model(architecture, precision, self._devices)
        evaluate = make_eval_step(model, named_loss(recipe.loss, recipe.focal_alpha))
        self._train = self._compiled(make_train_step(model, recipe), (_SAME, _CUT, _SAME), _SAME, donate_argnums=(0,))
        # Every process makes the metrics of the whole batch: what comes out is gathered on all devices.
        self._evaluate = self._compiled(evaluate, (_SAME, _CUT), _CUT, gathered=True)
        self._trunk = cache(lambda end: self._compiled(make_trunk_step(model, end), (_SAME, _CUT), _CUT))

    def _compiled(
        self,
        step: Callable,
        into: tuple[PartitionSpec, ...],
        out: PartitionSpec,
        gathered: bool = False,
        donate_argnums: Sequence[int] = (),
    ) -> Any:
        # The check cannot follow a gradient through a sum over devices that we write ourselves.
        mapped = jax.shard_map(step, mesh=self._mesh, in_specs=into, out_specs=out, check_vma=False)
        placed = partial(NamedSharding, self._mesh)
        return jax.jit(
            mapped,
            in_shardings=tuple(map(placed, into)),
            out_shardings=placed(_SAME if gathered else out),
            donate_argnums=donate_argnums,
            compiler_options=compiler_options(self._mesh.devices.flat[0].platform),
        )

    def lower_train(self, state: Any, batch: Batch) -> Any:
        """The training step for arguments of these shapes (`jax.ShapeDtypeStruct`), to be compiled; nothing is run."""
        return self._train.lower(state, batch, jax.ShapeDtypeStruct((), jnp.float32))

    def lower_evaluate(self, variables: Variables, batch: Batch) -> Any:
        """The same of the evaluation step."""
        return self._evaluate.lower(variables, batch)

    def _send(self, batch: Batch) -> Batch:
        batch = batch.filled_up(self._devices)
        here = [i for i, device in enumerate(self._mesh.devices) if device.process_index == jax.process_index()]
        rows = len(batch.labels) // self._devices
        share = slice(here[0] * rows, (here[-1] + 1) * rows)
        return jax.tree.map(lambda array: jax.make_array_from_process_local_data(self._cut, array[share]), batch)

    def place(self, tree: Any) -> Any:  # noqa: D102
        return jax.device_put(tree, self._everywhere)

    def fetch(self, tree: Any) -> Any:  # noqa: D102
        return jax.device_get(tree)

    def train(self, state: Any, batch: Batch, learning_rate: float) -> tuple[Any, Any]:  # noqa: D102
        return self._train(state, self._send(batch), learning_rate)

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Any, Any]:  # noqa: D102
        return self._evaluate(variables, self._send(batch))

    def trunk(self, variables: Variables, batch: Batch, end: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: D102
        kept = jax.device_get(self._trunk(end)(variables, self._send(batch)))
        return kept.x, kept.total


class PmapEngine:
    """The same by `pmap`: a copy of the state a device, sums over devices written out in the step."""

    def __init__(self, architecture: Architecture, recipe: Recipe, precision: str) -> None:
        """Compile lazily, for the devices of this process."""
        self._devices = jax.local_device_count()
        model = _model(architecture, precision, self._devices)
        loss = named_loss(recipe.loss, recipe.focal_alpha)
        self._train = jax.pmap(make_train_step(model, recipe), _AXIS, in_axes=(0, 0, None), donate_argnums=0)
        self._evaluate = jax.pmap(make_eval_step(model, loss), _AXIS)
        self._trunk = cache(lambda end: jax.pmap(make_trunk_step(model, end), _AXIS))

    def _send(self, batch: Batch) -> Batch:
        batch = batch.filled_up(self._devices)
        return jax.tree.map(lambda rows: rows.reshape(self._devices, -1, *rows.shape[1:]), batch)

    def place(self, tree: Any) -> Any:  # noqa: D102
        return jax.tree.map(lambda x: jnp.stack([x] * self._devices), tree)

    def fetch(self, tree: Any) -> Any:  # noqa: D102
        return jax.device_get(jax.tree.map(lambda x: x[0], tree))

    def train(self, state: Any, batch: Batch, learning_rate: float) -> tuple[Any, Any]:  # noqa: D102
        state, losses = self._train(state, self._send(batch), learning_rate)
        return state, losses[0]

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[Any, Any]:  # noqa: D102
        return self._gathered(self._evaluate(variables, self._send(batch)))

    def trunk(self, variables: Variables, batch: Batch, end: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: D102
        kept = self._gathered(self._trunk(end)(variables, self._send(batch)))
        return kept.x, kept.total

    def _gathered(self, tree: Any) -> Any:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(tree))


ENGINES: dict[str, type[JitEngine] | type[PmapEngine]] = {"jit": JitEngine, "pmap": PmapEngine}


def make_engine(architecture: Architecture, recipe: Recipe, precision: str, parallel: str) -> Engine:
    """The engine that `--parallel` names."""
    return ENGINES[parallel](architecture, recipe, precision)

"""Run the pure steps on every device: `jit` over a mesh, or `pmap`. Both give the single-device result."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spliceai_jax.architecture import PADDING, Architecture
from spliceai_jax.losses import named_loss
from spliceai_jax.model import SpliceAI, Variables
from spliceai_jax.recipes import Recipe
from spliceai_jax.training import Batch, make_eval_step, make_train_step, make_trunk_step

_AXIS = "windows"


class Engine(Protocol):
    """What runs the steps; the state is whatever `place` made of it."""

    def place(self, tree: Any) -> Any:
        """Copy host arrays to every device."""
        ...

    def fetch(self, tree: Any) -> Any:
        """Bring placed arrays back, as numpy."""
        ...

    def train(self, state: Any, batch: Batch, learning_rate: float) -> tuple[Any, Any]:
        """One training step: the new state (the old one is consumed) and the loss, still on its way."""
        ...

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (windows, 5000, 3) and each window's summed loss (windows,)."""
        ...

    def trunk(self, variables: Variables, batch: Batch, end: int) -> tuple[np.ndarray, np.ndarray]:
        """What the network's entries before `end` make of a batch of bases: see `Trunk`."""
        ...


def _model(architecture: Architecture, precision: str, axis_name: str | None = None) -> SpliceAI:
    return SpliceAI(architecture, jnp.bfloat16 if precision == "bfloat16" else None, axis_name)


def _filled_up(batch: Batch, devices: int) -> Batch:
    """Fill the batch up so that the devices share it evenly."""
    missing = -len(batch.real) % devices
    if not missing:
        return batch

    def padded(rows: np.ndarray, value: int = 0) -> np.ndarray:
        return np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1), constant_values=value)

    inputs = jax.tree.map(padded, batch.inputs)
    return Batch(inputs, padded(np.asarray(batch.labels), PADDING), padded(np.asarray(batch.real)))


class JitEngine:
    """One program over a mesh: parameters on every device, the batch cut along its windows."""

    def __init__(self, architecture: Architecture, recipe: Recipe, precision: str) -> None:
        """Compile lazily, for all devices that JAX sees."""
        mesh = Mesh(np.array(jax.devices()), (_AXIS,))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._cut = NamedSharding(mesh, PartitionSpec(_AXIS))
        model = _model(architecture, precision)
        same, cut = self._everywhere, self._cut
        self._train = jax.jit(
            make_train_step(model, recipe),
            in_shardings=(same, cut, same),
            out_shardings=(same, same),
            donate_argnums=0,
        )
        self._evaluate = jax.jit(
            make_eval_step(model, named_loss(recipe.loss, recipe.focal_alpha)),
            in_shardings=(same, cut),
            out_shardings=(cut, cut),
        )
        self._trunk = jax.jit(make_trunk_step(model), static_argnums=2, in_shardings=(same, cut), out_shardings=cut)

    def _send(self, batch: Batch) -> Batch:
        return jax.device_put(_filled_up(batch, self._cut.num_devices), self._cut)

    def place(self, tree: Any) -> Any:  # noqa: D102
        return jax.device_put(tree, self._everywhere)

    def fetch(self, tree: Any) -> Any:  # noqa: D102
        return jax.device_get(tree)

    def train(self, state: Any, batch: Batch, learning_rate: float) -> tuple[Any, Any]:  # noqa: D102
        return self._train(state, self._send(batch), learning_rate)

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[np.ndarray, np.ndarray]:  # noqa: D102
        probabilities, losses = jax.device_get(self._evaluate(variables, self._send(batch)))
        return probabilities[: len(batch.real)], losses[: len(batch.real)]

    def trunk(self, variables: Variables, batch: Batch, end: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: D102
        kept = jax.device_get(self._trunk(variables, self._send(batch), end))
        return kept.x[: len(batch.real)], kept.total[: len(batch.real)]


class PmapEngine:
    """The same by `pmap`: a copy of the state a device, sums over devices written out in the step."""

    def __init__(self, architecture: Architecture, recipe: Recipe, precision: str) -> None:
        """Compile lazily, for the devices of this process."""
        self._devices = jax.local_device_count()
        model = _model(architecture, precision, _AXIS)
        loss = named_loss(recipe.loss, recipe.focal_alpha)
        self._train = jax.pmap(make_train_step(model, recipe), _AXIS, in_axes=(0, 0, None), donate_argnums=0)
        self._evaluate = jax.pmap(make_eval_step(model, loss), _AXIS)
        self._trunk = jax.pmap(make_trunk_step(model), _AXIS, static_broadcasted_argnums=2)

    def _send(self, batch: Batch) -> Batch:
        return jax.tree.map(
            lambda rows: rows.reshape(self._devices, -1, *rows.shape[1:]), _filled_up(batch, self._devices)
        )

    def place(self, tree: Any) -> Any:  # noqa: D102
        return jax.tree.map(lambda x: jnp.stack([x] * self._devices), tree)

    def fetch(self, tree: Any) -> Any:  # noqa: D102
        return jax.device_get(jax.tree.map(lambda x: x[0], tree))

    def train(self, state: Any, batch: Batch, learning_rate: float) -> tuple[Any, Any]:  # noqa: D102
        state, losses = self._train(state, self._send(batch), learning_rate)
        return state, losses[0]

    def evaluate(self, variables: Variables, batch: Batch) -> tuple[np.ndarray, np.ndarray]:  # noqa: D102
        probabilities, losses = self._gathered(self._evaluate(variables, self._send(batch)), len(batch.real))
        return probabilities, losses

    def trunk(self, variables: Variables, batch: Batch, end: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: D102
        kept = self._gathered(self._trunk(variables, self._send(batch), end), len(batch.real))
        return kept.x, kept.total

    def _gathered(self, tree: Any, windows: int) -> Any:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:windows], jax.device_get(tree))


ENGINES: dict[str, type[JitEngine] | type[PmapEngine]] = {"jit": JitEngine, "pmap": PmapEngine}


def make_engine(architecture: Architecture, recipe: Recipe, precision: str, parallel: str) -> Engine:
    """The engine that `--parallel` names."""
    return ENGINES[parallel](architecture, recipe, precision)

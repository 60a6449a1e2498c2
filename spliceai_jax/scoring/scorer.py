"""The scores of rows of bases: the mean of several models' probabilities, on every device."""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import cast

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from spliceai_jax.architecture import ARCHITECTURES, Precision
from spliceai_jax.network.mesh import CUT, SAME, DeviceRow
from spliceai_jax.network.model import Variables, network_on
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.scoring.rows import Shape

_LEAST_LENGTH = 20_000
"""The fewest positions that a row scores, unless there are fewer altogether."""

_CONTEXTS = 10
"""A row scores this many times the context, so that little is computed twice; on CPUs longer rows were not faster."""

_BASES_AT_ONCE = 1_000_000
"""Bases that a device other than a CPU, which one row keeps busy, is given at once: about 0.5 GB of activations."""


class Scorer:
    """One or more networks of one flanking size, ready on all devices.

    Attributes:
        flanking_size: Bases of context, both sides together.
        devices: The devices.
    """

    def __init__(self, models: Sequence[Pretrained], precision: Precision = "float32") -> None:
        """Copy the models' weights to every device; compilation waits for the first call."""
        self.flanking_size = models[0].flanking_size
        self._row = DeviceRow(jax.devices())
        self.devices = self._row.devices
        self._forward = _forward(self.devices, self.flanking_size, precision)
        self._models = [jax.device_put(model.scoring_variables, self._row.same) for model in models]

    def shape(self, positions: int, regions: int) -> Shape:
        """Return the shape of the batches that suit a number of positions in a number of regions.

        The number of rows is a multiple of the number of devices.
        """
        length = max(_LEAST_LENGTH, _CONTEXTS * self.flanking_size)
        rows = 1 if self.devices[0].platform == "cpu" else max(_BASES_AT_ONCE // length, 1)
        needed = positions + (regions - 1) * self.flanking_size
        return Shape(min(rows, -(-needed // (length * len(self._row)))) * len(self._row), min(length, needed))

    def __call__(self, bases: UInt8[np.ndarray, "rows columns"]) -> Float[Array, "rows positions 2"]:
        """Dispatch rows of bases, which must not change until the result has been read.

        Returns:
            The mean probabilities of acceptor and donor at every position that has its full context.
        """
        placed = self._row.send(bases)
        total = self._forward(self._models[0], placed)
        for model in self._models[1:]:
            total = total + self._forward(model, placed)
        return total / len(self._models) if len(self._models) > 1 else total


@cache
def _forward(devices: tuple[jax.Device, ...], flanking_size: int, precision: Precision) -> Callable[..., Array]:
    """Return the network on these devices; a run makes several scorers, which share what is compiled."""
    network = network_on(devices[0].platform, ARCHITECTURES[flanking_size], precision)

    def forward(variables: Variables, bases: UInt8[Array, "rows columns"]) -> Float[Array, "rows positions 2"]:
        return cast(Array, network.apply(variables, bases))[..., 1:]

    return DeviceRow(devices).compiled(forward, inputs=(SAME, CUT), outputs=CUT)


class BlankScore:
    """The score of a position that sees only N."""

    def __init__(self, scorer: Scorer, shape: Shape) -> None:
        """Compute nothing yet; `shape` is that of all batches, so that nothing is compiled twice."""
        self._scorer = scorer
        self._size = shape.rows, shape.length + scorer.flanking_size

    @cached_property
    def probabilities(self) -> Float[np.ndarray, " 2"]:
        """The probabilities of acceptor and donor."""
        return np.asarray(self._scorer(np.zeros(self._size, np.uint8)))[0, 0]

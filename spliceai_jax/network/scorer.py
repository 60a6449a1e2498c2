"""The scores of rows of bases: the mean of several networks' probabilities, on every device."""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TypeVar, cast

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from spliceai_jax.architecture import ARCHITECTURES, Precision
from spliceai_jax.data.rows import Shape
from spliceai_jax.network.mesh import CUT, SAME, DeviceRow
from spliceai_jax.network.model import SpliceAI, Variables, network_on

_LEAST_LENGTH = 20_000
"""The fewest positions that a row scores, unless there are fewer altogether."""

_CONTEXTS = 10
"""A row scores this many times the context, so that little is computed twice; on CPUs longer rows were not faster."""

_SHORTEST_LENGTH = 1000
"""The fewest positions that a row has room for, however few are scored."""

_BASES_AT_ONCE = 1_000_000
"""Bases that a device other than a CPU, which one row keeps busy, is given at once: about 0.5 GB of activations."""

Scores = TypeVar("Scores", Array, np.ndarray)


def mean(scores: Sequence[Scores]) -> Scores:
    """Return the mean of several networks' probabilities; those of a single one are left alone."""
    total = scores[0]
    for further in scores[1:]:
        total = total + further
    return total / len(scores) if len(scores) > 1 else total


class Scorer:
    """One or more networks of one flanking size, ready on all devices of this process.

    Attributes:
        flanking_size: Bases of context, both sides together.
        devices: The devices.
    """

    def __init__(
        self,
        flanking_size: int,
        networks: Sequence[Variables],
        precision: Precision = "float32",
        logits: bool = False,
    ) -> None:
        """Copy the networks' weights to every device; compilation waits for the first call.

        Arguments:
            flanking_size: The networks' flanking size.
            networks: The variables of each.
            precision: How convolutions compute.
            logits: Give what the softmax takes, before any temperature, instead of probabilities; of a single network.
        """
        self.flanking_size = flanking_size
        self._row = DeviceRow(jax.local_devices())
        self.devices = self._row.devices
        self._forward = _forward(self.devices, flanking_size, precision, logits)
        self._networks = [jax.device_put(variables, self._row.same) for variables in networks]

    def shape(self, positions: int, regions: int) -> Shape:
        """Return the shape of the batches that suit a number of positions in a number of regions.

        The number of rows is a multiple of the number of devices. There are few shapes, so that no more than a dozen
        programs are compiled whatever is scored, at the price of up to half as many positions again, or of a short row.
        """
        longest = max(_LEAST_LENGTH, _CONTEXTS * self.flanking_size)
        most = 1 if self.devices[0].platform == "cpu" else max(_BASES_AT_ONCE // longest, 1)
        needed = max(positions + (regions - 1) * self.flanking_size, 1)
        rows = -(-needed // longest)
        rows_of_a_device = _rounded_up(-(-rows // len(self._row)), 1, most)
        return Shape(rows_of_a_device * len(self._row), _rounded_up(-(-needed // rows), _SHORTEST_LENGTH, longest))

    def __call__(self, bases: UInt8[np.ndarray, "rows columns"]) -> Float[Array, "rows positions 3"]:
        """Dispatch rows of bases, which must not change until the result has been read.

        Returns:
            The mean probabilities of neither, acceptor and donor, or the logits, at every position that has its full
            context.
        """
        placed = self._row.send(bases)
        return mean([self._forward(variables, placed) for variables in self._networks])


def _rounded_up(wanted: int, least: int, most: int) -> int:
    """Return the first of 1, 1.5, 2, 3, 4, 6, 8, 12 ... times `least` that is enough, but no more than `most`."""
    double = least << ((wanted - 1) // least).bit_length()
    between = 3 * double // 4
    return min(between if least < wanted <= between else double, most)


@cache
def _forward(
    devices: tuple[jax.Device, ...], flanking_size: int, precision: Precision, logits: bool
) -> Callable[..., Array]:
    """Return the network on these devices; a run makes several scorers, which share what is compiled."""
    network = network_on(devices[0].platform, ARCHITECTURES[flanking_size], precision)
    method = SpliceAI.logits if logits else SpliceAI.__call__

    def forward(variables: Variables, bases: UInt8[Array, "rows columns"]) -> Float[Array, "rows positions 3"]:
        return cast(Array, network.apply(variables, bases, method=method))

    return DeviceRow(devices).compiled(forward, inputs=(SAME, CUT), outputs=CUT)


class BlankScore:
    """The score of a position that sees only N."""

    def __init__(self, scorer: Scorer, shape: Shape) -> None:
        """Compute nothing yet; `shape` is that of all batches, so that nothing is compiled twice."""
        self._scorer = scorer
        self._size = shape.rows, shape.length + scorer.flanking_size

    @cached_property
    def scores(self) -> Float[np.ndarray, " 3"]:
        """The probabilities of neither, acceptor and donor, or the logits."""
        return np.asarray(self._scorer(np.zeros(self._size, np.uint8)))[0, 0]

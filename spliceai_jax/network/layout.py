"""How the positions of a row lie in an array: one after another, several side by side in the channels, or in phases.

The network has 32 channels, and a TPU computes on 128 lanes at a time. With four neighbouring positions side by side,
in 4 x 32 channels, all lanes have work, and an activation takes a quarter of the memory. A convolution over positions
then is one over columns of four positions, whose kernel is made of the taps of the small one:

    position 0 1 2 3 4 5 6 7 8 ...      column 0 holds positions 0 1 2 3, column 1 holds positions 4 5 6 7 ...

The matrix units of NVIDIA cards gain by the same. A convolution of a large dilation sees every 10th or 25th position
only. Its phases (the positions with the same remainder) become rows of their own, in which it is undilated; neighbours
are neighbours within a phase.

The results are the same in all layouts, to float rounding. What they bring is measured in benchmarks/.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Shaped


@dataclass(frozen=True)
class Layout:
    """An array of positions as `(rows * phases, columns, neighbours * channels)`.

    Position `(column * neighbours + neighbour) * phases + phase` of a row lies there. With one neighbour and one phase
    that is `(rows, positions, channels)`.

    Attributes:
        neighbours: Positions side by side in the channels.
        phases: Rows that a row's positions are dealt out to.
    """

    neighbours: int = 1
    phases: int = 1

    @property
    def unit(self) -> int:
        """The number of positions that one column of all phases holds; a row must consist of whole units."""
        return self.neighbours * self.phases

    def pack(self, x: Shaped[Array, "rows positions channels"]) -> Shaped[Array, "packed_rows columns lanes"]:
        """Bring an array into this layout."""
        if self.unit == 1:
            return x
        rows, positions, channels = x.shape
        parts = x.reshape(rows, positions // self.unit, self.neighbours, self.phases, channels)
        return parts.transpose(0, 3, 1, 2, 4).reshape(rows * self.phases, -1, self.neighbours * channels)

    def unpack(self, x: Shaped[Array, "packed_rows columns lanes"]) -> Shaped[Array, "rows positions channels"]:
        """Undo `pack`."""
        if self.unit == 1:
            return x
        packed_rows, columns, lanes = x.shape
        parts = x.reshape(-1, self.phases, columns, self.neighbours, lanes // self.neighbours)
        return parts.transpose(0, 2, 3, 1, 4).reshape(packed_rows // self.phases, columns * self.unit, -1)

    def spread(
        self, x: Shaped[Array, "rows positions_or_1"], channels: int
    ) -> Shaped[Array, "packed_rows columns_or_1 lanes_or_1"]:
        """Bring one value for each position, or for each row, into a form that fits an array in this layout."""
        if x.shape[1] == 1:
            return jnp.repeat(x[..., None], self.phases, 0)
        packed = self.pack(x[..., None])
        return packed if self.neighbours == 1 else jnp.repeat(packed, channels, -1)

    def moved(
        self, x: Shaped[Array, "packed_rows columns lanes"], to: "Layout"
    ) -> Shaped[Array, "other_rows other_columns other_lanes"]:
        """Bring an array from this layout into another."""
        return x if self == to else to.pack(self.unpack(x))

    def kernel(
        self, kernel: Shaped[Array, "width channels features"], dilation: int
    ) -> Shaped[Array, "taps lanes other_lanes"]:
        """Return the kernel over columns that does what `kernel` does over positions `dilation` apart.

        Arguments:
            kernel: An odd number of taps.
            dilation: A multiple of `phases`.
        """
        width, channels, features = kernel.shape
        selector = jnp.asarray(self._selector(width, dilation // self.phases), kernel.dtype)
        # A sum of a single term: exact.
        blocks = jnp.einsum("tiow,wcf->ticof", selector, kernel, precision=jax.lax.Precision.HIGHEST)
        return blocks.reshape(len(selector), self.neighbours * channels, self.neighbours * features)

    def _selector(self, width: int, dilation: int) -> np.ndarray:
        """Return 1 where the output's neighbour sees the input's by a tap: (columns apart, input, output, tap)."""
        n, reach = self.neighbours, dilation * (width // 2)
        columns = (reach + n - 1) // n
        apart = np.arange(-columns, columns + 1)[:, None, None] * n + np.arange(n)[:, None] - np.arange(n)
        return apart[..., None] == dilation * (np.arange(width) - width // 2)


PLAIN = Layout()
"""Positions one after another."""


@dataclass(frozen=True)
class Layouts:
    """The layouts that a network's units compute in.

    Attributes:
        neighbours: Positions side by side in the channels.
        phases_from: The least dilation whose phases become rows; None: no phases.
    """

    neighbours: int = 1
    phases_from: int | None = None

    @property
    def unphased(self) -> Layout:
        """The layout of what does not belong to a dilation: the network's input, the sum of the skips, the logits."""
        return Layout(self.neighbours)

    def of(self, dilation: int) -> Layout:
        """Return the layout of the units of this dilation."""
        phased = self.phases_from is not None and dilation >= self.phases_from
        return Layout(self.neighbours, dilation if phased else 1)


def layouts_on(platform: str, exact: bool) -> Layouts:
    """Return the layouts that are fastest on a platform.

    With four neighbours, dilations of up to four positions need no phases, and their units share a layout with the
    undilated ones: to change the layout costs more than the products with zeros in such a kernel.

    Arguments:
        platform: As JAX names it.
        exact: Whether float32 numbers are multiplied as such. NVIDIA's matrix units do not do that, and its other units
            gain nothing by neighbours.
    """
    if platform == "cpu":
        return Layouts()
    if platform == "tpu" or not exact:
        return Layouts(neighbours=4, phases_from=5)
    return Layouts(phases_from=2)

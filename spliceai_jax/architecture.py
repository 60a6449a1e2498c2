"""The four OpenSpliceAI architectures as one table, and the sizes and classes that all of them share."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

WINDOW = 5000
"""Positions of a window that carry labels (OpenSpliceAI's SL)."""

CONTEXT = 10000
"""Bases of context that a data set stores around a window, both sides together, however few a model uses."""

CHANNELS = 32
UNITS_PER_SKIP = 4

CLASSES = ("neither", "acceptor", "donor")
"""The index of a class here is its label and the column of its scores."""

PADDING = 3
"""The label of a position beyond the end of a gene, which belongs to no class."""

UNLABELLED = 4
"""The label of a position of a sequence whose class is not known; other models' probabilities can be learnt there."""

SiteKind = Literal["donor", "acceptor"]
SITE_KINDS: tuple[SiteKind, ...] = ("donor", "acceptor")
"""The two kinds of splice site, in the order in which they are shown."""

Precision = Literal["float32", "tf32", "bfloat16"]
"""How convolutions compute; everything else is float32.

"tf32": NVIDIA cards use 10 bits of the mantissa of the float32 numbers that they multiply, as PyTorch's convolutions do
by default; TPUs add three bfloat16 products; CPUs compute as with "float32". "bfloat16": activations are bfloat16.
"""

WIDTHS, DILATIONS = (11, 11, 21, 41), (1, 4, 10, 25)
"""Kernel width and dilation of each group of units; a skip ends each group."""


@dataclass(frozen=True)
class Architecture:
    """One size of the network.

    The `.pt` files number residual units and skips together, in the order in which they are computed. That number is
    called the entry number here.

    Attributes:
        flanking_size: Bases of context that the network sees around the positions it scores, both sides together.
        widths: Kernel width of each residual unit's two convolutions.
        dilations: Dilation of each residual unit's two convolutions.
        batch_size: OpenSpliceAI's training batch size, in windows.
    """

    flanking_size: int
    widths: tuple[int, ...]
    dilations: tuple[int, ...]
    batch_size: int

    @cached_property
    def units(self) -> dict[int, tuple[int, int]]:
        """Entry number -> (width, dilation), for the residual units."""
        pairs = zip(self.widths, self.dilations, strict=True)
        return {number + number // UNITS_PER_SKIP: pair for number, pair in enumerate(pairs)}

    @cached_property
    def skips(self) -> tuple[int, ...]:
        """The entry numbers of the skips, one after every fourth unit."""
        return tuple(i for i in range(max(self.units) + 2) if i not in self.units)

    @property
    def entries(self) -> int:
        """The number of entries, residual units and skips together."""
        return len(self.units) + len(self.skips)

    def reach(self, first_entry: int = 0) -> int:
        """Return how many bases on either side of a position affect its output in the entries from `first_entry` on.

        For all entries together this is `flanking_size // 2`.
        """
        return sum((width - 1) * dilation for number, (width, dilation) in self.units.items() if number >= first_entry)

    def gap(self, first_entry: int = 0) -> int:
        """Return the largest reach, in bases to either side, of a convolution in the entries from `first_entry` on."""
        sides = [
            (width - 1) * dilation // 2 for number, (width, dilation) in self.units.items() if number >= first_entry
        ]
        return max(sides, default=0)


def _architecture(flanking_size: int, groups: int, batch_size: int) -> Architecture:
    return Architecture(
        flanking_size,
        tuple(width for width in WIDTHS[:groups] for _ in range(UNITS_PER_SKIP)),
        tuple(dilation for dilation in DILATIONS[:groups] for _ in range(UNITS_PER_SKIP)),
        batch_size,
    )


ARCHITECTURES = {
    architecture.flanking_size: architecture
    for architecture in (
        _architecture(80, groups=1, batch_size=36),
        _architecture(400, groups=2, batch_size=36),
        _architecture(2000, groups=3, batch_size=24),
        _architecture(10000, groups=4, batch_size=12),
    )
}

"""The four OpenSpliceAI architectures as one table, and the layout that follows from it."""

from dataclasses import dataclass
from functools import cached_property

WINDOW = 5000
"""Positions that a data set's window labels (OpenSpliceAI's SL)."""

CONTEXT = 10000
"""Bases of context that a data set stores around a window, whatever a model uses of them."""

CHANNELS = 32
UNITS_PER_SKIP = 4
BASES = "NACGT"
"""A base's code is its index here: 0 is N (or unknown), 1 to 4 are A C G T."""
CLASSES = ("neither", "acceptor", "donor")
PADDING = 3
"""The label of a position behind a gene's end; 0, 1 and 2 index CLASSES."""


@dataclass(frozen=True)
class Architecture:
    """One size of the network.

    Attributes:
        flanking_size: Bases of context that the network sees around the positions it scores, both sides together.
        widths: Kernel width of each residual unit's two convolutions.
        dilations: Dilation of the same.
        batch_size: Windows a training batch in OpenSpliceAI.
    """

    flanking_size: int
    widths: tuple[int, ...]
    dilations: tuple[int, ...]
    batch_size: int

    @cached_property
    def units(self) -> dict[int, tuple[int, int]]:
        """Entry number in the `.pt` file's `residual_units` -> (width, dilation), for the residual units."""
        pairs = zip(self.widths, self.dilations, strict=True)
        return {number + number // UNITS_PER_SKIP: pair for number, pair in enumerate(pairs)}

    @cached_property
    def skips(self) -> tuple[int, ...]:
        """The entry numbers that are skips, one after every fourth unit, in the same numbering as `units`."""
        return tuple(i for i in range(max(self.units) + 2) if i not in self.units)

    def reach(self, begin: int = 0) -> int:
        """Bases to either side of a position that the entries from `begin` on see; `flanking_size // 2` from all."""
        return sum((width - 1) * dilation for number, (width, dilation) in self.units.items() if number >= begin)

    def gap(self, begin: int = 0) -> int:
        """Bases to either side that one convolution of these entries sees, at most."""
        sides = [(width - 1) * dilation // 2 for number, (width, dilation) in self.units.items() if number >= begin]
        return max(sides, default=0)


def _architecture(flanking_size: int, groups: int, batch_size: int) -> Architecture:
    widths, dilations = (11, 11, 21, 41), (1, 4, 10, 25)
    return Architecture(
        flanking_size,
        tuple(width for width in widths[:groups] for _ in range(UNITS_PER_SKIP)),
        tuple(dilation for dilation in dilations[:groups] for _ in range(UNITS_PER_SKIP)),
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

"""What Google publishes of its chips.

From https://docs.cloud.google.com/tpu/docs/v5e, .../v6e and .../v5p-training, as of 2026-11. The interconnect's figure
there is for both directions together; here it is what a chip can send.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """Published rates of one chip.

    Attributes:
        memory: Bytes of HBM.
        flops: bfloat16 FLOPs a second.
        bandwidth: Bytes a second of HBM.
        link: Bytes a second that it can send to other chips.
        axes: Of its torus.
        clock: Cycles a second, not published but implied: flops / (128 x 128 x 2 FLOPs a cycle x matrix units). None
            where that gives no believable figure.
    """

    memory: float
    flops: float
    bandwidth: float
    link: float
    axes: int
    clock: float | None


CHIPS = {
    "v5e": Chip(16e9, 197e12, 819e9, 200e9, 2, 1.5e9),
    "v6e": Chip(32e9, 918e12, 1638e9, 400e9, 2, None),
    "v5p": Chip(95e9, 459e12, 2765e9, 600e9, 3, 1.75e9),
}


def chip_of(topology: str) -> Chip:
    """The chip of a topology such as "v5e:2x2"."""
    return CHIPS[topology.split(":")[0]]

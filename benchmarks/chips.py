"""The rates that Google publishes for its chips.

From https://docs.cloud.google.com/tpu/docs/v5e, .../v6e and .../v5p-training, as of 2026-11. The interconnect's figure
there is for both directions together; here it is for sending alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """Published rates of one chip.

    Attributes:
        memory: Bytes of HBM.
        flops: bfloat16 FLOPs per second.
        bandwidth: Bytes per second to and from HBM.
        link: Bytes per second that it can send to other chips.
        axes: The number of axes of its torus.
        clock: Cycles per second, not published but implied: flops / (128 x 128 x 2 FLOPs per cycle x matrix units).
            None where that gives no believable figure.
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
    """Return the chip of a topology such as "v5e:2x2"."""
    return CHIPS[topology.split(":")[0]]

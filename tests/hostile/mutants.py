"""Random damage to the bytes of a file, as disks, copies and attackers do it."""

from collections.abc import Iterator

import numpy as np

_NUMBERS = [bytes([value]) * width for value in (0x00, 0xFF, 0x7F, 0x80) for width in (1, 2, 4, 8)]
"""Numbers at the ends of their ranges, in either order of bytes."""


def mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged copies of a file's content: the same ones for the same seed."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(random.choice([1, 1, 1, 2, 4, 16])):
            _damage(damaged, random)
        yield bytes(damaged)


def _damage(content: bytearray, random: np.random.Generator) -> None:
    at = int(random.integers(len(content) + 1))
    end = at + int(random.integers(1, 1 + min(64, max(len(content) // 8, 1))))
    match random.integers(7):
        case 0 if at < len(content):
            content[at] ^= 1 << int(random.integers(8))
        case 1 if at < len(content):
            content[at] = random.integers(256)
        case 2:
            number = _NUMBERS[random.integers(len(_NUMBERS))]
            content[at : at + len(number)] = number
        case 3:
            del content[at:end]
        case 4:
            content[at:at] = content[at:end]
        case 5:
            content[at:at] = random.bytes(end - at)
        case 6:
            del content[at:]

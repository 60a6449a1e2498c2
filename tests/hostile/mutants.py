"""Random damage to the bytes of a file, as disks, copies and attackers do it.

SPLICEAI_MUTANTS is the number of mutants in each case of `make test-all`, 300 unless it is set; an hour of them
takes some 20,000.
"""

import faulthandler
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from spliceai_jax.errors import SpliceAIError

T = TypeVar("T")

MUTANTS = int(os.environ.get("SPLICEAI_MUTANTS", 300))

SEEDS = [range(20), pytest.param(range(20, MUTANTS), marks=pytest.mark.full)]
"""The mutants of `make test`, and the others."""

_NUMBERS = [bytes([value]) * width for value in (0x00, 0xFF, 0x7F, 0x80) for width in (1, 2, 4, 8)]
"""Numbers at the ends of their ranges, in either order of bytes."""

_TEXTS = [b"\0", b"\n", b">", b"\t", b"\r", b"\x1b[0m", b"\xff", b"%0A", b"\x85", b"9" * 30]


def mutant(content: bytes, seed: int, edge: int | None = None) -> bytes:
    """Return a damaged copy, the same one for the same seed.

    Where `edge` is given, most of the damage is within that number of bytes of the beginning or of the end, where
    formats keep what they say about their data.
    """
    random = np.random.default_rng(seed)
    damaged = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 4, 16])):
        at = int(random.integers(len(damaged) + 1))
        if edge and random.random() < 0.8:
            at = int(random.integers(min(edge, len(damaged)) + 1))
            at = random.choice([at, len(damaged) - at])
        _damage(damaged, at, random)
    return bytes(damaged)


def _damage(content: bytearray, at: int, random: np.random.Generator) -> None:
    end = at + int(random.integers(1, 1 + min(64, max(len(content) // 8, 1))))
    match random.integers(11):
        case 0 | 1 if at < len(content):
            content[at] ^= 1 << int(random.integers(8))
        case 2 if at < len(content):
            content[at] = random.integers(256)
        case 3:
            number = _NUMBERS[random.integers(len(_NUMBERS))]
            content[at : at + len(number)] = number
        case 4:  # another place of the file, where it holds places
            content[at : at + 8] = int(random.integers(len(content) + 1)).to_bytes(8, "little")
        case 5:
            content[at:end] = random.choice([b"\0", b"\xff"]) * len(content[at:end])
        case 6:
            del content[at:end]
        case 7:
            content[at:at] = content[at:end]
        case 8:
            content[at:at] = random.bytes(end - at)
        case 9:
            content[at:at] = _TEXTS[random.integers(len(_TEXTS))]
        case 10 if random.random() < 0.3:
            del content[at:]


def read_mutants(
    read: Callable[[Path], T], content: bytes, path: Path, seeds: range, edge: int | None = None
) -> Iterator[tuple[int, T | SpliceAIError]]:
    """Read one mutant after another from a path; yield each seed, and what was read or why it was refused.

    A reading that takes 20 s ends the process.
    """
    for seed in seeds:
        path.write_bytes(mutant(content, seed, edge))
        faulthandler.dump_traceback_later(20, exit=True)
        try:
            found = read(path)
        except SpliceAIError as error:
            found = error
        finally:
            faulthandler.cancel_dump_traceback_later()
        yield seed, found

"""Positions of a data set gathered batch by batch, to fit a temperature on and to measure calibration with."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from spliceai_jax.architecture import CLASSES, PADDING

CANDIDATE = 0.01
"""The least probability of a site, donor or acceptor, before calibration, of a candidate position."""

MOST_KEPT = 2**20
"""The most positions that are kept of the candidates, and of all others; of more, a random part stands for all."""

Logits = Float32[np.ndarray, "positions 3"]


class Positions(NamedTuple):
    """Labelled positions of a data set: all of them, or a sample that stands for all.

    Attributes:
        logits: The network's output before the softmax. Where one temperature is fitted for all classes, the logarithm
            of the output after it serves as well: it differs by the same number in all classes.
        labels: The classes.
        weights: How many positions each stands for.
    """

    logits: Logits
    labels: UInt8[np.ndarray, " positions"]
    weights: Float[np.ndarray, " positions"]


class _Sample:
    """All positions added, until they are too many; then a random part of them, each position equally likely."""

    def __init__(self, most: int, random: np.random.Generator) -> None:
        self._most, self._random, self._halvings = most, random, 0
        self._logits: list[Logits] = []
        self._labels: list[UInt8[np.ndarray, " positions"]] = []
        self._held = 0

    def add(self, logits: Logits, labels: UInt8[np.ndarray, " positions"]) -> None:
        if self._halvings:
            drawn = self._random.random(len(labels)) < 0.5**self._halvings
            logits, labels = logits[drawn], labels[drawn]
        self._logits.append(logits)
        self._labels.append(labels)
        self._held += len(labels)
        while self._held > self._most:
            self._halve()

    def _halve(self) -> None:
        logits, labels = np.concatenate(self._logits), np.concatenate(self._labels)
        kept = self._random.random(len(labels)) < 0.5
        self._logits, self._labels = [logits[kept]], [labels[kept]]
        self._held, self._halvings = int(kept.sum()), self._halvings + 1

    def positions(self) -> Positions:
        logits = np.concatenate([np.empty((0, len(CLASSES)), np.float32), *self._logits])
        labels = np.concatenate([np.empty(0, np.uint8), *self._labels])
        return Positions(logits, labels, np.full(len(labels), 2.0**self._halvings))


class PositionsGatherer:
    """Gathers positions batch by batch, in memory that does not grow with their number.

    The candidates and the sites, which decide the temperature, are sampled apart from the many others.
    """

    def __init__(self, seed: int, most: int = MOST_KEPT) -> None:
        """Start empty.

        Arguments:
            seed: Decides which positions are drawn.
            most: The most positions that are kept of the candidates, and of the others.
        """
        random = np.random.default_rng([seed, 0x7E])
        self._candidates, self._others = _Sample(most, random), _Sample(most, random)

    def add(self, logits: Float32[np.ndarray, "*windows 3"], labels: UInt8[np.ndarray, " *windows"]) -> None:
        """Add positions; padding is left out."""
        labelled = labels != PADDING
        kept, classes = logits[labelled], labels[labelled]
        special = (classes != CLASSES.index("neither")) | are_candidates(kept)
        self._candidates.add(kept[special], classes[special])
        self._others.add(kept[~special], classes[~special])

    def result(self) -> Positions:
        """Return what was gathered."""
        parts = [self._candidates.positions(), self._others.positions()]
        return Positions(*map(np.concatenate, zip(*parts, strict=True)))


def are_candidates(logits: Logits) -> Bool[np.ndarray, " positions"]:
    """Return which positions have a probability of a site, before calibration, of `CANDIDATE` or more."""
    neither = CLASSES.index("neither")
    # 1 - p of neither loses the small ones to rounding; the sum of the two sites' odds does not.
    with np.errstate(over="ignore"):
        odds = np.exp(np.delete(logits, neither, -1) - logits[:, [neither]]).sum(-1)
    return odds >= CANDIDATE / (1 - CANDIDATE)

"""Named sequences of bases, any stretch of which can be read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from spliceai_jax.encoding import COMPLEMENT, Strand


class Sequences(ABC):
    """Named sequences, wherever their bases are kept.

    Attributes:
        lengths: Name of each sequence -> its number of bases.
    """

    lengths: dict[str, int]

    def bases(self, name: str, start: int, end: int, strand: Strand = "+") -> UInt8[np.ndarray, " length"]:
        """Return a stretch of a sequence as codes: 0 for N and 1 to 4 for A C G T.

        Arguments:
            name: The sequence.
            start: Its first base, counted from 0; anything before 0 or past the sequence's end is N.
            end: The base after its last.
            strand: "-" gives the reverse complement of the same stretch.
        """
        first, last = max(start, 0), min(end, self.lengths[name])
        codes = np.zeros(end - start, np.uint8)
        if first < last:
            codes[first - start : last - start] = self._kept(name, first, last)
        return codes if strand == "+" else COMPLEMENT.take(codes[::-1])

    @abstractmethod
    def _kept(self, name: str, start: int, end: int) -> UInt8[np.ndarray, " length"]:
        """Return a stretch that lies inside its sequence."""


class SequencesInMemory(Sequences):
    """Sequences that are arrays of codes."""

    def __init__(self, codes: Mapping[str, UInt8[np.ndarray, " length"]]) -> None:
        """Keep the arrays, by name; they are not copied."""
        self._codes = codes
        self.lengths = {name: len(one) for name, one in codes.items()}

    def _kept(self, name: str, start: int, end: int) -> UInt8[np.ndarray, " length"]:
        return self._codes[name][start:end]

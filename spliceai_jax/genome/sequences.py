"""Named sequences of bases, and the stretches of them that are scored."""

import re
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from spliceai_jax.encoding import COMPLEMENT, Strand
from spliceai_jax.errors import SettingsError, some


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


_REGION = re.compile("(.+):([0-9][0-9,]{0,19})-([0-9][0-9,]{0,19})")


class Stretch(NamedTuple):
    """Neighbouring positions that lie in the same spans.

    Attributes:
        start: The first position, counted from 0.
        end: The position after the last.
        names: The names of the spans, in the order of their starts; the first of them where there are very many.
        more: The number of further spans.
    """

    start: int
    end: int
    names: tuple[str, ...]
    more: int = 0

    @property
    def name(self) -> str:
        """What the rows' fourth column begins with."""
        return ",".join((*self.names, f"{self.more} more") if self.more else self.names)


@dataclass(frozen=True)
class Region:
    """A stretch of one strand of a sequence, every position of which is scored.

    Attributes:
        sequence: The name of the sequence.
        strand: "+" or "-".
        start: Its first position, counted from 0 on the "+" strand.
        end: The position after its last.
        stretches: What its rows are named after, from its start to its end without a gap; nothing where there are none.
    """

    sequence: str
    strand: Strand
    start: int
    end: int
    stretches: Sequence[Stretch] = ()

    def stretches_between(self, start: int, end: int) -> Sequence[Stretch]:
        """Return the stretches that have a position between these two."""
        first = bisect_right(self.stretches, start, key=lambda stretch: stretch.start) - 1
        return self.stretches[first : bisect_left(self.stretches, end, key=lambda stretch: stretch.start)]


@dataclass(frozen=True)
class Selection:
    """What is to be scored of a genome or other sequences.

    Attributes:
        description: What it is, in words.
        regions: The regions of each sequence together, sequences in the order of their names. Those of a strand do
            not overlap. They can be iterated over once.
        count: The number of regions, empty sequences included.
        positions: The number of positions, both strands counted.
    """

    description: str
    regions: Iterable[list[Region]]
    count: int
    positions: int


def read_region(text: str, strand: Strand) -> Region:
    """Return the region that is meant by a text as in genome browsers, "2L:7,000-9,000".

    Raises:
        SettingsError: It is no such text, or ends before it starts.
    """
    found = _REGION.fullmatch(text)
    if not found:
        raise SettingsError(
            f"`region` is {text!r:.200}; expected NAME:FIRST-LAST, counted from 1, such as '2L:7000-9000'"
        )
    first, last = (int(number.replace(",", "")) for number in found.groups()[1:])
    if not 1 <= first <= last:
        raise SettingsError(
            f"`region` is {text!r:.200}; expected a first position of 1 or more and a last one that is not before it"
        )
    return Region(found[1], strand, first - 1, last)


def check_region(region: Region, lengths: Mapping[str, int], source: object) -> None:
    """Refuse a region that is not in the sequences of these names and lengths, which come from `source`.

    Raises:
        SettingsError: There is no sequence of its name, or it ends beyond its sequence.
    """
    if region.sequence not in lengths:
        raise SettingsError(f"`region`: {source} holds no sequence {region.sequence!r:.200}; it holds {some(lengths)}")
    if region.end > lengths[region.sequence]:
        raise SettingsError(
            f"`region` ends at {region.end}, but {region.sequence} of {source} has {lengths[region.sequence]} bases"
        )

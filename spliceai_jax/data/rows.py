"""Regions laid into rows of one shape for the network, each piece with its context."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from spliceai_jax.data.selection import Region
from spliceai_jax.data.sequences import Sequences


class Shape(NamedTuple):
    """The shape of every batch of a prediction; the network is compiled once for it.

    Attributes:
        rows: Rows in a batch.
        length: Positions that are scored in a row; it holds `flanking_size` bases more.
    """

    rows: int
    length: int


@dataclass(frozen=True)
class Piece:
    """As much of a region as went into one row.

    Attributes:
        region: The region.
        start: Its first position, counted from 0 on the "+" strand.
        end: The position after its last.
        place: The row, and the first scored position in it. None where the piece and its context are all N: such a
            piece takes no room, since all its positions have the same score.
    """

    region: Region
    start: int
    end: int
    place: tuple[int, int] | None


@dataclass(eq=False)
class GenomeBatch:
    """Rows of bases for the network, and the pieces that lie in them.

    Its packer is not `data.packing`'s, which sorts windows by length and gives each at most a row: here pieces stay in
    the order of the genome, so that results can be written as they come, and a long region goes over many rows.

    Attributes:
        bases: Codes (see `encoding`), `Shape.length` + flanking_size columns.
        pieces: The pieces, in the order of the genome.
    """

    bases: UInt8[np.ndarray, "rows columns"]
    pieces: list[Piece] = field(default_factory=list)

    @property
    def is_blank(self) -> bool:
        """Whether no piece lies in the rows, so that there is nothing to compute."""
        return all(piece.place is None for piece in self.pieces)


def genome_batches(
    sequences: Sequences, regions: Iterable[list[Region]], shape: Shape, flanking_size: int
) -> Iterator[GenomeBatch]:
    """Lay regions into rows, each piece with all the context that its sequence has around it.

    Short regions share a row, and long ones take many. Pieces are in the order of their sequences and starts, the two
    strands taken together, so that results can be written sorted.

    Arguments:
        sequences: The sequences.
        regions: The regions of each sequence together; those of a strand do not overlap.
        shape: The shape of a batch.
        flanking_size: Bases of context, both sides together.
    """
    half = flanking_size // 2

    def empty() -> GenomeBatch:
        return GenomeBatch(np.zeros((shape.rows, shape.length + flanking_size), np.uint8))

    batch, row, used = empty(), 0, 0
    for together in regions:
        waiting = [(region.start, number) for number, region in enumerate(together)]
        heapq.heapify(waiting)
        while waiting:
            start, number = heapq.heappop(waiting)
            region = together[number]
            if used >= shape.length:
                row, used = row + 1, 0
            if row == shape.rows:
                yield batch
                batch, row = empty(), 0
            end = min(region.end, start + shape.length)
            blank = not sequences.bases(region.sequence, start - half, end + half).any()
            if not blank:
                end = min(end, start + shape.length - used)
                bases = sequences.bases(region.sequence, start - half, end + half, region.strand)
                batch.bases[row, used : used + len(bases)] = bases
            batch.pieces.append(Piece(region, start, end, None if blank else (row, used)))
            used += 0 if blank else end - start + flanking_size
            if end < region.end:
                heapq.heappush(waiting, (end, number))
    if batch.pieces:
        yield batch

"""Scores of rows of bases: regions of any sequences are cut into rows, and scored on every device."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple, TypeVar, cast

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, UInt8

from spliceai_jax.architecture import ARCHITECTURES, CLASSES, Precision
from spliceai_jax.errors import Interrupted, WeightsError
from spliceai_jax.genome.sequences import Region, Selection, Sequences
from spliceai_jax.loops import StopRequest, one_in_flight
from spliceai_jax.network.mesh import CUT, SAME, DeviceRow
from spliceai_jax.network.model import SpliceAI, Variables, network_on


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


_LEAST_LENGTH = 20_000
"""The fewest positions that a row scores, unless there are fewer altogether."""

_CONTEXTS = 10
"""A row scores this many times the context, so that little is computed twice; on CPUs longer rows were not faster."""

_SHORTEST_LENGTH = 1000
"""The fewest positions that a row has room for, however few are scored."""

_BASES_AT_ONCE = 1_000_000
"""Bases that a device other than a CPU, which one row keeps busy, is given at once: about 0.5 GB of activations."""

Scores = TypeVar("Scores", Array, np.ndarray)


def mean(scores: Sequence[Scores]) -> Scores:
    """Return the mean of several networks' probabilities; those of a single one are left alone."""
    total = scores[0]
    for further in scores[1:]:
        total = total + further
    return total / len(scores) if len(scores) > 1 else total


class Scorer:
    """One or more networks of one flanking size, ready on all devices of this process.

    Attributes:
        flanking_size: Bases of context, both sides together.
        devices: The devices.
    """

    def __init__(
        self,
        flanking_size: int,
        networks: Sequence[Variables],
        precision: Precision = "float32",
        logits: bool = False,
    ) -> None:
        """Copy the networks' weights to every device; compilation waits for the first call.

        Arguments:
            flanking_size: The networks' flanking size.
            networks: The variables of each.
            precision: How convolutions compute.
            logits: Give what the softmax takes, before any temperature, instead of probabilities; of a single network.
        """
        self.flanking_size = flanking_size
        self._row = DeviceRow(jax.local_devices())
        self.devices = self._row.devices
        self._forward = _forward(self.devices, flanking_size, precision, logits)
        self._networks = [jax.device_put(variables, self._row.same) for variables in networks]

    def shape(self, positions: int, regions: int) -> Shape:
        """Return the shape of the batches that suit a number of positions in a number of regions.

        The number of rows is a multiple of the number of devices. There are few shapes, so that no more than a dozen
        programs are compiled whatever is scored, at the price of up to half as many positions again, or of a short row.
        """
        longest = max(_LEAST_LENGTH, _CONTEXTS * self.flanking_size)
        most = 1 if self.devices[0].platform == "cpu" else max(_BASES_AT_ONCE // longest, 1)
        needed = max(positions + (regions - 1) * self.flanking_size, 1)
        rows = -(-needed // longest)
        rows_of_a_device = _rounded_up(-(-rows // len(self._row)), 1, most)
        return Shape(rows_of_a_device * len(self._row), _rounded_up(-(-needed // rows), _SHORTEST_LENGTH, longest))

    def __call__(self, bases: UInt8[np.ndarray, "rows columns"]) -> Float[Array, "rows positions 3"]:
        """Dispatch rows of bases, which must not change until the result has been read.

        Returns:
            The mean probabilities of neither, acceptor and donor, or the logits, at every position that has its full
            context.
        """
        placed = self._row.send(bases)
        return mean([self._forward(variables, placed) for variables in self._networks])


def _rounded_up(wanted: int, least: int, most: int) -> int:
    """Return the first of 1, 1.5, 2, 3, 4, 6, 8, 12 ... times `least` that is enough, but no more than `most`."""
    double = least << ((wanted - 1) // least).bit_length()
    between = 3 * double // 4
    return min(between if least < wanted <= between else double, most)


@cache
def _forward(
    devices: tuple[jax.Device, ...], flanking_size: int, precision: Precision, logits: bool
) -> Callable[..., Array]:
    """Return the network on these devices; a run makes several scorers, which share what is compiled."""
    network = network_on(devices[0].platform, ARCHITECTURES[flanking_size], precision)
    method = SpliceAI.logits if logits else SpliceAI.__call__

    def forward(variables: Variables, bases: UInt8[Array, "rows columns"]) -> Float[Array, "rows positions 3"]:
        return cast(Array, network.apply(variables, bases, method=method))

    return DeviceRow(devices).compiled(forward, inputs=(SAME, CUT), outputs=CUT)


class BlankScore:
    """The score of a position that sees only N."""

    def __init__(self, scorer: Scorer, shape: Shape) -> None:
        """Compute nothing yet; `shape` is that of all batches, so that nothing is compiled twice."""
        self._scorer = scorer
        self._size = shape.rows, shape.length + scorer.flanking_size

    @cached_property
    def scores(self) -> Float[np.ndarray, " 3"]:
        """The probabilities of neither, acceptor and donor, or the logits."""
        return np.asarray(self._scorer(np.zeros(self._size, np.uint8)))[0, 0]


def scored_pieces(
    scorer: Scorer, sequences: Sequences, selection: Selection, stop: StopRequest, whose: str
) -> Iterator[tuple[Piece, Float[np.ndarray, "positions 3"]]]:
    """Score a selection.

    Arguments:
        scorer: The networks.
        sequences: The sequences.
        selection: What is scored of them.
        stop: Asks to stop at the next batch.
        whose: What the networks are called in errors, such as the argument that gave them.

    Yields:
        Each piece with the scores of its positions (see `Scorer`), in the order of the "+" strand.

    Raises:
        WeightsError: The scores are not numbers.
        Interrupted: A signal came.
    """
    shape = scorer.shape(selection.positions, selection.count)
    blank = BlankScore(scorer, shape)
    for batch, dispatched in _scored(scorer, genome_batches(sequences, selection.regions, shape, scorer.flanking_size)):
        if stop.received:
            raise Interrupted(
                f"stopped by {stop.received.name}; nothing was written, give the same command again", stop.received
            )
        scores = None if dispatched is None else np.asarray(dispatched)
        if scores is not None and not np.isfinite(scores).all():
            raise WeightsError(f"{whose}: scores that are not numbers; the weights are unusable")
        for piece in batch.pieces:
            size = piece.end - piece.start
            if piece.place is None or scores is None:
                found = np.broadcast_to(blank.scores, (size, len(CLASSES)))
            else:
                row, place = piece.place
                found = scores[row, place : place + size]
            yield piece, found if piece.region.strand == "+" else found[::-1]


def _scored(
    scorer: Scorer, batches: Iterator[GenomeBatch]
) -> Iterator[tuple[GenomeBatch, Float[Array, "rows positions 3"] | None]]:
    """Yield each batch with its scores, or None if it is blank, when the next batch has been dispatched."""
    return one_in_flight((batch, None if batch.is_blank else scorer(batch.bases)) for batch in batches)

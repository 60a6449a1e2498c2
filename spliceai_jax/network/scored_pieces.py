"""The scores of a selection of sequences, piece by piece while the devices compute the next batch."""

from collections.abc import Iterator

import numpy as np
from jax import Array
from jaxtyping import Float

from spliceai_jax.architecture import CLASSES
from spliceai_jax.data.rows import GenomeBatch, Piece, genome_batches
from spliceai_jax.data.selection import Selection
from spliceai_jax.data.sequences import Sequences
from spliceai_jax.errors import Interrupted, WeightsError
from spliceai_jax.in_flight import one_in_flight
from spliceai_jax.interrupts import StopRequest
from spliceai_jax.network.scorer import BlankScore, Scorer


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

"""The scores of a selection of a genome, piece by piece while the devices compute the next batch."""

from collections.abc import Iterator

import numpy as np
from jax import Array
from jaxtyping import Float

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.data.fasta import Genome
from spliceai_jax.errors import Interrupted, WeightsError
from spliceai_jax.in_flight import one_in_flight
from spliceai_jax.interrupts import StopRequest
from spliceai_jax.scoring.regions import Selection
from spliceai_jax.scoring.rows import GenomeBatch, Piece, genome_batches
from spliceai_jax.scoring.scorer import BlankScore, Scorer


def scored_pieces(
    scorer: Scorer, genome: Genome, selection: Selection, stop: StopRequest, models: str
) -> Iterator[tuple[Piece, Float[np.ndarray, "positions 2"]]]:
    """Score a selection.

    Arguments:
        scorer: The networks.
        genome: The sequences.
        selection: What is scored of them.
        stop: Asks to stop at the next batch.
        models: The name of the argument that gave the networks, for errors.

    Yields:
        Each piece with the probabilities of acceptor and donor at its positions, in the order of the "+" strand.

    Raises:
        WeightsError: The scores are not numbers.
        Interrupted: A signal came.
    """
    shape = scorer.shape(selection.positions, selection.count)
    blank = BlankScore(scorer, shape)
    for batch, dispatched in _scored(scorer, genome_batches(genome, selection.regions, shape, scorer.flanking_size)):
        if stop.received:
            raise Interrupted(
                f"stopped by {stop.received.name}; nothing was written, give the same command again", stop.received
            )
        scores = None if dispatched is None else np.asarray(dispatched)
        if scores is not None and not np.isfinite(scores).all():
            raise WeightsError(f"`{models}`: scores that are not numbers; the weights are unusable")
        for piece in batch.pieces:
            size = piece.end - piece.start
            if piece.place is None or scores is None:
                found = np.broadcast_to(blank.probabilities, (size, len(SITE_KINDS)))
            else:
                row, place = piece.place
                found = scores[row, place : place + size]
            yield piece, found if piece.region.strand == "+" else found[::-1]


def _scored(
    scorer: Scorer, batches: Iterator[GenomeBatch]
) -> Iterator[tuple[GenomeBatch, Float[Array, "rows positions 2"] | None]]:
    """Yield each batch with its scores, or None if it is blank, when the next batch has been dispatched."""
    return one_in_flight((batch, None if batch.is_blank else scorer(batch.bases)) for batch in batches)

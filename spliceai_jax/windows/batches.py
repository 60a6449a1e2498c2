"""Batches of windows, and which windows make up each batch of an epoch."""

from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Float16, Int, PyTree, Shaped, UInt8

from spliceai_jax.architecture import PADDING
from spliceai_jax.windows.packing import Packing

Batching = Literal["pooled", "per_shard"]

_SHARDS = int.from_bytes(b"shards")
"""Begins the seed of the order of shards: a seed alone draws the same numbers as [seed, 0], which shuffles."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Batch:
    """The input of a training or evaluation step: rows of windows; see `packing` for how they are laid out.

    Attributes:
        inputs: Bases, uint8 (rows, 5000 + flanking_size), or the output of the network's first entries
            for them.
        labels: (rows, 5000); column i labels base i + flanking_size / 2 of the row. PADDING where there is no label.
        multiplicity: How many windows each position stands for in the batch's statistics: (rows, 5000 + flanking_size),
            or (rows, 1) where it is the same throughout a row. It is 0 in rows that only fill up the batch.
        inside: False between windows that share a row, (rows, 5000 + flanking_size); None where it does not matter.
        targets: The teachers' probabilities, in the columns of the labels; zeros where there are none. None where
            nothing is learnt from teachers.
    """

    inputs: PyTree[Shaped[ArrayLike, "rows ..."]]
    labels: UInt8[Array | np.ndarray, "rows positions"]
    multiplicity: Float[Array | np.ndarray, "rows columns_or_1"]
    inside: Bool[Array | np.ndarray, "rows columns"] | None = None
    targets: Float16[Array | np.ndarray, "rows positions 3"] | None = None

    def filled_up(self, multiple: int) -> "Batch":
        """Return the batch with rows added that count for nothing, so that their number is a multiple of `multiple`."""
        missing = -len(self.labels) % multiple
        if not missing:
            return self

        def filled(array: np.ndarray, value: int = 0) -> np.ndarray:
            return np.pad(array, ((0, missing), *[(0, 0)] * (array.ndim - 1)), constant_values=value)

        return replace(jax.tree.map(filled, self), labels=filled(np.asarray(self.labels), PADDING))


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """A batch, and what is needed to get from its rows back to the windows in them.

    Attributes:
        batch: The batch.
        packing: How the windows lie in it.
        labels: The labels of each window in `positions`.
    """

    batch: Batch
    packing: Packing
    labels: UInt8[np.ndarray, "windows positions"]

    @property
    def positions(self) -> Int[np.ndarray, " windows"]:
        """The windows in the batch, as positions in their set."""
        return self.packing.windows

    def by_window(
        self, rows: Shaped[ArrayLike, "rows positions *rest"]
    ) -> Shaped[np.ndarray, "windows positions *rest"]:
        """Return the results for the labelled positions of the rows, sorted by window; see `Packing.unpack`."""
        return self.packing.unpack(np.asarray(rows))


def epoch_batches(
    shards: Int[np.ndarray, " windows"], size: int, batching: Batching, seed: int, epoch: int
) -> list[Int[np.ndarray, " batch"]]:
    """Draw the windows of each batch of an epoch; the result depends on the arguments alone.

    Arguments:
        shards: The number of the shard that each window of the set comes from.
        size: Windows in a batch.
        batching: "pooled": all windows are shuffled together and the last batch may be smaller. "per_shard": each
            shard is shuffled and batched alone and its remainder is dropped, and the shards come in the same order in
            every epoch (OpenSpliceAI 0.0.7).
        seed: The run's random seed.
        epoch: The epoch, counted from 0.

    Returns:
        The positions, in the set, of each batch's windows.
    """
    shuffle = np.random.default_rng([seed, epoch])
    if batching == "pooled":
        order = shuffle.permutation(len(shards))
        return [order[start : start + size] for start in range(0, len(order), size)]
    batches = []
    for shard in np.random.default_rng([_SHARDS, seed]).permutation(np.unique(shards)):
        order = shuffle.permutation(np.flatnonzero(shards == shard))
        batches += [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    return batches

"""How the sites of one kind rank among all other positions, in bounded memory."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

TOP_LENGTHS = (0.5, 1, 2, 4)
"""Multiples of the number of true sites at which top-k accuracy is taken."""

EXACT_NEGATIVES = 2**22
"""How many of the highest-scoring negatives are kept; lower ones are counted in bins 1 part in 4096 wide."""

_DROPPED_BITS = 11
"""The number of low bits, of a float32's 23-bit mantissa, in which the scores in a bin may differ."""


class Ranking:
    """The scores of one class, gathered batch by batch.

    Only the order of positives among negatives matters. All positives are kept, and the highest negatives. When there
    are too many negatives, the lowest are counted in narrow bins. All scores in a bin are taken to be its upper edge,
    so that a site among them is never ranked higher than it should be.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._positives = [np.zeros(0, np.float32)]
        self._negatives = [np.zeros(0, np.float32)]
        self._held = 0
        self._low = np.zeros(0x3F800000 // 2**_DROPPED_BITS + 2, np.int64)  # 0x3F800000 is 1.0

    @classmethod
    def of_all(cls, parts: Sequence["Ranking"]) -> "Ranking":
        """Return the ranking of what several rankings have gathered, which stay as they are."""
        whole = cls()
        for part in parts:
            whole._positives += part._positives
            whole._negatives += part._negatives
            whole._held += part._held
            whole._low += part._low
        return whole

    def add(self, scores: Float32[np.ndarray, " n"], is_site: Bool[np.ndarray, " n"]) -> None:
        """Add positions.

        Arguments:
            scores: Their scores, 0 to 1.
        """
        if is_site.any():  # most batches of a genome have none, and there may be millions of them
            self._positives.append(scores[is_site])
        self._negatives.append(scores[~is_site])
        self._held += self._negatives[-1].size
        if self._held > 2 * EXACT_NEGATIVES:
            everything = np.concatenate(self._negatives)
            everything.partition(everything.size - EXACT_NEGATIVES)
            low, kept = np.split(everything, [everything.size - EXACT_NEGATIVES])
            # A float in [0, 1] is ordered like the integer of the same bits.
            self._low += np.bincount((low.view(np.int32) >> _DROPPED_BITS) + 1, minlength=self._low.size)
            self._negatives, self._held = [kept.copy()], kept.size

    @property
    def sites(self) -> int:
        """The number of sites."""
        return sum(scores.size for scores in self._positives)

    def _ranked(
        self,
    ) -> tuple[Float32[np.ndarray, " values"], Int[np.ndarray, " values"], Int[np.ndarray, " values"]]:
        """Return the distinct scores of positives, ascending, and for each the number of positives with this score and
        of negatives that score at least as high, but below the next one.
        """
        positives = np.concatenate(self._positives)
        values, sites = np.unique(positives, return_counts=True)
        negatives = np.zeros(values.size + 1, np.int64)
        for scores in self._negatives:
            negatives += np.bincount(np.searchsorted(values, scores, "right"), minlength=negatives.size)
        filled, edges = self._bins()
        np.add.at(negatives, np.searchsorted(values, edges, "right"), self._low[filled])
        return values, sites, negatives[1:]  # negatives below every site change nothing

    def _bins(self) -> tuple[Int[np.ndarray, " bins"], Float32[np.ndarray, " bins"]]:
        """Return the numbers of the bins that hold something, and their upper edges."""
        filled = np.flatnonzero(self._low)
        return filled, (filled << _DROPPED_BITS).astype(np.int32).view(np.float32)

    def auprc(self) -> float:
        """Return the average precision (scikit-learn's definition); nan without sites."""
        recall, precision = self.precision_recall()
        return float(np.diff(recall, prepend=0) @ precision) if recall.size else float("nan")

    def precision_recall(self) -> tuple[Float[np.ndarray, " values"], Float[np.ndarray, " values"]]:
        """Return the curve: recall and precision at each score that a site has, highest first."""
        _, sites, negatives = self._ranked()
        true, false = sites[::-1].cumsum(), negatives[::-1].cumsum()
        return true / max(int(sites.sum()), 1), true / np.maximum(true + false, 1)

    def top_k(self) -> tuple[tuple[float, ...], tuple[float, ...], int]:
        """Return `SiteMetrics.top_k`, `SiteMetrics.thresholds` and the number of sites."""
        positives = np.sort(np.concatenate(self._positives))[::-1]
        k = positives.size
        if not k:
            return (float("nan"),) * len(TOP_LENGTHS), (float("nan"),) * len(TOP_LENGTHS), 0
        negatives = np.concatenate(self._negatives)
        wanted = min(negatives.size, int(max(TOP_LENGTHS) * k))
        if wanted < negatives.size:
            negatives = np.partition(negatives, negatives.size - wanted)[negatives.size - wanted :]
        merged = np.sort(np.concatenate([positives, negatives]))[::-1]
        accuracies, thresholds = [], []
        for length in TOP_LENGTHS:
            called = min(max(int(length * k), 1), merged.size)
            threshold = merged[called - 1]
            above, at = (positives > threshold).sum(), (negatives >= threshold).sum()
            # Among equal scores negatives come first: a model that gives all the same score finds nothing.
            hits = max(above, min(called - at, (positives >= threshold).sum()))
            accuracies.append(float(hits / (min(called, k) + 1e-10)))
            thresholds.append(float(threshold))
        return tuple(accuracies), tuple(thresholds), k

    def threshold(self, recall: float) -> float:
        """Return the highest threshold that at least this share of the sites reaches; there must be sites."""
        positives = np.sort(np.concatenate(self._positives))[::-1]
        needed = math.ceil(recall * positives.size - 1e-9)  # .9 times 70 is a little more than 63 in floats
        return float(positives[max(needed, 1) - 1])

    def sites_from(self, threshold: float) -> int:
        """Return the number of sites that score at least `threshold`."""
        return sum(int((scores >= threshold).sum()) for scores in self._positives)

    def negatives_from(self, threshold: float) -> int:
        """Return the number of negatives that score at least `threshold`.

        It is exact if the threshold lies above the scores that are counted in bins; else the other negatives in the
        threshold's own bin are counted too.
        """
        filled, edges = self._bins()
        kept = sum(int((scores >= threshold).sum()) for scores in self._negatives)
        return kept + int(self._low[filled[edges >= np.float32(threshold)]].sum())

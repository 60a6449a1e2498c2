"""OpenSpliceAI's metrics, over any number of positions in bounded memory."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score

from spliceai_jax.architecture import CLASSES, PADDING

TOP_LENGTHS = (0.5, 1, 2, 4)
"""Multiples of the number of true sites at which top-k accuracy is taken."""

EXACT_NEGATIVES = 2**22
"""Highest-scoring negatives of a class that are kept one by one; lower ones fall into classes of 1 part in 4096."""

_DROPPED_BITS = 11
"""Of a float32's 23 bits of mantissa, those that a class of low scores leaves open."""


@dataclass(frozen=True)
class SiteMetrics:
    """Metrics of one class of splice site.

    Attributes:
        precision: Of the called positions (highest of the three probabilities), the share that are sites.
        recall: Of the sites, the share called.
        f1: Harmonic mean of the two.
        auprc: Average precision (scikit-learn's definition); nan without sites.
        top_k: Top-k accuracy at 0.5, 1, 2 and 4 times the number of sites: true sites among the so many
            highest-scoring positions, over the smaller of the two numbers.
        thresholds: The lowest score among those positions.
        sites: Number of true sites.
    """

    precision: float
    recall: float
    f1: float
    auprc: float
    top_k: tuple[float, ...]
    thresholds: tuple[float, ...]
    sites: int


@dataclass(frozen=True)
class Metrics:
    """What an evaluation finds.

    Attributes:
        loss: Mean over the labelled positions.
        mean_recall: Mean of the three classes' recalls (OpenSpliceAI's logs call it accuracy); absent classes left out.
        donor: Metrics of the donors.
        acceptor: Metrics of the acceptors.
        windows: Windows evaluated.
    """

    loss: float
    mean_recall: float
    donor: SiteMetrics
    acceptor: SiteMetrics
    windows: int

    @property
    def mean_auprc(self) -> float:
        """By which a model is called better or worse than another: the mean of donors' and acceptors' AUPRC."""
        return (self.donor.auprc + self.acceptor.auprc) / 2


class _Scores:
    """The scores of one class, gathered batch by batch.

    Only the order of positives among negatives matters. All positives are kept, and the highest negatives; when
    there are too many negatives the lowest are counted in narrow classes, each taken at its upper edge, so that a
    site among them is ranked no better than it is.
    """

    def __init__(self) -> None:
        self._positives: list[np.ndarray] = []
        self._negatives: list[np.ndarray] = []
        self._held = 0
        self._low = np.zeros(0x3F800000 // 2**_DROPPED_BITS + 2, np.int64)  # 0x3F800000 is 1.0

    def add(self, scores: np.ndarray, is_site: np.ndarray) -> None:
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

    def _ranked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distinct values of positives, ascending; how many positives, and how many negatives up to the next."""
        positives = np.concatenate(self._positives)
        values, sites = np.unique(positives, return_counts=True)
        negatives = np.zeros(values.size + 1, np.int64)
        for scores in self._negatives:
            negatives += np.bincount(np.searchsorted(values, scores, "right"), minlength=negatives.size)
        filled = np.flatnonzero(self._low)
        edges = (filled << _DROPPED_BITS).astype(np.int32).view(np.float32)
        np.add.at(negatives, np.searchsorted(values, edges, "right"), self._low[filled])
        return values, sites, negatives[1:]  # those below every site change nothing

    def auprc(self) -> float:
        values, sites, negatives = self._ranked()
        if not values.size:
            return float("nan")
        truth = np.repeat([1, 0], values.size)
        return float(
            average_precision_score(truth, np.tile(values, 2), sample_weight=np.concatenate([sites, negatives]))
        )

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        _, sites, negatives = self._ranked()
        true, false = sites[::-1].cumsum(), negatives[::-1].cumsum()
        return true / max(int(sites.sum()), 1), true / np.maximum(true + false, 1)

    def top_k(self) -> tuple[tuple[float, ...], tuple[float, ...], int]:
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
            # Among equal scores negatives come first: a model that scores all alike finds nothing.
            hits = max(above, min(called - at, (positives >= threshold).sum()))
            accuracies.append(float(hits / (min(called, k) + 1e-10)))
            thresholds.append(float(threshold))
        return tuple(accuracies), tuple(thresholds), k


class MetricsAccumulator:
    """Gathers an evaluation batch by batch."""

    def __init__(self) -> None:
        """Start empty."""
        self._confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
        self._scores = {label: _Scores() for label in (1, 2)}
        self._loss = 0.0
        self._windows = 0

    def add(self, probabilities: np.ndarray, labels: np.ndarray, losses: np.ndarray) -> None:
        """Add windows.

        Arguments:
            probabilities: float32 (windows, length, 3).
            labels: uint8 (windows, length); padding is left out.
            losses: (windows,) summed over the window's labelled positions.
        """
        self._windows += len(labels)
        self._loss += float(losses.sum(dtype=np.float64))
        counted = labels != PADDING
        truth, scores = labels[counted], probabilities[counted]
        pairs = truth.astype(np.int64) * len(CLASSES) + scores.argmax(-1)
        self._confusion += np.bincount(pairs, minlength=self._confusion.size).reshape(self._confusion.shape)
        for label, gathered in self._scores.items():
            gathered.add(np.ascontiguousarray(scores[:, label], np.float32), truth == label)

    def _site(self, label: int) -> SiteMetrics:
        hits, called, sites = (
            int(self._confusion[label, label]),
            int(self._confusion[:, label].sum()),
            int(self._confusion[label].sum()),
        )
        top_k, thresholds, k = self._scores[label].top_k()
        return SiteMetrics(
            precision=hits / called if called else 0.0,
            recall=hits / sites if sites else 0.0,
            f1=2 * hits / (called + sites) if called + sites else 0.0,
            auprc=self._scores[label].auprc(),
            top_k=top_k,
            thresholds=thresholds,
            sites=k,
        )

    def precision_recall(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """The curve of "donor" or "acceptor": recall and precision at each score that a site has, the highest first."""
        return self._scores[CLASSES.index(kind)].precision_recall()

    def result(self) -> Metrics:
        """The metrics of everything added."""
        totals = self._confusion.sum(1)
        present = totals > 0
        recalls = self._confusion.diagonal()[present] / totals[present]
        return Metrics(
            loss=self._loss / max(int(totals.sum()), 1),
            mean_recall=float(recalls.mean()) if present.any() else float("nan"),
            donor=self._site(CLASSES.index("donor")),
            acceptor=self._site(CLASSES.index("acceptor")),
            windows=self._windows,
        )

"""OpenSpliceAI's metrics, over any number of positions in bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from jaxtyping import Float, Float32, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, SiteKind
from spliceai_jax.evaluation.ranking import TOP_LENGTHS, Ranking
from spliceai_jax.stored import Count

Tops = Annotated[tuple[float, ...], msgspec.Meta(min_length=len(TOP_LENGTHS), max_length=len(TOP_LENGTHS))]
"""A number for each of `TOP_LENGTHS`."""


@dataclass(frozen=True)
class SiteMetrics:
    """Metrics of one class of splice site.

    Attributes:
        precision: The share of the called positions that are sites. A position is called if this class has the highest
            of the three probabilities there.
        recall: The share of the sites that are called.
        f1: The harmonic mean of precision and recall.
        auprc: Average precision (scikit-learn's definition); nan without sites.
        top_k: Top-k accuracy at 0.5, 1, 2 and 4 times the number of sites: with n that multiple, the number of true
            sites among the n positions with the highest scores, divided by n or by the number of sites, whichever is
            smaller.
        thresholds: The lowest score among those n positions, for each multiple.
        sites: The number of true sites.
    """

    precision: float
    recall: float
    f1: float
    auprc: float
    top_k: Tops
    thresholds: Tops
    sites: Count

    @property
    def top_k_accuracy(self) -> float:
        """Top-k accuracy at k = the number of true sites."""
        return self.top_k[TOP_LENGTHS.index(1)]


@dataclass(frozen=True)
class Measure:
    """A number that says how well a model finds sites of one kind.

    Attributes:
        name: Its name, for people.
        key: Its name, for programs: TensorBoard's tag, for example.
        of: Returns it, given the metrics of that kind of site.
        log_file: The name of its log file in OpenSpliceAI, after `donor_` or `acceptor_`.
    """

    name: str
    key: str
    of: Callable[[SiteMetrics], float]
    log_file: str


AUPRC = Measure("AUPRC", "auprc", lambda site: site.auprc, "auprc")
TOP_K = Measure("top-k", "top_k", lambda site: site.top_k_accuracy, "topk")
MEASURES = (
    AUPRC,
    TOP_K,
    Measure("precision", "precision", lambda site: site.precision, "precision"),
    Measure("recall", "recall", lambda site: site.recall, "recall"),
    Measure("F1", "f1", lambda site: site.f1, "f1"),
)
"""All of them, in the order in which they are shown. The first two are shown where there is only room for two."""


@dataclass(frozen=True)
class Metrics:
    """The result of an evaluation.

    Attributes:
        loss: The mean loss over the labelled positions.
        mean_recall: The mean of the three classes' recalls, classes without a position left out; OpenSpliceAI's logs
            call it accuracy.
        donor: The metrics of the donors.
        acceptor: The metrics of the acceptors.
        windows: The number of windows evaluated.
    """

    loss: float
    mean_recall: float
    donor: SiteMetrics
    acceptor: SiteMetrics
    windows: int

    def site(self, kind: SiteKind) -> SiteMetrics:
        """Return the metrics of one kind of site."""
        return {"donor": self.donor, "acceptor": self.acceptor}[kind]

    @property
    def mean_auprc(self) -> float:
        """The mean of the donors' and the acceptors' AUPRC, by which models are compared."""
        return (self.donor.auprc + self.acceptor.auprc) / 2


def table(metrics: Metrics) -> str:
    """Return metrics as a table of text."""
    lines = [f"{metrics.windows} windows, loss {metrics.loss:.6f}"]
    lines.append("  ".join([" " * 8, *(f"{measure.name:>9}" for measure in MEASURES), f"{'sites':>7}"]))
    for kind in SITE_KINDS:
        site = metrics.site(kind)
        lines.append(
            "  ".join([f"{kind:>8}", *(f"{measure.of(site):9.4f}" for measure in MEASURES), f"{site.sites:7d}"])
        )
    return "\n".join(lines)


class MetricsAccumulator:
    """Computes the metrics of an evaluation, batch by batch."""

    def __init__(self) -> None:
        """Start empty."""
        self._confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
        self._scores = {CLASSES.index(kind): Ranking() for kind in SITE_KINDS}
        self._loss = 0.0
        self._windows = 0

    def add(
        self,
        probabilities: Float32[np.ndarray, "windows positions 3"],
        labels: UInt8[np.ndarray, "windows positions"],
        losses: Float[np.ndarray, " windows"],
    ) -> None:
        """Add windows; padding is left out.

        Arguments:
            losses: The sum of the losses at each window's labelled positions.
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

    def precision_recall(self, kind: SiteKind) -> tuple[Float[np.ndarray, " values"], Float[np.ndarray, " values"]]:
        """Return the curve for one kind of site: recall and precision at each score that a site has, highest first."""
        return self._scores[CLASSES.index(kind)].precision_recall()

    def result(self) -> Metrics:
        """Return the metrics of everything added."""
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

"""Whether one model is better than another on a data set, or chance could explain it: a paired bootstrap over genes.

The sites of a gene are not independent of each other, so whole genes are drawn, and the same genes for every model. A
draw needs the model's scores only as counts by narrow bins of the score. They are added to every draw as they come, so
that memory hardly depends on the number of genes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from scipy.special import ndtr, stdtrit

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, SiteKind
from spliceai_jax.evaluation.metrics import AUPRC, MEASURES, TOP_K, Metrics
from spliceai_jax.stored import check_keys
from spliceai_jax.windows.splits import gene_starts
from spliceai_jax.windows.windows import Windows

DRAWS = 1000
"""How many times as many genes as there are are drawn from them, with replacement."""

CONFIDENCE = 0.95
"""The share of such intervals that hold the true change."""

FEW_GENES = 10
"""With fewer genes an interval means little, and there is no verdict."""

_BINS = 1024
"""Bins of a score's logit; a bin is 1/30 wide, which makes an error far below that of the interval."""

_COUNTED_TOGETHER = 2**20
"""Positions that are added to the draws at once: batch by batch that takes longer than a GPU takes to score them."""

_MOST = 17.0
"""The logits of the outermost bins' edges; a float32 below 1 has a logit below 16.7."""

Verdict = Literal["better", "worse", "unclear"]
"""What a comparison comes to: "unclear" is that chance could explain the difference."""

_FORGETTING: dict[Verdict, str] = {
    "worse": "The tuned model has forgotten part of what the untouched model knew about the old species",
    "better": "The tuned model is better than the untouched model on the old species too",
    "unclear": "No clear difference from the untouched model on the old species",
}


@dataclass(frozen=True, eq=False)
class Resampled:
    """A model's metrics on a data set, and what they are when genes are drawn from it.

    Attributes:
        metrics: On the data set.
        drawn: (kind, key of a measure) -> the measure in every draw; nan in a draw without sites of the kind.
        genes: The number of genes.
    """

    metrics: Metrics
    drawn: dict[tuple[SiteKind, str], Float[np.ndarray, " draws"]]
    genes: int


@dataclass(frozen=True)
class Difference:
    """What a measure is for one model and for another, and how far chance may have moved the change.

    Attributes:
        before: The first model's.
        after: The other model's.
        interval: The ends of the 95 % interval of the change, `after` less `before`; None where there is none: with a
            single gene, or where most draws have no site.
    """

    before: float
    after: float
    interval: tuple[float, float] | None = None

    @property
    def change(self) -> float:
        """The change."""
        return self.after - self.before

    @property
    def verdict(self) -> Verdict:
        """Better or worse if the interval leaves out 0."""
        low, high = self.interval or (0.0, 0.0)
        return "better" if low > 0 else "worse" if high < 0 else "unclear"

    @property
    def words(self) -> str:
        """The change with its interval, in digits."""
        if not self.interval:
            return f"{self.change:+.3f}"
        return f"{self.change:+.3f} ({self.interval[0]:+.3f} to {self.interval[1]:+.3f})"


@dataclass(frozen=True)
class Differences:
    """One model compared with another on a data set, by a paired bootstrap over genes.

    Attributes:
        verdict: What the change of the mean AUPRC comes to. With fewer than 10 genes it is "unclear".
        genes: The number of genes, as far as the data set shows which windows are of one gene.
        mean_auprc: The mean of the donors' and the acceptors' AUPRC.
        donor: Key of a measure ("auprc", "top_k", "precision", "recall", "f1") -> the measure for donors.
        acceptor: The same for acceptors.
        draws: How often the genes were drawn.
        confidence: The share of such intervals that hold the true change.
    """

    verdict: Verdict
    genes: int
    mean_auprc: Difference
    donor: dict[str, Difference]
    acceptor: dict[str, Difference]
    draws: int = DRAWS
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, one that lacks a measure: it was read from a damaged file."""
        for kind in SITE_KINDS:
            check_keys(kind, self.site(kind), [measure.key for measure in MEASURES])

    def site(self, kind: SiteKind) -> dict[str, Difference]:
        """Return the measures of one kind of site."""
        return {"donor": self.donor, "acceptor": self.acceptor}[kind]

    @property
    def headline(self) -> str:
        """The verdict, to go before "the untouched model" or another's name."""
        return "no clear difference from" if self.verdict == "unclear" else f"{self.verdict} than"

    @property
    def decides(self) -> bool:
        """Whether the genes are enough for verdicts."""
        return self.genes >= FEW_GENES

    @property
    def said(self) -> str:
        """The verdict, to go between the model and the name of the other."""
        return "not clearly different from" if self.verdict == "unclear" else f"{self.verdict} than"

    @property
    def words(self) -> str:
        """The change of the mean AUPRC in words."""
        found = self.mean_auprc
        text = f"mean AUPRC from {found.before:.3f} to {found.after:.3f}, {found.change:+.3f}"
        if found.interval:
            text += f" (95 % interval {found.interval[0]:+.3f} to {found.interval[1]:+.3f}, {self.genes} genes)"
        if not self.decides:
            text += f"; {self.genes} gene{'s are' if self.genes != 1 else ' is'} too few to tell"
        return text

    @property
    def forgetting(self) -> str:
        """What fine-tuning for a new species has done on a data set of the old one, in words."""
        return f"{_FORGETTING[self.verdict]}: {self.words}"


def genes_of(windows: Windows) -> Int[np.ndarray, " windows"]:
    """Return the number of the gene that each window of a set belongs to, counted from 0; see `gene_starts`."""
    first = np.zeros(len(windows), np.int64)
    first[gene_starts(windows)] = 1
    return first.cumsum() - 1


class GeneCounts:
    """A model's scores on a data set, counted by gene and in draws of the genes.

    Attributes:
        genes: The gene of each window: see `genes_of`.
        total: The number of genes.
        called: Kind -> for each gene, how many sites are called, how many positions are called, how many sites it has.
    """

    def __init__(self, genes: Int[np.ndarray, " windows"], seed: int) -> None:
        """Start empty; the same seed draws the same genes, whichever the model."""
        self.genes, self.total = genes, int(genes[-1]) + 1
        self.called = {kind: np.zeros((self.total, 3), np.int64) for kind in SITE_KINDS}
        self._drawn = _draws(self.total, seed, DRAWS)
        # Other positions, then sites.
        self._binned = {kind: np.zeros((len(self._drawn), 2 * _BINS), np.uint32) for kind in SITE_KINDS}
        self._waiting: list[tuple[Int[np.ndarray, " genes"], dict[SiteKind, Float32[np.ndarray, "genes bins"]]]] = []
        self._positions_waiting = 0

    def add(
        self,
        positions: Int[np.ndarray, " some"],
        probabilities: Float32[np.ndarray, "some positions 3"],
        labels: UInt8[np.ndarray, "some positions"],
    ) -> None:
        """Add windows; padding is left out."""
        genes, row = np.unique(self.genes[positions], return_inverse=True)
        labelled = labels != PADDING
        gene = np.broadcast_to(row[:, None], labels.shape)[labelled]
        truth, scores = labels[labelled], probabilities[labelled]
        highest, binned = scores.argmax(-1), dict[SiteKind, Float32[np.ndarray, "genes bins"]]()
        for kind in SITE_KINDS:
            code = CLASSES.index(kind)
            is_site, is_called = truth == code, highest == code
            for column, counted in enumerate((is_site & is_called, is_called, is_site)):
                self.called[kind][genes, column] += np.bincount(gene[counted], minlength=len(genes))
            place = (gene * 2 + is_site) * _BINS + _bins(scores[:, code])
            counts = np.bincount(place, minlength=len(genes) * 2 * _BINS)
            binned[kind] = counts.reshape(len(genes), -1).astype(np.float32)
        self._waiting.append((genes, binned))
        self._positions_waiting += len(truth)
        if self._positions_waiting >= _COUNTED_TOGETHER:
            self._add_to_draws()

    def _add_to_draws(self) -> None:
        genes = np.concatenate([np.empty(0, np.int64), *(genes for genes, _ in self._waiting)])
        drawn = self._drawn[:, genes].astype(np.float32)
        for kind, sums in self._binned.items():
            counts = np.concatenate(
                [np.empty((0, sums.shape[1]), np.float32), *(each[kind] for _, each in self._waiting)]
            )
            # Whole numbers below 2^24, which float32 holds exactly.
            sums += (drawn @ counts).astype(np.uint32)
        self._waiting, self._positions_waiting = [], 0

    def resampled(self, metrics: Metrics) -> Resampled:
        """Return every measure in every draw, given the model's metrics on the same windows."""
        self._add_to_draws()
        found: dict[tuple[SiteKind, str], Float[np.ndarray, " draws"]] = {}
        for kind in SITE_KINDS:
            called = self._drawn.astype(np.float32) @ self.called[kind].astype(np.float32)
            parts = []
            for some in np.array_split(np.arange(len(called)), 4):  # less memory than all draws at once
                binned = self._binned[kind][some].reshape(-1, 2, _BINS)[:, :, ::-1].astype(np.float64)
                parts.append(_measured(binned[:, 1], binned[:, 0], called[some]))
            found |= {(kind, key): np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return Resampled(metrics, found, self.total)


def _bins(scores: Float32[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the bin of each score, counted from the lowest."""
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log1p(-scores)
    return ((logits.clip(-_MOST, _MOST) + _MOST) * ((_BINS - 1) / (2 * _MOST))).astype(np.int64)


@lru_cache(2)
def _draws(genes: int, seed: int, draws: int) -> UInt8[np.ndarray, "draws genes"]:
    """Return how often each gene is drawn in every draw."""
    random, drawn = np.random.default_rng([seed, 0xB0]), np.empty((draws, genes), np.uint8)
    for one in drawn:
        one[:] = np.bincount(random.integers(genes, size=genes), minlength=genes)
    return drawn


def _measured(
    sites: Float[np.ndarray, "draws bins"],
    others: Float[np.ndarray, "draws bins"],
    called: Float32[np.ndarray, "draws 3"],
) -> dict[str, Float[np.ndarray, " draws"]]:
    """Return the measures of draws.

    Arguments:
        sites: The number of sites in each bin, the highest first.
        called: The columns of `GeneCounts.called`.
    """
    total = sites.sum(1)
    true, above = sites.cumsum(1) - sites, (sites + others).cumsum(1) - sites - others
    # A bin's sites and other positions lie mixed in it: at its middle site, half of the others are above.
    half = (sites + 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        auprc = (sites * (true + half) / (above + half + others / 2)).sum(1) / total
        taken = ((total[:, None] - above) / (sites + others)).clip(0, 1)  # the share of a bin among the k highest
        top_k = np.where(sites > 0, sites * taken, 0).sum(1) / total
        hits, calls, labelled = called.T.astype(np.float64)
        precision, recall = np.where(calls > 0, hits / calls, 0), hits / labelled
        f1 = 2 * hits / (calls + labelled)
    return {AUPRC.key: auprc, TOP_K.key: top_k, "precision": precision, "recall": recall, "f1": f1}


def differences(before: Resampled, after: Resampled) -> Differences:
    """Compare one model with another; both must have been drawn with the same seed, from the same data set."""
    genes = before.genes
    change = {name: after.drawn[name] - before.drawn[name] for name in before.drawn}
    mean = Difference(
        before.metrics.mean_auprc,
        after.metrics.mean_auprc,
        _interval((change["donor", AUPRC.key] + change["acceptor", AUPRC.key]) / 2, genes),
    )

    def of_kind(kind: SiteKind) -> dict[str, Difference]:
        was, now = before.metrics.site(kind), after.metrics.site(kind)
        return {
            one.key: Difference(one.of(was), one.of(now), _interval(change[kind, one.key], genes)) for one in MEASURES
        }

    verdict = "unclear" if genes < FEW_GENES else mean.verdict
    return Differences(verdict, genes, mean, of_kind("donor"), of_kind("acceptor"))


def _interval(change: Float[np.ndarray, " draws"], genes: int) -> tuple[float, float] | None:
    """Return the ends of the interval of a change: percentiles of the draws, None where there are too few.

    They lie a little further out than 2.5 % and 97.5 %, as far as Student's t with as many genes is wider than the
    normal distribution: "expanded percentile interval" (Hesterberg 2015, What Teachers Should Know about the
    Bootstrap, section 4.6).
    """
    found = change[np.isfinite(change)]
    if genes < 2 or 2 * found.size < change.size:
        return None
    outside = (1 - CONFIDENCE) / 2
    tail = float(ndtr(math.sqrt(genes / (genes - 1)) * stdtrit(genes - 1, outside)))
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)

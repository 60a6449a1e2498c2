"""The untouched and the tuned model compared in one pass over the test set, in memory that does not grow with it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, WINDOW, SiteKind
from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance
from spliceai_jax.encoding import BASES
from spliceai_jax.evaluation.bootstrap import Differences, GeneCounts, differences, genes_of
from spliceai_jax.evaluation.evaluate import score_windows
from spliceai_jax.evaluation.metrics import Metrics, MetricsAccumulator
from spliceai_jax.network.model import Variables
from spliceai_jax.report.logo_spans import LOGO_SPANS, BaseCounts
from spliceai_jax.report.mistakes import Labels, Mistake, ModelName, Probabilities, WorstMistakes, called_classes
from spliceai_jax.training.engine import Engine

SCORE_BINS = 20
"""Bins of equal width that scores are counted in."""

Bases = UInt8[np.ndarray, "windows bases"]


@dataclass(frozen=True)
class SiteScores:
    """How a model scores all positions for one kind of site.

    Attributes:
        recall: The precision-recall curve: see `MetricsAccumulator.precision_recall`.
        precision: The same curve's other coordinate.
        sites: The number of sites with a score in each bin.
        others: The number of all other positions with a score in each bin.
        score_sums: The sum of the scores in each bin.
        called: The number of positions called.
        called_bases: The bases around them.
    """

    recall: Float[np.ndarray, " points"]
    precision: Float[np.ndarray, " points"]
    sites: Int[np.ndarray, " bins"]
    others: Int[np.ndarray, " bins"]
    score_sums: Float[np.ndarray, " bins"]
    called: int
    called_bases: BaseCounts


@dataclass(frozen=True)
class Comparison:
    """What one pass over the test set finds.

    Attributes:
        metrics: Model -> its metrics.
        scores: (model, kind) -> how the model scores.
        labelled_bases: Kind -> the bases around the labelled sites.
        mistakes: The worst mistakes of one model, those with the highest loss first.
        mistaken: The model that makes them.
        differences: How the last model compares with the first; None if there is only one, or it was not wanted.
    """

    metrics: dict[ModelName, Metrics]
    scores: dict[tuple[ModelName, SiteKind], SiteScores]
    labelled_bases: dict[SiteKind, BaseCounts]
    mistakes: list[Mistake]
    mistaken: ModelName
    differences: Differences | None


def compare_on_test_set(
    engine: Engine,
    models: Mapping[ModelName, Variables],
    test: Windows,
    batch_size: int,
    after_batch: Advance,
    seed: int | None = 42,
) -> Comparison:
    """Send the test set through all models and compare what they find.

    Arguments:
        engine: Runs the network.
        models: Name -> variables; the mistakes are those of the last model.
        test: The test set.
        batch_size: Rows in a batch.
        after_batch: Called with the number of windows done in each batch.
        seed: Decides which genes are drawn for the intervals; None: no intervals are wanted.
    """
    placed = [engine.place(variables) for variables in models.values()]
    gathered = {name: _GatheredScores() for name in models}
    counts: dict[ModelName, GeneCounts] = {}
    if seed is not None and len(models) > 1:
        genes = genes_of(test)
        counts = {name: GeneCounts(genes) for name in models}
    labelled_bases = {kind: _no_bases(kind) for kind in SITE_KINDS}
    mistakes, last = WorstMistakes(test), list(models)[-1]
    for packed, found in score_windows(engine, placed, test, batch_size):
        rows = test.index[packed.positions]
        labels, bases = packed.labels, test.bases[rows]
        for name, (probabilities, losses) in zip(models, found, strict=True):
            gathered[name].add(probabilities, labels, losses.sum(-1), bases)
            if counts:
                counts[name].add(packed.positions, probabilities, labels)
        for kind in SITE_KINDS:
            labelled_bases[kind] += _count_bases(bases, labels == CLASSES.index(kind), kind)
        by_model = {name: probabilities for name, (probabilities, _) in zip(models, found, strict=True)}
        mistakes.add(by_model, last, labels, rows)
        after_batch(len(rows))
    metrics = {name: scores.metrics.result() for name, scores in gathered.items()}
    changes = None
    if counts and seed is not None:
        first = next(iter(models))
        changes = differences(*(counts[name].resampled(metrics[name], seed) for name in (first, last)))
    return Comparison(
        metrics=metrics,
        scores={(name, kind): scores.result(kind) for name, scores in gathered.items() for kind in SITE_KINDS},
        labelled_bases=labelled_bases,
        mistakes=mistakes.worst_first(),
        mistaken=last,
        differences=changes,
    )


def _no_bases(kind: SiteKind) -> BaseCounts:
    return np.zeros((len(LOGO_SPANS[kind]), len(BASES) - 1), np.int64)


def _count_bases(bases: Bases, chosen: Bool[np.ndarray, "windows positions"], kind: SiteKind) -> BaseCounts:
    """Count the bases around the chosen positions."""
    window, position = np.nonzero(chosen)
    before = (bases.shape[1] - WINDOW) // 2
    around = bases[window[:, None], before + position[:, None] + np.array(LOGO_SPANS[kind])]
    return np.stack([(around == code).sum(0) for code in range(1, len(BASES))], axis=-1)


class _GatheredScores:
    """The scores of one model, gathered batch by batch."""

    def __init__(self) -> None:
        self.metrics = MetricsAccumulator()
        self._bins = {kind: np.zeros((3, SCORE_BINS)) for kind in SITE_KINDS}
        self._called = dict.fromkeys(SITE_KINDS, 0)
        self._called_bases = {kind: _no_bases(kind) for kind in SITE_KINDS}

    def add(
        self, probabilities: Probabilities, labels: Labels, losses: Float[np.ndarray, " windows"], bases: Bases
    ) -> None:
        self.metrics.add(probabilities, labels, losses)
        called, labelled = called_classes(probabilities, labels), labels != PADDING
        for kind in SITE_KINDS:
            code = CLASSES.index(kind)
            scores, is_site = probabilities[..., code][labelled], labels[labelled] == code
            bins = np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
            weights = (is_site, ~is_site, scores)
            self._bins[kind] += [np.bincount(bins, weight, SCORE_BINS) for weight in weights]
            self._called[kind] += int((called == code).sum())
            self._called_bases[kind] += _count_bases(bases, called == code, kind)

    def result(self, kind: SiteKind) -> SiteScores:
        recall, precision = self.metrics.precision_recall(kind)
        sites, others, score_sums = self._bins[kind]
        return SiteScores(
            recall=recall,
            precision=precision,
            sites=sites.astype(np.int64),
            others=others.astype(np.int64),
            score_sums=score_sums,
            called=self._called[kind],
            called_bases=self._called_bases[kind],
        )

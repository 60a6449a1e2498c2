"""What the page shows of the untouched and the tuned model's scores of the test set, gathered batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, WINDOW, SiteKind
from spliceai_jax.display import Advance, ignore
from spliceai_jax.encoding import BASES
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.evaluate import Evaluation, Scores, compared, evaluate_each
from spliceai_jax.evaluation.metrics import Metrics, MetricsAccumulator
from spliceai_jax.network.model import Variables
from spliceai_jax.report.mistakes import Labels, Mistake, ModelName, Probabilities, WorstMistakes, called_classes
from spliceai_jax.training.engine import Engine
from spliceai_jax.windows.windows import Windows

SCORE_BINS = 20
"""Bins of equal width that scores are counted in."""

LOGO_SPANS: dict[SiteKind, range] = {"donor": range(-2, 7), "acceptor": range(-20, 3)}
"""Places of the bases in a logo, relative to the site: a donor is the exon's last base, an acceptor its first."""

BaseCounts = Int[np.ndarray, "places 4"]
"""How often A, C, G and T occur at each of the places of `LOGO_SPANS`."""

Bases = UInt8[np.ndarray, "windows bases"]


@dataclass(frozen=True)
class SiteScores:
    """How a model scores all positions for one kind of site.

    Attributes:
        recall: The precision-recall curve: see `MetricsAccumulator.precision_recall`.
        precision: The same curve's other coordinate.
        sites: The number of sites with a score in each bin.
        others: The number of all other positions with a score in each bin.
        called: The number of positions called.
        called_bases: The bases around them.
    """

    recall: Float[np.ndarray, " points"]
    precision: Float[np.ndarray, " points"]
    sites: Int[np.ndarray, " bins"]
    others: Int[np.ndarray, " bins"]
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
        differences: How the last model compares with the first; None if there is only one.
    """

    metrics: dict[ModelName, Metrics]
    scores: dict[tuple[ModelName, SiteKind], SiteScores]
    labelled_bases: dict[SiteKind, BaseCounts]
    mistakes: list[Mistake]
    mistaken: ModelName
    differences: Differences | None


class TestSetScores:
    """Gathers what the page shows, in memory that does not grow with the test set."""

    __test__ = False  # pytest takes it for a class of tests

    def __init__(self, test: Windows, models: Sequence[ModelName]) -> None:
        """Start empty; the mistakes are those of the last model."""
        self._test, self._models = test, models
        self._scores = {name: _GatheredScores() for name in models}
        self._labelled_bases = {kind: _no_bases(kind) for kind in SITE_KINDS}
        self._mistakes = WorstMistakes(test)

    def add(self, positions: Int[np.ndarray, " windows"], labels: Labels, found: Sequence[Scores]) -> None:
        """Add windows, given their positions in the set, and their scores by every model."""
        rows = self._test.index[positions]
        bases = self._test.bases[rows]
        by_model = {name: probabilities for name, (probabilities, _) in zip(self._models, found, strict=True)}
        for name, probabilities in by_model.items():
            self._scores[name].add(probabilities, labels, bases)
        for kind in SITE_KINDS:
            self._labelled_bases[kind] += _count_bases(bases, labels == CLASSES.index(kind), kind)
        self._mistakes.add(by_model, self._models[-1], labels, rows)

    def comparison(self, evaluations: Sequence[Evaluation], differences: Differences | None) -> Comparison:
        """Return what was found."""
        by_model = dict(zip(self._models, evaluations, strict=True))
        return Comparison(
            metrics={name: evaluation.metrics for name, evaluation in by_model.items()},
            scores={
                (name, kind): self._scores[name].result(kind, evaluation.gathered)
                for name, evaluation in by_model.items()
                for kind in SITE_KINDS
            },
            labelled_bases=self._labelled_bases,
            mistakes=self._mistakes.worst_first(),
            mistaken=self._models[-1],
            differences=differences,
        )


def compare_on_test_set(
    engine: Engine,
    models: Mapping[ModelName, Variables],
    test: Windows,
    batch_size: int,
    after_batch: Advance = ignore,
    seed: int = 42,
) -> Comparison:
    """Send the test set through all models in one pass and compare what they find.

    Arguments:
        models: Name -> variables; the mistakes are those of the last model.
        after_batch: Called with the number of windows done in each batch.
        seed: Decides which genes are drawn for the intervals.
    """
    placed, scores = [engine.place(variables) for variables in models.values()], TestSetScores(test, list(models))
    found = evaluate_each(engine, placed, test, batch_size, seed, after_batch, scores.add)
    return scores.comparison(found.whole, compared(found.whole) if len(models) > 1 else None)


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
        self._bins = {kind: np.zeros((2, SCORE_BINS)) for kind in SITE_KINDS}
        self._called = dict.fromkeys(SITE_KINDS, 0)
        self._called_bases = {kind: _no_bases(kind) for kind in SITE_KINDS}

    def add(self, probabilities: Probabilities, labels: Labels, bases: Bases) -> None:
        called, labelled = called_classes(probabilities, labels), labels != PADDING
        for kind in SITE_KINDS:
            code = CLASSES.index(kind)
            scores, is_site = probabilities[..., code][labelled], labels[labelled] == code
            bins = np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
            self._bins[kind] += [np.bincount(bins, weight, SCORE_BINS) for weight in (is_site, ~is_site)]
            self._called[kind] += int((called == code).sum())
            self._called_bases[kind] += _count_bases(bases, called == code, kind)

    def result(self, kind: SiteKind, metrics: MetricsAccumulator) -> SiteScores:
        recall, precision = metrics.precision_recall(kind)
        sites, others = self._bins[kind]
        return SiteScores(
            recall=recall,
            precision=precision,
            sites=sites.astype(np.int64),
            others=others.astype(np.int64),
            called=self._called[kind],
            called_bases=self._called_bases[kind],
        )

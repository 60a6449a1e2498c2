"""One pass of the untouched and the tuned model over the test set, in memory that does not grow with it."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from spliceai_jax.architecture import BASES, CLASSES, PADDING, WINDOW
from spliceai_jax.dataset import Windows
from spliceai_jax.evaluation import scored
from spliceai_jax.metrics import Metrics, MetricsAccumulator
from spliceai_jax.model import Variables
from spliceai_jax.parallel import Engine

KINDS = ("donor", "acceptor")

SCORE_CLASSES = 20
"""Classes of equal width that scores are counted in."""

LOGO_SPANS = {"donor": range(-2, 7), "acceptor": range(-20, 3)}
"""Places of the bases in a logo, relative to the site's: a donor's is the exon's last base, an acceptor's its first."""

CONTEXT_SHOWN = 30
"""Bases on either side of a wrong position; every model sees 40 at least."""

NEAR = 50
"""Within so many bases another site may explain an error."""

_ERRORS_KEPT = 8
"""Of each kind, misses and false calls alike."""


@dataclass(frozen=True)
class SiteView:
    """How a model scores the positions for one kind of site.

    Attributes:
        recall, precision: The curve: see `MetricsAccumulator.precision_recall`.
        sites: int (20,), sites with a score in each twentieth of 0 to 1.
        others: int (20,), the same of all other positions.
        score_sums: (20,), sum of the scores in each.
        calls: int (bases, 4), how often A, C, G and T stand at the places of `LOGO_SPANS` around the called positions.
        called: Number of these.
    """

    recall: np.ndarray
    precision: np.ndarray
    sites: np.ndarray
    others: np.ndarray
    score_sums: np.ndarray
    calls: np.ndarray
    called: int


@dataclass(frozen=True)
class Error:
    """A position that the model is wrong about.

    Attributes:
        loss: -log of the probability of what it is labelled.
        shard: Number of the shard in the data set.
        window: The window in it, counted from 0.
        position: The labelled position in that, counted from 0.
        kind: "donor" or "acceptor".
        missed: It is such a site and not called; else it is called and no such site.
        scores: Model -> its probability of `kind` here.
        bases: 61 of them, this position's in the middle, on the gene's strand.
        nearest: Bases to the nearest call (of a miss) or site (of a false call) of this kind, downstream positive;
            None: no other within 50 in the window.
    """

    loss: float
    shard: int
    window: int
    position: int
    kind: str
    missed: bool
    scores: dict[str, float]
    bases: str
    nearest: int | None


@dataclass(frozen=True)
class TestView:
    """What the pass finds.

    Attributes:
        metrics: Model -> its metrics.
        views: (model, kind) -> how the model scores.
        labels: kind -> int (bases, 4), as `SiteView.calls`, around the sites.
        errors: Of the last model, the greatest loss first.
        errors_of: That model.
    """

    metrics: dict[str, Metrics]
    views: dict[tuple[str, str], SiteView]
    labels: dict[str, np.ndarray]
    errors: list[Error]
    errors_of: str


def score(
    engine: Engine,
    models: Mapping[str, Variables],
    windows: Windows,
    batch_size: int,
    after_batch: Callable[[int], None],
) -> TestView:
    """Send the test set through all models.

    Arguments:
        engine: Runs the network.
        models: Name -> variables; the errors are the last one's.
        windows: The test set.
        batch_size: Windows at a time.
        after_batch: Called with the number of windows done in each batch.
    """
    placed = {name: engine.place(variables) for name, variables in models.items()}
    gathered = {name: _Gathered() for name in models}
    labels = {kind: np.zeros((len(LOGO_SPANS[kind]), 4), np.int64) for kind in KINDS}
    errors, last = _Errors(windows), list(models)[-1]
    for positions, found in scored(engine, list(placed.values()), windows, batch_size):
        rows = windows.index[positions]
        truth, bases = windows.labels[rows], windows.bases[rows]
        probabilities = {}
        for name, (scores, losses) in zip(placed, found, strict=True):
            probabilities[name] = scores
            gathered[name].add(scores, truth, losses.sum(-1), bases)
        for kind in KINDS:
            labels[kind] += _base_counts(bases, truth == CLASSES.index(kind), kind)
        errors.add(probabilities, last, truth, rows)
        after_batch(len(rows))
    return TestView(
        {name: model.metrics.result() for name, model in gathered.items()},
        {(name, kind): model.view(kind) for name, model in gathered.items() for kind in KINDS},
        labels,
        errors.worst(),
        last,
    )


def _called(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class called at each position, (windows, length); PADDING behind a gene's end."""
    return np.where(labels == PADDING, PADDING, probabilities.argmax(-1))


def _base_counts(bases: np.ndarray, chosen: np.ndarray, kind: str) -> np.ndarray:
    window, place = np.nonzero(chosen)
    before = (bases.shape[1] - WINDOW) // 2
    around = bases[window[:, None], before + place[:, None] + np.array(LOGO_SPANS[kind])]
    return np.stack([(around == code).sum(0) for code in range(1, len(BASES))], axis=-1)


class _Gathered:
    """What is gathered of one model."""

    def __init__(self) -> None:
        self.metrics = MetricsAccumulator()
        self._counts = {kind: np.zeros((3, SCORE_CLASSES)) for kind in KINDS}
        self._calls = {kind: np.zeros((len(LOGO_SPANS[kind]), 4), np.int64) for kind in KINDS}
        self._called = dict.fromkeys(KINDS, 0)

    def add(self, probabilities: np.ndarray, labels: np.ndarray, losses: np.ndarray, bases: np.ndarray) -> None:
        self.metrics.add(probabilities, labels, losses)
        called, labelled = _called(probabilities, labels), labels != PADDING
        for kind in KINDS:
            code = CLASSES.index(kind)
            scores, is_site = probabilities[..., code][labelled], labels[labelled] == code
            classes = np.minimum((scores * SCORE_CLASSES).astype(np.int64), SCORE_CLASSES - 1)
            weights = (is_site, ~is_site, scores)
            self._counts[kind] += [np.bincount(classes, weight, SCORE_CLASSES) for weight in weights]
            self._calls[kind] += _base_counts(bases, called == code, kind)
            self._called[kind] += int((called == code).sum())

    def view(self, kind: str) -> SiteView:
        sites, others, score_sums = self._counts[kind]
        curve = self.metrics.precision_recall(kind)
        counts = (sites.astype(np.int64), others.astype(np.int64), score_sums)
        return SiteView(*curve, *counts, self._calls[kind], self._called[kind])


class _Errors:
    """The errors with the highest loss so far, some of each kind."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._worst: dict[tuple[str, bool], list[tuple[float, int, Error]]] = {
            (kind, missed): [] for kind in KINDS for missed in (True, False)
        }

    def add(self, probabilities: dict[str, np.ndarray], model: str, labels: np.ndarray, rows: np.ndarray) -> None:
        called = _called(probabilities[model], labels)
        truth = np.minimum(labels, len(CLASSES) - 1)[..., None]
        losses = -np.log(np.take_along_axis(probabilities[model], truth, -1)[..., 0] + 1e-10)
        for (kind, missed), worst in self._worst.items():
            code = CLASSES.index(kind)
            is_site, is_called = labels == code, called == code
            wrong = is_site & ~is_called if missed else is_called & ~is_site
            window, place = np.nonzero(wrong)
            for i in np.argsort(-losses[window, place], kind="stable")[:_ERRORS_KEPT]:
                row, at = window[i], place[i]
                error = self._error(
                    loss=float(losses[row, at]),
                    row=int(rows[row]),
                    position=int(at),
                    kind=kind,
                    missed=missed,
                    scores={name: float(scores[row, at, code]) for name, scores in probabilities.items()},
                    others=np.flatnonzero((is_called if missed else is_site)[row]),
                )
                # Of equal losses the first found stays.
                heapq.heappush(worst, (error.loss, -int(rows[row]) * WINDOW - int(at), error))
                if len(worst) > _ERRORS_KEPT:
                    heapq.heappop(worst)

    def _error(
        self,
        loss: float,
        row: int,
        position: int,
        kind: str,
        missed: bool,
        scores: dict[str, float],
        others: np.ndarray,
    ) -> Error:
        shard, bases = int(self._windows.shards[row]), self._windows.bases[row]
        middle = (len(bases) - WINDOW) // 2 + position
        distances = others - position
        nearest = int(distances[np.abs(distances).argmin()]) if distances.size else NEAR + 1
        return Error(
            loss,
            shard,
            row - int(np.searchsorted(self._windows.shards, shard)),
            position,
            kind,
            missed,
            scores,
            "".join(BASES[code] for code in bases[middle - CONTEXT_SHOWN : middle + CONTEXT_SHOWN + 1]),
            nearest if abs(nearest) <= NEAR else None,
        )

    def worst(self) -> list[Error]:
        found = [item for worst in self._worst.values() for item in worst]
        return [error for _, _, error in sorted(found, key=lambda item: item[:2], reverse=True)]

"""Fit a model's temperature on labelled positions, and measure how well its scores are calibrated."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS, SiteKind
from spliceai_jax.display import Advance, ignore
from spliceai_jax.errors import DivergedError
from spliceai_jax.in_flight import one_in_flight
from spliceai_jax.network.model import Variables
from spliceai_jax.network.temperature import Temperature
from spliceai_jax.training.engine import Engine
from spliceai_jax.windows.windows import Windows

TemperatureForm = Literal["class", "single"]
"""A temperature for each class, as OpenSpliceAI fits, or one for all, which keeps the order of the classes."""

BOUNDS = (0.05, 5.0)
"""The lowest and the highest temperature that is fitted; OpenSpliceAI's."""

NEUTRAL: Temperature = (1.0, 1.0, 1.0)
"""The temperature that changes nothing."""

CANDIDATE = 0.01
"""The least probability of a site, donor or acceptor, before calibration, of a candidate position."""

BINS = 10
"""Bins of equal width that scores are sorted into for the calibration error and the reliability curve."""

MOST_KEPT = 2**20
"""The most positions that are kept of the candidates, and of all others; of more, a random part stands for all."""

_AT_ONCE = 2**18
"""Positions that are computed with together, which limits the memory for their float64 form."""

InBins = Annotated[tuple[float, ...], msgspec.Meta(min_length=BINS, max_length=BINS)]
"""A number for each bin."""

Logits = Float32[np.ndarray, "positions 3"]


@dataclass(frozen=True, eq=False)
class Positions:
    """Labelled positions of a data set: all of them, or a sample that stands for all.

    Attributes:
        logits: The network's output before the softmax. Where one temperature is fitted for all classes, the logarithm
            of the output after it serves as well: it differs by the same number in all classes.
        labels: The classes.
        weights: How many positions each stands for.
    """

    logits: Logits
    labels: UInt8[np.ndarray, " positions"]
    weights: Float[np.ndarray, " positions"]


class _Sample:
    """All positions added, until they are too many; then a random part of them, each position equally likely."""

    def __init__(self, most: int, random: np.random.Generator) -> None:
        self._most, self._random, self._halvings = most, random, 0
        self._logits: list[Logits] = []
        self._labels: list[UInt8[np.ndarray, " positions"]] = []
        self._held = 0

    def add(self, logits: Logits, labels: UInt8[np.ndarray, " positions"]) -> None:
        if self._halvings:
            drawn = self._random.random(len(labels)) < 0.5**self._halvings
            logits, labels = logits[drawn], labels[drawn]
        self._logits.append(logits)
        self._labels.append(labels)
        self._held += len(labels)
        while self._held > self._most:
            self._halve()

    def _halve(self) -> None:
        logits, labels = np.concatenate(self._logits), np.concatenate(self._labels)
        kept = self._random.random(len(labels)) < 0.5
        self._logits, self._labels = [logits[kept]], [labels[kept]]
        self._held, self._halvings = int(kept.sum()), self._halvings + 1

    def positions(self) -> Positions:
        logits = np.concatenate([np.empty((0, len(CLASSES)), np.float32), *self._logits])
        labels = np.concatenate([np.empty(0, np.uint8), *self._labels])
        return Positions(logits, labels, np.full(len(labels), 2.0**self._halvings))


class PositionsGatherer:
    """Gathers positions batch by batch, in memory that does not grow with their number.

    The candidates and the sites, which decide the temperature, are sampled apart from the many others.
    """

    def __init__(self, seed: int, most: int = MOST_KEPT) -> None:
        """Start empty.

        Arguments:
            seed: Decides which positions are drawn.
            most: The most positions that are kept of the candidates, and of the others.
        """
        random = np.random.default_rng([seed, 0x7E])
        self._candidates, self._others = _Sample(most, random), _Sample(most, random)

    def add(self, logits: Float32[np.ndarray, "*windows 3"], labels: UInt8[np.ndarray, " *windows"]) -> None:
        """Add positions; padding is left out."""
        labelled = labels != PADDING
        kept, classes = logits[labelled], labels[labelled]
        special = (classes != CLASSES.index("neither")) | _are_candidates(kept)
        self._candidates.add(kept[special], classes[special])
        self._others.add(kept[~special], classes[~special])

    def result(self) -> Positions:
        """Return what was gathered."""
        parts = [self._candidates.positions(), self._others.positions()]
        return Positions(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("logits", "labels", "weights"))
        )


def gather_positions(
    engine: Engine, variables: Variables, windows: Windows, rows: int, seed: int, after_batch: Advance = ignore
) -> Positions:
    """Send windows through a network and gather their labelled positions.

    Arguments:
        engine: Runs the network.
        variables: Placed on the engine's devices.
        windows: The windows.
        rows: Rows in a batch.
        seed: See `PositionsGatherer`.
        after_batch: Called with the number of windows done in each batch.

    Raises:
        DivergedError: The network's output is infinite or not a number.
    """
    gathered = PositionsGatherer(seed)
    dispatched = ((packed, engine.logits(variables, packed.batch)) for packed in windows.scoring_batches(rows))
    for packed, found in one_in_flight(dispatched):
        logits = packed.by_window(found)
        if not np.isfinite(logits).all():
            raise DivergedError(f"{windows.files}: the model's output here is not finite; its weights are unusable")
        gathered.add(logits, packed.labels)
        after_batch(len(packed.positions))
    return gathered.result()


def probabilities(logits: Logits, temperature: Temperature) -> Float[np.ndarray, "positions 3"]:
    """Return the probabilities of logits at a temperature, in float64."""
    scaled = logits.astype(np.float64) / np.array(temperature)
    scaled -= scaled.max(-1, keepdims=True)
    np.exp(scaled, out=scaled)
    return scaled / scaled.sum(-1, keepdims=True)


def _are_candidates(logits: Logits) -> Bool[np.ndarray, " positions"]:
    neither = CLASSES.index("neither")
    # 1 - p of neither loses the small ones to rounding; the sum of the two sites' odds does not.
    with np.errstate(over="ignore"):
        odds = np.exp(np.delete(logits, neither, -1) - logits[:, [neither]]).sum(-1)
    return odds >= CANDIDATE / (1 - CANDIDATE)


def _slices(positions: Positions) -> Iterator[slice]:
    for start in range(0, len(positions.labels), _AT_ONCE):
        yield slice(start, start + _AT_ONCE)


# -- the fit -----------------------------------------------------------------------------------------------------


def fit_temperature(positions: Positions, form: TemperatureForm = "class") -> Temperature:
    """Return the temperature with the lowest negative log-likelihood on labelled positions.

    The likelihood has a single optimum, since it is concave in 1 / temperature.

    Arguments:
        positions: The positions.
        form: A temperature for each class, or one for all.
    """
    classes = len(CLASSES) if form == "class" else 1
    sites = max(positions.weights[positions.labels != CLASSES.index("neither")].sum(), 1.0)

    def loss(log_temperature: Float[np.ndarray, " classes"]) -> tuple[float, Float[np.ndarray, " classes"]]:
        temperature = np.broadcast_to(np.exp(log_temperature), len(CLASSES))
        total, gradient = 0.0, np.zeros(len(CLASSES))
        for part in _slices(positions):
            found, by_inverse = _likelihood(positions, part, temperature)
            total, gradient = total + found, gradient - by_inverse / temperature
        # For each site rather than each position: the optimiser's tolerances are absolute.
        return total / sites, gradient.reshape(classes, -1).sum(-1) / sites

    from scipy.optimize import minimize  # takes a second, which a run need not wait for before its first step

    bounds = [tuple(np.log(BOUNDS))] * classes
    options = {"ftol": 1e-12, "gtol": 1e-9}
    found = minimize(loss, np.zeros(classes), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    # Every file that holds the temperature, some of which hold float32, gives the same scores.
    neither, acceptor, donor = np.broadcast_to(np.exp(found.x), len(CLASSES)).astype(np.float32).tolist()
    return neither, acceptor, donor


def _likelihood(
    positions: Positions, part: slice, temperature: Float[np.ndarray, " 3"]
) -> tuple[float, Float[np.ndarray, " 3"]]:
    """Return the negative log-likelihood of a part, and its gradient by the inverse temperatures."""
    logits, weights = positions.logits[part].astype(np.float64), positions.weights[part]
    scaled = logits / temperature
    scaled -= scaled.max(-1, keepdims=True)
    exponentials = np.exp(scaled)
    total = exponentials.sum(-1)
    truth = positions.labels[part, None] == np.arange(len(CLASSES))
    likelihood = weights @ (np.log(total) - (scaled * truth).sum(-1))
    return float(likelihood), weights @ ((exponentials / total[:, None] - truth) * logits)


# -- the measures ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """The candidates' scores for one kind of site, sorted into ten bins of equal width.

    Attributes:
        scores: The mean score in each bin; 0 in an empty one.
        shares: The share of sites among the positions in each bin; 0 in an empty one.
        positions: The number of positions in each bin.
    """

    scores: InBins
    shares: InBins
    positions: InBins

    @property
    def error(self) -> float:
        """The expected calibration error, which is the mean distance of score and share, weighted by positions."""
        return _calibration_error(*map(np.array, (self.scores, self.shares, self.positions)))


@dataclass(frozen=True)
class CalibrationMeasures:
    """How far scores can be read as probabilities. Lower is better throughout.

    Attributes:
        nll: The mean negative log-likelihood of the labels.
        brier: The mean squared distance of the three scores from the label's 1, 0, 0.
        ece: The expected calibration error (Guo et al. 2017) of the called class's score over all positions, in ten
            bins of equal width. It is tiny whatever the model, since almost all positions are surely no site.
        candidates: The number of positions with a site's probability of 0.01 or more before calibration.
        candidates_ece: The expected calibration error over these alone.
        donor: Their donor scores.
        acceptor: Their acceptor scores.
    """

    nll: float
    brier: float
    ece: float
    candidates: float
    candidates_ece: float
    donor: Reliability
    acceptor: Reliability

    def site(self, kind: SiteKind) -> Reliability:
        """Return the reliability of one kind of site."""
        return {"donor": self.donor, "acceptor": self.acceptor}[kind]


def measure_calibration(positions: Positions, temperature: Temperature = NEUTRAL) -> CalibrationMeasures:
    """Measure the scores that a temperature gives; the candidates are the same for every temperature."""
    everywhere, candidates = _Bins(), _Bins()
    kinds = {kind: _Bins() for kind in SITE_KINDS}
    nll = brier = total = 0.0
    for part in _slices(positions):
        labels, weights, logits = positions.labels[part], positions.weights[part], positions.logits[part]
        scores, truth = probabilities(logits, temperature), labels[:, None] == np.arange(len(CLASSES))
        nll += _likelihood(positions, part, np.array(temperature))[0]
        brier += weights @ ((scores - truth) ** 2).sum(-1)
        total += weights.sum()
        called, right = scores.max(-1), scores.argmax(-1) == labels
        everywhere.add(called, right, weights)
        chosen = _are_candidates(logits)
        candidates.add(called[chosen], right[chosen], weights[chosen])
        for kind, bins in kinds.items():
            code = CLASSES.index(kind)
            bins.add(scores[chosen, code], truth[chosen, code], weights[chosen])
    return CalibrationMeasures(
        nll=float(nll / total),
        brier=float(brier / total),
        ece=everywhere.reliability().error,
        candidates=float(candidates.positions),
        candidates_ece=candidates.reliability().error,
        donor=kinds["donor"].reliability(),
        acceptor=kinds["acceptor"].reliability(),
    )


class _Bins:
    def __init__(self) -> None:
        self._sums = np.zeros((3, BINS))

    def add(
        self,
        scores: Float[np.ndarray, " positions"],
        hits: Bool[np.ndarray, " positions"],
        weights: Float[np.ndarray, " positions"],
    ) -> None:
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        self._sums += [np.bincount(bins, weights * values, BINS) for values in (scores, hits, 1.0)]

    @property
    def positions(self) -> float:
        return float(self._sums[2].sum())

    def reliability(self) -> Reliability:
        scores, hits, positions = self._sums
        n = np.maximum(positions, 1e-300)
        return Reliability(*(tuple(values.tolist()) for values in (scores / n, hits / n, positions)))


def _calibration_error(
    scores: Float[np.ndarray, " bins"], shares: Float[np.ndarray, " bins"], positions: Float[np.ndarray, " bins"]
) -> float:
    return float(np.abs(scores - shares) @ positions / max(positions.sum(), 1e-300))

"""Calibration: fit a model's temperature on labelled positions, and measure how far its scores are probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from jaxtyping import Bool, Float

from spliceai_jax.architecture import CLASSES, SITE_KINDS, SiteKind
from spliceai_jax.evaluation.positions import Logits, Positions, are_candidates
from spliceai_jax.network.temperature import FittedOn, Temperature, TemperatureFile
from spliceai_jax.windows.windows import Windows

TemperatureForm = Literal["class", "single"]
"""A temperature for each class, as OpenSpliceAI fits, or one for all, which keeps the order of the classes."""

MeasuredOn = Literal["validation", "test"]

FEW_SITES = 200
"""With fewer sites of a kind a fit is uncertain, and this is said."""

BOUNDS = (0.05, 5.0)
"""The lowest and the highest temperature that is fitted; OpenSpliceAI's."""

NEUTRAL: Temperature = (1.0, 1.0, 1.0)
"""The temperature that changes nothing."""

BINS = 10
"""Bins of equal width that scores are sorted into for the calibration error and the reliability curve."""

_AT_ONCE = 2**18
"""Positions that are computed with together, which limits the memory for their float64 form."""

InBins = Annotated[tuple[float, ...], msgspec.Meta(min_length=BINS, max_length=BINS)]
"""A number for each bin."""

Sums = Float[np.ndarray, " bins"]


def probabilities(logits: Logits, temperature: Temperature) -> Float[np.ndarray, "positions 3"]:
    """Return the probabilities of logits at a temperature, in float64."""
    scaled = logits.astype(np.float64) / np.array(temperature)
    scaled -= scaled.max(-1, keepdims=True)
    np.exp(scaled, out=scaled)
    return scaled / scaled.sum(-1, keepdims=True)


def _slices(positions: Positions) -> list[slice]:
    return [slice(start, start + _AT_ONCE) for start in range(0, len(positions.labels), _AT_ONCE)]


# -- the fit -----------------------------------------------------------------------------------------------------


def fit_temperature(positions: Positions, form: TemperatureForm = "class") -> Temperature:
    """Return the temperature with the lowest negative log-likelihood on labelled positions.

    The likelihood has a single optimum, since it is concave in 1 / temperature.
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
        scores, shares, positions = map(np.array, (self.scores, self.shares, self.positions))
        return float(np.abs(scores - shares) @ positions / max(positions.sum(), 1e-300))


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
    binned = {name: np.zeros((3, BINS)) for name in ("everywhere", "candidates", *SITE_KINDS)}
    nll = brier = total = 0.0
    for part in _slices(positions):
        labels, weights, logits = positions.labels[part], positions.weights[part], positions.logits[part]
        scores, truth = probabilities(logits, temperature), labels[:, None] == np.arange(len(CLASSES))
        nll += _likelihood(positions, part, np.array(temperature))[0]
        brier += weights @ ((scores - truth) ** 2).sum(-1)
        total += weights.sum()
        called, right, chosen = scores.max(-1), scores.argmax(-1) == labels, are_candidates(logits)
        binned["everywhere"] += _in_bins(called, right, weights)
        binned["candidates"] += _in_bins(called[chosen], right[chosen], weights[chosen])
        for kind in SITE_KINDS:
            code = CLASSES.index(kind)
            binned[kind] += _in_bins(scores[chosen, code], truth[chosen, code], weights[chosen])
    found = {name: _reliability(*sums) for name, sums in binned.items()}
    return CalibrationMeasures(
        nll=float(nll / total),
        brier=float(brier / total),
        ece=found["everywhere"].error,
        candidates=sum(found["candidates"].positions),
        candidates_ece=found["candidates"].error,
        donor=found["donor"],
        acceptor=found["acceptor"],
    )


def _in_bins(
    scores: Float[np.ndarray, " positions"],
    hits: Bool[np.ndarray, " positions"],
    weights: Float[np.ndarray, " positions"],
) -> Float[np.ndarray, "3 bins"]:
    """Return the sums of scores, of hits and of positions in each bin."""
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    return np.stack([np.bincount(bins, weights * values, BINS) for values in (scores, hits, 1.0)])


def _reliability(scores: Sums, hits: Sums, positions: Sums) -> Reliability:
    n = np.maximum(positions, 1e-300)
    return Reliability(*(tuple(values.tolist()) for values in (scores / n, hits / n, positions)))


# -- what calibrating finds --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BeforeAndAfter:
    """The measures of one set, without the temperature and with it."""

    before: CalibrationMeasures
    after: CalibrationMeasures


@dataclass(frozen=True)
class Calibration:
    """A model's temperature, and what it does.

    Attributes:
        temperature: The temperature.
        form: "class": one for each class; "single": one for all; "given": it was not fitted here.
        sha256: SHA-256 of the model's `.pt` file.
        fitted_on: The validation windows.
        measures: "validation", and "test" where there is such a set -> the measures there. Those on the validation set
            are what the fit makes the best of; those on the test set say what it is worth.
    """

    temperature: Temperature
    form: Literal["class", "single", "given"]
    sha256: str
    fitted_on: FittedOn
    measures: dict[MeasuredOn, BeforeAndAfter]

    @property
    def file(self) -> TemperatureFile:
        """What lies beside the model."""
        return TemperatureFile(self.temperature, self.sha256, self.fitted_on)

    @property
    def doubts(self) -> list[str]:
        """What a user should know before relying on it, in words."""
        doubts = []
        if self.form != "given" and min(self.fitted_on.donors, self.fitted_on.acceptors) < FEW_SITES:
            doubts.append(
                f"the temperature was fitted on {self.fitted_on.words} only; on other genes the scores may be further "
                "from probabilities than measured here"
            )
        if self.form != "given" and any(abs(value - bound) < 1e-6 for value in self.temperature for bound in BOUNDS):
            doubts.append(
                f"a temperature reached the end of its range, {BOUNDS[0]:g} to {BOUNDS[1]:g}: the model does not fit "
                "these data well; fine-tune it first"
            )
        if "test" in self.measures and (test := self.measures["test"]).after.nll > test.before.nll:
            doubts.append(
                f"on the test set the temperature does not make the scores better probabilities (NLL "
                f"{test.before.nll:.6f} before, {test.after.nll:.6f} after); the model may as well be used without it"
            )
        return doubts


def calibrate_positions(
    positions: Mapping[MeasuredOn, Positions],
    validation: Windows,
    sha256: str,
    temperature: TemperatureForm | Temperature = "class",
) -> Calibration:
    """Calibrate a model, given what it says of labelled positions.

    Arguments:
        positions: Those of "validation", which the temperature is fitted on, and of "test", if it is to be measured
            there too.
        temperature: What to fit; or a temperature to measure instead.
    """
    form: Literal["class", "single", "given"]
    if isinstance(temperature, tuple):
        form, found = "given", temperature
    else:
        form, found = temperature, fit_temperature(positions["validation"], temperature)
    return Calibration(
        temperature=found,
        form=form,
        sha256=sha256,
        fitted_on=FittedOn(
            path=validation.absolute_files,
            fingerprint=validation.fingerprint,
            windows=len(validation),
            donors=validation.count("donor"),
            acceptors=validation.count("acceptor"),
        ),
        measures={
            name: BeforeAndAfter(measure_calibration(of_set), measure_calibration(of_set, found))
            for name, of_set in positions.items()
        },
    )

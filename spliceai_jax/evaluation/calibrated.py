"""What calibrating a model finds: its temperature, and the measures before and after, set by set."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.evaluation.calibration import (
    BOUNDS,
    CalibrationMeasures,
    Positions,
    TemperatureForm,
    fit_temperature,
    measure_calibration,
)
from spliceai_jax.network.temperature import FittedOn, Temperature, TemperatureFile, in_words
from spliceai_jax.windows.windows import Windows

MeasuredOn = Literal["validation", "test"]

FEW_SITES = 200
"""With fewer sites of a kind a fit is uncertain, and this is said."""

_FORMAT_VERSION = 1


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

    def to_json(self) -> str:
        """Return the content of `calibration.json`."""
        return json.dumps({"format_version": _FORMAT_VERSION, **asdict(self)}, indent=2) + "\n"

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
        validation: The validation set.
        sha256: SHA-256 of the model's file.
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


COLUMNS = ("NLL", "Brier", "ECE", "candidates", *(f"{kind}s" for kind in SITE_KINDS))
"""The names of what `row` returns; the last three are calibration errors over candidate positions."""


def row(measures: CalibrationMeasures) -> list[str]:
    """Return measures in digits, as `COLUMNS` names them."""
    errors = (measures.candidates_ece, *(measures.site(kind).error for kind in SITE_KINDS))
    return [f"{measures.nll:.6f}", f"{measures.brier:.6f}", f"{measures.ece:.6f}", *(f"{x:.4f}" for x in errors)]


def calibration_table(calibration: Calibration) -> str:
    """Return a calibration as text."""
    lines = [f"temperature: {in_words(calibration.temperature)}"]
    lines.append("  ".join([" " * 18, *(f"{name:>10}" for name in COLUMNS)]))
    for name, pair in calibration.measures.items():
        for when, measures in (("before", pair.before), ("after", pair.after)):
            lines.append("  ".join([f"{name}, {when}".rjust(18), *(f"{digits:>10}" for digits in row(measures))]))
    lines.append(
        f"ECE: expected calibration error, over all positions; after it: over the candidates, positions with "
        f"a site's probability of 0.01 or more ({', '.join(_counted(calibration))})"
    )
    return "\n".join(lines)


def _counted(calibration: Calibration) -> list[str]:
    return [f"{pair.before.candidates:.0f} in {name}" for name, pair in calibration.measures.items()]

"""The temperature of a calibrated model: what its logits are divided by, and the file beside a model that holds it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from spliceai_jax.architecture import CLASSES
from spliceai_jax.errors import WeightsError
from spliceai_jax.network.model_files import TEMPERATURE, beside
from spliceai_jax.stored import read_json

Temperature = tuple[float, float, float]
"""What the logits of neither, acceptor and donor are divided by before the softmax; 1 changes nothing."""

COLLECTION = "calibration"
"""The collection of the network's variables that holds the temperature, where there is one."""

_FORMAT_VERSION = 1
_LOWEST, _HIGHEST = 0.01, 100.0
"""Temperatures beyond these make every score 0 or 1, or all alike, and are taken for damage."""


@dataclass(frozen=True)
class FittedOn:
    """The windows that a temperature was fitted on.

    Attributes:
        path: Their file, absolute.
        fingerprint: SHA-256 of the contents: see `Windows.fingerprint`.
        windows: The number of windows.
        donors: The number of donors.
        acceptors: The number of acceptors.
    """

    path: str
    fingerprint: str
    windows: int
    donors: int
    acceptors: int

    @property
    def words(self) -> str:
        """How many sites there were, in words."""
        return f"{self.donors} donors and {self.acceptors} acceptors"


@dataclass(frozen=True)
class TemperatureFile:
    """What lies beside a model, as JSON.

    Attributes:
        temperature: The temperature.
        sha256: The digest of the model that it was fitted for: see `Pretrained.sha256_at`.
        fitted_on: The windows that it was fitted on.
    """

    temperature: Temperature
    sha256: str
    fitted_on: FittedOn

    def render(self) -> str:
        """Return the file's content."""
        return json.dumps({"format_version": _FORMAT_VERSION, **asdict(self)}, indent=2) + "\n"


def temperature_beside(model: Path) -> Path:
    """Return where the temperature of a model lies: `model_best.temperature.json` for `model_best.pt`."""
    return beside(model, TEMPERATURE)


def in_words(temperature: Temperature) -> str:
    """Return a temperature as text."""
    if len(set(temperature)) == 1:
        return f"{temperature[0]:.4g} for all classes"
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(CLASSES, temperature, strict=True))


def check_temperature(values: Sequence[Any], source: str) -> Temperature:
    """Refuse what cannot be a temperature.

    Arguments:
        values: What was found.
        source: Where; the message begins with it.

    Raises:
        WeightsError: These are not three numbers from 0.01 to 100.
    """
    found = [value if isinstance(value, int | float) else math.nan for value in values]
    if len(found) != len(CLASSES) or not all(_LOWEST <= value <= _HIGHEST for value in found):
        raise WeightsError(
            f"{source}: the temperature is {list(values)!s:.100}; expected three numbers from {_LOWEST:g} to "
            f"{_HIGHEST:g}, for {', '.join(CLASSES)}; calibrate the model again"
        )
    neither, acceptor, donor = map(float, found)
    return neither, acceptor, donor


def read_temperature(model: Path, sha256: str) -> Temperature:
    """Read the temperature that lies beside a model.

    Arguments:
        model: The `.pt` file or the checkpoint.
        sha256: Its digest: see `Pretrained.sha256_at`.

    Raises:
        WeightsError: There is none, it is damaged, or it was fitted for another model.
    """
    path = temperature_beside(model)
    try:
        found = msgspec.convert(read_json(path), TemperatureFile)
    except FileNotFoundError:
        raise WeightsError(
            f"{model}: `calibrated` needs {path.name} beside it, which is not there; make it by `spliceai-jax "
            f"calibrate -m {model} -d VALIDATION_H5 -o {model.parent}`, or leave out `calibrated`"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{path}: cannot be read as a temperature ({error!s:.200}); calibrate the model again"
        ) from error
    if found.sha256 != sha256:
        raise WeightsError(
            f"{path}: belongs to another model than {model}, of SHA-256 {found.sha256:.64}; calibrate this model, or "
            "leave out `calibrated`"
        )
    return check_temperature(found.temperature, str(path))

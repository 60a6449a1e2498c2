"""The forms in which the weights and temperature of a calibrated model are found in a `.pt` file."""

from pathlib import Path
from typing import Any

import torch

from spliceai_jax.architecture import CLASSES
from spliceai_jax.convert.pickled import Kept
from spliceai_jax.errors import WeightsError
from spliceai_jax.network.temperature import Temperature, check_temperature

FORMAT_VERSION = 1
"""The version of the dictionary that we write."""

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""The keys under which training scripts save a state dict beside other things."""


def unwrap(content: Any, path: Path) -> tuple[Any, Temperature | None, int | None]:
    """Take a file's content apart.

    Arguments:
        content: What `read_archive` returned.
        path: The file, for messages.

    Returns:
        The state dict, still to be checked; the temperature, None where there is none; and the flanking size that the
        file claims, if it does.

    Raises:
        WeightsError: The temperature is none, or the file's classes are not the network's.
    """
    if isinstance(content, Kept):
        content = dict(content.tensors())
    if not isinstance(content, dict):
        return content, None, None
    if wrapper := next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None):
        state, temperature = content[wrapper], content.get("temperature")
        if temperature is not None:
            _check_header(content, path)
        size = content.get("flanking_size") if temperature is not None else None
    else:
        state, size = dict(content), None
        temperature = state.pop("temperature", None)
    if temperature is None:
        return state, None, None
    return state, temperature_of(temperature, path), size


def temperature_of(found: Any, path: Path) -> Temperature:
    """Return a temperature that is stored as a tensor, a list or a tuple.

    Raises:
        WeightsError: It is none.
    """
    values = found.flatten()[: len(CLASSES) + 1].tolist() if isinstance(found, torch.Tensor) else found
    return check_temperature(values if isinstance(values, list | tuple) else [values], str(path))


def _check_header(content: dict[str, Any], path: Path) -> None:
    version = content.get("format_version", FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{path}: a calibrated model of format version {version!r:.40}; this spliceai-jax knows {FORMAT_VERSION}, "
            "use a newer one"
        )
    names = content.get("class_names", list(CLASSES))
    if not isinstance(names, list | tuple) or [str(name).lower() for name in names] != list(CLASSES):
        raise WeightsError(
            f"{path}: a calibrated model of the classes {names!s:.100}; expected {', '.join(CLASSES)}, in this order; "
            "calibrate the model again"
        )

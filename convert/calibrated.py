"""The forms in which the weights and temperature of a calibrated model are found in a `.pt` file.

OpenSpliceAI's `calibrate` saves a whole object (a pickle of Python classes), not a state dict. It is read without
running its code: every class is replaced by one that only keeps what it is given.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from spliceai_jax.architecture import CLASSES
from spliceai_jax.errors import WeightsError
from spliceai_jax.network.temperature import Temperature, check_temperature

FORMAT_VERSION = 1
"""The version of the dictionary that we write."""

_CLASSES = (
    "openspliceai.calibrate.temperature_scaling.ModelWithTemperature",
    *(f"openspliceai.train_base.openspliceai.{name}" for name in ("Cropping1D", "ResidualUnit", "Skip", "SpliceAI")),
    "torch.nn.modules.activation.LeakyReLU",
    "torch.nn.modules.batchnorm.BatchNorm1d",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.conv.Conv1d",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)


class _Kept:
    """Stands for an object of any of these classes, and keeps its attributes."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Yield what PyTorch's `state_dict` would hold."""
        for kind in ("_parameters", "_buffers"):
            for name, value in self._part(kind).items():
                if value is not None:
                    yield f"{prefix}{name}", value
        for name, module in self._part("_modules").items():
            if isinstance(module, _Kept):
                yield from module.tensors(f"{prefix}{name}.")

    def _part(self, kind: str) -> dict[str, Any]:
        found = self.__dict__.get(kind)
        return found if isinstance(found, dict) else {}


def stand_ins() -> contextlib.AbstractContextManager[None]:
    """Let `torch.load(weights_only=True)` read OpenSpliceAI's objects, none of whose code runs."""
    names: list[Any] = [(_Kept, name) for name in _CLASSES]
    return torch.serialization.safe_globals(names)


def unwrap(content: Any, path: Path) -> tuple[Any, Temperature | None, int | None]:
    """Take a file's content apart.

    Arguments:
        content: What `torch.load` returned.
        path: The file, for messages.

    Returns:
        The state dict, still to be checked; the temperature, None where there is none; and the flanking size that the
        file claims, if it does.

    Raises:
        WeightsError: The temperature is none, or the file's classes are not the network's.
    """
    if isinstance(content, _Kept):
        content = dict(content.tensors())
    if not isinstance(content, dict):
        return content, None, None
    if isinstance(content.get("state_dict"), dict):
        state, temperature = content["state_dict"], content.get("temperature")
        if temperature is not None:
            _check_header(content, path)
        size = content.get("flanking_size") if temperature is not None else None
    else:
        state, size = dict(content), None
        temperature = state.pop("temperature", None)
        if temperature is not None and all(str(key).startswith("model.") for key in state):
            state = {str(key).removeprefix("model."): value for key, value in state.items()}
    if temperature is None:
        return state, None, None
    values = temperature.detach().flatten().tolist() if isinstance(temperature, torch.Tensor) else temperature
    return state, check_temperature(values if isinstance(values, list | tuple) else [values], str(path)), size


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

"""Read and write `.pt` files."""

import contextlib
import io
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flax.traverse_util import flatten_dict, unflatten_dict

from spliceai_jax.architecture import ARCHITECTURES, CLASSES
from spliceai_jax.convert.archive import read_archive
from spliceai_jax.convert.calibrated import FORMAT_VERSION, temperature_of, unwrap
from spliceai_jax.convert.pickled import NotPlainError
from spliceai_jax.convert.table import Tensor, tensor_table
from spliceai_jax.errors import WeightsError
from spliceai_jax.genome.compressed import LENGTH, MODEL, OLD_MODEL, ZIP, Found, told
from spliceai_jax.network.model import Variables
from spliceai_jax.network.temperature import Temperature

_LISTED_PROBLEMS = 12

_PREFIXES = re.compile(r"^((_orig_mod|module|model)\.)+")
"""What torch.compile, DataParallel, and a module that holds the network put before its keys."""


@contextlib.contextmanager
def _wall(path: Path) -> Iterator[None]:
    """Turn whatever is raised at reading a file into one error that says what is wrong with the file."""
    try:
        yield
    except WeightsError:
        raise
    except NotPlainError as error:
        raise WeightsError(
            f"{path}: holds something other than tensors ({error!s:.100}) and was not loaded, since it could run code; "
            "expected a state dict, saved with torch.save(model.state_dict(), path)"
        ) from error
    except Exception as error:  # damaged bytes raise whatever zipfile, pickletools and struct raise
        reason = getattr(error, "strerror", None) or str(error).strip().split("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path}: cannot be read as a .pt file ({reason:.200}); it may be damaged, or not from torch.save"
        ) from error


def _read(path: Path) -> Any:
    if not os.path.isfile(path):
        found = "a folder, expected" if os.path.isdir(path) else "no such weights file; give the path of"
        raise WeightsError(f"{path}: {found} a .pt file of OpenSpliceAI")
    with open(path, "rb") as file:
        begins = file.read(LENGTH)
    it_is = told(begins, path) or Found(f"none (its first bytes are {begins[:2]!r})", "")
    if it_is.what not in (ZIP, MODEL, OLD_MODEL):
        raise WeightsError(
            f"{path}: cannot be read as a .pt file: it is {it_is.what}; "
            f"{it_is.advice('a model of PyTorch, a .pt file that torch.save wrote')}"
        )
    return read_archive(path)


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a state dict of tensors")
    state = {}
    for key, value in content.items():
        name = _PREFIXES.sub("", str(key))
        if not isinstance(value, torch.Tensor):
            raise WeightsError(f"{path}: {key!r:.60} is not a tensor; expected a state dict of tensors")
        if name in state:
            raise WeightsError(f"{path}: {name!r:.60} is there twice, under different prefixes; leave one")
        state[name] = value
    return state


def _problems(state: dict[str, torch.Tensor], tensors: list[Tensor], finite: bool = True) -> list[str]:
    expected = {tensor.key: tensor for tensor in tensors}
    problems = [f"{key:.60} is unexpected" for key in state if key not in expected]
    problems += [f"{key} is missing" for key in expected if key not in state]
    for key, tensor in expected.items():
        if key not in state:
            continue
        value, dtype = state[key], torch.int64 if tensor.is_count else torch.float32
        if tuple(value.shape) != tensor.shape:
            problems.append(f"{key} has shape {tuple(value.shape)}, expected {tensor.shape}")
        elif value.dtype != dtype:
            problems.append(f"{key} is {value.dtype}, expected {dtype}")
        elif finite and not tensor.is_count and not bool(torch.isfinite(value).all()):
            problems.append(f"{key} holds values that are infinite or not a number")
        elif key.endswith("running_var") and bool((value < 0).any()):
            problems.append(f"{key} holds variances below zero")
        elif tensor.is_count and not 0 <= int(value) < 2**31:
            problems.append(f"{key} is {int(value)}, expected a count of batches")
    return problems


def _shapes_fit(state: dict[str, torch.Tensor], tensors: list[Tensor]) -> bool:
    return {key: tuple(value.shape) for key, value in state.items()} == {t.key: t.shape for t in tensors}


def _listed(problems: list[str]) -> str:
    more = len(problems) - _LISTED_PROBLEMS
    return "; ".join(problems[:_LISTED_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def read_pt(path: str | Path, flanking_size: int | None = None, finite: bool = True) -> tuple[int, Variables]:
    """Read the weights of a `.pt` file; see `read_calibrated_pt`, without the temperature."""
    size, variables, _ = read_calibrated_pt(path, flanking_size, finite)
    return size, variables


def read_calibrated_pt(
    path: str | Path, flanking_size: int | None = None, finite: bool = True
) -> tuple[int, Variables, Temperature | None]:
    """Read a `.pt` file: a state dict, whose keys may have the prefixes `module.`, `_orig_mod.` and `model.`.

    It may be one entry of a dictionary, under the key `state_dict`, `model_state_dict` or `model`.

    The file may be of a calibrated model: our dictionary, or the object that OpenSpliceAI's `calibrate` saves.

    Arguments:
        path: The file.
        flanking_size: What the caller expects (80, 400, 2000 or 10000), or None to take what the file holds.
        finite: Whether to refuse values that are infinite or not a number.

    Returns:
        The flanking size that the weights fit, the variables, numpy arrays in float32 (counts in int32), and the
        temperature, None where the file holds none.

    Raises:
        WeightsError: The file is missing, damaged, carries code, or any tensor is missing, unexpected, misshapen,
            of a wrong type or not finite (all are listed), the weights are of another flanking size, or the
            temperature is not three numbers within reason.
    """
    path = Path(path)
    if flanking_size is not None and flanking_size not in ARCHITECTURES:
        raise WeightsError(f"flanking size {flanking_size} is none of {', '.join(map(str, ARCHITECTURES))}")
    with _wall(path):
        return _weights(path, flanking_size, finite)


def _weights(path: Path, flanking_size: int | None, finite: bool) -> tuple[int, Variables, Temperature | None]:
    content, temperature, claimed = unwrap(_read(path), path)
    state = _state_dict(content, path)
    tables = {size: tensor_table(architecture) for size, architecture in ARCHITECTURES.items()}
    fits = next((size for size, tensors in tables.items() if _shapes_fit(state, tensors)), None)
    if fits is not None and flanking_size not in (None, fits):
        raise WeightsError(
            f"{path}: these weights have a flanking size of {fits}, not {flanking_size}; give `flanking_size={fits}`"
        )
    if claimed is not None and fits is not None and claimed != fits:
        raise WeightsError(
            f"{path}: a calibrated model that claims a flanking size of {claimed!r:.40}, but its weights have one of "
            f"{fits}; calibrate the model again"
        )
    # Weights that fit no table are compared with the closest one.
    size = fits or flanking_size or min(tables, key=lambda known: len(_problems(state, tables[known])))
    if problems := _problems(state, tables[size], finite):
        raise WeightsError(f"{path}: not the weights of OpenSpliceAI's {size}-nt model: {_listed(problems)}")
    flat = {}
    for tensor in tables[size]:
        # tensor.numpy() shares the tensor's memory; np.array copies.
        value = np.array(state[tensor.key].numpy(), dtype=np.int32 if tensor.is_count else np.float32)
        flat[tensor.path] = np.ascontiguousarray(value.transpose(2, 1, 0)) if tensor.is_kernel else value
    return size, unflatten_dict(flat), temperature


def flanking_size_of(variables: Variables, source: Path) -> int:
    """Return the flanking size of variables that did not come from a `.pt` file.

    Arguments:
        variables: The variables; or, of each, an object with its `shape` and `dtype`.
        source: Where they came from, for the message.

    Raises:
        WeightsError: They are not those of any architecture.
    """
    # The state of a run holds more than arrays.
    held = {path: value for path, value in flatten_dict(variables).items() if hasattr(value, "shape")}
    found = {path: (tuple(value.shape), np.dtype(value.dtype)) for path, value in held.items()}
    for size, architecture in ARCHITECTURES.items():
        expected = {
            tensor.path: (
                tensor.shape[::-1] if tensor.is_kernel else tensor.shape,
                np.dtype(np.int32 if tensor.is_count else np.float32),
            )
            for tensor in tensor_table(architecture)
        }
        if found == expected:
            return size
    raise WeightsError(
        f"{source}: holds {len(found)} arrays that are not the variables of any of the four models; give a model"
    )


def pt_bytes(flanking_size: int, variables: Variables) -> bytes:
    """Return variables as the bytes of a `.pt` file: keys, order, shapes and types as OpenSpliceAI writes them.

    The same variables always give the same bytes.
    """
    return _saved(_tensors(flanking_size, variables))


def calibrated_pt_bytes(flanking_size: int, variables: Variables, temperature: Temperature) -> bytes:
    """Return variables and their temperature as the bytes of a `.pt` file, a dictionary."""
    return _saved(
        {
            "format_version": FORMAT_VERSION,
            "flanking_size": flanking_size,
            "class_names": list(CLASSES),
            "temperature": _float32(temperature),
            "state_dict": _tensors(flanking_size, variables),
        }
    )


def temperature_pt_bytes(temperature: Temperature) -> bytes:
    """Return a temperature as the bytes of OpenSpliceAI's `temperature.pt`: a float32 tensor of three."""
    return _saved(_float32(temperature))


def read_temperature_pt(path: str | Path) -> Temperature:
    """Read OpenSpliceAI's `temperature.pt`.

    Raises:
        WeightsError: The file is missing or damaged, or holds something else.
    """
    path = Path(path)
    with _wall(path):
        found = _read(path)
        if not isinstance(found, torch.Tensor):
            raise WeightsError(f"{path}: holds a {type(found).__name__}, expected a tensor of three temperatures")
        return temperature_of(found, path)


def _float32(temperature: Temperature) -> torch.Tensor:
    return torch.tensor(temperature, dtype=torch.float32)


def _tensors(flanking_size: int, variables: Variables) -> OrderedDict[str, torch.Tensor]:
    flat = flatten_dict(variables)
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for tensor in tensor_table(ARCHITECTURES[flanking_size]):
        value = np.asarray(flat[tensor.path])
        if tensor.is_kernel:
            value = value.transpose(2, 1, 0)
        state[tensor.key] = torch.from_numpy(
            np.array(value, dtype=np.int64 if tensor.is_count else np.float32, order="C")
        )
    return state


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()  # torch.save names the archive after the file; with a buffer the name is always the same
    torch.save(content, buffer)
    return buffer.getvalue()

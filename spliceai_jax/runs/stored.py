"""JSON files of a run, read back as dataclasses with the type of every field checked."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from spliceai_jax.errors import RunFolderError, SpliceAIWarning
from spliceai_jax.json_files import read_json

FORMAT_VERSION = 1
"""Written into every file. A new field has a default, with which files that lack it are read; other changes of the form
raise the version."""

Json = dict[str, Any]
"""A JSON object."""

T = TypeVar("T")
Arrange = Callable[[Json], Json]
"""Arranges a file's content as the fields of a dataclass."""


def render(content: Json, indent: int | None = 2) -> str:
    """Return a file's content as text, its version first."""
    return json.dumps({"format_version": FORMAT_VERSION, **content}, indent=indent) + "\n"


def parse(path: Path, kind: type[T], arrange: Arrange = lambda data: data) -> T:
    """Turn a file into a dataclass. Fields that the file lacks get their defaults, unknown ones are ignored.

    Arguments:
        path: The file.
        kind: The dataclass.
        arrange: Arranges the JSON object as the dataclass.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, its version is unknown, or a field is missing or has the wrong type; the message
            names the field.
    """
    try:
        data = read_json(path)
        if not isinstance(data, dict):
            raise ValueError(f"expected a JSON object, found {type(data).__name__}")
        if (version := data.get("format_version")) != FORMAT_VERSION:
            raise ValueError(f"format version {version!r:.50}; this spliceai-jax knows {FORMAT_VERSION}")
        return convert(arrange(data), kind)
    except RecursionError:
        raise ValueError("its lists are nested too deeply") from None


def convert(data: Any, kind: type[T]) -> T:
    """Turn JSON's lists and dictionaries into a dataclass; raises ValueError as `parse` does."""
    return msgspec.convert(data, kind)


def unless_damaged(read_file: Callable[[], T]) -> T | None:
    """Read a file that a run can do without; None where there is none, or if it is damaged, with a warning."""
    try:
        return read_file()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except RunFolderError as error:
        warnings.warn(f"{error}; it is left out", SpliceAIWarning, stacklevel=3)
        return None


def read(path: Path, kind: type[T], arrange: Arrange = lambda data: data) -> T:
    """Read a file that must be there; see `parse`.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such file.
        RunFolderError: It cannot be read, or is damaged.
    """
    try:
        return parse(path, kind, arrange)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror}); make it readable") from error
    except ValueError as error:
        raise RunFolderError(f"{path}: damaged ({error})") from error

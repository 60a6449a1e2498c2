"""JSON files, whoever wrote them, read as dataclasses whose fields are checked."""

import json
import stat
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from spliceai_jax.errors import RunFolderError, SpliceAIWarning

MOST_BYTES = 100_000_000
"""The largest file that is read. The history of a million training steps takes half of it."""

Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of things, in a dataclass that is read from JSON."""


def check_keys(field: str, found: Collection[str], expected: Collection[str]) -> None:
    """Refuse, with a ValueError, a dictionary of a file that lacks keys."""
    if missing := [key for key in expected if key not in found]:
        raise ValueError(f"`{field}` lacks {', '.join(missing)}")


def read_json(path: Path) -> Any:
    """Read a JSON file; NaN counts as a number, as it does for Python.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no file, too large, not UTF-8, or not JSON.
        RecursionError: Its lists are nested too deeply.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its other end
        raise ValueError("it is a folder, a pipe or a device; expected a file")
    if status.st_size > MOST_BYTES:
        raise ValueError(f"it has {status.st_size / 1e6:.0f} MB; expected at most {MOST_BYTES / 1e6:.0f} MB")
    return json.loads(path.read_text("utf-8"))


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

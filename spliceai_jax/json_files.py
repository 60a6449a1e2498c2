"""JSON files, whoever wrote them, read in bounded time and memory."""

import json
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import msgspec

MOST_BYTES = 100_000_000
"""The largest file that is read. The history of a million training steps takes half of it."""

_MOST_VALUES = 5_000_000
"""The most values in a file: small ones take many times their text's room in memory."""

_MOST_DIGITS = 18
"""Of a whole number; one of them more may not fit 64 bits."""

Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of things, in a dataclass that is read from JSON."""


class NumberTooLarge:
    """Stands for a number beyond 64 bits, so that the check of a file's form names the field that holds it."""


def check_keys(field: str, found: Collection[str], expected: Collection[str]) -> None:
    """Refuse, with a ValueError, a dictionary of a file that lacks keys.

    Arguments:
        field: The name of the dictionary.
        found: Its keys.
        expected: Those that it must have.
    """
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
    content = path.read_bytes()
    if sum(map(content.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    text = content.decode("utf-8")
    data = json.loads(text, parse_int=_whole_number, parse_float=_number)
    if "\\ud" in text.lower():  # halves of letters; those that stand for single bytes of a file's name are ours
        json.dumps(data, ensure_ascii=False, default=str).encode("utf-8", "surrogateescape")
    return data


def _whole_number(digits: str) -> Any:
    return int(digits) if len(digits) <= _MOST_DIGITS else NumberTooLarge()


def _number(digits: str) -> Any:
    number = float(digits)
    return number if abs(number) < float("inf") else NumberTooLarge()

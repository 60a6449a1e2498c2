"""The errors that a user can cause, and the one kind of warning.

Every message names the file or argument, what was found, what was expected and how to fix it. Arguments are
written in backquotes under their Python names, as `learning_rate` or `recipe='best'`; the command line writes them as
its flags (see `commands.flags`), prints the message as one line and exits with `exit_status`.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

_NAMES_SHOWN = 4
_LARGEST = 2**32 - 1
"""The largest whole number that a setting may be: the largest seed that NumPy's `RandomState` takes."""


class SpliceAIError(Exception):
    """An error that the user can fix; the message says how."""

    exit_status = 2


class SettingsError(SpliceAIError):
    """A setting is out of range or contradicts another."""


class DatasetError(SpliceAIError):
    """An HDF5 data set is missing, damaged, or not what OpenSpliceAI writes."""


class SequenceError(SpliceAIError):
    """A FASTA, GFF3 or GTF file is missing, damaged, or not what it should be."""


class WeightsError(SpliceAIError):
    """A weights file is missing, damaged, or fits none of the architectures."""


class RunFolderError(SpliceAIError):
    """The output folder cannot be used: it is not writable, too full, in use, or holds another run."""


class ProcessesError(SpliceAIError):
    """The processes of a run did not find each other, do not agree, or one of them was lost."""


class DivergedError(SpliceAIError):
    """The training loss became infinite or not a number."""


class Interrupted(SpliceAIError):  # noqa: N818 - a request to stop is not an error
    """A signal asked the run to stop; everything needed to continue has been saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        """Follow the shell's convention: a process ended by a signal has the exit status 128 + its number."""
        super().__init__(message)
        self.signal, self.exit_status = signal_number, 128 + signal_number


class SpliceAIWarning(UserWarning):
    """Something the user should know that does not stop the work; the command line prints it as a note."""


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a setting that is none of the choices.

    Raises:
        SettingsError: The message names the setting, its value and the choices.
    """
    if value not in choices:
        known = ", ".join(str(choice) for choice in choices if choice is not None)
        raise SettingsError(f"`{name}` is {value!r}; expected one of {known}")


def check_whole(name: str, value: int | None, least: int = 0) -> None:
    """Refuse a whole number that is too small, or too large for anything to be made of it; None is left alone.

    Raises:
        SettingsError: The message names the setting and what was expected.
    """
    if value is not None and value < least:
        raise SettingsError(f"`{name}` is {value}; expected {least} or more")
    if value is not None and value > _LARGEST:  # it may have hundreds of digits
        raise SettingsError(f"`{name}` is more than {_LARGEST}; expected {least} to {_LARGEST}")


def check_utf8(name: str, path: str | Path, reader: str) -> None:
    """Refuse a path whose bytes are not UTF-8, where a library that can open no other is to use it.

    Raises:
        SettingsError: The message names the setting, the path and the library.
    """
    try:
        str(Path(path).absolute()).encode()
    except UnicodeEncodeError:
        raise SettingsError(f"`{name}`: {path}: is not UTF-8, which {reader} needs; give another folder") from None


def some(names: Collection[str]) -> str:
    """Return the first few of some names, in quotes, and how many more there are."""
    shown = sorted(names)[:_NAMES_SHOWN]
    return ", ".join(map(repr, shown)) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")

"""Files written whole or not at all, folders checked for writing, and locked to one process at a time."""

import contextlib
import os
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from spliceai_jax.errors import RunFolderError, SpliceAIError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file in one step: whenever the run is killed, a reader finds the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with written_whole(path) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the name to write a file under; the file gets its own name when the block ends without an error."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def nearest_existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    # Not Path.exists, which raises PermissionError on Python 3.11 below a folder that may not be entered.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def check_writable(folder: Path, argument: str = "output_dir") -> Path:
    """Refuse a folder that cannot be written to; nothing is left behind.

    Arguments:
        folder: The folder.
        argument: The argument that named it, for the message.

    Returns:
        The folder, or, while it does not exist, the nearest one above it that does.

    Raises:
        RunFolderError: It cannot be written.
    """
    existing = nearest_existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RunFolderError(
            f"`{argument}`: cannot write in {existing} ({error.strerror}); give a folder that can be written"
        ) from error
    return existing


@contextlib.contextmanager
def held(folder: Path, busy: str) -> Iterator[None]:
    """Make a folder and lock it against other processes while the block runs.

    Raises:
        RunFolderError: Another process holds it; the message is the folder and `busy`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(f"{folder}: {busy}") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def unexpected_errors_logged(path: Path) -> Iterator[None]:
    """Write the traceback of an exception that is not a `SpliceAIError` to a file, and name the file in its notes."""
    try:
        yield
    except SpliceAIError:
        raise
    except Exception as error:
        with contextlib.suppress(OSError):
            write_whole(path, "".join(traceback.format_exception(error)))
            error.add_note(f"its traceback is in {path}")
        raise

"""Files written whole or not at all, folders checked for writing, and locked to one process at a time."""

import contextlib
import errno
import fcntl
import os
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from spliceai_jax.display import printable_lines
from spliceai_jax.errors import RunFolderError, SpliceAIError, SpliceAIWarning

_SECONDS_TO_LET_GO = 0.2
"""How long a folder's lock is asked for: a process that ends deletes the file of the lock while it still holds it."""

_TRIES_TO_MAKE = 100
"""How often a folder is made, and its lock opened, before an error counts: others may remove both meanwhile."""

_WAYS_OUT = {
    errno.ENOSPC: "make room there, or give another folder",
    errno.EDQUOT: "make room in your quota, or give another folder",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f), or give a folder on another file system",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
"""What to do about an error of the operating system, by its number, where another folder is not all that helps."""


def unwritable(path: Path, error: OSError, subject: str | None = None) -> RunFolderError:
    """Return the refusal that tells what the operating system said when a file or folder was to be written.

    Arguments:
        subject: What the message begins with, instead of the path and that it cannot be written.
    """
    # HDF5's errors have a number, but a long text of their own.
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    way_out = _WAYS_OUT.get(error.errno or 0, "give a folder that can be written")
    return RunFolderError(f"{subject or f'{path}: cannot be written'} ({reason}); {way_out}")


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file in one step: whenever the run is killed, a reader finds the old file or the new one, whole.

    Raises:
        RunFolderError: It cannot be written.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with written_whole(path) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the name to write a file under; the file gets its own name when the block ends without an error.

    Raises:
        RunFolderError: It cannot be written.
    """
    with all_written_whole([path]) as partial:
        yield partial[path]


@contextlib.contextmanager
def alone(path: Path, waits: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes that call this with the same file out while the block runs; wait for one that runs it.

    Arguments:
        path: The file that is written meanwhile.
        waits: Called if another process holds the file, with what to do if none does, or an empty text.

    Raises:
        RunFolderError: The file's folder cannot be written.
    """
    lock = _lock(path.with_name(f".{path.name}.lock"))
    try:
        try:
            lock.acquire(timeout=_SECONDS_TO_LET_GO)
        except Timeout:
            waits(_if_none_is(lock))
            lock.acquire()
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        _let_go(lock)


@contextlib.contextmanager
def all_written_whole(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Yield the names to write several files under; they get their own when the block ends without an error.

    Folders that are missing are made; those that stay empty are removed again.

    Raises:
        RunFolderError: One of them cannot be written.
    """
    made = [folder for path in paths for folder in _missing(path.parent)]
    partial = {path: path.with_name(f".{path.name}.partial") for path in paths}
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for written in partial.values():
            with open(written, "rb") as file:
                os.fsync(file.fileno())
        for path, written in partial.items():
            os.replace(written, path)
    except OSError as error:
        meant = (path for path, written in partial.items() if error.filename in (str(path), str(written)))
        raise unwritable(next(meant, paths[0] if len(paths) == 1 else paths[0].parent), error) from error
    finally:
        for written in partial.values():
            with contextlib.suppress(OSError):
                written.unlink()
        _remove_empty(made)


def written_between(before: os.stat_result, after: os.stat_result) -> bool:
    """Return whether a file was written to between two looks at it."""
    return (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size)


def nearest_existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    # Not Path.exists, which raises PermissionError on Python 3.11 below a folder that may not be entered.
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path))


def check_writable(folder: Path, argument: str = "output_dir") -> Path:
    """Refuse a folder that cannot be written to; nothing is left behind.

    Returns:
        The folder, or, while it does not exist, the nearest one above it that does.

    Raises:
        RunFolderError: It cannot be written.
    """
    existing = nearest_existing(folder)
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.lstat()  # fails where a name is too long, which making the folder would find out only later
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise unwritable(folder, error, f"`{argument}`: cannot write in {existing}") from error
    return existing


@contextlib.contextmanager
def held(folder: Path, busy: str) -> Iterator[None]:
    """Make a folder and lock it against other processes while the block runs.

    Neither the lock's file is left behind nor, if nothing was written, the folders that were made.

    Raises:
        RunFolderError: Another process holds it; the message is the folder and `busy`. Or it cannot be made.
    """
    made = _missing(folder)
    try:
        lock = _locked(folder, busy)
    except OSError as error:
        refusal = unwritable(Path(error.filename or folder), error)
        _remove_empty(made)
        raise refusal from error
    try:
        yield
    finally:
        _let_go(lock)
        _remove_empty(made)


def _lock(path: Path) -> BaseFileLock:
    """Return the lock that a file stands for: the operating system's, or the file itself where that has none."""
    if _has_locks(path.parent):
        return FileLock(path)
    # Under a name of its own: the empty file that a killed process leaves of the other kind would be one for ever.
    soft = path.with_name(f"{path.name}.soft")
    warnings.warn(
        f"{path.parent}: this file system has no locks; while the command runs, the file {soft.name} there keeps other "
        "processes out. If the command is killed, this file stays; delete it before you go on from another machine",
        SpliceAIWarning,
        stacklevel=2,
    )
    return SoftFileLock(soft)


def _has_locks(folder: Path) -> bool:
    """Return whether files can be locked there, which NFS, Lustre and others refuse in ways of their own."""
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it may not come to be
    except OSError:
        return True  # the lock's own file will tell why nothing can be written
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _if_none_is(lock: BaseFileLock) -> str:
    """Return what to do if the holder of a lock is gone; the operating system's locks go with their holders."""
    return f"; if none is, delete {lock.lock_file}" if isinstance(lock, SoftFileLock) else ""


def _let_go(lock: BaseFileLock) -> None:
    # Another process may have opened the file already. It finds, once it holds the lock, that the file is gone, and
    # begins anew: see filelock's `_finalize_locked_fd`.
    if isinstance(lock, FileLock):
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
    lock.release()


def _locked(folder: Path, busy: str) -> BaseFileLock:
    for tries_left in reversed(range(_TRIES_TO_MAKE)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = _lock(folder / ".lock")
            lock.acquire(timeout=_SECONDS_TO_LET_GO)
            break
        except Timeout:
            raise RunFolderError(f"{folder}: {busy}{_if_none_is(lock)}") from None
        except (FileExistsError, FileNotFoundError):  # a process that had made a folder has just removed it
            if not tries_left:
                raise
    return lock


def _missing(folder: Path) -> list[Path]:
    """Return the folder and those above it as far as they do not exist, the lowest first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def unexpected_errors_logged(path: Path) -> Iterator[None]:
    """Write the traceback of an exception that is not a `SpliceAIError` to a file, and name the file in its notes.

    Raises:
        RunFolderError: The operating system refused something: a disk is full, or a file is gone.
    """
    try:
        yield
    except SpliceAIError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            place = Path(os.fsdecode(error.filename)) if error.filename else path.parent
            raise unwritable(place, error, f"{place}: cannot be read or written") from error
        if logged(path, error):
            error.add_note(f"its traceback is in {path}")
        raise


def logged(path: Path, error: Exception) -> bool:
    """Write the traceback of an exception to a file; return whether that was possible."""
    try:
        write_whole(path, printable_lines("".join(traceback.format_exception(error))))
    except RunFolderError:
        return False
    return True

"""Text files that may be compressed by gzip or bgzip."""

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from spliceai_jax.errors import SequenceError
from spliceai_jax.files import written_between

_MOST_TIMES_AS_MUCH = 100
"""How many times its size a file may unpack to; the genomes and annotations that were tried reach 8."""

_ANY_FILE_MAY_HOLD = 100_000_000
"""Bytes that even the smallest file may unpack to."""

_BUFFER = 2**17


def sha256_of(path: str | Path, kind: str) -> str:
    """Return SHA-256 of a file that is read again afterwards.

    Arguments:
        path: The file.
        kind: What it should be, for messages: "a FASTA file".

    Raises:
        SequenceError: It cannot be read, or only once.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise SequenceError(f"{path}: is no file; give {kind}, not a folder or a pipe, since it is read twice")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SequenceError(
            f"{path}: cannot be read ({error.strerror}); give {kind}, plain or compressed by gzip or bgzip"
        ) from error


def check_unchanged(path: str | Path, kind: str, sha256: str) -> None:
    """Refuse a file that has been read since `sha256_of`, and is another one now.

    Arguments:
        path: The file.
        kind: See `sha256_of`.
        sha256: What `sha256_of` gave.

    Raises:
        SequenceError: It has changed, so that what was read may be of other bytes.
    """
    if sha256_of(path, kind) != sha256:
        raise SequenceError(f"{path}: was changed while it was read; give the same command again when it is whole")


@contextmanager
def opened(path: Path, kind: str) -> Iterator[IO[bytes]]:
    """Open a file, and decompress it if its first bytes are those of gzip.

    Arguments:
        path: The file.
        kind: What it should be, for messages: "a FASTA file".

    Raises:
        SequenceError: There is no such file, something goes wrong while it is read, it unpacks to far more than a
            genome or an annotation does, or it was written to while it was read.
    """
    if not os.path.exists(path) or os.path.isdir(path):
        raise SequenceError(f"{path}: no such file; give {kind}, plain or compressed by gzip or bgzip")
    try:
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            if file.peek(2)[:2] != b"\x1f\x8b":
                yield file
            else:
                with gzip.open(file) as unpacked:
                    yield io.BufferedReader(_Unpacked(path, unpacked, before.st_size), _BUFFER)
            after = os.fstat(file.fileno())
    except (OSError, EOFError, zlib.error) as error:
        raise SequenceError(f"{path}: cannot be read, it may be damaged or cut short ({error!s:.200})") from error
    # A file that is still being copied or downloaded would be taken for a whole one. Pipes are written all the time.
    if stat.S_ISREG(before.st_mode) and written_between(before, after):
        raise SequenceError(f"{path}: was written to while it was read; give the same command again when it is whole")


class _Unpacked(io.RawIOBase):
    """What a file unpacks to, as long as that can be a genome or an annotation."""

    def __init__(self, path: Path, unpacked: gzip.GzipFile, packed_bytes: int) -> None:
        """Read from a gzip file of some size; 0: its size is unknown."""
        self._path, self._file, self._count = path, unpacked, 0
        self._most = max(_MOST_TIMES_AS_MUCH * packed_bytes, _ANY_FILE_MAY_HOLD) if packed_bytes else float("inf")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes into a buffer and return their number."""
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._count += len(chunk)
        if self._count > self._most:
            raise SequenceError(
                f"{self._path}: unpacks to more than {_MOST_TIMES_AS_MUCH} times its size, as no genome or annotation "
                "does; if it is right, unpack it and give the plain file"
            )
        return len(chunk)

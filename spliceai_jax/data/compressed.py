"""Text files that may be compressed by gzip or bgzip."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from spliceai_jax.errors import SequenceError


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


@contextmanager
def opened(path: Path, kind: str) -> Iterator[IO[bytes]]:
    """Open a file, and decompress it if its first bytes are those of gzip.

    Arguments:
        path: The file.
        kind: What it should be, for messages: "a FASTA file".

    Raises:
        SequenceError: There is no such file, or something goes wrong while it is read.
    """
    if not os.path.exists(path) or os.path.isdir(path):
        raise SequenceError(f"{path}: no such file; give {kind}, plain or compressed by gzip or bgzip")
    try:
        with open(path, "rb") as file:
            if file.peek(2)[:2] != b"\x1f\x8b":
                yield file
                return
            with gzip.open(file) as unpacked:
                yield cast(IO[bytes], unpacked)
    except (OSError, EOFError, zlib.error) as error:
        raise SequenceError(f"{path}: cannot be read, it may be damaged or cut short ({error!s:.200})") from error

"""Text files that may be compressed by gzip or bgzip, or be one of the files in a zip archive.

What a file is tells how it begins, also for messages about files that are not what they should be.
"""

import hashlib
import io
import os
import re
import shlex
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast

from isal import igzip, isal_zlib

from spliceai_jax.errors import SequenceError, some
from spliceai_jax.files import written_between

LENGTH = 512
"""The most bytes of a file that are looked at."""

FASTA, GFF3, GZIP, ZIP = "FASTA", "GFF3", "compressed by gzip", "a zip archive"
MODEL, OLD_MODEL = "a zip archive, as models (.pt files) are", "a pickle, as old models (.pt files) are"
"""The words for files that one reader or another reads."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""That of UTF-8, which editors on Windows put before a text."""

_KERAS = "Keras, such as those of the original SpliceAI"

_BEGINNINGS = [
    (re.compile(pattern, re.DOTALL), what, way_out)
    for pattern, what, way_out in (
        (rb"\x1f\x8b", GZIP, "unpack it by `gunzip --keep {}`"),
        (rb"BZh[1-9]1AY&SY", "compressed by bzip2", "unpack it by `bunzip2 --keep {}`"),
        (rb"\xfd7zXZ\0", "compressed by xz", "unpack it by `unxz --keep {}`"),
        (rb"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it by `unzstd {}`"),
        # The first file in an archive is named in its first bytes.
        (rb"PK\x03\x04.{26}[^/]{1,99}/data\.pkl", MODEL, ""),
        (rb"PK\x03\x04.{22}\x0d\x00..metadata\.json", f"a model of {_KERAS}", ""),
        (rb"PK(\x03\x04|\x05\x06)", ZIP, "unpack it by `unzip {}`"),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it by `7z x {}`"),
        (rb".{257}ustar", "a tar archive", "unpack it by `tar -xf {}`"),
        (rb"\x43\x27\x41\x1a|\x1a\x41\x27\x43", "a genome in 2bit form", "unpack it by `twoBitToFa {} genome.fa`"),
        (
            rb"version https://git-lfs\.github\.com/",
            "a pointer of Git LFS, not the file itself",
            "get it by `git lfs pull` in its repository",
        ),
        (
            rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml)",
            "a web page",
            "download it again, by the address of the file itself",
        ),
        (rb"\xff\xfe|\xfe\xff", "text in UTF-16", "turn it into UTF-8 by `iconv -f UTF-16 -t UTF-8 {}`"),
        (rb"\x89HDF\r\n\x1a\n", f"an HDF5 file, as data sets are, and models of {_KERAS}", ""),
        (rb"\x80[\x02-\x05]", OLD_MODEL, ""),
        (rb"(\xef\xbb\xbf)?>", FASTA, ""),
        (rb"(\xef\xbb\xbf)?##gff", GFF3, ""),
        (rb"LOCUS +\S+ +\d+ (bp|aa)", "a GenBank file", "download it as FASTA and GFF3"),
    )
]
"""How files begin, what they are, and what to do about it, {} being the file; "" where only another file helps."""


class Found(NamedTuple):
    """What a file is.

    Attributes:
        what: The words that follow "it is".
        way_out: What to do about it; "" where only another file helps.
    """

    what: str
    way_out: str

    def advice(self, expected: str) -> str:
        """Return what to do, up to giving the file that was expected."""
        return f"{self.way_out}, and give {expected}" if self.way_out else f"give {expected}"


def told(begins: bytes, path: Path) -> Found | None:
    """Tell what a file is by its first `LENGTH` bytes, or as many as there are; None if they do not tell."""
    for pattern, what, way_out in _BEGINNINGS:
        if pattern.match(begins):
            return Found(what, way_out.format(shlex.quote(str(path))))
    return None


_BUFFER = 2**17

_DAMAGED = OSError, EOFError, zlib.error, zipfile.BadZipFile, cast(type[Exception], isal_zlib.error)
"""What is raised while a compressed file is read."""

TextKind = Literal["a FASTA file", "a GFF3 or GTF file", "a data set or a FASTA file"]
"""What a file should be, for messages."""

_FASTA_NAME, _GFF3_NAME, _GTF_NAME = (
    re.compile(rf"(?i).+\.({endings})(\.gz)?") for endings in ("fna|fa|fasta", "gff3?", "gtf")
)
_OF_TRANSCRIPTS = re.compile(r"(?i)(.*[._-])?(cds|cdna|m?rna|ncrna|transcripts?)[._-].*")
"""Names of FASTA files without the genome, such as NCBI's `cds_from_genomic.fna` and `rna.fna`."""


def sha256_of(path: str | Path, kind: TextKind) -> str:
    """Return SHA-256 of a file that is read again afterwards.

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


def check_unchanged(path: str | Path, kind: TextKind, sha256: str) -> None:
    """Refuse a file that has been read since `sha256_of`, and is another one now.

    Arguments:
        sha256: What `sha256_of` gave.

    Raises:
        SequenceError: It has changed, so that what was read may be of other bytes.
    """
    if sha256_of(path, kind) != sha256:
        raise SequenceError(f"{path}: was changed while it was read; give the same command again when it is whole")


@contextmanager
def open_text(path: Path, kind: TextKind) -> Iterator[IO[bytes]]:
    """Open a text; a byte order mark is skipped.

    It may be compressed by gzip, or be the only file of its kind in a zip archive, such as those of NCBI Datasets. Of
    annotations there GFF3 is preferred to GTF. What it is tells its first bytes, not its name.

    Raises:
        SequenceError: There is no such file, it is of another kind, something goes wrong while it is read, or it was
            written to while it was read; or a zip archive holds no file of this kind, or several.
    """
    if not os.path.exists(path) or os.path.isdir(path):
        raise SequenceError(f"{path}: no such file; give {kind}, plain or compressed by gzip or bgzip")
    try:
        with open(path, "rb") as file, ExitStack() as until_read:
            before = os.fstat(file.fileno())
            yield _text(file, path, kind, until_read)
            after = os.fstat(file.fileno())
    except _DAMAGED as error:
        raise SequenceError(f"{path}: cannot be read, it may be damaged or cut short ({error!s:.200})") from error
    # A file that is still being copied or downloaded would be taken for a whole one. Pipes are written all the time.
    if stat.S_ISREG(before.st_mode) and written_between(before, after):
        raise SequenceError(f"{path}: was written to while it was read; give the same command again when it is whole")


def _text(file: io.BufferedReader, path: Path, kind: TextKind, until_read: ExitStack) -> io.BufferedReader:
    """Return the text in an open file."""
    found = _found(file, path)
    if found and found.what == ZIP:
        if not file.seekable():
            raise SequenceError(f"{path}: is a zip archive, which no pipe can hand over; give the file itself")
        file = io.BufferedReader(cast(io.RawIOBase, _member(path, kind, until_read)), _BUFFER)
        found = _found(file, path)
    if found and found.what == GZIP:
        unpacked = until_read.enter_context(igzip.IGzipFile(fileobj=file, mode="rb"))
        file = io.BufferedReader(cast(io.RawIOBase, unpacked), _BUFFER)
        found = _found(file, path)
    if found and found.what != (GFF3 if kind == "a GFF3 or GTF file" else FASTA):
        raise SequenceError(f"{path}: cannot be read as {kind}: it is {found.what}; {found.advice(kind)}")
    if file.peek(len(BYTE_ORDER_MARK)).startswith(BYTE_ORDER_MARK):
        file.read(len(BYTE_ORDER_MARK))
    return file


def _found(file: io.BufferedReader, path: Path) -> Found | None:
    return told(file.peek(LENGTH)[:LENGTH], path)


def _member(path: Path, kind: TextKind, until_read: ExitStack) -> IO[bytes]:
    """Open the file in a zip archive that is meant."""
    archive = until_read.enter_context(zipfile.ZipFile(path))
    members = {
        member.filename: member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    }
    names = _of_kind(members, kind)
    way_out = f"unpack it by `unzip {shlex.quote(str(path))}` and give {kind}"
    if len(names) != 1:
        what = f"the files {some(names)}" if names else f"no file that is {kind}, only {some(members)}"
        raise SequenceError(f"{path}: is a zip archive that holds {what}; {way_out}")
    try:
        return until_read.enter_context(archive.open(members[names[0]]))
    except (RuntimeError, NotImplementedError) as error:  # it is encrypted, or compressed in a way of its own
        raise SequenceError(f"{path}: cannot be read as a zip archive ({error!s:.200}); {way_out}") from error


def _of_kind(names: Collection[str], kind: TextKind) -> list[str]:
    if kind == "a GFF3 or GTF file":
        return [name for name in names if _GFF3_NAME.fullmatch(name)] or [
            name for name in names if _GTF_NAME.fullmatch(name)
        ]
    return [
        name for name in names if _FASTA_NAME.fullmatch(name) and not _OF_TRANSCRIPTS.fullmatch(name.rpartition("/")[2])
    ]

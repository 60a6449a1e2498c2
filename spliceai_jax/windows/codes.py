"""The cache of a data set's codes: a file beside a large data set, which windows are read from when they are needed.

To decode a large HDF5 file takes minutes, and its codes take gigabytes of memory. So they are written to a file once,
whole windows for all flanking sizes, with all that is asked of every window when a run starts (see `facts`). The file:

    4096 bytes                      a line that names format and version, SHA-256 of the next line, a line of JSON
    uint8 (windows, 15000)          bases
    uint8 (windows, 5000)           labels
    a row of `_TABLE` a window      shard, checksums and facts

It is used only while the data set is the one that it was made from. Header and table are checked when it is opened, and
the codes of a window each time they are read. They are read, not mapped: then pages do not count as the process's own,
and a file that is cut short, or a disk that fails, is an error and not a signal that ends the process.
"""

import contextlib
import hashlib
import io
import itertools
import os
import shutil
import stat
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from isal import isal_zlib
from jaxtyping import Int, Shaped, UInt8

from spliceai_jax.architecture import ARCHITECTURES, CLASSES, CONTEXT, SITE_KINDS, WINDOW
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import DatasetError, RunFolderError, SpliceAIWarning
from spliceai_jax.files import unwritable, written_alone
from spliceai_jax.json_files import Count
from spliceai_jax.windows.facts import WINDOWS_AT_ONCE, Facts, Fingerprint, a_few_at_once
from spliceai_jax.windows.windows import Windows

LEAST_WINDOWS = 20_000
"""A cache is made of data sets with this many windows or more: others are decoded in seconds."""

_NAME, _VERSION = b"spliceai-jax codes ", b"1"
_HEADER_BYTES = 4096

_SIZES = tuple(ARCHITECTURES)

_COLUMNS = {"bases": WINDOW + CONTEXT, "labels": WINDOW}

_TABLE = np.dtype(
    [
        ("shard", "<u4"),
        ("bases", "<u4"),
        ("labels", "<u4"),
        ("class_counts", "<u2", len(CLASSES) + 1),
        ("canonical_sites", "<u2", len(SITE_KINDS)),
        ("length", "<u2"),
        ("known", "<u2", len(_SIZES)),
        ("repeats", "?", len(_SIZES)),
    ]
)
"""What the file holds of a window besides its codes: its shard, CRC-32 of its bases and of its labels, and `Facts`, of
which the last two have a column for each flanking size."""

_SAMPLES, _SAMPLE_BYTES = 64, 4096

Table = Shaped[np.ndarray, " windows"]


def codes_beside(dataset: Path) -> Path:
    """Return the file of a data set's codes."""
    return dataset.with_name(f"{dataset.name}.codes")


def kept(flanking_size: int) -> slice:
    """Return which of the 15000 bases of a window are kept for a flanking size."""
    crop = (CONTEXT - flanking_size) // 2
    return slice(crop, crop + WINDOW + flanking_size)


@dataclass(frozen=True)
class _Origin:
    """The data set that a cache was made from.

    Attributes:
        bytes: Its size.
        changed: When it was last written to, in nanoseconds since 1970.
        sample: SHA-256 of 64 pieces of 4 kB, evenly spaced, from its first bytes to its last.
    """

    bytes: Count
    changed: int
    sample: str

    @classmethod
    def of(cls, dataset: Path) -> "_Origin":
        """Look at a data set; raises OSError if it cannot be read."""
        found, digest = dataset.stat(), hashlib.sha256()
        with open(dataset, "rb", buffering=0) as file:
            for place in np.linspace(0, max(found.st_size - _SAMPLE_BYTES, 0), _SAMPLES, dtype=np.int64).tolist():
                digest.update(os.pread(file.fileno(), _SAMPLE_BYTES, place))
        return cls(found.st_size, found.st_mtime_ns, digest.hexdigest())


@dataclass(frozen=True)
class _Header:
    """The first bytes of a cache.

    Attributes:
        origin: The data set that it was made from.
        windows: The number of windows.
        fingerprints: Flanking size -> fingerprint of the whole file.
        table: SHA-256 of the table.
    """

    origin: _Origin
    windows: Count
    fingerprints: dict[int, str]
    table: str

    def render(self) -> bytes:
        """Return the bytes."""
        text = msgspec.json.encode(asdict(self))
        return _first_lines(text).ljust(_HEADER_BYTES, b"\n")

    @classmethod
    def parse(cls, content: bytes) -> "_Header":
        """Return the header in these bytes; raises ValueError if they are not as they were written."""
        text = content.rstrip(b"\n").split(b"\n")[-1]
        if _first_lines(text).ljust(_HEADER_BYTES, b"\n") != content:
            raise ValueError("its header is not as it was written")
        header = msgspec.json.decode(text, type=cls)
        if set(header.fingerprints) != set(_SIZES):
            raise ValueError("its header lacks fingerprints")
        return header


def _first_lines(text: bytes) -> bytes:
    return b"\n".join([_NAME + _VERSION, hashlib.sha256(text).hexdigest().encode(), text])


class StoredCodes:
    """The bases or the labels in a file of codes, read and checked row by row; they are indexed as an array is.

    Attributes:
        shape: The number of windows, and of codes in each.
    """

    def __init__(
        self, file: io.FileIO, path: Path, table: Table, what: Literal["bases", "labels"], columns: slice
    ) -> None:
        """Read nothing yet.

        Arguments:
            file: The file.
            path: Its name, for messages.
            table: Its table, for the checksums.
            what: Which codes.
            columns: Those of them that are shown.
        """
        self._file, self._path, self._what, self._columns = file, path, what, columns
        self._checksums = table[what]
        self.shape = (len(table), len(range(_COLUMNS[what])[columns]))

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> UInt8[np.ndarray, "..."]:
        """Return a row, several rows given as an array, or some columns of them.

        Raises:
            DatasetError: They are not as they were written, or cannot be read.
        """
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if np.ndim(rows) == 0:
            return self._read(int(rows), 1)[0, columns]
        found = np.empty((len(rows), self.shape[1]), np.uint8)
        # Neighbours are read together, but not too many: they are read whole, and the system reads 2 GB at most.
        starts = np.union1d(np.flatnonzero(np.diff(rows) != 1) + 1, np.arange(0, len(rows), WINDOWS_AT_ONCE))
        for start, end in itertools.pairwise([*starts.tolist(), len(rows)]):
            found[start:end] = self._read(int(rows[start]), end - start)
        return found[:, columns]

    def _read(self, first: int, count: int) -> UInt8[np.ndarray, "count codes"]:
        codes = np.empty((count, _COLUMNS[self._what]), np.uint8)
        try:
            size = os.preadv(self._file.fileno(), [codes.data], _place(len(self), self._what, first))
        except OSError as error:
            raise self._damaged(f"cannot be read ({error.strerror})") from error
        if size != codes.nbytes:
            raise self._damaged("was cut short while it was used")
        for row, checksum in enumerate(self._checksums[first : first + count].tolist()):
            if isal_zlib.crc32(codes[row]) != checksum:
                raise self._damaged(f"the {self._what} of window {first + row} are not as they were written")
        return codes[:, self._columns]

    def _damaged(self, what: str) -> DatasetError:
        return DatasetError(
            f"{self._path}: {what}; delete this file, which is a cache of the data set beside it and is made again, "
            "and give the same command again; a run goes on with `resume=True`"
        )


def _place(windows: int, what: Literal["bases", "labels", "table"], row: int = 0) -> int:
    """Return where in the file a row of the bases or labels, or the table, begins."""
    begins, columns = {
        "bases": (0, _COLUMNS["bases"]),
        "labels": (_COLUMNS["bases"], _COLUMNS["labels"]),
        "table": (sum(_COLUMNS.values()), _TABLE.itemsize),
    }[what]
    return _HEADER_BYTES + windows * begins + row * columns


def _bytes_of(windows: int) -> int:
    return _place(windows, "table", windows)


# -- reading -------------------------------------------------------------------------------------------------------


def stored_windows(dataset: Path, flanking_size: int) -> Windows | None:
    """Return the windows of a data set as its cache holds them.

    Arguments:
        dataset: The HDF5 file.
        flanking_size: Bases of context to keep, both sides together.

    Returns:
        The windows; None if there is no cache, or it is of other data or another version. If it is damaged, a note says
        so.
    """
    path = codes_beside(dataset)
    if flanking_size not in ARCHITECTURES or not _is_cache(path):
        return None
    try:
        return _opened(path, dataset, flanking_size)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        warnings.warn(f"{path}: this cache is not used: it is damaged ({error})", SpliceAIWarning, stacklevel=2)
        return None


def has_codes(dataset: Path) -> bool:
    """Return whether a data set has a cache that was made from it as it is now; its table may still be damaged."""
    path = codes_beside(dataset)
    try:
        if not _is_cache(path):
            return False
        with open(path, "rb", buffering=0) as file:
            return _header(file, dataset) is not None
    except (OSError, ValueError, msgspec.MsgspecError):
        return False


def _is_cache(path: Path) -> bool:
    """Return whether a file is a cache of codes, of whatever version."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its other end
            return False
        with open(path, "rb") as file:
            return file.read(len(_NAME)) == _NAME
    except OSError:
        return False


def _opened(path: Path, dataset: Path, flanking_size: int) -> Windows | None:
    with contextlib.ExitStack() as unless_used:
        file = unless_used.enter_context(open(path, "rb", buffering=0))
        windows = _checked(file, path, dataset, flanking_size)
        if windows:
            unless_used.pop_all()  # it is read as long as the windows live
    return windows


def _checked(file: io.FileIO, path: Path, dataset: Path, flanking_size: int) -> Windows | None:
    if (header := _header(file, dataset)) is None:
        return None
    windows, size = header.windows, os.fstat(file.fileno()).st_size
    if size != _bytes_of(windows):
        raise ValueError(f"it has {size} bytes; expected {_bytes_of(windows)}")
    content = os.pread(file.fileno(), windows * _TABLE.itemsize, _place(windows, "table"))
    if hashlib.sha256(content).hexdigest() != header.table:
        raise ValueError("its table is not as it was written")
    table = np.frombuffer(content, _TABLE)
    return Windows(
        dataset,
        StoredCodes(file, path, table, "bases", kept(flanking_size)),
        StoredCodes(file, path, table, "labels", slice(None)),
        table["shard"].astype(np.int64),
        np.arange(windows),
        _facts(table, flanking_size, header.fingerprints[flanking_size]),
    )


def _header(file: io.FileIO, dataset: Path) -> _Header | None:
    """Return the header of a cache; None where it is of another version, or of other data."""
    begins = file.read(_HEADER_BYTES)
    if not begins.startswith(_NAME + _VERSION + b"\n"):
        return None
    header = _Header.parse(begins)
    return header if header.origin == _Origin.of(dataset) else None


def _facts(table: Table, flanking_size: int, fingerprint: str) -> Facts:
    column = _SIZES.index(flanking_size)
    return Facts(
        table["class_counts"].astype(np.int64),
        table["canonical_sites"].astype(np.int64),
        table["length"].astype(np.int64),
        table["known"][:, column].astype(np.int64),
        table["repeats"][:, column],
        fingerprint,
    )


# -- writing -------------------------------------------------------------------------------------------------------

Put = Callable[[int, UInt8[np.ndarray, "some codes"]], None]
"""Takes rows of codes, and the number of the first."""


def make_codes(
    dataset: Path, shards: Int[np.ndarray, " windows"], decode: Callable[[Put, Put], None], display: Display
) -> None:
    """Make the cache of a data set.

    Arguments:
        dataset: The HDF5 file.
        shards: The shard of each window.
        decode: Decodes the data set: called with what takes bases, whole, and what takes labels.
        display: Shows the progress of what is done after all is decoded.

    Raises:
        RunFolderError: It cannot be made: the folder cannot be written, there is little room, another process is making
            it, or another file has its name.
        DatasetError: The data set was changed meanwhile.
    """
    path = codes_beside(dataset)
    if os.path.lexists(path) and not _is_cache(path):
        raise RunFolderError(f"{path}: is another file, and is left as it is; move it")
    _check_room(path, _bytes_of(len(shards)))
    with written_alone(path) as partial:
        origin = _Origin.of(dataset)
        with open(partial, "w+b", buffering=0) as file:
            writer = _Writer(file, path, shards)
            decode(writer.put_bases, writer.put_labels)
            with display.progress(f"measuring {dataset.name}", len(shards)) as advance:
                fingerprints = writer.find_facts(advance)
            if _Origin.of(dataset) != origin:
                raise DatasetError(f"{dataset}: was changed while it was read; start again when it is whole")
            writer.finish(origin, fingerprints)


def _check_room(path: Path, needed: int) -> None:
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise unwritable(path, error) from error
    if free < 2 * needed:  # the run needs some, too
        raise RunFolderError(f"{path}: would take {needed / 1e9:.1f} of the {free / 1e9:.1f} GB that the disk has free")


class _Writer:
    """Writes a file of codes."""

    def __init__(self, file: io.FileIO, path: Path, shards: Int[np.ndarray, " windows"]) -> None:
        self._file, self._path, self._shards = file, path, shards
        self._table = np.zeros(len(shards), _TABLE)

    def put_bases(self, row: int, codes: UInt8[np.ndarray, "some 15000"]) -> None:
        """Write bases."""
        self._put("bases", row, codes)

    def put_labels(self, row: int, codes: UInt8[np.ndarray, "some 5000"]) -> None:
        """Write labels."""
        self._put("labels", row, codes)

    def _put(self, what: Literal["bases", "labels"], row: int, codes: UInt8[np.ndarray, "some codes"]) -> None:
        self._table[what][row : row + len(codes)] = [isal_zlib.crc32(window) for window in codes]
        self._write(codes, _place(len(self._table), what, row))

    def _write(self, content: Any, place: int) -> None:
        rest = memoryview(content).cast("B")
        try:
            while rest:  # a full disk first takes a part, and fails at the next call
                written = os.pwrite(self._file.fileno(), rest, place)
                rest, place = rest[written:], place + written
        except OSError as error:
            raise unwritable(self._path, error) from error

    def find_facts(self, advance: Advance) -> dict[int, str]:
        """Find the facts of all windows, whose codes have been written; return the fingerprints."""
        windows = len(self._table)
        facts = {size: Facts.none(windows) for size in _SIZES}
        fingerprints = {size: Fingerprint(self._shards) for size in _SIZES}
        last = np.zeros((1, _COLUMNS["bases"]), np.uint8)
        all_bases, all_labels = (
            StoredCodes(self._file, self._path, self._table, what, slice(None)) for what in ("bases", "labels")
        )
        for rows in a_few_at_once(np.arange(windows)):
            bases, labels = all_bases[rows], all_labels[rows]
            before = np.concatenate([last, bases[:-1]])
            facts[CONTEXT].find_in_labels(rows, bases, labels)
            for size in _SIZES:
                facts[size].find_in_bases(rows, bases[:, kept(size)], before[:, kept(size)])
                fingerprints[size].add(bases[:, kept(size)], labels)
            last = bases[-1:]
            advance(len(rows))
        self._fill_table(facts)
        return {size: str(fingerprint) for size, fingerprint in fingerprints.items()}

    def _fill_table(self, facts: dict[int, Facts]) -> None:
        table, whole = self._table, facts[CONTEXT]
        table["shard"], table["length"] = self._shards, whole.lengths
        table["class_counts"], table["canonical_sites"] = whole.class_counts, whole.canonical_sites
        for column, size in enumerate(_SIZES):
            table["known"][:, column], table["repeats"][:, column] = facts[size].known, facts[size].repeats

    def finish(self, origin: _Origin, fingerprints: dict[int, str]) -> None:
        """Write the table and, last, the header."""
        content = self._table.tobytes()
        self._write(content, _place(len(self._table), "table"))
        header = _Header(origin, len(self._table), fingerprints, hashlib.sha256(content).hexdigest())
        self._write(header.render(), 0)

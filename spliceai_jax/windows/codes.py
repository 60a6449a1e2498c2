"""The cache of a data set's codes: a file beside a large data set, which windows are read from when they are needed.

To decode a large HDF5 file takes minutes, and its codes take gigabytes of memory. So they are written to a file once,
whole windows for all flanking sizes, with all that is asked of every window when a run starts (see `facts`). The file:

    4096 bytes                      a line of JSON: `_Header`
    uint8 (windows, 15000)          bases
    uint8 (windows, 5000)           labels
    a row of `_TABLE` a window      shard and facts

It is used only while the data set is the one that it was made from. It is read, not mapped: then pages do not count as
the process's own, and a disk that fails is an error and not a signal that ends the process.
"""

import contextlib
import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from jaxtyping import Int, UInt8

from spliceai_jax.architecture import ARCHITECTURES, CLASSES, CONTEXT, SITE_KINDS, WINDOW
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import DatasetError, RunFolderError
from spliceai_jax.files import alone, unwritable, written_whole
from spliceai_jax.windows.facts import WINDOWS_AT_ONCE, Facts, Fingerprint, a_few_at_once
from spliceai_jax.windows.windows import Windows

LEAST_WINDOWS = 20_000
"""A cache is made of data sets with this many windows or more: others are decoded in seconds."""

_HEADER_BYTES = 4096
_BEGINS = b'{"format":"spliceai-jax codes '

_SIZES = tuple(ARCHITECTURES)

_COLUMNS = {"bases": WINDOW + CONTEXT, "labels": WINDOW}

_TABLE = np.dtype(
    [
        ("shard", "<u4"),
        ("class_counts", "<u2", len(CLASSES) + 1),
        ("canonical_sites", "<u2", len(SITE_KINDS)),
        ("length", "<u2"),
        ("known", "<u2", len(_SIZES)),
        ("repeats", "?", len(_SIZES)),
    ]
)
"""What the file holds of a window besides its codes: its shard, and `Facts`, of which the last two have a column for
each flanking size."""

_SAMPLES, _SAMPLE_BYTES = 64, 4096


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

    bytes: int
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
        format: The format and its version.
        origin: The data set that it was made from.
        windows: The number of windows.
        fingerprints: Flanking size -> fingerprint of the whole file.
    """

    format: Literal["spliceai-jax codes 2"]
    origin: _Origin
    windows: int
    fingerprints: dict[int, str]


class StoredCodes:
    """The bases or the labels in a file of codes, read row by row; they are indexed as an array is.

    Attributes:
        shape: The number of windows, and of codes in each.
    """

    def __init__(
        self, file: io.FileIO, path: Path, windows: int, what: Literal["bases", "labels"], columns: slice
    ) -> None:
        """Read nothing yet; `path` is for messages, and of the codes some columns are shown."""
        self._file, self._path, self._what, self._columns = file, path, what, columns
        self.shape = (windows, len(range(_COLUMNS[what])[columns]))

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> UInt8[np.ndarray, "..."]:
        """Return a row, several rows given as an array, or some columns of them.

        Raises:
            DatasetError: They cannot be read.
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
            raise self._lost(f"cannot be read ({error.strerror})") from error
        if size != codes.nbytes:
            raise self._lost("was cut short while it was used")
        return codes[:, self._columns]

    def _lost(self, what: str) -> DatasetError:
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


# -- reading -------------------------------------------------------------------------------------------------------


def stored_windows(dataset: Path, flanking_size: int) -> Windows | None:
    """Return the windows of a data set as its cache holds them; None where it has no cache that fits."""
    path = codes_beside(dataset)
    if flanking_size not in ARCHITECTURES or (found := _opened(path, dataset)) is None:
        return None
    file, header = found
    windows = header.windows
    table = np.frombuffer(os.pread(file.fileno(), windows * _TABLE.itemsize, _place(windows, "table")), _TABLE)
    facts = Facts(
        table["class_counts"].astype(np.int64),
        table["canonical_sites"].astype(np.int64),
        table["length"].astype(np.int64),
        table["known"][:, _SIZES.index(flanking_size)].astype(np.int64),
        table["repeats"][:, _SIZES.index(flanking_size)],
        header.fingerprints[flanking_size],
    )
    return Windows(
        dataset,
        StoredCodes(file, path, windows, "bases", kept(flanking_size)),
        StoredCodes(file, path, windows, "labels", slice(None)),
        table["shard"].astype(np.int64),
        np.arange(windows),
        facts,
    )


def has_codes(dataset: Path) -> bool:
    """Return whether a data set has a cache that was made from it as it is now."""
    if (found := _opened(codes_beside(dataset), dataset)) is None:
        return False
    found[0].close()
    return True


def _opened(path: Path, dataset: Path) -> tuple[io.FileIO, _Header] | None:
    """Open a cache, which another process may replace meanwhile, and return it with its header.

    Returns:
        None where it is missing, cut short, of other data or of another version.
    """
    try:
        if not path.is_file():  # to open a pipe would wait for its other end
            return None
        with contextlib.ExitStack() as unless_used:
            file = unless_used.enter_context(open(path, "rb", buffering=0))
            header = msgspec.json.decode(os.pread(file.fileno(), _HEADER_BYTES, 0).rstrip(), type=_Header)
            whole = os.fstat(file.fileno()).st_size == _place(header.windows, "table", header.windows)
            if not whole or header.origin != _Origin.of(dataset):
                return None
            unless_used.pop_all()  # it is read as long as the windows live
            return file, header
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _is_foreign(path: Path) -> bool:
    """Return whether a file that is no cache, of whatever version, has the name of one."""
    if not os.path.lexists(path):
        return False
    try:
        with open(path, "rb") if path.is_file() else open(os.devnull, "rb") as file:
            return file.read(len(_BEGINS)) != _BEGINS
    except OSError:
        return True


# -- writing -------------------------------------------------------------------------------------------------------

Put = Callable[[int, UInt8[np.ndarray, "some codes"]], None]
"""Takes rows of codes, and the number of the first."""


def make_codes(
    dataset: Path, shards: Int[np.ndarray, " windows"], decode: Callable[[Put, Put], None], display: Display
) -> None:
    """Make the cache of a data set; while another process makes it, wait for that.

    Arguments:
        dataset: The HDF5 file.
        shards: The shard of each window.
        decode: Decodes the data set: called with what takes bases, whole, and what takes labels.
        display: Shows why the process waits, and the progress of what is done after all is decoded.

    Raises:
        RunFolderError: It cannot be made: the folder cannot be written, there is little room, or another file has its
            name.
        DatasetError: The data set was changed meanwhile.
    """
    path = codes_beside(dataset)
    if _is_foreign(path):
        raise RunFolderError(f"{path}: is another file, and is left as it is; move it")

    def waits(way_out: str) -> None:
        display.line(f"{path}: another process is making this cache of the data set; waiting for it{way_out}")

    with alone(path, waits):
        if has_codes(dataset):
            return
        _check_room(path, _place(len(shards), "table", len(shards)))
        origin = _Origin.of(dataset)
        with written_whole(path) as partial, open(partial, "w+b", buffering=0) as file:
            writer = _Writer(file, path, shards)
            decode(writer.put_bases, writer.put_labels)
            with display.progress(f"measuring {dataset.name}", len(shards)) as advance:
                fingerprints = writer.find_facts(advance)
            if _Origin.of(dataset) != origin:
                raise DatasetError(f"{dataset}: was changed while it was read; start again when it is whole")
            writer.finish(_Header("spliceai-jax codes 2", origin, len(shards), fingerprints))


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

    def put_bases(self, row: int, codes: UInt8[np.ndarray, "some 15000"]) -> None:
        """Write bases."""
        self._write(codes, _place(len(self._shards), "bases", row))

    def put_labels(self, row: int, codes: UInt8[np.ndarray, "some 5000"]) -> None:
        """Write labels."""
        self._write(codes, _place(len(self._shards), "labels", row))

    def find_facts(self, advance: Advance) -> dict[int, str]:
        """Find and write the facts of all windows, whose codes have been written; return the fingerprints."""
        windows = len(self._shards)
        facts = {size: Facts.none(windows) for size in _SIZES}
        fingerprints = {size: Fingerprint(self._shards) for size in _SIZES}
        last = np.zeros((1, _COLUMNS["bases"]), np.uint8)
        all_bases, all_labels = (
            StoredCodes(self._file, self._path, windows, what, slice(None)) for what in ("bases", "labels")
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
        table, whole = np.zeros(windows, _TABLE), facts[CONTEXT]
        table["shard"], table["length"] = self._shards, whole.lengths
        table["class_counts"], table["canonical_sites"] = whole.class_counts, whole.canonical_sites
        for column, size in enumerate(_SIZES):
            table["known"][:, column], table["repeats"][:, column] = facts[size].known, facts[size].repeats
        self._write(table.tobytes(), _place(windows, "table"))
        return {size: str(fingerprint) for size, fingerprint in fingerprints.items()}

    def finish(self, header: _Header) -> None:
        """Write the header."""
        self._write(msgspec.json.encode(asdict(header)).ljust(_HEADER_BYTES), 0)

    def _write(self, content: Any, place: int) -> None:
        rest = memoryview(content).cast("B")
        try:
            while rest:  # a full disk first takes a part, and fails at the next call
                written = os.pwrite(self._file.fileno(), rest, place)
                rest, place = rest[written:], place + written
        except OSError as error:
            raise unwritable(self._path, error) from error

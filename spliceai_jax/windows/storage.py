"""The wall around HDF5: how files are opened, and what is checked of their storage before HDF5 follows or reads it.

HDF5 does what a file says: it follows links into other files, shows data that were never written as zeros, and takes as
much memory as a chunk claims.
"""

import contextlib
import itertools
import math
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import h5py
from h5py import h5d, h5z
from isal import isal_zlib

from spliceai_jax.errors import DatasetError, SpliceAIError
from spliceai_jax.files import written_between
from spliceai_jax.genome.compressed import LENGTH, Found, told

_SHUFFLE, _GZIP, _LZF, _CHECKSUM = h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_LZF, h5z.FILTER_FLETCHER32
_FILTERS = [
    [number for number in filters if number]
    for filters in itertools.product((0, _SHUFFLE), (0, _GZIP, _LZF), (0, _CHECKSUM))
]
"""What a chunk may go through when it is written, in this order, which is h5py's."""

_MOST_PACKED = 1032
"""A byte of gzip unpacks to at most this many, and one of lzf to 88."""

_MOST_CHUNK_BYTES = 2**23
"""create-data writes a chunk a window, 60 kB. Times what lzf can unpack to, it still fits memory."""

_MOST_BYTES_AT_ONCE = 2**26
"""Whole chunks are read at once, with all the windows that they touch."""

_DAMAGED = OSError, RuntimeError, KeyError, ValueError, cast(type[Exception], isal_zlib.error)
"""What is raised of a damaged file, beside what h5py raises."""

_COPY = "write its values into a file of their own (with h5py: new[name] = old[name][:]), or make the data set again"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; whatever is raised meanwhile ends as one error that names the file.

    Raises:
        DatasetError: The file is missing, damaged, not HDF5, or was changed meanwhile.
    """
    if not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "no such data set"
        raise DatasetError(f"{path}: {found}; give an HDF5 file made by OpenSpliceAI's create-data")
    try:
        before = os.stat(path)
        if not h5py.is_hdf5(path):
            it_is = _what_it_is(path)
            raise DatasetError(
                f"{path}: cannot be read as HDF5: it is {it_is.what}; {it_is.advice('a data set made by create-data')}"
            )
        # Not locked, which fails on many file systems of clusters; that it is not written to meanwhile is seen below.
        with h5py.File(path, "r", rdcc_nbytes=2**20, locking=False) as file:
            yield file
        if written_between(before, os.stat(path)):
            raise DatasetError(f"{path}: was changed while it was read; start again when it is whole")
    except SpliceAIError:
        raise
    except Exception as error:
        if not isinstance(error, _DAMAGED) and not _is_of_h5py(error):
            raise  # a bug of ours, or no memory
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: cannot be read as HDF5, it may be damaged or cut short ({reason:.200})") from error


def _is_of_h5py(error: Exception) -> bool:
    """Return whether h5py raised it, which has a TypeError or a MemoryError for damaged files too."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return "h5py" in Path(frame.f_code.co_filename).parts


def _what_it_is(path: Path) -> Found:
    with open(path, "rb") as file:
        begins = file.read(LENGTH)
    if not begins:
        return Found("empty", "")
    text = begins.isascii() and b"\0" not in begins
    return told(begins, path) or Found("text" if text else f"not (it begins with {begins[:8]!r})", "")


def follow(file: h5py.File, name: str, path: Path) -> object:
    """Return what lies under a name, but follow no link, which can lead into a circle or another file.

    Raises:
        DatasetError: It is a link.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise DatasetError(f"{path}: {name} is a link to another place, expected a dataset; {_COPY}")
    return file[name]


def check_layout(dataset: h5py.Dataset, name: str, path: Path) -> None:
    """Refuse a dataset whose data lie in other files, or are packed in a way that is not read here.

    Call it before the dataset is asked for anything else: the shape of a virtual one can depend on other files.
    """
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL or properties.get_external_count():
        raise DatasetError(f"{path}: {name} takes its data from other files, expected them in this one; {_COPY}")
    filters = _filters(dataset)
    packed = [filter_[0] for filter_ in filters]
    # lzf unpacks into as many bytes as its parameters say, of which HDF5 then reads those of a chunk.
    if packed not in _FILTERS or any(f[0] == _LZF and f[2][2:] != (_chunk_bytes(dataset),) for f in filters):
        raise DatasetError(
            f"{path}: {name} is packed by the HDF5 filters {packed}; expected shuffle, gzip or lzf, and fletcher32, in "
            f"this order, or some of them; {_COPY}"
        )


def check_written(dataset: h5py.Dataset, name: str, path: Path, axis: int) -> None:
    """Refuse a dataset that claims data which are not there, or lies in chunks that are too large, without reading it.

    Arguments:
        dataset: The dataset.
        name: Its name, for messages.
        path: The file.
        axis: The axis along which it is read, a few windows at a time.
    """
    shape, item, on_disk = dataset.shape, dataset.dtype.itemsize, os.path.getsize(path)
    size, stored = math.prod(shape) * item, dataset.id.get_storage_size()
    if size > _MOST_PACKED * on_disk or stored > on_disk:
        raise DatasetError(
            f"{path}: {name} claims {max(size, stored):.3g} bytes, more than its file of {on_disk} can hold; make the "
            "data set again"
        )
    whole = stored == size
    if chunks := dataset.chunks:
        row_bytes = size // max(shape[axis], 1)
        if _chunk_bytes(dataset) > _MOST_CHUNK_BYTES or chunks[axis] * row_bytes > _MOST_BYTES_AT_ONCE:
            raise DatasetError(
                f"{path}: {name} lies in chunks of shape {chunks}, too large to be read a few windows at a time; "
                f"expected one a window; {_COPY}"
            )
        needed = math.prod(-(-extent // chunk) for extent, chunk in zip(shape, chunks, strict=True))
        whole = dataset.id.get_num_chunks() == needed
    if not whole:
        raise DatasetError(f"{path}: {name} claims data that were never written to it; make the data set again")


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    return math.prod(dataset.chunks) * dataset.id.get_type().get_size()


def _filters(dataset: h5py.Dataset) -> list[tuple[int, int, tuple[int, ...], bytes]]:
    """Return number, flags, parameters and name of each filter."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(number) for number in range(properties.get_nfilters())]

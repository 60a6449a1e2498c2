"""OpenSpliceAI's HDF5 data sets, read and checked.

A file holds two datasets per shard: `Xi`, one-hot bases (n, 15000, 4), and `Yi`, one-hot labels (1, n, 5000, 3).
"""

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int, Shaped, UInt8

from spliceai_jax.architecture import CLASSES, CONTEXT, PADDING, WINDOW
from spliceai_jax.display import Display
from spliceai_jax.encoding import BASES
from spliceai_jax.errors import DatasetError, RunFolderError, SpliceAIWarning
from spliceai_jax.windows.codes import LEAST_WINDOWS, Put, has_codes, kept, make_codes, stored_windows
from spliceai_jax.windows.facts import WINDOWS_AT_ONCE
from spliceai_jax.windows.storage import check_layout, check_written, follow, opened
from spliceai_jax.windows.windows import Windows, check_sites

_MOST_NAMES = 200_000
"""A shard, of two names, holds 100 genes."""

_NAMES_SHOWN = 8


def read_windows(
    path: str | Path, flanking_size: int, display: Display | None = None, labelled: bool = True
) -> Windows:
    """Read and check a whole data set.

    A data set with 20,000 windows or more is decoded once, into a cache beside it (see `codes`), and read from there.

    Memory: 10 kB + `flanking_size` bytes per window, and a constant; with a cache some hundred bytes per window.

    Arguments:
        path: The HDF5 file.
        flanking_size: Bases of context to keep, both sides together.
        display: Shows the progress, as `ConsoleDisplay()` does; None shows nothing.
        labelled: Whether the set must have splice sites.

    Raises:
        DatasetError: See `check_form`; or a shard holds values that are not one-hot, or the set is empty or lacks a
            class of splice site that it must have.
    """
    path, display = Path(path), display or Display()
    windows = stored_windows(path, flanking_size)
    if windows is None:
        with opened(path) as file:
            windows = _decoded_windows(_Source(file, path, _shard_sizes(file, path), display), flanking_size)
    if labelled:
        check_sites(windows, f"{path}")
    return windows


def check_form(path: str | Path) -> None:
    """Check the form of a data set, without reading its contents, unless it was read into a cache as it is now.

    Raises:
        DatasetError: The file is missing, damaged or not HDF5; it has no shards, lacks one in between, or has an X
            without its Y; a shard has the wrong shape or type, or its X and Y differ in windows; or its data are not
            all in this file (see `storage`).
    """
    if not has_codes(Path(path)):
        with opened(Path(path)) as file:
            _shard_sizes(file, Path(path))


def _shard_sizes(file: h5py.File, path: Path) -> list[int]:
    """Check the form of every shard and return the number of windows in each."""
    sizes, stored, on_disk = [], 0, os.path.getsize(path)
    for number in range(_count_shards(file, path)):
        x = _check_dataset(file, f"X{number}", path, (None, WINDOW + CONTEXT, len(BASES) - 1))
        y = _check_dataset(file, f"Y{number}", path, (1, None, WINDOW, len(CLASSES)))
        if x.shape[0] != y.shape[1]:
            raise DatasetError(f"{path}: X{number} has {x.shape[0]} windows but Y{number} has {y.shape[1]}")
        sizes.append(x.shape[0])
        stored += x.id.get_storage_size() + y.id.get_storage_size()
        if stored > on_disk:
            raise DatasetError(
                f"{path}: its first {len(sizes)} shards take {stored} bytes, but the file has {on_disk}: some share "
                "their data; make the data set again"
            )
    return sizes


def _count_shards(file: h5py.File, path: Path) -> int:
    if len(file) > _MOST_NAMES:
        raise DatasetError(f"{path}: holds {len(file)} names, expected X0, Y0, X1, Y1, ... of at most {_MOST_NAMES}")
    names = [name if isinstance(name, str) else name.decode(errors="replace") for name in file]
    if odd := [name for name in names if re.fullmatch("[XY](0[0-9]+|[0-9]{7,})", name)]:
        raise DatasetError(
            f"{path}: has {odd[0]:.40}; OpenSpliceAI numbers shards X0, X1, X2 and so on, without zeros in front; "
            "rename it, or make the data set again"
        )
    found: dict[str, set[int]] = {
        kind: {int(match[1]) for name in names if (match := re.fullmatch(f"{kind}([0-9]+)", name))} for kind in "XY"
    }
    if not found["X"] and not found["Y"]:
        way_out = "make it by create-data"
        if {"SEQ", "STRAND"} <= set(names):
            way_out = "it is a datafile of create-data; give the data set that was made from it, dataset_*.h5 beside it"
        elif "model_weights" in names:
            way_out = "it is a model of Keras; give a data set"
        raise DatasetError(
            f"{path}: has no shards; expected datasets X0, Y0, X1, Y1, ..., found {names[:_NAMES_SHOWN]!s:.200}; "
            f"{way_out}"
        )
    for kind, other in ("XY", "YX"):
        if alone := sorted(found[kind] - found[other]):
            raise DatasetError(f"{path}: has {kind}{alone[0]} but no {other}{alone[0]}; make the data set again")
    if lost := sorted(set(range(max(found["X"]))) - found["X"]):
        raise DatasetError(
            f"{path}: has X{max(found['X'])} but no X{lost[0]}; OpenSpliceAI numbers shards from 0 without a gap, so "
            "one was lost; make the data set again"
        )
    return len(found["X"])


def _check_dataset(file: h5py.File, name: str, path: Path, shape: tuple[int | None, ...]) -> h5py.Dataset:
    wanted = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
    dataset = follow(file, name, path)
    if not isinstance(dataset, h5py.Dataset):
        raise DatasetError(f"{path}: {name} is a group, expected a dataset of shape {wanted}")
    check_layout(dataset, name, path)
    found = dataset.shape or ()
    if len(found) != len(shape) or any(size not in (None, have) for size, have in zip(shape, found, strict=True)):
        raise DatasetError(f"{path}: {name} has shape {dataset.shape}, expected {wanted}")
    if dataset.dtype.kind not in "iub":
        raise DatasetError(f"{path}: {name} holds {dataset.dtype!s:.100}, expected int8")
    check_written(dataset, name, path, shape.index(None))
    return dataset


@dataclass(frozen=True)
class _Source:
    """A file whose form was checked, to be decoded.

    Attributes:
        file: The file.
        path: Its name.
        sizes: The number of windows in each shard.
        display: Shows the progress.
    """

    file: h5py.File
    path: Path
    sizes: list[int]
    display: Display

    @property
    def shards(self) -> Int[np.ndarray, " windows"]:
        """The number of the shard that holds each window."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def decode(self, put_bases: Put, put_labels: Put) -> None:
        """Decode the file and hand its codes on, some windows after the other."""
        row = 0
        with self.display.progress(f"reading {self.path.name}", sum(self.sizes)) as advance:
            for number, size in enumerate(self.sizes):  # by number: as text X10 would come before X2
                for at, codes in _decoded(self.file, f"X{number}", self.path, 0):
                    put_bases(row + at, codes)
                    advance(len(codes))
                for at, codes in _decoded(self.file, f"Y{number}", self.path, 1):
                    put_labels(row + at, np.where(codes == 0, PADDING, codes - 1))
                row += size


def _decoded_windows(source: _Source, flanking_size: int) -> Windows:
    """Decode a file: a large one into its cache, unless that cannot be made, which a note says."""
    if sum(source.sizes) >= LEAST_WINDOWS:
        try:
            make_codes(source.path, source.shards, source.decode, source.display)
        except RunFolderError as error:
            text = f"{error}; until this cache can be made, the data set is decoded into memory at each start"
            warnings.warn(text, SpliceAIWarning, stacklevel=3)
        if windows := stored_windows(source.path, flanking_size):
            return windows
    return _in_memory(source, flanking_size)


def _in_memory(source: _Source, flanking_size: int) -> Windows:
    columns, shards = kept(flanking_size), source.shards
    bases = np.empty((len(shards), WINDOW + flanking_size), np.uint8)
    labels = np.empty((len(shards), WINDOW), np.uint8)

    def put_bases(row: int, codes: UInt8[np.ndarray, "some 15000"]) -> None:
        bases[row : row + len(codes)] = codes[:, columns]

    def put_labels(row: int, codes: UInt8[np.ndarray, "some 5000"]) -> None:
        labels[row : row + len(codes)] = codes

    source.decode(put_bases, put_labels)
    return Windows(source.path, bases, labels, shards, np.arange(len(shards)))


def _decoded(file: h5py.File, name: str, path: Path, axis: int) -> Iterator[tuple[int, UInt8[np.ndarray, "n columns"]]]:
    """Yield the windows of a dataset as numbers (see `_codes`), whole chunks at a time, and where they begin."""
    dataset = file[name]  # opened anew: HDF5 caches megabytes for each that stays open
    in_chunk = dataset.chunks[axis] if dataset.chunks else 1
    at_once = max(WINDOWS_AT_ONCE // in_chunk, 1) * in_chunk
    for start in range(0, dataset.shape[axis], at_once):
        rows = slice(start, start + at_once)
        yield start, _codes(dataset[0, rows] if axis else dataset[rows], name, path)


def _codes(one_hot: Shaped[np.ndarray, "*shape k"], name: str, path: Path) -> UInt8[np.ndarray, "*shape"]:
    """Turn one-hot vectors into numbers: 0 where all are zero, else 1 + the index of the one."""
    # Clipped before it is cast to a byte, in which 256 would be 0; -1 becomes 255, which is refused as well.
    small: Any = one_hot.view(np.uint8) if one_hot.itemsize == 1 else np.clip(one_hot, -1, 2).astype(np.uint8)
    # Products with vectors, since numpy is slow at summing over short last axes.
    if one_hot.size and (small.max() > 1 or (small @ np.ones(small.shape[-1], np.uint8)).max() > 1):
        raise DatasetError(
            f"{path}: {name} holds values that are not one-hot; expected a single 1 at each position, or none"
        )
    return small @ np.arange(1, small.shape[-1] + 1, dtype=np.uint8)

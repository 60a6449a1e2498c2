"""OpenSpliceAI's HDF5 data sets, read and checked.

A file holds two datasets per shard: `Xi`, one-hot bases (n, 15000, 4), and `Yi`, one-hot labels (1, n, 5000, 3).
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Shaped, UInt8

from spliceai_jax.architecture import CLASSES, CONTEXT, PADDING, WINDOW
from spliceai_jax.data.windows import WINDOWS_AT_ONCE, Windows, check_sites
from spliceai_jax.display import Display
from spliceai_jax.encoding import BASES
from spliceai_jax.errors import DatasetError


def read_windows(path: str | Path, flanking_size: int, display: Display | None = None) -> Windows:
    """Read and check a whole data set.

    Memory: 10 kB + `flanking_size` bytes per window, and a constant.

    Arguments:
        path: The HDF5 file.
        flanking_size: Bases of context to keep, both sides together.
        display: Shows the progress; None shows nothing.

    Raises:
        DatasetError: See `check_form`; or a shard holds values that are not one-hot, or the set is empty or lacks a
            class of splice site altogether.
    """
    path, display = Path(path), display or Display()
    with _opened(path) as file:
        sizes = _shard_sizes(file, path)
        windows = _read(file, path, sizes, flanking_size, display)
    check_sites(windows, f"{path}")
    return windows


def check_form(path: str | Path) -> None:
    """Check the form of a data set, without reading its contents.

    Raises:
        DatasetError: The file is missing, damaged or not HDF5; it has no shards, lacks one in between, or has an X
            without its Y; a shard has the wrong shape or type, or its X and Y differ in windows.
    """
    with _opened(Path(path)) as file:
        _shard_sizes(file, Path(path))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not os.path.isfile(path):
        raise DatasetError(f"{path}: no such data set; give an HDF5 file made by OpenSpliceAI's create-data")
    try:
        with h5py.File(path, "r", rdcc_nbytes=2**20) as file:
            yield file
    except (OSError, KeyError) as error:  # KeyError: a link that leads nowhere
        reason = str(error).replace("\n", " ")[:200]
        raise DatasetError(f"{path}: cannot be read as HDF5, it may be damaged or cut short ({reason})") from error


def _shard_sizes(file: h5py.File, path: Path) -> list[int]:
    """Check the form of every shard and return the number of windows in each."""
    sizes = []
    for number in range(_count_shards(file, path)):
        x = _check_dataset(file[f"X{number}"], f"X{number}", path, (None, WINDOW + CONTEXT, len(BASES) - 1))
        y = _check_dataset(file[f"Y{number}"], f"Y{number}", path, (1, None, WINDOW, len(CLASSES)))
        if x.shape[0] != y.shape[1]:
            raise DatasetError(f"{path}: X{number} has {x.shape[0]} windows but Y{number} has {y.shape[1]}")
        sizes.append(x.shape[0])
    return sizes


def _count_shards(file: h5py.File, path: Path) -> int:
    found: dict[str, set[int]] = {
        kind: {int(match[1]) for key in file if (match := re.fullmatch(rf"{kind}(\d+)", key))} for kind in "XY"
    }
    if not found["X"] and not found["Y"]:
        raise DatasetError(f"{path}: has no shards; expected datasets X0, Y0, X1, Y1, ..., found {list(file)[:8]}")
    for kind, other in ("XY", "YX"):
        if alone := sorted(found[kind] - found[other]):
            raise DatasetError(f"{path}: has {kind}{alone[0]} but no {other}{alone[0]}; make the data set again")
    if lost := sorted(set(range(max(found["X"]))) - found["X"]):
        raise DatasetError(
            f"{path}: has X{max(found['X'])} but no X{lost[0]}; OpenSpliceAI numbers shards from 0 without a gap, so "
            "one was lost; make the data set again"
        )
    return len(found["X"])


def _check_dataset(dataset: object, name: str, path: Path, shape: tuple[int | None, ...]) -> h5py.Dataset:
    wanted = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
    if not isinstance(dataset, h5py.Dataset):
        raise DatasetError(f"{path}: {name} is a group, expected a dataset of shape {wanted}")
    fits = len(dataset.shape) == len(shape) and all(
        size in (None, found) for size, found in zip(shape, dataset.shape, strict=True)
    )
    if not fits:
        raise DatasetError(f"{path}: {name} has shape {dataset.shape}, expected {wanted}")
    if dataset.dtype.kind not in "iub":
        raise DatasetError(f"{path}: {name} holds {dataset.dtype}, expected int8")
    return dataset


def _read(file: h5py.File, path: Path, sizes: list[int], flanking_size: int, display: Display) -> Windows:
    crop, total = (CONTEXT - flanking_size) // 2, sum(sizes)
    bases = np.empty((total, WINDOW + flanking_size), np.uint8)
    labels = np.empty((total, WINDOW), np.uint8)
    row = 0
    with display.progress(f"reading {path.name}", total) as advance:
        for number in range(len(sizes)):  # by number: as text X10 would come before X2
            x, y = file[f"X{number}"], file[f"Y{number}"]  # opened anew: HDF5 caches megabytes for each that stays open
            for start in range(0, x.shape[0], WINDOWS_AT_ONCE):
                codes = _codes(x[start : start + WINDOWS_AT_ONCE], f"X{number}", path)
                size = len(codes)
                bases[row : row + size] = codes[:, crop : crop + WINDOW + flanking_size]
                codes = _codes(y[0, start : start + WINDOWS_AT_ONCE], f"Y{number}", path)
                labels[row : row + size] = np.where(codes == 0, PADDING, codes - 1)
                row += size
                advance(size)
    return Windows(path, bases, labels, np.repeat(np.arange(len(sizes)), sizes), np.arange(total))


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

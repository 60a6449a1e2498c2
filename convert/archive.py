"""A `.pt` file taken apart: a zip archive of a pickle and the tensors' storages, or what older PyTorch wrote.

The sizes that a file claims are compared with its own before anything is unpacked. PyTorch compresses nothing, so that
no part of a file is larger than the file.
"""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from spliceai_jax.convert.pickled import NotPlainError, read_pickle

_MOST_BYTES = 16_000_000
"""The largest network takes 2.9 MB, with the state of an optimizer three times as much."""

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""Begins the files that PyTorch wrote before it wrote zip archives."""


def read_archive(path: Path) -> Any:
    """Read the content of a `.pt` file.

    Raises:
        NotPlainError: It holds something other than tensors, dictionaries, lists, text and numbers.
        Exception: It is damaged, in any of many ways.
    """
    with open(path, "rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(
            f"it has {os.path.getsize(path) / 1e6:.0f} MB; expected at most {_MOST_BYTES / 1e6:.0f}, the largest of "
            "OpenSpliceAI's networks takes 2.9"
        )
    file = io.BytesIO(content)
    return _read_zip(file) if content.startswith(b"PK") else _read_old(file)


def _read_zip(file: io.BytesIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which torch.save never does; save it again")
        if sum(entry.file_size for entry in entries) > len(file.getbuffer()):
            raise ValueError("its entries claim more bytes than the file has")
        if len({entry.filename for entry in entries}) != len(entries):
            raise ValueError("it holds two entries of the same name")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged!r:.100} in it does not match its checksum; copy it again")
        folder = entries[0].filename.split("/")[0] if entries else ""
        if f"{folder}/data.pkl" not in archive.namelist():
            raise ValueError("it is a zip archive without data.pkl; if a model is one of the files in it, unpack it")
        if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
            raise ValueError("its numbers are not little-endian; save it again on another machine")
        opened: dict[str, torch.Tensor] = {}

        def storage(key: str, dtype: torch.dtype, size: int) -> torch.Tensor:
            if key not in opened:
                opened[key] = _numbers(archive.read(f"{folder}/data/{key}"), dtype, size)
            return _checked(opened[key], dtype, size)

        return read_pickle(io.BytesIO(archive.read(f"{folder}/data.pkl")), storage)


def _read_old(file: io.BytesIO) -> Any:
    """Read pickles of a magic number, a version, facts about the machine, the content and keys; then the storages."""
    most, opened = len(file.getbuffer()), {}

    def storage(key: str, dtype: torch.dtype, size: int) -> torch.Tensor:
        nonlocal most
        if key not in opened:
            most -= size * dtype.itemsize
            if most < 0:
                raise ValueError("its tensors claim more bytes than the file has")
            opened[key] = torch.zeros(size, dtype=dtype)  # filled below
        return _checked(opened[key], dtype, size)

    magic_number, _, machine = (read_pickle(file, storage) for _ in range(3))
    if magic_number != _MAGIC_NUMBER or machine["little_endian"] is not True:
        raise NotPlainError("another kind of pickle")
    content, keys = read_pickle(file, storage), read_pickle(file, storage)
    if sorted(keys) != sorted(opened):
        raise ValueError("the storages listed in it are not those of its tensors")
    for key in keys:
        tensor, size = opened[key], int.from_bytes(file.read(8), "little")
        tensor.copy_(_numbers(file.read(size * tensor.itemsize), tensor.dtype, size))
    return content


def _numbers(content: bytes, dtype: torch.dtype, size: int) -> torch.Tensor:
    if len(content) != size * dtype.itemsize:
        raise ValueError(f"a tensor's numbers take {len(content)} bytes, expected {size * dtype.itemsize}")
    return torch.frombuffer(bytearray(content), dtype=dtype) if size else torch.zeros(0, dtype=dtype)


def _checked(storage: torch.Tensor, dtype: torch.dtype, size: int) -> torch.Tensor:
    if storage.dtype != dtype or len(storage) != size:
        raise ValueError("two tensors disagree about their storage")
    return storage

"""Data sets from strangers: each is read as it is, or refused in one line, whatever HDF5 itself would do with it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import LFS_POINTER, make_windows, random_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostile.conftest import Attack, refused
from hostile.mutants import SEEDS, read_mutants
from spliceai_jax.errors import DatasetError
from spliceai_jax.windows import hdf5
from spliceai_jax.windows.hdf5 import check_form, read_windows
from spliceai_jax.windows.windows import Windows

X, Y = (4, 15000, 4), (1, 4, 5000, 3)
CHUNK = {"X0": (1, 15000, 4), "Y0": (1, 1, 5000, 3)}

Spoil = Callable[[h5py.File, Path], None]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A data set of four windows, a chunk each, as create-data writes them."""
    bases, labels = make_windows(4, 1)
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X0", data=np.eye(5, dtype="i1")[bases][..., 1:], chunks=CHUNK["X0"], compression="gzip")
        file.create_dataset("Y0", data=np.eye(4, dtype="i1")[labels][..., :3][None], chunks=CHUNK["Y0"])
    return path


def replaced(name: str, *arguments: object, **storage: object) -> Spoil:
    """Put a new dataset under a name; its data are not written unless they are among the keywords."""

    def spoil(file: h5py.File, folder: Path) -> None:
        del file[name]
        file.create_dataset(name, *arguments, **storage)

    return spoil


def linked(link: Callable[[Path], object]) -> Spoil:
    def spoil(file: h5py.File, folder: Path) -> None:
        file.move("X0", "data")
        file["X0"] = link(folder)

    return spoil


def to_fifo(folder: Path) -> object:
    os.mkfifo(folder / "pipe.h5")
    return h5py.ExternalLink(str(folder / "pipe.h5"), "/X0")


def virtual(source: Callable[[Path], str], shape: tuple = X, maxshape: tuple | None = None) -> Spoil:
    def spoil(file: h5py.File, folder: Path) -> None:
        del file["X0"]
        layout = h5py.VirtualLayout(X, "i1")
        layout[:] = h5py.VirtualSource(source(folder), "X0", X)
        file.create_virtual_dataset("X0", layout)

    return spoil


def partly_written(file: h5py.File, folder: Path) -> None:
    del file["X0"]
    dataset = file.create_dataset("X0", X, "i1", chunks=CHUNK["X0"])
    dataset[1:] = 0


def a_chunk_of(content: bytes, **storage: object) -> Spoil:
    def spoil(file: h5py.File, folder: Path) -> None:
        del file["X0"]
        dataset = file.create_dataset("X0", X, "i1", chunks=CHUNK["X0"], **storage)
        for row in range(X[0]):
            dataset.id.write_direct_chunk((row, 0, 0), content)

    return spoil


def lzf_within_gzip(file: h5py.File, folder: Path) -> None:
    del file["X0"]
    storage = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    storage.set_chunk(CHUNK["X0"])
    storage.set_filter(h5py.h5z.FILTER_LZF, 0)
    storage.set_deflate(9)
    h5py.h5d.create(file.id, b"X0", h5py.h5t.STD_I8LE, h5py.h5s.create_simple(X), storage)


def named(name: bytes) -> Spoil:
    def spoil(file: h5py.File, folder: Path) -> None:
        h5py.h5g.create(file.id, name)

    return spoil


LINK = "X0 is a link to another place, expected a dataset; write its values into a file"
ELSEWHERE = "X0 takes its data from other files, expected them in this one; write"
NEVER = "X0 claims data that were never written to it"
CLAIMS = "than its file of"
UNPACKED = "the chunk of X0 at (0, 0, 0) does not unpack to its 60000 bytes"

HOSTILE: dict[str, tuple[Spoil, str]] = {
    "external link to a pipe": (linked(to_fifo), LINK),
    "soft link in a circle": (linked(lambda folder: h5py.SoftLink("/X0")), LINK),
    "virtual, of itself": (virtual(lambda folder: "."), ELSEWHERE),
    "external storage": (replaced("X0", X, "i1", external=[("/etc/passwd", 0, 240_000)]), ELSEWHERE),
    "never written": (replaced("X0", X, "i1"), NEVER),
    "a chunk never written": (partly_written, NEVER),
    "2^60 windows": (replaced("X0", (2**60, *X[1:]), "i1", chunks=CHUNK["X0"]), CLAIMS),
    "no gzip": (a_chunk_of(bytes(1000), compression="gzip"), "cannot be read as HDF5"),
    "a chunk of 4 GB": (
        replaced("X0", X, "i1", chunks=(1, 2**30, 3), maxshape=(None, None, 4), compression="gzip"),
        "too large to be read a few windows at a time",
    ),
    "lzf within gzip": (lzf_within_gzip, "packed by the HDF5 filters [32000, 1]"),
    "no dataspace": (replaced("X0", data=h5py.Empty("i1")), "X0 has shape None"),
    "text": (replaced("X0", data=["a" * 1000]), "X0 has shape (1,)"),
    "a type": (replaced("X0", data=np.zeros(X)), "X0 holds float64"),
    "X01 beside X1": (named(b"X01"), "has X01; OpenSpliceAI numbers shards X0, X1, X2"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, good: Path, small_model: Path, attack: Attack) -> None:
    spoil, said = HOSTILE[case]
    with h5py.File(good, "a") as file:
        spoil(file, good.parent)
    refused(attack("evaluate", "-m", small_model, "-test", good), str(good), said)


def test_the_good_one_is_read(good: Path) -> None:
    assert len(read_windows(good, 80)) == 4


@pytest.mark.parametrize("command", ["transfer", "calibrate"])
def test_other_commands(command: str, good: Path, small_model: Path, attack: Attack) -> None:
    with h5py.File(good, "a") as file:
        partly_written(file, good.parent)
    arguments = {
        "transfer": ["-train", good, "-test", good, "-m", small_model, "-o", "out", "-p", "name"],
        "calibrate": ["-m", small_model, "-d", good, "-o", "out"],
    }[command]
    refused(attack(command, *arguments), str(good), NEVER)


OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (lambda path: path.write_bytes(random_model(80).pt_bytes()), "a zip archive, as models (.pt files) are"),
    "zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(500)), "a zip archive; unpack it by `unzip "),
    "a pointer": (
        lambda path: path.write_bytes(LFS_POINTER),
        "a pointer of Git LFS, not the file itself; get it by",
    ),
    "a page": (lambda path: path.write_text("\n<!DOCTYPE html>\n<html>"), "it is a web page; download it again"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(50)), "compressed by gzip"),
    "FASTA": (lambda path: path.write_text(">chr1\nACGT\n" * 500), "it is FASTA"),
    "GFF3": (lambda path: path.write_text("##gff-version 3\n"), "it is GFF3"),
    "nothing": (lambda path: path.write_bytes(b""), "it is empty"),
    "only the signature": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "cannot be read as HDF5"),
    "a folder": (lambda path: path.mkdir(), "a folder; give an HDF5 file"),
}


@pytest.mark.parametrize("case", OTHER_FILES)
def test_other_files(case: str, tmp_path: Path, small_model: Path, attack: Attack) -> None:
    make, said = OTHER_FILES[case]
    make(tmp_path / "set.h5")
    refused(attack("evaluate", "-m", small_model, "-test", tmp_path / "set.h5"), "set.h5: ", said)


LEFT_OPEN = """
import h5py, os, sys
file = h5py.File(sys.argv[1], "a", libver="latest")
file.swmr_mode = True
file.flush()
os._exit(0)
"""


def test_left_open_by_a_writer(tmp_path: Path, small_model: Path, attack: Attack) -> None:
    """A program that wrote the file was killed; HDF5 itself says how the file is freed."""
    with h5py.File(tmp_path / "set.h5", "w", libver="latest") as file:
        file["X0"] = np.zeros(3)
    subprocess.run([sys.executable, "-c", LEFT_OPEN, tmp_path / "set.h5"], check=True)
    refused(attack("evaluate", "-m", small_model, "-test", tmp_path / "set.h5"), "set.h5", "h5clear")


@pytest.mark.parametrize("change", [lambda file: file.truncate(3000), lambda file: file.write(b"\x89HDF")])
def test_changed_while_it_is_read(change: Callable, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    original = hdf5._codes

    def slowly(*arguments: object) -> object:
        with open(good, "r+b") as file:
            change(file)
        return original(*arguments)

    monkeypatch.setattr(hdf5, "_codes", slowly)
    with pytest.raises(DatasetError, match=r"set\.h5: (was changed while it was read|cannot be read as HDF5)"):
        read_windows(good, 80)


# -- shapes, and bytes, at random ----------------------------------------------------------------------------------


sizes = st.one_of(st.integers(0, 5), st.sampled_from([1, 3, 4, 5000, 15000, 2**31, 2**60]))


@given(
    shape=st.lists(sizes, max_size=5),
    kind=st.sampled_from(["i1", "u1", "?", ">i8", "f4", "S3", "c8"]),
    chunked=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape(shape: list[int], kind: str, chunked: bool, tmp_path: Path) -> None:
    """No shape and type but the right ones pass, and none that was never written."""
    path = tmp_path / "shape.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("Y0", Y, "i1")
        try:
            file.create_dataset("X0", tuple(shape), kind, chunks=(1,) * len(shape) if chunked and shape else None)
        except (ValueError, OSError):
            return  # HDF5 has no such dataset
    with pytest.raises(DatasetError) as refusal:
        check_form(path)
    assert len(str(refusal.value)) < 500 + len(str(path))


@pytest.mark.parametrize("storage", [{"libver": "earliest"}, {"libver": "latest"}])
@pytest.mark.parametrize("seeds", SEEDS)
def test_mutants(seeds: range, storage: dict, tmp_path: Path) -> None:
    """Bytes of a small real-shaped file, changed at random."""
    bases, labels = make_windows(2, 1)
    with h5py.File(tmp_path / "whole.h5", "w", **storage) as file:
        for number in range(2):
            x, y = np.eye(5, dtype="i1")[bases][..., 1:], np.eye(4, dtype="i1")[labels][..., :3][None]
            file.create_dataset(f"X{number}", data=x, chunks=CHUNK["X0"], compression="gzip")
            file.create_dataset(f"Y{number}", data=y, chunks=CHUNK["Y0"], compression="gzip")
    content = (tmp_path / "whole.h5").read_bytes()

    def read(path: Path) -> Windows:
        return read_windows(path, 80)

    # HDF5 keeps most of what it says about the data at the beginning.
    found = dict(read_mutants(read, content, tmp_path / "mutant.h5", seeds, edge=6000))
    refusals = {seed: str(answer) for seed, answer in found.items() if isinstance(answer, DatasetError)}
    assert [seed for seed, said in refusals.items() if "\n" in said or len(said) > 700] == []
    assert len(refusals) > len(seeds) // 10

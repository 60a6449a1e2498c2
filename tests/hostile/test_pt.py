"""`.pt` files from strangers: each is read to the weights that it holds, or refused in one line, with little memory."""

import io
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import torch
from conftest import LFS_POINTER, random_model
from flax.traverse_util import flatten_dict

from hostile.conftest import Attack, refused
from hostile.mutants import SEEDS, read_mutants
from spliceai_jax.convert import read_pt
from spliceai_jax.errors import WeightsError

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def archive(content: bytes, entries: dict[str, bytes] | None = None, method: int = STORED) -> bytes:
    """A zip archive as torch.save writes it; further entries, such as data/0, replace what it would hold else."""
    file = io.BytesIO()
    usual = {"data.pkl": content, "byteorder": b"little", "version": b"3\n", "data/0": bytes(12)}
    with zipfile.ZipFile(file, "w", method) as made:
        for name, values in (usual | (entries or {})).items():
            made.writestr(f"model/{name}", values)
    return file.getvalue()


# -- pickles, an operation at a time -------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    packed = pickle.encode_long(value)
    return b"\x8a" + bytes([len(packed)]) + packed


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def named(name: str, *arguments: bytes) -> bytes:
    """Call what has this name with arguments."""
    return f"c{name}\n".replace(" ", "\n").encode() + b"(" + b"".join(arguments) + b"tR"


def storage(size: int, key: str = "0", kind: str = "Float") -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu") + number(size) + b"tQ"


def tensor(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, held: int = 3) -> bytes:
    shape, steps = numbers(*size), numbers(*stride)
    return named("torch._utils _rebuild_tensor_v2", storage(held), number(offset), shape, steps, b"\x89", b"}")


def whole(*operations: bytes) -> bytes:
    return b"\x80\x02" + b"".join(operations) + b"."


def entry(key: bytes, value: bytes) -> bytes:
    """A dictionary of one entry."""
    return b"}" + key + value + b"s"


def doubled(levels: int) -> bytes:
    """Tuples of the same tuple twice: 2^levels long, if all of it is looked at."""
    return b")" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(levels))


PICKLES: dict[str, bytes] = {
    "code": whole(named("posix system", text("touch it_ran"))),
    "a billion laughs in a key": whole(entry(doubled(60), b"N")),
    "a key of 200,000 tuples in each other": whole(entry(b")" + b"\x85" * 199_000, b"N")),
    "a tensor of 1e18 elements": whole(entry(text("a"), tensor((10**9, 10**9), (0, 0)))),
    "strides beyond the storage": whole(entry(text("a"), tensor((3,), (2**62,)))),
    "a storage larger than its numbers": whole(entry(text("a"), tensor((4,), (1,), held=4))),
    "a storage that is not there": whole(b"0" * 0, storage(3, "missing")),
    "10 GB of bytes": whole(named("__builtin__ bytearray", number(10**10))),
    "bytes that double": whole(*[b"c_codecs\nencode\n"] * 40, b"(" + text("a"), *[text("hex") + b"tR"] * 40),
    "60,000 keys of one hash": whole(b"}(" + b"".join(number(n * (2**61 - 1)) + b"N" for n in range(60_000)) + b"u"),
    "keys that turn the terminal red": whole(entry(text("\x1b[31m\r\n\u202e"), tensor((3,), (1,)))),
    "nothing": b"",
    "a name of 1 MB": whole(b"c" + b"a" * 1_000_000 + b"\nb\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", PICKLES)
def test_pickles(case: str, tmp_path: Path, attack: Attack) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(archive(PICKLES[case]))
    line = refused(attack("inspect", path), str(path))
    assert len(line) < 1500


# -- archives ------------------------------------------------------------------------------------------------------


def zip_bomb(gigabytes: int) -> bytes:
    """A good pickle and a storage that unpacks to gigabytes, at once: all its packed blocks but the first are alike."""
    content = whole(entry(text("final_conv.bias"), tensor((3,), (1,), held=gigabytes * 2**28)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("model/data.pkl", content)
        made.writestr("model/version", b"3\n")
        packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(2**20)
        first, other = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
        packed = first + other * (gigabytes * 1024 - 1) + packer.flush()
        made.writestr("model/data/0", packed)
        found = made.getinfo("model/data/0")
        found.compress_type, found.file_size = DEFLATED, gigabytes * 2**30
    return file.getvalue()


def overlapping() -> bytes:
    """Many storages, each of them the same 10 MB."""
    keys = [str(n) for n in range(2000)]
    content = whole(b"}(" + b"".join(text(key) + storage(2_500_000, key) for key in keys) + b"u")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("model/data.pkl", content)
        made.writestr("model/version", b"3\n")
        made.writestr("model/data/0", bytes(10_000_000))
        first = made.getinfo("model/data/0")
        for key in keys[1:]:
            again = zipfile.ZipInfo(f"model/data/{key}")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            made.filelist.append(again)
        made._didModify = True
    return file.getvalue()


def twice() -> bytes:
    return archive(whole(b"N"), {"data.pkx": b""}).replace(b"data.pkx", b"data.pkl")


def keras() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            made.writestr(name, b"{}")
    return file.getvalue()


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a zip bomb": (lambda: zip_bomb(3), "it is compressed, which torch.save never does"),
    "overlapping": (overlapping, "its entries claim more bytes than the file has"),
    "a name twice": (twice, "two entries of the same name"),
    "TorchScript": (lambda: archive(whole(b"N"), {"constants.pkl": b""}), "expected a state dict"),
    "no pickle": (lambda: archive(whole(b"N")).replace(b"data.pkl", b"data.pcl"), "without data.pkl; if a model"),
    "20 MB": (lambda: archive(whole(b"N"), {"data/0": bytes(20_000_000)}), "it has 20 MB; expected at most 16"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(1000), "an HDF5 file, as data sets are, and models of Keras"),
    "Keras": (keras, "a model of Keras, such as those of the original SpliceAI; give a model of PyTorch"),
    "a pointer": (lambda: LFS_POINTER, "it is a pointer of Git LFS, not the file itself; get it by `git lfs"),
    "sparse": (lambda: saved({"a": torch.zeros(3).to_sparse()}), "torch._utils._rebuild_sparse_tensor"),
    "an old one of 10^12 numbers": (
        lambda: saved(torch.zeros(3), _use_new_zipfile_serialization=False).replace(b"K\x03N", number(10**12) + b"N"),
        "its tensors claim more bytes than the file has",
    ),
    "an old one cut short": (
        lambda: saved(torch.zeros(3), _use_new_zipfile_serialization=False)[:-1],
        "take 11 bytes, expected 12",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ARCHIVES)
def test_archives(case: str, tmp_path: Path, attack: Attack) -> None:
    make, said = ARCHIVES[case]
    path = tmp_path / "model.pt"
    path.write_bytes(make())
    refused(attack("inspect", path), str(path), said)


# -- what lies beside a model, and orbax checkpoints ------------------------------------------------------------------


BESIDE: dict[str, bytes] = {
    "nested": b"[" * 100_000,
    "other types": b'{"temperature": null, "sha256": [], "fitted_on": 3}',
    "not UTF-8": b'{"temperature": "\xff\xfe\x1b[31m"}',
}


@pytest.mark.parametrize("case", BESIDE)
def test_temperatures(case: str, small_data: Path, tmp_path: Path, attack: Attack) -> None:
    random_model(80).to_pt(tmp_path / "model.pt")
    (tmp_path / "model.temperature.json").write_bytes(BESIDE[case])
    command = ["evaluate", "-m", tmp_path / "model.pt", "-test", small_data / "dataset_test.h5", "--calibrated"]
    line = refused(attack(*command), "model.temperature.json: ", "calibrate the model again")
    assert len(line) < 700


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("orbax") / "checkpoint"
    random_model(80).to_orbax(path)
    return path


def a_pipe(folder: Path) -> None:
    (folder / "_METADATA").unlink()
    os.mkfifo(folder / "_METADATA")


def enormous(folder: Path) -> None:
    """An array of 10^11 zeros, none of which is stored."""
    store = {"driver": "ocdbt", "base": f"file://{folder}/"}
    name = {"driver": "zarr", "kvstore": store, "path": "params.final_conv.bias/"}
    options = {"create": True, "delete_existing": True, "dtype": tensorstore.float32, "shape": [10**11]}
    tensorstore.open(name, **options, chunk_layout=tensorstore.ChunkLayout(chunk_shape=[1000])).result()


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty folder": (lambda folder: [shutil.rmtree(folder), folder.mkdir()], "cannot be read"),
    "a pipe": (a_pipe, "'_METADATA' in it is neither a file nor a folder"),
    "other types": (lambda folder: (folder / "_METADATA").write_text('{"tree_metadata": [null]}'), "cannot be read"),
    "10^11 numbers": (enormous, "arrays that are not the variables of any of the four models"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoints(case: str, checkpoint: Path, tmp_path: Path, attack: Attack) -> None:
    spoil, said = CHECKPOINTS[case]
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    spoil(tmp_path / "checkpoint")
    line = refused(attack("convert", tmp_path / "checkpoint", "out.pt"), "checkpoint: ", said)
    assert len(line) < 700


# -- bytes at random -----------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    ours, theirs = flatten_dict(one), flatten_dict(other)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[path], theirs[path]) for path in theirs)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("old", [False, True])
def test_mutants(seeds: range, old: bool, small_model: Path, tmp_path: Path) -> None:
    """A mutant is read to the same weights or refused; the older form has no checksums, so its weights can differ."""
    content, variables = small_model.read_bytes(), read_pt(small_model)[1]
    if old:
        content = saved(torch.load(small_model, weights_only=True), _use_new_zipfile_serialization=False)
    refusals = 0
    for seed, found in read_mutants(read_pt, content, tmp_path / "model.pt", seeds, edge=9000):
        if isinstance(found, WeightsError):
            refusals += 1
            assert len(str(found)) < 1500, seed
        else:
            assert old or same(found[1], variables), seed
    assert refusals > len(seeds) // 4


def test_the_good_ones_are_read(small_model: Path, attack: Attack) -> None:
    """The harness's limits are not what refuses."""
    outcome = attack("inspect", small_model)
    assert outcome.status == 0, outcome
    assert outcome.grown < 3e8

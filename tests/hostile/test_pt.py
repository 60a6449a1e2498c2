"""`.pt` files from strangers: each is read to the weights that it holds, or refused in one line, with little memory."""

import bz2
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import torch
from conftest import LFS_POINTER, random_model
from flax.traverse_util import flatten_dict
from hypothesis import given
from hypothesis import strategies as st

from hostile.conftest import Attack, refused
from hostile.mutants import SEEDS, read_mutants
from spliceai_jax.convert import read_pt
from spliceai_jax.errors import WeightsError

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def shortened(cases: Iterable[str], *short: str) -> list[Any]:
    """All cases, of which only those named are not left to the campaign."""
    return [case if case in short else pytest.param(case, marks=pytest.mark.full) for case in cases]


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


def doubled_lists(levels: int) -> bytes:
    """The same with lists, each filled after it was put into the one that holds it."""
    return b"]q\0" + b"".join(b"(]q%ch%ceh%c" % (n, n, n) for n in range(1, levels)) + b"h\0"


NEGATED = entry(text("neg"), b"\x88")

PICKLES: dict[str, bytes] = {
    "a billion laughs in a key": whole(entry(doubled(60), b"N")),
    "a billion laughs as a value": whole(entry(text("a"), doubled(60))),
    "a billion laughs called": whole(doubled(60), b")R"),
    "a billion laughs of lists": whole(doubled_lists(60)),
    "a key of 200,000 tuples in each other": whole(entry(b")" + b"\x85" * 199_000, b"N")),
    "a value of 200,000 lists in each other": whole(entry(text("a"), b"]" * 90_000 + b"a" * 89_999)),
    "a tensor of 3e9 elements, of one": whole(entry(text("final_conv.bias"), tensor((3_000_000_000,), (0,)))),
    "a tensor of 1e18 elements": whole(entry(text("a"), tensor((10**9, 10**9), (0, 0)))),
    "a tensor of 2^64 elements": whole(entry(text("a"), tensor((2**32, 2**32), (0, 0)))),
    "a tensor of 10^600 elements": whole(entry(text("a"), tensor((10**600,), (1,)))),
    "strides beyond the storage": whole(entry(text("a"), tensor((3,), (2**62,)))),
    "an offset beyond the storage": whole(entry(text("a"), tensor((1,), (1,), offset=3))),
    "an offset below the storage": whole(entry(text("a"), tensor((1,), (1,), offset=-1))),
    "a size below zero": whole(entry(text("a"), tensor((-3,), (1,)))),
    "a hundred axes": whole(entry(text("a"), tensor((1,) * 100, (1,) * 100))),
    "a storage larger than its numbers": whole(entry(text("a"), tensor((4,), (1,), held=4))),
    "a storage of 10^12 numbers": whole(entry(text("a"), tensor((4,), (1,), held=10**12))),
    "a storage below zero": whole(entry(text("a"), tensor((0,), (1,), held=-3))),
    "a storage that is not there": whole(b"0" * 0, storage(3, "missing")),
    "a storage outside": whole(storage(3, "../../../etc/passwd")),
    "a storage of two types": whole(b"(", storage(3), storage(3, kind="Int"), b"t"),
    "10 GB of bytes": whole(named("__builtin__ bytearray", number(10**10))),
    "10 GB of tensor": whole(named("torch Tensor", number(10**10 // 4))),
    "bytes that double": whole(*[b"c_codecs\nencode\n"] * 40, b"(" + text("a"), *[text("hex") + b"tR"] * 40),
    "a tensor for a function": whole(tensor((3,), (1,)), b")R"),
    "an attribute of a dictionary": whole(b"}", b"}" + text("__class__") + text("a") + b"sb"),
    "a text of 4 GB": b"\x80\x02X\xff\xff\xff\xffaaaa.",
    "a text of 10 MB": whole(entry(text("a" * 10_000_000), b"N")),
    "memo 2^32": whole(b")r\xff\xff\xff\xff"),
    "memo that was never put": whole(b"h\x07"),
    "another protocol": pickle.dumps({"a": 1}, 5),
    "a million operations": whole(b"N" * 1_000_000),
    "60,000 keys": whole(b"}(" + b"".join(text(f"k{n}") + b"N" for n in range(60_000)) + b"u"),
    "60,000 keys of one hash": whole(b"}(" + b"".join(number(n * (2**61 - 1)) + b"N" for n in range(60_000)) + b"u"),
    "keys that turn the terminal red": whole(entry(text("\x1b[31m\r\n\u202e"), tensor((3,), (1,)))),
    "halves of letters": whole(entry(b"X\x03\0\0\0\xed\xa0\x80", tensor((3,), (1,)))),
    "a key that is a list": whole(entry(b"]", b"N")),
    "a key that is not a number": whole(entry(b"G\x7f\xf8\0\0\0\0\0\0", b"N")),
    "an odd number of items": whole(b"}(" + text("a") + b"u"),
    "nothing on the stack": whole(b"ttttR"),
    "no end": b"\x80\x02N",
    "nothing": b"",
    "a name that is not ASCII": whole(b"c\xff\n\xff\n"),
    "a name of 1 MB": whole(b"c" + b"a" * 1_000_000 + b"\nb\n"),
    "a negated tensor": whole(
        named("torch._utils _rebuild_tensor_v2", storage(3), number(0), numbers(3), numbers(1), b"\x89}", NEGATED)
    ),
}  # fmt: skip


SHORT = (
    "a billion laughs in a key",
    "a key of 200,000 tuples in each other",
    "10 GB of bytes",
    "a tensor of 1e18 elements",
    "60,000 keys of one hash",
    "keys that turn the terminal red",
)


@pytest.mark.parametrize("case", shortened(PICKLES, *SHORT))
def test_pickles(case: str, tmp_path: Path, attack: Attack) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(archive(PICKLES[case]))
    line = refused(attack("inspect", path), str(path))
    assert len(line) < 1500


@pytest.mark.full
@pytest.mark.parametrize("case", PICKLES)
def test_pickles_of_the_older_form(case: str, tmp_path: Path, attack: Attack) -> None:
    """The same pickles in the files that PyTorch wrote before it wrote zip archives, as magic number and as content."""
    beginning = (
        whole(number(0x1950A86A20F9469CFC6C)) + whole(number(1001)) + whole(entry(text("little_endian"), b"\x88"))
    )
    for name, content in (("a", PICKLES[case]), ("b", beginning + PICKLES[case] + whole(b"](" + text("0") + b"e"))):
        (tmp_path / f"{name}.pt").write_bytes(content + struct.pack("<q", 3) + bytes(12))
        refused(attack("inspect", tmp_path / f"{name}.pt"), f"{name}.pt")


def test_objects_within_objects(tmp_path: Path, attack: Attack) -> None:
    """OpenSpliceAI's objects: modules of long names in each other, and one of many names at the end."""

    def module(parts: bytes) -> bytes:
        return b"ctorch.nn.modules.container\nModuleList\n)\x81" + parts + b"b"

    names = b"".join(text(f"{n}") + tensor((3,), (1,)) for n in range(200))
    inside = module(entry(text("_parameters"), b"}(" + names + b"u"))
    for _ in range(1500):
        inside = module(entry(text("_modules"), entry(text("a" * 900), inside)))
    (tmp_path / "model.pt").write_bytes(archive(whole(inside)))
    refused(attack("inspect", tmp_path / "model.pt"), "model.pt", "objects within objects without end")


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


def directory(entries: int) -> bytes:
    """An archive of nothing but names."""
    one = struct.pack("<I6H3I5H2I", 0x02014B50, 20, 20, *[0] * 14)
    end = struct.pack("<I4HIIH", 0x06054B50, 0, 0, 65535, 65535, entries * len(one), 4, 0)
    return b"PK\3\4" + one * entries + end


def twice() -> bytes:
    return archive(whole(b"N"), {"data.pkx": b""}).replace(b"data.pkx", b"data.pkl")


def with_flag(content: bytes, at: int, bit: int) -> bytes:
    """Set a bit in the headers of all entries."""
    changed = bytearray(content)
    for mark, place in ((b"PK\1\2", at + 2), (b"PK\3\4", at)):
        start = -1
        while (start := content.find(mark, start + 1)) >= 0:
            changed[start + place] |= bit
    return bytes(changed)


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(tarfile.TarInfo("PK\x03\x04storages"))
    return file.getvalue()


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
    "packed": (lambda: archive(whole(b"N"), method=DEFLATED), "it is compressed"),
    "overlapping": (overlapping, "its entries claim more bytes than the file has"),
    "a directory of 340,000 names": (lambda: directory(340_000), "cannot be read"),
    "a name twice": (twice, "two entries of the same name"),
    "encrypted": (lambda: with_flag(archive(whole(b"N")), 6, 1), "cannot be read"),
    "nothing inside": (lambda: b"PK\5\6" + bytes(18), "cannot be read"),
    "TorchScript": (lambda: archive(whole(b"N"), {"constants.pkl": b""}), "expected a state dict"),
    "no pickle": (lambda: archive(whole(b"N")).replace(b"data.pkl", b"data.pcl"), "without data.pkl; if a model"),
    "20 MB": (lambda: archive(whole(b"N"), {"data/0": bytes(20_000_000)}), "it has 20 MB; expected at most 16"),
    "big-endian": (lambda: archive(whole(b"N"), {"byteorder": b"big"}), "not little-endian"),
    "tar": (tar, "cannot be read"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(1000), "an HDF5 file, as data sets are, and models of Keras"),
    "Keras": (keras, "a model of Keras, such as those of the original SpliceAI; give a model of PyTorch"),
    "a pointer": (lambda: LFS_POINTER, "it is a pointer of Git LFS, not the file itself; get it by `git lfs"),
    "a page": (lambda: b"<html><head>", "it is a web page; download it again"),
    "bzip2": (lambda: bz2.compress(bytes(99)), "compressed by bzip2; unpack it by `bunzip2 --keep "),
    "sparse": (lambda: saved({"a": torch.zeros(3).to_sparse()}), "torch._utils._rebuild_sparse_tensor"),
    "quantized": (
        lambda: saved({"a": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)}),
        "torch._utils._rebuild_qtensor",
    ),
    "meta": (lambda: saved({"a": torch.zeros(3, device="meta")}), "torch._utils._rebuild_meta_tensor"),
    "complex": (lambda: saved({"a": torch.zeros(3, dtype=torch.complex64).conj()}), "something other than tensors"),
    "float8": (lambda: saved({"a": torch.zeros(3).to(torch.float8_e5m2)}), "something other than tensors"),
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
@pytest.mark.parametrize("case", shortened(ARCHIVES, "a zip bomb", "overlapping", "HDF5", "Keras", "a pointer"))
def test_archives(case: str, tmp_path: Path, attack: Attack) -> None:
    make, said = ARCHIVES[case]
    path = tmp_path / "model.pt"
    path.write_bytes(make())
    refused(attack("inspect", path), str(path), said)


COMMANDS = ("evaluate", "predict", "calibrate", "convert", "transfer", "evaluate_calibrated")


@pytest.mark.parametrize("command", shortened(COMMANDS, "convert"))
def test_every_command_reads_by_the_same_wall(command: str, small_data: Path, tmp_path: Path, attack: Attack) -> None:
    model, data = tmp_path / "model.pt", small_data / "dataset_test.h5"
    model.write_bytes(archive(PICKLES["a billion laughs in a key"]))
    (tmp_path / "genome.fa").write_text(f">chr1\n{'ACGT' * 500}\n")
    arguments = {
        "evaluate": ["evaluate", "-m", model, "-test", data],
        "evaluate_calibrated": ["evaluate", "-m", model, "-test", data, "--calibrated"],
        "predict": ["predict", "-m", model, "-i", tmp_path / "genome.fa", "-f", 80, "-o", "out"],
        "calibrate": ["calibrate", "-m", model, "-d", data, "-o", "out"],
        "convert": ["convert", model, "out"],
        "transfer": ["transfer", "-train", data, "-test", data, "-m", model, "-o", "out", "-p", "name"],
    }[command]  # fmt: skip
    refused(attack(*arguments), str(model), "something other than tensors (the same dictionary, list, tuple or object")


# -- what lies beside a model, and orbax checkpoints ------------------------------------------------------------------


BESIDE: dict[str, bytes] = {
    "nested": b"[" * 100_000,
    "a large number": b'{"temperature": [1' + b"0" * 400 + b', 1, 1], "sha256": "a", "fitted_on": {}}',
    "other types": b'{"temperature": null, "sha256": [], "fitted_on": 3}',
    "not UTF-8": b'{"temperature": "\xff\xfe\x1b[31m"}',
    "a long text": json.dumps({"temperature": "a" * 100_000}).encode(),
    "20 MB": b" " * 20_000_000,
}


@pytest.mark.parametrize("case", shortened(BESIDE, "nested"))
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


def in_one_chunk(folder: Path) -> None:
    store = {"driver": "ocdbt", "base": f"file://{folder}/"}
    name = {"driver": "zarr", "kvstore": store, "path": "params.final_conv.bias/"}
    options = {"create": True, "delete_existing": True, "dtype": tensorstore.float32, "shape": [3]}
    layout = tensorstore.ChunkLayout(chunk_shape=[10**10])
    tensorstore.open(name, **options, chunk_layout=layout).result()


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty folder": (lambda folder: [shutil.rmtree(folder), folder.mkdir()], "cannot be read"),
    "a pipe": (a_pipe, "'_METADATA' in it is neither a file nor a folder"),
    "a link": (lambda folder: (folder / "link").symlink_to("/dev/zero"), "neither a file nor a folder"),
    "a large file": (lambda folder: os.truncate(folder / "_METADATA", 10**10), "more than the 16 MB"),
    "nested": (lambda folder: (folder / "_METADATA").write_bytes(b"[" * 100_000), "cannot be read"),
    "no JSON": (lambda folder: (folder / "_METADATA").write_bytes(b"\xff\x1b[31m\r\n"), "cannot be read"),
    "other types": (lambda folder: (folder / "_METADATA").write_text('{"tree_metadata": [null]}'), "cannot be read"),
    "10^11 numbers": (enormous, "arrays that are not the variables of any of the four models"),
    "one enormous chunk": (in_one_chunk, "lies in chunks larger than itself"),
}  # fmt: skip


@pytest.mark.parametrize("case", shortened(CHECKPOINTS, "a pipe", "10^11 numbers"))
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


tensors = st.builds(
    tensor,
    st.lists(st.integers(-1, 5) | st.sampled_from([2**31, 2**63, 10**30]), max_size=10).map(tuple),
    st.lists(st.integers(-1, 5) | st.sampled_from([2**31, 2**63, 10**30]), max_size=10).map(tuple),
    st.integers(-1, 4) | st.sampled_from([2**63]),
)
values = st.recursive(
    tensors | st.sampled_from([b"N", b"\x88", b"h\0", number(2**64), text("a"), storage(3), b"c_codecs\nencode\n"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: b"(" + b"".join(items) + b"t"),
        st.lists(inner, max_size=4).map(lambda items: b"](" + b"".join(items) + b"eq\0"),
        st.lists(st.tuples(inner, inner), max_size=3).map(lambda items: b"}(" + b"".join(map(b"".join, items)) + b"u"),
        st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1] + b"R"),
        st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1] + b"b"),
    ),
    max_leaves=12,
)


@given(values)
def test_any_pickle(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """No pickle of a few operations is taken for weights, and none raises anything else."""
    path = tmp_path_factory.getbasetemp() / "any.pt"
    path.write_bytes(archive(whole(content)))
    with pytest.raises(WeightsError) as refusal:
        read_pt(path)
    assert len(str(refusal.value)) < 1500


def test_the_good_ones_are_read(small_model: Path, attack: Attack) -> None:
    """The harness's limits are not what refuses."""
    outcome = attack("inspect", small_model)
    assert outcome.status == 0, outcome
    assert outcome.grown < 3e8

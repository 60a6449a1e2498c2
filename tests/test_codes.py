"""The cache of codes: the same windows as without it, however the file is found."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import content_of, full, make_windows, write_dataset
from filelock import FileLock
from test_resume import FOLDER, arguments, results

from spliceai_jax import TransferSettings, evaluate, transfer
from spliceai_jax.architecture import ARCHITECTURES, CONTEXT, PADDING, WINDOW
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError, SpliceAIWarning
from spliceai_jax.windows import codes, hdf5
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.splits import gene_starts, split_validation
from spliceai_jax.windows.windows import Windows

FLANK = 400


@pytest.fixture
def caching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a cache of every data set, however small."""
    monkeypatch.setattr(hdf5, "LEAST_WINDOWS", 1)


@pytest.fixture
def undecodable(caching: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes every attempt to open an HDF5 file fail."""

    def fail(path: Path) -> None:
        raise AssertionError(f"{path} is opened")

    return lambda: monkeypatch.setattr(hdf5, "opened", fail)


def genes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of genes of one to four windows, with the bases that they share, and some N within the genes."""
    random = np.random.default_rng(seed)
    all_bases, all_labels = [], []
    for _ in range(count):
        windows = int(random.integers(1, 5))
        length = windows * WINDOW - int(random.choice([0, 1, 3000]))
        bases = np.zeros(windows * WINDOW + CONTEXT, np.uint8)
        bases[CONTEXT // 2 : CONTEXT // 2 + length] = random.integers(0, 5, length)
        labels = np.full(windows * WINDOW, PADDING, np.uint8)
        labels[:length] = random.choice(3, length, p=[0.99, 0.005, 0.005])
        all_bases += [bases[i * WINDOW : i * WINDOW + WINDOW + CONTEXT] for i in range(windows)]
        all_labels += list(labels.reshape(windows, WINDOW))
    return np.stack(all_bases), np.stack(all_labels)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Twelve shards of about 20 windows, one of them empty."""
    shards = [genes(8, seed) for seed in range(11)]
    empty = tuple(part[:0] for part in shards[0])
    return write_dataset(tmp_path / "dataset_train.h5", [*shards[:3], empty, *shards[3:]], compression="lzf")


def everything(windows: Windows) -> dict[str, object]:
    """All that is asked of windows when a run starts, and their batches."""
    parts = {"all": windows, "backwards": windows.subset(np.arange(len(windows))[::-1])}
    parts |= dict(zip(["train", "validation"], split_validation(windows, 42), strict=True))
    found: dict[str, object] = {}
    for name, part in parts.items():
        found[f"{name} fingerprint"] = part.fingerprint
        found[f"{name} sites"] = part.canonical_sites
        found[f"{name} shares"] = (part.padding_share, part.flanking_size, len(part))
        for attribute in ("index", "class_counts", "lengths", "extents", "continues", "repeats"):
            found[f"{name} {attribute}"] = getattr(part, attribute)
        for number, packed in enumerate(part.scoring_batches(7)):
            found[f"{name} scored {number}"] = (packed.batch.inputs, packed.batch.labels, packed.labels)
        for seed in range(2):
            order = np.random.default_rng(seed).permutation(len(part))[:6]
            batch = part.training_batch(order, 6, ARCHITECTURES[part.flanking_size])
            found[f"{name} trained {seed}"] = (batch.inputs, batch.labels, batch.multiplicity)
    return found | {"shards": windows.shards, "genes": gene_starts(windows)}


@pytest.mark.parametrize("flanking_size", list(ARCHITECTURES))
def test_the_same_with_and_without(flanking_size: int, dataset: Path, undecodable: Callable) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "LEAST_WINDOWS", 10**9)
        plain = read_windows(dataset, flanking_size)
    assert isinstance(plain.bases, np.ndarray)
    assert sorted(path.name for path in dataset.parent.iterdir()) == [dataset.name]
    made = read_windows(dataset, flanking_size)
    assert sorted(path.name for path in dataset.parent.iterdir()) == [dataset.name, f"{dataset.name}.codes"]
    undecodable()
    again = read_windows(dataset, flanking_size)
    expected = everything(plain)
    assert len(plain) > plain.continues.sum() > 50
    for windows in (made, again):
        assert isinstance(windows.bases, codes.StoredCodes)
        np.testing.assert_equal(everything(windows), expected)
        np.testing.assert_array_equal(windows.bases[windows.index], plain.bases)
        np.testing.assert_array_equal(windows.labels[windows.index], plain.labels)
        rows = np.array([5, 3, 4, 5, 0])
        np.testing.assert_array_equal(windows.bases[rows, 7:-3], plain.bases[rows, 7:-3])
        np.testing.assert_array_equal(windows.labels[9, :100], plain.labels[9, :100])


def test_many_neighbours_are_not_read_at_once(tmp_path: Path, caching: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system reads 2 GB at once at most, which 143,000 windows are; here it reads a hundred windows."""
    path = write_dataset(tmp_path / "long.h5", [genes(70, 5)])
    windows, preadv = read_windows(path, FLANK), os.preadv
    assert isinstance(windows.bases, codes.StoredCodes)
    assert len(windows) > 150
    wanted = np.stack([windows.bases[row] for row in range(len(windows))])

    def limited(file: int, buffers: list[memoryview], offset: int) -> int:
        return preadv(file, [buffers[0].cast("B")[: 100 * 15_000]], offset)

    monkeypatch.setattr(os, "preadv", limited)
    np.testing.assert_array_equal(windows.bases[windows.index], wanted)
    assert windows.bases[windows.index[:0]].shape == (0, WINDOW + FLANK)


def test_one_cache_serves_all_flanking_sizes(dataset: Path, undecodable: Callable) -> None:
    first = read_windows(dataset, 80)
    undecodable()
    prints = {read_windows(dataset, size).fingerprint for size in ARCHITECTURES}
    assert first.fingerprint in prints
    assert len(prints) == len(ARCHITECTURES)


def test_small_data_sets_have_none(small_data: Path, tmp_path: Path) -> None:
    shutil.copytree(small_data, tmp_path / "data")
    before = sorted((tmp_path / "data").iterdir())
    read_windows(tmp_path / "data" / "dataset_train.h5", 80)
    assert sorted((tmp_path / "data").iterdir()) == before
    assert 5_000 < hdf5.LEAST_WINDOWS < 50_000


def test_other_flanking_sizes_have_none(dataset: Path, caching: None) -> None:
    assert read_windows(dataset, 100).bases.shape[1] == WINDOW + 100


# -- whose it is -----------------------------------------------------------------------------------------------


def rewritten(path: Path) -> None:
    """The same windows but one base, in a file of the same size and time of change."""
    status = path.stat()
    with h5py.File(path, "a") as file:
        base = int(file["X0"][0, 7000].argmax())
        file["X0"][0, 7000] = np.eye(4, dtype=np.int8)[(base + 1) % 4]
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


def longer(path: Path) -> None:
    write_dataset(path, [make_windows(4, 1)])


def touched(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [rewritten, longer, touched])
def test_another_data_set(change: Callable[[Path], None], tmp_path: Path, caching: None) -> None:
    """Its cache is made anew, without a word."""
    path = write_dataset(tmp_path / "set.h5", [make_windows(1, 1)])
    before, cache = read_windows(path, FLANK), codes.codes_beside(path).read_bytes()
    change(path)
    after = read_windows(path, FLANK)
    assert codes.codes_beside(path).read_bytes() != cache
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "_opened", lambda path, dataset: None)
        patch.setattr(hdf5, "LEAST_WINDOWS", 10**9)
        plain = read_windows(path, FLANK)
    np.testing.assert_array_equal(after.bases[after.index], plain.bases)
    assert after.fingerprint == plain.fingerprint
    assert (before.fingerprint == after.fingerprint) == (change is touched)


def foreign(path: Path) -> None:
    path.write_bytes(b"my notes on the codes")


@pytest.mark.parametrize("put", [foreign, Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_another_file_of_its_name(put: Callable[[Path], None], dataset: Path, caching: None) -> None:
    """It is left as it is."""
    cache = codes.codes_beside(dataset)
    put(cache)
    before = cache.lstat()
    with pytest.warns(SpliceAIWarning, match=r"h5\.codes: is another file, and is left.*into memory at each start"):
        assert isinstance(read_windows(dataset, FLANK).bases, np.ndarray)
    after = cache.lstat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert {path.name for path in dataset.parent.iterdir()} == {dataset.name, cache.name}


def test_another_version(dataset: Path, caching: None) -> None:
    read_windows(dataset, FLANK)
    cache = codes.codes_beside(dataset)
    content = cache.read_bytes()
    cache.write_bytes(content.replace(b"codes 2", b"codes 9", 1))
    read_windows(dataset, FLANK)
    assert cache.read_bytes() == content


# -- damage ----------------------------------------------------------------------------------------------------

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[:-1],
    "cut within the header": lambda content: content[:50],
    "longer": lambda content: content + b"\0",
    "another header": lambda content: content.replace(b'"origin"', b'"origim"'),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_cache_is_made_anew(case: str, dataset: Path, caching: None) -> None:
    fingerprint, cache = read_windows(dataset, FLANK).fingerprint, codes.codes_beside(dataset)
    content = cache.read_bytes()
    cache.write_bytes(DAMAGES[case](content))
    assert read_windows(dataset, FLANK).fingerprint == fingerprint
    assert cache.read_bytes() == content


def test_cut_short_while_it_is_used(dataset: Path, caching: None) -> None:
    windows = read_windows(dataset, FLANK)
    os.truncate(codes.codes_beside(dataset), 10_000)
    with pytest.raises(DatasetError, match=r"h5\.codes: was cut short while it was used; delete this file"):
        windows.bases[np.array([3])]


def test_replaced_while_it_is_used(dataset: Path, caching: None) -> None:
    """A run goes on with the windows that it began with."""
    windows = read_windows(dataset, FLANK)
    before = windows.bases[windows.index]
    longer(dataset)
    assert len(read_windows(dataset, FLANK)) == 4
    np.testing.assert_array_equal(windows.bases[windows.index], before)


def test_replaced_while_it_is_opened(dataset: Path, caching: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Header and windows are those of one file, though another process puts a new one in its place in between."""
    before, cache = read_windows(dataset, FLANK), codes.codes_beside(dataset)
    expected, look = before.bases[before.index], codes._Origin.of
    other = shutil.copy(cache, cache.with_name("other"))
    with open(other, "r+b") as file:
        file.seek(4096)
        file.write(bytes(15_000 * len(before)))

    def replacing(path: Path) -> object:
        if Path(other).exists():
            os.replace(other, cache)
        return look(path)

    monkeypatch.setattr(codes._Origin, "of", replacing)
    windows = codes.stored_windows(dataset, FLANK)
    assert windows is not None
    assert not Path(other).exists()
    np.testing.assert_array_equal(windows.bases[windows.index], expected)


# -- where it cannot be made -----------------------------------------------------------------------------------


def unwritable_note(dataset: Path, said: str) -> None:
    with pytest.warns(SpliceAIWarning, match=rf"{dataset}\.codes: {said}.* into memory at each start") as notes:
        assert isinstance(read_windows(dataset, FLANK).bases, np.ndarray)
    assert len(notes) == 1
    assert [path.name for path in dataset.parent.iterdir()] == [dataset.name]


def test_little_room(dataset: Path, caching: None, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(dataset.parent)._replace(free=6_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    unwritable_note(dataset, r"would take 0\.\d of the 0\.0 GB")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
@pytest.mark.parametrize("options", ["remount,ro", "remount,nr_inodes=2"])
def test_a_folder_that_takes_no_file(options: str, dataset: Path, caching: None, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        shutil.copy(dataset, disk)
        subprocess.run(["mount", "-o", options, disk], check=True)
        unwritable_note(disk / dataset.name, "cannot be written")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


READ = """
import resource, signal, sys, warnings
from spliceai_jax.windows import codes, hdf5
hdf5.LEAST_WINDOWS = 1
{}
windows = hdf5.read_windows(sys.argv[1], 400)
print(type(windows.bases).__name__, windows.fingerprint, windows.subset(windows.index[::-1]).fingerprint)
"""
LIMITED = "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, -1)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
KILLED = "codes._Writer.{} = lambda *arguments: signal.raise_signal(signal.SIGKILL)"


def reading(dataset: Path, first: str = "") -> subprocess.Popen:
    command = [sys.executable, "-c", READ.format(first), str(dataset)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_disk_that_fills_meanwhile(dataset: Path) -> None:
    process = reading(dataset, LIMITED)
    out, notes = process.communicate(timeout=120)
    assert process.returncode == 0, notes
    assert out.startswith("ndarray ")
    assert "h5.codes: cannot be written (File too large)" in notes
    assert [path.name for path in dataset.parent.iterdir()] == [dataset.name]


@pytest.mark.slow
@pytest.mark.parametrize("where", full(["put_labels", "find_facts", "finish"], "finish"))
def test_killed_while_it_is_made(where: str, dataset: Path) -> None:
    """No cache is there; the next process makes it and leaves nothing else."""
    process = reading(dataset, KILLED.format(where))
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert not codes.codes_beside(dataset).exists()
    out, _ = reading(dataset).communicate(timeout=120)
    assert out.startswith("StoredCodes ")
    assert {path.name for path in dataset.parent.iterdir()} == {dataset.name, f"{dataset.name}.codes"}
    again, _ = reading(dataset).communicate(timeout=120)
    assert again == out


@pytest.mark.full
def test_several_processes_at_once(dataset: Path) -> None:
    processes = [reading(dataset) for _ in range(3)]
    found = [process.communicate(timeout=240) for process in processes]
    assert {out for out, _ in found} == {reading(dataset).communicate(timeout=120)[0]}
    assert found[0][0].startswith("StoredCodes ")
    assert {path.name for path in dataset.parent.iterdir()} == {dataset.name, f"{dataset.name}.codes"}


def test_while_another_process_makes_it(dataset: Path, caching: None) -> None:
    """This one waits, says why, and uses what the other has made."""
    finished = read_windows(dataset, FLANK).fingerprint
    cache = codes.codes_beside(dataset)
    made = cache.rename(cache.with_name("made"))
    lock, said = FileLock(dataset.with_name(f".{dataset.name}.codes.lock"), thread_local=False), []
    lock.acquire()

    class Shown(Display):
        def line(self, text: str) -> None:
            said.append(text)
            made.rename(cache)
            lock.release()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes._Writer, "put_bases", None)
        assert read_windows(dataset, FLANK, Shown()).fingerprint == finished
    assert said == [f"{cache}: another process is making this cache of the data set; waiting for it"]


def test_a_wrong_data_set_leaves_nothing(tmp_path: Path, caching: None) -> None:
    path = write_dataset(tmp_path / "set.h5", [make_windows(4, 1)])
    with h5py.File(path, "a") as file:
        file["Y0"][0, 3, 7] = 1
    with pytest.raises(DatasetError, match="Y0 holds values that are not one-hot"):
        read_windows(path, FLANK)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_data_set_that_is_changed_meanwhile(dataset: Path, caching: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = codes._Writer.find_facts

    def later(writer: object, advance: object) -> object:
        touched(dataset)
        return found(writer, advance)

    monkeypatch.setattr(codes._Writer, "find_facts", later)
    with pytest.raises(DatasetError, match="was changed while it was read"):
        read_windows(dataset, FLANK)
    assert [path.name for path in dataset.parent.iterdir()] == [dataset.name]


# -- memory, and runs ------------------------------------------------------------------------------------------

GROWTH = """
import json, resource, sys
from spliceai_jax.windows import hdf5
hdf5.LEAST_WINDOWS = 1
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
hdf5.read_windows(sys.argv[1], 10000)  # what reading costs whatever the size
before = peak()
windows = hdf5.read_windows(sys.argv[2], 10000)
windows.subset(windows.index[::-1]).fingerprint
windows.continues, windows.extents
for packed in windows.scoring_batches(4):
    pass
print(json.dumps(peak() - before))
"""


@pytest.mark.full
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    bases, labels = make_windows(100, seed=12, sites=1)
    small, large = (
        write_dataset(tmp_path / f"{shards}.h5", [(bases, labels)] * shards, compression="lzf") for shards in (1, 9)
    )
    for _ in range(2):  # made, then only read
        # Through a shell: a process started straight from this one would begin with this one's peak.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", GROWTH, small, large]
        growth = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert growth < 800 * 2_000 + 4e6  # in memory they take 20 kB each


@pytest.mark.slow
def test_a_run_is_the_same(
    small_data: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: without a cache, with one that is made, and with one that is there."""
    shutil.copytree(small_data, tmp_path / "data")
    found, identities = [], []
    for number, least in enumerate((10**9, 1, 1)):
        monkeypatch.setattr(hdf5, "LEAST_WINDOWS", least)
        output = tmp_path / str(number)
        transfer(TransferSettings(**arguments(tmp_path / "data", small_model, output)))
        found.append(results(output))
        identities.append(content_of(output / FOLDER / "run.json"))
        assert len(list((tmp_path / "data").glob("*.codes"))) == (0 if number == 0 else 3)
    assert found[0] == found[1] == found[2]
    assert len(set(identities)) == 1


@pytest.mark.slow
def test_other_commands_read_it(small_data: Path, small_model: Path, tmp_path: Path, undecodable: Callable) -> None:
    path = Path(shutil.copy(small_data / "dataset_test.h5", tmp_path))
    first = evaluate(small_model, path)
    undecodable()
    assert evaluate(small_model, path) == first

"""The data sets: OpenSpliceAI's HDF5 read to the last base, split into training and validation, cut into batches."""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from conftest import SHARED, make_windows, needs_shared, write_dataset
from hypothesis import assume, given
from hypothesis import strategies as st

from spliceai_jax.architecture import ARCHITECTURES, CONTEXT, PADDING, WINDOW
from spliceai_jax.errors import DatasetError
from spliceai_jax.windows.batches import epoch_batches
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.packing import whole_windows
from spliceai_jax.windows.splits import gene_starts, split_validation
from spliceai_jax.windows.storage import opened
from spliceai_jax.windows.windows import Windows

FLANK = 80


@pytest.fixture(scope="module")
def mixed() -> tuple[np.ndarray, np.ndarray]:
    """Five windows with everything a file can hold: Ns inside, at the edges of the context and of each crop."""
    bases, labels = make_windows(5, seed=11)
    random = np.random.default_rng(11)
    bases[random.random(bases.shape) < 0.02] = 0
    for flanking_size in ARCHITECTURES:
        crop = (CONTEXT - flanking_size) // 2
        bases[0, [crop, -crop - 1]] = 0
    bases[1, :700] = 0
    bases[2, -700:] = 0
    labels[3] = PADDING  # a window that is padding throughout
    labels[4, 2000:2010] = PADDING
    return bases, labels


def in_memory(bases: np.ndarray, labels: np.ndarray, shards: np.ndarray) -> Windows:
    return Windows(Path("made.h5"), bases, labels, shards, np.arange(len(bases)))


# -- reading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flanking_size", ARCHITECTURES)
def test_each_flanking_size_keeps_the_middle_of_the_stored_context(tmp_path, mixed, flanking_size) -> None:
    bases, labels = mixed
    path = write_dataset(tmp_path / "set.h5", [(bases, labels)])
    windows = read_windows(path, flanking_size)
    crop = (CONTEXT - flanking_size) // 2
    assert windows.bases.dtype == np.uint8
    assert windows.labels.dtype == np.uint8
    assert windows.bases.shape == (5, WINDOW + flanking_size)
    np.testing.assert_array_equal(windows.bases, bases[:, crop : CONTEXT + WINDOW - crop])
    np.testing.assert_array_equal(windows.labels, labels)
    # The same from the file's own numbers: channel c of X is base c + 1, and a base stands over its label.
    with h5py.File(path) as file:
        x, y = file["X0"][:], file["Y0"][0]
    for base in range(1, 5):
        np.testing.assert_array_equal(windows.bases == base, x[:, crop : 15000 - crop, base - 1] == 1)
    np.testing.assert_array_equal(windows.labels == PADDING, ~y.any(-1))
    under = windows.bases[:, flanking_size // 2 : flanking_size // 2 + WINDOW]
    np.testing.assert_array_equal(under, bases[:, CONTEXT // 2 : CONTEXT // 2 + WINDOW])


STORAGE = {
    "contiguous": {},
    "one chunk a window": {"per_window": True},
    "h5py's own chunks": {"chunks": True},
    "one chunk a shard": {"whole": True},
    "gzip": {"compression": "gzip"},
    "gzip, shuffled, one chunk a window": {"compression": "gzip", "shuffle": True, "per_window": True},
    "lzf": {"compression": "lzf"},
    "gzip, with checksums": {"compression": "gzip", "fletcher32": True},
    "checksums alone": {"fletcher32": True},
    "uint8": {"dtype": np.uint8},
    "bool": {"dtype": np.bool_},
    "int64, gzip": {"dtype": np.int64, "compression": "gzip"},
}


@pytest.mark.parametrize("storage", STORAGE.values(), ids=STORAGE)
def test_storage_changes_neither_windows_nor_fingerprint(tmp_path, mixed, storage) -> None:
    bases, labels = mixed
    plain = read_windows(write_dataset(tmp_path / "plain.h5", [(bases, labels)]), FLANK)
    options = {name: value for name, value in storage.items() if name not in ("per_window", "whole", "dtype")}
    x = np.eye(5, dtype=storage.get("dtype", np.int8))[bases][..., 1:]
    y = np.eye(4, dtype=storage.get("dtype", np.int8))[labels][..., :3][None]
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for name, data in (("Y0", y), ("X0", x)):
            if "per_window" in storage:
                options["chunks"] = (1, *data.shape[1:]) if name == "X0" else (1, 1, *data.shape[2:])
            if "whole" in storage:
                options["chunks"] = data.shape
            file.create_dataset(name, data=data, **options)
        assert file["X0"].dtype == storage.get("dtype", np.int8)
        assert (file["X0"].chunks is None) == (not options)
    other = read_windows(tmp_path / "other.h5", FLANK)
    np.testing.assert_array_equal(other.bases, plain.bases)
    np.testing.assert_array_equal(other.labels, plain.labels)
    assert other.bases.dtype == other.labels.dtype == np.uint8
    assert other.fingerprint == plain.fingerprint


def test_shards_are_taken_by_number_whatever_the_order_of_their_names_in_the_file(tmp_path) -> None:
    bases, labels = make_windows(14, seed=5)
    sizes = [1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]
    starts = np.cumsum([0, *sizes])
    shards = [(bases[a:b], labels[a:b]) for a, b in itertools.pairwise(starts)]
    with h5py.File(tmp_path / "set.h5", "w") as file:
        for number in np.random.default_rng(0).permutation(12):
            x, y = shards[number]
            file.create_dataset(f"X{number}", data=np.eye(5, dtype=np.int8)[x][..., 1:])
            file.create_dataset(f"Y{number}", data=np.eye(4, dtype=np.int8)[y][..., :3][None])
        assert list(file)[:3] == ["X0", "X1", "X10"]  # the trap
        file.create_dataset("note", data=[1, 2])  # what is not a shard is no concern of ours
    windows = read_windows(tmp_path / "set.h5", CONTEXT)
    np.testing.assert_array_equal(windows.shards, np.repeat(np.arange(12), sizes))
    np.testing.assert_array_equal(windows.bases, bases)
    np.testing.assert_array_equal(windows.labels, labels)


def test_more_windows_than_are_decoded_at_a_time(tmp_path) -> None:
    """129 windows: two slices and one window more."""
    bases, labels = make_windows(129, seed=6, sites=1)
    windows = read_windows(write_dataset(tmp_path / "set.h5", [(bases, labels)]), FLANK)
    np.testing.assert_array_equal(windows.bases, bases[:, 4960:10040])
    np.testing.assert_array_equal(windows.labels, labels)


def write_shards(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """Three windows in three shards of these numbers, the first of them empty; returns the labels."""
    bases, labels = make_windows(3, seed=7)
    with h5py.File(path, "w") as file:
        for number, rows in zip(numbers, (slice(0, 0), slice(0, 2), slice(2, 3)), strict=True):
            file.create_dataset(f"X{number}", data=np.eye(5, dtype=np.int8)[bases[rows]][..., 1:])
            file.create_dataset(f"Y{number}", data=np.eye(4, dtype=np.int8)[labels[rows]][..., :3][None])
    return labels


def test_shards_without_windows_do_not_matter(tmp_path) -> None:
    labels = write_shards(tmp_path / "set.h5", (0, 1, 2))
    windows = read_windows(tmp_path / "set.h5", FLANK)
    np.testing.assert_array_equal(windows.shards, [1, 1, 2])
    np.testing.assert_array_equal(windows.labels, labels)


@pytest.mark.parametrize(("numbers", "lost"), [((0, 1, 3), 2), ((1, 2, 3), 0)])
def test_a_lost_shard_is_noticed(tmp_path, numbers, lost) -> None:
    write_shards(tmp_path / "set.h5", numbers)
    with pytest.raises(DatasetError, match=rf"set\.h5: has X3 but no X{lost}; .* one was lost"):
        read_windows(tmp_path / "set.h5", FLANK)


def test_class_counts(tmp_path, mixed) -> None:
    bases, labels = mixed
    windows = read_windows(write_dataset(tmp_path / "set.h5", [(bases, labels)]), FLANK)
    np.testing.assert_array_equal(windows.class_counts, [(labels == label).sum() for label in range(4)])
    assert windows.class_counts.sum() == 5 * WINDOW
    part = windows.subset(np.array([4, 0]))
    np.testing.assert_array_equal(part.class_counts, [(labels[[4, 0]] == label).sum() for label in range(4)])


@needs_shared
def test_a_real_data_set_of_openspliceai() -> None:
    path = SHARED / "data" / "arabidopsis" / "dataset_test.h5"
    windows = read_windows(path, 400)
    assert len(windows) == 272
    np.testing.assert_array_equal(windows.class_counts[1:3], [1060, 1060])  # data/README.md
    middle = windows.bases[:, 200 : 200 + WINDOW]
    row, at = np.nonzero(windows.labels == 2)
    inside = at < WINDOW - 2  # the bases behind are stored as well, but this keeps the indices simple
    donors = middle[row[inside], at[inside] + 1] * 10 + middle[row[inside], at[inside] + 2]
    assert np.mean(donors == 34) > 0.98  # G and T
    row, at = np.nonzero(windows.labels == 1)
    inside = at > 1
    acceptors = middle[row[inside], at[inside] - 2] * 10 + middle[row[inside], at[inside] - 1]
    assert np.mean(acceptors == 13) > 0.98  # A and G
    with h5py.File(path) as file:
        numbers = sorted(int(key[1:]) for key in file if key[0] == "X")
        assert len(numbers) >= 3
        x = np.concatenate([file[f"X{number}"][:] for number in numbers])[:, 4800:10200]
    np.testing.assert_array_equal(windows.bases, (x * np.arange(1, 5, dtype=np.int8)).sum(-1))


# -- the fingerprint -------------------------------------------------------------------------------------------


@given(st.integers(0, 5), st.integers(0, WINDOW + FLANK - 1), st.integers(0, WINDOW - 1), st.integers(1, 3))
def test_fingerprint_tells_apart_every_base_and_label(row: int, base: int, label: int, by: int) -> None:
    bases, labels = make_windows(6, seed=8)
    bases = bases[:, 4960:10040]
    shards = np.array([0, 0, 0, 1, 1, 1])
    original = in_memory(bases, labels, shards).fingerprint
    assert in_memory(bases.copy(), labels.copy(), shards.astype(np.int32)).fingerprint == original
    changed = bases.copy()
    changed[row, base] = (changed[row, base] + by) % 5
    assert in_memory(changed, labels, shards).fingerprint != original
    changed = labels.copy()
    changed[row, label] = (changed[row, label] + by) % 4
    assert in_memory(bases, changed, shards).fingerprint != original


def test_fingerprint_tells_apart_order_shards_and_number_of_windows(tmp_path) -> None:
    one, two = make_windows(2, seed=9), make_windows(2, seed=10)
    both = tuple(np.concatenate(pair) for pair in zip(one, two, strict=True))
    forms = {
        "as it is": [one, two],
        "the other way round": [two, one],
        "one shard": [both],
        "one shard less": [one],
        "a window twice": [one, two, two],
    }
    prints = [read_windows(write_dataset(tmp_path / f"{n}.h5", s), FLANK).fingerprint for n, s in forms.items()]
    assert len(set(prints)) == len(forms)
    again = read_windows(write_dataset(tmp_path / "again.h5", [one, two], compression="lzf"), FLANK)
    assert again.fingerprint == prints[0]
    assert again.subset(np.arange(2)).fingerprint == prints[3]


# -- memory ----------------------------------------------------------------------------------------------------

GROWTH = """
import json, resource, sys
from spliceai_jax.windows.hdf5 import read_windows
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
read_windows(sys.argv[1], 10000)  # what reading costs whatever the size
before = peak()
windows = read_windows(sys.argv[2], 10000)
windows.fingerprint
windows.class_counts
print(json.dumps(peak() - before))
"""


@pytest.mark.full
def test_reading_takes_at_most_25_kb_a_window_and_a_constant(tmp_path) -> None:
    """The longest context; in the file a window takes 75 kB.

    h5py keeps up to 8 MB of decoded chunks for each dataset that is open, so shards count here, not just windows.
    """
    bases, labels = make_windows(100, seed=12, sites=1)
    growth = {}
    for shards in (1, 9):
        path = write_dataset(tmp_path / f"{shards}.h5", [(bases, labels)] * shards, compression="lzf")
        # Through a shell: a process started straight from this one would begin with this one's peak.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", GROWTH, tmp_path / "1.h5", path]
        growth[100 * shards] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert growth[900] - growth[100] > 800 * 15_000  # else this measures nothing: 20 kB a window are kept
    assert growth[900] - growth[100] <= 800 * 25_000
    assert growth[900] <= 900 * 25_000 + 20e6


# -- batches ---------------------------------------------------------------------------------------------------


def test_subsets_share_memory_and_nest(mixed) -> None:
    bases, labels = mixed
    windows = in_memory(bases[:, 4960:10040], labels, np.array([0, 0, 1, 1, 2]))
    part = windows.subset(np.array([4, 1, 3]))
    assert np.shares_memory(part.bases, windows.bases)
    assert np.shares_memory(part.labels, windows.labels)
    assert len(part) == 3
    inner = part.subset(np.array([2, 0]))  # the windows 3 and 4
    assert np.shares_memory(inner.bases, windows.bases)
    batch = inner.batch(whole_windows(np.arange(2), 2, WINDOW + FLANK))
    np.testing.assert_array_equal(batch.labels, labels[[3, 4]])
    np.testing.assert_array_equal(batch.inputs, windows.bases[[3, 4]])


def test_a_batch_is_filled_up_with_windows_that_do_not_count(mixed) -> None:
    bases, labels = mixed
    windows = in_memory(bases[:, 4960:10040], labels, np.zeros(5, int))
    batch = windows.batch(whole_windows(np.array([4, 0, 2]), 5, WINDOW + FLANK))
    assert batch.inputs.shape == (5, WINDOW + FLANK)
    assert batch.inputs.dtype == batch.labels.dtype == np.uint8
    assert batch.multiplicity.dtype == np.float32
    np.testing.assert_array_equal(batch.multiplicity, np.array([[1, 1, 1, 0, 0]]).T)
    np.testing.assert_array_equal(batch.inputs[:3], windows.bases[[4, 0, 2]])
    np.testing.assert_array_equal(batch.labels[:3], labels[[4, 0, 2]])
    assert (batch.inputs[3:] == 0).all()
    assert (batch.labels[3:] == PADDING).all()
    assert batch.inside is None
    again = windows.batch(whole_windows(np.array([4, 0, 2]), 3, WINDOW + FLANK)).filled_up(5)
    jax.tree.map(np.testing.assert_array_equal, again, batch)


def test_lengths_and_extents_end_with_the_last_label_and_the_last_base(mixed) -> None:
    bases, labels = mixed
    bases = bases[:, 4960:10040].copy()
    labels = labels.copy()
    labels[0, 3000:] = PADDING
    bases[0, 2000:] = 0  # N up to the gene's end
    labels[1, 100:] = PADDING  # and bases behind it
    bases[3] = 0
    windows = in_memory(bases, labels, np.zeros(5, int)).subset(np.array([3, 4, 1, 0]))
    np.testing.assert_array_equal(windows.lengths, [0, WINDOW, 100, 3000])
    np.testing.assert_array_equal(windows.extents[[0, 2, 3]], [0, np.flatnonzero(bases[1])[-1] + 1, 3040])
    assert windows.extents[1] > WINDOW + FLANK // 2


def of_shards(shards: list[int]) -> Windows:
    """Windows of which only the shard matters; their rows are one base wide to be cheap."""
    numbers = np.array(shards)
    return in_memory(np.zeros((len(numbers), 1), np.uint8), np.zeros((len(numbers), 1), np.uint8), numbers)


shard_numbers = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(
    lambda sizes: [shard for shard, size in enumerate(sizes) for _ in range(size)]
)


@given(shard_numbers, st.integers(1, 12), st.integers(0, 2**32), st.integers(0, 50))
def test_pooled_batches_hold_every_window_once_an_epoch(shards, size, seed, epoch) -> None:
    windows = of_shards(shards)
    batches = epoch_batches(windows.shards[windows.index], size, "pooled", seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(windows)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size
    again = epoch_batches(np.array(shards), size, "pooled", seed, epoch)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


@given(shard_numbers, st.integers(1, 12), st.integers(0, 2**32), st.integers(0, 50))
def test_per_shard_batches_mix_no_shards_and_drop_remainders(shards, size, seed, epoch) -> None:
    windows = of_shards(shards)
    batches = epoch_batches(windows.shards[windows.index], size, "per_shard", seed, epoch)
    assert all(len(batch) == size for batch in batches)
    assert all(len(set(windows.shards[batch])) == 1 for batch in batches)
    used = np.concatenate([*batches, np.zeros(0, int)])
    assert len(set(used)) == len(used)
    for shard in set(shards):
        assert sum(windows.shards[batch[0]] == shard for batch in batches) == shards.count(shard) // size
    again = epoch_batches(np.array(shards), size, "per_shard", seed, epoch)
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]
    # The shards come in the same order every epoch, each in one piece.
    order = [windows.shards[batch[0]] for batch in batches]
    next_epoch = epoch_batches(windows.shards, size, "per_shard", seed, epoch + 1)
    later = [windows.shards[batch[0]] for batch in next_epoch]
    assert order == later
    assert sum(a != b for a, b in itertools.pairwise(order)) == max(len(set(order)) - 1, 0)


@pytest.mark.parametrize("batching", ["pooled", "per_shard"])
def test_batches_differ_between_epochs_and_seeds(batching) -> None:
    windows = of_shards([0] * 40 + [1] * 40)
    orders = [
        np.concatenate(epoch_batches(windows.shards[windows.index], 8, batching, seed, epoch)).tolist()
        for seed, epoch in ((42, 0), (42, 1), (42, 2), (43, 0), (43, 1))
    ]
    assert len(set(map(tuple, orders))) == len(orders)


def test_pooled_batches_mix_shards_and_positions_are_those_of_the_set() -> None:
    windows = of_shards([0] * 40 + [1] * 40)
    batches = epoch_batches(windows.shards[windows.index], 8, "pooled", 42, 0)
    assert sum(len(set(windows.shards[batch])) == 2 for batch in batches) > 5
    part = windows.subset(np.arange(30, 80))  # positions count within the subset: rows 30 to 79 of the file
    for batching in ("pooled", "per_shard"):
        batches = epoch_batches(part.shards[part.index], 10, batching, 42, 0)
        assert sorted(np.concatenate(batches)) == list(range(50))
    assert all(len(set(part.shards[part.index[batch]])) == 1 for batch in batches)


# -- the split -------------------------------------------------------------------------------------------------


def make_genes(genes: list[tuple[int, bool]], shards: list[int], seed: int, sites: bool = True) -> Windows:
    """Windows of genes laid end to end, as create-data cuts them: 5000 positions each, with the context between.

    Arguments:
        genes: Of each, its windows and whether it ends exactly with its last one, without padding.
        shards: The shard of each gene.
        seed: Of the bases.
        sites: Both kinds of splice site in the first window of each gene.
    """
    random = np.random.default_rng(seed)
    bases, labels, numbers = [], [], []
    for (count, exact), shard in zip(genes, shards, strict=True):
        gene = random.integers(1, 5, count * WINDOW + FLANK, dtype=np.uint8)
        label = np.zeros((count, WINDOW), np.uint8)
        if sites:
            label[0, [100, 200]] = [1, 2]
        if not exact:
            label[-1, -int(random.integers(1, WINDOW - 300)) :] = PADDING
        bases += [gene[i * WINDOW : (i + 1) * WINDOW + FLANK] for i in range(count)]
        labels += list(label)
        numbers += [shard] * count
    return in_memory(np.stack(bases), np.stack(labels), np.array(numbers))


gene_sizes = st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=25)


def first_windows(genes: list[tuple[int, bool]]) -> np.ndarray:
    return np.cumsum([0, *(count for count, _ in genes)])[:-1]


@given(gene_sizes, st.integers(0, 1000), st.integers(1, 9))
def test_gene_starts_are_found(genes, seed, genes_a_shard) -> None:
    shards = [number // genes_a_shard for number in range(len(genes))]
    windows = make_genes(genes, shards, seed)
    np.testing.assert_array_equal(gene_starts(windows), first_windows(genes))


def test_a_gene_starts_with_its_shard_even_where_the_bases_go_on() -> None:
    windows = make_genes([(4, True)], [0], seed=1)
    assert gene_starts(windows).tolist() == [0]
    assert gene_starts(in_memory(windows.bases, windows.labels, np.array([0, 0, 1, 1]))).tolist() == [0, 2]


def test_a_gene_ends_with_its_padding_even_where_the_bases_agree() -> None:
    """Two short contigs, whose context is N on either side."""
    windows = make_genes([(2, False), (1, False)], [0, 0], seed=1)
    windows.bases[:] = 0
    assert gene_starts(windows).tolist() == [0, 2]


@pytest.mark.parametrize("left_out", [1, 2])
def test_a_gene_goes_on_after_a_site_that_was_left_out_at_the_end_of_a_window(left_out) -> None:
    """As by `create-data --isoforms mask`: the label of what is left out is that of padding."""
    windows = make_genes([(3, True), (2, False)], [0, 0], seed=1)
    windows.labels[0, -left_out:] = PADDING
    assert gene_starts(in_memory(windows.bases, windows.labels, windows.shards)).tolist() == [0, 3]


@pytest.mark.parametrize(("shards", "by_shards"), [(9, False), (10, True)])
def test_ten_shards_are_split_by_shards_and_nine_by_genes(shards, by_shards) -> None:
    windows = make_genes([(1, False)] * 5 * shards, [number // 5 for number in range(5 * shards)], seed=1)
    touched = [
        len(np.unique(part.shards[part.index])) for seed in range(5) for part in split_validation(windows, seed)[1:]
    ]
    assert (max(touched) == 1) == by_shards


def check_split(windows: Windows, pieces: list[np.ndarray], seed: int) -> None:
    """Whole pieces on either side, a tenth or more held out, and no piece more than that takes."""
    try:
        train, validation = split_validation(windows, seed)
    except DatasetError:
        # Allowed only where some part would be empty or without a class; the other tests see that it is not always.
        assert len(pieces) == 1 or not (windows.class_counts[1:3] >= len(pieces)).all()
        return
    assert sorted([*train.index, *validation.index]) == list(range(len(windows)))
    assert np.shares_memory(train.bases, windows.bases)
    assert np.shares_memory(validation.labels, windows.labels)
    held_out = set(validation.index.tolist())
    sizes = []
    for piece in pieces:
        inside = held_out & set(piece.tolist())
        assert len(inside) in (0, len(piece))
        sizes += [len(piece)] * bool(inside)
    assert 10 * len(validation) >= len(windows)
    assert any(10 * (len(validation) - size) < len(windows) for size in sizes)
    for part in (train, validation):
        assert (part.class_counts[:3] > 0).all()
        assert np.all(np.diff(part.index) > 0)  # still in file order
    again = split_validation(windows, seed)
    assert [part.index.tolist() for part in again] == [train.index.tolist(), validation.index.tolist()]


@given(gene_sizes, st.integers(0, 1000), st.integers(3, 9), st.integers(0, 2**32))
def test_the_split_cuts_no_gene(genes, data_seed, genes_a_shard, seed) -> None:
    shards = [number // genes_a_shard for number in range(len(genes))]  # nine shards at most: by genes
    windows = make_genes(genes, shards, data_seed)
    check_split(windows, np.split(np.arange(len(windows)), first_windows(genes)[1:]), seed)


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 2), st.booleans()), min_size=1, max_size=4), min_size=10, max_size=14),
    st.integers(0, 2**32),
)
def test_the_split_is_by_whole_shards_where_there_are_ten(shards, seed) -> None:
    genes = [gene for shard in shards for gene in shard]
    numbers = [number for number, shard in enumerate(shards) for _ in shard]
    windows = make_genes(genes, numbers, seed=0)
    check_split(windows, [np.flatnonzero(windows.shards == number) for number in range(len(shards))], seed)


@given(gene_sizes, st.integers(0, 2**32), st.data())
def test_the_split_has_sites_in_both_parts_or_is_refused(genes, seed, data) -> None:
    """Only some genes have sites."""
    windows = make_genes(genes, [0] * len(genes), seed=2, sites=False)
    assume(len(windows) > 1)
    for label in (1, 2):
        for row in data.draw(st.lists(st.integers(0, len(windows) - 1), min_size=1, max_size=4)):
            windows.labels[row, 10 * label] = label
    try:
        train, validation = split_validation(windows, seed)
    except DatasetError:
        with pytest.raises(DatasetError, match=r"made\.h5: the (training|validation) part .*`validation_dataset`"):
            split_validation(windows, seed)
        return
    assert all((part.class_counts[1:3] > 0).all() for part in (train, validation))


def test_a_single_gene_cannot_be_split() -> None:
    with pytest.raises(DatasetError, match=r"made\.h5: the training part of its 90:10 split .*holds no windows"):
        split_validation(make_genes([(4, False)], [0], seed=1), 42)


def test_the_split_depends_on_the_seed_and_reaches_every_gene() -> None:
    windows = make_genes([(1, False)] * 20, [0] * 20, seed=3)
    splits = {seed: tuple(split_validation(windows, seed)[1].index.tolist()) for seed in range(100)}
    assert len(set(splits.values())) > 50
    assert {len(split) for split in splits.values()} == {2}
    assert {row for split in splits.values() for row in split} == set(range(20))


@needs_shared
def test_the_split_of_the_fly(tmp_path) -> None:
    """One shard of 47 real genes, none of which is cut."""
    windows = read_windows(SHARED / "demo" / "fly" / "dataset_train.h5", FLANK)
    starts = gene_starts(windows)
    assert len(starts) == 47  # demo/README.md
    check_split(windows, np.split(np.arange(len(windows)), starts[1:]), 42)


def test_a_bug_of_ours_is_not_called_damage(small_data) -> None:
    with pytest.raises(IndexError), opened(small_data / "dataset_test.h5"):
        [][1]
    with pytest.raises(DatasetError, match="may be damaged"), opened(small_data / "dataset_test.h5") as file:
        file[3]

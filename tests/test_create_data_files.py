"""The files that `create-data` leaves: their forms, whose they are, and what a process leaves that is stopped."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import SHARED, full, needs_shared, random_model
from filelock import FileLock
from synthetic_genome import Layout, MadeGene, MadeGenome, MadeTranscript, random_letters, with_motifs
from test_errors import call, only_line, snapshot
from test_sequences import bgzip

from spliceai_jax import stored
from spliceai_jax.data_sets import writing
from spliceai_jax.data_sets.folder import DataSetsRecord
from spliceai_jax.data_sets.genes import choose_genes
from spliceai_jax.data_sets.run import create_data
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.display import Display
from spliceai_jax.genome.annotation import read_annotation
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.training.engine import Engine
from spliceai_jax.windows.hdf5 import read_windows

SETS = ("test", "train", "validation")
WRITTEN = {
    *(f"data{kind}_{name}.h5" for kind in ("set", "file") for name in SETS),
    *(f"{name}_{table}.txt" for name in SETS for table in ("stats", "other_sites")),
    *(f"removed_paralogs_{name}.txt" for name in ("test", "validation")),
    "dataset.json",
}
NOT_COMPARED = {".lock", "dataset.html"}


def results(folder: Path) -> dict[str, bytes]:
    """Every file of data sets, but for the lock and the page; none is half-written."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in NOT_COMPARED}
    assert not [name for name in found if name.startswith(".")]
    return found


@pytest.fixture(scope="module", autouse=True)
def no_page() -> Iterator[None]:
    """Sets made in this process come without their page, whose figures take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spliceai_jax.data_sets.run._draw_page", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def made() -> MadeGenome:
    return Layout({"one": 14, "two": 5, "three": 6, "four": 5}, apart=400).make()


@pytest.fixture(scope="module")
def files(made: MadeGenome, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A genome and its annotation; only to be read."""
    return made.write(tmp_path_factory.mktemp("genome"))


def command(files: tuple[Path, Path], output: Path, *options: object) -> list[object]:
    fasta, annotation = files
    return ["create-data", "--genome-fasta", fasta, "--annotation-gff", annotation, "--output-dir", output, *options]


def create(files: tuple[Path, Path], output: Path, *options: object) -> dict[str, bytes]:
    assert call(command(files, output, *options)) == 0
    return results(output)


@pytest.fixture(scope="module")
def plain(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of data sets made by default settings; only to be read."""
    output = tmp_path_factory.mktemp("plain") / "out"
    create(files, output)
    return output


# -- their forms -------------------------------------------------------------------------------------------------


def test_the_files(plain, made):
    assert set(results(plain)) == WRITTEN
    of = {gene.name: gene for gene in made.genes}
    seen = []
    for name in SETS:
        with h5py.File(plain / f"datafile_{name}.h5") as datafile:
            genes = [of[gene.decode()] for gene in datafile["NAME"]]
        seen += genes
        lines = [f"{g.sequence}\t{g.start + 1}\t{g.end}\t{g.name}\t1\t{g.strand}\n" for g in genes]
        assert (plain / f"{name}_stats.txt").read_text() == "".join(lines)
        assert len(read_windows(plain / f"dataset_{name}.h5", 10000)) == len(genes)
    assert len(seen) == len(of) == len(set(map(id, seen)))
    assert (plain / "removed_paralogs_test.txt").read_text() == ""


def test_the_record_says_where_they_come_from(plain, files):
    record = json.loads((plain / "dataset.json").read_text())
    for kind, path in zip(("genome", "annotation"), files, strict=True):
        assert record[kind] == {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert record["identity"]["settings"]["random_seed"] == 42
    assert record["motifs"] == {"GT-AG": 60}
    assert sum(counts["genes"] for counts in record["sets"].values()) == 30
    assert {name for there in record["sequences"].values() for name in there} == {"one", "two", "three", "four"}
    for name in SETS:
        windows = read_windows(plain / f"dataset_{name}.h5", 80)
        counts = record["sets"][name]
        assert (counts["windows"], counts["donors"], counts["acceptors"]) == (
            len(windows), windows.count("donor"), windows.count("acceptor"),
        )  # fmt: skip


def test_the_same_seed_gives_the_same_bytes(plain, files, tmp_path):
    assert create(files, tmp_path / "again") == results(plain)
    assert create(files, tmp_path / "verified", "--verify-h5", "--flanking-size", 400) == results(plain)
    other = create(files, tmp_path / "other", "--random-seed", 7)
    assert other["dataset_train.h5"] != results(plain)["dataset_train.h5"]


def in_members(data: bytes) -> bytes:
    return gzip.compress(data[:999]) + gzip.compress(data[999:])


@pytest.mark.parametrize("pack", [gzip.compress, bgzip, in_members])
def test_compressed_files_give_the_same(plain, files, tmp_path, pack):
    packed = tuple(tmp_path / path.name for path in files)
    for path, source in zip(packed, files, strict=True):
        path.write_bytes(pack(source.read_bytes()))
    found = create(packed, tmp_path / "out")
    assert {n: v for n, v in found.items() if n != "dataset.json"} == {
        n: v for n, v in results(plain).items() if n != "dataset.json"
    }


def test_names_that_are_not_utf8_are_written_as_they_are(files, tmp_path):
    """Old annotations have names in Latin-1."""
    text = files[1].read_bytes()
    name = text.split(b"ID=", 1)[1].split(b";", 1)[0]
    annotation = tmp_path / "latin.gff3"
    annotation.write_bytes(text.replace(b"=" + name + b";", b"=g\xe9ne;").replace(b"=" + name + b"\n", b"=g\xe9ne\n"))
    found = create((files[0], annotation), tmp_path / "out", "--write-fasta")
    assert sum(b"\tg\xe9ne\t1\t" in found[f"{name}_stats.txt"] for name in SETS) == 1
    assert sum(b">g\xe9ne " in found[f"{name}.fa"] for name in SETS) == 1
    written = [h5py.File(tmp_path / "out" / f"datafile_{name}.h5")["NAME"][:] for name in SETS]
    assert sum(b"g\xe9ne" in names for names in written) == 1


def test_fasta_of_the_genes(files, tmp_path):
    assert set(create(files, tmp_path / "out", "--write-fasta")) == WRITTEN | {f"{name}.fa" for name in SETS}
    for name in SETS:
        with h5py.File(tmp_path / "out" / f"datafile_{name}.h5") as datafile:
            columns = {column: [value.decode() for value in datafile[column]] for column in datafile}
        records = (tmp_path / "out" / f"{name}.fa").read_text().split(">")[1:]
        headers = [record.splitlines()[0] for record in records]
        assert ["".join(record.splitlines()[1:]) for record in records] == columns["SEQ"]
        assert all(len(line) <= 60 for record in records for line in record.splitlines()[1:])
        assert headers == [
            f"{gene} {sequence}:{start}-{end}({strand})"
            for gene, sequence, start, end, strand in zip(
                *(columns[key] for key in ("NAME", "CHROM", "TX_START", "TX_END", "STRAND")), strict=True
            )
        ]


def test_the_test_set_alone(files, tmp_path):
    found = create(files, tmp_path / "out", "--chr-split", "test", "--test-sequences", "two,three")
    assert set(found) == {
        "dataset_test.h5",
        "datafile_test.h5",
        "test_stats.txt",
        "test_other_sites.txt",
        "dataset.json",
    }
    data = create_data(
        CreateDataSettings(
            genome_fasta=files[0], annotation_gff=files[1], output_dir=tmp_path / "out", chr_split="test",
            test_sequences=["three", "two"],
        )
    )  # fmt: skip
    assert (data.train, data.validation, data.test) == (None, None, tmp_path / "out" / "dataset_test.h5")
    assert data.record.sets["test"].genes == 11


def test_what_a_caller_gets(files, plain):
    data = create_data(CreateDataSettings(genome_fasta=files[0], annotation_gff=files[1], output_dir=plain))
    assert data.folder == plain
    assert [data.train, data.validation, data.test] == [
        plain / f"dataset_{name}.h5" for name in ("train", "validation", "test")
    ]
    assert "the validation set has only 4 introns; scores on it will be uncertain" in data.record.warnings


def test_stocks_flag_for_isoforms(files, tmp_path):
    stock, ours = (
        create(files, tmp_path / name, *options)
        for name, options in (("a", ["--parse-type", "all_isoforms"]), ("b", ["--isoforms", "union"]))
    )
    assert stock == ours


# -- whose they are ------------------------------------------------------------------------------------------------


def refused(argv: list[object], folder: Path, capfd: pytest.CaptureFixture) -> str:
    before = snapshot(folder)
    capfd.readouterr()
    code = call(argv)
    line = only_line(capfd.readouterr().err)
    assert code == 2
    assert snapshot(folder) == before
    return line


@pytest.fixture
def again(plain, files, tmp_path) -> tuple[tuple[Path, Path], Path]:
    """Copies of a genome's files and of the folder made from them."""
    copies = tuple(Path(shutil.copy(path, tmp_path)) for path in files)
    return copies, Path(shutil.copytree(plain, tmp_path / "out"))


def test_a_finished_folder_is_left_alone(again, capfd):
    files, output = again
    before = snapshot(output)
    assert call(command(files, output)) == 0
    stdout, stderr = capfd.readouterr()
    assert snapshot(output) == before
    assert "made already" in stdout
    assert stderr == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--random-seed", 7], "`random_seed` is now 7 and was 42"),
        (
            ["--context", "N", "--canonical-only"],
            "`canonical_only` is now True and was False; `context` is now 'N' ",
        ),
        (["--isoforms", "mask"], "`isoforms` is now 'mask' and was 'canonical'"),
        (["--test-sequences", "two"], "`test_sequences` is now ['two'] and was None"),
        (["--no-remove-paralogs"], "`remove_paralogs` is now False"),
        (["--write-fasta"], "`write_fasta` is now True"),
    ],
)
def test_other_settings_are_refused(again, tmp_path, capfd, options, says):
    files, output = again
    line = refused(command(files, output, *options), tmp_path, capfd)
    assert line.startswith(f"{output}: holds data sets that were made differently: ")
    assert re.sub(r"`(\w+)`", lambda name: "--" + name[1].replace("_", "-"), says) in line
    assert "give another --output-dir" in line


def test_a_setting_that_a_record_lacks_has_its_default(plain, tmp_path):
    """As a record has that was written before there was such a setting."""
    content = json.loads((plain / "dataset.json").read_text())
    written = stored.read(plain / "dataset.json", DataSetsRecord)
    assert content["identity"]["settings"].pop("context") == "genome"
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert stored.read(tmp_path / "dataset.json", DataSetsRecord).identity == written.identity


@pytest.mark.parametrize(("number", "kind"), [(0, "genome"), (1, "annotation")])
def test_other_sources_are_refused(again, tmp_path, capfd, number, kind):
    files, output = again
    with open(files[number], "a") as file:
        file.write("\n")
    assert f"the {kind} is another file" in refused(command(files, output), tmp_path, capfd)


@pytest.mark.parametrize("name", sorted(WRITTEN - {"dataset.json"} | {"train.fa", "dataset.html"}))
def test_files_of_others_are_left_alone(files, tmp_path, capfd, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    line = refused(command(files, tmp_path / "out"), tmp_path, capfd)
    assert line.startswith(f"{tmp_path / 'out' / name}: exists, but was not written by `spliceai-jax create-data`")


@pytest.mark.parametrize("content", ["", "{}", "[1]", "no JSON", '{"format_version": 99}'])
def test_a_record_that_is_none(files, tmp_path, capfd, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text(content)
    line = refused(command(files, tmp_path / "out"), tmp_path, capfd)
    assert line.startswith(f"{tmp_path / 'out' / 'dataset.json'}: damaged")
    assert "--output-dir" in line


def test_a_data_set_that_was_deleted(again, tmp_path, capfd):
    files, output = again
    (output / "dataset_validation.h5").unlink()
    line = refused(command(files, output), tmp_path, capfd)
    assert line.startswith(f"{output / 'dataset_validation.h5'}: missing, though")


def test_a_folder_in_use(files, tmp_path, capfd):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"):
        code = call(command(files, tmp_path / "out"))
    assert code == 2
    assert "another process makes data sets here" in capfd.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock"}


def test_another_process_was_faster(plain, files, tmp_path, monkeypatch, capfd):
    """It made them while this one planned."""

    def checked(folder: Path, needed: int) -> None:
        shutil.copytree(plain, tmp_path / "out")

    monkeypatch.setattr("spliceai_jax.data_sets.run._check_room", checked)
    monkeypatch.setattr("spliceai_jax.data_sets.run._write", None)
    assert call(command(files, tmp_path / "out")) == 0
    assert "made already" in capfd.readouterr().out
    assert results(tmp_path / "out") == results(plain)


# -- stopped -----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


@pytest.mark.parametrize("gene", [0, 3, 17, 29])
def test_dies_while_it_writes(plain, files, tmp_path, monkeypatch, gene):
    """With other settings than those of the command that then finishes; nothing is left of them."""
    windows, written = writing._windows, iter(range(100))

    def dying(*arguments: object) -> object:
        if next(written) == gene:
            raise Killed
        return windows(*arguments)

    with monkeypatch.context() as context:
        context.setattr(writing, "_windows", dying)
        with pytest.raises(Killed):
            call(command(files, tmp_path / "out", "--write-fasta", "--random-seed", 7))
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert "dataset.json" not in left
    for name in SETS:
        if f"dataset_{name}.h5" in left:
            read_windows(tmp_path / "out" / f"dataset_{name}.h5", 80)
    assert create(files, tmp_path / "out") == results(plain)


def test_a_signal_while_it_writes(plain, files, tmp_path, monkeypatch, capfd):
    windows, written = writing._windows, iter(range(100))

    def interrupting(*arguments: object) -> object:
        if next(written) == 12:
            signal.raise_signal(signal.SIGTERM)
        return windows(*arguments)

    with monkeypatch.context() as context:
        context.setattr(writing, "_windows", interrupting)
        assert call(command(files, tmp_path / "out")) == 128 + signal.SIGTERM
    line = capfd.readouterr().err.splitlines()[-1]
    assert line == "spliceai-jax: stopped by SIGTERM; the data sets are not complete, give the same command again"
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert create(files, tmp_path / "out") == results(plain)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Path, Path], Path]:
    """A genome that takes a second or two to write, and the folder of an undisturbed run from a real process."""
    folder = tmp_path_factory.mktemp("larger")
    files = Layout({f"s{number}": 40 for number in range(12)}, apart=2500, exon=200, intron=2000).make().write(folder)
    subprocess.run(program(files, folder / "out"), check=True, capture_output=True, timeout=300)
    return files, folder / "out"


def program(files: tuple[Path, Path], output: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("spliceai-jax")), *map(str, command(files, output))]


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_again_and_again(larger, tmp_path, number):
    """At random moments of one folder's making: while it reads, plans, and writes each of the sets."""
    files, undisturbed = larger
    folder, random = tmp_path / "parent" / "out", np.random.default_rng()
    folder.parent.mkdir()
    moments = [(None, random.uniform(0.5, 5)), *((name, random.uniform(0, 0.3)) for name in SETS), (".begun.json", 0)]
    for name, delay in moments:
        process = subprocess.Popen(program(files, folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wanted = folder / (f".dataset_{name}.h5.partial" if name in SETS else str(name))
        deadline = time.monotonic() + 60
        while name and process.poll() is None and time.monotonic() < deadline and not wanted.exists():
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
        assert "Traceback" not in stderr
        if number == signal.SIGTERM and process.returncode > 0:  # below 0: before Python watched for the signal
            assert process.returncode == 128 + number
            assert "give the same command again" in stderr
        if (folder / "dataset.json").exists():  # it had finished
            shutil.rmtree(folder)
    done = subprocess.run(program(files, folder), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (moments, done.stderr)
    assert results(folder) == results(undisturbed), moments
    assert [path.name for path in folder.parent.iterdir()] == ["out"], moments  # nothing is left beside it


@pytest.mark.full
def test_two_at_once(larger, tmp_path):
    """One makes them; the other is refused, or comes late and finds them."""
    files, undisturbed = larger
    both = [
        subprocess.Popen(program(files, tmp_path / "out"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    statuses = sorted(process.returncode for process in both)
    assert statuses in ([0, 0], [0, 2]), said
    if statuses == [0, 2]:
        assert any("another process makes data sets here" in stderr for _, stderr in said)
    assert results(tmp_path / "out") == results(undisturbed)


# -- no room -----------------------------------------------------------------------------------------------------


def test_too_little_room(files, tmp_path, monkeypatch, capfd):
    usage = type("Usage", (), {"total": 10**12, "used": 10**12, "free": 3 * 10**6})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    capfd.readouterr()
    assert call(command(files, tmp_path / "sub" / "out")) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert re.match(r"spliceai-jax: --output-dir: the data sets need up to \d+ MB and .* has 3 MB free; make ", line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
@pytest.mark.parametrize("size", full([0.2, 1, 1.5, 2.5], 1.5))
def test_a_disk_that_is_full(larger, tmp_path, monkeypatch, capfd, size):
    """Wherever it fills up, no half file has its final name, and with room the same command finishes."""
    files, undisturbed = larger
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(size * 1000)}k", "none", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        monkeypatch.setattr("spliceai_jax.data_sets.run._check_room", lambda folder, needed: None)
        assert call(command(files, disk / "out")) == 2
        error = capfd.readouterr().err.splitlines()[-1]
        assert str(disk) in error or "--output-dir" in error
        assert "make room" in error
        assert "unexpected" not in error
        left = list((disk / "out").iterdir()) if (disk / "out").exists() else []
        assert not [path for path in left if path.name.endswith(".partial") or path.name == "dataset.json"]
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        assert call(command(files, disk / "out")) == 0
        assert results(disk / "out") == results(undisturbed)
    finally:
        subprocess.run(["umount", disk], check=True)


# -- OpenSpliceAI itself -----------------------------------------------------------------------------------------


def tricky() -> MadeGenome:
    """Genes of whole windows and a base more, exons of one base, overlapping genes, small introns, odd letters."""
    random, genes, sequences = np.random.default_rng(5), [], {}
    for name in "abcd":
        here, at = [], 700
        for number, (length, strand) in enumerate(
            [(5000, "+"), (5001, "-"), (10000, "+"), (4999, "-"), (300, "+"), (40, "-"), (10001, "-"), (2000, "-")]
        ):
            exons = [(at, at + 7), (at + 17, at + 18), (at + 28, at + 29), (at + 39, at + length)]
            long = MadeTranscript(f"{name}{number}.2", exons)
            short = MadeTranscript(f"{name}{number}.1", exons[:-1])
            again = MadeTranscript(f"{name}{number}.3", [exons[0], exons[-1]])
            here.append(MadeGene(f"{name}{number}", name, strand, [short, long, again]))
            at += length + (500 if number % 2 else -20)
        letters = with_motifs(random_letters(at + 50, random), here)
        sequences[name] = letters[:900] + "nRyacgtNN" + letters[909:]
        genes += here
    return MadeGenome(sequences, genes)


def stock_data(stock: Path, fasta: Path, annotation: Path, output: Path, *options: str) -> None:
    """OpenSpliceAI's sets; it makes a database beside the annotation.

    It draws without a seed, and stops where a chromosome without genes is the test set: it is asked again.
    """
    command = [stock, "create-data", "--genome-fasta", fasta, "--annotation-gff", annotation, "--output-dir", output]
    for _ in range(8):
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=600, check=False)
        if done.returncode == 0:
            break
    assert (output / "dataset_test.h5").exists(), done.stdout[-3000:] + done.stderr


def same_as_stock(fasta: Path, annotation: Path, folder: Path, scratch: Path, **options: object) -> int:
    """Write its sets, in its order; see that every dataset of every file is the same. Return the number of genes."""
    by = CreateDataSettings(
        genome_fasta=fasta, annotation_gff=annotation, output_dir=scratch, biotype="all", canonical_by="span",
        context="N", accept_motifs=True, **options,
    )  # fmt: skip
    genome, count = Genome(fasta, scratch), 0
    of = {chosen.gene.name: chosen for chosen in choose_genes(read_annotation(annotation), genome, by, Display()).genes}
    for name in SETS:
        with h5py.File(folder / f"datafile_{name}.h5") as datafile:
            genes = [of[gene.decode()] for gene in datafile["NAME"]]
        count += len(genes)
        writing.write_dataset(scratch / f"dataset_{name}.h5", genes, genome, "N", lambda done: None)
        writing.write_datafile(scratch / f"datafile_{name}.h5", genes, genome)
        for kind in ("dataset", "datafile"):
            file = f"{kind}_{name}.h5"
            with h5py.File(scratch / file) as ours, h5py.File(folder / file) as theirs:
                assert set(ours) == set(theirs)
                for key in ours:
                    found, expected = ours[key][:], theirs[key][:]
                    if key == "SEQ":  # the other ambiguous letters stand there as they are; in X all are N
                        expected = np.array([re.sub(b"[^ACGT]", b"N", letters) for letters in expected], object)
                    assert found.dtype == expected.dtype, (file, key)
                    assert found.shape == expected.shape, (file, key)
                    assert np.array_equal(found, expected), (file, key)
        if (table := folder / f"{name}_stats.txt").exists():  # it writes none for validation, whose genes train's has
            writing.write_stats(scratch / table.name, genes)
            assert set((scratch / table.name).read_text().splitlines()) <= set(table.read_text().splitlines())
    genome.close()
    return count


@pytest.mark.full
@pytest.mark.parametrize("canonical_only", [False, True])
def test_equal_to_stock_on_a_made_genome(stock, tmp_path, canonical_only):
    fasta, annotation = tricky().write(tmp_path)
    flags = ["--split-ratio", "0.6", "--val_split_ratio", "0.2", *(["--canonical-only"] if canonical_only else [])]
    stock_data(stock, fasta, annotation, tmp_path / "stock", *flags)
    (tmp_path / "ours").mkdir()
    genes = same_as_stock(fasta, annotation, tmp_path / "stock", tmp_path / "ours", canonical_only=canonical_only)
    assert genes == 32


def unpacked(source: Path, target: Path, change: Callable[[str], str] = lambda text: text) -> Path:
    target.write_text(change(gzip.decompress(source.read_bytes()).decode()))
    return target


def with_biotypes(annotation: str) -> str:
    """FlyBase's has none, without which OpenSpliceAI takes no gene."""
    return re.sub(r"(?m)^(.*\tgene\t.*)$", r"\1;gene_biotype=protein_coding", annotation)


REAL = {
    "arabidopsis": (SHARED / "data" / "arabidopsis", lambda text: text),
    "fly": (SHARED / "demo" / "fly_genome", with_biotypes),
}


@pytest.mark.full
@needs_shared
@pytest.mark.parametrize("species", REAL)
def test_equal_to_stock_on_a_real_genome(stock, tmp_path, species):
    """Its genes and its draw of sets are taken from its own datafiles."""
    folder, change = REAL[species]
    fasta = unpacked(folder / "genome.fa.gz", tmp_path / "genome.fa")
    annotation = unpacked(folder / "annotation.gff3.gz", tmp_path / "annotation.gff3", change)
    stock_data(stock, fasta, annotation, tmp_path / "stock", "--remove-paralogs")
    (tmp_path / "ours").mkdir()
    assert same_as_stock(fasta, annotation, tmp_path / "stock", tmp_path / "ours") > 40


@pytest.mark.full
def test_stock_trains_on_our_files(stock, tmp_path):
    """One epoch; its shards of less than a batch of 36 windows would be dropped."""
    files = Layout({"one": 36, "two": 36, "three": 36}, apart=100).make().write(tmp_path)
    create(files, tmp_path / "sets", "--test-sequences", "two", "--validation-sequences", "three", "--isoforms", "mask")
    random_model(80).to_pt(tmp_path / "model.pt")
    (tmp_path / "cwd").mkdir()
    # It replaces "train" in the whole path by "validation": a relative one holds no other.
    flags = {
        **{"--epochs": 1, "--flanking-size": 80, "--exp-num": 0, "--random-seed": 42, "--project-name": "ours"},
        **{"--output-dir": "../out", "--pretrained-model": "../model.pt"},
        **{"--train-dataset": "../sets/dataset_train.h5", "--test-dataset": "../sets/dataset_test.h5"},
    }
    done = subprocess.run(
        [stock, "transfer", *(str(part) for flag in flags.items() for part in flag)],
        cwd=tmp_path / "cwd", capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    log = tmp_path / "out" / "SpliceAI_ours_80_0_rs42" / "0" / "LOG" / "TEST" / "donor_recall.txt"
    assert log.exists(), done.stdout + done.stderr
    assert np.isfinite(float(log.read_text()))


# -- `transfer` from a genome --------------------------------------------------------------------------------------

RUN = Path("SpliceAI_made_80_0_rs42") / "0"


def transfer_command(files: tuple[Path, Path], model: Path, output: Path, *options: object) -> list[object]:
    fasta, annotation = files
    return [
        "transfer", "-m", model, "--genome-fasta", fasta, "--annotation-gff", annotation, "-o", output, "-p", "made",
        "--epochs", 1, "--batch-size", 4, *options,
    ]  # fmt: skip


@pytest.mark.slow
def test_transfer_from_a_genome(files, plain, small_model, tmp_path, monkeypatch, command_line):
    """Stopped while it trains, it goes on with the same genome and is refused with another; the sets are made once."""
    copies = tuple(Path(shutil.copy(path, tmp_path)) for path in files)
    output = tmp_path / "out"
    argv, train = transfer_command(copies, small_model, output, "--epochs", 2, "--resume"), Engine.train

    def interrupted(*given):
        monkeypatch.setattr(Engine, "train", train)
        signal.raise_signal(signal.SIGTERM)
        return train(*given)

    monkeypatch.setattr(Engine, "train", interrupted)
    stopped = command_line(*argv)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    of_its_own = results(output / "data_made")
    assert {n: of_its_own[n] for n in WRITTEN - {"dataset.json"}} == {
        n: results(plain)[n] for n in WRITTEN - {"dataset.json"}
    }

    genome = copies[0].read_text()
    copies[0].write_text(genome.replace("GTA", "GTC", 1))
    before = snapshot(output)
    refused = command_line(*argv)
    assert refused.returncode == 2
    assert "the genome is another file" in only_line(refused.stderr)
    assert snapshot(output) == before

    copies[0].write_text(genome)
    done = command_line(*argv)
    assert done.returncode == 0, done.stderr
    assert "going on from epoch" in done.stdout
    model = output / RUN / "models" / "model_best.pt"
    before = snapshot(output / "data_made"), model.read_bytes()
    again = command_line(*argv)
    assert again.returncode == 0, again.stderr
    assert "made already" in again.stdout
    assert "finished already" in again.stdout
    assert (snapshot(output / "data_made"), model.read_bytes()) == before

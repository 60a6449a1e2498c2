"""Everything that can be wrong with what the user gives: found before the first step, told in one line, exit code 2.

Most cases run the command line's `main` in this process: a process of its own takes seconds to start.
"""

import contextlib
import io
import os
import pickle
import re
import shutil
import tempfile
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import CommandLine, full, make_windows, random_model, write_dataset
from filelock import FileLock

from spliceai_jax.architecture import PADDING
from spliceai_jax.commands.main import main
from spliceai_jax.convert import read_pt
from spliceai_jax.errors import DatasetError, RunFolderError, WeightsError
from spliceai_jax.network.model_files import models_to_average
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.windows.hdf5 import check_form

ROLES = ("train", "validation", "test")


def call(argv: list[object]) -> int:
    """The exit code of `spliceai-jax ARGV`, in this process."""
    try:
        return main([str(argument) for argument in argv])
    except SystemExit as stop:
        return int(stop.code or 0)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every file and folder below; of files the content and the time of change."""
    # The time of a folder changes while it is locked.
    return {
        str(path.relative_to(folder)): (
            0 if path.is_dir() else path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() and not path.is_symlink() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def only_line(stderr: str) -> str:
    """The one line of a refusal; it names no exception that the program did not think of."""
    assert stderr.count("\n") == 1, stderr
    line = stderr.removesuffix("\n")
    assert line.startswith("spliceai-jax: ")
    assert "Traceback" not in stderr
    assert not line.startswith("spliceai-jax: unexpected "), line
    return line.removeprefix("spliceai-jax: ")


class Transfer:
    """A `transfer` command that would run, were it not for what a test changes; in a folder of its own."""

    def __init__(self, folder: Path, data: Path, model: Path, capture: pytest.CaptureFixture) -> None:
        self.folder, self._capture = folder, capture
        self.model = shutil.copy(model, folder / "model.pt")
        self.train, self.validation, self.test = (
            Path(shutil.copy(data / f"dataset_{role}.h5", folder)) for role in ROLES
        )
        self.out = folder / "out"

    def argv(self, *options: object) -> list[object]:
        files = ["-m", self.model, "-train", self.train, "-test", self.test]
        return ["transfer", *files, "-o", self.out, "-p", "errors", *options]

    def refused(self, *options: object) -> str:
        """Run it, see it refused with nothing written, and return what it says."""
        return self.refused_as(self.argv(*options))

    def refused_as(self, argv: list[object]) -> str:
        before = snapshot(self.folder)
        self._capture.readouterr()
        code = call(argv)
        stdout, stderr = self._capture.readouterr()
        line = only_line(stderr)
        assert code == 2
        assert "Traceback" not in stdout
        assert snapshot(self.folder) == before
        return line


@pytest.fixture
def run(tmp_path: Path, small_data: Path, small_model: Path, capfd: pytest.CaptureFixture) -> Transfer:
    return Transfer(tmp_path, small_data, small_model, capfd)


# -- data sets -------------------------------------------------------------------------------------------------


def one_hot() -> dict[str, np.ndarray]:
    bases, labels = make_windows(3, seed=21)
    return {"X0": np.eye(5, dtype=np.int8)[bases][..., 1:], "Y0": np.eye(4, dtype=np.int8)[labels][..., :3][None]}


def write(path: Path, content: dict[str, np.ndarray]) -> None:
    path.unlink(missing_ok=True)
    with h5py.File(path, "w") as file:
        for name, data in content.items():
            file.create_dataset(name, data=data)


def changed(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    """A good file but for one change of its arrays."""

    def damage(path: Path) -> None:
        content = one_hot()
        change(content)
        write(path, content)

    return damage


def put(name: str, at: tuple, value: object) -> Callable[[Path], None]:
    return changed(lambda content: content[name].__setitem__(at, value))


def replaced(name: str, by: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return changed(lambda content: content.update({name: by(content[name])}))


def without_class(label: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        bases, labels = make_windows(3, seed=22)
        labels[labels == label] = 0 if label else PADDING
        write_dataset(path, [(bases, labels)])

    return damage


def cut(keep: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, keep(path.stat().st_size))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def group_instead(path: Path) -> None:
    content = one_hot()
    with h5py.File(path, "w") as file:
        file.create_group("X0")
        file["Y0"] = content["Y0"]


def broken_link(path: Path) -> None:
    content = one_hot()
    with h5py.File(path, "w") as file:
        file["X0"] = h5py.ExternalLink("elsewhere.h5", "X0")
        file["Y0"] = content["Y0"]


def damaged_chunk(path: Path) -> None:
    content = one_hot()
    with h5py.File(path, "w") as file:
        file.create_dataset("X0", data=content["X0"], compression="gzip", chunks=(1, 15000, 4))
        file["Y0"] = content["Y0"]
        at = file["X0"].id.get_chunk_info(1)
    with open(path, "r+b") as raw:
        raw.seek(at.byte_offset + at.size // 2)
        raw.write(b"\xff" * 64)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such data set"),
    "a folder": (folder_instead, "a folder; give an HDF5 file"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read as HDF5"),
    "not HDF5": (lambda path: path.write_text(">chr1\nACGT\n" * 500), "cannot be read as HDF5"),
    "cut in half": (cut(lambda size: size // 2), "cannot be read as HDF5, it may be damaged or cut short"),
    "cut by a byte": (cut(lambda size: size - 1), "cannot be read as HDF5"),
    "damaged chunk": (damaged_chunk, "cannot be read as HDF5"),
    "no shards": (lambda path: write(path, {"x": np.zeros(3), "Xa": np.zeros(3)}), "has no shards"),
    "no datasets": (lambda path: write(path, {}), "has no shards"),
    "a datafile": (
        lambda path: write(path, {"SEQ": np.zeros(3), "STRAND": np.zeros(3)}),
        r"it is a datafile of create-data; give the data set that was made from it, dataset_\*\.h5 beside it",
    ),
    "Keras": (lambda path: write(path, {"model_weights": np.zeros(3)}), "it is a model of Keras; give a data set"),
    "X without Y": (changed(lambda content: content.update(X1=content["X0"])), "has X1 but no Y1"),
    "Y without X": (changed(lambda content: content.update(Y12=content["Y0"])), "has Y12 but no X12"),
    "X is a group": (group_instead, "X0 is a group"),
    "broken link": (broken_link, "X0|cannot be read"),
    "X cropped": (replaced("X0", lambda x: x[:, 4960:10040]), r"X0 has shape \(3, 5080, 4\), expected \(n, 15000, 4\)"),
    "X channels first": (replaced("X0", lambda x: x.transpose(0, 2, 1)), r"X0 has shape \(3, 4, 15000\)"),
    "X flat": (replaced("X0", lambda x: x[..., 0]), r"X0 has shape \(3, 15000\)"),
    "X five channels": (replaced("X0", lambda x: np.pad(x, ((0, 0), (0, 0), (0, 1)))), r"X0 has shape \(3, 15000, 5\)"),
    "Y without its leading 1": (replaced("Y0", lambda y: y[0]), r"Y0 has shape \(3, 5000, 3\), expected \(1, n, 5000"),
    "Y twice": (replaced("Y0", lambda y: np.concatenate([y, y])), r"Y0 has shape \(2, 3, 5000, 3\)"),
    "Y shorter": (replaced("Y0", lambda y: y[:, :, :-1]), r"Y0 has shape \(1, 3, 4999, 3\)"),
    "Y two classes": (replaced("Y0", lambda y: y[..., :2]), r"Y0 has shape \(1, 3, 5000, 2\)"),
    "Y scalar": (replaced("Y0", lambda y: np.int8(1)), r"Y0 has shape \(\)"),
    "windows differ": (replaced("Y0", lambda y: y[:, :2]), "X0 has 3 windows but Y0 has 2"),
    "X float": (replaced("X0", lambda x: x.astype(np.float32)), "X0 holds float32, expected int8"),
    "Y text": (replaced("Y0", lambda y: y.astype("S1")), "Y0 holds .*, expected int8"),
    "X holds 2": (put("X0", (1, 7000, 2), 2), "X0 holds values that are not one-hot"),
    "X holds -1": (put("X0", (2, 7000, slice(None)), -1), "X0 holds values that are not one-hot"),
    "X holds -1 beside two bases": (
        put("X0", (2, 7000, slice(None)), [1, -1, 1, 0]),
        "X0 holds values that are not one",
    ),
    "X holds two bases": (put("X0", (0, 7000, slice(None)), 1), "X0 holds values that are not one-hot"),
    "X wrong outside the crop": (put("X0", (0, 0, slice(0, 4)), 1), "X0 holds values that are not one-hot"),
    "Y holds two classes": (put("Y0", (0, 2, 60, slice(None)), 1), "Y0 holds values that are not one-hot"),
    "Y holds 3": (put("Y0", (0, 0, 4999, 0), 3), "Y0 holds values that are not one-hot"),
    "X holds 256": (
        replaced("X0", lambda x: np.where(np.arange(15000)[:, None] == 7000, 256, x.astype(np.int64))),
        "X0 holds values that are not one-hot",
    ),
    "no windows": (lambda path: write(path, {k: v[:0] if k == "X0" else v[:, :0] for k, v in one_hot().items()}), "no"),
    "no donor": (without_class(2), "labelled 'donor'"),
    "no acceptor": (without_class(1), "labelled 'acceptor'"),
    "nothing but sites": (without_class(0), "labelled 'neither'"),
    "all padding": (changed(lambda content: content["Y0"].fill(0)), "labelled 'neither'"),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("damage", "says"), DAMAGE.values(), ids=DAMAGE)
def test_data_sets_that_are_not_what_openspliceai_writes(run: Transfer, role, damage, says) -> None:
    path = getattr(run, role)
    damage(path)
    # A missing sibling of the training file is no error, a missing file that was named is.
    options = ["--validation-dataset", path] if role == "validation" else []
    line = run.refused(*options)
    assert line.startswith(f"{path}: ")
    assert re.search(says, line), line


def test_the_last_of_many_windows_is_checked_too(run: Transfer) -> None:
    """The second slice of the second shard."""
    bases, labels = make_windows(130, seed=23, sites=1)
    write_dataset(run.train, [(bases[:60], labels[:60]), (bases[60:], labels[60:])])
    with h5py.File(run.train, "r+") as file:
        file["X1"][69, 14999, 0:2] = 1
    what = "holds values that are not one-hot; expected a single 1 at each position, or none"
    assert run.refused() == f"{run.train}: X1 {what}"


def test_a_sibling_of_the_training_file_is_checked_and_named(run: Transfer) -> None:
    without_class(2)(run.validation)
    assert run.refused().startswith(f"{run.validation}: ")


def test_a_training_file_that_cannot_be_split(run: Transfer) -> None:
    run.validation.unlink()
    write_dataset(run.train, [make_windows(1, seed=24)])
    line = run.refused()
    assert line.startswith(f"{run.train}: the training part of its 90:10 split")
    assert "--validation-dataset" in line


def test_a_split_without_sites_on_one_side(run: Transfer) -> None:
    """Two genes, and only one has donors."""
    run.validation.unlink()
    bases, labels = make_windows(2, seed=25)
    labels[:, -10:] = PADDING
    labels[0][labels[0] == 2] = 0
    write_dataset(run.train, [(bases, labels)])
    line = run.refused()
    assert line.startswith(f"{run.train}: the ")
    assert "labelled 'donor'" in line


def same_path(train: Path, other: Path) -> Path:
    return train


def symbolic_link(train: Path, other: Path) -> Path:
    other.unlink()
    other.symlink_to(train)
    return other


def copied(train: Path, other: Path) -> Path:
    return Path(shutil.copy(train, other))


def stored_otherwise(train: Path, other: Path) -> Path:
    with h5py.File(train) as source:
        content = {name: source[name][:] for name in source}
    write_dataset(other, [])
    with h5py.File(other, "w") as file:
        for name, data in content.items():
            file.create_dataset(name, data=data, compression="lzf", dtype=np.uint8)
    return other


@pytest.mark.parametrize("role", ["validation", "test"])
@pytest.mark.parametrize("make", [same_path, symbolic_link, copied, stored_otherwise])
def test_the_training_set_used_for_something_else_too(run: Transfer, role, make) -> None:
    other = make(run.train, getattr(run, role))
    setattr(run, role, other)
    line = run.refused("--validation-dataset", run.validation)
    assert line.startswith(f"{other}: the {role} set is the training set ({run.train})")
    assert f"--{role}-dataset" in line


def test_no_shard_fills_a_batch(run: Transfer) -> None:
    line = run.refused("--recipe", "openspliceai-0.0.7")
    assert line.startswith(f"{run.train}: no shard fills a batch of 36 windows")
    assert "--batch-size" in line


# -- weights ---------------------------------------------------------------------------------------------------


def state_dict(path: Path) -> OrderedDict:
    return torch.load(path, weights_only=True)


def edited(edit: Callable[[OrderedDict], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        state = state_dict(path)
        edit(state)
        torch.save(state, path)

    return damage


def without(*keys: str) -> Callable[[Path], None]:
    return edited(lambda state: [state.pop(key) for key in keys])


def one_value(key: str, value: float) -> Callable[[Path], None]:
    return edited(lambda state: state[key].view(-1).__setitem__(-1, value))


def tensor(key: str, value: Callable[[torch.Tensor], object]) -> Callable[[Path], None]:
    return edited(lambda state: state.update({key: value(state[key])}))


def zeroed_in_the_middle(path: Path) -> None:
    """Within the weights: still numbers, and all finite."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 16] = bytes(16)
    path.write_bytes(content)


class Payload:
    """What unpickling would run."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch pwned",)


BIAS = "residual_units.1.conv1.bias"
MEAN, COUNT = (f"residual_units.2.batchnorm1.{name}" for name in ("running_mean", "num_batches_tracked"))
NOT_READ = "was not loaded|cannot be read"
WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such weights file"),
    "a folder": (folder_instead, "this folder holds no .pt file and is no Orbax checkpoint"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read as a .pt file"),
    "garbage": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(400_000)), NOT_READ),
    "text": (lambda path: path.write_text("not weights\n" * 100), r"it is none \(its first bytes are b'no'\)"),
    "cut in half": (cut(lambda size: size // 2), "cannot be read as a .pt file"),
    "a few bytes lost": (zeroed_in_the_middle, "damaged"),
    "a plain pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "was not loaded|cannot be read|tensor"),
    "a pickle that runs code": (lambda path: path.write_bytes(pickle.dumps(Payload())), NOT_READ),
    "a saved object that runs code": (lambda path: torch.save(Payload(), path), "was not loaded"),
    "a tensor": (lambda path: torch.save(torch.zeros(3), path), "expected a state dict"),
    "an empty dict": (lambda path: torch.save({}, path), "expected a state dict"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "'epoch' is not a (plain )?tensor"),
    "a tensor missing": (without(BIAS), f"{BIAS} is missing"),
    "two tensors missing": (without(BIAS, MEAN), f"{BIAS} is missing; {MEAN} is missing"),
    "a tensor too many": (edited(lambda s: s.update(extra=torch.zeros(3))), "extra is unexpected"),
    "a tensor renamed": (edited(lambda s: s.update(b=s.pop(BIAS))), f"b is unexpected; {BIAS} is missing"),
    "misshapen": (tensor("final_conv.weight", lambda t: t[:2]), r"has shape \(2, 32, 1\), expected \(3, 32, 1\)"),
    "transposed": (tensor("initial_conv.weight", lambda t: t.transpose(0, 1)), r"has shape \(4, 32, 1\)"),
    "float16": (tensor(BIAS, lambda t: t.half()), f"{BIAS} is torch.float16, expected torch.float32"),
    "a count as float": (tensor(COUNT, lambda t: t.float()), "expected torch.int64"),
    "a negative count": (tensor(COUNT, lambda t: t - 5000), "expected a count"),
    "a NaN": (one_value(BIAS, float("nan")), f"{BIAS} holds values that are infinite or not a number"),
    "an infinite statistic": (one_value(MEAN, float("inf")), f"{MEAN} holds values that are infinite"),
    "another network": (lambda p: torch.save({"fc.weight": torch.zeros(3, 4)}, p), "not the weights of Open"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_fit_no_network(run: Transfer, monkeypatch, damage, says) -> None:
    monkeypatch.chdir(run.folder)
    damage(run.model)
    line = run.refused()
    assert line.startswith(f"{run.model}: ")
    assert re.search(says, line), line
    assert not (run.folder / "pwned").exists()


def test_weights_of_another_flanking_size(run: Transfer) -> None:
    line = run.refused("-f", 400)
    assert line.startswith(f"{run.model}: these weights have a flanking size of 80, not 400")
    assert "--flanking-size 80" in line
    random_model(400).to_pt(run.model)
    assert "a flanking size of 400, not 80" in run.refused("-f", 80)


def test_damaged_weights_are_held_against_the_flanking_size_asked_for(run: Transfer) -> None:
    without(BIAS)(run.model)
    assert f"not the weights of OpenSpliceAI's 80-nt model: {BIAS} is missing" in run.refused("-f", 80)


# -- flags -----------------------------------------------------------------------------------------------------

FLAGS = {
    "--epochs": ["0", "-3", "ten", "1.5", ""],
    "--patience": ["0", "-1", "nan"],
    "--unfreeze": ["-1", "two"],
    "--batch-size": ["0", "-36", "1e3"],
    "--learning-rate": ["0", "-1e-4", "nan", "inf", "fast"],
    "--weight-decay": ["-0.01", "nan", "inf", "no"],
    "--exp-num": ["-1", "x"],
    "--random-seed": ["-1", "x"],
    "--flanking-size": ["123", "0", "80nt"],
    "--recipe": ["bset", ""],
    "--scheduler": ["StepLR", "multisteplr"],
    "--loss": ["focal", "bce"],
    "--precision": ["float16", "double"],
    "--parallel": ["pjit", "none"],
    "--activation-cache": ["-1", "nan", "all"],
    "--project-name": ["", "a/b", "../up", "x" * 300],
}


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, values in FLAGS.items() for value in values])
def test_flags_out_of_range(run: Transfer, flag, value) -> None:
    line = run.refused(f"{flag}={value}")
    assert flag in line


@pytest.mark.parametrize(
    ("short", "flag", "value"),
    [("-n", "--epochs", 0), ("-u", "--unfreeze", -1), ("-P", "--patience", 0), ("-f", "--flanking-size", 123)],
)
def test_the_short_forms_are_checked_as_well(run: Transfer, short, flag, value) -> None:
    assert flag in run.refused(short, value)


def test_nothing_left_to_train(run: Transfer) -> None:
    line = run.refused("--recipe", "openspliceai-0.0.7", "--unfreeze", 0)
    assert "--unfreeze 0" in line
    assert "leaves nothing to train" in line


@pytest.mark.parametrize("flag", ["-m", "-o", "-p"])
def test_required_flags(run: Transfer, flag) -> None:
    argv = run.argv()
    at = argv.index(flag)
    del argv[at : at + 2]
    assert f"/{flag}" in run.refused_as(argv)


@pytest.mark.parametrize(("flag", "left"), [("-train", "--test-dataset"), ("-test", "--train-dataset")])
def test_one_data_set_of_two(run: Transfer, flag, left) -> None:
    argv = run.argv()
    at = argv.index(flag)
    del argv[at : at + 2]
    assert f"{left} given; expected either --genome-fasta and --annotation-gff, or" in run.refused_as(argv)


@pytest.mark.parametrize("extra", [["--epoch", "3"], ["--learnig-rate", "1e-3"], ["stray"]])
def test_flags_that_do_not_exist(run: Transfer, extra) -> None:
    """Abbreviations are none: `--epoch` could become two flags one day."""
    assert extra[0] in run.refused(*extra)


@pytest.mark.parametrize("argv", [[], ["tune"], ["--version-of-what"]])
def test_no_command_or_an_unknown_one(run: Transfer, argv) -> None:
    run.refused_as(argv)


def test_flags_are_checked_before_files_are_read(run: Transfer) -> None:
    run.train.unlink()
    Path(run.model).unlink()
    assert "--epochs" in run.refused("--epochs", 0)


# -- the output folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [".", "sub", "sub/deeper"])
def test_an_output_folder_that_cannot_be(run: Transfer, below) -> None:
    """Below a regular file: unlike a folder's permissions that stops the superuser too."""
    file = run.folder / "file"
    file.write_text("mine")
    run.out = file / below
    line = run.refused()
    assert line.startswith("--output-dir: ")
    assert str(file) in line


def test_a_run_folder_that_is_a_file(run: Transfer) -> None:
    run.out.mkdir()
    (run.out / "SpliceAI_errors_80_0_rs42").write_text("mine")
    assert "--output-dir: " in run.refused()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_file_system_that_takes_no_files(run: Transfer) -> None:
    run.out = Path("/proc/spliceai")
    assert "--output-dir: cannot write in /proc" in run.refused()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop the superuser")
def test_an_output_folder_without_permission(run: Transfer) -> None:
    run.out.mkdir(mode=0o555)
    assert "--output-dir: cannot write" in run.refused()


Usage = namedtuple("Usage", "total used free")


def test_too_little_disk(run: Transfer, monkeypatch) -> None:
    asked = []

    def disk_usage(path: Path) -> Usage:
        asked.append(Path(path))
        return Usage(10**12, 10**12 - 3 * 10**6, 3 * 10**6)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    line = run.refused()
    assert line.startswith("--output-dir: the run needs ")
    assert "3 MB free" in line
    assert set(asked) == {run.folder}  # the output folder is not there yet; what counts is where it will be


def test_the_room_needed_grows_with_the_epochs(run: Transfer, monkeypatch) -> None:
    """A model file an epoch: what is room enough for ten is not for a thousand."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 0))
    ten, thousand = (
        1e6 * float(re.search(r"needs (\d+) MB", run.refused("--epochs", epochs))[1]) for epochs in (10, 1000)
    )
    assert thousand - ten == pytest.approx(990 * Path(run.model).stat().st_size, rel=0.02)


@pytest.mark.slow
def test_no_room_for_the_activation_cache(run: Transfer, monkeypatch, capfd) -> None:
    """Room for the run, none for keeping what the frozen part makes of 48 windows: without it, or not at all."""
    write_dataset(run.train, [make_windows(40, seed=26)], compression="lzf")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 20 * 10**6))
    before = snapshot(run.folder)
    code = call(run.argv("--epochs", 1))
    stdout, stderr = capfd.readouterr()
    if code:
        assert only_line(stderr).startswith("--output-dir: the run needs ")
        assert snapshot(run.folder) == before
    else:
        assert "best model: " in stdout


# -- what the folder holds -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_data: Path, small_model: Path) -> Path:
    """A folder with a run of one epoch and the files it was made from."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(small_model, folder / "model.pt")
    for role in ROLES:
        shutil.copy(small_data / f"dataset_{role}.h5", folder)
    stderr = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
        code = call(finished_argv(folder))
    assert (code, stderr.getvalue()) == (0, "")
    return folder


def finished_argv(folder: Path, *options: object) -> list[object]:
    files = ["-m", folder / "model.pt", "-train", folder / "dataset_train.h5", "-test", folder / "dataset_test.h5"]
    made = ["-o", folder / "out", "-p", "errors", "--recipe", "openspliceai", "--epochs", 1, "--batch-size", 4]
    return ["transfer", *files, *made, *options]


@pytest.fixture
def again(finished: Path, tmp_path: Path, run: Transfer) -> Callable[..., str]:
    """Run the finished run's command with other options, in a copy of its folder, and see it refused."""
    shutil.rmtree(tmp_path)
    shutil.copytree(finished, tmp_path)
    return lambda *options: run.refused_as(finished_argv(tmp_path, *options))


RUN = "SpliceAI_errors_80_0_rs42"


@pytest.mark.slow
def test_a_test_set_that_is_the_validation_set_is_noted_and_runs(run: Transfer, capfd) -> None:
    shutil.copy(run.validation, run.test)
    assert call(run.argv("--epochs", 1, "--batch-size", 4)) == 0
    stdout, stderr = capfd.readouterr()
    assert stderr.startswith(f"spliceai-jax: note: {run.test}: the test set is the validation set too")
    assert stderr.count("\n") == 1
    assert "best model: " in stdout
    assert "\\n" not in stdout, "two lines went out as one, with the break between them escaped"
    assert (run.out / RUN / "0" / "models" / "model_best.pt").is_file()


@pytest.mark.slow
def test_a_run_is_not_overwritten(again, tmp_path) -> None:
    line = again()
    assert line.startswith(f"{tmp_path / 'out' / RUN / '0'}: holds a run already")
    assert "--resume" in line
    assert "--exp-num" in line
    assert "--resume" in again("--epochs", 3)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--epochs", 2], "epochs was 1 and is now 2"),
        (["--batch-size", 3], "batch_size was 4 and is now 3"),
        (["--learning-rate", "1e-3"], "learning_rate was 0.0001 and is now 0.001"),
        (["--unfreeze", 2], "unfreeze was 1 and is now 2"),
        (["--unfreeze-all"], "unfreeze_all was False and is now True"),
        (["--loss", "focal_loss"], "loss was 'cross_entropy_loss' and is now 'focal_loss'"),
        (["--scheduler", "OneCycleLR"], "scheduler was 'MultiStepLR' and is now 'OneCycleLR'"),
        (["--precision", "bfloat16"], "precision was 'float32' and is now 'bfloat16'"),
        (["--early-stopping"], "early_stopping was False and is now True"),
        (["--recipe", "openspliceai-0.0.7"], "recipe was 'openspliceai' and is now 'openspliceai-0.0.7'; head_trains"),
    ],
)
def test_resuming_with_other_settings(again, options, names) -> None:
    line = again("--resume", *options)
    assert line.startswith("--resume: ")
    assert names in line


def test_all_changes_are_named_and_nothing_else(again) -> None:
    line = again("--resume", "--epochs", 2, "--weight-decay", 0)
    assert "epochs was 1 and is now 2; weight_decay was 0.01 and is now 0.0; give" in line
    assert line.count(" was ") - line.count(" was started ") == 2


@pytest.mark.parametrize("role", ROLES)
def test_resuming_with_other_data(again, tmp_path, role) -> None:
    """A single label."""
    with h5py.File(tmp_path / f"dataset_{role}.h5", "r+") as file:
        file["Y0"][0, 0, 4000] = [0, 1, 0]
    line = again("--resume")
    assert line.startswith("--resume: ")
    assert f"{role}_dataset was " in line
    assert line.count("_dataset was ") == 1


def test_resuming_with_other_weights(again, tmp_path) -> None:
    random_model(80, seed=5).to_pt(tmp_path / "model.pt")
    assert "pretrained_model was " in again("--resume")


def test_another_seed_is_another_folder(again, tmp_path, run: Transfer) -> None:
    """It is not compared with the run of the first seed; the missing file shows that nothing else stops it."""
    (tmp_path / "dataset_test.h5").unlink()
    line = again("--random-seed", 43)
    assert "no such data set" in line


def test_resuming_from_a_damaged_description(again, tmp_path) -> None:
    description = tmp_path / "out" / RUN / "0" / "run.json"
    description.write_text(description.read_text()[:40])
    assert str(description) in again("--resume")


@pytest.mark.parametrize("resume", [[], ["--resume"]])
@pytest.mark.parametrize("name", ["models", "LOG"])
def test_what_another_program_wrote_is_left_alone(run: Transfer, name, resume) -> None:
    folder = run.out / RUN / "0"
    (folder / name).mkdir(parents=True)
    (folder / name / "model_best.pt").write_bytes(b"stock's")
    line = run.refused(*resume)
    assert line.startswith(f"{folder}: holds models or logs that spliceai-jax did not write")


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_folder_that_another_process_holds(run: Transfer, resume) -> None:
    """A run that has only just begun: no description yet."""
    folder = run.out / RUN / "0"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        line = run.refused(*resume)
    assert line.startswith(f"{folder}: another process is at work on this run")


def test_a_finished_run_that_another_process_holds(again, tmp_path) -> None:
    with FileLock(tmp_path / "out" / RUN / "0" / ".lock"):
        assert "another process is at work" in again("--resume")


# -- the other commands ----------------------------------------------------------------------------------------


def test_evaluate_refuses_as_transfer_does(run: Transfer) -> None:
    for argv, says in (
        (["-m", run.folder / "none.pt", "-test", run.test], f"{run.folder / 'none.pt'}: no such weights file"),
        (["-m", run.model, "-test", run.folder / "none.h5"], f"{run.folder / 'none.h5'}: no such data set"),
        (["-m", run.model, "-test", run.model], f"{run.model}: cannot be read as HDF5"),
        (["-m", run.test, "-test", run.test], f"{run.test}: "),
        (["-m", run.model, "-test", run.test, "-f", 400], f"{run.model}: these weights have a flanking size of 80"),
    ):
        assert run.refused_as(["evaluate", *argv]).startswith(says)


def test_convert_refuses_what_it_cannot_read_or_would_overwrite(run: Transfer) -> None:
    (run.folder / "folder").mkdir()
    for source, target, says in (
        ("none.pt", "new", "none.pt: no such weights file"),
        ("dataset_test.h5", "new", "dataset_test.h5: "),
        ("folder", "new.pt", "folder: cannot be read as an orbax checkpoint"),
        ("model.pt", "model.pt", "model.pt: exists already"),
        ("model.pt", "folder", "folder: exists already"),
    ):
        line = run.refused_as(["convert", run.folder / source, run.folder / target])
        assert line.startswith(f"{run.folder}/{says}")


@pytest.mark.slow
def test_convert_to_where_nothing_can_be_written(run: Transfer, installed: CommandLine) -> None:
    """In a process of its own: orbax once kept it from ending for five minutes."""
    (run.folder / "file").write_text("mine")
    before = snapshot(run.folder)
    done = installed("convert", run.model, run.folder / "file" / "new")
    assert done.returncode == 2
    assert str(run.folder / "file") in only_line(done.stderr)
    assert snapshot(run.folder) == before


def test_convert_of_a_checkpoint_to_where_nothing_can_be_written(run: Transfer) -> None:
    random_model(80).to_orbax(run.folder / "orbax")
    (run.folder / "file").write_text("mine")
    assert str(run.folder / "file") in run.refused_as(["convert", run.folder / "orbax", run.folder / "file" / "new.pt"])


# -- --debug and real processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["before the command", "behind it"])
def test_debug_shows_where_an_error_came_from(run: Transfer, capfd, first) -> None:
    run.train.unlink()
    argv = ["--debug", *run.argv()] if first else run.argv("--debug")
    assert call(argv) == 2
    stderr = capfd.readouterr().err
    assert stderr.startswith("Traceback (most recent call last)")
    assert "DatasetError" in stderr
    assert stderr.splitlines()[-1] == f"spliceai-jax: {run.train}: no such data set; give an HDF5 file made by " + (
        "OpenSpliceAI's create-data"
    )
    assert not run.out.exists()


PROCESSES: dict[str, tuple[Callable[[Transfer], list[object]], str]] = {
    "data": (lambda run: run.argv("--validation-dataset", run.folder / "none.h5"), "none.h5: no such data set"),
    "flag": (lambda run: run.argv("-f", 123), "--flanking-size"),
    "output": (lambda run: run.argv("-o", Path(run.model) / "out"), "--output-dir: cannot write in"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", full(PROCESSES, "data"))
def test_real_processes_say_no_more(run: Transfer, installed: CommandLine, case: str) -> None:
    """Nothing that only the interpreter, jax or HDF5 would print comes with the line."""
    argv, says = PROCESSES[case]
    before = snapshot(run.folder)
    done = installed(*argv(run))
    assert done.returncode == 2
    assert says in only_line(done.stderr)
    assert done.stdout == ""
    assert snapshot(run.folder) == before
    assert not run.out.exists()


@pytest.mark.slow
def test_a_real_process_with_debug(run: Transfer, installed: CommandLine) -> None:
    one_value(BIAS, float("nan"))(run.model)
    done = installed(*run.argv("--debug"))
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "WeightsError" in done.stderr
    assert re.match(rf"spliceai-jax: {re.escape(str(run.model))}: .*{BIAS}", done.stderr.splitlines()[-1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_folders_that_may_not_be_entered(run: Transfer, monkeypatch) -> None:
    """Path.exists raises PermissionError there on Python 3.11."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        locked = Path(folder) / "locked"
        locked.mkdir(mode=0o700)
        os.seteuid(65534)
        try:
            with pytest.raises(RunFolderError, match=r"`output_dir`: cannot write in .*locked"):
                RunFolder(locked / "out" / "x" / "0").check(resume=False)
            with pytest.raises(DatasetError, match="no such data set"):
                check_form(locked / "train.h5")
            assert models_to_average(locked / "model.pt") == (locked / "model.pt",)
            assert not RunFolder.found(locked / "out").holds_run
            with pytest.raises(WeightsError, match="no such weights file"):
                read_pt(locked / "model.pt")
        finally:
            os.seteuid(0)


def test_all_files_are_looked_at_before_one_is_read(run: Transfer, monkeypatch) -> None:
    """Reading a large training set takes minutes."""
    monkeypatch.setattr("spliceai_jax.fine_tuning.data_sets.read_windows", None)
    run.test.unlink()
    assert run.refused().startswith(f"{run.test}: no such data set")
    shutil.copy(run.train, run.test)
    write(run.validation, {"X0": one_hot()["X0"]})
    assert run.refused().startswith(f"{run.validation}: has X0 but no Y0")

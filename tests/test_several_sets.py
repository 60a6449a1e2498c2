"""Several training, validation and test files in one run."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import RUN, CommandLine, content_of, make_windows, run_arguments, with_pages, write_dataset

from spliceai_jax import TransferSettings, evaluate, transfer
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.commands.main import main
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError, SettingsError
from spliceai_jax.fine_tuning.data_sets import read_sets
from spliceai_jax.runs.record import read_run
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.joined import joined

BOTH = ("train_dataset", "validation_dataset", "test_dataset")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `one`, `two` and `both`; the sets of `both` hold the shards of `one`, then those of `two`."""
    folder = tmp_path_factory.mktemp("sets")
    seed = 100
    for name, windows in {"train": ([5, 2], [4]), "validation": ([3], [4]), "test": ([3, 1], [4, 2])}.items():
        shards = []
        for species, sizes in zip(("one", "two"), windows, strict=True):
            (folder / species).mkdir(exist_ok=True)
            seed += 1
            own = [make_windows(size, 10 * seed + number) for number, size in enumerate(sizes)]
            write_dataset(folder / species / f"dataset_{name}.h5", own)
            shards += own
        (folder / "both").mkdir(exist_ok=True)
        write_dataset(folder / "both" / f"dataset_{name}.h5", shards)
    return folder


def settings(data: Path, model: Path, output: Path, *species: str, **changed: Any) -> TransferSettings:
    sets = {name: [data / one / f"dataset_{name.split('_')[0]}.h5" for one in species] for name in BOTH}
    return TransferSettings(**{**run_arguments(data, model, output), "tensorboard": False, **sets, **changed})


@pytest.fixture(scope="module")
def run(data: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine) -> Path:
    """The folder of a run of the command on both species; its output is in `printed`. Only to be read."""
    output = tmp_path_factory.mktemp("run")
    words: list[object] = []
    for name, value in run_arguments(data, small_model, output).items():
        if name not in (*BOTH, "tensorboard"):
            words += [f"--{name.replace('_', '-')}", value]
    files = [[data / species / f"dataset_{name}.h5" for species in ("one", "two")] for name in ("train", "test")]
    with with_pages():
        done = command_line("transfer", *words, "-train", *files[0], "-test", files[1][0], "-test", files[1][1])
    assert done.returncode == 0, done.stderr
    (output / RUN / "printed").write_text(done.stdout)
    return output / RUN


@pytest.mark.slow
def test_it_is_a_run_on_one_file_that_holds_them_all(run: Path, data: Path, small_model: Path, tmp_path: Path) -> None:
    """Models and logs to the bit."""
    result = transfer(settings(data, small_model, tmp_path, "both"))

    found: list[tuple[dict, list[float]]] = []

    def of_run(root: Path) -> dict[str, bytes]:
        patterns = ("models/model_?.pt", "models/model_best.pt", "LOG/*/*", "history.json")
        files = {str(path.relative_to(root)): path.read_bytes() for pattern in patterns for path in root.glob(pattern)}
        measured = json.loads(files.pop("history.json"))["history"]
        ending = measured.pop("ending")  # the models go through each file by itself
        found.append((ending["sets"]["validation"], ending["calibration"]["temperature"]))
        return {**files, "history": json.dumps(measured)}

    assert len(of_run(run)) > 30
    assert of_run(run) == of_run(result.folder)
    assert found[-1][1] == pytest.approx(found[-2][1])
    together, alone = (content_of(root / "run.json") for root in (run, result.folder))
    assert together == alone
    assert not result.test_files


@pytest.mark.slow
def test_the_models_are_compared_on_each_test_file(run: Path, data: Path, small_model: Path) -> None:
    """In the history, on the page and in the output."""
    found = read_run(run)
    files = [data / species / "dataset_test.h5" for species in ("one", "two")]
    assert list(found.history.ending.test_files) == [str(file) for file in files]
    tuned = found.tuned_model
    page, printed = (run / "report.html").read_text(), (run / "printed").read_text()
    assert ">Each test set<" in page
    for file, changes in zip(files, found.history.ending.test_files.values(), strict=True):
        for kind in SITE_KINDS:
            for model, value in ((small_model, "before"), (tuned, "after")):
                wanted = evaluate(model, file).site(kind).auprc
                assert getattr(changes.site(kind)["auprc"], value) == pytest.approx(wanted, abs=1e-5)
        assert page.count(f"{file}</code>, <span") == 2
        assert f"the untouched model on {file}: {changes.words}" in printed
    for name in ("train", "validation", "test"):
        for species in ("one", "two"):
            assert f'<code class="quiet">{data / species / f"dataset_{name}.h5"}</code></td>' in page


@pytest.mark.slow
def test_the_finished_run_and_its_report(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same command with --resume answers at once and says the same; `report` finds all test files."""
    command = shlex.split(read_run(run).record.sessions[0].command)
    assert main([*command[1:], "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "this run is finished already" in shown
    assert "on the validation set: " in shown
    assert f"the untouched model on {data / 'two' / 'dataset_test.h5'}: " in shown
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    again = (run / "report.html").read_text()
    assert "Left out" not in again
    assert ">Each test set<" in again


@pytest.mark.slow
def test_activations_are_cached_and_several_models_start(data: Path, small_model: Path, tmp_path: Path) -> None:
    """What trains on several files in any other way sees each of them, too."""
    given = settings(data, small_model, tmp_path, "one", "two", unfreeze=1, epochs=1)
    result = transfer(given)
    found = read_run(result.folder)
    assert found.record.sessions[0].activation_cache
    for path, changes in result.test_files.items():
        assert changes.donor["auprc"].before == pytest.approx(evaluate(small_model, path).donor.auprc, abs=1e-5)
    again = transfer(replace(given, resume=True))
    assert again.history.epochs == result.history.epochs
    assert again.test_files == result.test_files


def test_each_training_file_has_its_validation_windows(data: Path, small_model: Path, tmp_path: Path) -> None:
    """A sibling where there is one; of the others a tenth."""
    alone = write_dataset(tmp_path / "train.h5", [make_windows(1, seed) for seed in range(900, 912)])
    given = settings(data, small_model, tmp_path, "one", "two", validation_dataset=None)
    sets = read_sets(replace(given, train_dataset=[given.train_dataset[0], alone]), 80, Display())
    assert [len(part) for part in sets.windows["train"].parts] == [7, 10]
    assert [len(part) for part in sets.windows["validation"].parts] == [3, 2]
    assert sets.validation_from == "found beside each training file, by its name, or else a tenth of it"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_dataset": []}, "`test_dataset`: none is given; expected one or more"),
    ],
)
def test_wrong_settings(data: Path, tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings(data, tmp_path / "model.pt", tmp_path, "one", "two", **changed)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("train_dataset", ("one/dataset_train.h5",) * 2, "holds the same windows as"),
        ("test_dataset", ("one/dataset_test.h5", "two/dataset_train.h5"), "the test set is the training set ("),
        ("validation_dataset", ("two/dataset_train.h5",), "the validation set is the training set ("),
        ("train_dataset", ("one/dataset_train.h5", "missing.h5"), "missing.h5"),
    ],
)
def test_wrong_files(
    data: Path, small_model: Path, tmp_path: Path, name: str, files: tuple[str, ...], message: str
) -> None:
    """Each is one error before anything is written."""
    given = settings(data, small_model, tmp_path / "out", "one", "two", **{name: [data / file for file in files]})
    with pytest.raises(DatasetError) as raised:
        transfer(given)
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_set_that_was_joined_to_others_names_all_files(data: Path) -> None:
    one, two = (read_windows(data / species / "dataset_train.h5", 80) for species in ("one", "two"))
    again = joined([joined([one, two]), read_windows(data / "one" / "dataset_test.h5", 80)])
    assert len(again.parts) == 3
    assert again.files.count(".h5") == 3

"""Windows without labels: a tuned model says of them what there is to learn."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CommandLine, make_windows, random_model, write_dataset

from spliceai_jax import TransferSettings, transfer
from spliceai_jax.architecture import PADDING, UNLABELLED
from spliceai_jax.commands.main import main
from spliceai_jax.data.facts import Facts
from spliceai_jax.data.hdf5 import read_windows
from spliceai_jax.data.joined import joined
from spliceai_jax.data.unlabelled import without_labels
from spliceai_jax.errors import SettingsError, SpliceAIError
from spliceai_jax.fine_tuning import stop
from spliceai_jax.runs.card import inspect_weights
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.read import read_run
from spliceai_jax.training.engine import Engine

FOLDER = "SpliceAI_more_80_0_rs42/0"
FIRST = "starts_more/SpliceAI_model_80nt_80_0_rs42/0"


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 14 windows."""
    return write_dataset(tmp_path_factory.mktemp("more") / "draft.h5", [make_windows(9, 21), make_windows(5, 22)])


def settings(data: Path, model: Path, output: Path, **given: Any) -> TransferSettings:
    sets = {f"{name}_dataset": data / f"dataset_{name}.h5" for name in ("train", "test")}
    places = {"pretrained_model": model, "output_dir": output, "project_name": "more"}
    return TransferSettings(**{"epochs": 2, "batch_size": 4, "resume": True, **places, **sets, **given})


def files(output: Path) -> dict[str, bytes]:
    """Models and logs of all runs, and what decides them."""
    names = "models/*.pt", "LOG/*/*", "run.json", "history.json"
    found = itertools.chain(*(output.glob(f"**/{name}") for name in names))
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def test_only_padding_is_left_of_the_labels(more: Path, small_data: Path) -> None:
    windows = read_windows(more, 80)
    hidden = without_labels(windows)
    labels, before = hidden.labels[np.arange(len(hidden.bases))], np.asarray(windows.labels)
    np.testing.assert_array_equal(labels == PADDING, before == PADDING)
    assert set(np.unique(labels)) == {PADDING, UNLABELLED}
    counted = Facts.of(hidden.bases, hidden.labels)
    for name in ("class_counts", "canonical_sites", "lengths", "known", "repeats"):
        np.testing.assert_array_equal(getattr(hidden.facts, name), getattr(counted, name), err_msg=name)
    assert hidden.count("donor") == hidden.count("acceptor") == 0
    assert hidden.padding_share == windows.padding_share
    both = joined([read_windows(small_data / "dataset_train.h5", 80), hidden.subset(np.array([3, 0]))])
    of_hidden, of_train = both.labels_at(np.array([11, 0]))
    assert set(np.unique(of_hidden)) == {PADDING, UNLABELLED}
    assert UNLABELLED not in of_train


@pytest.fixture(scope="module")
def whole(
    small_data: Path, small_model: Path, more: Path, tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine
) -> Path:
    """The output folder of the command; only to be read."""
    output = tmp_path_factory.mktemp("whole")
    given = settings(small_data, small_model, output, unlabelled_dataset=more)
    done = command_line(*given.command().split()[1:])
    assert done.returncode == 0, done.stderr
    (output / "printed").write_text(done.stdout)
    return output


@pytest.mark.slow
def test_they_are_two_runs_as_by_hand(whole, small_data, small_model, more, tmp_path, no_report) -> None:
    first = transfer(settings(small_data, small_model, tmp_path / "starts_more", project_name="model_80nt"))
    second = transfer(
        settings(
            small_data,
            small_model,
            tmp_path,
            unlabelled_dataset=more,
            distill_teacher=first.best_model,
        )
    )
    assert files(tmp_path) == files(whole)
    assert second.starts == {}
    again = transfer(settings(small_data, small_model, whole, unlabelled_dataset=more))
    assert list(again.starts) == ["model_80nt"]
    assert again.best_model == whole / FOLDER / "models" / "model_best.pt"


@pytest.mark.slow
def test_everything_names_them(whole: Path, more: Path) -> None:
    run = read_run(whole / FOLDER)
    assert run.record.unlabelled.path == str(more)
    assert run.record.unlabelled.windows == 14
    assert run.identity.unlabelled_dataset == without_labels(read_windows(more, 80)).fingerprint
    assert run.record.batches_per_epoch == 6  # 11 windows with labels, and as many without
    assert read_run(whole / FIRST).record.unlabelled is None
    page, printed = (whole / FOLDER / "report.html").read_text(), (whole / "printed").read_text()
    card = inspect_weights(run.folder.best_model).facts()
    assert card["without labels"] == f"{more}: 14 windows"
    for text in (page, printed):
        assert str(more) in text
        assert "without labels" in text
    rows = [line.split("  ")[0] for line in printed.splitlines() if line.startswith(("model_80nt  ", "with unl"))]
    assert rows == ["model_80nt", "with unlabelled"]


@pytest.mark.slow
def test_the_labels_of_the_file_change_nothing(whole, small_data, small_model, more, tmp_path, no_report) -> None:
    """The same bases and gene ends, with other sites: the same models, bit for bit."""
    relabelled = []
    for seed, count in ((21, 9), (22, 5)):
        bases, labels = make_windows(count, seed)
        relabelled.append((bases, np.where(labels == PADDING, PADDING, np.roll(labels, 7, 1) % PADDING)))
    other = write_dataset(tmp_path / "other.h5", relabelled)
    assert read_windows(other, 80).fingerprint != read_windows(more, 80).fingerprint
    transfer(settings(small_data, small_model, tmp_path, unlabelled_dataset=other))
    assert files(tmp_path) == files(whole)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 9, 15], ids=["first run", "last run", "its second epoch"])
def test_killed_it_goes_on_bit_for_bit(
    step, whole, small_data, small_model, more, tmp_path, monkeypatch, no_report
) -> None:
    monkeypatch.setattr(stop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    train, steps = Engine.train, itertools.count()

    def dying(self, state, batch, learning_rate):
        if next(steps) == step:
            raise Killed
        return train(self, state, batch, learning_rate)

    given = settings(small_data, small_model, tmp_path, unlabelled_dataset=more)
    with monkeypatch.context() as context:
        context.setattr(Engine, "train", dying)
        with pytest.raises(Killed):
            transfer(given)
    transfer(given)
    assert files(tmp_path) == files(whole)


@pytest.mark.slow
def test_several_models_teach_together(small_data, small_model, more, tmp_path, no_report) -> None:
    other = tmp_path / "other.pt"
    random_model(80, 3).to_pt(other)
    output = tmp_path / "out"
    result = transfer(settings(small_data, [small_model, other], output, unlabelled_dataset=more, epochs=1))
    assert list(result.starts) == ["model_80nt", "other"]
    identity = RunFolder(output / FOLDER).read_identity()
    assert len(identity.distill_teacher) == 2
    assert identity.unlabelled_dataset is not None
    for run in (output / "starts_more").glob("*/0"):
        assert RunFolder(run).read_identity().unlabelled_dataset is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rehearsal_dataset": "old.h5"}, "`unlabelled_dataset` does not go with `rehearsal_dataset`"),
        (
            {"extend": True},
            "`extend` does not go with `unlabelled_dataset`; leave out `unlabelled_dataset`, or leave out `extend`",
        ),
        ({"recipe": "openspliceai-0.0.7"}, "does not go with `unlabelled_dataset`, since it does not keep the better"),
    ],
)
def test_what_does_not_go_with_them(given, said, small_data, small_model, more, tmp_path) -> None:
    with pytest.raises(SettingsError, match=said):
        transfer(settings(small_data, small_model, tmp_path / "out", unlabelled_dataset=more, **given))
    assert not (tmp_path / "out").exists()


def test_a_wrong_file_is_one_error_and_nothing_is_written(small_data, small_model, tmp_path, capsys) -> None:
    (tmp_path / "bad.h5").write_bytes(b"nonsense")
    for path, said in ((tmp_path / "gone.h5", "gone.h5"), (tmp_path / "bad.h5", "bad.h5")):
        with pytest.raises(SpliceAIError, match=said):
            transfer(settings(small_data, small_model, tmp_path / "out", unlabelled_dataset=path))
    sets = ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5"]
    line = ["transfer", "-m", small_model, *sets, "-o", tmp_path / "out", "-p", "more"]
    line += ["--unlabelled-dataset", small_data / "dataset_test.h5", "--epochs", 1]
    assert main([str(word) for word in line]) == 2
    assert "given as --unlabelled-dataset, and as the run's own test set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_another_run_in_the_last_folder_is_found_first(small_data, small_model, more, tmp_path, no_report) -> None:
    """A run without them; nothing is trained before it is refused."""
    transfer(settings(small_data, small_model, tmp_path, epochs=1))
    before = json.dumps(sorted(files(tmp_path)))
    with pytest.raises(SpliceAIError, match="was not made from this model once it is tuned"):
        transfer(settings(small_data, small_model, tmp_path, unlabelled_dataset=more))
    assert json.dumps(sorted(files(tmp_path))) == before

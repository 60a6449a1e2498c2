"""A run that is extended ends as one that had the longer settings from the beginning, or is refused."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from spliceai_jax import ConsoleDisplay, TransferResult, TransferSettings, transfer
from spliceai_jax.errors import RunFolderError, SettingsError
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.read import read_run
from spliceai_jax.training.engine import Engine

pytestmark = pytest.mark.full

FOLDER = "SpliceAI_small_80_0_rs42/0"
STEPS = 6
"""Eleven windows, two a batch."""


def run(data: Path, model: Path, output: Path, **more: object) -> TransferResult:
    settings = {
        "train_dataset": data / "dataset_train.h5",
        "test_dataset": data / "dataset_test.h5",
        "pretrained_model": model,
        "output_dir": output,
        "project_name": "small",
        "batch_size": 2,
        "scheduler": "CosineAnnealingWarmRestarts",
        "epochs": 2,
    }
    return transfer(TransferSettings(**{**settings, **more}), ConsoleDisplay())


EXTENDED = {"resume": True, "extend": True}


@pytest.fixture(scope="module")
def made(small_data, small_model, tmp_path_factory):
    """Make a run once for all tests of this module, and return a function that copies it."""
    known: dict[str, Path] = {}

    def copied(to: Path, **more: object) -> Path:
        if (key := repr(sorted(more.items()))) not in known:
            known[key] = tmp_path_factory.mktemp("made")
            run(small_data, small_model, known[key], **more)
        shutil.copytree(known[key], to, dirs_exist_ok=True)
        return to / FOLDER

    return copied


def results(root: Path) -> dict[str, bytes]:
    """What follows from the result alone; of the card, what does not name the session."""
    names = ["models/*", "LOG/*/*", "history.json", "run.json", "comparison.json", "calibration.json"]
    found = {str(path.relative_to(root)): path.read_bytes() for name in names for path in root.glob(name)}
    card = json.loads(found.pop("models/model_best.json"))
    for of_session in ("started", "command", "directory"):
        del card[of_session]
    return {**found, "card": json.dumps(card).encode()}


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


@pytest.mark.parametrize("rate", [1e-3, 1e-1], ids=["the best is in the new part", "the best is in the old part"])
def test_it_ends_bit_for_bit_as_the_longer_run(rate, made, small_data, small_model, tmp_path, capsys) -> None:
    expected = made(tmp_path / "longer", epochs=4, learning_rate=rate)
    root = made(tmp_path / "extended", learning_rate=rate)
    capsys.readouterr()
    result = run(small_data, small_model, tmp_path / "extended", epochs=4, learning_rate=rate, **EXTENDED)
    said = capsys.readouterr().out
    assert "epochs was 2 and is now 4" in said
    assert "going on from epoch 3 of 4, of which 0 of 6 batches are done" in said
    assert (result.history.lowest_loss_epoch >= 2) == (rate == 1e-3)
    assert results(root) == results(expected)
    found = read_run(root)
    assert found.finished
    assert found.record is not None
    assert len(found.record.sessions) == 2
    assert "--resume --extend" in found.record.sessions[-1].command
    assert result.history == found.history
    assert result.comparison


def test_killed_while_it_is_extended(made, small_data, small_model, tmp_path, monkeypatch) -> None:
    """Before run.json is written, and in training; after that it goes on without `extend` too."""
    expected = made(tmp_path / "longer", epochs=4)
    root = made(tmp_path / "extended")

    def again(**more: object) -> None:
        run(small_data, small_model, tmp_path / "extended", epochs=4, **{**EXTENDED, **more})

    write = RunFolder.write

    def dying(self: RunFolder, path: Path, content: bytes | str) -> None:
        if path == self.identity_file:
            raise Killed
        write(self, path, content)

    with monkeypatch.context() as context:
        context.setattr(RunFolder, "write", dying)
        with pytest.raises(Killed):
            again()
    assert read_run(root).finished
    trained, train = itertools.count(), Engine.train

    def dying_at_a_step(self, *arguments):
        if next(trained) == STEPS + 2:
            raise Killed
        return train(self, *arguments)

    with monkeypatch.context() as context:
        context.setattr(Engine, "train", dying_at_a_step)
        with pytest.raises(Killed):
            again()
    assert not read_run(root).finished
    again(extend=False)
    assert results(root) == results(expected)


@pytest.mark.parametrize(
    ("settings", "wanted", "reason"),
    [
        ({"scheduler": "OneCycleLR"}, {"epochs": 4}, "after 0 epochs the rate would have been"),
        ({"scheduler": "MultiStepLR"}, {"epochs": 6}, "after 0 epochs the rate would have been 0.0001, not 5e-05"),
        ({}, {"epochs": 1}, "it would have ended after 1 epoch, and this one has gone on"),
        ({"recipe": "best"}, {"early_stopping": True}, "`early_stopping` decides whether the model of the last epoch"),
    ],
)
def test_what_cannot_be_extended_is_left_as_it_is(settings, wanted, reason, made, small_data, small_model, tmp_path):
    root = made(tmp_path, **settings)
    before = contents(root)
    with pytest.raises(RunFolderError) as refusal:
        run(small_data, small_model, tmp_path, **{**settings, **wanted}, **EXTENDED)
    assert reason in str(refusal.value)
    assert f"pretrained_model={root / 'models' / 'model_best.pt'}" in str(refusal.value)
    assert contents(root) == before


def test_other_settings_are_refused_as_without_it(made, small_data, small_model, tmp_path) -> None:
    root = made(tmp_path)
    before = contents(root)
    with pytest.raises(RunFolderError, match=r"weight_decay was 0.01 and is now 0.5") as refusal:
        run(small_data, small_model, tmp_path, epochs=4, weight_decay=0.5, **EXTENDED)
    assert "extend" not in str(refusal.value)
    assert contents(root) == before


def test_a_run_that_stopped_early_goes_on_with_more_patience(made, small_data, small_model, tmp_path, capsys) -> None:
    """More epochs alone change nothing, and it says why; MultiStepLR has not come to its last epochs."""
    stopping = {"scheduler": "MultiStepLR", "early_stopping": True, "learning_rate": 1e-1}
    expected = made(tmp_path / "longer", **stopping, epochs=8, patience=3)
    root = made(tmp_path / "extended", **stopping, epochs=7, patience=1)
    stopped = read_run(root).history
    assert len(stopped.epochs) < 4  # MultiStepLR halves its rate from then on
    capsys.readouterr()
    run(small_data, small_model, tmp_path / "extended", **stopping, epochs=8, patience=1, **EXTENDED)
    said = f"finished already: it stopped early, after {len(stopped.epochs)} epochs of at most 8"
    assert said in capsys.readouterr().out
    assert read_run(root).history == stopped
    run(small_data, small_model, tmp_path / "extended", **stopping, epochs=8, patience=3, **EXTENDED)
    assert len(read_run(root).history.epochs) > len(stopped.epochs)
    assert results(root) == results(expected)


def test_scores_of_the_genome_by_the_model_before_are_kept_apart(made, small_data, small_model, tmp_path) -> None:
    root = made(tmp_path)
    (root / "predictions").mkdir()
    (root / "predictions" / "donor.bed").write_text("of two epochs")
    run(small_data, small_model, tmp_path, epochs=3, **EXTENDED)
    assert not (root / "predictions").exists()
    assert (root / "predictions.earlier_1" / "donor.bed").read_text() == "of two epochs"


def test_it_goes_with_resume(small_data, small_model, tmp_path) -> None:
    with pytest.raises(SettingsError, match="`resume=True` too"):
        run(small_data, small_model, tmp_path, extend=True)
    assert not list(tmp_path.iterdir())


def test_it_starts_a_run_where_there_is_none(made, small_data, small_model, tmp_path) -> None:
    expected = made(tmp_path / "longer")
    run(small_data, small_model, tmp_path / "new", **EXTENDED)
    assert results(tmp_path / "new" / FOLDER) == results(expected)

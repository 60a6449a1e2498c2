"""A run that is killed goes on and ends with the files of one that was not."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import h5py
import numpy as np
import orbax.checkpoint
import pytest
from conftest import full

from spliceai_jax import ConsoleDisplay, Pretrained, TransferSettings, processes, transfer
from spliceai_jax.errors import DivergedError, Interrupted, RunFolderError
from spliceai_jax.fine_tuning import stop
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.record import read_run
from spliceai_jax.training.engine import Engine

pytestmark = pytest.mark.slow

FOLDER = "SpliceAI_small_80_0_rs42/0"
EPOCHS, STEPS = 3, 6
"""Eleven windows, two a batch."""


def arguments(data: Path, model: Path, output: Path) -> dict[str, object]:
    return {
        "train_dataset": data / "dataset_train.h5",
        "test_dataset": data / "dataset_test.h5",
        "pretrained_model": model,
        "output_dir": output,
        "project_name": "small",
        "epochs": EPOCHS,
        "batch_size": 2,
        "unfreeze": 2,
    }


def command(data: Path, model: Path, output: Path) -> list[str]:
    pairs = arguments(data, model, output).items()
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in pairs]
    return [str(Path(sys.executable).with_name("spliceai-jax")), "transfer", *itertools.chain(*flags)]


def results(output: Path) -> dict[str, bytes]:
    """Every model and log file, and nothing left half-written beside them; the card, which names the command, fits."""
    root = output / FOLDER
    files = [path for folder in ("models", "LOG") for path in (root / folder).rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.endswith(".partial")]
    found = {str(path.relative_to(root)): path.read_bytes() for path in files}
    card = json.loads(found.pop("models/model_best.json"))
    assert card["sha256"] == hashlib.sha256(found["models/model_best.pt"]).hexdigest()
    return found


@pytest.fixture(scope="module")
def uninterrupted(small_data, small_model, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("uninterrupted")
    transfer(TransferSettings(**arguments(small_data, small_model, output)))
    files = results(output)
    assert len(files) == EPOCHS + 1 + 1 + 3 * 19  # models and the best one's temperature, logs
    assert files["LOG/TRAIN/loss_every_update.txt"].count(b"\n") == EPOCHS * STEPS
    assert files["LOG/VAL/loss_batch.txt"].count(b"\n") == EPOCHS
    assert files["LOG/VAL/learning_rate_every_batch.txt"] == b""
    return files


def start(data: Path, model: Path, output: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [*command(data, model, output), "--resume"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


@pytest.mark.parametrize("moments", full([1, 5], 1))
def test_killed(moments, uninterrupted, small_data, small_model, tmp_path):
    """SIGKILL at moments of one run: as its first model is there, as it begins, around saves, a random while after."""
    root, random = tmp_path / FOLDER, np.random.default_rng()
    chosen = [
        (root / "models" / "model_0.pt", 0.0),
        (root / "run.json", 0.0),
        (root / "run.json", random.uniform(0, 4)),
        (root / "checkpoints" / "1", 0.0),
        (root / "models" / "model_1.pt", random.uniform(0, 0.1)),
    ][:moments]
    for path, delay in chosen:
        process = start(small_data, small_model, tmp_path)
        wait_for(path, process)
        time.sleep(delay)
        process.kill()
        process.communicate()
    transfer(TransferSettings(**arguments(small_data, small_model, tmp_path), resume=True))
    assert results(tmp_path) == uninterrupted, chosen


@pytest.mark.parametrize("write", full([2, 30, 64, 70, 100, 128], 64))
def test_dies_after_a_write(write, uninterrupted, small_data, small_model, tmp_path, monkeypatch):
    """Whichever file of the run is the last that was written."""
    written, write_file = itertools.count(1), RunFolder.write

    def dying(self: RunFolder, path: Path, content: bytes | str) -> None:
        write_file(self, path, content)
        if next(written) == write:
            raise Killed

    settings = TransferSettings(**arguments(small_data, small_model, tmp_path), resume=True)
    with monkeypatch.context() as context:
        context.setattr(RunFolder, "write", dying)
        with pytest.raises(Killed):
            transfer(settings)
    transfer(settings)
    assert results(tmp_path) == uninterrupted


@pytest.mark.parametrize("number", full([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
def test_asked_to_stop(number, uninterrupted, small_data, small_model, tmp_path, capsys):
    """One line, the shell's status for the signal, and nothing lost."""
    process = start(small_data, small_model, tmp_path)
    for line in process.stdout:
        if line.strip().startswith("untouched"):
            break
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + number, output
    assert "--resume" in output.splitlines()[-1]
    assert "Traceback" not in output
    transfer(TransferSettings(**arguments(small_data, small_model, tmp_path), resume=True), ConsoleDisplay())
    assert "going on from epoch" in capsys.readouterr().out
    assert results(tmp_path) == uninterrupted


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


def die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = itertools.count()
    train = Engine.train

    def dying(self, state, batch, learning_rate):
        if next(trained) == step:
            raise Killed
        return train(self, state, batch, learning_rate)

    monkeypatch.setattr(Engine, "train", dying)


@pytest.mark.parametrize("step", full([1, STEPS, 2 * STEPS + 3], STEPS))
def test_dies_between_checkpoints_of_every_step(step, uninterrupted, small_data, small_model, tmp_path, monkeypatch):
    """With a checkpoint after each step the run goes on in the middle of an epoch."""
    monkeypatch.setattr(stop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    settings = TransferSettings(**arguments(small_data, small_model, tmp_path), resume=True)
    with monkeypatch.context() as context:
        die_at(step, context)
        with pytest.raises(Killed):
            transfer(settings)
    result = transfer(settings)
    assert results(tmp_path) == uninterrupted
    assert result.best_model.read_bytes() == uninterrupted["models/model_best.pt"]
    again = transfer(settings)  # a finished run is only reported
    assert again.history == result.history
    assert results(tmp_path) == uninterrupted


def test_stopped_while_evaluating(uninterrupted, small_data, small_model, tmp_path, monkeypatch):
    """The epoch's training is not repeated, its evaluation is."""
    settings = TransferSettings(**arguments(small_data, small_model, tmp_path), resume=True)
    evaluated, evaluate = itertools.count(), Engine.evaluate

    def interrupted(self, variables, batch):
        if next(evaluated) == 5:  # the first four are the untouched model's
            signal.raise_signal(signal.SIGTERM)
        return evaluate(self, variables, batch)

    with monkeypatch.context() as context:
        context.setattr(Engine, "evaluate", interrupted)
        with pytest.raises(Interrupted):
            transfer(settings)
    with monkeypatch.context() as context:
        die_at(0, context)
        with pytest.raises(Killed):
            transfer(settings)
    assert (tmp_path / FOLDER / "models" / "model_0.pt").exists()
    transfer(settings)
    assert results(tmp_path) == uninterrupted


def test_two_runs_on_one_folder(small_data, small_model, tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    with filelock.FileLock(tmp_path / FOLDER / ".lock"), pytest.raises(RunFolderError, match="another process"):
        transfer(TransferSettings(**arguments(small_data, small_model, tmp_path)))


@pytest.mark.parametrize(("what", "step", "found_at"), [("loss", STEPS + 4, STEPS + 4), ("weights", 11, 12)])
def test_not_finite(what, step, found_at, small_data, small_model, tmp_path, monkeypatch):
    """Stops at the step and keeps what was saved, whether the loss or only the weights after it went astray."""
    trained, train = itertools.count(), Engine.train

    def poisoned(self, state, batch, learning_rate):
        astray = next(trained) == step
        state, loss = train(self, state, batch, np.inf if astray and what == "weights" else learning_rate)
        return state, loss * np.nan if astray and what == "loss" else loss

    monkeypatch.setattr(Engine, "train", poisoned)
    with pytest.raises(DivergedError, match=f"step {found_at} "):
        transfer(TransferSettings(**arguments(small_data, small_model, tmp_path)))
    models = tmp_path / FOLDER / "models"
    assert sorted(path.name for path in models.iterdir()) == ["model_0.pt", "model_best.json", "model_best.pt"]
    Pretrained.from_pt(models / "model_best.pt")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_worked_on(small_data, small_model, tmp_path, monkeypatch, capsys, pages):
    """Nothing is evaluated, no file changes; the report is named."""
    settings = TransferSettings(**arguments(small_data, small_model, tmp_path), resume=True)
    first = transfer(settings, ConsoleDisplay())
    before, said = snapshot(tmp_path / FOLDER), capsys.readouterr().out
    for step in ("train", "evaluate", "activations"):
        monkeypatch.setattr(Engine, step, None)
    again = transfer(settings, ConsoleDisplay())
    assert again == first
    assert snapshot(tmp_path / FOLDER) == before
    shown = capsys.readouterr().out
    assert "finished already" in shown
    assert shown.splitlines()[-6:] == said.splitlines()[-6:]  # the table, the best model, the report


def test_a_finished_run_reads_data_sets_that_may_have_changed(small_data, small_model, tmp_path) -> None:
    """A copy of the same contents is the same data; another label is not, though the file's size is the same."""
    data = shutil.copytree(small_data, tmp_path / "data")
    settings = TransferSettings(**arguments(data, small_model, tmp_path), resume=True)
    first = transfer(settings)
    os.utime(data / "dataset_test.h5")
    assert transfer(settings).history == first.history
    with h5py.File(data / "dataset_test.h5", "r+") as file:
        file["Y0"][0, 0, 4000] = [0, 1, 0]
    with pytest.raises(RunFolderError, match="test_dataset was"):
        transfer(settings)


def test_a_checkpoint_is_not_blamed_for_a_lost_process(small_data, small_model, tmp_path, monkeypatch):
    """It would tell the user to delete good data."""
    settings = TransferSettings(**arguments(small_data, small_model, tmp_path), resume=True)
    transfer(settings)

    def lost(*_, **__):
        raise ValueError("Gloo AllReduce failed: Connection closed by peer")

    monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "restore", lost)
    with pytest.raises(ValueError, match="Gloo"):
        transfer(settings)
    monkeypatch.setattr(processes, "is_loss", lambda error: False)
    with pytest.raises(RunFolderError, match=r"checkpoints/3: this checkpoint is damaged .Gloo.*there is no other"):
        transfer(settings)


def test_the_history_is_there_without_the_checkpoints(small_data, small_model, tmp_path):
    result = transfer(TransferSettings(**arguments(small_data, small_model, tmp_path)))
    shutil.rmtree(tmp_path / FOLDER / "checkpoints")
    assert read_run(tmp_path / FOLDER).history == result.history


@pytest.mark.parametrize("lacking", ["dropout", "genomic_eval_dataset"])
def test_a_field_that_a_file_lacks_has_its_default(lacking, finished, tmp_path):
    content = json.loads((finished / "run.json").read_text())
    del content[lacking]
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert RunFolder(tmp_path).read_identity() == RunFolder(finished).read_identity()


def test_a_file_of_another_form_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"format_version": 2}')
    with pytest.raises(RunFolderError, match=r"run\.json: damaged \(format version 2; this spliceai-jax knows 1\)"):
        RunFolder(tmp_path).read_identity()

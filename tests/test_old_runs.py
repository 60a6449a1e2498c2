"""Runs of earlier versions resume and report, for ever; `data/run_0_1_0.tar.xz` holds two that 0.1.0 made.

`finished` is a run of three epochs, and `interrupted` the same one, stopped in its second epoch. They trained the head
and the last unit of a random 80-nt model, with the activations of the frozen part cached.
"""

import json
import shutil
import tarfile
import warnings
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest

from spliceai_jax import Recipe, TransferResult, TransferSettings, transfer
from spliceai_jax.commands.main import main
from spliceai_jax.errors import RunFolderError, SpliceAIWarning
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.read import read_run
from spliceai_jax.runs.record import read_record

pytestmark = pytest.mark.slow

ARCHIVE = Path(__file__).with_name("data") / "run_0_1_0.tar.xz"
RUN = "SpliceAI_old_80_0_rs42/0"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resumed(output_dir: str, **more: object) -> TransferResult:
    settings = {
        "train_dataset": "dataset_train.h5",
        "test_dataset": "dataset_test.h5",
        "pretrained_model": "model_80nt.pt",
        "output_dir": output_dir,
        "project_name": "old",
        "epochs": 3,
        "batch_size": 2,
        "unfreeze": 1,
        "learning_rate": 3e-3,
        "resume": True,
    }
    return transfer(TransferSettings(**{**settings, **more}))


def numbers(path: Path) -> np.ndarray:
    return np.array(path.read_text().split(), float)


def test_an_interrupted_run_ends_as_the_finished_one(old) -> None:
    result = resumed("interrupted")
    for log in sorted((old / "finished" / RUN / "LOG").rglob("*.txt")):
        ours = old / "interrupted" / RUN / log.relative_to(old / "finished" / RUN)
        np.testing.assert_allclose(numbers(ours), numbers(log), rtol=1e-3, atol=1e-5, err_msg=str(ours))
    assert result.best_epoch == 2
    record = read_record(old / "interrupted" / RUN / "record.json")
    assert record is not None
    assert [session.activation_cache for session in record.sessions] == [True, True]
    assert (old / "interrupted" / RUN / "report.html").exists()


def test_a_finished_run_is_reported_from_its_checkpoint(old, capsys) -> None:
    """It has no history.json, and nothing but the report is written."""
    folder = old / "finished" / RUN
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: content for path, content in after.items() if path in before} == before
    assert all(path.name == "report.html" or path.parent.name == "report" for path in after.keys() - before.keys())
    run = read_run(folder)
    assert run.finished
    np.testing.assert_allclose(
        [epoch.test.metrics.donor.auprc for epoch in run.history.epochs], numbers(folder / "LOG/TEST/donor_auprc.txt")
    )


@pytest.mark.usefixtures("no_report")
def test_a_finished_run_is_finished(old, capsys) -> None:
    assert resumed("finished").best_epoch == 2


@pytest.mark.usefixtures("no_report")
def test_a_run_whose_recipe_is_not_named_keeps_to_its_own(old, capsys) -> None:
    """The default of 0.1.0 was another one than today's."""
    assert resumed("finished", unfreeze=None).best_epoch == 2


def test_the_model_cards_of_0_1_0_are_read(old, capsys) -> None:
    assert main(["inspect", str(old / "finished" / RUN / "models" / "model_best.pt")]) == 0
    out = capsys.readouterr().out
    assert "fine-tuned by spliceai-jax 0.1.0" in out
    assert "recipe  openspliceai, epoch 2 (of 0 to 2)" in out


def test_the_state_of_a_run_is_no_model(old, capsys) -> None:
    assert main(["inspect", str(old / "finished" / RUN / "checkpoints" / "3" / "state")]) == 2
    assert "arrays that are not the variables of any of the four models; give a model" in capsys.readouterr().err


@pytest.mark.parametrize("lacking", [field.name for field in fields(Recipe)])
def test_a_run_that_lacks_a_field_of_the_recipe_is_read(lacking, old) -> None:
    """The field has its default then; this run was made before the recipe had some of them."""
    path = old / "interrupted" / RUN / "run.json"
    content = json.loads(path.read_text())
    content.pop(lacking, None)
    path.write_text(json.dumps(content))
    choices = asdict(RunFolder(path.parent).read_identity().choices)
    assert choices == {**asdict(Recipe()), **{name: content[name] for name in choices if name in content}}


@pytest.mark.usefixtures("no_report")
def test_a_run_that_lacks_fields_resumes(old) -> None:
    path = old / "interrupted" / RUN / "run.json"
    content = json.loads(path.read_text())
    for name in ("timing", "batching", "patience"):
        assert content.pop(name) == getattr(Recipe(), name)
    path.write_text(json.dumps(content))
    assert resumed("interrupted").best_epoch == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": "three"}, r"run\.json: damaged \(Expected `int`, got `str` - at `\$.choices.epochs`\)"),
        ({"random_seed": None}, r"random_seed"),
        ({"format_version": 99}, r"format version 99; this spliceai-jax knows 1 to 2"),
    ],
)
def test_a_damaged_identity_is_named(change, said, old) -> None:
    path = old / "interrupted" / RUN / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunFolderError, match=said):
        resumed("interrupted")


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("content", ["{", "[]", '{"sessions": 3}'])
def test_a_record_that_cannot_be_read_is_kept(content, old) -> None:
    path = old / "interrupted" / RUN / "record.json"
    path.write_text(content)
    with pytest.warns(SpliceAIWarning, match=r"record\.json: damaged .* kept as record\.unreadable_1\.json"):
        resumed("interrupted")
    assert (path.parent / "record.unreadable_1.json").read_text() == content
    assert read_record(path) is not None
    path.write_text("again")
    shutil.rmtree(path.parent / "checkpoints")
    (path.parent / "history.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed("interrupted")
    assert (path.parent / "record.unreadable_2.json").read_text() == "again"

"""An Orbax checkpoint, which `convert` makes of a `.pt` file, is taken wherever weights are, and is the same model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import random_model, run_arguments

from spliceai_jax import Pretrained, SpliceAIError, TransferSettings, transfer
from spliceai_jax.commands.main import main
from spliceai_jax.errors import RunFolderError, WeightsError
from spliceai_jax.network.model_files import beside, is_checkpoint, model_files

RUN = Path("SpliceAI_<i>small_80_0_rs42") / "0"


@pytest.fixture(scope="module")
def checkpoint(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as a checkpoint; only to be read."""
    path = tmp_path_factory.mktemp("checkpoint") / "as.orbax"
    assert main(["convert", str(small_model), str(path)]) == 0
    return path


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]):
    """A function that runs a command, which must succeed, and returns what it prints."""

    def run(*words: object) -> str:
        capsys.readouterr()
        status = main(list(map(str, words)))
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):
    """A function that runs a command, which must be refused, and returns its one line."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert main(list(map(str, words))) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    return run


# -- which models are meant ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "models"])
def test_the_models_of_all_epochs_of_a_run_are_not_averaged(below, small_data, small_model, tmp_path, refused, printed):
    (tmp_path / "run" / "models").mkdir(parents=True)
    (tmp_path / "run" / "run.json").touch()
    for name in ("model_0.pt", "model_best.pt"):
        shutil.copy(small_model, tmp_path / "run" / "models" / name)
    given = tmp_path / "run" / below
    for words in (("predict", "-i", tmp_path, "-o", tmp_path), ("evaluate", "-test", small_data / "dataset_test.h5")):
        assert f"give the best one, {tmp_path / 'run' / 'models' / 'model_best.pt'}" in refused(*words, "-m", given)
    assert "model_0.pt" in printed("inspect", tmp_path / "run" / "models")


def test_a_checkpoint_is_told_apart_by_what_lies_in_it(checkpoint, small_model, tmp_path, monkeypatch) -> None:
    for name in ("b.pt", "a.pt", "notes.txt"):
        shutil.copy(small_model, tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert model_files(checkpoint) == (checkpoint,)
    assert model_files([checkpoint, small_model]) == (checkpoint, small_model)
    assert model_files(tmp_path) == (tmp_path / "a.pt", tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"empty: this folder holds no \.pt file and is no Orbax checkpoint"):
        model_files([small_model, tmp_path / "empty"])
    assert not any(map(is_checkpoint, (tmp_path, tmp_path / "empty", small_model, tmp_path / "none")))
    monkeypatch.chdir(checkpoint)
    assert model_files(".") == (Path("."),)


def test_what_lies_beside_a_model(checkpoint, tmp_path, monkeypatch) -> None:
    assert beside(tmp_path / "fly.v2.pt", ".json") == tmp_path / "fly.v2.json"
    assert beside(checkpoint, ".json") == checkpoint.with_name("as.orbax.json")
    monkeypatch.chdir(checkpoint)
    assert beside(Path("."), ".temperature.json") == checkpoint.with_name("as.orbax.temperature.json")


@pytest.mark.parametrize("name", ["copy.pt", "COPY.PT", "new/copy.pt"])
def test_convert_makes_no_folder_that_looks_like_a_file(small_model, tmp_path, refused, name) -> None:
    line = refused("convert", small_model, tmp_path / name)
    assert line.startswith(f"spliceai-jax: {tmp_path / name}: would be a folder, an Orbax checkpoint")
    assert "give a name that does not end in .pt, or copy the file" in line
    assert list(tmp_path.iterdir()) == []


# -- wherever weights are taken ------------------------------------------------------------------------------------


def test_loading(checkpoint, small_model) -> None:
    loaded, stored = Pretrained.load(checkpoint), Pretrained.load(small_model)
    assert loaded.fingerprint == stored.fingerprint == loaded.sha256_at(checkpoint)
    assert Pretrained.load_weights(checkpoint, 80).fingerprint == stored.fingerprint
    with pytest.raises(WeightsError, match="have a flanking size of 80, not 400; give `flanking_size=80`"):
        Pretrained.load(checkpoint, 400)


def test_predict(checkpoint, small_model, tmp_path, printed) -> None:
    """Alone, and as one of two models whose mean is taken."""
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 2000))
    (tmp_path / "genome.fa").write_text(f">one\n{letters}\n")
    other = tmp_path / "other.pt"
    random_model(80, seed=9).to_pt(other)
    beds, given = {}, {"a": [small_model], "b": [checkpoint], "c": [other, small_model], "d": [other, checkpoint]}
    for name, models in given.items():
        printed("predict", "-i", tmp_path / "genome.fa", "-m", *models, "-o", tmp_path / name)
        beds[name] = (tmp_path / name / "SpliceAI_5000_80" / "donor_predictions.bed").read_bytes()
    assert beds["a"] == beds["b"] != beds["c"] == beds["d"]


def test_evaluate(checkpoint, small_model, small_data, printed) -> None:
    dataset = ["-test", small_data / "dataset_test.h5", "--json"]
    assert printed("evaluate", "-m", checkpoint, *dataset) == printed("evaluate", "-m", small_model, *dataset)


@pytest.mark.slow
def test_compare(checkpoint, small_data, finished, tmp_path, printed) -> None:
    """With a run, whose folder stands for its best model; and that model as a checkpoint is the same as the run."""
    best = tmp_path / "best"
    Pretrained.load(finished / "models" / "model_best.pt").to_orbax(best)
    found = json.loads(
        printed("compare", "-m", finished, checkpoint, best, "-test", small_data / "dataset_test.h5", "--json")
    )
    run, untouched, again = (model["metrics"] for model in found["models"])
    assert run == again != untouched


@pytest.mark.slow
def test_calibrate_and_the_temperature_beside_a_checkpoint(
    checkpoint, small_model, small_data, tmp_path, printed, refused
) -> None:
    """It is written for the checkpoint, is applied beside it, and is refused beside other weights."""
    own = tmp_path / "own.orbax"
    shutil.copytree(checkpoint, own)
    printed("calibrate", "-m", own, "-d", small_data / "dataset_validation.h5", "-o", tmp_path / "made")
    dataset = ["-test", small_data / "dataset_test.h5", "--calibrated", "--json"]
    line = refused("evaluate", "-m", own, *dataset)
    assert "own.orbax.temperature.json beside it, which is not there; make it by `spliceai-jax calibrate -m" in line
    made = tmp_path / "made" / "own.orbax.temperature.json"
    assert json.loads(made.read_text())["sha256"] == Pretrained.load(small_model).fingerprint
    shutil.copy(made, tmp_path)
    wanted = printed("evaluate", "-m", tmp_path / "made" / "calibrated_model.pt", *dataset[:2], "--json")
    found = printed("evaluate", "-m", own, *dataset)
    assert json.loads(found)["loss"] == pytest.approx(json.loads(wanted)["loss"], rel=1e-6)
    assert found != printed("evaluate", "-m", own, *dataset[:2], "--json")
    assert "temperature  beside it, for --calibrated:" in printed("inspect", own)
    shutil.rmtree(own)
    random_model(80, seed=9).to_orbax(own)
    assert "belongs to another model than" in refused("evaluate", "-m", own, *dataset)


def test_inspect(checkpoint, small_model, finished, tmp_path, printed) -> None:
    """A model's card is found beside the checkpoint of its weights that has its name, and beside no others."""
    facts = json.loads(printed("inspect", checkpoint, "--json"))
    stored = json.loads(printed("inspect", small_model, "--json"))
    changing = ("file", "checkpoint", "sha256")
    assert {**facts, **{name: stored[name] for name in changing}} == stored
    assert facts["checkpoint"]
    assert facts["sha256"] == facts["weights_sha256"] == Pretrained.load(small_model).fingerprint
    assert "released  not known of an Orbax checkpoint" in printed("inspect", checkpoint)
    best = Pretrained.load(finished / "models" / "model_best.pt")
    best.to_orbax(tmp_path / "model_best")
    shutil.copy(finished / "models" / "model_best.json", tmp_path)
    assert "fine-tuned by spliceai-jax" in printed("inspect", tmp_path / "model_best")
    shutil.rmtree(tmp_path / "model_best")
    random_model(80, seed=9).to_orbax(tmp_path / "model_best")
    assert "model_best.json describes another file" in printed("inspect", tmp_path / "model_best")


def test_weights_that_are_not_finite(small_data, tmp_path, printed, refused) -> None:
    """Shown by `inspect`, and refused where they would be used."""
    model = random_model(80)
    model.variables["params"]["final_conv"]["bias"] = np.array([0, np.nan, 0], np.float32)
    model.to_orbax(tmp_path / "odd")
    assert "finite  NO: final_conv.bias" in printed("inspect", tmp_path / "odd")
    line = refused("evaluate", "-m", tmp_path / "odd", "-test", small_data / "dataset_test.h5")
    assert "odd: holds values that are infinite or not a number, in 'final_conv.bias'" in line


# -- a run that starts from a checkpoint ---------------------------------------------------------------------------


@pytest.mark.slow
def test_transfer(checkpoint, small_model, small_data, tmp_path) -> None:
    """It ends as the run from the `.pt` file does, and goes on from either form of the same weights, but no others."""
    given = {**run_arguments(small_data, small_model, tmp_path / "pt"), "tensorboard": False, "epochs": 1}
    transfer(TransferSettings(**given))
    given |= {"output_dir": tmp_path / "orbax", "pretrained_model": checkpoint}
    result = transfer(TransferSettings(**given))
    assert result.best_model.read_bytes() == (tmp_path / "pt" / RUN / "models" / "model_best.pt").read_bytes()
    runs = [tmp_path / form / RUN for form in ("pt", "orbax")]
    first, second = (json.loads((run / "run.json").read_text()) for run in runs)
    parent = second.pop("record")["parent"]
    del first["record"]
    assert first == second
    digest = Pretrained.load(small_model).fingerprint
    assert parent == {"path": str(checkpoint), "sha256": digest, "weights_sha256": digest}
    assert json.loads((runs[1] / "models" / "model_best.json").read_text())["parent"]["sha256"] == digest

    transfer(TransferSettings(**given, resume=True))
    transfer(TransferSettings(**{**given, "pretrained_model": small_model}, resume=True))
    random_model(80, seed=9).to_orbax(tmp_path / "other")
    with pytest.raises(RunFolderError, match="pretrained_model was"):
        transfer(TransferSettings(**{**given, "pretrained_model": tmp_path / "other"}, resume=True))
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpliceAIError, match=r"folder: this folder holds no \.pt file"):
        transfer(TransferSettings(**{**given, "pretrained_model": tmp_path / "folder"}, resume=True))


@pytest.mark.slow
def test_the_report_finds_the_untouched_model_again(checkpoint, small_data, tmp_path, printed) -> None:
    given = {**run_arguments(small_data, checkpoint, tmp_path), "tensorboard": False, "epochs": 1}
    page = transfer(TransferSettings(**given)).best_model.parents[1] / "report.html"
    printed("report", page.parent)
    assert "The untouched model's curves" not in page.read_text()

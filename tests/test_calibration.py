"""Calibration: the fit, the measures, where the temperature is applied, and the command; OpenSpliceAI's own result."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CommandLine, full, make_windows, random_model, run_arguments, write_dataset
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from spliceai_jax import PredictSettings, Pretrained, TransferSettings, calibrate, evaluate, predict, transfer
from spliceai_jax.architecture import ARCHITECTURES, CLASSES
from spliceai_jax.commands.main import main
from spliceai_jax.errors import DatasetError, RunFolderError, SettingsError, SpliceAIWarning, WeightsError
from spliceai_jax.evaluation import calibration as calibration_module
from spliceai_jax.evaluation.calibration import (
    BOUNDS,
    fit_temperature,
    measure_calibration,
    probabilities,
)
from spliceai_jax.evaluation.positions import Positions, PositionsGatherer
from spliceai_jax.network.temperature import temperature_beside
from spliceai_jax.scoring.calibrate import gather_positions
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.windows.hdf5 import read_windows

Temperature = tuple[float, float, float]


def synthetic(seed: int, count: int, true: Temperature, sites: float = -4.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits as a network gives them, and labels drawn from what they are at the true temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal([0, sites, sites], 3, (count, 3)).astype(np.float32)
    drawn = random.random((count, 1)) < probabilities(logits, true).cumsum(-1)
    return logits, drawn.argmax(-1).astype(np.uint8)


def positions_of(logits: np.ndarray, labels: np.ndarray) -> Positions:
    return Positions(logits, labels, np.ones(len(labels)))


# -- the fit -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", full(range(20), 0, 1, 2))
def test_the_fit_finds_the_temperature_that_made_the_labels(seed: int) -> None:
    true: Temperature = tuple(np.random.default_rng(seed).uniform(0.3, 3, 3))
    logits, labels = synthetic(seed, 100_000, true, sites=-1.0)
    np.testing.assert_allclose(fit_temperature(positions_of(logits, labels), "class"), true, rtol=0.08)
    one = (true[0],) * 3
    logits, labels = synthetic(seed, 100_000, one, sites=-1.0)
    found = fit_temperature(positions_of(logits, labels), "single")
    np.testing.assert_allclose(found, one, rtol=0.05)
    assert len(set(found)) == 1


@given(
    logits=st.lists(st.tuples(*[st.floats(-20, 20, width=32)] * 3), min_size=1),
    temperature=st.floats(*BOUNDS),
)
def test_one_temperature_never_changes_which_class_is_highest(logits, temperature) -> None:
    logits = np.array(logits, np.float32)
    called = probabilities(logits, (temperature,) * 3).argmax(-1)
    highest = np.take_along_axis(logits, called[:, None], -1)[:, 0]
    # Where the two highest are so close that float64 does not tell them apart, either may be called.
    np.testing.assert_allclose(highest, logits.max(-1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["class", "single"])
def test_the_fit_is_the_best_there_is(form) -> None:
    """No temperature near it is better, and scikit-learn agrees on how good it is."""
    logits, labels = synthetic(1, 30_000, (1.5, 0.7, 1.1))
    positions = positions_of(logits, labels)
    found = fit_temperature(positions, form)
    best = measure_calibration(positions, found).nll
    assert best == pytest.approx(log_loss(labels, probabilities(logits, found), labels=[0, 1, 2]), rel=1e-9)
    for factor in (0.97, 1.03):
        for moved in range(3) if form == "class" else [slice(None)]:
            other = np.array(found)
            other[moved] *= factor
            assert measure_calibration(positions, tuple(other)).nll > best


def test_the_fit_stays_within_its_bounds() -> None:
    logits = np.tile(np.float32([[0.1, -0.1, -0.1], [-0.1, 0.1, -0.1], [-0.1, -0.1, 0.1]]), (100, 1))
    right = np.tile(np.uint8([0, 1, 2]), 100)
    assert fit_temperature(positions_of(logits, right)) == pytest.approx([BOUNDS[0]] * 3)
    assert fit_temperature(positions_of(logits, np.roll(right, 1))) == pytest.approx([BOUNDS[1]] * 3)


# -- the sample ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sample_gives_what_all_positions_give() -> None:
    """400,000 positions, of which at most 2 x 20,000 are kept."""
    logits, labels = synthetic(2, 400_000, (1.3, 0.9, 1.2), sites=-7.0)
    gatherer, exact = PositionsGatherer(0, most=20_000), PositionsGatherer(0)
    for part in np.array_split(np.arange(len(labels)), 37):
        for gathered in (gatherer, exact):
            gathered.add(logits[part], labels[part])
    sample, everything = gatherer.result(), exact.result()
    assert len(sample.labels) <= 40_000
    assert len(everything.labels) == len(labels)
    assert set(everything.weights) == {1.0}
    assert sample.weights.sum() == pytest.approx(len(labels), rel=0.03)
    for form in ("class", "single"):
        np.testing.assert_allclose(fit_temperature(sample, form), fit_temperature(everything, form), rtol=0.05)
    few, many = measure_calibration(sample), measure_calibration(everything)
    assert few.nll == pytest.approx(many.nll, rel=0.05)
    assert few.candidates == pytest.approx(many.candidates, rel=0.05)
    again = PositionsGatherer(0, most=20_000)
    for part in np.array_split(np.arange(len(labels)), 37):
        again.add(logits[part], labels[part])
    np.testing.assert_array_equal(again.result().logits, sample.logits)


def test_padding_is_left_out_and_sites_are_kept(small_data, small_model) -> None:
    model, windows = Pretrained.from_pt(small_model), read_windows(small_data / "dataset_test.h5", 80)
    engine = Engine(ARCHITECTURES[80], Recipe())
    found = gather_positions(engine, engine.place(model.variables), windows, 3, seed=0)
    np.testing.assert_array_equal(np.bincount(found.labels, minlength=3), windows.class_counts[:3])
    scores = np.concatenate(list(model.predict(windows.bases)))[windows.labels.ravel() != 3]
    ours = probabilities(found.logits, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(np.sort(ours, 0), np.sort(scores, 0), atol=1e-5)


# -- the measures --------------------------------------------------------------------------------------------------


def test_measures_of_a_case_done_by_hand() -> None:
    """Two hundred positions that score .75 as donors, half of them donors; a hundred that are surely nothing."""
    sure, donor = np.log([0.998, 0.001, 0.001]), np.log([0.2, 0.05, 0.75])
    logits = np.float32([donor] * 200 + [sure] * 100)
    labels = np.uint8([2, 0] * 100 + [0] * 100)
    found = measure_calibration(positions_of(logits, labels))
    assert found.candidates == 200
    assert found.candidates_ece == pytest.approx(0.25, abs=1e-6)
    assert found.ece == pytest.approx((200 * 0.25 + 100 * 0.002) / 300, abs=1e-6)
    assert found.donor.error == pytest.approx(0.25, abs=1e-6)
    assert found.acceptor.error == pytest.approx(0.05, abs=1e-6)
    assert (found.donor.positions[7], found.donor.scores[7]) == (200, pytest.approx(0.75))
    assert found.donor.shares[7] == pytest.approx(0.5)
    assert found.nll == pytest.approx(-(100 * np.log(0.75) + 100 * np.log(0.2) + 100 * np.log(0.998)) / 300, rel=1e-6)
    by_kind = 100 * (0.2**2 + 0.05**2 + 0.25**2) + 100 * (0.8**2 + 0.05**2 + 0.75**2) + 100 * (0.002**2 + 2 * 0.001**2)
    assert found.brier == pytest.approx(by_kind / 300, rel=1e-5)


def test_calibrating_makes_scores_probabilities() -> None:
    logits, labels = synthetic(3, 200_000, (1.8, 1.8, 1.8), sites=-3.0)
    positions = positions_of(logits, labels)
    before = measure_calibration(positions)
    after = measure_calibration(positions, fit_temperature(positions))
    assert after.nll < before.nll
    assert after.brier < before.brier
    assert after.candidates == before.candidates
    for now, was in ((after.candidates_ece, before.candidates_ece), (after.donor.error, before.donor.error)):
        assert now < was / 5


# -- where the temperature is applied ------------------------------------------------------------------------------

WARM: Temperature = (0.8, 1.5, 2.5)


@pytest.fixture
def calibrated_model(small_model, tmp_path) -> Path:
    """A copy of the small model with a temperature beside it, and `own.pt`, which holds the same one itself."""
    path = tmp_path / "model.pt"
    shutil.copy(small_model, path)
    model = replace(Pretrained.from_pt(path), temperature=WARM)
    model.to_calibrated_pt(tmp_path / "own.pt")
    write_beside(path, WARM)
    return path


def write_beside(path: Path, temperature: object, **changed: object) -> None:
    import hashlib

    content = {
        "format_version": 1,
        "temperature": temperature,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "fitted_on": {"path": "v.h5", "fingerprint": "0", "windows": 1, "donors": 1, "acceptors": 1},
        **changed,
    }
    temperature_beside(path).write_text(json.dumps(content))


def loaded(path: Path, calibrated: bool = False) -> Pretrained:
    if path.name == "own.pt":
        with pytest.warns(SpliceAIWarning, match="its temperature is applied"):
            return Pretrained.from_pt(path, calibrated=calibrated)
    return Pretrained.from_pt(path, calibrated=calibrated)


def test_scores_are_a_softmax_of_divided_logits(calibrated_model) -> None:
    plain, warm = loaded(calibrated_model), loaded(calibrated_model, calibrated=True)
    assert (plain.temperature, warm.temperature) == (None, WARM)
    assert loaded(calibrated_model.with_name("own.pt"), True).temperature == pytest.approx(WARM)
    bases = np.random.default_rng(0).integers(0, 5, (2, 180), dtype=np.uint8)
    scores = warm.predict(bases)
    from spliceai_jax import SpliceAI

    logits = np.asarray(SpliceAI(ARCHITECTURES[80]).apply(plain.variables, bases, method=SpliceAI.logits))
    np.testing.assert_allclose(scores, probabilities(logits.reshape(-1, 3), WARM).reshape(scores.shape), atol=1e-6)
    assert np.abs(scores - plain.predict(bases)).max() > 0.05
    assert scores.dtype == np.float32


@pytest.mark.slow
def test_evaluate_applies_it(calibrated_model, small_data) -> None:
    dataset = small_data / "dataset_test.h5"
    windows = read_windows(dataset, 80)
    warm = loaded(calibrated_model, calibrated=True)
    kept = windows.labels != 3
    scores = warm.predict(windows.bases)[kept].astype(np.float64)
    loss = -np.log(np.take_along_axis(scores, windows.labels[kept][:, None].astype(int), -1) + 1e-10).mean()
    assert evaluate(calibrated_model, dataset, calibrated=True).loss == pytest.approx(loss, rel=1e-5)
    assert evaluate(warm, dataset).loss == evaluate(calibrated_model, dataset, calibrated=True).loss
    assert evaluate(calibrated_model, dataset).loss != pytest.approx(loss, rel=1e-3)
    with pytest.raises(SettingsError, match="no `temperature`"):
        evaluate(loaded(calibrated_model), dataset, calibrated=True)


def bed(folder: Path, name: str) -> dict[int, float]:
    rows = (line.split("\t") for line in (folder / "SpliceAI_5000_80" / f"{name}_predictions.bed").open())
    return {int(row[1]): float(row[4]) for row in rows}


def test_predict_applies_each_models_own(calibrated_model, tmp_path) -> None:
    """A calibrated model and a plain one: the mean of what each gives alone."""
    letters = "".join(np.random.default_rng(1).choice(list("ACGT"), 3000))
    (tmp_path / "g.fa").write_text(f">one\n{letters}\n")
    other = tmp_path / "other.pt"
    random_model(80, seed=5).to_pt(other)
    write_beside(other, [1.0, 1.0, 1.0])
    runs = {"mean": [calibrated_model, other], "warm": [calibrated_model], "plain": [other]}
    for name, models in runs.items():
        predict(PredictSettings(input_sequence=tmp_path / "g.fa", models=models, output_dir=tmp_path / name,
                                threshold=0, calibrated=True))  # fmt: skip
    for kind, ahead in (("donor", 0), ("acceptor", 1)):
        mean, warm, plain = (bed(tmp_path / name, kind) for name in runs)
        assert mean.keys() == warm.keys()
        assert all(mean[at] == pytest.approx((warm[at] + plain[at]) / 2, abs=2e-6) for at in mean)
        context = "N" * 40
        ours = loaded(calibrated_model, calibrated=True).predict([context + letters + context])[0]
        column = CLASSES.index(kind)
        assert all(score == pytest.approx(ours[at + ahead, column], abs=2e-6) for at, score in warm.items())


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_what_is_wrong_beside_a_model_is_one_line(command, calibrated_model, small_data, tmp_path, capsys) -> None:
    (tmp_path / "g.fa").write_text(f">one\n{'ACGT' * 100}\n")
    flags = {
        "evaluate": ["-test", small_data / "dataset_test.h5"],
        "predict": ["-i", tmp_path / "g.fa", "-o", tmp_path / "out"],
    }[command]
    beside = temperature_beside(calibrated_model)
    good = beside.read_text()
    cases = {
        "": "model.temperature.json: cannot be read as a temperature",
        "[1, 2, 3]": "cannot be read as a temperature",
        good.replace("1.5", '"warm"'): "cannot be read as a temperature",
        good.replace("1.5, 2.5", "1.5"): "cannot be read as a temperature",
        good.replace("1.5", "0.0"): "the temperature is [0.8, 0.0, 2.5]; expected three numbers",
        good.replace("1.5", "NaN"): "the temperature is [0.8, nan, 2.5]; expected three numbers",
        good.replace('"sha256": "', '"sha256": "0'): "belongs to another model than",
    }
    for content, said in cases.items():
        beside.write_text(content)
        assert main([command, "-m", str(calibrated_model), *map(str, flags), "--calibrated"]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) == 1
        assert said in printed.err, content
    beside.unlink()
    assert main([command, "-m", str(calibrated_model), *map(str, flags), "--calibrated"]) == 2
    said = capsys.readouterr().err
    assert "--calibrated needs model.temperature.json beside it, which is not there; make it by" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_transfer_starts_from_the_plain_weights(calibrated_model, small_data, tmp_path, monkeypatch) -> None:
    results = []
    for model in (calibrated_model, calibrated_model.with_name("own.pt")):
        given = {**run_arguments(small_data, model, tmp_path / model.stem), "tensorboard": False, "epochs": 1}
        if model.name == "own.pt":
            with pytest.warns(SpliceAIWarning, match=r"own\.pt: a calibrated model; its temperature is left out here"):
                results.append(transfer(TransferSettings(**given)))
        else:
            results.append(transfer(TransferSettings(**given)))
    assert results[0].best_model.read_bytes() == results[1].best_model.read_bytes()
    assert results[0].history == results[1].history


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(small_data, small_model, tmp_path_factory, command_line: CommandLine) -> Path:
    """What the real command writes, given OpenSpliceAI's flags."""
    out = tmp_path_factory.mktemp("calibrated") / "out"
    done = command_line(
        *("calibrate", "-m", small_model, "-train", small_data / "dataset_train.h5"),
        *(
            "-test",
            small_data / "dataset_test.h5",
            "-o",
            out,
            "-p",
            "demo",
            "-f",
            80,
            "-n",
            7,
            "-E",
            "-l",
            "focal_loss",
        ),
    )
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stderr.splitlines()
    assert first.endswith("these flags have no effect here: --epochs, --early-stopping, --project-name, --loss")
    assert "fitted on 24 donors and 24 acceptors only" in second
    assert done.stdout.splitlines()[-1] == f"calibrated model: {out / 'calibrated_model.pt'}"
    return out


@pytest.mark.slow
def test_the_command_writes_the_same_temperature_everywhere(written, small_data, small_model) -> None:
    content = json.loads((written / "calibration.json").read_text())
    temperature = content["temperature"]
    np.testing.assert_array_equal(torch.load(written / "temperature.pt", weights_only=True).tolist(), temperature)
    text = (written / "temperature.txt").read_text()
    np.testing.assert_allclose(np.array(text.strip("[]").split(), float), temperature, rtol=1e-6)
    assert json.loads((written / "model_80nt.temperature.json").read_text())["temperature"] == temperature
    with pytest.warns(SpliceAIWarning, match="its temperature is applied"):
        model = Pretrained.from_pt(written / "calibrated_model.pt")
    assert list(model.temperature) == temperature
    assert content["fitted_on"]["fingerprint"] == read_windows(small_data / "dataset_validation.h5", 80).fingerprint
    for name in ("validation", "test"):
        pair = content["measures"][name]
        for when, kind in (("before", "Original"), ("after", "Calibrated")):
            file = written / "calibration" / "results" / name / f"metrics_{kind.lower()}.txt"
            names, numbers = file.read_text().splitlines()
            assert names == f"{kind}_NLL\t{kind}_ECE"
            np.testing.assert_allclose(
                [float(x) for x in numbers.split()], [pair[when]["nll"], pair[when]["ece"]], atol=1e-8
            )
        assert evaluate(model, small_data / f"dataset_{name}.h5").loss == pytest.approx(pair["after"]["nll"], rel=1e-4)
        assert pair["after"]["nll"] < pair["before"]["nll"]
    assert {path.name for path in written.rglob("*.png")} == {"reliability_donor.png", "reliability_acceptor.png"}


def test_a_temperature_file_is_measured_instead(written, small_data, small_model, tmp_path) -> None:
    made = calibrate(
        small_model, small_data / "dataset_validation.h5", tmp_path, temperature_file=written / "temperature.pt"
    )
    assert made.form == "given"
    fitted = json.loads((written / "calibration.json").read_text())
    assert list(made.temperature) == fitted["temperature"]
    assert made.measures["validation"].after.nll == fitted["measures"]["validation"]["after"]["nll"]
    assert list(made.measures) == ["validation"]


def test_it_can_be_written_beside_the_model(small_data, small_model, tmp_path) -> None:
    shutil.copy(small_model, tmp_path / "model.pt")
    with pytest.warns(SpliceAIWarning, match="24 donors"):
        made = calibrate(tmp_path / "model.pt", small_data / "dataset_validation.h5", tmp_path, temperatures="single")
    assert Pretrained.from_pt(tmp_path / "model.pt", calibrated=True).temperature == made.temperature
    assert len(set(made.temperature)) == 1


def test_wrong_input_is_refused_before_anything_is_written(small_data, small_model, written, tmp_path) -> None:
    validation, out = small_data / "dataset_validation.h5", tmp_path / "out"
    with pytest.raises(RunFolderError, match=r"calibrated_model\.pt: exists already"):
        calibrate(small_model, validation, written)
    with pytest.raises(DatasetError, match="no such data set"):
        calibrate(small_model, tmp_path / "none.h5", out)
    with pytest.raises(SettingsError, match="the test set is the validation set"):
        calibrate(small_model, validation, out, test_dataset=validation)
    with pytest.raises(SettingsError, match="`temperatures` is 'warm'; expected one of class, single"):
        calibrate(small_model, validation, out, temperatures="warm")  # type: ignore[arg-type]
    for bad, said in ((small_model, "expected a tensor of three"), (tmp_path / "none.pt", "no such weights file")):
        with pytest.raises(WeightsError, match=said):
            calibrate(small_model, validation, out, temperature_file=bad)
    torch.save(torch.tensor([1.0, 0.0]), tmp_path / "two.pt")
    with pytest.raises(WeightsError, match=r"two\.pt: the temperature is \[1.0, 0.0\]"):
        calibrate(small_model, validation, out, temperature_file=tmp_path / "two.pt")
    assert not out.exists()
    assert main(["calibrate", "-m", str(small_model), "-o", str(out)]) == 2
    assert main(["calibrate", "-m", str(small_model), "-o", str(out), "-train", str(small_data / "x.h5")]) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file"):
        calibrate(small_model, validation, tmp_path / "file")
    assert not out.exists()


# -- at the end of a run -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_calibrates_its_best_model(finished, small_data) -> None:
    best = finished / "models" / "model_best.pt"
    model = Pretrained.from_pt(best, calibrated=True)
    content = json.loads((finished / "history.json").read_text())["history"]["ending"]["calibration"]
    assert list(model.temperature) == content["temperature"]
    assert len(set(model.temperature)) == 1
    after = content["measures"]["test"]["after"]["nll"]
    assert evaluate(model, small_data / "dataset_test.h5").loss == pytest.approx(after, rel=1e-4)
    page = (finished / "report.html").read_text()
    assert f'data-temperature="{model.temperature}"' in page
    assert 'id="calibration"' in page
    assert f"{after:.6f}" in page
    assert "fitted on 24 donors and 24 acceptors only" in " ".join(page.split()).lower()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["gone", "another's"])
def test_a_finished_run_without_its_file_writes_it(lost, finished, small_data, small_model, tmp_path) -> None:
    """As one that was killed before it was written; one that `calibrate` wrote for this model stays."""
    folder = tmp_path / finished.parent.name
    shutil.copytree(finished.parent, folder)
    file = folder / "0" / "models" / "model_best.temperature.json"
    before = file.read_text()
    if lost == "gone":
        file.unlink()
    else:
        file.write_text(before.replace('"sha256": "', '"sha256": "0'))
    again = TransferSettings(**run_arguments(small_data, small_model, tmp_path), resume=True)
    transfer(again)
    assert file.read_text() == before
    file.write_text(before.replace("[", "[ "))
    transfer(again)
    assert file.read_text() == before.replace("[", "[ ")


# -- OpenSpliceAI's own --------------------------------------------------------------------------------------------

SHIM = """
import runpy, sys, torch
old = torch.optim.lr_scheduler.ReduceLROnPlateau
class Accepting(old):
    def __init__(self, *given, verbose=None, **more):
        super().__init__(*given, **more)
torch.optim.lr_scheduler.ReduceLROnPlateau = Accepting
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program with a PyTorch that still takes an argument which it has dropped, and which 0.0.7 gives."""


@pytest.mark.full
def test_a_model_that_openspliceai_calibrated(stock: Path, tmp_path: Path) -> None:
    """It loads, without running its code, and its scores are those that OpenSpliceAI measured."""
    (tmp_path / "cwd").mkdir()
    for seed, role in enumerate(("train", "validation", "test")):
        write_dataset(tmp_path / f"dataset_{role}.h5", [make_windows(36, 40 + seed)], compression="lzf")
    random_model(80, seed=3).to_pt(tmp_path / "model.pt")
    (tmp_path / "shim.py").write_text(SHIM)
    flags = {
        **{"--output-dir": "../out", "--project-name": "demo", "--flanking-size": 80, "--epochs": 1},
        **{"--pretrained-model": "../model.pt", "--train-dataset": "../dataset_train.h5"},
        **{"--test-dataset": "../dataset_test.h5"},
    }
    command = [stock.with_name("python"), "../shim.py", stock, "calibrate"]
    done = subprocess.run(
        [*command, *(str(part) for flag in flags.items() for part in flag)],
        cwd=tmp_path / "cwd",
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    path = tmp_path / "out" / "calibrated_model.pt"
    assert path.is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    with pytest.warns(SpliceAIWarning, match="its temperature is applied"):
        model = Pretrained.from_pt(path)
    text = (tmp_path / "out" / "temperature.txt").read_text()
    np.testing.assert_allclose(model.temperature, np.array(text.strip("[]").split(), float), rtol=1e-5)
    assert "openspliceai" not in sys.modules
    windows = read_windows(tmp_path / "dataset_test.h5", 80)
    engine = Engine(ARCHITECTURES[80], Recipe())
    # It counts padding as neither.
    everywhere = replace(windows, labels=np.where(windows.labels == 3, 0, windows.labels).astype(np.uint8))
    positions = gather_positions(engine, engine.place(model.variables), everywhere, 36, 0)
    measured = {
        "original": measure_calibration(positions),
        "calibrated": measure_calibration(positions, model.temperature),
    }
    for name, ours in measured.items():
        file = tmp_path / "out" / "calibration" / "results" / "test" / f"metrics_{name}.txt"
        assert float(file.read_text().split()[2]) == pytest.approx(ours.nll, rel=1e-3)
    # Ours takes its temperature.pt, too.
    assert model.temperature != calibration_module.NEUTRAL
    again = calibrate(
        tmp_path / "model.pt", tmp_path / "dataset_validation.h5", tmp_path / "ours",
        temperature_file=tmp_path / "out" / "temperature.pt",
    )  # fmt: skip
    assert again.temperature == model.temperature

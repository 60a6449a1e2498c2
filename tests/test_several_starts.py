"""Several models to start from: a run from each, and one model that learns from all of them."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, CommandLine, content_of, full, random_model

from spliceai_jax import Display, Pretrained, TransferResult, TransferSettings, transfer
from spliceai_jax.commands.main import main
from spliceai_jax.errors import Interrupted, RunFolderError, SettingsError, WeightsError
from spliceai_jax.fine_tuning.transfer import TEACHERS_SHARE, _names
from spliceai_jax.runs.folder import RunFolder

FOLDER = "SpliceAI_all_80_0_rs42/0"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models, mouse.pt and zebrafish.pt."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("mouse", "zebrafish"), 1):
        random_model(80, seed).to_pt(folder / f"{name}.pt")
    return folder


def settings(data: Path, output: Path, **given: Any) -> TransferSettings:
    sets = {name: data / f"dataset_{name.split('_')[0]}.h5" for name in ("train_dataset", "test_dataset")}
    return TransferSettings(
        **{"output_dir": output, "project_name": "all", "epochs": 2, "batch_size": 4, "resume": True, **sets, **given}
    )


def files(output: Path) -> dict[str, bytes]:
    """Models and logs of all runs, and what decides them."""
    return {
        str(path.relative_to(output)): content_of(path)
        for name in ("models/*.pt", "LOG/*/*", "run.json", "history.json")
        for path in output.glob(f"**/{name}")
    }


@pytest.fixture(scope="module")
def whole(small_data: Path, models: Path, tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine) -> Path:
    """The output folder of the command, given a folder of models; only to be read."""
    output = tmp_path_factory.mktemp("whole")
    sets = ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5"]
    done = command_line(
        "transfer", "-m", models, *sets, "-o", output, "-p", "all", "--epochs", 2, "--batch-size", 4, "--resume"
    )
    assert done.returncode == 0, done.stderr
    (output / "printed").write_text(done.stdout)
    return output


class Printed(Display):
    """What was shown; a line that begins as given raises."""

    def __init__(self, stop_at: str = "never") -> None:
        self.lines: list[str] = []
        self._stop_at = stop_at

    def line(self, text: str) -> None:
        self.lines.append(text)
        if text.startswith(self._stop_at):
            raise Interrupted("stopped here", signal.SIGTERM)


@pytest.mark.slow
def test_a_run_from_each_and_one_that_learns_from_all(whole: Path, small_data: Path, models: Path) -> None:
    """The runs are those that one would make by hand, to the bit."""
    by_hand = [
        transfer(settings(small_data, whole / "by_hand", pretrained_model=path, project_name=path.stem))
        for path in sorted(models.glob("*.pt"))
    ]
    best = max(by_hand, key=lambda result: result.best_measured["validation"].metrics.mean_auprc)
    assert {result.folder.parent.name for result in by_hand} > {best.folder.parent.name}
    together = transfer(
        settings(
            small_data,
            whole / "by_hand",
            pretrained_model=models / f"{best.folder.parent.name.split('_')[1]}.pt",
            distill_teacher=[result.best_model for result in by_hand],
            distill_weight=TEACHERS_SHARE,
        )
    )
    expected = files(whole / "by_hand")
    found = {name.removeprefix("starts_all/"): content for name, content in files(whole).items() if "hand" not in name}
    assert found == expected
    identity = RunFolder(whole / FOLDER).read_identity()
    assert identity.choices.distill_weight == TEACHERS_SHARE
    assert identity.distill_teacher == tuple(Pretrained.from_pt(result.best_model).fingerprint for result in by_hand)
    assert together.starts == {}


@pytest.mark.slow
def test_several_seeds(models: Path, small_data: Path, tmp_path: Path) -> None:
    """They are the runs of the seeds by hand, to the bit."""
    mouse, shown = models / "mouse.pt", Printed()
    result = transfer(settings(small_data, tmp_path, pretrained_model=mouse, random_seed=5, seeds=2), shown)
    assert list(result.seeds) == ["seed 5", "seed 6"]
    by_hand = transfer(settings(small_data, tmp_path / "hand", pretrained_model=mouse, random_seed=6))
    assert files(result.seeds["seed 6"].folder) == files(by_hand.folder)
    for seed in (5, 6):
        assert result.seeds[f"seed {seed}"].folder == tmp_path / f"SpliceAI_all_80_0_rs{seed}" / "0"
        assert any(line.startswith(f"seed {seed}  ") for line in shown.lines)
    best = max(result.seeds.values(), key=lambda one: one.best_measured["validation"].metrics.mean_auprc)
    assert result.best_model == best.best_model
    assert f"its model is {best.best_model}." in shown.lines[-1]
    again = Printed()
    transfer(settings(small_data, tmp_path, pretrained_model=mouse, random_seed=5, seeds=2), again)
    assert again.lines.count("this run is finished already") == 2
    assert again.lines[-1] == shown.lines[-1]


@pytest.mark.slow
def test_several_seeds_of_several_models(
    whole: Path, models: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each seed one model is made of several; `whole` has that of the first seed."""
    made = transfer(settings(small_data, whole, pretrained_model=models))
    given: list[TransferSettings] = []

    def from_several(settings: TransferSettings, paths: tuple[Path, ...], display: Display) -> TransferResult:
        assert paths == tuple(sorted(models.glob("*.pt")))
        given.append(settings)
        return made

    monkeypatch.setattr("spliceai_jax.fine_tuning.transfer._in_two_stages", from_several)
    result = transfer(settings(small_data, whole, pretrained_model=models, seeds=2))
    assert [(one.random_seed, one.seeds) for one in given] == [(42, 1), (43, 1)]
    assert result.best_model == made.best_model


def test_seeds_need_the_same_validation_set(models: Path, small_data: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.h5"
    alone.write_bytes((small_data / "dataset_train.h5").read_bytes())
    given = settings(small_data, tmp_path / "out", pretrained_model=models, seeds=2, train_dataset=alone)
    with pytest.raises(SettingsError, match="each seed would draw another tenth"):
        transfer(given)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_table_shows_what_each_reaches(whole: Path) -> None:
    lines = (whole / "printed").read_text().splitlines()
    names = ["mouse", "zebrafish", "all of them"]
    rows = {name: line.split() for line in lines for name in names if line.startswith(f"{name}  ")}
    assert list(rows) == names
    for name in ("mouse", "zebrafish"):
        history = json.loads((whole / f"starts_all/SpliceAI_{name}_80_0_rs42/0/history.json").read_text())["history"]
        kept = json.loads((whole / f"starts_all/SpliceAI_{name}_80_0_rs42/0/models/model_best.json").read_text())
        records = history["untouched"]["test"]["metrics"], kept["after"]["validation"], kept["after"]["test"]
        assert rows[name][1:] == [f"{one[site]['auprc']:.3f}" for one in records for site in ("donor", "acceptor")]
    card = json.loads((whole / FOLDER / "models" / "model_best.json").read_text())
    records = card["after"]["validation"], card["after"]["test"]
    assert rows["all of them"][5:] == [f"{one[site]['auprc']:.3f}" for one in records for site in ("donor", "acceptor")]


@pytest.mark.slow
@pytest.mark.parametrize("at", full(["model 2 of 2", "one model of all 2", "report: "], "one model of all 2"))
def test_it_goes_on_where_it_was(at: str, whole: Path, small_data: Path, models: Path, tmp_path: Path) -> None:
    """Stopped between the runs, and at the end of the first one."""
    given = settings(small_data, tmp_path, pretrained_model=models)
    with pytest.raises(Interrupted):
        transfer(given, Printed(stop_at=at))
    result = transfer(given)
    assert list(result.starts) == ["mouse", "zebrafish"]
    assert files(tmp_path) == {name: content for name, content in files(whole).items() if "hand" not in name}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    again = transfer(given)  # finished
    assert again.best_epoch == result.best_epoch
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")} == before


@pytest.mark.full
def test_from_a_genome(models: Path, tmp_path: Path, command_line: CommandLine) -> None:
    """The data sets are made once, and only the last run scores whole sequences."""
    genome = ROOT / "demo" / "fly_genome"
    files = ["--genome-fasta", genome / "genome.fa.gz", "--annotation-gff", genome / "annotation.gff3.gz"]
    command = ["transfer", "-m", models, *files, "--test-sequences", "2L", "-o", tmp_path, "-p", "all", "--epochs", 1]
    done = command_line(*command)
    assert done.returncode == 0, done.stderr
    sets = RunFolder(tmp_path / FOLDER).read_identity().fingerprints
    for name in ("mouse", "zebrafish"):
        root = tmp_path / "starts_all" / f"SpliceAI_{name}_80_0_rs42" / "0"
        assert RunFolder(root).read_identity().fingerprints == sets
        assert not (root / "genome_evaluation.json").exists()
    assert (tmp_path / FOLDER / "genome_evaluation.json").exists()
    again = command_line(*command, "--resume")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("this run is finished already") == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"distill_teacher": "mouse.pt", "distill_weight": 0.5}, "`distill_teacher` does not go with several"),
        ({"rehearsal_dataset": "dataset_old.h5"}, "`rehearsal_dataset` does not go with several"),
        ({"distill_weight": 0.0}, "`distill_weight=0`, but"),
        ({"recipe": "openspliceai-0.0.7"}, "`recipe='openspliceai-0.0.7'` does not go with several"),
    ],
)
def test_what_does_not_go_with_several(given, said, models, small_data, tmp_path) -> None:
    with pytest.raises(SettingsError, match=said.replace("(", r"\(")):
        transfer(settings(small_data, tmp_path / "out", pretrained_model=models, **given))
    assert not (tmp_path / "out").exists()


def test_models_that_cannot_be_used_together(models: Path, small_data: Path, tmp_path: Path) -> None:
    """Each is one error before anything is trained or written."""
    random_model(400).to_pt(tmp_path / "long.pt")
    (tmp_path / "other").mkdir()
    random_model(80, 9).to_pt(tmp_path / "other" / "mouse.pt")
    (tmp_path / "bad.pt").write_bytes(b"nonsense")
    mouse = models / "mouse.pt"
    for paths, error, said in (
        (
            [mouse, tmp_path / "long.pt"],
            SettingsError,
            "long.pt has a flanking size of 400 nt and .*mouse.pt one of 80",
        ),
        ([mouse, tmp_path / "bad.pt"], WeightsError, "bad.pt"),
        ([mouse, tmp_path / "gone.pt"], WeightsError, "gone.pt"),
        ([], SettingsError, "none is given"),
    ):
        with pytest.raises(error, match=said):
            transfer(settings(small_data, tmp_path / "out", pretrained_model=paths))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_models_of_one_name_are_told_apart(models: Path, small_data: Path, tmp_path: Path) -> None:
    """As the `model_best.pt` of several runs are; and a dot in the name of a checkpoint's folder is no suffix."""
    (tmp_path / "other").mkdir()
    random_model(80, 9).to_pt(tmp_path / "other" / "mouse.pt")
    paths = models / "mouse.pt", models / "zebrafish.pt", tmp_path / "other" / "mouse.pt"
    first, second, third = _names(paths, None)
    assert second == "zebrafish"
    for name, path in ((first, paths[0]), (third, paths[2])):
        assert name == f"mouse_{Pretrained.from_pt(path).fingerprint[:8]}"
    for name in ("fly.v1", "fly.v2"):
        random_model(80, 9).to_orbax(tmp_path / name)
    assert _names((tmp_path / "fly.v1", tmp_path / "fly.v2"), None) == ["fly.v1", "fly.v2"]


@pytest.mark.slow
def test_the_same_weights_count_once(models: Path, small_data: Path, tmp_path: Path) -> None:
    """A copy is left out, and a file that is given twice is one model; one that is left is an ordinary run."""
    mouse, copy, shown = models / "mouse.pt", tmp_path / "copy.pt", Printed()
    copy.write_bytes(mouse.read_bytes())
    result = transfer(settings(small_data, tmp_path / "out", pretrained_model=[mouse, mouse, copy]), shown)
    assert result.starts == {}
    assert not (tmp_path / "out" / "starts_all").exists()
    assert shown.lines[0] == f"{copy} holds the same weights as {mouse}, and is left out"
    assert RunFolder(tmp_path / "out" / FOLDER).read_identity().distill_teacher == ()


@pytest.mark.slow
def test_a_run_that_is_there_already_is_not_overwritten(whole: Path, models: Path, small_data: Path, capsys) -> None:
    sets = ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5"]
    before = files(whole)
    line = ["transfer", "-m", *sorted(models.glob("*.pt")), *sets, "-o", whole, "-p", "all"]
    assert main([str(word) for word in line]) == 2
    assert "holds a run already; go on with it by --resume" in capsys.readouterr().err
    assert files(whole) == before


@pytest.mark.slow
def test_another_run_in_the_last_folder_is_found_first(
    whole: Path, models: Path, small_data: Path, tmp_path: Path
) -> None:
    """A run from one model, or from fewer; nothing is trained before it is refused."""
    mouse, more = models / "mouse.pt", tmp_path / "more.pt"
    random_model(80, 7).to_pt(more)
    transfer(settings(small_data, tmp_path / "one", pretrained_model=mouse, epochs=1))
    for output, given in ((tmp_path / "one", [models]), (whole, [models, more])):
        before = files(output)
        with pytest.raises(RunFolderError, match="holds a run that was not made from these"):
            transfer(settings(small_data, output, pretrained_model=given))
        assert files(output) == before


@pytest.mark.slow
def test_where_the_best_of_them_is_better_alone(
    models: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line says so, and names its file; the last run starts where the best one started."""

    def scored(result: TransferResult) -> float:
        return 0.9 if "zebrafish" in str(result.folder) else 0.5

    monkeypatch.setattr("spliceai_jax.fine_tuning.transfer._validation_auprc", scored)
    shown = Printed()
    result = transfer(settings(small_data, tmp_path, pretrained_model=models), shown)
    assert shown.lines[-1] == (
        "On the validation set zebrafish, tuned alone, has the higher mean AUPRC, 0.9000; the last model has 0.5000. "
        f"The result is therefore that of zebrafish: {result.starts['zebrafish'].best_model}."
    )
    given = Pretrained.from_pt(models / "zebrafish.pt").fingerprint
    assert RunFolder(tmp_path / FOLDER).read_identity().pretrained_model == given


def test_the_flag_that_makes_the_recipe_openspliceais_is_named(models: Path, small_data: Path, tmp_path: Path) -> None:
    shown = Printed(stop_at="`patience`")
    given = settings(small_data, tmp_path / "out", pretrained_model=models / "mouse.pt", patience=3)
    with pytest.raises(Interrupted):
        transfer(given, shown)
    assert "`recipe='openspliceai'`" in shown.lines[-1]
    assert "`recipe='best'`" in shown.lines[-1]
    assert not (tmp_path / "out").exists()

"""Which run is meant by a folder that lies above it, and where a run may not be made."""

from pathlib import Path

import pytest

from spliceai_jax.errors import RunFolderError
from spliceai_jax.report.compare import _best_of_run
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.record import read_run

WORM, FLY = "SpliceAI_worm_400_0_rs42/0", "SpliceAI_fly_80_1_rs42/1"


def make(root: Path) -> Path:
    (root / "models").mkdir(parents=True)
    (root / "models" / "model_best.pt").touch()
    (root / "run.json").write_text("{}")
    return root


@pytest.mark.parametrize("above", [".", "SpliceAI_worm_400_0_rs42", WORM])
def test_a_folder_above_the_only_run_means_the_run(above, tmp_path, monkeypatch) -> None:
    run = make(tmp_path / WORM)
    (tmp_path / "data_worm").mkdir()
    monkeypatch.chdir(tmp_path)
    assert RunFolder.found(above).root == run
    assert _best_of_run(Path(above)) == run / "models" / "model_best.pt"
    with pytest.raises(RunFolderError, match=r"run\.json: damaged"):  # it is the one that is read
        read_run(above)


def test_several_runs_are_listed(tmp_path) -> None:
    runs = make(tmp_path / FLY), make(tmp_path / WORM)
    with pytest.raises(RunFolderError) as refusal:
        RunFolder.found(tmp_path)
    assert str(refusal.value) == f"{tmp_path}: holds 2 runs; give one of them: {runs[0]}, {runs[1]}"
    assert RunFolder.found(tmp_path / "SpliceAI_fly_80_1_rs42").root == runs[0]


def test_no_run_is_refused_by_the_folder_that_was_given(tmp_path) -> None:
    make(tmp_path / "deep" / "down" / WORM)
    with pytest.raises(RunFolderError, match=f"^{tmp_path}/run.json: cannot be read"):
        read_run(tmp_path)
    assert _best_of_run(tmp_path) == tmp_path


def test_models_in_the_folder_itself_are_meant_first(tmp_path) -> None:
    make(tmp_path / WORM)
    (tmp_path / "model.pt").touch()
    assert _best_of_run(tmp_path) == tmp_path


@pytest.mark.parametrize("given", [WORM, "SpliceAI_worm_400_0_rs42"])
@pytest.mark.parametrize("resume", [True, False])
def test_no_run_is_made_in_another_ones_folder(given, resume, tmp_path) -> None:
    make(tmp_path / WORM)
    folder = RunFolder.named(tmp_path / given, "worm", 400, 0, 42)
    with pytest.raises(RunFolderError, match=f"{tmp_path / given} is the folder of a run; .*output_dir={tmp_path}`"):
        folder.check(resume)
    RunFolder.named(tmp_path, "fly", 400, 0, 42).check(resume)

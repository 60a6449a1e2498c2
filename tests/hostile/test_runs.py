"""What a run keeps is damaged: it ends as if it had not been, or one line says what is wrong."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orbax.checkpoint
import pytest
from test_resume import Killed

from hostile.conftest import BYTES, Attack, Outcome, printable, refused, told, within_limits
from hostile.mutants import mutant
from spliceai_jax import TransferSettings, transfer
from spliceai_jax.errors import DivergedError, RunFolderError, SpliceAIWarning
from spliceai_jax.fine_tuning import stop
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.record import read_run
from spliceai_jax.training.engine import Engine

pytestmark = pytest.mark.slow

RUN = "SpliceAI_small_80_0_rs42/0"
EPOCHS, STEPS = 3, 3

DAMAGED = int(os.environ.get("SPLICEAI_DAMAGED", 30))
"""How many times each of the two runs is damaged at random."""

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def settings(small_data: Path, small_model: Path) -> dict[str, object]:
    return {
        "train_dataset": small_data / "dataset_train.h5",
        "test_dataset": small_data / "dataset_test.h5",
        "pretrained_model": small_model,
        "project_name": "small",
        "epochs": EPOCHS,
        # On these windows of chance letters nothing is learnt; this recipe keeps a tuned model all the same.
        "recipe": "openspliceai-0.0.7",
        "batch_size": 3,
        "unfreeze": 1,
        "learning_rate": 0.01,
    }


@pytest.fixture(scope="module")
def runs(settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of two runs: `finished`, and `interrupted` in its second epoch."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        transfer(TransferSettings(**settings, output_dir=folder / "finished"))
        patch.setattr(stop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        train, trained = Engine.train, []

        def dying(*arguments: object) -> object:
            trained.append(1)
            if len(trained) == STEPS + 3:
                raise Killed
            return train(*arguments)

        patch.setattr(Engine, "train", dying)
        with pytest.raises(Killed):
            transfer(TransferSettings(**settings, output_dir=folder / "interrupted"))
    return folder


@pytest.fixture
def damaged(runs: Path, settings: dict[str, object], tmp_path: Path, attack: Attack) -> Callable[..., Outcome]:
    """Damage a copy of a run, and go on with it."""

    def go_on(which: str, damage: Damage, *more: object, **environment: str) -> Outcome:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.copytree(runs / which, tmp_path / "out")
        damage(tmp_path / "out" / RUN)
        flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
        return attack("transfer", *flags, "-o", tmp_path / "out", "--resume", *more, **environment)

    return go_on


def results(root: Path) -> dict[str, bytes]:
    """The models and logs, without what was kept of damaged ones."""
    files = [path for folder in ("models", "LOG") for path in (root / folder).rglob("*") if path.is_file()]
    found = {str(path.relative_to(root)): path.read_bytes() for path in files if "unreadable" not in path.name}
    found.pop("models/model_best.json", None)
    return found


def notes(outcome: Outcome) -> list[str]:
    """Check that a command succeeded, in bounded memory, and return the notes it printed, a line each."""
    assert outcome.status == 0, outcome
    lines = outcome.stderr.splitlines()
    # Where stderr is no terminal, progress is shown as lines of their own.
    said = [line for line in lines if not re.match(r"[\w ,]+: \d+/\d+ windows", line)]
    assert all(line.startswith("spliceai-jax: note: ") and printable(line) for line in said), said
    assert outcome.grown < BYTES  # the time is that of training and of the report
    return [line.removeprefix("spliceai-jax: note: ") for line in said]


def flip(path: Path, at: int, mask: int = 4) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= mask
    path.write_bytes(content)


def largest(folder: Path) -> Path:
    """The file of a checkpoint that holds most of the weights."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def latest(root: Path, back: int = 0) -> Path:
    """The latest checkpoint, or one before it."""
    return sorted((root / "checkpoints").glob("[0-9]"))[-1 - back]


def spoilt_progress(root: Path, old: str, new: str) -> None:
    path = latest(root) / "progress" / "metadata"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


CHECKPOINTS: dict[str, Damage] = {
    "a bit of the weights": lambda root: flip(largest(latest(root)), 100_000),
    "half of the weights": lambda root: os.truncate(largest(latest(root)), 100_000),
    "the epoch": lambda root: spoilt_progress(root, '"epoch": 1', '"epoch": 9'),
    "no state": lambda root: shutil.rmtree(latest(root) / "state"),
    "an empty folder": lambda root: (root / "checkpoints" / "9").mkdir(),
}
DEAR = ("deep progress", "a list", "no state", "no digest", "an empty folder")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full) if name in DEAR else name for name in CHECKPOINTS]
)
def test_the_checkpoint_before_is_taken(name, damaged, runs, tmp_path) -> None:
    """Nothing is lost: the damaged one is kept under another name, and the end is the same, bit for bit."""
    outcome = damaged("interrupted", CHECKPOINTS[name])
    [note] = notes(outcome)
    assert re.search(r"checkpoints/\d: this checkpoint is damaged .*; kept as \d\.unreadable_1, and the run", note)
    assert len(list((tmp_path / "out" / RUN / "checkpoints").glob("*.unreadable_1"))) == 1
    assert results(tmp_path / "out" / RUN) == results(runs / "finished" / RUN)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(2, DAMAGED))])
@pytest.mark.parametrize("which", ["finished", "interrupted"])
def test_damaged_bytes(which, seed, damaged, runs, tmp_path) -> None:
    """Any file of a run: the end is the same, bit for bit, or one line says what is wrong."""
    random = np.random.default_rng(seed)
    folder = str(random.choice(["models", "checkpoints", "checkpoints", "LOG", "*.json"]))
    chosen = []

    def damage(root: Path) -> None:
        below = root.glob(folder) if "*" in folder else (root / folder).rglob("*")
        files = sorted(path for path in below if path.is_file())
        path = files[random.integers(len(files))]
        chosen.append(path.relative_to(root))
        path.write_bytes(mutant(path.read_bytes(), seed))

    outcome = damaged(which, damage)
    if outcome.status == 2:
        assert not (which == "finished" and folder in ("models", "LOG")), outcome
        told(outcome)
        return
    found, expected = results(tmp_path / "out" / RUN), results(runs / "finished" / RUN)
    left = {str(chosen[0])} if folder == "models" else set()  # the best model alone is looked at
    assert {name for name in expected if found.get(name) != expected[name]} <= left, (chosen, outcome)
    assert found["models/model_best.pt"] == expected["models/model_best.pt"]
    assert found.keys() == expected.keys(), (chosen, outcome)


LOST: dict[str, tuple[str, Damage, str]] = {
    "all checkpoints": (
        "interrupted",
        lambda root: [flip(largest(latest(root, back)), 100_000) for back in (0, 1)],
        "there is no other, so that the run cannot go on; bring back a copy",
    ),
    "checkpoints gone": (
        "finished", lambda root: shutil.rmtree(root / "checkpoints"), "holds no checkpoint, though"
    ),
    "a file for their folder": (
        "finished",
        lambda root: (shutil.rmtree(root / "checkpoints"), (root / "checkpoints").touch()),
        "checkpoints",
    ),
    "no run.json": ("finished", lambda root: (root / "run.json").unlink(), "run.json: missing, though"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_refused(name, damaged) -> None:
    which, damage, said = LOST[name]
    outcome = damaged(which, damage)
    assert outcome.status == 2
    assert said in told(outcome)
    assert "finished already" not in outcome.stdout
    assert "best model" not in outcome.stdout


REPAIRED: dict[str, Damage] = {
    "the best model": lambda root: os.truncate(root / "models" / "model_best.pt", 1000),
    "a log": lambda root: flip(root / "LOG" / "VAL" / "loss_batch.txt", 5),
    "the history": lambda root: (root / "history.json").write_text("{"),
    "the card": lambda root: (root / "models" / "model_best.json").unlink(),
}


def spoilt(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("name", REPAIRED)
def test_made_again(name, damaged, runs, tmp_path) -> None:
    """A finished run makes again what its checkpoint and its models hold."""
    outcome = damaged("finished", REPAIRED[name])
    said = ["models/model_best.pt: missing or damaged; made again"] if name == "the best model" else []
    assert [note.partition(f"{RUN}/")[2] for note in notes(outcome)] == said, outcome.stderr
    assert results(tmp_path / "out" / RUN) == results(runs / "finished" / RUN)
    assert (tmp_path / "out" / RUN / "history.json").read_bytes() == (
        runs / "finished" / RUN / "history.json"
    ).read_bytes()


def test_the_folder_is_removed_under_a_run(settings, tmp_path, monkeypatch) -> None:
    """No model is named that is not there, and the folder does not come back without what it held."""
    root, train, trained = tmp_path / RUN, Engine.train, []

    def removing(*arguments: object) -> object:
        trained.append(1)
        if len(trained) == STEPS + 2:
            shutil.rmtree(root)
        return train(*arguments)

    monkeypatch.setattr(Engine, "train", removing)
    with pytest.raises(RunFolderError, match="was removed while the run worked; put it back"):
        transfer(TransferSettings(**settings, output_dir=tmp_path))
    assert not (root / "models").exists()


def test_weights_and_data_are_removed_under_a_run(settings, small_data, small_model, tmp_path, monkeypatch) -> None:
    """What has been read is not needed again."""
    copied = {name: shutil.copy(value, tmp_path) for name, value in settings.items() if isinstance(value, Path)}
    held = RunFolder.held

    def removing(*arguments: object) -> object:
        for path in copied.values():
            Path(path).unlink(missing_ok=True)
        return held(*arguments)

    monkeypatch.setattr(RunFolder, "held", removing)
    result = transfer(TransferSettings(**settings | copied, output_dir=tmp_path))
    assert result.best_model.exists()


def test_the_rate_is_named(settings, tmp_path, monkeypatch) -> None:
    """Also where it is the evaluation that notices: the data set is not to blame."""
    evaluate = Engine.evaluate

    def diverged(self, variables, batch):
        probabilities, losses = evaluate(self, variables, batch)
        return probabilities, losses * float("nan") if (tmp_path / RUN / "history.json").exists() and moved else losses

    moved, train = [], Engine.train

    def noted(*arguments: object) -> object:
        moved.append(1)
        return train(*arguments)

    monkeypatch.setattr(Engine, "train", noted)
    monkeypatch.setattr(Engine, "evaluate", diverged)
    with pytest.raises(
        DivergedError, match=r"the loss on the training set became .*try a lower `learning_rate`"
    ) as caught:
        transfer(TransferSettings(**settings, output_dir=tmp_path))
    assert ".h5" not in str(caught.value)


def test_a_checkpoint_that_cannot_be_written(settings, runs, tmp_path, monkeypatch) -> None:
    """orbax's words are not ours; the checkpoint before is there."""
    shutil.copytree(runs / "interrupted", tmp_path / "out")
    before = {path.name for path in (tmp_path / "out" / RUN / "checkpoints").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise ValueError("RESOURCE_EXHAUSTED:\n No space left on device")

    monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "save", full)
    with pytest.raises(
        RunFolderError, match=r"checkpoint cannot be written \(RESOURCE_EXHAUSTED: No space left on device"
    ):
        transfer(TransferSettings(**settings, output_dir=tmp_path / "out", resume=True))
    assert {path.name for path in (tmp_path / "out" / RUN / "checkpoints").iterdir()} >= before


def test_other_cores(damaged, runs, settings, tmp_path) -> None:
    """One line says that the end is equal to rounding only."""
    outcome = damaged("interrupted", lambda root: spoilt(root / "run.json", '"threads": "', '"threads": "9'))
    assert notes(outcome) == []
    [line] = [line for line in outcome.stdout.splitlines() if "to the bit" in line]
    assert re.search(r"to float rounding, but not to the bit \(threads '9\d+', then '\d+'\)", line), line
    outcome = damaged("interrupted", lambda root: None)
    assert "to the bit" not in outcome.stdout


WRONG = {
    "a list": b"[]",
    "empty": b"",
    "not UTF-8": b'{"\xff": 1}',
    "deep": b"[" * 10**6,
    "cut": b'{"format_version": 1, "recipe": "bes',
    "an unknown version": b'{"format_version": 1e300}',
    "a folder": None,
}


def put(path: Path, wrong: bytes | int | list[int] | None) -> None:
    path.unlink(missing_ok=True)
    if wrong is None:
        path.mkdir()
    elif isinstance(wrong, list):
        path.write_bytes(b"[" + b"[]," * wrong[0] + b"1]")
    elif isinstance(wrong, int):
        path.touch()
        os.truncate(path, wrong)
    else:
        path.write_bytes(wrong)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["run.json", "history.json"])
def test_report_refuses(name: str, wrong: str, runs: Path, tmp_path: Path, attack: Attack) -> None:
    """The file is named, whatever is in it."""
    shutil.copytree(runs / "finished", tmp_path / "out")
    put(tmp_path / "out" / RUN / name, WRONG[wrong])
    refused(attack("report", tmp_path / "out" / RUN), f"{name}: damaged")


@pytest.mark.parametrize("wrong", WRONG)
def test_left_out_of_the_report(wrong: str, runs: Path, tmp_path: Path) -> None:
    """A note names the file."""
    shutil.copytree(runs / "finished", tmp_path / "out")
    put(tmp_path / "out" / RUN / "genome_evaluation.json", WRONG[wrong])
    with pytest.warns(SpliceAIWarning, match=r"genome_evaluation\.json: damaged .* left out"):
        read_run(tmp_path / "out" / RUN)


@pytest.mark.parametrize("wrong", WRONG)
def test_inspect(wrong: str, runs: Path, tmp_path: Path, attack: Attack) -> None:
    """A card that is none is said to be none."""
    model = Path(shutil.copy(runs / "finished" / RUN / "models" / "model_best.pt", tmp_path))
    put(model.with_suffix(".json"), WRONG[wrong])
    outcome = attack("inspect", model)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "model_best.json cannot be read as a card (" in outcome.stdout
    assert printable(outcome.stdout)
    within_limits(outcome)

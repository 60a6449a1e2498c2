"""Where fine-tuning does not help, the run's best model is the untouched one, and everything says so."""

import hashlib
import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from conftest import ROOT, CommandLine, full

from spliceai_jax import ConsoleDisplay, Pretrained, TransferResult, TransferSettings, transfer
from spliceai_jax.commands.main import main
from spliceai_jax.evaluation.metrics import Metrics, SiteMetrics
from spliceai_jax.fine_tuning.loop import TrainingLoop
from spliceai_jax.report.verdict import before_and_after, reach_verdict
from spliceai_jax.report.writing import write_report
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import Epoch, History, SplitRecord
from spliceai_jax.runs.record import read_run
from spliceai_jax.training.recipes import RECIPES, Recipe

GIVEN = ROOT / "demo" / "worm_400nt.pt"
"""A model that finds splice sites, and so can be made worse."""

FOLDER = "SpliceAI_ruined_400_0_rs42/0"
LAST = re.compile(
    r"Fine-tuning did NOT help: on the validation set the mean AUPRC was (0\.\d{4}) before it and (0\.\d{4}) after "
    r"it \(model_(\d)\)\. model_best\.pt is therefore the untouched model; try more genes, a longer flanking size, or "
    r"a lower --learning-rate\."
)


# -- the rule --------------------------------------------------------------------------------------------------


def measured(loss: float, auprc: float) -> SplitRecord:
    site = SiteMetrics(0.5, 0.5, 0.5, auprc, (0.5,) * 4, (0.5,) * 4, 10)
    return SplitRecord(Metrics(loss, 0.5, site, site, 4), [loss])


@pytest.mark.parametrize(
    ("epochs", "kept"),
    [
        ([(0.9, 0.7)], 0),
        ([(0.9, 0.6)], 0),
        ([(0.9, 0.5)], None),
        ([(2.0, 0.7)], 0),
        ([(0.9, 0.7), (0.8, 0.5)], None),
        ([(0.9, 0.5), (0.8, 0.7)], 1),
        ([(0.8, 0.5), (0.9, 0.7)], None),
    ],
    ids=["better", "equal", "worse", "a higher loss", "from better to worse", "from worse to better", "not the lowest"],
)
def test_the_rule(epochs: list[tuple[float, float]], kept: int | None) -> None:
    """The epoch with the lowest validation loss, unless its AUPRC is below the untouched model's."""
    before, on_test = measured(1.0, 0.6), measured(1.0, 0.0)
    history = History(
        untouched={"validation": before, "test": measured(1.0, 0.9)},
        epochs=[Epoch(1e-3, measured(*of_epoch), on_test, on_test) for of_epoch in epochs],
    )
    assert history.kept_epoch(Recipe(untouched_if_better=True)) == kept
    assert history.kept_epoch(Recipe()) == history.lowest_loss_epoch
    last = Recipe(keeps_last=True)
    assert history.kept_epoch(last) == history.tuned_epoch(last) == len(epochs) - 1
    worse = epochs[-1][1] < 0.6
    assert history.kept_epoch(replace(last, untouched_if_better=True)) == (None if worse else len(epochs) - 1)
    assert history.kept_epoch(replace(last, early_stopping=True)) == history.lowest_loss_epoch


def test_which_recipes_keep_it() -> None:
    assert RECIPES["best"].untouched_if_better
    assert RECIPES["openspliceai"].untouched_if_better
    assert not RECIPES["openspliceai-0.0.7"].untouched_if_better  # as OpenSpliceAI 0.0.7


# -- a run that makes the model worse, through the command line ------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few windows of the fly's genes; in the training set donors are called acceptors, and acceptors donors."""
    folder = tmp_path_factory.mktemp("swapped")
    for name, source, rows, classes in (
        ("train", "train", slice(0, 6), [0, 2, 1]),
        ("validation", "test", slice(0, 4), [0, 1, 2]),
        ("test", "test", slice(4, 8), [0, 1, 2]),
    ):
        with (
            h5py.File(ROOT / "demo" / "fly" / f"dataset_{source}.h5") as file,
            h5py.File(folder / f"dataset_{name}.h5", "w") as written,
        ):
            written["X0"], written["Y0"] = file["X0"][rows], file["Y0"][:, rows][..., classes]
    return folder


def flags(data: Path, output: Path) -> list[object]:
    files = ["-m", GIVEN, "-train", data / "dataset_train.h5", "-test", data / "dataset_test.h5", "-o", output]
    return ["transfer", *files, "-p", "ruined", "--epochs", 2, "--batch-size", 3, "--learning-rate", "1e-2", "--resume"]


@pytest.fixture(scope="module")
def ruined(data: Path, tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine) -> tuple[Path, str]:
    """The folder of the run, and what it printed; only to be read."""
    output = tmp_path_factory.mktemp("ruined")
    done = command_line(*flags(data, output))
    assert done.returncode == 0, done.stderr
    return output / FOLDER, done.stdout


@pytest.fixture
def copied(ruined: tuple[Path, str], tmp_path: Path) -> Path:
    shutil.copytree(ruined[0].parents[1], tmp_path / "out")
    return tmp_path / "out" / FOLDER


def results(root: Path) -> dict[str, bytes]:
    """Models, temperature, logs and history; of the card, what does not name the session."""
    names = ("models/*", "LOG/*/*", "history.json")
    found = {str(path.relative_to(root)): path.read_bytes() for name in names for path in root.glob(name)}
    card = json.loads(found.pop("models/model_best.json"))
    return {**found, "card": json.dumps({**card, "started": "", "command": "", "directory": ""}).encode()}


@pytest.mark.slow
def test_the_best_model_is_the_given_one(ruined: tuple[Path, str]) -> None:
    root, said = ruined
    run, lines = read_run(root), said.splitlines()
    assert (root / "models" / "model_best.pt").read_bytes() == Pretrained.load(GIVEN).pt_bytes()
    tuned = root / "models" / f"model_{run.tuned_epoch}.pt"
    assert tuned.read_bytes() != Pretrained.load(GIVEN).pt_bytes()
    assert f"best model: {root / 'models' / 'model_best.pt'} (the untouched model)" in lines
    assert (last := LAST.fullmatch(lines[-1])), lines[-1]
    best = run.history.epochs[run.tuned_epoch].validation
    assert float(last[1]) == pytest.approx(run.history.untouched["validation"].metrics.mean_auprc, abs=1e-4)
    assert float(last[2]) == pytest.approx(best.metrics.mean_auprc, abs=1e-4)
    assert float(last[2]) < float(last[1]) / 2  # it was truly made worse
    assert int(last[3]) == run.tuned_epoch
    assert any(line.startswith(f"model_{last[3]} is not clearly different from the untouched model") for line in lines)
    assert "Look into it" not in said


@pytest.mark.slow
def test_the_comparison_is_that_of_the_tuned_model(ruined: tuple[Path, str]) -> None:
    run = read_run(ruined[0])
    assert run.history.ending.sets["test"].mean_auprc.change < -0.1


@pytest.mark.slow
def test_the_card_and_the_temperature_are_those_of_the_untouched_model(
    ruined: tuple[Path, str], capsys: pytest.CaptureFixture
) -> None:
    model = ruined[0] / "models" / "model_best.pt"
    card = json.loads(model.with_suffix(".json").read_text())
    assert card["sha256"] == card["parent"]["weights_sha256"] == sha256(model)
    assert card["epoch"] is None
    assert card["after"] == card["before"]
    assert card["comparison"] == {}
    assert Pretrained.load(model, calibrated=True).temperature
    assert main(["inspect", str(model)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"card  kept untouched by spliceai-jax \S+ on \S+: fine-tuning did not help\n", said)
    assert "recipe  best, no epoch (of 0 to 1)\n" in said
    assert re.search(r"donor AUPRC  0\.\d{4}\n", said)
    assert "fine-tuned" not in said


@pytest.mark.slow
def test_the_page_says_it_at_the_top(copied: Path) -> None:
    best = read_run(copied).tuned_epoch
    assert main(["report", str(copied)]) == 0
    text = (copied / "report.html").read_text()
    top = text[: text.index('id="before-and-after"')]
    assert "<strong>Fine-tuning has not helped.</strong>" in top
    assert "So models/model_best.pt is the untouched model." in top
    assert f"The best tuned model: <code>models/model_{best}.pt</code>" in top
    assert "It is not kept as the best" in text
    assert "divide the untouched model's logits" in text
    assert text.count("called, tuned") == 2


@pytest.mark.slow
def test_resumed_it_says_the_same(copied: Path, ruined: tuple[Path, str], data: Path, command_line) -> None:
    """And nothing is written. A damaged best model is made again, also where the tuned model has been removed."""
    said = ruined[1].replace(str(ruined[0].parents[1]), str(copied.parents[1])).splitlines()
    before = results(copied)
    again = command_line(*flags(data, copied.parents[1]))
    assert again.returncode == 0
    assert "finished already" in again.stdout
    assert again.stdout.splitlines()[-10:] == said[-10:]  # the table, the best model, the comparison, the report
    assert results(copied) == before
    (copied / "models" / f"model_{read_run(copied).tuned_epoch}.pt").unlink()
    (copied / "models" / "model_best.pt").write_bytes(b"damaged")
    again = command_line(*flags(data, copied.parents[1]))
    assert again.returncode == 0
    assert re.search("models/model_best.pt.*: missing or damaged; made again", again.stderr)
    assert again.stdout.splitlines()[-10:] == said[-10:]
    assert (copied / "models" / "model_best.pt").read_bytes() == Pretrained.load(GIVEN).pt_bytes()


# -- a choice that changes from epoch to epoch -----------------------------------------------------------------

SMALL = "SpliceAI_small_80_0_rs42/0"
BEFORE = (1.0, 0.5)
SCRIPT = [(0.9, 0.6), (0.8, 0.4), (0.85, 0.9), (0.7, 0.5), (0.6, 0.3)]
"""The validation loss and AUPRC of each epoch. Kept are: the first, the untouched, again, the fourth, the untouched."""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs measure on the validation set what the script says, and end without their page, whose figures take long."""
    evaluate = TrainingLoop._evaluate

    def evaluate_by_script(self: TrainingLoop, title: str, split: str) -> SplitRecord:
        found, history = evaluate(self, title, split), self._loop.history
        if split != "validation":
            return found
        loss, auprc = SCRIPT[len(history.epochs)] if history.untouched else BEFORE
        sites = {kind: replace(found.metrics.site(kind), auprc=auprc) for kind in ("donor", "acceptor")}
        return replace(found, metrics=replace(found.metrics, loss=loss, **sites))

    monkeypatch.setattr(TrainingLoop, "_evaluate", evaluate_by_script)


class Watched(ConsoleDisplay):
    """Notes which model is the best one when the row of an epoch is shown: its epoch, or None: the untouched one."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root, self.seen, self.lines = root, [], []

    def line(self, text: str) -> None:
        self.lines.append(text)
        if re.match(r" +model_\d ", text):
            card = json.loads((self.root / "models" / "model_best.json").read_text())
            best = sha256(self.root / "models" / "model_best.pt")
            epochs: dict[str, int | None] = {card["parent"]["weights_sha256"]: None}
            epochs |= {sha256(path): int(path.stem[-1]) for path in (self.root / "models").glob("model_?.pt")}
            is_its_card = (card["sha256"], card["epoch"]) == (best, epochs.get(best, "none"))
            self.seen.append(epochs[best] if is_its_card else "the card of another model")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small_run(data: Path, model: Path, output: Path, **more: object) -> tuple[TransferResult, Watched]:
    settings = {
        "train_dataset": data / "dataset_train.h5",
        "test_dataset": data / "dataset_test.h5",
        "pretrained_model": model,
        "output_dir": output,
        "project_name": "small",
        "batch_size": 6,
        "scheduler": "CosineAnnealingWarmRestarts",
        "epochs": 5,
    }
    display = Watched(output / SMALL)
    return transfer(TransferSettings(**{**settings, **more}), display), display


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


@pytest.fixture(scope="module")
def whole() -> dict[int, Path]:
    """Number of epochs -> the folder of the scripted run of this length; filled by the tests that need them."""
    return {}


@pytest.fixture
def expected(scripted, whole, small_data, small_model, tmp_path_factory):
    """Return a function that makes a scripted run of a number of epochs, once for all tests, and gives its folder."""

    def made(epochs: int) -> Path:
        if epochs not in whole:
            output = tmp_path_factory.mktemp("whole")
            small_run(small_data, small_model, output, epochs=epochs)
            whole[epochs] = output / SMALL
        return whole[epochs]

    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("error::spliceai_jax.errors.SpliceAIWarning")
def test_best_keeps_the_last_epoch(scripted, small_data, small_model, tmp_path, monkeypatch) -> None:
    """It has not the lowest loss; the untouched model is kept only while the last epoch is worse than it."""
    monkeypatch.setitem(globals(), "SCRIPT", [*SCRIPT[:4], (0.75, 0.6)])
    given = {"recipe": "best", "scheduler": None, "early_stopping": False}
    result, display = small_run(small_data, small_model, tmp_path, **given)
    assert display.seen == [0, None, 2, 3, 4]
    assert result.best_epoch == result.tuned_epoch == 4
    assert result.history.lowest_loss_epoch == 3
    assert result.best_model.read_bytes() == (tmp_path / SMALL / "models" / "model_4.pt").read_bytes()
    run = read_run(tmp_path / SMALL)
    assert run.history.ending is not None
    assert run.history.epochs[run.tuned_epoch].model_sha256 == sha256(result.best_model)
    assert reach_verdict(run, *before_and_after(run, None), None).chosen == "epoch 4, the last one"


@pytest.mark.slow
@pytest.mark.filterwarnings("error::spliceai_jax.errors.SpliceAIWarning")  # nothing is made again at the end
def test_the_choice_follows_the_epochs(scripted, small_data, small_model, tmp_path) -> None:
    """Model and card go together after every epoch."""
    result, display = small_run(small_data, small_model, tmp_path)
    assert display.seen == [0, None, None, 3, None]
    assert result.best_epoch is None
    assert result.best_measured["test"] is result.history.untouched["test"]
    assert result.best_model.read_bytes() == small_model.read_bytes()
    assert set(result.comparison) == {"validation", "test"}
    assert result.worse_than_untouched == ()
    assert display.lines[-1].startswith("Fine-tuning did NOT help: on the validation set the mean AUPRC was 0.5000")
    assert "try `recipe='best'`" in display.lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epoch", "file"),
    full(
        itertools.product([0, 1, 3, 4], ["model_best.pt", "model_best.json", "history.json"]),
        (1, "model_best.pt"),
        (3, "model_best.json"),
        (4, "history.json"),
    ),
)
def test_killed_where_the_choice_changes(
    epoch: int, file: str, expected, small_data, small_model, tmp_path, monkeypatch
) -> None:
    """Right after the write of one of the files that name the choice."""
    write = RunFolder.write

    def dying(self: RunFolder, path: Path, content: bytes | str) -> None:
        write(self, path, content)
        if path.name == file and (self.root / "models" / f"model_{epoch}.pt").exists():
            raise Killed

    with monkeypatch.context() as context:
        context.setattr(RunFolder, "write", dying)
        with pytest.raises(Killed):
            small_run(small_data, small_model, tmp_path)
    small_run(small_data, small_model, tmp_path, resume=True)
    assert results(tmp_path / SMALL) == results(expected(5))


@pytest.mark.slow
def test_openspliceai_0_0_7_keeps_what_it_trained(scripted, small_data, small_model, tmp_path) -> None:
    result, display = small_run(small_data, small_model, tmp_path, recipe="openspliceai-0.0.7", epochs=2)
    assert display.seen == [0, 1]
    assert result.best_epoch == 1
    assert result.best_measured["test"] is result.history.epochs[1].test
    assert result.best_model.read_bytes() == (tmp_path / SMALL / "models" / "model_1.pt").read_bytes()
    assert not [line for line in display.lines if "untouched model" in line and "did NOT help" in line]


@pytest.mark.slow
@pytest.mark.parametrize("replaced", [False, True], ids=["missing", "another model"])
def test_a_lost_tuned_model_is_left_out_of_the_report(replaced, scripted, small_data, small_model, tmp_path) -> None:
    """The untouched model, which is the best, is whole all the same; nor is another model taken for the tuned one."""
    first, _ = small_run(small_data, small_model, tmp_path, epochs=3)
    models = tmp_path / SMALL / "models"
    (models / "model_1.pt").unlink()
    if replaced:
        shutil.copy(models / "model_0.pt", models / "model_1.pt")
    result, _ = small_run(small_data, small_model, tmp_path, epochs=3, resume=True)
    assert result.best_epoch is None
    assert result.comparison == first.comparison
    page = write_report(read_run(tmp_path / SMALL)).read_text()
    assert "Left out: The tuned model" in page
    assert ("no longer holds the model after epoch 1" in page) == replaced
    assert "called, tuned" not in page


@pytest.mark.slow
def test_the_page_of_a_run_under_way(scripted, small_data, small_model, tmp_path) -> None:
    """The model that is kept may be ahead of the history: the tuned one is that of its epoch."""
    small_run(small_data, small_model, tmp_path, epochs=4)
    root = tmp_path / SMALL
    loop = json.loads((root / "history.json").read_text())
    loop["epoch"], loop["history"]["epochs"] = 2, loop["history"]["epochs"][:2]
    (root / "history.json").write_text(json.dumps(loop))
    run = read_run(root)
    assert run.keeps_untouched
    assert run.tuned_model == root / "models" / "model_1.pt"
    assert main(["report", str(root)]) == 0
    text = (root / "report.html").read_text()
    assert "Fine-tuning has not helped so far." in text
    assert f"from {BEFORE[1]:.3f} to {SCRIPT[1][1]:.3f}" in text
    assert "models/model_1.pt" in text

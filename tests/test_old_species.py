"""The data set of the old species: it is measured as the test set is, logged, compared and shown, and nothing else."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import RUN, content_of, make_windows, run_arguments, with_pages, write_dataset
from test_report import events

from spliceai_jax import TransferSettings, evaluate, transfer
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.commands.main import main
from spliceai_jax.display import Display
from spliceai_jax.evaluation.bootstrap import Difference, Differences
from spliceai_jax.evaluation.metrics import AUPRC, MEASURES
from spliceai_jax.fine_tuning.outcome import TransferResult, show_ending
from spliceai_jax.fine_tuning.plan import make_plan
from spliceai_jax.report.sections import forgetting_section
from spliceai_jax.runs.card import inspect_weights
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History
from spliceai_jax.runs.record import read_run
from spliceai_jax.runs.writer import render_logs

pytestmark = pytest.mark.slow

FLAG = "--genomic-eval-dataset"


def flags(given: dict[str, object]) -> list[str]:
    """The command line of settings, a flag of which True stands alone."""
    words = ["transfer"]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


@pytest.fixture(scope="module")
def measured(small_data, small_model, tmp_path_factory, command_line) -> tuple[Path, str]:
    """The folder and the output of the run of `finished` with a data set of the old species; only to be read."""
    output = tmp_path_factory.mktemp("measured")
    given = run_arguments(small_data, small_model, output)
    with with_pages():
        done = command_line(*flags(given), FLAG, small_data / "dataset_old.h5")
    assert (done.returncode, done.stderr) == (0, "")
    return output / RUN, done.stdout


def texts(root: Path, *patterns: str) -> dict[str, bytes]:
    return {str(path.relative_to(root)): content_of(path) for pattern in patterns for path in root.glob(pattern)}


# -- what is measured ------------------------------------------------------------------------------------------


def test_it_is_measured_as_evaluate_measures_it(measured, small_data, small_model) -> None:
    """Before training and after each epoch, and the log files hold those numbers."""
    root, _ = measured
    history = read_run(root).history
    old = small_data / "dataset_old.h5"
    records = [history.untouched["old_species"], *(epoch.old_species for epoch in history.epochs)]
    models = [small_model, *(root / "models" / f"model_{number}.pt" for number in range(3))]
    for record, model in zip(records, models, strict=True):
        wanted = evaluate(model, old)
        assert record.metrics.windows == wanted.windows == 12
        assert record.metrics.loss == pytest.approx(wanted.loss, rel=1e-5)
        for kind in SITE_KINDS:
            for measure in MEASURES:
                found, expected = (measure.of(one.site(kind)) for one in (record.metrics, wanted))
                assert found == pytest.approx(expected, abs=1e-5)
    logs = root / "LOG" / "GENOMIC"
    assert {path.name for path in logs.iterdir()} == {path.name for path in (root / "LOG" / "TEST").iterdir()}
    after = [epoch.old_species for epoch in history.epochs]
    for name, values in (
        ("donor_auprc", [record.metrics.donor.auprc for record in after]),
        ("acceptor_topk", [record.metrics.acceptor.top_k_accuracy for record in after]),
        ("loss_batch", [record.metrics.loss for record in after]),
        ("loss_every_update", [loss for record in after for loss in record.batch_losses]),
        ("learning_rate_every_batch", []),
    ):
        assert [float(line) for line in (logs / f"{name}.txt").read_text().split()] == values, name


def test_the_rest_of_the_run_is_that_of_one_without_it(measured, finished) -> None:
    """The models, all other logs and the history to the bit; and a run without it has no trace of it."""
    root, _ = measured
    same = ("models/*.pt", "LOG/TRAIN/*", "LOG/VAL/*", "LOG/TEST/*", "models/*.temperature.json")
    assert texts(root, *same) == texts(finished, *same)
    with_it, without = (json.loads((folder / "history.json").read_text()) for folder in (root, finished))
    for record in (with_it["history"]["untouched"], *with_it["history"]["epochs"]):
        assert record.pop("old_species")["metrics"]["windows"] == 12
    assert with_it["history"]["ending"]["sets"].pop("old_species")
    assert with_it == without
    assert not (finished / "LOG" / "GENOMIC").exists()
    for file in ("history.json", "models/model_best.json", "report.html"):
        assert not re.search("old.species|forg[eo]t", (finished / file).read_text()), file
    assert json.loads((finished / "run.json").read_text())["genomic_eval_dataset"] is None


def test_a_batch_has_no_more_rows_for_it(small_data, small_model, tmp_path) -> None:
    """It has more windows than any other set; with other rows, sums would be rounded otherwise."""
    given = {**run_arguments(small_data, small_model, tmp_path), "batch_size": 36}
    without = make_plan(TransferSettings(**given), Display())
    with_it = make_plan(TransferSettings(**given, genomic_eval_dataset=small_data / "dataset_old.h5"), Display())
    assert len(with_it.sets["old_species"]) > with_it.most_rows == without.most_rows == len(without.train)


def test_activations_of_it_are_cached_too(small_data, small_model, tmp_path) -> None:
    given = {**run_arguments(small_data, small_model, tmp_path), "unfreeze": 1, "epochs": 1, "tensorboard": False}
    result = transfer(TransferSettings(**given, genomic_eval_dataset=small_data / "dataset_old.h5"))
    assert read_run(result.folder).record.sessions[0].activation_cache
    for model, record in (
        (small_model, result.history.untouched["old_species"]),
        (result.best_model, result.history.epochs[0].old_species),
    ):
        wanted = evaluate(model, small_data / "dataset_old.h5")
        assert record.metrics.loss == pytest.approx(wanted.loss, rel=1e-4)
        assert record.metrics.mean_auprc == pytest.approx(wanted.mean_auprc, abs=1e-4)


# -- what is said and written ----------------------------------------------------------------------------------


def test_the_table_has_its_columns_and_the_last_lines_its_verdict(measured, small_data, small_model) -> None:
    root, said = measured
    run, lines = read_run(root), said.splitlines()
    head = next(number for number, line in enumerate(lines) if line.endswith("AUPRC, old species"))
    assert lines[head + 1].endswith("     donor  acceptor")
    records = [run.history.untouched["old_species"], *(epoch.old_species for epoch in run.history.epochs)]
    for line, record in zip(lines[head + 2 :], records, strict=False):
        shown = line.removesuffix("  lowest validation loss so far")
        assert shown.endswith(f"  {record.metrics.donor.auprc:8.3f}  {record.metrics.acceptor.auprc:8.3f}")
        assert len(shown) == len(lines[head])
    assert f"old species  {small_data / 'dataset_old.h5'}: 12 windows, 72 donors, 72 acceptors" in said
    found = run.history.ending.sets["old_species"]
    assert (found.verdict, found.genes) == ("better", 12)
    wanted = f"The tuned model is better than the untouched model on the old species too: {found.words}"
    at = lines.index(wanted)
    assert " the untouched model on the test set: mean AUPRC from " in lines[at - 3]


def test_files_of_the_run_hold_it(measured, small_data, capsys) -> None:
    """What was read, what decides the logs, the comparison, the card, and what `inspect` shows of it."""
    root, _ = measured
    run, old = read_run(root), small_data / "dataset_old.h5"
    dataset = run.record.datasets["old_species"]
    assert (dataset.path, dataset.windows, dataset.donors) == (str(old), 12, 72)
    assert run.identity.genomic_eval_dataset == dataset.fingerprint
    assert f"{FLAG} {old}" in run.record.sessions[0].command
    best = run.history.epochs[run.tuned_epoch]
    found, was = run.history.ending.sets["old_species"], run.history.untouched["old_species"].metrics
    for kind in SITE_KINDS:
        shown = found.site(kind)["auprc"]
        assert shown.before == pytest.approx(was.site(kind).auprc, abs=1e-4)
        assert shown.after == pytest.approx(best.old_species.metrics.site(kind).auprc, abs=1e-4)
    model = root / "models" / "model_best.pt"
    card = inspect_weights(model).card
    assert card.before["old_species"] == was
    assert card.after["old_species"] == best.old_species.metrics
    assert card.comparison == run.history.ending.sets
    assert card.datasets == run.record.datasets
    assert main(["inspect", str(model)]) == 0
    shown = capsys.readouterr().out
    assert f"old species  {old}: 12 windows\n" in shown
    assert (
        f"forgetting  The tuned model is better than the untouched model on the old species too: {found.words}" in shown
    )


def test_tensorboard_has_it(measured) -> None:
    root, _ = measured
    found = [(step, value) for tag, step, value in events(root / "tensorboard") if tag == "old_species/donor_auprc"]
    history = read_run(root).history
    records = [history.untouched["old_species"], *(epoch.old_species for epoch in history.epochs)]
    assert found == [(4 * n, pytest.approx(one.metrics.donor.auprc, rel=1e-6)) for n, one in enumerate(records)]


def section(text: str) -> str:
    """The text of the page's section, without its elements."""
    (found,) = re.findall(r'<h2 id="what-the-model-forgot">(.*?)<h2', text, re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", re.sub("<svg.*?</svg>", "", found, flags=re.DOTALL))).split())


def test_the_page_shows_it(measured, tmp_path) -> None:
    root, _ = measured
    run, text = read_run(root), (root / "report.html").read_text()
    found = run.history.ending.sets["old_species"]
    shown = section(text)
    assert f"The tuned model is better than the untouched model on the old species too: {found.words}." in shown
    assert (root / "report" / "forgetting.png").exists()
    (drawn,) = re.findall(r'<figure class="card" id="forgetting">(.*?)</figure>', text, re.DOTALL)
    for label in ("donors, new species", "acceptors, old species", ">before<", ">tuned<"):
        assert label in drawn
    for kind in SITE_KINDS:
        change = found.site(kind)[AUPRC.key]
        low, high = (f"{number:+.3f}".replace("-", "−") for number in change.interval)
        row = f"old species, {kind}s {change.before:.3f} {change.after:.3f} +{change.change:.3f} {low} to {high}"
        assert row in shown
    assert f"old-species <code>{run.identity.genomic_eval_dataset}</code>" in text
    assert "The old-species set holds few sites: 72 donors and 72 acceptors." in text
    # While the run is under way, the figure is there, and the verdict is not.
    moved = shutil.copytree(root, tmp_path / "moved")
    state = json.loads((moved / "history.json").read_text())
    state["epoch"], state["history"]["epochs"] = 1, state["history"]["epochs"][:1]
    del state["history"]["ending"]
    (moved / "history.json").write_text(json.dumps(state))
    assert main(["report", str(moved)]) == 0
    shown = section((moved / "report.html").read_text())
    assert "Whether the change on the old species may be chance is found when the run ends." in shown
    assert f"old species, donors {run.history.untouched['old_species'].metrics.donor.auprc:.3f}" in shown


def differences(low: float, high: float, genes: int = 30) -> Differences:
    change = Difference(0.9, 0.9 + (low + high) / 2, (low, high))
    measures = {measure.key: change for measure in MEASURES}
    return Differences("unclear" if genes < 10 else change.verdict, genes, change, measures, measures)


@pytest.mark.parametrize(
    ("of_old", "said"),
    [
        (
            differences(-0.2, -0.1),
            "The tuned model has forgotten part of what the untouched model knew about the old species: mean AUPRC "
            "from 0.900 to 0.750, -0.150 (95 % interval -0.200 to -0.100, 30 genes)",
        ),
        (
            differences(-0.02, 0.01),
            "No clear difference from the untouched model on the old species: mean AUPRC from 0.900 to 0.895, -0.005 "
            "(95 % interval -0.020 to +0.010, 30 genes)",
        ),
        (
            differences(-0.2, -0.1, genes=9),
            "No clear difference from the untouched model on the old species: mean AUPRC from 0.900 to 0.750, -0.150 "
            "(95 % interval -0.200 to -0.100, 9 genes); 9 genes are too few to tell",
        ),
    ],
    ids=["worse", "unclear", "too few"],
)
def test_what_was_forgotten_is_no_reason_against_the_model(measured, of_old, said) -> None:
    """It is said, on the page too; but the model is made for the new species."""
    lines: list[str] = []

    class Lines(Display):
        def line(self, text: str) -> None:
            lines.append(text)

    sets = {"validation": differences(0.1, 0.2), "test": differences(0.1, 0.2), "old_species": of_old}
    run = read_run(measured[0])
    history = replace(run.history, ending=replace(run.history.ending, sets=sets))
    result = TransferResult(Path(), 0, 0, history, Path())
    show_ending(result, "best", Lines())
    assert lines[4] == said
    assert not any("Look into it" in line for line in lines)
    assert result.worse_than_untouched == ()
    shown = forgetting_section(replace(run, history=history), sets["test"])
    assert shown.sentence == f"{said}."
    tone = "bad" if of_old.verdict == "worse" else ""
    assert [row.tone for *_, row in shown.rows] == ["good", "good", tone, tone]


# -- continued -------------------------------------------------------------------------------------------------

FOLDER = "SpliceAI_small_80_0_rs42/0"


def continued(data: Path, model: Path, output: Path, **more: object) -> list[str]:
    given = {
        "pretrained_model": model,
        "train_dataset": data / "dataset_train.h5",
        "test_dataset": data / "dataset_test.h5",
        "genomic_eval_dataset": data / "dataset_old.h5",
        "output_dir": output,
        "project_name": "small",
        "scheduler": "CosineAnnealingWarmRestarts",
        "batch_size": 2,
        "unfreeze": 2,
        "epochs": 3,
        "resume": True,
    }
    return flags({**given, **more})


LASTING = ("models/*.pt", "models/*.temperature.json", "LOG/*/*", "history.json", "run.json")


@pytest.fixture(scope="module")
def uninterrupted(small_data, small_model, tmp_path_factory, command_line) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("uninterrupted")
    done = command_line(*continued(small_data, small_model, output))
    assert done.returncode == 0, done.stderr
    return texts(output / FOLDER, *LASTING)


class Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_again_and_again(uninterrupted, small_data, small_model, tmp_path, monkeypatch, command_line) -> None:
    """Right after the write of a file."""
    given, write = continued(small_data, small_model, tmp_path), RunFolder.write
    for name in ("run.json", "LOG/GENOMIC/accuracy.txt", "models/model_0.pt", "models/model_1.pt"):

        def dying(self: RunFolder, path: Path, content: bytes | str, last: Path = Path(FOLDER, name)) -> None:
            write(self, path, content)
            if path == tmp_path / last:
                raise Killed

        with monkeypatch.context() as context:
            context.setattr(RunFolder, "write", dying)
            with pytest.raises(Killed):
                command_line(*given)
    done = command_line(*given)
    assert done.returncode == 0, done.stderr
    assert texts(tmp_path / FOLDER, *LASTING) == uninterrupted


def test_a_finished_run_is_only_shown_and_needs_the_same_file(measured, small_data, small_model, capsys) -> None:
    root, said = measured
    output = root.parents[1]
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    same = [*flags(run_arguments(small_data, small_model, output)), "--resume"]
    assert main([*same, FLAG, str(small_data / "dataset_old.h5")]) == 0
    last = len(said.split("\n\n")[1].splitlines())
    assert capsys.readouterr().out.splitlines()[-last:] == said.splitlines()[-last:]
    other = write_dataset(output / "another.h5", [make_windows(4, 77)])
    for given, now in (([], "None"), ([FLAG, str(other)], "'")):
        assert main([*same, *given]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        fingerprint = read_run(root).identity.genomic_eval_dataset
        assert f"genomic_eval_dataset was '{fingerprint}' and is now {now}" in line
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_that_began_without_it_is_refused_with_it(finished, small_data, small_model, capsys) -> None:
    given = flags(run_arguments(small_data, small_model, finished.parents[1]))
    assert main([*given, "--resume", FLAG, str(small_data / "dataset_old.h5")]) == 2
    assert "genomic_eval_dataset was None and is now '" in capsys.readouterr().err


def test_logs_of_a_run_before_it_has_measured_anything() -> None:
    assert {name.split("/")[0] for name in render_logs(History())} == {"TRAIN", "VAL", "TEST"}


# -- what goes wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_one_of_the_other_sets_is_refused(name, small_data, small_model, tmp_path, capsys) -> None:
    file = shutil.copy(small_data / f"dataset_{name}.h5", tmp_path / "old.h5")
    given = flags(run_arguments(small_data, small_model, tmp_path / "out"))
    assert main([*given, FLAG, str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    called = {"train": "training"}.get(name, name)
    assert f"{file}: the old-species set is the {called} set ({small_data / f'dataset_{name}.h5'})" in line
    assert line.endswith(f"give another {FLAG}")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_found_before_data_sets_are_made(small_model, tmp_path, capsys) -> None:
    """From a genome they may take minutes."""
    (tmp_path / "genome.fa").write_text(">1\nACGT\n")
    (tmp_path / "genes.gff3").write_text("##gff-version 3\n")
    given = {"genome_fasta": tmp_path / "genome.fa", "annotation_gff": tmp_path / "genes.gff3"}
    given |= {"pretrained_model": small_model, "output_dir": tmp_path / "out", "project_name": "x"}
    assert main([*flags(given), FLAG, str(tmp_path / "none.h5")]) == 2
    assert capsys.readouterr().err.startswith(f"spliceai-jax: {tmp_path / 'none.h5'}: no such data set")
    assert not (tmp_path / "out").exists()

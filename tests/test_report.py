"""The report: its numbers and words, runs that are under way, moved or lack files, a real browser, and events."""

import html
import itertools
import json
import math
import re
import shutil
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import RUN, full, make_windows, random_model, run_arguments, write_dataset
from filelock import FileLock
from PIL import Image
from sklearn.metrics import precision_recall_curve

from spliceai_jax import TransferSettings, transfer
from spliceai_jax.architecture import ARCHITECTURES, CLASSES, SITE_KINDS
from spliceai_jax.commands.main import main
from spliceai_jax.encoding import decode
from spliceai_jax.errors import Interrupted, SettingsError, SpliceAIWarning
from spliceai_jax.evaluation.bootstrap import Difference, Differences
from spliceai_jax.evaluation.metrics import MEASURES
from spliceai_jax.files import write_whole
from spliceai_jax.fine_tuning import ending
from spliceai_jax.report import mistakes as shown
from spliceai_jax.report import verdict
from spliceai_jax.report.mistakes import KEPT, Mistake, WorstMistakes
from spliceai_jax.report.test_set import LOGO_SPANS, compare_on_test_set
from spliceai_jax.report.verdict import find_warnings
from spliceai_jax.runs.card import inspect_weights
from spliceai_jax.runs.record import Run, read_run
from spliceai_jax.training.engine import ENGINES, Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.windows.hdf5 import read_windows

FIGURES = {
    *("loss", "learning_rate", "auprc", "top_k"),
    *(f"{name}_{kind}" for name in ("precision_recall", "scores", "logo") for kind in SITE_KINDS),
}
OF_TEST_SET = {name for name in FIGURES if name.endswith(SITE_KINDS)}
UNDER_WAY = set(FIGURES)
FIGURES |= {f"reliability_{kind}" for kind in SITE_KINDS}  # of a run's ending


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """The same run, moved elsewhere."""
    shutil.copytree(finished, tmp_path / "moved")
    return tmp_path / "moved"


def report(folder: Path) -> str:
    assert main(["report", str(folder)]) == 0
    return (folder / "report.html").read_text()


def figures(text: str) -> set[str]:
    return set(re.findall(r'<figure class="card" id="(\w+)"', text))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit(path: Path, change: object) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


# -- what is scored --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_scores_of_two_models_are_those_of_a_plain_count(small_data, parallel) -> None:
    """Eleven windows in two shards, four at a time; every sum and every mistake is found again the slow way."""
    models = {"untouched": random_model(80, 3), "tuned": random_model(80, 0)}
    windows = read_windows(small_data / "dataset_train.h5", 80)
    done: list[int] = []
    variables = {name: model.variables for name, model in models.items()}
    engine = ENGINES[parallel](ARCHITECTURES[80], Recipe())
    comparison = compare_on_test_set(engine, variables, windows, 4, done.append)
    assert done == [4, 7]  # the long ones in rows of their own, then the short ones side by side
    scores = {name: model.predict(windows.bases) for name, model in models.items()}
    labelled = windows.labels < 3
    for (name, kind), seen in comparison.scores.items():
        code = CLASSES.index(kind)
        score, truth = scores[name][..., code][labelled], windows.labels[labelled] == code
        precision, recall, _ = precision_recall_curve(truth, score)
        # scikit-learn has a point for each score, we for each of a site; the area between them is the same.
        assert set(zip(seen.recall.round(5), seen.precision.round(5), strict=True)) <= set(
            zip(recall.round(5), precision.round(5), strict=True)
        )
        area = (np.diff(seen.recall, prepend=0) * seen.precision).sum()
        assert area == pytest.approx(comparison.metrics[name].site(kind).auprc, rel=1e-6)
        edges = np.linspace(0, 1, 21)
        assert np.abs(seen.sites - np.histogram(score[truth], edges)[0]).sum() <= 2  # at an edge by rounding
        assert np.abs(seen.others - np.histogram(score[~truth], edges)[0]).sum() <= 40
        assert seen.sites.sum() + seen.others.sum() == labelled.sum()
        called = (scores[name].argmax(-1) == code) & labelled
        assert abs(seen.called - called.sum()) <= 2
    for kind in SITE_KINDS:
        counts = np.zeros((len(LOGO_SPANS[kind]), 4), int)
        for window, place in zip(*np.nonzero(windows.labels == CLASSES.index(kind)), strict=True):
            for column, offset in enumerate(LOGO_SPANS[kind]):
                counts[column, windows.bases[window, 40 + place + offset] - 1] += 1
        assert np.array_equal(comparison.labelled_bases[kind], counts)
        for missed in (True, False):
            found = [one for one in comparison.mistakes if one.kind == kind and one.missed == missed]
            expected = worst_mistakes(windows.labels, scores["tuned"], CLASSES.index(kind), missed)
            assert [one.loss for one in found] == pytest.approx([loss for loss, *_ in expected], rel=1e-4)
            assert {(one.window + 7 * one.shard, one.position) for one in found} == {(w, p) for _, w, p in expected}
    assert comparison.mistaken == "tuned"
    for mistake in comparison.mistakes:
        row = mistake.window + (7 if mistake.shard else 0)
        assert mistake.bases == decode(windows.bases[row, 40 + mistake.position - 30 : 40 + mistake.position + 31])
        for name in models:
            expected_score = scores[name][row, mistake.position, CLASSES.index(mistake.kind)]
            assert mistake.scores[name] == pytest.approx(expected_score, abs=1e-5)


def worst_mistakes(labels: np.ndarray, scores: np.ndarray, code: int, missed: bool) -> list[tuple[float, int, int]]:
    found = []
    for window, place in np.ndindex(labels.shape):
        truth, called = labels[window, place], scores[window, place].argmax()
        if truth != 3 and (truth == code != called if missed else called == code != truth):
            found.append((-math.log(scores[window, place, truth] + 1e-10), window, place))
    return sorted(found, reverse=True)[:KEPT]


def test_a_mistake_names_gene_and_place_where_they_are_known(tmp_path) -> None:
    """A gene of two windows on the "-" strand; one of its other transcripts has an acceptor at the false call."""
    bases, labels = make_windows(3, 9)
    labels[:, 4990:] = 0
    bases[1] = np.concatenate([bases[0, 5000:], bases[1, 10000:]])
    windows = read_windows(write_dataset(tmp_path / "dataset_test.h5", [(bases, labels)]), 80)
    probabilities = np.zeros((3, 5000, 3), np.float32)
    probabilities[..., 0] = 1
    probabilities[1, 21], probabilities[2, 7] = [0, 1, 0], [0, 1, 0]

    def false_calls() -> list[Mistake]:
        mistakes = WorstMistakes(windows)
        mistakes.add({"tuned": probabilities}, "tuned", windows.labels, windows.index)
        found = [one for one in mistakes.worst_first() if not one.missed]
        return sorted(found, key=lambda mistake: mistake.window)

    assert [(one.gene, one.place, one.of_other_transcript) for one in false_calls()] == [("", "", False)] * 2
    (tmp_path / "test_stats.txt").write_text("2L\t101\t7000\tkni\t1\t-\nX\t8001\t12000\twg\t1\t+\n")
    (tmp_path / "test_other_sites.txt").write_text("kni\tacceptor\t2L\t1979\nwg\tdonor\tX\t8008\n")
    found = false_calls()
    assert [(one.gene, one.place, one.of_other_transcript) for one in found] == [
        ("kni", "2L:1979", True),
        ("wg", "X:8008", False),
    ]
    assert "another transcript of the gene has this acceptor" in shown._note(found[0], 1)
    assert "another transcript" not in shown._note(found[1], 1)
    (tmp_path / "test_other_sites.txt").write_text("another file\n")
    assert not any(one.of_other_transcript for one in false_calls())


def test_a_mistake_says_what_is_near(tmp_path) -> None:
    """A site that the model calls five bases away from where it is."""
    bases, labels = make_windows(4, 9)
    labels[0, 100:130] = 0
    labels[0, 105], labels[0, 100] = 2, 0
    windows = read_windows(write_dataset(tmp_path / "set.h5", [(bases, labels)]), 80)
    probabilities = np.zeros((4, 5000, 3), np.float32)
    probabilities[..., 0] = 1
    probabilities[0, 100] = [0.1, 0, 0.9]
    mistakes = WorstMistakes(windows)
    mistakes.add({"tuned": probabilities}, "tuned", windows.labels, windows.index)
    miss, false = (
        next(m for m in mistakes.worst_first() if (m.kind, m.missed, m.window, m.position) == wanted)
        for wanted in (("donor", True, 0, 105), ("donor", False, 0, 100))
    )
    assert miss.nearest == -5
    assert "the model calls a donor 5 bases upstream" in shown._note(miss, 1)
    assert false.nearest == 5
    assert "a donor is annotated 5 bases downstream" in shown._note(false, 1)
    odd = replace(false, bases="A" * 61, nearest=None)
    assert shown._note(odd, 1) == "AA where GT is usual; no donor is annotated within 50 bases"
    assert shown._note(miss, 3).endswith("; 3 times, in windows of the same sequence")
    assert shown._parts(odd)[1] == ("aa", "pair odd")
    for mistake in (miss, false, odd):
        assert "".join(letters for letters, _ in shown._parts(mistake)).upper() == mistake.bases


# -- the page --------------------------------------------------------------------------------------------------


def test_a_run_ends_with_its_report(finished) -> None:
    text, run = (finished / "report.html").read_text(), read_run(finished)
    assert figures(text) == FIGURES
    assert {path.stem for path in (finished / "report").iterdir()} == FIGURES
    for path in (finished / "report").iterdir():
        image = np.asarray(Image.open(path).convert("L"))
        assert image.shape[1] > 600
        assert image.min() < 100 < 250 < image.max()
    best = run.history.epochs[run.tuned_epoch]
    for metrics in (run.history.untouched["test"].metrics, best.test.metrics):
        for site in (metrics.donor, metrics.acceptor):
            for value in (site.auprc, site.top_k[1], site.precision, site.recall, site.f1):
                assert f">{value:.3f}<" in text
    for words in (str(finished), "--learning-rate 0.003", "100.0 %", run.record.parent.sha256, "few sites"):
        assert words.replace("<", "&lt;").replace(">", "&gt;") in text
    assert "<i>small" not in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)  # nothing is fetched
    assert not re.search(r"@import|url\((?!#)", text)
    assert "<script" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_a_run_moved_elsewhere_is_reported_whole(copied) -> None:
    before = files(copied)
    (copied / "report.html").unlink()
    text = report(copied)
    assert figures(text) == FIGURES
    assert "Left out" not in text
    assert text.count("called, tuned") == text.count("called, untouched") == 2
    after = files(copied)
    assert {name for name in after if after[name] != before.get(name)} <= {"report.html"} | {
        f"report/{name}.png" for name in OF_TEST_SET
    }
    assert set(after) == set(before)


@pytest.mark.slow
def test_what_is_gone_is_left_out_and_said(copied, tmp_path) -> None:
    def lose(name: str) -> None:
        def change(content: dict) -> None:
            record = content["record"]
            place = record["parent"] if name == "parent" else record["datasets"]["test"]
            place["path"] = str(tmp_path / "gone" / Path(place["path"]).name)

        edit(copied / "run.json", change)

    lose("parent")
    text = report(copied)
    assert figures(text) == FIGURES
    assert "Left out: The untouched model&#39;s curves" in text
    assert "gone/model_80nt.pt: no such weights file" in text
    assert "called, untouched" not in text
    lose("test")
    text = report(copied)
    assert figures(text) == FIGURES - OF_TEST_SET
    assert "gone/dataset_test.h5: no such data set" in text
    assert {path.stem for path in (copied / "report").iterdir()} == FIGURES - OF_TEST_SET
    edit(copied / "run.json", lambda content: content.pop("record"))  # killed before its first session began
    text = report(copied)
    assert text.count("run.json: has no record") == 2  # the place of the weights, and of the test set
    assert figures(text) == FIGURES - OF_TEST_SET


def test_what_has_changed_is_left_out_and_said(copied, tmp_path) -> None:
    random_model(80, seed=8).to_pt(tmp_path / "other.pt")
    write_dataset(tmp_path / "other.h5", [make_windows(4, 44)])

    def change(content: dict) -> None:
        content["record"]["parent"]["path"] = str(tmp_path / "other.pt")
        content["record"]["datasets"]["test"]["path"] = str(tmp_path / "other.h5")

    edit(copied / "run.json", change)
    text = report(copied)
    assert "other.pt: no longer holds the weights that the run started from" in text
    assert "other.h5: no longer holds the test set of the run" in text
    assert figures(text) == FIGURES - OF_TEST_SET


@pytest.mark.slow
def test_a_run_under_way(copied, tmp_path) -> None:
    """Before the first checkpoint, then after an epoch, while another process holds the folder."""
    shutil.move(copied / "checkpoints", tmp_path / "checkpoints")
    shutil.move(copied / "history.json", tmp_path / "history.json")
    (copied / "report.html").unlink()
    with FileLock(copied / ".lock"):
        before = files(copied)
        text = report(copied)
        assert figures(text) == OF_TEST_SET
        assert "Nothing to compare yet" in text
        assert "called, tuned" not in text
        assert "most wrong" in text
        after = files(copied)
        assert {name for name in after if not name.startswith("report")} == {
            name for name in before if not name.startswith("report")
        }
        shutil.move(tmp_path / "checkpoints", copied / "checkpoints")
        (copied / "checkpoints" / "99.orbax-checkpoint-tmp").mkdir()  # one that is being written
        shutil.move(tmp_path / "history.json", copied / "history.json")
        edit(copied / "history.json", lambda loop: loop.update(epoch=1))
        edit(copied / "history.json", lambda loop: loop["history"].update(epochs=loop["history"]["epochs"][:1]))
        edit(copied / "history.json", lambda loop: loop["history"].pop("ending"))
        before = files(copied)
        text = report(copied)
        after = files(copied)
    assert {name: data for name, data in after.items() if not name.startswith("report")} == {
        name: data for name, data in before.items() if not name.startswith("report")
    }
    assert (copied / "checkpoints" / "99.orbax-checkpoint-tmp").is_dir()
    assert figures(text) == UNDER_WAY
    assert "No clear difference from the untouched model so far." in text
    assert "1 of at most 3 epochs" in text


def test_report_refuses_what_is_no_run(tmp_path, capsys) -> None:
    assert main(["report", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"spliceai-jax: {tmp_path}/run.json: cannot be read")
    assert line.count("\n") == 1


@pytest.mark.slow
def test_other_commands_do_not_wait_for_matplotlib() -> None:
    code = (
        "import sys, spliceai_jax.fine_tuning.transfer\n"
        "sys.exit('matplotlib' in sys.modules or 'jinja2.ext' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- words -----------------------------------------------------------------------------------------------------


def words_of(run: Run, changes: Differences | None = None) -> str:
    before, after = verdict.before_and_after(run, None)
    shown = verdict.reach_verdict(run, before, after, changes)
    return "\n".join([shown.headline, *find_warnings(run, before, after, changes), shown.sentence])


def changed(low: float, high: float, genes: int = 30, of_donors: tuple[float, float] | None = None) -> Differences:
    """A comparison whose change of the mean AUPRC has this interval, and whose donors' has that one."""
    mean = Difference(0.5, 0.5 + (low + high) / 2, (low, high))
    kinds = {kind: {measure.key: mean for measure in MEASURES} for kind in SITE_KINDS}
    if of_donors:
        kinds["donor"]["auprc"] = Difference(0.5, 0.5, of_donors)
    return Differences(mean.verdict if genes >= 10 else "unclear", genes, mean, **kinds)


def with_losses(run: Run, losses: list[float], epochs: int | None = None) -> Run:
    """The run as if it had these validation losses, and had been asked for `epochs` (None: just as many)."""
    first = run.history.epochs[0]
    done = [
        replace(first, validation=replace(first.validation, metrics=replace(first.validation.metrics, loss=loss)))
        for loss in losses
    ]
    choices = replace(run.identity.choices, epochs=len(losses) if epochs is None else epochs)
    return replace(run, history=replace(run.history, epochs=done), identity=replace(run.identity, choices=choices))


def test_warnings_appear_where_something_is_wrong_and_nowhere_else(finished) -> None:
    run = read_run(finished)
    enough = {
        name: replace(dataset, donors=900, acceptors=900, gt_share=0.99, ag_share=1.0, padding_share=0.4)
        for name, dataset in run.record.datasets.items()
    }

    def with_data(**changes: object) -> Run:
        changed = {**enough, "train": replace(enough["train"], **changes)}
        return replace(run, record=replace(run.record, datasets=changed))

    sound = words_of(with_data(), changed(0.01, 0.2)).splitlines()
    assert sound[0] == "Better than the untouched model."
    assert not [line for line in sound[1:-1] if "still improving" not in line]
    assert "few sites: 12 donors" in words_of(with_data(donors=12))
    assert "Only 80.0 % of the training set's donors are followed by GT" in words_of(with_data(gt_share=0.8))
    assert "Only 80.0 % of the training set's acceptors are preceded by AG" in words_of(with_data(ag_share=0.8))
    assert "90 % of the training set's positions lie beyond the ends of genes" in words_of(with_data(padding_share=0.9))
    same = replace(enough["test"], fingerprint=enough["validation"].fingerprint)
    flattered = replace(run, record=replace(run.record, datasets={**enough, "test": same}))
    assert "its figures flatter the model" in words_of(flattered)
    worse = words_of(with_data(), changed(-0.2, -0.01))
    assert worse.startswith("Worse than the untouched model.")
    assert "worse than the untouched one on the test set" in worse
    assert "changed by −0.105 (95\N{NO-BREAK SPACE}% interval −0.200 to −0.010, 30 genes)." in worse
    sets = {"validation": changed(-0.2, -0.01), "test": changed(0.01, 0.2)}
    validated = replace(with_data(), history=replace(run.history, ending=replace(run.history.ending, sets=sets)))
    assert "worse than the untouched one on the validation set" in words_of(validated, changed(0.01, 0.2))
    assert "still improving" in words_of(with_losses(run, [1e-3, 9e-4, 8e-4]))
    assert "still improving" not in words_of(with_losses(run, [8e-4, 7e-4, 7.5e-4]))
    assert "still improving" not in words_of(with_losses(run, [1e-3, 9e-4, 8e-4], epochs=5))


def test_a_difference_that_may_be_chance_is_called_neither_better_nor_worse(finished) -> None:
    """Nor is it coloured; nor is any with fewer than ten genes, or where the models could not be compared."""
    run = read_run(finished)
    before, after = verdict.before_and_after(run, None)
    chance = words_of(run, changed(-0.02, 0.01))
    assert chance.startswith("No clear difference from the untouched model.")
    assert "−0.005 (95\N{NO-BREAK SPACE}% interval −0.020 to +0.010, 30 genes), which may be chance." in chance
    few = words_of(run, changed(0.1, 0.2, genes=9))
    assert few.startswith("No clear difference")
    assert "9 genes in the test set: too few to tell." in few
    unknown = words_of(run)
    assert unknown.startswith("No verdict.")
    assert "cannot be said" in unknown
    for text in (chance, few, unknown):
        assert "worse than" not in text
        assert "etter" not in text.splitlines()[0]
    for changes, tone in (
        (changed(-0.02, 0.01), ""),
        (changed(0.1, 0.2), "good"),
        (changed(-0.2, -0.1), "bad"),
        (changed(0.1, 0.2, genes=9), ""),
        (None, ""),
    ):
        assert {row.tone for row in verdict.rows("donor", before, after, changes)} == {tone}
    assert "not clearly different overall but worse on donors" in words_of(run, changed(-0.02, 0.01, 30, (-0.2, -0.1)))


def test_the_end_of_a_run_compares_its_models_once(finished, small_data, small_model, capsys) -> None:
    """The history, the card and the page say the same."""
    run = read_run(finished)
    assert set(run.history.ending.sets) == {"validation", "test"}
    best = run.history.epochs[run.tuned_epoch]
    for name, found in run.history.ending.sets.items():
        assert (found.verdict, found.genes, found.draws) == ("unclear", 4, 1000)
        was, now = run.history.untouched[name].metrics, best.splits[name].metrics
        assert (found.mean_auprc.before, found.mean_auprc.after) == pytest.approx((was.mean_auprc, now.mean_auprc))
        low, high = found.mean_auprc.interval
        assert low <= found.mean_auprc.change <= high
        for kind in SITE_KINDS:
            for measure in MEASURES:
                values = found.site(kind)[measure.key]
                expected = measure.of(was.site(kind)), measure.of(now.site(kind))
                assert (values.before, values.after) == pytest.approx(expected, abs=1e-4)
    model = finished / "models" / "model_best.pt"
    assert inspect_weights(model).card.comparison == run.history.ending.sets
    assert main(["inspect", str(model)]) == 0
    assert "verdict  no clear difference from the untouched model: mean AUPRC" in capsys.readouterr().out
    low, high = run.history.ending.sets["test"].mean_auprc.interval
    interval = f"{low:+.3f} to {high:+.3f}".replace("-", "−")
    assert f"interval {interval}, 4 genes). 4 genes in the test set: too few to tell." in html.unescape(
        (finished / "report.html").read_text()
    ).replace("\N{NO-BREAK SPACE}", " ")


# -- what goes wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def again(finished, small_data, small_model, tmp_path, pages) -> TransferSettings:
    """Settings that go on with a copy of the finished run, whose report was not made."""
    output = tmp_path / "again"
    shutil.copytree(finished, output / finished.parent.name / "0")
    (output / finished.parent.name / "0" / "report.html").unlink()
    return TransferSettings(**run_arguments(small_data, small_model, output), resume=True)


@pytest.mark.slow
def test_a_report_that_fails_harms_nothing(again, monkeypatch) -> None:
    def failing(*given: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(ending, "write_report", failing)
    with pytest.warns(SpliceAIWarning, match=r"could not be made \(no ink; its traceback is in .*error\.log\).*/0`"):
        result = transfer(again)
    assert result.best_model.exists()
    assert "ValueError: no ink" in (result.folder / "error.log").read_text()
    monkeypatch.undo()
    transfer(again)
    made = (result.folder / "report.html").stat().st_mtime_ns
    transfer(again)  # it is there and shows everything
    assert (result.folder / "report.html").stat().st_mtime_ns == made


def test_a_report_that_is_interrupted_harms_nothing(again, monkeypatch) -> None:
    evaluate, folder = Engine.evaluate, Path(again.output_dir) / RUN

    evaluated = itertools.count()

    def interrupted(self, variables, batch):
        if next(evaluated) == 0:  # a second signal would end this process
            signal.raise_signal(signal.SIGTERM)
        return evaluate(self, variables, batch)

    models = files(folder / "models")
    with monkeypatch.context() as context:
        context.setattr(Engine, "evaluate", interrupted)
        with pytest.raises(
            Interrupted, match="SIGTERM after the last epoch; the run is finished and its models are complete; the same"
        ) as caught:
            transfer(again)
    assert caught.value.exit_status == 128 + signal.SIGTERM
    assert not (folder / "report.html").exists()
    assert files(folder / "models") == models


# -- TensorBoard -----------------------------------------------------------------------------------------------


def events(folder: Path) -> list[tuple[str, int, float]]:
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in folder.glob("*tfevents*"):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return found


def expected_events(folder: Path) -> dict[tuple[str, int], float]:
    history = read_run(folder).history
    expected = {("train/batch_loss", i + 1): loss for i, loss in enumerate(history.update_losses)}
    expected |= {("train/learning_rate", i + 1): rate for i, rate in enumerate(history.update_rates)}
    rows = [(0, split, record) for split, record in history.untouched.items()]
    for number, epoch in enumerate(history.epochs):
        rows += [(4 * (number + 1), name, record) for name, record in epoch.splits.items()]
    for step, split, record in rows:
        expected[f"{split}/loss", step] = record.metrics.loss
        for kind in SITE_KINDS:
            site = record.metrics.site(kind)
            measured = {"auprc": site.auprc, "top_k": site.top_k[1]}
            measured |= {"precision": site.precision, "recall": site.recall, "f1": site.f1}
            expected |= {(f"{split}/{kind}_{name}", step): value for name, value in measured.items()}
    return expected


def check_events(folder: Path) -> None:
    found, expected = events(folder / "tensorboard"), expected_events(folder)
    assert len(found) == len(expected)
    assert {(tag, step): value for tag, step, value in found} == pytest.approx(expected, rel=1e-6)


def test_events_hold_the_history(finished) -> None:
    check_events(finished)


@pytest.mark.slow
def test_killed_between_model_and_card(small_data, small_model, tmp_path, monkeypatch, capsys) -> None:
    """The files say themselves that they do not belong together; `--resume` mends it, and no event is there twice."""

    class Killed(BaseException):
        pass

    def dying(path: Path, content: bytes | str) -> None:
        if path.name == "model_best.json" and path.exists():
            raise Killed
        write_whole(path, content)

    settings = TransferSettings(**run_arguments(small_data, small_model, tmp_path), resume=True)
    folder = tmp_path / RUN
    model = folder / "models" / "model_best.pt"
    with monkeypatch.context() as context:
        context.setattr("spliceai_jax.files.write_whole", dying)
        with pytest.raises(Killed):
            transfer(settings)
    assert len(events(folder / "tensorboard")) > 4
    assert inspect_weights(model).card is None
    assert "describes another file" in inspect_weights(model).card_problem
    assert main(["inspect", str(model)]) == 0
    assert "describes another file" in capsys.readouterr().out
    result = transfer(settings)
    check_events(folder)
    assert len(read_run(folder).record.sessions) == 2
    found = inspect_weights(model)
    assert found.card_problem is None
    assert found.card.epoch == result.best_epoch > 0
    best = result.history.epochs[result.best_epoch]
    assert found.card.after["test"] == best.test.metrics


def test_the_extra_that_is_not_installed(small_data, small_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    settings = TransferSettings(**run_arguments(small_data, small_model, tmp_path / "out"))
    with pytest.raises(SettingsError, match=r"pip install 'spliceai-jax\[tensorboard\]'"):
        transfer(settings)
    assert not (tmp_path / "out").exists()


# -- a real browser --------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

MEASURE = (Path(__file__).parent / "measure_page.html").read_text()


def browse(page_path: Path, profile: Path, scheme: str, *options: str) -> subprocess.CompletedProcess:
    quiet = ("disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update")
    return subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", *(f"--{option}" for option in quiet), "--disable-sync"),
            f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={'0' if scheme == 'dark' else '1'}",
            "--enable-logging=stderr",
            *options,
            page_path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def console(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
@pytest.mark.parametrize("scheme", full(["light", "dark"], "light"))
def test_the_page_in_a_browser(finished, tmp_path, scheme) -> None:
    """Nothing on the console; every figure whole and legible at 1200 and at 400 pixels, in both schemes."""
    shutil.copy(finished / "report.html", tmp_path / "page.html")
    plain = browse(tmp_path / "page.html", tmp_path / "profile", scheme, "--dump-dom", "--window-size=1200,900")
    assert plain.stdout.count("<figure") == len(FIGURES)
    assert not console(plain)
    text = json.dumps((finished / "report.html").read_text()).replace("</", "<\\/")
    (tmp_path / "measure.html").write_text(MEASURE.replace("PAGE", text, 1))
    done = browse(tmp_path / "measure.html", tmp_path / "profile", scheme, "--dump-dom", "--virtual-time-budget=20000")
    assert not console(done)
    found = re.search(r'<pre id="result">(.+?)</pre>', done.stdout, re.DOTALL)
    wide, narrow = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert (wide["background"] < 0.1) == (scheme == "dark")
    for seen, width, least in ((wide, 1200, 450), (narrow, 400, 320)):
        assert seen["width"] == width
        assert seen["full"] <= width
        assert not seen["tooWide"]
        assert seen["contrast"] > 7
        assert set(seen["figures"]) == FIGURES
        for name, figure in seen["figures"].items():
            assert 0 <= figure["left"] < figure["right"] <= width, name
            assert figure["width"] >= least, name
            assert figure["height"] >= 0.5 * figure["width"], name
            assert figure["drawn"] > 10, name
            assert len(figure["texts"]) > 5, name
            assert all(text["inside"] and text["contrast"] > 4.5 for text in figure["texts"]), name
            assert min(text["height"] for text in figure["texts"]) > 8, name


def test_the_console_is_heard(tmp_path) -> None:
    """The check above would see an error."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    (tmp_path / "page.html").write_text("<script>nothing.there()</script>")
    assert console(browse(tmp_path / "page.html", tmp_path / "profile", "light", "--dump-dom"))

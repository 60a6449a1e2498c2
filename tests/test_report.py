"""The report: its numbers, what it says in words, runs under way, moved or bereft, a real browser, and events."""

import itertools
import json
import math
import re
import shutil
import signal
import struct
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import RUN, make_windows, random_model, run_arguments, write_dataset
from filelock import FileLock
from PIL import Image
from sklearn.metrics import precision_recall_curve

from spliceai_jax import TransferSettings, cli, fine_tuning, transfer
from spliceai_jax.architecture import ARCHITECTURES, BASES, CLASSES
from spliceai_jax.card import inspect_pt
from spliceai_jax.dataset import read_windows
from spliceai_jax.errors import Interrupted, SettingsError, SpliceAIWarning
from spliceai_jax.folder import write_whole
from spliceai_jax.parallel import JitEngine, make_engine
from spliceai_jax.recipes import Recipe
from spliceai_jax.report import Run, page, read_run, scoring
from spliceai_jax.report.scoring import KINDS, LOGO_SPANS

FIGURES = {
    *("loss", "learning_rate", "auprc", "top_k"),
    *(f"{name}_{kind}" for name in ("precision_recall", "scores", "calibration", "logo") for kind in KINDS),
}
OF_TEST_SET = {name for name in FIGURES if name.endswith(KINDS)}


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """The same run, moved elsewhere."""
    shutil.copytree(finished, tmp_path / "moved")
    return tmp_path / "moved"


def report(folder: Path) -> str:
    assert cli.main(["report", str(folder)]) == 0
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
    """Eleven windows in two shards, four at a time; every sum and every error done again the slow way."""
    models = {"untouched": random_model(80, 3), "tuned": random_model(80, 0)}
    windows = read_windows(small_data / "dataset_train.h5", 80)
    done: list[int] = []
    variables = {name: model.variables for name, model in models.items()}
    engine = make_engine(ARCHITECTURES[80], Recipe(), "float32", parallel)
    view = scoring.score(engine, variables, windows, 4, done.append)
    assert done == [4, 7]  # the long ones in rows of their own, then the short ones side by side
    scores = {name: model.predict(windows.bases) for name, model in models.items()}
    labelled = windows.labels < 3
    for (name, kind), seen in view.views.items():
        code = CLASSES.index(kind)
        score, truth = scores[name][..., code][labelled], windows.labels[labelled] == code
        precision, recall, _ = precision_recall_curve(truth, score)
        # scikit-learn has a point for each score, we for each of a site; the area between them is the same.
        assert set(zip(seen.recall.round(5), seen.precision.round(5), strict=True)) <= set(
            zip(recall.round(5), precision.round(5), strict=True)
        )
        area = (np.diff(seen.recall, prepend=0) * seen.precision).sum()
        assert area == pytest.approx(getattr(view.metrics[name], kind).auprc, rel=1e-6)
        edges = np.linspace(0, 1, 21)
        assert np.abs(seen.sites - np.histogram(score[truth], edges)[0]).sum() <= 2  # at an edge by rounding
        assert np.abs(seen.others - np.histogram(score[~truth], edges)[0]).sum() <= 40
        assert seen.sites.sum() + seen.others.sum() == labelled.sum()
        assert seen.score_sums.sum() == pytest.approx(score.sum(), rel=1e-4)
        called = (scores[name].argmax(-1) == code) & labelled
        assert abs(seen.called - called.sum()) <= 2
    for kind in KINDS:
        counts = np.zeros((len(LOGO_SPANS[kind]), 4), int)
        for window, place in zip(*np.nonzero(windows.labels == CLASSES.index(kind)), strict=True):
            for column, offset in enumerate(LOGO_SPANS[kind]):
                counts[column, windows.bases[window, 40 + place + offset] - 1] += 1
        assert np.array_equal(view.labels[kind], counts)
        for missed in (True, False):
            found = [error for error in view.errors if error.kind == kind and error.missed == missed]
            expected = worst_errors(windows.labels, scores["tuned"], CLASSES.index(kind), missed)
            assert [error.loss for error in found] == pytest.approx([loss for loss, *_ in expected], rel=1e-4)
            assert {(e.window + 7 * e.shard, e.position) for e in found} == {(w, p) for _, w, p in expected}
    for error in view.errors:
        row = error.window + (7 if error.shard else 0)
        around = windows.bases[row, 40 + error.position - 30 : 40 + error.position + 31]
        assert error.bases == "".join(BASES[code] for code in around)
        for name in models:
            expected_score = scores[name][row, error.position, CLASSES.index(error.kind)]
            assert error.scores[name] == pytest.approx(expected_score, abs=1e-5)


def worst_errors(labels: np.ndarray, scores: np.ndarray, code: int, missed: bool) -> list[tuple[float, int, int]]:
    found = []
    for window, place in np.ndindex(labels.shape):
        truth, called = labels[window, place], scores[window, place].argmax()
        if truth != 3 and (truth == code != called if missed else called == code != truth):
            found.append((-math.log(scores[window, place, truth] + 1e-10), window, place))
    return sorted(found, reverse=True)[: scoring._ERRORS_KEPT]


def test_an_error_says_what_stands_near(tmp_path) -> None:
    """A site that the model calls five bases further down."""
    bases, labels = make_windows(4, 9)
    labels[0, 100:130] = 0
    labels[0, 105], labels[0, 100] = 2, 0
    windows = read_windows(write_dataset(tmp_path / "set.h5", [(bases, labels)]), 80)
    probabilities = np.zeros((4, 5000, 3), np.float32)
    probabilities[..., 0] = 1
    probabilities[0, 100] = [0.1, 0, 0.9]
    errors = scoring._Errors(windows)
    errors.add({"tuned": probabilities}, "tuned", windows.labels, windows.index)
    miss, false = (
        next(e for e in errors.worst() if (e.kind, e.missed, e.window, e.position) == wanted)
        for wanted in (("donor", True, 0, 105), ("donor", False, 0, 100))
    )
    assert miss.nearest == -5
    assert "the model calls a donor 5 bases upstream" in page._note(miss, 1)
    assert false.nearest == 5
    assert "a donor is annotated 5 bases downstream" in page._note(false, 1)
    odd = replace(false, bases="A" * 61, nearest=None)
    assert page._note(odd, 1) == "AA where GT is usual; no donor is annotated within 50 bases"
    assert page._note(miss, 3).endswith("; 3 times, in windows of the same sequence")
    assert page._parts(odd)[1] == ("aa", "pair odd")
    for error in (miss, false, odd):
        assert "".join(letters for letters, _ in page._parts(error)).upper() == error.bases


# -- the page --------------------------------------------------------------------------------------------------


def test_a_run_ends_with_its_report(finished) -> None:
    text, run = (finished / "report.html").read_text(), read_run(finished)
    assert figures(text) == FIGURES
    assert {path.stem for path in (finished / "report").iterdir()} == FIGURES
    for path in (finished / "report").iterdir():
        image = np.asarray(Image.open(path).convert("L"))
        assert image.shape[1] > 600
        assert image.min() < 100 < 250 < image.max()
    best = run.history.epochs[run.history.best_epoch]
    for metrics in (run.history.untouched["test"].metrics, best.test.metrics):
        for site in (metrics.donor, metrics.acceptor):
            for value in (site.auprc, site.top_k[1], site.precision, site.recall):
                assert f">{value:.3f}<" in text
    for words in (str(finished), "--learning-rate 0.003", "100.0 %", run.record.parent["sha256"], "few sites"):
        assert words.replace("<", "&lt;").replace(">", "&gt;") in text
    assert "<i>small" not in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)  # nothing is fetched
    assert not re.search(r"@import|url\((?!#)", text)
    assert "<script" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


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


def test_what_is_gone_is_left_out_and_said(copied, tmp_path) -> None:
    def lose(name: str) -> None:
        def change(record: dict) -> None:
            place = record["parent"] if name == "parent" else record["datasets"]["test"]
            place["path"] = str(tmp_path / "gone" / Path(place["path"]).name)

        edit(copied / "record.json", change)

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
    (copied / "record.json").unlink()  # as of an earlier version
    assert figures(report(copied)) == FIGURES - OF_TEST_SET


def test_what_has_changed_is_left_out_and_said(copied, tmp_path) -> None:
    random_model(80, seed=8).to_pt(tmp_path / "other.pt")
    write_dataset(tmp_path / "other.h5", [make_windows(4, 44)])

    def change(record: dict) -> None:
        record["parent"]["path"] = str(tmp_path / "other.pt")
        record["datasets"]["test"]["path"] = str(tmp_path / "other.h5")

    edit(copied / "record.json", change)
    text = report(copied)
    assert "other.pt: no longer the weights that the run started from" in text
    assert "other.h5: no longer the test set of the run" in text
    assert figures(text) == FIGURES - OF_TEST_SET


def test_a_run_under_way(copied) -> None:
    """Before the first checkpoint, then after an epoch, while another process holds the folder."""
    shutil.move(copied / "checkpoints", copied / "later")
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
        shutil.move(copied / "later", copied / "checkpoints")
        (copied / "checkpoints" / "99.orbax-checkpoint-tmp").mkdir()  # one on its way
        for metadata in (copied / "checkpoints").glob("*/progress/metadata"):
            edit(metadata, lambda loop: loop["history"].update(epochs=loop["history"]["epochs"][:1]))
        text = report(copied)
    assert (copied / "checkpoints" / "99.orbax-checkpoint-tmp").is_dir()
    assert figures(text) == FIGURES
    assert ", so far." in text
    assert "1 of at most 3 epochs" in text


def test_report_refuses_what_is_no_run(tmp_path, capsys) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"spliceai-jax: {tmp_path}/run.json: cannot be read")
    assert line.count("\n") == 1


def test_other_commands_do_not_wait_for_matplotlib() -> None:
    code = "import sys, spliceai_jax.fine_tuning; sys.exit('matplotlib' in sys.modules or 'jinja2.ext' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- words -----------------------------------------------------------------------------------------------------


def words_of(run: Run) -> str:
    before, after = page._before_and_after(run, None)
    return "\n".join([page._verdict(run, before, after).headline, *page._warnings(run, before, after)])


def with_losses(run: Run, losses: list[float], **identity: object) -> Run:
    epochs = []
    for loss in losses:
        split = run.history.epochs[0].validation
        epochs.append(
            replace(run.history.epochs[0], validation=replace(split, metrics=replace(split.metrics, loss=loss)))
        )
    return replace(
        run, history=replace(run.history, epochs=epochs), identity={**run.identity, "epochs": len(losses), **identity}
    )


def test_warnings_stand_where_something_is_wrong_and_nowhere_else(finished) -> None:
    run = read_run(finished)
    enough = {
        name: replace(dataset, donors=900, acceptors=900, gt_share=0.99, ag_share=1.0, padding_share=0.4)
        for name, dataset in run.record.datasets.items()
    }

    def with_data(**changes: object) -> Run:
        changed = {**enough, "train": replace(enough["train"], **changes)}
        return replace(run, record=replace(run.record, datasets=changed))

    def with_test(auprc: float) -> Run:
        epochs = []
        for epoch in run.history.epochs:
            sites = {kind: replace(getattr(epoch.test.metrics, kind), auprc=auprc) for kind in KINDS}
            test = replace(epoch.test, metrics=replace(epoch.test.metrics, **sites))
            epochs.append(replace(epoch, test=test, validation=test))
        return replace(with_data(), history=replace(run.history, epochs=epochs))

    untold = words_of(with_test(0.9999)).splitlines()
    assert untold[0] == "Better than the untouched model."
    assert not [line for line in untold[1:] if "still improving" not in line]
    assert "few sites: 12 donors" in words_of(with_data(donors=12))
    assert "Only 80.0 % of the training set's donors stand before GT" in words_of(with_data(gt_share=0.8))
    assert "Only 80.0 % of the training set's acceptors stand behind AG" in words_of(with_data(ag_share=0.8))
    assert "90 % of the training set's positions lie behind" in words_of(with_data(padding_share=0.9))
    same = replace(enough["test"], fingerprint=enough["validation"].fingerprint)
    flattered = replace(run, record=replace(run.record, datasets={**enough, "test": same}))
    assert "its figures flatter" in words_of(flattered)
    worse = words_of(with_test(0.0001))
    assert worse.startswith("Worse than the untouched model.")
    assert "worse than the untouched one on the test set" in worse
    assert "still improving" in words_of(with_losses(run, [1e-3, 9e-4, 8e-4]))
    assert "still improving" not in words_of(with_losses(run, [8e-4, 7e-4, 7.5e-4]))
    assert "still improving" not in words_of(with_losses(run, [1e-3, 9e-4, 8e-4], epochs=5))


# -- what goes wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def again(finished, small_data, small_model, tmp_path) -> TransferSettings:
    """Settings that go on with a copy of the finished run, whose report was not made."""
    output = tmp_path / "again"
    shutil.copytree(finished, output / finished.parent.name / "0")
    (output / finished.parent.name / "0" / "report.html").unlink()
    return TransferSettings(**run_arguments(small_data, small_model, output), resume=True)


def test_a_report_that_fails_harms_nothing(again, monkeypatch) -> None:
    def failing(*given: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(fine_tuning, "write_report", failing)
    with pytest.warns(SpliceAIWarning, match=r"could not be made \(no ink\).*`spliceai-jax report .*/0`"):
        result = transfer(again)
    assert result.best_model.exists()
    monkeypatch.undo()
    transfer(again)
    made = (result.folder / "report.html").stat().st_mtime_ns
    transfer(again)  # it is there and shows everything
    assert (result.folder / "report.html").stat().st_mtime_ns == made


def test_a_report_that_is_interrupted_harms_nothing(again, monkeypatch) -> None:
    evaluate, folder = JitEngine.evaluate, Path(again.output_dir) / RUN

    evaluated = itertools.count()

    def interrupted(self, variables, batch):
        if next(evaluated) == 0:  # a second signal would end this process
            signal.raise_signal(signal.SIGTERM)
        return evaluate(self, variables, batch)

    models = files(folder / "models")
    with monkeypatch.context() as context:
        context.setattr(JitEngine, "evaluate", interrupted)
        with pytest.raises(
            Interrupted, match="finished and its models whole; make the report by `spliceai-jax"
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
        rows += [(4 * (number + 1), name, getattr(epoch, name)) for name in ("train", "validation", "test")]
    for step, split, record in rows:
        expected[f"{split}/loss", step] = record.metrics.loss
        for kind in KINDS:
            site = getattr(record.metrics, kind)
            measured = {"auprc": site.auprc, "top_k": site.top_k[1], "precision": site.precision, "recall": site.recall}
            expected |= {(f"{split}/{kind}_{name}", step): value for name, value in measured.items()}
    return expected


def check_events(folder: Path) -> None:
    found, expected = events(folder / "tensorboard"), expected_events(folder)
    assert len(found) == len(expected)
    assert {(tag, step): value for tag, step, value in found} == pytest.approx(expected, rel=1e-6)


def test_events_hold_the_history(finished) -> None:
    check_events(finished)


def test_killed_between_model_and_card(small_data, small_model, tmp_path, monkeypatch, capsys) -> None:
    """What lies there says of itself that it does not go together; `--resume` mends it, and no event is there twice."""

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
        context.setattr("spliceai_jax.folder.write_whole", dying)
        with pytest.raises(Killed):
            transfer(settings)
    assert len(events(folder / "tensorboard")) > 4
    assert inspect_pt(model).card is None
    assert "describes another file" in inspect_pt(model).card_problem
    assert cli.main(["inspect", str(model)]) == 0
    assert "describes another file" in capsys.readouterr().out
    result = transfer(settings)
    check_events(folder)
    assert len(read_run(folder).record.sessions) == 2
    found = inspect_pt(model)
    assert found.card_problem is None
    assert found.card["epoch"] == result.best_epoch > 0
    best = result.history.epochs[result.best_epoch]
    assert found.card["after"]["test"] == json.loads(json.dumps(asdict(best.test.metrics)))


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
@pytest.mark.parametrize("scheme", ["light", "dark"])
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

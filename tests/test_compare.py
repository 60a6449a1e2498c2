"""`compare`: models, runs and folders of models side by side; and the mean of several models."""

import html
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import RUN, make_windows, random_model, write_dataset
from sklearn.metrics import average_precision_score

from spliceai_jax import ModelComparison, compare, evaluate
from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS
from spliceai_jax.commands.main import main
from spliceai_jax.errors import SettingsError, WeightsError
from spliceai_jax.evaluation.bootstrap import genes_of
from spliceai_jax.report.compare import comparison_table
from spliceai_jax.windows.gene_table import genes_by_name
from spliceai_jax.windows.hdf5 import read_windows


@pytest.fixture
def models(tmp_path) -> Path:
    """A folder with three 80-nt models."""
    folder = tmp_path / "models"
    folder.mkdir()
    for seed in range(3):
        random_model(80, seed).to_pt(folder / f"{seed}.pt")
    return folder


@pytest.mark.slow
def test_the_mean_of_several_models_is_evaluated(models, small_data) -> None:
    """Files, a folder, models in memory: the scores are the mean probabilities, and so is the loss of them."""
    dataset = small_data / "dataset_test.h5"
    paths = [models / "0.pt", models / "1.pt", models / "2.pt"]
    found = evaluate(paths, dataset)
    assert evaluate(models, dataset) == evaluate([random_model(80, seed) for seed in range(3)], dataset) == found
    windows = read_windows(dataset, 80)
    mean = np.mean([random_model(80, seed).predict(windows.bases) for seed in range(3)], axis=0)
    labelled = windows.labels != PADDING
    truth, scores = windows.labels[labelled], mean[labelled]
    for kind in SITE_KINDS:
        code = CLASSES.index(kind)
        assert found.site(kind).auprc == pytest.approx(
            average_precision_score(truth == code, scores[:, code]), rel=1e-4
        )
    assert found.loss == pytest.approx(-np.log(scores[np.arange(len(truth)), truth] + 1e-10).mean(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("given", ["-m {0}/0.pt -m {0}/1.pt -m {0}/2.pt", "-m {0}/0.pt {0}/1.pt {0}/2.pt", "-m {0}"])
def test_evaluate_says_that_it_takes_the_mean(given, models, small_data, capsys) -> None:
    arguments = given.format(models).split()
    assert main(["evaluate", *arguments, "-test", str(small_data / "dataset_test.h5"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["donor"]["auprc"] == evaluate(models, small_data / "dataset_test.h5").donor.auprc
    assert "note: the mean of the probabilities of 3 models is scored" in shown.err


def test_models_of_two_sizes_have_no_mean(models, small_data) -> None:
    random_model(400).to_pt(models / "big.pt")
    with pytest.raises(SettingsError, match=r"big\.pt has a flanking size of 400 nt and .*0\.pt one of 80 nt"):
        evaluate(models, small_data / "dataset_test.h5")
    with pytest.raises(SettingsError, match=r"`model`: number 2 \(in memory\) has a flanking size of 400 nt"):
        evaluate([random_model(80), random_model(400)], small_data / "dataset_test.h5")
    with pytest.raises(WeightsError, match=r"holds no \.pt file"):
        evaluate(small_data, small_data / "dataset_test.h5")


@pytest.mark.slow
def test_models_are_compared_with_the_first(models, finished, small_data, tmp_path, capsys) -> None:
    """A file, one of another size, a run, and a folder; the same as JSON, as text and on the page."""
    dataset, page = small_data / "dataset_train.h5", tmp_path / "page.html"
    random_model(400).to_pt(tmp_path / "big.pt")
    given = [models / "0.pt", tmp_path / "big.pt", finished, models]
    flags = ["-m", *map(str, given), "-test", str(dataset), "-o", str(page), "--json"]
    assert main(["compare", *flags]) == 0
    found = msgspec.convert(json.loads(capsys.readouterr().out), ModelComparison)
    assert (found.windows, found.genes) == (11, 11)
    assert [one.name for one in found.models] == [str(path) for path in given]
    assert [(one.models, one.flanking_size) for one in found.models] == [(1, 80), (1, 400), (1, 80), (3, 80)]
    first, *others = found.models
    assert others[1].metrics == evaluate(finished / "models" / "model_best.pt", dataset)
    assert others[2].metrics == evaluate(models, dataset)
    assert first.differences is None
    text, table = html.unescape(page.read_text()), comparison_table(found)
    for one in others:
        change = one.differences.mean_auprc
        assert (change.before, change.after) == (first.metrics.mean_auprc, one.metrics.mean_auprc)
        assert change.interval[0] <= change.change <= change.interval[1]
        assert all(gene.errors[1] < gene.errors[0] for gene in one.winners)
        assert all(gene.errors[1] > gene.errors[0] for gene in one.losers)
        drops = [gene.errors[0] - gene.errors[1] for gene in one.winners]
        assert drops == sorted(drops, reverse=True)
        assert f"{one.name} is {one.differences.said} {first.name}: {one.differences.words}" in table
        assert f"{one.differences.said.capitalize()} {first.name}: mean AUPRC from" in text
        assert f">{one.metrics.donor.auprc:.3f}<" in text
        assert one.name in text


def test_errors_are_counted_by_gene(models, small_data) -> None:
    """The slow way, for every gene that is listed."""
    dataset = small_data / "dataset_test.h5"
    _, other = compare([models / "0.pt", models / "1.pt"], dataset).models
    windows = read_windows(dataset, 80)
    assert other.winners or other.losers
    calls = [random_model(80, seed).predict(windows.bases).argmax(-1) for seed in (0, 1)]
    for gene in (*other.winners, *other.losers):
        row = int(gene.name.removeprefix("shard 0, window "))
        truth = windows.labels[row]
        sites = (truth == 1) | (truth == 2)
        assert gene.sites == sites.sum()
        for model in (0, 1):
            called = calls[model][row]
            assert gene.missed[model] == (sites & (called != truth)).sum()
            assert gene.false_calls[model] == ((called > 0) & (truth != PADDING) & (called != truth)).sum()


def test_genes_have_names_where_the_data_sets_maker_left_them(tmp_path) -> None:
    bases, labels = make_windows(4, 3)
    labels[:, 4990:] = 0
    bases[1] = np.concatenate([bases[0, 5000:], bases[1, 10000:]])
    dataset = write_dataset(tmp_path / "dataset_test.h5", [(bases[:3], labels[:3]), (bases[3:], labels[3:])])
    windows = read_windows(dataset, 400)
    table = tmp_path / "test_stats.txt"
    without = ["shard 0, windows 0 to 1", "shard 0, window 2", "shard 1, window 0"]
    assert [gene.name for gene in genes_by_name(windows, genes_of(windows))] == without
    table.write_text("2L\t101\t7000\tkni\t1\t-\n2L\t8001\t9000\twg\t1\t+\nX\t1\t5000\tdl\t1\t+\n")
    named = genes_by_name(windows, genes_of(windows))
    assert [(gene.name, gene.place) for gene in named] == [
        ("kni", "2L:101-7000 -"),
        ("wg", "2L:8001-9000 +"),
        ("dl", "X:1-5000 +"),
    ]
    for other in (
        "2L\t101\t7000\tkni\t1\t-\n",
        "no table",
        "2L\t1\t2\ta\t1\t+\n2L\t1\t2\tb\t1\t+\n2L\t1\t2\tc\t1\t+\n",
    ):
        table.write_text(other)  # of another data set
        assert [gene.name for gene in genes_by_name(windows, genes_of(windows))] == without


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{0}/0.pt", "expected two or more to compare"),
        ("{0}/0.pt {0}/0.pt", "is given twice"),
        ("{0}/0.pt {0}/9.pt", "no such weights file"),
        ("{0}/0.pt {0}/1.pt -o {0}", "is a folder; give the name of a page"),
    ],
)
def test_what_cannot_be_compared_is_refused(given, said, models, small_data, capsys) -> None:
    dataset = str(small_data / "dataset_test.h5")
    assert main(["compare", "-test", dataset, "-m", *given.format(models).split()]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


@pytest.mark.slow
def test_a_run_without_a_model_is_no_model(finished, small_model, small_data, tmp_path, capsys) -> None:
    shutil.copytree(finished, tmp_path / RUN, ignore=shutil.ignore_patterns("models"))
    dataset = str(small_data / "dataset_test.h5")
    assert main(["compare", "-m", str(small_model), str(tmp_path / RUN), "-test", dataset]) == 2
    assert "model_best.pt: no such weights file" in capsys.readouterr().err

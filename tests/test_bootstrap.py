"""The paired bootstrap over genes: against the same draws measured by scikit-learn, and its verdicts."""

import numpy as np
import pytest
from conftest import make_windows, write_dataset
from sklearn.metrics import average_precision_score

from spliceai_jax.architecture import CLASSES, PADDING, SITE_KINDS
from spliceai_jax.evaluation import bootstrap
from spliceai_jax.evaluation.bootstrap import Differences, GeneCounts, differences, genes_of
from spliceai_jax.evaluation.metrics import MEASURES, MetricsAccumulator
from spliceai_jax.windows.hdf5 import read_windows

pytestmark = pytest.mark.usefixtures("all_draws")

GENES, LENGTH = 40, 1500
NO_METRICS = MetricsAccumulator().result()


def labelled_genes(genes: int = GENES) -> np.ndarray:
    """Labels of a window a gene; genes have 1 to 8 sites of each kind."""
    random = np.random.default_rng(5)
    labels = np.full((genes, LENGTH + 100), PADDING, np.uint8)
    labels[:, :LENGTH] = 0
    for row in labels:
        sites = random.integers(1, 9)
        row[random.choice(LENGTH, 2 * sites, replace=False)] = [1, 2] * sites
    return labels


def scores(labels: np.ndarray, skill: float, seed: int = 1) -> np.ndarray:
    """Probabilities of a model that finds sites the better the higher its skill, and some genes better than others."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (*labels.shape, 3))
    logits[..., 0] += 6
    logits += random.normal(0, 1, (len(labels), 1, 3))
    for code in (1, 2):
        logits[..., code] += skill * (labels == code)
    odds = np.exp(logits)
    return (odds / odds.sum(-1, keepdims=True)).astype(np.float32)


def counted(labels: np.ndarray, probabilities: np.ndarray, genes: np.ndarray, seed: int = 3) -> GeneCounts:
    counts = GeneCounts(genes, seed)
    order = np.random.default_rng(2).permutation(len(labels))  # windows come as they are packed
    for start in range(0, len(labels), 7):
        positions = order[start : start + 7]
        counts.add(positions, probabilities[positions], labels[positions])
    return counts


def compared(labels: np.ndarray, before: np.ndarray, after: np.ndarray, genes: np.ndarray) -> Differences:
    both = []
    for probabilities in (before, after):
        metrics = MetricsAccumulator()
        metrics.add(probabilities, labels, np.zeros(len(labels)))
        both.append(counted(labels, probabilities, genes).resampled(metrics.result()))
    return differences(*both)


@pytest.mark.usefixtures("all_draws")
def test_every_measure_of_a_draw_is_that_of_the_genes_drawn() -> None:
    labels, genes = labelled_genes(), np.repeat(np.arange(GENES // 2), 2)
    probabilities = scores(labels, 8)
    drawn = counted(labels, probabilities, genes, 9).resampled(NO_METRICS).drawn
    weights = bootstrap._draws(GENES // 2, 9, 1000)
    assert weights.shape == (1000, GENES // 2)
    assert (weights.sum(1) == GENES // 2).all()
    for draw in range(0, 1000, 50):
        rows = np.flatnonzero(weights[draw][genes])
        times = np.repeat(rows, weights[draw][genes][rows].astype(int))
        truth, found = labels[times][:, :LENGTH].ravel(), probabilities[times][:, :LENGTH].reshape(-1, 3)
        for kind in SITE_KINDS:
            code = CLASSES.index(kind)
            is_site, called = truth == code, found.argmax(-1) == code
            k = is_site.sum()
            exact = {
                "auprc": average_precision_score(is_site, found[:, code]),
                "top_k": is_site[np.argsort(-found[:, code], kind="stable")[:k]].mean(),
                "precision": (is_site & called).sum() / called.sum(),
                "recall": (is_site & called).sum() / k,
                "f1": 2 * (is_site & called).sum() / (called.sum() + k),
            }
            # An error far below the spread of the draws; and a few of the k highest positions.
            allowed = {"auprc": 0.1 * drawn[kind, "auprc"].std(), "top_k": 4 / k}
            for measure in MEASURES:
                value = drawn[kind, measure.key][draw]
                assert value == pytest.approx(exact[measure.key], abs=allowed.get(measure.key, 1e-6)), measure


def test_three_verdicts() -> None:
    labels, genes = labelled_genes(), np.arange(GENES)
    plain, better = scores(labels, 8), scores(labels, 9)
    up = compared(labels, plain, better, genes)
    assert (up.verdict, up.genes) == ("better", GENES)
    low, high = up.mean_auprc.interval
    assert 0 < low < up.mean_auprc.change < high
    assert up.words.startswith(f"mean AUPRC from {up.mean_auprc.before:.3f} to {up.mean_auprc.after:.3f}, +0.")
    assert "(95 % interval +0." in up.words
    down = compared(labels, better, plain, genes)
    assert down.verdict == "worse"
    assert down.mean_auprc.interval == pytest.approx((-high, -low))
    chance = compared(labels, plain, scores(labels, 8, seed=8), genes)
    assert chance.mean_auprc.change != 0
    assert chance.verdict == "unclear"
    same = compared(labels, plain, plain, genes)
    assert (same.verdict, same.mean_auprc.interval) == ("unclear", (0, 0))


def test_the_same_genes_are_drawn_for_both_models() -> None:
    """Genes differ far more than the models do, so that models measured on genes of their own could not be told."""
    labels, genes = labelled_genes(), np.arange(GENES)
    plain, better = scores(labels, 8), scores(labels, 8.2)
    first, same, others = (
        counted(labels, one, genes, seed).resampled(NO_METRICS).drawn["donor", "auprc"]
        for one, seed in ((plain, 3), (better, 3), (better, 4))
    )
    assert 3 * (same - first).std() < (others - first).std()


@pytest.mark.parametrize("genes", [1, 2, 9])
def test_few_genes_decide_nothing(genes: int) -> None:
    labels = labelled_genes(9)
    of_windows = np.minimum(np.arange(9), genes - 1)
    found = compared(labels, scores(labels, 3), scores(labels, 9), of_windows)
    assert found.mean_auprc.change > 0.3
    assert (found.verdict, found.genes) == ("unclear", genes)
    assert found.words.endswith("too few to tell")
    assert (found.mean_auprc.interval is None) == (genes == 1)  # the same gene over and over differs by nothing


def test_a_gene_more_takes_a_kilobyte() -> None:
    held = []
    for genes in (1000, 2000):
        counts = GeneCounts(np.arange(genes), 3)
        held.append(
            counts._drawn.nbytes + sum(one.nbytes for one in (*counts.called.values(), *counts._binned.values()))
        )
    assert held[1] - held[0] < 1200 * 1000


def test_scores_at_the_ends_of_their_range() -> None:
    """0, 1 and what lies beside them in float32 have bins; the higher the score, the higher the bin."""
    values = np.array([0, 1e-45, 1e-30, 1e-9, 1e-5, 0.5, 0.9, np.nextafter(np.float32(1), 0), 1], np.float32)
    bins = bootstrap._bins(values)
    assert (np.diff(bins) >= 0).all()
    assert (bins[0], bins[-1]) == (0, 1023)
    assert (np.diff(bins[3:8]) > 0).all()


def test_the_windows_of_a_gene_go_together(tmp_path) -> None:
    """A gene of two windows that share their context, and two genes beside it."""
    bases, labels = make_windows(4, 3)
    labels[:, 4990:] = 0
    bases[1] = np.concatenate([bases[0, 5000:], bases[1, 10000:]])
    labels[1, 100:] = PADDING
    windows = read_windows(write_dataset(tmp_path / "set.h5", [(bases, labels)]), 400)
    assert genes_of(windows).tolist() == [0, 0, 1, 2]

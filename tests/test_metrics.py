"""Metrics: OpenSpliceAI's numbers and log files, and scikit-learn's on anything."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from spliceai_jax.architecture import PADDING
from spliceai_jax.evaluation import ranking
from spliceai_jax.evaluation.metrics import Metrics, MetricsAccumulator, SiteMetrics
from spliceai_jax.runs.history import Epoch, History, SplitRecord
from spliceai_jax.runs.writer import render_logs

KINDS = {"acceptor": 1, "donor": 2}
VECTORS = SHARED / "reference" / "vectors"


def losses_of(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross entropy summed over each window."""
    truth = np.eye(4)[labels][..., :3]
    return -(truth * np.log(probabilities.astype(np.float64) + 1e-10)).sum((1, 2))


def accumulated(probabilities: np.ndarray, labels: np.ndarray, cuts: Sequence[int] = ()) -> Metrics:
    """The metrics of windows added in batches that end at `cuts`."""
    gathered = MetricsAccumulator()
    losses = losses_of(probabilities, labels)
    for part in np.split(np.arange(len(labels)), sorted(cuts)):
        gathered.add(probabilities[part], labels[part], losses[part])
    return gathered.result()


def naive_top_k(scores: np.ndarray, is_site: np.ndarray) -> tuple[list[float], list[float]]:
    """Sort everything; among equal scores the negatives first."""
    k = int(is_site.sum())
    order = np.lexsort((is_site, -scores))
    accuracies, thresholds = [], []
    for length in (0.5, 1, 2, 4):
        called = order[: max(int(length * k), 1)]
        accuracies.append(is_site[called].sum() / min(len(called), k))
        thresholds.append(scores[called[-1]])
    return accuracies, thresholds


def assert_as_naive(found: Metrics, probabilities: np.ndarray, labels: np.ndarray) -> None:
    counted = labels != PADDING
    truth, scores = labels[counted], probabilities[counted]
    called = scores.argmax(-1)
    precision, recall, f1, _ = precision_recall_fscore_support(truth, called, labels=[0, 1, 2], zero_division=0)
    present = [label for label in range(3) if (truth == label).any()]
    assert found.mean_recall == pytest.approx(np.mean(recall[present]), rel=1e-12)
    assert found.loss == pytest.approx(losses_of(probabilities, labels).sum() / counted.sum(), rel=1e-12)
    assert found.windows == len(labels)
    for kind, label in KINDS.items():
        site: SiteMetrics = getattr(found, kind)
        is_site = truth == label
        assert (site.precision, site.recall, site.f1) == pytest.approx((precision[label], recall[label], f1[label]))
        assert site.sites == is_site.sum()
        if not is_site.any():
            assert all(map(math.isnan, (site.auprc, *site.top_k, *site.thresholds)))
            continue
        assert site.auprc == pytest.approx(average_precision_score(is_site, scores[:, label]), rel=1e-9)
        accuracies, thresholds = naive_top_k(scores[:, label], is_site)
        assert site.top_k == pytest.approx(accuracies, rel=1e-9, abs=1e-9)
        assert site.thresholds == pytest.approx(thresholds, rel=0, abs=0)


# -- OpenSpliceAI's own numbers ----------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("name", ["typical", "rare", "dense"])
def test_recorded_log_files(name: str) -> None:
    recorded = json.loads((VECTORS / "metrics.json").read_text())[name]
    with np.load(VECTORS / f"metrics_{name}.npz") as file:
        probabilities, labels = file["probabilities"], file["labels"]
    record = SplitRecord(accumulated(probabilities, labels, cuts=[1, 2]), [])
    files = render_logs(History(epochs=[Epoch(1e-4, record, record, record)]))
    for folder in ("TRAIN", "VAL", "TEST"):
        for column, theirs in recorded.items():
            ours = files[f"{folder}/{column}.txt"]
            if column == "learning_rate_every_epoch":
                assert ours == ("0.0001\n" if folder == "TRAIN" else "")
            elif column.endswith("topk_all") or not theirs:
                assert ours == theirs, column
            else:
                # PyTorch sums the loss in float32; the average precision is summed in another order.
                tolerance = 1e-7 if column == "loss_batch" else 1e-15
                assert ours.endswith("\n")
                assert float(ours) == pytest.approx(float(theirs), rel=0, abs=tolerance), column
        assert {file.removeprefix(f"{folder}/") for file in files if file.startswith(folder)} == {
            f"{column}.txt" for column in recorded
        }


# -- log files -----------------------------------------------------------------------------------------------------


def test_log_files_have_a_line_an_epoch_and_updates_a_line_a_batch() -> None:
    def record(loss: float, batch_losses: list[float]) -> SplitRecord:
        donor = SiteMetrics(0.5, 0.25, 1 / 3, 0.75, (0.1, 0.2, 0.3, 0.4), (0.9, 0.8, 0.7, 0.6), 12)
        acceptor = SiteMetrics(0.0, 0.0, 0.0, math.nan, (math.nan,) * 4, (math.nan,) * 4, 0)
        return SplitRecord(Metrics(loss, 0.6, donor, acceptor, 4), batch_losses)

    history = History(
        update_losses=[0.5, 0.4, 0.3, 0.2],
        update_rates=[1e-4, 1e-4, 5e-5, 5e-5],
        epochs=[
            Epoch(1e-4, record(0.2, [0.25, 0.15]), record(0.1, [9.0]), record(0.3, [0.3])),
            Epoch(5e-5, record(0.02, [0.025, 0.015]), record(0.01, [9.0]), record(0.03, [0.03])),
        ],
    )
    files = render_logs(history)
    assert files["TRAIN/loss_every_update.txt"] == "0.5\n0.4\n0.3\n0.2\n"
    assert files["TRAIN/learning_rate_every_batch.txt"] == "0.0001\n0.0001\n5e-05\n5e-05\n"
    assert files["TRAIN/learning_rate_every_epoch.txt"] == "0.0001\n5e-05\n"
    assert files["TRAIN/loss_batch.txt"] == "0.1\n0.01\n"
    assert files["VAL/loss_batch.txt"] == "0.2\n0.02\n"
    assert files["VAL/loss_every_update.txt"] == "0.25\n0.15\n0.025\n0.015\n"
    assert files["TEST/loss_batch.txt"] == "0.3\n0.03\n"
    assert files["TEST/accuracy.txt"] == "0.6\n0.6\n"
    assert files["TEST/donor_accuracy.txt"] == files["TEST/donor_recall.txt"] == "0.25\n0.25\n"
    assert files["TEST/donor_precision.txt"] == "0.5\n0.5\n"
    assert files["TEST/donor_f1.txt"] == f"{1 / 3}\n" * 2
    assert files["TEST/donor_topk.txt"] == "0.2\n0.2\n"
    line = "0.1000\t0.2000\t0.3000\t0.4000\t0.7500\t0.9000\t0.8000\t0.7000\t0.6000\t12\n"
    assert files["TEST/donor_topk_all.txt"] == line * 2
    assert files["TEST/acceptor_auprc.txt"] == "nan\nnan\n"
    assert (
        files["TEST/acceptor_topk_all.txt"]
        == "\t".join(["nan"] * 9 + ["0"]) + "\n" + "\t".join(["nan"] * 9 + ["0"]) + "\n"
    )
    assert set(render_logs(History())) == set(files)
    assert set(render_logs(History()).values()) == {""}


# -- scikit-learn's numbers, on anything -----------------------------------------------------------------------------


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Probabilities, labels and where to cut them: ties, absent classes and windows of nothing but padding included."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    windows, length = draw(st.integers(1, 6)), draw(st.integers(1, 30))
    shares = draw(
        st.sampled_from([(7, 1, 1, 1), (1, 1, 1, 0), (1, 0, 1, 1), (0, 1, 0, 1), (0, 0, 1, 0), (20, 1, 0, 5)])
    )
    labels = random.choice(4, (windows, length), p=np.divide(shares, sum(shares))).astype(np.uint8)
    if (labels == PADDING).all():
        labels[0, 0] = shares.index(max(shares[:3]))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))  # few levels: many equal scores
    raw = random.integers(1, levels + 1, (windows, length, 3)).astype(np.float32)
    if draw(st.booleans()):
        raw = np.exp(raw / levels + 2 * np.eye(4, dtype=np.float32)[labels][..., :3])
    probabilities = (raw / raw.sum(-1, keepdims=True)).astype(np.float32)
    return probabilities, labels, draw(st.lists(st.integers(0, windows), max_size=5))


@given(evaluations())
def test_as_scikit_learn_in_any_batches(evaluation: tuple[np.ndarray, np.ndarray, list[int]]) -> None:
    probabilities, labels, cuts = evaluation
    assert_as_naive(accumulated(probabilities, labels, cuts), probabilities, labels)


@given(evaluations(), st.integers(1, 20))
def test_padding_is_left_out(evaluation: tuple[np.ndarray, np.ndarray, list[int]], extra: int) -> None:
    probabilities, labels, cuts = evaluation
    more = np.full((len(labels), extra), PADDING, np.uint8)
    likely = np.full((len(labels), extra, 3), [0.0, 0.5, 0.5], np.float32)
    padded = accumulated(np.concatenate([likely, probabilities], 1), np.concatenate([more, labels], 1), cuts)
    plain = accumulated(probabilities, labels, cuts)
    assert padded.loss == pytest.approx(plain.loss, rel=1e-12)  # the test itself sums in another order
    np.testing.assert_equal(asdict(replace(padded, loss=0)), asdict(replace(plain, loss=0)))  # nan equals nan


@pytest.mark.parametrize("label", [0, 1, 2])
def test_one_class_everywhere(label: int) -> None:
    random = np.random.default_rng(label)
    probabilities = random.dirichlet([1, 1, 1], (2, 40)).astype(np.float32)
    labels = np.full((2, 40), label, np.uint8)
    found = accumulated(probabilities, labels)
    assert_as_naive(found, probabilities, labels)
    assert found.mean_recall == pytest.approx((probabilities.argmax(-1) == label).mean())
    for kind, index in KINDS.items():
        site = getattr(found, kind)
        assert site.sites == (80 if index == label else 0)
        assert site.auprc == 1 if index == label else math.isnan(site.auprc)


def test_nothing_but_padding() -> None:
    found = accumulated(np.full((1, 5, 3), 1 / 3, np.float32), np.full((1, 5), PADDING, np.uint8))
    assert math.isnan(found.mean_recall)
    assert found.loss == 0
    assert found.donor.sites == found.acceptor.sites == 0


def test_a_model_that_scores_all_alike_finds_nothing() -> None:
    labels = np.zeros((1, 100), np.uint8)
    labels[0, :5] = 2
    found = accumulated(np.full((1, 100, 3), 1 / 3, np.float32), labels)
    assert found.donor.top_k == (0, 0, 0, 0)
    assert found.donor.auprc == pytest.approx(0.05)


def test_the_mean_loss_is_over_the_labelled_positions() -> None:
    probabilities = np.full((2, 4, 3), [0.5, 0.25, 0.25], np.float32)
    labels = np.array([[0, 0, 3, 3], [3, 3, 3, 1]], np.uint8)
    found = accumulated(probabilities, labels)
    assert found.loss == pytest.approx((2 * math.log(2) + math.log(4)) / 3)


# -- bounded memory --------------------------------------------------------------------------------------------------


def many_negatives(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """60 sites of each kind among 24000 positions; sites score higher, yet many lie among the low negatives."""
    random = np.random.default_rng(seed)
    labels = np.zeros((24, 1000), np.uint8)
    labels.ravel()[random.choice(labels.size, 120, replace=False)] = np.repeat([1, 2], 60)
    logits = random.normal(0, 2, (*labels.shape, 3)) + 2.5 * np.eye(3)[labels] + [3, 0, 0]
    exponentials = np.exp(logits)
    return (exponentials / exponentials.sum(-1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kept", [300, 1000])
def test_bounded_memory(seed: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, labels = many_negatives(seed)
    exact = accumulated(probabilities, labels, cuts=range(1, 24))
    assert_as_naive(exact, probabilities, labels)
    monkeypatch.setattr(ranking, "EXACT_NEGATIVES", kept)
    gathered = MetricsAccumulator()
    for window in range(24):
        gathered.add(probabilities[window : window + 1], labels[window : window + 1], np.zeros(1))
        for scores in gathered._scores.values():
            assert sum(map(len, scores._negatives)) <= 2 * kept
    bounded = gathered.result()
    for kind in KINDS:
        ours, theirs = getattr(bounded, kind), getattr(exact, kind)
        assert theirs.auprc - 1e-3 < ours.auprc <= theirs.auprc + 1e-12
        assert ours.top_k == theirs.top_k  # the longest list has 4 * 60 positions, fewer than the negatives kept
        assert ours.thresholds == theirs.thresholds
        assert (ours.precision, ours.recall, ours.f1) == (theirs.precision, theirs.recall, theirs.f1)
    # The lowest negatives stand at the upper edge of a class of one part in 4096, and that is all the error.
    assert bounded != exact


@pytest.mark.parametrize("score", [0.0, 2.0**-130, 1e-7, 0.5, np.nextafter(np.float32(1), np.float32(0)), 1.0])
def test_bounded_memory_at_the_ends_of_the_scale(score: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that lie in the first and last classes of low negatives, together with the sites'."""
    monkeypatch.setattr(ranking, "EXACT_NEGATIVES", 8)
    probabilities = np.full((1, 100, 3), score, np.float32)
    labels = np.zeros((1, 100), np.uint8)
    labels[0, ::10] = 2
    found = accumulated(np.concatenate([probabilities] * 3), np.concatenate([labels] * 3), cuts=[1, 2])
    assert found.donor.auprc == pytest.approx(0.1)
    assert found.donor.thresholds == (np.float32(score),) * 4

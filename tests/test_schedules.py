"""Learning rates: the release's, batch by batch, and PyTorch's schedulers at their right pace."""

import json
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from conftest import SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LRScheduler, MultiStepLR, OneCycleLR

from spliceai_jax.training.recipes import RECIPES
from spliceai_jax.training.schedules import SCHEDULERS, schedule

RUNS = [(epochs, batches) for epochs in (1, 2, 3, 4, 5, 6, 10, 11, 15, 20) for batches in (1, 2, 3, 7, 10, 33)]
RATE = 1e-4


def rates(scheduler: str, timing: str, epochs: int, batches: int, rate: float = RATE) -> list[float]:
    rate_of = schedule(scheduler, timing, rate, epochs, batches)
    return [rate_of(batch) for batch in range(epochs * batches)]


def pytorchs(
    make: Callable[[torch.optim.Optimizer], LRScheduler], rate: float = RATE
) -> tuple[LRScheduler, Callable[[], float]]:
    """PyTorch's scheduler, and a function that runs the next batch and tells its rate."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = make(optimizer)

    def run_batch() -> float:
        optimizer.step()
        return optimizer.param_groups[0]["lr"]

    return scheduler, run_batch


def multi_step(epochs: int) -> Callable[[torch.optim.Optimizer], LRScheduler]:
    return lambda optimizer: MultiStepLR(optimizer, milestones=list(range(epochs - 4, epochs)), gamma=0.5)


def cosine(optimizer: torch.optim.Optimizer) -> LRScheduler:
    return CosineAnnealingWarmRestarts(optimizer, T_0=5, eta_min=1e-5)


@needs_shared
def test_recorded_rates_of_the_release() -> None:
    recorded = json.loads((SHARED / "reference" / "vectors" / "learning_rates.json").read_text())
    assert len(recorded) == 48
    for entry in recorded:
        ours = rates(entry["scheduler"], "batch_late", entry["epochs"], entry["batches_per_epoch"])
        assert ours == pytest.approx(entry["learning_rate_used"], rel=1e-12, abs=0), entry


@pytest.mark.parametrize("name", ["MultiStepLR", "CosineAnnealingWarmRestarts"])
def test_batch_late_is_pytorch_stepped_with_fractional_epochs_after_each_batch(name: str) -> None:
    for epochs, batches in RUNS:
        scheduler, run_batch = pytorchs(multi_step(epochs) if name == "MultiStepLR" else cosine)
        expected = []
        for batch in range(epochs * batches):
            expected.append(run_batch())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch advises against giving the epoch, as the release does
                scheduler.step(batch / batches)
        assert rates(name, "batch_late", epochs, batches) == pytest.approx(expected, rel=1e-12, abs=0)


def test_exact_multi_step_is_pytorch_stepped_once_an_epoch() -> None:
    for epochs, batches in RUNS:
        scheduler, run_batch = pytorchs(multi_step(epochs))
        expected = []
        for _ in range(epochs):
            expected += [run_batch() for _ in range(batches)]
            scheduler.step()
        assert rates("MultiStepLR", "exact", epochs, batches) == pytest.approx(expected, rel=1e-12, abs=0)


def test_exact_cosine_is_pytorch_at_the_true_progress() -> None:
    for epochs, batches in RUNS:
        scheduler, run_batch = pytorchs(cosine)
        expected = []
        for batch in range(epochs * batches):
            scheduler.step(batch / batches)
            expected.append(run_batch())
        ours = rates("CosineAnnealingWarmRestarts", "exact", epochs, batches)
        assert ours == pytest.approx(expected, rel=1e-12, abs=0)
        assert ours[0] == RATE


@pytest.mark.parametrize("timing", ["exact", "batch_late"])
def test_one_cycle_is_pytorchs(timing: str) -> None:
    for epochs, batches in RUNS:
        total = epochs * batches
        if total < 4:  # PyTorch's peak would lie before the first batch
            continue
        scheduler, run_batch = pytorchs(
            lambda optimizer, total=total: OneCycleLR(optimizer, max_lr=1e-3, total_steps=total)
        )
        expected = []
        for batch in range(total):
            expected.append(run_batch())
            if batch < total - 1:
                scheduler.step()
        ours = rates("OneCycleLR", timing, epochs, batches, rate=1e-3)
        assert ours == pytest.approx(expected, rel=1e-11, abs=0), (epochs, batches)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_one_cycle_of_a_run_too_short_for_a_cycle(total: int) -> None:
    for epochs, batches in ((1, total), (total, 1)):
        ours = rates("OneCycleLR", "exact", epochs, batches, rate=1e-3)
        assert all(math.isfinite(rate) and 0 < rate <= 1e-3 for rate in ours)
        assert max(ours) == pytest.approx(1e-3), "some batch trains at the full rate"
        assert ours == sorted(ours, reverse=True)


@given(
    scheduler=st.sampled_from(SCHEDULERS),
    timing=st.sampled_from(["exact", "batch_late"]),
    epochs=st.integers(1, 40),
    batches=st.integers(1, 40),
    rate=st.floats(1e-8, 1.0),
)
def test_every_rate_is_positive_scales_and_never_exceeds_the_start(
    scheduler: str, timing: str, epochs: int, batches: int, rate: float
) -> None:
    ours = rates(scheduler, timing, epochs, batches, rate)
    assert all(math.isfinite(value) and 0 < value <= rate * (1 + 1e-12) for value in ours)
    assert ours == pytest.approx([value * rate for value in rates(scheduler, timing, epochs, batches, 1.0)], rel=1e-9)


def test_only_the_release_runs_late() -> None:
    assert {name: recipe.timing for name, recipe in RECIPES.items()} == {
        "openspliceai": "exact",
        "openspliceai-0.0.7": "batch_late",
        "best": "exact",
    }

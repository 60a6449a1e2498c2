"""Learning rates as plain functions of the batch number."""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Literal, get_args

Scheduler = Literal["MultiStepLR", "CosineAnnealingWarmRestarts", "OneCycleLR"]
SCHEDULERS: tuple[Scheduler, ...] = get_args(Scheduler)
Timing = Literal["exact", "batch_late"]

RESTART_EPOCHS = 5
WARM_UP_SHARE = 0.3
WARM_UP_FROM = 1 / 25
ANNEAL_TO = 1e-4
"""OneCycleLR ends at this share of the rate that it starts from (PyTorch's final_div_factor is its inverse)."""


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _cosine_restarts(rate: float, epoch: float) -> float:
    return _cosine(rate, 0.1 * rate, (epoch % RESTART_EPOCHS) / RESTART_EPOCHS)


def _one_cycle(rate: float, steps: int, batch: int) -> float:
    peak = WARM_UP_SHARE * steps - 1
    first = rate * WARM_UP_FROM
    if batch <= peak:
        return _cosine(first, rate, batch / peak if peak > 0 else 1.0)
    # In a run so short that the peak falls on or before batch 0, PyTorch divides by zero or a negative number.
    peak = max(peak, 0.0)
    return _cosine(rate, first * ANNEAL_TO, (batch - peak) / max(steps - 1 - peak, 1))


def schedule(
    scheduler: Scheduler, timing: Timing, rate: float, epochs: int, batches_per_epoch: int
) -> Callable[[int], float]:
    """Return the learning rate of every batch of a run, as a function.

    Arguments:
        scheduler: MultiStepLR halves at the starts of the last four epochs. CosineAnnealingWarmRestarts falls to a
            tenth over five epochs and starts again. OneCycleLR rises for 30 % of the run and falls to almost zero.
        timing: "exact": MultiStepLR steps at epoch ends, the cosine follows the true progress. "batch_late":
            OpenSpliceAI 0.0.7, which steps both after batch k with k / batches_per_epoch, so that batch k runs at
            the rate of batch k - 1; MultiStepLR then counts negative milestones too, but not at batch 0.
        rate: The rate that the schedule starts from (OneCycleLR: its peak).
        epochs: Epochs planned.
        batches_per_epoch: The number of batches in an epoch.

    Returns:
        A function from the batch's number, counted from 0 over the whole run, to its rate. Formulas: PyTorch's
        schedulers of these names.
    """
    milestones = list(range(epochs - 4, epochs))

    def multi_step(batch: int) -> float:
        if timing == "exact":
            passed = sum(0 <= milestone <= batch // batches_per_epoch for milestone in milestones)
        elif batch == 0:
            passed = milestones.count(0)
        else:
            passed = bisect_right(milestones, (batch - 1) / batches_per_epoch)
        return rate * 0.5**passed

    def cosine(batch: int) -> float:
        shown = batch if timing == "exact" else max(batch - 1, 0)
        return _cosine_restarts(rate, shown / batches_per_epoch)

    def one_cycle(batch: int) -> float:
        return _one_cycle(rate, epochs * batches_per_epoch, batch)

    return {"MultiStepLR": multi_step, "CosineAnnealingWarmRestarts": cosine, "OneCycleLR": one_cycle}[scheduler]

"""Random mutations of training batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_windows

from spliceai_jax.architecture import ARCHITECTURES, PADDING, UNLABELLED
from spliceai_jax.windows.mutation import KEPT, mutated
from spliceai_jax.windows.windows import Windows


@pytest.fixture(scope="module")
def windows() -> Windows:
    bases, labels = make_windows(8, 3)
    middle = bases[:, 5000 - 200 : 10000 + 200]
    return Windows(Path("made.h5"), middle, labels, np.zeros(8, int), np.arange(8))


@pytest.mark.parametrize("padding_counts", [True, False])
@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_bases_away_from_sites_are_replaced_at_the_rate(windows, rate, padding_counts) -> None:
    batch = windows.training_batch(np.arange(8), 8, ARCHITECTURES[400], padding_counts)
    after = mutated(batch, rate, np.random.default_rng(0))
    old, new = np.asarray(batch.inputs), np.asarray(after.inputs)
    np.testing.assert_array_equal(after.labels, batch.labels)
    assert new.dtype == old.dtype
    np.testing.assert_array_equal(new == 0, old == 0)
    assert new.max() <= 4
    near = np.zeros(old.shape, bool)
    for row, place in zip(*np.nonzero((batch.labels > 0) & (batch.labels != PADDING)), strict=True):
        near[row, 200 + place - KEPT : 200 + place + KEPT + 1] = True
    assert near.any()
    np.testing.assert_array_equal(new[near], old[near])
    free = (old > 0) & ~near
    assert (new != old)[free].mean() == pytest.approx(rate, rel=0.1)
    pairs = {(a, b) for a, b in zip(old[free], new[free], strict=True) if a != b}
    assert len(pairs) == 12, "each base becomes each of the others"


def test_the_same_seed_mutates_alike_and_the_batch_given_is_kept(windows) -> None:
    batch = windows.training_batch(np.arange(8), 8, ARCHITECTURES[400], False)
    before = np.array(batch.inputs)
    first, again, other = (mutated(batch, 0.1, np.random.default_rng([7, seed])) for seed in (1, 1, 2))
    np.testing.assert_array_equal(batch.inputs, before)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert (np.asarray(first.inputs) != np.asarray(other.inputs)).any()


def test_sites_that_teachers_call_are_kept(windows) -> None:
    """In windows without labels the targets alone say where a site is."""
    batch = windows.training_batch(np.arange(8), 8, ARCHITECTURES[400], False)
    targets = np.zeros((*batch.labels.shape, 3), np.float16)
    targets[:, 700, 2], targets[:, 1300, 1], targets[:, 2000, 1] = 0.6, 0.9, 0.4
    given = replace(
        batch, labels=np.where(batch.labels == PADDING, PADDING, UNLABELLED).astype(np.uint8), targets=targets
    )
    after = mutated(given, 0.9, np.random.default_rng(0))
    changed = np.asarray(after.inputs) != np.asarray(batch.inputs)
    for place, kept in ((700, True), (1300, True), (2000, False)):
        assert changed[:, 200 + place - KEPT : 200 + place + KEPT + 1].any() != kept

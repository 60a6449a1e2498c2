"""Dropout of what the residual units add, in training."""

import itertools
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_model

from spliceai_jax import ARCHITECTURES, RECIPES, SpliceAI, TransferResult, TransferSettings, transfer
from spliceai_jax.fine_tuning import stop
from spliceai_jax.network.layout import PLAIN, Layout
from spliceai_jax.network.operations import dropped
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.step import TrainState, init_state, make_train_step
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows.batches import Batch

SIZE = ARCHITECTURES[80]


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_numbers_are_dropped_at_the_rate_and_their_mean_stays(rate) -> None:
    x = jnp.asarray(np.random.default_rng(0).random((4, 5000, 32)) + 0.5, jnp.float32)
    after = np.asarray(dropped(x, rate, jax.random.key(3), PLAIN, None))
    kept = after != 0
    assert 1 - kept.mean() == pytest.approx(rate, abs=0.003)
    np.testing.assert_allclose(after[kept], np.asarray(x)[kept] / (1 - round(rate * 256) / 256), rtol=1e-6)
    # Bytes of one random word, neighbours and rows have nothing to do with each other.
    for axis, shift in ((1, 1250), (1, 2500), (1, 1), (2, 1), (0, 1)):
        both = (kept & np.roll(kept, shift, axis)).mean()
        assert both == pytest.approx((1 - rate) ** 2, abs=0.004)


@pytest.mark.parametrize("layout", [Layout(4), Layout(1, 10), Layout(4, 10)])
def test_every_layout_drops_at_the_rate_and_from_every_row(layout) -> None:
    x = jnp.ones((3, 4000, 32), jnp.float32)
    after = np.asarray(layout.unpack(dropped(layout.pack(x), 0.25, jax.random.key(5), layout, None)))
    assert after.shape == x.shape
    zero = after == 0
    np.testing.assert_allclose(after[~zero], 4 / 3)
    np.testing.assert_allclose(zero.mean((1, 2)), 0.25, atol=0.01)
    assert zero.mean((0, 1)) == pytest.approx(0.25, abs=0.05)
    assert (zero[0] != zero[1]).any()


def test_what_is_dropped_from_a_row_does_not_depend_on_the_others() -> None:
    x, key = jnp.ones((4, 50, 32), jnp.float32), jax.random.key(5)
    whole = dropped(x, 0.3, key, PLAIN, None)
    np.testing.assert_array_equal(whole[:2], dropped(x[:2], 0.3, key, PLAIN, None))
    halves = jax.vmap(lambda half: dropped(half, 0.3, key, PLAIN, "devices"), axis_name="devices")(
        x.reshape(2, 2, 50, 32)
    )
    np.testing.assert_array_equal(whole, halves.reshape(4, 50, 32))


def stepped(recipe: Recipe, seed: int = 0, step: int = 0) -> tuple[TrainState, float]:
    """Return the state after a training step, and the step's loss."""
    trainable = Trainable.of(SIZE, recipe)
    state = replace(init_state(random_model(80).variables, trainable, recipe), step=jnp.asarray(step, jnp.int32))
    random = np.random.default_rng(0)
    bases, labels = random.integers(0, 5, (2, 180), np.uint8), random.integers(0, 4, (2, 100), np.uint8)
    batch = Batch(bases, labels, np.ones((2, 1), np.float32))
    after, loss = jax.jit(make_train_step(SpliceAI(SIZE), recipe))(state, batch, 1e-3, seed)
    return after, float(loss)


@pytest.mark.slow
def test_seed_and_number_of_the_step_decide_what_is_dropped() -> None:
    best = RECIPES["best"]
    assert best.dropout == 0.2
    _, loss = stepped(best)
    assert stepped(best)[1] == loss
    others = {stepped(best, seed=1)[1], stepped(best, step=1)[1], stepped(replace(best, dropout=0.0))[1]}
    assert len(others | {loss}) == 4


def test_only_units_that_train_are_dropped_from() -> None:
    """What is frozen stays a fixed function of the bases: the activation cache may hold it."""
    recipe = Recipe(unfreeze=1, trained_batchnorm="running", dropout=0.5)
    assert Trainable.of(SIZE, recipe).trained_units == {3}
    model, seen = random_model(80), []
    bases = np.random.default_rng(0).integers(0, 5, (1, 180), np.uint8)
    for dropout in ({}, {3: 0.5}, {0: 0.5}):
        _, found = SpliceAI(SIZE).apply(
            model.variables,
            bases,
            dropout=dropout,
            rngs={"dropout": jax.random.key(0)},
            capture_intermediates=True,
        )
        units = found["intermediates"]
        seen.append([np.asarray(units[f"residual_units_{number}"]["__call__"][0]) for number in sorted(SIZE.units)])
    plain, last, first = seen
    for number in range(len(plain) - 1):
        np.testing.assert_array_equal(plain[number], last[number])
    assert (plain[-1] != last[-1]).any()
    assert all((one != other).any() for one, other in zip(plain, first, strict=True))
    assert stepped(recipe)[1] != stepped(replace(recipe, dropout=0.0))[1]


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


def run(data: Path, model: Path, output: Path, **more: object) -> TransferResult:
    sets = {"train_dataset": data / "dataset_train.h5", "test_dataset": data / "dataset_test.h5"}
    settings = TransferSettings(
        **sets, pretrained_model=model, output_dir=output, project_name="x", epochs=2, random_seed=7, **more
    )
    assert settings.recipe_name == "best"
    return transfer(settings)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_random_numbers(small_data, small_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(stop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    train, steps = Engine.train, itertools.count()

    def dying(self, state, batch, learning_rate):
        if next(steps) == 3:
            raise Killed
        return train(self, state, batch, learning_rate)

    whole = run(small_data, small_model, tmp_path / "whole")
    with monkeypatch.context() as context:
        context.setattr(Engine, "train", dying)
        with pytest.raises(Killed):
            run(small_data, small_model, tmp_path / "killed")
    for _ in range(2):
        ended = run(small_data, small_model, tmp_path / "killed", resume=True)
        assert ended.history.update_losses == whole.history.update_losses
        assert ended.best_model.read_bytes() == whole.best_model.read_bytes()

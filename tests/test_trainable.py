"""What trains is data: everything about freezing follows from one table of patterns."""

import jax
import numpy as np
import optax
import pytest
from conftest import random_model

from spliceai_jax import (
    ARCHITECTURES,
    PADDING,
    RECIPES,
    Batch,
    Recipe,
    SpliceAI,
    Trainable,
    cross_entropy_loss,
    read_windows,
)
from spliceai_jax.network.model import entry_name
from spliceai_jax.training.step import init_state, make_train_step
from spliceai_jax.training.trainable import FROZEN, TRAINABLE

ONLY_BATCHNORM = (("*/batchnorm?/*", True), ("*", False))


def stepped(rules: tuple[tuple[str, bool], ...]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Trainable]:
    """All parameters and statistics by name, before and after a step."""
    model, recipe = random_model(80), Recipe(learning_rate=1e-2)
    trainable = Trainable.by_rules(ARCHITECTURES[80], rules)
    state = init_state(model.variables, trainable, recipe)
    random = np.random.default_rng(0)
    labels = random.integers(0, PADDING + 1, (2, 100), dtype=np.uint8)
    batch = Batch(random.integers(0, 5, (2, 180), dtype=np.uint8), labels, np.ones((2, 1), np.float32))
    step = jax.jit(make_train_step(SpliceAI(ARCHITECTURES[80]), recipe, trainable))
    after, _ = step(state, batch, 1e-2)
    return named(state.variables), named(after.variables), trainable


def named(variables: dict) -> dict[str, np.ndarray]:
    flat = jax.tree_util.tree_leaves_with_path(variables)
    return {"/".join(key.key for key in path[1:]): np.asarray(value) for path, value in flat}


def test_only_batchnorm_trains_by_one_row() -> None:
    before, after, trainable = stepped(ONLY_BATCHNORM)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in before if "/batchnorm" in name}
    assert trainable.training_units == set(ARCHITECTURES[80].units)
    assert trainable.first_entry == 0
    assert trainable.words == "0 of 4 residual units and 16 other parameters; frozen BatchNorm on running statistics"


def test_only_the_convolutions_of_the_last_unit_train() -> None:
    """Its BatchNorm, which does not train, stays on running statistics; the cache may begin before it."""
    before, after, trainable = stepped((("residual_units_3/conv?/*", True), ("*", False)))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {f"residual_units_3/conv{i}/{what}" for i in (1, 2) for what in ("kernel", "bias")}
    assert trainable.training_units == frozenset()
    assert trainable.first_entry == 3


@pytest.mark.parametrize("flanking_size", ARCHITECTURES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_train_the_last_units_and_the_head(flanking_size, recipe) -> None:
    architecture, choices = ARCHITECTURES[flanking_size], RECIPES[recipe]
    trainable = Trainable.of(architecture, choices)
    last = entry_name(max(architecture.units))
    wanted = {
        "openspliceai": (last, "final_conv"),
        "openspliceai-0.0.7": (last,),
        "best": ("initial", "residual", "final"),
    }[recipe]
    assert {name for name, trains in trainable.trains.items() if trains} == {
        name for name in trainable.trains if name.startswith(wanted)
    }
    assert set(trainable.labels.values()) <= {TRAINABLE, FROZEN}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ((("final_conv/*", True),), r"no pattern matches the parameter 'initial_conv/kernel'"),
        ((("residual_unit_3/*", True), ("*", False)), r"'residual_unit_3/\*' matches no parameter of the 80-nt"),
    ],
)
def test_every_parameter_is_covered_and_every_pattern_meant(rules, said) -> None:
    with pytest.raises(ValueError, match=said):
        Trainable.by_rules(ARCHITECTURES[80], rules)


def test_variables_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="residual_units_5"):
        init_state(random_model(400).variables, Trainable.of(ARCHITECTURES[80], Recipe()), Recipe())


@pytest.mark.slow
def test_an_own_optax_loop_takes_the_same_step_as_ours(small_data) -> None:
    """As docs/python.md shows it, from public names alone: labels for freezing, and a loss without the padding."""
    model, recipe, architecture = random_model(80), Recipe(), ARCHITECTURES[80]
    network, windows = SpliceAI(architecture), read_windows(small_data / "dataset_train.h5", 80)
    trainable = Trainable.by_rules(architecture, (("residual_units_3/*", True), ("final_conv/*", True), ("*", False)))
    adamw = optax.adamw(1e-3, weight_decay=recipe.weight_decay)
    optimizer = optax.multi_transform({"trainable": adamw, "frozen": optax.set_to_zero()}, trainable.labels)
    batch = windows.training_batch(np.arange(4), 4, architecture)
    assert (batch.labels == PADDING).any()

    def loss_of(params: dict) -> tuple[jax.Array, dict]:
        probabilities, updated = network.apply(
            {"params": params, "batch_stats": model.variables["batch_stats"]},
            batch.inputs,
            batch.multiplicity,
            trainable.training_units,
            batch.inside,
            mutable=["batch_stats"],
        )
        losses = cross_entropy_loss(probabilities, batch.labels)
        return losses.sum() / (batch.labels != PADDING).sum(), updated["batch_stats"]

    params = model.variables["params"]
    (loss, batch_stats), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    own = named({"params": optax.apply_updates(params, updates), "batch_stats": batch_stats})
    step = jax.jit(make_train_step(network, recipe, trainable))
    state, expected = step(init_state(model.variables, trainable, recipe), batch, 1e-3)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    after = named(state.variables)
    del after["residual_units_3/conv1/bias"]  # BatchNorm takes it away again: its gradient is rounding alone
    for name, value in after.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    before = named(model.variables)
    changed = {name for name in before if not np.array_equal(own[name], before[name])}
    assert {name.partition("/")[0] for name in changed} == {"residual_units_3", "final_conv"}

"""What trains is data: everything about freezing follows from one table of patterns."""

import jax
import numpy as np
import pytest
from conftest import random_model

from spliceai_jax import ARCHITECTURES, RECIPES, Recipe, SpliceAI
from spliceai_jax.architecture import PADDING
from spliceai_jax.data.batches import Batch
from spliceai_jax.network.model import entry_name
from spliceai_jax.training.step import init_state, make_train_step
from spliceai_jax.training.trainable import FROZEN, TRAINABLE, Trainable

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
    # A frozen submodule is one leaf, so that checkpoints have the same form as in 0.1.0.
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

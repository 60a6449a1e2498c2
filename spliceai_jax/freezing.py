"""Freezing is data: a label for every parameter, handed to `optax.multi_transform`."""

from typing import Any

import optax

from spliceai_jax.architecture import Architecture
from spliceai_jax.model import entry_name
from spliceai_jax.recipes import Recipe

TRAINABLE, FROZEN = "trainable", "frozen"

Labels = dict[str, str]
"""Name of a submodule -> TRAINABLE or FROZEN; a prefix tree of the parameters."""


def trainable_units(architecture: Architecture, recipe: Recipe) -> list[int]:
    """Entry numbers of the residual units that train: the last `recipe.unfreeze`, or all."""
    units = sorted(architecture.units)
    kept_back = 0 if recipe.unfreeze_all else max(len(units) - recipe.unfreeze, 0)
    return units[kept_back:]


def parameter_labels(architecture: Architecture, recipe: Recipe) -> Labels:
    """Label every submodule of the network."""
    names = [
        "initial_conv",
        "initial_skip",
        *map(entry_name, [*architecture.units, *architecture.skips]),
        "final_conv",
    ]
    trainable = {entry_name(number) for number in trainable_units(architecture, recipe)}
    if recipe.head_trains:
        trainable.add("final_conv")
    if recipe.unfreeze_all:
        trainable.update(names)
    return {name: TRAINABLE if name in trainable else FROZEN for name in names}


def units_on_batch_statistics(architecture: Architecture, recipe: Recipe) -> frozenset[int]:
    """Entry numbers of the units whose BatchNorm is in training mode."""
    if recipe.frozen_batchnorm == "batch":
        return frozenset(architecture.units)
    return frozenset(trainable_units(architecture, recipe))


def optimizer(labels: Labels, weight_decay: float) -> optax.GradientTransformation:
    """AdamW with PyTorch's constants on the trainable parameters; frozen ones get zero and keep no moments.

    The learning rate is a value in the state, set before each step with `optax.tree.set`.
    """
    adamw = optax.inject_hyperparams(optax.adamw, static_args=("b1", "b2", "eps", "eps_root", "weight_decay"))
    return optax.multi_transform(
        {TRAINABLE: adamw(learning_rate=0.0, weight_decay=weight_decay), FROZEN: optax.set_to_zero()}, labels
    )


def check_coverage(labels: Labels, params: dict[str, Any]) -> None:
    """Every parameter must have a label, and every label a parameter."""
    if set(labels) != set(params):
        raise ValueError(f"labels and parameters differ in {sorted(set(labels) ^ set(params))}")


def keep_frozen(labels: Labels, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Take frozen parameters from `old`: adding an update of zero would turn -0.0 into 0.0 and flush denormals."""
    return {name: new[name] if labels[name] == TRAINABLE else old[name] for name in old}

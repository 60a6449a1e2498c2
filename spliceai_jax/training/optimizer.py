"""The optimizer: AdamW on the parameters that train."""

import optax

from spliceai_jax.training.trainable import FROZEN, TRAINABLE, Trainable


def make_optimizer(trainable: Trainable, weight_decay: float) -> optax.GradientTransformation:
    """Return AdamW with PyTorch's constants; frozen parameters get zero updates and take up no memory for moments.

    The learning rate is a value in the state: set it before each step with `optax.tree.set(state, learning_rate=...)`.
    """
    adamw = optax.inject_hyperparams(optax.adamw, static_args=("b1", "b2", "eps", "eps_root", "weight_decay"))
    return optax.multi_transform(
        {TRAINABLE: adamw(learning_rate=0.0, weight_decay=weight_decay), FROZEN: optax.set_to_zero()},
        trainable.labels,
    )

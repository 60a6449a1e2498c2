"""The optimizer: AdamW on the parameters that train, and the pull toward the weights that they start from."""

from typing import Any

import jax
import optax

from spliceai_jax.network.model import Tree
from spliceai_jax.training.trainable import FROZEN, TRAINABLE, Trainable


def make_optimizer(
    trainable: Trainable, weight_decay: float, l2sp: float = 0.0, start: Tree | None = None
) -> optax.GradientTransformation:
    """Return AdamW with PyTorch's constants; frozen parameters get zero updates and take up no memory for moments.

    The learning rate is a value in the state: set it before each step with `optax.tree.set(state, learning_rate=...)`.

    Arguments:
        trainable: What trains.
        weight_decay: The strength of the pull toward zero: a step adds -rate * weight_decay * w to a weight w.
        l2sp: The strength of the pull toward the start (L2-SP, Li et al. 2018): a step also adds
            -rate * l2sp * (w - start). Like the weight decay, and unlike a term of the loss, it is apart from Adam's
            moments. It includes the weights and biases of BatchNorm, but not its running statistics.
        start: The parameters of the network that the run starts from; not needed without `l2sp`.

    Raises:
        ValueError: There is `l2sp`, and no `start`.
    """
    if l2sp and start is None:
        raise ValueError("`l2sp` pulls toward the weights that the run starts from; give `start`")

    def inner(learning_rate: float) -> optax.GradientTransformation:
        adamw = optax.adamw(learning_rate, weight_decay=weight_decay)
        return optax.chain(adamw, _pull(start, learning_rate * l2sp)) if l2sp else adamw

    return optax.multi_transform(
        {TRAINABLE: optax.inject_hyperparams(inner)(learning_rate=0.0), FROZEN: optax.set_to_zero()},
        trainable.labels,
    )


def _pull(start: Tree | None, strength: float) -> optax.GradientTransformation:
    """Return the transformation that moves each parameter this share of the way back to where it started."""

    def pulled(update: Any, now: Any, began: Any) -> Any:
        # A masked node stands for the parameters of a submodule that is frozen.
        return update if isinstance(update, optax.MaskedNode) else update - strength * (now - began)

    def update(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        return jax.tree.map(pulled, updates, params, start, is_leaf=lambda node: isinstance(node, optax.MaskedNode))

    return optax.stateless(update)

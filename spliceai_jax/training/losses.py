"""OpenSpliceAI's two losses, computed from probabilities as it does, and the loss of distillation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Float16, UInt8

from spliceai_jax.architecture import CLASSES, UNLABELLED
from spliceai_jax.training.recipes import LossName

Loss = Callable[[Float[Array, "*shape 3"], UInt8[Array, "*shape"]], Float[Array, "*shape"]]
"""(probabilities, labels) -> the loss at each position; 0 at padding."""

TaughtLoss = Callable[
    [Float[Array, "*shape 3"], UInt8[Array, "*shape"], Float16[Array, "*shape 3"] | None], Float[Array, "*shape"]
]
"""(probabilities, labels, the teachers' probabilities or None) -> the loss at each position; 0 at padding."""

GAMMA = 2.0


def _log_likelihood(
    probabilities: Float[Array, "*shape 3"], labels: UInt8[Array, "*shape"]
) -> Float[Array, "*shape 3"]:
    truth = jax.nn.one_hot(labels, len(CLASSES), dtype=probabilities.dtype)  # padding is out of range: zeros
    return truth * _log(probabilities)


def _log(probabilities: Float[Array, "*shape 3"]) -> Float[Array, "*shape 3"]:
    return jnp.log(probabilities + 1e-10)


def cross_entropy_loss(
    probabilities: Float[Array, "*shape 3"], labels: UInt8[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return -log(p + 1e-10) of the true class; 0 at padding."""
    return -_log_likelihood(probabilities, labels).sum(-1)


def focal_loss(alpha: float) -> Loss:
    """Return the focal loss (Lin et al. 2017) with gamma 2.

    It is -alpha (1 - p)^2 log(p + 1e-10) of the true class; 0 at padding. alpha is a factor common to all classes.
    OpenSpliceAI 0.0.7 ignores it, as if it were 1; ours is 0.25.
    """

    def loss(probabilities: Float[Array, "*shape 3"], labels: UInt8[Array, "*shape"]) -> Float[Array, "*shape"]:
        weighted = _log_likelihood(probabilities, labels) * (1 - probabilities) ** GAMMA
        return -alpha * weighted.sum(-1)

    return loss


def named_loss(name: LossName, focal_alpha: float) -> Loss:
    """Return the loss of this name."""
    return {"cross_entropy_loss": cross_entropy_loss, "focal_loss": focal_loss(focal_alpha)}[name]


def soft_cross_entropy(
    probabilities: Float[Array, "*shape 3"], targets: Float[Array, "*shape 3"]
) -> Float[Array, "*shape"]:
    """Return the cross entropy with the teachers' probabilities, -sum(t log(p + 1e-10)); 0 where these are all 0."""
    return -(targets.astype(probabilities.dtype) * _log(probabilities)).sum(-1)


def taught(loss: Loss, weight: float) -> TaughtLoss:
    """Return the loss of a training step, in which teachers may take part (Hinton et al. 2015).

    Where a position has a target, the loss is (1 - weight) times `loss` of the label and weight times
    `soft_cross_entropy` of the target; where its label is not known, the latter alone. Where it has no target, which is
    said by three zeros, and where there are no targets at all, it is `loss` alone.

    Arguments:
        loss: The loss of a label.
        weight: The share of the teachers, 0 to 1.
    """

    def position_loss(
        probabilities: Float[Array, "*shape 3"],
        labels: UInt8[Array, "*shape"],
        targets: Float16[Array, "*shape 3"] | None,
    ) -> Float[Array, "*shape"]:
        hard = loss(probabilities, labels)
        if targets is None:
            return hard
        of_the_teachers = jnp.where(labels == UNLABELLED, 1.0, weight)
        share = jnp.where((targets > 0).any(-1), of_the_teachers, 0.0).astype(hard.dtype)
        return (1 - share) * hard + share * soft_cross_entropy(probabilities, targets)

    return position_loss

"""OpenSpliceAI's two losses, computed from probabilities as it does."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, UInt8

from spliceai_jax.architecture import CLASSES
from spliceai_jax.training.recipes import LossName

Loss = Callable[[Float[Array, "*shape 3"], UInt8[Array, "*shape"]], Float[Array, "*shape"]]
"""(probabilities, labels) -> the loss at each position; 0 at padding."""

GAMMA = 2.0


def _log_likelihood(
    probabilities: Float[Array, "*shape 3"], labels: UInt8[Array, "*shape"]
) -> Float[Array, "*shape 3"]:
    truth = jax.nn.one_hot(labels, len(CLASSES), dtype=probabilities.dtype)  # padding is out of range: zeros
    return truth * jnp.log(probabilities + 1e-10)


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

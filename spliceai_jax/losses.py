"""OpenSpliceAI's two losses, on probabilities as it computes them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from spliceai_jax.architecture import CLASSES

Loss = Callable[[Array, Array], Array]
"""(probabilities (..., 3), labels (...)) -> loss of each position (...); padding gives 0."""

GAMMA = 2.0


def _log_likelihood(probabilities: Array, labels: Array) -> Array:
    truth = jax.nn.one_hot(labels, len(CLASSES), dtype=probabilities.dtype)  # padding is out of range: zeros
    return truth * jnp.log(probabilities + 1e-10)


def cross_entropy_loss(probabilities: Array, labels: Array) -> Array:
    """-log(p + 1e-10) of the true class; 0 at padding."""
    return -_log_likelihood(probabilities, labels).sum(-1)


def focal_loss(alpha: float) -> Loss:
    """Focal loss (Lin et al. 2017) with gamma 2: -alpha (1 - p)^2 log(p + 1e-10) of the true class; 0 at padding.

    alpha weighs all classes alike. OpenSpliceAI 0.0.7 ignores it (1); 0.1-dev uses 0.25.
    """

    def loss(probabilities: Array, labels: Array) -> Array:
        weighted = _log_likelihood(probabilities, labels) * (1 - probabilities) ** GAMMA
        return -alpha * weighted.sum(-1)

    return loss


def named_loss(name: str, focal_alpha: float) -> Loss:
    """The loss that `--loss` names."""
    return {"cross_entropy_loss": cross_entropy_loss, "focal_loss": focal_loss(focal_alpha)}[name]

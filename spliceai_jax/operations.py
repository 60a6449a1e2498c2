"""BatchNorm followed by LeakyReLU as one differentiable operation.

Autodiff through the two costs a fifth of a training step more than the gradient written out here, which
keeps only the input and the statistics. The statistics are over the *real* windows of the global batch:
windows that merely fill a partial batch up do not count, and under `pmap` the sums run over all devices.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

EPSILON = 1e-5
SLOPE = 0.1


def leaky_relu(x: Array) -> Array:
    """LeakyReLU with the slope 0.1 of OpenSpliceAI (flax's default is 0.01)."""
    return jnp.where(x > 0, x, SLOPE * x)


def _sum(tree: tuple[Array, ...], axis_name: str | None) -> tuple[Array, ...]:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _widen(x: Array) -> Array:
    """Statistics are never in less than float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def batchnorm_leaky_relu(
    x: Array, weight: Array, bias: Array, real: Array, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """Normalise by the batch's own statistics, then LeakyReLU.

    Arguments:
        x: (windows, length, channels).
        weight: (channels,).
        bias: (channels,).
        real: (windows,) 1 for a real window, 0 for one that only fills the batch up.
        axis_name: The pmap axis to sum over, or None.

    Returns:
        The activations, shaped and typed as x; the mean and the unbiased variance, (channels,), from which no
        gradient flows. Normalisation is by the biased variance, as in PyTorch.
    """
    return _forward(x, weight, bias, real, axis_name)[0]


def _forward(x, weight, bias, real, axis_name):  # type: ignore[no-untyped-def]
    wide, mask = _widen(x), real[:, None, None]
    # Two passes: E[x^2] - E[x]^2 loses digits where the mean is large beside the deviation.
    total, count = _sum(((wide * mask).sum((0, 1)), real.sum() * x.shape[1]), axis_name)
    mean = total / count
    (squares,) = _sum(((jnp.square(wide - mean) * mask).sum((0, 1)),), axis_name)
    inverse = jax.lax.rsqrt(squares / count + EPSILON)
    y = leaky_relu((wide - mean) * (inverse * weight) + bias).astype(x.dtype)
    # One position in all has no unbiased variance; PyTorch refuses it, and no window is that short here.
    return (y, mean, squares / jnp.maximum(count - 1, 1)), (x, weight, bias, real, mean, inverse, count)


def _backward(axis_name, kept, cotangents):  # type: ignore[no-untyped-def]
    x, weight, bias, real, mean, inverse, count = kept
    dy = _widen(cotangents[0])
    normal = (_widen(x) - mean) * inverse
    dz = jnp.where(normal * weight + bias > 0, dy, SLOPE * dy)
    dbias, dweight = dz.sum((0, 1)), (dz * normal).sum((0, 1))
    # The parameters' gradients stay this device's share (the caller sums them); x needs the global sums.
    all_dbias, all_dweight = _sum((dbias, dweight), axis_name)
    through_statistics = real[:, None, None] * (all_dbias + normal * all_dweight) / count
    dx = (dz - through_statistics) * (inverse * weight)
    return dx.astype(x.dtype), dweight, dbias, jnp.zeros_like(real)


batchnorm_leaky_relu.defvjp(_forward, _backward)

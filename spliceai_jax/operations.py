"""What the network is made of where the obvious way is slow: BatchNorm followed by LeakyReLU, and wide convolutions.

BatchNorm and LeakyReLU are one differentiable operation: autodiff through the two costs a fifth of a training step more
than the gradient written out here, which keeps only the input and the statistics. The statistics are over the *real*
windows of the global batch: what merely fills a batch up does not count, a position that stands for those of several
windows counts as often, and what the devices find is combined, in one exchange a layer each way.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from scipy.fft import next_fast_len

EPSILON = 1e-5
SLOPE = 0.1

WIDE = 41
"""Taps from which on a convolution is faster in the frequency domain, on a CPU: see benchmarks/README.md."""


_TPU_OPTIONS = {"xla_tpu_run_space_to_batch": False, "xla_tpu_run_space_to_batch_on_new_platforms": False}
"""With fewer than 8 windows a chip this pass of libtpu 0.0.42 ends the process (space_to_batch_converter.cc, "Check
failed: std::abs(halo_size - low_padding)") on the training step of 2000 and 10000 nt; it takes both to turn it off."""


def compiler_options(platform: str) -> dict[str, bool] | None:
    """What a platform's compiler must be told of these convolutions."""
    return _TPU_OPTIONS if platform == "tpu" else None


def leaky_relu(x: Array) -> Array:
    """LeakyReLU with the slope 0.1 of OpenSpliceAI (flax's default is 0.01)."""
    return jnp.where(x > 0, x, SLOPE * x)


def _widen(x: Array) -> Array:
    """Statistics are never in less than float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _combined(count: Array, mean: Array, squares: Array, axis_name: str | None) -> tuple[Array, Array, Array]:
    """Statistics over all devices from each one's own (Chan, Golub and LeVeque 1983, pairwise variance)."""
    if axis_name is None:
        return count, mean, squares
    own = jnp.stack([jnp.broadcast_to(count, mean.shape), mean, squares])
    counts, means, all_squares = jnp.moveaxis(jax.lax.all_gather(own, axis_name), 1, 0)
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    return total, mean, (all_squares + counts * jnp.square(means - mean)).sum(0)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def batchnorm_leaky_relu(
    x: Array, weight: Array, bias: Array, real: Array, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """Normalise by the batch's own statistics, then LeakyReLU.

    Arguments:
        x: (windows, length, channels).
        weight: (channels,).
        bias: (channels,).
        real: How many windows' positions each position stands for, (windows, length), or (windows, 1) where it is the
            same throughout a row.
        axis_name: The mapped axis that the batch is cut along, or None.

    Returns:
        The activations, shaped and typed as x; the mean and the unbiased variance, (channels,), from which no
        gradient flows. Normalisation is by the biased variance, as in PyTorch.
    """
    return _forward(x, weight, bias, real, axis_name)[0]


def _forward(x, weight, bias, real, axis_name):  # type: ignore[no-untyped-def]
    wide, mask = _widen(x), real[..., None]
    # Two passes: E[x^2] - E[x]^2 loses digits where the mean is large beside the deviation.
    count = real.sum() * (x.shape[1] // real.shape[1])
    mean = (wide * mask).sum((0, 1)) / jnp.maximum(count, 1)  # a device may hold rows that only fill up
    squares = (jnp.square(wide - mean) * mask).sum((0, 1))
    count, mean, squares = _combined(count, mean, squares, axis_name)
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
    sums = jnp.stack([dbias, dweight])
    all_dbias, all_dweight = sums if axis_name is None else jax.lax.psum(sums, axis_name)
    through_statistics = real[..., None] * (all_dbias + normal * all_dweight) / count
    dx = (dz - through_statistics) * (inverse * weight)
    return dx.astype(x.dtype), dweight, dbias, jnp.zeros_like(real)


batchnorm_leaky_relu.defvjp(_forward, _backward)


def dilated_convolution(x: Array, kernel: Array, dilation: int) -> Array:
    """Convolution with "same" zero padding.

    Arguments:
        x: (windows, length, channels).
        kernel: (width, channels, features), of odd width.
        dilation: Positions between neighbouring taps.

    Returns:
        (windows, length, features).
    """
    # float32 means float32: without this, TPUs multiply in bfloat16 and GPUs may in tf32.
    precision = None if x.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST

    def direct(x: Array, kernel: Array) -> Array:
        reach = dilation * (kernel.shape[0] - 1) // 2
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1,),
            [(reach, reach)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision=precision,
        )

    if kernel.shape[0] < WIDE or x.dtype == jnp.bfloat16:
        return direct(x, kernel)
    return jax.lax.platform_dependent(
        x, kernel, cpu=lambda x, kernel: _by_frequencies(x, kernel, dilation), default=direct
    )


def _by_frequencies(x: Array, kernel: Array, dilation: int) -> Array:
    """The same by the convolution theorem: each phase of the dilation is an undilated sequence of its own."""
    (windows, length, channels), (width, _, features) = x.shape, kernel.shape
    steps = -(-length // dilation)
    size = next_fast_len(steps + width - 1, real=True)
    phases = jnp.pad(x, ((0, 0), (0, steps * dilation - length), (0, 0))).reshape(windows, steps, -1)
    spectrum = jnp.fft.rfft(phases.transpose(0, 2, 1), size).reshape(windows * dilation, channels, -1)
    taps = jnp.roll(jnp.pad(kernel, ((0, size - width), (0, 0), (0, 0))), -(width // 2), 0)
    response = jnp.conj(jnp.fft.rfft(taps.transpose(1, 2, 0)))  # conjugate: the network correlates
    # One real product a frequency, (phases, 2 channels) x (2 channels, 2 features): a complex one is slow on CPUs.
    parts = jnp.concatenate([spectrum.real, spectrum.imag], 1)
    real, imaginary = response.real, response.imag
    matrix = jnp.concatenate([jnp.concatenate([real, imaginary], 1), jnp.concatenate([-imaginary, real], 1)], 0)
    product = jnp.einsum("pcf,cof->fpo", parts, matrix, precision=jax.lax.Precision.HIGHEST)
    product = product.transpose(1, 2, 0).reshape(windows, dilation, 2, features, -1)
    sequences = jnp.fft.irfft(jax.lax.complex(product[:, :, 0], product[:, :, 1]), size)[..., :steps]
    return sequences.transpose(0, 3, 1, 2).reshape(windows, -1, features)[:, :length]

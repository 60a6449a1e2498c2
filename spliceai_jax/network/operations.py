"""The operations whose obvious form is slow: BatchNorm followed by LeakyReLU, and wide convolutions.

BatchNorm and LeakyReLU are one differentiable operation here. Autodiff through the two makes a training step a fifth
slower than the gradient written out below, which keeps only the input and the statistics. Each position enters the
statistics as often as its multiplicity says: not at all if it only fills a batch up, several times if it stands for
positions of several windows. The statistics are those of the global batch: the devices exchange theirs once for each
layer and direction.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key
from scipy.fft import next_fast_len

from spliceai_jax.network.layout import PLAIN, Layout

EPSILON = 1e-5
SLOPE = 0.1

WIDE = 41
"""From this number of taps on a convolution is faster in the frequency domain, on a CPU: see benchmarks/README.md."""

_TPU_OPTIONS = {"xla_tpu_run_space_to_batch": False, "xla_tpu_run_space_to_batch_on_new_platforms": False}
"""With fewer than 8 windows per chip this pass of libtpu 0.0.42 ends the process (space_to_batch_converter.cc, "Check
failed: std::abs(halo_size - low_padding)") on the training step of 2000 and 10000 nt. It takes both options to turn it
off."""


def compiler_options(platform: str) -> dict[str, bool] | None:
    """Return the options that a platform's compiler needs for these convolutions."""
    return _TPU_OPTIONS if platform == "tpu" else None


def leaky_relu(x: Array) -> Array:
    """Apply LeakyReLU with the slope 0.1 of OpenSpliceAI (flax's default is 0.01)."""
    return jnp.where(x > 0, x, SLOPE * x)


def _widen(x: Array) -> Array:
    """Convert to float32 or wider, which statistics are always computed in."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _combined(count: Array, mean: Array, squares: Array, axis_name: str | None) -> tuple[Array, Array, Array]:
    """Combine the devices' statistics (the pairwise variance of Chan, Golub and LeVeque 1983)."""
    if axis_name is None:
        return count, mean, squares
    own = jnp.stack([jnp.broadcast_to(count, mean.shape), mean, squares])
    counts, means, all_squares = jnp.moveaxis(jax.lax.all_gather(own, axis_name), 1, 0)
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    return total, mean, (all_squares + counts * jnp.square(means - mean)).sum(0)


def masked(x: Array, inside: Array | None) -> Array:
    """Return zeros between windows, as beyond the end of a row."""
    return x if inside is None else jnp.where(inside, x, 0)


def dropped(
    x: Float[Array, "rows columns lanes"], rate: float, key: Key[Array, ""], layout: Layout, axis_name: str | None
) -> Float[Array, "rows columns lanes"]:
    """Set numbers to zero at random, and make the others larger, so that the mean stays what it is.

    The rows of all devices are counted together, and each has its own random numbers: the result does not depend on the
    number of devices. In another layout other numbers are dropped: to bring random numbers from one layout into another
    takes a TPU, by its compiler's estimate, three quarters of the time that the rest of a training step takes.

    Arguments:
        x: The activations.
        rate: The probability that a number is dropped, in steps of 1/256: a random byte decides on each number. With
            more bits a training step takes noticeably longer on a CPU.
        key: The random numbers.
        layout: The layout of `x`.
        axis_name: The mapped axis whose devices the rows are distributed over, or None.
    """
    packed_rows, columns, lanes = x.shape
    least = round(rate * 256)
    rows = jnp.arange(packed_rows // layout.phases)
    if axis_name is not None:
        rows += jax.lax.axis_index(axis_name) * len(rows)
    # The four bytes of a word decide on numbers a quarter of the columns apart, so that no lane has to move.
    shape = layout.phases, -(-columns // 4), lanes
    words = jax.vmap(lambda row: jax.random.bits(jax.random.fold_in(key, row), shape, jnp.uint32))(rows)
    words = words.reshape(packed_rows, *shape[1:])
    kept = jnp.concatenate([(words >> shift & 255) >= least for shift in (0, 8, 16, 24)], 1)[:, :columns]
    return jnp.where(kept, x * (256 / (256 - least)), 0)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def batchnorm_leaky_relu(
    x: Float[Array, "rows columns lanes"],
    weight: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    multiplicity: Float[Array, "rows columns_or_1 lanes_or_1"],
    inside: Bool[Array, "rows columns lanes_or_1"] | None,
    axis_name: str | None,
) -> tuple[Float[Array, "rows columns lanes"], Float[Array, " channels"], Float[Array, " channels"]]:
    """Normalise by the batch's own statistics, then apply LeakyReLU.

    Arguments:
        x: The activations, in any layout: lanes is a multiple of channels.
        weight: BatchNorm's scale.
        bias: BatchNorm's shift.
        multiplicity: How often each position, or each position of a row, enters the statistics; in the same layout,
            the same in all channels of a position.
        inside: False where the result is zero. It is made so before LeakyReLU, which leaves zeros as they are: with a
            `where` after it XLA computes all of this again, on CPUs, for the weights' gradient.
        axis_name: The mapped axis that the batch is cut along, or None.

    Returns:
        The activations, in x's type, and the batch's mean and unbiased variance, from which no gradient flows.
        Normalisation is by the biased variance, as in PyTorch.
    """
    return _forward(x, weight, bias, multiplicity, inside, axis_name)[0]


def _tile(vector: Array, x: Array) -> Array:
    """Repeat what is the same for each channel for all positions side by side."""
    return jnp.tile(vector, x.shape[-1] // vector.size)


def _sum(x: Array, channels: int) -> Array:
    """Sum over positions, those side by side too."""
    return x.sum((0, 1)).reshape(-1, channels).sum(0)


def _forward(x, weight, bias, multiplicity, inside, axis_name):  # type: ignore[no-untyped-def]
    wide, channels = _widen(x), weight.size
    once = multiplicity[..., ::channels]
    count = once.sum() * (x.size // channels // once.size)
    # Two passes: E[x^2] - E[x]^2 loses digits where the mean is large beside the deviation.
    mean = _sum(wide * multiplicity, channels) / jnp.maximum(count, 1)  # a device may hold only rows that fill up
    squares = _sum(jnp.square(wide - _tile(mean, x)) * multiplicity, channels)
    count, mean, squares = _combined(count, mean, squares, axis_name)
    inverse = jax.lax.rsqrt(squares / count + EPSILON)
    z = (wide - _tile(mean, x)) * _tile(inverse * weight, x) + _tile(bias, x)
    y = leaky_relu(masked(z, inside)).astype(x.dtype)
    # A single position has no unbiased variance. PyTorch refuses it; no window is that short here.
    kept = x, weight, bias, multiplicity, inside, mean, inverse, count
    return (y, mean, squares / jnp.maximum(count - 1, 1)), kept


def _backward(axis_name, kept, cotangents):  # type: ignore[no-untyped-def]
    x, weight, bias, multiplicity, inside, mean, inverse, count = kept
    dy = _widen(cotangents[0])
    normal = (_widen(x) - _tile(mean, x)) * _tile(inverse, x)
    dz = masked(jnp.where(normal * _tile(weight, x) + _tile(bias, x) > 0, dy, SLOPE * dy), inside)
    dbias, dweight = _sum(dz, weight.size), _sum(dz * normal, weight.size)
    # The parameters' gradients remain this device's share (the caller sums them); that of x needs the global sums.
    sums = jnp.stack([dbias, dweight])
    mean_dbias, mean_dweight = (sums if axis_name is None else jax.lax.psum(sums, axis_name)) / count
    through_statistics = multiplicity * (_tile(mean_dbias, x) + normal * _tile(mean_dweight, x))
    dx = (dz - through_statistics) * _tile(inverse * weight, x)
    return dx.astype(x.dtype), dweight, dbias, jnp.zeros_like(multiplicity), None


batchnorm_leaky_relu.defvjp(_forward, _backward)


def dilated_convolution(
    x: Float[Array, "rows columns lanes"],
    kernel: Float[Array, "width channels features"],
    dilation: int,
    layout: Layout = PLAIN,
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST,
) -> Float[Array, "rows columns other_lanes"]:
    """Convolve with "same" zero padding.

    Arguments:
        x: The activations.
        kernel: The taps, an odd number of them.
        dilation: The distance between neighbouring taps, in positions.
        layout: The layout of the activations; `dilation` must be a multiple of its phases.
        precision: How float32 numbers are multiplied. By default float32 means float32: else TPUs would multiply in
            bfloat16, and GPUs in TF32.
    """
    bfloat16 = x.dtype == jnp.bfloat16

    def direct(x: Array, kernel: Array) -> Array:
        reach = dilation * (kernel.shape[0] // 2)
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (1,),
            [(reach, reach)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision=None if bfloat16 else precision,
        )

    if layout != PLAIN:
        kernel, dilation = layout.kernel(kernel, dilation), 1
    if kernel.shape[0] < WIDE or bfloat16:
        return direct(x, kernel)
    return jax.lax.platform_dependent(
        x, kernel, cpu=lambda x, kernel: _by_frequencies(x, kernel, dilation), default=direct
    )


def _by_frequencies(x: Array, kernel: Array, dilation: int) -> Array:
    """Convolve in the frequency domain: each phase of the dilation is an undilated sequence of its own."""
    (windows, length, channels), (width, _, features) = x.shape, kernel.shape
    steps = -(-length // dilation)
    size = next_fast_len(steps + width - 1, real=True)
    phases = jnp.pad(x, ((0, 0), (0, steps * dilation - length), (0, 0))).reshape(windows, steps, -1)
    spectrum = jnp.fft.rfft(phases.transpose(0, 2, 1), size).reshape(windows * dilation, channels, -1)
    taps = jnp.roll(jnp.pad(kernel, ((0, size - width), (0, 0), (0, 0))), -(width // 2), 0)
    response = jnp.conj(jnp.fft.rfft(taps.transpose(1, 2, 0)))  # conjugate: the network correlates
    # A real product for each frequency, (phases, 2 channels) x (2 channels, 2 features): complex ones are slow on CPUs.
    parts = jnp.concatenate([spectrum.real, spectrum.imag], 1)
    real, imaginary = response.real, response.imag
    matrix = jnp.concatenate([jnp.concatenate([real, imaginary], 1), jnp.concatenate([-imaginary, real], 1)], 0)
    product = jnp.einsum("pcf,cof->fpo", parts, matrix, precision=jax.lax.Precision.HIGHEST)
    product = product.transpose(1, 2, 0).reshape(windows, dilation, 2, features, -1)
    sequences = jnp.fft.irfft(jax.lax.complex(product[:, :, 0], product[:, :, 1]), size)[..., :steps]
    return sequences.transpose(0, 3, 1, 2).reshape(windows, -1, features)[:, :length]

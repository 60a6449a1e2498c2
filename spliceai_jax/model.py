"""The network: a Flax Linen port whose submodules are named as in OpenSpliceAI's `.pt` keys."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.linen.dtypes import promote_dtype
from jax import Array

from spliceai_jax.architecture import BASES, CHANNELS, CLASSES, Architecture
from spliceai_jax.operations import EPSILON, batchnorm_leaky_relu, dilated_convolution, leaky_relu

MOMENTUM = 0.1
"""Weight of the newest batch in the running statistics (PyTorch's convention)."""

Variables = dict[str, Any]
"""`{"params": ..., "batch_stats": ...}`, nested dictionaries of arrays."""


def entry_name(number: int) -> str:
    """Name of the submodule for entry `number` of the `.pt` file's `residual_units`."""
    return f"residual_units_{number}"


class Convolution(nn.Module):
    """A dilated convolution with "same" zero padding."""

    width: int
    dilation: int
    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(windows, length, channels) -> (windows, length, features)."""
        shape = (self.width, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return dilated_convolution(x, kernel, self.dilation) + bias


class BatchNormLeakyReLU(nn.Module):
    """BatchNorm as PyTorch does it, then LeakyReLU.

    Not flax's: its running variance is the biased one, PyTorch's is unbiased.
    """

    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array, real: Array, batch_statistics: bool) -> Array:
        """(windows, length, channels) -> the same; updates `batch_stats` where `batch_statistics` is set."""
        features = x.shape[-1]
        weight = self.param("weight", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        mean = self.variable("batch_stats", "running_mean", jnp.zeros, (features,))
        variance = self.variable("batch_stats", "running_var", jnp.ones, (features,))
        batches = self.variable("batch_stats", "num_batches_tracked", jnp.zeros, (), jnp.int32)
        if not batch_statistics:
            scale = weight * jax.lax.rsqrt(variance.value + EPSILON)
            return leaky_relu((x - mean.value) * scale + bias).astype(x.dtype)
        y, batch_mean, batch_variance = batchnorm_leaky_relu(x, weight, bias, real, self.axis_name)
        if not self.is_initializing():
            mean.value = (1 - MOMENTUM) * mean.value + MOMENTUM * batch_mean
            variance.value = (1 - MOMENTUM) * variance.value + MOMENTUM * batch_variance
            batches.value = batches.value + 1
        return y


class ResidualUnit(nn.Module):
    """Twice BatchNorm, LeakyReLU and a dilated convolution, added to the input."""

    width: int
    dilation: int
    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array, real: Array, batch_statistics: bool, inside: Array | None) -> Array:
        """(windows, length, channels) -> the same."""
        y = x
        for i in ("1", "2"):
            y = BatchNormLeakyReLU(self.axis_name, name=f"batchnorm{i}")(y, real, batch_statistics)
            if inside is not None:  # what stands between windows is what stands behind a row's end
                y = jnp.where(inside[..., None], y, 0)
            y = Convolution(self.width, self.dilation, CHANNELS, self.dtype, name=f"conv{i}")(y)
        return x + y


class Skip(nn.Module):
    """The 1x1 convolution that feeds the skip sum, at the kept positions only."""

    crop: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """(windows, length + flanking_size, channels) -> (windows, length, channels)."""
        # Cropping first gives the same values as cropping the sum: a 1x1 convolution is position by position.
        kept = x[:, self.crop : x.shape[1] - self.crop]
        return Convolution(1, 1, CHANNELS, self.dtype, name="conv")(kept)


@struct.dataclass
class Trunk:
    """What the network's first entries make of windows.

    Attributes:
        x: The next unit's input, (windows, length + flanking_size, 32).
        total: The skip sum so far, (windows, length, 32).
        end: The entry to go on with.
    """

    x: Any
    total: Any
    end: int = struct.field(pytree_node=False)


class SpliceAI(nn.Module):
    """The residual dilated network of one architecture.

    Attributes:
        architecture: A row of `ARCHITECTURES`.
        dtype: What convolutions compute in; None for the parameters' own type. Statistics and softmax are never
            in less than float32.
        axis_name: The pmap axis that batch statistics are summed over, or None.
    """

    architecture: Architecture
    dtype: Any = None
    axis_name: str | None = None

    def setup(self) -> None:
        """Name the submodules as in the `.pt` keys; units and skips share one numbering there."""
        size, units = self.architecture, self.architecture.units
        crop = size.flanking_size // 2
        self.initial_conv = Convolution(1, 1, CHANNELS, self.dtype)
        self.initial_skip = Skip(crop, self.dtype)
        self.residual_units = [
            ResidualUnit(*units[number], self.dtype, self.axis_name) if number in units else Skip(crop, self.dtype)
            for number in range(len(units) + len(size.skips))
        ]
        self.final_conv = Convolution(1, 1, len(CLASSES), self.dtype)

    def __call__(
        self,
        windows: Array | Trunk,
        real: Array | None = None,
        batch_statistics: frozenset[int] = frozenset(),
        inside: Array | None = None,
    ) -> Array:
        """Score every position.

        Arguments:
            windows: Bases, integers (windows, length + flanking_size), 0 for N, 1 to 4 for A C G T; or what `trunk`
                made of them.
            real: How many windows' positions each position stands for in the batch's statistics, (windows, length +
                flanking_size), or (windows,) where it is the same throughout a row; None: 1.
            batch_statistics: Entry numbers of the units whose BatchNorm uses (and tracks) the batch's statistics,
                PyTorch's training mode; all others use the running ones.
            inside: False between windows that share a row, bool (windows, length + flanking_size): each is computed as
                if it had a row of its own. None: no row is shared, or what a position sees lies within its window.

        Returns:
            Probabilities of neither, acceptor and donor, (windows, length, 3), float32 or wider.
        """
        begun = windows if isinstance(windows, Trunk) else self._begin(windows)
        real = jnp.ones((begun.x.shape[0], 1)) if real is None else real.reshape(real.shape[0], -1)
        done = self._go_on(begun, len(self.residual_units), real, batch_statistics, inside)
        logits = self.final_conv(done.total)
        return jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))

    def trunk(self, bases: Array, end: int, inside: Array | None = None) -> Trunk:
        """What the entries before `end` make of bases, on running statistics; `inside` as for a call."""
        return self._go_on(self._begin(bases), end, jnp.ones((bases.shape[0], 1)), frozenset(), inside)

    def _begin(self, bases: Array) -> Trunk:
        x = self.initial_conv(jax.nn.one_hot(bases.astype(jnp.int32) - 1, len(BASES) - 1))  # N is -1: all zeros
        return Trunk(x, self.initial_skip(x), 0)

    def _go_on(
        self, begun: Trunk, end: int, real: Array, batch_statistics: frozenset[int], inside: Array | None
    ) -> Trunk:
        x, total = begun.x, begun.total
        for number in range(begun.end, end):
            entry = self.residual_units[number]
            if isinstance(entry, Skip):
                total = total + entry(x)
            else:
                x = entry(x, real, number in batch_statistics, inside)
        return Trunk(x, total, end)

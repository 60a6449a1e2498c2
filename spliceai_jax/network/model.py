"""The network: a Flax Linen port whose submodules are named as in OpenSpliceAI's `.pt` keys."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Integer

from spliceai_jax.architecture import CHANNELS, CLASSES, Architecture
from spliceai_jax.encoding import BASES
from spliceai_jax.network.operations import EPSILON, batchnorm_leaky_relu, dilated_convolution, leaky_relu
from spliceai_jax.network.temperature import COLLECTION

MOMENTUM = 0.1
"""Weight of the newest batch in the running statistics (PyTorch's convention)."""

Tree = dict[str, Any]
"""Nested dictionaries of arrays, one level for each submodule."""

Variables = dict[str, Tree]
"""`{"params": ..., "batch_stats": ...}`, and of a calibrated model `"calibration": {"temperature": ...}`."""


def entry_name(number: int) -> str:
    """Return the name of the submodule for entry `number` of the `.pt` file's `residual_units`."""
    return f"residual_units_{number}"


class Convolution(nn.Module):
    """A dilated convolution with "same" zero padding."""

    width: int
    dilation: int
    features: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: Float[Array, "rows length channels"]) -> Float[Array, "rows length features"]:
        """Convolve."""
        shape = (self.width, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return dilated_convolution(x, kernel, self.dilation) + bias


class BatchNormLeakyReLU(nn.Module):
    """BatchNorm as PyTorch does it, then LeakyReLU.

    Not flax's BatchNorm, whose running variance is the biased one; PyTorch's is unbiased.
    """

    axis_name: str | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "rows length channels"], multiplicity: Float[Array, "rows length_or_1"], training: bool
    ) -> Float[Array, "rows length channels"]:
        """In training, normalise by the batch's statistics and update the running ones; else by the running ones."""
        features = x.shape[-1]
        weight = self.param("weight", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        mean = self.variable("batch_stats", "running_mean", jnp.zeros, (features,))
        variance = self.variable("batch_stats", "running_var", jnp.ones, (features,))
        batches = self.variable("batch_stats", "num_batches_tracked", jnp.zeros, (), jnp.int32)
        if not training:
            scale = weight * jax.lax.rsqrt(variance.value + EPSILON)
            return leaky_relu((x - mean.value) * scale + bias).astype(x.dtype)
        y, batch_mean, batch_variance = batchnorm_leaky_relu(x, weight, bias, multiplicity, self.axis_name)
        if not self.is_initializing():
            mean.value = (1 - MOMENTUM) * mean.value + MOMENTUM * batch_mean
            variance.value = (1 - MOMENTUM) * variance.value + MOMENTUM * batch_variance
            batches.value = batches.value + 1
        return y


class ResidualUnit(nn.Module):
    """BatchNorm, LeakyReLU and a dilated convolution, twice, added to the input."""

    width: int
    dilation: int
    dtype: DTypeLike | None
    axis_name: str | None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "rows length channels"],
        multiplicity: Float[Array, "rows length_or_1"],
        training: bool,
        inside: Bool[Array, "rows length"] | None,
    ) -> Float[Array, "rows length channels"]:
        """Compute the unit; `training` is BatchNorm's mode, the other arguments are those of `SpliceAI`."""
        y = x
        for i in ("1", "2"):
            y = BatchNormLeakyReLU(self.axis_name, name=f"batchnorm{i}")(y, multiplicity, training)
            if inside is not None:  # zeros between windows, as beyond the end of a row
                y = jnp.where(inside[..., None], y, 0)
            y = Convolution(self.width, self.dilation, CHANNELS, self.dtype, name=f"conv{i}")(y)
        return x + y


class Skip(nn.Module):
    """The 1x1 convolution that feeds the skip sum, at the positions that are scored only."""

    crop: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: Float[Array, "rows columns channels"]) -> Float[Array, "rows positions channels"]:
        """Crop and convolve."""
        # Cropping first gives the same values as cropping the sum: a 1x1 convolution is position by position.
        kept = x[:, self.crop : x.shape[1] - self.crop]
        return Convolution(1, 1, CHANNELS, self.dtype, name="conv")(kept)


@struct.dataclass
class Activations:
    """The output of the network's first entries.

    Attributes:
        x: The input of the next residual unit.
        skip_sum: The sum of the skips so far.
        next_entry: The number of the entry to continue with.
    """

    x: Float[Array | np.ndarray, "rows columns 32"]
    skip_sum: Float[Array | np.ndarray, "rows positions 32"]
    next_entry: int = struct.field(pytree_node=False)


class SpliceAI(nn.Module):
    """The residual dilated network of one architecture.

    Attributes:
        architecture: One of `ARCHITECTURES`.
        dtype: The type that convolutions compute in; None for the parameters' own type. Statistics and the softmax
            are never computed in less than float32.
        axis_name: The mapped axis (of `shard_map` or `pmap`) that batch statistics are summed over, or None.
    """

    architecture: Architecture
    dtype: DTypeLike | None = None
    axis_name: str | None = None

    def setup(self) -> None:
        """Name the submodules as in the `.pt` keys; units and skips share one numbering there."""
        size, units = self.architecture, self.architecture.units
        crop = size.flanking_size // 2
        self.initial_conv = Convolution(1, 1, CHANNELS, self.dtype)
        self.initial_skip = Skip(crop, self.dtype)
        self.residual_units = [
            ResidualUnit(*units[number], self.dtype, self.axis_name) if number in units else Skip(crop, self.dtype)
            for number in range(size.entries)
        ]
        self.final_conv = Convolution(1, 1, len(CLASSES), self.dtype)

    def __call__(
        self,
        inputs: Integer[Array | np.ndarray, "rows columns"] | Activations,
        multiplicity: Float[Array, "rows columns_or_1"] | None = None,
        training_units: frozenset[int] = frozenset(),
        inside: Bool[Array, "rows columns"] | None = None,
    ) -> Float[Array, "rows positions 3"]:
        """Score every position.

        Arguments:
            inputs: Bases as codes (0 for N, 1 to 4 for A C G T), positions + flanking_size columns of them; or the
                output of `activations`.
            multiplicity: How many windows each position stands for in the batch's statistics; None: 1.
            training_units: Entry numbers of the residual units whose BatchNorm uses (and tracks) the batch's
                statistics, PyTorch's training mode; all others use the running ones.
            inside: False between windows that share a row: each is computed as if it had a row of its own. None: no
                row is shared, or every scored position sees its own window only.

        Returns:
            Probabilities of neither, acceptor and donor, float32 or wider; calibrated ones where the variables hold a
            temperature.
        """
        logits = self.logits(inputs, multiplicity, training_units, inside)
        if self.has_variable(COLLECTION, "temperature"):
            logits = logits / self.get_variable(COLLECTION, "temperature")
        return jax.nn.softmax(logits)

    def logits(
        self,
        inputs: Integer[Array | np.ndarray, "rows columns"] | Activations,
        multiplicity: Float[Array, "rows columns_or_1"] | None = None,
        training_units: frozenset[int] = frozenset(),
        inside: Bool[Array, "rows columns"] | None = None,
    ) -> Float[Array, "rows positions 3"]:
        """Return what the softmax takes, before any temperature, float32 or wider; for the arguments see `__call__`."""
        first = inputs if isinstance(inputs, Activations) else self._first(inputs)
        if multiplicity is None:
            multiplicity = jnp.ones((first.x.shape[0], 1))
        last = self._continue(first, len(self.residual_units), multiplicity, training_units, inside)
        logits = self.final_conv(jnp.asarray(last.skip_sum))
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def activations(
        self,
        bases: Integer[Array | np.ndarray, "rows columns"],
        end: int,
        inside: Bool[Array, "rows columns"] | None = None,
    ) -> Activations:
        """Return the output of the entries before number `end`, on running statistics; for `inside` see `__call__`."""
        return self._continue(self._first(bases), end, jnp.ones((bases.shape[0], 1)), frozenset(), inside)

    def _first(self, bases: Integer[Array | np.ndarray, "rows columns"]) -> Activations:
        x = self.initial_conv(jax.nn.one_hot(bases.astype(jnp.int32) - 1, len(BASES) - 1))  # N is -1: all zeros
        return Activations(x, self.initial_skip(x), 0)

    def _continue(
        self,
        first: Activations,
        end: int,
        multiplicity: Float[Array, "rows columns_or_1"],
        training_units: frozenset[int],
        inside: Bool[Array, "rows columns"] | None,
    ) -> Activations:
        x, skip_sum = jnp.asarray(first.x), jnp.asarray(first.skip_sum)
        for number in range(first.next_entry, end):
            entry = self.residual_units[number]
            if isinstance(entry, Skip):
                skip_sum = skip_sum + entry(x)
            else:
                x = entry(x, multiplicity, number in training_units, inside)
        return Activations(x, skip_sum, end)

"""The network: a Flax Linen port whose submodules are named as in OpenSpliceAI's `.pt` keys."""

from collections.abc import Mapping
from math import lcm
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

from spliceai_jax.architecture import CHANNELS, CLASSES, Architecture, Precision
from spliceai_jax.encoding import BASES
from spliceai_jax.network.layout import PLAIN, Layout, Layouts, layouts_on
from spliceai_jax.network.operations import (
    EPSILON,
    batchnorm_leaky_relu,
    dilated_convolution,
    dropped,
    leaky_relu,
    masked,
)
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
    precision: jax.lax.Precision

    @nn.compact
    def __call__(
        self, x: Float[Array, "rows columns lanes"], layout: Layout = PLAIN
    ) -> Float[Array, "rows columns other_lanes"]:
        """Convolve activations of this layout."""
        shape = (self.width, x.shape[-1] // layout.neighbours, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return dilated_convolution(x, kernel, self.dilation, layout, self.precision) + jnp.tile(bias, layout.neighbours)


class BatchNormLeakyReLU(nn.Module):
    """BatchNorm as PyTorch does it, then LeakyReLU.

    Not flax's BatchNorm, whose running variance is the biased one; PyTorch's is unbiased.
    """

    axis_name: str | None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "rows columns lanes"],
        multiplicity: Float[Array, "rows columns_or_1 lanes_or_1"],
        training: bool,
        inside: Bool[Array, "rows columns lanes_or_1"] | None,
        neighbours: int,
    ) -> Float[Array, "rows columns lanes"]:
        """In training, normalise by the batch's statistics and update the running ones; else by the running ones."""
        features = x.shape[-1] // neighbours
        weight = self.param("weight", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        mean = self.variable("batch_stats", "running_mean", jnp.zeros, (features,))
        variance = self.variable("batch_stats", "running_var", jnp.ones, (features,))
        batches = self.variable("batch_stats", "num_batches_tracked", jnp.zeros, (), jnp.int32)
        if not training:
            scale = weight * jax.lax.rsqrt(variance.value + EPSILON)
            shift, scale, bias = (jnp.tile(each, neighbours) for each in (mean.value, scale, bias))
            return leaky_relu(masked((x - shift) * scale + bias, inside)).astype(x.dtype)
        y, batch_mean, batch_variance = batchnorm_leaky_relu(x, weight, bias, multiplicity, inside, self.axis_name)
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
    precision: jax.lax.Precision
    axis_name: str | None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "rows columns lanes"],
        multiplicity: Float[Array, "rows columns_or_1 lanes_or_1"],
        training: bool,
        inside: Bool[Array, "rows columns lanes_or_1"] | None,
        layout: Layout,
        dropout: float,
    ) -> Float[Array, "rows columns lanes"]:
        """Compute the unit in a layout.

        `training` is BatchNorm's mode. `multiplicity` and `inside` are those of `SpliceAI`, in the same layout;
        `dropout` is the share of what the unit adds that is dropped.
        """
        y = x
        for i in ("1", "2"):
            normalisation = BatchNormLeakyReLU(self.axis_name, name=f"batchnorm{i}")
            y = normalisation(y, multiplicity, training, inside, layout.neighbours)
            convolution = Convolution(self.width, self.dilation, CHANNELS, self.dtype, self.precision, name=f"conv{i}")
            y = convolution(y, layout)
        if dropout:
            y = dropped(y, dropout, self.make_rng("dropout"), layout, self.axis_name)
        return x + y


class Skip(nn.Module):
    """The 1x1 convolution that feeds the skip sum, at the positions that are scored only."""

    crop: int
    dtype: DTypeLike | None
    precision: jax.lax.Precision

    @nn.compact
    def __call__(
        self, x: Float[Array, "rows columns lanes"], layout: Layout
    ) -> Float[Array, "rows scored_columns lanes"]:
        """Crop and convolve activations of this layout."""
        # Without the barrier XLA computes the last convolution for the scored columns alone, and on NVIDIA cards then
        # takes its gradient in a way that is many times slower.
        x = jax.lax.optimization_barrier(x)
        # Cropping first gives the same values as cropping the sum: a 1x1 convolution is position by position.
        crop = self.crop // layout.unit
        convolution = Convolution(1, 1, CHANNELS, self.dtype, self.precision, name="conv")
        return convolution(x[:, crop : x.shape[1] - crop], layout)


@struct.dataclass
class Activations:
    """The output of the network's first entries.

    Attributes:
        x: The input of the next residual unit.
        skip_sum: The sum of the skips so far.
        next_entry: The number of the entry to continue with.
    """

    x: Float[Array | np.ndarray, "rows columns lanes"]
    skip_sum: Float[Array | np.ndarray, "rows positions lanes"]
    next_entry: int = struct.field(pytree_node=False)


class SpliceAI(nn.Module):
    """The residual dilated network of one architecture.

    Attributes:
        architecture: One of `ARCHITECTURES`.
        dtype: The type that convolutions compute in; None for the parameters' own type. Statistics and the softmax
            are never computed in less than float32.
        precision: How convolutions multiply float32 numbers.
        axis_name: The mapped axis (of `shard_map` or `pmap`) that batch statistics are summed over, or None.
        layouts: How positions lie in arrays while the network computes. The results are the same to float rounding.
    """

    architecture: Architecture
    dtype: DTypeLike | None = None
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST
    axis_name: str | None = None
    layouts: Layouts = Layouts()

    def setup(self) -> None:
        """Name the submodules as in the `.pt` keys; units and skips share one numbering there."""
        size, units = self.architecture, self.architecture.units
        crop = size.flanking_size // 2
        arithmetic = self.dtype, self.precision
        self.initial_conv = Convolution(1, 1, CHANNELS, *arithmetic)
        self.initial_skip = Skip(crop, *arithmetic)
        self.residual_units = [
            ResidualUnit(*units[number], *arithmetic, self.axis_name) if number in units else Skip(crop, *arithmetic)
            for number in range(size.entries)
        ]
        self.final_conv = Convolution(1, 1, len(CLASSES), *arithmetic)

    def __call__(
        self,
        inputs: Integer[Array | np.ndarray, "rows columns"] | Activations,
        multiplicity: Float[Array, "rows columns_or_1"] | None = None,
        training_units: frozenset[int] = frozenset(),
        inside: Bool[Array, "rows columns"] | None = None,
        dropout: Mapping[int, float] | None = None,
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
            dropout: Entry number of a residual unit -> the share of what it adds that is dropped at random, by the
                random numbers named "dropout"; None: nothing is.

        Returns:
            Probabilities of neither, acceptor and donor, float32 or wider; calibrated ones where the variables hold a
            temperature.
        """
        logits = self.logits(inputs, multiplicity, training_units, inside, dropout)
        if self.has_variable(COLLECTION, "temperature"):
            logits = logits / self.get_variable(COLLECTION, "temperature")
        return jax.nn.softmax(logits)

    def logits(
        self,
        inputs: Integer[Array | np.ndarray, "rows columns"] | Activations,
        multiplicity: Float[Array, "rows columns_or_1"] | None = None,
        training_units: frozenset[int] = frozenset(),
        inside: Bool[Array, "rows columns"] | None = None,
        dropout: Mapping[int, float] | None = None,
    ) -> Float[Array, "rows positions 3"]:
        """Return what the softmax takes, before any temperature, float32 or wider; for the arguments see `__call__`."""
        first, columns = self._entered(inputs)
        _, skip_sum = self._through(
            first, len(self.residual_units), columns, multiplicity, training_units, inside, dropout or {}
        )
        unphased = self.layouts.unphased
        logits = unphased.unpack(self.final_conv(skip_sum, unphased))
        logits = logits[:, : columns - self.architecture.flanking_size]
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def activations(
        self,
        bases: Integer[Array | np.ndarray, "rows columns"],
        end: int,
        inside: Bool[Array, "rows columns"] | None = None,
    ) -> Activations:
        """Return the output of the entries before number `end`, on running statistics; for `inside` see `__call__`."""
        first, columns = self._entered(bases)
        unphased = self.layouts.unphased
        x, skip_sum = map(unphased.unpack, self._through(first, end, columns, None, frozenset(), inside, {}))
        return Activations(x[:, :columns], skip_sum[:, : columns - self.architecture.flanking_size], end)

    def _entered(self, inputs: Integer[Array | np.ndarray, "rows columns"] | Activations) -> tuple[Activations, int]:
        """Bring the input of `logits` into the layout without phases, and count its columns.

        Positions of N, or of zeros, fill it up to whole units of all layouts.
        """
        unit = lcm(*(self.layouts.of(dilation).unit for dilation in self.architecture.dilations))
        unphased = self.layouts.unphased

        def filled_up(x: Array | np.ndarray, columns: int) -> Array:
            return jnp.pad(x, ((0, 0), (0, -columns % unit), *[(0, 0)] * (x.ndim - 2)))

        if isinstance(inputs, Activations):
            columns = inputs.x.shape[1]
            x, skip_sum = (unphased.pack(filled_up(part, columns)) for part in (inputs.x, inputs.skip_sum))
            return Activations(x, skip_sum, inputs.next_entry), columns
        columns = inputs.shape[1]
        bases = jax.nn.one_hot(filled_up(inputs, columns).astype(jnp.int32) - 1, len(BASES) - 1)  # N is -1: all zeros
        x = self.initial_conv(unphased.pack(bases), unphased)
        return Activations(x, self.initial_skip(x, unphased), 0), columns

    def _through(
        self,
        first: Activations,
        end: int,
        columns: int,
        multiplicity: Float[Array, "rows columns_or_1"] | None,
        training_units: frozenset[int],
        inside: Bool[Array, "rows columns"] | None,
        dropout: Mapping[int, float],
    ) -> tuple[Float[Array, "rows filled_columns lanes"], Float[Array, "rows scored_columns lanes"]]:
        """Take what `_entered` returns through the entries before number `end`; the result is in the same layout."""
        x, skip_sum = jnp.asarray(first.x), jnp.asarray(first.skip_sum)
        layout = unphased = self.layouts.unphased
        rows, missing = x.shape[0], x.shape[1] * unphased.unit - columns
        if multiplicity is None:
            multiplicity = jnp.ones((rows, 1))
        if missing:  # what fills a row up counts for nothing, and is like what lies beyond its end
            multiplicity = jnp.pad(jnp.broadcast_to(multiplicity, (rows, columns)), ((0, 0), (0, missing)))
            inside = jnp.pad(jnp.ones((rows, columns), bool) if inside is None else inside, ((0, 0), (0, missing)))
        times = within = None
        for number in range(first.next_entry, end):
            entry = self.residual_units[number]
            if isinstance(entry, Skip):
                skip_sum = skip_sum + layout.moved(entry(x, layout), unphased)
                continue
            wanted = self.layouts.of(entry.dilation)
            if times is None or wanted != layout:
                x, layout = layout.moved(x, wanted), wanted
                times = layout.spread(multiplicity, CHANNELS)
                within = None if inside is None else layout.spread(inside, CHANNELS)
            x = entry(x, times, number in training_units, within, layout, dropout.get(number, 0.0))
        return layout.moved(x, unphased), skip_sum


_ARITHMETIC: dict[Precision, tuple[DTypeLike | None, jax.lax.Precision]] = {
    "float32": (None, jax.lax.Precision.HIGHEST),
    "tf32": (None, jax.lax.Precision.HIGH),
    "bfloat16": (jnp.bfloat16, jax.lax.Precision.DEFAULT),
}
"""The type that convolutions compute in, and how they multiply float32 numbers."""


def network_on(
    platform: str, architecture: Architecture, precision: Precision = "float32", axis_name: str | None = None
) -> SpliceAI:
    """Return the network in the layouts in which a platform, as JAX names it, computes it fastest."""
    layouts = layouts_on(platform, exact=precision == "float32")
    return SpliceAI(architecture, *_ARITHMETIC[precision], axis_name, layouts)

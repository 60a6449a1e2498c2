"""One table of every tensor in a `.pt` file and its place in the network's variables."""

from dataclasses import dataclass

from spliceai_jax.architecture import CHANNELS, CLASSES, Architecture
from spliceai_jax.encoding import BASES
from spliceai_jax.network.model import entry_name


@dataclass(frozen=True)
class Tensor:
    """One tensor of a `.pt` file.

    Attributes:
        key: Its key in the state dict.
        shape: Its shape there.
        path: Where it lies in the variables: collection, submodules, name.
        is_kernel: Whether it is a convolution's weight: (out, in, width) in PyTorch, (width, in, out) in Flax.
        is_count: Whether it is a count, int64; all others are float32.
    """

    key: str
    shape: tuple[int, ...]
    path: tuple[str, ...]
    is_kernel: bool = False
    is_count: bool = False


def _convolution(key: str, path: tuple[str, ...], width: int, inputs: int, outputs: int) -> list[Tensor]:
    return [
        Tensor(f"{key}.weight", (outputs, inputs, width), ("params", *path, "kernel"), is_kernel=True),
        Tensor(f"{key}.bias", (outputs,), ("params", *path, "bias")),
    ]


def _batchnorm(key: str, path: tuple[str, ...]) -> list[Tensor]:
    return [
        *(Tensor(f"{key}.{name}", (CHANNELS,), ("params", *path, name)) for name in ("weight", "bias")),
        *(
            Tensor(f"{key}.{name}", (CHANNELS,), ("batch_stats", *path, name))
            for name in ("running_mean", "running_var")
        ),
        Tensor(f"{key}.num_batches_tracked", (), ("batch_stats", *path, "num_batches_tracked"), is_count=True),
    ]


def tensor_table(architecture: Architecture) -> list[Tensor]:
    """Return every tensor of an architecture's `.pt` file, in the file's order."""
    tensors = _convolution("initial_conv", ("initial_conv",), 1, len(BASES) - 1, CHANNELS)
    tensors += _convolution("initial_skip.conv", ("initial_skip", "conv"), 1, CHANNELS, CHANNELS)
    for number in range(architecture.entries):
        key, name = f"residual_units.{number}", entry_name(number)
        if number in architecture.units:
            width = architecture.units[number][0]
            for part in ("batchnorm1", "batchnorm2"):
                tensors += _batchnorm(f"{key}.{part}", (name, part))
            for part in ("conv1", "conv2"):
                tensors += _convolution(f"{key}.{part}", (name, part), width, CHANNELS, CHANNELS)
        else:
            tensors += _convolution(f"{key}.conv", (name, "conv"), 1, CHANNELS, CHANNELS)
    return tensors + _convolution("final_conv", ("final_conv",), 1, CHANNELS, len(CLASSES))

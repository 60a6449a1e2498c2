"""Versions of Python and of the packages that had a part in a result."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

_OF_A_RUN = ("spliceai-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "torch", "numpy", "h5py")


def versions(packages: Sequence[str] = _OF_A_RUN) -> dict[str, str]:
    """Return Python's version, and those of packages; without a choice, of those that decide what a run computes."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}

"""Variables as orbax checkpoint directories."""

import logging
from pathlib import Path

import orbax.checkpoint as ocp

from spliceai_jax.network.model import Variables

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs at length, and raises its errors anyway


def save_variables(path: Path, variables: Variables) -> None:
    """Write variables as a checkpoint directory, which must not exist."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), variables)


def load_variables(path: Path) -> Variables:
    """Return the variables in a checkpoint directory; the errors are those that orbax raises."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute())

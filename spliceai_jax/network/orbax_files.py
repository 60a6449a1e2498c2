"""Variables as orbax checkpoint directories.

Whoever uses orbax imports this module first: it sets how orbax's checkpoints are locked.
"""

import contextlib
import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from spliceai_jax.network.model import Variables

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs at length, and raises its errors anyway

# TensorStore, which writes the arrays, asks for locks that NFS and others may not have. A file beside the one that is
# written keeps others out as well, and on all file systems. Orbax has no setting for it.
with contextlib.suppress(ImportError):
    from orbax.checkpoint._src.serialization import tensorstore_utils

    for _context in ("_BASE_TS_CONTEXT", "_DEFAULT_OCDBT_TS_CONTEXT"):
        getattr(tensorstore_utils, _context, {})["file_io_locking"] = {"mode": "lockfile"}

_MOST_BYTES = 16_000_000
"""The largest network takes 3.1 MB."""


def save_variables(path: Path, variables: Variables) -> None:
    """Write variables as a checkpoint directory, which must not exist."""
    with ocp.StandardCheckpointer() as checkpointer:
        # Of arrays on devices orbax would keep the devices too, and other machines lack them.
        checkpointer.save(path.absolute(), jax.device_get(variables))


def describe_variables(path: Path) -> dict[str, Any]:
    """Return what a checkpoint directory says about its variables: of each, an object with `shape` and `dtype`.

    Nothing is read whose size is not known by then.

    Raises:
        ValueError: The directory is too large, or holds pipes, devices or links.
        Exception: Whatever orbax raises.
    """
    size = 0
    for file in path.rglob("*"):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise ValueError(f"{file.name!r:.60} in it is neither a file nor a folder")
        size += file.stat().st_size
        if size > _MOST_BYTES:
            raise ValueError(f"it has more than the {_MOST_BYTES / 1e6:.0f} MB that a network may take")
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.metadata(path.absolute()).item_metadata.tree


def load_variables(path: Path) -> Variables:
    """Return the variables in a checkpoint directory; the errors are those that orbax raises."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute())

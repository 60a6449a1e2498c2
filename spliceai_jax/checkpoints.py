"""Checkpoints: everything that decides the rest of a run, saved by orbax."""

import contextlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orbax.checkpoint as ocp

from spliceai_jax.errors import RunFolderError
from spliceai_jax.history import History

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax reports at length; what fails is raised too


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: The epoch under way, counted from 0.
        batch: Its next batch; as many as it has batches once it only remains to be evaluated.
        history: What was measured so far.
    """

    epoch: int
    batch: int
    history: History


class Checkpoints:
    """The latest two checkpoints of a run."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, making it where it is missing."""
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False),
            item_names=("state", "progress"),
        )

    def save(self, state: Any, progress: Progress) -> None:
        """Save; a process killed meanwhile leaves the checkpoint before.

        Raises:
            RunFolderError: It cannot be written.
        """
        serial = 1 + (self._manager.latest_step() or 0)
        loop = {"epoch": progress.epoch, "batch": progress.batch, "history": progress.history.to_json()}
        self._manager.save(
            serial,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(loop)),
        )

    def restore(self, like: Any) -> tuple[Any, Progress] | None:
        """The latest checkpoint, its state of numpy arrays arranged as `like`; None where there is none."""
        serial = self._manager.latest_step()
        if serial is None:
            return None
        try:
            restored = self._manager.restore(
                serial,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()),
            )
        except Exception as error:  # orbax raises whatever its storage layers do
            raise RunFolderError(
                f"{self._manager.directory / str(serial)}: this checkpoint cannot be read ({error!s:.200}); delete the "
                "folder to go on from the one before it"
            ) from error
        return restored["state"], _progress(restored["progress"])

    def __enter__(self) -> Self:
        """Use as a context manager, which releases orbax's resources."""
        return self

    def __exit__(self, *exception: object) -> None:  # noqa: D105
        self._manager.close()


def _progress(loop: dict[str, Any]) -> Progress:
    return Progress(loop["epoch"], loop["batch"], History.from_json(loop["history"]))


def latest_progress(folder: Path) -> Progress | None:
    """The progress in the latest checkpoint, of a run that may be under way; None where there is none.

    Only reads: opening a `CheckpointManager` would clear away what the run is about to finish.
    """
    serials = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    for serial in sorted(serials, reverse=True):
        # The run deletes old checkpoints meanwhile.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _progress(json.loads((folder / str(serial) / "progress" / "metadata").read_text()))
    return None


def save_variables(path: Path, variables: Any) -> None:
    """Write variables as an orbax checkpoint directory."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), variables)


def load_variables(path: Path) -> Any:
    """Read them back."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute())

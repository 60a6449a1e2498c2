"""Checkpoints: everything that decides the rest of a run, saved by orbax."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import orbax.checkpoint as ocp

from spliceai_jax import processes
from spliceai_jax.errors import RunFolderError
from spliceai_jax.runs import stored
from spliceai_jax.runs.history import LoopState
from spliceai_jax.training.step import TrainState

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs at length, and raises its errors anyway

_STATE, _LOOP = "state", "progress"
"""The names of the two items of a checkpoint."""


class Checkpoints:
    """The latest two checkpoints of a run."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, making it where it is missing."""
        self._manager = _manager(folder, max_to_keep=2, enable_async_checkpointing=False)

    def save(self, state: TrainState, loop: LoopState) -> None:
        """Save; if the process is killed meanwhile, the checkpoint before remains the latest."""
        serial = 1 + (self._manager.latest_step() or 0)
        items = {_STATE: ocp.args.StandardSave(state), _LOOP: ocp.args.JsonSave(asdict(loop))}
        self._manager.save(serial, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> tuple[TrainState, LoopState] | None:
        """Read the latest checkpoint, its state as numpy arrays arranged as `like`; None where there is none.

        Raises:
            RunFolderError: It cannot be read.
        """
        serial = self._manager.latest_step()
        if serial is None:
            return None
        items = {_STATE: ocp.args.StandardRestore(like), _LOOP: ocp.args.JsonRestore()}
        try:
            restored = self._manager.restore(serial, args=ocp.args.Composite(**items))
            return restored[_STATE], stored.convert(restored[_LOOP], LoopState)
        except Exception as error:  # orbax raises whatever its storage layers do
            if processes.is_loss(error):  # another process is gone; the checkpoint is fine
                raise
            raise RunFolderError(
                f"{self._manager.directory / str(serial)}: this checkpoint cannot be read ({error!s:.200}); delete the "
                "folder to go on from the one before it"
            ) from error

    def __enter__(self) -> Self:
        """Use as a context manager, which releases orbax's resources."""
        return self

    def __exit__(self, *exception: object) -> None:  # noqa: D105
        self._manager.close()


def read_loop_state(folder: Path) -> LoopState | None:
    """Read from the latest checkpoint where the run stands; None where there is none. Nothing is written or deleted.

    For runs of spliceai-jax 0.1.0; later ones have a `history.json`.
    """
    if not folder.is_dir():
        return None
    with _manager(folder, read_only=True) as manager:
        serial = manager.latest_step()
        if serial is None:
            return None
        try:
            restored = manager.restore(serial, args=ocp.args.Composite(**{_LOOP: ocp.args.JsonRestore()}))
            return stored.convert(restored[_LOOP], LoopState)
        except Exception as error:  # orbax raises whatever its storage layers do
            raise RunFolderError(f"{folder / str(serial)}: this checkpoint cannot be read ({error!s:.200})") from error


def _manager(folder: Path, **options: Any) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        folder.absolute(), options=ocp.CheckpointManagerOptions(**options), item_names=(_STATE, _LOOP)
    )

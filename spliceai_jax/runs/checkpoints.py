"""Checkpoints: everything that decides the rest of a run, saved by orbax, with a digest to compare when it is read.

The values of a checkpoint have no checksum of orbax's: a flipped bit would only make other weights of them.
"""

import contextlib
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
from flax.serialization import to_state_dict
from flax.traverse_util import flatten_dict

from spliceai_jax import files, processes, stored
from spliceai_jax.errors import ProcessesError, RunFolderError, SpliceAIWarning
from spliceai_jax.network import orbax_files  # noqa: F401 - it sets how checkpoints are locked
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import LoopState
from spliceai_jax.stored import MOST_BYTES, Json
from spliceai_jax.training.step import TrainState

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs at length, and raises its errors anyway

_STATE, _LOOP = "state", "progress"
"""The names of the two items of a checkpoint."""

_DIGEST = "sha256"
"""The field of the progress that holds the digest."""


class Checkpoints:
    """The latest two checkpoints of a run."""

    def __init__(self, folder: RunFolder) -> None:
        """Open the run's folder of checkpoints, making it where it is missing."""
        self._folder = folder
        with _refusals(
            folder.checkpoints, "cannot be opened", "move the latest checkpoint away, or bring back a copy of it"
        ):
            self._manager = ocp.CheckpointManager(
                folder.checkpoints,
                options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False),
                item_names=(_STATE, _LOOP),
            )

    def save(self, state: TrainState, loop: LoopState) -> None:
        """Save; if the process is killed meanwhile, the checkpoint before remains the latest.

        Raises:
            RunFolderError: It cannot be written; the checkpoint before remains the latest.
        """
        serial = 1 + (self._manager.latest_step() or 0)
        progress = loop.to_json()
        progress[_DIGEST] = _digest(state, progress)
        items = {_STATE: ocp.args.StandardSave(state), _LOOP: ocp.args.JsonSave(progress)}
        way_out = (
            "nothing saved before is lost: make room, or whatever else is missing, and go on by the same command and "
            "`resume=True`"
        )
        with _refusals(self._path(serial), "the checkpoint cannot be written", way_out):
            self._manager.save(serial, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> tuple[TrainState, LoopState] | None:
        """Read the latest checkpoint that is whole; None where there is no checkpoint.

        Damaged ones after it are kept under other names, with a warning. All processes take the same one.

        Returns:
            The state, as numpy arrays, and where the run stands.

        Raises:
            RunFolderError: None is whole.
        """
        damaged: list[int] = []
        reasons: list[str] = []
        for serial in reversed(self._manager.all_steps()):
            try:
                found = processes.all_or_none(partial(self._read, serial, like))
            except (RunFolderError, ProcessesError) as error:  # the latter where it failed in another process
                damaged.append(serial)
                reasons.append(str(error))
                continue
            if damaged:
                self._set_aside(damaged, reasons, serial)
            return found
        if damaged:
            raise RunFolderError(
                f"{'; '.join(reasons)}; there is no other, so that the run cannot go on; bring back a copy of "
                f"{self._manager.directory}, or train anew with another `exp_num`"
            )
        # After one, the run may have been killed before its first checkpoint.
        if (epochs := self._epochs_measured()) > 1:
            raise RunFolderError(
                f"{self._manager.directory}: holds no checkpoint, though {self._folder.history} tells of "
                f"{epochs} epochs; bring back a copy, or train anew with another `exp_num`"
            )
        return None

    def _epochs_measured(self) -> int:
        try:
            return stored.read(self._folder.history, LoopState).epoch
        except (OSError, RunFolderError):
            return 0

    def _read(self, serial: int, like: TrainState) -> tuple[TrainState, LoopState]:
        items = {_STATE: ocp.args.StandardRestore(like), _LOOP: ocp.args.JsonRestore()}
        try:
            _check_size(self._path(serial))
            restored = self._manager.restore(serial, args=ocp.args.Composite(**items))
            state, progress = restored[_STATE], dict(restored[_LOOP])
            if progress.pop(_DIGEST, None) != _digest(state, progress):
                raise ValueError("its contents are not those that were saved: their SHA-256 is another")
            return state, stored.convert(progress, LoopState)
        except Exception as error:  # orbax raises whatever its storage layers do
            if processes.is_loss(error):  # another process is gone; the checkpoint is fine
                raise
            raise RunFolderError(f"{self._path(serial)}: this checkpoint is damaged ({_in_a_line(error)})") from error

    def _set_aside(self, damaged: list[int], reasons: list[str], taken: int) -> None:
        """Keep checkpoints from orbax, which would count them among the latest two and number the next one wrongly."""
        named = processes.all_or_none(lambda: [self._folder.set_aside(self._path(serial)).name for serial in damaged])
        self._manager.reload()
        processes.check_same({"latest checkpoint": self._manager.latest_step()})
        warnings.warn(
            f"{'; '.join(reasons)}; kept as {', '.join(named)}, and the run goes on from checkpoint {taken} before it",
            SpliceAIWarning,
            stacklevel=3,
        )

    def _path(self, serial: int) -> Path:
        return self._folder.checkpoints / str(serial)

    def __enter__(self) -> "Checkpoints":
        """Use as a context manager, which releases orbax's resources."""
        self._shown, sys.unraisablehook = sys.unraisablehook, self._show
        return self

    def __exit__(self, *exception: object) -> None:  # noqa: D105
        self._manager.close()
        sys.unraisablehook = self._shown

    def _show(self, unraisable: "sys.UnraisableHookArgs") -> None:
        # When one of orbax's reads fails it closes their event loop, and each of the others prints a traceback.
        if str(unraisable.exc_value) != "Event loop is closed":
            self._shown(unraisable)


@contextlib.contextmanager
def _refusals(path: Path, what: str, way_out: str) -> Iterator[None]:
    """Turn what orbax and the operating system raise into a refusal; the loss of another process passes."""
    try:
        yield
    except OSError as error:
        raise files.unwritable(path, error) from error
    except Exception as error:  # orbax raises whatever its storage layers do
        if processes.is_loss(error):
            raise
        raise RunFolderError(f"{path}: {what} ({_in_a_line(error)}); {way_out}") from error


def _digest(state: TrainState, progress: Json) -> str:
    """Return SHA-256 of all that a checkpoint holds: names, types, shapes and values of arrays, and the progress."""
    digest = hashlib.sha256(json.dumps(progress, sort_keys=True).encode())
    for path, value in sorted(flatten_dict(to_state_dict(state), sep="/").items()):
        array = np.asarray(value)
        digest.update(f"{path} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_size(checkpoint: Path) -> None:
    """Refuse, with a ValueError, what no run has saved, before it is read into memory."""
    size = sum(file.stat().st_size for file in checkpoint.rglob("*"))
    if size > MOST_BYTES:
        raise ValueError(f"it has {size / 1e6:.0f} MB; expected at most {MOST_BYTES / 1e6:.0f} MB")


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

"""A run's folder on disk: OpenSpliceAI's layout, held by one process at a time, every file written whole."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from spliceai_jax.errors import RunFolderError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write beside and rename: a reader, and a run killed at any moment, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def check_writable(folder: Path) -> Path:
    """Refuse, without writing anything that stays, a folder that results could not be written to.

    Returns:
        The folder, or, while it does not exist, the nearest one above that does.

    Raises:
        RunFolderError: It cannot be written.
    """
    existing = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RunFolderError(
            f"--output-dir: cannot write in {existing} ({error.strerror}); give a folder that can be written"
        ) from error
    return existing


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


class RunFolder:
    """Where everything about a run lies.

    Attributes:
        root: `SpliceAI_{project}_{flank}_{exp}_rs{seed}/{exp}` in the output folder.
    """

    def __init__(self, output_dir: str | Path, project: str, flanking_size: int, exp_num: int, seed: int) -> None:
        """Only name the folder; nothing is made yet."""
        name = f"SpliceAI_{project}_{flanking_size}_{exp_num}_rs{seed}"
        self.root = Path(output_dir).absolute() / name / str(exp_num)
        self._description = self.root / "run.json"
        self._lock = FileLock(self.root / ".lock")

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.root / "checkpoints"

    @property
    def best_model(self) -> Path:
        """The model with the lowest validation loss so far."""
        return self.root / "models" / "model_best.pt"

    def epoch_model(self, epoch: int) -> Path:
        """The model after an epoch, counted from 0."""
        return self.root / "models" / f"model_{epoch}.pt"

    def log(self, name: str) -> Path:
        """A log file, `TRAIN/loss_batch.txt` for example."""
        return self.root / "LOG" / name

    def check(self, resume: bool) -> None:
        """Refuse early, and without writing anything that stays, what would fail later.

        Raises:
            RunFolderError: The folder holds a run and `resume` is not set, or it holds something else, or it cannot
                be written.
        """
        self._check_holds(resume)
        check_writable(self.root)

    def check_room(self, bytes_needed: int) -> None:
        """Refuse a run that the disk has no room for.

        Raises:
            RunFolderError: It has less than `bytes_needed`.
        """
        if (free := self.bytes_free) < bytes_needed:
            raise RunFolderError(
                f"--output-dir: the run needs {bytes_needed / 1e6:.0f} MB and {_existing(self.root)} has "
                f"{free / 1e6:.0f} MB free; make room or give another folder"
            )

    @property
    def bytes_free(self) -> int:
        """Room on the disk that the folder is, or would be, on."""
        return shutil.disk_usage(_existing(self.root)).free

    def _check_holds(self, resume: bool) -> None:
        if self._description.exists():
            if not resume:
                raise RunFolderError(
                    f"{self.root}: holds a run already; go on with it by --resume, or give another --exp-num, "
                    "--project-name or --output-dir"
                )
        elif any((self.root / name).exists() for name in ("models", "LOG")):
            raise RunFolderError(
                f"{self.root}: holds models or logs that spliceai-jax did not write; give another --exp-num, "
                "--project-name or --output-dir"
            )

    @contextlib.contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        """Make the folder and hold it against other processes.

        Raises:
            RunFolderError: Another process holds it, or has made a run in it meanwhile.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"{self.root}: another process is at work on this run; wait for it, or stop it and give --resume"
            ) from None
        try:
            self._check_holds(resume)
            yield
        finally:
            self._lock.release()

    def describe(self, description: dict[str, Any]) -> bool:
        """Record what decides the run's result, or compare it with what was recorded.

        Returns:
            Whether the folder held a run already.

        Raises:
            RunFolderError: It did, and something differs; all differences are named.
        """
        if not self._description.exists():
            write_whole(self._description, json.dumps(description, indent=2) + "\n")
            return False
        try:
            recorded = json.loads(self._description.read_text())
        except ValueError as error:
            raise RunFolderError(
                f"{self._description}: damaged ({error}); without it the run cannot go on; give another --exp-num"
            ) from error
        changes = [
            f"{name} was {recorded.get(name)!r} and is now {description.get(name)!r}"
            for name in {**recorded, **description}
            if recorded.get(name) != description.get(name)
        ]
        if changes:
            raise RunFolderError(
                f"--resume: {self.root} was started differently: {'; '.join(changes)}; give the same settings and "
                "data, or another --exp-num"
            )
        return True

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

    def __init__(self, root: str | Path) -> None:
        """Only name the folder; nothing is made yet."""
        self.root = Path(root).absolute()
        self._description = self.root / "run.json"
        self._lock = FileLock(self.root / ".lock")

    @classmethod
    def named(cls, output_dir: str | Path, project: str, flanking_size: int, exp_num: int, seed: int) -> "RunFolder":
        """The folder that a run of these settings has."""
        return cls(Path(output_dir) / f"SpliceAI_{project}_{flanking_size}_{exp_num}_rs{seed}" / str(exp_num))

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.root / "checkpoints"

    @property
    def best_model(self) -> Path:
        """The model with the lowest validation loss so far."""
        return self.root / "models" / "model_best.pt"

    @property
    def best_card(self) -> Path:
        """What that model is."""
        return self.best_model.with_suffix(".json")

    @property
    def record(self) -> Path:
        """What the run says of itself beside what decides its result."""
        return self.root / "record.json"

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        """The page's figures as files."""
        return self.root / "report"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's events."""
        return self.root / "tensorboard"

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

    def write(self, path: Path, content: bytes | str) -> None:
        """Write one of the run's files whole."""
        write_whole(path, content)

    def description(self) -> dict[str, Any]:
        """What `describe` recorded.

        Raises:
            RunFolderError: The folder holds no run, or the file is damaged.
        """
        try:
            recorded = json.loads(self._description.read_text())
        except OSError as error:
            raise RunFolderError(
                f"{self._description}: cannot be read ({error.strerror}); give the folder that a run of `spliceai-jax "
                "transfer` made: OUTPUT_DIR/SpliceAI_{project}_{flank}_{exp}_rs{seed}/{exp}"
            ) from error
        except ValueError as error:
            raise RunFolderError(
                f"{self._description}: damaged ({error}); without it the run cannot go on; give another --exp-num"
            ) from error
        return recorded

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
        recorded = self.description()
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


class FollowedFolder(RunFolder):
    """The folder as seen by a process that does not lead: it reads checkpoints there, the leader does the rest."""

    def check(self, resume: bool) -> None:
        """Left to the leader."""

    def check_room(self, bytes_needed: int) -> None:
        """Left to the leader."""

    @contextlib.contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        """Left to the leader."""
        yield

    def describe(self, description: dict[str, Any]) -> bool:
        """Left to the leader."""
        return True

    def write(self, path: Path, content: bytes | str) -> None:
        """Left to the leader."""

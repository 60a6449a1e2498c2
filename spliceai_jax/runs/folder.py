"""A run's folder on disk: OpenSpliceAI's layout, locked by one process at a time, every file written whole."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from glob import glob
from pathlib import Path

from spliceai_jax import files, stored
from spliceai_jax.errors import RunFolderError
from spliceai_jax.runs import identity
from spliceai_jax.runs.identity import RunIdentity


class RunFolder:
    """Where the files of a run lie.

    Attributes:
        root: `SpliceAI_{project}_{flank}_{exp}_rs{seed}/{exp}` in the output folder.
        identity_file: The file of what decides the run's result, and of its record.
        checkpoints: The folder of the checkpoints.
        history: The file of what was measured so far.
        error_log: The file of an unexpected error's traceback.
        best_model: The best model so far: see `History.kept_epoch`.
        best_card: The card of that model.
        genome_evaluation: The file of what the models find on whole sequences.
        predictions: The folder of the best model's scores of the whole genome.
        report: The page about the run.
        figures: The folder of the page's figures.
        tensorboard: The folder of TensorBoard events.
    """

    def __init__(self, root: str | Path) -> None:
        """Name the folder; nothing is made yet."""
        self.root = Path(root).absolute()
        self.identity_file = self.root / "run.json"
        self.checkpoints = self.root / "checkpoints"
        self.history = self.root / "history.json"
        self.error_log = self.root / "error.log"
        self.best_model = self.root / "models" / "model_best.pt"
        self.best_card = self.best_model.with_suffix(".json")
        self.genome_evaluation = self.root / "genome_evaluation.json"
        self.predictions = self.root / "predictions"
        self.report = self.root / "report.html"
        self.figures = self.root / "report"
        self.tensorboard = self.root / "tensorboard"

    @classmethod
    def named(cls, output_dir: str | Path, project: str, flanking_size: int, exp_num: int, seed: int) -> "RunFolder":
        """Return the folder of a run with these settings."""
        return cls(Path(output_dir) / f"SpliceAI_{project}_{flanking_size}_{exp_num}_rs{seed}" / str(exp_num))

    @classmethod
    def found(cls, path: str | Path) -> "RunFolder":
        """Return the run's folder that a path means: its own, or the only one below the folder that runs are made in.

        A path that means none is taken for a run's folder; it has no `identity_file`.

        Raises:
            RunFolderError: There are several below it.
        """
        path = Path(path)
        if (found := cls(path)).holds_run:
            return found
        # A run lies in OUTPUT_DIR/SpliceAI_.../EXP.
        pattern = f"*/{found.identity_file.name}"
        ways = (pattern, f"SpliceAI_*/{pattern}")
        # Unlike Path.glob this passes over what may not be entered.
        runs = sorted(path / Path(file).parent for way in ways for file in glob(way, root_dir=path))
        if len(runs) > 1:
            raise RunFolderError(f"{path}: holds {len(runs)} runs; give one of them: {', '.join(map(str, runs))}")
        return cls(runs[0]) if runs else found

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun here; False where the folder may not be entered."""
        return os.path.exists(self.identity_file)  # Path.exists raises PermissionError there on Python 3.11

    def epoch_model(self, epoch: int) -> Path:
        """Return the file of the model after an epoch, counted from 0."""
        return self.root / "models" / f"model_{epoch}.pt"

    def log(self, name: str) -> Path:
        """Return a log file, `TRAIN/loss_batch.txt` for example."""
        return self.root / "LOG" / name

    def check(self, resume: bool) -> None:
        """Refuse early a folder that would fail later; nothing is left behind.

        Raises:
            RunFolderError: The folder holds a run and `resume` is not set, or it holds something else, or it cannot
                be written.
        """
        self._check_place()
        files.check_writable(self.root)
        self._check_contents(resume)

    def _check_place(self) -> None:
        """Refuse to make a run in another run's folder, which was given by mistake."""
        output = self.root.parents[1]
        for run in (RunFolder(output), RunFolder(output / self.root.name)):
            if run.holds_run and run.root.parent.name.startswith("SpliceAI_"):
                raise RunFolderError(
                    f"`output_dir`: {output} is the folder of a run; give the one that the run was made in, "
                    f"`output_dir={run.root.parents[1]}`"
                )

    def check_room(self, bytes_needed: int) -> None:
        """Refuse a run that the disk has no room for.

        Raises:
            RunFolderError: It has less than `bytes_needed`.
        """
        if (free := self.bytes_free) < bytes_needed:
            raise RunFolderError(
                f"`output_dir`: the run needs {bytes_needed / 1e6:.0f} MB and {files.nearest_existing(self.root)} has "
                f"{free / 1e6:.0f} MB free; make room or give another folder"
            )

    @property
    def bytes_free(self) -> int:
        """The bytes free on the disk that the folder is, or will be, on."""
        return shutil.disk_usage(files.nearest_existing(self.root)).free

    def _check_contents(self, resume: bool) -> None:
        if self.holds_run:
            if not resume:
                raise RunFolderError(
                    f"{self.root}: holds a run already; go on with it by `resume=True`, or give another `exp_num`, "
                    "`project_name` or `output_dir`"
                )
        elif any(path.exists() for path in (self.history, self.checkpoints)):
            raise RunFolderError(
                f"{self.identity_file}: missing, though {self.root} holds a run, which cannot go on without it; put it "
                "back, or give another `exp_num`, `project_name` or `output_dir`"
            )
        elif any((self.root / name).exists() for name in ("models", "LOG")):
            raise RunFolderError(
                f"{self.root}: holds models or logs that spliceai-jax did not write; give another `exp_num`, "
                "`project_name` or `output_dir`"
            )

    @contextlib.contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        """Make the folder and lock it against other processes.

        Raises:
            RunFolderError: Another process holds it, or has made a run in it meanwhile.
        """
        busy = "another process is at work on this run; wait for it, or stop it and give `resume=True`"
        with files.held(self.root, busy):
            self._check_contents(resume)
            yield

    def write(self, path: Path, content: bytes | str) -> None:
        """Write one of the run's files whole.

        Raises:
            RunFolderError: The run is no longer there: its folder would be made again, without what it held.
        """
        if path != self.identity_file and not self.holds_run:
            raise RunFolderError(
                f"{self.root}: the run's folder, or its {self.identity_file.name}, was removed while the run worked; "
                "put it back and give `resume=True`, or start the run again"
            )
        files.write_whole(path, content)

    def set_aside(self, path: Path, reason: str = "unreadable") -> Path:
        """Rename a file or folder that cannot be used, so that nothing of it is lost, and return its new name.

        Arguments:
            reason: Why it cannot be used, in a word, which becomes part of the new name.

        Raises:
            RunFolderError: It cannot be renamed.
        """
        names = (path.with_name(f"{path.stem}.{reason}_{number}{path.suffix}") for number in range(1, 10**6))
        aside = next(name for name in names if not os.path.lexists(name))
        try:
            path.rename(aside)
        except OSError as error:
            raise RunFolderError(
                f"{path}: cannot be used, and cannot be kept as {aside.name} ({error.strerror}); make the folder "
                "writable, or move it away"
            ) from error
        return aside

    def read_identity(self) -> RunIdentity:
        """Read what decides the run's result.

        Raises:
            RunFolderError: The folder holds no run, or the file is damaged.
        """
        try:
            return stored.read(self.identity_file, RunIdentity, identity.from_json)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunFolderError(
                f"{self.identity_file}: cannot be read ({error.strerror}); give the folder that a run of "
                "`spliceai-jax transfer` made: OUTPUT_DIR/SpliceAI_{project}_{flank}_{exp}_rs{seed}/{exp}"
            ) from error
        except RunFolderError as error:
            raise RunFolderError(f"{error}; without it the run cannot go on; give another `exp_num`") from error

    def claim(self, wanted: RunIdentity) -> bool:
        """Record what decides the run's result, or compare it with what was recorded.

        Returns:
            Whether the folder held a run already.

        Raises:
            RunFolderError: It did, and something differs; the message names all that does.
        """
        if not self.holds_run:
            self.write(self.identity_file, stored.render(wanted.to_json()))
            return False
        recorded = self.read_identity()
        if changes := wanted.differences(recorded):
            raise RunFolderError(
                f"`resume`: {self.root} was started differently: {'; '.join(changes)}; give the same settings and "
                "data, or another `exp_num`"
            )
        return True


class FollowedFolder(RunFolder):
    """The folder for processes other than the leader: they read checkpoints there, and the leader does the rest."""

    def check(self, resume: bool) -> None:
        """Do nothing: the leader does it."""

    def check_room(self, bytes_needed: int) -> None:
        """Do nothing: the leader does it."""

    @contextlib.contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        """Do nothing: the leader does it."""
        yield

    def claim(self, wanted: RunIdentity) -> bool:
        """Do nothing: the leader does it."""
        return True

    def write(self, path: Path, content: bytes | str) -> None:
        """Do nothing: the leader does it."""

    def set_aside(self, path: Path, reason: str = "unreadable") -> Path:
        """Do nothing: the leader does it."""
        return path

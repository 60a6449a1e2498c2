"""A run as its folder shows it, and its record: facts that do not decide its result, as files, devices, the command.

The record is in the run's `run.json`, beside what decides its result. `resume` does not compare it.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from spliceai_jax import stored
from spliceai_jax.evaluation.genome_metrics import GenomeEvaluation
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import SPLITS, History, LoopState, Split
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.session import Session
from spliceai_jax.stored import Count, check_keys
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.windows.windows import Windows


@dataclass(frozen=True)
class DatasetRecord:
    """A data set, or the part of a file that was used.

    Attributes:
        path: The file, absolute; of several, all of them, with commas.
        windows: The number of windows of 5000 positions.
        donors: The number of donor sites.
        acceptors: The number of acceptor sites.
        gt_share: The share of the donors that are followed by GT.
        ag_share: The share of the acceptors that follow AG.
        padding_share: The share of the positions that lie beyond the end of a gene.
        fingerprint: SHA-256 of the contents: see `Windows.fingerprint`.
        parts: The data sets that were joined to this one; empty of one file.
    """

    path: str
    windows: Count
    donors: Count
    acceptors: Count
    gt_share: float
    ag_share: float
    padding_share: float
    fingerprint: str
    parts: tuple["DatasetRecord", ...] = ()

    @property
    def by_file(self) -> tuple["DatasetRecord", ...]:
        """The data sets that this one consists of, one a file."""
        return self.parts or (self,)

    @classmethod
    def of(cls, windows: Windows) -> "DatasetRecord":
        """Describe windows."""
        return cls(
            path=windows.absolute_files,
            windows=len(windows),
            donors=windows.count("donor"),
            acceptors=windows.count("acceptor"),
            gt_share=windows.canonical_sites["donor"] / windows.count("donor"),
            ag_share=windows.canonical_sites["acceptor"] / windows.count("acceptor"),
            padding_share=windows.padding_share,
            fingerprint=windows.fingerprint,
            parts=tuple(map(cls.of, windows.parts)),
        )


@dataclass(frozen=True)
class UnlabelledRecord:
    """Windows whose labels are not used.

    Attributes:
        path: The file, absolute.
        windows: The number of windows of 5000 positions.
        fingerprint: SHA-256 of their bases, and of where padding begins.
    """

    path: str
    windows: Count
    fingerprint: str

    @classmethod
    def of(cls, windows: Windows) -> "UnlabelledRecord":
        """Describe windows."""
        return cls(windows.absolute_files, len(windows), windows.fingerprint)


@dataclass(frozen=True)
class Parent:
    """The weights that a run started from.

    Attributes:
        path: The `.pt` file or the Orbax checkpoint, absolute.
        sha256: SHA-256 of the file; of a checkpoint that of its weights, `weights_sha256`.
        weights_sha256: SHA-256 of the bytes that `Pretrained.to_pt` gives these weights, which are the same however
            the file stores them.
    """

    path: str
    sha256: str
    weights_sha256: str


@dataclass(frozen=True)
class Record:
    """A run's record.

    Attributes:
        recipe: The recipe's name; its fields are the identity's.
        trains: What trains, in words.
        validation_from: How the validation windows were found, in words.
        batches_per_epoch: The number of batches in an epoch.
        parent: The weights that it started from.
        datasets: Its data sets.
        sessions: The processes that worked on it, in order.
        rehearsal: The windows of the old species that are trained on; None: there are none.
        unlabelled: The windows that are trained on without labels; None: there are none.
        teachers: The models whose probabilities are learnt.
    """

    recipe: str
    trains: str
    validation_from: str
    batches_per_epoch: Count
    parent: Parent
    datasets: dict[Split, DatasetRecord]
    sessions: tuple[Session, ...]
    rehearsal: DatasetRecord | None = None
    teachers: tuple[Parent, ...] = ()
    unlabelled: UnlabelledRecord | None = None

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, a record without all data sets: it was read from a damaged file."""
        check_keys("datasets", self.datasets, SPLITS)
        if not self.sessions:
            raise ValueError("`sessions` is empty")


@dataclass(frozen=True)
class _Recorded:
    """What is read of `run.json` here."""

    record: Record | None = None


def read_record(folder: RunFolder) -> Record | None:
    """Read a run's record; None where its first session has not begun.

    Raises:
        FileNotFoundError, NotADirectoryError: The folder holds no run.
        RunFolderError: It cannot be read.
    """
    return stored.read(folder.identity_file, _Recorded).record


def add_session(folder: RunFolder, identity: RunIdentity, record: Record) -> Record:
    """Put the sessions recorded so far before the one in `record`, write the record and return it."""
    if earlier := read_record(folder):
        record = replace(record, sessions=(*earlier.sessions, *record.sessions))
    folder.write(folder.identity_file, stored.render({**identity.to_json(), "record": asdict(record)}))
    return record


@dataclass(frozen=True)
class Run:
    """A run as its folder shows it.

    Attributes:
        folder: The run's folder.
        identity: What decides its result.
        record: Facts about it; None where its first session has not begun.
        history: What was measured, as of the latest checkpoint; empty before the first.
        genome: What models find on whole sequences, where that was measured.
    """

    folder: RunFolder
    identity: RunIdentity
    record: Record | None
    history: History
    genome: GenomeEvaluation | None = None

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the run stopped early."""
        return self.history.finished(self.identity.choices)

    @property
    def keeps_untouched(self) -> bool:
        """Whether the untouched model is the best one, since tuning has not helped; False before the first epoch."""
        return bool(self.history.epochs) and self.history.kept_epoch(self.identity.choices) is None

    @property
    def tuned_epoch(self) -> int | None:
        """The epoch whose model is the tuned one; None before the first is done."""
        return self.history.tuned_epoch(self.identity.choices) if self.history.epochs else None

    @property
    def tuned_model(self) -> Path | None:
        """The model of that epoch, kept as the best or not; None before the first epoch is done."""
        return tuned_model(self.folder, self.history, self.identity.choices) if self.history.epochs else None

    @property
    def tuned_sha256(self) -> str | None:
        """SHA-256 of that model's file; None before the first epoch is done."""
        return None if self.tuned_epoch is None else self.history.epochs[self.tuned_epoch].model_sha256


def read_run(root: str | Path) -> Run:
    """Read a run from its folder, or from one above it: see `RunFolder.found`.

    Raises:
        RunFolderError: It holds no run, or several, or a file of the run is damaged.
    """
    folder = RunFolder.found(root)
    identity = folder.read_identity()
    return Run(folder, identity, read_record(folder), read_history(folder), read_genome_evaluation(folder))


def read_history(folder: RunFolder) -> History:
    """Read what a run has measured as of its latest checkpoint; it is empty before the first.

    Raises:
        RunFolderError: It is damaged.
    """
    try:
        return stored.read(folder.history, LoopState).history
    except FileNotFoundError:
        return History()


def read_genome_evaluation(folder: RunFolder) -> GenomeEvaluation | None:
    """Read what a run's models find on whole sequences; None where there is none, with a warning if it is damaged."""
    return stored.unless_damaged(lambda: stored.read(folder.genome_evaluation, GenomeEvaluation))


def tuned_model(folder: RunFolder, history: History, recipe: Recipe) -> Path:
    """Return the file of the tuned epoch's model; where only its copy `model_best.pt` is left, that.

    While a run is under way, `model_best.pt` may be ahead of the history.
    """
    model = folder.epoch_model(history.tuned_epoch(recipe))
    copied = history.kept_epoch(recipe) is not None
    return folder.best_model if copied and not model.exists() else model

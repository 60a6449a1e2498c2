"""What a run says of itself beside what decides its result: files, devices, versions, the command.

It lies in the run's folder as `record.json`. `--resume` compares none of it.
"""

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spliceai_jax.architecture import CLASSES, WINDOW
from spliceai_jax.dataset import Windows
from spliceai_jax.folder import RunFolder
from spliceai_jax.plan import Plan

_PACKAGES = ("spliceai-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "torch", "numpy", "h5py")


@dataclass(frozen=True)
class DatasetRecord:
    """A data set, or the part of a file that was used.

    Attributes:
        path: The file, absolute.
        windows: Windows of 5000 positions.
        donors: Donor sites.
        acceptors: Acceptor sites.
        gt_share: Of the donors, the share before GT.
        ag_share: Of the acceptors, the share behind AG.
        padding_share: Of the positions, the share behind a gene's end.
        fingerprint: SHA-256 of the contents: see `Windows.fingerprint`.
    """

    path: str
    windows: int
    donors: int
    acceptors: int
    gt_share: float
    ag_share: float
    padding_share: float
    fingerprint: str


@dataclass(frozen=True)
class Session:
    """A process that worked on the run: the one that began it, or one that went on with it.

    Attributes:
        started: When, in ISO 8601 with the offset from UTC.
        command: The command line that asks for what was asked.
        directory: The working directory, which relative paths in the command start from.
        devices: What it computed on.
        versions: Package -> version.
        trunk_kept: Whether what the frozen part makes of each window was computed once: see `kept_trunk`.
    """

    started: str
    command: str
    directory: str
    devices: str
    versions: dict[str, str]
    trunk_kept: bool


@dataclass(frozen=True)
class Record:
    """A run's record.

    Attributes:
        recipe: The recipe's name; its fields are in `run.json`.
        trains: In words, what trains.
        validation_from: In words, how the validation windows were found.
        batches_per_epoch: Batches of an epoch.
        parent: The weights it started from: "path", absolute, and "sha256" of the file; "weights_sha256" is of the
            bytes that `Pretrained.to_pt` gives them, which are the same however the file stores them.
        datasets: "train", "validation" and "test".
        sessions: The processes that worked on it, in order.
    """

    recipe: str
    trains: str
    validation_from: str
    batches_per_epoch: int
    parent: dict[str, str]
    datasets: dict[str, DatasetRecord]
    sessions: tuple[Session, ...]


def versions() -> dict[str, str]:
    """Python's version, and those of the packages that decide what is computed."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def record_session(plan: Plan) -> Record:
    """Record that this process works on the run, and return the record."""
    earlier = read_record(plan.folder)
    record = _record(plan, earlier.sessions if earlier else ())
    plan.folder.write(plan.folder.record, json.dumps(asdict(record), indent=2) + "\n")
    return record


def read_record(folder: RunFolder) -> Record | None:
    """The record in a run's folder; None where there is none, or one that cannot be read."""
    try:
        data: dict[str, Any] = json.loads(folder.record.read_text())
        datasets = {name: DatasetRecord(**dataset) for name, dataset in data.pop("datasets").items()}
        sessions = tuple(Session(**session) for session in data.pop("sessions"))
        return Record(**data, datasets=datasets, sessions=sessions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _record(plan: Plan, earlier: tuple[Session, ...]) -> Record:
    parent = Path(plan.settings.pretrained_model).absolute()
    session = Session(
        started=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        command=plan.settings.command(),
        directory=os.getcwd(),
        devices=plan.summary()["devices"],
        versions=versions(),
        trunk_kept=bool(plan.trunk.end),
    )
    return Record(
        recipe=plan.settings.recipe,
        trains=plan.summary()["trains"],
        validation_from=plan.validation_from,
        batches_per_epoch=len(plan.batches(0)),
        parent={
            "path": str(parent),
            "sha256": hashlib.sha256(parent.read_bytes()).hexdigest(),
            "weights_sha256": plan.pretrained.fingerprint,
        },
        datasets={
            name: _dataset(windows)
            for name, windows in (("train", plan.train), ("validation", plan.validation), ("test", plan.test))
        },
        sessions=(*earlier, session),
    )


def _dataset(windows: Windows) -> DatasetRecord:
    counts = dict(zip(CLASSES, windows.class_counts.tolist(), strict=False))
    return DatasetRecord(
        path=str(windows.source.absolute()),
        windows=len(windows),
        donors=counts["donor"],
        acceptors=counts["acceptor"],
        gt_share=windows.canonical_sites["donor"] / counts["donor"],
        ag_share=windows.canonical_sites["acceptor"] / counts["acceptor"],
        padding_share=float(windows.class_counts[-1]) / (len(windows) * WINDOW),
        fingerprint=windows.fingerprint,
    )

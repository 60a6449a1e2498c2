"""A process that works on a run, or makes data sets: its command, its packages, and what rounds its sums."""

import os
import platform
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from spliceai_jax.startup import processor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Session:
    """A process that worked on a run: the one that began it, or one that continued it.

    Attributes:
        started: The time it began, in ISO 8601 with the offset from UTC.
        command: The command line equivalent to its settings.
        directory: The working directory, which relative paths in the command start from.
        devices: What it computed on, in words.
        versions: Package -> version.
        activation_cache: Whether the frozen part's output was computed once and cached: see `activation_cache`.
        rounding: What else decides how sums are rounded: see `what_rounds`.
    """

    started: str
    command: str
    directory: str
    devices: str
    versions: dict[str, str]
    activation_cache: bool = False
    rounding: dict[str, str] = field(default_factory=dict)


_ROUNDING_PACKAGES = ("spliceai-jax", "jax", "jaxlib")
"""The packages that decide which program computes."""


def what_rounds() -> dict[str, str]:
    """Return what decides how sums are rounded on this machine, beside devices and packages, as names and values.

    XLA divides sums among its threads, of which it has as many as this process may use cores, or as NPROC says; it
    compiles for the features of the processor.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "threads": os.environ.get("NPROC") or str(cores),
        "processor": processor(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def rounds_differently(sessions: Sequence[Session]) -> list[str]:
    """Return in words what decides rounding and was not the same for all sessions; what was not recorded is left out.

    Where it is empty, the run ends as if one session had done it all, bit for bit.
    """
    seen: dict[str, dict[str, None]] = {}
    for session in sessions:
        packages = {name: session.versions[name] for name in _ROUNDING_PACKAGES if name in session.versions}
        for name, value in ({"devices": session.devices} | session.rounding | packages).items():
            seen.setdefault(name, {})[value] = None
    return [f"{name} {', then '.join(map(repr, values))}" for name, values in seen.items() if len(values) > 1]


def now() -> str:
    """Return the present time in the form that sessions record."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


_OF_A_RUN = ("spliceai-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "torch", "numpy", "h5py")


def versions(packages: Sequence[str] = _OF_A_RUN) -> dict[str, str]:
    """Return Python's version, and those of packages; without a choice, of those that decide what a run computes."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def equivalent_command(
    name: str, settings: "DataclassInstance", always: Collection[str] = (), files: Collection[str] = ()
) -> str:
    """Return the command line of the command `name` that makes these settings.

    Arguments:
        always: The fields that are given even at their defaults.
        files: The fields that hold one value or several, which follow their flag; other lists have commas.
    """
    words = ["spliceai-jax", name]
    for setting in fields(settings):
        value, flag = getattr(settings, setting.name), f"--{setting.name.replace('_', '-')}"
        if value == setting.default and setting.name not in always:
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif setting.name in files and not isinstance(value, str):
            words += [flag, *map(str, value if isinstance(value, Sequence) else [value])]
        elif isinstance(value, tuple | list):
            words += [flag, ",".join(value)]
        else:
            words += [flag, str(value)]
    return shlex.join(words)

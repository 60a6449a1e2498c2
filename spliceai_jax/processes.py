"""Several processes that work on one run: how they find each other, and what they agree on.

Each process has its own devices and reads all the data; a batch is divided among the devices of all of them. The first
process, the leader, is the only one that writes files and prints. With a single process none of this costs anything.
"""

import contextlib
import glob
import json
import os
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spliceai_jax.display import complain
from spliceai_jax.errors import ProcessesError, RunFolderError, SpliceAIWarning

_SECONDS_TO_MEET = 50
_SECONDS_TO_SEE_A_FILE = 20
"""Network file systems show a new file late."""
_HEARTBEAT_SECONDS = 30
"""JAX ends a process this long after another one falls silent, unless a collective fails first."""
_SECONDS_TO_PART = 3
"""How long the leader, which holds the connection, waits at its end for the others to print their last lines."""
_SECONDS_TO_END = 24 * 3600
"""How long the other processes wait at their end for the leader, which still scores the test set for the report.

JAX's default, five minutes, would make them fail after a complete run. A leader that dies is still noticed by its
missing heartbeats.
"""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Cluster:
    """Where the processes of a run meet; see `TransferSettings` for the three values."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def several() -> bool:
    """Return whether other processes work on the run too."""
    return jax.process_count() > 1


def leads() -> bool:
    """Return whether this process is the leader, which writes files and prints."""
    return jax.process_index() == 0


def devices() -> list[jax.Device]:
    """Return all devices, grouped by process."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


# -- connecting and ending -------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(cluster: Cluster, tell: Callable[[str], None] = complain) -> Iterator[None]:
    """Connect to the other processes, if there are any, while the block runs; only the leader shows warnings.

    Arguments:
        tell: Shows why this process ends, where the others do not come: no exception gets past JAX then.

    Raises:
        ProcessesError: The others cannot be reached, or one was lost.
    """
    if not jax.distributed.is_initialized():
        _join(cluster, tell)
    if not several():
        yield
        return
    with warnings.catch_warnings():
        if not leads():
            warnings.simplefilter("ignore", SpliceAIWarning)
        try:
            yield
        except (ValueError, RuntimeError) as error:
            if not is_loss(error):
                raise
            raise ProcessesError(
                f"lost another process ({str(error)[:200]}); see what that one printed; go on with the same "
                "commands and `resume=True`"
            ) from error


def name() -> str:
    """Return the prefix of this process's messages: its number, or nothing if it is the only one."""
    if not jax.distributed.is_initialized() or not several():  # process_count would start the devices
        return ""
    return _named(jax.process_index(), jax.process_count())


def _named(number: int, count: int) -> str:
    return f"process {number} of {count}: "


def leave(status: int) -> None:
    """End this process at once if it is one of several; Python's own way would wait for the others first."""
    if not name():
        return
    if leads():
        time.sleep(_SECONDS_TO_PART)
    sys.stdout.flush()
    os._exit(status)


def is_loss(error: Exception) -> bool:
    """Return whether an exception of JAX or orbax means that another process is gone."""
    words = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CoordinationService", "Barrier")
    return any(word in str(error) for word in words)


def _join(cluster: Cluster, tell: Callable[[str], None]) -> None:
    if cluster.num_processes == 1:
        return
    if cluster.coordinator is not None:
        where = f"{cluster.coordinator} (`coordinator`)"
        arguments: dict[str, Any] = {
            "coordinator_address": cluster.coordinator,
            "num_processes": cluster.num_processes,
            "process_id": cluster.process_id,
        }
    elif (detected := _detected_cluster()) is not None:
        where, arguments = detected
    else:
        return
    # SIGTERM is ours to handle: every process saves before it ends.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX would wait silently, then abort with a stack trace.
    alarm = threading.Timer(_SECONDS_TO_MEET, _give_up, [where, arguments, tell])
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=2 * _SECONDS_TO_MEET,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SECONDS_TO_END,
        )
    except Exception as error:  # JAX raises whatever its detection of clusters and its transport do
        if arguments or "should be defined" not in str(error):  # which means that this TPU host is alone
            raise ProcessesError(
                f"{_name_to_be(arguments)}cannot meet the others at {where} ({str(error)[:200]}); {_WAYS_OUT}"
            ) from error
    finally:
        alarm.cancel()


_WAYS_OUT = (
    "start all of them at about the same time, or give `coordinator`, `num_processes` and `process_id`, "
    "or `num_processes=1` to run alone"
)


def _give_up(where: str, arguments: dict[str, Any], tell: Callable[[str], None]) -> None:
    tell(f"{_name_to_be(arguments)}the others did not come to {where} within {_SECONDS_TO_MEET} s; {_WAYS_OUT}")
    os._exit(ProcessesError.exit_status)


def _name_to_be(arguments: dict[str, Any]) -> str:
    """Return what `name` will return once the processes are connected; nothing if only JAX knows."""
    return _named(arguments["process_id"], arguments["num_processes"]) if arguments else ""


def _detected_cluster() -> tuple[str, dict[str, Any]] | None:
    """Return where the processes of the cluster meet, in words, and the arguments that JAX would get wrong."""
    for method, words, count, rank in (
        ("ompi", "Open MPI's first host", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        # Tasks of the step, not of the job: a batch script or interactive shell is a single task in a job of many.
        ("slurm", "SLURM's first node", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ):
        if (tasks := _whole_number(count, 1)) < 2:
            continue
        if method == "ompi" and "OMPI_MCA_orte_hnp_uri" not in os.environ:
            raise ProcessesError(
                f"JAX does not know this version of Open MPI; give `coordinator=HOST:PORT` `num_processes=${count}` "
                f"`process_id=${rank}`"
            )
        return words, {
            "num_processes": tasks,
            "process_id": _whole_number(rank),
            "cluster_detection_method": method,
        }
    if find_spec("libtpu") and (glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")):
        return "the TPU's first host", {}
    return None


def _whole_number(variable: str, default: int | None = None) -> int:
    """Return the number that an environment variable of the cluster holds.

    Raises:
        ProcessesError: It holds something else, or nothing and there is no default.
    """
    text = os.environ.get(variable, "" if default is None else str(default))
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise ProcessesError(
        f"the environment variable {variable} is {text!r}, where the cluster's number belongs; unset it and what the "
        "cluster has set beside it, or give `num_processes=1` to run alone"
    )


# -- agreeing ------------------------------------------------------------------------------------------------


def all_or_none(work: Callable[[], _T]) -> _T:
    """Do work that may fail in any process and return its result; if it fails in one process, none goes on.

    Raises:
        ProcessesError: It failed in another process. In the one where it failed, its own error is raised.
    """
    if not several():
        return work()
    result: list[_T] = []
    failure: Exception | None = None
    try:
        result.append(work())
    except Exception as error:  # reported to the others, then raised
        failure = error
    reasons = _exchange("" if failure is None else f"{failure}" or type(failure).__name__)
    if failure is not None:
        raise failure
    for number, reason in enumerate(reasons):
        if reason:
            raise ProcessesError(f"process {number} failed, so none goes on: {reason}")
    return result[0]


def check_same(facts: dict[str, Any]) -> None:
    """Refuse to go on if the processes were not given the same work.

    Raises:
        ProcessesError: A fact differs from the leader's; the message names all that do.
    """
    if not several():
        return
    given = [json.loads(text) for text in _exchange(json.dumps(facts))]
    for number, theirs in enumerate(given):
        differing = [name for name in facts if theirs[name] != given[0][name]]
        if differing:
            raise ProcessesError(
                f"process {number} was given something else than process 0 ({', '.join(differing)}); give all the same "
                "files and settings; runs that are not to work together need `num_processes=1`"
            )


def check_shared(folder: Path) -> None:
    """Refuse a folder that is not the same one for all processes.

    Raises:
        RunFolderError: This process does not see what the leader writes there.
        ProcessesError: Another process does not see it.
    """
    if not several():
        return
    mark = folder / f".{uuid.uuid4().hex}"
    if leads():
        mark.touch()
    mark = folder / _exchange(mark.name)[0]

    def look() -> None:
        deadline = time.monotonic() + _SECONDS_TO_SEE_A_FILE
        while not mark.exists():
            if time.monotonic() > deadline:
                raise RunFolderError(
                    f"`output_dir`: {folder} is not the folder that process 0 writes; give one that all hosts share"
                )
            time.sleep(0.1)

    try:
        all_or_none(look)
    finally:
        if leads():
            mark.unlink(missing_ok=True)


class Vote:
    """Finds, at each call, the largest number that any process gives; all of them get the same answer.

    With several processes a call returns the answer to the previous call, which has arrived by then, so that no device
    waits for it.
    """

    def __init__(self) -> None:
        """Start without an answer."""
        self._in_flight: Any = None
        mesh = Mesh(np.array(devices()), ("devices",))
        self._apart = NamedSharding(mesh, PartitionSpec("devices"))
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, number: int) -> int:
        """Give a number, 0 or more, and return the answer; the call after an answer above 0 starts a new vote."""
        if not several():
            return number
        agreed, self._in_flight = 0 if self._in_flight is None else int(self._in_flight), None
        if not agreed:
            mine = np.full(jax.local_device_count(), number, np.int32)
            self._in_flight = self._largest(jax.make_array_from_process_local_data(self._apart, mine))
        return agreed


def _exchange(text: str) -> list[str]:
    """Return the texts that all processes give, in the order of their numbers."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    rows = multihost_utils.process_allgather(np.pad(data, (0, int(sizes.max()) - len(data))))
    return [str(bytes(row[:size]), "utf-8", "surrogatepass") for row, size in zip(np.asarray(rows), sizes, strict=True)]

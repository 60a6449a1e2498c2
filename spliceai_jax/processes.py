"""Several processes, one run: how they find each other, and what they agree on.

Each has its own devices and reads all the data; a batch is cut over the devices of all. The first one, the leader,
alone writes and speaks. With one process nothing here costs anything.
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spliceai_jax.errors import ProcessesError, RunFolderError, SpliceAIWarning
from spliceai_jax.settings import TransferSettings

_SECONDS_TO_MEET = 50
_SECONDS_TO_SEE_A_FILE = 20
"""Network file systems show a new file late."""
_HEARTBEAT_SECONDS = 30
"""JAX ends a process so long after another fell silent, where no collective has failed before."""
_SECONDS_TO_PART = 3
"""The leader carries the connection that the others would miss while they say their last words."""

_T = TypeVar("_T")


def several() -> bool:
    """Whether more than this process works on the run."""
    return jax.process_count() > 1


def leads() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def devices() -> list[jax.Device]:
    """All devices, those of a process side by side."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


# -- to meet and to part -------------------------------------------------------------------------------------


@contextlib.contextmanager
def joined(settings: TransferSettings) -> Iterator[None]:
    """Meet the other processes, if there are any, and work with them in the block; only the leader warns.

    Raises:
        ProcessesError: There should be others and they cannot be met, or one was lost.
    """
    if not jax.distributed.is_initialized():
        _join(settings)
    if not several():
        yield
        return
    with warnings.catch_warnings():
        if not leads():
            warnings.simplefilter("ignore", SpliceAIWarning)
        try:
            yield
        except (ValueError, jax.errors.JaxRuntimeError) as error:
            if not _tells_of_loss(error):
                raise
            raise ProcessesError(
                f"lost another process ({str(error)[:200]}); see what that one said; go on with the same "
                "commands and --resume"
            ) from error


def name() -> str:
    """What messages of this process begin with: its number, or nothing where it is the only one."""
    if not jax.distributed.is_initialized() or not several():  # asking for devices would start them
        return ""
    return _named(jax.process_index(), jax.process_count())


def _named(number: int, count: int) -> str:
    return f"process {number} of {count}: "


def leave(status: int) -> None:
    """End this process at once if it is one of several; Python's own way would first wait for the others."""
    if not name():
        return
    if leads():
        time.sleep(_SECONDS_TO_PART)
    sys.stdout.flush()
    os._exit(status)


def _tells_of_loss(error: Exception) -> bool:
    words = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CoordinationService", "Barrier")
    return any(word in str(error) for word in words)


def _join(settings: TransferSettings) -> None:
    if settings.num_processes == 1:
        return
    if settings.coordinator is not None:
        where = f"{settings.coordinator} (--coordinator)"
        arguments: dict[str, Any] = {
            "coordinator_address": settings.coordinator,
            "num_processes": settings.num_processes,
            "process_id": settings.process_id,
        }
    elif (cluster := _cluster()) is not None:
        where, arguments = cluster
    else:
        return
    # SIGTERM is ours to handle: every process saves before it ends.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX would wait without a word, then abort with a stack trace.
    alarm = threading.Timer(_SECONDS_TO_MEET, _give_up, [where, arguments])
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=2 * _SECONDS_TO_MEET,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except Exception as error:  # JAX raises whatever its detection of clusters and its transport do
        if arguments or "should be defined" not in str(error):  # that: this TPU host is alone
            raise ProcessesError(
                f"{_to_be(arguments)}cannot meet the others at {where} ({str(error)[:200]}); {_WAYS_OUT}"
            ) from error
    finally:
        alarm.cancel()


_WAYS_OUT = (
    "start all of them at about the same time, or give --coordinator, --num-processes and --process-id, "
    "or --num-processes 1 to run alone"
)


def _give_up(where: str, arguments: dict[str, Any]) -> None:
    text = f"{_to_be(arguments)}the others did not come to {where} within {_SECONDS_TO_MEET} s; {_WAYS_OUT}"
    print(f"spliceai-jax: {text}", file=sys.stderr, flush=True)
    os._exit(ProcessesError.exit_status)


def _to_be(arguments: dict[str, Any]) -> str:
    """What `name` will say when the processes have met; nothing where JAX alone knows."""
    return _named(arguments["process_id"], arguments["num_processes"]) if arguments else ""


def _cluster() -> tuple[str, dict[str, Any]] | None:
    """What started this process together with others, in words, and what JAX must be told that it would get wrong."""
    for method, words, count, rank in (
        ("ompi", "Open MPI's first host", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        # Of the step, not of the job: a batch script and an interactive shell are one task of a job of many.
        ("slurm", "SLURM's first node", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ):
        if (tasks := int(os.environ.get(count, 1))) < 2:
            continue
        if method == "ompi" and "OMPI_MCA_orte_hnp_uri" not in os.environ:
            raise ProcessesError(
                f"JAX does not know this version of Open MPI; give --coordinator HOST:PORT --num-processes ${count} "
                f"--process-id ${rank}"
            )
        return words, {
            "num_processes": tasks,
            "process_id": int(os.environ[rank]),
            "cluster_detection_method": method,
        }
    if find_spec("libtpu") and (glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")):
        return "the TPU's first host", {}
    return None


# -- to agree ------------------------------------------------------------------------------------------------


def all_or_none(work: Callable[[], _T]) -> _T:
    """Do something that may fail in any process: if it does in one, no process goes on.

    Raises:
        ProcessesError: It failed in another; in this one its own error is raised.
    """
    if not several():
        return work()
    result: list[_T] = []
    failure: Exception | None = None
    try:
        result.append(work())
    except Exception as error:  # told to the others, then raised
        failure = error
    told = _exchange("" if failure is None else f"{failure}" or type(failure).__name__)
    if failure is not None:
        raise failure
    for number, reason in enumerate(told):
        if reason:
            raise ProcessesError(f"process {number} failed, so none goes on: {reason}")
    return result[0]


def check_same(facts: dict[str, Any]) -> None:
    """Refuse processes that would not do the same.

    Raises:
        ProcessesError: A fact differs from the leader's; all that do are named.
    """
    if not several():
        return
    told = [json.loads(text) for text in _exchange(json.dumps(facts))]
    for number, theirs in enumerate(told):
        differing = [name for name in facts if theirs[name] != told[0][name]]
        if differing:
            raise ProcessesError(
                f"process {number} was given something else than process 0 ({', '.join(differing)}); give all the same "
                "files and settings; runs that shall not work together need --num-processes 1"
            )


def check_shared(folder: Path) -> None:
    """Refuse a folder that is not the same one for all processes.

    Raises:
        RunFolderError: A process does not see what the leader writes there.
        ProcessesError: Another process does not.
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
                    f"--output-dir: {folder} is not the folder that process 0 writes; give one that all hosts share"
                )
            time.sleep(0.1)

    try:
        all_or_none(look)
    finally:
        if leads():
            mark.unlink(missing_ok=True)


class Vote:
    """The largest of the numbers that the processes give, at each call, in all of them the same.

    With several processes a call returns what was given at the call before: the answer has then arrived, and no device
    waits for it.
    """

    def __init__(self) -> None:
        """Nothing is given yet."""
        self._on_its_way: Any = None
        mesh = Mesh(np.array(devices()), ("devices",))
        self._apart = NamedSharding(mesh, PartitionSpec("devices"))
        self._largest = jax.jit(jnp.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, number: int) -> int:
        """Give a number, 0 or more; after an answer above 0 the next one starts afresh."""
        if not several():
            return number
        agreed, self._on_its_way = 0 if self._on_its_way is None else int(self._on_its_way), None
        if not agreed:
            mine = np.full(jax.local_device_count(), number, np.int32)
            self._on_its_way = self._largest(jax.make_array_from_process_local_data(self._apart, mine))
        return agreed


def _exchange(text: str) -> list[str]:
    """What each process says, in their order."""
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    rows = multihost_utils.process_allgather(np.pad(data, (0, int(sizes.max()) - len(data))))
    return [bytes(row[:size]).decode() for row, size in zip(np.asarray(rows), sizes, strict=True)]

"""The harness of the attacks: one command under limits of time and memory, and what a refusal must look like."""

import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

KEPT = {
    "test_a_disk_that_fills_during_transfer", "test_a_lock_that_is_deleted_is_still_one", "test_archives",
    "test_checkpoints", "test_error_log_is_text", "test_full_disk", "test_hostile", "test_mutants",
    "test_nobody_reads_the_help", "test_nothing_stays_of_a_lock", "test_other_files", "test_pickles", "test_printable",
    "test_report_refuses", "test_such_a_name_on_the_command_line", "test_the_checkpoint_before_is_taken",
    "test_the_good_one_is_read", "test_the_good_ones_are_read", "test_what_killed_processes_leave_is_no_lock",
}  # fmt: skip
"""The first case of each is run by `make test`, everything else here by `make test-all`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    seen = set()
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("full"):
            test = (item.path, item.originalname)
            if item.originalname not in KEPT or test in seen:
                item.add_marker("full")
            seen.add(test)


SECONDS = 60
"""The most time that a refusal may take of the processor, however busy the machine is with other work."""

_SECONDS_UNTIL_HUNG = 240

BYTES = 4 * 10**9
"""The most memory that a refusal may take beyond what the program has when it starts."""

_PROGRAM_BYTES = 700_000_000
"""What the program takes by itself, jax and torch imported, where it is started anew."""

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        f"spliceai_jax.{module}"
        for module in (
            "commands.main", "fine_tuning.transfer", "scoring.calibrate", "scoring.genome_evaluation",
            "scoring.predict", "data_sets.run", "report.writing", "runs.card", "network.orbax_files",
        )
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        status: Its exit status; negative: the signal that ended it.
        stdout: What it printed there.
        stderr: What it printed there.
        seconds: The time of the processor that it took.
        grown: Bytes of memory that it took at most, beyond those at its start.
        written: The files and folders that it left in its working directory.
    """

    status: int
    stdout: str
    stderr: str
    seconds: float
    grown: int
    written: tuple[str, ...]


Attack = Callable[..., Outcome]


def _forked(arguments: list[str], folder: Path, out: Path, err: Path) -> None:
    """Run the command line in a process that has the modules loaded already."""
    from spliceai_jax.commands.main import main

    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM, the most memory so far, begins anew
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    _note_peak(err)
    os._exit(status)


def _note_peak(err: Path) -> None:
    err.with_suffix(".peak").write_text(str(_memory("self", "VmHWM")))


def _memory(process: int | str, line: str) -> int:
    with contextlib.suppress(OSError):
        for found in Path(f"/proc/{process}/status").read_text().splitlines():
            if found.startswith(f"{line}:"):
                return int(found.split()[1]) * 1024
    return 0


def _processor_seconds(process: int) -> float:
    with contextlib.suppress(OSError):
        # The name of the program stands between brackets, and may hold blanks.
        user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0


def _watched(pid: int, over: Callable[[], bool], kill: Callable[[], None], start: int) -> tuple[float, int]:
    """Wait for a process; kill it if it takes far too long or far too much. Return its time and its most memory."""
    began, seconds, most = time.monotonic(), 0.0, 0
    while not over():
        most = max(most, _memory(pid, "VmHWM"))
        seconds = max(seconds, _processor_seconds(pid))
        if time.monotonic() - began > _SECONDS_UNTIL_HUNG or seconds > 2 * SECONDS or most > start + 2 * BYTES:
            kill()
        time.sleep(0.01)
    return seconds, most


@pytest.fixture
def attack(tmp_path: Path) -> Attack:
    """Run `spliceai-jax ARGUMENTS` in an empty working directory, and return its `Outcome`.

    It runs in a fork of a process that has imported everything, which takes milliseconds. With environment variables,
    as keywords, it is the installed program that is started, which takes seconds.
    """
    number = 0

    def run(*arguments: object, **environment: str) -> Outcome:
        nonlocal number
        number += 1
        words = [str(argument) for argument in arguments]
        folder = tmp_path / f"attack_{number}"
        folder.mkdir()
        out, err = tmp_path / f"attack_{number}.out", tmp_path / f"attack_{number}.err"
        out.touch()
        err.touch()
        if environment:
            program = Path(sys.executable).with_name("spliceai-jax")
            with open(out, "wb") as stdout, open(err, "wb") as stderr:
                process = subprocess.Popen(
                    [program, *words], cwd=folder, stdout=stdout, stderr=stderr, env={**os.environ, **environment}
                )
            start = _PROGRAM_BYTES
            seconds, most = _watched(process.pid, lambda: process.poll() is not None, process.kill, start)
            status = process.returncode
        else:
            child = _forks.Process(target=_forked, args=(words, folder, out, err))
            child.start()
            assert child.pid is not None
            start = _memory(child.pid, "VmRSS")
            seconds, most = _watched(child.pid, lambda: not child.is_alive(), child.kill, start)
            assert child.exitcode is not None
            status = child.exitcode
            if (peak := err.with_suffix(".peak")).exists():
                most = max(most, int(peak.read_text()))
        return Outcome(
            status,
            out.read_text(errors="surrogateescape"),
            err.read_text(errors="surrogateescape"),
            seconds,
            max(most - start, 0),
            tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))),
        )

    return run


def printable(text: str) -> bool:
    """Whether a terminal shows this text and does nothing else: no control characters, none that turn its direction."""
    return not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text.replace("\n", ""))


def refused(outcome: Outcome, *words: str) -> str:
    """Check that a command was refused as it should be, and return the line that says why.

    Arguments:
        outcome: What came of the command.
        words: What the line must hold.
    """
    assert outcome.status == 2, outcome
    line = told(outcome)
    assert outcome.stdout == "", outcome
    assert outcome.written == (), outcome
    for word in words:
        assert word in line, f"{word!r} is not in: {line}"
    return line


def told(outcome: Outcome) -> str:
    """Check that a command failed in one clear line within the limits, and return the line."""
    assert outcome.stderr.count("\n") == 1, outcome
    assert outcome.stderr.endswith("\n"), outcome
    line = outcome.stderr.removesuffix("\n")
    assert line.startswith("spliceai-jax: "), line
    assert printable(line), ascii(line)
    assert "unexpected " not in line.split(":")[1], line
    assert "Traceback" not in line, line
    assert len(line) < 3000, f"{len(line)} characters: {line[:300]}"
    within_limits(outcome)
    return line.removeprefix("spliceai-jax: ")


def within_limits(outcome: Outcome) -> None:
    """Check that a command kept to the limits of time and memory."""
    assert outcome.seconds < SECONDS, f"{outcome.seconds:.1f} s"
    assert outcome.grown < BYTES, f"{outcome.grown / 1e6:.0f} MB"

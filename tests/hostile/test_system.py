"""The operating system as an enemy: full disks, closed pipes, odd environments, and what a terminal would act on."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from conftest import RUN, run_arguments
from hypothesis import given
from hypothesis import strategies as st

from hostile.conftest import Attack, Outcome, _forks, printable, refused, told
from spliceai_jax import display, files, processes
from spliceai_jax.data_sets.writing import _new_hdf5, verify_dataset
from spliceai_jax.errors import ProcessesError, RunFolderError, SettingsError, SpliceAIWarning
from spliceai_jax.files import alone, held, unwritable, write_whole
from spliceai_jax.fine_tuning import room
from spliceai_jax.loops import stop_request
from spliceai_jax.windows.hdf5 import check_form

PROGRAM = Path(sys.executable).with_name("spliceai-jax")
CONTROLS = "a\nb\r\x1b[31m\x07\x9b\u202e\u2028\x7f"
"""What a name may hold and a terminal would act on."""


@pytest.fixture(scope="session")
def fasta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence of 10,000 bases."""
    path = tmp_path_factory.mktemp("fasta") / "genome.fa"
    path.write_text(">one\n" + "".join(np.random.default_rng(0).choice(list("ACGT"), 10_000)) + "\n")
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Make a file system with the given options of tmpfs, and return its folder."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"disk_{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("file systems can be mounted by root only")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def complaint(outcome: Outcome, *words: str) -> str:
    """Check that a command that had begun failed in one line, and return the line."""
    assert outcome.status == 2, outcome
    line = told(outcome)
    for word in words:
        assert word in line, f"{word!r} is not in: {line}"
    return line


# -- what the operating system says of files -------------------------------------------------------------------


def test_full_disk(attack: Attack, fasta: Path, small_model: Path, small_disk: Callable[[str], Path]) -> None:
    """Neither half a track, nor the lock, nor an empty folder is left."""
    disk = small_disk("size=200k")
    outcome = attack("predict", "-i", fasta, "-m", small_model, "-o", disk / "out", "-t", 0)
    complaint(outcome, str(disk / "out"), "No space left on device", "make room")
    assert not list(disk.iterdir())


def with_room(disk: Path, size: int) -> None:
    """Change the size of a file system that `small_disk` made."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "share", [50, *(pytest.param(share, marks=pytest.mark.full) for share in (5, 20, 35, 65, 80, 95))]
)
def test_a_disk_that_fills_during_transfer(
    share: int, finished: Path, attack: Attack, small_data: Path, small_model: Path, small_disk: Callable[[str], Path]
) -> None:
    """Room for a share (%) of a run is left: one line says so, and once there is more the run goes on to its end."""
    disk = small_disk("size=100m")
    given = run_arguments(small_data, small_model, disk)
    given.pop("tensorboard")
    command = ["transfer", *(word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value))]

    def fill() -> None:
        while not (disk / RUN / "run.json").exists():
            time.sleep(0.01)
        with_room(disk, share * sum(path.stat().st_size for path in finished.rglob("*") if path.is_file()) // 100)

    filling = threading.Thread(target=fill)
    filling.start()
    outcome = attack(*command, "--resume")
    filling.join()
    assert outcome.status == 2, outcome
    line = outcome.stderr.splitlines()[-1]
    assert re.fullmatch(r"spliceai-jax: .*(No space left on device|RESOURCE_EXHAUSTED).*make room.*", line), line
    with_room(disk, 100_000_000)
    outcome = attack(*command, "--resume")
    assert outcome.status == 0, outcome
    for path in [*(finished / "models").glob("*.pt"), *(finished / "LOG").glob("*/*")]:
        assert (disk / RUN / path.relative_to(finished)).read_bytes() == path.read_bytes(), path


@pytest.mark.full
def test_read_only(attack: Attack, fasta: Path, small_model: Path, small_disk: Callable[[str], Path]) -> None:
    """A file system that was mounted again, to be read only."""
    disk = small_disk("size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused(attack("predict", "-i", fasta, "-m", small_model, "-o", disk / "out"), "--output-dir", "Read-only")


@pytest.mark.parametrize("place", ["file", "file/below", "dangling", "loop", "x" * 300, "/".join(["x" * 200] * 30)])
def test_output_that_is_no_folder(place: str, attack: Attack, fasta: Path, small_model: Path, tmp_path: Path) -> None:
    """Found before anything is read."""
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    refused(attack("predict", "-i", fasta, "-m", small_model, "-o", tmp_path / place), "--output-dir")


@pytest.mark.full
@pytest.mark.parametrize("name", [".lock", ".acceptor_predictions.bed.partial", "donor_predictions.bed"])
def test_folder_in_place_of_a_file(name: str, attack: Attack, fasta: Path, small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "SpliceAI_5000_80" / name).mkdir(parents=True)
    complaint(
        attack("predict", "-i", fasta, "-m", small_model, "-o", tmp_path / "out"),
        "predictions.bed" if "bed" in name else name,
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "make room"), (errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit -f"), (errno.EMFILE, "ulimit -n"),
        (errno.EROFS, "can be written"), (errno.EACCES, "can be written"),
    ],
)  # fmt: skip
def test_what_the_system_says(number: int, words: str, tmp_path: Path) -> None:
    """Each reason has its way out."""
    said = str(unwritable(tmp_path / "new", OSError(number, os.strerror(number))))
    assert said.startswith(f"{tmp_path / 'new'}: cannot be written ({os.strerror(number)}); ")
    assert words in said


def _crash_or_not(path: str) -> None:
    with _new_hdf5(Path(path)) as (file, check):
        file["x"] = np.arange(100_000)
        file.flush()
        check()


def test_hdf5_on_a_full_disk(tmp_path: Path) -> None:
    """HDF5 itself ends the process by SIGSEGV when it closes a file that it could not write."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1)); "
        "from hostile.test_system import _crash_or_not; _crash_or_not(__import__('sys').argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.h5")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 1, done
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large"
    assert "ignored" not in done.stderr


def test_error_log_on_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error that was to be logged is the one that is told."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(ZeroDivisionError), files.unexpected_errors_logged(tmp_path / "error.log"):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunFolderError, match="make room"), files.unexpected_errors_logged(tmp_path / "error.log"):
        full()


def test_error_log_is_text(tmp_path: Path) -> None:
    """Nothing that a terminal would act on gets into it."""
    with pytest.raises(ValueError, match="red"), files.unexpected_errors_logged(tmp_path / "error.log"):
        raise ValueError(f"{CONTROLS}red")
    assert printable((tmp_path / "error.log").read_text())


# -- locks -----------------------------------------------------------------------------------------------------


def test_nothing_stays_of_a_lock(tmp_path: Path) -> None:
    """Neither its file nor folders that were made for nothing; what was written, and what was there, does."""
    with (
        held(tmp_path / "a" / "b", "busy"),
        pytest.raises(RunFolderError, match="busy"),
        held(tmp_path / "a/b", "busy"),
    ):
        pass
    assert not list(tmp_path.iterdir())
    with held(tmp_path / "a" / "b", "busy"):
        write_whole(tmp_path / "a" / "b" / "result", "x")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["result"]
    (tmp_path / "empty").mkdir()
    with held(tmp_path / "empty", "busy"):
        pass
    assert (tmp_path / "empty").exists()


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, 524], ids=["NFS", "FUSE", "ENOSYS", "DVS"])
def without_locks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """No file can be locked, as on file systems of clusters."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_locks")
@pytest.mark.filterwarnings("ignore:.*no locks")
def test_folders_are_held_without_locks(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with held(folder, "busy"):
        with pytest.raises(RunFolderError, match=r"/a: busy; if none is, delete .*/a/\.lock\.soft$"):
            held(folder, "busy").__enter__()
        assert [path.name for path in folder.iterdir()] == [".lock.soft"]
        write_whole(folder / "result", "x")
    assert [path.name for path in folder.iterdir()] == ["result"]
    with held(folder, "busy"):
        shutil.rmtree(folder)
    assert not folder.exists()


@pytest.mark.usefixtures("without_locks")
def test_a_note_tells_of_a_lock_that_may_stay(tmp_path: Path) -> None:
    said = f"^{tmp_path}: this file system has no locks; .* the file .lock.soft there .* If .* killed, .* delete it"
    with pytest.warns(SpliceAIWarning, match=said) as noted:
        held(tmp_path, "busy").__enter__()
    assert len(noted) == 1


@pytest.mark.usefixtures("without_locks")
@pytest.mark.filterwarnings("ignore:.*no locks")
def test_files_are_alone_without_locks(tmp_path: Path) -> None:
    path, said = tmp_path / "set.codes", []

    class Waits(Exception):  # noqa: N818
        pass

    def waits(way_out: str) -> None:
        said.append(way_out)
        raise Waits

    with alone(path, waits), pytest.raises(Waits), alone(path, waits):
        pass
    assert said == [f"; if none is, delete {tmp_path / '.set.codes.lock.soft'}"]
    assert not list(tmp_path.iterdir())


def _hold_and_die(folder: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = refuse  # type: ignore[assignment]
    with held(folder, "busy"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_killed_processes_leave_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a dead process of this machine is taken over; the empty file of the other kind of lock is none."""
    (tmp_path / ".lock").touch()
    process = _forks.Process(target=_hold_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / ".lock.soft").exists()
    monkeypatch.setattr(files, "_has_locks", lambda folder: False)
    with pytest.warns(SpliceAIWarning, match="no locks"), held(tmp_path, "busy"):
        pass
    assert not (tmp_path / ".lock.soft").exists()


_REFUSING_LOCKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

int flock(int file, int how) { errno = ENOLCK; return -1; }

int fcntl64(int file, int what, ...) {
    va_list rest;
    va_start(rest, what);
    void *with = va_arg(rest, void *);
    va_end(rest);
    if (what == F_SETLK || what == F_SETLKW || what == F_OFD_SETLK || what == F_OFD_SETLKW) {
        errno = ENOLCK;
        return -1;
    }
    return ((int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64"))(file, what, with);
}

int fcntl(int, int, ...) __attribute__((alias("fcntl64")));
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here")
def test_commands_work_without_locks(small_data: Path, small_model: Path, tmp_path: Path) -> None:
    """The libraries in C ask for locks too: HDF5 by flock, TensorStore, which writes checkpoints, by fcntl."""
    (tmp_path / "locks.c").write_text(_REFUSING_LOCKS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "locks.so", "locks.c", "-ldl"], cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "locks.so")}
    for arguments in (
        ["convert", small_model, tmp_path / "checkpoint"],
        ["evaluate", "-m", tmp_path / "checkpoint", "-test", small_data / "dataset_test.h5"],
    ):
        done = subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_data_sets_are_not_locked(small_data: Path, tmp_path: Path) -> None:
    """Neither where they are read nor where they are written: another's lock does not stand in the way."""
    with open(small_data / "dataset_test.h5", "rb") as other, open(tmp_path / "new.h5", "wb") as new:
        for file in (other, new):
            fcntl.flock(file, fcntl.LOCK_EX)
        check_form(small_data / "dataset_test.h5")
        with _new_hdf5(tmp_path / "new.h5") as (made, _):
            made["X0"] = 1
        verify_dataset(tmp_path / "new.h5", [], None, "genome", int)  # type: ignore[arg-type]


def _contend(folder: Path, together: Barrier, entered: "Queue[int]") -> None:
    files._SECONDS_TO_LET_GO = 0  # no pauses, so that they meet as often as can be
    together.wait(60)
    count, end = 0, time.monotonic() + 1.5
    while time.monotonic() < end:
        try:
            with held(folder, "busy"):
                mark = folder / "mark"
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails if another one is here
                mark.unlink()
                count += 1
        except RunFolderError as error:
            if "busy" not in str(error):
                raise
    entered.put(count)


def test_a_lock_that_is_deleted_is_still_one(tmp_path: Path) -> None:
    """Processes that take turns, each of which removes the lock's file and folder, never meet."""
    entered, together = _forks.Queue(), _forks.Barrier(4)
    contenders = [_forks.Process(target=_contend, args=(tmp_path / "a", together, entered)) for _ in range(4)]
    for contender in contenders:
        contender.start()
    counts = [entered.get(timeout=60) for _ in contenders]
    for contender in contenders:
        contender.join()
        assert contender.exitcode == 0
    assert sum(counts) > 20
    assert not list(tmp_path.rglob(".lock"))


# -- the way out -----------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=())))
def test_printable(text: str) -> None:
    """Whatever goes in, text comes out; text stays as it is, and JSON remains JSON."""
    shown = display.printable(text)
    assert shown.isprintable()
    assert printable(shown)
    assert display.printable(shown) == shown
    assert not text.isprintable() or shown == text
    dumped = json.dumps([text])
    assert json.loads(display.printable(dumped)) == json.loads(dumped)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", CONTROLS], ["report", CONTROLS], ["convert", CONTROLS, "x"], [CONTROLS],
        ["inspect", "-x", CONTROLS],
        ["predict", "-i", CONTROLS, "-m", "model", "-o", "out"], ["transfer", "-e", CONTROLS],
        ["evaluate", "-m", os.fsdecode(b"\xff\xfe"), "-test", "x"], ["inspect", os.fsdecode(b"\xff\x1b[0m")],
        ["create-data", "--genome-fasta", CONTROLS, "--annotation-gff", "x", "--output-dir", "out"],
        ["calibrate", "-m", "m", "-d", CONTROLS, "-o", "[red]"], ["transfer", "-e", "9" * 5000],
    ],
    ids=ascii,
)  # fmt: skip
def test_arguments_are_shown_as_text(arguments: list[str], attack: Attack) -> None:
    """One line, whatever is in a path or a flag."""
    refused(attack(*arguments))


def piped(*arguments: object, to: str = "closed", **environment: str) -> tuple[int, str]:
    """Run the program with a stdout that nobody reads, or that is the file `to`; return status and stderr."""
    command = [PROGRAM, *map(str, arguments)]
    if to == "closed":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(to, os.O_WRONLY)
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, **environment}
    )
    os.close(writer)
    return done.returncode, done.stderr


def test_nobody_reads_the_help() -> None:
    """As behind `| head`: the status of SIGPIPE, and silence. On a full disk: one line."""
    assert piped("--help") == (141, "")
    assert piped("predict", "--help") == (141, "")
    status, said = piped("--help", to="/dev/full")
    assert status == 2
    assert said.startswith("spliceai-jax: standard output: cannot be written (No space left on device); ")
    assert said.count("\n") == 1


@pytest.mark.full
@pytest.mark.parametrize("to", ["closed", "/dev/full"])
def test_nobody_reads_the_end_of_predict(to: str, fasta: Path, small_model: Path, tmp_path: Path) -> None:
    """What stops it is the first line that cannot be printed; no half file is left."""
    status, said = piped("predict", "-i", fasta, "-m", small_model, "-o", tmp_path / "out", to=to)
    assert status == (141 if to == "closed" else 2)
    assert said.count("\n") == (0 if to == "closed" else 1)
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.full
def test_started_without_stdin_stdout_and_stderr(fasta: Path, small_model: Path, tmp_path: Path) -> None:
    """No result file gets the number of stderr, into which libraries write."""
    words = ["predict", "-i", str(fasta), "-m", str(small_model), "-o", str(tmp_path / "out"), "-t", "0"]
    command = 'exec "$0" "$@" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, PROGRAM, *words], check=False).returncode == 0
    for bed in (tmp_path / "out" / "SpliceAI_5000_80").iterdir():
        assert {line.count("\t") for line in bed.read_text().splitlines()} == {6}


def test_standard_streams_are_opened(tmp_path: Path) -> None:
    """A file that is opened after them gets another number, also in a program that takes this one's place."""
    (tmp_path / "program.py").write_text(
        "import os, sys\n"
        "from spliceai_jax import startup\n"
        "startup.open_standard_streams()\n"
        "if len(sys.argv) == 2: os.execv(sys.executable, [sys.executable, __file__, sys.argv[1], 'again'])\n"
        "file = open(sys.argv[1], 'w')\n"
        "print(file.fileno(), [os.readlink(f'/proc/self/fd/{n}') for n in range(3)], file=file)\n"
    )
    command = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable, tmp_path / "program.py", tmp_path / "out"]
    subprocess.run(command, check=True)
    assert (tmp_path / "out").read_text() == "3 ['/dev/null', '/dev/null', '/dev/null']\n"


def test_lines_that_stderr_cannot_encode(attack: Attack) -> None:
    assert "\\xe8" in refused(attack("report", "gène", PYTHONIOENCODING="ascii", PYTHONUTF8="1"))


# -- signals ---------------------------------------------------------------------------------------------------


def test_a_closed_terminal() -> None:
    """It sends SIGHUP twice; a run stops at its next step, and the second does not kill it before."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with stop_request() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is signal.SIGHUP
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nohup() -> None:
    """What is told to ignore SIGHUP goes on ignoring it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_request() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.received is signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# -- the environment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_STEP_NUM_TASKS": "2"}, {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "x"},
        {"SLURM_STEP_NUM_TASKS": "-1"}, {"SLURM_STEP_NUM_TASKS": "9" * 5000}, {"OMPI_COMM_WORLD_SIZE": "abc"},
        {"OMPI_COMM_WORLD_SIZE": "٣"}, {"SLURM_STEP_NUM_TASKS": ""},
    ],
    ids=str,
)  # fmt: skip
def test_a_cluster_that_is_none(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessesError, match=r"environment variable (SLURM|OMPI)_\w+ is .* `num_processes=1`"):
        processes._detected_cluster()


@pytest.mark.full
@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"JAX_PLATFORMS": "cuda"}, "JAX_PLATFORMS"), ({"JAX_PLATFORMS": "nonsense"}, "JAX_PLATFORMS"),
        ({"JAX_NUM_CPU_DEVICES": "abc"}, "jax_num_cpu_devices"), ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM_PROCID"),
        ({"OMPI_COMM_WORLD_SIZE": "abc"}, "OMPI_COMM_WORLD_SIZE"),
    ],
    ids=str,
)  # fmt: skip
def test_environments_that_are_refused(
    environment: dict[str, str], word: str, attack: Attack, small_data: Path, small_model: Path, tmp_path: Path
) -> None:
    sets = ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5"]
    outcome = attack("transfer", "-m", small_model, *sets, "-o", tmp_path / "out", "-p", "x", **environment)
    refused(outcome, word)
    assert not (tmp_path / "out").exists()
    if "JAX" in word.upper():
        refused(attack("evaluate", "-m", small_model, *sets[2:], **environment), word)


# -- numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2000, 10**9])
def test_memory(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that does not fit is refused with figures; what it advises fits."""
    monkeypatch.setattr(room, "_free", lambda: 10**9)
    if rows == 1:
        room.check_memory(rows, 20_000_000)
        return
    with pytest.raises(SettingsError, match=r"`batch_size`: .* has 1 GB free; give at most \d+$") as refusal:
        room.check_memory(rows, 20_000_000)
    room.check_memory(int(str(refusal.value).split()[-1]), 20_000_000)


@pytest.mark.full
def test_a_batch_of_more_windows_than_there_are(
    attack: Attack, small_data: Path, small_model: Path, tmp_path: Path
) -> None:
    """Rows that no window needs are not computed."""
    sets = ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5"]
    given = ["-m", small_model, *sets, "-o", tmp_path / "out", "-p", "x", "-n", 1, "--recipe", "best"]
    outcome = attack("transfer", *given, "--batch-size", 1_000_000_000)
    assert outcome.status == 0, outcome
    assert outcome.grown < 1e9

"""Two processes over loopback give what one gives, agree on what they do, and never wait for one that is gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import several_devices

from spliceai_jax import Pretrained, TransferSettings, processes, transfer
from spliceai_jax.display import Display
from spliceai_jax.errors import ProcessesError, SettingsError
from spliceai_jax.fine_tuning.plan import make_plan

pytestmark = pytest.mark.slow

FOLDER = "SpliceAI_x_80_0_rs42/0"
EPOCHS, STEPS = 2, 3
"""Eleven windows, four a batch."""
RATE = 1e-4


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def flags(data: Path, model: Path, output: Path) -> list[str]:
    given = ["-m", model, "-train", data / "dataset_train.h5", "-test", data / "dataset_test.h5", "-o", output]
    given += ["--genomic-eval-dataset", data / "dataset_old.h5"]
    given += ["-p", "x", "-n", EPOCHS, "--batch-size", 4, "--learning-rate", RATE]
    given += ["--recipe", "openspliceai", "--resume"]
    return [str(flag) for flag in given]


def start_two(arguments: list[str], second: Sequence[str] = ()) -> list[subprocess.Popen]:
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2", "--process-id"]
    program = str(Path(sys.executable).with_name("spliceai-jax"))
    return [
        subprocess.Popen(
            [program, "transfer", *arguments, *(second if number else ()), *where, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **several_devices(1)},
        )
        for number in (0, 1)
    ]


def ended(started: list[subprocess.Popen], within: float = 300) -> list[tuple[int, str, str]]:
    """Status, stdout and stderr of each; they are not left behind if they hang."""
    try:
        outputs = [process.communicate(timeout=within) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(started, outputs, strict=True)]


def wait_for(path: Path, started: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        assert all(process.poll() is None for process in started)
        time.sleep(0.002)


@pytest.fixture(scope="module")
def alone(small_data, small_model, tmp_path_factory) -> Path:
    """The folder of a run of one process with one device."""
    settings = TransferSettings(
        train_dataset=small_data / "dataset_train.h5",
        test_dataset=small_data / "dataset_test.h5",
        genomic_eval_dataset=small_data / "dataset_old.h5",
        pretrained_model=small_model,
        output_dir=tmp_path_factory.mktemp("alone"),
        project_name="x",
        recipe="openspliceai",
        epochs=EPOCHS,
        batch_size=4,
        learning_rate=RATE,
    )
    return transfer(settings).folder


def assert_same_run(folder: Path, expected: Path) -> None:
    names = [
        sorted(str(path.relative_to(root)) for part in ("LOG", "models") for path in (root / part).rglob("*"))
        for root in (folder, expected)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".txt"):
            one, other = ((root / name).read_text().split() for root in (folder, expected))
            np.testing.assert_allclose([*map(float, one)], [*map(float, other)], rtol=1e-3, atol=1e-4, err_msg=name)
        elif name.endswith(".pt"):
            trees = [
                jax.tree.leaves_with_path(Pretrained.from_pt(root / name).variables) for root in (folder, expected)
            ]
            for (path, found), (_, wanted) in zip(*trees, strict=True):
                # A bias before BatchNorm has no gradient but rounding, which AdamW makes a whole step of.
                key = jax.tree_util.keystr(path)
                tolerance = 2 * RATE * STEPS * EPOCHS if "bias" in key or "running" in key else 1e-5
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=tolerance, err_msg=f"{name} {key}")


def test_two_are_as_one(alone, small_data, small_model, tmp_path):
    (status, console, errors), (_, followers_console, followers_errors) = ended(
        start_two(flags(small_data, small_model, tmp_path))
    )
    assert status == 0, errors
    assert "2 x cpu in 2 processes" in console
    assert "every window travels" in console
    said = [line for line in (followers_console + followers_errors).splitlines() if not line.startswith("[Gloo]")]
    assert not said
    assert_same_run(tmp_path / FOLDER, alone)
    assert not list((tmp_path / FOLDER).glob("*.partial"))


@pytest.mark.full
@pytest.mark.parametrize("victim", [0, 1])
def test_one_is_killed(victim, alone, small_data, small_model, tmp_path, installed):
    """The other ends; two processes, or one with two devices, go on."""
    arguments = flags(small_data, small_model, tmp_path)
    started = start_two(arguments)
    wait_for(tmp_path / FOLDER / "models" / "model_0.pt", started)
    started[victim].kill()
    status, _, errors = ended(started)[1 - victim]
    if victim == 1:
        assert status == 2, errors
        (line,) = errors.splitlines()
        assert line.startswith("spliceai-jax: process 0 of 2: lost another process")
        assert "--resume" in line
    else:  # JAX may notice first that the leader is gone, and abort
        assert status in (2, -signal.SIGABRT), errors
    if victim == 1:
        assert [status for status, *_ in ended(start_two(arguments))] == [0, 0]
    else:
        done = installed("transfer", *arguments, **several_devices(2))
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / FOLDER, alone)


@pytest.mark.full
def test_one_is_asked_to_stop(alone, small_data, small_model, tmp_path, installed):
    """All save and stop at the same step, and one process goes on."""
    arguments = flags(small_data, small_model, tmp_path)
    started = start_two(arguments)
    wait_for(tmp_path / FOLDER / "run.json", started)
    wait_for(tmp_path / FOLDER / "LOG" / "TEST" / "accuracy.txt", started)
    started[1].send_signal(signal.SIGTERM)
    for number, (status, _, errors) in enumerate(ended(started)):
        assert status == 128 + signal.SIGTERM, errors
        assert errors.startswith(f"spliceai-jax: process {number} of 2: stopped by SIGTERM"), errors
        assert errors.count("\n") == 1
    done = installed("transfer", *arguments, **several_devices(1))
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / FOLDER, alone)


AGREEMENTS = """
import os
import sys
from pathlib import Path

from spliceai_jax import processes
from spliceai_jax.errors import SpliceAIError


def error_of(work):
    try:
        work()
    except SpliceAIError as error:
        return str(error)


def fails_in(number):
    if number == int(os.environ["SLURM_PROCID"]):
        raise SpliceAIError("caf\\udce9: a file is missing")
    return "fine"


def say(what):
    print(f"said: {what}".encode("ascii", "backslashreplace").decode())  # gloo's own lines run into each other


processes._SECONDS_TO_SEE_A_FILE = 1
with processes.connected(processes.Cluster()):
    me = 0 if processes.leads() else 1
    say(processes.all_or_none(lambda: fails_in(2)))
    say(error_of(lambda: processes.all_or_none(lambda: fails_in(1))))
    say(error_of(lambda: processes.check_same({"seed": 1, "data": "x"})))
    say(error_of(lambda: processes.check_same({"seed": me, "data": "x"})))
    say(error_of(lambda: processes.check_shared(Path(sys.argv[1]))))
    say(error_of(lambda: processes.check_shared(Path(sys.argv[1], str(me)))))
    vote = processes.Vote()
    say([vote(number) for number in ([0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 15, 0])[me]])
"""


def test_agreements(tmp_path):
    """SLURM's variables are enough to meet; each agreement is the same in both processes."""
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    # Two tasks of a step in a job of eight.
    slurm = {"JOB_ID": "1", "STEP_NODELIST": "localhost,other", "NTASKS": "8", "STEP_NUM_TASKS": "2"}
    environment = {f"SLURM_{name}": value for name, value in slurm.items()}
    environment |= {**os.environ, **several_devices(2), "JAX_COORDINATOR_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", AGREEMENTS, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "SLURM_PROCID": number, "SLURM_LOCALID": number},
        )
        for number in ("0", "1")
    ]
    said = []
    for status, output, errors in ended(started):
        assert status == 0, errors
        said.append([line.removeprefix("said: ") for line in output.splitlines() if line.startswith("said: ")])
    leader, follower = said
    assert leader[0] == follower[0] == "fine"
    assert leader[1] == "process 1 failed, so none goes on: caf\\udce9: a file is missing"
    assert follower[1] == "caf\\udce9: a file is missing"
    assert leader[2] == follower[2] == "None"
    assert leader[3] == follower[3]
    assert "process 1" in leader[3]
    assert "(seed)" in leader[3]
    assert leader[4] == follower[4] == "None"
    assert "not the folder that process 0 writes" in follower[5]
    assert leader[5].startswith("process 1 failed")
    # A call answers what was given at the call before; after an answer above 0 the next starts afresh.
    assert leader[6] == follower[6] == "[0, 0, 1, 0, 0, 15]"
    assert not list(tmp_path.glob(".*"))


def test_nobody_comes():
    """Not a hang, and not JAX's stack trace; the way out is told in flags."""
    program = f"""
from spliceai_jax import processes
from spliceai_jax.commands.main import main
processes._SECONDS_TO_MEET = 1
where = ["--coordinator", "127.0.0.1:{free_port()}", "--num-processes", "2", "--process-id", "1"]
main(["transfer", "-m", "a.pt", "-train", "b.h5", "-test", "c.h5", "-o", "out", "-p", "x", *where])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("spliceai-jax: process 1 of 2: the others did not come to 127.0.0.1:")
    assert done.stderr.endswith("--coordinator, --num-processes and --process-id, or --num-processes 1 to run alone\n")
    assert done.stderr.count("\n") == 1


def test_where_a_cluster_is_seen(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_")):
            monkeypatch.delenv(name)
    assert processes._detected_cluster() is None
    monkeypatch.setenv("SLURM_NTASKS", "4")  # a batch script, or a shell in an allocation, is one task
    assert processes._detected_cluster() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert processes._detected_cluster() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    _, arguments = processes._detected_cluster()
    assert arguments["num_processes"] == 4
    assert arguments["process_id"] == 3
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    with pytest.raises(ProcessesError, match="OMPI_COMM_WORLD_RANK"):
        processes._detected_cluster()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "host:1"}, "go together"),
        ({"num_processes": 2, "process_id": 0}, "go together"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "expected HOST:PORT"),
        ({"coordinator": "host:0", "num_processes": 2, "process_id": 0}, "a port of 1 to 65535"),
        ({"coordinator": "host:1", "num_processes": 2, "process_id": 2}, "expected 0 to 1"),
        ({"coordinator": "host:1", "num_processes": 0, "process_id": 0}, "expected 1 or more"),
    ],
)
def test_settings(given, message):
    with pytest.raises(SettingsError, match=message):
        TransferSettings(train_dataset="a", test_dataset="b", pretrained_model="c", **given)


@pytest.mark.full
def test_processes_that_would_do_different_things(small_data, small_model, tmp_path):
    """Found by all before anything is written."""
    arguments = flags(small_data, small_model, tmp_path)
    for status, _, errors in ended(start_two(arguments, ["--random-seed", "43"])):
        assert status == 2
        assert "process 1 was given something else than process 0 (random_seed)" in errors
        assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_pmap_is_for_one_process(small_data, small_model, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    settings = TransferSettings(
        train_dataset=small_data / "dataset_train.h5",
        test_dataset=small_data / "dataset_test.h5",
        pretrained_model=small_model,
        output_dir=tmp_path,
        parallel="pmap",
    )
    with pytest.raises(SettingsError, match="`parallel='pmap'` is for one process, but there are 2"):
        make_plan(settings, Display())


def test_the_others_wait_for_the_leaders_report(monkeypatch):
    """JAX's own limit of five minutes would make them fail after a run that is whole."""
    given = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: given.update(arguments))
    with processes.connected(processes.Cluster("127.0.0.1:1", num_processes=2, process_id=0)):
        pass
    assert given["shutdown_timeout_seconds"] >= 12 * 3600
    assert given["heartbeat_timeout_seconds"] <= 60

"""SIGKILL at random moments: what is killed and started again ends with the files of one that was left alone.

SPLICEAI_KILLS is the number of kills in each case, 3 unless it is set; a release is preceded by 50. The moments are
drawn anew each time, and a failure names them.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import several_devices
from synthetic_genome import Layout
from test_processes import assert_same_run, flags, free_port

pytestmark = [pytest.mark.full, pytest.mark.slow]

KILLS = int(os.environ.get("SPLICEAI_KILLS", 3))
PROGRAM = str(Path(sys.executable).with_name("spliceai-jax"))

Files = dict[str, bytes]


def run(command: Sequence[object], for_seconds: float | None = None) -> tuple[int, str]:
    """Run a command, or kill it after this time; return its status and what it printed."""
    words = [PROGRAM, *map(str, command)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=for_seconds or 600)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    return process.returncode, output


def whole_files(folder: Path, keep: Callable[[str], bool]) -> Files:
    """The files below a folder, by their paths."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = {str(path.relative_to(folder)): path for path in paths}
    return {name: path.read_bytes() for name, path in found.items() if keep(name)}


def is_result(name: str) -> bool:
    """Whether a file of a run is the same however often the run was begun: dates and commands are in the others."""
    return ("/models/" in name or "/LOG/" in name or name.endswith((".bed", ".h5", "history.json"))) and not (
        name.endswith("model_best.json")
    )


def killed_again_and_again(command: list[object], output: Path, keep: Callable[[str], bool]) -> None:
    """Kill a command KILLS times, starting it again each time; each time it ends, compare its files."""
    began = time.monotonic()
    status, said = run(command)
    seconds = time.monotonic() - began
    assert status == 0, said
    expected = whole_files(output, keep)
    assert expected
    shutil.rmtree(output)
    random, kills, ends, moments = np.random.default_rng(), 0, 0, []
    while kills < KILLS or moments:
        last = kills >= KILLS
        moment = None if last else float(random.uniform(0.1, seconds))
        moments.append(moment)
        status, said = run(command, moment)
        if status == -signal.SIGKILL:
            kills += 1
            continue
        found = whole_files(output, keep)
        if status == 2 and "already" in said:
            # Killed when a file had its name already: `predict` leaves what is whole to the user, and does not go on.
            found = {name: content for name, content in found.items() if not name.endswith(".partial")}
            assert found.keys() <= expected.keys(), (moments, found.keys())
        else:
            assert status == 0, (moments, said)
            assert found.keys() == expected.keys(), (moments, found.keys() ^ expected.keys())
        assert [name for name in found if found[name] != expected[name]] == [], moments
        ends, moments = ends + 1, []
        shutil.rmtree(output)
    print(f"{command[0]}: {kills} kills, {ends} ends; left alone it takes {seconds:.1f} s")


def test_transfer(small_data: Path, small_model: Path, tmp_path: Path) -> None:
    """A run of data sets, with the activation cache."""
    given = ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5", "-m", small_model]
    options = ["-p", "small", "-n", 4, "--batch-size", 2, "--unfreeze", 2, "--tensorboard", "--resume"]
    killed_again_and_again(["transfer", *given, *options, "-o", tmp_path / "out"], tmp_path / "out", is_result)


@pytest.fixture
def genome(tmp_path: Path) -> tuple[Path, Path]:
    """Three sequences with genes."""
    return Layout({"one": 12, "two": 8, "three": 8}, seed=3).make().write(tmp_path / "genome")


def test_transfer_from_a_genome(genome: tuple[Path, Path], small_model: Path, tmp_path: Path) -> None:
    """A run from a genome to its scores, of all weights."""
    given = ["--genome-fasta", genome[0], "--annotation-gff", genome[1], "-m", small_model, "--predict"]
    sets = ["--test-sequences", "two", "--validation-sequences", "three"]
    options = ["-p", "small", "-n", 3, "--batch-size", 4, "--recipe", "best", "--resume"]
    killed_again_and_again(["transfer", *given, *sets, *options, "-o", tmp_path / "out"], tmp_path / "out", is_result)


def test_predict(genome: tuple[Path, Path], small_model: Path, tmp_path: Path) -> None:
    """Both kinds of files are whole or not there."""
    command = ["predict", "-i", genome[0], "-m", small_model, "--strand", "both", "-o", tmp_path / "out"]
    spsc = ["--spsc", tmp_path / "out" / "scores.tsv"]
    killed_again_and_again([*command, *spsc], tmp_path / "out", lambda name: not name.endswith(".lock"))


def test_create_data(tmp_path: Path) -> None:
    """Data sets, datafiles and page."""
    genome = Layout(dict.fromkeys("abcdefgh", 300), seed=4, intron=900).make().write(tmp_path / "genome")
    command = ["create-data", "--genome-fasta", genome[0], "--annotation-gff", genome[1], "--verify-h5"]
    killed_again_and_again([*command, "--output-dir", tmp_path / "out"], tmp_path / "out", lambda name: ".h5" in name)


@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_processes(
    victim: int, small_data: Path, small_model: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One of two processes is killed at a random moment: the other ends by itself, and the run goes on."""

    def start(output: Path) -> list[subprocess.Popen]:
        where = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2", "--process-id"]
        words = [PROGRAM, "transfer", *flags(small_data, small_model, output), *where]
        environment = {**os.environ, **several_devices(1)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
        return [subprocess.Popen([*words, str(number)], **pipes) for number in (0, 1)]

    def ended(started: list[subprocess.Popen], within: float) -> list[tuple[int, str]]:
        try:
            outputs = [process.communicate(timeout=within)[0] for process in started]
        finally:
            for process in started:
                process.kill()
        return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]

    folder = "SpliceAI_x_80_0_rs42/0"
    alone = tmp_path_factory.mktemp("alone")
    began = time.monotonic()
    for status, said in ended(start(alone), 300):
        assert status == 0, said
    seconds = time.monotonic() - began
    random, moments, statuses = np.random.default_rng(), [], []
    for _ in range(KILLS):
        moments.append(float(random.uniform(0.1, seconds)))
        started = start(tmp_path)
        time.sleep(moments[-1])
        started[victim].kill()
        (status, said) = ended(started, 150)[1 - victim]  # a heartbeat takes half a minute to be missed
        statuses.append(status)
        # JAX itself aborts a process whose leader is gone.
        assert status in ((0, 2) if victim else (0, 2, -signal.SIGABRT)), (moments, said)
        if status == 2:
            assert "process" in said.splitlines()[-1], (moments, said)
    for status, said in ended(start(tmp_path), 300):
        assert status == 0, (moments, said)
    assert_same_run(tmp_path / folder, alone / folder)
    print(f"process {victim} of 2 killed at {moments} s; the other one's statuses: {statuses}")

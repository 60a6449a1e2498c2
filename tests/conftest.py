"""What several test files share: small real-shaped data sets and models that the tests make themselves."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import h5py
import hypothesis
import jax
import numpy as np
import pytest
from filelock import FileLock

from spliceai_jax.architecture import ARCHITECTURES, CONTEXT, PADDING, WINDOW
from spliceai_jax.commands.main import main
from spliceai_jax.encoding import encode
from spliceai_jax.evaluation import bootstrap
from spliceai_jax.fine_tuning import ending
from spliceai_jax.network.model import SpliceAI
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.report.writing import write_report
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.startup import keep_compiled_programs

# Most tests run the same few programs, which take longer to compile than to run.
keep_compiled_programs()

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("few", deadline=None, max_examples=20)
hypothesis.settings.register_profile("many", deadline=None, max_examples=200)
hypothesis.settings.load_profile("few")

# What a test writes need not outlive a power cut.
os.fsync = lambda file: None

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder ../shared is not here")


def full(cases: Iterable, *kept: object) -> list:
    """The cases of a parametrised test, of which only those named are not left to `make test-all`."""
    return [
        case if case in kept else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.full)
        for case in cases
    ]


@pytest.fixture(scope="session", autouse=True)
def cheap_endings() -> Iterator[None]:
    """End runs in this process without their page, whose figures take seconds, and with few draws of genes.

    Tests about either ask for `pages`, or for `all_draws`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "write_report", lambda run, *_: run.folder.report)
        patch.setattr(bootstrap, "DRAWS", 100)
        yield


@contextlib.contextmanager
def with_pages() -> Iterator[None]:
    """End runs as the program does, with their page and all draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "write_report", write_report)
        patch.setattr(bootstrap, "DRAWS", 1000)
        yield


@pytest.fixture
def pages() -> Iterator[None]:
    """End the runs of a test with their page."""
    with with_pages():
        yield


@pytest.fixture
def all_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw genes as often as the program does."""
    monkeypatch.setattr(bootstrap, "DRAWS", 1000)


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 732345\n"
"""What a clone without Git LFS has in place of a file."""


def several_devices(count: int) -> dict[str, str]:
    """Environment of a process whose CPU shows as several devices.

    A device that waits for the others in a collective holds a thread; XLA's pool must have more than these, or none is
    left to do the work that they wait for.
    """
    patience = "--xla_cpu_collective_call_terminate_timeout_seconds=300"
    return {"JAX_NUM_CPU_DEVICES": str(count), "NPROC": str(4 * count + 4), "XLA_FLAGS": patience}


def make_windows(count: int, seed: int, sites: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Random bases, uint8 (count, 15000), and labels, uint8 (count, 5000), that go together.

    Donors are followed by GT and acceptors follow AG, as real ones do, so that there is something to learn. Every
    second window ends a gene: beyond its first 1500 positions is padding, and no base is known.
    """
    random = np.random.default_rng(seed)
    bases = random.integers(1, 5, (count, WINDOW + CONTEXT), dtype=np.uint8)
    labels = np.zeros((count, WINDOW), np.uint8)
    labels[1::2, 1500:] = PADDING
    bases[1::2, CONTEXT // 2 + 1500 :] = 0
    for row in range(count):
        places = random.choice(np.arange(50, 1400 if row % 2 else 3900, 10), 2 * sites, replace=False)
        for place, kind in zip(places, [1, 2] * sites, strict=True):
            labels[row, place] = kind
            at = CONTEXT // 2 + place
            if kind == 2:
                bases[row, at + 1 : at + 7] = [3, 4, 1, 1, 3, 4]
            else:
                bases[row, at - 6 : at] = [4, 4, 4, 2, 1, 3]
    return bases, labels


def content_of(path: Path) -> bytes:
    """A file's content; of `run.json` what decides the run."""
    if path.name != "run.json":
        return path.read_bytes()
    return repr(RunFolder(path.parent).read_identity()).encode()


def write_dataset(path: Path, shards: list[tuple[np.ndarray, np.ndarray]], **storage: object) -> Path:
    """Write windows as OpenSpliceAI's HDF5, a pair of datasets a shard; `storage` goes to h5py."""
    with h5py.File(path, "w") as file:
        for number, (bases, labels) in enumerate(shards):
            x = np.eye(5, dtype=np.int8)[bases][..., 1:]
            y = np.eye(4, dtype=np.int8)[labels][..., :3][None]
            file.create_dataset(f"X{number}", data=x, **storage)
            file.create_dataset(f"Y{number}", data=y, **storage)
    return path


def random_model(flanking_size: int, seed: int = 0) -> Pretrained:
    """A network of random weights, with running statistics that are not the trivial ones."""
    model = SpliceAI(ARCHITECTURES[flanking_size])
    variables = jax.device_get(model.init(jax.random.key(seed), np.zeros((1, flanking_size + 1), np.uint8)))
    random = np.random.default_rng(seed)

    def livelier(path: tuple, value: np.ndarray) -> np.ndarray:
        name = path[-1].key
        if name == "num_batches_tracked":
            return np.asarray(1000, np.int32)
        if name in ("running_var", "weight"):
            return random.uniform(0.5, 1.5, value.shape).astype(np.float32)
        if name in ("running_mean", "bias"):
            return random.normal(0, 0.1, value.shape).astype(np.float32)
        return value

    return Pretrained(flanking_size, jax.tree_util.tree_map_with_path(livelier, variables))


@cache
def _network(flanking_size: int) -> Callable[..., jax.Array]:
    return jax.jit(SpliceAI(ARCHITECTURES[flanking_size]).apply)


def scored_whole(model: Pretrained, letters: str) -> np.ndarray:
    """Scores (L, 3) of a sequence with N around it, sent through the network whole: not by way of `scorer`."""
    context = "N" * (model.flanking_size // 2)
    bases = encode(context + letters + context)[None]
    return np.asarray(_network(model.flanking_size)(model.scoring_variables, bases))[0]


Store = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Store:
    """Return the folder of a name, which one worker fills for all of a session; only to be read.

    A run on the files of one is the same run in all workers.
    """
    base = tmp_path_factory.getbasetemp()
    root = base if worker_id == "master" else base.parent

    def kept(name: str, make: Callable[[Path], object]) -> Path:
        folder, whole = root / name, root / f"{name}.whole"
        with FileLock(root / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return kept


@pytest.fixture(scope="session")
def small_data(store: Store) -> Path:
    """A folder with dataset_{train,validation,test,old}.h5: two shards of 7 and 4 windows, then 4, 4 and 12 windows."""

    def write(folder: Path) -> None:
        write_dataset(folder / "dataset_train.h5", [make_windows(7, 1), make_windows(4, 2)], compression="gzip")
        write_dataset(folder / "dataset_validation.h5", [make_windows(4, 3)])
        write_dataset(folder / "dataset_test.h5", [make_windows(4, 4)])
        write_dataset(folder / "dataset_old.h5", [make_windows(12, 5)])

    return store("small_data", write)


@pytest.fixture(scope="session")
def small_model(store: Store) -> Path:
    """A `.pt` file of an 80-nt network with random weights."""
    return store("model", lambda folder: random_model(80).to_pt(folder / "model_80nt.pt")) / "model_80nt.pt"


CommandLine = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def command_line() -> CommandLine:
    """Run `spliceai-jax` within this process."""

    def run(*arguments: object) -> subprocess.CompletedProcess:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main([str(word) for word in arguments])
            except SystemExit as ended:
                status = int(ended.code or 0)
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def installed() -> CommandLine:
    """Run the installed `spliceai-jax` in a process of its own, which takes seconds; environment as keywords."""

    def run(*arguments: object, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess:
        program = Path(sys.executable).with_name("spliceai-jax")
        return subprocess.run(
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **environment},
            check=False,
        )

    return run


RUN = "SpliceAI_<i>small_80_0_rs42/0"


def run_arguments(data: Path, model: Path, output: Path) -> dict[str, object]:
    """Settings of a run of three epochs, four batches each, whose folder in `output` is RUN."""
    return {
        "train_dataset": data / "dataset_train.h5",
        "test_dataset": data / "dataset_test.h5",
        "pretrained_model": model,
        "output_dir": output,
        "project_name": "<i>small",
        "epochs": 3,
        "batch_size": 3,
        "unfreeze": 4,
        "learning_rate": 3e-3,
        "tensorboard": True,
    }


@pytest.fixture(scope="session")
def finished(small_data: Path, small_model: Path, store: Store, installed: CommandLine) -> Path:
    """The folder of a finished run, from the real command line; only to be read."""

    def run(output: Path) -> None:
        given = run_arguments(small_data, small_model, output)
        given.pop("tensorboard")
        flags = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        done = installed("transfer", *flags, "--tensorboard")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] == f"report: {output / RUN / 'report.html'}"

    return store("finished", run) / RUN


def made(target: Path, refusal: str) -> None:
    """Let `make` make what the network has and tests need, once: one worker does, the others wait. Else skip."""
    (ROOT / "build").mkdir(exist_ok=True)
    with FileLock(ROOT / "build" / f"{target.parent.name}.lock"):
        if target.exists():
            return
        patience = {**os.environ, "PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "30"}
        make = ["make", "--silent", str(target.relative_to(ROOT))]
        try:
            subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True, timeout=900, env=patience)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
            pytest.skip(f"{refusal}: {' '.join(map(str, said))}")


@pytest.fixture(scope="session")
def stock() -> Path:
    """The `openspliceai` program; its environment (1.4 GB) is made once and kept.

    SPLICEAI_STOCK_VENV names one to use instead.
    """
    if given := os.environ.get("SPLICEAI_STOCK_VENV"):
        return Path(given) / "bin" / "openspliceai"
    folder = ROOT / ".venv-stock"
    made(folder / ".complete", "OpenSpliceAI 0.0.7 cannot be installed here")
    return folder / "bin" / "openspliceai"

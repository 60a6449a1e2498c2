"""Compare training and evaluation steps, and the command `predict`, of spliceai-jax and OpenSpliceAI on an NVIDIA card.

Each side is a process of its own, which holds the programs of its rows, and only one of them works at a time. In a row
the sides take turns (ours, theirs, ours, theirs), and rows come in order of importance. Each row is printed as soon as
it is measured, and the JSON file is written anew, so that nothing is lost when the time is up.

A step is timed with a wait for its end ("ms"), and in a queue of steps ("queued"), as a run has it. The batch of whole
windows is on the card already, unless the row says that it is sent in every step. "First" is the time until the first
step has ended, compilation included; the sides compile one program at a time. Ratios are theirs / ours.

This file needs nothing but Python. --ours and --theirs name the Pythons that have JAX for CUDA, and a CUDA build of
torch with OpenSpliceAI.
"""

import argparse
import gzip
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
BATCHES = {80: 36, 400: 36, 2000: 24, 10000: 12}
"""Flanking size -> the documented number of windows in a batch."""
WIDTHS, DILATIONS = (11, 11, 21, 41), (1, 4, 10, 25)
WORM = ROOT / "demo" / "worm_400nt.pt"
SECONDS_A_STEP_TAKES_AT_MOST = 120
"""From the request to the answer, compilation included."""

GRAPHS = "--xla_gpu_enable_command_buffer=+CONVOLUTION"
"""XLA records runs of operations as CUDA graphs, which takes one launch instead of many. By default it leaves
convolutions out."""
SIDES = {
    "ours": "gpu_ours.py",
    "ours, graphs": "gpu_ours.py",
    "torch eager": "gpu_theirs.py",
    "torch.compile": "gpu_theirs.py --compile",
}


@dataclass(frozen=True)
class Row:
    """What is timed: the step of the first entry is compared with those of the others.

    Attributes:
        flanking_size: The network's flanking size.
        precision: "float32", "tf32" or "bfloat16".
        entries: (side, what is special about it) of each step; the sides take turns in this order.
        unfreeze: How many of the last units train; None: everything.
        evaluation: Whether a batch is evaluated instead of a training step.
        command: The whole command `predict` is timed instead.
    """

    flanking_size: int
    precision: str
    entries: tuple[tuple[str, dict[str, Any]], ...]
    unfreeze: int | None = None
    evaluation: bool = False
    command: bool = False

    def __str__(self) -> str:
        if self.command:
            return f"{self.flanking_size} nt, the command `predict`"
        trains = "all" if self.unfreeze is None else f"last {self.unfreeze}"
        what = "evaluation" if self.evaluation else f"training, {trains}"
        return f"{self.flanking_size} nt, {BATCHES[self.flanking_size]} windows, {what}, {self.precision}"


OURS, EAGER, COMPILED = ("ours", {}), ("torch eager", {}), ("torch.compile", {})


def in_other_layouts(precision: str) -> Row:
    other = "neighbours" if precision == "float32" else "phases"
    variants = [("ours", {"layouts": name}) for name in ("plain", other)]
    return Row(400, precision, (OURS, *variants))


ROWS = [
    *(Row(size, precision, (OURS, EAGER)) for precision in ("tf32", "bfloat16", "float32") for size in (400, 10000)),
    *(Row(400, precision, (OURS, ("ours, graphs", {}))) for precision in ("bfloat16", "tf32")),
    *(Row(400, precision, (OURS, COMPILED)) for precision in ("tf32", "bfloat16")),
    *(Row(size, "tf32", (OURS, EAGER), evaluation=True) for size in (400, 10000)),
    Row(400, "float32", (OURS, EAGER), command=True),
    Row(10000, "tf32", (OURS, COMPILED)),
    *(in_other_layouts(precision) for precision in ("tf32", "bfloat16", "float32")),
    Row(400, "tf32", (OURS, ("ours", {"side_by_side": True}))),
    Row(
        400,
        "tf32",
        (("ours", {"kept": True, "sent": True}), ("ours", {"sent": True}), ("torch eager", {"sent": True})),
        unfreeze=2,
    ),
    *(Row(size, precision, (OURS, EAGER)) for size in (2000, 80) for precision in ("tf32", "bfloat16", "float32")),
    *(
        Row(size, precision, (OURS, EAGER), evaluation=True)
        for precision in ("float32", "bfloat16")
        for size in (400, 10000)
    ),
    Row(10000, "float32", (OURS, EAGER), command=True),
    *(Row(size, "tf32", (OURS, COMPILED), evaluation=True) for size in (400, 10000)),
    Row(10000, "bfloat16", (OURS, COMPILED)),
    Row(400, "float32", (OURS, COMPILED)),
    Row(10000, "float32", (OURS, COMPILED)),
]


class SideError(Exception):
    """A side did not answer, or answered that it failed."""


class Side:
    """A process that builds and times steps; see gpu_side.py."""

    def __init__(self, name: str, options: argparse.Namespace, scratch: Path) -> None:
        python = options.ours if name.startswith("ours") else options.theirs
        program, *flags = SIDES[name].split()
        self.name = name
        self._log = scratch / f"{program}{len(list(scratch.glob('*.log')))}.log"
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / program), *flags],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(scratch, options.dry, "programs", GRAPHS if name == "ours, graphs" else ""),
                start_new_session=True,
                cwd=scratch,
            )

    def answer(self, seconds: float) -> dict[str, Any]:
        """Return the next answer, and end the process if there is none within this time."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], max(seconds, 0))
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            lines = self._log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            raise SideError(f"{lines[-1][:300]}" if ready else f"no answer in {seconds:.0f} s")
        found = json.loads(line)
        if "error" in found:
            raise SideError(found["error"])
        return found

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request, and return the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SideError("the process has ended") from None
        return self.answer(seconds)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        if not self.ended:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def environment(scratch: Path, dry: bool, cache: str, xla_flags: str = "") -> dict[str, str]:
    """Return the variables of a process: all share the card, and no cache of an earlier benchmark makes one faster.

    With the same `cache`, what XLA finds out about the card is found out once.
    """
    found = {
        **os.environ,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "JAX_COMPILATION_CACHE_DIR": str(scratch / "caches" / cache),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "caches" / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "caches" / "triton"),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip(),
    }
    found.pop("PYTHONSAFEPATH", None)  # the sides import their neighbours
    if dry:
        found |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return found


@dataclass
class Benchmark:
    """The sides, the clock, and what was found.

    Attributes:
        options: Those of the command line.
        scratch: A folder for what the sides write.
        found: What goes into the JSON file.
        sides: The processes that were started.
    """

    options: argparse.Namespace
    scratch: Path
    found: dict[str, Any]
    sides: dict[str, Side] = field(default_factory=dict)
    begin: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return self.options.limit - (time.monotonic() - self.begin)

    def start(self, names: list[str]) -> None:
        """Start the sides, all at once, and see that each has a card."""
        self.sides = {name: Side(name, self.options, self.scratch) for name in names}
        for name, side in self.sides.items():
            try:
                self.greet(side)
            except SideError as error:
                print(f"gpu.py: {name}: {error}", file=sys.stderr)
                if name in ("ours", "torch eager"):
                    sys.exit(2)

    def greet(self, side: Side) -> None:
        """Wait until a side has started."""
        python = self.python(side.name)
        try:
            device = side.answer(min(SECONDS_A_STEP_TAKES_AT_MOST, self.left))
        except SideError as error:
            raise SideError(f"did not start with {python}: {error}") from None
        if device["platform"] == "cpu" and not self.options.dry:
            needed = "jax[cuda13]" if side.name.startswith("ours") else "a CUDA build of torch"
            side.stop()
            raise SideError(f"{device['version']} of {python} sees no card; it needs {needed}")
        self.found["versions"][side.name] = device["version"]

    def python(self, side: str) -> str:
        return self.options.ours if side.startswith("ours") else self.options.theirs

    def stop(self) -> None:
        for side in self.sides.values():
            side.stop()

    def measure(self, row: Row) -> None:
        """Time the entries of a row in turn, print what was found, and keep it."""
        print(f"{row}  [{time.monotonic() - self.begin:.0f} s]", flush=True)
        timed = self.predict if row.command else self.step
        turns: list[list[dict[str, Any]]] = [[] for _ in row.entries]
        failed: dict[int, str] = {}
        for _ in range(self.options.rounds):
            for number, (side, special) in enumerate(row.entries):
                if number in failed:
                    continue
                try:
                    turns[number].append(timed(row, side, special))
                except SideError as error:
                    failed[number] = str(error)
        entries = []
        for number, (side, special) in enumerate(row.entries):
            entry: dict[str, Any] = {"side": side, **special}
            if turns[number]:
                entry |= summary(turns[number], turns[0] if number else [])
            if number in failed:
                entry["error"] = failed[number]
            entries.append(entry)
            print(line(entry, row.command), flush=True)
        described = {name: getattr(row, name) for name in ("flanking_size", "precision", "unfreeze", "evaluation")}
        windows = None if row.command else self.windows(row)
        self.found["rows"].append(
            {"row": str(row), **described, "command": row.command, "windows": windows, "entries": entries}
        )
        self.options.json.write_text(json.dumps(self.found, indent=1))

    def windows(self, row: Row) -> int:
        return 2 if self.options.dry else BATCHES[row.flanking_size]

    def step(self, row: Row, side: str, special: dict[str, Any]) -> dict[str, Any]:
        groups = list(BATCHES).index(row.flanking_size) + 1
        task = {
            "flanking_size": row.flanking_size,
            "windows": self.windows(row),
            "precision": row.precision,
            "unfreeze": row.unfreeze,
            "evaluation": row.evaluation,
            "loss": "cross_entropy_loss",
            "widths": [width for width in WIDTHS[:groups] for _ in range(4)],
            "dilations": [dilation for dilation in DILATIONS[:groups] for _ in range(4)],
            "dataset": str(ROOT / "demo" / "fly" / "dataset_train.h5"),
            "weights": self.weights(row.flanking_size),
            **special,
        }
        if self.sides[side].ended:  # by an earlier row
            self.sides[side] = Side(side, self.options, self.scratch)
            self.greet(self.sides[side])
        seconds = min(SECONDS_A_STEP_TAKES_AT_MOST, self.left)
        return self.sides[side].ask({"row": task, "steps": self.options.steps}, seconds)

    def weights(self, flanking_size: int) -> str | None:
        folder = self.options.weights
        found = sorted(folder.glob(f"model_{flanking_size}nt*.pt")) if folder else []
        return str(found[0].resolve()) if found else None

    def predict(self, row: Row, side: str, special: dict[str, Any]) -> dict[str, Any]:
        """Time the whole command on the genome of the demo, 1.4 Mb."""
        size = row.flanking_size
        model = Path(self.weights(size) or (WORM if size == 400 else self.scratch / f"model_{size}nt.pt"))
        if not model.exists():  # random weights
            self.run([self.options.ours, HERE / "gpu_ours.py", size, model])
        fasta = self.scratch / "genome.fa"
        if not fasta.exists():  # OpenSpliceAI reads no plain gzip, and writes an index beside the file
            fasta.write_bytes(gzip.decompress((ROOT / "demo" / "fly_genome" / "genome.fa.gz").read_bytes()))
        output = Path(tempfile.mkdtemp(dir=self.scratch))
        if side == "ours":
            starter = "from spliceai_jax.commands.main import program as main"
        else:
            starter = "from openspliceai.openspliceai import main"
        command = [self.python(side), "-c", f"{starter}; main()", "predict", "-i", fasta, "-m", model, "-f", size]
        begin = time.perf_counter()
        self.run([*command, "-o", output, "-t", "0.5"])
        seconds = time.perf_counter() - begin
        beds = list(output.glob("SpliceAI_*/*_predictions.bed"))
        if not beds:
            raise SideError("`predict` wrote no BED file")
        return {"ms": 1e3 * seconds, "rows": sum(bed.read_bytes().count(b"\n") for bed in beds)}

    def run(self, command: list[Any]) -> None:
        log = self.scratch / "command.log"
        with open(log, "w") as file:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment(self.scratch, self.options.dry, "commands"),
                start_new_session=True,
                cwd=self.scratch,
            )
            try:
                status = process.wait(max(0, min(SECONDS_A_STEP_TAKES_AT_MOST, self.left)))
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise SideError("the command did not end in time") from None
                raise
        if status:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            raise SideError(lines[-1][:300])


def summary(turns: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the medians over the turns, and the ratios of the pairs of turns with the row's first entry."""
    found = dict(turns[0])
    for name in ("ms", "queued"):
        if name in found:
            found[name] = statistics.median(turn[name] for turn in turns)
            pairs = [own[name] / other[name] for own, other in zip(turns, first, strict=False)]
            found[f"ratio_{name}"] = statistics.median(pairs) if pairs else None
    found["turns"] = [{name: turn[name] for name in ("ms", "queued") if name in turn} for turn in turns]
    return found


def title(side: str, special: dict[str, Any]) -> str:
    words = [name.replace("_", " ") if value is True else value for name, value in special.items()]
    return ", ".join([side, *words])


def line(entry: dict[str, Any], command: bool) -> str:
    name = title(entry["side"], {name: entry[name] for name in SPECIAL if name in entry})
    if "ms" not in entry:
        return f"  {name:<28}  failed: {entry['error']}"

    def number(key: str, unit: str, digits: int = 1) -> str:
        return "" if entry.get(key) is None else f"{entry[key]:.{digits}f} {unit}"

    if command:
        each = ", ".join(f"{turn['ms'] / 1e3:.1f}" for turn in entry["turns"])
        cells = [f"{entry['ms'] / 1e3:8.1f} s ({each})", f"{entry['rows']} rows"]
    else:
        cells = [f"{entry['ms']:8.2f} ms", f"queued {entry['queued']:8.2f} ms"]
    for key, what in (("ratio_ms", "ratio"), ("ratio_queued", "queued")):
        if entry.get(key) is not None:
            cells.append(f"{what} {entry[key]:5.2f}")
    if not command:
        cells += [f"first {number('first_s', 's')}", number("compile_s", "s to compile"), number("peak_mb", "MB", 0)]
        cells += [number("gb", "GB", 2), number("gflop", "GFLOP", 0), number("rows", "rows", 0)]
    end = f"; then failed: {entry['error']}" if "error" in entry else ""
    return f"  {name:<28}" + "  ".join(cell for cell in cells if cell) + end


SPECIAL = ("layouts", "side_by_side", "kept", "sent")
"""What may be special about an entry."""


def card() -> str | None:
    """Return the card's name, driver and memory; None if there is no card."""
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()[0].strip() if done.stdout.strip() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=sys.executable, help="Python with spliceai_jax and jax[cuda13]")
    parser.add_argument("--theirs", default=sys.executable, help="Python with openspliceai and a CUDA build of torch")
    parser.add_argument("--weights", type=Path, help="folder of model_{80,400,2000,10000}nt*.pt; else random weights")
    parser.add_argument("--limit", type=float, default=500, help="seconds after which it stops, with what was measured")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each side in a row")
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    parser.add_argument("--rows", help="row numbers from 0, comma-separated, in this order; else all")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-gpu.json")
    parser.add_argument("--dry", action="store_true", help="two windows on the CPU, to try this program without a card")
    parser.add_argument("--list", action="store_true", help="print the rows with their numbers, and measure nothing")
    options = parser.parse_args()
    rows = ROWS if options.rows is None else [ROWS[int(number)] for number in options.rows.split(",")]
    if options.list:
        for number, row in enumerate(ROWS):
            print(f"{number:>3}  {row}: {'; '.join(title(side, special) for side, special in row.entries)}")
        return
    found_card = "no card: a dry run on the CPU" if options.dry else card()
    if found_card is None:
        print("gpu.py: nvidia-smi finds no NVIDIA card here; run it on a machine that has one", file=sys.stderr)
        sys.exit(2)
    # A path of an environment's Python must not be resolved: it is a link to another's.
    options.ours, options.theirs = (os.path.abspath(p) if os.sep in p else p for p in (options.ours, options.theirs))
    options.json = options.json.absolute()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: dict[str, Any] = {"card": found_card, "versions": {}, "rows": [], "not_measured": []}
    with tempfile.TemporaryDirectory() as scratch:
        benchmark = Benchmark(options, Path(scratch), found)
        try:
            used = {side for row in rows if not row.command for side, _ in row.entries}
            benchmark.start([side for side in SIDES if side in used])
            print(f"{found_card}; {'; '.join(f'{side}: {v}' for side, v in found['versions'].items())}", flush=True)
            for number, row in enumerate(rows):
                if benchmark.left < 5:
                    found["not_measured"] = [str(other) for other in rows[number:]]
                    print(f"The time is up. Not measured: {'; '.join(found['not_measured'])}")
                    break
                benchmark.measure(row)
        finally:
            benchmark.stop()
            found["seconds"] = time.monotonic() - benchmark.begin
            if found["rows"]:
                options.json.write_text(json.dumps(found, indent=1))
    print(f"{options.json} after {found['seconds']:.0f} s")


if __name__ == "__main__":
    main()

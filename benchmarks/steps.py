"""Compare the seconds per training step and evaluation batch of spliceai-jax and OpenSpliceAI.

The two sides take turns on the same windows (ours, theirs, ours, theirs), each in a process of its own. Also reported
are our first steps, which compile; the share of positions that is padding, which ours does not compute; and the
greatest share of the time that our device may wait for batches. Ours runs the recipe that `--recipe` names, theirs does
what 0.0.7 does.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np

from spliceai_jax import ARCHITECTURES, Pretrained, SpliceAI, startup

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """What is timed.

    Attributes:
        flanking_size: The network's flanking size.
        batch: Windows in a batch.
        unfreeze: How many of the last units train; None: everything.
        evaluation: Whether an evaluation batch is timed instead of a training step.
        kept: Whether ours starts from the activation cache, whose making is not timed; theirs computes everything.
    """

    flanking_size: int
    batch: int
    unfreeze: int | None = None
    evaluation: bool = False
    kept: bool = False

    def __str__(self) -> str:
        what = "all" if self.unfreeze is None else f"last {self.unfreeze}"
        return ("evaluation" if self.evaluation else what) + (", kept" if self.kept else "")


ROWS = [
    Row(80, 36),
    Row(400, 12, 2),
    Row(400, 12, 2, kept=True),
    Row(400, 12),
    Row(2000, 6, 2),
    Row(2000, 6, 2, kept=True),
    Row(2000, 6),
    Row(10000, 4, 3),
    Row(10000, 4),
    Row(400, 12, evaluation=True),
    Row(400, 12, 2, evaluation=True, kept=True),
    Row(10000, 4, evaluation=True),
]


def weights_of(flanking_size: int, folder: Path | None, scratch: Path) -> Path:
    """Return the weights of this size in `folder`, or random ones: the time does not depend on the values."""
    if folder is not None and (found := sorted(folder.glob(f"model_{flanking_size}nt*.pt"))):
        return found[0]
    path = scratch / f"model_{flanking_size}nt.pt"
    network = SpliceAI(ARCHITECTURES[flanking_size])
    variables = jax.device_get(network.init(jax.random.key(0), np.zeros((1, flanking_size + 1), np.uint8)))
    Pretrained(flanking_size, variables).to_pt(path)
    return path


def measure(row: Row, options: argparse.Namespace, scratch: Path) -> dict:
    """Time both sides of a row, in turn."""
    architecture = ARCHITECTURES[row.flanking_size]
    task = {
        **asdict(row),
        "widths": architecture.widths,
        "dilations": architecture.dilations,
        "loss": "cross_entropy_loss",
        "recipe": options.recipe,
        "precision": options.precision,
        "steps": options.steps,
        "dataset": str(options.data),
        "weights": str(weights_of(row.flanking_size, options.weights, scratch)),
    }
    sides = {
        "ours": [sys.executable, str(HERE / "step_ours.py")],
        "theirs": [str(options.stock / "bin" / "python"), str(HERE / "step_theirs.py")],
    }
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, command in sides.items():
            # Ours starts as the command line does; with --alike, theirs gets the same memory.
            asked = startup.huge_pages() if side == "ours" or options.alike else {}
            environment = {**os.environ, **asked}
            done = subprocess.run(
                [*command, json.dumps(task)], capture_output=True, text=True, check=False, env=environment
            )
            if done.returncode:
                sys.exit(f"{side} failed on {row}:\n{done.stderr}")
            runs[side].append(json.loads(done.stdout.splitlines()[-1]))
    result: dict = {**asdict(row), "trained": str(row)}
    for side, found in runs.items():
        medians = [statistics.median(run["seconds"]) for run in found]
        result[side] = {
            "median": statistics.median(medians),
            "least": min(medians),
            "most": max(medians),
            "first": statistics.median(run["first"] for run in found),
            "waited": max(run.get("waited", 0) for run in found),
            "padding": found[0].get("padding"),
            "peak_mb": max(run["peak_mb"] for run in found),
            "device": found[0]["device"],
        }
    pairs = [
        statistics.median(b["seconds"]) / statistics.median(a["seconds"])
        for a, b in zip(runs["ours"], runs["theirs"], strict=True)
    ]
    result["ratio"] = statistics.median(pairs)
    return result


def table(results: list[dict]) -> Iterator[str]:
    yield f"{'flank':>5}  {'batch':>5}  {'trained':>16}  {'theirs s (spread)':>22}  {'ours s (spread)':>22}  "
    yield f"{'ratio':>5}  {'padding':>7}  {'compiling s':>11}  {'waits':>6}  {'peak MB theirs / ours':>22}\n"
    for r in results:
        sides = [f"{r[s]['median']:.3f} ({r[s]['least']:.3f}-{r[s]['most']:.3f})" for s in ("theirs", "ours")]
        memory = f"{r['theirs']['peak_mb']:.0f} / {r['ours']['peak_mb']:.0f}"
        yield f"{r['flanking_size']:>5}  {r['batch']:>5}  {r['trained']:>16}  {sides[0]:>22}  {sides[1]:>22}  "
        yield f"{r['ratio']:>5.2f}  {r['ours']['padding']:>7.0%}  {r['ours']['first']:>11.2f}  "
        yield f"{r['ours']['waited']:>6.1%}  {memory:>22}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", type=Path, default=HERE.parent / ".venv-stock", help="environment of OpenSpliceAI")
    parser.add_argument("--data", type=Path, default=HERE.parent / "demo" / "fly" / "dataset_train.h5")
    parser.add_argument("--weights", type=Path, help="folder of model_{80,400,2000,10000}nt*.pt; else random weights")
    parser.add_argument("--recipe", default="openspliceai", help="recipe of ours")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--alike", action="store_true", help="give OpenSpliceAI huge pages too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rows", help="row numbers from 0, comma-separated; else all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = ROWS if options.rows is None else [ROWS[int(number)] for number in options.rows.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        results = [measure(row, options, Path(scratch)) for row in rows]
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        print(f"theirs: {results[0]['theirs']['device']}; ours: {results[0]['ours']['device']}, {options.recipe}")
        print("".join(table(results)), end="")


if __name__ == "__main__":
    main()

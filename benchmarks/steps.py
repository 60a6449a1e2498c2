"""Seconds a training step and an evaluation batch, spliceai-jax beside OpenSpliceAI.

Each side runs in a process of its own, taken in turn: ours, theirs, ours, theirs. The first step of a process, which
compiles, is reported apart. Ours runs the recipe that `--recipe` names, theirs is what 0.0.7 does.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from spliceai_jax import ARCHITECTURES, Pretrained, SpliceAI

HERE = Path(__file__).parent

ROWS: list[tuple[int, int, int | None, bool]] = [
    # flanking size, windows a batch, units that train (None: everything), evaluation
    (80, 36, None, False),
    (400, 12, 2, False),
    (400, 12, None, False),
    (2000, 6, 2, False),
    (2000, 6, None, False),
    (10000, 4, 3, False),
    (10000, 4, None, False),
    (400, 12, None, True),
    (10000, 4, None, True),
]


def weights_of(flanking_size: int, folder: Path | None, scratch: Path) -> Path:
    """The weights in `folder` of this size, or random ones: the time does not depend on the values."""
    if folder is not None and (found := sorted(folder.glob(f"model_{flanking_size}nt*.pt"))):
        return found[0]
    path = scratch / f"model_{flanking_size}nt.pt"
    network = SpliceAI(ARCHITECTURES[flanking_size])
    variables = jax.device_get(network.init(jax.random.key(0), np.zeros((1, flanking_size + 1), np.uint8)))
    Pretrained(flanking_size, variables).to_pt(path)
    return path


def measure(row: tuple[int, int, int | None, bool], options: argparse.Namespace, scratch: Path) -> dict:
    """Both sides of a row, in turn."""
    flanking_size, batch, unfreeze, evaluation = row
    architecture = ARCHITECTURES[flanking_size]
    task = {
        "flanking_size": flanking_size,
        "widths": architecture.widths,
        "dilations": architecture.dilations,
        "batch": batch,
        "unfreeze": unfreeze,
        "evaluation": evaluation,
        "loss": "cross_entropy_loss",
        "recipe": options.recipe,
        "precision": options.precision,
        "steps": options.steps,
        "dataset": str(options.data),
        "weights": str(weights_of(flanking_size, options.weights, scratch)),
    }
    sides = {
        "ours": [sys.executable, str(HERE / "step_ours.py")],
        "theirs": [str(options.stock / "bin" / "python"), str(HERE / "step_theirs.py")],
    }
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, command in sides.items():
            done = subprocess.run([*command, json.dumps(task)], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{side} failed on {row}:\n{done.stderr}")
            runs[side].append(json.loads(done.stdout.splitlines()[-1]))
    result: dict = {"flanking_size": flanking_size, "batch": batch, "unfreeze": unfreeze, "evaluation": evaluation}
    for side, found in runs.items():
        medians = [statistics.median(run["seconds"]) for run in found]
        result[side] = {
            "median": statistics.median(medians),
            "least": min(medians),
            "most": max(medians),
            "first": statistics.median(run["first"] for run in found),
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
    yield f"{'flank':>5}  {'batch':>5}  {'trained':>10}  {'theirs s (spread)':>22}  {'ours s (spread)':>22}  "
    yield f"{'ratio':>5}  {'first step s':>12}  {'peak MB theirs / ours':>22}\n"
    for r in results:
        trained = "evaluation" if r["evaluation"] else "all" if r["unfreeze"] is None else f"last {r['unfreeze']}"
        sides = [f"{r[s]['median']:.3f} ({r[s]['least']:.3f}-{r[s]['most']:.3f})" for s in ("theirs", "ours")]
        memory = f"{r['theirs']['peak_mb']:.0f} / {r['ours']['peak_mb']:.0f}"
        yield f"{r['flanking_size']:>5}  {r['batch']:>5}  {trained:>10}  {sides[0]:>22}  {sides[1]:>22}  "
        yield f"{r['ratio']:>5.2f}  {r['ours']['first']:>12.2f}  {memory:>22}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", type=Path, default=HERE.parent / ".venv-stock", help="environment of OpenSpliceAI")
    parser.add_argument("--data", type=Path, default=HERE.parent / "demo" / "fly" / "dataset_train.h5")
    parser.add_argument("--weights", type=Path, help="folder of model_{80,400,2000,10000}nt*.pt; else random weights")
    parser.add_argument("--recipe", default="openspliceai", help="ours")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
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

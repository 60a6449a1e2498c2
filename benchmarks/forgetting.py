"""What each lever against forgetting gains and costs: the worm's model of the demo, tuned on the fly, scored on both.

Each row is a lever at a strength, tuned by `--recipe best` with several seeds. The best model of each run is scored on
the fly's test set, which shows the gain, and on the worm's, which shows the loss. Results are kept in a file after
every run, so that a stopped benchmark goes on.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path

from matplotlib.axes import Axes

from spliceai_jax import TransferSettings, evaluate, transfer
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.files import write_whole
from spliceai_jax.report.plots import COLOURS, plot

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "demo" / "worm_400nt.pt"
FLY, WORM = ROOT / "demo" / "fly", ROOT.parent / "shared" / "data" / "celegans"
TEST_SETS = {"fly": FLY / "dataset_test.h5", "worm": WORM / "dataset_test.h5"}

_REHEARSAL = {"rehearsal_dataset": WORM / "dataset_train.h5"}
ROWS: dict[str, dict[str, object]] = {
    "plain": {},
    **{f"l2sp-{strength:g}": {"l2sp": strength} for strength in (3.0, 30.0, 60.0, 100.0, 300.0)},
    **{f"distill-{weight:g}": {"distill_weight": weight} for weight in (0.2, 0.5, 0.8)},
    "rehearsal": _REHEARSAL,
    **{f"rehearsal-distill-{weight:g}": {**_REHEARSAL, "distill_weight": weight} for weight in (0.5, 1.0)},
    "rehearsal-l2sp-30": {**_REHEARSAL, "l2sp": 30.0},
}
"""The name of a row -> the settings of its lever. `distill-...` learns the worm's scores of the fly's windows."""

LEVERS = {"plain": "untouched", "l2sp": "donor", "distill": "tuned", "rehearsal": "acceptor"}
"""What the names of a lever's rows begin with -> the colour's name in the figure."""

Run = dict[str, object]


def measure(row: str, seed: int) -> Run:
    """Tune with the row's lever, and score the best model on both test sets."""
    with tempfile.TemporaryDirectory() as scratch:
        result = transfer(
            TransferSettings(
                pretrained_model=MODEL,
                train_dataset=FLY / "dataset_train.h5",
                test_dataset=TEST_SETS["fly"],
                output_dir=scratch,
                recipe="best",
                random_seed=seed,
                **ROWS[row],
            )
        )
        return {"row": row, "seed": seed, "epoch": result.best_epoch, "auprc": scores(result.best_model)}


def scores(model: Path) -> dict[str, dict[str, float]]:
    """Return the species' AUPRC of both kinds of site."""
    found = {species: evaluate(model, dataset) for species, dataset in TEST_SETS.items()}
    return {species: {kind: metrics.site(kind).auprc for kind in SITE_KINDS} for species, metrics in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each row (default: 3)")
    parser.add_argument("--results", type=Path, default=Path("build/bench-forgetting.json"))
    arguments = parser.parse_args()
    done = json.loads(arguments.results.read_text()) if arguments.results.exists() else {"runs": []}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    if "untouched" not in done:
        done["untouched"] = scores(MODEL)
    known = {(run["row"], run["seed"]) for run in done["runs"]}
    for seed, row in itertools.product(range(arguments.seeds), arguments.only):
        if (row, seed) not in known:
            done["runs"].append(measure(row, seed))
            arguments.results.write_text(json.dumps(done, indent=1))
            print(row, seed, done["runs"][-1]["auprc"], flush=True)
    print(table(done["untouched"], done["runs"]))
    figure = plot("forgetting", "Gain against loss", lambda axes: draw(axes, done["untouched"], done["runs"]))
    write_whole(arguments.results.with_suffix(".png"), figure.png)


def table(untouched: dict[str, dict[str, float]], runs: list[Run]) -> str:
    """Return a table in Markdown: mean AUPRC over the seeds, donors / acceptors, and how the mean of both changed."""
    lines = ["| lever | seeds | fly | gain | worm | loss |", "|---|---|---|---|---|---|"]
    before = {species: statistics.mean(kinds.values()) for species, kinds in untouched.items()}
    lines.append(f"| untouched | - | {_cell([untouched['fly']])} | - | {_cell([untouched['worm']])} | - |")
    for row in ROWS:
        found = [run["auprc"] for run in runs if run["row"] == row]
        if found:
            gain, loss = (_change([one[species] for one in found], before[species]) for species in ("fly", "worm"))
            cells = [_cell([one[species] for one in found]) for species in ("fly", "worm")]
            lines.append(f"| {row} | {len(found)} | {cells[0]} | {gain} | {cells[1]} | {loss} |")
    return "\n".join(lines)


def draw(axes: Axes, untouched: dict[str, dict[str, float]], runs: list[Run]) -> None:
    """Draw each row's gain on the new species against its loss on the old one, means over the seeds."""
    before = {species: statistics.mean(kinds.values()) for species, kinds in untouched.items()}
    for lever, colour in LEVERS.items():
        points = {}
        for row in ROWS:
            found = [run["auprc"] for run in runs if run["row"] == row]
            if found and row.startswith(lever):
                after = {name: statistics.mean(statistics.mean(one[name].values()) for one in found) for name in before}
                points[row] = (before["worm"] - after["worm"], after["fly"] - before["fly"])
        if points:
            line = "none" if lever == "rehearsal" else "-"  # its rows are no strengths of one lever
            axes.plot(
                *zip(*points.values(), strict=True), color=COLOURS[colour], ls=line, marker="o", ms=4, label=lever
            )
        for row, place in points.items():
            name = row.removeprefix(lever).removeprefix("-")
            axes.annotate(name, place, (4, 3), textcoords="offset points", fontsize=7)
    axes.set(xlabel="loss on the old species", ylabel="gain on the new species", ylim=(0, None))
    axes.legend(fontsize=7, loc="lower right")


def _cell(found: list[dict[str, float]]) -> str:
    return " / ".join(f"{statistics.mean(one[kind] for one in found):.3f}" for kind in SITE_KINDS)


def _change(found: list[dict[str, float]], before: float) -> str:
    """Return the mean change over the seeds, and the largest distance from it."""
    changes = [statistics.mean(one.values()) - before for one in found]
    mean = statistics.mean(changes)
    return f"{mean:+.3f} ± {max(abs(change - mean) for change in changes):.3f}"


if __name__ == "__main__":
    main()

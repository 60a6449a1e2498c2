"""How good a tuned model is by the number of genes, the model that it starts from and the recipe: learning curves.

Training sets of a few to thousands of genes are drawn from the worm's and arabidopsis' sets, each within the next
larger one of the same draw. On each of them, with a tenth as many genes to validate on, `transfer` trains from every
start by every recipe asked for, and the best model is scored on the species' whole validation and test sets. Recipes
are chosen by the validation scores; test scores are for reports.

Every run and every score is kept as soon as it is there: a stopped benchmark goes on where it was.
"""

import argparse
import gzip
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import numpy as np
from matplotlib.axes import Axes
from whole_command import program, timed

from spliceai_jax import TransferSettings, transfer
from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.display import Display
from spliceai_jax.evaluation.bootstrap import genes_of
from spliceai_jax.evaluation.evaluate import evaluate
from spliceai_jax.files import write_whole
from spliceai_jax.network.model import SpliceAI
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.report.plots import COLOURS, plot
from spliceai_jax.windows.hdf5 import read_windows

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SPECIES = {
    "worm": SHARED / "data" / "celegans",
    "arabidopsis": SHARED / "data" / "arabidopsis",
    # Kept back: no choice was made by it.
    "fly": SHARED / "demo" / "fly",
}
GENOMES = {
    "arabidopsis": (SHARED / "data" / "arabidopsis" / "genome.fa.gz", ("Chr1", "Chr2", "Chr3", "Chr4")),
    "fly": (SHARED / "demo" / "fly_genome" / "genome.fa.gz", ("2L",)),
}
"""The genome of a species, and the sequences of the test genes, from which nothing is taken."""

GENES = {"worm": (30, 100, 300, 1000, 3000), "arabidopsis": (30, 100, 265), "fly": (47,)}
DRAWS = 3
STARTS = {
    "human": SHARED / "models" / "model_400nt_rs10.pt",
    **{name: SHARED / "models" / f"{name}_400nt_rs10.pt" for name in ("mouse", "zebrafish", "honeybee", "arabidopsis")},
    "worm": ROOT / "demo" / "worm_400nt.pt",
    "random": None,
    "human+zebrafish+mouse": None,
    "human+zebrafish+honeybee": None,
}
"""A start's name in the results -> its model, where it is one file; a + joins several starts."""

RECIPES: dict[str, dict[str, Any]] = {
    "best": {},
    "openspliceai": {"recipe": "openspliceai", "unfreeze": 2},
    "best-3-seeds": {"seeds": 3},
    "best-unlabelled": {},
    "best-genome": {},
    "stock": {},
}
"""The recipe's name in the results -> its settings.

With "best-unlabelled" ten times as many genes of the training set, as far as there are, are given without their
labels; with "best-genome" the genome is. "stock" is OpenSpliceAI itself: see `measure_stock`.
"""

EPOCHS = {1000: 5, 3000: 2}
"""Number of genes -> epochs, where they are fewer than the recipe's: with many genes each epoch has many steps."""

SITES = ("donor", "acceptor")


class Run(NamedTuple):
    """A run of the benchmark; `draw` decides which genes are drawn, and is the run's random seed."""

    species: str
    genes: int
    draw: int
    start: str
    recipe: str

    @property
    def name(self) -> str:
        return "-".join(map(str, self))


@dataclass(frozen=True)
class Place:
    """Where a benchmark keeps its files."""

    root: Path

    def read(self) -> dict[str, dict[str, Any]]:
        """Return everything that was measured: name -> result. Each has a file of its own: several may work at once."""
        return {path.stem: json.loads(path.read_text()) for path in sorted(self.root.glob("results/*.json"))}

    def add(self, name: str, result: dict[str, Any]) -> None:
        write_whole(self.root / "results" / f"{name}.json", json.dumps(result))

    def models(self, start: str) -> list[Path]:
        """Return the files of the models to start from; random weights are made."""
        return [self._model(one) for one in start.split("+")]

    def _model(self, start: str) -> Path:
        if (path := STARTS[start]) is not None:
            return path
        made = self.root / "random.pt"
        if not made.exists():
            network = SpliceAI(ARCHITECTURES[400])
            variables = jax.device_get(network.init(jax.random.key(0), np.zeros((1, 401), np.uint8)))
            Pretrained(400, variables).to_pt(made)
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "quality")
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="PATTERN", help="species-genes-draw-start-recipe; * is anything"
    )
    parser.add_argument("--list", action="store_true", help="print the runs' names, and what is known of each")
    options = parser.parse_args()
    place = Place(options.folder)
    place.root.mkdir(parents=True, exist_ok=True)
    wanted = [run for run in all_runs() if any(fnmatch(run.name, pattern) for pattern in options.only)]
    for run in wanted:
        if options.list:
            print(run.name, place.read().get(run.name, {}).get("test", ""))
        elif run.name not in place.read():
            measure_start(place, run)
            place.add(run.name, (measure_stock if run.recipe == "stock" else measure)(place, run))
            print(run.name, place.read()[run.name], flush=True)
    if not options.list:
        known = place.read()
        print(table(known))
        write_whole(place.root / "results.json", json.dumps(known, indent=1))
        write_whole(place.root / "genes.png", plot("genes", "AUPRC by genes", lambda axes: draw(axes, known)).png)


def all_runs() -> list[Run]:
    """Return every run, the cheap ones first."""
    runs = [
        Run(species, genes, draw, start, recipe)
        for species, numbers in GENES.items()
        for genes in numbers
        for draw in range(DRAWS)
        for start in STARTS
        for recipe in RECIPES
        if start != species and not ("+" in start and recipe in ("stock", "best-3-seeds"))
        if recipe != "best-genome" or species in GENOMES
        if recipe != "best-unlabelled" or genes != numbers[-1]  # of the whole set no genes are left
    ]
    return sorted(runs, key=lambda run: run.genes)


def measure(place: Place, run: Run) -> dict[str, Any]:
    """Train, or go on training, and score the best model."""
    train, validation = subsets(place, run)
    begun = time.monotonic()
    result = transfer(
        TransferSettings(
            pretrained_model=place.models(run.start),
            train_dataset=train,
            validation_dataset=validation,
            # The whole test set once at the end is enough.
            test_dataset=validation or SPECIES[run.species] / "dataset_test.h5",
            output_dir=place.root / "runs",
            project_name=run.name,
            random_seed=run.draw,
            resume=True,
            epochs=None if run.recipe == "openspliceai" else EPOCHS.get(run.genes),
            unlabelled_dataset=unlabelled(place, run),
            **RECIPES[run.recipe],
        )
    )
    seconds = time.monotonic() - begun
    found = {"seconds": round(seconds, 1), "epoch": result.best_epoch, **scores(run.species, [result.best_model])}
    if several := result.starts or result.seeds:
        found["each"] = {name: scores(run.species, [one.best_model]) for name, one in several.items()}
        found["mean"] = scores(run.species, [one.best_model for one in several.values()])
    return found


def measure_stock(place: Place, run: Run) -> dict[str, Any]:
    """Train by OpenSpliceAI 0.0.7 at its best, and score the model.

    All weights train until the validation loss stops falling. Its validation file must fill a batch. It is the species'
    whole validation set, or where that is too small the whole test set, which is better for it than what our runs have:
    these take a tenth as many genes as they train on.
    """
    train, _ = subsets(place, run)
    folder = place.root / "stock" / run.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole = SPECIES[run.species] / f"dataset_{'validation' if run.species == 'worm' else 'test'}.h5"
    (folder / "dataset_train.h5").symlink_to(train.resolve())
    (folder / "dataset_validation.h5").symlink_to(whole.resolve())
    files = ["-m", *place.models(run.start), "-train", folder / "dataset_train.h5", "-test", whole]
    training = ["-A", "-l", "cross_entropy_loss", "-n", 100, "-E", "-P", 5, "-f", 400, "-r", run.draw]
    command = [program("theirs", ROOT / ".venv-stock"), "transfer", *files, *training, "-o", folder, "-p", "stock"]
    found = timed(command, folder / "log")
    (best,) = folder.glob("SpliceAI_stock_*/0/models/model_best.pt")
    losses = (best.parents[1] / "LOG" / "VAL" / "loss_batch.txt").read_text().split()
    return {
        "seconds": round(found["seconds"], 1),
        "cpu_seconds": round(found["cpu"], 1),
        "epoch": min(range(len(losses)), key=lambda epoch: float(losses[epoch])),
        "epochs": len(losses),
        **scores(run.species, [best]),
    }


def measure_start(place: Place, run: Run) -> None:
    """Score the models that a run starts from, once each."""
    for start, path in zip(run.start.split("+"), place.models(run.start), strict=True):
        name = f"{run.species}-untouched-{start}"
        if name not in place.read() and start != "random":
            place.add(name, scores(run.species, [path]))


def scores(species: str, models: Sequence[Path]) -> dict[str, list[float]]:
    """Return the AUPRC of donors and acceptors of a model, or of the mean of several models' probabilities."""
    found = {}
    for split in ("validation", "test"):
        if (path := SPECIES[species] / f"dataset_{split}.h5").exists():
            metrics = evaluate(models, path)
            found[split] = [round(metrics.site(kind).auprc, 4) for kind in SITES]
    return found


# -- training sets -------------------------------------------------------------------------------------------------


def subsets(place: Place, run: Run) -> tuple[Path, Path | None]:
    """Return the run's training and validation file, made where they are not there yet.

    The fly has no validation file: a run takes a tenth of the training file.
    """
    source = SPECIES[run.species]
    if run.genes == GENES[run.species][-1]:
        given = source / "dataset_train.h5", source / "dataset_validation.h5"
        return given[0], given[1] if given[1].exists() else None
    folder = place.root / "data" / f"{run.species}-{run.genes}-{run.draw}"
    made = folder / "dataset_train.h5", folder / "dataset_validation.h5"
    for path, genes, draw in zip(made, (run.genes, max(run.genes // 10, 5)), (run.draw, -1 - run.draw), strict=True):
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_subset(source / path.name, path, genes, draw)
    return made


def unlabelled(place: Place, run: Run) -> Path | None:
    """Return what the run trains on without labels, made where it is not there yet; None: it does not.

    It is training genes that are not in the run's training file, or the genome without the sequences of test genes.
    """
    if run.recipe == "best-genome":
        return genome(place, run.species)
    if run.recipe != "best-unlabelled":
        return None
    path = subsets(place, run)[0].with_name("unlabelled.h5")
    if not path.exists():
        write_subset(SPECIES[run.species] / "dataset_train.h5", path, 10 * run.genes, run.draw, skipped=run.genes)
    return path


def genome(place: Place, species: str) -> Path:
    """Return the genome without the sequences of test genes, made where it is not there yet."""
    path = place.root / "data" / f"{species}.fa"
    if not path.exists():
        source, test = GENOMES[species]
        path.parent.mkdir(parents=True, exist_ok=True)
        records = gzip.decompress(source.read_bytes()).decode().split(">")[1:]
        write_whole(path, "".join(f">{record}" for record in records if record.split()[0] not in test))
    return path


def write_subset(source: Path, target: Path, genes: int, draw: int, skipped: int = 0) -> None:
    """Write the windows of some genes, drawn so that fewer genes of the same draw are among them.

    Arguments:
        source: The data set to draw from.
        target: The file to write.
        genes: The number of genes.
        draw: Decides their order.
        skipped: The number of genes, the first in that order, that are left out.
    """
    windows = read_windows(source, 400, Display())
    gene = genes_of(windows)
    drawn = np.random.default_rng([draw % 2**32, 12]).permutation(gene[-1] + 1)[skipped : skipped + genes]
    rows = np.flatnonzero(np.isin(gene, drawn))
    first = np.concatenate([[0], np.cumsum(np.bincount(windows.shards))])
    with h5py.File(source) as given, h5py.File(target.with_suffix(".part"), "w") as file:
        for letter, axis in (("X", 0), ("Y", 1)):
            values = [
                given[f"{letter}{windows.shards[row]}"][(slice(None),) * axis + (row - first[windows.shards[row]],)]
                for row in rows
            ]
            stored = np.stack(values, axis)
            chunk = tuple(1 if place == axis else size for place, size in enumerate(stored.shape))
            file.create_dataset(f"{letter}0", data=stored, compression="gzip", chunks=chunk)
    target.with_suffix(".part").rename(target)


# -- results -------------------------------------------------------------------------------------------------------


def groups(known: dict[str, dict[str, Any]]) -> dict[tuple[str, int, str, str], list[dict[str, Any]]]:
    """Return the results of all draws together: (species, genes, start, recipe) -> results."""
    found: dict[tuple[str, int, str, str], list[dict[str, Any]]] = {}
    for run in all_runs():
        if run.name in known:
            found.setdefault((run.species, run.genes, run.start, run.recipe), []).append(known[run.name])
    return found


def table(known: dict[str, dict[str, Any]]) -> str:
    """Return the mean over the draws and the largest distance from it, as a table in Markdown."""
    lines = ["| species | genes | start | recipe | draws | validation | test | seconds |", "|---" * 8 + "|"]
    for name, result in known.items():
        if "-untouched-" in name:
            species, _, start = name.split("-")
            cells = [" / ".join(f"{value:.3f}" for value in result.get(split, ())) for split in ("validation", "test")]
            lines.append(f"| {species} | 0 | {start} | untouched | | {' | '.join(cells)} | |")
    for (species, genes, start, recipe), results in groups(known).items():
        cells = []
        for split in ("validation", "test"):
            pairs = [result[split] for result in results if split in result]
            cells.append(" / ".join(_spread(values) for values in zip(*pairs, strict=True)))
        seconds = statistics.median(result["seconds"] for result in results)
        lines.append(
            f"| {species} | {genes} | {start} | {recipe} | {len(results)} | {' | '.join(cells)} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    mean = statistics.mean(values)
    return f"{mean:.3f} ± {max(abs(value - mean) for value in values):.3f}"


def draw(axes: Axes, known: dict[str, dict[str, Any]]) -> None:
    """Draw the mean test AUPRC against the number of genes, for tuned models and for models trained from scratch."""
    colours = {"worm": COLOURS["donor"], "arabidopsis": COLOURS["tuned"]}
    found = groups(known)
    for species, colour in colours.items():
        for start, style in (("human", "-"), ("random", ":")):
            points = sorted(
                (genes, statistics.mean(value for result in results for value in result["test"]))
                for (of, genes, begun, recipe), results in found.items()
                if (of, begun, recipe) == (species, start, "best")
            )
            words = "from human" if start == "human" else "from scratch"
            if points:
                axes.plot(
                    *zip(*points, strict=True), style, color=colour, marker="o", ms=3, label=f"{species}, {words}"
                )
        if untouched := known.get(f"{species}-untouched-human"):
            axes.axhline(
                statistics.mean(untouched["test"]), color=colour, lw=0.8, ls="--", label=f"{species}, untouched"
            )
    axes.set(
        xscale="log", xlabel="genes to train on", ylabel="test AUPRC, mean of donors and acceptors", ylim=(0.35, 1)
    )
    axes.set_xticks(GENES["worm"], list(map(str, GENES["worm"])), minor=False)
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=7, loc="lower right")


if __name__ == "__main__":
    main()

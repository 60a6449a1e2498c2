"""What data sets are worth by the bases around their genes and by the isoforms that they label.

On arabidopsis and the fly, each choice of `create-data` is trained on by `--recipe best` with several seeds, and the
best model is scored as its user meets it: on whole test sequences, both strands, against all annotated sites of
protein-coding genes. Results are kept in a file after every run, so that a stopped benchmark goes on.
"""

import argparse
import itertools
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

from spliceai_jax import TransferSettings, transfer
from spliceai_jax.data_sets.run import create_data
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.scoring.genome_evaluation import evaluate_genome

SHARED = Path(__file__).resolve().parents[2] / "shared"
GENOMES = {
    "arabidopsis": (SHARED / "data" / "arabidopsis", ("Chr1", "Chr2", "Chr3", "Chr4")),
    "fly": (SHARED / "demo" / "fly_genome", ("2L",)),
}
CHOICES = (("N", "canonical"), ("genome", "canonical"), ("genome", "mask"), ("genome", "union"))
"""The bases around the genes, and the isoforms whose sites are labelled."""


def measure(species: str, context: str, isoforms: str, seed: int, model: Path) -> dict[str, object]:
    """Make the data sets, tune on them, and score the best model on the whole test sequences."""
    folder, test = GENOMES[species]
    files = {"genome_fasta": folder / "genome.fa.gz", "annotation_gff": folder / "annotation.gff3.gz"}
    with tempfile.TemporaryDirectory() as scratch:
        sets = create_data(
            CreateDataSettings(**files, output_dir=scratch, test_sequences=test, context=context, isoforms=isoforms)
        )
        result = transfer(
            TransferSettings(
                pretrained_model=model,
                train_dataset=sets.train,
                validation_dataset=sets.validation,
                test_dataset=sets.test,
                output_dir=scratch,
                recipe="best",
                random_seed=seed,
            )
        )
        found = evaluate_genome(result.best_model, **files, sequences=test)
    tested = result.best_measured["test"].metrics
    return {
        "species": species,
        "context": context,
        "isoforms": isoforms,
        "seed": seed,
        "epoch": result.best_epoch,
        "data_set_auprc": [tested.donor.auprc, tested.acceptor.auprc],
        "genome": asdict(found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "model_400nt_rs10.pt")
    parser.add_argument("--results", type=Path, default=Path("build/bench-labels.json"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    done = json.loads(arguments.results.read_text()) if arguments.results.exists() else []
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    known = {(one["species"], one["context"], one["isoforms"], one["seed"]) for one in done}
    for (context, isoforms), seed, species in itertools.product(CHOICES, range(arguments.seeds), GENOMES):
        if (species, context, isoforms, seed) not in known:
            done.append(measure(species, context, isoforms, seed, arguments.model))
            arguments.results.write_text(json.dumps(done, indent=1))
            print(species, context, isoforms, seed, done[-1]["data_set_auprc"], flush=True)
    print(table(done))


def table(done: list[dict]) -> str:
    """Return the mean over the seeds and the largest distance from it: AUPRC and false positives a megabase."""
    lines = []
    for species, (context, isoforms) in itertools.product(GENOMES, CHOICES):
        wanted = {"species": species, "isoforms": isoforms, "context": context}
        runs = [run for run in done if wanted.items() <= run.items()]
        if runs:
            cells = [f"{species:>12} {context:>7} {isoforms:>10} {len(runs)} seeds"]
            for kind in ("donor", "acceptor"):
                cells.append(_spread([run["genome"][kind]["auprc"] for run in runs], 3))
                megabases = [sum(run["genome"]["positions"].values()) / 1e6 for run in runs]
                false = [sum(run["genome"][kind]["false_positives"].values()) for run in runs]
                cells.append(_spread([count / size for count, size in zip(false, megabases, strict=True)], 0))
            lines.append("  ".join(cells))
    return "\n".join(lines)


def _spread(values: list[float], digits: int) -> str:
    mean = statistics.mean(values)
    return f"{mean:.{digits}f} +-{max(abs(value - mean) for value in values):.{digits}f}"


if __name__ == "__main__":
    main()

"""Compare the whole commands `openspliceai create-data` and `spliceai-jax create-data`, in turn on the same files.

The worm and arabidopsis lie in ../shared; without it, the demo's fly takes their place. Ours runs twice: "alike" with
OpenSpliceAI's choices (its canonical transcripts, N around genes), and with its own defaults. Then ours alone makes
data sets of a simulated genome. Files lie unpacked, since OpenSpliceAI reads no others; it makes its database of the
annotation anew each time. Everything measured is also written to a JSON file.
"""

import argparse
import gzip
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import h5py
from simulated_genome import write_genome
from whole_command import program, timed

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared" / "data"
FLY = HERE.parent / "demo" / "fly_genome"

LIKE_THEIRS = ["--parse-type", "canonical", "--biotype", "protein-coding", "--remove-paralogs"]
FLAGS = {
    "theirs": [*LIKE_THEIRS, "--min-identity", 0.8, "--min-coverage", 0.5],
    "alike": [*LIKE_THEIRS, "--context", "N", "--canonical-by", "span"],
    "defaults": [],
}


def unpacked(source: Path, folder: Path) -> tuple[Path, Path]:
    """Unpack a genome and its annotation; every gene has the attribute `gene_biotype`, which OpenSpliceAI needs."""
    genome, annotation = folder / "genome.fa", folder / "annotation.gff3"
    with gzip.open(source / "genome.fa.gz") as packed, open(genome, "wb") as file:
        shutil.copyfileobj(packed, file)
    with gzip.open(source / "annotation.gff3.gz", "rt") as lines, open(annotation, "w") as file:
        for line in lines:
            lacking = line.split("\t")[2:3] == ["gene"] and "gene_biotype=" not in line
            file.write(f"{line.rstrip(chr(10))};gene_biotype=protein_coding\n" if lacking else line)
    return genome, annotation


def measure(side: str, genome: Path, annotation: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return what `timed` does for one run, the number of windows, and their bytes in the data sets."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        output = Path(scratch)
        files = ["--genome-fasta", genome, "--annotation-gff", annotation, "--output-dir", output]
        command = program("theirs" if side == "theirs" else "ours", options.stock)
        found = timed([command, "create-data", *files, *FLAGS[side]], output / "log")
        for left in genome.parent.glob("*_db"):
            left.unlink()
        sets, windows = list(output.glob("dataset_*.h5")), 0
        for path in sets:
            with h5py.File(path) as file:
                windows += sum(len(file[key]) for key in file if key.startswith("X"))
        size = sum(path.stat().st_size for path in sets)
        everything = sum(path.stat().st_size for path in output.iterdir())
    return {**found, "windows": windows, "bytes_a_window": size / windows, "megabytes": everything / 1e6}


def compare(name: str, genome: Path, annotation: Path, sides: list[str], options: argparse.Namespace) -> dict:
    """Return every run of every side, in turn, and the ratios of the pairs."""
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(options.rounds):
        for side, found in runs.items():
            found.append(measure(side, genome, annotation, options))
    ratios = {
        side: [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(found, runs["theirs"], strict=True)]
        for side, found in runs.items()
        if "theirs" in runs and side != "theirs"
    }
    return {"genome": name, "runs": runs, "ratios": ratios}


def show(result: dict) -> None:
    for side, found in result["runs"].items():
        seconds = [run["seconds"] for run in found]
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})"
        cpu = statistics.median(run["cpu"] for run in found)
        peak, last = max(run["peak_mb"] for run in found), found[-1]
        ratio = f"{statistics.median(result['ratios'][side]):.2f}" if side in result["ratios"] else ""
        print(
            f"{result['genome']:>12}  {side:>8}  {spread:>22}  {cpu:>6.1f}  {peak:>7.0f}  {last['windows']:>7}  "
            f"{last['bytes_a_window']:>12.0f}  {last['megabytes']:>8.0f}  {ratio}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stock", type=Path, default=HERE.parent / ".venv-stock", help="environment of OpenSpliceAI")
    parser.add_argument("--genomes", nargs="+", default=["celegans", "arabidopsis", "simulated"])
    parser.add_argument("--sides", nargs="+", default=["theirs", "alike", "defaults"], choices=list(FLAGS))
    parser.add_argument("--rounds", type=int, default=3, help="of each side; the simulated genome has one")
    parser.add_argument("--bases", type=float, default=3e9, help="size of the simulated genome")
    parser.add_argument("--genes", type=int, default=20_000, help="number of its genes")
    parser.add_argument("--simulated-sides", nargs="+", default=["defaults"], choices=list(FLAGS))
    parser.add_argument("--scratch", type=Path, help="folder for all files (default: the system's for temporary files)")
    parser.add_argument("--json", type=Path, default=HERE.parent / "build" / "bench-data.json")
    options = parser.parse_args()
    print(
        f"{'genome':>12}  {'side':>8}  {'seconds (spread)':>22}  {'CPU s':>6}  {'peak MB':>7}  {'windows':>7}  "
        f"{'bytes/window':>12}  {'MB, all':>8}  theirs / ours"
    )
    results = []
    for name in options.genomes:
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            if name == "simulated":
                files = write_genome(Path(scratch), int(options.bases), options.genes)
                options.rounds, sides = 1, options.simulated_sides
            else:
                source, sides = SHARED / name, options.sides
                if not source.is_dir():
                    print(f"{name}: not in {SHARED}; the fly of demo/ takes its place")
                    name, source = "fly", FLY
                files = unpacked(source, Path(scratch))
            results.append(compare(name, *files, sides, options))
            show(results[-1])
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2))
    print(f"written: {options.json}")


if __name__ == "__main__":
    main()

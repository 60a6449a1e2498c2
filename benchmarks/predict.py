"""Compare the whole commands `openspliceai predict` and `spliceai-jax predict`, in turn on the same sequence.

The sequence is cut into records of a megabase, since OpenSpliceAI 0.0.7 writes no rows for records longer than 1.5 Mb.
Without --fasta it is the worm's in ../shared, its genes end to end. Each run is timed as a process of its own.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from whole_command import program, timed

from spliceai_jax.genome.fasta import Genome

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared"
RECORD = 1_000_000


def cut(source: Path, megabases: float, folder: Path) -> Path:
    """Write the first `megabases` of a FASTA file as records of a megabase, and return the new file."""
    genome, parts, wanted = Genome(source, folder), [], int(megabases * 1e6)
    for name, length in genome.lengths.items():
        parts.append(genome.bases(name, 0, min(length, wanted)))
        wanted -= len(parts[-1])
    genome.close()
    if wanted:
        sys.exit(f"{source}: has {wanted} bases less than --megabases asks for")
    letters = np.frombuffer(b"NACGT", np.uint8)[np.concatenate(parts)].tobytes().decode()
    path = folder / "sequence.fa"
    with open(path, "w") as file:
        for number, start in enumerate(range(0, len(letters), RECORD), 1):
            record = letters[start : start + RECORD]
            file.write(f">chr{number}\n")
            file.writelines(f"{record[i : i + 60]}\n" for i in range(0, len(record), 60))
    return path


def measure(side: str, size: int, fasta: Path, options: argparse.Namespace) -> dict:
    """Return what `timed` does for one run, and the number of rows written."""
    model = options.models / f"model_{size}nt_rs10.pt"
    files = ["-i", fasta, "-m", model, "-f", size]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch)
        command = [program(side, options.stock), "predict", *files, "-o", output, "-t", options.threshold]
        found = timed(command, output / "log")
        beds = list(output.glob("SpliceAI_*/*_predictions.bed"))
        rows = sum(bed.read_bytes().count(b"\n") for bed in beds)
        if not rows:
            sys.exit(f"{side} wrote no rows:\n{(output / 'log').read_text()[-3000:]}")
    return {**found, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", type=Path, default=SHARED / "data" / "celegans" / "genome.fa.gz")
    parser.add_argument("--megabases", type=float, default=5)
    parser.add_argument("--models", type=Path, default=SHARED / "models", help="folder of model_{SIZE}nt_rs10.pt")
    parser.add_argument("--stock", type=Path, default=HERE.parent / ".venv-stock", help="environment of OpenSpliceAI")
    parser.add_argument("--sizes", type=int, nargs="+", default=[400, 10000], help="flanking sizes")
    parser.add_argument("--sides", nargs="+", default=["ours", "theirs"], choices=["ours", "theirs"])
    parser.add_argument("--threshold", default="1e-6")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        fasta = cut(options.fasta, options.megabases, Path(scratch))
        for size in options.sizes:
            runs: dict[str, list[dict]] = {side: [] for side in options.sides}
            for _ in range(options.rounds):
                for side, found in runs.items():
                    found.append(measure(side, size, fasta, options))
            pairs = zip(runs.get("ours", []), runs.get("theirs", []), strict=False)
            ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in pairs]
            results.append({"flanking_size": size, "megabases": options.megabases, **runs, "ratios": ratios})
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print(
        f"{'flank':>5}  {'Mb':>4}  {'side':>6}  {'seconds (spread)':>22}  {'CPU s':>6}  {'peak MB':>7}  "
        f"{'rows':>8}  theirs / ours"
    )
    for result in results:
        for side in options.sides:
            seconds = [run["seconds"] for run in result[side]]
            spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})"
            peak, rows = max(run["peak_mb"] for run in result[side]), result[side][0]["rows"]
            cpu = statistics.median(run["cpu"] for run in result[side])
            ratio = f"{statistics.median(result['ratios']):.2f}" if side == "theirs" and result["ratios"] else ""
            print(
                f"{result['flanking_size']:>5}  {result['megabases']:>4g}  {side:>6}  {spread:>22}  {cpu:>6.1f}  "
                f"{peak:>7.0f}  {rows:>8}  {ratio}"
            )


if __name__ == "__main__":
    main()

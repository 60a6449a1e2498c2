"""Compare the whole commands `openspliceai transfer` and `spliceai-jax transfer`, in turn on the same files.

The training file needs a sibling with `validation` for `train` in its name, since OpenSpliceAI requires one.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from whole_command import program, timed

HERE = Path(__file__).parent


def command(side: str, options: argparse.Namespace, output: Path) -> list[object]:
    files = [
        "-m",
        options.model,
        "-train",
        options.data / "dataset_train.h5",
        "-test",
        options.data / "dataset_test.h5",
    ]
    flags = ["-o", output, "-p", "bench", "-f", options.flanking_size, "-n", options.epochs, "-u", options.unfreeze]
    shape = ["-l", "focal_loss", "-s", "CosineAnnealingWarmRestarts", "-r", "42", "-e", "0"]
    return [program(side, options.stock), "transfer", *files, *flags, *shape]


def measure(side: str, options: argparse.Namespace) -> dict:
    """Return what `timed` does for one run, and its test AUPRC at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch)
        found = timed(command(side, options, output), output / "log")
        test = next(output.glob("SpliceAI_bench_*")) / "0" / "LOG" / "TEST"
        auprc = {kind: float((test / f"{kind}_auprc.txt").read_text().split()[-1]) for kind in ("donor", "acceptor")}
    return {**found, **auprc}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of dataset_{train,validation,test}.h5")
    parser.add_argument("--model", type=Path, required=True, help=".pt file to start from")
    parser.add_argument("--stock", type=Path, default=HERE.parent / ".venv-stock", help="environment of OpenSpliceAI")
    parser.add_argument("--flanking-size", default=400, type=int)
    parser.add_argument("--unfreeze", default=2, type=int)
    parser.add_argument("--epochs", default=1, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs: dict[str, list[dict]] = {"ours": [], "theirs": []}
    for _ in range(options.rounds):
        for side, found in runs.items():
            found.append(measure(side, options))
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(runs["ours"], runs["theirs"], strict=True)]
    if options.json:
        print(json.dumps({**runs, "ratios": ratios}, indent=2))
        return
    for side, found in runs.items():
        seconds = [run["seconds"] for run in found]
        print(
            f"{side:>6}: {statistics.median(seconds):.1f} s ({min(seconds):.1f}-{max(seconds):.1f}), "
            f"peak {max(run['peak_mb'] for run in found):.0f} MB, "
            f"test AUPRC donor {found[0]['donor']:.3f} acceptor {found[0]['acceptor']:.3f}"
        )
    print(f"theirs / ours: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

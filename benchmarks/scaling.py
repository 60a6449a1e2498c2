"""Write the tables of SCALING.md from what tpu_check.py found.

    .venv-tpu/bin/python benchmarks/tpu_check.py --json > documented.json
    .venv-tpu/bin/python benchmarks/tpu_check.py --json --steps train --windows 1 > one.json
    .venv-tpu/bin/python benchmarks/scaling.py documented.json one.json

The formulas are in SCALING.md, above the tables.
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from chips import chip_of

PAGE = Path(__file__).parent / "SCALING.md"
MARK = "<!-- From here on written by scaling.py -->\n"

PASSES = {"float32": 6, "bfloat16": 1}
"""How many bfloat16 multiplications of the matrix unit make one of ours (`Precision.HIGHEST`)."""
LATENCY = 1e-6
"""Seconds per hop."""
COUNTS = (1, 4, 16, 64, 256)


def times(found: dict) -> dict[str, float]:
    """Return the seconds per step on one chip by each of the three limits."""
    chip = chip_of(found["case"]["topology"])
    limits = {
        "arithmetic": PASSES[found["case"]["precision"]] * found["flops"] / chip.flops,
        "memory": found["bytes_accessed"] / chip.bandwidth,
    }
    return limits if chip.clock is None else {**limits, "compiler": found["cycles"] / chip.clock}


def bounds(found: dict) -> tuple[float, float]:
    """Return the seconds per step on one chip, by the published rates and by the compiler's cycles if they are more."""
    limits = times(found)
    published = max(limits["arithmetic"], limits["memory"])
    return published, max(published, limits.get("compiler", 0.0))


def hops(chips: int, axes: int) -> int:
    """Return how many neighbours a value passes on its way round the torus, axis by axis."""
    doublings = int(math.log2(chips))
    sides = [2 ** (doublings // axes + (i < doublings % axes)) for i in range(axes)]
    return sum(side - 1 for side in sides)


def talking(found: dict, chips: int) -> float:
    """Return the seconds per step that the chips spend on exchanges."""
    chip = chip_of(found["case"]["topology"])
    seconds = 0.0
    for name, seen in found["collectives"].items():
        # An all-reduce goes round twice; an all-gather's bytes grow with the number of chips.
        rounds, size = (1, seen["bytes"] * chips / found["chips"]) if name == "all-gather" else (2, seen["bytes"])
        seconds += rounds * (seen["number"] * LATENCY * hops(chips, chip.axes) + (chips - 1) / chips * size / chip.link)
    return seconds


def span(values: tuple[float, ...], digits: int = 1) -> str:
    """Return both bounds as text, or one if they are the same."""
    return " to ".join(dict.fromkeys(f"{value:.{digits}f}" for value in values))


def name_of(found: dict) -> str:
    case = found["case"]
    trained = "all" if case["unfreeze"] is None else f"last {case['unfreeze']}"
    step = "evaluation" if case["step"] == "evaluate" else f"training, {trained}"
    level = "" if case["level"] == "UNKNOWN" else f" ({case['level']})"
    return f"{case['topology'].split(':')[0]} | {case['precision']}{level} | {case['flanking_size']} | {step}"


def programs(findings: list[dict]) -> Iterator[str]:
    yield "| chip | precision | flanking | step | windows per chip | GB used | exchanges, KB | GFLOP per window | "
    yield "MB per window | ms: arithmetic | memory | compiler |\n|" + "---|" * 12 + "\n"
    for found in findings:
        number, size = (sum(seen[what] for seen in found["collectives"].values()) for what in ("number", "bytes"))
        windows, limits = found["case"]["windows"], times(found)
        compiler = f"{limits['compiler'] * 1e3:.1f}" if "compiler" in limits else "-"
        yield f"| {name_of(found)} | {windows} | {found['memory'] / 1e9:.2f} | {number}, "
        yield f"{size / 1e3:.0f} | {found['flops'] / windows / 1e9:.2f} | "
        yield f"{found['bytes_accessed'] / windows / 1e6:.0f} | {limits['arithmetic'] * 1e3:.1f} | "
        yield f"{limits['memory'] * 1e3:.1f} | {compiler} |\n"


def weak(findings: list[dict]) -> Iterator[str]:
    """Yield the table for a batch that grows with the chips: milliseconds per step, and the share not in exchanges."""
    yield "| chip | precision | flanking | step | windows per chip |"
    yield "".join(f" {chips} chip{'s' * (chips > 1)} |" for chips in COUNTS) + "\n|" + "---|" * (5 + len(COUNTS)) + "\n"
    for found in findings:
        yield f"| {name_of(found)} | {found['case']['windows']} |"
        for chips in COUNTS:
            steps = [alone + talking(found, chips) for alone in bounds(found)]
            share = tuple(100 * alone / step for alone, step in zip(bounds(found), steps, strict=True))
            yield f" {span(tuple(step * 1e3 for step in steps))} ms, {span(share, 0)} % |"
        yield "\n"


def strong(pairs: list[tuple[dict, dict]]) -> Iterator[str]:
    """Yield the table for the documented batch on more chips: milliseconds per step, and the gain over one chip."""
    yield "| chip | precision | flanking | step | windows in all |"
    yield "".join(f" {chips} chip{'s' * (chips > 1)} |" for chips in COUNTS) + "\n|" + "---|" * (5 + len(COUNTS)) + "\n"
    for one, found in pairs:
        batch = found["case"]["windows"]
        yield f"| {name_of(found)} | {batch} |"
        for chips in COUNTS:
            part = (math.ceil(batch / chips) - 1) / (batch - 1)
            alone = [least + part * (most - least) for least, most in zip(bounds(one), bounds(found), strict=True)]
            steps = [seconds + talking(found, chips) for seconds in alone]
            gain = tuple(whole / step for whole, step in zip(bounds(found), steps, strict=True))
            idle = f", {chips - batch} chips without a window" if chips > batch else ""
            yield f" {span(tuple(step * 1e3 for step in steps))} ms, x {span(gain)}{idle} |"
        yield "\n"


def main() -> None:
    found = [finding for path in sys.argv[1:] for finding in json.loads(Path(path).read_text())]
    if not found:
        sys.exit(__doc__)

    def key(finding: dict) -> tuple:
        case = finding["case"]
        return case["topology"], case["precision"], case["step"], case["unfreeze"] or 0, case["flanking_size"]

    ones = {key(finding): finding for finding in found if finding["case"]["windows"] == 1}
    documented = sorted((finding for finding in found if finding["case"]["windows"] > 1), key=key)
    training = [finding for finding in documented if finding["case"]["step"] == "train"]
    tables = [
        ("The compiled programs", programs(documented)),
        ("Weak scaling: the documented batch on every chip", weak(training)),
        (
            "Strong scaling: the documented batch over all chips",
            strong([(ones[key(finding)], finding) for finding in training if key(finding) in ones]),
        ),
    ]
    prose = PAGE.read_text().split(MARK)[0]
    PAGE.write_text(prose + MARK + "".join(f"\n## {title}\n\n{''.join(lines)}" for title, lines in tables))


if __name__ == "__main__":
    main()

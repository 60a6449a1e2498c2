"""Compile the training and evaluation steps for TPUs on a machine that has none, and check what comes out.

`libtpu`'s ahead-of-time compiler builds the very steps that `--parallel jit` runs, for four chips of a topology, at the
documented batch on every chip. For each it checks that there is a compiled program, that it fits in a chip's
memory, and that the chips exchange data no more often and in no more bytes per step than the step asks for. It prints
these, and the FLOPs and bytes of memory traffic per window. A failed check is one line on stderr and exit status 1.

`tpu_programs.json` keeps the figures of programs that were compiled before. A program that now moves more than a tenth
more bytes than it did, by the count of the same compiler, fails the check as well. `--keep` writes new figures there.
"""

import os

# A CPU-only host that compiles for a TPU: libtpu would otherwise look for one, and complain.
os.environ.update(
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v5litepod-4",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_WORKER_ID="0",
    JAX_PLATFORMS="cpu",
)

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
from chips import chip_of
from flax.traverse_util import flatten_dict
from jax import ShapeDtypeStruct
from jax.experimental import topologies

from spliceai_jax import ARCHITECTURES, RECIPES, SpliceAI
from spliceai_jax.architecture import CHANNELS, CLASSES, WINDOW
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.step import Batch, init_state
from spliceai_jax.training.trainable import Trainable

TOPOLOGIES = ("v5e:2x2", "v6e:2x2", "v5p:2x2x1")
PRECISIONS = ("float32", "bfloat16")
STEPS = ("train", "evaluate")
HARDEST = "openspliceai"
"""The recipe that is hardest to compile, where everything trains: devices exchange BatchNorm's statistics too."""

KEPT = Path(__file__).parent / "tpu_programs.json"
"""What was found before: name of the case -> compiler, bytes accessed, cycles and memory."""
MOST_GROWTH = 1.1
"""How many times the kept number of bytes a program may move."""

EXCHANGES_A_LAYER = 2
"""For a BatchNorm: its statistics are gathered in the forward pass, its sums together in the backward pass."""
EXCHANGES_A_STEP = 2
"""The rest: the count of labelled positions, and all gradients with the loss."""

_SHAPE = r"(?:\((?:[^()]|\([^()]*\))*\)|\S+)"
_COLLECTIVE = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.-]+ = ({_SHAPE}) "
    r"((?:all-reduce|all-gather|all-to-all|reduce-scatter|ragged-all-to-all|collective-[a-z]+))(-start)?\(",
    re.MULTILINE,
)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")


@dataclass
class Collectives:
    """How often a program's devices talk to each other in one way, and the bytes of the results."""

    number: int = 0
    bytes: int = 0


def count_collectives(hlo: str) -> dict[str, Collectives]:
    """Return the collective operations in a compiled program's text, by name.

    The text is one device's program. Each operation counts once: our steps hold no loop.
    """
    found: dict[str, Collectives] = {}
    for shape, name, started in _COLLECTIVE.findall(hlo):
        sizes = [
            int(bits or 8) * int(np.prod([int(n) for n in dimensions.split(",") if n], dtype=int)) // 8
            for _, bits, dimensions in _ARRAY.findall(shape)
        ]
        # The shape of an asynchronous operation holds operand and result; only that of all-reduce is the result alone.
        of_name = found.setdefault(name, Collectives())
        of_name.number += 1
        of_name.bytes += sizes[1] if started and name != "all-reduce" else sum(sizes)
    return found


def estimated_cycles(hlo: str) -> int:
    """Return the sum of the TPU compiler's own estimates, operation by operation."""
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', hlo[hlo.index("\nENTRY") :])))


@dataclass(frozen=True)
class Case:
    """One program to compile.

    Attributes:
        topology: As libtpu names it, such as "v5e:2x2".
        precision: "float32" or "bfloat16".
        flanking_size: The architecture's flanking size.
        step: "train" or "evaluate".
        unfreeze: How many of the last units train; None: everything.
        windows: The number of windows on each chip.
        level: XLA's optimization level; "UNKNOWN", JAX's default, is what every run uses.
        recipe_name: The recipe whose training step is compiled.
    """

    topology: str
    precision: str
    flanking_size: int
    step: str
    unfreeze: int | None
    windows: int
    level: str
    recipe_name: str = HARDEST

    def __str__(self) -> str:
        trained = "all" if self.unfreeze is None else f"last {self.unfreeze}"
        what = f"train {trained}" if self.step == "train" else self.step
        if self.recipe_name != HARDEST:
            what += f" by {self.recipe_name}"
        return f"{self.topology} {self.precision} {self.flanking_size} nt {what}, {self.windows} windows, {self.level}"

    @property
    def recipe(self) -> Recipe:
        whole = RECIPES[self.recipe_name]
        return replace(whole, unfreeze_all=self.unfreeze is None, unfreeze=self.unfreeze or 0)


@dataclass
class Finding:
    """Facts about a compiled program; bytes, FLOPs and cycles are per chip and step."""

    case: Case
    chips: int
    compile_seconds: float = 0.0
    arguments: int = 0
    temporaries: int = 0
    memory: int = 0
    collectives: dict[str, Collectives] = field(default_factory=dict)
    flops: float = 0.0
    bytes_accessed: float = 0.0
    cycles: int = 0
    problems: list[str] = field(default_factory=list)


def shapes_of(case: Case, chips: int) -> tuple[Any, Batch]:
    """Return the shapes of the training state and of a global batch."""
    architecture, length, windows = ARCHITECTURES[case.flanking_size], WINDOW + case.flanking_size, case.windows * chips

    def state() -> Any:
        variables: Any = SpliceAI(architecture).init(jax.random.key(0), np.zeros((1, length - WINDOW + 1), np.uint8))
        return init_state(variables, Trainable.of(architecture, case.recipe), case.recipe)

    bases, labels = (ShapeDtypeStruct((windows, n), np.uint8) for n in (length, WINDOW))
    return jax.eval_shape(state), Batch(bases, labels, ShapeDtypeStruct((windows, 1), np.float32))


def allowed(case: Case, params: dict[str, Any], chips: int) -> Collectives:
    """Return the exchanges that a step asks for; the compiler may gather by an all-reduce."""
    if case.step == "evaluate":
        # Every process computes the metrics of the whole batch, from its probabilities and losses.
        gathered = case.windows * chips * WINDOW * (len(CLASSES) + 1) * 4
        return Collectives(2, gathered)
    architecture = ARCHITECTURES[case.flanking_size]
    trainable = Trainable.of(architecture, case.recipe)
    trained = [leaf for path, leaf in flatten_dict(params).items() if trainable.trains["/".join(path)]]
    gradients = sum(leaf.size * leaf.dtype.itemsize for leaf in trained)
    layers = 2 * len(trainable.training_units)
    statistics = (3 * chips + 2) * CHANNELS * 4  # count, mean and squares of every chip; two sums
    return Collectives(EXCHANGES_A_LAYER * layers + EXCHANGES_A_STEP, gradients + layers * statistics + 8)


def problems(found: Finding, most: Collectives) -> Iterator[str]:
    """Yield what is wrong with a compiled program, one line each."""
    room = chip_of(found.case.topology).memory
    if found.memory > room:
        yield f"needs {found.memory / 1e9:.2f} GB of the chip's {room / 1e9:.0f}"
    number = sum(seen.number for seen in found.collectives.values())
    size = sum(seen.bytes for seen in found.collectives.values())
    if number > most.number or size > most.bytes:
        names = ", ".join(f"{seen.number} {name}" for name, seen in found.collectives.items())
        yield f"{names} of {size} bytes per step; at most {most.number} of {most.bytes} bytes are asked for"


def compile_here(case: Case) -> Finding:
    """Compile a case and return what is found."""
    jax.config.update("jax_optimization_level", case.level)
    devices = topologies.get_topology_desc(platform="tpu", topology_name=case.topology).devices
    found = Finding(case, len(devices))
    engine = Engine(ARCHITECTURES[case.flanking_size], case.recipe, case.precision, devices)
    state, batch = shapes_of(case, len(devices))
    start = time.perf_counter()
    try:
        if case.step == "train":
            compiled = engine.lower_train(state, batch).compile()
        else:
            compiled = engine.lower_evaluate(state.variables, batch).compile()
    except jax.errors.JaxRuntimeError as error:
        found.problems.append("does not compile: " + str(error).splitlines()[0])
        return found
    found.compile_seconds = round(time.perf_counter() - start, 1)
    memory, cost, hlo = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    found.arguments, found.temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    # The new state replaces the old one in memory; the step's other output and its code come on top.
    others = memory.output_size_in_bytes - memory.alias_size_in_bytes + memory.generated_code_size_in_bytes
    found.memory = found.arguments + found.temporaries + others
    found.collectives, found.cycles = count_collectives(hlo), estimated_cycles(hlo)
    found.flops, found.bytes_accessed = cost["flops"], cost["bytes accessed"]
    found.problems.extend(problems(found, allowed(case, state.params, len(devices))))
    return found


def check(case: Case) -> dict[str, Any]:
    """Return the finding as a dictionary, from a process of its own, since the compiler aborts on its own faults."""
    command = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    said = next((line for line in done.stderr.splitlines() if "Check failed" in line), done.stderr.strip()[-300:])
    return asdict(Finding(case, 0, problems=[f"the compiler ended with status {done.returncode}: {said}"]))


def read_kept() -> dict[str, dict[str, Any]]:
    """Return what was found before."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def compared(found: dict[str, Any], kept: dict[str, dict[str, Any]], compiler: str) -> dict[str, Any]:
    """Return a finding with what was found before beside it, and with a problem if the bytes have grown."""
    before = kept.get(str(Case(**found["case"])))
    if before and not found["problems"] and before["compiler"] == compiler:
        grown = found["bytes_accessed"] / before["bytes_accessed"]
        if grown > MOST_GROWTH:
            found["problems"].append(f"moves {grown:.2f} times the bytes that it did; `--keep` accepts that")
    return {**found, "before": before}


def keep(findings: list[dict[str, Any]], compiler: str) -> None:
    """Write the figures of the compiled programs to the file, in place of their old ones."""
    kept = read_kept()
    for found in findings:
        if found["flops"]:
            figures = {name: found[name] for name in ("bytes_accessed", "cycles", "memory")}
            kept[str(Case(**found["case"]))] = {"compiler": compiler, **figures}
    KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


HEADER = (
    f"{'topology':>9}  {'precision':>9}  {'flank':>5}  {'step':>8}  {'trained':>7}  {'windows a chip':>14}  "
    f"{'compiled s':>10}  {'MB arguments / temporaries / all':>32}  {'collectives, KB a step':>38}  "
    f"{'GFLOP a window':>14}  {'MB a window':>11}  {'Mcycles a step':>14}"
)


def row(found: dict[str, Any]) -> str:
    """Return a line of the table."""
    case = Case(**found["case"])
    talk = ", ".join(f"{n['number']} {name} {n['bytes'] / 1e3:.1f}" for name, n in found["collectives"].items()) or "-"
    trained = "-" if case.step == "evaluate" else "all" if case.unfreeze is None else f"last {case.unfreeze}"
    memory = " / ".join(f"{found[what] / 1e6:.0f}" for what in ("arguments", "temporaries", "memory"))
    return (
        f"{case.topology:>9}  {case.precision:>9}  {case.flanking_size:>5}  {case.step:>8}  {trained:>7}  "
        f"{case.windows:>14}  {found['compile_seconds']:>10.1f}  {memory:>32}  "
        f"{talk:>38}  {found['flops'] / case.windows / 1e9:>14.2f}  "
        f"{found['bytes_accessed'] / case.windows / 1e6:>11.0f}  {found['cycles'] / 1e6:>14.1f}"
    )


def main() -> None:
    sizes = tuple(ARCHITECTURES)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, choices=sizes, default=sizes, help="flanking sizes")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--topologies", nargs="+", choices=TOPOLOGIES, default=TOPOLOGIES[:2], help="of four chips")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--unfreeze", type=int, help="units that train; default: everything, which is the heaviest")
    parser.add_argument(
        "--recipe", choices=RECIPES, default=HARDEST, help="whose training step is compiled (default: %(default)s)"
    )
    parser.add_argument("--windows", type=int, help="windows per chip; default: the architecture's documented batch")
    parser.add_argument(
        "--level",
        default="UNKNOWN",
        help="XLA's optimization level; O1 compiles five times faster, to slower programs with the same collectives "
        "(default %(default)s: as in every run)",
    )
    parser.add_argument("--keep", action="store_true", help=f"write the figures to {KEPT.name}")
    parser.add_argument("--json", action="store_true", help="for scaling.py and others, instead of the table")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(asdict(compile_here(Case(**json.loads(options.case))))))
        return
    if find_spec("libtpu") is None:
        sys.exit("libtpu is not in this environment: `make tpu-check` makes one that has it, .venv-tpu")
    if not options.json:
        print(HEADER, flush=True)
    findings, kept, compiler = [], read_kept(), f"libtpu {version('libtpu')}"
    for topology, precision, size, step in product(
        options.topologies, options.precisions, options.sizes, options.steps
    ):
        windows = options.windows or ARCHITECTURES[size].batch_size
        trained = (options.unfreeze, options.recipe) if step == "train" else (None, HARDEST)
        found = check(Case(topology, precision, size, step, trained[0], windows, options.level, trained[1]))
        findings.append(compared(found, {} if options.keep else kept, compiler))
        if not options.json:
            print(row(findings[-1]), flush=True)
    if options.keep:
        keep(findings, compiler)
    if options.json:
        print(json.dumps(findings, indent=1))
    wrong = [
        f"{case.topology} {case.precision} {case.flanking_size} nt {case.step}: {problem}"
        for case, problem in ((Case(**found["case"]), problem) for found in findings for problem in found["problems"])
    ]
    if wrong:
        sys.exit("tpu-check failed: " + "; ".join(wrong))


if __name__ == "__main__":
    main()

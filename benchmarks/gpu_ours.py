"""Our side of gpu.py; see gpu_side.py."""

import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from gpu_side import Step, serve

from spliceai_jax import ARCHITECTURES, Pretrained, SpliceAI
from spliceai_jax.architecture import CHANNELS, WINDOW, Architecture
from spliceai_jax.network import model as model_module
from spliceai_jax.network.layout import Layouts
from spliceai_jax.network.model import Activations, Variables
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.step import init_state
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows.batches import Batch
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.packing import whole_windows

LAYOUTS = {
    "plain": Layouts(),
    "phases": Layouts(phases_from=2),
    "neighbours": Layouts(neighbours=4, phases_from=5),
}
"""Layouts to compare with those that the engine chooses."""


def engine_of(architecture: Architecture, recipe: Recipe, precision: str, layouts: str | None) -> Engine:
    """Return the engine of a run, or one with other layouts than those that are chosen for the platform."""
    if layouts is None:
        return Engine(architecture, recipe, precision)
    with mock.patch.object(model_module, "layouts_on", return_value=LAYOUTS[layouts]):
        return Engine(architecture, recipe, precision)


def variables_of(flanking_size: int, weights: str | None) -> Variables:
    """Return the weights in a file, or random ones: the time does not depend on the values."""
    if weights is not None:
        return Pretrained.from_pt(weights).variables
    shapes = jax.eval_shape(
        SpliceAI(ARCHITECTURES[flanking_size]).init, jax.random.key(0), np.zeros((1, flanking_size + 1), np.uint8)
    )
    random = np.random.default_rng(0)

    def values(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if "running_var" in jax.tree_util.keystr(path):
            return np.ones(leaf.shape, leaf.dtype)
        return (0.1 * random.standard_normal(leaf.shape)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(values, shapes)


def batch_of(row: dict[str, Any], architecture: Architecture, first_entry: int) -> Batch:
    """Return a batch of real windows: whole, side by side, or as activations of the frozen part (random ones)."""
    windows = read_windows(row["dataset"], architecture.flanking_size)
    chosen, columns = np.arange(row["windows"]) % len(windows), WINDOW + architecture.flanking_size
    if row.get("side_by_side"):
        return windows.batch(windows.packer(row["windows"], architecture)(chosen))
    batch = windows.batch(whole_windows(chosen, len(chosen), columns))
    if not row.get("kept"):
        return batch
    random = np.random.default_rng(0)
    x = random.standard_normal((len(chosen), columns, CHANNELS), np.float32)
    skip_sum = random.standard_normal((len(chosen), WINDOW, CHANNELS), np.float32)
    return Batch(Activations(x, skip_sum, first_entry), batch.labels, batch.multiplicity)


def build(row: dict[str, Any]) -> Step:
    """Return the step of a row of gpu.py."""
    architecture = ARCHITECTURES[row["flanking_size"]]
    recipe = Recipe(unfreeze=row["unfreeze"]) if row["unfreeze"] else Recipe(unfreeze_all=True)
    trainable = Trainable.of(architecture, recipe)
    engine = engine_of(architecture, recipe, row["precision"], row.get("layouts"))
    state = jax.device_get(init_state(variables_of(row["flanking_size"], row["weights"]), trainable, recipe))
    batch = batch_of(row, architecture, trainable.first_entry)
    lowered = engine.lower_evaluate(state.variables, batch) if row["evaluation"] else engine.lower_train(state, batch)
    begin = time.perf_counter()
    program = lowered.compile()
    facts = {
        "compile_s": time.perf_counter() - begin,
        "rows": len(batch.labels),
        # FLOPs before XLA turns convolutions into calls of cuDNN, which it does not count.
        "gflop": counted(lowered, "flops"),
        "gb": counted(program, "bytes accessed"),
        "peak_mb": peak_megabytes(program),
    }
    # As a run does it; the batch is sent once, unless the row says that it is sent in every step.
    now, rate, sent = engine.place(state), np.float32(1e-4), engine._send(batch)
    last: Any = None

    def start() -> None:
        nonlocal now, last
        given = engine._send(batch) if row.get("sent") else sent
        if row["evaluation"]:
            last = program(now.variables, given)
        else:
            now, last = program(now, given, rate)

    def wait() -> float | None:
        jax.block_until_ready((now, last))
        return None if row["evaluation"] else float(last)

    return Step(start, wait, facts)


def counted(stage: Any, what: str) -> float | None:
    """Return what the compiler counts, in billions; None if it does not."""
    try:
        return stage.cost_analysis()[what] / 1e9
    except Exception as error:
        print(f"no count of {what}: {error}", file=sys.stderr)
        return None


def peak_megabytes(program: Any) -> float:
    """Return the memory that the program takes: arguments, results, and what lies between them."""
    memory = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return (held + memory.temp_size_in_bytes) / 1e6


def main() -> None:
    if len(sys.argv) == 3:  # weights for `predict`
        Pretrained(int(sys.argv[1]), variables_of(int(sys.argv[1]), None)).to_pt(Path(sys.argv[2]))
        return
    device = jax.devices()[0]
    serve({"platform": device.platform, "device": device.device_kind, "version": f"jax {jax.__version__}"}, build)


if __name__ == "__main__":
    main()

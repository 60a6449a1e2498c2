"""One side of steps.py: times spliceai-jax's steps in this process, fed as a run feeds them, and prints JSON."""

import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from spliceai_jax import ARCHITECTURES, RECIPES, Pretrained
from spliceai_jax.architecture import WINDOW
from spliceai_jax.display import ignore
from spliceai_jax.training.activation_cache import cache_activations
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.step import init_state
from spliceai_jax.training.trainable import Trainable, padding_counts
from spliceai_jax.windows import packing
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.packing import Packing

PASSES = 2


def main() -> None:
    task = json.loads(sys.argv[1])
    architecture, size = ARCHITECTURES[task["flanking_size"]], task["batch"]
    recipe = replace(
        RECIPES[task["recipe"]],
        unfreeze=task["unfreeze"] or 0,
        unfreeze_all=task["unfreeze"] is None,
        loss=task["loss"],
    )
    model = Pretrained.from_pt(task["weights"])
    windows = read_windows(task["dataset"], architecture.flanking_size)
    engine = Engine(architecture, recipe, task["precision"])
    trainable = Trainable.of(architecture, recipe)
    state = engine.place(jax.device_get(init_state(model.variables, trainable, recipe)))
    whole = len(windows) // size
    windows = windows.subset(np.arange(min(whole, task["steps"]) * size))
    if task["kept"]:
        end = trainable.first_entry
        folder = Path(tempfile.gettempdir())
        windows = cache_activations(engine, state.variables, windows, architecture, end, size, folder, ignore)
    if task["evaluation"]:
        layouts = list(packing.for_scoring(windows.lengths, windows.continues, architecture.flanking_size, size))
    else:
        in_order = np.arange(len(windows)).reshape(-1, size)
        packer = windows.packer(size, architecture, padding_counts(recipe, trainable))
        layouts = [packer(positions) for positions in in_order]
    waited, pending = 0.0, None

    def go_through(some: list[Packing]) -> float:
        """Return the seconds that it takes."""
        nonlocal state, waited, pending
        before = time.perf_counter()
        for layout in some:
            start = time.perf_counter()
            batch = windows.batch(layout)
            # An upper bound: the previous step may have ended at any time while this batch was made.
            if pending is not None and pending.is_ready():
                waited += time.perf_counter() - start
            if task["evaluation"]:
                _, result = engine.evaluate(state.variables, batch)
            else:
                state, result = engine.train(state, batch, recipe.learning_rate)
            if pending is not None:
                np.asarray(pending)
            pending = result
        np.asarray(pending)
        pending = None
        return time.perf_counter() - before

    # Each number of rows compiles a program.
    first = go_through(list({layout.rows: layout for layout in layouts}.values()))
    waited = 0.0
    # Batches to score hold more than `size` windows, and what training batches cost depends on the lengths of theirs.
    # So whole passes are timed, and divided by the number of windows.
    passes = [go_through(layouts) for _ in range(PASSES)]
    seconds = [taken * size / len(windows) for taken in passes]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    device = f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    found = {
        "first": first,
        "padding": float(1 - windows.lengths.mean() / WINDOW),
        "seconds": seconds,
        "waited": waited / sum(passes),
        "peak_mb": peak,
        "device": device,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

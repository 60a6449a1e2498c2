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

from spliceai_jax import ARCHITECTURES, RECIPES, Pretrained, freezing
from spliceai_jax.architecture import WINDOW
from spliceai_jax.dataset import read_windows
from spliceai_jax.kept_trunk import keep_trunk, trunk_end
from spliceai_jax.packing import Layout
from spliceai_jax.parallel import make_engine
from spliceai_jax.training import init_state

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
    engine = make_engine(architecture, recipe, task["precision"], "jit")
    state = engine.place(
        jax.device_get(init_state(model.variables, freezing.parameter_labels(architecture, recipe), recipe))
    )
    whole = len(windows) // size
    windows = windows.subset(np.arange(min(whole, task["steps"]) * size))
    if task["kept"]:
        end = trunk_end(architecture, recipe)
        folder = Path(tempfile.gettempdir())
        windows = keep_trunk(engine, state.variables, windows, architecture, end, size, folder, lambda done: None)
    if task["evaluation"]:
        layouts = list(windows.scoring_layouts(size))
    else:
        in_order = np.arange(len(windows)).reshape(-1, size)
        layouts = [windows.training_layout(positions, size, architecture) for positions in in_order]
    waited, pending = 0.0, None

    def go_through(some: list[Layout]) -> float:
        """Seconds."""
        nonlocal state, waited, pending
        before = time.perf_counter()
        for layout in some:
            start = time.perf_counter()
            batch = windows.batch(layout)
            # At most: the step before may have ended while this batch was made.
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
    # A batch to be scored holds more than so many windows, one to train on costs what its windows are long: a pass
    # through all of them is what is timed, for each so many windows.
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

"""One side of steps.py: times spliceai-jax's steps in this process, fed as a run feeds them, and prints JSON."""

import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import jax

from spliceai_jax import ARCHITECTURES, RECIPES, Pretrained, freezing
from spliceai_jax.dataset import read_windows
from spliceai_jax.kept_trunk import keep_trunk, trunk_end
from spliceai_jax.parallel import make_engine
from spliceai_jax.training import init_state


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
    if task["kept"]:
        end = trunk_end(architecture, recipe)
        folder = Path(tempfile.gettempdir())
        windows = keep_trunk(engine, state.variables, windows, end, size, folder, lambda done: None)
    whole = [positions for positions in windows.in_order(size) if len(positions) == size]
    seconds, waited, pending = [], 0.0, None
    before = time.perf_counter()
    for positions in islice(cycle(whole), 2 + task["steps"]):
        start = time.perf_counter()
        batch = windows.batch(*engine.share(positions, size))
        if task["evaluation"]:
            waited += time.perf_counter() - start
            engine.evaluate(state.variables, batch)
        else:
            # At most: the step before may have ended while this batch was made.
            if pending is not None and pending.is_ready():
                waited += time.perf_counter() - start
            state, loss = engine.train(state, batch, recipe.learning_rate)
            if pending is not None:
                float(pending)
            pending = loss
        seconds.append(time.perf_counter() - before)
        before = time.perf_counter()
    # The first compiles; with losses fetched a step late, the second still waits for it.
    first, rest = sum(seconds[:2]), seconds[2:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    device = f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    found = {"first": first, "seconds": rest, "waited": waited / sum(seconds), "peak_mb": peak, "device": device}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""One side of steps.py: times spliceai-jax's steps in this process and prints JSON."""

import json
import resource
import sys
import time
from dataclasses import replace
from itertools import cycle, islice

import jax

from spliceai_jax import ARCHITECTURES, RECIPES, Pretrained, freezing
from spliceai_jax.dataset import read_windows
from spliceai_jax.parallel import make_engine
from spliceai_jax.training import init_state


def main() -> None:
    task = json.loads(sys.argv[1])
    architecture = ARCHITECTURES[task["flanking_size"]]
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
    # Prepared before the clock runs.
    order = list(windows.in_order(task["batch"]))[: len(windows) // task["batch"]]
    batches = cycle([windows.batch(*engine.share(positions, task["batch"])) for positions in order])
    seconds = []
    for batch in islice(batches, 1 + task["steps"]):
        start = time.perf_counter()
        if task["evaluation"]:
            engine.evaluate(state.variables, batch)
        else:
            state, loss = engine.train(state, batch, recipe.learning_rate)
            float(loss)
        seconds.append(time.perf_counter() - start)
    first, *rest = seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    device = f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    print(json.dumps({"first": first, "seconds": rest, "peak_mb": peak, "device": device}))


if __name__ == "__main__":
    main()

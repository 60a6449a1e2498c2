"""Train on as many windows as a human data set has, and see whether memory stays flat and the device ever waits.

The file is made here, of the same few windows again and again, with its cache of codes: 6 GB on disk at the default
size. It is read as any other, so that reading takes as long, and memory is as full, as with a real one.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import h5py
import jax
import numpy as np
from steps import weights_of

from spliceai_jax import ARCHITECTURES, RECIPES, Pretrained
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.step import init_state
from spliceai_jax.training.trainable import Trainable, padding_counts
from spliceai_jax.windows.batches import epoch_batches
from spliceai_jax.windows.hdf5 import read_windows

HERE = Path(__file__).parent
WINDOWS_IN_SHARD = 1200
"""A shard holds 100 genes; human ones take 12 windows each."""
WARM_UP = 5
"""Steps before memory and time are first looked at."""


def repeat(source: Path, windows: int, target: Path) -> None:
    """Write a data set of so many windows: those of `source`, again and again, as they are packed."""
    with h5py.File(source) as read, h5py.File(target, "w") as written:
        packed = [
            [read[f"{name}{shard}"].id.read_direct_chunk(place)[1] for name, place in _places(row)]
            for shard in range(len(read) // 2)
            for row in range(len(read[f"X{shard}"]))
        ]
        for shard, first in enumerate(range(0, windows, WINDOWS_IN_SHARD)):
            size = min(WINDOWS_IN_SHARD, windows - first)
            shapes = {"X": ((size, 15000, 4), (1, 15000, 4)), "Y": ((1, size, 5000, 3), (1, 1, 5000, 3))}
            for name, (shape, chunk) in shapes.items():
                written.create_dataset(f"{name}{shard}", shape, "i1", chunks=chunk, compression="gzip")
            for row in range(size):
                for content, (name, place) in zip(packed[(first + row) % len(packed)], _places(row), strict=True):
                    written[f"{name}{shard}"].id.write_direct_chunk(place, content)


def _places(row: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return where the two chunks of a window lie."""
    return [("X", (row, 0, 0)), ("Y", (0, row, 0, 0))]


def resident_mb() -> float:
    """Return the memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=HERE.parent / "demo" / "fly" / "dataset_train.h5")
    parser.add_argument("--windows", type=int, default=240_000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--flanking-size", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=12)
    options = parser.parse_args()
    architecture, recipe = ARCHITECTURES[options.flanking_size], RECIPES["best"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "dataset_train.h5"
        repeat(options.source, options.windows, path)
        found = {"file_mb": path.stat().st_size / 1e6}
        start = time.perf_counter()
        windows = read_windows(path, options.flanking_size)
        model = Pretrained.from_pt(weights_of(options.flanking_size, None, Path(scratch)))
    found |= {"windows": len(windows), "reading_s": time.perf_counter() - start, "after_reading_mb": resident_mb()}
    start = time.perf_counter()
    batches = epoch_batches(windows.shards, options.batch_size, "pooled", seed=42, epoch=0)
    trainable = Trainable.of(architecture, recipe)
    layout = options.batch_size, architecture, padding_counts(recipe, trainable)
    numbers = windows.packer(*layout).numbers_of_rows
    found |= {"to_the_first_batch_s": time.perf_counter() - start, "numbers_of_rows": numbers}
    engine = Engine(architecture, recipe)
    state = engine.place(jax.device_get(init_state(model.variables, trainable, recipe)))
    waited, pending, memory = 0.0, None, []
    for number, positions in enumerate(batches[: WARM_UP + options.steps]):
        if number == WARM_UP:
            start, waited = time.perf_counter(), 0.0
        made = time.perf_counter()
        batch = windows.training_batch(positions, *layout)
        # An upper bound: the previous step may have ended at any time while this batch was made.
        if pending is not None and pending.is_ready():
            waited += time.perf_counter() - made
        state, loss = engine.train(state, batch, recipe.learning_rate)
        if pending is not None:
            pending.block_until_ready()
        pending = loss
        memory.append(resident_mb())
    np.asarray(pending)
    seconds = time.perf_counter() - start
    found |= {
        "step_s": seconds / options.steps,
        "waited_share": waited / seconds,
        "memory_at_step_mb": {number: memory[number] for number in range(WARM_UP, len(memory), 10)},
        "last_mb": memory[-1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

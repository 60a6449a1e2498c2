"""Score a model on a data set."""

import math
from collections.abc import Callable
from pathlib import Path

from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.dataset import Windows, read_windows
from spliceai_jax.errors import DivergedError
from spliceai_jax.metrics import Metrics, MetricsAccumulator
from spliceai_jax.model import Variables
from spliceai_jax.parallel import Engine, make_engine
from spliceai_jax.pretrained import Pretrained
from spliceai_jax.recipes import Recipe


def evaluate_windows(
    engine: Engine,
    variables: Variables,
    windows: Windows,
    batch_size: int,
    after_batch: Callable[[int], None] = lambda windows: None,
) -> tuple[Metrics, list[float]]:
    """Evaluate on all windows, padding left out.

    Arguments:
        engine: Runs the network.
        variables: Placed on the engine's devices.
        windows: What to evaluate on.
        batch_size: Windows at a time.
        after_batch: Called with the number of windows done in each batch.

    Returns:
        The metrics, and each batch's mean loss.

    Raises:
        DivergedError: A loss is infinite or not a number.
    """
    gathered, losses = MetricsAccumulator(), []
    for positions in windows.in_order(batch_size):
        batch, real = windows.batch(*engine.share(positions, batch_size)), len(positions)
        probabilities, window_losses = engine.evaluate(variables, batch)
        losses.append(gathered.add(probabilities[:real], windows.labels_at(positions), window_losses[:real]))
        if not math.isfinite(losses[-1]):
            raise DivergedError(f"{windows.source}: the model's loss here is {losses[-1]}; its weights are unusable")
        after_batch(real)
    return gathered.result(), losses


def evaluate(model: str | Path | Pretrained, dataset: str | Path, flanking_size: int | None = None) -> Metrics:
    """Score a model on a data set, with the cross-entropy loss, on every device.

    Arguments:
        model: A `.pt` file, or a model in memory.
        dataset: HDF5 file.
        flanking_size: Refuse weights of any other; None takes theirs.

    Raises:
        WeightsError: See `Pretrained.from_pt`.
        DatasetError: See `read_windows`.
    """
    pretrained = model if isinstance(model, Pretrained) else Pretrained.from_pt(model, flanking_size)
    architecture = ARCHITECTURES[pretrained.flanking_size]
    windows = read_windows(dataset, architecture.flanking_size)
    engine = make_engine(architecture, Recipe(), "float32", "jit")
    metrics, _ = evaluate_windows(engine, engine.place(pretrained.variables), windows, architecture.batch_size)
    return metrics

"""Score a model on a data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from spliceai_jax.architecture import ARCHITECTURES, PADDING
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
        batch_size: Windows of a batch whose mean loss is logged, and rows of a batch.
        after_batch: Called with the number of windows done in each batch.

    Returns:
        The metrics, and the mean loss of each `batch_size` windows.

    Raises:
        DivergedError: A loss is infinite or not a number.
    """
    gathered = MetricsAccumulator()
    losses, labelled = np.zeros(len(windows)), np.zeros(len(windows), np.int64)
    for layout in windows.scoring_layouts(batch_size):
        scored = engine.evaluate(variables, windows.batch(layout))
        positions, (probabilities, position_losses) = layout.windows, map(layout.unpack, scored)
        labels = windows.labels_at(positions)
        losses[positions] = position_losses.sum(-1, dtype=np.float64)
        labelled[positions] = (labels != PADDING).sum(-1)
        if not np.isfinite(total := losses[positions].sum()):
            raise DivergedError(f"{windows.source}: the model's loss here is {total}; its weights are unusable")
        gathered.add(probabilities, labels, losses[positions])
        after_batch(len(positions))
    # Windows are scored in another order; the logs have them in the file's.
    batches = np.arange(0, len(windows), batch_size)
    means = np.add.reduceat(losses, batches) / np.maximum(np.add.reduceat(labelled, batches), 1)
    return gathered.result(), means.tolist()


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

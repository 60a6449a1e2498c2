"""Score a model on a data set."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spliceai_jax.architecture import ARCHITECTURES, PADDING
from spliceai_jax.console import Report
from spliceai_jax.dataset import Windows, read_windows
from spliceai_jax.errors import DivergedError
from spliceai_jax.metrics import Metrics, MetricsAccumulator
from spliceai_jax.model import Variables
from spliceai_jax.packing import Layout
from spliceai_jax.parallel import Engine, make_engine
from spliceai_jax.pretrained import Pretrained
from spliceai_jax.recipes import Recipe


def scored(
    engine: Engine, models: Sequence[Variables], windows: Windows, rows: int
) -> Iterator[tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]]:
    """Send all windows through models; what comes of a batch is handed over when the next is on its way.

    Arguments:
        engine: Runs the network.
        models: Variables, placed on the engine's devices.
        windows: What to score.
        rows: Rows of a batch.

    Yields:
        The positions of a batch's windows, and of each model the probabilities (windows, 5000, 3) and the losses
        (windows, 5000) of their positions; 0 behind a window's last label.
    """

    on_their_way: deque[tuple[Layout, list[tuple[Any, Any]]]] = deque()

    def arrived() -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        layout, found = on_their_way.popleft()
        return layout.windows, [(layout.unpack(scores), layout.unpack(losses)) for scores, losses in found]

    for layout in windows.scoring_layouts(rows):
        batch = windows.batch(layout)
        on_their_way.append((layout, [engine.evaluate(variables, batch) for variables in models]))
        if len(on_their_way) > 1:
            yield arrived()
    while on_their_way:
        yield arrived()


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
        batch_size: Windows of a batch whose mean loss is logged, and rows of a batch that is scored.
        after_batch: Called with the number of windows done in each batch.

    Returns:
        The metrics, and the mean loss of each `batch_size` windows.

    Raises:
        DivergedError: A loss is infinite or not a number.
    """
    gathered = MetricsAccumulator()
    losses, labelled = np.zeros(len(windows)), np.zeros(len(windows), np.int64)
    for positions, [(probabilities, position_losses)] in scored(engine, [variables], windows, batch_size):
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


def evaluate(
    model: str | Path | Pretrained,
    dataset: str | Path,
    flanking_size: int | None = None,
    report: Report | None = None,
) -> Metrics:
    """Score a model on a data set, with the cross-entropy loss, on every device.

    Arguments:
        model: A `.pt` file, or a model in memory.
        dataset: HDF5 file.
        flanking_size: Refuse weights of any other; None takes theirs.
        report: Told how far it is; None for silence.

    Raises:
        WeightsError: See `Pretrained.from_pt`.
        DatasetError: See `read_windows`.
    """
    pretrained = model if isinstance(model, Pretrained) else Pretrained.from_pt(model, flanking_size)
    architecture = ARCHITECTURES[pretrained.flanking_size]
    report = report or Report()
    windows = read_windows(dataset, architecture.flanking_size, report.progress)
    engine = make_engine(architecture, Recipe(), "float32", "jit")
    variables = engine.place(pretrained.variables)
    with report.progress("evaluate", len(windows)) as advance:
        metrics, _ = evaluate_windows(engine, variables, windows, architecture.batch_size, advance)
    return metrics

"""A run's scalars as TensorBoard events."""

import time
from pathlib import Path
from typing import Any

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.evaluation.metrics import MEASURES
from spliceai_jax.runs.history import History, SplitRecord


class Scalars:
    """TensorBoard events that follow from the history.

    A run that is continued begins a new file with all points so far, and the earlier files are deleted. So no point is
    there twice, whenever the process that wrote them was killed.
    """

    def __init__(self, folder: Path, batches_per_epoch: int) -> None:
        """Begin a file in the folder, which is made where it is missing."""
        from tensorboardX.event_file_writer import (
            EventsWriter,  # an optional dependency; the plan checks that it is there
        )

        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        # Not SummaryWriter: it hands events to a thread, and its flush misses those that the thread has not taken yet.
        self._writer: Any = EventsWriter(str(folder / "events"))
        self._batches_per_epoch = batches_per_epoch
        self._written = (False, 0, 0)

    def write(self, history: History) -> None:
        """Write what is new since the last call; a point's step is the number of batches trained on."""
        untouched, updates, epochs = self._written
        if not untouched:
            for split, record in history.untouched.items():
                self._metrics(split, record, 0)
        for step in range(updates, len(history.update_losses)):
            self._add("train/batch_loss", history.update_losses[step], step + 1)
            self._add("train/learning_rate", history.update_rates[step], step + 1)
        for number in range(epochs, len(history.epochs)):
            for split, record in history.epochs[number].splits.items():
                self._metrics(split, record, (number + 1) * self._batches_per_epoch)
        self._writer.flush()
        self._written = (bool(history.untouched), len(history.update_losses), len(history.epochs))

    def _add(self, tag: str, value: float, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(tag, value)))

    def _metrics(self, split: str, record: SplitRecord, step: int) -> None:
        self._add(f"{split}/loss", record.metrics.loss, step)
        for kind in SITE_KINDS:
            for measure in MEASURES:
                self._add(f"{split}/{kind}_{measure.key}", measure.of(record.metrics.site(kind)), step)

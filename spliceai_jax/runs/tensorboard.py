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
        self._updates, self._measured = 0, set[tuple[str, int]]()

    def write(self, history: History) -> None:
        """Write what is new since the last call; a point's step is the number of batches trained on."""
        for step in range(self._updates, len(history.update_losses)):
            self._add("train/batch_loss", history.update_losses[step], step + 1)
            self._add("train/learning_rate", history.update_rates[step], step + 1)
        for number, records in enumerate([history.untouched, *(epoch.splits for epoch in history.epochs)]):
            for split, record in records.items():
                if (split, number) not in self._measured:
                    self._metrics(split, record, number * self._batches_per_epoch)
                    self._measured.add((split, number))
        self._writer.flush()
        self._updates = len(history.update_losses)

    def _add(self, tag: str, value: float, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(tag, value)))

    def _metrics(self, split: str, record: SplitRecord, step: int) -> None:
        self._add(f"{split}/loss", record.metrics.loss, step)
        for kind in SITE_KINDS:
            for measure in MEASURES:
                self._add(f"{split}/{kind}_{measure.key}", measure.of(record.metrics.site(kind)), step)

"""A run's scalars as TensorBoard events."""

import time
from pathlib import Path
from typing import Any

from spliceai_jax.history import History, SplitRecord


class Scalars:
    """Events that follow from the history.

    A run that goes on begins a new file with all points so far, and the files of before go: no point is there twice,
    whatever the process that wrote them did not live to see.
    """

    def __init__(self, folder: Path, batches_per_epoch: int) -> None:
        """Begin the file in a folder, which is made where it is missing."""
        from tensorboardX.event_file_writer import EventsWriter  # an extra, checked for in the plan

        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        # SummaryWriter hands events to a thread, and its flush leaves behind those that the thread has not taken yet.
        self._writer: Any = EventsWriter(str(folder / "events"))
        self._batches_per_epoch = batches_per_epoch
        self._written = (False, 0, 0)

    def write(self, history: History) -> None:
        """Write what is new, the step being the number of batches trained on."""
        untouched, updates, epochs = self._written
        if not untouched:
            for split, record in history.untouched.items():
                self._metrics(split, record, 0)
        for step in range(updates, len(history.update_losses)):
            self._add("train/batch_loss", history.update_losses[step], step + 1)
            self._add("train/learning_rate", history.update_rates[step], step + 1)
        for number in range(epochs, len(history.epochs)):
            for split in ("train", "validation", "test"):
                record = getattr(history.epochs[number], split)
                self._metrics(split, record, (number + 1) * self._batches_per_epoch)
        self._writer.flush()
        self._written = (bool(history.untouched), len(history.update_losses), len(history.epochs))

    def _add(self, tag: str, value: float, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(tag, value)))

    def _metrics(self, split: str, record: SplitRecord, step: int) -> None:
        self._add(f"{split}/loss", record.metrics.loss, step)
        for kind in ("donor", "acceptor"):
            site = getattr(record.metrics, kind)
            for name, value in (
                ("auprc", site.auprc),
                ("top_k", site.top_k[1]),
                ("precision", site.precision),
                ("recall", site.recall),
            ):
                self._add(f"{split}/{kind}_{name}", value, step)

"""Writes a run's files, in the order that makes it safe to be killed at any moment."""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spliceai_jax import stored
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.evaluation.metrics import MEASURES, SiteMetrics
from spliceai_jax.runs.card import model_card
from spliceai_jax.runs.checkpoints import Checkpoints
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import History, LoopState, Split, SplitRecord
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.record import Record
from spliceai_jax.training.step import TrainState


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


_FOLDERS: dict[Split, str] = {"train": "TRAIN", "validation": "VAL", "test": "TEST", "old_species": "GENOMIC"}


class RunWriter:
    """Writes what follows from a run's state: logs and history, checkpoints, models and their card.

    The checkpoint comes last. If the process dies before it is written, the run is continued from the one before, and
    everything else is written again with the same bytes.
    """

    def __init__(
        self,
        folder: RunFolder,
        identity: RunIdentity,
        record: Record,
        checkpoints: Checkpoints,
        untouched: bytes,
        scalars: Scalars | None = None,
    ) -> None:
        """Write nothing yet.

        Arguments:
            untouched: The `.pt` file of the weights that the run was given.
        """
        self._folder, self._identity, self._record = folder, identity, record
        self._checkpoints, self._untouched, self._scalars = checkpoints, untouched, scalars

    def logs(self, loop: LoopState) -> None:
        """Write everything that follows from what was measured: log files, `history.json`, TensorBoard events."""
        for name, text in render_logs(loop.history).items():
            self._put(self._folder.log(name), text)
        self._put(self._folder.history, stored.render(loop.to_json(), indent=None))
        if self._scalars:
            self._scalars.write(loop.history)

    def _put(self, path: Path, text: str) -> None:
        """Write a file unless it holds this text already."""
        with contextlib.suppress(OSError):
            if path.read_bytes() == text.encode():
                return
        self._folder.write(path, text)

    def checkpoint(self, state: TrainState, loop: LoopState) -> None:
        """Save everything that decides the rest of the run."""
        self.logs(loop)
        self._checkpoints.save(state, loop)

    def models(self, content: bytes, loop: LoopState) -> None:
        """Write the model of the epoch under way, and if it is the tuned one so far, `model_best.pt` and its card."""
        history, recipe = loop.history, self._identity.choices
        self._folder.write(self._folder.epoch_model(loop.epoch), content)
        if history.tuned_epoch(recipe) == loop.epoch:
            best = self._untouched if history.kept_epoch(recipe) is None else content
            self._folder.write(self._folder.best_model, best)
            # The card holds its model's SHA-256: between the two writes the old card does not pass for the new one's.
            self.card(loop)

    def card(self, loop: LoopState) -> None:
        """Write the card of the best model so far."""
        history = loop.history
        kept = history.kept_epoch(self._identity.choices)
        digest = self._identity.pretrained_model if kept is None else history.epochs[kept].model_sha256
        card = model_card(digest, self._identity, self._record, history)
        self._put(self._folder.best_card, stored.render(asdict(card)))


def render_logs(history: History) -> dict[str, str]:
    """Return OpenSpliceAI's log files, `TRAIN/loss_batch.txt` and so on, with their whole content: a number a line."""
    files = {}
    for split in history.splits:
        folder, measured = _FOLDERS[split], [epoch.splits.get(split) for epoch in history.epochs]
        records = [record for record in measured if record]
        training = split == "train"
        columns: dict[str, Iterable[object]] = {
            "loss_batch": (record.metrics.loss for record in records),
            "loss_every_update": (
                history.update_losses if training else (loss for record in records for loss in record.batch_losses)
            ),
            "learning_rate_every_epoch": (epoch.learning_rate for epoch in history.epochs) if training else (),
            "learning_rate_every_batch": history.update_rates if training else (),
            "accuracy": (record.metrics.mean_recall for record in records),
        }
        for kind in SITE_KINDS:
            sites = [record.metrics.site(kind) for record in records]
            columns |= {f"{kind}_{measure.log_file}": [measure.of(site) for site in sites] for measure in MEASURES}
            columns |= {
                f"{kind}_accuracy": [site.recall for site in sites],
                f"{kind}_topk_all": [_topk_all(site) for site in sites],
            }
        for column, values in columns.items():
            files[f"{folder}/{column}.txt"] = "".join(f"{value}\n" for value in values)
    return files


def _topk_all(site: SiteMetrics) -> str:
    numbers = (*site.top_k, site.auprc, *site.thresholds)
    return "\t".join([*(f"{number:.4f}" for number in numbers), str(site.sites)])

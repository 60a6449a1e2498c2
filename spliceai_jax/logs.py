"""OpenSpliceAI's log files, as text that follows from the history alone."""

from collections.abc import Iterable

from spliceai_jax.history import History, SplitRecord
from spliceai_jax.metrics import SiteMetrics


def render_logs(history: History) -> dict[str, str]:
    """Every log file, `TRAIN/loss_batch.txt` and so on -> its whole content. One number a line."""
    files = {}
    for folder in ("TRAIN", "VAL", "TEST"):
        name = {"TRAIN": "train", "VAL": "validation", "TEST": "test"}[folder]
        records: list[SplitRecord] = [getattr(epoch, name) for epoch in history.epochs]
        training = folder == "TRAIN"
        columns: dict[str, Iterable[object]] = {
            "loss_batch": (record.metrics.loss for record in records),
            "loss_every_update": (
                history.update_losses if training else (loss for record in records for loss in record.batch_losses)
            ),
            "learning_rate_every_epoch": (epoch.learning_rate for epoch in history.epochs) if training else (),
            "learning_rate_every_batch": history.update_rates if training else (),
            "accuracy": (record.metrics.mean_recall for record in records),
        }
        for kind in ("donor", "acceptor"):
            sites: list[SiteMetrics] = [getattr(record.metrics, kind) for record in records]
            columns |= {
                f"{kind}_accuracy": (site.recall for site in sites),
                f"{kind}_precision": (site.precision for site in sites),
                f"{kind}_recall": (site.recall for site in sites),
                f"{kind}_f1": (site.f1 for site in sites),
                f"{kind}_auprc": (site.auprc for site in sites),
                f"{kind}_topk": (site.top_k[1] for site in sites),
                f"{kind}_topk_all": (_topk_all(site) for site in sites),
            }
        for column, values in columns.items():
            files[f"{folder}/{column}.txt"] = "".join(f"{value}\n" for value in values)
    return files


def _topk_all(site: SiteMetrics) -> str:
    numbers = (*site.top_k, site.auprc, *site.thresholds)
    return "\t".join([*(f"{number:.4f}" for number in numbers), str(site.sites)])

"""OpenSpliceAI's log files, as text that follows from the history alone."""

from collections.abc import Iterable

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.evaluation.metrics import MEASURES, SiteMetrics
from spliceai_jax.runs.history import History, Split

_FOLDERS: dict[Split, str] = {"train": "TRAIN", "validation": "VAL", "test": "TEST", "old_species": "GENOMIC"}


def render_logs(history: History) -> dict[str, str]:
    """Return every log file, `TRAIN/loss_batch.txt` and so on, with its whole content: one number per line."""
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

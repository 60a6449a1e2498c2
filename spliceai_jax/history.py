"""What a run has measured so far; the log files and the stopping rule follow from it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from spliceai_jax.metrics import Metrics, SiteMetrics
from spliceai_jax.recipes import Recipe


@dataclass(frozen=True)
class SplitRecord:
    """One evaluation of a split.

    Attributes:
        metrics: Over the whole split.
        batch_losses: The mean loss of each batch.
    """

    metrics: Metrics
    batch_losses: list[float]


@dataclass(frozen=True)
class Epoch:
    """What was measured after an epoch.

    Attributes:
        learning_rate: Of the epoch's last batch.
        train: At most 1000 of the windows just trained on, with the weights after the epoch.
        validation: The whole validation split.
        test: The whole test split.
    """

    learning_rate: float
    train: SplitRecord
    validation: SplitRecord
    test: SplitRecord


@dataclass
class History:
    """A run so far.

    Attributes:
        untouched: "validation" and "test" of the model before training; empty until evaluated.
        update_losses: Training loss of every batch so far.
        update_rates: Learning rate of every batch so far.
        epochs: The finished epochs.
    """

    untouched: dict[str, SplitRecord] = field(default_factory=dict)
    update_losses: list[float] = field(default_factory=list)
    update_rates: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, the first of equals."""
        losses = [epoch.validation.metrics.loss for epoch in self.epochs]
        return losses.index(min(losses))

    @property
    def epochs_since_best(self) -> int:
        """Epochs finished after the best one."""
        return len(self.epochs) - 1 - self.best_epoch

    def finished(self, recipe: Recipe) -> bool:
        """Whether a run of this recipe is over: all epochs are done, or it stopped early."""
        if not self.epochs:
            return False
        return len(self.epochs) >= recipe.epochs or (
            recipe.early_stopping and self.epochs_since_best >= recipe.patience
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON; floats survive exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "History":
        """The inverse of `to_json`."""
        return cls(
            untouched={name: _split(record) for name, record in data["untouched"].items()},
            update_losses=data["update_losses"],
            update_rates=data["update_rates"],
            epochs=[
                Epoch(epoch["learning_rate"], *(_split(epoch[name]) for name in ("train", "validation", "test")))
                for epoch in data["epochs"]
            ],
        )


def _site(data: dict[str, Any]) -> SiteMetrics:
    return SiteMetrics(**{**data, "top_k": tuple(data["top_k"]), "thresholds": tuple(data["thresholds"])})


def _split(data: dict[str, Any]) -> SplitRecord:
    metrics = {
        **data["metrics"],
        "donor": _site(data["metrics"]["donor"]),
        "acceptor": _site(data["metrics"]["acceptor"]),
    }
    return SplitRecord(Metrics(**metrics), data["batch_losses"])

"""What a training run is made of, as one table."""

from dataclasses import dataclass
from typing import Literal

from spliceai_jax.schedules import Scheduler, Timing

LossName = Literal["cross_entropy_loss", "focal_loss"]


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run that is not a file name.

    Attributes:
        unfreeze: How many of the last residual units train.
        unfreeze_all: Train everything.
        head_trains: `final_conv` trains along with the last units.
        frozen_batchnorm: BatchNorm of frozen units uses its running statistics, or the batch's (and tracks them).
        loss: Training and evaluation loss.
        focal_alpha: Factor of the focal loss.
        padding_counts: Positions behind a gene's end count in the training loss's mean.
        epochs: At most so many.
        early_stopping: Stop after `patience` epochs without a better validation loss.
        patience: See early_stopping.
        learning_rate: Where the schedule starts (OneCycleLR: its peak).
        weight_decay: AdamW's.
        scheduler: Shape of the learning rate over the run.
        timing: When the schedule steps.
        batching: "pooled": windows of all shards shuffled together, the last batch partial. "per_shard": each shard
            batched alone, its remainder dropped, the shards in the same order every epoch.
        batch_size: Windows a batch; None for the architecture's documented one.
    """

    unfreeze: int = 1
    unfreeze_all: bool = False
    head_trains: bool = True
    frozen_batchnorm: Literal["running", "batch"] = "running"
    loss: LossName = "cross_entropy_loss"
    focal_alpha: float = 0.25
    padding_counts: bool = False
    epochs: int = 10
    early_stopping: bool = False
    patience: int = 2
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    scheduler: Scheduler = "MultiStepLR"
    timing: Timing = "exact"
    batching: Literal["pooled", "per_shard"] = "pooled"
    batch_size: int | None = None

    @property
    def rates(self) -> str:
        """The learning rate over the run, in words."""
        return f"{self.scheduler}{', peak' if self.scheduler == 'OneCycleLR' else ' from'} {self.learning_rate:g}"


RECIPES = {
    # OpenSpliceAI's documented behaviour with the faults of its release mended, as its 0.1-dev does.
    "openspliceai": Recipe(),
    # The training arithmetic of the release, to understand published runs.
    "openspliceai-0.0.7": Recipe(
        head_trains=False,
        frozen_batchnorm="batch",
        focal_alpha=1.0,
        padding_counts=True,
        timing="batch_late",
        batching="per_shard",
    ),
    # Measured to work best for a new species; the figures are in the README.
    "best": Recipe(
        unfreeze_all=True,
        learning_rate=1e-3,
        scheduler="OneCycleLR",
        batch_size=12,
    ),
}

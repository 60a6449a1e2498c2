"""What a training run consists of, as one table of recipes."""

from dataclasses import dataclass
from typing import Literal

from spliceai_jax.training.schedules import Scheduler, Timing

LossName = Literal["cross_entropy_loss", "focal_loss"]
Parallel = Literal["jit", "pmap"]


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run that is not a file name.

    Attributes:
        unfreeze: The number of residual units, counted from the last, that train.
        unfreeze_all: All parameters train.
        head_trains: `final_conv` trains along with the last units.
        frozen_batchnorm: Whether frozen units' BatchNorm uses its running statistics or the batch's (and tracks them).
        trained_batchnorm: The same of units that train.
        loss: The loss of training and evaluation.
        focal_alpha: The factor of the focal loss.
        padding_counts: Positions beyond the end of a gene count in the mean of the training loss.
        epochs: The number of epochs, unless the run stops early.
        early_stopping: Stop after `patience` epochs without a better validation loss.
        patience: See early_stopping.
        learning_rate: The rate that the schedule starts from (OneCycleLR: its peak).
        weight_decay: AdamW's weight decay.
        l2sp: The strength of the pull toward the weights that the run starts from: see `make_optimizer`.
        distill_weight: The teachers' share of the training loss where they have a say, 0 to 1: see `losses.taught`; 0:
            there are no teachers.
        scheduler: The shape of the learning rate over the run.
        timing: When the schedule steps.
        batching: See `epoch_batches`.
        mutation_rate: The share of the bases that are replaced at random in each training batch, away from sites: see
            `mutated`.
        dropout: The share of what each residual unit that trains adds to its input that is dropped at random in
            training: see `operations.dropped`.
        batch_size: Windows in a batch; None: see `batch_size_of`.
        fewest_steps: See `batch_size_of`.
        keeps_last: The tuned model is that of the last epoch, and not of the one with the lowest validation loss: see
            `tuned_is_last`.
        test_each_epoch: Some training windows, the test set and the old species' are evaluated after each epoch, as
            OpenSpliceAI does, and not the validation set alone; the latter two are evaluated at the end in any case.
        untouched_if_better: The run's best model is the untouched one where that has the higher mean AUPRC on the
            validation set: see `History.kept_epoch`.
    """

    unfreeze: int = 1
    unfreeze_all: bool = False
    head_trains: bool = True
    frozen_batchnorm: Literal["running", "batch"] = "running"
    trained_batchnorm: Literal["batch", "running"] = "batch"
    loss: LossName = "cross_entropy_loss"
    focal_alpha: float = 0.25
    padding_counts: bool = False
    epochs: int = 10
    early_stopping: bool = False
    patience: int = 2
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    l2sp: float = 0.0
    distill_weight: float = 0.0
    scheduler: Scheduler = "MultiStepLR"
    timing: Timing = "exact"
    batching: Literal["pooled", "per_shard"] = "pooled"
    mutation_rate: float = 0.0
    dropout: float = 0.0
    batch_size: int | None = None
    fewest_steps: int | None = None
    keeps_last: bool = False
    test_each_epoch: bool = True
    untouched_if_better: bool = False

    @property
    def arithmetic(self) -> "Recipe":
        """What the compiled steps depend on, with all else at its default; recipes that agree in it share programs."""
        return Recipe(
            unfreeze=self.unfreeze,
            unfreeze_all=self.unfreeze_all,
            head_trains=self.head_trains,
            frozen_batchnorm=self.frozen_batchnorm,
            trained_batchnorm=self.trained_batchnorm,
            loss=self.loss,
            focal_alpha=self.focal_alpha,
            padding_counts=self.padding_counts,
            weight_decay=self.weight_decay,
            l2sp=self.l2sp,
            distill_weight=self.distill_weight,
            dropout=self.dropout,
        )

    def batch_size_of(self, windows: int, documented: int) -> int:
        """Return the number of windows in a batch.

        Where `batch_size` does not say it, it is the one that OpenSpliceAI documents; or, with `fewest_steps`, the
        largest with which an epoch has at least so many steps, but 2 to 12: a small set needs small batches, or it is
        over after too few steps.

        Arguments:
            windows: The number of windows in the training set.
            documented: OpenSpliceAI's number for the architecture.
        """
        if self.batch_size or self.fewest_steps is None:
            return self.largest_batch(documented)
        return min(max(windows // self.fewest_steps, _SMALLEST_BATCH), _LARGEST_BATCH)

    def largest_batch(self, documented: int) -> int:
        """Return the number of windows in a batch of a large training set; for `documented` see `batch_size_of`."""
        return self.batch_size or (documented if self.fewest_steps is None else _LARGEST_BATCH)

    @property
    def tuned_is_last(self) -> bool:
        """Whether the tuned model is that of the last epoch; a run that stops early chooses by the validation loss."""
        return self.keeps_last and not self.early_stopping

    @property
    def rates(self) -> str:
        """The learning rate over the run, in words."""
        return f"{self.scheduler}{', peak' if self.scheduler == 'OneCycleLR' else ' from'} {self.learning_rate:g}"

    @property
    def at_random(self) -> str:
        """What is changed at random in each training step, as the end of a list in words; empty if nothing is."""
        mutated = f", {self.mutation_rate:.0%} of the bases mutated" if self.mutation_rate else ""
        return mutated + (f", dropout of {self.dropout:.0%}" if self.dropout else "")


_SMALLEST_BATCH, _LARGEST_BATCH = 2, 12

RECIPES = {
    # OpenSpliceAI's documented behaviour, with the faults of its release fixed.
    "openspliceai": Recipe(untouched_if_better=True),
    # The training arithmetic of the release, to understand published runs.
    "openspliceai-0.0.7": Recipe(
        head_trains=False,
        frozen_batchnorm="batch",
        focal_alpha=1.0,
        padding_counts=True,
        timing="batch_late",
        batching="per_shard",
    ),
    # Measured to work best for a new species; the figures are in benchmarks/EXPERIMENTS.md.
    "best": Recipe(
        unfreeze_all=True,
        trained_batchnorm="running",
        learning_rate=1e-3,
        scheduler="OneCycleLR",
        epochs=15,
        mutation_rate=0.05,
        dropout=0.2,
        fewest_steps=25,
        keeps_last=True,
        test_each_epoch=False,
        untouched_if_better=True,
    ),
}

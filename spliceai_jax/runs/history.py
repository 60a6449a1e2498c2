"""What a run has measured so far; the log files and the stopping rule follow from it."""

from dataclasses import asdict, dataclass, field
from typing import Literal

from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.calibration import Calibration
from spliceai_jax.evaluation.metrics import Metrics
from spliceai_jax.stored import Count, Json, check_keys
from spliceai_jax.training.recipes import Recipe

Split = Literal["train", "validation", "test", "old_species"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
"""Those that every run has. The old species' is there only where `genomic_eval_dataset` was given."""

SET_NAMES: dict[Split, str] = {
    "train": "training",
    "validation": "validation",
    "test": "test",
    "old_species": "old-species",
}
"""What the sets are called in texts, before the word "set"."""


@dataclass(frozen=True)
class SplitRecord:
    """One evaluation of a split.

    Attributes:
        metrics: The metrics over all batches.
        batch_losses: The mean loss of each batch.
    """

    metrics: Metrics
    batch_losses: list[float]


@dataclass(frozen=True)
class Epoch:
    """What was measured after an epoch.

    Attributes:
        learning_rate: The rate of the epoch's last batch.
        validation: On the whole validation split.
        train: On at most 1000 of the windows just trained on, with the weights after the epoch; None where the recipe
            does without (`test_each_epoch`), as in the next two.
        test: On the whole test split; the tuned epoch has it once the run is over.
        old_species: The same on the data set of the old species; None too where the run has none.
        model_sha256: SHA-256 of the `.pt` file of the weights after the epoch.
    """

    learning_rate: float
    validation: SplitRecord
    train: SplitRecord | None = None
    test: SplitRecord | None = None
    model_sha256: str = ""
    old_species: SplitRecord | None = None

    @property
    def splits(self) -> dict[Split, SplitRecord]:
        """The evaluation of every split that was measured."""
        found: dict[Split, SplitRecord | None] = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            "old_species": self.old_species,
        }
        return {name: record for name, record in found.items() if record is not None}


@dataclass(frozen=True)
class Ending:
    """What a run finds at its end, in one pass of the untouched and the tuned model over all sets but the training set.

    Attributes:
        sets: "validation", "test" and, where the run has it, "old_species" -> how the tuned model, kept as the best or
            not, compares with the untouched one there.
        calibration: The temperature of the best model, and what it does.
        test_files: With several test files: the path of each -> the same comparison there.
    """

    sets: dict[Split, Differences]
    calibration: Calibration
    test_files: dict[str, Differences] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse, with a ValueError, one that lacks a set: it was read from a damaged file."""
        for name, found in (("sets", self.sets), ("calibration.measures", self.calibration.measures)):
            check_keys(name, found, ("validation", "test"))


@dataclass
class History:
    """A run so far.

    Attributes:
        untouched: The evaluation of the model before training: for "validation", and for all splits but "train" from
            the beginning (`test_each_epoch`) or once the run is over; empty until it is done.
        update_losses: The training loss of every batch so far.
        update_rates: The learning rate of every batch so far.
        epochs: The finished epochs.
        ending: What was found at the run's end; None until then.
    """

    untouched: dict[Split, SplitRecord] = field(default_factory=dict)
    update_losses: list[float] = field(default_factory=list)
    update_rates: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    ending: Ending | None = None

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that the run measures, as far as it shows; the old species' comes last."""
        return tuple(dict.fromkeys((*SPLITS, *self.untouched)))

    @property
    def lowest_loss_epoch(self) -> int:
        """The epoch with the lowest validation loss, the first of equals."""
        losses = [epoch.validation.metrics.loss for epoch in self.epochs]
        return losses.index(min(losses))

    def tuned_epoch(self, recipe: Recipe) -> int:
        """Return the epoch whose model is the tuned one.

        It is the epoch with the lowest validation loss or, where the recipe says so, the last one that is done.
        """
        return len(self.epochs) - 1 if recipe.tuned_is_last else self.lowest_loss_epoch

    def kept_epoch(self, recipe: Recipe) -> int | None:
        """Return the epoch whose model is the run's best one; None where that is the untouched model.

        It is `tuned_epoch`. A recipe may keep the untouched model where that epoch's mean AUPRC on the validation set
        is lower than the untouched model's. The loss does not decide this, since it also depends on how well scores
        are calibrated, which says nothing about which sites are found.
        """
        epoch = self.tuned_epoch(recipe)
        tuned, untouched = self.epochs[epoch].validation, self.untouched["validation"]
        if recipe.untouched_if_better and tuned.metrics.mean_auprc < untouched.metrics.mean_auprc:
            return None
        return epoch

    @property
    def epochs_since_lowest_loss(self) -> int:
        """The number of epochs finished after the one with the lowest validation loss."""
        return len(self.epochs) - 1 - self.lowest_loss_epoch

    def finished(self, recipe: Recipe) -> bool:
        """Return whether a run of this recipe is over: all epochs are done, or it stopped early."""
        if not self.epochs:
            return False
        return len(self.epochs) >= recipe.epochs or (
            recipe.early_stopping and self.epochs_since_lowest_loss >= recipe.patience
        )


@dataclass
class LoopState:
    """Where a run stands.

    Attributes:
        epoch: The epoch under way, counted from 0.
        batch: Its next batch, counted from 0; the number of batches when only the evaluation is left.
        history: What was measured so far.
    """

    epoch: Count = 0
    batch: Count = 0
    history: History = field(default_factory=History)

    def __post_init__(self) -> None:
        """Refuse what no run can have measured, with a ValueError: it was read from a damaged file."""
        history = self.history
        if len(history.epochs) != self.epoch:
            raise ValueError(f"`history` holds {len(history.epochs)} epochs, in epoch {self.epoch}")
        if len(history.update_losses) != len(history.update_rates):
            raise ValueError(
                f"`history` holds {len(history.update_losses)} losses and {len(history.update_rates)} rates"
            )
        if history.epochs or history.update_losses:
            check_keys("untouched", history.untouched, ("validation",))

    def to_json(self) -> Json:
        """Return the content of `history.json`. A split that the run does not have is left out, not written as null."""
        return asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})

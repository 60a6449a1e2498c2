"""What a run will do: every input read, everything that can be wrong found, before anything is written."""

import importlib.util
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spliceai_jax import freezing, processes
from spliceai_jax.architecture import ARCHITECTURES, CLASSES, WINDOW, Architecture
from spliceai_jax.dataset import Progress, Windows, epoch_batches, read_windows, split_validation
from spliceai_jax.errors import DatasetError, SettingsError, SpliceAIWarning
from spliceai_jax.folder import FollowedFolder, RunFolder
from spliceai_jax.kept_trunk import TrunkPlan, plan_trunk
from spliceai_jax.pretrained import Pretrained
from spliceai_jax.recipes import Recipe
from spliceai_jax.settings import TransferSettings


@dataclass(frozen=True)
class Plan:
    """A run that can begin.

    Attributes:
        settings: What the caller asked for.
        recipe: The recipe with the caller's overrides.
        pretrained: The model to start from.
        folder: Where the run's files go.
        train: Windows to train on.
        validation: Windows whose loss picks the best model.
        test: Windows to test on.
        validation_from: In words, how the validation windows were found.
        trunk: Whether what the frozen part makes of each window is kept.
    """

    settings: TransferSettings
    recipe: Recipe
    pretrained: Pretrained
    folder: RunFolder
    train: Windows
    validation: Windows
    test: Windows
    validation_from: str
    trunk: TrunkPlan

    @property
    def architecture(self) -> Architecture:
        """The network's size."""
        return ARCHITECTURES[self.pretrained.flanking_size]

    @property
    def batch_size(self) -> int:
        """Windows a batch, over all devices."""
        return self.recipe.batch_size or self.architecture.batch_size

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The positions in `train` of each batch of an epoch."""
        return epoch_batches(self.train, self.batch_size, self.recipe.batching, self.settings.random_seed, epoch)

    def identity(self) -> dict[str, Any]:
        """What decides the run's result: a run goes on only if all of it is the same."""
        return {
            "recipe": self.settings.recipe,
            **asdict(self.recipe),
            "batch_size": self.batch_size,
            "flanking_size": self.architecture.flanking_size,
            "random_seed": self.settings.random_seed,
            "precision": self.settings.precision,
            "pretrained_model": self.pretrained.fingerprint,
            "train_dataset": self.train.fingerprint,
            "validation_dataset": self.validation.fingerprint,
            "test_dataset": self.test.fingerprint,
        }

    def summary(self) -> dict[str, str]:
        """The plan in words, a fact a line."""
        settings, recipe, architecture = self.settings, self.recipe, self.architecture
        devices = jax.devices()
        where = f" in {jax.process_count()} processes" if processes.several() else ""
        epochs = f"{recipe.epochs}, {len(self.batches(0))} batches of {self.batch_size} each"
        if recipe.early_stopping:
            epochs += f", stopping after {recipe.patience} without a better validation loss"
        return {
            "model": f"{settings.pretrained_model}: flanking size {architecture.flanking_size}",
            "train": _described(self.train),
            "validation": f"{_described(self.validation)} ({self.validation_from})",
            "test": _described(self.test),
            "recipe": f"{settings.recipe}: {recipe.loss}, {recipe.rates}, weight decay {recipe.weight_decay:g}",
            "trains": _trains(architecture, recipe),
            "frozen part": self.trunk.words,
            "epochs": epochs,
            "devices": f"{len(devices)} x {devices[0].device_kind}{where} ({settings.parallel}, {settings.precision})",
            "output": str(self.folder.root),
        }


def make_plan(settings: TransferSettings, progress: Progress) -> Plan:
    """Read and check everything.

    Arguments:
        settings: What the caller asked for.
        progress: Told how far reading is.

    Raises:
        SpliceAIError: Of the kind that fits; the message names what was wrong and the way out.
    """
    if settings.parallel == "pmap" and processes.several():
        raise SettingsError(f"--parallel pmap is for one process, here are {jax.process_count()}; leave it at jit")
    if settings.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise SettingsError(
            "--tensorboard needs the package tensorboardX, which is not installed; pip install "
            "'spliceai-jax[tensorboard]', or leave the flag out"
        )
    recipe = settings.effective_recipe
    pretrained = Pretrained.from_pt(settings.pretrained_model, settings.flanking_size)
    folder = (RunFolder if processes.leads() else FollowedFolder).named(
        settings.output_dir,
        settings.project_name,
        pretrained.flanking_size,
        settings.exp_num,
        settings.random_seed,
    )
    folder.check(settings.resume)
    train, validation, test, validation_from = _load_data(settings, pretrained.flanking_size, progress)
    # Models of every epoch and the best; two checkpoints and a third on its way, of weights and two moments; logs.
    needed = (recipe.epochs + 2 + 3 * 3) * len(pretrained.pt_bytes()) + 10_000_000
    trunk = plan_trunk(
        settings,
        ARCHITECTURES[pretrained.flanking_size],
        recipe,
        sets=(train, validation, test),
        free=folder.bytes_free - needed,
    )
    folder.check_room(needed + trunk.bytes)
    plan = Plan(settings, recipe, pretrained, folder, train, validation, test, validation_from, trunk)
    if not plan.batches(epoch=0):
        raise DatasetError(
            f"{plan.train.source}: no shard fills a batch of {plan.batch_size} windows, and the recipe "
            f"{settings.recipe} drops remainders; give a smaller --batch-size or another recipe"
        )
    return plan


def _load_data(
    settings: TransferSettings, flanking_size: int, progress: Progress
) -> tuple[Windows, Windows, Windows, str]:
    train_path, test_path = Path(settings.train_dataset), Path(settings.test_dataset)
    sibling = train_path.with_name(train_path.name.replace("train", "validation"))
    if settings.validation_dataset is not None:
        validation_path, origin = Path(settings.validation_dataset), "--validation-dataset"
    elif sibling != train_path and sibling.exists():
        validation_path, origin = sibling, "found beside the training file, by its name"
    else:
        validation_path, origin = None, "a tenth of the training file"
    paths = [("test", test_path)] + ([("validation", validation_path)] if validation_path else [])
    train = read_windows(train_path, flanking_size, progress)
    read = {}
    for name, path in paths:
        windows = read_windows(path, flanking_size, progress)
        if windows.fingerprint == train.fingerprint:
            raise DatasetError(
                f"{path}: the {name} set is the training set ({train_path}); its scores would mean nothing; "
                f"give another --{name}-dataset"
            )
        read[name] = windows
    if validation_path is None:
        train, read["validation"] = split_validation(train, settings.random_seed)
    elif read["validation"].fingerprint == read["test"].fingerprint:
        warnings.warn(
            f"{test_path}: the test set is the validation set too, which picks the best model; its scores flatter",
            SpliceAIWarning,
            stacklevel=4,
        )
    return train, read["validation"], read["test"], origin


def _described(windows: Windows) -> str:
    counts = dict(zip(CLASSES, windows.class_counts[: len(CLASSES)], strict=True))
    return (
        f"{windows.source}: {len(windows)} windows, {counts['donor']} donors, {counts['acceptor']} acceptors, "
        f"{windows.class_counts[-1] / (len(windows) * WINDOW):.0%} padding"
    )


def _trains(architecture: Architecture, recipe: Recipe) -> str:
    if recipe.unfreeze_all:
        return "everything"
    existing = len(architecture.units)
    words = f"{len(freezing.trainable_units(architecture, recipe))} of {existing} residual units"
    if recipe.unfreeze > existing:
        words += f" (all: --unfreeze {recipe.unfreeze} is more than there are)"
    if recipe.head_trains:
        words += " and the head"
    frozen = "running" if recipe.frozen_batchnorm == "running" else "the batch's"
    return f"{words}; frozen BatchNorm on {frozen} statistics"

"""What a run will do: all input is read, and everything that can be wrong is found, before anything is written."""

import hashlib
import importlib.util
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int

from spliceai_jax import processes
from spliceai_jax.architecture import ARCHITECTURES, WINDOW, Architecture
from spliceai_jax.data_sets.run import create_data
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError, SettingsError
from spliceai_jax.evaluation.teaching import bytes_of_targets
from spliceai_jax.fine_tuning.data_sets import read_sets
from spliceai_jax.fine_tuning.levers import Levers, check_levers, parent_of, read_levers
from spliceai_jax.fine_tuning.room import CachePlan, bytes_of_row, check_memory, plan_cache
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.runs.folder import FollowedFolder, RunFolder
from spliceai_jax.runs.history import SPLITS, Split
from spliceai_jax.runs.identity import RunIdentity
from spliceai_jax.runs.record import DatasetRecord, Parent, Record, UnlabelledRecord, read_record
from spliceai_jax.runs.session import Session, now, versions, what_rounds
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.trainable import Trainable, padding_counts
from spliceai_jax.windows.batches import epoch_batches
from spliceai_jax.windows.hdf5 import check_form
from spliceai_jax.windows.training_packer import training_packer
from spliceai_jax.windows.windows import Windows


@dataclass(frozen=True, eq=False)
class Plan:
    """A run that can begin.

    Attributes:
        settings: What the caller asked for.
        recipe: The recipe with the caller's overrides.
        pretrained: The model to start from.
        folder: Where the run's files go.
        sets: The windows to train on ("train"), those whose loss picks the best model ("validation"), those to test on
            ("test"), and where they were given, those of the old species ("old_species").
        validation_from: How the validation windows were found, in words.
        cache: Whether the frozen part's output is cached.
        parent: The file of the model to start from, as it was read.
        levers: What keeps the model from forgetting; the windows that training batches are made of.
    """

    settings: TransferSettings
    recipe: Recipe
    pretrained: Pretrained
    folder: RunFolder
    sets: dict[Split, Windows]
    validation_from: str
    cache: CachePlan
    parent: Parent
    levers: Levers

    @property
    def train(self) -> Windows:
        """The windows to train on."""
        return self.sets["train"]

    @property
    def architecture(self) -> Architecture:
        """The network's size."""
        return ARCHITECTURES[self.pretrained.flanking_size]

    @cached_property
    def batch_size(self) -> int:
        """Windows in a batch, over all devices."""
        return self.recipe.batch_size_of(len(self.levers.drawn(epoch=0)), self.architecture.batch_size)

    @cached_property
    def most_rows(self) -> int:
        """Rows in a training batch at most: not more than there are windows, whatever `batch_size` is."""
        return min(self.batch_size, self._most_windows)

    @property
    def rows_evaluated(self) -> int:
        """Rows in a batch of windows that are only scored: a small training set's small batches would be slow."""
        largest = self.recipe.largest_batch(self.architecture.batch_size)
        return min(largest, self._most_windows)

    @property
    def _most_windows(self) -> int:
        """The number of windows in the largest set, or in an epoch if that draws some windows more than once.

        The windows that only measure what is forgotten do not count: the batches of training, and with them the model
        to the bit, are the same with and without them.
        """
        drawn = len(self.levers.drawn(epoch=0))
        return max(drawn, len(self.levers.trained_on), *(len(self.sets[name]) for name in SPLITS))

    @cached_property
    def trainable(self) -> Trainable:
        """What trains."""
        return Trainable.of(self.architecture, self.recipe)

    @cached_property
    def padding_counts(self) -> bool:
        """See `trainable.padding_counts`."""
        return padding_counts(self.recipe, self.trainable)

    @property
    def targets(self) -> Path:
        """The file of what the teachers say while the run is under way, which each process has for itself."""
        levers, decides = self.levers, hashlib.sha256(self.levers.trained_on.fingerprint.encode())
        decides.update(np.ascontiguousarray(levers.taught).tobytes())
        for part in (*(teacher.fingerprint for teacher in levers.teachers), self.settings.precision):
            decides.update(part.encode())
        return self.folder.root / f"targets_{decides.hexdigest()[:16]}_{jax.process_index()}.float16"

    def batches(self, epoch: int) -> list[Int[np.ndarray, " batch"]]:
        """Return the positions in `levers.trained_on` of each batch of an epoch."""
        windows, drawn = self.levers.trained_on, self.levers.drawn(epoch)
        shards, seed = windows.shards[windows.index[drawn]], self.settings.random_seed
        return [drawn[batch] for batch in epoch_batches(shards, self.batch_size, self.recipe.batching, seed, epoch)]

    def identity(self) -> RunIdentity:
        """Return what decides the run's result."""
        return RunIdentity(
            recipe=self.settings.recipe_name,
            choices=replace(self.recipe, batch_size=self.batch_size),
            flanking_size=self.architecture.flanking_size,
            random_seed=self.settings.random_seed,
            precision=self.settings.precision,
            pretrained_model=self.pretrained.fingerprint,
            train_dataset=self.train.fingerprint,
            validation_dataset=self.sets["validation"].fingerprint,
            test_dataset=self.sets["test"].fingerprint,
            genomic_eval_dataset=self.sets["old_species"].fingerprint if "old_species" in self.sets else None,
            rehearsal_dataset=None if self.levers.rehearsal is None else self.levers.rehearsal.fingerprint,
            unlabelled_dataset=None if self.levers.unlabelled is None else self.levers.unlabelled.fingerprint,
            distill_teacher=tuple(teacher.fingerprint for teacher in self.levers.teachers),
        )

    def record(self) -> Record:
        """Return the facts about the run, with this process as its only session."""
        session = Session(
            started=now(),
            command=self.settings.command(),
            directory=os.getcwd(),
            devices=self._devices(),
            versions=versions(),
            activation_cache=self.cache.wanted,
            rounding=what_rounds(),
        )
        return Record(
            recipe=self.settings.recipe_name,
            trains=self.trainable.words,
            validation_from=self.validation_from,
            batches_per_epoch=len(self.batches(0)),
            parent=self.parent,
            datasets={name: DatasetRecord.of(windows) for name, windows in self.sets.items()},
            sessions=(session,),
            rehearsal=None if self.levers.rehearsal is None else DatasetRecord.of(self.levers.rehearsal),
            unlabelled=None if self.levers.unlabelled is None else UnlabelledRecord.of(self.levers.unlabelled),
            teachers=tuple(teacher.file for teacher in self.levers.teachers),
        )

    def facts(self) -> dict[str, str]:
        """Return the plan in words, as names and values."""
        recipe = self.recipe
        epochs = f"{recipe.epochs}, {len(self.batches(0))} batches of {self.batch_size} each"
        if recipe.early_stopping:
            epochs += f", stopping after {recipe.patience} without a better validation loss"
        sets = {name.replace("_", " "): _described(windows) for name, windows in self.sets.items()}
        return {
            "model": f"{self.settings.pretrained_model}: flanking size {self.architecture.flanking_size}",
            **sets,
            "validation": f"{sets['validation']} ({self.validation_from})",
            **self.levers.facts(recipe),
            "recipe": f"{self.settings.recipe_name}: {recipe.loss}, {recipe.rates}, "
            f"weight decay {recipe.weight_decay:g}{recipe.at_random}",
            "trains": self._trains(),
            "activation cache": self.cache.words,
            "epochs": epochs,
            "devices": self._devices(),
            "compiled programs": self._programs(),
            "output": str(self.folder.root),
        }

    def _trains(self) -> str:
        existing, asked = len(self.architecture.units), self.recipe.unfreeze
        words = self.trainable.words
        if asked > existing and not self.recipe.unfreeze_all:
            words += f" (`unfreeze={asked}` is more than the {existing} units that there are)"
        return words

    def _programs(self) -> str:
        """Say how many programs are compiled, which takes seconds each on a CPU, and up to minutes on a GPU or TPU."""
        first_entry = self.trainable.first_entry if self.cache.wanted else 0
        windows = self.levers.trained_on
        measures = windows.extents, windows.lengths
        packer = training_packer(*measures, first_entry, self.most_rows, self.architecture, self.padding_counts)
        rows = packer.numbers_of_rows
        others = ["evaluation"]
        if self.cache.wanted:
            others.insert(0, "the activation cache")
        if any(teacher.model.temperature for teacher in self.levers.teachers):  # others need no program of their own
            others.insert(0, "calibrated teachers")
        if self.settings.data_settings():
            others.append("whole sequences")
        if self.settings.predict:  # calibrated scores, whose program is another
            others.append("the genome's scores")
        steps = f"training steps of {' or '.join(map(str, rows))} rows"
        return f"at most {len(rows) + len(others)}: {', '.join([steps, *others[:-1]])} and {others[-1]}"

    def _devices(self) -> str:
        devices, settings = jax.devices(), self.settings
        where = f" in {jax.process_count()} processes" if processes.several() else ""
        return f"{len(devices)} x {devices[0].device_kind}{where} ({settings.parallel}, {settings.precision})"


def make_plan(settings: TransferSettings, display: Display) -> Plan:
    """Read and check all input, and return the plan of the run.

    Arguments:
        settings: What the caller asked for.
        display: Shows the progress of reading.

    Raises:
        SpliceAIError: One of its subclasses; the message says what was wrong and how to fix it.
    """
    given, (settings, pretrained, folder) = settings, start(settings)
    if given.recipe is None and given.flips_recipe and not folder.holds_run:
        flags = " and ".join(f"`{name}`" for name in given.flips_recipe)
        display.line(
            f"{flags} given: the recipe is `recipe='openspliceai'`, as for OpenSpliceAI's own command line; "
            f"`recipe='best'` trains by the default recipe all the same"
        )
    parent = parent_of(settings.one_model, pretrained)
    recipe = settings.effective_recipe
    sets = read_sets(settings, pretrained.flanking_size, display)
    levers = read_levers(settings, pretrained, sets.windows, display)
    # The models of every epoch and the best one; two checkpoints, and a third one while it is written, each of the
    # weights and two moments; logs.
    needed = (recipe.epochs + 2 + 3 * 3) * len(pretrained.pt_bytes()) + 10_000_000
    if levers.teachers:  # each process keeps its own copy of the targets
        needed += jax.process_count() * bytes_of_targets(levers.trained_on.subset(levers.taught))
    architecture = ARCHITECTURES[pretrained.flanking_size]
    cache = plan_cache(
        settings,
        architecture,
        Trainable.of(architecture, recipe),
        recipe.mutation_rate,
        sets=tuple({**sets.windows, "train": levers.trained_on}.values()),
        free=folder.bytes_free - needed,
        begun_with=_begun_with(folder) if settings.resume else None,
    )
    folder.check_room(needed + cache.bytes)
    plan = Plan(settings, recipe, pretrained, folder, *sets, cache, parent, levers)
    if not plan.batches(epoch=0):
        raise DatasetError(
            f"{plan.train.files}: no shard fills a batch of {plan.batch_size} windows, and the recipe "
            f"{settings.recipe_name} drops remainders; give a smaller `batch_size` or another recipe"
        )
    # Windows are cut where their genes end, so that a row holds more than one on average.
    share = levers.trained_on.extents.mean() / (WINDOW + architecture.flanking_size)
    check_memory(plan.most_rows, int(share * bytes_of_row(architecture, plan.trainable, settings.precision)) + 1)
    return plan


def make_data_sets(settings: TransferSettings, display: Display) -> None:
    """Make the data sets of a run that is given a genome, when all that can be checked without them has been checked.

    Arguments:
        settings: What the caller asked for.
        display: Shows the progress.

    Raises:
        SpliceAIError: See `create_data` and `make_plan`.
    """
    if data := settings.data_settings():
        start(settings)
        if settings.genomic_eval_dataset is not None:
            check_form(settings.genomic_eval_dataset)
        if processes.leads():
            create_data(data, display)


def start(settings: TransferSettings) -> tuple[TransferSettings, Pretrained, RunFolder]:
    """Return the settings with the recipe named, the model to start from and the run's folder, after a check of both.

    Raises:
        SpliceAIError: One of its subclasses.
    """
    _check_environment(settings)
    pretrained = Pretrained.load_weights(settings.one_model, settings.flanking_size)
    folder = (RunFolder if processes.leads() else FollowedFolder).named(
        settings.output_dir,
        settings.project_name,
        pretrained.flanking_size,
        settings.exp_num,
        settings.random_seed,
    )
    folder.check(settings.resume)
    settings = replace(settings, recipe=_recipe_name(settings, folder))
    check_levers(settings, pretrained)
    return settings, pretrained, folder


def _recipe_name(settings: TransferSettings, folder: RunFolder) -> str:
    """Return the recipe's name: that of the run that goes on, where none is given."""
    if settings.recipe is None and settings.resume and folder.holds_run:
        return folder.read_identity().recipe
    return settings.recipe_name


def _check_environment(settings: TransferSettings) -> None:
    if settings.parallel == "pmap" and processes.several():
        raise SettingsError(
            f"`parallel='pmap'` is for one process, but there are {jax.process_count()}; leave it at jit"
        )
    if settings.predict and processes.several():
        raise SettingsError(
            f"`predict` is for one process, but there are {jax.process_count()}; leave it out, and score the genome by "
            "`spliceai-jax predict` afterwards"
        )
    if settings.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise SettingsError(
            "`tensorboard` needs the package tensorboardX, which is not installed; pip install "
            "'spliceai-jax[tensorboard]', or leave it out"
        )


def _begun_with(folder: RunFolder) -> bool | None:
    """Return whether the run in the folder caches activations; None where that is not known."""
    record = read_record(folder) if folder.holds_run else None
    return record.sessions[-1].activation_cache if record else None


def _described(windows: Windows) -> str:
    return "; ".join(
        f"{part.source}: {len(part)} windows, {part.count('donor')} donors, {part.count('acceptor')} acceptors, "
        f"{part.padding_share:.0%} padding"
        for part in windows.by_file
    )

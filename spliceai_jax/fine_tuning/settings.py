"""The settings of `transfer`, checked when they are made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from spliceai_jax.architecture import ARCHITECTURES, Precision
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.errors import SettingsError, check_choice, check_whole
from spliceai_jax.runs.session import equivalent_command
from spliceai_jax.training.recipes import RECIPES, LossName, Parallel, Recipe
from spliceai_jax.training.schedules import SCHEDULERS, Scheduler


def paths_of(given: str | Path | Sequence[str | Path] | None) -> tuple[Path, ...]:
    """Return the paths of a setting that holds one or several."""
    if given is None:
        return ()
    return (Path(given),) if isinstance(given, str | Path) else tuple(map(Path, given))


OPENSPLICEAI_CHOICES = ("unfreeze", "unfreeze_all", "loss", "scheduler", "early_stopping", "patience")
"""With one of these, which say how OpenSpliceAI trains a model, the other values are OpenSpliceAI's too."""


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """Settings of a fine-tuning run; the flags of `spliceai-jax transfer` under the same names.

    The data are either a genome and its annotation, or data sets.

    Attributes:
        pretrained_model: `.pt` file or Orbax checkpoint to start from. Of several, or a folder of `.pt` files, each is
            fine-tuned in a run of its own, in `starts_{project_name}` in the output folder, and the run itself makes
            one model that learns from all of them.
        genome_fasta: FASTA file of the genome. The data sets are made from it by `create_data` with its defaults, in
            `data_{project_name}` in the output folder, once.
        annotation_gff: Its annotation, GFF3 or GTF.
        test_sequences: Names of the sequences of the genome whose genes are the test set; None: they are drawn.
        validation_sequences: Names of the sequences whose genes are the validation set; None: genes of the remaining
            sequences are drawn.
        predict: Score the genome with the best model at the end, both strands, and write what scores 0.1 or more to
            `predictions` in the run's folder.
        train_dataset: HDF5 file to train on, or several, of all of which every epoch has windows.
        test_dataset: HDF5 file to test on after each epoch, or several, which are taken together; at the end of the run
            the models are also compared on each of several.
        validation_dataset: HDF5 file that picks the best model, or several, which are taken together; None for each
            training file's sibling by OpenSpliceAI's naming where it exists, else a tenth of the training file.
        genomic_eval_dataset: HDF5 file of the old species, the one that the pretrained model was trained for, to test
            on as on the test set: it shows what the model forgets, and changes nothing about the model. None: no such
            test.
        rehearsal_dataset: HDF5 file of the old species to train on too: each epoch trains on all windows of the
            training set, and on as many of this file, drawn anew for each epoch. None: on the training set alone.
        unlabelled_dataset: HDF5 file of the new species whose labels are not used, such as genes of a draft annotation;
            or a FASTA file of its genome, of which windows are drawn from both strands: ten for each window of the
            training set, but 20,000 at most. The model is first tuned without it, in a run of its own in
            `starts_{project_name}`; the run itself then takes three times as many epochs, and also learns that model's
            probabilities of as many of these windows, drawn anew for each epoch, as an epoch has of the training set.
            With `distill_teacher` it learns from those models; then there is no first run, and no more epochs than are
            given.
        distill_teacher: The models whose probabilities are learnt with `distill_weight` or `unlabelled_dataset`, the
            mean of several: `.pt` files, folders of them, or Orbax checkpoints. None: the pretrained model.
        output_dir: Folder that the run's own folder is made in.
        project_name: Part of that folder's name.
        exp_num: A number that is also part of that folder's name.
        random_seed: Seed of the shuffling and of the split.
        seeds: The number of seeds: `random_seed` and the numbers after it. Everything is done with each of them, as if
            it were given by itself.
        flanking_size: The flanking size that the weights must have; None accepts any.
        recipe: A name in `RECIPES`; the settings below override its fields where they are not None. None: that of the
            run that `resume` goes on with; else "best", or "openspliceai" if one of `OPENSPLICEAI_CHOICES` is given.
        epochs, scheduler, early_stopping, patience, loss, unfreeze, unfreeze_all, learning_rate, weight_decay, l2sp,
            distill_weight, batch_size, test_each_epoch: See `Recipe`.
        resume: Continue the run in the folder; start one where there is none.
        precision: How convolutions compute; see `Precision`.
        parallel: How several devices are used.
        activation_cache: The most room on disk, in gigabytes (10^9 bytes), for the activation cache, which holds the
            output of the frozen part of the network for every window, so that it is computed only once; 0: compute it
            every time. None: what the run began with, else 20 on CPUs and 0 elsewhere, since reading it back was slower
            than computing it on a GPU.
        coordinator: HOST:PORT where the processes of a run meet, on the host of process 0; None: found where JAX knows
            the cluster, which it does on TPU pods and under SLURM and Open MPI.
        num_processes: The number of processes; needs `coordinator` and `process_id`, except for 1, with which this
            process works alone.
        process_id: The number of this process, counted from 0.
        tensorboard: Write losses, rates and metrics as TensorBoard events, in `tensorboard` in the run's folder.

    Raises:
        SettingsError: A value is out of range.
    """

    pretrained_model: str | Path | Sequence[str | Path]
    genome_fasta: str | Path | None = None
    annotation_gff: str | Path | None = None
    test_sequences: Sequence[str] | None = None
    validation_sequences: Sequence[str] | None = None
    predict: bool = False
    train_dataset: str | Path | Sequence[str | Path] | None = None
    test_dataset: str | Path | Sequence[str | Path] | None = None
    validation_dataset: str | Path | Sequence[str | Path] | None = None
    genomic_eval_dataset: str | Path | None = None
    rehearsal_dataset: str | Path | None = None
    unlabelled_dataset: str | Path | None = None
    distill_teacher: str | Path | Sequence[str | Path] | None = None
    output_dir: str | Path = "."
    project_name: str = "transfer"
    exp_num: int = 0
    random_seed: int = 42
    seeds: int = 1
    flanking_size: int | None = None
    recipe: str | None = None
    epochs: int | None = None
    scheduler: Scheduler | None = None
    early_stopping: bool | None = None
    patience: int | None = None
    loss: LossName | None = None
    unfreeze: int | None = None
    unfreeze_all: bool | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    l2sp: float | None = None
    distill_weight: float | None = None
    batch_size: int | None = None
    test_each_epoch: bool | None = None
    resume: bool = False
    precision: Precision = "float32"
    parallel: Parallel = "jit"
    activation_cache: float | None = None
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check every value that can be checked without opening a file."""
        for name, least in {
            "exp_num": 0, "random_seed": 0, "epochs": 1, "patience": 1, "unfreeze": 0, "batch_size": 1,
            "num_processes": 1, "process_id": 0, "seeds": 1,
        }.items():  # fmt: skip
            check_whole(name, getattr(self, name), least)
        if self.learning_rate is not None and not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise SettingsError(f"`learning_rate` is {self.learning_rate}; expected a number above 0")
        for name in ("weight_decay", "l2sp"):
            if (strength := getattr(self, name)) is not None and not (math.isfinite(strength) and strength >= 0):
                raise SettingsError(f"`{name}` is {strength}; expected 0 or a number above it")
        if self.activation_cache is not None and not self.activation_cache >= 0:
            raise SettingsError(f"`activation_cache` is {self.activation_cache}; expected gigabytes, 0 or more")
        for name, choices in {
            "flanking_size": (None, *ARCHITECTURES),
            "recipe": (None, *RECIPES),
            "scheduler": (None, *SCHEDULERS),
            "loss": (None, *get_args(LossName)),
            "precision": get_args(Precision),
            "parallel": get_args(Parallel),
        }.items():
            check_choice(name, getattr(self, name), choices)
        if not 0 < len(self.project_name.encode()) <= 200 or set(self.project_name) & set("/\\\0"):
            raise SettingsError(f"`project_name` is {self.project_name!r}; expected at most 200 letters, no slashes")
        self._check_data()
        self._check_levers()
        self._check_processes()
        effective = self.effective_recipe
        if not (effective.unfreeze or effective.unfreeze_all or effective.head_trains):
            raise SettingsError(
                f"`unfreeze=0` with `recipe={self.recipe_name!r}` leaves nothing to train; give 1 or more"
            )

    def _check_data(self) -> None:
        files = ("genome_fasta", "annotation_gff", "train_dataset", "test_dataset")
        given = tuple(name for name in files if getattr(self, name) is not None)
        if given not in (files[:2], files[2:]):
            raise SettingsError(
                f"{' and '.join(f'`{name}`' for name in given) or 'no data'} given; expected either `genome_fasta` and "
                "`annotation_gff`, or `train_dataset` and `test_dataset`"
            )
        if given == files[:2]:
            if self.validation_dataset is not None:
                raise SettingsError(
                    "`validation_dataset` goes with `train_dataset`; with a genome give `validation_sequences`"
                )
            self.data_settings()  # raises what is wrong with the sequences
        for name in ("test_sequences", "validation_sequences", "predict"):
            if getattr(self, name) and given != files[:2]:
                raise SettingsError(f"`{name}` needs `genome_fasta` and `annotation_gff`; give them, or leave it out")

        for name in ("train_dataset", "test_dataset", "validation_dataset"):
            if getattr(self, name) is not None and not paths_of(getattr(self, name)):
                raise SettingsError(f"`{name}`: none is given; expected one or more")

    def _check_levers(self) -> None:
        if self.distill_weight is not None and not 0 <= self.distill_weight <= 1:
            raise SettingsError(f"`distill_weight` is {self.distill_weight}; expected a share of the loss, 0 to 1")
        if self.unlabelled_dataset is not None and self.rehearsal_dataset is not None:
            raise SettingsError("`unlabelled_dataset` does not go with `rehearsal_dataset`; leave out one of them")
        beside = "rehearsal_dataset" if self.rehearsal_dataset is not None else "unlabelled_dataset"
        if getattr(self, beside) is not None and self.effective_recipe.batching == "per_shard":
            raise SettingsError(
                f"`{beside}` does not go with `recipe={self.recipe_name!r}`, which makes the batches of each shard by "
                "itself; give another recipe, or leave it out"
            )
        distils = self.effective_recipe.distill_weight
        if self.distill_teacher is not None and not distils and self.unlabelled_dataset is None:
            raise SettingsError("`distill_teacher` has no effect without `distill_weight`; give it too, such as 0.5")

    def data_settings(self) -> CreateDataSettings | None:
        """Return how the data sets are made; None if they are given."""
        if self.genome_fasta is None or self.annotation_gff is None:
            return None
        return CreateDataSettings(
            genome_fasta=self.genome_fasta,
            annotation_gff=self.annotation_gff,
            output_dir=Path(self.output_dir) / f"data_{self.project_name}",
            test_sequences=self.test_sequences,
            validation_sequences=self.validation_sequences,
        )

    def _check_processes(self) -> None:
        together = (self.coordinator, self.num_processes, self.process_id)
        if together in ((None, None, None), (None, 1, None)):
            return
        if self.coordinator is None or self.num_processes is None or self.process_id is None:
            raise SettingsError(
                "`coordinator`, `num_processes` and `process_id` go together; give all three, or only `num_processes=1`"
            )
        host, _, port = self.coordinator.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise SettingsError(f"`coordinator` is {self.coordinator!r}; expected HOST:PORT, a port of 1 to 65535")
        if self.process_id >= self.num_processes:
            raise SettingsError(f"`process_id` is {self.process_id}; expected 0 to {self.num_processes - 1}")

    @property
    def one_model(self) -> str | Path:
        """The model to start from, where there is one."""
        assert isinstance(self.pretrained_model, str | Path)  # `transfer` makes settings of one of several
        return self.pretrained_model

    @property
    def recipe_name(self) -> str:
        """The name of the recipe where there is no run to go on with."""
        return self.recipe or ("openspliceai" if self.flips_recipe else "best")

    @property
    def flips_recipe(self) -> tuple[str, ...]:
        """Those of `OPENSPLICEAI_CHOICES` that are given."""
        return tuple(name for name in OPENSPLICEAI_CHOICES if getattr(self, name) is not None)

    @property
    def effective_recipe(self) -> Recipe:
        """The recipe with the fields that these settings override."""
        overrides: dict[str, Any] = {
            field.name: value for field in fields(Recipe) if (value := getattr(self, field.name, None)) is not None
        }
        if self.unfreeze is not None:
            overrides.setdefault("unfreeze_all", False)  # a given number of units overrides a recipe that trains all
        return replace(RECIPES[self.recipe_name], **overrides)

    def command(self) -> str:
        """Return the equivalent command line."""
        files = (
            "pretrained_model",
            "distill_teacher",
            "train_dataset",
            "validation_dataset",
            "test_dataset",
        )
        return equivalent_command("transfer", self, always=("output_dir", "project_name"), files=files)

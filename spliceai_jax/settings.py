"""What a caller asks of `transfer` and `predict`, checked when it is made."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from spliceai_jax.architecture import ARCHITECTURES
from spliceai_jax.errors import SettingsError
from spliceai_jax.recipes import RECIPES, LossName, Recipe
from spliceai_jax.schedules import SCHEDULERS, Scheduler

Precision = Literal["float32", "bfloat16"]
Parallel = Literal["jit", "pmap"]
StrandChoice = Literal["+", "-", "both"]


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """Settings of a fine-tuning run; the flags of `spliceai-jax transfer` under the same names.

    Attributes:
        train_dataset: HDF5 file to train on.
        test_dataset: HDF5 file to test on after each epoch.
        pretrained_model: `.pt` file to start from.
        validation_dataset: HDF5 file whose loss picks the best model; None for the training file's sibling by
            OpenSpliceAI's naming where it exists, else a tenth of the training file.
        output_dir: Folder that the run's own folder is made in.
        project_name: Part of that folder's name.
        exp_num: Likewise.
        random_seed: Seed of the shuffling and of the split.
        flanking_size: Checked against the weights; None takes theirs.
        recipe: A name in `RECIPES`; the settings below override its fields where they are not None.
        epochs, scheduler, early_stopping, patience, loss, unfreeze, unfreeze_all, learning_rate, weight_decay,
            batch_size: See `Recipe`.
        resume: Go on with the run in the folder; start one where there is none.
        precision: What convolutions compute in; parameters, statistics and loss are float32 all the same.
        parallel: How several devices are used.
        coordinator: HOST:PORT where the processes of a run meet, on the host of process 0; None: found where JAX knows
            the cluster, which it does on TPU pods and under SLURM and Open MPI.
        num_processes: How many there are; needs the other two, except for 1: this process works alone.
        process_id: Which one this is, counted from 0.
        kept_trunk: Gigabytes (10^9 bytes) on disk at most for what the frozen part of the network makes of each
            window, computed once; 0: compute it every time. None: 20 on CPUs, 0 elsewhere, where reading it back has
            not been measured to be faster than computing it.
        tensorboard: Write losses, rates and metrics as TensorBoard events, in `tensorboard` in the run's folder.

    Raises:
        SettingsError: A value is out of range.
    """

    train_dataset: str | Path
    test_dataset: str | Path
    pretrained_model: str | Path
    validation_dataset: str | Path | None = None
    output_dir: str | Path = "."
    project_name: str = "transfer"
    exp_num: int = 0
    random_seed: int = 42
    flanking_size: int | None = None
    recipe: str = "openspliceai"
    epochs: int | None = None
    scheduler: Scheduler | None = None
    early_stopping: bool | None = None
    patience: int | None = None
    loss: LossName | None = None
    unfreeze: int | None = None
    unfreeze_all: bool | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    resume: bool = False
    precision: Precision = "float32"
    parallel: Parallel = "jit"
    kept_trunk: float | None = None
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check every value that can be checked without opening a file."""
        for name, least in {
            "exp_num": 0, "random_seed": 0, "epochs": 1, "patience": 1, "unfreeze": 0, "batch_size": 1,
            "num_processes": 1, "process_id": 0,
        }.items():  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingsError(f"{_flag(name)} is {value}; expected {least} or more")
        if self.learning_rate is not None and not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise SettingsError(f"--learning-rate is {self.learning_rate}; expected a number above 0")
        if self.weight_decay is not None and not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise SettingsError(f"--weight-decay is {self.weight_decay}; expected 0 or a number above it")
        if self.kept_trunk is not None and not self.kept_trunk >= 0:
            raise SettingsError(f"--kept-trunk is {self.kept_trunk}; expected gigabytes, 0 or more")
        for name, choices in {
            "flanking_size": (None, *ARCHITECTURES),
            "recipe": tuple(RECIPES),
            "scheduler": (None, *SCHEDULERS),
            "loss": (None, *get_args(LossName)),
            "precision": get_args(Precision),
            "parallel": get_args(Parallel),
        }.items():
            _check_choice(name, getattr(self, name), choices)
        if not 0 < len(self.project_name.encode()) <= 200 or set(self.project_name) & set("/\\\0"):
            raise SettingsError(f"--project-name is {self.project_name!r}; expected at most 200 letters, no slashes")
        self._check_processes()
        effective = self.effective_recipe
        if not (effective.unfreeze or effective.unfreeze_all or effective.head_trains):
            raise SettingsError(f"--unfreeze 0 with --recipe {self.recipe} leaves nothing to train; give 1 or more")

    def _check_processes(self) -> None:
        together = (self.coordinator, self.num_processes, self.process_id)
        if together in ((None, None, None), (None, 1, None)):
            return
        if self.coordinator is None or self.num_processes is None or self.process_id is None:
            raise SettingsError(
                "--coordinator, --num-processes and --process-id go together; give all three, or only --num-processes 1"
            )
        host, _, port = self.coordinator.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise SettingsError(f"--coordinator is {self.coordinator!r}; expected HOST:PORT, a port of 1 to 65535")
        if self.process_id >= self.num_processes:
            raise SettingsError(f"--process-id is {self.process_id}; expected 0 to {self.num_processes - 1}")

    @property
    def effective_recipe(self) -> Recipe:
        """The recipe with the fields that these settings override."""
        overrides: dict[str, Any] = {
            field.name: value for field in fields(Recipe) if (value := getattr(self, field.name, None)) is not None
        }
        if self.unfreeze is not None:
            overrides.setdefault("unfreeze_all", False)  # who asks for the last units does not want all
        return replace(RECIPES[self.recipe], **overrides)

    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["spliceai-jax", "transfer"]
        for field in fields(self):
            value, flag = getattr(self, field.name), _flag(field.name)
            if value == field.default and field.name not in ("output_dir", "project_name"):
                continue
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            else:
                words += [flag, str(value)]
        return shlex.join(words)


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Settings of a prediction; the flags of `spliceai-jax predict` under the same names.

    Attributes:
        input_sequence: FASTA file, plain or compressed by gzip or bgzip.
        models: `.pt` files of one flanking size, whose probabilities' mean is taken; one alone may stand by itself.
        output_dir: Folder that `SpliceAI_5000_{flanking_size}`, which holds the results, is made in.
        flanking_size: Checked against the weights; None takes theirs.
        threshold: The least score that is written.
        annotation_file: GFF3 file whose genes are scored; None scores whole sequences.
        gene_flank: Bases to each side of a gene that are scored and written with it; None: half the flanking size.
            Whatever it is, the network sees the genome around every position.
        strand: Strands to score. None: with an annotation both, that of each gene; without one "+", that is the
            sequences as they are given.
        bigwig: Write bigWig tracks too.

    Raises:
        SettingsError: A value is out of range.
    """

    input_sequence: str | Path
    models: str | Path | Sequence[str | Path]
    output_dir: str | Path
    flanking_size: int | None = None
    threshold: float = 1e-6
    annotation_file: str | Path | None = None
    gene_flank: int | None = None
    strand: StrandChoice | None = None
    bigwig: bool = False

    def __post_init__(self) -> None:
        """Check every value that can be checked without opening a file."""
        if not 0 <= self.threshold <= 1:
            raise SettingsError(f"--threshold is {self.threshold}; expected a score, 0 to 1")
        if self.gene_flank is not None and self.gene_flank < 0:
            raise SettingsError(f"--gene-flank is {self.gene_flank}; expected bases, 0 or more")
        if self.gene_flank is not None and self.annotation_file is None:
            raise SettingsError("--gene-flank says nothing without genes; give --annotation-file too")
        _check_choice("flanking_size", self.flanking_size, (None, *ARCHITECTURES))
        _check_choice("strand", self.strand, (None, *get_args(StrandChoice)))
        if not self.model_files:
            raise SettingsError("--model: none is given; expected one .pt file or more")

    @property
    def model_files(self) -> tuple[Path, ...]:
        """The `.pt` files."""
        return tuple(map(Path, [self.models] if isinstance(self.models, str | Path) else self.models))

    @property
    def strands(self) -> tuple[Literal["+", "-"], ...]:
        """The strands to score."""
        choice = self.strand or ("both" if self.annotation_file is not None else "+")
        return ("+", "-") if choice == "both" else (choice,)


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        known = ", ".join(str(choice) for choice in choices if choice is not None)
        raise SettingsError(f"{_flag(name)} is {value!r}; expected one of {known}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")

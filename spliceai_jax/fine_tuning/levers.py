"""What a run trains on beside the labels of the new species: windows of the old one, and what teachers say.

Both keep a model from forgetting the old species, which it was trained on before. The third lever, the pull toward the
weights that a run starts from, `l2sp`, is the optimizer's. Of windows of the new species that have no labels, teachers
say what there is to learn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Int

from spliceai_jax.display import Display, counted
from spliceai_jax.errors import DatasetError, SettingsError, WeightsError, some
from spliceai_jax.files import check_writable
from spliceai_jax.fine_tuning.data_sets import kept_back
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.genome.compressed import open_text
from spliceai_jax.network.ensemble import read_models
from spliceai_jax.network.model_files import models_to_average
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.runs.history import Split
from spliceai_jax.runs.record import Parent
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.windows.hdf5 import check_form, read_windows
from spliceai_jax.windows.joined import joined
from spliceai_jax.windows.unlabelled import read_stretches, without_labels
from spliceai_jax.windows.windows import Windows

_STRETCHES, _MOST_STRETCHES = 10, 20_000
"""How many windows are drawn from a genome for each window of the training set, and how many at most: they lie in
memory, some 10 kB each."""

_DRAWN_WINDOWS = int.from_bytes(b"windows")
"""It comes first in the seeds of these draws, and keeps their random numbers apart from those that shuffle windows and
mutate bases, whose seeds begin with the run's."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model whose probabilities are learnt.

    Attributes:
        model: The model.
        file: Its file, as it was read.
    """

    model: Pretrained
    file: Parent

    @property
    def fingerprint(self) -> str:
        """What decides its probabilities: the weights and, if it is calibrated, the temperature."""
        temperature = self.model.temperature
        return self.model.fingerprint if temperature is None else f"{self.model.fingerprint} at {temperature}"


@dataclass(frozen=True, eq=False)
class Levers:
    """What a run trains on, and whom it learns from.

    Attributes:
        train: The windows of the new species.
        rehearsal: Those of the old one; None: there are none.
        teachers: The models whose probabilities are learnt.
        taught: The positions in `trained_on` of the windows that they have a say on.
        seed: The run's random seed.
        unlabelled: Windows of the new species that have no labels; None: there are none. It is never given together
            with `rehearsal`.
    """

    train: Windows
    rehearsal: Windows | None
    teachers: tuple[Teacher, ...]
    taught: Int[np.ndarray, " some"]
    seed: int
    unlabelled: Windows | None = None

    @property
    def beside(self) -> Windows | None:
        """The windows that are trained on beside those of the training set; None: there are none."""
        return self.unlabelled if self.rehearsal is None else self.rehearsal

    @cached_property
    def trained_on(self) -> Windows:
        """The windows that training batches are made of: `train`, followed by those `beside` it."""
        return self.train if self.beside is None else joined([self.train, self.beside])

    def drawn(self, epoch: int) -> Int[np.ndarray, " some"]:
        """Return the positions in `trained_on` of the windows of an epoch, which is counted from 0.

        They are all windows of the training set, and as many of those beside it, drawn anew for each epoch. Where more
        of these are wanted than there are, each comes equally often, or once more than others.
        """
        new = np.arange(len(self.train))
        if self.beside is None:
            return new
        random = np.random.default_rng([_DRAWN_WINDOWS, self.seed, epoch])
        return np.concatenate([new, len(new) + _draw(len(self.beside), len(new), random)])

    def facts(self, recipe: Recipe) -> dict[str, str]:
        """Return in words, as names and values, what is learnt beside the labels; nothing where nothing is."""
        facts = {}
        if self.unlabelled is not None:
            facts["without labels"] = (
                f"{self.unlabelled.source}: {len(self.unlabelled)} windows, of which the teachers' scores are learnt; "
                "each epoch draws as many from them as it has of the training set"
            )
        if self.rehearsal is not None:
            facts["rehearsal"] = (
                f"{self.rehearsal.source}: {len(self.rehearsal)} windows; each epoch draws as many from them as it has "
                "of the new species"
            )
        if self.teachers:
            names = ", ".join(teacher.file.path for teacher in self.teachers)
            shared = len(self.taught) - (0 if self.unlabelled is None else len(self.unlabelled))
            facts["teachers"] = names + (
                f": {recipe.distill_weight:g} of the loss on {shared} windows" if shared else ""
            )
        if recipe.l2sp:
            facts["l2sp"] = f"{recipe.l2sp:g}, the pull toward the weights that the run starts from"
        return facts


def read_levers(
    settings: TransferSettings, pretrained: Pretrained, sets: Mapping[Split, Windows], display: Display
) -> Levers:
    """Read the teachers, and the windows to rehearse or those without labels.

    Arguments:
        settings: What the caller asked for.
        pretrained: The model that the run starts from.
        sets: The run's sets.
        display: Shows the progress.

    Raises:
        SpliceAIError: See `read_teachers`, `read_windows`; or one of these files is one of the run's
            sets.
    """
    train, seed = sets["train"], settings.random_seed
    teachers = read_teachers(settings, pretrained)
    rehearsal = _read_beside(settings.rehearsal_dataset, "rehearsal_dataset", sets, display)
    unlabelled = read_unlabelled(settings, sets, display)
    taught = np.zeros(0, np.int64)
    if settings.effective_recipe.distill_weight:
        windows, first = (train, 0) if rehearsal is None else (rehearsal, len(train))
        taught = first + np.arange(len(windows))
    if unlabelled is not None:
        taught = np.concatenate([taught, len(train) + np.arange(len(unlabelled))])
    return Levers(train, rehearsal, teachers, taught, seed, unlabelled)


def read_unlabelled(settings: TransferSettings, sets: Mapping[Split, Windows], display: Display) -> Windows | None:
    """Read the windows whose labels are not used, or draw them from a genome; None where there are none.

    Arguments:
        settings: What the caller asked for.
        sets: The run's sets.
        display: Shows the progress.

    Raises:
        SpliceAIError: See `read_windows` and `read_stretches`; or the file is one of the run's sets.
    """
    path = settings.unlabelled_dataset
    if path is None:
        return None
    if _is_data_set(path):
        windows = _read_beside(path, "unlabelled_dataset", sets, display, labelled=False)
        return None if windows is None else without_labels(windows)
    train, left_out = sets["train"], kept_back(settings)
    most = min(_STRETCHES * len(train), _MOST_STRETCHES)
    scratch = check_writable(Path(settings.output_dir))
    windows = read_stretches(path, train.flanking_size, most, settings.random_seed, left_out, scratch)
    if left_out:
        display.line(
            f"{path}: nothing is taken from {counted(len(left_out), 'sequence')} of test or validation genes: "
            f"{some(left_out)}"
        )
    return windows


def _is_data_set(path: str | Path) -> bool:
    """Return whether a file is a data set; if it is not, it is expected to be a genome."""
    return h5py.is_hdf5(path) or Path(path).suffix in (".h5", ".hdf5")


def check_levers(settings: TransferSettings, pretrained: Pretrained) -> None:
    """Refuse files that cannot be used, before anything that takes long is done.

    Raises:
        SpliceAIError: See `read_teachers`, `check_form` and `open_text`.
    """
    read_teachers(settings, pretrained)
    if settings.rehearsal_dataset is not None:
        check_form(settings.rehearsal_dataset)
    if (path := settings.unlabelled_dataset) is not None:
        if _is_data_set(path):
            check_form(path)
        else:
            with open_text(Path(path), "a data set or a FASTA file") as file:
                file.read(1)


def read_teachers(settings: TransferSettings, pretrained: Pretrained) -> tuple[Teacher, ...]:
    """Return the teachers: those given, else the model that the run starts from; none where nothing is distilled.

    Raises:
        WeightsError: A file cannot be read, or its model has another flanking size than the run's.
    """
    if not settings.effective_recipe.distill_weight and settings.unlabelled_dataset is None:
        return ()
    if settings.distill_teacher is None:
        return (Teacher(pretrained, parent_of(settings.one_model, pretrained)),)
    paths = models_to_average(settings.distill_teacher)
    models = read_models(paths, argument="distill_teacher")
    if (size := models[0].flanking_size) != pretrained.flanking_size:
        raise SettingsError(
            f"`distill_teacher`: {paths[0]} has a flanking size of {size} nt and the model that the run starts from "
            f"one of {pretrained.flanking_size} nt; give teachers of the latter"
        )
    return tuple(Teacher(model, parent_of(path, model)) for path, model in zip(paths, models, strict=True))


def parent_of(path: str | Path, model: Pretrained) -> Parent:
    """Describe a model's file while it is there: a run needs it no more once it has begun.

    Raises:
        WeightsError: It is gone.
    """
    weights = Path(path).absolute()
    try:
        digest = model.sha256_at(weights)
    except OSError as error:
        raise WeightsError(f"{weights}: was removed while it was read ({error.strerror}); put it back") from error
    return Parent(path=str(weights), sha256=digest, weights_sha256=model.fingerprint)


def _read_beside(
    path: str | Path | None, argument: str, sets: Mapping[Split, Windows], display: Display, labelled: bool = True
) -> Windows | None:
    """Read a file of windows to train on beside the training set; None where there is none."""
    if path is None:
        return None
    windows = read_windows(path, sets["train"].flanking_size, display, labelled)
    for name, of_set in sets.items():
        for other in of_set.by_file:
            if windows.fingerprint == other.fingerprint or windows.source.absolute() == other.source.absolute():
                raise DatasetError(
                    f"{windows.source}: given as `{argument}`, and as the run's own {name} set ({other.source}); give "
                    "other windows, or leave it out"
                )
    return windows


def _draw(there: int, wanted: int, random: np.random.Generator) -> Int[np.ndarray, " wanted"]:
    """Draw numbers below `there`, each equally often, or once more than others."""
    return np.concatenate([random.permutation(there) for _ in range(-(-wanted // there))])[:wanted]

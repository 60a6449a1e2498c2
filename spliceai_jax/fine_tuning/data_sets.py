"""The data sets of a run: made from a genome, or read as they are given."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from spliceai_jax.data.hdf5 import check_form, read_windows
from spliceai_jax.data.splits import split_validation, validation_sibling
from spliceai_jax.data.windows import Windows
from spliceai_jax.data_sets.folder import DataFolder
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError, SpliceAIWarning
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.runs.history import SET_NAMES, Split
from spliceai_jax.runs.record import SeenFile


class Files(NamedTuple):
    """The files of a run's data sets.

    Attributes:
        train: The windows to train on.
        test: Those to test on.
        validation: Those whose loss picks the best model; None: a part of `train`.
        validation_from: How these were found, in words.
        old_species: Those of the old species; None: there are none.
    """

    train: Path
    test: Path
    validation: Path | None
    validation_from: str
    old_species: Path | None

    @property
    def of_sets(self) -> dict[Split, Path]:
        """The file of each set."""
        found: dict[Split, Path] = {"train": self.train, "validation": self.validation or self.train, "test": self.test}
        return found | ({"old_species": self.old_species} if self.old_species else {})


class Sets(NamedTuple):
    """The data sets of a run.

    Attributes:
        windows: The windows of each set.
        validation_from: How those of the validation set were found, in words.
        files: The file of each set, as it was seen before it was read.
    """

    windows: dict[Split, Windows]
    validation_from: str
    files: dict[Split, SeenFile]


def read_sets(settings: TransferSettings, flanking_size: int, display: Display) -> Sets:
    """Read the data sets.

    Arguments:
        settings: What the caller asked for.
        flanking_size: Bases of context to keep, both sides together.
        display: Shows the progress.

    Raises:
        SpliceAIError: See `read_windows`; or two of the sets are the same.
    """
    files = data_files(settings)
    paths = files.of_sets
    if files.validation is None:
        del paths["validation"]
    for path in paths.values():  # before the first one is read, which may take minutes
        check_form(path)
    seen = {name: SeenFile.of(path) for name, path in files.of_sets.items()}
    read: dict[Split, Windows] = {}
    for name, path in paths.items():
        read[name] = read_windows(path, flanking_size, display)
        _check_apart(name, read)
    if files.validation is None:
        read["train"], read["validation"] = split_validation(read["train"], settings.random_seed)
    elif read["validation"].fingerprint == read["test"].fingerprint:
        warnings.warn(
            f"{files.test}: the test set is the validation set too, which picks the best model; its scores are too "
            "good",
            SpliceAIWarning,
            stacklevel=4,
        )
    return Sets({name: read[name] for name in files.of_sets}, files.validation_from, seen)


def _check_apart(name: Split, read: Mapping[Split, Windows]) -> None:
    """Refuse a set that is the training set, and for the old species' set any of the others."""
    windows = read[name]
    others: Iterable[Split] = read if name == "old_species" else ("train",)
    for other in others:
        if other != name and windows.fingerprint == read[other].fingerprint:
            argument = "genomic_eval_dataset" if name == "old_species" else f"{name}_dataset"
            raise DatasetError(
                f"{windows.source}: the {SET_NAMES[name]} set is the {SET_NAMES[other]} set ({read[other].source}); "
                f"its scores would mean nothing; give another `{argument}`"
            )


def data_files(settings: TransferSettings) -> Files:
    """Return the files of the data sets."""
    old_species = None if settings.genomic_eval_dataset is None else Path(settings.genomic_eval_dataset)
    if data := settings.data_settings():
        made = DataFolder(data.output_dir).dataset
        return Files(made("train"), made("test"), made("validation"), "made from the genome", old_species)
    assert settings.train_dataset is not None  # checked by the settings
    assert settings.test_dataset is not None
    train, test = Path(settings.train_dataset), Path(settings.test_dataset)
    if settings.validation_dataset is not None:
        return Files(train, test, Path(settings.validation_dataset), "--validation-dataset", old_species)
    if sibling := validation_sibling(train):
        return Files(train, test, sibling, "found beside the training file, by its name", old_species)
    return Files(train, test, None, "a tenth of the training file", old_species)

"""The three data sets of a run: made from a genome, or read as they are given."""

import warnings
from pathlib import Path
from typing import NamedTuple

from spliceai_jax.data.hdf5 import check_form, read_windows
from spliceai_jax.data.splits import split_validation, validation_sibling
from spliceai_jax.data.windows import Windows
from spliceai_jax.data_sets.folder import DataFolder
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError, SpliceAIWarning
from spliceai_jax.fine_tuning.settings import TransferSettings
from spliceai_jax.runs.history import Split
from spliceai_jax.runs.record import SeenFile


class Files(NamedTuple):
    """The files of a run's data sets.

    Attributes:
        train: The windows to train on.
        test: Those to test on.
        validation: Those whose loss picks the best model; None: a part of `train`.
        validation_from: How these were found, in words.
    """

    train: Path
    test: Path
    validation: Path | None
    validation_from: str

    @property
    def of_sets(self) -> dict[Split, Path]:
        """The file of each set."""
        return {"train": self.train, "validation": self.validation or self.train, "test": self.test}


class Sets(NamedTuple):
    """The data sets of a run.

    Attributes:
        train: The windows to train on.
        validation: Those whose loss picks the best model.
        test: Those to test on.
        validation_from: How the second were found, in words.
        files: The file of each set, as it was seen before it was read.
    """

    train: Windows
    validation: Windows
    test: Windows
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
    train_path, test_path, validation_path, origin = files
    others = {"test": test_path} | ({"validation": validation_path} if validation_path else {})
    for path in (train_path, *others.values()):  # before the first one is read, which may take minutes
        check_form(path)
    seen = {name: SeenFile.of(path) for name, path in files.of_sets.items()}
    train = read_windows(train_path, flanking_size, display)
    read = {}
    for name, path in others.items():
        windows = read_windows(path, flanking_size, display)
        if windows.fingerprint == train.fingerprint:
            raise DatasetError(
                f"{path}: the {name} set is the training set ({train_path}); its scores would mean nothing; "
                f"give another `{name}_dataset`"
            )
        read[name] = windows
    if validation_path is None:
        train, read["validation"] = split_validation(train, settings.random_seed)
    elif read["validation"].fingerprint == read["test"].fingerprint:
        warnings.warn(
            f"{test_path}: the test set is the validation set too, which picks the best model; its scores are too good",
            SpliceAIWarning,
            stacklevel=4,
        )
    return Sets(train, read["validation"], read["test"], origin, seen)


def data_files(settings: TransferSettings) -> Files:
    """Return the files of the data sets."""
    if data := settings.data_settings():
        folder = DataFolder(data.output_dir)
        return Files(
            folder.dataset("train"), folder.dataset("test"), folder.dataset("validation"), "made from the genome"
        )
    assert settings.train_dataset is not None  # checked by the settings
    assert settings.test_dataset is not None
    train, test = Path(settings.train_dataset), Path(settings.test_dataset)
    if settings.validation_dataset is not None:
        return Files(train, test, Path(settings.validation_dataset), "--validation-dataset")
    if sibling := validation_sibling(train):
        return Files(train, test, sibling, "found beside the training file, by its name")
    return Files(train, test, None, "a tenth of the training file")

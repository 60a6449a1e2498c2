"""The data sets of a run: made from a genome, or read as they are given."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from spliceai_jax import stored
from spliceai_jax.data_sets.folder import DataFolder, DataSetsRecord
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError, SpliceAIWarning
from spliceai_jax.fine_tuning.settings import TransferSettings, paths_of
from spliceai_jax.runs.history import SET_NAMES, Split
from spliceai_jax.windows.hdf5 import check_form, read_windows
from spliceai_jax.windows.joined import joined
from spliceai_jax.windows.splits import split_validation, validation_sibling
from spliceai_jax.windows.windows import Windows


class Files(NamedTuple):
    """The files of a run's data sets.

    Attributes:
        train: Those to train on.
        test: Those to test on.
        validation: Those whose windows decide which model is kept; of the files in `split` a tenth joins them.
        split: Those of `train` that a tenth is taken from.
        validation_from: How the validation windows were found, in words.
        old_species: That of the old species; None: there is none.
    """

    train: tuple[Path, ...]
    test: tuple[Path, ...]
    validation: tuple[Path, ...]
    split: tuple[Path, ...]
    validation_from: str
    old_species: Path | None


class Sets(NamedTuple):
    """The data sets of a run.

    Attributes:
        windows: The windows of each set.
        validation_from: How those of the validation set were found, in words.
    """

    windows: dict[Split, Windows]
    validation_from: str


def read_sets(settings: TransferSettings, flanking_size: int, display: Display) -> Sets:
    """Read the data sets; those of several files are joined.

    Arguments:
        settings: What the caller asked for.
        flanking_size: Bases of context to keep, both sides together.
        display: Shows the progress.

    Raises:
        SpliceAIError: See `read_windows`; or two files hold the same windows.
    """
    files = data_files(settings)
    paths: dict[Split, tuple[Path, ...]] = {"train": files.train, "validation": files.validation, "test": files.test}
    if files.old_species:
        paths["old_species"] = (files.old_species,)
    for path in sum(paths.values(), ()):  # before the first one is read, which may take minutes
        check_form(path)
    read: dict[Split, list[Windows]] = {}
    for name, of_set in paths.items():
        read[name] = []
        for path in of_set:
            windows = read_windows(path, flanking_size, display)
            _check_apart(name, windows, read)
            read[name].append(windows)
    for number, windows in enumerate(read["train"]):
        if files.train[number] in files.split:
            read["train"][number], validation = split_validation(windows, settings.random_seed)
            read["validation"].append(validation)
    return Sets({name: joined(of_set) for name, of_set in read.items()}, files.validation_from)


def _check_apart(name: Split, windows: Windows, read: Mapping[Split, Sequence[Windows]]) -> None:
    """Refuse a file whose windows were read before, unless it is both a validation and a test set.

    Arguments:
        name: The set that it belongs to.
        windows: Its windows.
        read: What was read before.
    """
    argument = "genomic_eval_dataset" if name == "old_species" else f"{name}_dataset"
    for other, of_set in read.items():
        for known in of_set:
            if windows.fingerprint != known.fingerprint:
                continue
            if other == name:
                raise DatasetError(
                    f"{windows.source}: holds the same windows as {known.source}, and both are given as `{argument}`; "
                    "give it once"
                )
            if (other, name) == ("validation", "test"):
                warnings.warn(
                    f"{windows.source}: the test set is the validation set too, which picks the best model; its scores "
                    "are too good",
                    SpliceAIWarning,
                    stacklevel=5,
                )
                continue
            raise DatasetError(
                f"{windows.source}: the {SET_NAMES[name]} set is the {SET_NAMES[other]} set ({known.source}); its "
                f"scores would mean nothing; give another `{argument}`"
            )


def kept_back(settings: TransferSettings) -> frozenset[str]:
    """Return the names of the sequences that genes of the test and validation sets lie on, and none of a training set.

    The record that `create_data` writes beside its data sets names them. A warning says where there is none.
    """
    files = data_files(settings)
    found: set[str] = set()
    for path in (*files.test, *files.validation):
        if (names := _sequences(path)) is None:
            warnings.warn(
                f"{path}: on which sequences its genes lie is not known, since no dataset.json is beside it; if they "
                f"are in {settings.unlabelled_dataset}, take them out, or the model is trained on them without labels",
                SpliceAIWarning,
                stacklevel=2,
            )
        else:
            found |= names
    return frozenset(found.difference(*(_sequences(path) or () for path in files.train)))


def _sequences(path: Path) -> set[str] | None:
    """Return the names of the sequences that a data set's genes lie on; None where no record is beside it.

    A file that the record does not name may hold genes of all of its sets.
    """
    folder = DataFolder(path.parent)
    record = stored.unless_damaged(partial(stored.read, folder.record, DataSetsRecord))
    if record is None:
        return None
    own = [names for name, names in record.sequences.items() if folder.dataset(name).name == path.name]
    return set().union(*(own or record.sequences.values()))


def data_files(settings: TransferSettings) -> Files:
    """Return the files of the data sets."""
    old_species = None if settings.genomic_eval_dataset is None else Path(settings.genomic_eval_dataset)
    if data := settings.data_settings():
        made = DataFolder(data.output_dir).dataset
        sets = (made("train"),), (made("test"),), (made("validation"),)
        return Files(*sets, (), "made from the genome", old_species)
    train, test = paths_of(settings.train_dataset), paths_of(settings.test_dataset)
    if settings.validation_dataset is not None:
        return Files(train, test, paths_of(settings.validation_dataset), (), "--validation-dataset", old_species)
    siblings = {path: validation_sibling(path) for path in train}
    validation = tuple(sibling for sibling in siblings.values() if sibling)
    split = tuple(path for path, sibling in siblings.items() if not sibling)
    if len(train) == 1:
        way = "a tenth of the training file" if split else "found beside the training file, by its name"
    else:
        way = "found beside each training file, by its name, or else a tenth of it"
    return Files(train, test, validation, split, way, old_species)

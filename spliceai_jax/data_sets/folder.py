"""The folder of data sets: names of the files, and whose they are."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from spliceai_jax.data_sets.record import DataSetsRecord, Identity
from spliceai_jax.data_sets.split import SETS, SetName
from spliceai_jax.errors import RunFolderError
from spliceai_jax.files import write_whole
from spliceai_jax.runs import stored
from spliceai_jax.windows.gene_table import other_sites_beside


class DataFolder:
    """Where data sets lie.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: str | Path) -> None:
        """Name the folder; nothing is made yet."""
        self.root = Path(root).absolute()

    def dataset(self, name: SetName) -> Path:
        """Return a data set's HDF5 file."""
        return self.root / f"dataset_{name}.h5"

    def datafile(self, name: SetName) -> Path:
        """Return the file of a set's genes as strings."""
        return self.root / f"datafile_{name}.h5"

    def stats(self, name: SetName) -> Path:
        """Return the table of a set's genes."""
        return self.root / f"{name}_stats.txt"

    def other_sites(self, name: SetName) -> Path:
        """Return the table of the sites of a set's genes that are not labelled."""
        return other_sites_beside(self.dataset(name))

    def removed_paralogs(self, name: SetName) -> Path:
        """Return the table of the genes that were left out of a set as paralogs."""
        return self.root / f"removed_paralogs_{name}.txt"

    def fasta(self, name: SetName) -> Path:
        """Return the FASTA file of a set's genes."""
        return self.root / f"{name}.fa"

    @property
    def record(self) -> Path:
        """The file that says where the sets come from; it is written last."""
        return self.root / "dataset.json"

    @property
    def page(self) -> Path:
        """The page about the sets."""
        return self.root / "dataset.html"

    @property
    def begun(self) -> Path:
        """The file that says for what the folder is in use until `record` is there."""
        return self.root / ".begun.json"

    def check(self, identity: Identity) -> DataSetsRecord | None:
        """Refuse a folder that holds something else.

        Returns:
            The record of the data sets if they are there and whole; None if they are to be made.

        Raises:
            RunFolderError: The folder holds other data sets, or files that `create_data` did not write.
        """
        try:
            record = stored.read(self.record, DataSetsRecord)
        except (FileNotFoundError, NotADirectoryError):
            self._check_unfinished()
            return None
        except RunFolderError as error:
            raise RunFolderError(f"{error}; give another `output_dir`") from error
        if changes := identity.differences(record.identity):
            raise RunFolderError(
                f"{self.root}: holds data sets that were made differently: {'; '.join(changes)}; give another "
                "`output_dir`"
            )
        if lost := [path for name in record.sets if not (path := self.dataset(name)).exists()]:
            raise RunFolderError(f"{lost[0]}: missing, though {self.record} names it; give another `output_dir`")
        return record

    def _check_unfinished(self) -> None:
        if self.begun.exists():  # what is there was left by a process that was stopped, and is made again
            return
        if found := next((path for path in self._files() if os.path.lexists(path)), None):
            raise RunFolderError(
                f"{found}: exists, but was not written by `spliceai-jax create-data`; give another `output_dir`, or "
                "move it"
            )

    def _files(self) -> Iterator[Path]:
        for name in SETS:
            yield from (self.dataset(name), self.datafile(name), self.stats(name), self.fasta(name))
            yield from (self.other_sites(name), self.removed_paralogs(name))
        yield self.page

    def begin(self, identity: Identity) -> None:
        """Say for what the folder is in use, and delete what a process left that was stopped."""
        for path in self._files():  # other settings might not write all of them
            path.unlink(missing_ok=True)
        write_whole(self.begun, stored.render(asdict(identity)))

    def finish(self, record: DataSetsRecord) -> None:
        """Write the record, which makes the data sets complete."""
        write_whole(self.record, stored.render(asdict(record)))
        self.begun.unlink(missing_ok=True)

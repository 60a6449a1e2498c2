"""The folder of data sets: names of the files, and whose they are; `dataset.json`, which says where they come from."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spliceai_jax import stored
from spliceai_jax.data_sets.settings import Choices, CreateDataSettings
from spliceai_jax.data_sets.split import SETS, SetName
from spliceai_jax.data_sets.usual import Check
from spliceai_jax.data_sets.writing import SetCounts
from spliceai_jax.display import counted
from spliceai_jax.encoding import Strand
from spliceai_jax.errors import RunFolderError
from spliceai_jax.files import write_whole
from spliceai_jax.genome.annotation_repairs import Repair
from spliceai_jax.genome.compressed import TextKind, check_unchanged, sha256_of
from spliceai_jax.windows.gene_table import other_sites_beside


@dataclass(frozen=True)
class Source:
    """A file that the data sets were made from.

    Attributes:
        path: The file, absolute.
        sha256: SHA-256 of its bytes.
    """

    path: str
    sha256: str

    @classmethod
    def of(cls, path: str | Path, kind: TextKind) -> "Source":
        """Read the file.

        Raises:
            SequenceError: It cannot be read, or only once.
        """
        return cls(str(Path(path).absolute()), sha256_of(path, kind))


def check_sources(genome: Source, annotation: Source) -> None:
    """Refuse files that have changed since `Source.of`.

    Raises:
        SequenceError: One has.
    """
    check_unchanged(genome.path, "a FASTA file", genome.sha256)
    check_unchanged(annotation.path, "a GFF3 or GTF file", annotation.sha256)


@dataclass(frozen=True)
class Identity:
    """What decides the data sets, to the last byte.

    Attributes:
        genome: SHA-256 of the FASTA file.
        annotation: SHA-256 of the annotation file.
        settings: What else decides them.
    """

    genome: str
    annotation: str
    settings: Choices = field(default_factory=Choices)

    @classmethod
    def of(cls, settings: CreateDataSettings, genome: Source, annotation: Source) -> "Identity":
        """Return what these settings and files decide."""
        return cls(genome.sha256, annotation.sha256, settings.choices)

    def differences(self, other: "Identity") -> list[str]:
        """Name what differs, each with the value here and then the other's."""
        found = [
            f"the {name} is another file"
            for name in ("genome", "annotation")
            if getattr(self, name) != getattr(other, name)
        ]
        now, before = asdict(self.settings), asdict(other.settings)
        differing = [name for name in now if now[name] != before[name]]
        return found + [f"`{name}` is now {now[name]!r} and was {before[name]!r}" for name in differing]


@dataclass(frozen=True)
class GeneKind:
    """Genes of one source and biotype.

    Attributes:
        source: Column 2 of their lines; "" where it is empty or a dot.
        biotype: Their biotype; None where the annotation gives none.
        annotated: Their number in the annotation.
        in_sets: How many of them are in the data sets.
    """

    source: str
    biotype: str | None
    annotated: int
    in_sets: int


@dataclass(frozen=True)
class NamedIntron:
    """An intron and the gene that it is of.

    Attributes:
        gene: The gene's name.
        sequence: The sequence that it lies on.
        start: Its first base there, counted from 1.
        end: Its last base.
        strand: "+" or "-".
        motif: Its first two bases and its last two, "GT-AG" for example; of fewer than four bases, all.
    """

    gene: str
    sequence: str
    start: int
    end: int
    strand: Strand
    motif: str

    @property
    def length(self) -> int:
        """The number of its bases."""
        return self.end - self.start + 1


@dataclass(frozen=True, kw_only=True)
class DataSetsRecord:
    """The contents of `dataset.json`.

    Attributes:
        identity: What decides the data sets.
        genome: The FASTA file.
        annotation: The annotation file.
        split: How the sets were found, in words.
        sets: What each data set holds.
        sequences: The number of genes of each set on each sequence.
        lengths: The number of bases of each of these sequences.
        left_out: Reason -> the number of genes left out for it.
        motifs: Motif of the introns, "GT-AG" for example -> their number, those that `canonical_only` does not label
            included.
        soft_masked_share: The share of the genome's bases in lower case; they are read as upper case.
        unknown_share: The share of the genome's bases that are not A, C, G or T.
        exons_from_cds: The number of genes whose exons are known from their CDS alone, without untranslated exons.
        versions: Version of each package that had a part.
        warnings: What the user was warned of.
        repairs: What of the annotation was not read as it stands.
        checks: Numbers of the data sets beside their usual ranges.
        kinds: The annotation's genes by source and biotype, the most frequent first.
        decided_by: What decided which transcript is canonical ("MANE_Select", "longest CDS") -> for how many genes.
        transcripts: The number of transcripts of a gene -> how many genes of the sets have as many.
        sites: The number of labelled sites of a gene -> how many genes of the sets have as many.
        shortest_introns: Some labelled introns, the shortest first.
        longest_introns: Some labelled introns, the longest first.
    """

    identity: Identity
    genome: Source
    annotation: Source
    split: str
    sets: dict[SetName, SetCounts]
    sequences: dict[SetName, dict[str, int]]
    lengths: dict[str, int]
    left_out: dict[str, int]
    motifs: dict[str, int]
    soft_masked_share: float
    unknown_share: float
    exons_from_cds: int
    versions: dict[str, str]
    warnings: list[str]
    repairs: list[Repair] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    kinds: list[GeneKind] = field(default_factory=list)
    decided_by: dict[str, int] = field(default_factory=dict)
    transcripts: dict[str, int] = field(default_factory=dict)
    sites: dict[str, int] = field(default_factory=dict)
    shortest_introns: list[NamedIntron] = field(default_factory=list)
    longest_introns: list[NamedIntron] = field(default_factory=list)


def described(sets: Mapping[SetName, SetCounts]) -> dict[str, str]:
    """Return what each set holds in words, as names and values."""
    return {
        name: ", ".join(
            counted(number, thing)
            for number, thing in (
                (counts.genes, "gene"),
                (counts.windows, "window"),
                (counts.donors, "donor"),
                (counts.acceptors, "acceptor"),
            )
        )
        + (f", {counted(counts.left_out_sites, 'site')} left out" if counts.left_out_sites else "")
        for name, counts in sets.items()
    }


class DataFolder:
    """Where data sets lie.

    Attributes:
        root: The folder.
        record: The file that says where the sets come from; it is written last.
        page: The page about the sets.
        begun: The file that says for what the folder is in use until `record` is there.
    """

    def __init__(self, root: str | Path) -> None:
        """Name the folder; nothing is made yet."""
        self.root = Path(root).absolute()
        self.record = self.root / "dataset.json"
        self.page = self.root / "dataset.html"
        self.begun = self.root / ".begun.json"

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

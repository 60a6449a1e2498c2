"""`dataset.json`: where data sets come from and what is in them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spliceai_jax.data_sets.settings import Choices, CreateDataSettings
from spliceai_jax.data_sets.split import SetName
from spliceai_jax.data_sets.usual import Check
from spliceai_jax.data_sets.writing import SetCounts
from spliceai_jax.display import counted
from spliceai_jax.encoding import Strand
from spliceai_jax.genome.annotation_repairs import Repair
from spliceai_jax.genome.compressed import TextKind, check_unchanged, sha256_of


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

        Arguments:
            path: The file.
            kind: What it should be.

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

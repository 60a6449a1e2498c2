"""What a caller of `create_data` may ask for, checked when the settings are made."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from spliceai_jax.errors import SettingsError, check_choice, check_utf8, check_whole
from spliceai_jax.runs.session import equivalent_command

ParseType = Literal["canonical", "all_isoforms"]
Biotype = Literal["protein-coding", "non-coding", "all"]
ChrSplit = Literal["train-test", "test"]
SplitMethod = Literal["random", "human"]
CanonicalBy = Literal["tag", "cds", "span"]
Isoforms = Literal["canonical", "union", "mask"]
Context = Literal["genome", "N"]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What decides data sets beside the genome and its annotation. A new field needs a default: see `Identity`.

    Attributes:
        biotype: The genes that are taken.
        chr_split: "test" writes the test set alone.
        split_method: "random": whole sequences, drawn by `random_seed`, are the test set; "human": chromosomes 1, 3, 5,
            7 and 9 are.
        split_ratio: The share of the genes that train, validation included.
        val_split_ratio: The share of those that is the validation set.
        canonical_only: Label only introns that begin and end with GT-AG, GC-AG or AT-AC.
        remove_paralogs: Leave out test and validation genes that resemble a gene of the training set, and validation
            genes that resemble one of the test set.
        min_identity: The least identity, 0 to 1, of alignments that count as resemblance.
        min_coverage: The least share of a gene's exons, 0 to 1, that such alignments to one other gene cover together.
        write_fasta: Also write the genes' sequences as FASTA.
        random_seed: Seed of the split.
        test_sequences: Names of the sequences whose genes are the test set; None: `split_method` chooses.
        validation_sequences: Names of the sequences whose genes are the validation set; None: genes of the remaining
            sequences are drawn.
        canonical_by: What makes a transcript its gene's canonical one: the annotation's mark (see
            `annotation.PREFERRED_TAGS`), the longest coding sequence, or the longest span, which is OpenSpliceAI's
            rule. A gene without a mark falls back to the coding sequence, and without that to the span.
        isoforms: Which splice sites are labelled: those of the canonical transcript; those of all transcripts (union);
            or those of the canonical one, with the other transcripts' sites left out of loss and scores (mask).
        context: The bases around a gene: the genome's, which is what `predict` sees, or N as OpenSpliceAI writes.
        keep_organelles: Keep the genes of mitochondria and plastids, whose introns the spliceosome does not remove.
        accept_motifs: Go on although fewer than 90 % of the introns have one of the usual motifs.
    """

    biotype: Biotype = "protein-coding"
    chr_split: ChrSplit = "train-test"
    split_method: SplitMethod = "random"
    split_ratio: float = 0.8
    val_split_ratio: float = 0.1
    canonical_only: bool = False
    remove_paralogs: bool = True
    min_identity: float = 0.8
    min_coverage: float = 0.5
    write_fasta: bool = False
    random_seed: int = 42
    test_sequences: Sequence[str] | None = None
    validation_sequences: Sequence[str] | None = None
    canonical_by: CanonicalBy = "tag"
    isoforms: Isoforms | None = None
    context: Context = "genome"
    keep_organelles: bool = False
    accept_motifs: bool = False


@dataclass(frozen=True, kw_only=True)
class CreateDataSettings(Choices):
    """Settings of a set of data sets; `spliceai-jax create-data` has flags of the same names.

    Attributes:
        annotation_gff: GFF3 or GTF file, plain or compressed by gzip or bgzip.
        genome_fasta: FASTA file of the genome, plain or compressed.
        output_dir: Folder that the files are written to.
        parse_type: "all_isoforms" is OpenSpliceAI's name for `isoforms="union"`.
        verify_h5: Read every data set back when it is written, and compare.
        biotype, chr_split, split_method, ...: See `Choices`.

    Raises:
        SettingsError: A value is out of range, or two settings contradict each other.
    """

    annotation_gff: str | Path
    genome_fasta: str | Path
    output_dir: str | Path
    parse_type: ParseType = "canonical"
    verify_h5: bool = False

    def __post_init__(self) -> None:
        """Check every value that can be checked without opening a file."""
        for name, choices in {
            "parse_type": ParseType,
            "biotype": Biotype,
            "chr_split": ChrSplit,
            "split_method": SplitMethod,
            "canonical_by": CanonicalBy,
            "context": Context,
        }.items():
            check_choice(name, getattr(self, name), get_args(choices))
        check_choice("isoforms", self.isoforms, (None, *get_args(Isoforms)))
        for name in ("split_ratio", "val_split_ratio", "min_identity", "min_coverage"):
            if not 0 < (value := getattr(self, name)) < 1:
                raise SettingsError(f"`{name}` is {value}; expected a number above 0 and below 1")
        check_whole("random_seed", self.random_seed)
        if self.parse_type == "all_isoforms" and self.isoforms not in (None, "union"):
            raise SettingsError(
                f"`parse_type='all_isoforms'` and `isoforms={self.isoforms!r}` contradict each other; leave one out"
            )
        if self.remove_paralogs:
            check_utf8("output_dir", self.output_dir, "minimap2")
        self._check_sequences()

    def _check_sequences(self) -> None:
        for name in ("test_sequences", "validation_sequences"):
            given = getattr(self, name)
            if given is not None and (isinstance(given, str) or not given or not all(given)):
                raise SettingsError(f"`{name}` is {given!r}; expected names of sequences of the genome")
        if self.test_sequences and self.split_method == "human":
            raise SettingsError("`test_sequences` and `split_method='human'` contradict each other; leave one out")
        if self.validation_sequences and self.chr_split == "test":
            raise SettingsError("`validation_sequences` has no effect with `chr_split='test'`; leave one out")
        if both := set(self.test_sequences or ()) & set(self.validation_sequences or ()):
            raise SettingsError(
                f"`validation_sequences` and `test_sequences` both name {sorted(both)[0]!r}; the sets must not overlap"
            )

    def command(self) -> str:
        """Return the equivalent command line."""
        return equivalent_command("create-data", self)

    @property
    def labelled_isoforms(self) -> Isoforms:
        """Which splice sites are labelled."""
        return self.isoforms or ("union" if self.parse_type == "all_isoforms" else "canonical")

    @property
    def choices(self) -> Choices:
        """What of these settings decides the data sets, in the one form that settings of the same meaning share."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(Choices)}
        for name in ("test_sequences", "validation_sequences"):
            given[name] = None if given[name] is None else sorted(given[name])
        return Choices(**{**given, "isoforms": self.labelled_isoforms})

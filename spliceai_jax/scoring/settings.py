"""What a caller of `predict` may ask for, checked when the settings are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from spliceai_jax.architecture import ARCHITECTURES, WINDOW, Precision
from spliceai_jax.errors import SettingsError, check_choice, check_utf8, check_whole
from spliceai_jax.network.model_files import models_to_average

StrandChoice = Literal["+", "-", "both"]
BedFormName = Literal["openspliceai", "ucsc"]
"""What the rows of BED files look like: as OpenSpliceAI writes them, or as genome browsers take them."""


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Settings of a prediction; `spliceai-jax predict` has flags of the same names.

    Attributes:
        input_sequence: FASTA file, plain or compressed by gzip or bgzip.
        models: `.pt` files of one flanking size, folders of them, or Orbax checkpoints; the mean of the models'
            probabilities is taken.
        output_dir: Folder in which `SpliceAI_5000_{flanking_size}`, the folder of the results, is made.
        flanking_size: The flanking size that the weights must have; None accepts any.
        threshold: The lowest score that is written.
        annotation_file: GFF3 or GTF file whose genes are scored; None scores whole sequences.
        gene_flank: Bases on each side of a gene that are scored and written with it; None: half the flanking size. In
            any case the network sees the genome around every position.
        strand: Strands to score. None: with an annotation, the strand of each gene; without one "+", the sequences as
            they stand in the file, or with `spsc` both.
        bed: The form of the BED files. "openspliceai": OpenSpliceAI's own columns, an acceptor at the last base of its
            intron. "ucsc": BED6 for genome browsers, with scores from 0 to 1000, both kinds at their exon's base.
        bigwig: Write bigWig tracks as well, whose entries lie where the rows of the BED files do.
        calibrated: Apply to each model the temperature that lies beside its file: see `Pretrained.from_pt`.
        precision: How convolutions compute; see `Precision`.
        spsc: File of splice scores that minimap2 and miniprot read, to write as well; gzip if its name ends in .gz.
            Aligners need both strands, so that without an annotation both are scored.

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
    bed: BedFormName = "openspliceai"
    bigwig: bool = False
    calibrated: bool = False
    precision: Precision = "float32"
    spsc: str | Path | None = None

    def __post_init__(self) -> None:
        """Check every value that can be checked without opening a file."""
        if not 0 <= self.threshold <= 1:
            raise SettingsError(f"`threshold` is {self.threshold}; expected a score, 0 to 1")
        check_whole("gene_flank", self.gene_flank)
        if self.gene_flank is not None and self.annotation_file is None:
            raise SettingsError("`gene_flank` has no effect without genes; give `annotation_file` too")
        check_choice("flanking_size", self.flanking_size, (None, *ARCHITECTURES))
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("bed", self.bed, get_args(BedFormName))
        check_choice("strand", self.strand, (None, *get_args(StrandChoice)))
        if self.spsc is not None and self.strand not in (None, "both"):
            raise SettingsError(
                f"`strand={self.strand!r}`: `spsc` is of both strands, as aligners need it; leave out `strand`"
            )
        if self.bigwig:
            check_utf8("output_dir", self.output_dir, "pyBigWig")
        if not self.model_files:
            raise SettingsError("`models`: none is given; expected one model or more")

    @property
    def model_files(self) -> tuple[Path, ...]:
        """The `.pt` files and Orbax checkpoints."""
        return models_to_average(self.models)

    def folder(self, flanking_size: int) -> Path:
        """Return the folder of the results of models of a flanking size."""
        return Path(self.output_dir).absolute() / f"SpliceAI_{WINDOW}_{flanking_size}"

    @property
    def strands(self) -> tuple[Literal["+", "-"], ...]:
        """The strands to score."""
        choice = self.strand or ("+" if self.annotation_file is None and self.spsc is None else "both")
        return ("+", "-") if choice == "both" else (choice,)

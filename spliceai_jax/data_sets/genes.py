"""Which genes and sites go into data sets, and what the user should know of it."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby

import numpy as np
from jaxtyping import UInt8

from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.display import Display
from spliceai_jax.encoding import COMPLEMENT, decode
from spliceai_jax.errors import DatasetError, SequenceError, SpliceAIWarning, some
from spliceai_jax.genome.annotation import Annotation, Gene, Transcript
from spliceai_jax.genome.annotation_repairs import Repair
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.genes_on_genome import divide_genes, genes_on_genome, organelles
from spliceai_jax.genome.splicing import (
    NO_SITES,
    Introns,
    Sites,
    all_introns,
    canonical_transcript,
    coding_transcripts,
    gene_labels,
    sites_beside,
)

_REPAIRS_TOLD = 8


class Notes(list[str]):
    """The notes, in the order in which they were found; `append` also tells them."""

    def append(self, note: str) -> None:
        """Add a note and tell it, once."""
        if note not in self:
            super().append(note)
            warnings.warn(note, SpliceAIWarning, stacklevel=2)


def tell_repairs(repairs: Sequence[Repair]) -> None:
    """Tell what of an annotation was repaired, a line for each rule; of many rules the first."""
    for repair in repairs[:_REPAIRS_TOLD]:
        warnings.warn(f"repaired: {repair.text}", SpliceAIWarning, stacklevel=2)
    if len(repairs) > _REPAIRS_TOLD:
        more = len(repairs) - _REPAIRS_TOLD
        warnings.warn(f"repaired: {more} more things, which the page names", SpliceAIWarning, stacklevel=2)


USUAL_MOTIFS = ("GT-AG", "GC-AG", "AT-AC")
"""The first and the last two bases of nearly all introns."""

_LEAST_USUAL = 0.9
"""The share of introns with a usual motif below which the annotation is of another genome."""


SHORT = 30
"""Introns of fewer bases are hardly ever spliced: nearly all of an annotation's are frame shifts or mistakes."""


@dataclass(frozen=True, eq=False, slots=True)
class ChosenGene:
    """A gene of a data set.

    Attributes:
        gene: The gene.
        canonical: The transcript that stands for it.
        introns: The introns whose ends are labelled.
        left_out: Sites that are left out of loss and scores.
        decided_by: What decided that it is the canonical transcript: "MANE_Select" or "longest CDS", for example.
    """

    gene: Gene
    canonical: Transcript
    introns: Introns
    left_out: Sites
    decided_by: str = ""

    @property
    def length(self) -> int:
        """The number of bases of its span."""
        return self.gene.end - self.gene.start

    def labels(self) -> UInt8[np.ndarray, " length"]:
        """Return the label of each base of its span, in the direction of transcription."""
        return gene_labels(self.gene, self.introns, self.left_out)


@dataclass(frozen=True, eq=False)
class Choice:
    """The genes that were chosen.

    Attributes:
        genes: The genes, in the annotation's order.
        left_out: Reason -> the number of genes left out for it.
        motifs: Motif of the introns ("GT-AG") -> their number, those that `canonical_only` does not label included.
        notes: What the user should know.
        repairs: What was not read as it stands.
    """

    genes: list[ChosenGene]
    left_out: Counter[str] = field(default_factory=Counter)
    motifs: Counter[str] = field(default_factory=Counter)
    notes: Notes = field(default_factory=Notes)
    repairs: list[Repair] = field(default_factory=list)


def choose_genes(annotation: Annotation, genome: Genome, settings: CreateDataSettings, display: Display) -> Choice:
    """Choose the genes, and the introns that are labelled; repairs and notes are told as they are found.

    Raises:
        SequenceError: Genome and annotation do not belong together: no name of a sequence is in both, a gene ends
            beyond its sequence, or fewer than 90 % of the introns have a usual motif and `accept_motifs` is not set.
        DatasetError: No gene is left, or none has an intron.
    """
    choice = Choice([], repairs=list(annotation.repairs))
    known = _nuclear(annotation, genome, settings, choice)
    wanted = _of_biotype(known, settings, choice)
    left_out_sites = _sites_by_strand(known) if settings.labelled_isoforms == "mask" else {}
    with display.progress("choosing genes", len(wanted), "genes") as advance:
        for gene in wanted:
            choice.genes.append(_chosen(gene, genome, settings, left_out_sites, choice.motifs))
            advance(1)
    _check_introns(choice, genome, settings)
    return choice


def _nuclear(annotation: Annotation, genome: Genome, settings: CreateDataSettings, choice: Choice) -> list[Gene]:
    """Return the genes on the genome's sequences; those of organelles, whose introns splice otherwise, if wanted."""
    of_organelles = frozenset[str]() if settings.keep_organelles else organelles(annotation, genome)
    genes = [gene for gene in annotation.genes if gene.sequence not in of_organelles]
    if lost := len(annotation.genes) - len(genes):
        choice.left_out["of a mitochondrion or plastid"] = lost
        choice.notes.append(
            f"{settings.annotation_gff}: {lost} genes on {some(of_organelles)} are left out, since no spliceosome "
            "removes the introns of mitochondria and plastids; `keep_organelles=True` to `spliceai-jax create-data` "
            "keeps them"
        )
    if not genes:
        raise DatasetError(
            f"{settings.annotation_gff}: all of its genes are of a mitochondrion or plastid; give an annotation of the "
            "nuclear genome, or `keep_organelles=True` to `spliceai-jax create-data`"
        )
    placed = genes_on_genome(replace(annotation, genes=genes), genome, settings.annotation_gff)
    choice.left_out.update(placed.left_out)
    for note in placed.notes:
        choice.notes.append(note)
    return placed.genes


def _of_biotype(genes: list[Gene], settings: CreateDataSettings, choice: Choice) -> list[Gene]:
    """Return the genes of the wanted biotype that have a transcript with exons and lie in one place."""
    in_one_place = [gene for gene in genes if not gene.trans_spliced]
    divided = divide_genes(in_one_place)
    if divided.without_biotype:
        what = "genes without a biotype where others have one, taken as protein-coding if they have CDS"
        choice.repairs.append(Repair("biotype", divided.without_biotype, f"{what}: {divided.without_biotype}"))
    tell_repairs(choice.repairs)
    if settings.biotype == "all":
        wanted = in_one_place
    else:
        wanted = divided.coding if settings.biotype == "protein-coding" else divided.others
        if divided.told_by == "nothing" and wanted:
            choice.notes.append(
                f"{settings.annotation_gff}: does not say which genes are protein-coding, neither by biotypes nor by "
                "CDS; all count as such"
            )
    usable = [gene for gene in wanted if _with_exons(gene.transcripts)]
    choice.left_out["trans-spliced"] += len(genes) - len(in_one_place)
    choice.left_out[f"not {settings.biotype}"] += len(in_one_place) - len(wanted)
    choice.left_out["without a transcript that has exons"] += len(wanted) - len(usable)
    if not usable:
        reasons = "; ".join(f"{count} {reason}" for reason, count in choice.left_out.items() if count)
        raise DatasetError(
            f"{settings.annotation_gff}: none of its {choice.left_out.total()} genes is {settings.biotype} and has "
            f"exons ({reasons}; biotypes: {some({gene.biotype or 'none' for gene in genes})}); give another `biotype` "
            "to `spliceai-jax create-data`, or an annotation with exons"
        )
    return usable


def _sites_by_strand(genes: list[Gene]) -> dict[tuple[str, str], Sites]:
    """Return all annotated sites of each strand of each sequence, sorted."""
    found = {}
    for key, together in groupby(sorted(genes, key=_strand_of), key=_strand_of):
        introns = all_introns(transcript for gene in together for transcript in gene.transcripts)
        sites = sites_beside(introns, "+" if key[1] == "+" else "-")
        found[key] = Sites(np.unique(sites.donors), np.unique(sites.acceptors))
    return found


def _strand_of(gene: Gene) -> tuple[str, str]:
    return gene.sequence, gene.strand


def _chosen(
    gene: Gene,
    genome: Genome,
    settings: CreateDataSettings,
    sites: dict[tuple[str, str], Sites],
    motifs: Counter[str],
) -> ChosenGene:
    wanted = coding_transcripts(gene) if settings.biotype == "protein-coding" else gene.transcripts
    candidates = _with_exons(wanted) or _with_exons(gene.transcripts)
    canonical, decided_by = canonical_transcript(candidates, settings.canonical_by)
    labelled = all_introns(candidates if settings.labelled_isoforms == "union" else (canonical,))
    labelled = labelled[(labelled[:, 0] > gene.start) & (labelled[:, 1] < gene.end)]
    found = list(_motifs(gene, labelled, genome))
    motifs.update(found)
    if settings.canonical_only:
        labelled = labelled[[motif in USUAL_MOTIFS for motif in found]]
    strand = sites.get(_strand_of(gene), NO_SITES)
    inside = (positions[slice(*np.searchsorted(positions, (gene.start, gene.end)))] for positions in strand)
    return ChosenGene(gene, canonical, labelled, Sites(*inside), decided_by)


def _with_exons(transcripts: tuple[Transcript, ...]) -> tuple[Transcript, ...]:
    return tuple(transcript for transcript in transcripts if len(transcript.exons))


def _motifs(gene: Gene, introns: Introns, genome: Genome) -> Iterator[str]:
    """Yield the motif of each intron: its first two bases and its last two, in the direction of transcription."""
    if not len(introns):
        return
    bases = genome.bases(gene.sequence, gene.start, gene.end)
    ends_of_introns = bases[introns[:, [0, 0, 1, 1]] + (0, 1, -2, -1) - gene.start]
    if gene.strand == "-":
        ends_of_introns = COMPLEMENT[ends_of_introns[:, ::-1]]
    for codes in ends_of_introns:
        yield _motif(codes.tobytes())


@cache
def _motif(codes: bytes) -> str:
    bases = decode(np.frombuffer(codes, np.uint8))
    return f"{bases[:2]}-{bases[2:]}"


def _check_introns(choice: Choice, genome: Genome, settings: CreateDataSettings) -> None:
    total = choice.motifs.total()
    if not total:
        raise DatasetError(
            f"{settings.annotation_gff}: none of the {len(choice.genes)} {settings.biotype} genes has an intron, so "
            "there is no splice site to learn; give an annotation with exons"
        )
    usual = sum(choice.motifs[motif] for motif in USUAL_MOTIFS)
    if usual < _LEAST_USUAL * total and not settings.accept_motifs:
        lengths = np.concatenate([chosen.introns[:, 1] - chosen.introns[:, 0] for chosen in choice.genes])
        short = int((lengths < SHORT).sum())
        why = (
            f"{short} have fewer than {SHORT} bases, so that they are gaps in alignments rather than introns: give an "
            "annotation without them"
            if short > total - usual - short
            else "give the annotation of this very assembly"
        )
        raise SequenceError(
            f"{settings.annotation_gff}: only {usual / total:.0%} of its {total} introns begin and end with "
            f"{', '.join(USUAL_MOTIFS)} in {genome.source}, where 98 % or more are usual; {why}, or "
            "`accept_motifs=True` to `spliceai-jax create-data` if this is right"
        )

"""Where splice sites lie: introns of transcripts, canonical transcripts, and labels of genes."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from spliceai_jax.architecture import CLASSES, PADDING
from spliceai_jax.encoding import Strand
from spliceai_jax.genome.annotation import Gene, Transcript
from spliceai_jax.genome.annotation_records import PREFERRED_TAGS

Introns = Int[np.ndarray, "introns 2"]
"""The first base of each intron and the base after its last, counted from 0 on the "+" strand."""


class Sites(NamedTuple):
    """The splice sites of one or more transcripts of a strand, counted from 0 on the "+" strand.

    Attributes:
        donors: The last base, in the direction of transcription, of each exon that another one follows.
        acceptors: The first base of each exon that follows another one.
    """

    donors: Int[np.ndarray, " introns"]
    acceptors: Int[np.ndarray, " introns"]


NO_SITES = Sites(np.zeros(0, np.int64), np.zeros(0, np.int64))


def introns(transcript: Transcript) -> Introns:
    """Return a transcript's introns in the order of the sequence.

    Exons that touch or overlap have no intron between them.
    """
    between = np.stack([transcript.exons[:-1, 1], transcript.exons[1:, 0]], axis=1)
    return between[between[:, 0] < between[:, 1]]


def all_introns(transcripts: Iterable[Transcript]) -> Introns:
    """Return the distinct introns of transcripts, sorted."""
    found = [introns(transcript) for transcript in transcripts]
    if len(found) == 1:  # these are distinct and sorted, and there are many
        return found[0]
    return np.unique(np.concatenate([np.zeros((0, 2), np.int32), *found]), axis=0)


def sites_beside(introns: Introns, strand: Strand) -> Sites:
    """Return the splice sites at the ends of introns, in the introns' order."""
    left, right = introns[:, 0] - 1, introns[:, 1]
    return Sites(left, right) if strand == "+" else Sites(right, left)


def coding_transcripts(gene: Gene) -> tuple[Transcript, ...]:
    """Return a gene's protein-coding transcripts; all of them where the annotation does not say which are."""
    coding = tuple(
        transcript
        for transcript in gene.transcripts
        if transcript.biotype == "protein_coding" or (transcript.biotype is None and transcript.coding_length)
    )
    return coding or gene.transcripts


def canonical_transcript(
    transcripts: Sequence[Transcript], by: Literal["tag", "cds", "span"]
) -> tuple[Transcript, str]:
    """Return the transcript that stands for its gene, and what decided it.

    Of several transcripts with the best mark, the next mark or measure decides. Of equal coding sequences the first in
    the file counts, of equal spans the first by name, as in OpenSpliceAI.

    Arguments:
        transcripts: The candidates, at least one.
        by: "tag": the annotation's marks, in the order of `PREFERRED_TAGS`, or else as "cds"; "cds": the longest coding
            sequence, or else, if none has one, as "span"; "span": the longest span.

    Returns:
        The transcript; and "only transcript", a mark, "longest CDS", "first in the file of equal CDS" or "longest
        span".
    """
    if len(transcripts) == 1:
        return transcripts[0], "only transcript"
    for tag in PREFERRED_TAGS if by == "tag" else ():
        marked = [transcript for transcript in transcripts if tag in transcript.tags]
        if len(marked) == 1:
            return marked[0], tag
        transcripts = marked or transcripts
    if by != "span" and any(transcript.coding_length for transcript in transcripts):
        longest = max(transcript.coding_length for transcript in transcripts)
        equal = [transcript for transcript in transcripts if transcript.coding_length == longest]
        return equal[0], "longest CDS" if len(equal) == 1 else "first in the file of equal CDS"
    return min(transcripts, key=lambda one: (one.start - one.end, one.name)), "longest span"


def gene_labels(gene: Gene, labelled: Introns, left_out: Sites = NO_SITES) -> UInt8[np.ndarray, " length"]:
    """Return the label of each base of a gene's span, in the direction of transcription.

    Arguments:
        labelled: The introns whose ends are labelled donor and acceptor.
        left_out: Sites that get `PADDING`, the label of no class, unless they are labelled.
    """
    labels = np.zeros(gene.end - gene.start, np.uint8)
    sites = sites_beside(labelled, gene.strand)
    marks = [*((positions, PADDING) for positions in left_out)]
    of_sites = [(sites.acceptors, CLASSES.index("acceptor")), (sites.donors, CLASSES.index("donor"))]
    # An exon of one base is both; as in OpenSpliceAI it is labelled for the intron behind it on the "+" strand.
    marks += of_sites if gene.strand == "+" else of_sites[::-1]
    for positions, label in marks:
        inside = positions[(positions >= gene.start) & (positions < gene.end)]
        labels[inside - gene.start if gene.strand == "+" else gene.end - 1 - inside] = label
    return labels

"""The exons of transcripts, put together from lines of exons, CDS and UTRs."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32

from spliceai_jax.genome.annotation_lines import (
    PARTS,
)
from spliceai_jax.genome.annotation_records import Draft, Indices, Lines, Locus, Parts, Traits
from spliceai_jax.genome.annotation_repairs import SHORTEST_INTRON

_FAR = 2_000_000
"""The parts of a transcript lie nearer to each other; the longest introns of animals have some 1.2 million bases."""

_FAR_IF_NAMELESS = 50_000
"""The same for parts whose transcript has a name that stands for many."""

_AT_ONCE = 4096
"""The exons of so many transcripts are put together at once, so that memory does not grow with their number."""

_MANY_SHARE_IT = re.compile(r"unknown_transcript(_\d+)?|")


def transcripts_of(lines: Lines) -> list[Draft]:
    """Return all transcripts with their exons, those without a line included."""
    drafts, parts = lines.drafts, lines.parts.whole()
    owner = _owners(drafts, parts)
    owner, drafts = _with_lineless(lines, drafts, parts, owner)
    strands_of_genes = {(locus.sequence, locus.name): locus.strand for locus in lines.loci}
    for draft in drafts:
        draft.strand = draft.strand or strands_of_genes.get((draft.sequence, draft.gene), 0)
    held = np.flatnonzero(owner >= 0)
    strands = np.array([draft.strand for draft in drafts], np.int8)
    astray = parts.strand[held] * strands[owner[held]] < 0  # exons on the other strand: trans-splicing
    for index in np.unique(owner[held[astray]]).tolist():
        drafts[index].astray = True
    held = held[~astray]
    held = held[np.argsort(owner[held], kind="stable")]
    short_gaps: dict[tuple[str, int, int], str] = {}
    for begin in range(0, len(drafts), _AT_ONCE):
        members = held[slice(*np.searchsorted(owner[held], [begin, begin + _AT_ONCE]))]
        some = drafts[begin : begin + _AT_ONCE]
        short_gaps |= _set_exons(lines, some, parts.at(members), owner[members] - begin)
    lines.repairs.count("short gaps", next(iter(short_gaps.values()), ""), len(short_gaps))
    return drafts


def _owners(drafts: Sequence[Draft], parts: Parts) -> Indices:
    """Return the index of the transcript that each part belongs to, -1 for none.

    Of several lines with one ID a part belongs to the last that starts no later than it does, or else to the first:

        mRNA  100-200  ID=t      exon  110-150  Parent=t     of the first
        mRNA  500-600  ID=t      exon  510-550  Parent=t     of the second
    """
    keys, starts = (np.array([getattr(draft, name) for draft in drafts], np.int32) for name in ("key", "start"))
    order = np.lexsort((starts, keys))
    if not len(order):
        return np.full(len(parts.key), -1)
    sorted_keys = keys[order]
    before = np.searchsorted(_placed(sorted_keys, starts[order]), _placed(parts.key, parts.start), side="right") - 1
    after = np.minimum(before + 1, len(order) - 1)
    found = np.where(sorted_keys[after] == parts.key, order[after], -1)
    return np.where((before >= 0) & (sorted_keys[before] == parts.key), order[before], found)


def _with_lineless(lines: Lines, drafts: list[Draft], parts: Parts, owner: Indices) -> tuple[Indices, list[Draft]]:
    """Add the transcripts that have parts but no line, one for each strand and place.

    exon  100-200  +  gene_id "g"; transcript_id "t"              transcript t of gene g
    CDS   100-200  +  Parent=g               (g is a gene)        transcript g of gene g
    CDS   100-200  +  gene_id ""; transcript_id "unknown_transcript_1"     one in each gene or, without gene lines,
    CDS  9100-9200 +  gene_id ""; transcript_id "unknown_transcript_1"     in each place
    """
    rest = np.flatnonzero(owner < 0)
    if lines.form == "GFF3":  # a part of which another parent is known: Parent=AT1G01010.1,AT1G01010.1-Protein
        rest = rest[~np.isin(parts.line[rest], parts.line[owner >= 0])]
    nameless = np.array([not gene and bool(_MANY_SHARE_IT.fullmatch(name)) for _, gene, name in lines.names], bool)
    if lines.form == "GFF3" and len(rest):
        lost = rest[nameless[parts.key[rest]]]
        lines.repairs.count("stray parts", f"line {parts.line[lost].min(initial=2**31 - 1)}", len(lost))
        rest = np.setdiff1d(rest, lost)
    if not len(rest):
        return owner, drafts
    some = parts.at(rest)
    shared = nameless[some.key]
    group = some.key.astype(np.int64) * 4 + some.strand + 1
    locus = _containing(lines, some, shared)
    _, group = np.unique(np.stack([group, locus]), axis=1, return_inverse=True)
    order, run = _runs(group.ravel(), some.start, some.end, np.where(shared, _FAR_IF_NAMELESS, _FAR))
    names_of_genes = {(locus.sequence, locus.name) for locus in lines.loci}
    drafts = list(drafts)
    bounds = np.flatnonzero(np.diff(run, prepend=-1, append=run[-1] + 1))
    copies: Counter[int] = Counter()
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        members = order[begin:end]
        key = int(some.key[members[0]])
        sequence, gene, name = lines.names[key]
        implied = lines.form == "GFF3" and (sequence, name) in names_of_genes
        facts, source = lines.facts_of_lineless.get(key, (Traits(), ""))
        owner[rest[members]] = len(drafts)
        copies[key] += 1
        drafts.append(
            Draft(
                int(some.line[members].min()),
                key,
                name or gene or "unknown_transcript",
                name if implied else gene,
                sequence,
                int(some.start[members].min()),
                int(some.end[members].max()),
                int(some.strand[members[0]]),
                source,
                facts,
                implied=implied,
            )
        )
    for key, count in copies.items():
        if count > 1 and nameless[key]:
            lines.repairs.count("nameless", f"{lines.names[key][2] or 'no name'} on {lines.names[key][0]}", count)
    return owner, drafts


def _containing(lines: Lines, parts: Parts, wanted: Bool[np.ndarray, " features"]) -> Indices:
    """Return the number of the gene line, by place, that holds each of the wanted parts; -1 for the others."""
    found = np.full(len(parts.key), -1)
    places: dict[tuple[str, int], list[Locus]] = defaultdict(list)
    for locus in lines.loci if wanted.any() else ():
        places[locus.sequence, locus.strand].append(locus)
    for index in np.flatnonzero(wanted).tolist():
        there = places[lines.names[parts.key[index]][0], int(parts.strand[index])]
        inside = [n for n, one in enumerate(there) if one.start <= parts.start[index] and parts.end[index] <= one.end]
        found[index] = min(inside, key=lambda n: there[n].end - there[n].start, default=-1)
    return found


def _set_exons(lines: Lines, drafts: Sequence[Draft], parts: Parts, owner: Indices) -> dict[tuple[str, int, int], str]:
    """Put the exons of transcripts together from all their parts, and return the short gaps that were closed.

    An exon is the union of exon, CDS and UTR lines that touch, overlap or lie nearer than `SHORTEST_INTRON`:

        UTR 100-120  CDS 121-200  CDS 300-400        exons 100-200 and 300-400
        exon 100-200  exon 203-300                   exon  100-300, as after a frame shift

    A CDS or UTR line that lies over an intron between exon lines says where translation begins and ends, no more:

        exon 100-200  exon 300-400  CDS 150-350      exons 100-200 and 300-400
    """
    count = len(drafts)
    is_exon, is_cds = parts.role == PARTS.index("exon"), parts.role == PARTS.index("CDS")
    exons, first_exon, gaps = _merged(parts, owner, is_exon, count, SHORTEST_INTRON)
    cds, first_cds, _ = _merged(parts, owner, is_cds, count, 0)
    begin = np.searchsorted(_placed(_numbered(first_exon), exons[:, 1]), _placed(owner, parts.start), "right")
    behind = np.searchsorted(_placed(_numbered(first_exon), exons[:, 0]), _placed(owner, parts.end), "left")
    blocks, first_block, more_gaps = _merged(parts, owner, is_exon | (behind - begin < 2), count, SHORTEST_INTRON)
    gaps = np.concatenate([gaps, more_gaps])
    places = {(drafts[index].sequence, *gap): drafts[index].name for index, *gap in gaps.tolist()}

    lengths = [np.concatenate([[0], np.cumsum(one[:, 1] - one[:, 0])]) for one in (exons, cds, blocks)]
    of_exons, of_cds, of_blocks = (
        np.diff(total[bounds]) for total, bounds in zip(lengths, (first_exon, first_cds, first_block), strict=True)
    )
    has_utr = np.zeros(count, bool)
    has_utr[owner[parts.role == PARTS.index("UTR")]] = True
    together = (of_blocks > of_exons) & ((of_exons > 0) | has_utr)
    for index in np.flatnonzero(of_blocks).tolist():
        draft = drafts[index]
        draft.exons = blocks[first_block[index] : first_block[index + 1]]
        draft.coding_length = int(of_cds[index])
        draft.exons_from_cds = not of_exons[index] and not has_utr[index]
        draft.start, draft.end = min(draft.start, int(draft.exons[0, 0])), max(draft.end, int(draft.exons[-1, 1]))
        if together[index]:
            lines.repairs.count("exons put together", draft.name)
    return places


def _merged(
    parts: Parts, owner: Indices, which: Bool[np.ndarray, " features"], count: int, gap: int
) -> tuple[Int32[np.ndarray, "blocks 2"], Int[np.ndarray, " transcripts_and_one"], Int[np.ndarray, "gaps 3"]]:
    """Join parts of each transcript that overlap or lie nearer than `gap` to each other.

    Returns:
        Start and end of each block, by transcript and start; where the blocks of each transcript begin among them; and
        the gaps that were closed: transcript, start and end.
    """
    group, start, end = owner[which], parts.start[which], parts.end[which]
    order, run = _runs(group, start, end, gap)
    group, start, end = group[order], start[order], end[order]
    firsts = np.flatnonzero(np.diff(run, prepend=-1))
    ends = np.maximum.reduceat(end, firsts) if len(firsts) else end
    reach = np.maximum.accumulate(_placed(group, end))[:-1]
    closed = np.flatnonzero((_placed(group[1:], start[1:]) > reach) & (run[1:] == run[:-1])) + 1
    gaps = np.stack([group[closed], reach[closed - 1] & (2**32 - 1), start[closed]], axis=1)
    return np.stack([start[firsts], ends], axis=1), np.searchsorted(group[firsts], np.arange(count + 1)), gaps


def _numbered(bounds: Int[np.ndarray, " groups_and_one"]) -> Int[np.ndarray, " blocks"]:
    """Return the group of each block, given where those of each group begin."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))


def _runs(group: Indices, start: Indices, end: Indices, gap: Indices | int) -> tuple[Indices, Indices]:
    """Number the runs of features of a group that overlap or are nearer than `gap` bases to each other.

    Returns:
        The order of the features by group and start; and the number of the run of each, in this order.
    """
    order = np.lexsort((start, group))
    reach = np.maximum.accumulate(_placed(group[order], end[order]))
    begins = np.ones(len(order), bool)
    gaps = gap if isinstance(gap, int) else gap[order][1:]
    begins[1:] = _placed(group[order], start[order])[1:] - reach[:-1] >= gaps
    return order, np.cumsum(begins) - 1


def _placed(group: Indices, place: Indices) -> Indices:
    """Return one number that orders features by group and then by place, which is below 2**31."""
    return group.astype(np.int64) << 32 | place

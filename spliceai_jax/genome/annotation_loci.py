"""Which transcripts of an annotation are of which gene."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from spliceai_jax.genome.annotation_records import Draft, Lines, Locus
from spliceai_jax.genome.groups import Groups

_SHARED = 0.2
"""Two transcripts are of one gene if they share this much of the exons of the shorter one, or a splice site.

Of the 8,000 genes of shared/'s annotations of fly, worm and arabidopsis no gene falls apart by this rule, and five
pairs of genes become one, most of which do share a splice site. A splice site alone parts 13 genes.
"""

_MOST = 0.5
"""The share of transcripts named as their gene from which on such a gene_id names no gene."""


def gene_loci(lines: Lines, drafts: list[Draft]) -> list[Locus]:
    """Give each transcript to its gene, make the genes that have no line, and return all genes in the file's order."""
    orphans = _by_place(lines, _adopted(lines, drafts))
    named, alone = _named_and_alone(lines, orphans)
    grouped = _by_shared_exons(alone)
    if lines.form == "GTF" and len(grouped) < len(alone):
        lines.repairs.count("gene_id is transcript_id", alone[0].name, len(alone))
    made = _by_name(named) + grouped
    if lines.form == "GFF3":
        for locus in made:
            lines.repairs.count("no gene lines", locus.name)
    return sorted(_without_doubles(lines, made) + made, key=lambda locus: locus.line)


def _adopted(lines: Lines, drafts: Iterable[Draft]) -> list[Draft]:
    """Give transcripts to the gene lines that they name, and return the others.

    Of several lines with one ID, or gene_id, a transcript belongs to the last that starts no later than it does, or
    else to the first, if it overlaps it or its other transcripts: PAR genes, tRNAs and NCBI's genes without a name
    stand in many places.
    """
    by_name: dict[tuple[str, str], list[Locus]] = defaultdict(list)
    for line in sorted(lines.loci, key=_start_of):
        by_name[line.sequence, line.name].append(line)
    transcripts = {(draft.sequence, draft.name) for draft in lines.drafts}
    orphans: list[Draft] = []
    implied: list[tuple[Locus, Draft]] = []
    apart: list[tuple[Locus, Draft]] = []
    for draft in drafts:
        there = by_name.get((draft.sequence, draft.gene), ())
        locus = next((one for one in reversed(there) if one.start <= draft.start), there[0] if there else None)
        if locus and locus.start < draft.end and draft.start < locus.end:
            if draft.implied:
                implied.append((locus, draft))
            else:
                locus.drafts.append(draft)
        elif locus:
            apart.append((locus, draft))
        elif not any((draft.sequence, parent) in transcripts for parent in draft.parents):
            # A child of a transcript is none of the gene's: miRNA ID=m1;Parent=primary_transcript1
            orphans.append(draft)
    for parent, draft in sorted(apart, key=lambda pair: _distance(*pair)):
        if any(other.start < draft.end and draft.start < other.end for other in parent.drafts):
            parent.drafts.append(draft)
        else:
            lines.repairs.count("far apart", draft.name)
            orphans.append(draft)
    for parent, draft in implied:  # parts of the gene itself count if its transcripts have none
        if not any(len(other.exons) for other in parent.drafts):
            parent.drafts.append(draft)
    return orphans


def _distance(locus: Locus, draft: Draft) -> int:
    return max(draft.start - locus.end, locus.start - draft.end)


def _by_place(lines: Lines, orphans: Iterable[Draft]) -> list[Draft]:
    """Give transcripts that name no gene to the gene line without transcripts that they lie in; return the others.

    gene  100-900  ID=g1                          the exons of a transcript whose line was lost: of g1
    exon  100-200  Parent=t1

    Those that lie on a gene with transcripts of its own are left out: alignments of proteins, older predictions.
    """
    places: dict[tuple[str, int], list[Locus]] = defaultdict(list)
    for locus in sorted(lines.loci, key=_start_of):
        places[locus.sequence, locus.strand].append(locus)
    reach = {place: np.maximum.accumulate([locus.end for locus in there]) for place, there in places.items()}
    rest, empty = [], {id(locus) for locus in lines.loci if not locus.drafts}
    for draft in orphans:
        place = draft.sequence, draft.strand
        if draft.gene or place not in places:
            rest.append(draft)
            continue
        first_near = int(np.searchsorted(reach[place], draft.start, "right"))
        near = places[place][first_near : bisect_left(places[place], draft.end, key=_start_of)]
        over = [locus for locus in near if locus.end > draft.start]
        around = [one for one in over if id(one) in empty and one.start <= draft.start and draft.end <= one.end]
        if around:
            min(around, key=lambda one: one.end - one.start).drafts.append(draft)
            lines.repairs.count("lost lines", draft.name)
        elif over:
            lines.repairs.count("stray transcripts", draft.name)
        else:
            rest.append(draft)
    return [draft for draft in rest if len(draft.exons) or lines.form == "GTF"]


def _named_and_alone(lines: Lines, orphans: Sequence[Draft]) -> tuple[list[Draft], list[Draft]]:
    """Divide transcripts without a gene line into those that name their gene, and the others.

    A gene_id that is the transcript's own name in most lines, as in UCSC's tables, names no gene:

        exon  gene_id "NM_1"; transcript_id "NM_1"       exon  gene_id "NM_1"; transcript_id "NM_1_dup1"
    """
    own = [
        draft
        for draft in orphans
        if draft.gene
        and lines.names[draft.key][2]  # a transcript without a name has that of its gene
        and re.fullmatch(re.escape(draft.gene) + r"(_dup\d+)?", draft.name)
    ]
    named = [draft for draft in orphans if draft.gene]
    if lines.form == "GFF3" or len(own) < _MOST * len(named):
        own = []
    alone = {id(draft) for draft in own}
    return (
        [draft for draft in named if id(draft) not in alone],
        [draft for draft in orphans if not draft.gene or id(draft) in alone],
    )


def _by_name(drafts: Sequence[Draft]) -> list[Locus]:
    """Make genes of transcripts that name one gene on one strand; those that do not overlap are different genes."""
    groups: dict[tuple[str, str, int], list[Draft]] = defaultdict(list)
    for draft in drafts:
        groups[draft.sequence, draft.gene, draft.strand].append(draft)
    loci = []
    for members in groups.values():
        members.sort(key=lambda draft: draft.start)
        reach = -1
        for draft in members:
            if draft.start >= reach:
                loci.append(_locus(draft, draft.gene))
            loci[-1].drafts.append(draft)
            reach = max(reach if draft.start < reach else -1, draft.end)
    return loci


def _by_shared_exons(drafts: Sequence[Draft]) -> list[Locus]:
    """Make genes of transcripts of one strand that share a splice site, or `_SHARED` of the exons of the shorter.

    exon  100-200  300-400  t1
    exon  150-200  300-350  t2      of one gene with t1: the same intron
    exon  380-500  600-700  t3      another gene, which overlaps by 20 bases
    """
    groups = Groups(len(drafts))
    at_site: dict[tuple[str, int, int, int], int] = {}
    for number, draft in enumerate(drafts):
        for side, sites in enumerate((draft.exons[:-1, 1].tolist(), draft.exons[1:, 0].tolist())):
            for site in sites:
                groups.join(number, at_site.setdefault((draft.sequence, draft.strand, side, site), number))
    active: list[int] = []
    for number in sorted(range(len(drafts)), key=lambda n: (drafts[n].sequence, drafts[n].strand, drafts[n].start)):
        draft = drafts[number]
        place = draft.sequence, draft.strand
        active = [n for n in active if (drafts[n].sequence, drafts[n].strand) == place and drafts[n].end > draft.start]
        for other in active:
            if groups.group(other) != groups.group(number) and _share_enough(draft, drafts[other]):
                groups.join(number, other)
        active.append(number)
    loci: dict[int, Locus] = {}
    for number in sorted(range(len(drafts)), key=lambda n: drafts[n].line):
        draft = drafts[number]
        name = draft.facts.symbol or draft.name
        loci.setdefault(groups.group(number), _locus(draft, name)).drafts.append(draft)
    return list(loci.values())


def _locus(draft: Draft, name: str) -> Locus:
    place = draft.sequence, draft.start, draft.end, draft.strand
    return Locus(draft.line, name, *place, draft.source, draft.facts, has_line=False)


def _start_of(locus: Locus) -> int:
    return locus.start


def _share_enough(one: Draft, other: Draft) -> bool:
    shared, left, right = 0, one.exons.tolist(), other.exons.tolist()
    while left and right:
        shared += max(0, min(left[-1][1], right[-1][1]) - max(left[-1][0], right[-1][0]))
        (left if left[-1][0] > right[-1][0] else right).pop()
    shorter = min(int((draft.exons[:, 1] - draft.exons[:, 0]).sum()) for draft in (one, other))
    return shared >= _SHARED * shorter


def _without_doubles(lines: Lines, made: Sequence[Locus]) -> list[Locus]:
    """Leave out gene lines without transcripts of which a gene without a line covers at least half.

    gene  100-900  g1                                BRAKER's mixtures have the same gene under two names
    exon  100-200  gene_id "file_1_g1"; ...
    """
    places: dict[tuple[str, int], list[Locus]] = defaultdict(list)
    for locus in made:
        locus.start, locus.end = min(d.start for d in locus.drafts), max(d.end for d in locus.drafts)
        places[locus.sequence, locus.strand].append(locus)
    for there in places.values():
        there.sort(key=_start_of)
    longest = max((locus.end - locus.start for locus in made), default=0)
    kept = []
    for locus in lines.loci:
        there = places.get((locus.sequence, locus.strand), [])
        if not locus.drafts and there:
            near = there[
                bisect_left(there, locus.start - longest, key=_start_of) : bisect_left(there, locus.end, key=_start_of)
            ]
            covered = max((min(one.end, locus.end) - max(one.start, locus.start) for one in near), default=0)
            if 2 * covered >= locus.end - locus.start:
                lines.repairs.count("childless gene lines", locus.name)
                continue
        kept.append(locus)
    return kept

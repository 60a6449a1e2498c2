"""The genes and introns of an annotation, by a plain account that shares nothing with the package.

It follows the specifications of GFF3 and GTF 2.2, and what gffread and AGAT make of files that depart from them. It
keeps a file in dicts, is slow, and refuses nothing: a line that belongs nowhere is no one's.
"""

import gzip
import re
from collections import defaultdict
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from urllib.parse import unquote

SHORTEST = 10
"""The bases of the shortest gap between exons that is an intron; shorter ones are frame shifts."""

Found = tuple[str, str, int, int, frozenset]
"""A gene's sequence, strand, start and end (from 0, half-open), and the introns (start, end) of its transcripts."""


class Line:
    def __init__(self, text: str) -> None:
        self.sequence, _, self.kind, start, end, _, self.strand, _, column = text.rstrip().split("\t")
        self.start, self.end, self.parents = int(start) - 1, int(end), []
        self.gtf, self.named = not re.match(r"\s*[\w.:-]+=", column), {}
        if not self.gtf:
            self.sequence = unquote(self.sequence)
            for pair in column.split(";"):
                key, _, value = pair.strip().partition("=")
                self.named.setdefault(key, unquote(value))
            self.parents = [parent for parent in self.named.get("Parent", "").split(",") if parent]
        elif re.fullmatch(r"[^\s;]+;?", column.strip()):  # AUGUSTUS names genes and transcripts without a key
            self.named = {"transcript_id" if self.kind in ("transcript", "mRNA") else "gene_id": column.strip(" ;")}
        else:
            for key, quoted, bare in re.findall(r'(\w+)\s+(?:"([^"]*)"|([^\s;]+))', column):
                self.named.setdefault(key, quoted or bare)
        letters = re.sub("[^a-z0-9]", "", self.kind.lower())
        self.is_part = letters == "cds" or letters.endswith("exon") or "utr" in letters or "untranslated" in letters
        # TAIR10 has mRNA_TE_gene, whose Parent is a transposable_element_gene.
        self.is_gene = re.search("^(pseudo)?gene$|_gene$", self.kind) is not None and not self.parents
        self.is_rna = letters.endswith(("rna", "transcript"))

    def called(self, *keys: str) -> str:
        return next((self.named[key] for key in keys if self.named.get(key)), "")

    def lies_with(self, other: "Line") -> bool:
        return self.sequence == other.sequence and (self.strand == other.strand or self.strand in ".?")


class Transcript:
    """Lines that are one transcript: its own, where it has one, and its parts."""

    def __init__(self, name: str = "", gene: str = "") -> None:
        self.name, self.gene, self.line, self.parts = name, gene, None, []

    @property
    def lines(self) -> list[Line]:
        return [self.line, *self.parts] if self.line else self.parts

    @property
    def place(self) -> tuple[str, str, int, int]:
        start, end = min(line.start for line in self.lines), max(line.end for line in self.lines)
        return self.parts[0].sequence, self.parts[0].strand, start, end

    def exons(self) -> list[tuple[int, int]]:
        together = []
        for start, end in sorted((part.start, part.end) for part in self.parts):
            if together and start - together[-1][1] < SHORTEST:
                together[-1] = (together[-1][0], max(end, together[-1][1]))
            else:
                together.append((start, end))
        return together

    def introns(self) -> list[tuple[int, int]]:
        return [(left[1], right[0]) for left, right in pairwise(self.exons())]


def oracle(path: Path) -> list[Found]:
    """The genes of a file that have parts and a strand."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape") as file:
        text = file.read().partition("\n##FASTA")[0]
    lines = [Line(row) for row in text.splitlines() if row.strip() and not row.startswith("#")]
    of_genes = gtf_genes(lines) if any(line.gtf and line.is_part for line in lines) else gff3_genes(lines)
    found = []
    for line, transcripts in of_genes:
        first = line or transcripts[0].lines[0]
        for transcript in transcripts:  # an exon of the other strand is trans-spliced
            transcript.parts = [part for part in transcript.parts if part.lies_with(first)]
        spans = [first, *(one for transcript in transcripts for one in transcript.lines if one.lies_with(first))]
        if first.strand in "+-" and any(transcript.parts for transcript in transcripts):
            start, end = min(one.start for one in spans), max(one.end for one in spans)
            introns = frozenset(intron for transcript in transcripts for intron in transcript.introns())
            found.append((first.sequence, first.strand, start, end, introns))
    return sorted(found, key=lambda gene: (gene[:4], sorted(gene[4])))


def owner(child: Line, lines: list[Line]) -> Line | None:
    """Of the lines of one name, the child's: the one around it, else the last that starts no later, else the first."""
    there = sorted((line for line in lines if child.lies_with(line) or line.strand in ".?"), key=lambda o: o.start)
    there = [line for line in there if line.sequence == child.sequence]
    around = [line for line in there if line.start <= child.start and child.end <= line.end]
    before = [line for line in there if line.start <= child.start]
    return (around or before or there[:1] or [None])[-1]


def gff3_genes(lines: list[Line]) -> list[tuple[Line | None, list[Transcript]]]:
    named, transcripts = defaultdict(list), {}
    for line in lines:
        if not line.is_part and line.called("ID"):
            named[line.called("ID")].append(line)
    for part in (line for line in lines if line.is_part):
        for of in filter(None, (owner(part, named[parent]) for parent in part.parents)):
            if part.lies_with(of) or of.strand in ".?":
                transcripts.setdefault(of, Transcript(of.called("ID"))).parts.append(part)
    of_genes, alone = {line: [] for line in lines if line.is_gene}, []
    for of, transcript in transcripts.items():
        genes = [found for parent in of.parents if (found := owner(of, named[parent])) and found.is_gene]
        if of.is_gene:
            of_genes[of].insert(0, transcript)
        elif genes and of.lies_with(genes[0]):
            transcript.line = of
            of_genes[genes[0]].append(transcript)
        elif of.is_rna and not any(named[parent] for parent in of.parents):
            transcript.line = of
            transcript.gene = of.called("geneID", "gene_id", "gene_name", "locus", "Parent")
            alone.append(transcript)
    for own in of_genes.values():
        if len(own) > 1 and own[0].line is None:
            own.pop(0)  # parts of the gene itself say nothing where it has transcripts
    if any(map(len, of_genes.values())):  # among genes with lines, an RNA that is no one's is a gene if it means to be
        return [*of_genes.items(), *((None, [one]) for one in alone if not one.line.parents)]
    return [(None, together) for together in grouped(alone)]


def gtf_genes(lines: list[Line]) -> list[tuple[Line | None, list[Transcript]]]:
    genes, transcripts = [line for line in lines if line.is_gene], {}
    for line in (line for line in lines if not line.is_gene and line.kind != "region"):
        gene, name = line.called("gene_id", "name"), line.called("transcript_id", "transcriptId")
        around = owner(line, [one for one in genes if one.called("gene_id") == gene])
        if gene == "" and around and not around.start <= line.start < line.end <= around.end:
            around = None
        key = (line.sequence, line.strand, gene, name, around)
        if line.is_part or line.kind in ("transcript", "mRNA"):
            made = transcripts.setdefault(key, Transcript(name, gene or name))
            made.parts += [line] * line.is_part
            made.line = made.line or (line if not line.is_part else None)
    for key, made in list(transcripts.items()):  # JGI names the transcript in the exons alone, AUGUSTUS not the gene
        others = [other for other in transcripts if other[:3] == key[:3] and other[3] and other[4] == key[4]]
        if not key[3] and len(others) == 1:
            transcripts[others[0]].parts += transcripts.pop(key).parts
        elif made.line and not made.parts:
            transcripts.pop(key)
            for other in (other for other in transcripts if (other[:2], other[3]) == (key[:2], key[3])):
                transcripts[other].line = transcripts[other].line or made.line
    of_genes, alone = {line: [] for line in genes}, []
    for key, transcript in transcripts.items():
        (of_genes[key[4]] if key[4] else alone).append(transcript)
    without_dup = partial(re.sub, r"_dup\d+$", "")  # UCSC's suffix of the second place of a transcript
    same = all(without_dup(one.gene) == without_dup(one.name) for one in alone if one.name)
    for one in alone if same else ():
        one.gene = one.parts[0].called("gene_name")
    return [*of_genes.items(), *((None, together) for together in grouped(alone))]


def grouped(transcripts: list[Transcript]) -> list[list[Transcript]]:
    """Put transcripts of a strand together: those of one name that overlap, and the nameless that share an exon."""
    groups = []
    for one in transcripts:
        joined = [group for group in groups if any(of_one_gene(one, other) for other in group)]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), one])
    return groups


def of_one_gene(one: Transcript, other: Transcript) -> bool:
    if (one.gene, one.place[:2]) != (other.gene, other.place[:2]) or not overlap(one.place[2:], other.place[2:]):
        return False
    # Neighbours may overlap by the ends of their outer exons; these are no shared exons.
    mine, its = one.exons(), other.exons()
    same_edge = any(set(map(at, mine)) & set(map(at, its)) for at in (itemgetter(0), itemgetter(1)))
    common = sum(overlap(here, there) for here in mine for there in its)
    return bool(one.gene) or same_edge or 2 * common >= min(sum(end - start for start, end in x) for x in (mine, its))


def overlap(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))

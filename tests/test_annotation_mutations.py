"""Annotations with a fault: the same labels, a count of what was repaired or left out, or a refusal of one line.

Never other labels in silence.
"""

import gzip
import random
import re
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from annotation_reading import Chosen, chosen, read
from conftest import ROOT, SHARED
from hypothesis import given
from hypothesis import strategies as st
from synthetic_genome import as_fasta, random_letters

from spliceai_jax.errors import SpliceAIError

Rows = list[list[str]]
"""The columns of each line that is no comment."""

FLAVOURS = ROOT / "tests" / "data" / "annotations"
CUT = {
    "fly": (ROOT / "demo" / "fly_genome" / "annotation.gff3.gz", "2L", 114_600),
    "arabidopsis": (SHARED / "data" / "arabidopsis_genome" / "annotation.gff3.gz", "Chr1", 50_000),
}
"""A few genes of a real annotation: those of a sequence that end before a base."""

SOURCES = sorted(path.name for path in FLAVOURS.iterdir()) + [name for name in CUT if CUT[name][0].exists()]


@cache
def rows_of(source: str) -> tuple[tuple[str, ...], ...]:
    if source not in CUT:
        text = (FLAVOURS / source).read_text().partition("\n##FASTA")[0]
        return tuple(tuple(line.split("\t")) for line in text.splitlines() if line and not line.startswith("#"))
    path, sequence, end = CUT[source]
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    rows = [line.split("\t") for line in lines if line.startswith(sequence + "\t")]
    rows = [row for row in rows if row[2] not in ("intron", "chromosome", "golden_path_region")]
    behind = {name_of(row) for row in rows if row[2] == "gene" and int(row[4]) > end}
    behind |= {name_of(row) for row in rows if row[2] == "mRNA" and set(parents_of(row)) & behind}
    return tuple(tuple(row) for row in rows if int(row[4]) <= end and not set(parents_of(row)) & behind)


def name_of(row: Rows | list[str]) -> str:
    """The ID of a gene or transcript, or what GTF calls it."""
    found = re.search(r"(?:^|;)ID=([^;]+)", row[8])
    if found is None:
        key = "transcript_id" if row[2] == "transcript" else "gene_id"
        found = re.search(rf'{key} "([^"]+)"', row[8])
    return found[1] if found else row[8]


def parents_of(row: list[str]) -> list[str]:
    found = re.search(r"Parent=([^;]+)", row[8])
    return found[1].split(",") if found else []


def text_of(rows: Rows, end: str = "\n") -> str:
    return "".join("\t".join(row) + end for row in rows)


# -- mutations: rows and a random generator -> the file --------------------------------------------------------


def of_type(rows: Rows, *patterns: str) -> list[int]:
    return [at for at, row in enumerate(rows) if any(re.fullmatch(pattern, row[2]) for pattern in patterns)]


GENE, TRANSCRIPT, PART = "(.*_)?gene|pseudogene", ".*RNA|.*transcript", "exon|CDS|.*UTR"


def column_dropped(rows: Rows, draw: random.Random) -> str:
    column, several = draw.randrange(9), draw.random() < 0.5
    for row in rows if several else [draw.choice(rows)]:
        del row[column]
    return text_of(rows)


def shuffled(rows: Rows, draw: random.Random) -> str:
    draw.shuffle(rows)
    return text_of(rows)


def children_first(rows: Rows, _: random.Random) -> str:
    return text_of(rows[::-1])


def gene_in_two(rows: Rows, draw: random.Random) -> str:
    if genes := [at for at in of_type(rows, GENE) if int(rows[at][4]) - int(rows[at][3]) > 10]:
        at = draw.choice(genes)
        middle = draw.randrange(int(rows[at][3]) + 1, int(rows[at][4]))
        rows[at : at + 1] = [
            [*rows[at][:4], str(middle), *rows[at][5:]],
            [*rows[at][:3], str(middle + 1), *rows[at][4:]],
        ]
    return text_of(rows)


def lines_twice(rows: Rows, draw: random.Random) -> str:
    share = draw.choice([0.1, 1])
    return text_of([row for row in rows for _ in range(1 + (draw.random() < share))])


def one_id_for_two_genes(rows: Rows, draw: random.Random) -> str:
    """A gene takes another's name, everywhere it is named."""
    names = sorted({name_of(rows[at]) for at in of_type(rows, GENE)})
    text = text_of(rows)
    if len(names) < 2:
        return text
    old, new = draw.sample(names, 2)
    return re.sub(rf'(ID=|Parent=|gene_id "){re.escape(old)}(?=["\t\n;,])', lambda found: found[1] + new, text)


def line_dropped(*patterns: str) -> Callable[[Rows, random.Random], str]:
    def mutation(rows: Rows, draw: random.Random) -> str:
        if found := of_type(rows, *patterns):
            del rows[draw.choice(found)]
        return text_of(rows)

    return mutation


def ends_of_lines(*ends: str) -> Callable[[Rows, random.Random], str]:
    def mutation(rows: Rows, draw: random.Random) -> str:
        return text_of(rows, draw.choice(ends))

    return mutation


def spaces_for_tabs(rows: Rows, draw: random.Random) -> str:
    text = text_of(rows)
    if draw.random() < 0.5:
        return text.replace("\t", "    ")
    lines = text.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    lines[at] = lines[at].replace("\t", " ")
    return "".join(lines)


def strand_changed(rows: Rows, draw: random.Random) -> str:
    at = draw.choice(of_type(rows, GENE, TRANSCRIPT) or [0])
    rows[at][6] = draw.choice([strand for strand in "+-.?" if strand != rows[at][6]])
    return text_of(rows)


def gene_cut(rows: Rows, draw: random.Random) -> str:
    if genes := [at for at in of_type(rows, GENE) if int(rows[at][4]) - int(rows[at][3]) > 60]:
        at = draw.choice(genes)
        rows[at][3], rows[at][4] = (
            str(int(rows[at][3]) + draw.randrange(30)),
            str(int(rows[at][4]) - draw.randrange(30)),
        )
    return text_of(rows)


@dataclass(frozen=True)
class Mutation:
    """A fault, and whether the labels must be the same, without a refusal."""

    make: Callable[[Rows, random.Random], str]
    harmless: bool = False


MUTATIONS = {
    "a column dropped": Mutation(column_dropped),
    "shuffled": Mutation(shuffled, harmless=True),
    "children first": Mutation(children_first, harmless=True),
    "a gene in two lines": Mutation(gene_in_two),
    "lines twice": Mutation(lines_twice),
    "one ID for two genes": Mutation(one_id_for_two_genes),
    "a gene's line dropped": Mutation(line_dropped(GENE)),
    "a transcript's line dropped": Mutation(line_dropped(TRANSCRIPT)),
    "CRLF": Mutation(ends_of_lines("\r\n"), harmless=True),
    "blanks at the ends of lines": Mutation(ends_of_lines(" \n", "   \r\n", ";\n", "; \n")),
    "tabs at the ends of lines": Mutation(ends_of_lines("\t\n", "\t\t\n")),
    "spaces for tabs": Mutation(spaces_for_tabs),
    "a strand changed": Mutation(strand_changed),
    "a gene's line shorter": Mutation(gene_cut),
}


def outcome(rows: tuple[tuple[str, ...], ...], text: str, biotype: str) -> Chosen | str:
    """The labels of all transcripts, or what was said instead. The genome is random."""
    lengths: dict[str, int] = {}
    for row in rows:
        lengths[row[0]] = max(lengths.get(row[0], 0), int(row[4]) + 100)
    sequences = {name: letters(min(length, 115_000)) for name, length in lengths.items()}
    with TemporaryDirectory() as folder:
        fasta, annotation = Path(folder) / "genome.fa", Path(folder) / "annotation"
        fasta.write_text(as_fasta(sequences))
        annotation.write_bytes(text.encode())
        try:
            return chosen(fasta, annotation, biotype=biotype, isoforms="union", accept_motifs=True)
        except SpliceAIError as refusal:
            said = str(refusal)
            assert "\n" not in said
            assert str(annotation) in said
            return said


@cache
def letters(length: int) -> str:
    return random_letters(length, np.random.default_rng(0))


@cache
def unchanged(source: str, biotype: str) -> Chosen | str:
    rows = rows_of(source)
    return outcome(rows, text_of([list(row) for row in rows]), biotype)


@pytest.mark.parametrize("source", SOURCES)
def test_the_sources_are_read(source):
    made = unchanged(source, "all")
    assert isinstance(made, Chosen)
    assert made.labels


@pytest.mark.parametrize("name", MUTATIONS)
@given(source=st.sampled_from(SOURCES), biotype=st.sampled_from(["all", "protein-coding"]), seed=st.integers(0, 999))
def test_no_other_labels_in_silence(name, source, biotype, seed):
    rows = rows_of(source)
    text = MUTATIONS[name].make([list(row) for row in rows], random.Random(seed))
    wanted, made = unchanged(source, biotype), outcome(rows, text, biotype)
    if MUTATIONS[name].harmless:
        assert isinstance(made, Chosen), made
        assert made.labels == wanted.labels
    elif isinstance(made, Chosen):
        assert made.labels == wanted.labels or made.counted != wanted.counted


# -- size --------------------------------------------------------------------------------------------------------


def scaffolds(count: int) -> str:
    """Sequences with a gene each, which has CDS alone."""
    return "".join(
        f"scaffold_{number}\tmade\t{kind}\t1\t90\t.\t+\t.\t{said}={number}\n"
        for number in range(count)
        for kind, said in (("gene", "ID"), ("CDS", "Parent"))
    )


@pytest.mark.full
def test_a_hundred_thousand_scaffolds(tmp_path):
    """Ten times as many take ten times as long; the time is the processor's, since the machine has other work."""
    seconds = {}
    for count in (10_000, 100_000):
        (tmp_path / "a.gff3").write_text(scaffolds(count))
        began = time.process_time()
        assert len(read(tmp_path / "a.gff3").genes) == count
        seconds[count] = time.process_time() - began
    assert seconds[100_000] < 20 * seconds[10_000] + 1


def test_memory_is_some_kilobytes_a_gene(tmp_path):
    (tmp_path / "a.gff3").write_text(scaffolds(3000))
    tracemalloc.start()
    genes = read(tmp_path / "a.gff3").genes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5000 * len(genes)

"""Annotations from strangers: names that would break a row, lines without end, growth out of proportion, and damage."""

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import random_model
from hypothesis import given
from hypothesis import strategies as st
from synthetic_genome import Layout, as_fasta, as_gff3, as_gtf

from hostile.conftest import Attack, Outcome, printable, refused
from hostile.mutants import SEEDS, read_mutants
from hostile.test_fasta import CONTROL, TURNING, read_or_refused
from spliceai_jax.errors import SequenceError
from spliceai_jax.genome.annotation import Gene, read_annotation
from spliceai_jax.genome.sequences import Stretch
from spliceai_jax.scoring.regions import Span, _regions

MADE = Layout({"one": 3, "two": 3}).make()
GFF3, GTF = as_gff3(MADE.genes).encode(), as_gtf(MADE.genes).encode()
ROW = b"one\tx\tgene\t301\t840\t.\t+\t.\t"


def predict(attack: Attack, folder: Path, content: bytes | None, *options: object) -> Outcome:
    """Predict the genes of an annotation with this content, or with what `a.gff3` has already."""
    if content is not None:
        (folder / "a.gff3").write_bytes(content)
    if not (folder / "genome.fa").exists():
        (folder / "genome.fa").write_text(as_fasta(MADE.sequences))
    random_model(80).to_pt(folder / "model.pt")
    files = ["-i", folder / "genome.fa", "-m", folder / "model.pt", "-a", folder / "a.gff3"]
    return attack("predict", *files, "-o", "out", *options)


def create_data(attack: Attack, folder: Path, content: bytes) -> Outcome:
    """Make data sets of an annotation with this content."""
    (folder / "a.gff3").write_bytes(content)
    (folder / "genome.fa").write_text(as_fasta(MADE.sequences))
    files = ["--genome-fasta", folder / "genome.fa", "--annotation-gff", folder / "a.gff3"]
    return attack("create-data", *files, "--output-dir", "out")


# -- names -----------------------------------------------------------------------------------------------------

SIGNS = [*(sign.encode() for sign in CONTROL + TURNING), b"\x85", b"\x9b31m"]
ESCAPED = [b"%09", b"%0A", b"%0d", b"%00", b"%1B[2J", b"%7F", b"%C2%85", b"%E2%80%A8", b"%e2%80%ae"]


@pytest.mark.parametrize("sign", SIGNS + ESCAPED)
def test_names_that_do_more_than_name(tmp_path, sign):
    """Of a sequence, a gene, a parent and, in GTF, a gene without a line: refused with the number of the line."""
    name = b"a" + sign + b"b"
    plain = [ROW.replace(b"one", name) + b"ID=a", ROW + b'gene_id "%s"' % name]
    plain += [ROW.replace(b"gene", b"exon") + b'gene_id "a"; transcript_id "%s"' % name]
    rows = [ROW + b"ID=" + name, ROW + b"Name=" + name, ROW.replace(b"gene", b"exon") + b"Parent=x," + name]
    for row in rows + (plain if sign in SIGNS else []):
        first = ROW + (b'gene_id "x"' if b"gene_id" in row else b"ID=x")
        (tmp_path / "a").write_bytes(first + b"\n" + row + b";\n")
        with pytest.raises(SequenceError, match=r"a: line 2: a name with the control character '\\.*; give it another"):
            read_annotation(tmp_path / "a")


@pytest.mark.parametrize("name", [b"ID=a%0Ab", b"ID=a\rb", b"ID=a%1B[31mb"])
def test_such_a_name_on_the_command_line(attack, tmp_path, name):
    refused(predict(attack, tmp_path, ROW + name + b"\n"), "a.gff3: line 1", "control character")


def test_what_names_may_hold(tmp_path):
    """Blanks, signs and letters of all scripts; a symbol that cannot be one is left out."""
    rows = [
        b"ID=with blank;Name=a%0Ab",
        b"ID=a%3Bb%252C;Name=x",
        b"ID=g\xe8ne",
        b"ID=<script>=1",
        "ID=遺伝子".encode(),
        b"ID=long;Name=" + b"x" * 2000,
    ]
    names = [("with blank", "with blank"), ("a;b%2C", "x"), ("g\udce8ne",) * 2, ("<script>=1",) * 2, ("遺伝子",) * 2]
    for end in (b"\n", b"\r\n"):
        (tmp_path / "a").write_bytes(b"".join(ROW + row + end for row in rows))
        found = [(gene.name, gene.symbol) for gene in read_annotation(tmp_path / "a").genes]
        assert found == [*names, ("long", "long")]


@given(
    name=st.one_of(st.text(max_size=10).map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=10))
)
@pytest.mark.parametrize("form", [b"ID=%s;", b'gene_id "%s";'])
def test_any_name(tmp_path_factory, form, name):
    """It is refused, or it stands in one column of one line."""
    path = tmp_path_factory.getbasetemp() / "any.gff3"
    path.write_bytes(ROW + form.replace(b"%s", name.replace(b"\n", b"")) + b"\n")
    genes = read_or_refused(lambda: read_annotation(path).genes, path)
    if genes is None:
        assert not name.isalnum()
        return
    for text in (genes[0].name, genes[0].symbol):
        assert f"a{text}b".splitlines() == [f"a{text}b"]
        assert "\t" not in text
        assert all(printable(letter) or ord(letter) > 0x9F for letter in text)


# -- sizes -----------------------------------------------------------------------------------------------------


def test_a_line_without_end(attack, tmp_path):
    with open(tmp_path / "a.gff3", "wb") as file:
        file.write(ROW + b"ID=a\n")
        file.truncate(4_000_000_000)
    refused(predict(attack, tmp_path, None), "a.gff3: line 2: more than 10000000 bytes; expected GFF3 or GTF")


def row(kind: str, start: int, end: int, attributes: str) -> str:
    return f"one\tx\t{kind}\t{start}\t{end}\t.\t+\t.\t{attributes}\n"


def test_parents_that_are_each_others(tmp_path):
    """Cycles, a parent of itself and parents of nothing end the search, since it goes up one step only."""
    rows = [
        row("gene", 1, 90, "ID=g;Parent=g"),
        row("mRNA", 1, 90, "ID=a;Parent=b"),
        row("mRNA", 1, 90, "ID=b;Parent=a"),
    ]
    rows += [
        row("mRNA", 1, 90, "ID=t;Parent=g,t"),
        row("exon", 1, 9, "ID=e;Parent=e"),
        row("exon", 1, 9, "Parent=t,a,b,g"),
    ]
    (tmp_path / "a.gff3").write_text("".join(rows))
    (gene,) = read_annotation(tmp_path / "a.gff3").genes
    assert [(found.name, found.exons.tolist()) for found in gene.transcripts] == [("t", [[0, 9]])]


# -- genes in one place ----------------------------------------------------------------------------------------


@given(spans=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=12))
def test_stretches(spans):
    """Whatever the spans: each position of theirs is in one region, and has the names of all that it lies in."""
    named = [Span(start, start + length, f"g{number}") for number, (start, length) in enumerate(spans)]
    regions = list(_regions("one", "+", named))
    for before, after in pairwise(regions):
        assert before.end < after.start
    names = {}
    for region in regions:
        assert region.stretches_between(region.start, region.end) == region.stretches
        for stretch in region.stretches:
            assert stretch.more == 0
            names |= dict.fromkeys(range(stretch.start, stretch.end), stretch.names)
        for place in range(region.start, region.end):
            assert [found.names for found in region.stretches_between(place, place + 1)] == [names[place]]
    wanted: dict[int, list[str]] = {}
    for span in sorted(named):
        for place in range(span.start, span.end):
            wanted.setdefault(place, []).append(span.name)
    assert {place: list(here) for place, here in names.items()} == wanted


@pytest.mark.parametrize("shape", ["one place", "nested", "stairs", "under one"])
def test_names_of_many_genes_at_a_place(shape):
    """A row names the first of them and gives the number of the others, so that no column grows without end."""
    count = 4000
    ends = {
        "one place": lambda k: (0, 10**6),
        "nested": lambda k: (k, 10**6 - k),
        "stairs": lambda k: (50 * k, 50 * k + 10**5),
    }
    span = ends.get(shape, lambda k: (0, 10**6) if not k else (10 * k, 10 * k + 1))
    spans = [Span(*span(number), f"gene{number}") for number in range(count)]
    (region,) = _regions("one", "+", spans)
    assert max(len(stretch.name) for stretch in region.stretches) < 5000
    place = 10**4
    (stretch,) = region.stretches_between(place, place + 1)
    here = [found.name for found in sorted(spans) if found.start <= place < found.end]
    assert list(stretch.names) == here[: len(stretch.names)]
    assert stretch.more == len(here) - len(stretch.names)
    assert stretch.name.endswith(f",{stretch.more} more" if stretch.more else here[-1])


def test_the_column_of_names():
    assert Stretch(0, 1, ("a", "b")).name == "a,b"
    assert Stretch(0, 1, ("a", "b"), 7).name == "a,b,7 more"


# -- damage ----------------------------------------------------------------------------------------------------


def one_line(genes: list[Gene] | None) -> bool:
    names = [text for gene in genes or () for text in (gene.name, gene.sequence, gene.symbol)]
    return all(len(f"a{name}b".splitlines()) == 1 for name in names)


@pytest.mark.parametrize("content", [GFF3, GTF, gzip.compress(GFF3, mtime=0)], ids=["GFF3", "GTF", "gzip"])
@pytest.mark.parametrize("seeds", SEEDS)
def test_mutants(tmp_path, seeds, content):
    def read(path: Path) -> list[Gene] | None:
        return read_or_refused(lambda: read_annotation(path).genes, path)

    for seed, genes in read_mutants(read, content, tmp_path / "mutant.gff3", seeds):
        assert one_line(genes), seed

"""Real peculiarities of annotations, each on 30 genes of the fly: the labels are those of the file without it.

The files are in ../shared/cases; those that the tests make themselves are in test_annotation_flavours.py.
"""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import pytest
from annotation_reading import chosen, labels_of, read
from conftest import SHARED, needs_shared
from test_errors import call

pytestmark = needs_shared

CASES = SHARED / "cases"
GENOME, PLAIN = CASES / "_fly" / "genome.fa.gz", CASES / "_fly" / "plain.gff3"
SETS = ("--test-sequences", "2L", "--validation-sequences", "X")
INTRONS = {"test": 62, "train": 42, "validation": 34}


@pytest.fixture(scope="module", autouse=True)
def no_page() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spliceai_jax.data_sets.run._draw_page", lambda *_: None)
        yield


@dataclass(frozen=True)
class Made:
    """Data sets: of each set the genes' sequence, strand, start, end and labels, and what dataset.json says."""

    genes: dict[str, list[tuple[str, str, int, int, str]]]
    record: dict

    @property
    def all_genes(self) -> list[tuple[str, str, int, int, str]]:
        return sorted(gene for genes in self.genes.values() for gene in genes)

    @property
    def donors(self) -> dict[str, int]:
        return {name: sum(gene[4].count("2") for gene in genes) for name, genes in self.genes.items()}

    @property
    def sites(self) -> dict[str, set[tuple[str, str, int, str]]]:
        return {
            name: {
                (sequence, strand, start + at if strand == "+" else end - 1 - at, label)
                for sequence, strand, start, end, labels in genes
                for at, label in enumerate(labels)
                if label != "0"
            }
            for name, genes in self.genes.items()
        }


Maker = Callable[..., Made]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    def made(annotation: Path, genome: Path = GENOME, options: tuple[str, ...] = SETS) -> Made:
        folder = tmp_path_factory.mktemp("made")
        files = ["--genome-fasta", genome, "--annotation-gff", annotation, "--output-dir", folder]
        assert call(["create-data", *files, *options]) == 0
        genes = {}
        for name in INTRONS:
            with h5py.File(folder / f"datafile_{name}.h5") as file:
                columns = [file[column].asstr()[:] for column in ("CHROM", "STRAND", "TX_START", "TX_END", "LABEL")]
            rows = zip(*columns, strict=True)
            genes[name] = sorted((row[0], row[1], int(row[2]) - 1, int(row[3]), row[4]) for row in rows)
        return Made(genes, json.loads((folder / "dataset.json").read_text()))

    return made


@pytest.fixture(scope="module")
def plain(make: Maker) -> Made:
    return make(PLAIN)


def test_the_file_without_a_peculiarity(plain):
    assert plain.donors == INTRONS
    assert sum(map(len, plain.genes.values())) == 30
    assert plain.record["left_out"] == {}
    assert not read(PLAIN).repairs


def attributes_of(column: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)[= ]"?([^";]*)"?', column))


def expected_from_cds(path: Path) -> list[tuple[str, str, int, int, str]]:
    """The labels of each gene by the longest CDS of its transcripts alone; each has a line, and names that differ."""
    spans, owners, parts = {}, {}, defaultdict(lambda: defaultdict(list))
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        sequence, _, kind, start, end, _, strand, _, column = line.split("\t")
        named, span = attributes_of(column), (int(start) - 1, int(end))
        gene = named.get("gene_id") or owners.get(named.get("Parent"), named.get("Parent")) or named["ID"]
        if kind == "gene":
            spans[gene] = (sequence, strand, *span)
        elif kind == "mRNA":
            owners[named["ID"]] = gene
        elif kind == "CDS":
            parts[gene][named.get("transcript_id") or named["Parent"]].append(span)
    expected = []
    for gene, (sequence, strand, start, end) in spans.items():
        longest = sorted(max(parts[gene].values(), key=lambda cds: sum(last - first for first, last in cds)))
        introns = [(left[1] - start, right[0] - start) for left, right in pairwise(longest)]
        expected.append((sequence, strand, start, end, labels_of(end - start, strand, introns)))
    return sorted(expected)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("01-no-gene-lines/gffread.gff3", "no gene lines"),
        ("05-ucsc-gene_id-is-transcript_id/ucsc.gtf", "gene_id is transcript_id"),
        ("05-ucsc-gene_id-is-transcript_id/right.gtf", None),
        ("06-cds-and-utr/phytozome.gff3", "exons put together"),
        ("07-frameshift-introns/few.gff3", "short gaps"),
        ("15-byte-order-mark/bom.gff3", None),
        ("19-braker-bare-ids/braker.gtf", "childless gene lines"),
    ],
)
def test_labels_are_those_of_the_plain_file(make, plain, name, rule):
    made = make(CASES / name)
    assert made.donors == INTRONS
    assert made.genes == plain.genes
    assert made.record["motifs"] == plain.record["motifs"]
    assert not made.record["left_out"]
    if rule:
        assert read(CASES / name).repairs[rule] > 0


def test_miniprot_gives_cds_alone(make):
    made = make(CASES / "01-no-gene-lines" / "miniprot.gff3")
    assert made.all_genes == expected_from_cds(PLAIN)
    assert read(CASES / "01-no-gene-lines" / "miniprot.gff3").repairs["no gene lines"] > 0


@pytest.mark.parametrize("name", ["unassigned.gtf", "unknown.gtf"])
def test_a_transcript_that_all_genes_name(make, name):
    folder = CASES / "04-ncbi-unknown_transcript_1"
    made = make(folder / name)
    assert sum(made.donors.values()) == 119
    assert sorted(gene for genes in made.genes.values() for gene in genes) == expected_from_cds(
        folder / "unassigned.gtf"
    )


@pytest.mark.parametrize("name", ["jgi.gff", "jgi_without_semicolons.gff"])
def test_gff2_of_jgi(make, plain, name):
    """It holds the canonical transcripts alone, so that genes without lines may be shorter."""
    made = make(CASES / "09-jgi-gff2" / name)
    assert made.donors == INTRONS
    assert made.sites == plain.sites
    assert {key: len(genes) for key, genes in made.genes.items()} == {"test": 12, "train": 14, "validation": 4}


@pytest.mark.parametrize(("biotype", "count"), [("protein-coding", 30), ("non-coding", 29), ("all", 59)])
def test_genes_of_ensembl_that_are_not_coding(make, plain, biotype, count):
    path = CASES / "02-ensembl-ncRNA_gene" / "ensembl.gff3"
    made, direct = make(path, options=("--biotype", biotype)), chosen(GENOME, path, biotype=biotype)
    assert len(direct.labels) == count
    assert direct.counted[f"not {biotype}"] == (59 - count)
    left_out = made.record["left_out"]
    assert sum(map(len, made.genes.values())) + sum(left_out.values()) == 59
    if biotype != "non-coding":
        assert set(plain.all_genes) <= set(direct.labels)


def test_genes_of_organelles_are_left_out(make, plain):
    folder = CASES / "03-circular-organelle"
    made = make(folder / "refseq.gff3", folder / "genome.fa.gz")
    assert made.genes == plain.genes
    assert sum(made.record["left_out"].values()) == 2
    assert re.search("organelle|mitochond", " ".join(made.record["left_out"]))


def test_a_byte_order_mark_before_the_genome(make, plain):
    assert make(PLAIN, CASES / "15-byte-order-mark" / "bom.fa.gz").genes == plain.genes


# -- predict ---------------------------------------------------------------------------------------------------

SCORED = ("4", "Y", "MT")
"""Sequences of a gene or two, since scoring takes long."""


def predicted(folder: Path, genome: Path, annotation: Path) -> list[list[str]]:
    """The rows that predict writes for the genes on some sequences of a genome."""
    fasta, genes = folder / "genome.fa", folder / annotation.name
    records = gzip.decompress(genome.read_bytes()).decode().split(">")[1:]
    fasta.write_text("".join(f">{record}" for record in records if record.split()[0] in SCORED))
    lines = annotation.read_text().splitlines(keepends=True)
    genes.write_text("".join(line for line in lines if line.split("\t")[0] in SCORED))
    model = SHARED / "models" / "model_80nt_rs10.pt"
    assert call(["predict", "-i", fasta, "-a", genes, "-m", model, "-o", folder / "out", "-t", "0.05"]) == 0
    return sorted(line.split("\t") for path in folder.glob("out/*/*.bed") for line in path.read_text().splitlines())


def without_names(rows: list[list[str]]) -> list[list[str]]:
    return [[*row[:3], row[3].rpartition("_")[2], *row[4:]] for row in rows]


@pytest.fixture(scope="module")
def plain_rows(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    rows = predicted(tmp_path_factory.mktemp("plain"), GENOME, PLAIN)
    assert {row[0] for row in rows} == {"4", "Y"}
    return rows


def test_predict_names_a_gene_once(plain_rows, tmp_path):
    rows = predicted(tmp_path, GENOME, CASES / "19-braker-bare-ids" / "braker.gtf")
    assert without_names(rows) == without_names(plain_rows)
    assert not any("," in row[3] for row in rows)


def test_predict_beside_a_gene_over_the_origin(plain_rows, tmp_path):
    folder = CASES / "03-circular-organelle"
    rows = predicted(tmp_path, folder / "genome.fa.gz", folder / "refseq.gff3")
    assert [row for row in rows if row[0] != "MT"] == plain_rows
    assert not any("ND5" in row[3] for row in rows)

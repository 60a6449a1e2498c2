"""Introns are those of an account that is not ours, and of gffread, on every flavour and case."""

import gzip
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from annotation_oracle import SHORTEST, Found, oracle
from annotation_reading import found
from conftest import ROOT, SHARED, needs_shared

FLAVOURS = ROOT / "tests" / "data" / "annotations"
CASES = SHARED / "cases"
OF_CASES = [
    "01-no-gene-lines/gffread.gff3",
    "01-no-gene-lines/miniprot.gff3",
    "02-ensembl-ncRNA_gene/ensembl.gff3",
    "03-circular-organelle/refseq.gff3",
    "04-ncbi-unknown_transcript_1/unassigned.gtf",
    "04-ncbi-unknown_transcript_1/unknown.gtf",
    "05-ucsc-gene_id-is-transcript_id/right.gtf",
    "05-ucsc-gene_id-is-transcript_id/ucsc.gtf",
    "06-cds-and-utr/phytozome.gff3",
    "07-frameshift-introns/few.gff3",
    "09-jgi-gff2/jgi.gff",
    "09-jgi-gff2/jgi_without_semicolons.gff",
    "15-byte-order-mark/bom.gff3",
    "19-braker-bare-ids/braker.gtf",
    "_fly/plain.gff3",
]
NAMES = [
    *sorted(path.name for path in FLAVOURS.iterdir()),
    *(pytest.param(name, marks=needs_shared) for name in OF_CASES),
]
DATA = "../shared/data"
REAL = [
    "demo/fly_genome/annotation.gff3.gz",
    pytest.param(f"{DATA}/arabidopsis/annotation.gff3.gz", marks=needs_shared),
    pytest.param(f"{DATA}/arabidopsis_genome/annotation.gff3.gz", marks=needs_shared),
    pytest.param(f"{DATA}/celegans/annotation.gff3.gz", marks=[needs_shared, pytest.mark.full]),
]


def path_of(name: str) -> Path:
    if name.endswith(".gz"):
        return ROOT / name
    return (CASES if "/" in name else FLAVOURS) / name


DIFFERENCES: dict[str, tuple[list[Found], list[Found], str]] = {}
"""File -> genes as only the reader gives them, genes as only the oracle gives them, and why."""


@pytest.mark.parametrize("name", NAMES)
def test_genes_and_introns_are_the_oracles(name):
    ours, others = Counter(found(path_of(name))), Counter(oracle(path_of(name)))
    more, fewer = list((ours - others).elements()), list((others - ours).elements())
    assert (more, fewer) == DIFFERENCES.get(name, ([], [], ""))[:2]


def with_a_gene(path: Path) -> set[str]:
    """The transcripts and genes of GFF3 whose line, and that of their gene, are there."""
    rows = [line.split("\t") for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
    rows = [row for row in rows if len(row) == 9 and row[2] != "protein"]
    named = [dict(pair.split("=", 1) for pair in row[8].split(";") if "=" in pair) for row in rows]
    known = {said["ID"] for said in named if "ID" in said}
    return {said["ID"] for said in named if "ID" in said and set(said.get("Parent", "").split(",")) <= known | {""}}


@pytest.mark.parametrize("name", REAL)
def test_genes_and_introns_of_whole_annotations_are_the_oracles(name):
    """Cut from larger ones, they hold parts of lost transcripts and genes, to which the oracle gives no one."""
    assert found(path_of(name), with_a_gene(path_of(name))) == oracle(path_of(name))


# -- gffread ---------------------------------------------------------------------------------------------------

Junction = tuple[str, str, int, int]

NOT_READ_BY_GFFREAD = {
    "refseq.gff3": "refuses a gene on the strand '?'",
    "04-ncbi-unknown_transcript_1/unassigned.gtf": 'refuses lines of genes with transcript_id ""',
    "04-ncbi-unknown_transcript_1/unknown.gtf": 'refuses lines of genes with transcript_id ""',
    "09-jgi-gff2/jgi.gff": "finds no IDs",
    "09-jgi-gff2/jgi_without_semicolons.gff": "refuses IDs without quotation marks",
}

DIFFERENCES_FROM_GFFREAD: dict[str, tuple[list[Junction], list[Junction], str]] = {
    "liftoff.gff3": (
        [("chr2", "+", 51200, 52000)],
        [("chr2", "+", 5000, 51000)],
        "gffread makes one transcript of two copies of an ID on a sequence",
    ),
}
"""File -> introns that gffread does not give, introns that it alone gives, and why."""


def by_gffread(path: Path, genes: set[str] | None = None) -> set[Junction]:
    """The introns of all transcripts, or of those of these genes."""
    printed = subprocess.run(["gffread", "-T", path], capture_output=True, text=True, check=False).stdout
    exons = defaultdict(list)
    for line in printed.splitlines():
        sequence, _, kind, start, end, _, strand, _, attributes = line.split("\t")
        gene = re.search('gene_id "([^"]+)"', attributes)
        if kind in ("exon", "CDS") and strand != "." and (genes is None or (gene and gene[1] in genes)):
            exons[sequence, strand, attributes.split(";")[0], kind].append((int(start) - 1, int(end)))
    return {
        (*key[:2], left[1], right[0])
        for key, parts in exons.items()
        if key[3] == "exon" or (*key[:3], "exon") not in exons  # without untranslated exons it gives CDS alone
        for left, right in pairwise(sorted(parts))
        if right[0] - left[1] >= SHORTEST
    }


def by_reader(path: Path) -> set[Junction]:
    return {(*gene[:2], *intron) for gene in found(path) for intron in gene[4]}


def by_oracle(path: Path) -> set[Junction]:
    return {(*gene[:2], *intron) for gene in oracle(path) for intron in gene[4]}


needs_gffread = pytest.mark.skipif(
    shutil.which("gffread") is None, reason="gffread is not here: apt-get install gffread"
)


@needs_gffread
@pytest.mark.parametrize("account", [by_reader, by_oracle])
@pytest.mark.parametrize("name", NAMES)
def test_introns_are_gffreads(name, account):
    theirs, here = by_gffread(path_of(name)), account(path_of(name))
    if name in NOT_READ_BY_GFFREAD:
        assert not theirs
    else:
        more, fewer = sorted(here - theirs), sorted(theirs - here)
        assert (more, fewer) == DIFFERENCES_FROM_GFFREAD.get(name, ([], [], ""))[:2]


@needs_gffread
@pytest.mark.parametrize("account", [by_reader, by_oracle])
@pytest.mark.parametrize("name", REAL[:-1])
def test_introns_of_whole_annotations_are_gffreads(tmp_path, name, account):
    """But not those of transcripts whose gene has no line; these files are cut from larger ones. It names few genes."""
    path = tmp_path / "annotation.gff3"
    path.write_bytes(gzip.decompress(path_of(name).read_bytes()))
    known = set(re.findall(r"\bID=([^;\n]+)", path.read_text()))
    assert by_gffread(path, known) <= account(path) <= by_gffread(path)

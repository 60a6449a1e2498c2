"""Annotations: the forms that their sources give them, what belongs to what, and everything that is refused."""

import gzip
import random
from collections.abc import Iterable
from pathlib import Path

import gffutils
import numpy as np
import pytest
from conftest import SHARED, full, needs_shared
from hypothesis import given
from hypothesis import strategies as st

from spliceai_jax.errors import SequenceError
from spliceai_jax.genome import annotation_lines
from spliceai_jax.genome.annotation import Gene, Transcript, read_annotation
from spliceai_jax.genome.annotation_records import PREFERRED_TAGS

FLAVOURS = Path(__file__).parent / "data" / "annotations"

# What most of the fixtures describe: a gene of two transcripts on the "+" strand, another one on "-".
LONG = [(1000, 1200), (2000, 2150), (4000, 5000)]
SHORT = [(1000, 1200), (4000, 5000)]
MINUS = [(7000, 7400), (8600, 9000)]
ONE = [(6000, 6400)]
CODING_LONG = [(1100, 1200), (2000, 2150), (4000, 4300)]
CODING_SHORT = [(1100, 1200), (4000, 4300)]
CODING_MINUS = [(7200, 7400), (8600, 8700)]
MANE, CANONICAL, SELECT, _, PRINCIPAL, _ = PREFERRED_TAGS


def gene(name, place, symbol, biotype, *transcripts, trans_spliced=False):
    """A gene as `plain` gives it; `place` is "sequence:start-end:strand"."""
    sequence, span, strand = place.split(":")
    start, end = map(int, span.split("-"))
    return (name, sequence, start, end, strand, symbol, biotype, trans_spliced, transcripts)


def transcript(name, exons, coding=0, biotype=None, tags=(), from_cds=False, span=None):
    start, end = span or (exons[0][0], exons[-1][1])
    return (name, start, end, exons, coding, biotype, tags, from_cds)


def plain(genes: Iterable[Gene]) -> list[tuple]:
    """Genes without arrays, so that they can be compared."""

    def of_transcript(found: Transcript) -> tuple:
        assert found.exons.dtype == np.int32
        assert found.exons.shape[1:] == (2,)
        exons = [tuple(exon) for exon in found.exons.tolist()]
        return transcript(
            found.name,
            exons,
            found.coding_length,
            found.biotype,
            found.tags,
            found.exons_from_cds,
            (found.start, found.end),
        )

    return [
        gene(
            found.name,
            f"{found.sequence}:{found.start}-{found.end}:{found.strand}",
            found.symbol,
            found.biotype,
            *map(of_transcript, found.transcripts),
            trans_spliced=found.trans_spliced,
        )
        for found in genes
    ]


def lifted(name: str, place: str, copy: str = "") -> tuple:
    shift = int(place.split(":")[1].split("-")[0]) - 1000
    exons = [(start + shift, end + shift) for start, end in LONG]
    return gene(
        name + copy, place, "ALPH1", "protein_coding", transcript("rna-NM_990011.2" + copy, exons, 550, None, (MANE,))
    )


EXPECTED = {
    "ensembl.gff3": [
        gene(
            "gene:ENSXG00000000001",
            "7:1000-5000:+",
            "ALPH1",
            "protein_coding",
            transcript("transcript:ENSXT00000000011", LONG, 550, "protein_coding", (MANE, CANONICAL)),
            transcript("transcript:ENSXT00000000012", SHORT, 400, "protein_coding"),
        ),
        gene(
            "gene:ENSXG00000000002",
            "7:6000-6400:-",
            "gene:ENSXG00000000002",
            "lncRNA",
            transcript("transcript:ENSXT00000000021", ONE, 0, "lncRNA", (CANONICAL,)),
        ),
        gene(
            "gene:ENSXG00000000003",
            "7:7000-9000:-",
            "gene:ENSXG00000000003",
            "protein_coding",
            transcript("transcript:ENSXT00000000031", MINUS, 300, "protein_coding", (CANONICAL,)),
        ),
        gene(
            "gene:ENSXG00000000004",
            "7:9500-9800:+",
            "gene:ENSXG00000000004",
            "processed_pseudogene",
            transcript("transcript:ENSXT00000000041", [(9500, 9800)], 0, "processed_pseudogene"),
        ),
    ],
    "ensembl.gtf": [
        gene(
            "ENSXG00000000001",
            "7:1000-5000:+",
            "ALPH1",
            "protein_coding",
            transcript("ENSXT00000000011", LONG, 550, "protein_coding", (MANE, CANONICAL)),
            transcript("ENSXT00000000012", SHORT, 400, "nonsense_mediated_decay"),
        ),
        gene(
            "ENSXG00000000002",
            "7:6000-6400:-",
            "ENSXG00000000002",
            "lncRNA",
            transcript("ENSXT00000000021", ONE, 0, "lncRNA", (CANONICAL,)),
        ),
    ],
    "gencode.gff3": [
        gene(
            "ENSXG00000000001.4",
            "chr7:1000-5000:+",
            "ALPH1",
            "protein_coding",
            transcript("ENSXT00000000011.2", LONG, 550, "protein_coding", (MANE, CANONICAL, PRINCIPAL)),
            transcript("ENSXT00000000012.1", SHORT, 400, "protein_coding"),
        ),
        gene(
            "ENSXG00000000005.1",
            "chrX:7000-9000:-",
            "PARG",
            "protein_coding",
            transcript("ENSXT00000000051.1", MINUS, 300, "protein_coding"),
        ),
        gene(
            "ENSXG00000000005.1_PAR_Y",
            "chrY:7000-9000:-",
            "PARG",
            "protein_coding",
            transcript("ENSXT00000000051.1_PAR_Y", MINUS, 300, "protein_coding"),
        ),
    ],
    "gencode.gtf": [
        gene(
            "ENSXG00000000001.4",
            "chr7:1000-5000:+",
            "ALPH1",
            "protein_coding",
            transcript("ENSXT00000000011.2", LONG, 550, "protein_coding", (MANE, CANONICAL, PRINCIPAL)),
            transcript("ENSXT00000000012.1", SHORT, 400, "protein_coding"),
        ),
        gene(
            "ENSXG00000000002.1",
            "chr7:6000-6400:-",
            "BETA-AS1",
            "lncRNA",
            transcript("ENSXT00000000021.1", ONE, 0, "lncRNA", (CANONICAL,)),
        ),
    ],
    "refseq.gff3": [
        gene(
            "gene-ALPH1",
            "NC_990007.1:1000-5000:+",
            "ALPH1",
            "protein_coding",
            transcript("rna-NM_990011.2", LONG, 550, None, (MANE,)),
            transcript("rna-NM_990012.1", SHORT, 400),
        ),
        gene("gene-MIR1", "NC_990007.1:6000-6400:-", "MIR1", "miRNA", transcript("rna-NR_990021.1", ONE)),
        gene("gene-ALPH1P", "NC_990007.1:6500-6600:+", "ALPH1P", "pseudogene"),
        gene(
            "gene-LOC990003",
            "NC_990007.1:7000-9000:-",
            "LOC990003",
            "protein_coding",
            transcript("rna-XM_990031.1", MINUS, 300, None, (SELECT,)),
        ),
        gene(
            "gene-AX01p001",
            "NC_990099.1:100-400:+",
            "atx1",
            "protein_coding",
            transcript("gene-AX01p001", [(100, 400)], 300, from_cds=True),
        ),
        gene(
            "gene-AX01p002",
            "NC_990099.1:5000-5100:-",
            "rpx12",
            "protein_coding",
            transcript("gene-AX01p002", [(5000, 5100)], 100, from_cds=True),
            trans_spliced=True,
        ),
    ],
    "flybase.gff3": [
        gene(
            "FBgn9900001",
            "2L:1000-5000:+",
            "l(2)alp",
            None,
            transcript("FBtr9900011", LONG, 550),
            transcript("FBtr9900012", SHORT, 400),
        ),
        gene("FBgn9900002", "2L:6000-6400:-", "lncRNA:CR99002", None, transcript("FBtr9900021", ONE)),
        gene(
            "FBgn9900003",
            "2L:7000-30000:-",
            "mud(mdx4)",
            None,
            transcript("FBtr9900031", MINUS, 300),
            transcript("FBtr9900032", [(8600, 9000)], span=(8600, 30000)),
            trans_spliced=True,
        ),
    ],
    "wormbase.gff3": [
        gene(
            "Gene:WBGene99000001",
            "II:1000-5000:+",
            "WBGene99000001",
            "protein_coding",
            transcript("Transcript:Y99A9.1a.1", LONG, 550),
            transcript("Transcript:Y99A9.1b.1", SHORT, 400),
        ),
        gene(
            "Gene:WBGene99000002",
            "II:7000-7100:-",
            "WBGene99000002",
            "snoRNA",
            transcript("Transcript:Y99A9.2", [(7000, 7100)]),
        ),
    ],
    "tair10.gff3": [
        gene(
            "AT1G99010",
            "Chr1:1000-5000:+",
            "AT1G99010",
            "protein_coding",
            transcript("AT1G99010.1", LONG, 550),
            transcript("AT1G99010.2", SHORT, 400),
        ),
        gene("AT1G99020", "Chr1:6000-6400:-", "AT1G99020", "miRNA", transcript("AT1G99020.1", ONE)),
        gene(
            "AT1G99030",
            "Chr1:7000-9000:-",
            "AT1G99030",
            "transposable_element_gene",
            transcript("AT1G99030.1", MINUS),
        ),
    ],
    "araport11.gff3": [
        gene(
            "AT1G99010",
            "Chr1:1000-5000:+",
            "AT1G99010",
            "protein_coding",
            transcript("AT1G99010.1", LONG, 550),
            transcript("AT1G99010.2", SHORT, 400),
        ),
        gene("AT1G09987", "Chr1:6000-6400:-", "AT1G09987", "novel_transcribed_region", transcript("AT1G09987.1", ONE)),
    ],
    "braker.gff3": [
        gene(
            "g1",
            "scaffold_1:1100-4303:+",
            "g1",
            None,
            transcript("g1.t1", CODING_LONG, 550, span=(1100, 4303)),
            transcript("g1.t2", CODING_SHORT, 400, span=(1100, 4303)),
        ),
        gene("g2", "scaffold_1:7200-8700:-", "g2", None, transcript("g2.t1", CODING_MINUS, 300, from_cds=True)),
    ],
    "augustus.gtf": [
        gene(
            "g1",
            "scaffold_1:1100-4300:+",
            "g1",
            None,
            transcript("g1.t1", CODING_LONG, 550),
            transcript("g1.t2", CODING_SHORT, 400),
        ),
        gene("g1", "scaffold_2:7200-8700:-", "g1", None, transcript("g1.t1", CODING_MINUS, 300, from_cds=True)),
        gene("7_g", "scaffold_3:1100-4300:+", "7_g", None, transcript("7_t", CODING_SHORT, 400)),
    ],
    "liftoff.gff3": [
        lifted("gene-ALPH1", "chr2:1000-5000:+"),
        lifted("gene-ALPH1", "chr2:21000-25000:+", "_1"),
        lifted("gene-ALPH1", "chr5:1000-5000:+"),
        lifted("gene-ALPH1", "chr2:51000-55000:+"),
    ],
    "stringtie.gtf": [
        gene("STRG.1", "chr2:1000-5000:+", "STRG.1", None, transcript("STRG.1.1", LONG), transcript("STRG.1.2", SHORT)),
        gene("STRG.2", "chr2:7000-9000:-", "STRG.2", None, transcript("STRG.2.1", MINUS)),
    ],
    "veupathdb.gff3": [
        gene(
            "LINX_010000100",
            "LinX.01:1000-5000:+",
            "KINX",
            "protein_coding",
            transcript("LINX_010000100-T1", LONG, 550),
        ),
        gene("LINX_010000200", "LinX.01:6000-6400:-", "LINX_010000200", "ncRNA", transcript("LINX_010000200-T1", ONE)),
    ],
}


def test_every_flavour_is_expected():
    assert sorted(EXPECTED) == sorted(path.name for path in FLAVOURS.iterdir())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_flavours(name):
    assert plain(read_annotation(FLAVOURS / name).genes) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_order_of_lines_does_not_matter(tmp_path, name):
    """Children before parents, parts of different genes mixed: the same genes, whatever the order."""
    content = (FLAVOURS / name).read_text().partition("##FASTA")[0]
    lines = [line for line in content.splitlines() if not line.startswith("#")]
    random.Random(name).shuffle(lines)
    (tmp_path / "a").write_text("\n".join(lines))

    def unordered(genes: list[tuple]) -> list[tuple]:
        return sorted((*found[:8], sorted(found[8])) for found in genes)

    assert unordered(plain(read_annotation(tmp_path / "a").genes)) == unordered(EXPECTED[name])


def read(tmp_path: Path, *rows: str) -> list[tuple]:
    """Genes of an annotation whose rows are "type start-end strand attributes", on one sequence."""
    text = []
    for row in rows:
        kind, span, strand, attributes = row.split(" ", 3)
        start, end = span.split("-")
        text.append("\t".join(["chr1", "x", kind, start, end, ".", strand, ".", attributes]))
    (tmp_path / "a.gff3").write_text("\n".join(text))
    return plain(read_annotation(tmp_path / "a.gff3").genes)


def test_exons_of_several_transcripts(tmp_path):
    found = read(
        tmp_path,
        "exon 1-10 + Parent=a,b",
        "exon 21-30 + Parent=b",
        "mRNA 1-10 + ID=a;Parent=g",
        "mRNA 1-30 + ID=b;Parent=g",
        "gene 1-30 + ID=g",
    )
    a, b = transcript("a", [(0, 10)]), transcript("b", [(0, 10), (20, 30)])
    assert found == [gene("g", "chr1:0-30:+", "g", None, a, b)]


def test_exons_that_overlap_are_one(tmp_path):
    """CDS over a frame shift counts each base once; exons that touch are one."""
    found = read(
        tmp_path,
        "gene 1-100 + ID=g",
        "mRNA 1-100 + ID=t;Parent=g",
        "exon 41-100 + Parent=t",
        "exon 1-40 + Parent=t",
        "exon 11-20 + Parent=t",
        "exon 31-40 + Parent=t",
        "CDS 1-50 + Parent=t",
        "CDS 50-60 + Parent=t",
    )
    assert found[0][8] == (transcript("t", [(0, 100)], 60),)


def test_parts_of_the_gene_itself(tmp_path):
    """They make a transcript only where the gene has none."""
    parts = ["exon 1-10 + Parent=g", "exon 21-30 + Parent=g", "CDS 5-10 + Parent=g"]
    implied = read(tmp_path, "gene 1-40 + ID=g;gene_biotype=tRNA", *parts)
    assert implied == [gene("g", "chr1:0-40:+", "g", "tRNA", transcript("g", [(0, 10), (20, 30)], 6))]
    own = read(tmp_path, "gene 1-40 + ID=g", "mRNA 1-40 + ID=t;Parent=g", "exon 1-40 + Parent=t", *parts)
    assert own[0][8] == (transcript("t", [(0, 40)]),)


def test_children_of_others_are_no_transcripts(tmp_path):
    """A transcript is a gene's child, of the type of an RNA or transcript, and on a strand that is the gene's."""
    found = read(
        tmp_path,
        "gene 1-40 + ID=g",
        "primary_transcript 1-40 + ID=p;Parent=g",
        "miRNA 11-20 + ID=m;Parent=p",
        "exon 11-20 + Parent=m",
        "V_gene_segment 1-30 . ID=v;Parent=g",
        "exon 1-30 . Parent=v",
        "polypeptide 1-30 + ID=y;Parent=g",
        "mRNA 1-30 + ID=elsewhere;Parent=none",
        "mRNA 1-30 + ID=alone",
        "gene 51-60 + Name=without",
    )
    p, v = transcript("p", [], span=(0, 40)), transcript("v", [(0, 30)])
    without = gene("without", "chr1:50-60:+", "without", None)
    assert found == [gene("g", "chr1:0-40:+", "g", None, p, v), without]


def test_genes_that_share_an_id(tmp_path):
    """A child belongs to the last that starts no later; before all of them, to the first."""
    rows = ["gene 101-200 + ID=g", "gene 301-400 + ID=g", "gene 501-600 - ID=g"]
    rows += [f"mRNA {start}-{start + 9} {strand} ID=t{start};Parent=g" for start, strand in ((350, "+"), (501, "-"))]
    rows += ["mRNA 91-120 + ID=t91;Parent=g", "exon 350-359 + Parent=t350"]
    found = read(tmp_path, *rows)
    assert [[item[0] for item in one[8]] for one in found] == [["t91"], ["t350"], ["t501"]]
    assert found[1][8][0][3] == [(349, 359)]


@pytest.mark.parametrize("of", ["gene", "mRNA"])
@pytest.mark.parametrize(
    "said", ["exception=trans-splicing", "exception=x,trans-splicing", "trans_splicing=true", "trans-splicing"]
)
def test_trans_splicing_is_said(tmp_path, of, said):
    attributes = {"gene": "", "mRNA": ""} | {of: ";" + said}
    rows = "gene 1-40 + ID=g" + attributes["gene"], "mRNA 1-40 + ID=t;Parent=g" + attributes["mRNA"]
    assert read(tmp_path, *rows)[0][7]
    assert not read(tmp_path, rows[0].partition(";")[0], "mRNA 1-40 + ID=t;Parent=g;exception=other")[0][7]


def test_transcripts_on_the_other_strand(tmp_path):
    found = read(
        tmp_path,
        "gene 1-40 + ID=g",
        "mRNA 1-40 + ID=t;Parent=g",
        "exon 1-10 + Parent=t",
        "exon 31-40 - Parent=t",
        "mRNA 1-40 - ID=u;Parent=g",
        "gene 51-60 + ID=h",
        "mRNA 51-60 ? ID=v;Parent=h",
        "exon 51-60 . Parent=v",
    )
    t, v = transcript("t", [(0, 10)], span=(0, 40)), transcript("v", [(50, 60)])
    assert found == [
        gene("g", "chr1:0-40:+", "g", None, t, trans_spliced=True),
        gene("h", "chr1:50-60:+", "h", None, v),
    ]


@pytest.mark.parametrize(
    ("of_gene", "of_transcripts", "found"),
    [
        ("gene_biotype=protein-coding", [], "protein_coding"),
        ("biotype=lncRNA", ["biotype=protein_coding"], "lncRNA"),
        ("gene_type=protein_coding;biotype=x", [], "protein_coding"),
        ("locus_type=mirna", [], "mirna"),
        ("Note=protein_coding_gene", [], "protein_coding"),
        ("Note=protein_coding_gene of a kind", [], None),
        ("Note=tRNA", [], "tRNA"),
        ("Name=x", ["transcript_biotype=retained_intron", "transcript_biotype=protein_coding"], "protein_coding"),
        ("Name=x", ["transcript_type=lncRNA", "transcript_type=lncRNA", "Name=x"], "lncRNA"),
        ("Name=x", ["transcript_type=lncRNA", "transcript_type=miRNA"], None),
        ("Name=x", ["Note=protein_coding_gene"], None),
    ],
)
def test_biotypes(tmp_path, of_gene, of_transcripts, found):
    children = [f"mRNA 1-9 + ID=t{number};Parent=g;{said}" for number, said in enumerate(of_transcripts)]
    assert read(tmp_path, f"gene 1-9 + ID=g;{of_gene}", *children)[0][6] == found


@pytest.mark.parametrize(
    ("attributes", "name", "symbol"),
    [
        ("ID=g;Name=n;gene_name=m;gene=l", "g", "n"),
        ("gene_name=m;Name=n", "n", "n"),
        ("ID=g;gene_name=m;gene=l", "g", "m"),
        ("ID=g;gene=l;gene_symbol=k", "g", "l"),
        ("ID=g%2C1 ; gene_symbol=k=j;", "g,1", "k=j"),
        (" gene_symbol=k", "unknown_gene", "k"),
        ("ID=;Name=", "unknown_gene", "unknown_gene"),
        ("ID=a,b", "a,b", "a,b"),
        ("ID=gène;Note=a; b, c", "gène", "gène"),
    ],
)
def test_names(tmp_path, attributes, name, symbol):
    found = read(tmp_path, f"gene 1-9 + {attributes}")[0]
    assert (found[0], found[5]) == (name, symbol)


def test_gtf_attributes(tmp_path):
    """Semicolons, commas and spaces in quotes; no quotes; no space behind a semicolon; the same key several times."""
    found = read(
        tmp_path,
        'transcript 1-9 + note "a; b"; gene_id "g,1"; transcript_id "t;1";tag "basic";tag "RefSeq Select" ;',
        'exon 1-9 + gene_id "g,1"; transcript_id "t;1"; gene_name "n";',
        "exon 21-29 - transcript_id  u ; gene_id h",
        'CDS 22-25 - transcript_id "u"; gene_id "h"; gene_biotype "protein-coding"',
        'exon 41-49 + transcript_id "v"',
        'exon 81-89 + transcript_id ""; gene_id "y"',
        'exon 61-69 + transcript_id ""; gene_id "w"; gene_name "z"; transcript_type "x"; tag "MANE_Select"',
    )
    assert found == [
        gene("g,1", "chr1:0-9:+", "g,1", None, transcript("t;1", [(0, 9)], tags=(SELECT,))),
        gene("h", "chr1:20-29:-", "h", None, transcript("u", [(20, 29)], 4)),
        gene("v", "chr1:40-49:+", "v", None, transcript("v", [(40, 49)])),
        gene("y", "chr1:80-89:+", "y", None, transcript("y", [(80, 89)])),
        gene("w", "chr1:60-69:+", "z", "x", transcript("w", [(60, 69)], biotype="x", tags=(MANE,))),
    ]


def test_gtf_genes_without_lines(tmp_path):
    """Transcripts of a gene_id far from each other, or on different strands, are of different genes."""
    rows = [
        f'exon {start}-{end} {strand} gene_id "g"; transcript_id "{name}";'
        for start, end, strand, name in (
            (101, 200, "+", "a"),
            (301, 400, "+", "a"),
            (351, 450, "+", "b"),
            (501, 600, "+", "c"),
            (101, 200, "-", "a"),
            (101, 200, ".", "e"),
        )
    ]
    assert [(one[2:5], [item[0] for item in one[8]]) for one in read(tmp_path, *rows)] == [
        ((100, 450, "+"), ["a", "b"]),
        ((500, 600, "+"), ["c"]),
        ((100, 200, "-"), ["a"]),
    ]
    line = 'gene 1-700 . gene_id "g"'
    with pytest.raises(SequenceError, match="holds no feature of type gene with a strand"):
        read(tmp_path, line, *rows)


def test_gtf_keeps_the_order_of_the_file(tmp_path):
    """A transcript stands where its first line does, whether it has a line of its own or not."""
    ids = [f'gene_id "g"; transcript_id "{name}";' for name in "abc"]
    found = read(
        tmp_path,
        f"CDS 1-9 + {ids[0]}",
        f"transcript 1-9 + {ids[1]}",
        f"exon 1-9 + {ids[2]}",
        f"exon 1-9 + {ids[0]}",
        'gene 1-9 + gene_id "g"',
    )
    assert [one[0] for one in found[0][8]] == ["a", "b", "c"]


ROW = "chr1\tx\tgene\t1\t9\t.\t+\t.\tID=a\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no feature of type gene"),
        ("# nothing\n\n", "holds no feature of type gene"),
        ("##FASTA\n>x\n" + ROW, "holds no feature of type gene"),
        (">x\nACGT\n", "it is FASTA; give a GFF3 or GTF file"),
        (ROW.replace("gene", "mRNA"), "holds no feature of type gene"),
        (ROW.replace("gene", "exon").replace("ID=a", "note=x"), "holds no feature of type gene"),
        (ROW.replace("+", "."), "holds no feature of type gene"),
        (ROW.replace("\t", " "), "line 1: 1 column; expected GFF3 or GTF, 9"),
        (ROW + ROW.replace("\t.\tID", "\tID"), "line 2: 8 columns"),
        (ROW + "\n" + ROW.replace("\n", "\textra\n"), "line 3: 10 columns"),
        (ROW + "\x00\x01\x02", "line 2: 1 column;"),
        (
            ROW.replace("\t1\t", "\t10\t"),
            "line 1: a gene from '10' to '9'; expected whole numbers from 1 to 2147483647",
        ),
        (ROW.replace("\t1\t", "\t0\t"), "line 1: a gene from '0' to '9'"),
        (ROW.replace("\t1\t", "\t-1\t"), "line 1: a gene from '-1' to '9'"),
        (ROW.replace("\t1\t", "\t1.5\t"), "line 1: a gene from '1.5' to '9'"),
        (ROW.replace("\t1\t", "\t\t"), "line 1: a gene from '' to '9'"),
        (ROW.replace("\t1\t", "\t١\t"), "line 1: a gene from '١' to '9'"),
        (ROW.replace("\t1\t", "\t1_0\t"), "line 1: a gene from '1_0' to '9'"),
        (ROW.replace("\t9\t", "\tend\t"), "line 1: a gene from '1' to 'end'"),
        (ROW.replace("\t9\t", "\t2147483648\t"), "line 1: a gene from '1' to '2147483648'"),
        (ROW.replace("\t9\t", f"\t{'9' * 5000}\t"), "line 1: a gene from '1' to '99999999999999999999'; expected"),
        (ROW + ROW.replace("gene", "CDS").replace("\t1\t", "\tx\t"), "line 2: a CDS from 'x' to '9'"),
        (ROW + ROW.replace("gene", "exon").replace("\t9\t", "\t\t"), "line 2: an exon from '1' to ''"),
        (ROW.replace("\t+\t", "\tplus\t"), "line 1: a gene on strand 'plus'; expected"),
        (ROW.replace("\t+\t", "\t\t"), "line 1: a gene on strand ''"),
        (ROW.replace("ID=a", "ID=a%09b"), r"line 1: a name with the control character '\\t'"),
        (ROW.replace("ID=a", "ID=a\x0bb"), r"line 1: a name with the control character '\\x0b'"),
        (ROW.replace("ID=a", "Name=b%0A"), r"line 1: a name with the control character '\\n'"),
        (ROW.replace("chr1", ""), "line 1: no name of a sequence; expected one in the first column"),
        (ROW.replace("chr1", "chr\x001"), r"line 1: a name with the control character '\\x00'"),
        (ROW + ROW.replace("gene", "exon").replace("ID=a", "Parent=a%00"), "line 2: a name with the control"),
        (ROW + ROW.replace("ID=a", 'gene_id "a"'), "line 2: attributes in the form of GTF; expected GFF3"),
        (ROW.replace("ID=a", 'gene_id "a"') + ROW, "line 2: attributes in the form of GFF3; expected GTF"),
        (ROW.replace("ID=a", 'gene_id "a; x'), "line 1: a quotation mark that is not closed"),
        (ROW.replace("ID=a", f'gene_id "a; {"; " * 20_000}"'), "line 1: a name of 40002 characters; expected 1000"),
        (ROW.replace("ID=a", f"ID={'a' * 20_000_000}"), "line 1: more than 10000000 bytes"),
        (ROW + "#" * 20_000_000, "line 2: more than 10000000 bytes"),
    ],
    ids=lambda value: None if len(value) < 200 else value[:10] + "...",
)
def test_refused(tmp_path, content, said):
    (tmp_path / "a.gff3").write_text(content)
    with pytest.raises(SequenceError, match=said) as refusal:
        read_annotation(tmp_path / "a.gff3")
    assert str(refusal.value).startswith(str(tmp_path / "a.gff3"))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_a_long_line_is_not_held(tmp_path):
    """A compressed file that unpacks to one line without end is refused before it fills the memory."""
    import tracemalloc

    (tmp_path / "a.gff3.gz").write_bytes(gzip.compress(ROW.encode() + b"#" * 200_000_000, 1))
    tracemalloc.start()
    with pytest.raises(SequenceError, match="more than 10000000 bytes"):
        read_annotation(tmp_path / "a.gff3.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6


def test_bytes_that_are_no_text(tmp_path):
    """Latin-1 in a note, or in a name, which is given back as it was."""
    (tmp_path / "a.gff3").write_bytes(ROW.replace("=a", "=ä;Note=ü").encode("latin-1"))
    assert read_annotation(tmp_path / "a.gff3").genes[0].name.encode("utf-8", "surrogateescape") == b"\xe4"


def test_many_lines_before_the_form_shows(tmp_path, monkeypatch):
    """AUGUSTUS's genes have bare IDs; when nothing shows the form for long, it is GFF3."""
    bare = [f"gene {place}-{place} + g{place}" for place in range(1, 3000)]
    found = read(tmp_path, *bare, 'CDS 7-7 + transcript_id "t7"; gene_id "g7"')
    assert [one[0] for one in found] == [f"g{place}" for place in range(1, 3000)]
    assert [one[8] for one in found if one[8]] == [(transcript("t7", [(6, 7)], 1, from_cds=True),)]
    monkeypatch.setattr(annotation_lines, "_LONGEST_LINE", 1000)
    assert {one[0] for one in read(tmp_path, *bare)} == {"unknown_gene"}


# Genes far from each other, each with transcripts that overlap, since that is all that GTF without genes can tell.
spans = st.lists(st.integers(0, 150), min_size=4, max_size=8, unique=True).map(sorted)
models = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr 2"]), st.sampled_from("+-"), st.lists(spans, min_size=1, max_size=4)),
    min_size=1,
    max_size=6,
)


@given(models=models, seed=st.integers(0, 1000), tagged=st.booleans())
def test_any_genes(tmp_path_factory, models, seed, tagged):
    """Random genes, written as GFF3 and as GTF with and without lines of genes, in any order, come back the same."""
    wanted, gff3, gtf = [], [], {"gene": [], "transcript": [], "exon": [], "CDS": []}
    for number, (sequence, strand, transcripts) in enumerate(models):
        shift, found, name = 10_000 * (number + 1), [], f"g{number}"
        for index, places in enumerate(transcripts):
            # All end at one base, so that they overlap; gaps have at least ten bases.
            edges = [*[shift + 10 * place for place in places[: len(places) // 2 * 2 - 1]], shift + 1510]
            exons = list(zip(edges[::2], edges[1::2], strict=True))
            tags = (CANONICAL,) if tagged and index == 0 else ()
            found.append(transcript(f"{name}.t{index}", exons, exons[0][1] - exons[0][0], "lncRNA", tags))
        start, end = min(one[1] for one in found), max(one[2] for one in found)
        wanted.append(gene(name, f"{sequence}:{start}-{end}:{strand}", name, "lncRNA", *found))

        def row(kind, start, end, attributes, sequence=sequence, strand=strand):
            return "\t".join([sequence, "x", kind, str(start + 1), str(end), ".", strand, ".", attributes])

        gff3.append(row("gene", start, end, f"ID={name};biotype=lncRNA"))
        gtf["gene"].append(row("gene", start, end, f'gene_id "{name}"; gene_biotype "lncRNA";'))
        for one in found:
            tag = "tag=basic,Ensembl_canonical;" if one[6] else ""
            gff3.append(row("lnc_RNA", one[1], one[2], f"{tag}Parent={name};ID={one[0]};biotype=lncRNA"))
            ids = f'gene_id "{name}"; transcript_id "{one[0]}"; gene_biotype "lncRNA"; transcript_biotype "lncRNA";'
            ids += ' tag "basic"; tag "Ensembl_canonical";' if one[6] else ""
            gtf["transcript"].append(row("transcript", one[1], one[2], ids))
            for kind, parts in (("exon", one[3]), ("CDS", one[3][:1])):
                gff3 += [row(kind, *part, f"Parent={one[0]}") for part in parts]
                gtf[kind] += [row(kind, *part, ids) for part in parts]
    path = tmp_path_factory.getbasetemp() / "any.gff3"
    shuffled = random.Random(seed)
    for lines in (
        gff3,
        gtf["gene"] + gtf["transcript"] + gtf["exon"] + gtf["CDS"],
        gtf["transcript"] + gtf["exon"] + gtf["CDS"],
        gtf["exon"] + gtf["CDS"],
        gtf["gene"] + gtf["exon"] + gtf["CDS"],
    ):
        shuffled.shuffle(lines)
        path.write_text("\n".join(lines))
        found = [(*one[:8], tuple(sorted(one[8]))) for one in plain(read_annotation(path).genes)]
        assert sorted(found) == sorted(wanted)


REAL = {
    "celegans": SHARED / "data" / "celegans",
    "arabidopsis": SHARED / "data" / "arabidopsis",
    "fly": SHARED / "demo" / "fly_genome",
}


@needs_shared
@pytest.mark.parametrize("species", full(["celegans", "arabidopsis", "fly"], "arabidopsis", "fly"))
def test_real_annotations(species):
    """Genes, transcripts, exons and CDS are those that gffutils' own database gives."""
    path = REAL[species] / "annotation.gff3.gz"
    database = gffutils.create_db(
        str(path), ":memory:", merge_strategy="create_unique", disable_infer_genes=True, disable_infer_transcripts=True
    )

    def places(parent, kind):
        return sorted((part.start - 1, part.end) for part in database.children(parent, level=1, featuretype=kind))

    wanted = {}
    for one in database.features_of_type("gene"):
        wanted[one.id, one.seqid, one.start - 1, one.end, one.strand] = {
            (child.id, child.start - 1, child.end): (
                places(child, "exon"),
                sum(end - start for start, end in places(child, "CDS")),
            )
            for child in database.children(one, level=1, featuretype=("mRNA", "transcript"))
        }
    found = {one[:5]: {item[:3]: item[3:5] for item in one[8]} for one in plain(read_annotation(path).genes)}
    # The fly's file lacks the lines of some transcripts and genes, which we make of their exons.
    assert {key: found[key] for key in wanted if wanted[key]} == {key: value for key, value in wanted.items() if value}
    assert {key for key in wanted if not wanted[key]} <= found.keys()

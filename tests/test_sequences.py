"""FASTA files and the forms of annotations: the letters, compression, and everything of FASTA that is refused."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spliceai_jax.encoding import decode, encode
from spliceai_jax.errors import SequenceError
from spliceai_jax.genome import fasta
from spliceai_jax.genome.annotation import read_annotation
from spliceai_jax.genome.fasta import Genome

FASTA = b">one first words\nACGT\nacgtNNNN\n>empty\n>two\tx\n\nRYKM-*acG\n>three\nT"
CODES = {"one": [1, 2, 3, 4, 1, 2, 3, 4, 0, 0, 0, 0], "empty": [], "two": [0] * 6 + [1, 2, 3], "three": [4]}


def bgzip(data: bytes) -> bytes:
    """Blocked gzip with the end marker, as samtools' bgzip writes it: members that name their own size."""
    out = io.BytesIO()
    for block in [*(data[i : i + 20] for i in range(0, len(data), 20)), b""]:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = packer.compress(block) + packer.flush()
        out.write(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25))
        out.write(body + struct.pack("<II", zlib.crc32(block), len(block)))
    return out.getvalue()


def read(path: Path, content: bytes) -> dict[str, list[int]]:
    path.write_bytes(content)
    genome = Genome(path, path.parent)
    found = {name: genome.bases(name, 0, length).tolist() for name, length in genome.lengths.items()}
    assert genome.known == sum(code > 0 for codes in found.values() for code in codes)
    genome.close()
    return found


@pytest.mark.parametrize(
    "content",
    [
        FASTA,
        FASTA + b"\n",
        b"\n\n" + FASTA,
        FASTA.replace(b"\n", b"\r\n"),
        gzip.compress(FASTA),
        gzip.compress(FASTA[:30]) + gzip.compress(FASTA[30:]),
        bgzip(FASTA),
    ],
    ids=["plain", "end of line", "blank lines", "windows", "gzip", "members", "bgzip"],
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_forms(tmp_path, monkeypatch, content, chunk):
    """Every form is read, wherever a chunk ends; the name of the file does not matter."""
    monkeypatch.setattr(fasta, "_CHUNK", chunk)
    found = read(tmp_path / "genome", content)
    assert found == CODES
    assert list(found) == sorted(CODES)
    assert [path.name for path in tmp_path.iterdir()] == ["genome"]


records = st.lists(st.lists(st.text("ACGTacgtNnRy", max_size=12), max_size=4), min_size=1, max_size=5)


@given(records=records, chunk=st.integers(1, 40), end=st.sampled_from([b"\n", b"\r\n"]))
def test_any_file(tmp_path_factory, records, chunk, end):
    """The result is that of the obvious reader of small files."""
    lines = [line for number, rows in enumerate(records) for line in (f">s{number} x", *rows)]
    wanted = {
        f"s{number}": [max("NACGT".find(letter), 0) for letter in "".join(rows).upper()]
        for number, rows in enumerate(records)
    }
    path = tmp_path_factory.getbasetemp() / "any.fa"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fasta, "_CHUNK", chunk)
        if any(wanted.values()):
            assert read(path, end.join(line.encode() for line in lines)) == wanted
        else:
            with pytest.raises(SequenceError, match="holds no bases"):
                read(path, end.join(line.encode() for line in lines))


def test_stretches(tmp_path):
    """What lies outside is N; the other strand is the reverse complement of the same stretch."""
    (tmp_path / "a.fa").write_bytes(b">x\nTTTT\n>one\nACGTN\n>y\nGGGG\n")
    genome = Genome(tmp_path / "a.fa", tmp_path)
    assert genome.bases("one", -2, 7).tolist() == [0, 0, 1, 2, 3, 4, 0, 0, 0]
    assert genome.bases("one", -2, 7, "-").tolist() == [0, 0, 0, 1, 2, 3, 4, 0, 0]
    assert genome.bases("one", 1, 3).tolist() == [2, 3]
    assert genome.bases("one", 9, 12).tolist() == [0, 0, 0]
    genome.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no bases in its 0 sequences"),
        (b">one\n>two\n", "holds no bases in its 2 sequences"),
        (b"ACGT\n>one\nACGT\n", "line 1: expected FASTA"),
        (b">one\nAC\n> \nAC\n", "line 3: a sequence without a name"),
        (b">one a\nAC\nGT\n>two\nAC\n>one b\nAC", "line 6: a second sequence named 'one'"),
        (b">one\nACGT\nACGT\nACLT\n", "line 4: 'L' is no letter of DNA"),
        (b">one\nAC>T\n", "line 2: '>' is no letter of DNA"),
        (b">one\nAC9T\n", "line 2: '9' is no letter of DNA"),
        # Without the time, since every worker of pytest-xdist must find the same tests.
        (gzip.compress(FASTA * 99, mtime=0)[:-9], "damaged or cut short"),
        (gzip.compress(FASTA, mtime=0)[:20] + b"xx" + gzip.compress(FASTA, mtime=0)[22:], "damaged or cut short"),
    ],
)
def test_refused_fasta(tmp_path, content, said):
    with pytest.raises(SequenceError, match=said) as refusal:
        read(tmp_path / "genome.fa", content)
    assert "genome.fa" in str(refusal.value)


def test_missing_files(tmp_path):
    for path in (tmp_path / "none.fa", tmp_path):
        with pytest.raises(SequenceError, match="no such file"):
            Genome(path, tmp_path)
        with pytest.raises(SequenceError, match="no such file"):
            read_annotation(path)


GFF3 = """##gff-version 3
# a comment
chr1\tx\tgene\t10\t1500\t.\t+\t.\tID=gene-one;Name=named
chr1\tx\tmRNA\t10\t1500\t.\t+\t.\tID=one.t;Parent=gene-one

chr2\tx\tgene\t1\t1\t.\t-\t.\tlocus=a; Name=two
chr2\tx\tgene\t5\t9\t.\t.\t.\tID=strandless
chr2\tx\tpseudogenic_region\t5\t9\t.\t+\t.\tID=other
chr3\tx\tgene\t2\t3\t.\t-\t.\tlocus=b
##FASTA
>chr1
"""
GENES = [
    ("gene-one", "chr1", 9, 1500, "+", "named"),
    ("two", "chr2", 0, 1, "-", "two"),
    ("unknown_gene", "chr3", 1, 3, "-", "unknown_gene"),
]
GTF = """#!genome-build x
chr1\tx\tgene\t10\t1500\t.\t+\t.\tgene_id "gene-one"; gene_name "named";
chr1\tx\ttranscript\t10\t1500\t.\t+\t.\tgene_id "gene-one"; transcript_id "one.t";

chr2\tx\texon\t1\t1\t.\t-\t.\tgene_id "two"; transcript_id "two.t";
chr2\tx\tgene\t5\t9\t.\t.\t.\tgene_id "strandless";
chr3\tx\tgene\t2\t3\t.\t-\t.\tlocus "b";
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress, bgzip])
@pytest.mark.parametrize("content", [GFF3, GTF], ids=["gff3", "gtf"])
def test_genes(tmp_path, content, packed, end):
    """Features of type gene that have a strand are found, and named as OpenSpliceAI names them."""
    (tmp_path / "annotation").write_bytes(packed(content.replace("\n", end).encode()))
    genes = read_annotation(tmp_path / "annotation").genes
    assert [(one.name, one.sequence, one.start, one.end, one.strand, one.symbol) for one in genes] == GENES


def test_annotation_cut_short(tmp_path):
    (tmp_path / "a.gtf.gz").write_bytes(gzip.compress(GTF.encode(), mtime=0)[:-9])
    with pytest.raises(SequenceError, match="damaged or cut short"):
        read_annotation(tmp_path / "a.gtf.gz")


def test_memory_holds_no_sequence(tmp_path):
    """The peak of Python's and numpy's memory stays small while a file of 30 MB in one line is read."""
    import tracemalloc

    letters = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(0).integers(0, 4, 3_000_000)].tobytes()
    (tmp_path / "a.fa").write_bytes(b">one\n" + letters * 10)
    tracemalloc.start()
    genome = Genome(tmp_path / "a.fa", tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert genome.lengths == {"one": 30_000_000}
    assert peak < 8e6
    genome.close()


def test_the_u_of_rna_is_t() -> None:
    assert decode(encode("ACGUacguN")) == "ACGTACGTN"

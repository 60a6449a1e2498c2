"""Text files as they come: in zip archives, with byte order marks, and what is said of files of other kinds."""

import bz2
import gzip
import io
import lzma
import os
import threading
import zipfile
from pathlib import Path

import h5py
import pytest
from conftest import LFS_POINTER
from synthetic_genome import Layout, as_fasta, as_gff3

from spliceai_jax.data_sets.folder import Source
from spliceai_jax.errors import SequenceError
from spliceai_jax.genome.annotation import read_annotation
from spliceai_jax.genome.compressed import TextKind, open_text
from spliceai_jax.genome.fasta import Genome

MADE = Layout({"one": 3, "two": 3}).make()
FASTA, GFF3 = as_fasta(MADE.sequences).encode(), as_gff3(MADE.genes).encode()
GTF = b'one\tx\tgene\t10\t1500\t.\t+\t.\tgene_id "of GTF";\n'
FOLDER = "ncbi_dataset/data/GCF_000000000.1/"
NCBI = {
    "README.md": b"",
    "ncbi_dataset/data/assembly_data_report.jsonl": b"{}",
    f"{FOLDER}GCF_000000000.1_ASM1_genomic.fna": FASTA,
    f"{FOLDER}cds_from_genomic.fna": b">cds\nACGT\n",
    f"{FOLDER}rna.fna": b">rna\nACGT\n",
    f"{FOLDER}protein.faa": b">protein\nMKL\n",
    f"{FOLDER}genomic.gff": GFF3,
    f"{FOLDER}genomic.gtf": GTF,
}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return file.getvalue()


def text(path: Path, kind: TextKind = "a FASTA file") -> bytes:
    with open_text(path, kind) as file:
        return file.read()


def refused(path: Path, content: bytes, said: str, kind: TextKind = "a FASTA file") -> None:
    path.write_bytes(content)
    with pytest.raises(SequenceError) as refusal:
        text(path, kind)
    assert str(refusal.value).startswith(f"{path}: ")
    assert said.replace("FILE", str(path)) in str(refusal.value)


# -- zip archives --------------------------------------------------------------------------------------------------


def test_the_archive_of_ncbi_is_genome_and_annotation(tmp_path: Path) -> None:
    """It is recorded by the SHA-256 of the archive itself."""
    path = tmp_path / "ncbi_dataset.zip"
    path.write_bytes(zipped(NCBI))
    with Genome(path, tmp_path) as genome:
        assert genome.lengths == {name: len(bases) for name, bases in MADE.sequences.items()}
    assert [gene.name for gene in read_annotation(path).genes] == [gene.name for gene in MADE.genes]
    assert Source.of(path, "a FASTA file").sha256 == Source.of(path, "a GFF3 or GTF file").sha256


def test_what_is_taken_from_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    without_gff3 = {name: content for name, content in NCBI.items() if not name.endswith(".gff")}
    path.write_bytes(zipped(without_gff3))
    assert text(path, "a GFF3 or GTF file") == GTF
    path.write_bytes(zipped({"x/Some.dna.toplevel.fa.gz": gzip.compress(FASTA), "x/cdna.all.fa.gz": b"no genome"}))
    assert text(path) == FASTA
    path.write_bytes(zipped({"__MACOSX/._genome.fa": b"\0", "genome.fa": b"\xef\xbb\xbf" + FASTA}, zipfile.ZIP_STORED))
    assert text(path) == FASTA


def test_archives_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a b.zip"
    way_out = f"unpack it by `unzip '{path}'` and give a FASTA file"
    refused(path, zipped({"a.fna": FASTA, "b.fna": FASTA}), f"that holds the files 'a.fna', 'b.fna'; {way_out}")
    refused(path, zipped({"a.gff": GFF3}), f"that holds no file that is a FASTA file, only 'a.gff'; {way_out}")
    refused(path, zipped(NCBI)[:-30], "may be damaged or cut short (File is not a zip file)")
    damaged = bytearray(zipped({"a.fa": FASTA}, zipfile.ZIP_STORED))
    damaged[60] ^= 1
    refused(path, bytes(damaged), "may be damaged or cut short (Bad CRC-32")
    encrypted = bytearray(zipped({"a.fa": FASTA}))
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\1\2") + 8] |= 1
    refused(path, bytes(encrypted), "is encrypted")
    refused(path, zipped({"a.fa": b"<html>"}), "it is a web page; download it again")


def test_a_pipe_hands_no_archive_over(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(zipped(NCBI)))
    writer.start()
    with pytest.raises(SequenceError, match="is a zip archive, which no pipe can hand over; give the file itself"):
        text(pipe)
    writer.join()


# -- byte order marks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_byte_order_marks_are_skipped(tmp_path: Path, packed) -> None:
    for content, kind in ((FASTA, "a FASTA file"), (GFF3, "a GFF3 or GTF file"), (b"", "a FASTA file")):
        (tmp_path / "file").write_bytes(packed(b"\xef\xbb\xbf" + content))
        assert text(tmp_path / "file", kind) == content


# -- other kinds of files ------------------------------------------------------------------------------------------


def hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w"):
        pass
    return file.getvalue()


OTHERS = {
    "bzip2": (bz2.compress(FASTA), "compressed by bzip2; unpack it by `bunzip2 --keep FILE`"),
    "xz": (lzma.compress(FASTA), "compressed by xz; unpack it by `unxz --keep FILE`"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04", "compressed by zstd; unpack it by `unzstd FILE`"),
    "2bit": (b"\x43\x27\x41\x1a" + bytes(12), "it is a genome in 2bit form; unpack it by `twoBitToFa FILE genome.fa`"),
    "tar": (b"chr1.fa".ljust(257, b"\0") + b"ustar", "it is a tar archive; unpack it by `tar -xf FILE`"),
    "tar.gz": (gzip.compress(b"chr1.fa".ljust(257, b"\0") + b"ustar"), "it is a tar archive; unpack it by"),
    "gzip twice": (gzip.compress(gzip.compress(FASTA)), "compressed by gzip; unpack it by `gunzip --keep FILE`"),
    "a pointer": (
        LFS_POINTER,
        "it is a pointer of Git LFS, not the file itself; get it by `git lfs pull` in its",
    ),
    "a page": (b"\r\n<!DOCTYPE HTML>\n<html>", "it is a web page; download it again, by the address of the file"),
    "XML": (b'\xef\xbb\xbf<?xml version="1.0"?><Error>', "it is a web page"),
    "UTF-16": (FASTA.decode().encode("utf-16"), "it is text in UTF-16; turn it into UTF-8 by `iconv -f UTF-16"),
    "HDF5": (hdf5(), "it is an HDF5 file, as data sets are, and models of Keras, such as those of the original"),
    "GenBank": (b"LOCUS       NC_004354  23542271 bp    DNA", "it is a GenBank file; download it as FASTA and GFF3"),
}


@pytest.mark.parametrize("kind", ["a FASTA file", "a GFF3 or GTF file"])
@pytest.mark.parametrize("case", OTHERS)
def test_files_of_other_kinds(tmp_path: Path, case: str, kind: TextKind) -> None:
    content, said = OTHERS[case]
    refused(tmp_path / "genome.fa", content, said, kind)
    refused(tmp_path / "genome.fa", content, f"cannot be read as {kind}: it is ", kind)


def test_genome_and_annotation_are_told_apart(tmp_path: Path) -> None:
    refused(tmp_path / "a", GFF3, "it is GFF3; give a FASTA file")
    refused(tmp_path / "a", FASTA, "it is FASTA; give a GFF3 or GTF file", "a GFF3 or GTF file")


@pytest.mark.parametrize("name", ["PK", "BZh", "BZh9", "LOCUS", "xmlhtml", "version"])
def test_no_name_of_a_sequence_is_taken_for_a_kind_of_file(tmp_path: Path, name: str) -> None:
    line = f'{name}\tx\tgene\t10\t1500\t.\t+\t.\tgene_id "g";\n'.encode()
    (tmp_path / "a.gtf").write_bytes(line)
    assert text(tmp_path / "a.gtf", "a GFF3 or GTF file") == line

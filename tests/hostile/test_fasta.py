"""Genomes from strangers: names that would act on a terminal or break a line, lines and files without end, and damage.

Most cases run `create-data`, which reads genome and annotation before it does anything else.
"""

import gzip
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import random_model
from hypothesis import example, given
from hypothesis import strategies as st
from synthetic_genome import Layout, as_fasta, as_gff3

from hostile.conftest import Attack, Outcome, printable, refused, told
from hostile.mutants import SEEDS, read_mutants
from spliceai_jax import CreateDataSettings
from spliceai_jax import create_data as create_data_sets
from spliceai_jax.errors import SequenceError
from spliceai_jax.genome import fasta
from spliceai_jax.genome.annotation import Annotation, read_annotation
from spliceai_jax.genome.fasta import Genome

T = TypeVar("T")

MADE = Layout({"one": 3, "two": 3}).make()
FASTA = as_fasta(MADE.sequences).encode()

# What ends or turns a line, or is obeyed by a terminal: as UTF-8, and as a byte of Latin-1.
CONTROL = [
    "\0",
    "\x01",
    "\a",
    "\b",
    "\v",
    "\f",
    "\r",
    "\x1b[31m",
    "\x1c",
    "\x7f",
    "\x85",
    "\x9b31m",
    "\u2028",
    "\u2029",
]
TURNING = ["\u202e", "\u2066", "\u2069"]


def create_data(attack: Attack, folder: Path, content: bytes | None, name: str = "genome.fa") -> Outcome:
    """Run it on a FASTA file with this content, or with what it has already."""
    if content is not None:
        (folder / name).write_bytes(content)
    (folder / "a.gff3").write_text(as_gff3(MADE.genes))
    files = ["--genome-fasta", folder / name, "--annotation-gff", folder / "a.gff3"]
    return attack("create-data", *files, "--output-dir", "out")


def read_or_refused(read: Callable[[], T], path: Path, *words: str) -> T | None:
    """Return what is read, or None if it is refused, in one line that names the file and holds some words."""
    try:
        return read()
    except SequenceError as error:
        said = str(error)
    assert printable(said.replace(str(path), "")), ascii(said)
    assert said.startswith(f"{path}: ")
    assert len(said) < len(str(path)) + 500
    assert all(word in said for word in words), said
    return None


# -- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [*(sign.encode() for sign in CONTROL + TURNING), b"\x85", b"\x9b31m"])
def test_names_that_do_more_than_name(tmp_path, sign):
    (tmp_path / "a.fa").write_bytes(b">one\nACGT\n>tw" + sign + b"o words\nACGT\n")
    with pytest.raises(SequenceError, match=r"a\.fa: line 3: a name with the control character '\\.*; give it another"):
        Genome(tmp_path / "a.fa", tmp_path)


@pytest.mark.parametrize("sign", [b"\x1b[2J", b"\r"])
def test_such_a_name_on_the_command_line(attack, tmp_path, sign):
    refused(
        create_data(attack, tmp_path, FASTA.replace(b">two", b">two" + sign + b"x")), "genome.fa", "control character"
    )


def test_what_names_may_hold(tmp_path):
    """Blank and tab end a name; descriptions may hold anything; letters of all scripts and of Latin-1 are letters."""
    headers = [
        b"a,b|c;d=%0A<script>\"'",
        b" blank before",
        b"t\tab",
        b"g\xe8ne",
        "染色体".encode(),
        b"x \x1b[31m\x85\v",
        b"=1+1",
    ]
    names = ["a,b|c;d=%0A<script>\"'", "blank", "t", "g\udce8ne", "染色体", "x", "=1+1"]
    for end in (b"\n", b"\r\n"):
        (tmp_path / "a.fa").write_bytes(b"".join(b">" + header + end + b"ACGT" + end for header in headers))
        genome = Genome(tmp_path / "a.fa", tmp_path)
        assert genome.lengths == dict.fromkeys(sorted(names), 4)
        genome.close()


@given(
    header=st.one_of(
        st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=12)
    )
)
@example(header=b"\x0b")
@example(header=b"a\x1c")
@example(header="a\x85".encode())
@example(header=b"\xc2")
def test_any_header(tmp_path_factory, header):
    """It is read as samtools reads it, up to the first blank or tab, or refused; what is read stands in one line."""
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.fa").write_bytes(b">" + header.replace(b"\n", b"") + b"\nACGT\n")
    word = header.replace(b"\n", b"").rstrip(b"\r").replace(b"\t", b" ").strip(b" ").split(b" ")[0]
    genome = read_or_refused(lambda: Genome(folder / "any.fa", folder), folder / "any.fa")
    if genome is None:
        assert not word or not word.isalnum()
        return
    genome.close()
    (name,) = genome.lengths
    assert name.encode("utf-8", "surrogateescape") == word
    assert f"a{name}b".splitlines() == [f"a{name}b"]
    assert all(printable(letter) or ord(letter) > 0x9F for letter in name)


def test_names_in_every_output(attack, tmp_path):
    """What is allowed in names goes through all commands, and comes out as the bytes that it was."""
    odd = b'<b>g\xe8ne&"=1'
    model = tmp_path / "model.pt"
    random_model(80).to_pt(model)
    names = {b"one": odd, b"two": b"\xe6\x9f\x93"}
    (tmp_path / "genome.fa").write_bytes(
        FASTA.replace(b">one ", b">" + odd + b" ").replace(b">two ", b">\xe6\x9f\x93 ")
    )
    rows = as_gff3(MADE.genes).encode().splitlines()
    rows = [b"\t".join([names.get(row.split(b"\t")[0], row.split(b"\t")[0]), *row.split(b"\t")[1:]]) for row in rows]
    (tmp_path / "a.gff3").write_bytes(
        b"\n".join(rows).replace(b"ID=one.0;", b"ID=<i>%20\xe8;").replace(b"Parent=one.0\n", b"Parent=<i>%20\xe8\n")
    )
    files = ["--genome-fasta", tmp_path / "genome.fa", "--annotation-gff", tmp_path / "a.gff3"]
    out = tmp_path / "out"
    sets = ["create-data", *files, "--output-dir", out, "--write-fasta", "--test-sequences", "\u67d3"]
    for _ in range(2):  # the second time the record is read back
        done = attack(*sets)
        assert done.status == 0, done
    assert b"<i> \xe8 " + odd + b":301-840(+)" in (out / "train.fa").read_bytes() + (out / "validation.fa").read_bytes()
    page = (out / "dataset.html").read_bytes()
    assert b"&lt;b&gt;g\xe8ne&amp;" in page
    assert b"<b>g" not in page
    done = attack("predict", "-i", files[1], "-m", model, "-a", files[3], "-o", tmp_path / "tracks", "-t", 0.5)
    assert done.status == 0, done
    rows = (tmp_path / "tracks" / "SpliceAI_5000_80" / "donor_predictions.bed").read_bytes().split(b"\n")
    assert {row.count(b"\t") for row in rows[:-1]} == {5}
    assert {row.split(b"\t")[0] for row in rows[:-1]} == {odd, b"\xe6\x9f\x93"}
    outcome = attack("predict", "-i", files[1], "-m", model, "-o", tmp_path / "bigwigs", "--bigwig")
    assert outcome.status == 2
    assert re.fullmatch("--bigwig: bigWigs hold names in UTF-8 only, which '.*' are not; rename them", told(outcome))
    done = attack("evaluate", "-m", model, *files)
    assert done.status == 0, done


# -- sizes -----------------------------------------------------------------------------------------------------


def test_a_header_without_end(attack, tmp_path):
    """It is refused after a million bytes, whatever follows."""
    with open(tmp_path / "genome.fa", "wb") as file:
        file.write(b">one\nACGT\n>two")
        file.truncate(1_600_000_000)
    refused(create_data(attack, tmp_path, None), "line 3: a header of more than 1000000 bytes")


# -- a file that changes ---------------------------------------------------------------------------------------


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    """What is still being copied is not taken for a whole genome."""
    path = tmp_path / "a.fa"
    path.write_bytes(b">one\n" + b"ACGT" * 1000)
    monkeypatch.setattr(fasta, "_CHUNK", 100)
    added = iter(range(1))
    begin = Genome._begin

    def grow(genome: Genome, header: bytes, line: int) -> str:
        for _ in added:
            with open(path, "ab") as file:
                file.write(b"ACGT")
        return begin(genome, header, line)

    monkeypatch.setattr(Genome, "_begin", grow)
    with pytest.raises(SequenceError, match=r"a\.fa: was written to while it was read; give the same command again"):
        Genome(path, tmp_path)
    Genome(path, tmp_path).close()


def test_a_file_that_is_exchanged_after_its_digest(tmp_path, monkeypatch):
    """The digest that is recorded is that of the bytes that were read."""
    fasta_path, annotation = MADE.write(tmp_path / "made")
    given = CreateDataSettings(genome_fasta=fasta_path, annotation_gff=annotation, output_dir=tmp_path / "out")

    def exchange_and_read(path: Path) -> Annotation:
        annotation = read_annotation(path)
        path.write_text(path.read_text() + "# more\n")
        return annotation

    monkeypatch.setattr("spliceai_jax.data_sets.run.read_annotation", exchange_and_read)
    with pytest.raises(SequenceError, match=r"annotation\.gff3: was changed while it was read; give the same command"):
        create_data_sets(given)
    assert not (tmp_path / "out").exists()


def test_a_pipe_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    packed = gzip.compress(b">one\nACGT\n")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(packed,))
    writer.start()
    genome = Genome(tmp_path / "pipe", tmp_path)
    writer.join()
    assert genome.lengths == {"one": 4}
    genome.close()


# -- damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seeds", SEEDS)
def test_mutants(tmp_path, seeds, packed):
    def read(path: Path) -> Genome | None:
        return read_or_refused(lambda: Genome(path, tmp_path), path)

    content = gzip.compress(FASTA, mtime=0) if packed else FASTA
    for seed, genome in read_mutants(read, content, tmp_path / "mutant.fa", seeds):
        if genome is not None:
            genome.close()
            assert all(len(f"a{name}b".splitlines()) == 1 for name in genome.lengths), seed

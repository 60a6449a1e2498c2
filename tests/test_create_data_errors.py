"""Whatever is wrong with genome, annotation, settings or output folder: one line, exit code 2, nothing written.

Nearly all cases run the command line's `main` in this process: a process of its own takes seconds to start.
"""

import gzip
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import CommandLine, full, make_windows, write_dataset
from synthetic_genome import Layout, MadeGene, MadeGenome, MadeTranscript, as_fasta, as_gff3, as_gtf, random_letters
from test_errors import call, only_line, snapshot


class CreateData:
    """A `create-data` command that would run, were it not for what a test changes; in a folder of its own."""

    def __init__(self, folder: Path, made: MadeGenome, capture: pytest.CaptureFixture) -> None:
        self.folder, self.out, self._capture = folder, folder / "out", capture
        self.fasta, self.annotation = made.write(folder)

    def argv(self, *options: object) -> list[object]:
        files = ["--genome-fasta", self.fasta, "--annotation-gff", self.annotation]
        return ["create-data", *files, "--output-dir", self.out, *options]

    def refused(self, *options: object) -> str:
        """Run it, see it refused with nothing written, and return what it says."""
        return self.refused_as(self.argv(*options))

    def said(self) -> str:
        """What has been printed to stderr."""
        return self._capture.readouterr().err

    def refused_as(self, argv: list[object]) -> str:
        before = snapshot(self.folder)
        self._capture.readouterr()
        code = call(argv)
        stdout, stderr = self._capture.readouterr()
        line = only_line(stderr)
        assert code == 2
        assert stdout == ""
        assert snapshot(self.folder) == before
        assert re.search(r"\b(give|expected|make|leave|rename|take|needs|see|wait|move|must|may be damaged)\b", line), (
            line
        )
        return line


MADE = Layout({"one": 12, "two": 4, "three": 4}).make()


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spliceai_jax.data_sets.run._draw_page", lambda *_: None)


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture) -> CreateData:
    return CreateData(tmp_path, MADE, capfd)


def test_without_a_change_it_runs(run):
    assert call(run.argv("--test-sequences", "two")) == 0


Damage = Callable[[Path], object]


def contents(content: bytes | str) -> Damage:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def replaced(old: str, new: str, count: int = 1) -> Damage:
    """Replace the first occurrences of a text; `|` stands for a tab."""

    def damage(path: Path) -> None:
        text = path.read_text()
        assert old.replace("|", "\t") in text
        path.write_text(text.replace(old.replace("|", "\t"), new.replace("|", "\t"), count))

    return damage


def without_lines(pattern: str) -> Damage:
    def damage(path: Path) -> None:
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not re.search(pattern, line)))

    return damage


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def cut_gzip(path: Path) -> None:
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) // 2])


def broken_gzip(path: Path) -> None:
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)


def data_set_instead(path: Path) -> None:
    write_dataset(path, [make_windows(1, seed=1)], compression="gzip")


def model_instead(path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "demo" / "worm_400nt.pt", path)


NO_FASTA = "expected FASTA, whose first line begins with >"
BED = "one\t300\t900\tgene\t0\t+\n"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\none\t301\t.\tA\tC\t.\t.\t.\n"
GENBANK = "LOCUS       one 5000 bp DNA\nFEATURES             Location/Qualifiers\n     gene            301..900\n"
PROTEIN = "MKVLAAGIVGLLLAQWERTYIPASDFGHKLCVNM"

FASTA: dict[str, tuple[Damage, str]] = {
    "missing": (Path.unlink, r"cannot be read \(No such file"),
    "a folder": (folder_instead, "is no file; give a FASTA file"),
    "a pipe": (pipe_instead, "is no file; give a FASTA file, not a folder or a pipe"),
    "empty": (contents(""), "holds no bases in its 0 sequences"),
    "only headers": (contents(">one\n>two\n>three\n"), "holds no bases in its 3 sequences"),
    "no header": (contents("ACGT\n" * 100), f"line 1: {NO_FASTA}"),
    "binary": (contents(bytes(range(256)) * 40), NO_FASTA),
    "gzip cut short": (cut_gzip, "it may be damaged or cut short"),
    "gzip damaged": (broken_gzip, "it may be damaged or cut short|is no letter"),
    "gzip of nothing": (contents(gzip.compress(b"")), "holds no bases"),
    "two sequences of a name": (replaced(">two made", ">one again"), "a second sequence named 'one'"),
    "a sequence without a name": (replaced(">two made", ">  "), "a sequence without a name"),
    "letters of proteins": (contents(f">one\n{PROTEIN}\n"), "'L' is no letter of DNA|'E' is no letter|is no letter"),
    "letters and digits": (replaced("\n>two", "1234\n>two"), "'1' is no letter of DNA"),
    "another alphabet": (contents(">one\nACGTÀ\n"), "is no letter of DNA"),
    "a GFF3 file": (contents(as_gff3(MADE.genes)), "it is GFF3; give a FASTA file"),
    "a BED file": (contents(BED), NO_FASTA),
    "a GenBank file": (contents(GENBANK), "it is a GenBank file; download it as FASTA"),
    "a data set": (data_set_instead, "it is an HDF5 file, as data sets are"),
    "a model": (model_instead, "it is a zip archive, as models"),
    "other sequences": (
        lambda path: path.write_text(as_fasta({f"chr{n}": letters for n, letters in MADE.sequences.items()})),
        "none of its sequences is in .*: 'one', 'three', 'two' here, 'chrone', 'chrthree', 'chrtwo' there",
    ),
    "shorter sequences": (
        lambda path: path.write_text(as_fasta({n: letters[:3000] for n, letters in MADE.sequences.items()})),
        "gene one.3 ends at 3360, but one has 3000 bases",
    ),
    "another genome": (
        lambda path: path.write_text(as_fasta({n: letters[::-1] for n, letters in MADE.sequences.items()})),
        "only .*% of its 40 introns begin and end with GT-AG, .*or --accept-motifs to `spliceai-jax create-data`",
    ),
    "nothing known": (
        lambda path: path.write_text(as_fasta({n: "N" * len(letters) for n, letters in MADE.sequences.items()})),
        "only 0% of its 40 introns",
    ),
}


@pytest.mark.parametrize(("damage", "says"), FASTA.values(), ids=FASTA)
def test_genomes_that_cannot_be_used(run: CreateData, damage, says):
    damage(run.fasta)
    line = run.refused()
    assert str(run.fasta) in line
    assert re.search(says, line), line


NO_GFF = "9 columns separated by tabs"
GENE = "one|made|gene|301|840|"
EXON = "one|made|exon|301|420|"


def genes(*changed: MadeGene) -> Damage:
    return lambda path: path.write_text(as_gff3(changed))


def all_genes(change: Callable[[MadeGene], MadeGene]) -> Damage:
    return genes(*map(change, MADE.genes))


def trans_spliced(gene: MadeGene) -> MadeGene:
    return replace(gene, transcripts=[replace(gene.transcripts[0], more=";exception=trans-splicing")])


def one_exon(gene: MadeGene) -> MadeGene:
    return replace(gene, transcripts=[MadeTranscript(gene.name + "t", [(gene.start, gene.end)])])


GFF: dict[str, tuple[Damage, str]] = {
    "missing": (Path.unlink, r"cannot be read \(No such file"),
    "a folder": (folder_instead, "is no file; give a GFF3 or GTF file"),
    "a pipe": (pipe_instead, "is no file; give a GFF3 or GTF file, not a folder or a pipe"),
    "empty": (contents(""), "holds no feature of type gene"),
    "only comments": (contents("##gff-version 3\n# nothing\n"), "holds no feature of type gene"),
    "text": (contents("this is no annotation\n" * 20), NO_GFF),
    "binary": (contents(bytes(range(256)) * 40), NO_GFF),
    "gzip cut short": (cut_gzip, "it may be damaged or cut short"),
    "gzip damaged": (broken_gzip, "line|damaged"),
    "spaces for tabs": (lambda path: path.write_text(path.read_text().replace("\t", "    ")), NO_GFF),
    "commas for tabs": (lambda path: path.write_text(path.read_text().replace("\t", ",")), NO_GFF),
    "eight columns": (replaced(GENE + ".|+|.|", GENE + "+|.|"), "line 2: 8 columns; expected GFF3 or GTF, 9 columns"),
    "ten columns": (replaced(GENE, GENE + "x|"), "line 2: 10 columns"),
    "reversed": (replaced(GENE, "one|made|gene|840|301|"), "line 2: a gene from '840' to '301'; expected"),
    "counted from 0": (replaced(GENE, "one|made|gene|0|840|"), "line 2: a gene from '0' to '840'; expected"),
    "negative": (replaced(GENE, "one|made|gene|-5|840|"), "line 2: a gene from '-5' to '840'"),
    "no numbers": (replaced(GENE, "one|made|gene|three|840|"), "line 2: a gene from 'three' to '840'"),
    "fractions": (replaced(GENE, "one|made|gene|301.0|840|"), "line 2: a gene from '301.0' to '840'"),
    "huge": (replaced(GENE, f"one|made|gene|301|{10**15}|"), "expected whole numbers from 1 to 2147483647"),
    "a number of a megabyte": (
        replaced(GENE, f"one|made|gene|301|{'9' * 10**6}|"),
        "line 2: a gene from '301' to '999",
    ),
    "an exon reversed": (replaced(EXON, "one|made|exon|420|301|"), "line 4: a exon from|line 4: an? exon from"),
    "beyond the end": (replaced(GENE, "one|made|gene|301|99999|"), "gene one.0 ends at 99999, but one has 10380 bases"),
    "another strand": (replaced(GENE + ".|+", GENE + ".|forward"), "line 2: a gene on strand 'forward'; expected"),
    "no strand": (lambda path: path.write_text(re.sub(r"\t[+-]\t\.\t", "\t.\t.\t", path.read_text())), "with a strand"),
    "a control character": (
        replaced("ID=one.0;", "ID=o%07ne;"),
        r"line 2: a name with the control character '\\x07'; give",
    ),
    "a zero byte": (replaced(GENE, "o\0ne|made|gene|301|840|"), "line 2: a name with the control character"),
    "no name of a sequence": (replaced(GENE, "|made|gene|301|840|"), "line 2: no name of a sequence"),
    "no genes": (without_lines("\t(gene|mRNA|exon|CDS)\t"), "holds no feature of type gene"),
    "no transcripts": (without_lines("\t(mRNA|exon|CDS)\t"), "none of its 20 genes is protein-coding and has exons"),
    "no exons": (
        without_lines("\t(exon|CDS)\t"),
        "give another --biotype to `spliceai-jax create-data`, or an annotation with exons",
    ),
    "no introns": (all_genes(one_exon), "none of the 20 protein-coding genes has an intron"),
    "other names": (
        all_genes(lambda gene: replace(gene, sequence=f"chr{gene.sequence}")),
        "none of its sequences is in .*: 'chrone', 'chrthree', 'chrtwo' here, 'one', 'three', 'two' there",
    ),
    "many other names": (
        genes(*(replace(MADE.genes[0], sequence=f"contig{n}", name=f"g{n}") for n in range(50))),
        "'contig0', 'contig1', 'contig10', 'contig11' and 46 more here, 'one', 'three', 'two' there",
    ),
    "another biotype": (
        all_genes(lambda gene: replace(gene, biotype="lncRNA")),
        r"none of its 20 genes is protein-coding and has exons \(20 not protein-coding; biotypes: 'lncRNA'\)",
    ),
    "only trans-spliced genes": (all_genes(trans_spliced), "none of its 20 genes is protein-coding.*20 trans-spliced"),
    "another version of the genome": (
        all_genes(
            lambda gene: replace(
                gene,
                transcripts=[
                    MadeTranscript(gene.name + "t", [(s + 7, e + 7) for s, e in gene.transcripts[0].exons]),
                ],
            )
        ),
        "only .*% of its 40 introns .*give the annotation of this very assembly, or --accept-motifs to",
    ),
    "GTF among GFF3": (
        lambda path: path.write_text(as_gff3(MADE.genes[:2]) + as_gtf(MADE.genes[2:4])),
        "attributes in the form of GTF; expected GFF3",
    ),
    "GFF3 among GTF": (
        lambda path: path.write_text(as_gtf(MADE.genes[:2]) + as_gff3(MADE.genes[2:4])),
        "attributes in the form of GFF3; expected GTF",
    ),
    "an open quotation": (
        lambda path: path.write_text(as_gtf(MADE.genes).replace('gene_id "one.0"', 'gene_id "one.0', 1)),
        "a quotation mark that is not closed",
    ),
    "a BED file": (contents(BED), NO_GFF),
    "a VCF file": (contents(VCF), NO_GFF),
    "a GenBank file": (contents(GENBANK), "it is a GenBank file; download it as FASTA and GFF3"),
    "a FASTA file": (contents(as_fasta(MADE.sequences)), "it is FASTA; give a GFF3 or GTF file"),
    "a data set": (data_set_instead, "it is an HDF5 file, as data sets are"),
    "a model": (model_instead, "it is a zip archive, as models"),
}


@pytest.mark.parametrize(("damage", "says"), GFF.values(), ids=GFF)
def test_annotations_that_cannot_be_used(run: CreateData, damage, says):
    damage(run.annotation)
    line = run.refused()
    assert str(run.annotation) in line
    assert re.search(says, line), line


def test_another_genome_is_noticed_though_few_introns_are_labelled(run: CreateData):
    run.fasta.write_text(as_fasta({n: letters[::-1] for n, letters in MADE.sequences.items()}))
    assert "of its 40 introns begin and end with GT-AG" in run.refused("--canonical-only")


def test_the_two_files_exchanged(run: CreateData):
    run.fasta, run.annotation = run.annotation, run.fasta
    line = run.refused()
    assert str(run.fasta) in line or str(run.annotation) in line


# -- settings ------------------------------------------------------------------------------------------------------

OUTSIDE = "expected a number above 0 and below 1"
FLAGS: dict[str, tuple[list[str], str]] = {
    **{f"{flag} {value}": ([f"--{flag}={value}"], f"--{flag} is .*{OUTSIDE}") for flag, value in [
        ("split-ratio", "0"), ("split-ratio", "1"), ("split-ratio", "nan"), ("split-ratio", "-0.5"),
        ("split-ratio", "80"), ("val-split-ratio", "0"), ("val-split-ratio", "1.5"), ("val-split-ratio", "inf"),
        ("min-identity", "0"), ("min-identity", "95"), ("min-coverage", "nan"), ("min-coverage", "-1"),
    ]},
    "a ratio in words": (["--split-ratio", "most"], "--split-ratio: invalid float value: 'most'"),
    "stock's spelling": (["--val_split_ratio", "2"], f"--val-split-ratio is 2.0; {OUTSIDE}"),
    "a negative seed": (["--random-seed", "-1"], "--random-seed is -1; expected 0 or more"),
    "a seed in words": (["--random-seed", "today"], "--random-seed: invalid int value: 'today'"),
    "a seed with a fraction": (["--random-seed", "1.5"], "--random-seed: invalid int value"),
    "parse-type": (["--parse-type", "longest"], "--parse-type: invalid choice: 'longest'"),
    "biotype": (["--biotype", "protein_coding"], "--biotype: invalid choice: 'protein_coding'"),
    "chr-split": (["--chr-split", "train"], "--chr-split: invalid choice: 'train'"),
    "split-method": (["--split-method", "fly"], "--split-method: invalid choice: 'fly'"),
    "canonical-by": (["--canonical-by", "MANE"], "--canonical-by: invalid choice: 'MANE'"),
    "isoforms": (["--isoforms", "all"], "--isoforms: invalid choice: 'all'"),
    "context": (["--context", "n"], "--context: invalid choice: 'n'"),
    "flanking-size": (["--flanking-size", "500"], "--flanking-size: invalid choice: 500"),
    "two words for the isoforms": (
        ["--parse-type", "all_isoforms", "--isoforms", "mask"],
        "--parse-type all_isoforms and --isoforms mask contradict each other; leave one out",
    ),
    "an unknown sequence": (["--test-sequences", "four"], "--test-sequences: 'four' is not in .*expected one of 'one'"),
    "an unknown one for validation": (["--validation-sequences", "4"], "--validation-sequences: '4' is not in"),
    "no name": (["--test-sequences", ""], "--test-sequences is .*expected names of sequences"),
    "an empty name": (["--test-sequences", "one,,two"], "--test-sequences is .*expected names of sequences"),
    "in test and validation": (
        ["--test-sequences", "one,two", "--validation-sequences", "two,three"],
        "--validation-sequences and --test-sequences both name 'two'; the sets must not overlap",
    ),
    "all for test": (["--test-sequences", "one,two,three"], "the training set would hold no genes; give other"),
    "all for test and validation": (
        ["--test-sequences", "one", "--validation-sequences", "three,two"],
        "the training set would hold no genes; give other sequences by --test-sequences",
    ),
    "all for validation": (["--validation-sequences", "one,two,three"], "the test set would hold no genes"),
    "human": (["--split-method", "human"], "--split-method human puts chromosomes 1, 3, .*'one', 'two', 'three'"),
    "human and sequences": (
        ["--split-method", "human", "--test-sequences", "two"],
        "--test-sequences and --split-method human contradict each other; leave one out",
    ),
    "no validation set to name": (
        ["--chr-split", "test", "--validation-sequences", "two"],
        "--validation-sequences has no effect with --chr-split test; leave one out",
    ),
    "an unknown flag": (["--gff", "x"], "unrecognized arguments: --gff x; see spliceai-jax create-data --help"),
    "a shortened flag": (["--split", "0.5"], "unrecognized arguments: --split 0.5"),
    "a stray word": (["genome.fa"], "unrecognized arguments: genome.fa"),
    "a flag without its value": (["--split-ratio"], "--split-ratio: expected one argument"),
    "the biotype that there is not": (["--biotype", "non-coding"], "none of its 20 genes is non-coding and has exons"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "says"), FLAGS.values(), ids=FLAGS)
def test_settings_that_cannot_be(run: CreateData, options, says):
    line = run.refused(*options)
    assert re.search(says, line), line


def test_a_folder_whose_path_is_not_utf_8(run: CreateData):
    run.out = run.folder / "caf\udce9"
    assert "is not UTF-8, which minimap2 needs; give another folder" in run.refused()
    assert call(run.argv("--no-remove-paralogs")) == 0


@pytest.mark.parametrize("flag", ["--genome-fasta", "--annotation-gff", "--output-dir"])
def test_required_flags(run: CreateData, flag):
    argv = run.argv()
    at = argv.index(flag)
    del argv[at : at + 2]
    assert f"the following arguments are required: {flag}" in run.refused_as(argv)


def test_settings_are_checked_before_files_are_read(run: CreateData):
    run.fasta.unlink()
    assert "--split-ratio" in run.refused("--split-ratio", 2)


def test_genes_that_all_lie_near_each_other(run: CreateData):
    """A chromosome too short for blocks that are far from each other."""
    made = Layout({"one": 6}).make()
    run.fasta, run.annotation = made.write(run.folder)
    line = run.refused()
    assert re.search("the (training|validation) set would hold no genes; give other sequences", line)


def test_notes_come_before_a_refusal(run: CreateData):
    """They may say why: here the genome lacks a sequence whose genes would be the training set."""
    kept = {name: letters for name, letters in MADE.sequences.items() if name != "one"}
    run.fasta.write_text(as_fasta(kept))
    assert call(run.argv("--test-sequences", "two", "--validation-sequences", "three")) == 2
    first, last = run.said().splitlines()
    assert first.startswith("spliceai-jax: note: ")
    assert "'one'" in first
    assert only_line(f"{last}\n").startswith(f"{run.annotation}: the training set would hold no genes")
    assert not run.out.exists()


def test_what_is_said_of_one_copy_of_a_genome_is_in_flags(run: CreateData):
    made = Layout({"one": 8, "two": 4, "three": 4}, exon=300).make()
    genes = [replace(gene, sequence=f"{gene.sequence}_B", name=f"{gene.name}_B") for gene in made.genes]
    sequences = {**made.sequences, **{f"{name}_B": letters for name, letters in made.sequences.items()}}
    run.fasta, run.annotation = MadeGenome(sequences, [*made.genes, *genes]).write(run.folder)
    line = run.refused("--test-sequences", "two")
    assert "the test set would hold no genes, since it lost 4 genes that resemble genes of the training set" in line
    assert "give --test-sequences two,two_B, or give --no-remove-paralogs to `spliceai-jax create-data`" in line
    assert call(run.argv("--test-sequences", "two,two_B")) == 0


# -- the output folder -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [".", "sub", "sub/deeper"])
def test_an_output_folder_that_cannot_be(run: CreateData, below):
    """Below a regular file: unlike a folder's permissions that stops the superuser too."""
    (run.folder / "file").write_text("mine")
    run.out = run.folder / "file" / below
    line = run.refused()
    assert line.startswith("--output-dir: cannot write in ")
    assert str(run.folder / "file") in line


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_file_system_that_takes_no_files(run: CreateData):
    run.out = Path("/proc/sets")
    assert "--output-dir: cannot write in /proc" in run.refused()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_file_system_that_is_read_only(run: CreateData):
    run.out.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", run.out], check=False, capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        line = run.refused()
    finally:
        subprocess.run(["umount", run.out], check=True)
    assert line.startswith(f"--output-dir: cannot write in {run.out} (Read-only file system); give a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop the superuser")
def test_an_output_folder_without_permission(run: CreateData):
    run.out.mkdir(mode=0o555)
    assert "--output-dir: cannot write" in run.refused()


@pytest.mark.parametrize("name", ["dataset_train.h5", "test_stats.txt", "validation.fa"])
def test_an_output_folder_with_files_of_others(run: CreateData, name):
    run.out.mkdir()
    (run.out / name).write_text("mine")
    assert run.refused().startswith(
        f"{run.out / name}: exists, but was not written by `spliceai-jax create-data`; give another "
    )


def test_an_output_folder_with_other_data_sets(run: CreateData):
    assert call(run.argv()) == 0
    line = run.refused("--random-seed", 7, "--canonical-by", "span")
    assert line.startswith(f"{run.out}: holds data sets that were made differently: ")
    assert "--random-seed is now 7 and was 42; --canonical-by is now 'span' and was 'tag'" in line
    with open(run.fasta, "a") as file:
        file.write("A\n")
    assert "the genome is another file" in run.refused()


# -- `transfer` from a genome ----------------------------------------------------------------------------------------


class Transfer(CreateData):
    """A `transfer` command from a genome."""

    model: Path

    def argv(self, *options: object) -> list[object]:
        files = ["--genome-fasta", self.fasta, "--annotation-gff", self.annotation]
        return ["transfer", "-m", self.model, *files, "-o", self.out, "-p", "made", *options]


@pytest.fixture
def tuning(tmp_path: Path, small_model: Path, small_data: Path, capfd: pytest.CaptureFixture) -> Transfer:
    run = Transfer(tmp_path, MADE, capfd)
    run.model = Path(shutil.copy(small_model, tmp_path / "model.pt"))
    for role in ("train", "validation", "test"):
        shutil.copy(small_data / f"dataset_{role}.h5", tmp_path)
    return run


EITHER = "expected either --genome-fasta and --annotation-gff, or --train-dataset and --test-dataset"
WITHOUT = ["--genome-fasta", "--annotation-gff"]
DATA = {
    "nothing": ([], f"no data given; {EITHER}"),
    "half a genome": (["--genome-fasta", "genome.fa"], f"--genome-fasta given; {EITHER}"),
    "the other half": (["--annotation-gff", "annotation.gff3"], f"--annotation-gff given; {EITHER}"),
    "half the sets": (["-train", "dataset_train.h5"], f"--train-dataset given; {EITHER}"),
    "a half of each": (["--genome-fasta", "genome.fa", "-test", "dataset_test.h5"], f"given; {EITHER}"),
    "both kinds": (
        ["--genome-fasta", "genome.fa", "--annotation-gff", "annotation.gff3", "-train", "a.h5", "-test", "b.h5"],
        f"given; {EITHER}",
    ),
    "predict without a genome": (
        ["-train", "dataset_train.h5", "-test", "dataset_test.h5", "--predict"],
        "--predict needs --genome-fasta and --annotation-gff; give them, or leave it out",
    ),
    "test sequences without a genome": (
        ["-train", "dataset_train.h5", "-test", "dataset_test.h5", "--test-sequences", "two"],
        "--test-sequences needs --genome-fasta and --annotation-gff",
    ),
    "validation sequences without a genome": (
        ["-train", "dataset_train.h5", "-test", "dataset_test.h5", "--validation-sequences", "two"],
        "--validation-sequences needs --genome-fasta and --annotation-gff",
    ),
    "a validation set with a genome": (
        ["--genome-fasta", "genome.fa", "--annotation-gff", "annotation.gff3", "--validation-dataset", "x.h5"],
        "--validation-dataset goes with --train-dataset; with a genome give --validation-sequences",
    ),
    "in test and validation": (
        ["--genome-fasta", "g", "--annotation-gff", "a", "--test-sequences", "x", "--validation-sequences", "x"],
        "--validation-sequences and --test-sequences both name 'x'",
    ),
}


@pytest.mark.parametrize(("options", "says"), DATA.values(), ids=DATA)
def test_data_of_one_kind_and_whole(tuning: Transfer, options, says):
    argv = ["transfer", "-m", tuning.model, "-o", tuning.out, "-p", "made", *options]
    assert says in tuning.refused_as(argv)


TRANSFER: dict[str, tuple[Callable[[Transfer], object], list[object], str]] = {
    "no genome": (lambda run: run.fasta.unlink(), [], "genome.fa: cannot be read (No such file"),
    "no annotation": (lambda run: run.annotation.unlink(), [], "annotation.gff3: cannot be read (No such file"),
    "no model": (lambda run: run.model.unlink(), [], "model.pt: no such weights file"),
    "another flanking size": (lambda run: None, ["-f", 400], "these weights have a flanking size of 80, not 400"),
    "an unknown sequence": (lambda run: None, ["--test-sequences", "X"], "--test-sequences: 'X' is not in"),
    "not an annotation": (lambda run: contents(BED)(run.annotation), [], NO_GFF),
    "other names": (lambda run: replaced(">", ">chr", 3)(run.fasta), [], "none of its sequences is in"),
    "no epochs": (lambda run: None, ["--epochs", 0], "--epochs is 0; expected 1 or more"),
    "another genome": (
        lambda run: run.fasta.write_text(as_fasta({n: s[::-1] for n, s in MADE.sequences.items()})),
        [],
        "introns begin and end with GT-AG, GC-AG, AT-AC",
    ),
}


@pytest.mark.parametrize(("damage", "options", "says"), TRANSFER.values(), ids=TRANSFER)
def test_transfer_refuses_what_create_data_refuses(tuning: Transfer, damage, options, says):
    damage(tuning)
    assert says in tuning.refused(*options)


def test_transfer_finds_other_data_sets_where_its_own_go(tuning: Transfer):
    made = ["create-data", "--genome-fasta", tuning.fasta, "--annotation-gff", tuning.annotation]
    assert call([*made, "--output-dir", tuning.out / "data_made", "--context", "N"]) == 0
    line = tuning.refused()
    assert line.startswith(f"{tuning.out / 'data_made'}: holds data sets that were made differently")


EVALUATE = {
    "half a genome": ["--genome-fasta", "genome.fa"],
    "the other half": ["--annotation-gff", "annotation.gff3"],
    "both kinds": ["-test", "a.h5", "--genome-fasta", "genome.fa", "--annotation-gff", "annotation.gff3"],
    "sequences of a data set": ["-test", "a.h5", "--sequences", "one"],
    "nothing": [],
}


@pytest.mark.parametrize("options", EVALUATE.values(), ids=EVALUATE)
def test_evaluate_on_one_thing_and_the_whole_of_it(run: CreateData, options):
    line = run.refused_as(["evaluate", "-m", run.folder / "model.pt", *options])
    assert "--genome-fasta" in line or "--sequences" in line


# -- real processes ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", full(["flag", "genome", "annotation", "motifs", "output"], "genome"))
def test_real_processes_say_no_more(run: CreateData, installed: CommandLine, case):
    """Nothing that only the interpreter or a library would print comes with the line."""
    options: list[object] = []
    if case == "flag":
        options = ["--split-ratio", "2"]
    elif case == "genome":
        cut_gzip(run.fasta)
    elif case == "annotation":
        contents(BED)(run.annotation)
    elif case == "motifs":
        letters = {name: random_letters_like(letters) for name, letters in MADE.sequences.items()}
        run.fasta.write_text(as_fasta(letters))
    else:
        run.out = run.fasta / "out"
    before = snapshot(run.folder)
    done = installed(*run.argv(*options))
    assert done.returncode == 2
    assert only_line(done.stderr)
    assert done.stdout == ""
    assert snapshot(run.folder) == before


def random_letters_like(letters: str) -> str:
    import numpy as np

    return random_letters(len(letters), np.random.default_rng(0))

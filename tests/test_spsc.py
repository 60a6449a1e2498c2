"""`predict --spsc`: the splice scores are those of the network, at the places where minimap2 itself looks for them."""

import gzip
import math
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, made, random_model, scored_whole

from spliceai_jax import PredictSettings, Pretrained, SpliceAIError, SpliceAIWarning, predict
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.commands.main import main
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.network import score as scorer
from spliceai_jax.scoring import spsc
from spliceai_jax.scoring.spsc import SpliceScoreWriter

HALF = 40
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def letters(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def turned(sequence: str) -> str:
    return sequence[::-1].translate(COMPLEMENT)


def write_fasta(path: Path, sequences: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    return path


SEQUENCES = {
    "chr2": letters(2500, 1),
    "chr10": letters(799, 2),
    "empty": "",
    "short": "GTAG",
    "masked": letters(700, 4) + "N" * 1500 + letters(300, 5),
}
GENES = [("chr2", 301, 900, "+"), ("chr2", 801, 1500, "+"), ("chr2", 700, 1100, "-"), ("chr10", 1, 799, "-")]


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return random_model(80, seed=3)


@pytest.fixture(scope="module")
def weights(model: Pretrained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    model.to_pt(path)
    return path


@pytest.fixture
def run(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """A function that predicts, in rows so short that there are many seams, and returns the lines' columns."""
    monkeypatch.setattr(scorer, "_LEAST_LENGTH", 800)

    def go(name: str = "scores.tsv", output: str = "out", **more: object) -> list[list[str]]:
        fasta = write_fasta(tmp_path / "genome.fa", SEQUENCES)
        path = tmp_path / name
        given = {"input_sequence": fasta, "models": weights, "output_dir": tmp_path / output, "spsc": path, **more}
        with pytest.warns(SpliceAIWarning, match="not calibrated"):
            assert predict(PredictSettings(**given)).spsc == path
        text = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
        return [line.split("\t") for line in text.decode().splitlines()]

    return go


def sites(model: Pretrained) -> dict[tuple[str, int, str, str], float]:
    """Sequence, cut, strand and D or A of every GT and AG -> its probability, by way of strings."""
    found = {}
    for name, sequence in SEQUENCES.items():
        for strand in "+-" if sequence else "":
            read = sequence if strand == "+" else turned(sequence)
            scores = scored_whole(model, read)
            for place in range(len(read) - 1):
                pair = read[place : place + 2]
                if pair == "GT" and place:  # the exon's last base comes before it
                    found[name, place, strand, "D"] = scores[place - 1, 2]
                if pair == "AG" and place + 2 < len(read):  # the exon's first base comes after it
                    found[name, place + 2, strand, "A"] = scores[place + 2, 1]
    return {
        (name, cut if strand == "+" else len(SEQUENCES[name]) - cut, strand, kind): float(probability)
        for (name, cut, strand, kind), probability in found.items()
    }


def check(rows: list[list[str]], wanted: dict[tuple[str, int, str, str], float]) -> None:
    rate = np.mean(list(wanted.values()))
    scores = {site: min(2 * math.log2(probability / rate), 13) for site, probability in wanted.items()}
    found = {(name, int(cut), strand, kind): int(score) for name, cut, strand, kind, score in rows}
    assert len(found) == len(rows) > 100
    assert max(abs(score - scores[site]) for site, score in found.items()) < 0.51
    assert {site for site, score in scores.items() if score > -6.49} <= found.keys()
    assert min(found.values()) > -7
    names = [name for name, *_ in rows]
    assert names == sorted(names)
    for name in set(names):
        cuts = [int(cut) for other, cut, *_ in rows if other == name]
        assert cuts == sorted(cuts)


def test_scores_are_the_log_odds_of_the_probabilities(model, run):
    rows, wanted = run(), sites(model)
    check(rows, wanted)
    assert len(rows) < len(wanted)


def test_genes_alone(model, run, tmp_path):
    """The candidates are those of the genes' own strands; overlapping genes give none twice."""
    path = tmp_path / "genes.gff3"
    path.write_text("".join(f"{s}\tx\tgene\t{a}\t{b}\t.\t{strand}\t.\tID=g{a}\n" for s, a, b, strand in GENES))
    rows = run(annotation_file=path, gene_flank=0)

    def scored(name: str, cut: int, strand: str, kind: str) -> bool:
        place = cut - 1 if (kind == "D") == (strand == "+") else cut
        return any(name == s and strand == t and a - 1 <= place < b for s, a, b, t in GENES)

    check(rows, {site: probability for site, probability in sites(model).items() if scored(*site)})


def test_compressed_and_in_small_portions(run, monkeypatch):
    plain = run()
    monkeypatch.setattr(spsc, "_AT_ONCE", 3)
    assert run("scores.tsv.gz", "out2") == plain


def test_other_files_stay_as_they_are(run, tmp_path, weights):
    run(bigwig=True)
    given = {"input_sequence": tmp_path / "genome.fa", "models": weights, "bigwig": True}
    predict(PredictSettings(**given, output_dir=tmp_path / "without", strand="both"))
    with_scores, without = (
        {path.name: path.read_bytes() for path in (tmp_path / output / "SpliceAI_5000_80").iterdir()}
        for output in ("out", "without")
    )
    assert len(with_scores) == 6
    assert with_scores == without


def test_nothing_is_left_where_the_disk_is_full(run, tmp_path, monkeypatch):
    def full(self: SpliceScoreWriter) -> None:
        self.path.write_text("some of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SpliceScoreWriter, "finish", full)
    with pytest.raises(SpliceAIError, match="No space left"):
        run()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tsv", ".bed", ".partial")]


# -- what a user can get wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--spsc: expected one argument"),
        (["here.tsv"], "here.tsv exists already; give another file"),
        (["here.tsv.gz"], "here.tsv.gz exists already"),
        (["folder"], "folder exists already"),
        (["link.tsv"], "link.tsv exists already"),
        (["here.tsv/new.tsv"], "--spsc: cannot write in .*here.tsv .*Not a directory"),
        (["/proc/none/new.tsv"], "--spsc: cannot write in /proc .* give a folder that can be written"),
        (["new.tsv", "--strand", "+"], "--strand [+]: --spsc is of both strands, as aligners need it"),
        (["new.tsv", "--strand", "-"], "--strand -: --spsc is of both strands"),
        (["out/SpliceAI_5000_80/donor_predictions.bed"], "--spsc: .* is one of the other files that are written"),
        (["out/SpliceAI_5000_80/acceptor_predictions_plus.bw", "--bigwig"], "is one of the other files"),
        (["new.tsv", "--calibrated"], "--calibrated needs model.temperature.json beside it"),
        (["new.tsv", "-i", "empty.fa"], "empty.fa"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, weights, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    write_fasta(tmp_path / "genome.fa", SEQUENCES)
    for name in ("here.tsv", "here.tsv.gz", "empty.fa"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.tsv").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    words = ["predict", "-i", "genome.fa", "-m", str(weights), "-o", "out", "--spsc", *flags]
    try:
        status = main(words)
    except SystemExit as end:  # argparse's
        status = end.code
    said = [line for line in capsys.readouterr().err.splitlines() if "note: " not in line]
    assert status == 2
    assert len(said) == 1
    assert re.search(message, said[0])
    assert sorted(tmp_path.rglob("*")) == before


# -- where minimap2 looks ----------------------------------------------------------------------------------------

REPEAT = "GTAAGCAG"
EXONS = letters(300, 11) + "C", "C" + letters(300, 12)
INTRON = REPEAT + "GTAAGT" + letters(400, 13).replace("AG", "AC") + "TTTTTCTTTTGCAG"
GENOME = letters(500, 14) + EXONS[0] + INTRON + REPEAT + EXONS[1] + letters(500, 15)
"""An intron that can lie at either of two places, since the eight bases that it begins with follow it as well."""

CUTS = {"D": [801, 809], "A": [801 + len(INTRON), 809 + len(INTRON)]}
TRANSCRIPT = EXONS[0] + REPEAT + EXONS[1]


@pytest.fixture(scope="module")
def minimap2() -> Path:
    """minimap2 2.31, built once from the source distribution of the Python package mappy."""
    program = ROOT / ".minimap2" / "minimap2"
    made(program, "minimap2 2.31 cannot be built here")
    return program


def scores_of(folder: Path, strand: str, kind: str, favoured: int) -> Path:
    """Write the splice scores of a network that favours one of the two places of the intron, by one of its ends."""
    sequence = GENOME if strand == "+" else turned(GENOME)
    genome = Genome(write_fasta(folder / "genome.fa", {"one": sequence}), folder)
    probabilities = np.zeros((len(GENOME), len(SITE_KINDS)), np.float32)
    for end, column, exon in (("D", 1, -1), ("A", 0, 0)):
        for number, cut in enumerate(CUTS[end]):
            probabilities[cut + exon, column] = 0.9 if end != kind or number == favoured else 1e-3
    writer = SpliceScoreWriter(folder / "scores.tsv", False, genome)
    writer.add("one", strand, 0, probabilities if strand == "+" else probabilities[::-1])
    writer.flush()
    writer.finish()
    writer.close()
    genome.close()
    return writer.path


def junction(minimap2: Path, folder: Path, *flags: str) -> tuple[int, int]:
    """Return the intron that minimap2 finds: its first base, counted from 0, and the base after its last."""
    write_fasta(folder / "transcript.fa", {"transcript": TRANSCRIPT})
    command = [minimap2, "-cxsplice", *flags, folder / "genome.fa", folder / "transcript.fa"]
    columns = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split("\t")
    cigar = next(column for column in columns if column.startswith("cg:Z:"))
    before, intron = map(int, re.fullmatch(r"cg:Z:(\d+)M(\d+)N\d+M\n?", cigar).groups())
    return int(columns[7]) + before, int(columns[7]) + before + intron


@pytest.mark.slow
@pytest.mark.parametrize("off", [0, -1, 1])
@pytest.mark.parametrize("kind", ["D", "A"])
@pytest.mark.parametrize("strand", ["+", "-"])
def test_minimap2_follows_the_scores(tmp_path, minimap2, strand, kind, off):
    """Donor and acceptor on either strand decide between two places that are equally good without scores.

    If the positions were off by one base, minimap2 would find neither.
    """
    for favoured in (0, 1):
        path = scores_of(tmp_path, strand, kind, favoured)
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        path.write_text("".join("\t".join([name, str(int(cut) + off), *rest]) + "\n" for name, cut, *rest in rows))
        ends = CUTS["D"][favoured], CUTS["A"][favoured]
        expected = ends if strand == "+" else (len(GENOME) - ends[1], len(GENOME) - ends[0])
        assert (junction(minimap2, tmp_path, f"--spsc={path}") == expected) == (off == 0)


def test_minimap2_reads_every_line_of_a_compressed_file(tmp_path, minimap2, run):
    rows = run("scores.tsv.gz")
    command = [minimap2, "-cxsplice", f"--spsc={tmp_path / 'scores.tsv.gz'}", tmp_path / "genome.fa", os.devnull]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stderr
    inner = [cut for name, cut, *_ in rows if 0 < int(cut) < len(SEQUENCES[name])]
    assert f"read {len(inner)} splice scores" in said

"""`predict --bed ucsc`: rows that genome browsers take, at the same sites and with the same scores; and how many."""

import gzip
import io
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, CommandLine, full, random_model
from test_predict import GENES, SEQUENCES, letters, rows_of, write_fasta, write_genes
from ucsc_bed import faults

from spliceai_jax import Predictions, PredictSettings, Pretrained, predict
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.commands.main import main
from spliceai_jax.errors import SequenceError, SettingsError
from spliceai_jax.genome.annotation import Gene, read_annotation
from spliceai_jax.genome.sequences import Stretch
from spliceai_jax.scoring.bed import BedWriter, OpenSpliceAIForm, UcscForm

FORMS = ("openspliceai", "ucsc")
SIZES = {name: len(sequence) for name, sequence in SEQUENCES.items()}
FLY = ROOT / "demo" / "fly_genome"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    random_model(80, seed=3).to_pt(path)
    return path


@pytest.fixture
def given(tmp_path: Path, weights: Path) -> dict[str, object]:
    """Settings of a prediction on a small genome, without its folder."""
    return {"input_sequence": write_fasta(tmp_path / "genome.fa", SEQUENCES), "models": weights}


def scores(found: Predictions) -> dict[tuple, str]:
    """Kind, sequence, scored position and strand of each row -> its score as it is written."""
    read = {}
    for kind, path in (("acceptor", found.acceptor), ("donor", found.donor)):
        for row in rows_of(path.parent, kind):
            shift = {"+": 1, "-": -1}[row[5]] if "." in row[4] and kind == "acceptor" else 0
            read[kind, row[0], int(row[1]) + shift, row[5]] = row[4]
    return read


# -- the rules -----------------------------------------------------------------------------------------------------

ROW = "chr1\t4\t5\tgene\t1000\t-\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (ROW, None),
        ("", None),
        (ROW + ROW, None),
        ("chr1\t4\t5\n", None),
        (ROW + "chr2\t0\t1\t.\t0\t.\n", None),
        ("chr1\t4\t5\tgene\t1000\t-\t4\t5\t0\n", None),
        (ROW.rstrip(), "no end"),
        (ROW + "\n", "0 fields"),
        ("chr1\t4\t5\tgene\t0.267604\t-\n", "the score 0.267604"),
        ("chr1\t4\t5\tgene\t1001\t-\n", "the score 1001"),
        ("chr1\t4\t5\tgene a\t1\t-\n", "no whole number"),
        ("chr1\t4\t5\tgene\t1\t*\n", r"the strand \*"),
        ("chr1\t4\t5\tgene\t1\t-\tabsolute_coordinates\n", "no whole number"),
        ("chr1\t-1\t0\tgene\t1\t-\n", "no whole number"),
        ("chr1\t4\t4\tgene\t1\t-\n", "or empty"),
        ("chr1\t9\t11\tgene\t1\t-\n", "outside its sequence"),
        ("chr3\t4\t5\tgene\t1\t-\n", "unknown sequence chr3"),
        ("track\t4\t5\tgene\t1\t-\n", "a comment or a setting"),
        (f"chr1\t4\t5\t{'é' * 128}\t1\t-\n", "255 bytes"),
        (ROW + "chr1\t3\t4\tgene\t1\t-\n", "not sorted"),
        ("chr2\t4\t5\tgene\t1\t-\n" + ROW, "not sorted"),
        (ROW + "chr2\t4\t5\tgene\t1\t-\n" + ROW, "not sorted"),
        (ROW + "chr1\t4\t5\n", "3 fields, 6 before"),
    ],
)
def test_the_rules_themselves(text, fault):
    found = faults(text, {"chr1": 10, "chr2": 10, "track": 10})
    assert not found if fault is None else re.search(fault, found[0])


# -- the form ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("annotated", [False, True])
def test_the_same_sites_with_the_same_scores(given, tmp_path, annotated):
    """Of six digits three are left; both kinds lie at the base that was scored."""
    if annotated:
        given["annotation_file"] = write_genes(tmp_path / "a.gff3", GENES)
    stock, ucsc = (
        predict(PredictSettings(**given, output_dir=tmp_path / form, threshold=0, strand="both", bed=form))
        for form in FORMS
    )
    theirs, ours = scores(stock), scores(ucsc)
    assert theirs.keys() <= ours.keys()
    beyond = {(kind, at in (0, SIZES[sequence] - 1)) for kind, sequence, at, _ in ours.keys() - theirs.keys()}
    assert beyond == {("acceptor", True)}  # in OpenSpliceAI's form these would lie outside their sequence
    assert len({len(score) for score in ours.values()}) > 1
    assert all(abs(int(ours[key]) - 1000 * float(score)) < 0.5011 for key, score in theirs.items())
    for path in (ucsc.acceptor, ucsc.donor):
        assert faults(path.read_text(), SIZES) == []
        assert {len(row) for row in rows_of(path.parent, path.name.split("_")[0])} == {6}
    assert faults(stock.donor.read_text(), SIZES)


@pytest.mark.parametrize("rows", [1, 50])
def test_scores_from_nothing_to_all(rows):
    """One row or many: scores have the digits that they need, in both forms."""
    given = [0, 0.0004, 0.0006, 0.0094, 0.0096, 0.0996, 0.5, 0.99949, 0.9996, 1]
    written = ["0", "0", "1", "9", "10", "100", "500", "999", "1000", "1000"]
    for form, shown in ((UcscForm(True), written), (OpenSpliceAIForm(True), [f"{score:.6f}" for score in given])):
        file = io.BytesIO()
        writer = BedWriter(file, form)
        for number, score in enumerate(given):
            writer.add("chr1", "-", "a", np.arange(rows) + 100 * number + 100, np.full(rows, score, np.float32))
        writer.flush()
        assert writer.rows == rows * len(given)
        scores = [line.split("\t")[4] for line in file.getvalue().decode().splitlines()]
        assert scores == [score for score in shown for _ in range(rows)]


def test_rows_are_named_after_the_genes_symbols(given, tmp_path):
    """Without blanks; of several genes the name is each once. Without an annotation it is the kind."""
    genes = [
        ("chr1", 101, 300, "+", "ID=gene-1;Name=Act 5C"),
        ("chr1", 201, 400, "+", "ID=gene-2;gene_name=tra"),
        ("chr1", 201, 400, "+", "ID=gene-3;Name=tra"),
        ("chr2", 101, 300, "-", "ID=gene 4"),
    ]
    given["annotation_file"] = write_genes(tmp_path / "a.gff3", genes)
    found = predict(PredictSettings(**given, output_dir=tmp_path / "out", threshold=0, gene_flank=0, bed="ucsc"))
    for kind in SITE_KINDS:
        spans = defaultdict(list)
        for row in rows_of(found.donor.parent, kind):
            spans[row[3]].append(int(row[1]))
        assert {name: (min(at), max(at) + 1) for name, at in spans.items()} == {
            "Act_5C": (100, 200),
            "Act_5C,tra": (200, 300),
            "tra": (300, 400),
            "gene_4": (100, 300),
        }
    given.pop("annotation_file")
    found = predict(PredictSettings(**given, output_dir=tmp_path / "whole", threshold=0, bed="ucsc"))
    for kind in SITE_KINDS:
        assert {row[3] for row in rows_of(found.donor.parent, kind)} == {kind}


@pytest.mark.parametrize(
    ("names", "more", "shown"),
    [
        (["a"], 0, "a"),
        (["a", "b"], 0, "a,b"),
        (["a", "a"], 7, "a,+7"),
        (["a" * 84, "b" * 84, "c" * 85], 0, f"{'a' * 84},{'b' * 84},{'c' * 85}"),
        (["a" * 84, "b" * 84, "c" * 86], 0, f"{'a' * 84},{'b' * 84},+1"),
        (["x" * 200, "y" * 200], 12345, f"{'x' * 200},+12346"),
        (["é" * 500], 0, "é" * 100),
        (["a\u00a0b\u2003c d"], 0, "a_b_c_d"),
    ],
)
def test_names_are_cut_where_they_are_too_long(names, more, shown):
    form = UcscForm(annotated=True)
    genes = [Gene("id", "chr1", 0, 9, "+", symbol=name) for name in names]
    name = form.row_name(Stretch(0, 9, tuple(form.gene_name(gene, 0, 9) for gene in genes), more), "donor")
    assert name == shown
    assert len(name.encode()) <= 255


@pytest.mark.parametrize("name", ["#1", "track", "browser", "x" * 256])
def test_sequences_that_browsers_would_not_take(given, tmp_path, name):
    """Refused before anything is scored, and nothing is left; in OpenSpliceAI's form they are taken."""
    given["input_sequence"] = write_fasta(tmp_path / "odd.fa", {"chr1": letters(300, 1), name: letters(300, 2)})
    with pytest.raises(SequenceError, match=r"^`bed='ucsc'`: UCSC's .* or use `bed='openspliceai'`"):
        predict(PredictSettings(**given, output_dir=tmp_path / "out", bed="ucsc"))
    assert not (tmp_path / "out").exists()
    predict(PredictSettings(**given, output_dir=tmp_path / "out"))


def test_an_unknown_form():
    with pytest.raises(SettingsError, match="`bed` is 'bed6'; expected one of openspliceai, ucsc"):
        PredictSettings(input_sequence="a.fa", models="a.pt", output_dir="out", bed="bed6")


def test_bigwigs_lie_where_the_rows_do(given, tmp_path):
    library = pytest.importorskip("pyBigWig")
    found = predict(
        PredictSettings(**given, output_dir=tmp_path / "out", threshold=0.4, strand="both", bed="ucsc", bigwig=True)
    )
    entries = {}
    for path in found.bigwigs:
        kind, _, strand = path.stem.split("_")
        with library.open(str(path)) as track:
            for sequence in track.chroms():
                for start, _, score in track.intervals(sequence) or ():
                    entries[kind, sequence, start, {"plus": "+", "minus": "-"}[strand]] = score
    rows = scores(found)
    assert entries.keys() == rows.keys()
    assert all(abs(1000 * score - int(rows[key])) < 0.5011 for key, score in entries.items())


# -- how many rows there are -----------------------------------------------------------------------------------------


def counted(found: Predictions) -> dict[str, dict[float, int]]:
    """How many rows reach each level, by the rows themselves; at the levels scores of six digits are exact enough."""
    at = {kind: [float(row[4]) for row in rows_of(found.donor.parent, kind)] for kind in SITE_KINDS}
    return {kind: {level: sum(score >= level for score in at[kind]) for level in (0.1, 0.5, 0.9)} for kind in at}


@pytest.mark.parametrize("threshold", [0, 0.1, 0.3, 0.95])
def test_rows_are_counted(given, tmp_path, threshold):
    found = predict(PredictSettings(**given, output_dir=tmp_path / "out", threshold=threshold, strand="both"))
    assert found.reaching == counted(found)
    assert found.rows == {kind: len(rows_of(found.donor.parent, kind)) for kind in SITE_KINDS}
    if threshold < 0.1:
        assert len({*found.rows.values(), *(n for levels in found.reaching.values() for n in levels.values())}) > 5


def test_the_last_lines_say_how_many(given, tmp_path, capsys):
    """With a low threshold they say what a higher one would leave; that is what it leaves."""

    def lines(threshold: float) -> list[str]:
        flags = ["-i", given["input_sequence"], "-m", given["models"], "-o", tmp_path / f"{threshold}"]
        assert main(["predict", *map(str, flags), "-t", str(threshold)]) == 0
        return capsys.readouterr().out.splitlines()[-2:]

    low, high, highest = lines(0.001), lines(0.1), lines(0.7)
    form = r"rows with a score of {} or more: donors {}, acceptors {}"
    numbers = re.fullmatch(form.format("0.001 / 0.1 / 0.5 / 0.9", *[r"(\d+) / (\d+) / (\d+) / (\d+)"] * 2), low[0])
    counts = [int(number) for number in numbers.groups()]
    assert re.fullmatch(form.format("0.1 / 0.5 / 0.9", *[r"(\d+) / (\d+) / (\d+)"] * 2), high[0]).groups() == (
        *numbers.groups()[1:4],
        *numbers.groups()[5:],
    )
    assert re.fullmatch(form.format("0.7 / 0.9", *[r"\d+ / \d+"] * 2), highest[0])
    advice = f"; with --threshold 0.1 there would be {counts[1] + counts[5]} rows instead of {counts[0] + counts[4]}"
    assert low[1].endswith(f" a second{advice}")
    assert high[1].endswith(" a second")
    assert len(rows_of(tmp_path / "0.1" / "SpliceAI_5000_80", "donor")) == counts[1]


def test_counts_of_calibrated_scores_are_called_so(given, tmp_path, capsys):
    """Those of a calibrated model; not those of a mean with one that is not."""
    warm = tmp_path / "warm.pt"
    replace(Pretrained.load(given["models"]), temperature=(0.8, 1.5, 2.5)).to_calibrated_pt(warm)
    for name, models, said in (
        ("warm", [warm], "rows with a calibrated score of 0.1 / 0.5 / 0.9 or more: "),
        ("mean", [warm, given["models"]], "rows with a score of 0.1 / 0.5 / 0.9 or more: "),
    ):
        flags = ["-i", given["input_sequence"], "-m", *models, "-o", tmp_path / name, "-t", "0.1"]
        assert main(["predict", *map(str, flags)]) == 0
        assert capsys.readouterr().out.splitlines()[-2].startswith(said)


# -- real output ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fly_sizes() -> dict[str, int]:
    records = gzip.decompress((FLY / "genome.fa.gz").read_bytes()).decode().split(">")[1:]
    return {record.split()[0]: sum(map(len, record.splitlines()[1:])) for record in records}


@pytest.mark.slow
@pytest.mark.parametrize("annotated", full([False, True], True))
def test_the_flys_genome(command_line: CommandLine, tmp_path, fly_sizes, annotated):
    """Both strands, by the demo's model, at the default threshold; rows carry the symbols of the fly's genes."""
    files = ["-i", FLY / "genome.fa.gz", "-m", ROOT / "demo" / "worm_400nt.pt", "-o", tmp_path / "out"]
    genes = ["-a", FLY / "annotation.gff3.gz"] if annotated else ["--strand", "both"]
    done = command_line("predict", *files, *genes, "--bed", "ucsc")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "SpliceAI_5000_400"
    symbols = {gene.symbol for gene in read_annotation(FLY / "annotation.gff3.gz").genes}
    for kind in SITE_KINDS:
        assert faults((folder / f"{kind}_predictions.bed").read_text(), fly_sizes) == []
        rows = rows_of(folder, kind)
        assert len(rows) > 10_000
        named = {name for row in rows for name in row[3].split(",")}
        assert named == ({kind} if not annotated else named & symbols)
        assert len(named) > 50 or not annotated
        if annotated:
            assert _near_the_truth(rows, kind) > 100


def _near_the_truth(rows: list[list[str]], kind: str) -> int:
    """How many rows of 0.5 and more lie at the very base where an exon of the annotation ends or begins."""
    sites = set()
    for gene in read_annotation(FLY / "annotation.gff3.gz").genes:
        for transcript in gene.transcripts:
            ends = [end - 1 for _, end in transcript.exons[:-1].tolist()]
            starts = [start for start, _ in transcript.exons[1:].tolist()]
            donors, acceptors = (ends, starts) if gene.strand == "+" else (starts, ends)
            sites |= {(gene.sequence, at, gene.strand) for at in (donors if kind == "donor" else acceptors)}
    return sum((row[0], int(row[1]), row[5]) in sites for row in rows if int(row[4]) >= 500)

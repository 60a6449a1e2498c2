"""`predict`: the streamed scores are those of whole sequences, in the form that OpenSpliceAI's users read."""

import contextlib
import copy
import gzip
import logging
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import CommandLine, full, random_model, scored_whole, several_devices
from hypothesis import given
from hypothesis import strategies as st

from spliceai_jax import PredictSettings, Pretrained, SpliceAIError, SpliceAIWarning, predict
from spliceai_jax.commands.main import main
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import Interrupted, SettingsError, WeightsError
from spliceai_jax.files import held
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.sequences import Region, Stretch
from spliceai_jax.network import score as scorer
from spliceai_jax.network.score import Shape, genome_batches
from spliceai_jax.scoring.regions import whole_sequences

HALF = 40
FOLDER = "SpliceAI_5000_80"
SHIFT = {("acceptor", "+"): -1, ("acceptor", "-"): 1, ("donor", "+"): 0, ("donor", "-"): 0}
COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")


def letters(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def write_fasta(path: Path, sequences: dict[str, str]) -> Path:
    path.write_text("".join(f">{name} words\n{sequence}\n" for name, sequence in sequences.items()))
    return path


Scores = dict[tuple[str, str, int, str], float]
"""Kind, sequence, start and strand of a row -> its score."""


def rows_of(folder: Path, kind: str) -> list[list[str]]:
    return [line.split("\t") for line in (folder / f"{kind}_predictions.bed").read_text().splitlines()]


def read(folder: Path) -> Scores:
    """Read all rows, and check that they are sorted by sequence, start and strand, each once."""
    found: Scores = {}
    for kind in ("acceptor", "donor"):
        keys = []
        for row in rows_of(folder, kind):
            assert int(row[2]) == int(row[1]) + 1
            assert re.fullmatch(r"[01]\.\d{6}", row[4])
            keys.append((row[0], int(row[1]), row[5]))
            found[kind, row[0], int(row[1]), row[5]] = float(row[4])
        assert keys == sorted(set(keys))
    return found


def wanted(model: Pretrained, sequences: dict[str, str], strands: str = "+-") -> Scores:
    """Send whole sequences through the network at once."""
    found: Scores = {}
    for name, sequence in sequences.items():
        for strand in strands:
            read_out = sequence if strand == "+" else sequence[::-1].translate(COMPLEMENT)
            scores = scored_whole(model, read_out) if sequence else np.zeros((0, 3))
            scores = scores if strand == "+" else scores[::-1]
            for column, kind in ((1, "acceptor"), (2, "donor")):
                for place, score in enumerate(scores[:, column]):
                    start = place + SHIFT[kind, strand]
                    if 0 <= start < len(sequence):
                        found[kind, name, start, strand] = float(score)
    return found


def assert_same(found: Scores, expected: Scores, threshold: float = -1) -> None:
    """Compare scores up to rounding, which may also move one across the threshold."""
    apart = found.keys() ^ expected.keys()
    assert all(abs({**found, **expected}[key] - threshold) < 2e-6 for key in apart)
    expected = {key: score for key, score in expected.items() if key in found}
    keys = list(expected)
    np.testing.assert_allclose([found[key] for key in keys], [expected[key] for key in keys], rtol=0, atol=1.5e-6)


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return random_model(80, seed=3)


@pytest.fixture(scope="module")
def weights(model: Pretrained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    model.to_pt(path)
    return path


@pytest.fixture
def short_rows(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make rows 800 positions long, so that little data has many seams."""
    monkeypatch.setattr(scorer, "_LEAST_LENGTH", 800)
    return 800


SEQUENCES = {
    "chr2": letters(5000, 1),
    "chr10": letters(799, 2),
    "chr1": letters(801, 3).lower(),
    "empty": "",
    "tiny": "A",
    "masked": letters(900, 4) + "N" * 3100 + letters(300, 5) + "nRYK" + letters(300, 6),
    "unknown": "N" * 2000,
}

Predict = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, weights: Path) -> Predict:
    """A function that predicts on sequences with some settings and returns the folder of the results."""

    def go(sequences: dict[str, str] = SEQUENCES, output: str = "out", **more: object) -> Path:
        fasta = write_fasta(tmp_path / "genome.fa", sequences)
        result = predict(
            PredictSettings(**{"input_sequence": fasta, "models": weights, "output_dir": tmp_path / output, **more})
        )
        folder = tmp_path / output / FOLDER
        assert (result.acceptor.parent, result.donor.parent) == (folder, folder)
        return folder

    return go


# -- what is scored --------------------------------------------------------------------------------------------


def test_streamed_scores_are_those_of_whole_sequences(model, run, short_rows):
    assert_same(read(run(threshold=0, strand="both")), wanted(model, SEQUENCES))


def test_defaults(model, run):
    """Rows longer than all of it together; the strand as given; OpenSpliceAI's threshold."""
    assert_same(read(run()), wanted(model, SEQUENCES, "+"), 1e-6)


@pytest.mark.parametrize("strand", ["+", "-", "both"])
def test_strands(model, run, short_rows, strand):
    threshold = 0.3
    every = wanted(model, SEQUENCES, "+-" if strand == "both" else strand)
    expected = {key: score for key, score in every.items() if score >= threshold}
    assert len(every) / 4 < len(expected) < len(every) * 3 / 4
    assert_same(read(run(threshold=threshold, strand=strand)), expected, threshold)


def test_other_strand_is_the_reverse_complement(run, short_rows):
    sequence = letters(3001, 7)
    forward = read(run({"one": sequence}, "forward", threshold=0, strand="+"))
    turned = run({"one": sequence[::-1].translate(COMPLEMENT)}, "turned", threshold=0, strand="-")
    mirrored = {
        (kind, name, len(sequence) - 1 - start, "+"): score for (kind, name, start, _), score in read(turned).items()
    }
    assert_same(forward, mirrored)


def test_mean_of_models(run, model, short_rows, tmp_path, weights):
    other = random_model(80, seed=4)
    other.to_pt(tmp_path / "other.pt")
    sequences = {"one": letters(1700, 8)}
    both = [wanted(m, sequences, "+") for m in (model, other)]
    found = read(run(sequences, threshold=0, models=[weights, tmp_path / "other.pt"]))
    assert_same(found, {key: (score + both[1][key]) / 2 for key, score in both[0].items()})
    assert max(abs(both[0][key] - both[1][key]) for key in found) > 0.1


def test_precision(model, run, short_rows):
    """On a CPU tf32 is float32; bfloat16 has three digits."""
    exact = wanted(model, SEQUENCES, "+")
    assert_same(read(run(threshold=0, precision="tf32", output="tf32")), exact)
    rough = read(run(threshold=0, precision="bfloat16", output="bfloat16"))
    apart = np.abs([rough[key] - exact[key] for key in exact])
    assert 1e-4 < apart.max() < 0.1
    assert apart.mean() < 0.01


@pytest.mark.slow
def test_scorers_share_what_is_compiled(model, run, short_rows, caplog):
    """A run makes one to evaluate each model on whole sequences, and one to predict."""
    jax.clear_caches()
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        for output in ("once", "again"):
            run(output=output)
    assert caplog.text.count("Finished XLA compilation of jit(forward)") == 1


lengths = st.lists(
    st.integers(0, 30) | st.sampled_from([39, 40, 41, 49, 50, 51, 99, 100, 101, 150, 151, 350]), min_size=1, max_size=6
)


@given(lengths=lengths, rows=st.integers(1, 3), strands=st.sampled_from(["+", "-", "+-"]), masked=st.booleans())
def test_every_position_once_with_all_its_context(tmp_path_factory, lengths, rows, strands, masked):
    """Whatever the lengths: pieces tile the regions, in order, and the row around each position is its sequence's."""
    flank, length, path = 10, 50, tmp_path_factory.getbasetemp() / "any.fa"
    sequences = {f"s{i}": letters(n, i) for i, n in enumerate(lengths)}
    if masked:
        sequences["masked"] = "A" + "N" * 333 + "C"
    if not any(sequences.values()):
        return
    genome = Genome(write_fasta(path, sequences), path.parent)
    regions = whole_sequences(genome, list(strands)).regions
    seen, order = [], []
    for batch in genome_batches(genome, regions, Shape(rows, length), flank):
        assert batch.bases.shape == (rows, length + flank)
        for piece in batch.pieces:
            region = piece.region
            seen += [(region.sequence, region.strand, at) for at in range(piece.start, piece.end)]
            order.append((region.sequence, piece.start))
            around = genome.bases(region.sequence, piece.start - 5, piece.end + 5, region.strand)
            if piece.place is None:
                assert not around.any()
            else:
                row, place = piece.place
                assert 0 <= place < place + piece.end - piece.start <= length
                np.testing.assert_array_equal(batch.bases[row, place : place + len(around)], around)
    assert sorted(seen) == sorted((n, s, at) for n, q in sequences.items() for s in strands for at in range(len(q)))
    assert order == sorted(order)
    genome.close()


def test_little_is_computed_twice(tmp_path):
    """Many short sequences share rows, and a stretch of N takes none."""
    sequences = {f"s{i}": letters(90, i) for i in range(100)} | {"n": "N" * 10_000}
    genome = Genome(write_fasta(tmp_path / "a.fa", sequences), tmp_path)
    found = list(genome_batches(genome, whole_sequences(genome, ["+"]).regions, Shape(2, 990), 10))
    assert sum(batch.bases.shape[0] for batch in found) == 10
    region = Region("n", "+", 0, 10_000, (Stretch(0, 10_000, ("n",)),))
    (batch,) = genome_batches(genome, [[region]], Shape(2, 990), 10)
    assert batch.is_blank
    assert not batch.bases.any()
    genome.close()


# -- genes -----------------------------------------------------------------------------------------------------

GENES = [
    ("chr2", 1001, 2000, "+", "ID=a"),
    ("chr2", 1201, 1300, "+", "ID=nested"),
    ("chr2", 1901, 2500, "+", "ID=b;Name=other"),
    ("chr2", 1500, 4990, "-", "ID=with space"),
    ("chr2", 4900, 5000, "+", "Name=named"),
    ("chr1", 1, 801, "-", "ID=whole"),
]


def write_genes(path: Path, genes: list[tuple[str, int, int, str, str]]) -> Path:
    path.write_text("".join(f"{s}\tx\tgene\t{a}\t{b}\t.\t{d}\t.\t{names}\n" for s, a, b, d, names in genes))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("flank", "strand"), [(None, None), (0, None), (100, "+"), (100, "-")])
def test_genes_are_scored_in_their_genome(model, run, tmp_path, short_rows, flank, strand):
    """Each position once, with the genome around it, named after all the genes that it lies in."""
    annotation = write_genes(tmp_path / "a.gff3", GENES)
    folder = run(threshold=0, annotation_file=annotation, gene_flank=flank, strand=strand)
    reach, every, names = HALF if flank is None else flank, wanted(model, SEQUENCES), {}
    for sequence, first, last, side, attributes in GENES:
        start, end = max(first - 1 - reach, 0), min(last + reach, len(SEQUENCES[sequence]))
        name = f"{attributes.split(';')[0].split('=')[1]} {sequence}:{start + 1}-{end}({side})"
        for place in range(start, end) if side == (strand or side) else ():
            names.setdefault((sequence, place, side), []).append(name)
    expected = {key: score for key, score in every.items() if (key[1], key[2] - SHIFT[key[0], key[3]], key[3]) in names}
    assert_same(read(folder), expected)
    for kind in ("acceptor", "donor"):
        for sequence, start, _, name, _, side in rows_of(folder, kind):
            genes = names[sequence, int(start) - SHIFT[kind, side], side]
            assert name == f"{','.join(genes)}_{kind.capitalize()}"
    assert {len(genes) for genes in names.values()} == ({1} if strand == "-" else {1, 2})


def test_genes_on_unknown_sequences_are_left_out_with_a_warning(run, tmp_path):
    annotation = write_genes(tmp_path / "a.gff3", [*GENES, ("chrUn", 1, 2, "+", "ID=c")])
    with pytest.warns(SpliceAIWarning, match="1 of 7 genes"):
        run(annotation_file=annotation)


# -- the files -------------------------------------------------------------------------------------------------


def test_form_of_the_rows(run):
    """OpenSpliceAI's columns; the seventh is there without an annotation only. Column 1 is the name alone."""
    folder = run({"chr1": letters(200, 1)}, threshold=0, strand="-")
    for kind, first in (("acceptor", "1"), ("donor", "0")):
        row = rows_of(folder, kind)[0]
        assert [*row[:4], *row[5:]] == [
            "chr1",
            first,
            str(int(first) + 1),
            f"chr1_{kind.capitalize()}",
            "-",
            "absolute_coordinates",
        ]
    assert sorted(path.name for path in folder.iterdir()) == ["acceptor_predictions.bed", "donor_predictions.bed"]


def test_bigwig_holds_the_same(run, short_rows):
    library = pytest.importorskip("pyBigWig")
    folder = run(strand="both", threshold=0.2, bigwig=True)
    found: Scores = {}
    for kind in ("acceptor", "donor"):
        for strand, name in (("+", "plus"), ("-", "minus")):
            with library.open(str(folder / f"{kind}_predictions_{name}.bw")) as track:
                assert track.chroms() == {name: len(sequence) for name, sequence in SEQUENCES.items() if sequence}
                for sequence in track.chroms():
                    for start, end, score in track.intervals(sequence) or ():
                        assert end == start + 1
                        found[kind, sequence, start, strand] = score
    assert_same(found, read(folder))


def test_bigwig_in_a_folder_whose_path_is_not_utf_8(run, tmp_path):
    with pytest.raises(SpliceAIError, match=r"`output_dir`: .* is not UTF-8, which pyBigWig needs; give another"):
        run(bigwig=True, output_dir=tmp_path / "caf\udce9")


def test_bigwig_library_is_missing(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyBigWig", None)
    with pytest.raises(SpliceAIError, match=r"spliceai-jax\[bigwig\]"):
        run(bigwig=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_several_devices_and_a_compressed_genome(run, weights, tmp_path, installed: CommandLine):
    """The command, on three devices, gives the same rows; nothing is written beside the genome."""
    folder = run(strand="both", threshold=0.01)
    place = tmp_path / "read only"
    place.mkdir()
    (place / "genome.fa.gz").write_bytes(gzip.compress((tmp_path / "genome.fa").read_bytes()))
    place.chmod(0o500)
    done = installed(
        "predict", "-i", place / "genome.fa.gz", "-m", weights, "-f", 80, "-o", tmp_path / "three", "-t", 0.01,
        "--strand", "both", **several_devices(3),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 x cpu" in done.stdout
    assert_same(read(tmp_path / "three" / FOLDER), read(folder))
    assert [path.name for path in place.iterdir()] == ["genome.fa.gz"]
    place.chmod(0o700)


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.fixture
def refused(tmp_path, weights, capfd) -> Callable[..., str]:
    """A function that runs the command line with changed flags and returns the one line that it prints.

    Nothing may be written.
    """
    write_fasta(tmp_path / "genome.fa", SEQUENCES)
    write_genes(tmp_path / "genes.gff3", GENES)

    def go(*more: object, **changed: object) -> str:
        flags = {"-i": tmp_path / "genome.fa", "-m": weights, "-o": tmp_path / "new", **changed}
        words = [str(word) for flag in flags.items() for word in flag]
        before = sorted(tmp_path.rglob("*"))
        try:
            status = main(["predict", *words, *map(str, more)])
        except SystemExit as stop:
            status = int(stop.code or 0)
        assert status == 2
        assert sorted(tmp_path.rglob("*")) == before
        line = capfd.readouterr().err
        assert line.count("\n") == 1
        assert "unexpected" not in line
        return line

    return go


def test_refusals(refused, tmp_path):
    random_model(400).to_pt(tmp_path / "m400.pt")
    far = write_genes(tmp_path / "far.gff3", [("chr1", 1, 802, "+", "ID=long")])
    other = write_genes(tmp_path / "other.gff3", [("1", 1, 80, "+", "ID=a")])
    plus = write_genes(tmp_path / "plus.gff3", GENES[:3])
    (tmp_path / "file").write_text("")
    assert "no such file" in refused(**{"-i": tmp_path / "none.fa"})
    assert "none.pt" in refused(**{"-m": tmp_path / "none.pt"})
    assert "400" in refused("-f", 400)
    assert "one flanking size" in refused("-m", tmp_path / "m400.pt")
    assert "--threshold is 1.5" in refused("-t", 1.5)
    assert "--threshold is nan" in refused("-t", "nan")
    assert "--gene-flank is -1" in refused("-a", plus, "--gene-flank", -1)
    assert "--annotation-file too" in refused("--gene-flank", 10)
    assert "no such file" in refused("-a", tmp_path / "none.gff3")
    assert "gene long ends at 802, but chr1 has 801" in refused("-a", far)
    assert "'1' here, 'chr1', 'chr10'" in refused("-a", other)
    assert "no gene on that strand" in refused("-a", plus, "--strand", "-")
    assert "--strand" in refused("--strand", "x")
    assert "cannot write in" in refused(**{"-o": tmp_path / "file" / "x"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"threshold": 2}, "`threshold` is 2"),
        ({"gene_flank": 10}, "`gene_flank` has no effect without genes; give `annotation_file` too"),
        ({"strand": "x"}, "`strand` is 'x'; expected one of +, -, both"),
        ({"precision": "fp16"}, "`precision` is 'fp16'; expected one of float32, tf32, bfloat16"),
        ({"flanking_size": 81}, "`flanking_size` is 81; expected one of 80, 400, 2000, 10000"),
        ({"models": []}, "`models`: none is given"),
    ],
)
def test_settings_are_checked_when_they_are_made(given, said):
    """The message names the argument as Python does."""
    with pytest.raises(SettingsError, match=re.escape(said)):
        PredictSettings(**{"input_sequence": "a.fa", "models": "a.pt", "output_dir": "out", **given})


def test_no_gene_on_the_strand(run, tmp_path):
    plus = write_genes(tmp_path / "plus.gff3", GENES[:3])
    with pytest.raises(SettingsError, match=r"^`strand='-'`: .* has no gene on that strand"):
        run(annotation_file=plus, strand="-")


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, r"nan\.pt: .* not a number"), (3e38, "^`models`: scores that are not numbers")]
)
def test_weights_that_give_no_numbers(run, tmp_path, model, value, said):
    """Refused when they are read, or, where finite weights overflow, when the first scores are seen."""
    broken = copy.deepcopy(model)
    broken.variables["params"]["final_conv"]["kernel"][:] = value
    broken.to_pt(tmp_path / "nan.pt")
    with pytest.raises(WeightsError, match=said):
        run(models=tmp_path / "nan.pt")
    assert not (tmp_path / "out").exists()


def test_unexpected_errors_are_logged(run, tmp_path, monkeypatch):
    """The traceback is kept, its place is noted, no track is left, and the same call works once the fault is gone."""
    log = tmp_path / "out" / FOLDER / "error.log"
    with monkeypatch.context() as patch:
        patch.setattr(scorer.Scorer, "__call__", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError) as fault:
            run()
    assert fault.value.__notes__ == [f"its traceback is in {log}"]
    assert "ZeroDivisionError: division by zero" in log.read_text()
    assert sorted(path.name for path in log.parent.iterdir()) == ["error.log"]
    assert len(rows_of(run(), "donor"))


def test_folder_in_use(run, tmp_path):
    with (
        held(tmp_path / "out" / FOLDER, "busy"),
        pytest.raises(SpliceAIError, match=r"another process writes its predictions here; .* another `output_dir`"),
    ):
        run()


@pytest.mark.parametrize("name", ["acceptor_predictions.bed", "donor_predictions.bed"])
def test_results_are_never_written_over(refused, tmp_path, name):
    there = tmp_path / "new" / FOLDER / name
    there.parent.mkdir(parents=True)
    there.write_text("theirs")
    assert "holds predictions already; give another --output-dir, or move or delete" in refused()
    assert there.read_text() == "theirs"


# -- stopped ---------------------------------------------------------------------------------------------------


def start(tmp_path: Path, weights: Path, environment: dict[str, str]) -> subprocess.Popen:
    """Start a command that would take minutes, and return when it has written its first rows."""
    write_fasta(tmp_path / "long.fa", {"one": letters(100_000, 0) * 200})
    program = Path(sys.executable).with_name("spliceai-jax")
    command = [program, "predict", "-i", tmp_path / "long.fa", "-m", weights, "-o", tmp_path / "out", "-t", "0.2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    begun = tmp_path / "out" / FOLDER / ".donor_predictions.bed.partial"
    for _ in range(600):
        if begun.exists() and begun.stat().st_size:
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[1])


@pytest.mark.slow
@pytest.mark.parametrize("number", full([signal.SIGTERM, signal.SIGKILL], signal.SIGTERM))
def test_stopped(tmp_path, weights, number):
    """No file has its final name, and the same command works again; after SIGTERM nothing at all is left."""
    process = start(tmp_path, weights, {})
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        assert said == "spliceai-jax: stopped by SIGTERM; nothing was written, give the same command again\n"
        assert not (tmp_path / "out").exists()
    else:
        left = sorted(path.name for path in (tmp_path / "out" / FOLDER).iterdir())
        assert left == [".acceptor_predictions.bed.partial", ".donor_predictions.bed.partial", ".lock"]
        write_fasta(tmp_path / "genome.fa", {"one": letters(300, 1)})
        predict(PredictSettings(input_sequence=tmp_path / "genome.fa", models=weights, output_dir=tmp_path / "out"))
        left = sorted(path.name for path in (tmp_path / "out" / FOLDER).iterdir())
        assert left == ["acceptor_predictions.bed", "donor_predictions.bed"]


class Interrupting(Display):
    """Sends this process a signal while it predicts."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Advance]:
        yield lambda done: os.kill(os.getpid(), self.number)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "made_before"), [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGHUP, False)]
)
@pytest.mark.filterwarnings("ignore:`spsc`")
def test_an_interrupted_prediction_leaves_nothing(tmp_path, weights, short_rows, number, made_before, request):
    """Neither a lock nor a folder that was made, that of the splice scores among them; one that was there stays."""
    pytest.importorskip("pyBigWig")
    request.addfinalizer(partial(signal.signal, number, signal.getsignal(number)))
    signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    fasta = write_fasta(tmp_path / "genome.fa", {"one": letters(200_000, 1)})
    if made_before:
        (tmp_path / "out").mkdir()
    before = sorted(tmp_path.rglob("*"))
    asked = PredictSettings(
        input_sequence=fasta, models=weights, output_dir=tmp_path / "out", bigwig=True,
        spsc=tmp_path / "new" / "below" / "scores.tsv.gz",
    )  # fmt: skip
    with pytest.raises(Interrupted, match=f"stopped by {number.name}; nothing was written"):
        predict(asked, Interrupting(number))
    assert sorted(tmp_path.rglob("*")) == before
    predict(asked)
    assert asked.spsc.exists()
    assert not list(tmp_path.rglob(".*"))


def test_a_prediction_in_anothers_folder_leaves_it_alone(run, tmp_path):
    """The lock of the one that works stays as long as it works, and no longer."""
    with held(tmp_path / "out" / FOLDER, "busy"):
        with pytest.raises(SpliceAIError, match="another process writes its predictions here"):
            run()
        assert [path.name for path in (tmp_path / "out" / FOLDER).iterdir()] == [".lock"]
    assert not (tmp_path / "out").exists()


class Watched(Display):
    """Keeps the most bytes that JAX's arrays took at once, which tracemalloc does not see."""

    def __init__(self) -> None:
        self.most = 0

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Advance]:
        def advance(done: int) -> None:
            self.most = max(self.most, sum(array.nbytes for array in jax.live_arrays()))

        yield advance


@pytest.mark.full
def test_memory_does_not_grow(tmp_path, weights):
    """Peaks in MB, of JAX's arrays and of all else: a chromosome ten times as long, and 5000 sequences.

    Most of the long one is N, which the network computes once, to save time. The peak of the whole process says less,
    since it depends on what the allocator gives back.
    """
    real = letters(100_000, 1)
    files = {
        "short": {"one": real + "N" * 9_800_000 + real},
        "long": {"one": real * 2 + "N" * 99_600_000 + real * 2},
        "many": {f"s{i}": real[10 * i : 10 * i + 20] for i in range(5000)},
    }
    peaks = {}
    for name, sequences in files.items():
        fasta = write_fasta(tmp_path / f"{name}.fa", sequences)
        asked = PredictSettings(input_sequence=fasta, models=weights, output_dir=tmp_path / name, threshold=0.5)
        watched = Watched()
        tracemalloc.start()
        predict(asked, watched)
        peaks[name] = tracemalloc.get_traced_memory()[1] / 1e6, watched.most / 1e6
        tracemalloc.stop()
    assert all(peaks["short"]), peaks
    for name in ("long", "many"):
        assert peaks[name][0] < peaks["short"][0] + 2, peaks
        assert peaks[name][1] < peaks["short"][1] + 1, peaks

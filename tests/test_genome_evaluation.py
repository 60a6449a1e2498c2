"""`evaluate` on a genome: scores and annotation meet at the right bases, and every count is that of a plain one."""

import contextlib
import io
import itertools
import json
import math
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, needs_shared, random_model, scored_whole
from sklearn.metrics import average_precision_score

from spliceai_jax import Ensemble, Pretrained, SpliceAIWarning, evaluate_genome, stored
from spliceai_jax.architecture import CLASSES, CONTEXT, PADDING, SITE_KINDS, WINDOW
from spliceai_jax.commands.main import main
from spliceai_jax.display import Advance, Display
from spliceai_jax.encoding import encode
from spliceai_jax.errors import Interrupted, WeightsError
from spliceai_jax.evaluation import ranking
from spliceai_jax.evaluation.genome_metrics import PLACES
from spliceai_jax.evaluation.ranking import Ranking
from spliceai_jax.genome import fasta
from spliceai_jax.genome.annotation import read_annotation
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.genes_on_genome import divide_genes
from spliceai_jax.network import score as scorer
from spliceai_jax.report.writing import is_current
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.record import read_run
from spliceai_jax.scoring import genome_evaluation
from spliceai_jax.scoring.genome_evaluation import evaluate_genome_models
from spliceai_jax.scoring.genome_truth import AnnotatedSites
from spliceai_jax.windows.hdf5 import read_windows

DONOR, ACCEPTOR = "GTAAGTATCCGA", "TTCTCATTGCAG"
"""What follows every donor and precedes every acceptor in the planted genome, and is nowhere else by chance."""

COMPLEMENT = str.maketrans("ACGT", "TGCA")


class Planted:
    """A genome with genes, and its annotation; positions are counted from 0."""

    def __init__(self, lengths: dict[str, int]) -> None:
        random = np.random.default_rng(5)
        self.letters = {name: random.choice(list("ACGT"), length) for name, length in lengths.items()}
        self.lines = ["##gff-version 3"]
        self.sites: set[tuple[str, str, int, str]] = set()

    def motif(self, sequence: str, strand: str, position: int, kind: str) -> None:
        """Make a position of a strand look like a site."""
        ahead = (kind == "donor") == (strand == "+")  # whether the motif lies at higher positions
        motif = DONOR if kind == "donor" else ACCEPTOR
        start = position + 1 if ahead else position - len(motif)
        on_plus = motif if strand == "+" else motif[::-1].translate(COMPLEMENT)
        self.letters[sequence][start : start + len(motif)] = list(on_plus)

    def gene(self, name: str, sequence: str, strand: str, *isoforms: list[tuple[int, int]], **attributes: str) -> None:
        """Add a gene whose isoforms are lists of exons (start, end), with motifs at all its sites."""
        exons = [exon for isoform in isoforms for exon in isoform]
        said = "".join(f";{key}={value}" for key, value in attributes.items())
        start, end = min(exons)[0], max(end for _, end in exons)
        self._line(sequence, "gene", start, end, strand, f"ID={name}{said}")
        for number, isoform in enumerate(isoforms):
            transcript = f"{name}.{number}"
            self._line(sequence, "mRNA", isoform[0][0], isoform[-1][1], strand, f"ID={transcript};Parent={name}")
            for exon in isoform:
                self._line(sequence, "exon", *exon, strand, f"Parent={transcript}")
            for (_, left), (right, _) in itertools.pairwise(isoform):
                donor, acceptor = (left - 1, right) if strand == "+" else (right, left - 1)
                self.motif(sequence, strand, donor, "donor")
                self.motif(sequence, strand, acceptor, "acceptor")
                if attributes.get("gene_biotype") == "protein_coding":
                    self.sites |= {(sequence, strand, donor, "donor"), (sequence, strand, acceptor, "acceptor")}

    def _line(self, sequence: str, kind: str, start: int, end: int, strand: str, attributes: str) -> None:
        self.lines.append(f"{sequence}\tx\t{kind}\t{start + 1}\t{end}\t.\t{strand}\t.\t{attributes}")

    def write(self, folder: Path) -> tuple[Path, Path]:
        fasta, gff = folder / "genome.fa", folder / "annotation.gff3"
        fasta.write_text("".join(f">{name} words\n{''.join(bases)}\n" for name, bases in self.letters.items()))
        gff.write_text("\n".join(self.lines) + "\n")
        return fasta, gff


CODING = {"gene_biotype": "protein_coding"}


def planted() -> Planted:
    """Genes at both ends of their sequences, on both strands, overlapping, with isoforms, and without a protein."""
    genome = Planted({"chr1": 4000, "chr2": 2500, "bare": 1200})
    genome.gene("a", "chr1", "+", [(0, 20), (120, 300), (400, 600)], [(0, 20), (200, 600)], **CODING)
    genome.gene("b", "chr1", "-", [(500, 700), (900, 1000), (1100, 1500)], **CODING)
    genome.gene("c", "chr2", "-", [(2000, 2200), (2400, 2500)], **CODING)
    genome.gene("d", "chr2", "+", [(100, 300), (500, 800)], gene_biotype="lncRNA")
    return genome


class MotifScorer(scorer.Scorer):
    """Scores 0.9 where the planted motifs stand, and 0.1 elsewhere."""

    def __call__(self, bases: np.ndarray) -> np.ndarray:
        half = self.flanking_size // 2
        length = bases.shape[1] - self.flanking_size
        scores = np.full((len(bases), length, 3), 0.1, np.float32)
        for column, (motif, shift) in enumerate([(ACCEPTOR, -len(ACCEPTOR)), (DONOR, 1)], 1):
            codes = encode(motif)
            windows = np.lib.stride_tricks.sliding_window_view(bases, len(codes), axis=1)
            found = (windows == codes).all(-1)
            scores[:, :, column][found[:, half + shift : half + shift + length]] = 0.9
        return scores


@pytest.fixture
def motifs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genome_evaluation, "Scorer", MotifScorer)


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return random_model(80, seed=3)


@pytest.fixture(params=[300, 20_000], ids=["many rows", "few rows"])
def row_length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "_LEAST_LENGTH", request.param)
    monkeypatch.setattr(scorer, "_CONTEXTS", 1)


# -- scores and annotation meet -----------------------------------------------------------------------------------


def test_planted_sites_are_found(model, motifs, row_length, tmp_path) -> None:
    """Every motif stands at an annotated site, so nothing is missed and nothing is false."""
    genome = planted()
    found = evaluate_genome(model, *genome.write(tmp_path))
    assert (found.sequences, found.bases, found.genes) == (3, 7700, 3)
    for kind in SITE_KINDS:
        site = found.site(kind)
        assert site.sites == sum(one[3] == kind for one in genome.sites)
        assert (site.auprc, site.top_k, site.recall) == pytest.approx((1, 1, 1))
        assert site.threshold == np.float32(0.9)
        assert set(site.false_positives.values()) == {0}
        assert site.left_out == 1  # that of the gene without a protein looks like a site too


@pytest.mark.parametrize("shift", [-1, 1])
def test_an_annotation_one_base_off_finds_nothing(model, motifs, tmp_path, shift) -> None:
    fasta, gff = planted().write(tmp_path)
    lines = [line.split("\t") for line in gff.read_text().splitlines()]
    for columns in lines[1:]:
        if columns[2] == "exon":
            columns[3:5] = [str(max(int(place) + shift, 1)) for place in columns[3:5]]
    gff.write_text("\n".join("\t".join(columns) for columns in lines).replace("\t2501\t", "\t2500\t"))
    found = evaluate_genome(model, fasta, gff)
    assert found.donor.auprc < 0.01
    assert found.acceptor.auprc < 0.01
    assert found.donor.top_k == found.acceptor.top_k == 0


def test_false_positives_are_counted_where_they_lie(model, motifs, row_length, tmp_path) -> None:
    genome = planted()
    planted_at = {
        "inside": [("chr1", "+", 250), ("chr1", "+", 550), ("chr1", "-", 550), ("chr2", "+", 600)],
        "antisense": [("chr1", "-", 280), ("chr2", "-", 700), ("chr2", "+", 2100)],
        "outside": [("chr1", "+", 3000), ("bare", "-", 100), ("bare", "+", 0), ("chr2", "+", 20)],
    }
    for places in planted_at.values():
        for sequence, strand, position in places:
            genome.motif(sequence, strand, position, "donor")
    found = evaluate_genome(model, *genome.write(tmp_path))
    assert found.donor.false_positives == {place: len(places) for place, places in planted_at.items()}
    assert sum(found.acceptor.false_positives.values()) == 0
    assert found.per_megabase("donor") == pytest.approx(11e6 / (2 * 7700))
    inside = 600 + 1000 + 500 + 700
    assert found.positions == {"inside": inside, "antisense": inside - 200, "outside": 2 * 7700 - 2 * inside + 200}
    assert found.per_megabase("donor", "antisense") == pytest.approx(3e6 / (inside - 200))


def plain_count(model: Pretrained, genome: Planted) -> tuple[dict[str, list[float]], dict[str, list[bool]], list[str]]:
    """Score whole sequences at once, and say of every position whether it is a site and where it lies."""
    scores: dict[str, list[float]] = {kind: [] for kind in SITE_KINDS}
    truth: dict[str, list[bool]] = {kind: [] for kind in SITE_KINDS}
    places: list[str] = []
    genes = [line.split("\t") for line in genome.lines if "\tgene\t" in line]
    spans = [(gene[0], gene[6], int(gene[3]) - 1, int(gene[4])) for gene in genes]
    for name, letters in genome.letters.items():
        for strand in "+-":
            read = "".join(letters) if strand == "+" else "".join(letters)[::-1].translate(COMPLEMENT)
            found = scored_whole(model, read)
            for position in range(len(letters)):
                at = position if strand == "+" else len(letters) - 1 - position
                over = [one[1] for one in spans if one[0] == name and one[2] <= position < one[3]]
                places.append("inside" if strand in over else "antisense" if over else "outside")
                for kind in SITE_KINDS:
                    scores[kind].append(found[at, CLASSES.index(kind)])
                    truth[kind].append((name, strand, position, kind) in genome.sites)
    return scores, truth, places


@pytest.mark.parametrize("kept", [2**22, 500], ids=["exact", "bounded"])
def test_metrics_are_those_of_a_plain_count(model, row_length, tmp_path, monkeypatch, kept) -> None:
    genome = planted()
    genome.lines = [line for line in genome.lines if "ID=d" not in line and "Parent=d" not in line]
    monkeypatch.setattr(ranking, "EXACT_NEGATIVES", kept)
    found = evaluate_genome(model, *genome.write(tmp_path))
    scores, truth, places = plain_count(model, genome)
    for kind in SITE_KINDS:
        site, values, is_site = found.site(kind), np.array(scores[kind], np.float32), np.array(truth[kind])
        sites = np.sort(values[is_site])[::-1]
        threshold = sites[math.ceil(0.9 * sites.size) - 1]
        assert site.threshold == pytest.approx(threshold, rel=1e-5)
        assert site.recall == (values[is_site] >= threshold).mean()
        # Scores computed in rows of another length differ by rounding, and bins hold a 4096th of the scale.
        tolerance = 5e-4 if kept == 500 else 1e-5
        assert site.auprc == pytest.approx(average_precision_score(is_site, values), rel=1e-3)
        for place in PLACES:
            here = (np.array(places) == place) & ~is_site
            low, high = (((values >= threshold * (1 + shift)) & here).sum() for shift in (1e-5, -tolerance))
            assert low <= site.false_positives[place] <= high


def test_named_sequences_alone(model, motifs, tmp_path) -> None:
    genome = planted()
    genome.motif("bare", "+", 300, "donor")
    fasta, gff = genome.write(tmp_path)
    found = evaluate_genome(model, fasta, gff, ["chr2"])
    assert (found.sequences, found.bases, found.genes, found.donor.sites) == (1, 2500, 1, 1)
    assert sum(found.donor.false_positives.values()) == 0


def test_an_annotation_without_biotypes(model, motifs, tmp_path) -> None:
    """CDS tells which genes are coding; where there is none, all genes count, and a note says so."""
    fasta, gff = planted().write(tmp_path)
    bare = gff.read_text().replace(";gene_biotype=protein_coding", "").replace(";gene_biotype=lncRNA", "")
    gff.write_text(bare)
    with pytest.warns(SpliceAIWarning, match="neither biotypes nor CDS"):
        found = evaluate_genome(model, fasta, gff)
    assert (found.genes, found.donor.left_out) == (4, 0)
    gff.write_text(bare + "chr1\tx\tCDS\t130\t200\t.\t+\t0\tParent=a.0\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpliceAIWarning)
        found = evaluate_genome(model, fasta, gff)
    assert (found.genes, found.donor.sites, found.donor.left_out) == (1, 2, 4)


def test_sequences_without_bases_and_unknown_ones(model, motifs, tmp_path) -> None:
    genome = planted()
    genome.letters["chr0"] = np.array([], "U1")
    genome.letters["gap"] = np.array(list("N" * 1000))
    fasta, gff = genome.write(tmp_path)
    found = evaluate_genome(model, fasta, gff)
    assert (found.sequences, found.bases, found.donor.auprc) == (5, 8700, 1)
    gff.write_text(gff.read_text() + "chrX\tx\tgene\t1\t90\t.\t+\t.\tID=x;gene_biotype=protein_coding\n")
    with pytest.warns(SpliceAIWarning, match=r"1 of 5 genes .* \('chrX'; it holds 'bare'"):
        assert evaluate_genome(model, fasta, gff) == found


def test_many_pieces_take_no_memory_each() -> None:
    gathered = Ranking()
    gathered.add(np.array([0.5], np.float32), np.array([True]))
    for _ in range(50):
        gathered.add(np.array([0.1], np.float32), np.array([False]))
    assert len(gathered._positives) == 2


@pytest.mark.parametrize(("sites", "needed"), [(1, 1), (10, 9), (11, 10), (70, 63), (1000, 900)])
def test_nine_tenths_of_the_sites(sites, needed) -> None:
    gathered = Ranking()
    gathered.add(np.linspace(0.9, 0.1, sites, dtype=np.float32), np.ones(sites, bool))
    assert gathered.sites_from(gathered.threshold(0.9)) == needed


# -- real data ----------------------------------------------------------------------------------------------------


@pytest.mark.full
@needs_shared
def test_real_genes_have_the_labels_and_scores_of_their_data_set(model, tmp_path) -> None:
    """Genes of arabidopsis' test set are found in its genome. There our labels are the set's, with those of other
    isoforms, and our scores are those of the set's windows, except within the context of the gene's ends.
    """
    folder, half = SHARED / "data" / "arabidopsis", model.flanking_size // 2
    genes = divide_genes(read_annotation(folder / "annotation.gff3.gz").genes).coding
    windows = read_windows(folder / "dataset_test.h5", CONTEXT)
    before = CONTEXT // 2
    firsts = {bytes(bases[before : before + 600]): number for number, bases in enumerate(windows.bases[windows.index])}
    with contextlib.closing(Genome(folder / "genome.fa.gz", tmp_path)) as genome:
        compared = 0
        for gene in genes:
            length = gene.end - gene.start
            read = genome.bases(gene.sequence, gene.start - half, gene.end + half, gene.strand)
            number = firsts.get(bytes(read[half : half + 600])) if 600 <= length <= WINDOW else None
            if number is None:
                continue
            labels = windows.labels[number]
            assert (labels[:length] != PADDING).all()
            assert (labels[length:] == PADDING).all()
            annotated = AnnotatedSites([gene], [], gene.strand)
            ours = annotated.sites(gene.start, gene.end)
            for kind in SITE_KINDS:
                marks = ours[kind] if gene.strand == "+" else ours[kind][::-1]
                assert marks[labels[:length] == CLASSES.index(kind)].all()
                if len(gene.transcripts) == 1:
                    assert marks.sum() == (labels == CLASSES.index(kind)).sum()
            if compared < 20:
                on_genome = model.predict(read[None])[0]
                in_window = model.predict(
                    windows.bases[windows.index[number]][None, before - half : before + length + half]
                )[0]
                inner = slice(half, length - half)
                np.testing.assert_allclose(on_genome[inner], in_window[inner], atol=2e-6)
            compared += 1
    assert compared > 150


# -- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, small_model: Path) -> dict[str, Path]:
    fasta, gff = planted().write(tmp_path)
    return {"-m": shutil.copy(small_model, tmp_path / "model.pt"), "--genome-fasta": fasta, "--annotation-gff": gff}


def argv(files: dict[str, Path], *more: str) -> list[str]:
    return ["evaluate", *(str(word) for pair in files.items() for word in pair), *more]


def test_table_and_json(files, capsys, motifs) -> None:
    assert main(argv(files)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 sequences, 7700 bases, both strands; 3 genes with true sites"
    assert lines[2].split()[:4] == ["donor", "1.0000", "1.0000", "5"]
    assert lines[-1] == "left out: 1 donors and 1 acceptors of genes that do not code for proteins"
    assert main(argv(files, "--json", "--sequences", "chr1,chr2")) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sequences"], said["donor"]["sites"], said["donor"]["auprc"]) == (2, 5, 1.0)
    assert said["donor"]["false_positives"] == {"inside": 0, "antisense": 0, "outside": 0}


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[dict[str, Path]], None]:
    def damage(files: dict[str, Path]) -> None:
        files[name].write_text(change(files[name].read_text()))

    return damage


def dropped(*names: str) -> Callable[[dict[str, Path]], None]:
    return lambda files: [files.pop(name) for name in names]


def given(name: str, value: str) -> Callable[[dict[str, Path]], None]:
    return lambda files: files.update({name: value})


GFF, FASTA = "--annotation-gff", "--genome-fasta"
BAD: dict[str, tuple[Callable[[dict[str, Path]], object], str]] = {
    "nothing to score on": (dropped(GFF, FASTA), "nothing to score on; give --test-dataset, or --genome-fasta and"),
    "no annotation": (dropped(GFF), "--annotation-gff is missing beside --genome-fasta"),
    "no genome": (dropped(FASTA), "--genome-fasta is missing beside --annotation-gff"),
    "both ways": (given("-test", "x.h5"), "--test-dataset and --genome-fasta exclude each other"),
    "names with a data set": (
        lambda files: [dropped(GFF, FASTA)(files), files.update({"-test": "x.h5", "--sequences": "chr1"})],
        "--test-dataset and --sequences exclude each other",
    ),
    "names alone": (
        lambda files: [dropped(GFF, FASTA)(files), files.update({"--sequences": "chr1"})],
        "--genome-fasta is missing beside --sequences",
    ),
    "unknown name": (given("--sequences", "chr1,chr9"), "holds no 'chr9'; it holds 'bare', 'chr1', 'chr2'"),
    "no names": (given("--sequences", ""), "holds no ''; it holds 'bare', 'chr1', 'chr2'"),
    "a sequence without genes": (
        given("--sequences", "bare"),
        "no donor of a protein-coding gene lies on the sequences that are scored ('bare'), where it has no gene;",
    ),
    "a gene without a protein": (
        rewritten(GFF, lambda text: text.replace("=protein_coding", "=lncRNA")),
        "where it has 4 genes, of biotypes 'lncRNA'; give",
    ),
    "names that do not match": (
        rewritten(FASTA, lambda text: text.replace(">", ">x")),
        "none of its sequences is in {fasta}: 'chr1', 'chr2' here, 'xbare', 'xchr1', 'xchr2' there",
    ),
    "a gene past the end": (
        rewritten(FASTA, lambda text: text.replace(">chr2 words\n", ">chr2 words\n>other\n")),
        "gene c ends at 2500, but chr2 has 0 bases",
    ),
    "an exon past the end": (
        rewritten(GFF, lambda text: text.replace("exon\t2401\t2500", "exon\t2401\t2600")),
        "gene c ends at 2600, but chr2 has 2500 bases",
    ),
    "no exons": (
        rewritten(GFF, lambda text: "\n".join(line for line in text.splitlines() if "exon" not in line)),
        "no donor of a protein-coding gene",
    ),
    "no such genome": (lambda files: files[FASTA].unlink(), "no such file"),
    "no such annotation": (lambda files: files[GFF].unlink(), "no such file"),
    "no such model": (lambda files: Path(files["-m"]).unlink(), "no such"),
    "not FASTA": (lambda files: files.update({FASTA: files[GFF]}), "it is GFF3; give a FASTA file"),
    "another flanking size": (given("-f", "400"), "400"),
}


@pytest.mark.parametrize(("damage", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_told_in_one_line(files, capsys, monkeypatch, damage, says) -> None:
    monkeypatch.setattr(genome_evaluation, "scored_pieces", None)  # nothing is computed
    fasta = files[FASTA]
    damage(files)
    assert main(argv(files)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("spliceai-jax: ")
    assert "unexpected" not in err
    assert err.count("\n") == 1
    assert says.format(fasta=fasta) in err


def test_no_room_for_the_bases(files, capsys, monkeypatch) -> None:
    monkeypatch.setattr(fasta.tempfile, "TemporaryFile", lambda **_: io.FileIO("/dev/full", "w+"))
    assert main(argv(files)) == 2
    err = capsys.readouterr().err
    assert "for its bases, one byte each (No space left on device); make room, or name another folder by the " in err
    assert err.endswith("environment variable TMPDIR\n")


def test_scores_that_are_not_numbers(model, tmp_path, monkeypatch) -> None:
    class Broken(MotifScorer):
        def __call__(self, bases: np.ndarray) -> np.ndarray:
            return super().__call__(bases) * np.float32(np.nan)

    monkeypatch.setattr(genome_evaluation, "Scorer", Broken)
    with pytest.raises(WeightsError, match=r"^`model`: scores that are not numbers"):
        evaluate_genome(model, *planted().write(tmp_path))


def test_an_ensemble_is_scored_like_its_models(model, tmp_path) -> None:
    files, models = planted().write(tmp_path), [model, random_model(80, seed=4)]
    assert (
        evaluate_genome(Ensemble(models), *files) == evaluate_genome(models, *files) != evaluate_genome(model, *files)
    )


def test_a_signal_ends_it(model, motifs, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(scorer, "_LEAST_LENGTH", 300)
    monkeypatch.setattr(scorer, "_CONTEXTS", 1)

    class Stopping(Display):
        @contextlib.contextmanager
        def progress(self, title: str, total: int, unit: str = "windows") -> Iterator[Advance]:
            yield lambda done: os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped by SIGTERM; nothing was written"):
        evaluate_genome(model, *planted().write(tmp_path), display=Stopping())


# -- in a run's folder --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_report_shows_it(motifs, finished, small_model, tmp_path, monkeypatch) -> None:
    """The copy of the genome lies in the run's folder, not among temporary files."""
    shutil.copytree(finished, root := tmp_path / "run")
    folder = RunFolder(root)
    assert is_current(read_run(root))
    models = {"untouched": Pretrained.from_pt(small_model), "tuned": Pretrained.from_pt(folder.best_model)}
    genome = planted()
    genome.motif("bare", "+", 300, "donor")
    sources = genome.write(tmp_path)
    monkeypatch.setattr(fasta.tempfile, "tempdir", str(tmp_path / "nowhere"))
    found = evaluate_genome_models(models, *sources, ["chr1", "chr2", "bare"], root, Display())
    folder.write(folder.genome_evaluation, stored.render(asdict(found)))
    run = read_run(root)
    assert not is_current(run)
    assert run.genome == found
    assert main(["report", str(root)]) == 0
    assert is_current(read_run(root))
    page = folder.report.read_text()
    assert (
        "At a score of 0.9, the tuned model finds 90% of the 5 donors, with 64.9 false positives per megabase of "
        "strand. Altogether there are 0 inside genes, 0 antisense of genes and 1 outside genes."
    ) in page
    assert page.count("</strong>, untouched</td>") == page.count("</strong>, tuned</td>") == 2
    folder.genome_evaluation.unlink()
    assert main(["report", str(root)]) == 0
    assert 'id="genome"' not in folder.report.read_text()

"""The page about data sets: its numbers, its figures, a real browser, and data sets that must do without it."""

import hashlib
import json
import re
import shlex
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_genome import COMPLEMENT, Layout, MadeGene, MadeGenome, MadeTranscript
from test_report import CHROMIUM, MEASURE, browse, console

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.commands.main import make_parser
from spliceai_jax.data.annotation import read_genes
from spliceai_jax.data.fasta import Genome
from spliceai_jax.data_sets import page
from spliceai_jax.data_sets.genes import choose_genes
from spliceai_jax.data_sets.run import DataSets, create_data
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.display import Display
from spliceai_jax.errors import SpliceAIWarning
from spliceai_jax.report.logo_spans import LOGO_SPANS

pytestmark = pytest.mark.filterwarnings("ignore:the validation set has only")

FIGURES = {"introns", "exons", "logo_donor", "logo_acceptor"}
MADE = Layout({"<b>1": 40, "two": 20, **{f"scaffold{number}": 1 for number in range(30)}}).make()


def options(made: MadeGenome, folder: Path, **more: object) -> CreateDataSettings:
    fasta, annotation = made.write(folder / "input")
    named = {"genome_fasta": fasta, "annotation_gff": annotation, "output_dir": folder / "<i>sets"}
    return CreateDataSettings(**named, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[CreateDataSettings, DataSets]:
    other = MadeTranscript("r.t", [(1000, 1100), (1200, 1300)])
    genes = [*MADE.genes, MadeGene("rna", "two", "+", [other], biotype="lncRNA")]
    settings = options(replace(MADE, genes=genes), tmp_path_factory.mktemp("page"), test_sequences=("two",))
    return settings, create_data(settings)


def text_of(sets: DataSets) -> str:
    return (sets.folder / "dataset.html").read_text()


def cells(text: str, table: str) -> dict[str, list[str]]:
    """The rows of a table: first cell -> the others."""
    rows = re.search(rf'id="{table}".*?<tbody>(.*?)</tbody>', text, re.DOTALL)[1].split("<tr>")[1:]
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return {first: rest for first, *rest in found}


# -- what it says ----------------------------------------------------------------------------------------------


def test_the_page_gives_the_numbers_of_the_record(made) -> None:
    settings, sets = made
    text, record = text_of(sets), sets.record
    rows = re.findall(r'<strong><span class="set (\w+)">(.*?)</tr>', text, re.DOTALL)
    assert [name for name, _ in rows] == ["train", "validation", "test"]
    for name, row in rows:
        shown = {key: int(value.replace(",", "")) for key, value in re.findall(r'data-name="([^"]+)">([\d,]+)<', row)}
        counts = record.sets[name]
        assert shown == {
            "genes": counts.genes,
            "windows": counts.windows,
            "donors": counts.donors,
            "acceptors": counts.acceptors,
            "without introns": counts.without_introns,
            "bases": counts.bases,
        }
    motifs = cells(text, "motifs")
    assert motifs["GT-AG"] == ["180", "100.00&nbsp;%"]
    assert motifs["others"] == ["0", "0.00&nbsp;%"]
    assert cells(text, "left-out") == {"not protein-coding": ["1"]}
    for path in (settings.genome_fasta, settings.annotation_gff):
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() in text
    assert "the sequences that were named" in text
    assert "<li>The validation set has only 14 introns" in text
    assert str(sum(map(len, MADE.sequences.values()))) in text.replace(",", "")


def test_its_command_makes_the_same_settings(made) -> None:
    settings, sets = made
    shown = re.search(r"<dt>command</dt><dd><code>(.*?)</code>", text_of(sets))[1]
    words = shlex.split(shown.replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'"))
    assert words[0] == "spliceai-jax"
    arguments = vars(make_parser().parse_args(words[1:]))
    names = {name: value for name, value in arguments.items() if name in CreateDataSettings.__dataclass_fields__}
    parsed = CreateDataSettings(**names)
    assert {name: str(value) for name, value in vars(parsed).items() if not name.endswith("sequences")} == {
        name: str(value) for name, value in vars(settings).items() if not name.endswith("sequences")
    }
    assert list(parsed.test_sequences) == list(settings.test_sequences)


def test_the_sequences_with_most_genes_are_shown_and_the_others_counted(made) -> None:
    _, sets = made
    text = text_of(sets)
    chart = re.search(r'id="sequences">(.*?)</section>', text, re.DOTALL)[1]
    shown = re.findall(r'class="name">(.*?)</span>.*?class="count">(\d+)<', chart, re.DOTALL)
    assert shown[:2] == [("&lt;b&gt;1", "40"), ("two", "20")]
    assert len(shown) == 20
    assert "and 12 more sequences with 12 genes" in chart
    parts = re.findall(r'<i class="(\w+)" style="width: ([\d.]+)%" title="\w+: (\d+)">', chart)
    by_set: Counter[str] = Counter()
    for name, _, genes in parts[:3]:
        by_set[name] += int(genes)
    assert by_set["train"] + by_set["validation"] == 40
    assert by_set["test"] == 20
    assert [float(width) for _, width, _ in parts[:3]] == pytest.approx(
        [100 * int(genes) / 40 for _, _, genes in parts[:3]]
    )


def test_genes_on_sequences_of_their_own_get_no_bars(tmp_path) -> None:
    sets = create_data(options(Layout({f"s{number}": 1 for number in range(60)}).make(), tmp_path))
    chart = re.search(r'id="sequences">(.*?)</section>', text_of(sets), re.DOTALL)[1]
    assert 'class="bar"' not in chart
    assert "60 sequences with 60 genes" in chart


def test_other_motifs_are_named(tmp_path) -> None:
    """An intron that begins with TT: its first base is changed."""
    exon_end = MADE.genes[0].transcripts[0].exons[0][1]
    assert MADE.genes[0].strand == "+"
    letters = MADE.sequences["<b>1"]
    changed = {**MADE.sequences, "<b>1": f"{letters[:exon_end]}T{letters[exon_end + 1 :]}"}
    sets = create_data(options(replace(MADE, sequences=changed), tmp_path, test_sequences=("two",)))
    motifs = cells(text_of(sets), "motifs")
    assert motifs["others (TT-AG 1)"] == ["1", "0.56&nbsp;%"]
    assert motifs["GT-AG"] == ["179", "99.44&nbsp;%"]


# -- its figures -----------------------------------------------------------------------------------------------


def test_the_page_is_whole_in_itself(made) -> None:
    _, sets = made
    text = text_of(sets)
    assert set(re.findall(r'<figure class="card" id="(\w+)"', text)) == FIGURES
    assert "<i>sets" not in text
    assert "<b>1" not in text
    assert not re.search(r'(src|href)="(?!#|data:)', text)  # nothing is fetched
    assert not re.search(r"@import|url\((?!#)", text)
    assert "<script" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert [path.name for path in sets.folder.glob("*.html")] == ["dataset.html"]


def test_the_figures_give_the_median_lengths_of_each_set(made) -> None:
    _, sets = made
    text = text_of(sets)
    for name, median in (("introns", 90), ("exons", 120)):
        figure = re.search(rf'id="{name}">(.*?)</figure>', text, re.DOTALL)[1]
        for title in ("training", "validation", "test"):
            assert f"{title}, median {median}<" in figure


@pytest.mark.parametrize("most", [3000, 50], ids=["all", "some"])
def test_logos_show_the_bases_around_sites_on_their_strand(tmp_path, monkeypatch, most) -> None:
    settings = options(MADE, tmp_path)
    with closing(Genome(settings.genome_fasta, tmp_path)) as genome:
        chosen = choose_genes(read_genes(settings.annotation_gff), genome, settings, Display()).genes
        monkeypatch.setattr(page, "_LOGO_SITES", most)
        counts = page._bases_around_sites(chosen, genome)
    donor, acceptor = counts["donor"], counts["acceptor"]
    sites = min(most, 2 * len(MADE.genes))
    assert donor.sum() == sites * len(LOGO_SPANS["donor"])
    assert donor[[3, 4]].tolist() == [[0, 0, sites, 0], [0, 0, 0, sites]]  # GT behind the exon's last base
    assert acceptor[[18, 19]].tolist() == [[sites, 0, 0, 0], [0, 0, sites, 0]]  # AG before the exon's first
    if sites == most:
        return
    expected = {kind: np.zeros((len(LOGO_SPANS[kind]), 4), int) for kind in SITE_KINDS}
    for gene in MADE.genes:
        letters = MADE.sequences[gene.sequence][gene.start : gene.end]
        if gene.strand == "-":
            letters = letters[::-1].translate(COMPLEMENT)
        for kind, places in (("donor", (119, 329)), ("acceptor", (210, 420))):
            for place in places:
                for column, offset in enumerate(LOGO_SPANS[kind]):
                    expected[kind][column, "ACGT".index(letters[place + offset])] += 1
    for kind in SITE_KINDS:
        assert np.array_equal(counts[kind], expected[kind])


def test_a_site_at_the_end_of_its_sequence_is_counted_where_there_are_bases(tmp_path) -> None:
    gene = MadeGene("g", "one", "+", [MadeTranscript("t", [(0, 1), (9, 10)])])
    settings = options(MadeGenome({"one": "AGTCCCCAGA"}, [gene]), tmp_path, accept_motifs=True)
    with closing(Genome(settings.genome_fasta, tmp_path)) as genome:
        chosen = choose_genes(read_genes(settings.annotation_gff), genome, settings, Display()).genes
        counts = page._bases_around_sites(chosen, genome)
    assert counts["donor"].sum(axis=1).tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert counts["acceptor"].sum(axis=1).tolist() == [0] * 11 + [1] * 10 + [0] * 2


# -- in a browser ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(made, tmp_path, scheme) -> None:
    """Nothing on the console; every figure whole and legible at 1200 and at 400 pixels, in both schemes."""
    _, sets = made
    text = json.dumps(text_of(sets)).replace("</", "<\\/")
    (tmp_path / "measure.html").write_text(MEASURE.replace("PAGE", text, 1))
    done = browse(tmp_path / "measure.html", tmp_path / "profile", scheme, "--dump-dom", "--virtual-time-budget=20000")
    assert not console(done)
    found = re.search(r'<pre id="result">(.+?)</pre>', done.stdout, re.DOTALL)
    wide, narrow = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert (wide["background"] < 0.1) == (scheme == "dark")
    for seen, width, least in ((wide, 1200, 450), (narrow, 400, 320)):
        assert seen["width"] == width
        assert seen["full"] <= width
        assert not seen["tooWide"]
        assert set(seen["figures"]) == FIGURES
        for name, figure in seen["figures"].items():
            assert 0 <= figure["left"] < figure["right"] <= width, name
            assert figure["width"] >= least, name
            assert figure["drawn"] > 3, name
            assert all(text["inside"] and text["contrast"] > 4.5 for text in figure["texts"]), name
            assert min(text["height"] for text in figure["texts"]) > 8, name


# -- without it ------------------------------------------------------------------------------------------------


def test_data_sets_are_whole_without_their_page(monkeypatch, tmp_path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr(page, "write_page", fail)
    with pytest.warns(SpliceAIWarning, match=r"dataset\.html: could not be made \(no font\); the data sets are whole"):
        sets = create_data(options(MADE, tmp_path))
    assert not (sets.folder / "dataset.html").exists()
    assert (sets.folder / "dataset.json").exists()
    assert all(path.exists() for path in (sets.train, sets.validation, sets.test))


def test_the_page_of_a_test_set_alone(tmp_path) -> None:
    sets = create_data(options(MADE, tmp_path, chr_split="test", test_sequences=("two",)))
    text = text_of(sets)
    assert set(re.findall(r'<figure class="card" id="(\w+)"', text)) == FIGURES
    assert 'class="set train"' not in text

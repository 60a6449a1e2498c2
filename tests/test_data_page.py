"""The page about data sets: its numbers, its figures, a real browser, and data sets that must do without it."""

import hashlib
import json
import re
import shlex
import warnings
from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, full, needs_shared
from synthetic_genome import COMPLEMENT, Layout, MadeGene, MadeGenome, MadeTranscript, random_letters, with_motifs
from test_report import CHROMIUM, MEASURE, browse, console

from spliceai_jax import stored
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.commands.main import make_parser
from spliceai_jax.data_sets import page, run
from spliceai_jax.data_sets.folder import DataSetsRecord
from spliceai_jax.data_sets.gene_views import GeneView, example_genes
from spliceai_jax.data_sets.genes import choose_genes
from spliceai_jax.data_sets.plan import plan_data_sets
from spliceai_jax.data_sets.run import DataSets, create_data
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.usual import Check, check_genes
from spliceai_jax.display import Display
from spliceai_jax.errors import SpliceAIWarning
from spliceai_jax.genome.annotation import read_annotation
from spliceai_jax.genome.annotation_repairs import Repair
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.report.test_set import LOGO_SPANS

pytestmark = pytest.mark.filterwarnings("ignore:the .* set has only")

FIGURES = {"introns", "exons", "sites", "transcripts", "logo_donor", "logo_acceptor"}
EXAMPLES = {"gene_1", "gene_2", "gene_3"}
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
    rows = re.search(rf'id="{table}".*?<tbody>(.*?)</tbody>', text, re.DOTALL)[1]
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.split("<tr[^>]*>", rows)[1:]]
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


# -- whether they are right ------------------------------------------------------------------------------------


def chain(name: str, start: int, introns: list[int], exon: int = 100, **more: object) -> MadeTranscript:
    """A transcript that begins here, of exons of the same length and these introns; all of it is CDS."""
    exons = [(start, start + exon)]
    for intron in introns:
        exons.append((exons[-1][1] + intron, exons[-1][1] + intron + exon))
    return MadeTranscript(name, exons, exons, **more)


def peculiar_genome() -> MadeGenome:
    """Ten genes of the test sequence, and others with a short intron, a long one, and several transcripts."""
    one = [
        MadeGene("short", "one", "+", [chain("short.t", 100, [80, 12, 90])]),
        MadeGene("long", "one", "-", [chain("long.t", 1000, [5000])]),
        MadeGene(
            "three",
            "one",
            "-",
            [
                chain("three.a", 7000, [60, 60]),
                chain("three.b", 7000, [220], tag="Ensembl_canonical"),
                chain("three.c", 7000, []),
            ],
        ),
        MadeGene("two", "one", "+", [chain("two.a", 8000, [70]), chain("two.b", 8000, [70, 70])]),
    ]
    one += [MadeGene(f"plain{k}", "one", "+-"[k % 2], [chain(f"p{k}.t", 9000 + 500 * k, [70, 70])]) for k in range(6)]
    rna = MadeGene("rna", "one", "+", [MadeTranscript("rna.t", [(12500, 12600)])], biotype="lncRNA")
    two = [MadeGene(f"t{k}", "two", "+", [chain(f"t{k}.t", 100 + 500 * k, [75, 75])]) for k in range(10)]
    random = np.random.default_rng(0)
    letters = {"one": with_motifs(random_letters(13000, random), one), "two": random_letters(6000, random)}
    letters["one"] = letters["one"][:380] + "CA" + letters["one"][382:]  # the short intron has no usual motif
    return MadeGenome({**letters, "two": with_motifs(letters["two"], two)}, [*one, rna, *two])


REPAIRS = [Repair(f"rule {k}", k, f"{k} things <are> mended in way {k}") for k in range(1, 12)]


class Shown(Display):
    """Keeps what would be shown."""

    def __init__(self) -> None:
        self.named: dict[str, str] = {}

    def facts(self, facts: dict[str, str]) -> None:
        self.named |= facts


def made_with_repairs(settings: CreateDataSettings, repairs: list[Repair]) -> tuple[DataSets, Shown, list[str]]:
    """Make data sets as if these repairs had been made; return also what is shown, and what is said of repairs."""
    shown = Shown()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        repairing(patch, repairs)
        sets = create_data(settings, shown)
    return sets, shown, [text for note in notes if (text := str(note.message)).startswith("repaired: ")]


def repairing(monkeypatch: pytest.MonkeyPatch, repairs: list[Repair]) -> None:
    """Let `create_data` read annotations as if these repairs had been made."""
    monkeypatch.setattr(
        run,
        "read_annotation",
        lambda *given, **named: replace(read_annotation(*given, **named), repairs=tuple(repairs)),
    )


@pytest.fixture(scope="module")
def peculiar(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSets, Shown, list[str]]:
    folder = tmp_path_factory.mktemp("peculiar")
    return made_with_repairs(
        options(peculiar_genome(), folder, test_sequences=("two",), remove_paralogs=False), REPAIRS
    )


def test_all_repairs_are_on_the_page_and_in_the_record_and_eight_in_the_console(peculiar) -> None:
    sets, _, told = peculiar
    text = text_of(sets)
    assert cells(text, "repairs") == {
        f"<strong>{repair.rule}</strong><br>{repair.text.replace('<are>', '&lt;are&gt;')}": [str(repair.count)]
        for repair in REPAIRS
    }
    assert sets.record.repairs == REPAIRS
    assert stored.read(sets.folder / "dataset.json", DataSetsRecord) == sets.record
    more = "repaired: 3 more things, which the page names"
    assert told == [*(f"repaired: {repair.text}" for repair in REPAIRS[:8]), more]


@pytest.mark.parametrize("count", [0, 8])
def test_no_repair_is_left_out_where_there_are_few(tmp_path, count) -> None:
    sets, _, told = made_with_repairs(options(MADE, tmp_path, test_sequences=("two",)), REPAIRS[:count])
    assert told == [f"repaired: {repair.text}" for repair in REPAIRS[:count]]
    assert ("Nothing: the annotation was read as it stands." in text_of(sets)) == (count == 0)


def test_genes_by_source_and_biotype(peculiar) -> None:
    sets, _, _ = peculiar
    found = {(kind.source, kind.biotype): (kind.annotated, kind.in_sets) for kind in sets.record.kinds}
    assert found == {("made", "protein_coding"): (20, 20), ("made", "lncRNA"): (1, 0)}
    assert cells(text_of(sets), "kinds") == {"made, protein_coding": ["20", "20"], "made, lncRNA": ["1", "0"]}


def test_many_sources_are_counted_together(tmp_path) -> None:
    settings = options(MADE, tmp_path)
    numbered = iter(range(1000))
    lines = Path(settings.annotation_gff).read_text().splitlines()
    lines = [
        line.replace("made\tgene", f"s{next(numbered):02}\tgene") if "\tgene\t" in line else line for line in lines
    ]
    lines = [line.replace("s00\tgene", ".\tgene") for line in lines]
    Path(settings.annotation_gff).write_text("\n".join(lines) + "\n")
    rows = cells(text_of(create_data(settings)), "kinds")
    assert rows["no source, protein_coding"][0] == rows["s11, protein_coding"][0] == "1"
    assert "s12, protein_coding" not in rows
    assert rows["78 others"][0] == "78"


def test_the_shortest_and_the_longest_introns_are_named(peculiar) -> None:
    sets, _, _ = peculiar
    text = text_of(sets)
    short, long = next(iter(cells(text, "shortest").items())), next(iter(cells(text, "longest").items()))
    assert short == ('short<span class="place mono">one:381-392 +</span>', ["CA-AG", "12"])
    assert long == ('long<span class="place mono">one:1,101-6,100 −</span>', ["GT-AG", "5,000"])
    lengths = [intron.length for intron in sets.record.shortest_introns]
    assert lengths == [12, 70, 70, 70, 70]
    assert [intron.length for intron in sets.record.longest_introns] == [5000, 220, 90, 80, 75]


def test_how_many_sites_and_transcripts_and_what_decided(peculiar) -> None:
    sets, _, _ = peculiar
    assert sets.record.transcripts == {"1": 18, "2": 1, "3": 1}
    assert sets.record.sites == {"2": 2, "4": 17, "6": 1}
    assert sets.record.decided_by == {"only transcript": 18, "Ensembl_canonical": 1, "longest CDS": 1}
    assert cells(text_of(sets), "decided") == {
        "only transcript": ["18"],
        "Ensembl_canonical": ["1"],
        "longest CDS": ["1"],
    }
    figure = re.search(r'id="sites">(.*?)</figure>', text_of(sets), re.DOTALL)[1]
    assert "test, mean 4.0<" in figure


def test_unusual_numbers_are_marked_and_told(peculiar) -> None:
    """One of 39 introns is short and without a usual motif: a single one is not called unusual."""
    sets, shown, _ = peculiar
    rows = cells(text_of(sets), "checks")
    assert rows["introns of fewer than 30 bases"] == ["2.56 %", "at most 0.1 %", "usual"]
    assert "unusual" not in shown.named
    assert "All 11 numbers are usual." in text_of(sets)


def test_two_short_introns_are_unusual(tmp_path) -> None:
    made = peculiar_genome()
    gene = MadeGene("frames", "one", "+", [chain("frames.t", 12600, [12])])
    shown = Shown()
    sets = create_data(
        options(replace(made, genes=[*made.genes, gene]), tmp_path, test_sequences=("two",), remove_paralogs=False),
        shown,
    )
    text = text_of(sets)
    (name,) = (name for name in cells(text, "checks") if name.startswith("introns of fewer than 30 bases"))
    assert "frame shifts" in name
    assert cells(text, "checks")[name] == ["5 %", "at most 0.1 %", "unusual"]
    assert len(re.findall('<tr class="unusual">', text)) == 2
    assert "2 of 11 numbers are" in text
    assert "introns of fewer than 30 bases: 5 % (usual: at most 0.1 %)" in shown.named["unusual"]


def checks(made: MadeGenome, folder: Path, **more: object) -> dict[str, Check]:
    settings = options(made, folder, accept_motifs=True, **more)
    with closing(Genome(settings.genome_fasta, folder)) as genome:
        choice = choose_genes(read_annotation(settings.annotation_gff), genome, settings, Display())
    return {check.name: check for check in check_genes(choice.genes, choice.motifs)}


def test_what_is_unusual_of_genes_that_were_read_wrongly(tmp_path) -> None:
    """Genes that are one, transcripts without CDS that are canonical, and a gene of all transcripts of a strand."""
    same = [MadeGene(f"same{k}", "one", "+", [chain(f"s{k}", 100, [20] * 3, exon=20)]) for k in range(3)]
    noncoding = [
        MadeGene(
            f"n{k}",
            "one",
            "-",
            [
                replace(chain(f"n{k}.a", 1000 * k + 1000, [40], exon=20, biotype="protein_coding"), cds=()),
                chain(f"n{k}.b", 1000 * k + 1000, [], exon=20, biotype="protein_coding"),
            ],
        )
        for k in range(3)
    ]
    crowd = [MadeGene("crowd", "one", "+", [chain(f"x{k}", 7000 + k, [], exon=20) for k in range(200)])]
    letters = random_letters(9000, np.random.default_rng(0))
    made = MadeGenome({"one": with_motifs(letters, same)}, [*same, *noncoding, *crowd])
    found = checks(made, tmp_path, canonical_by="span")
    assert {name for name, check in found.items() if not check.usual} == {
        "introns that begin with GT and end with AG",
        "introns of fewer than 30 bases",
        "length of introns, median",
        "length of exons, median",
        "transcripts of a gene, mean",
        "introns that several genes have",
        "coding genes whose canonical transcript has no CDS",
    }
    assert found["introns that several genes have"].value == 50
    assert found["length of introns, median"].value == 20


@needs_shared
@pytest.mark.parametrize(
    "species", full(["demo/fly_genome", "data/arabidopsis_genome", "data/celegans"], "demo/fly_genome")
)
def test_real_annotations_are_usual(tmp_path, species) -> None:
    folder = SHARED / species
    settings = CreateDataSettings(
        genome_fasta=folder / "genome.fa.gz", annotation_gff=folder / "annotation.gff3.gz", output_dir=tmp_path
    )
    with closing(Genome(settings.genome_fasta, tmp_path)) as genome:
        choice = choose_genes(read_annotation(settings.annotation_gff), genome, settings, Display())
    assert not [check for check in check_genes(choice.genes, choice.motifs) if not check.usual]


# -- example genes ---------------------------------------------------------------------------------------------


def views(made: MadeGenome, folder: Path, **more: object) -> list[GeneView]:
    settings = options(made, folder, remove_paralogs=False, **more)
    with closing(Genome(settings.genome_fasta, folder)) as genome:
        annotation = read_annotation(settings.annotation_gff)
        return example_genes(plan_data_sets(settings, genome, annotation, folder, Display()))


def test_examples_are_of_both_strands_and_one_has_several_transcripts(tmp_path) -> None:
    """Though shorter genes are all of one strand and of one transcript."""
    genes = [MadeGene(f"p{k}", "one", "+", [chain(f"p{k}.t", 100 + 600 * k, [70, 70])]) for k in range(12)]
    genes.append(MadeGene("minus", "one", "-", [chain("minus.t", 8000, [150, 150])]))
    several = [chain("several.a", 9000, [200, 200]), chain("several.b", 9000, [200])]
    genes.append(MadeGene("several", "one", "+", several))
    test = [MadeGene(f"t{k}", "two", "+", [chain(f"t{k}.t", 100 + 600 * k, [71, 71])]) for k in range(5)]
    random = np.random.default_rng(0)
    letters = {"one": with_motifs(random_letters(11000, random), genes), "two": random_letters(4000, random)}
    made = MadeGenome({**letters, "two": with_motifs(letters["two"], test)}, [*genes, *test])
    found = [view.chosen.gene.name for view in views(made, tmp_path, test_sequences=("two",))]
    assert found[0].startswith("p")
    assert found[1:] == ["minus", "several"]


def test_exons_and_labels_of_an_example_lie_where_they_are(tmp_path) -> None:
    """Ends of exons and labelled bases, turned back from percents of the view, on both strands."""
    made = peculiar_genome()
    for view in views(made, tmp_path, test_sequences=("two",), isoforms="mask"):
        gene = view.chosen.gene
        margin = round(0.03 * (gene.end - gene.start))
        scale = (gene.end - gene.start + 2 * margin) / 100
        (transcript,) = (t for g in made.genes for t in g.transcripts if t.name == view.canonical.name)
        exons = [(round(x * scale + gene.start - margin), round((x + w) * scale + gene.start - margin))
                 for x, w in view.canonical.exons]  # fmt: skip
        assert exons == list(transcript.exons)
        ends, starts = [end - 1 for _, end in exons[:-1]], [start for start, _ in exons[1:]]
        donors, acceptors = (
            [int(x * scale + gene.start - margin) for x in places] for places in (view.donors, view.acceptors)
        )
        assert (donors, acceptors) == ((ends, starts) if gene.strand == "+" else (starts, ends))
        assert view.ticks
        for place, position, _ in view.ticks:
            assert place * scale + gene.start - margin + 0.5 == pytest.approx(position)
            assert position % 50 == 0
        left_out = {int(x * scale + gene.start - margin) for x in view.left_out}
        of_gene = next(g for g in made.genes if g.name == gene.name)
        others = {(end - 1, start) for t in of_gene.transcripts for (_, end), (start, _) in pairwise(t.exons)}
        assert left_out == {place for intron in others for place in intron} - {*donors, *acceptors}


@pytest.mark.slow
def test_transcripts_beyond_the_third_are_counted(tmp_path) -> None:
    genes = [MadeGene("g", "two", "+", [chain(f"g.{k}", 100, [70], exon=100 - k) for k in range(7)])]
    genes += [MadeGene(f"s{k}", "one", "+", [chain(f"s{k}.t", 100 + 500 * k, [75, 75])]) for k in range(12)]
    random = np.random.default_rng(0)
    letters = {name: random_letters(8000, random) for name in ("one", "two")}
    letters = {name: with_motifs(text, [g for g in genes if g.sequence == name]) for name, text in letters.items()}
    sets = create_data(options(MadeGenome(letters, genes), tmp_path, test_sequences=("two",), remove_paralogs=False))
    figure = re.search(r'<figure class="card browser" id="gene_1">(.*?)</figure>', text_of(sets), re.DOTALL)[1]
    assert "two:101-370" in figure
    assert figure.count('class="other"') == 3
    assert "and 3 more transcripts" in figure


# -- its figures -----------------------------------------------------------------------------------------------


def test_the_page_is_whole_in_itself(made) -> None:
    _, sets = made
    text = text_of(sets)
    assert set(re.findall(r'<figure class="card[^"]*" id="(\w+)"', text)) == FIGURES | EXAMPLES
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
        chosen = choose_genes(read_annotation(settings.annotation_gff), genome, settings, Display()).genes
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
    gene = MadeGene("g", "one", "+", [MadeTranscript("t", [(0, 1), (13, 14)])])
    settings = options(MadeGenome({"one": "AGTCCCCCCCCAGA"}, [gene]), tmp_path, accept_motifs=True)
    with closing(Genome(settings.genome_fasta, tmp_path)) as genome:
        chosen = choose_genes(read_annotation(settings.annotation_gff), genome, settings, Display()).genes
        counts = page._bases_around_sites(chosen, genome)
    assert counts["donor"].sum(axis=1).tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert counts["acceptor"].sum(axis=1).tolist() == [0] * 7 + [1] * 14 + [0] * 2


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
        assert set(seen["figures"]) == FIGURES | EXAMPLES
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

"""What data sets hold, against a plain account of it in this file, and how genes are divided among them."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import random_model
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from synthetic_genome import (
    COMPLEMENT,
    Layout,
    MadeGene,
    MadeGenome,
    MadeTranscript,
    as_fasta,
    as_gff3,
    made_genomes,
    random_letters,
    with_motifs,
)

from spliceai_jax.architecture import PADDING
from spliceai_jax.data_sets.genes import Choice, choose_genes
from spliceai_jax.data_sets.plan import DataPlan, plan_data_sets
from spliceai_jax.data_sets.run import create_data
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import split_genes
from spliceai_jax.data_sets.writing import verify_dataset, write_datafile, write_dataset, write_other_sites
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError, SettingsError
from spliceai_jax.evaluation.evaluate import evaluate
from spliceai_jax.genome.annotation import read_annotation
from spliceai_jax.genome.annotation_repairs import SHORTEST_INTRON
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.windows.gene_table import other_sites
from spliceai_jax.windows.hdf5 import read_windows

pytestmark = pytest.mark.filterwarnings("ignore::spliceai_jax.errors.SpliceAIWarning")

QUIET = {"suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
MOTIFS = {"GT-AG", "GC-AG", "AT-AC"}


@contextmanager
def opened(made: MadeGenome, **options: object) -> Iterator[tuple[CreateDataSettings, Genome, Choice]]:
    """The genes chosen from a genome's files, by options of `create_data`."""
    with tempfile.TemporaryDirectory() as folder:
        fasta, annotation = made.write(Path(folder))
        named = {"genome_fasta": fasta, "annotation_gff": annotation, "output_dir": Path(folder) / "out"}
        chosen_by = CreateDataSettings(**named, accept_motifs=True, **options)
        with closing(Genome(fasta, Path(folder))) as genome:
            yield chosen_by, genome, choose_genes(read_annotation(annotation), genome, chosen_by, Display())


# -- labels ----------------------------------------------------------------------------------------------------


def introns_of(made: MadeTranscript) -> list[tuple[int, int]]:
    return [(end, start) for (_, end), (start, _) in pairwise(made.exons) if start - end >= SHORTEST_INTRON]


def letters_of(made: MadeGenome, gene: MadeGene, before: int = 0, behind: int = 0) -> str:
    """The bases of a gene, and so many to each side, as it is read; N beyond the sequence."""
    whole = made.sequences[gene.sequence].upper()
    letters = "".join(
        whole[at] if 0 <= at < len(whole) and whole[at] in "ACGT" else "N"
        for at in range(gene.start - before, gene.end + behind)
    )
    return letters if gene.strand == "+" else letters[::-1].translate(COMPLEMENT)


def canonical_of(made: MadeGene, by: str) -> MadeTranscript:
    def coding(transcript: MadeTranscript) -> int:
        return sum(end - start for start, end in transcript.cds)

    candidates = [transcript for transcript in made.transcripts if coding(transcript)] or list(made.transcripts)
    if by == "tag":
        candidates = [transcript for transcript in candidates if transcript.tag] or candidates
    if by != "span" and any(map(coding, candidates)):
        return max(candidates, key=coding)
    return max(candidates, key=lambda transcript: transcript.exons[-1][1] - transcript.exons[0][0])


def plain_labels(gene: MadeGene, introns: Sequence[tuple[int, int]], left_out: Sequence[tuple[int, int]] = ()) -> str:
    """A digit a base, as it is read: 0 neither, 1 acceptor, 2 donor, 3 left out."""
    found = ""
    for base in range(gene.start, gene.end):
        ends_an_exon = base + 1 in {first for first, _ in introns}
        begins_an_exon = base in {behind for _, behind in introns}
        # An exon of a single base does both; OpenSpliceAI decides so.
        if ends_an_exon:
            found += "2" if gene.strand == "+" else "1"
        elif begins_an_exon:
            found += "1" if gene.strand == "+" else "2"
        elif any(base in (first - 1, behind) for first, behind in left_out):
            found += "3"
        else:
            found += "0"
    return found if gene.strand == "+" else found[::-1]


def motif(made: MadeGenome, gene: MadeGene, intron: tuple[int, int]) -> str:
    """Of two bases each, also where the intron has only one."""
    ends = [
        letters_of(made, replace(gene, span=span)) for span in ((intron[0], intron[0] + 2), (intron[1] - 2, intron[1]))
    ]
    return "-".join(ends if gene.strand == "+" else ends[::-1])


def as_text(labels: np.ndarray) -> str:
    return "".join(map(str, labels))


def expected_labels(made: MadeGenome, gene: MadeGene, isoforms: str, by: str, canonical_only: bool) -> str:
    kept = {
        "canonical": lambda: [canonical_of(gene, by)],
        "union": lambda: [t for t in gene.transcripts if t.cds] or list(gene.transcripts),
        "mask": lambda: [canonical_of(gene, by)],
    }[isoforms]()
    labelled = [intron for transcript in kept for intron in introns_of(transcript)]
    if canonical_only:
        labelled = [intron for intron in labelled if motif(made, gene, intron) in MOTIFS]
    beside = [other for other in made.genes if (other.sequence, other.strand) == (gene.sequence, gene.strand)]
    others = [intron for other in beside for transcript in other.transcripts for intron in introns_of(transcript)]
    return plain_labels(gene, labelled, others if isoforms == "mask" else ())


@settings(**QUIET)
@given(
    made=made_genomes(),
    isoforms=st.sampled_from(["canonical", "union", "mask"]),
    by=st.sampled_from(["tag", "cds", "span"]),
    canonical_only=st.booleans(),
)
def test_labels_are_those_of_a_plain_account(made, isoforms, by, canonical_only):
    expected = {g.name: expected_labels(made, g, isoforms, by, canonical_only) for g in made.genes}
    assume(any(set(labels) & set("12") for labels in expected.values()))
    with opened(made, isoforms=isoforms, canonical_by=by, canonical_only=canonical_only) as (_, genome, choice):
        assert [chosen.gene.name for chosen in choice.genes] == [gene.name for gene in made.genes]
        for chosen, gene in zip(choice.genes, made.genes, strict=True):
            assert as_text(chosen.labels()) == expected[gene.name]
            assert chosen.canonical.name == canonical_of(gene, by).name
        with tempfile.NamedTemporaryFile() as file:
            write_datafile(Path(file.name), choice.genes, genome)
            columns = {name: [v.decode() for v in data] for name, data in h5py.File(file.name).items()}
    assert columns == {
        "NAME": [gene.name for gene in made.genes],
        "CHROM": [gene.sequence for gene in made.genes],
        "STRAND": [gene.strand for gene in made.genes],
        "TX_START": [str(gene.start + 1) for gene in made.genes],
        "TX_END": [str(gene.end) for gene in made.genes],
        "SEQ": [letters_of(made, gene) for gene in made.genes],
        "LABEL": [expected[gene.name] for gene in made.genes],
    }


@pytest.mark.parametrize("strand", ["+", "-"])
def test_isoforms_that_share_sites(strand):
    """A donor of two acceptors, an acceptor of two donors, an intron of both: each site is labelled once."""
    chains = [[(300, 400), (500, 600), (700, 800)], [(300, 400), (520, 600), (700, 800)], [(300, 390), (500, 600)]]
    gene = MadeGene("gene", "one", strand, [MadeTranscript(f"t{n}", chain) for n, chain in enumerate(chains)])
    made = MadeGenome({"one": random_letters(1500, np.random.default_rng(1))}, [gene])
    lefts, rights = {399, 389, 599}, {500, 520, 700}
    with opened(made, isoforms="union") as (_, _, choice):
        labels = choice.genes[0].labels()[:: 1 if strand == "+" else -1]
        assert {int(at) + 300 for at in np.flatnonzero(labels == 2)} == (lefts if strand == "+" else rights)
        assert {int(at) + 300 for at in np.flatnonzero(labels == 1)} == (rights if strand == "+" else lefts)
        assert len(choice.genes[0].introns) == 4
    with opened(made, isoforms="mask") as (_, _, choice):
        labels = choice.genes[0].labels()[:: 1 if strand == "+" else -1]
        assert {int(at) + 300 for at in np.flatnonzero(labels == PADDING)} == {389, 520}
    with opened(made, isoforms="canonical") as (named, _, choice):
        folder = Path(named.annotation_gff).parent
        write_other_sites(folder / "set_other_sites.txt", choice.genes)
        kinds = ("donor", "acceptor") if strand == "+" else ("acceptor", "donor")
        others = {("gene", kinds[0], "one", 390), ("gene", kinds[1], "one", 521)}  # counted from 1
        assert other_sites(folder / "dataset_set.h5") == others


# -- windows ---------------------------------------------------------------------------------------------------


def plain_windows(made: MadeGenome, gene: MadeGene, labels: str, context: str) -> Iterator[tuple[str, str]]:
    """Letters (15000) and labels (5000, "." for padding) of each window of a gene."""
    count = (len(labels) + 4999) // 5000
    letters = letters_of(made, gene, 5000, 5000)
    if context == "N":
        letters = "N" * 5000 + letters[5000:-5000] + "N" * 5000
    letters = letters.ljust(count * 5000 + 10000, "N")
    labels = labels.ljust(count * 5000, ".")
    for at in range(0, count * 5000, 5000):
        yield letters[at : at + 15000], labels[at : at + 5000]


def one_hot(text: str, letters: str) -> np.ndarray:
    found = np.frombuffer(text.encode(), np.uint8)
    return np.stack([found == ord(letter) for letter in letters], axis=1).astype(np.int8)


def long_genes() -> MadeGenome:
    """Genes of 1, 2 and 3 windows, to the base, some near or at a sequence's ends and beside each other."""
    random, genes, sequences = np.random.default_rng(5), [], {}
    for name, first in (("one", 0), ("two", 6000)):
        here, at = [], first
        for number, (length, strand) in enumerate(
            [(5000, "+"), (5001, "-"), (10000, "+"), (4999, "-"), (10001, "+"), (10000, "-")]
        ):
            exons = [(at, at + 7), (at + 1000, at + 1001), (at + 2000, at + 2100), (at + length - 9, at + length)]
            here.append(MadeGene(f"{name}{number}", name, strand, [MadeTranscript(f"{name}{number}t", exons)]))
            at += length + (300 if number % 2 else -20)
        letters = with_motifs(random_letters(at - 300 + first, random), here)
        sequences[name] = letters[:3000] + "nRyacgt" + letters[3007:]
        genes += here
    return MadeGenome(sequences, genes)


@pytest.mark.parametrize("context", ["genome", "N"])
def test_windows_are_those_of_a_plain_account(tmp_path, context):
    made = long_genes()
    path = tmp_path / "set.h5"
    with opened(made, context=context) as (_, genome, choice):
        counts = write_dataset(path, choice.genes, genome, context, lambda done: None)
        verify_dataset(path, choice.genes, genome, context, lambda done: None)
        labels = [as_text(chosen.labels()) for chosen in choice.genes]
    windows = [w for g, own in zip(made.genes, labels, strict=True) for w in plain_windows(made, g, own, context)]
    with h5py.File(path) as file:
        assert set(file) == {"X0", "Y0"}
        assert (file["X0"].dtype, file["X0"].shape) == (np.int8, (len(windows), 15000, 4))
        assert (file["Y0"].dtype, file["Y0"].shape) == (np.int8, (1, len(windows), 5000, 3))
        for row, (letters, own) in enumerate(windows):
            assert np.array_equal(file["X0"][row], one_hot(letters, "ACGT")), row
            assert np.array_equal(file["Y0"][0, row], one_hot(own, "012")), row
    assert (counts.genes, counts.windows) == (12, len(windows))
    assert counts.bases == sum(gene.end - gene.start for gene in made.genes)
    assert (counts.donors, counts.acceptors) == tuple("".join(labels).count(kind) for kind in "21")


def test_a_shard_holds_a_hundred_genes(tmp_path):
    made = Layout({"one": 201}, apart=20, exon=10, intron=10).make()
    path = tmp_path / "set.h5"
    with opened(made) as (_, genome, choice):
        write_dataset(path, choice.genes, genome, "N", lambda done: None)
        write_dataset(tmp_path / "last.h5", choice.genes[200:], genome, "N", lambda done: None)
    with h5py.File(path) as file, h5py.File(tmp_path / "last.h5") as last:
        assert {name: data.shape[0 if name[0] == "X" else 1] for name, data in file.items()} == {
            "X0": 100, "X1": 100, "X2": 1, "Y0": 100, "Y1": 100, "Y2": 1,
        }  # fmt: skip
        assert np.array_equal(file["X2"][:], last["X0"][:])


def test_verifying_finds_a_single_wrong_value(tmp_path):
    path = tmp_path / "set.h5"
    with opened(Layout({"one": 3}).make()) as (_, genome, choice):
        write_dataset(path, choice.genes, genome, "genome", lambda done: None)
        with h5py.File(path, "r+") as file:
            file["Y0"][0, 2, 4999] = [1, 0, 0]
        with pytest.raises(DatasetError, match=r"set.h5: did not read back .*shard 0, window 2"):
            verify_dataset(path, choice.genes, genome, "genome", lambda done: None)


@pytest.mark.slow
def test_left_out_sites_count_in_no_loss_and_no_metric(tmp_path):
    """The reader takes them for padding in the middle of a window."""
    exons = [(300, 400), (500, 560), (700, 800), (900, 1000)]
    full = MadeTranscript("t1", exons, exons)
    skipping = MadeTranscript("t2", [exons[0], (700, 790), exons[3]], [])
    gene = MadeGene("gene", "one", "+", [full, skipping], span=(300, 1000))
    beside = MadeGene("beside", "one", "+", [MadeTranscript("u", [(350, 450), (600, 650)])])  # with sites of its own
    against = MadeGene("against", "one", "-", [MadeTranscript("v", [(350, 470), (620, 650)])])
    made = MadeGenome(
        {"one": with_motifs(random_letters(2000, np.random.default_rng(1)), [gene, beside, against])},
        [gene, beside, against],
    )
    path = tmp_path / "set.h5"
    with opened(made, isoforms="mask") as (_, genome, choice):
        counts = write_dataset(path, choice.genes[:1], genome, "N", lambda done: None)
    assert (counts.donors, counts.acceptors, counts.left_out_sites) == (3, 3, 3)
    labels = read_windows(path, 80).labels[0]
    left_out = [790 - 1, 450 - 1, 600]
    assert np.flatnonzero(labels[:700] == PADDING).tolist() == sorted(at - 300 for at in left_out)
    model = random_model(80)
    metrics = evaluate(_saved(model, tmp_path), path)
    letters = "N" * 40 + letters_of(made, gene) + "N" * 40
    scores, counted = model.predict([letters])[0], labels[:700] != PADDING
    true = np.eye(4)[labels[:700]][:, :3]
    losses = -np.log((scores * true).sum(1)[counted] + 1e-10)
    assert metrics.loss == pytest.approx(losses.mean(), rel=1e-4)
    for kind, site in ((1, metrics.acceptor), (2, metrics.donor)):
        assert site.sites == 3
        expected = average_precision_score(labels[:700][counted] == kind, scores[counted, kind])
        assert site.auprc == pytest.approx(expected, rel=1e-6)


def _saved(model, folder: Path) -> Path:
    model.to_pt(folder / "model.pt")
    return folder / "model.pt"


# -- which transcript stands for a gene, which genes are taken -----------------------------------------------------


def transcript(name: str, length: int, cds: int = 0, **more: str) -> MadeTranscript:
    """Two exons over so many bases."""
    exons = [(300, 350), (300 + length - 50, 300 + length)]
    return MadeTranscript(name, exons, [(300, 300 + cds)] if cds else (), **more)


@pytest.mark.parametrize(
    ("by", "transcripts", "canonical"),
    [
        ("span", [transcript("a", 500), transcript("b", 600), transcript("c", 600)], "b"),
        ("cds", [transcript("a", 600, 20), transcript("b", 500, 30), transcript("c", 500, 30)], "b"),
        ("cds", [transcript("a", 500), transcript("b", 600)], "b"),  # as "span" where there is no CDS
        ("tag", [transcript("a", 600, 30), transcript("b", 500, 20, tag="Ensembl_canonical")], "b"),
        ("tag", [transcript("a", 600, 9, tag="RefSeq Select"), transcript("b", 500, 9, tag="MANE Select")], "b"),
        ("tag", [transcript("a", 500, 9, tag="MANE_Select"), transcript("b", 600, 9, tag="MANE Select")], "a"),
        ("tag", [transcript("a", 600, 20, tag="basic"), transcript("b", 500, 30)], "b"),  # as "cds" without a tag
        ("tag", [transcript("a", 500), transcript("b", 600)], "b"),  # and as "span" without that
        ("span", [transcript("a", 500, 20, tag="MANE_Select"), transcript("b", 600, 10)], "b"),
        # A transcript that is not coding does not stand for a coding gene, however long or tagged.
        (
            "span",
            [transcript("a", 600, biotype="ncRNA"), transcript("b", 500, biotype="protein_coding")],
            "b",
        ),
        ("tag", [transcript("a", 600, tag="MANE_Select"), transcript("b", 500, 30)], "b"),
    ],
)
def test_the_canonical_transcript(by, transcripts, canonical):
    gene = MadeGene("gene", "one", "+", transcripts)
    made = MadeGenome({"one": random_letters(1500, np.random.default_rng(1))}, [gene])
    with opened(made, canonical_by=by) as (_, _, choice):
        assert choice.genes[0].canonical.name == canonical


def of_biotypes(**biotypes: str) -> MadeGenome:
    made = Layout({"one": len(biotypes)}).make()
    genes = [
        replace(gene, name=name, biotype=biotype, transcripts=[replace(gene.transcripts[0], cds=())])
        for gene, (name, biotype) in zip(made.genes, biotypes.items(), strict=True)
    ]
    return MadeGenome(made.sequences, genes)


@pytest.mark.parametrize(
    ("biotype", "taken"),
    [("protein-coding", ["a", "c"]), ("non-coding", ["b", "d"]), ("all", ["a", "b", "c", "d"])],
)
def test_biotypes(biotype, taken):
    made = of_biotypes(a="protein_coding", b="lncRNA", c="protein_coding", d="")
    with opened(made, biotype=biotype) as (_, _, choice):
        assert [chosen.gene.name for chosen in choice.genes] == taken
        assert choice.left_out.total() == 4 - len(taken)


def test_cds_tells_where_there_are_no_biotypes():
    made = Layout({"one": 2}).make()
    genes = [replace(gene, biotype="") for gene in made.genes]
    genes[1] = replace(genes[1], transcripts=[replace(genes[1].transcripts[0], cds=())])
    with opened(MadeGenome(made.sequences, genes)) as (_, _, choice):
        assert [chosen.gene.name for chosen in choice.genes] == ["one.0"]
    with opened(MadeGenome(made.sequences, genes), biotype="non-coding") as (_, _, choice):
        assert [chosen.gene.name for chosen in choice.genes] == ["one.1"]


def test_a_coding_transcript_without_exons():
    """It does not stand for its gene, and another one does."""
    made = Layout({"one": 1}).make()
    [whole] = made.genes[0].transcripts
    bare = replace(whole, name="bare", exons=[(0, 900)], cds=(), biotype="protein_coding")
    gene = replace(made.genes[0], transcripts=[bare, replace(whole, cds=(), biotype="ncRNA")])
    with tempfile.TemporaryDirectory() as folder:
        fasta, annotation = MadeGenome(made.sequences, [gene]).write(Path(folder))
        lines = annotation.read_text().splitlines()
        annotation.write_text("\n".join(line for line in lines if "\texon\t" not in line or "bare" not in line))
        by = CreateDataSettings(genome_fasta=fasta, annotation_gff=annotation, output_dir=folder, canonical_by="span")
        with closing(Genome(fasta, Path(folder))) as genome:
            [chosen] = choose_genes(read_annotation(annotation), genome, by, Display()).genes
    assert chosen.canonical.name == whole.name
    assert len(chosen.introns) == 2


def test_trans_spliced_genes_are_left_out():
    made = Layout({"one": 2}).make()
    spliced = replace(made.genes[0].transcripts[0], more=";exception=trans-splicing")
    with opened(MadeGenome(made.sequences, [replace(made.genes[0], transcripts=[spliced]), made.genes[1]])) as opening:
        choice = opening[2]
        assert [chosen.gene.name for chosen in choice.genes] == ["one.1"]
        assert choice.left_out.total() == 1


def test_an_annotation_of_more_sequences_than_the_genome_has():
    made = Layout({"one": 3, "two": 2}).make()
    with opened(MadeGenome({"one": made.sequences["one"], "three": "ACGT"}, made.genes)) as (_, _, choice):
        assert len(choice.genes) == 3
        assert choice.left_out["on a sequence that the genome lacks"] == 2
        [note] = choice.notes
    assert "2 of 5 genes" in note
    assert "'two'" in note
    assert "'one', 'three'" in note


# -- sets ------------------------------------------------------------------------------------------------------


@contextmanager
def planned(made: MadeGenome, **options: object) -> Iterator[DataPlan]:
    with opened(made, **options) as (by, genome, _):
        yield plan_data_sets(by, genome, read_annotation(by.annotation_gff), by.output_dir.parent, Display())


def names(plan: DataPlan) -> dict[str, list[str]]:
    return {name: [chosen.gene.name for chosen in genes] for name, genes in plan.sets.items()}


def check_sets(plan: DataPlan, made: MadeGenome, apart: int) -> None:
    """No gene is in two sets or lost, none overlaps one of another set, and test genes are apart from the others."""
    of = {gene.name: gene for gene in made.genes}
    sets = names(plan)
    assert all(sets.values())
    everything = [name for together in sets.values() for name in together]
    assert len(set(everything)) == len(everything)
    assert len(everything) + plan.left_out.total() == len(made.genes)
    for name, other_name in (("test", "train"), ("test", "validation"), ("validation", "train")):
        least = apart if name == "test" else 0
        for one in (of[gene] for gene in sets[name]):
            for other in (of[gene] for gene in sets[other_name]):
                if one.sequence == other.sequence:
                    assert max(one.start, other.start) - min(one.end, other.end) >= least, (one, other)


@st.composite
def crowded_genomes(draw: st.DrawFn) -> MadeGenome:
    """Up to five sequences; genes lie in groups, in which some overlap on both strands."""
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sequences, genes = {}, []
    for index, count in enumerate(counts):
        here, at = [], 100
        for number in range(count):
            at = max(at + int(random.choice([-400, -50, 0, 10, 300, 4000, 5000, 9000])), 0)
            lengths = int(random.choice([150, 600, 7000]))
            exons = [(at, at + 40), (at + lengths - 60, at + lengths)]
            name = f"s{index}.{number}"
            strand = str(random.choice(["+", "-"]))
            here.append(MadeGene(name, f"s{index}", strand, [MadeTranscript(f"{name}t", exons)]))
            at += lengths
        genes += here
        sequences[f"s{index}"] = random_letters(max(gene.end for gene in here) + 50, random)
    return MadeGenome(sequences, genes)


@settings(**QUIET)
@given(made=crowded_genomes(), seed=st.integers(0, 5), ratio=st.sampled_from([0.5, 0.8, 0.9]))
def test_sets_do_not_overlap(made, seed, ratio):
    with opened(made, random_seed=seed, split_ratio=ratio, remove_paralogs=False) as (by, genome, _):
        scratch = by.output_dir.parent
        try:
            plan = plan_data_sets(by, genome, read_annotation(by.annotation_gff), scratch, Display())
        except DatasetError:  # few genes may all lie too near to each other
            assume(len(made.genes) >= 60)
            raise
    blocks = "blocks" in plan.split
    check_sets(plan, made, apart=5000 if blocks else 0)
    if not blocks:
        where = {name: {gene.gene.sequence for gene in genes} for name, genes in plan.sets.items()}
        assert not where["test"] & (where["train"] | where["validation"])


@pytest.mark.parametrize("strands", ["+", "-", "+-"])
def test_one_chromosome_gives_three_sets(strands):
    made = Layout({"one": 60}, apart=2000, strands=strands).make()
    with planned(made) as plan:
        assert plan.split == "blocks of neighbouring genes"
        check_sets(plan, made, apart=5000)
        assert 9 <= len(plan.sets["test"]) <= 15  # a fifth of sixty
        assert len(plan.sets["train"]) > 20


def test_a_long_gene_over_many_others():
    """Genes that begin behind it and end long before it do not hide it."""
    at = 300 + 10 * 2340
    long = MadeGene("long", "one", "+", [MadeTranscript("long.t", [(at, at + 100), (at + 60_000, at + 60_100)])])
    made = Layout({"one": 60}, apart=1800, more=[long]).make()
    tested = 0
    with opened(made) as (by, genome, choice):
        for seed in range(16):
            again = replace(by, random_seed=seed)
            sets, words = split_genes(choice.genes, genome, again, left_out := Counter())
            plan = DataPlan(sets, words, {}, left_out, choice.motifs, [])
            check_sets(plan, made, apart=5000)
            tested += "long" in names(plan)["test"]
    assert tested


def test_many_scaffolds_are_drawn_whole():
    made = Layout({f"scaffold{number}": 1 + number % 3 for number in range(100)}).make()
    with planned(made) as plan:
        assert "whole sequences" in plan.split
        check_sets(plan, made, apart=0)
        total = sum(map(len, plan.sets.values()))
        assert len(plan.sets["test"]) == pytest.approx(0.2 * total, abs=2)
        assert len(plan.sets["validation"]) == pytest.approx(0.1 * 0.8 * total, abs=2)


def test_two_chromosomes_of_very_different_size():
    """Either of them alone is far from a fifth."""
    made = Layout({"one": 3, "two": 60}, apart=2000).make()
    with planned(made) as plan:
        assert plan.split == "blocks of neighbouring genes"
        check_sets(plan, made, apart=5000)


def test_the_seed_decides():
    made = Layout({f"s{number}": 3 for number in range(20)}).make()
    drawn = []
    for seed in (42, 42, 43):
        with planned(made, random_seed=seed) as plan:
            drawn.append(names(plan))
    assert drawn[0] == drawn[1]
    for name in ("test", "validation"):
        assert drawn[0][name] != drawn[2][name]


def test_sequences_that_are_named():
    made = Layout({"one": 3, "two": 2, "three": 5, "four": 4}).make()

    def on(*sequences: str) -> list[str]:
        return [gene.name for gene in made.genes if gene.sequence in sequences]

    with planned(made, test_sequences=["three"], validation_sequences=["one"]) as plan:
        assert names(plan) == {"test": on("three"), "train": on("two", "four"), "validation": on("one")}
    with planned(made, test_sequences=["three", "one"]) as plan:
        sets = names(plan)
        assert sets["test"] == on("one", "three")
        assert sorted(sets["train"] + sets["validation"]) == sorted(on("two", "four"))
        assert len(sets["validation"]) == 1  # a tenth of six, at least one
    with planned(made, validation_sequences=["one"]) as plan:
        sets = names(plan)
        assert sets["validation"] == on("one")
        assert sorted(sets["train"] + sets["test"]) == sorted(on("two", "three", "four"))
    with planned(made, test_sequences=["three"], chr_split="test") as plan:
        assert names(plan) == {"test": on("three")}


@pytest.mark.parametrize("prefix", ["", "chr"])
def test_the_human_split(prefix):
    made = Layout({f"{prefix}{number}": 2 for number in [*range(1, 23), "X", "Un_1"]}).make()
    with planned(made, split_method="human") as plan:
        assert {chosen.gene.sequence for chosen in plan.sets["test"]} == {f"{prefix}{number}" for number in "13579"}


def test_the_human_split_of_another_genome():
    with (
        pytest.raises(SettingsError, match="the genes lie on 'chrI', 'chrII'"),
        planned(Layout({"chrI": 3, "chrII": 3}).make(), split_method="human"),
    ):
        pass


# -- paralogs ----------------------------------------------------------------------------------------------------


def spliced(made: MadeGenome, gene: MadeGene) -> str:
    letters = "".join(made.sequences[gene.sequence][start:end] for start, end in gene.transcripts[0].exons)
    return letters if gene.strand == "+" else letters[::-1].translate(COMPLEMENT)


def with_copy(made: MadeGenome, source: str, target: str, difference: float, share: float = 1.0) -> MadeGenome:
    """Make a gene's exons a mutated copy of another's; its introns, strand and length stay what they are."""
    of = {gene.name: gene for gene in made.genes}
    original, copy = spliced(made, of[source]), of[target]
    random = np.random.default_rng(3)
    letters = [
        "ACGT"[("ACGT".index(base) + random.integers(1, 4)) % 4] if random.random() < difference else base
        for base in original
    ]
    letters = letters[: int(share * len(letters))]
    text = list(made.sequences[copy.sequence])
    places = [at for start, end in copy.transcripts[0].exons for at in range(start, end)]
    places = places if copy.strand == "+" else places[::-1]
    for at, letter in zip(places, letters, strict=False):
        text[at] = letter if copy.strand == "+" else letter.translate(COMPLEMENT)
    return MadeGenome({**made.sequences, copy.sequence: "".join(text)}, made.genes)


def families(sequences: Mapping[str, int]) -> MadeGenome:
    """Genes of 900 bases in three exons, with introns of their own each."""
    return Layout(sequences, exon=300, intron=80).make()


SETS = {"test_sequences": ["two"], "validation_sequences": ["three"]}


@pytest.mark.parametrize(
    ("source", "target", "other_set"),
    [
        ("one.0", "two.1", "train"),
        ("one.0", "two.2", "train"),
        ("one.1", "three.2", "train"),
        ("two.0", "three.1", "test"),
    ],
)
def test_paralogs_of_another_set_are_left_out(source, target, other_set):
    """On either strand, one's exons are the other's with one base in twenty changed."""
    made = with_copy(families({"one": 5, "two": 4, "three": 4}), source, target, difference=0.05)
    with planned(made, **SETS) as plan:
        [paralog] = [found for there in plan.removed.values() for found in there]
        assert (paralog.gene, paralog.other, paralog.other_set) == (target, source, other_set)
        assert paralog.identity == pytest.approx(0.95, abs=0.03)
        assert paralog.coverage > 0.9
        assert target not in [name for together in names(plan).values() for name in together]
        assert sum(map(len, plan.sets.values())) == 12
        assert plan.left_out["paralog of a gene of another set"] == 1
    with planned(made, remove_paralogs=False, **SETS) as plan:
        assert target in names(plan)[{"two": "test", "three": "validation"}[target.split(".")[0]]]
        assert sum(map(len, plan.sets.values())) == 13


def test_alignments_to_one_gene_count_together():
    """A copy whose exons lie in another order aligns in pieces, none of which covers half of it."""
    made = families({"one": 4, "two": 4, "three": 4})
    of = {gene.name: gene for gene in made.genes}
    source = spliced(made, of["one.0"])
    text = list(made.sequences["two"])
    for (start, end), piece in zip(
        of["two.0"].transcripts[0].exons, (source[600:], random_letters(300, np.random.default_rng(8)), source[:300]),
        strict=True,
    ):  # fmt: skip
        text[start:end] = piece
    made = MadeGenome({**made.sequences, "two": "".join(text)}, made.genes)
    with planned(made, **SETS) as plan:
        [paralog] = plan.removed["test"]
        assert paralog.gene == "two.0"
        assert 0.6 < paralog.coverage < 0.75


def test_the_limits_of_resemblance():
    made = with_copy(families({"one": 5, "two": 4, "three": 4}), "one.0", "two.1", difference=0.05, share=0.4)
    for limits, removed in (
        ({}, False),
        ({"min_coverage": 0.3}, True),
        ({"min_coverage": 0.3, "min_identity": 0.99}, False),
    ):
        with planned(made, **SETS, **limits) as plan:
            assert bool(plan.removed["test"]) == removed, limits


def test_a_set_that_is_all_paralogs():
    made = families({"one": 2, "two": 2, "three": 2})
    for number in range(2):
        made = with_copy(made, f"one.{number}", f"two.{number}", difference=0.02)
    lost = "the test set would hold no genes, since it lost 2 genes that resemble genes of the training set, on 'one'"
    with pytest.raises(DatasetError, match=lost), planned(made, **SETS):
        pass


# -- options that a file shows -------------------------------------------------------------------------------------


def test_gtf_gives_what_gff3_gives(tmp_path, monkeypatch):
    monkeypatch.setattr("spliceai_jax.data_sets.run._draw_page", lambda *_: None)
    made = Layout({"one": 6, "two": 3, "three": 2}).make()
    made_of = {}
    for form in ("gff3", "gtf"):
        fasta, annotation = made.write(tmp_path / form, form)
        out = tmp_path / form / "out"
        create_data(CreateDataSettings(genome_fasta=fasta, annotation_gff=annotation, output_dir=out))
        made_of[form] = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".h5", ".txt")}
    assert made_of["gff3"] == made_of["gtf"]
    assert len(made_of["gtf"]) == 3 * 4 + 2


def test_without_motifs_the_note_says_what_is_thought_of_the_sets():
    with planned(Layout({"one": 3, "two": 3, "three": 3}).make(), **SETS) as plan:
        assert any("the test set has only 6 introns" in note for note in plan.notes)


def test_sites_from_cds_are_said_to_be_so(tmp_path):
    made = Layout({"one": 3, "two": 3, "three": 3}).make()
    fasta = tmp_path / "genome.fa"
    fasta.write_text(as_fasta(made.sequences))
    lines = [line for line in as_gff3(made.genes).splitlines() if "\texon\t" not in line]
    (tmp_path / "cds.gff3").write_text("\n".join(lines))
    by = CreateDataSettings(genome_fasta=fasta, annotation_gff=tmp_path / "cds.gff3", output_dir=tmp_path, **SETS)
    with closing(Genome(fasta, tmp_path)) as genome:
        plan = plan_data_sets(by, genome, read_annotation(by.annotation_gff), tmp_path, Display())
    assert any("9 of 9 genes have no exons" in note for note in plan.notes)
    assert sum(len(chosen.introns) for chosen in plan.sets["test"]) == 6

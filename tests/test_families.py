"""How the genes of polyploids and pairs of haplotypes, where most are there several times, are divided."""

import json
import re
import runpy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from synthetic_genome import Layout, MadeGene, MadeGenome, MadeTranscript
from test_create_data import check_sets, names, opened, planned, with_copy

from spliceai_jax.commands.main import main
from spliceai_jax.data_sets.genes import ChosenGene
from spliceai_jax.data_sets.likeness import Families, Likeness, Search, find_families
from spliceai_jax.data_sets.plan import DataPlan
from spliceai_jax.display import Display
from spliceai_jax.errors import DatasetError

pytestmark = pytest.mark.filterwarnings("ignore::spliceai_jax.errors.SpliceAIWarning")

BY_FAMILIES = "genes that resemble each other were drawn into one set"


def mutated(letters: str, share: float, random: np.random.Generator) -> str:
    codes = np.frombuffer(letters.encode(), np.uint8).copy()
    changed = random.random(len(codes)) < share
    codes[changed] = random.choice(np.frombuffer(b"ACGT", np.uint8), changed.sum())
    return codes.tobytes().decode()


def renamed(gene: MadeGene, copy: str) -> MadeGene:
    [made] = gene.transcripts
    return replace(
        gene,
        name=f"{gene.name}{copy}",
        sequence=f"{gene.sequence}{copy}",
        transcripts=[replace(made, name=f"{made.name}{copy}")],
    )


def copied(made: MadeGenome, copies: Mapping[str, float]) -> MadeGenome:
    """A genome of copies of this one: what their names end with, and the share of their bases that is drawn anew."""
    random = np.random.default_rng(5)
    sequences = {
        f"{name}{copy}": mutated(letters, share, random)
        for copy, share in copies.items()
        for name, letters in made.sequences.items()
    }
    return MadeGenome(sequences, [renamed(gene, copy) for copy in copies for gene in made.genes])


def basic(sequences: Mapping[str, int], apart: int = 300) -> MadeGenome:
    return Layout(sequences, exon=300, intron=80, apart=apart).make()


SMALL = basic({"one": 8, "two": 6, "three": 3, "four": 3})


def check_families(plan: DataPlan, copies: Sequence[str]) -> None:
    """All copies of a gene are in one set, and nothing was removed."""
    sets = {gene: name for name, together in names(plan).items() for gene in together}
    for gene, name in sets.items():
        base = next(gene.removesuffix(copy) for copy in copies if gene.endswith(copy))
        assert {sets.get(f"{base}{copy}", name) for copy in copies} == {name}, gene
    assert not any(plan.removed.values())


@pytest.mark.parametrize(
    "copies",
    [
        {"_A": 0.0, "_B": 0.02},
        {"_hap1": 0.0, "_hap2": 0.005},
        {"_A": 0.02, "_B": 0.03, "_D": 0.03},
        # Two haplotypes of each of two subgenomes, which are less alike.
        {"_A1": 0.0, "_A2": 0.002, "_B1": 0.1, "_B2": 0.1},
    ],
    ids=["tetraploid", "haplotypes", "hexaploid", "haplotypes of a tetraploid"],
)
@pytest.mark.parametrize("seed", [42, 7])
def test_copies_are_in_one_set(copies, seed):
    made = copied(SMALL, copies)
    with planned(made, random_seed=seed) as plan:
        assert plan.split == "whole sequences, drawn at random with their copies"
        assert sum(map(len, plan.sets.values())) == len(made.genes)
        check_families(plan, list(copies))
        check_sets(plan, made, apart=0)
        assert sum(BY_FAMILIES in note for note in plan.notes) == 1
        assert "100% of the genes resemble a gene of another sequence" in " ".join(plan.notes)
        with planned(made, random_seed=seed) as again:
            assert names(again) == names(plan)


def test_validation_genes_are_drawn_with_their_copies_where_the_test_set_is_named():
    with planned(copied(SMALL, {"_A": 0.0, "_B": 0.02}), test_sequences=["two_A", "two_B"]) as plan:
        assert plan.split == "the sequences that were named"
        assert len(plan.sets["test"]) == 12
        assert len(plan.sets["validation"]) == 2
        check_families(plan, ["_A", "_B"])


def test_blocks_take_the_genes_that_resemble_theirs_along():
    """Two pairs of chromosomes: one pair is half of the genome, too much for a test set."""
    made = copied(basic({"one": 30, "two": 30}, apart=6000), {"_A": 0.0, "_B": 0.02})
    with planned(made) as plan:
        assert plan.split == "blocks of neighbouring genes and the genes that resemble them"
        assert 16 <= len(plan.sets["test"]) <= 32
        assert len({chosen.gene.sequence for chosen in plan.sets["test"]}) >= 2
        check_families(plan, ["_A", "_B"])
        check_sets(plan, made, apart=5000)


def exchanged(made: MadeGenome, one: str, other: str) -> MadeGenome:
    """A genome in which two sequences have exchanged their second halves."""
    at, cut = {}, {}
    for name in (one, other):
        genes = [gene for gene in made.genes if gene.sequence == name]
        at[name] = len(genes) // 2
        cut[name] = genes[at[name]].start - 100
    letters = {
        one: made.sequences[one][: cut[one]] + made.sequences[other][cut[other] :],
        other: made.sequences[other][: cut[other]] + made.sequences[one][cut[one] :],
    }

    def moved(gene: MadeGene) -> MadeGene:
        if gene.sequence not in cut or gene.start < cut[gene.sequence]:
            return gene
        to = other if gene.sequence == one else one
        by = cut[to] - cut[gene.sequence]
        [transcript] = gene.transcripts
        exons = [(start + by, end + by) for start, end in transcript.exons]
        return replace(gene, sequence=to, transcripts=[MadeTranscript(transcript.name, exons, exons)])

    return MadeGenome({**made.sequences, **letters}, [moved(gene) for gene in made.genes])


def test_a_translocation_joins_the_sequences_that_it_connects():
    made = exchanged(copied(SMALL, {"_A": 0.0, "_B": 0.02}), "one_B", "two_B")
    for seed in (42, 7):
        with planned(made, random_seed=seed) as plan:
            check_families(plan, ["_A", "_B"])
            drawn = {chosen.gene.sequence for chosen in plan.sets["test"]}
            assert drawn in ({"three_A", "three_B"}, {"four_A", "four_B"})


@pytest.mark.parametrize("seed", range(4))
def test_a_few_paralogs_leave_the_split_as_it_was(seed):
    """Also where one of two validation genes is one."""
    made = with_copy(basic({"one": 12, "two": 4, "three": 4}), "one.0", "two.1", difference=0.05)
    with planned(made, random_seed=seed) as plan, planned(made, random_seed=seed, remove_paralogs=False) as without:
        assert plan.split == "whole sequences, drawn at random"
        lost = {paralog.gene for there in plan.removed.values() for paralog in there}
        kept = {name: [gene for gene in genes if gene not in lost] for name, genes in names(without).items()}
        assert names(plan) == kept


TOO_FEW = [
    ({"test_sequences": ["two_A"]}, "test", {"test_sequences": "two_A,two_B"}, ()),
    (
        {"test_sequences": ["two_A", "two_B"], "validation_sequences": ["four_A"]},
        "validation",
        {"validation_sequences": "four_A,four_B"},
        (),
    ),
    (
        {"test_sequences": ["two_A"], "validation_sequences": ["two_B"]},
        "validation",
        {"test_sequences": "two_A,two_B"},
        ("validation_sequences",),
    ),
    ({"validation_sequences": ["four_B"]}, "validation", {"validation_sequences": "four_B,four_A"}, ()),
]


@pytest.mark.parametrize(("given", "name", "better", "left_out"), TOO_FEW)
def test_what_the_refusal_of_one_copy_advises_works(given, name, better, left_out):
    made = copied(SMALL, {"_A": 0.0, "_B": 0.02})
    with (
        pytest.raises(DatasetError, match=f"the {name} set would hold no genes, since it lost ") as refusal,
        planned(made, **given),
    ):
        pass
    said = str(refusal.value)
    for setting, value in better.items():
        advised = re.search(rf"give `{setting}=([^`]*)`", said)[1]
        assert sorted(advised.split(",")) == sorted(value.split(","))
    assert re.findall(r"leave out `(\w+)`", said) == list(left_out)
    follows = {key: value for key, value in given.items() if key not in left_out}
    with planned(made, **follows | {setting: value.split(",") for setting, value in better.items()}) as plan:
        check_families(plan, ["_A", "_B"])
    assert "or give `remove_paralogs=False` to `spliceai-jax create-data`" in said
    with planned(made, **given, remove_paralogs=False) as plan:
        assert sum(map(len, plan.sets.values())) == len(made.genes)


def test_where_keeping_paralogs_does_not_help_it_is_not_advised():
    """All sequences are named: nothing is left to train on, with the copies or without."""
    made = copied(SMALL, {"_A": 0.0, "_B": 0.02})
    given = {
        "test_sequences": [f"{name}_A" for name in SMALL.sequences],
        "validation_sequences": [f"{name}_B" for name in SMALL.sequences],
    }
    with pytest.raises(DatasetError) as refusal, planned(made, **given):
        pass
    assert "`remove_paralogs=False`" not in str(refusal.value)
    assert "the training set would hold no genes" in str(refusal.value)
    assert str(refusal.value).endswith("leave out `test_sequences` and leave out `validation_sequences`")
    with planned(made) as plan:
        check_families(plan, ["_A", "_B"])


def test_a_named_set_that_loses_many_genes_is_told_of():
    """Where some are left it is no error; what would help is said."""
    made = exchanged(copied(SMALL, {"_A": 0.0, "_B": 0.02}), "one_B", "two_B")
    with planned(made, test_sequences=["two_A", "two_B"]) as plan:
        [note] = [note for note in plan.notes if "the test set lost" in note]
        assert "7 genes that resemble genes of the training set, on 'one_A', 'one_B'" in note
        assert "leave out `test_sequences`" in note or "`test_sequences=" in note


@needs_shared
def test_a_tetraploid_made_of_the_flys_genome(tmp_path, monkeypatch):
    """All commands of the case that was reported give data sets that have lost no gene."""
    case = SHARED / "cases" / "14-two-subgenomes"
    (tmp_path / "_fly").symlink_to(SHARED / "cases" / "_fly")
    (tmp_path / "case").mkdir()
    monkeypatch.chdir(tmp_path / "case")
    monkeypatch.setattr("spliceai_jax.data_sets.run._draw_page", lambda *_: None)
    runpy.run_path(str(case / "make.py"))
    commands = [line.split()[1:] for line in (case / "cmd.txt").read_text().splitlines() if "create-data" in line]
    assert len(commands) == 4
    for argv in commands:
        assert main(argv) == 0
        record = json.loads(Path(argv[argv.index("--output-dir") + 1], "dataset.json").read_text())
        assert sum(counts["genes"] for counts in record["sets"].values()) == 60
        assert all(counts["donors"] >= 4 for counts in record["sets"].values())


def test_members_of_a_large_family_need_not_all_be_searched_for(monkeypatch):
    monkeypatch.setattr("spliceai_jax.data_sets.likeness._LARGE", 4)
    monkeypatch.setattr("spliceai_jax.data_sets.likeness._AT_ONCE", 3)
    asked: list[int] = []

    def others_alike(search: Search, numbers: list[int], found=Search.others_alike) -> Iterator[list[Likeness]]:
        asked.extend(numbers)
        return found(search, numbers)

    monkeypatch.setattr(Search, "others_alike", others_alike)
    made = copied(basic({"one": 3}), {f"_{number}": 0.02 for number in range(6)})
    with opened(made) as (by, genome, choice):
        families = find_families(choice.genes, genome, by, by.output_dir.parent, Display())
    assert asked == [0, 1, 2]
    assert len({families.of(chosen) for chosen in choice.genes}) == 3
    assert all(len(families.relatives(chosen)) == 6 for chosen in choice.genes)


# -- sequences that are copies ---------------------------------------------------------------------------------------


class Gene:
    """As much of a gene as families need."""

    def __init__(self, sequence: str) -> None:
        self.gene = self
        self.sequence = sequence


def families_of(*families: str) -> Families:
    """Families, each given by its genes' sequences, a letter each."""
    genes: list[ChosenGene] = []
    pairs = []
    for family in families:
        pairs += [(len(genes), len(genes) + number) for number in range(len(family))]
        genes += [Gene(sequence) for sequence in family]
    return Families(genes, pairs)


@pytest.mark.parametrize(
    ("families", "copies"),
    [
        (["AB", "AB", "AB", "C", "C"], ["AB", "C"]),
        (["AB", "A", "A", "A", "B", "B", "B"], ["A", "B"]),
        # A fragment of one gene goes with one sequence, and does not join those on which its family has members.
        (["ABx", "A", "A", "A", "B", "B", "B"], ["Ax", "B"]),
        # Eight copies, of which no two are nearest to all others.
        (["ABCDEFGH"] * 4, ["ABCDEFGH"]),
        # Members on all sequences, a large family, say nothing.
        (["AB" * 40, "A", "B"], ["A", "B"]),
        ([], []),
    ],
)
def test_sequences_that_are_copies(families, copies):
    found = families_of(*families)
    for group in copies:
        for name in group:
            assert "".join(sorted(found.copies(name))) == "".join(sorted(group))

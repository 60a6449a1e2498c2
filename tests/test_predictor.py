"""Scores of sequences of any lengths, of regions of a genome, and of several models together."""

import builtins
import gzip
import logging
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT, random_model, scored_whole

from spliceai_jax import ARCHITECTURES, Ensemble, Genome, Pretrained, SpliceAI, evaluate
from spliceai_jax.encoding import encode
from spliceai_jax.errors import SettingsError, SpliceAIError, WeightsError
from spliceai_jax.network import score as scorer

COMPLEMENT = str.maketrans("ACGT", "TGCA")
COLUMNS = ("sequence", "position_1based", "strand", "base", "neither", "acceptor", "donor")


def letters(count: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), count))


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return random_model(80)


@pytest.fixture
def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that hold a few of the sequences, or a part of one."""
    monkeypatch.setattr(scorer, "_LEAST_LENGTH", 300)
    monkeypatch.setattr(scorer, "_CONTEXTS", 1)


# -- sequences ----------------------------------------------------------------------------------------------------

LENGTHS = (81, 1000, 90, 299, 300, 301, 2500)


def test_sequences_of_unequal_length_give_a_list(model, short_rows) -> None:
    sequences = [letters(length, seed) for seed, length in enumerate(LENGTHS)]
    found = model.predict(sequences)
    assert isinstance(found, list)
    for sequence, scores in zip(sequences, found, strict=True):
        assert scores.shape == (len(sequence) - 80, 3)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, scored_whole(model, sequence)[40:-40], atol=2e-6)


def test_padded_sequences_have_a_score_for_every_base(model, short_rows) -> None:
    sequences = [letters(length, seed) for seed, length in enumerate((1, *LENGTHS, 39))] + ["N" * 700]
    for sequence, scores in zip(sequences, model.predict(sequences, pad=True), strict=True):
        assert scores.shape == (len(sequence), 3)
        np.testing.assert_allclose(scores, scored_whole(model, sequence), atol=2e-6)


def test_equal_lengths_give_one_array(model) -> None:
    sequences = [letters(150, seed) for seed in range(3)]
    assert model.predict(sequences).shape == (3, 70, 3)
    padded = model.predict(np.stack([encode(sequence) for sequence in sequences]), pad=True)
    assert padded.shape == (3, 150, 3)
    np.testing.assert_array_equal(padded, model.predict(sequences, pad=True))
    assert model.predict([]).shape == (0, 0, 3)
    with pytest.raises(ValueError, match=r"bases\[1\] has a length of 0, expected one or more"):
        model.predict(["A", ""], pad=True)


def test_new_lengths_need_no_new_programs(model, caplog) -> None:
    jax.clear_caches()  # of what other tests have compiled
    scorer._forward.cache_clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        for length in range(100, 4000, 100):
            model.predict([letters(length, length)], pad=True)
    assert caplog.text.count("Finished XLA compilation of jit(forward)") == 5  # rows of 1000, 1500, 2000, 3000 and 4000


def test_logits_are_those_before_the_temperature(model) -> None:
    warm = Pretrained(80, model.variables, (1.5, 0.8, 2.0))
    sequence = letters(500, 0)
    logits = warm.predict([sequence], logits=True)[0]
    direct = SpliceAI(ARCHITECTURES[80]).apply(model.variables, encode(sequence)[None], method=SpliceAI.logits)[0]
    np.testing.assert_allclose(logits, direct, atol=1e-5)
    assert (logits < 0).any()
    np.testing.assert_allclose(
        warm.predict([sequence])[0], jax.nn.softmax(logits / np.array(warm.temperature)), atol=2e-6
    )
    np.testing.assert_allclose(model.predict([sequence])[0], jax.nn.softmax(logits), atol=2e-6)


def test_scores_that_are_not_numbers_are_refused(model) -> None:
    broken = Pretrained(80, jax.tree.map(lambda value: value * np.float32(np.nan), model.variables))
    with pytest.raises(WeightsError, match=r"^this model: scores that are not numbers"):
        broken.predict([letters(200, 0)])


# -- regions ------------------------------------------------------------------------------------------------------

SEQUENCES = {"2L": letters(3000, 1), "HLA:01": letters(700, 2) + "nnryk" + letters(50, 3).lower()}


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("genome") / "genome.fa.gz"
    path.write_bytes(gzip.compress("".join(f">{name} x\n{one}\n" for name, one in SEQUENCES.items()).encode()))
    return path


@pytest.fixture
def without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: Callable = builtins.__import__

    def refusing(name: str, *rest: object) -> object:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)


@pytest.mark.parametrize("strand", "+-")
@pytest.mark.parametrize(
    ("region", "name", "first", "last"),
    [
        ("2L:1000-1999", "2L", 1000, 1999),
        ("2L:1,000-1,000", "2L", 1000, 1000),
        ("2L:1-3000", "2L", 1, 3000),  # with N beyond both ends
        ("2L:2990-3000", "2L", 2990, 3000),
        ("HLA:01:650-755", "HLA:01", 650, 755),
    ],
)
def test_a_region_is_scored_in_its_context(
    model, genome, region, name, first, last, strand, short_rows, without_pandas
) -> None:
    """Against the whole sequence, or its reverse complement, cut out by hand."""
    table = model.predict_region(genome, region, strand)
    assert table.dtype.names == COLUMNS
    whole = "".join(base if base in "ACGT" else "N" for base in SEQUENCES[name].upper())
    read_out = whole if strand == "+" else whole[::-1].translate(COMPLEMENT)
    scores, bases = scored_whole(model, read_out), list(read_out)
    if strand == "-":  # in the order of the genome
        scores, bases = scores[::-1], bases[::-1]
    assert table["position_1based"].tolist() == list(range(first, last + 1))
    assert table["base"].tolist() == bases[first - 1 : last]
    assert set(table["sequence"]) == {name}
    assert set(table["strand"]) == {strand}
    for column, kind in enumerate(("neither", "acceptor", "donor")):
        assert table[kind].dtype == np.float32
        np.testing.assert_allclose(table[kind], scores[first - 1 : last, column], atol=2e-6)


def test_an_open_genome_serves_many_regions(model, genome, without_pandas) -> None:
    with Genome(genome) as opened:
        one, other = (model.predict_region(opened, region) for region in ("2L:5-90", "HLA:01:1-10"))
        np.testing.assert_array_equal(one, model.predict_region(str(genome), "2L:5-90"))
        assert len(other) == 10
    with pytest.raises(ValueError, match="closed"):
        model.predict_region(opened, "2L:5-90")


def test_with_pandas_the_table_is_a_data_frame(model, genome, request) -> None:
    pandas = pytest.importorskip("pandas")
    found = model.predict_region(genome, "2L:101-200", "-")
    assert isinstance(found, pandas.DataFrame)
    request.getfixturevalue("without_pandas")
    expected = model.predict_region(genome, "2L:101-200", "-")
    assert tuple(found.columns) == COLUMNS
    for name in COLUMNS:
        assert found[name].tolist() == expected[name].tolist()


@pytest.mark.parametrize(
    ("region", "strand", "said"),
    [
        ("2L", "+", "`region` is '2L'; expected NAME:FIRST-LAST, counted from 1, such as '2L:7000-9000'"),
        ("2L:7000", "+", "expected NAME:FIRST-LAST"),
        ("2L:-5-10", "+", "expected NAME:FIRST-LAST"),
        ("2L:,-10", "+", "expected NAME:FIRST-LAST"),
        ("2L:1-" + 5000 * "9", "+", "expected NAME:FIRST-LAST"),
        ("2L:0-10", "+", "expected a first position of 1 or more"),
        ("2L:20-10", "+", "a last one that is not before it"),
        ("2R:1-10", "+", "genome.fa.gz holds no sequence '2R'; it holds '2L', 'HLA:01'"),
        ("2L:2990-3001", "+", "`region` ends at 3001, but 2L of .*genome.fa.gz has 3000 bases"),
        ("2L:1-10", "minus", "`strand` is 'minus'; expected one of"),
    ],
)
def test_what_is_no_region(model, genome, region, strand, said) -> None:
    with pytest.raises(SettingsError, match=said):
        model.predict_region(genome, region, strand)


def introns_by_hand(annotation: Path, name: str) -> dict[str, set[tuple[int, int]]]:
    """Strand -> (last base of the exon before, first base of the exon after) of each intron, counted from 1."""
    exons: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for line in gzip.decompress(annotation.read_bytes()).decode().splitlines():
        columns = line.split("\t")
        if columns[0] == name and columns[2] == "exon":
            for parent in columns[8].partition("Parent=")[2].partition(";")[0].split(","):
                exons[columns[6], parent].add((int(columns[3]), int(columns[4])))
    found: dict[str, set[tuple[int, int]]] = {"+": set(), "-": set()}
    for (strand, _), spans in exons.items():
        found[strand] |= {(before[1], after[0]) for before, after in pairwise(sorted(spans))}
    return found


@pytest.mark.slow
def test_sites_lie_on_the_exons_first_and_last_bases(without_pandas) -> None:
    """The convention of the table: of a real model on a real genome, by the annotation."""
    folder, name = ROOT / "demo" / "fly_genome", "2L"
    model = Pretrained.from_pt(ROOT / "demo" / "worm_400nt.pt")
    with Genome(folder / "genome.fa.gz") as genome:
        for strand, introns in introns_by_hand(folder / "annotation.gff3.gz", name).items():
            table = model.predict_region(genome, f"{name}:1-{genome.lengths[name]}", strand)
            ends, starts = np.array(sorted(introns)).T
            donors, acceptors = (ends, starts) if strand == "+" else (starts, ends)
            for kind, sites in (("donor", donors), ("acceptor", acceptors)):
                scores = dict(zip(table["position_1based"].tolist(), table[kind].tolist(), strict=True))
                before, exact, after = (np.mean([scores[site + shift] for site in set(sites)]) for shift in (-1, 0, 1))
                assert exact > 0.4, (strand, kind)
                assert max(before, after) < 0.001, (strand, kind)


# -- several models -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    for seed in range(3):
        random_model(80, seed).to_pt(folder / f"{seed}.pt")
    return sorted(folder.iterdir())


def test_an_ensemble_is_the_mean_of_its_models(files, genome, without_pandas) -> None:
    members = [random_model(80, seed) for seed in range(3)]
    together = Ensemble(files)
    assert together.flanking_size == 80
    assert [model.fingerprint for model in together.models] == [model.fingerprint for model in members]
    sequences = [letters(length, length) for length in (200, 333)]
    for number, scores in enumerate(together.predict(sequences, pad=True)):
        by_hand = np.mean([scored_whole(model, sequences[number]) for model in members], axis=0)
        np.testing.assert_allclose(scores, by_hand, atol=2e-6)
    table = together.predict_region(genome, "2L:300-400", "-")
    tables = [model.predict_region(genome, "2L:300-400", "-") for model in members]
    for kind in ("neither", "acceptor", "donor"):
        np.testing.assert_allclose(table[kind], np.mean([one[kind] for one in tables], axis=0), atol=2e-6)


def test_an_ensemble_takes_whatever_models_there_are(files) -> None:
    """A folder, a file, models in memory, another ensemble; each member once for each time that it is given."""
    folder = Ensemble(files[0].parent)
    assert len(folder.models) == 3
    nested = Ensemble([str(files[0]), random_model(80, 1), folder])
    assert [model.fingerprint for model in nested.models] == [
        model.fingerprint for model in (folder.models[0], folder.models[1], *folder.models)
    ]
    assert len(Ensemble(random_model(80)).models) == 1


def test_temperatures_apply_before_the_mean() -> None:
    sequence, temperatures = letters(200, 5), [(1.5, 0.8, 2.0), None]
    members = [Pretrained(80, random_model(80, seed).variables, one) for seed, one in enumerate(temperatures)]
    by_hand = np.mean([scored_whole(model, sequence) for model in members], axis=0)
    np.testing.assert_allclose(Ensemble(members).predict([sequence], pad=True)[0], by_hand, atol=2e-6)
    with pytest.raises(SettingsError, match="`calibrated`: this model in memory has no `temperature`"):
        Ensemble(members, calibrated=True)


@pytest.mark.slow
def test_an_ensemble_is_evaluated_like_its_models(files, small_data) -> None:
    dataset = small_data / "dataset_test.h5"
    assert evaluate(Ensemble(files), dataset) == evaluate(files, dataset) != evaluate(files[0], dataset)


def test_what_is_no_ensemble(files, tmp_path) -> None:
    big = tmp_path / "big.pt"
    random_model(400).to_pt(big)
    mixed = r"`models`: .*big\.pt has a flanking size of 400 nt and .*0\.pt one of 80 nt; .* of one flanking size"
    in_memory = r"number 2 \(in memory\) has a flanking size of 400 nt and number 1 \(in memory\) one of 80 nt"
    refused: dict[str, Callable[[], Ensemble]] = {
        mixed: lambda: Ensemble([files[0], big]),
        in_memory: lambda: Ensemble([random_model(80), random_model(400)]),
        "`models`: none is given": lambda: Ensemble([]),
        "`flanking_size` is 400, but the model has": lambda: Ensemble([random_model(80)], flanking_size=400),
        "a flanking size of 80, not 400": lambda: Ensemble(files, flanking_size=400),
        r"holds no \.pt file": lambda: Ensemble(tmp_path / "empty"),
    }
    (tmp_path / "empty").mkdir()
    for said, make in refused.items():
        with pytest.raises(SpliceAIError, match=said):
            make()


def test_the_mean_of_probabilities_has_no_logits(files) -> None:
    with pytest.raises(SettingsError, match="the mean of the probabilities of 3 models has no logits"):
        Ensemble(files).predict([letters(100, 0)], logits=True)
    assert Ensemble(files[0]).predict([letters(100, 0)], logits=True).shape == (1, 20, 3)

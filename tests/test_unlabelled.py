"""Windows without labels: a tuned model says of them what there is to learn."""

import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CommandLine, content_of, full, make_windows, random_model, with_pages, write_dataset
from hypothesis import given
from hypothesis import strategies as st
from synthetic_genome import Layout, as_fasta

from spliceai_jax import Display, TransferSettings, transfer
from spliceai_jax.architecture import PADDING, UNLABELLED
from spliceai_jax.commands.main import main
from spliceai_jax.data_sets.run import create_data
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.encoding import COMPLEMENT, encode
from spliceai_jax.errors import SequenceError, SettingsError, SpliceAIError, SpliceAIWarning
from spliceai_jax.fine_tuning import stop
from spliceai_jax.fine_tuning.data_sets import kept_back
from spliceai_jax.fine_tuning.levers import read_unlabelled
from spliceai_jax.fine_tuning.transfer import EPOCHS_WITHOUT_LABELS
from spliceai_jax.runs.card import inspect_weights
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.record import read_run
from spliceai_jax.training.engine import Engine
from spliceai_jax.windows.facts import Facts
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.joined import joined
from spliceai_jax.windows.unlabelled import read_stretches, without_labels

FOLDER = "SpliceAI_more_80_0_rs42/0"
FIRST = "starts_more/SpliceAI_model_80nt_80_0_rs42/0"


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 14 windows."""
    return write_dataset(tmp_path_factory.mktemp("more") / "draft.h5", [make_windows(9, 21), make_windows(5, 22)])


def settings(data: Path, model: Path, output: Path, **given: Any) -> TransferSettings:
    sets = {f"{name}_dataset": data / f"dataset_{name}.h5" for name in ("train", "test")}
    places = {"pretrained_model": model, "output_dir": output, "project_name": "more"}
    return TransferSettings(**{"epochs": 1, "batch_size": 4, "resume": True, **places, **sets, **given})


def files(output: Path) -> dict[str, bytes]:
    """Models and logs of all runs, and what decides them."""
    names = "models/*.pt", "LOG/*/*", "run.json", "history.json"
    found = itertools.chain(*(output.glob(f"**/{name}") for name in names))
    return {str(path.relative_to(output)): content_of(path) for path in found}


def test_only_padding_is_left_of_the_labels(more: Path, small_data: Path) -> None:
    windows = read_windows(more, 80)
    hidden = without_labels(windows)
    labels, before = hidden.labels[np.arange(len(hidden.bases))], np.asarray(windows.labels)
    np.testing.assert_array_equal(labels == PADDING, before == PADDING)
    assert set(np.unique(labels)) == {PADDING, UNLABELLED}
    counted = Facts.of(hidden.bases, hidden.labels)
    for name in ("class_counts", "canonical_sites", "lengths", "known", "repeats"):
        np.testing.assert_array_equal(getattr(hidden.facts, name), getattr(counted, name), err_msg=name)
    assert hidden.count("donor") == hidden.count("acceptor") == 0
    assert hidden.padding_share == windows.padding_share
    both = joined([read_windows(small_data / "dataset_train.h5", 80), hidden.subset(np.array([3, 0]))])
    of_hidden, of_train = both.labels_at(np.array([11, 0]))
    assert set(np.unique(of_hidden)) == {PADDING, UNLABELLED}
    assert UNLABELLED not in of_train


@pytest.fixture(scope="module")
def whole(
    small_data: Path, small_model: Path, more: Path, tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine
) -> Path:
    """The output folder of the command; only to be read."""
    output = tmp_path_factory.mktemp("whole")
    given = settings(small_data, small_model, output, unlabelled_dataset=more)
    with with_pages():
        done = command_line(*given.command().split()[1:])
    assert done.returncode == 0, done.stderr
    (output / "printed").write_text(done.stdout)
    return output


@pytest.mark.slow
@pytest.mark.usefixtures("pages")
def test_they_are_two_runs_as_by_hand(whole, small_data, small_model, more, tmp_path) -> None:
    first = transfer(settings(small_data, small_model, tmp_path / "starts_more", project_name="model_80nt"))
    second = transfer(
        settings(
            small_data,
            small_model,
            tmp_path,
            unlabelled_dataset=more,
            distill_teacher=first.best_model,
            epochs=EPOCHS_WITHOUT_LABELS,
        )
    )
    assert files(tmp_path) == files(whole)
    assert second.starts == {}
    again = transfer(settings(small_data, small_model, whole, unlabelled_dataset=more))
    assert list(again.starts) == ["model_80nt"]
    better = max(second, first, key=lambda result: result.best_measured["validation"].metrics.mean_auprc)
    assert again.best_model == whole / better.best_model.relative_to(tmp_path)


@pytest.mark.slow
def test_everything_names_them(whole: Path, more: Path) -> None:
    run = read_run(whole / FOLDER)
    assert run.record.unlabelled.path == str(more)
    assert run.record.unlabelled.windows == 14
    assert run.identity.unlabelled_dataset == without_labels(read_windows(more, 80)).fingerprint
    assert run.record.batches_per_epoch == 6  # 11 windows with labels, and as many without
    assert read_run(whole / FIRST).record.unlabelled is None
    page, printed = (whole / FOLDER / "report.html").read_text(), (whole / "printed").read_text()
    card = inspect_weights(run.folder.best_model).facts()
    assert card["without labels"] == f"{more}: 14 windows"
    for text in (page, printed):
        assert str(more) in text
        assert "without labels" in text
    rows = [line.split("  ")[0] for line in printed.splitlines() if line.startswith(("model_80nt  ", "with unl"))]
    assert rows == ["model_80nt", "with unlabelled"]


@pytest.mark.slow
@pytest.mark.usefixtures("pages")
def test_the_labels_of_the_file_change_nothing(whole, small_data, small_model, more, tmp_path) -> None:
    """The same bases and gene ends, with other sites: the same models, bit for bit."""
    relabelled = []
    for seed, count in ((21, 9), (22, 5)):
        bases, labels = make_windows(count, seed)
        relabelled.append((bases, np.where(labels == PADDING, PADDING, np.roll(labels, 7, 1) % PADDING)))
    other = write_dataset(tmp_path / "other.h5", relabelled)
    assert read_windows(other, 80).fingerprint != read_windows(more, 80).fingerprint
    transfer(settings(small_data, small_model, tmp_path, unlabelled_dataset=other))
    assert files(tmp_path) == files(whole)


@pytest.mark.full
def test_the_activation_cache_changes_nothing(small_data, small_model, more, tmp_path) -> None:
    losses = {}
    for limit in (0.0, None):
        given = {"activation_cache": limit, "distill_teacher": small_model, "recipe": "openspliceai", "epochs": 2}
        run = settings(small_data, small_model, tmp_path, unlabelled_dataset=more, exp_num=int(limit is None), **given)
        result = transfer(run)
        losses[limit] = result.history.update_losses
        assert read_run(result.folder).record.sessions[0].activation_cache == (limit is None)
    np.testing.assert_allclose(losses[None], losses[0.0], rtol=1e-5)


# -- from a genome -------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 17000), min_size=1, max_size=4),
    most=st.integers(1, 30),
    flanking_size=st.sampled_from([80, 400]),
    seed=st.integers(0, 5),
)
def test_stretches_are_those_of_the_genome(lengths, most, flanking_size, seed) -> None:
    """Each is a piece of a strand with its neighbourhood; together and without a limit they are the genome, once."""
    random, half = np.random.default_rng(len(lengths)), flanking_size // 2
    letters = {f"s{number}": "".join(random.choice(list("ACGT"), length)) for number, length in enumerate(lengths)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "genome.fa"
        path.write_text(as_fasta(letters))
        if len(lengths) == 1:
            with pytest.raises(SequenceError, match=r"nothing is left to learn from .* \('s0'\)"):
                read_stretches(path, flanking_size, most, seed, frozenset({"s0"}))
        everything, some, left = (
            read_stretches(path, flanking_size, number, seed, left_out)
            for number, left_out in ((100, frozenset()), (most, frozenset()), (100, frozenset({"s1"} & letters.keys())))
        )
        again = read_stretches(path, flanking_size, most, seed)
    assert some.fingerprint == again.fingerprint
    stretches = [
        (name, start, min(start + 5000, len(whole)), strand)
        for name, whole in letters.items()
        for start in range(0, len(whole), 5000)
        for strand in "+-"
    ]
    wanted = {}
    for name, start, end, strand in stretches:
        around = encode("N" * half + letters[name] + "N" * half)[start : end + 2 * half]
        wanted[name, start, strand] = around if strand == "+" else COMPLEMENT[around[::-1]]
    assert len(everything) == len(wanted)
    for row, codes in enumerate(wanted.values()):
        np.testing.assert_array_equal(everything.bases[row], np.pad(codes, (0, everything.bases.shape[1] - len(codes))))
        expected = np.where(np.arange(5000) < len(codes) - 2 * half, UNLABELLED, PADDING)
        np.testing.assert_array_equal(everything.labels[row], expected)
    assert len(some) == min(most, len(wanted))
    rows = {row.tobytes() for row in everything.bases}
    assert {row.tobytes() for row in some.bases} <= rows
    assert len(left) == sum(name != "s1" for name, *_ in wanted)


def test_stretches_of_n_are_left_out(tmp_path: Path) -> None:
    half_known = "A" * 2500 + "N" * 2500
    (tmp_path / "genome.fa").write_text(as_fasta({"s": half_known + "N" * 2501 + "C" * 2499}))
    assert len(read_stretches(tmp_path / "genome.fa", 80, 10, 0)) == 2
    (tmp_path / "n.fa").write_text(as_fasta({"s": "N" * 9000 + "C"}))
    with pytest.raises(SequenceError, match=r"beside N and the sequences of test and validation genes \(none\)"):
        read_stretches(tmp_path / "n.fa", 80, 10, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the .* set has only")
def test_a_run_takes_them_from_the_sequences_of_training_genes(small_model, tmp_path, monkeypatch) -> None:
    """From a genome, and then from the data sets that were made of it; what is kept back is known from these."""
    monkeypatch.setattr("spliceai_jax.data_sets.run._draw_page", lambda *_: None)
    fasta, annotation = Layout({"one": 8, "two": 3, "three": 3}).make().write(tmp_path, "gff3")
    common = {"pretrained_model": small_model, "epochs": 1, "batch_size": 4, "unlabelled_dataset": fasta}
    genome = {"genome_fasta": fasta, "annotation_gff": annotation, "validation_sequences": ["two"]}
    given = TransferSettings(**common, **genome, test_sequences=["three"], output_dir=tmp_path / "out")
    shown = Lines()
    result = transfer(given, shown)
    assert f"{fasta}: nothing is taken from 2 sequences of test or validation genes: 'three', 'two'" in shown.lines
    record = read_run(result.folder).record
    data = tmp_path / "out" / "data_transfer"
    train = read_windows(data / "dataset_train.h5", 80)
    drawn = read_stretches(fasta, 80, 10 * len(train), 42, frozenset({"two", "three"}))
    assert (record.unlabelled.path, record.unlabelled.windows) == (str(fasta), len(drawn))
    assert record.unlabelled.fingerprint == drawn.fingerprint
    sets = {f"{name}_dataset": data / f"dataset_{name}.h5" for name in ("train", "validation", "test")}
    again = transfer(TransferSettings(**common, **sets, output_dir=tmp_path / "again"))
    assert again.best_model.read_bytes() == result.best_model.read_bytes()


def test_where_test_genes_lie_may_not_be_known(small_data: Path, small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "genome.fa").write_text(as_fasta({"s": "ACGT" * 3000}))
    given = settings(small_data, small_model, tmp_path, unlabelled_dataset=tmp_path / "genome.fa")
    with pytest.warns(SpliceAIWarning, match=r"dataset_test.h5: on which sequences .* no dataset.json"):
        assert kept_back(given) == frozenset()


class Lines(Display):
    """What was shown in lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


@pytest.mark.slow
@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize("step", full([2, 6, 12], 12))
def test_killed_it_goes_on_bit_for_bit(step, whole, small_data, small_model, more, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(stop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    train, steps = Engine.train, itertools.count()

    def dying(self, state, batch, learning_rate):
        if next(steps) == step:
            raise Killed
        return train(self, state, batch, learning_rate)

    given = settings(small_data, small_model, tmp_path, unlabelled_dataset=more)
    with monkeypatch.context() as context:
        context.setattr(Engine, "train", dying)
        with pytest.raises(Killed):
            transfer(given)
    transfer(given)
    assert files(tmp_path) == files(whole)


@pytest.mark.full
def test_several_models_teach_together(small_data, small_model, more, tmp_path) -> None:
    other = tmp_path / "other.pt"
    random_model(80, 3).to_pt(other)
    output = tmp_path / "out"
    result = transfer(settings(small_data, [small_model, other], output, unlabelled_dataset=more))
    assert list(result.starts) == ["model_80nt", "other"]
    identity = RunFolder(output / FOLDER).read_identity()
    assert len(identity.distill_teacher) == 2
    assert identity.unlabelled_dataset is not None
    for run in (output / "starts_more").glob("*/0"):
        assert RunFolder(run).read_identity().unlabelled_dataset is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rehearsal_dataset": "old.h5"}, "`unlabelled_dataset` does not go with `rehearsal_dataset`"),
        ({"recipe": "openspliceai-0.0.7"}, "`unlabelled_dataset` does not go with `recipe='openspliceai-0.0.7'`"),
    ],
)
def test_what_does_not_go_with_them(given, said, small_data, small_model, more, tmp_path) -> None:
    with pytest.raises(SettingsError, match=said):
        transfer(settings(small_data, small_model, tmp_path / "out", unlabelled_dataset=more, **given))
    assert not (tmp_path / "out").exists()


def test_a_wrong_file_is_one_error_and_nothing_is_written(small_data, small_model, tmp_path, capsys) -> None:
    (tmp_path / "bad.h5").write_bytes(b"nonsense")
    (tmp_path / "bad.fa").write_bytes(b"nonsense")
    for path, said in (
        (tmp_path / "gone.h5", "gone.h5: no such data set"),
        (tmp_path / "bad.h5", "bad.h5"),
        (tmp_path / "gone.fa", "gone.fa: no such file; give a data set or a FASTA file"),
        (tmp_path / "bad.fa", "bad.fa: line 1: expected FASTA"),
    ):
        with pytest.raises(SpliceAIError, match=said):
            transfer(settings(small_data, small_model, tmp_path / "out", unlabelled_dataset=path))
    sets = ["-train", small_data / "dataset_train.h5", "-test", small_data / "dataset_test.h5"]
    line = ["transfer", "-m", small_model, *sets, "-o", tmp_path / "out", "-p", "more"]
    line += ["--unlabelled-dataset", small_data / "dataset_test.h5", "--epochs", 1]
    assert main([str(word) for word in line]) == 2
    assert "given as --unlabelled-dataset, and as the run's own test set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_another_run_in_the_last_folder_is_found_first(small_data, small_model, more, tmp_path) -> None:
    """A run without them; nothing is trained before it is refused."""
    transfer(settings(small_data, small_model, tmp_path))
    before = json.dumps(sorted(files(tmp_path)))
    with pytest.raises(SpliceAIError, match="was not made from this model once it is tuned"):
        transfer(settings(small_data, small_model, tmp_path, unlabelled_dataset=more))
    assert json.dumps(sorted(files(tmp_path))) == before


def test_a_genome_with_other_names_is_refused(tmp_path: Path) -> None:
    """What is kept back could not be found in it."""
    (tmp_path / "genome.fa").write_text(as_fasta({"chr2L": "ACGT" * 3000, "chr3L": "ACGT" * 3000}))
    with pytest.raises(SequenceError, match=r"has 'chr2L', 'chr3L', and none of .* \('2L'\)"):
        read_stretches(tmp_path / "genome.fa", 80, 10, 0, frozenset({"2L"}))
    assert len(read_stretches(tmp_path / "genome.fa", 80, 100, 0, frozenset({"chr2L", "x"}))) == 6


@pytest.mark.filterwarnings("ignore:the .* set has only")
def test_the_sequences_of_every_set_are_kept_back(tmp_path: Path) -> None:
    """Also those of a validation set from another folder, but not those of that folder's other sets."""
    for number, (test, validation) in enumerate((("three", "two"), ("one", "four"))):
        fasta, annotation = Layout({"one": 8, "two": 3, "three": 3, "four": 3}).make().write(tmp_path, "gff3")
        create_data(
            CreateDataSettings(
                genome_fasta=fasta,
                annotation_gff=annotation,
                output_dir=tmp_path / str(number),
                test_sequences=[test],
                validation_sequences=[validation],
            )
        )
    sets = {"train_dataset": tmp_path / "0/dataset_train.h5", "test_dataset": tmp_path / "0/dataset_test.h5"}
    given = TransferSettings(pretrained_model="m.pt", validation_dataset=tmp_path / "1/dataset_validation.h5", **sets)
    assert kept_back(given) == frozenset({"three"})  # "four" is trained on
    assert kept_back(replace(given, train_dataset=tmp_path / "1/dataset_train.h5")) == frozenset({"four"})


def test_a_data_set_without_labels_needs_no_sites(small_data: Path, small_model: Path, tmp_path: Path) -> None:
    bases, labels = make_windows(5, 22)
    labels[(labels == 1) | (labels == 2)] = 0
    path = write_dataset(tmp_path / "lifted.h5", [(bases, labels)])
    given = settings(small_data, small_model, tmp_path, unlabelled_dataset=path)
    train = read_windows(small_data / "dataset_train.h5", 80)
    assert len(read_unlabelled(given, {"train": train}, Display())) == 5


def test_shards_by_themselves_take_nothing_beside_them() -> None:
    """The number of batches would differ from epoch to epoch, and the learning rates with it."""
    for name in ("rehearsal_dataset", "unlabelled_dataset"):
        with pytest.raises(SettingsError, match=f"`{name}` does not go with `recipe='openspliceai-0.0.7'`"):
            TransferSettings(
                pretrained_model="m", train_dataset="a", test_dataset="b", recipe="openspliceai-0.0.7", **{name: "c.h5"}
            )

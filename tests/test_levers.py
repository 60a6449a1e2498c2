"""What keeps a model from forgetting: the arithmetic of each lever, and runs with them, which go on bit for bit."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import torch
from conftest import make_windows, random_model, run_arguments, write_dataset

from spliceai_jax import (
    ARCHITECTURES,
    PADDING,
    Batch,
    Pretrained,
    Recipe,
    SpliceAI,
    Trainable,
    TransferSettings,
    Windows,
    evaluate,
    read_windows,
    transfer,
)
from spliceai_jax.architecture import UNLABELLED, WINDOW
from spliceai_jax.errors import SettingsError, SpliceAIError
from spliceai_jax.evaluation import teaching
from spliceai_jax.evaluation.teaching import bytes_of_targets, taught_windows
from spliceai_jax.fine_tuning import stop
from spliceai_jax.fine_tuning.levers import Levers
from spliceai_jax.runs.card import inspect_weights
from spliceai_jax.runs.record import read_run
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.losses import cross_entropy_loss, focal_loss, taught
from spliceai_jax.training.optimizer import make_optimizer
from spliceai_jax.training.recipes import RECIPES
from spliceai_jax.training.step import init_state, make_train_step
from spliceai_jax.windows.joined import joined

# -- distillation ----------------------------------------------------------------------------------------------------


def some_positions(count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels of every kind, and targets, which every third position lacks."""
    random = np.random.default_rng(1)
    probabilities = random.dirichlet([1, 1, 1], count).astype(np.float32)
    targets = random.dirichlet([1, 1, 1], count).astype(np.float16)
    targets[::3] = 0
    return probabilities, np.arange(count).astype(np.uint8) % (UNLABELLED + 1), targets


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_of_distillation_is_torchs(weight: float) -> None:
    """Labels and teachers share it; where only one of the two speaks, it has all of the loss."""
    probabilities, labels, targets = some_positions()
    logarithm = torch.log(torch.tensor(probabilities) + 1e-10)
    wanted = np.zeros(len(labels), np.float32)
    for i, (label, target) in enumerate(zip(labels, targets, strict=True)):
        hard = float(torch.nn.functional.nll_loss(logarithm[i : i + 1], torch.tensor([int(label)]))) if label < 3 else 0
        soft = float(torch.nn.functional.cross_entropy(logarithm[i], torch.tensor(target.astype(np.float32))))
        soft += float(torch.logsumexp(logarithm[i], 0)) * -float(target.sum())  # torch normalises, we do not
        share = 0.0 if not target.any() else 1.0 if label == UNLABELLED else weight
        wanted[i] = (1 - share) * hard + share * soft
    found = taught(cross_entropy_loss, weight)(probabilities, labels, targets)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-6)


def test_without_targets_the_loss_is_that_of_the_labels() -> None:
    probabilities, labels, _ = some_positions()
    for loss in (cross_entropy_loss, focal_loss(0.25)):
        np.testing.assert_array_equal(taught(loss, 0.7)(probabilities, labels, None), loss(probabilities, labels))


def test_a_position_without_label_counts_in_the_mean() -> None:
    """A step over windows whose classes are not known learns from the teachers alone."""
    model, random = random_model(80), np.random.default_rng(0)
    recipe = Recipe(unfreeze_all=True, distill_weight=0.5)
    bases = random.integers(1, 5, (1, 180), dtype=np.uint8)
    target = random.dirichlet([1, 1, 1], (1, 100)).astype(np.float16)
    target[:, 60:] = 0
    labels = np.where(np.arange(100) < 60, UNLABELLED, PADDING).astype(np.uint8)[None]
    batch = Batch(bases, labels, np.ones((1, 1), np.float32), targets=target)
    trainable = Trainable.of(ARCHITECTURES[80], recipe)
    state = init_state(model.variables, trainable, recipe)
    network = SpliceAI(ARCHITECTURES[80])
    after, loss = jax.jit(make_train_step(network, recipe))(state, batch, 1e-3)
    probabilities, _ = network.apply(
        model.variables, bases, np.ones((1, 1), np.float32), trainable.training_units, mutable=["batch_stats"]
    )
    soft = -(target[0, :60] * np.log(np.asarray(probabilities)[0, :60] + 1e-10)).sum(-1)
    assert float(loss) == pytest.approx(soft.mean(), rel=1e-4)
    assert not np.array_equal(after.params["final_conv"]["kernel"], state.params["final_conv"]["kernel"])


def test_targets_are_the_mean_of_the_teachers_probabilities(small_data: Path, tmp_path: Path) -> None:
    """Computed for the windows that are to be taught, in the rows in which training batches hold their labels."""
    windows, architecture = read_windows(small_data / "dataset_train.h5", 80), ARCHITECTURES[80]
    teachers = [random_model(80, seed).variables for seed in (3, 4)]
    engine, some, done = Engine(architecture, Recipe()), np.array([9, 2, 5]), []
    placed, file = [engine.place(one) for one in teachers], tmp_path / "targets"
    found = taught_windows(engine, placed, windows, some, 2, file, done.append)
    assert sum(done) == 3
    assert found.targets is not None
    assert found.targets.probabilities.nbytes == bytes_of_targets(windows.subset(some))
    network = jax.jit(SpliceAI(architecture).apply)
    wanted = np.mean([network(one, windows.bases) for one in teachers], 0)
    positions = np.array([5, 1, 9])
    layout = found.packer(3, architecture)(positions)
    batch = found.training_batch(positions, 3, architecture)
    assert windows.training_batch(positions, 3, architecture).targets is None
    assert not any(packed.batch.targets is not None for packed in found.scoring_batches(3))  # they are for training
    for window, row, start, _ in layout.pieces:
        if window >= 0:
            length = windows.lengths[window]
            expected = wanted[window, :length] if window in some else 0
            np.testing.assert_allclose(batch.targets[row, start : start + length], expected, atol=1e-3)
    assert batch.targets[batch.labels == PADDING].max() == 0


def test_windows_without_labels_can_be_taught(tmp_path: Path) -> None:
    """They are no file's, but windows of a genome, say: every base of the sequence gets a target."""
    bases, labels = make_windows(2, 0)
    unknown = np.where(labels == PADDING, PADDING, UNLABELLED).astype(np.uint8)
    middle = bases[:, (bases.shape[1] - WINDOW - 80) // 2 :][:, : WINDOW + 80]
    windows = Windows(Path("genome"), middle, unknown, np.zeros(2, int), np.arange(2))
    assert windows.class_counts[:3].tolist() == [0, 0, 0]
    engine = Engine(ARCHITECTURES[80], Recipe())
    found = taught_windows(
        engine,
        [engine.place(random_model(80).variables)],
        windows,
        np.arange(2),
        2,
        tmp_path / "targets",
        lambda _: None,
    )
    batch = found.training_batch(np.arange(2), 2, ARCHITECTURES[80])
    assert (batch.targets.astype(np.float32).sum(-1) > 0.99).sum() == WINDOW + 1500
    np.testing.assert_array_equal(batch.targets.any(-1), batch.labels == UNLABELLED)


def test_targets_that_a_killed_process_wrote_are_not_computed_again(small_data, tmp_path, monkeypatch) -> None:
    """Killed after any byte, it goes on behind the last whole chunk, and ends with the same targets."""
    monkeypatch.setattr(teaching, "_AT_ONCE", 2)
    windows, some, file = (
        read_windows(small_data / "dataset_train.h5", 80),
        np.array([9, 2, 5, 1, 4]),
        tmp_path / "file",
    )
    engine = Engine(ARCHITECTURES[80], Recipe())
    placed = [engine.place(random_model(80, 3).variables)]
    computed: list[int] = []
    evaluate = Engine.evaluate

    def counted(self, variables, batch):
        computed.append(len(batch.inputs))
        return evaluate(self, variables, batch)

    monkeypatch.setattr(Engine, "evaluate", counted)
    whole = taught_windows(engine, placed, windows, some, 2, file, lambda _: None).targets
    content, batches = file.read_bytes(), len(computed)
    ends = 6 * windows.lengths[some].cumsum()
    for left, chunks in ((0, 3), (ends[1] - 1, 3), (ends[1], 2), (ends[3] + 7, 1), (len(content), 0)):
        file.write_bytes(content[:left])
        computed.clear()
        again = taught_windows(engine, placed, windows, some, 2, file, lambda _: None).targets
        assert len(computed) == {3: batches, 0: 0}.get(chunks, len(computed)) <= batches * chunks // 3 + 1
        assert file.read_bytes() == content
        np.testing.assert_array_equal(again.starts, whole.starts)


# -- the pull toward the start ---------------------------------------------------------------------------------------


def test_the_pull_is_beside_adamws_step() -> None:
    """Three steps against numpy: w -= rate (adam + decay w + l2sp (w - start)); what is frozen stays."""
    trainable = Trainable.by_rules(ARCHITECTURES[80], (("residual_units_3/conv1/*", True), ("*", False)))
    random, rates, decay, strength = np.random.default_rng(0), (1e-2, 3e-2, 1e-3), 0.1, 0.7
    start = random_model(80).variables["params"]
    params = jax.tree.map(lambda value: value + np.float32(0.1), start)
    optimizer = make_optimizer(trainable, decay, strength, start)
    state, kernel = optimizer.init(params), params["residual_units_3"]["conv1"]["kernel"].astype(np.float64)
    began, first, second = start["residual_units_3"]["conv1"]["kernel"], 0.0, 0.0
    for step, rate in enumerate(rates, 1):
        gradients = jax.tree.map(lambda value: random.normal(size=value.shape).astype(np.float32), params)
        gradient = gradients["residual_units_3"]["conv1"]["kernel"].astype(np.float64)
        updates, state = optimizer.update(gradients, optax.tree.set(state, learning_rate=rate), params)
        params = optax.apply_updates(params, updates)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        adam = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        kernel = kernel - rate * (adam + decay * kernel + strength * (kernel - began))
    np.testing.assert_allclose(params["residual_units_3"]["conv1"]["kernel"], kernel, rtol=1e-4, atol=1e-6)
    untouched = start["residual_units_2"]["conv1"]["kernel"] + np.float32(0.1)
    np.testing.assert_array_equal(params["residual_units_2"]["conv1"]["kernel"], untouched)


def test_without_the_pull_the_optimizers_state_has_the_form_it_had() -> None:
    trainable, params = Trainable.of(ARCHITECTURES[80], Recipe()), random_model(80).variables["params"]
    inner = optax.inject_hyperparams(optax.adamw, static_args=("b1", "b2", "eps", "eps_root", "weight_decay"))
    wanted = optax.multi_transform(
        {"trainable": inner(learning_rate=0.0, weight_decay=0.01), "frozen": optax.set_to_zero()}, trainable.labels
    ).init(params)
    assert jax.tree.structure(make_optimizer(trainable, 0.01).init(params)) == jax.tree.structure(wanted)


def test_the_pull_needs_to_know_where_to() -> None:
    recipe = Recipe(l2sp=0.1)
    with pytest.raises(ValueError, match="start"):
        make_train_step(SpliceAI(ARCHITECTURES[80]), recipe)(None, None, 1e-3)
    Engine(ARCHITECTURES[80], recipe)  # to evaluate with, nothing is missing


@pytest.mark.slow
def test_an_epoch_may_draw_more_windows_than_any_set_holds(small_data, small_model, tmp_path) -> None:
    """11 windows of the new species and as many of the 2 of the old one, in one batch."""
    old = write_dataset(tmp_path / "old.h5", [make_windows(2, 77)])
    given = run_arguments(small_data, small_model, tmp_path) | {"tensorboard": False, "epochs": 1, "batch_size": 22}
    result = transfer(TransferSettings(**given, rehearsal_dataset=old))
    assert len(result.history.update_losses) == 1


def test_runs_that_compute_in_the_same_way_share_their_programs() -> None:
    """Whatever their seeds, rates and numbers of epochs."""
    one = RECIPES["best"]
    other = replace(one, epochs=3, learning_rate=1e-4, mutation_rate=0.0)
    first, second = Engine(ARCHITECTURES[80], one, seed=1), Engine(ARCHITECTURES[80], other, seed=2)
    assert first._programs is second._programs
    assert Engine(ARCHITECTURES[80], replace(one, dropout=0.1))._programs is not first._programs


# -- rehearsal -------------------------------------------------------------------------------------------------------


def windows_of(shards: list[int], seed: int, source: str) -> Windows:
    bases, labels = make_windows(sum(shards), seed)
    numbers = np.repeat(np.arange(len(shards)), shards)
    return Windows(Path(source), bases[:, 4960:-4960], labels, numbers, np.arange(sum(shards)))


def test_joined_sets_are_both() -> None:
    first, second = windows_of([2, 3], 1, "new"), windows_of([2, 2], 2, "old").subset(np.array([3, 0]))
    both = joined([first.subset(np.array([4, 1])), second])
    assert len(both) == 4
    assert both.shards[both.index].tolist() == [1, 0, 3, 2]
    bases = np.concatenate([first.bases[[4, 1]], second.bases[[3, 0]]])
    np.testing.assert_array_equal(both.bases[both.index], bases)
    np.testing.assert_array_equal(both.bases[both.index, 7:30], bases[:, 7:30])
    np.testing.assert_array_equal(both.bases[both.index[3]], bases[3])
    np.testing.assert_array_equal(both.bases[both.index[3], :50], bases[3, :50])
    np.testing.assert_array_equal(both.labels_at(np.arange(4)), [*first.labels[[4, 1]], *second.labels[[3, 0]]])
    assert both.lengths.tolist() == [*first.lengths[[4, 1]], *second.lengths]
    assert both.fingerprint == replace(both, bases=both.bases[np.arange(9)], parts=()).fingerprint
    assert both.parts == (both.parts[0], second)
    assert both.subset(np.arange(2)).parts == ()
    assert joined([second]) is second


@pytest.mark.parametrize("old", [3, 7, 20])
def test_an_epoch_draws_as_many_old_windows_as_new_ones(old: int) -> None:
    new, nobody = windows_of([7], 1, "new"), np.zeros(0, np.int64)
    levers = Levers(new, windows_of([old], 2, "old"), (), nobody, seed=5)
    draws = [levers.drawn(epoch) for epoch in (0, 1)]
    for drawn in draws:
        assert drawn[:7].tolist() == list(range(7))
        times = np.bincount(drawn[7:] - 7, minlength=old)
        assert times.sum() == 7
        assert times.max() - times.min() <= 1
    assert draws[0].tolist() == levers.drawn(0).tolist()
    assert draws[0].tolist() != draws[1].tolist()
    assert Levers(new, None, (), nobody, seed=5).drawn(3).tolist() == list(range(7))


# -- runs ------------------------------------------------------------------------------------------------------------

RUN = "SpliceAI_levers_80_0_rs42/0"


@pytest.fixture(scope="module")
def files(small_data: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a run with every lever is given."""
    folder = tmp_path_factory.mktemp("levers")
    random_model(80, seed=5).to_pt(folder / "teacher.pt")
    return {
        "old": write_dataset(folder / "old.h5", [make_windows(5, 5), make_windows(3, 6), make_windows(6, 7)]),
        "teacher": folder / "teacher.pt",
        "model": small_model,
        "data": small_data,
    }


def settings(files: dict[str, Path], output: Path, **more: object) -> TransferSettings:
    return TransferSettings(
        train_dataset=files["data"] / "dataset_train.h5",
        test_dataset=files["data"] / "dataset_test.h5",
        pretrained_model=files["model"],
        output_dir=output,
        project_name="levers",
        **{"recipe": "best", "epochs": 2, "batch_size": 4, "learning_rate": 3e-3, **more},
    )


def every_lever(files: dict[str, Path]) -> dict[str, object]:
    return {
        "l2sp": 3.0,
        "rehearsal_dataset": files["old"],
        "distill_weight": 0.5,
        "distill_teacher": [files["teacher"], files["model"]],
    }


def weights(path: Path) -> np.ndarray:
    params = Pretrained.from_pt(path).variables["params"]
    return np.concatenate([np.ravel(value) for value in jax.tree.leaves(params)])


@pytest.fixture(scope="module")
def plain(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last model of a run without levers."""
    return transfer(settings(files, tmp_path_factory.mktemp("plain"))).folder / "models" / "model_1.pt"


@pytest.mark.slow
def test_the_pull_keeps_weights_near_the_start(files, plain, tmp_path) -> None:
    start = weights(files["model"])
    pulled = transfer(settings(files, tmp_path, l2sp=30.0)).folder / "models" / "model_1.pt"
    assert np.linalg.norm(weights(pulled) - start) < 0.95 * np.linalg.norm(weights(plain) - start)


@pytest.mark.slow
def test_rehearsal_lowers_the_loss_on_the_old_species(files, plain, tmp_path) -> None:
    """Its every G is a donor, which the new species teaches nobody."""
    bases, labels = make_windows(12, 8)
    labels[(bases[:, 5000:-5000] == 3) & (labels == 0)] = 2
    old = write_dataset(tmp_path / "other.h5", [(bases, labels)])
    rehearsed = transfer(settings(files, tmp_path, rehearsal_dataset=old)).folder / "models" / "model_1.pt"
    assert evaluate(rehearsed, old).loss < 0.8 * evaluate(plain, old).loss


@pytest.mark.slow
def test_distillation_brings_the_model_nearer_to_the_teacher(files, plain, tmp_path) -> None:
    given = {"distill_weight": 1.0, "distill_teacher": files["teacher"]}
    student = transfer(settings(files, tmp_path, **given)).folder / "models" / "model_1.pt"
    letters = "".join(np.random.default_rng(0).choice(list("ACGT"), 3000))
    teacher, taught_model, untaught = (
        Pretrained.from_pt(path).predict([letters], pad=True)[0] for path in (files["teacher"], student, plain)
    )
    assert np.abs(taught_model - teacher).mean() < 0.8 * np.abs(untaught - teacher).mean()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.slow
def test_a_run_with_every_lever_goes_on_bit_for_bit(files, tmp_path, monkeypatch) -> None:
    """Killed in its second epoch; some units are frozen, so that activations are cached beside the targets."""
    monkeypatch.setattr(stop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    given = {**every_lever(files), "recipe": "openspliceai", "unfreeze": 2}
    whole = transfer(settings(files, tmp_path / "whole", **given))
    steps, train = itertools.count(), Engine.train

    def dying(self, state, batch, learning_rate):
        if next(steps) == 8:
            raise Killed
        return train(self, state, batch, learning_rate)

    again = settings(files, tmp_path / "killed", **given, resume=True)
    with monkeypatch.context() as context:
        context.setattr(Engine, "train", dying)
        with pytest.raises(Killed):
            transfer(again)
    resumed = transfer(again)
    assert resumed.history == whole.history
    for name in ("model_0.pt", "model_1.pt", "model_best.pt"):
        assert (resumed.folder / "models" / name).read_bytes() == (whole.folder / "models" / name).read_bytes()
    assert transfer(again).history == whole.history  # finished: only shown
    for other in ({"l2sp": 2.0}, {"distill_teacher": files["teacher"]}):
        with pytest.raises(SpliceAIError, match=r"another run|was"):
            transfer(replace(again, **other))


@pytest.mark.slow
def test_through_the_command_line(files, tmp_path, command_line, pages) -> None:
    """The record, the card and the page name the levers, and the recorded command makes the same run."""
    given = settings(files, tmp_path, **every_lever(files))
    done = command_line(*given.command().split()[1:])
    assert done.returncode == 0, done.stderr
    run = read_run(tmp_path / RUN)
    assert run.record.sessions[0].command == given.command()
    assert run.record.rehearsal.path == str(files["old"])
    assert [teacher.path for teacher in run.record.teachers] == [str(files["teacher"]), str(files["model"])]
    assert len(run.identity.distill_teacher) == 2
    assert (run.identity.choices.l2sp, run.identity.choices.distill_weight) == (3.0, 0.5)
    page = (tmp_path / RUN / "report.html").read_text()
    card = inspect_weights(run.folder.best_model).facts()
    for text in (page, json.dumps(card), done.stdout):
        assert str(files["old"]) in text
        assert str(files["teacher"]) in text
        assert "l2sp" in text


# -- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    "a teacher without a weight": ({"distill_teacher": "t.pt"}, "`distill_teacher` has no effect without"),
    "a weight of nothing": ({"distill_weight": 0.0, "distill_teacher": "t.pt"}, "has no effect without"),
    "a share above 1": ({"distill_weight": 1.5}, "`distill_weight` is 1.5; expected a share"),
    "no number": ({"distill_weight": float("nan")}, "`distill_weight` is nan"),
    "a push": ({"l2sp": -1.0}, "`l2sp` is -1.0; expected 0 or"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_flags_without_effect_are_refused(case: str) -> None:
    given, message = REFUSED[case]
    with pytest.raises(SettingsError, match=message):
        TransferSettings(train_dataset="a", test_dataset="b", pretrained_model="c", **given)


def test_files_are_refused_before_anything_is_written(files, tmp_path) -> None:
    random_model(400).to_pt(tmp_path / "larger.pt")
    cases = {
        "flanking size of 400 nt": {"distill_weight": 0.5, "distill_teacher": tmp_path / "larger.pt"},
        "nothere.pt": {"distill_weight": 0.5, "distill_teacher": "nothere.pt"},
        "nothere.h5": {"rehearsal_dataset": "nothere.h5"},
        "own train set": {"rehearsal_dataset": files["data"] / "dataset_train.h5"},
        "own test set": {"rehearsal_dataset": files["data"] / "dataset_test.h5"},
    }
    for message, given in cases.items():
        with pytest.raises(SpliceAIError, match=message):
            transfer(settings(files, tmp_path / "out", **given))
    assert not (tmp_path / "out").exists()

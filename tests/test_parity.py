"""The network and the training step compute what OpenSpliceAI's do.

Against the recorded vectors where ../shared is there; against the PyTorch twin, in float64, everywhere.
"""

import io
import json
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch_twin
from conftest import SHARED, full, needs_shared, random_model
from flax.traverse_util import flatten_dict
from torch_twin import Objective, Trajectory, Twin, train

from spliceai_jax.architecture import ARCHITECTURES, PADDING, Architecture
from spliceai_jax.convert import pt_bytes, tensor_table
from spliceai_jax.network.model import SpliceAI, Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.losses import cross_entropy_loss
from spliceai_jax.training.recipes import RECIPES, Recipe
from spliceai_jax.training.schedules import schedule
from spliceai_jax.training.step import Batch, init_state, make_eval_step, make_train_step
from spliceai_jax.training.trainable import Trainable

VECTORS = SHARED / "reference" / "vectors"
TRAJECTORIES = (
    "80nt_unfreeze1_focal_cosine",
    "80nt_unfreeze_all_ce_multistep",
    "400nt_unfreeze2_focal_cosine",
    "2000nt_unfreeze_all_ce_multistep",
    "10000nt_unfreeze3_ce_cosine",
)
RELEASE = RECIPES["openspliceai-0.0.7"]


def released(flanking_size: int) -> Pretrained:
    return Pretrained.from_pt(SHARED / "models" / f"model_{flanking_size}nt_rs10.pt")


def twin_of(model: Pretrained) -> Twin:
    twin = Twin(model.flanking_size)
    twin.load_state_dict(torch.load(io.BytesIO(pt_bytes(model.flanking_size, model.variables)), weights_only=True))
    return twin


def in_pt_layout(flanking_size: int, collections: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of a tree like the variables under their `.pt` keys, in their own precision; absent ones left out."""
    flat = flatten_dict(jax.device_get(collections))
    return {
        tensor.key: np.asarray(flat[tensor.path]).T if tensor.is_kernel else np.asarray(flat[tensor.path])
        for tensor in tensor_table(ARCHITECTURES[flanking_size])
        if isinstance(flat.get(tensor.path), np.ndarray)  # frozen parameters have no moments
    }


def take_steps(model: Pretrained, recipe: Recipe, batches: list[Batch], rates: Any, dtype: type) -> Trajectory:
    """Train with the package's own step, in float32 or float64."""
    with jax.enable_x64(dtype is np.float64):
        variables: Variables = jax.tree.map(
            lambda value: value.astype(dtype) if value.dtype == np.float32 else value, model.variables
        )
        architecture = ARCHITECTURES[model.flanking_size]
        state = init_state(variables, Trainable.of(architecture, recipe), recipe)
        step = jax.jit(make_train_step(SpliceAI(architecture), recipe))
        losses, gradients = [], {}
        for batch, rate in zip(batches, rates, strict=True):
            state, loss = step(state, batch, rate)
            losses.append(float(loss))
            if not gradients:
                # After one step AdamW's first moment is a tenth of the gradient.
                moments = {"params": optax.tree.get(state.opt_state, "mu")}
                tenth = in_pt_layout(model.flanking_size, moments)
                gradients = {key: value / np.asarray(1 - 0.9, dtype) for key, value in tenth.items()}
        return Trajectory(losses, gradients, in_pt_layout(model.flanking_size, state.variables))


def feeds_batchnorm(key: str) -> bool:
    """A bias whose true gradient is zero: what AdamW makes of its rounding noise are steps of any size up to the
    learning rate."""
    return key.endswith("conv1.bias")


def relative(difference: np.ndarray, scale: np.ndarray) -> float:
    return float(np.linalg.norm(difference) / np.linalg.norm(scale))


# -- forward -----------------------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("flanking_size", ARCHITECTURES)
def test_released_models_score_as_recorded(flanking_size: int) -> None:
    recorded = np.load(VECTORS / f"forward_{flanking_size}nt.npz")
    scores = released(flanking_size).predict(recorded["bases"])
    np.testing.assert_allclose(scores, recorded["probabilities"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("flanking_size", ARCHITECTURES)
def test_random_models_score_as_the_twin(flanking_size: int) -> None:
    model = random_model(flanking_size, seed=flanking_size)
    head = model.variables["params"]["final_conv"]
    # Deep random networks have logits of hundreds, on which rounding shows and softmax saturates.
    head["kernel"] = head["kernel"] / len(ARCHITECTURES[flanking_size].units)
    twin = twin_of(model)
    random = np.random.default_rng(0)
    for length in (50, 7, 1) if flanking_size < 2000 else (50, 1):
        bases = random.integers(0, 5, (2, length + flanking_size), dtype=np.uint8)
        scores = model.predict(bases)
        assert scores.shape == (2, length, 3)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, twin.predict(bases), rtol=0, atol=1e-6)
        assert 0.01 < scores.std() < 0.45, "saturated scores would agree whatever happens"


# -- training, against the release's recorded trajectories -------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    model: Pretrained
    recipe: Recipe
    batches: list[Batch]
    rates: np.ndarray
    losses: np.ndarray
    trainable: list[str]
    gradients: dict[str, np.ndarray]
    final: dict[str, np.ndarray]


def recorded_trajectory(name: str) -> Recorded:
    with np.load(VECTORS / f"train_{name}.npz") as file:
        content = dict(file)
    meta = json.loads(str(content["meta"]))
    recipe = replace(RELEASE, unfreeze=meta["unfreeze"], unfreeze_all=meta["unfreeze_all"], loss=meta["loss"])

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}

    return Recorded(
        model=released(meta["flanking_size"]),
        recipe=recipe,
        batches=[
            Batch(bases, labels, np.ones((len(bases), 1), np.float32))
            for bases, labels in zip(content["bases"], content["labels"], strict=True)
        ],
        rates=content["learning_rates"],
        losses=content["losses"],
        trainable=meta["trainable"],
        gradients=under("grad/"),
        final=under("final/"),
    )


@needs_shared
@pytest.mark.parametrize("name", TRAJECTORIES)
def test_recorded_trajectory(name: str) -> None:
    recorded = recorded_trajectory(name)
    taken = take_steps(recorded.model, recorded.recipe, recorded.batches, recorded.rates, np.float32)
    np.testing.assert_allclose(taken.losses, recorded.losses, rtol=0, atol=2e-7)

    # An activation within rounding of LeakyReLU's kink gets the one slope here and the other in PyTorch, and a single
    # such position can carry 1 % of a tensor's gradient (PyTorch's own float32 is that far from its float64, in the
    # 2000-nt vector). So here by norm; without that noise in the float64 tests.
    assert set(taken.gradients) == set(recorded.trainable) == set(recorded.gradients)
    keys = [key for key in recorded.trainable if not feeds_batchnorm(key)]
    for key in keys:
        assert relative(taken.gradients[key] - recorded.gradients[key], recorded.gradients[key]) < 0.01, key
    ours, theirs = (np.concatenate([gradients[key].ravel() for key in keys]) for gradients in
                    (taken.gradients, recorded.gradients))  # fmt: skip
    assert relative(ours - theirs, theirs) < 2e-3
    for key in set(recorded.trainable) - set(keys):
        assert np.abs(taken.gradients[key]).max() < 1e-6 * np.abs(theirs).max(), key

    assert list(taken.final) == list(recorded.final)
    # AdamW divides by the gradient's size, so a weight whose gradient is nearly rounding noise may step either way.
    steps = recorded.rates.sum()
    off = np.concatenate([np.abs(taken.final[key] - recorded.final[key]).ravel() for key in keys])
    assert np.quantile(off, 0.5) < 2.5e-4 * steps
    assert np.quantile(off, 0.99) < 1e-2 * steps
    for key, theirs in recorded.final.items():
        ours = taken.final[key]
        unit, _, last = key.rpartition(".")
        if last == "num_batches_tracked":
            assert ours == theirs, key
        elif last in ("running_mean", "running_var"):
            scale = theirs if last == "running_var" else np.sqrt(recorded.final[f"{unit}.running_var"])
            behind_trained = int(key.split(".")[1]) >= min(
                (int(name.split(".")[1]) for name in recorded.trainable if name.startswith("residual_units")),
            )
            # In front of all training only summation differs; a biased running variance would be off by 2e-5.
            assert np.abs((ours - theirs) / scale).max() < (5e-5 if behind_trained else 2e-6), key
        elif key in recorded.trainable:
            assert np.abs(ours - theirs).max() < 1.01 * steps, key
        else:
            assert ours.tobytes() == theirs.tobytes(), key


@pytest.mark.slow
@needs_shared
def test_recorded_gradients_in_float64() -> None:
    """What is left is the recording's own rounding: in this one PyTorch's float32 falls off no kink."""
    recorded = recorded_trajectory("80nt_unfreeze_all_ce_multistep")
    taken = take_steps(recorded.model, recorded.recipe, recorded.batches[:1], recorded.rates[:1], np.float64)
    for key, theirs in recorded.gradients.items():
        if not feeds_batchnorm(key):
            np.testing.assert_allclose(taken.gradients[key], theirs, rtol=0, atol=5e-5 * np.abs(theirs).max())


@needs_shared
@pytest.mark.parametrize("name", TRAJECTORIES[:2])
def test_the_twin_is_a_twin(name: str) -> None:
    """The twin in turn does what the release does, to float32's rounding."""
    recorded = recorded_trajectory(name)
    twin = twin_of(recorded.model)
    assert list(twin.state_dict()) == list(recorded.final)
    taken = train(
        twin,
        [(batch.inputs, batch.labels) for batch in recorded.batches[:2]],
        recorded.rates[:2],
        trainable=recorded.trainable,
        batch_statistics=twin.units,
        objective=Objective(recorded.recipe.loss, alpha=1.0, padding_counts=True),
    )
    np.testing.assert_allclose(taken.losses, recorded.losses[:2], rtol=0, atol=1e-7)
    assert set(taken.gradients) == set(recorded.gradients)
    for key, theirs in recorded.gradients.items():
        if not feeds_batchnorm(key):
            assert relative(taken.gradients[key] - theirs, theirs) < 0.01, key


# -- training, against the twin in float64 -----------------------------------------------------------------------


# float64 convolutions are slow. The two long networks stand here with their units, skips and dilations but narrow
# kernels; with their own they are compared in float32, above.
NARROW = {560: ((3, 1), (3, 4), (7, 10)), 1200: ((3, 1), (3, 4), (5, 10), (5, 25))}
NARROW_2000, NARROW_10000 = NARROW


@pytest.fixture
def narrow_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for flanking_size, groups in NARROW.items():
        widths, dilations = zip(*(group for group in groups for _ in range(4)), strict=True)
        architecture = Architecture(flanking_size, widths, dilations, batch_size=12)
        monkeypatch.setitem(ARCHITECTURES, flanking_size, architecture)
        monkeypatch.setitem(torch_twin.GROUPS, flanking_size, groups)


@dataclass(frozen=True)
class Case:
    flanking_size: int
    recipe: Recipe
    windows: int = 3
    steps: int = 4
    length: int = 60
    fill: int = 0
    """Windows that only fill the batch up."""


BEST = replace(RECIPES["best"], dropout=0.0)
EVERYTHING = replace(
    RECIPES["openspliceai"], unfreeze_all=True, learning_rate=1e-3, scheduler="OneCycleLR", batch_size=12
)
"""PyTorch's random numbers are others."""

CASES = {
    "80nt_unfreeze1_focal_cosine": Case(
        80, replace(RELEASE, loss="focal_loss", scheduler="CosineAnnealingWarmRestarts")
    ),
    "80nt_unfreeze_all_ce_multistep": Case(80, replace(RELEASE, unfreeze_all=True)),
    "400nt_unfreeze2_focal_cosine": Case(
        400, replace(RELEASE, unfreeze=2, loss="focal_loss", scheduler="CosineAnnealingWarmRestarts"), windows=2
    ),
    "2000nt_unfreeze_all_ce_multistep": Case(NARROW_2000, replace(RELEASE, unfreeze_all=True), windows=2, steps=3),
    "10000nt_unfreeze3_ce_cosine": Case(
        NARROW_10000, replace(RELEASE, unfreeze=3, scheduler="CosineAnnealingWarmRestarts"), windows=2, steps=2
    ),
    "openspliceai": Case(80, RECIPES["openspliceai"]),
    "openspliceai_focal_unfreeze2": Case(80, replace(RECIPES["openspliceai"], unfreeze=2, loss="focal_loss")),
    "openspliceai_head_alone": Case(80, replace(RECIPES["openspliceai"], unfreeze=0)),
    "best": Case(80, BEST),
    "openspliceai_unfreeze_all": Case(80, EVERYTHING),
    "openspliceai_partial_batch": Case(80, replace(RECIPES["openspliceai"], unfreeze=2), windows=2, fill=3),
    "best_partial_batch": Case(80, BEST, windows=2, fill=1),
    "openspliceai_unfreeze_all_partial_batch": Case(80, EVERYTHING, windows=2, fill=1),
    "padding_counts_partial_batch": Case(80, RELEASE, windows=2, fill=2),
}


def random_batches(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(5)
    batches = []
    for _ in range(case.steps):
        bases = random.integers(0, 5, (case.windows, case.length + case.flanking_size), dtype=np.uint8)
        labels = random.integers(0, 3, (case.windows, case.length), dtype=np.uint8)
        labels[0, -case.length // 3 :] = PADDING
        batches.append((bases, labels))
    return batches


def filled_up(bases: np.ndarray, labels: np.ndarray, fill: int) -> Batch:
    """Windows that do not count, of bases unlike any padding the package would choose."""
    random = np.random.default_rng(6)
    return Batch(
        np.concatenate([bases, random.integers(0, 5, (fill, bases.shape[1]), dtype=np.uint8)]),
        np.concatenate([labels, np.full((fill, labels.shape[1]), PADDING, np.uint8)]),
        np.repeat([1.0, 0.0], [len(bases), fill])[:, None],
    )


def trainable_in(twin: Twin, recipe: Recipe) -> set[str]:
    names = {name for name, _ in twin.named_parameters()}
    if recipe.unfreeze_all:
        return names
    parts = [f"residual_units.{number}." for number in twin.units[len(twin.units) - recipe.unfreeze :]]
    parts += ["final_conv."] if recipe.head_trains else []
    return {name for name in names if name.startswith(tuple(parts))}


@pytest.mark.slow
@pytest.mark.usefixtures("narrow_networks")
@pytest.mark.parametrize(
    "name", full(CASES, "80nt_unfreeze1_focal_cosine", "400nt_unfreeze2_focal_cosine", "openspliceai", "best")
)
def test_trajectory_in_float64(name: str) -> None:
    case = CASES[name]
    recipe = case.recipe
    model = random_model(case.flanking_size, seed=3)
    batches = random_batches(case)
    rate_of = schedule(recipe.scheduler, recipe.timing, recipe.learning_rate, epochs=6, batches_per_epoch=2)
    rates = [rate_of(batch) for batch in range(case.steps)]
    taken = take_steps(model, recipe, [filled_up(*batch, case.fill) for batch in batches], rates, np.float64)

    twin = twin_of(model).double()
    trainable = trainable_in(twin, recipe)
    trained_units = [unit for unit in twin.units if f"residual_units.{unit}.conv1.weight" in trainable]
    on_batch_statistics = twin.units if recipe.frozen_batchnorm == "batch" else trained_units
    if recipe.trained_batchnorm == "running":
        on_batch_statistics = []
    theirs = train(
        twin,
        batches,
        rates,
        trainable=trainable,
        batch_statistics=on_batch_statistics,
        objective=Objective(recipe.loss, recipe.focal_alpha, recipe.padding_counts),
        weight_decay=recipe.weight_decay,
    )
    np.testing.assert_allclose(taken.losses, theirs.losses, rtol=0, atol=1e-9)
    assert set(taken.gradients) == set(theirs.gradients)
    for key, gradient in theirs.gradients.items():
        assert taken.gradients[key].dtype == np.float64
        np.testing.assert_allclose(taken.gradients[key], gradient, rtol=0, atol=1e-9, err_msg=key)
    assert list(taken.final) == list(theirs.final)
    for key, value in theirs.final.items():
        np.testing.assert_allclose(taken.final[key], value, rtol=0, atol=1e-9, err_msg=key)
    start = in_pt_layout(case.flanking_size, model.variables)
    for key, value in taken.final.items():
        moved = not np.array_equal(value, start[key])
        if key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            unit = int(key.split(".")[1])
            assert moved == (unit in on_batch_statistics), key
        else:
            assert moved == (key in trainable), key


def test_evaluation_step_gives_each_positions_loss() -> None:
    model = random_model(80)
    bases = np.random.default_rng(1).integers(0, 5, (3, 100), dtype=np.uint8)
    labels = np.array([[0, 1, 2, 3] * 5, [3] * 20, [2] * 20], np.uint8)
    step = make_eval_step(SpliceAI(ARCHITECTURES[80]), cross_entropy_loss)
    probabilities, losses = step(model.variables, Batch(bases, labels, np.ones((3, 1), np.float32)))
    expected = twin_of(model).double().predict(bases)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    terms = [[-np.log(expected[i, j, k] + 1e-10) if k < 3 else 0.0 for j, k in enumerate(labels[i])] for i in range(3)]
    np.testing.assert_allclose(losses, terms, rtol=1e-5)
    assert not losses[1].any()


# -- bfloat16 ----------------------------------------------------------------------------------------------------


def test_bfloat16_is_close_and_keeps_float32_parameters() -> None:
    architecture, recipe, model = ARCHITECTURES[80], EVERYTHING, random_model(80)
    engine = Engine(architecture, recipe, "bfloat16")
    bases = np.random.default_rng(2).integers(1, 5, (2, 180), dtype=np.uint8)
    labels = np.random.default_rng(3).integers(0, 3, (2, 100), dtype=np.uint8)
    batch = Batch(bases, labels, np.ones((2, 1), np.float32))
    scores, losses = jax.device_get(engine.evaluate(engine.place(model.variables), batch))
    exact = model.predict(bases)
    assert scores.dtype == losses.dtype == np.float32
    assert 1e-7 < np.abs(scores - exact).max() < 0.05, "bfloat16 has 8 bits"

    state = init_state(model.variables, Trainable.of(architecture, recipe), recipe)
    before = jax.tree.map(lambda value: value.dtype, jax.device_get(state))
    state, loss = engine.train(engine.place(state), batch, 1e-3)
    after = engine.fetch(state)
    assert jax.tree.map(lambda value: value.dtype, after) == before
    for value in jax.tree.leaves(after.variables):
        assert value.dtype in (np.float32, np.int32)
    assert loss.dtype == jnp.float32
    assert np.isfinite(loss)
    moved = jax.tree.map(lambda new, old: not np.array_equal(new, old), after.variables, model.variables)
    assert all(jax.tree.leaves(moved))

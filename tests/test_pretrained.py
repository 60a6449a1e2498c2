"""The Python API: a model in memory, and settings that override a recipe."""

import numpy as np
import pytest
from conftest import ROOT, random_model

from spliceai_jax import RECIPES, Pretrained, TransferSettings, evaluate
from spliceai_jax.encoding import encode
from spliceai_jax.errors import SettingsError

FILES = {"train_dataset": "train.h5", "test_dataset": "test.h5", "pretrained_model": "model.pt"}


@pytest.fixture(scope="module")
def model() -> Pretrained:
    return random_model(80)


def test_letters_and_codes_score_alike(model):
    """Either case; letters that are no base count as N; L is what is left of the context."""
    letters = "".join(np.random.default_rng(0).choice(list("ACGTacgtNnRy-"), 180))
    codes = np.array([["NACGT".find(letter.upper()) for letter in letters]])
    codes[codes < 0] = 0
    np.testing.assert_array_equal(encode(letters), codes[0])
    scores = model.predict([letters])
    assert scores.shape == (1, 100, 3)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, model.predict(codes))
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-6)


def test_many_windows_score_as_each_alone(model):
    """More than go through the network at once, so that the last part is filled up."""
    bases = np.random.default_rng(1).integers(0, 5, (45, 5080), dtype=np.uint8)
    scores = model.predict(bases)
    for row in (0, 38, 39, 44):
        np.testing.assert_allclose(scores[row], model.predict(bases[row : row + 1])[0], atol=2e-6)
    assert model.predict(bases[:0]).shape == (0, 5000, 3)


@pytest.mark.parametrize(
    ("bases", "said"),
    [
        ("ACGT" * 100, "one string"),
        (["A" * 100, "A" * 80], r"bases\[1\] has a length of 80, expected more than the 80 of context, or `pad=True`"),
        (["A" * 100, np.zeros(100, np.uint8)], "holds 'ndarray', expected strings"),
        (np.full((1, 100), 5, np.uint8), "holds 5 to 5"),
        (np.full((1, 100), -1), "holds -1 to -1"),
        (np.zeros(100, np.uint8), "expected integers"),
        (np.zeros((1, 100), np.float32), "expected integers"),
    ],
)
def test_what_cannot_be_scored(model, bases, said):
    with pytest.raises(ValueError, match=said):
        model.predict(bases)


def test_flags_override_the_recipe():
    assert TransferSettings(**FILES, recipe="openspliceai").effective_recipe == RECIPES["openspliceai"]
    changed = TransferSettings(**FILES, recipe="best", learning_rate=2e-3, epochs=3, early_stopping=True)
    assert changed.effective_recipe.learning_rate == 2e-3
    assert changed.effective_recipe.epochs == 3
    assert changed.effective_recipe.early_stopping
    assert changed.effective_recipe.unfreeze_all
    assert not TransferSettings(**FILES, recipe="best", unfreeze=2).effective_recipe.unfreeze_all
    assert TransferSettings(**FILES, unfreeze=2, unfreeze_all=True).effective_recipe.unfreeze_all


def test_demo_starts_from_a_model_that_knows_something():
    """The model in the repository, on the data set in the repository."""
    metrics = evaluate(ROOT / "demo" / "worm_400nt.pt", ROOT / "demo" / "fly" / "dataset_test.h5")
    assert metrics.windows == 59
    assert metrics.donor.sites == metrics.acceptor.sites == 122
    assert metrics.donor.auprc > 0.6
    assert metrics.acceptor.auprc > 0.43


def test_a_model_in_memory_of_another_flanking_size_is_refused(model):
    with pytest.raises(SettingsError, match="`flanking_size` is 400, but the model has a flanking size of 80"):
        evaluate(model, ROOT / "demo" / "fly" / "dataset_test.h5", flanking_size=400)

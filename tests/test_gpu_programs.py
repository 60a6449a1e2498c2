"""The programs for NVIDIA cards, as far as a machine without one can tell: they lower, and cuDNN knows what they ask.

XLA computes the gradients of a convolution as convolutions, too. Its CUDA backend finds them again, for cuDNN, only if
they look as expected. What it does not find runs many times slower: a dilated convolution's gradient of the weights,
and that of a convolution into which XLA has folded a crop of its result.
"""

import re
from collections.abc import Callable
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import full
from jax import ShapeDtypeStruct
from jax.stages import Traced

from spliceai_jax import ARCHITECTURES, RECIPES, SpliceAI
from spliceai_jax.architecture import WINDOW
from spliceai_jax.network.model import network_on
from spliceai_jax.training.losses import named_loss
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.training.step import init_state, make_eval_step, make_train_step
from spliceai_jax.training.trainable import Trainable
from spliceai_jax.windows.batches import Batch

STEPS = {"all": RECIPES["best"], "last 2": Recipe(unfreeze=2), "evaluation": None}
PRECISIONS = ("float32", "tf32", "bfloat16")
SIZES = (400, 10000)

CONVOLUTION = re.compile(r"= \w+\[([\d,]+)\]\S* convolution\(.*?window=\{([^}]*)\}.*?dim_labels=\w+_\w+->(\w+)")


@cache
def variables(flanking_size: int) -> dict:
    network = SpliceAI(ARCHITECTURES[flanking_size])
    return jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, flanking_size + 1), np.uint8))


def traced(step: str, precision: str, flanking_size: int) -> Traced:
    """The step with the layouts of a GPU, for two whole windows."""
    architecture, recipe = ARCHITECTURES[flanking_size], STEPS[step]
    model = network_on("gpu", architecture, precision)
    batch = Batch(
        ShapeDtypeStruct((2, WINDOW + flanking_size), jnp.uint8),
        ShapeDtypeStruct((2, WINDOW), jnp.uint8),
        ShapeDtypeStruct((2, 1), jnp.float32),
    )
    if recipe is None:
        evaluate: Callable = make_eval_step(model, named_loss("cross_entropy_loss", 0.25))
        return jax.jit(evaluate).trace(variables(flanking_size), batch)
    trainable = Trainable.of(architecture, recipe)
    state = jax.eval_shape(lambda given: init_state(given, trainable, recipe), variables(flanking_size))
    train: Callable = make_train_step(model, recipe)
    return jax.jit(train).trace(state, batch, ShapeDtypeStruct((), jnp.float32))


@pytest.mark.parametrize(
    ("step", "precision", "flanking_size"),
    full(
        product(STEPS, PRECISIONS, SIZES),
        ("all", "tf32", 400),
        ("last 2", "bfloat16", 400),
        ("evaluation", "float32", 400),
    ),
)
def test_every_step_lowers_for_cuda(step: str, precision: str, flanking_size: int) -> None:
    text = traced(step, precision, flanking_size).lower(lowering_platforms=("cuda",)).as_text()
    windows = set(re.findall(r"window = \{[^}]*\}", text))
    assert len(windows) > 1
    assert all("lhs_dilate = [1], rhs_dilate = [1]" in window for window in windows)


@pytest.mark.parametrize(
    ("step", "precision", "flanking_size"),
    full(
        [("all", "float32", 400), ("all", "tf32", 400), ("last 2", "tf32", 400), ("all", "tf32", 10000)],
        ("last 2", "tf32", 400),
    ),
)
def test_xla_leaves_the_convolutions_as_the_layouts_make_them(step: str, precision: str, flanking_size: int) -> None:
    # The passes that fold a crop or a dilation into a convolution are the same on CPUs.
    found = CONVOLUTION.findall(traced(step, precision, flanking_size).lower().compile().as_text())
    units = {"all": len(ARCHITECTURES[flanking_size].units), "last 2": 2}[step]
    # Of each unit two, and their gradients of the weights and, but for the first, of the input.
    assert len(found) >= 2 * (3 * units - 1)
    for shape, window, labels in found:
        facts = dict(fact.split("=") for fact in window.split())
        assert not {"stride", "lhs_dilate", "rhs_dilate"} & facts.keys(), window
        low, high = map(int, facts.get("pad", "0_0").split("_"))
        result = int(shape.split(",")[labels.index("0")])
        # The taps are what it convolves with, or, in a gradient of the weights, its result.
        assert low == high, window
        assert 2 * low + 1 in (int(facts["size"]), result), (shape, window)

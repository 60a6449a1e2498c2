"""In every layout the network computes the same: forward, gradients and statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import full, random_model
from hypothesis import given
from hypothesis import strategies as st

from spliceai_jax import ARCHITECTURES, SpliceAI
from spliceai_jax.network.layout import PLAIN, Layout, Layouts, layouts_on
from spliceai_jax.network.operations import dilated_convolution

ALL = [layouts_on("tpu", exact=True), layouts_on("cuda", exact=True)]
"""All that are not the plain one: a GPU that is not exact has those of a TPU."""


@partial(jax.jit, static_argnums=(0, 3))  # one program, not one for each operation
def convolved(layout, x, kernel, dilation):
    def total(x, kernel):
        y = layout.unpack(dilated_convolution(layout.pack(x), kernel, dilation, layout))
        return jnp.sin(y).sum(), y

    gradients, y = jax.grad(total, (0, 1), has_aux=True)(x, kernel)
    return y, *gradients


@pytest.mark.slow
@given(
    layout=st.builds(Layout, neighbours=st.integers(1, 5), phases=st.integers(1, 5)),
    units=st.integers(1, 9),
    apart=st.integers(1, 6),
    width=st.sampled_from([1, 3, 11]),
    rows=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_convolution_is_the_same_with_its_gradients(layout, units, apart, width, rows, seed):
    random, dilation = np.random.default_rng(seed), apart * layout.phases
    with jax.enable_x64(True):
        x = jnp.asarray(random.normal(size=(rows, units * layout.unit, 3)))
        kernel = jnp.asarray(random.normal(size=(width, 3, 2)))
        np.testing.assert_array_equal(layout.unpack(layout.pack(x)), x)
        for ours, plain in zip(
            *(convolved(each, x, kernel, dilation) for each in (layout, PLAIN)),
            strict=True,
        ):
            np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-12)


@partial(jax.jit, static_argnums=0)
def trained(network, variables, bases, multiplicity, inside):
    """Return scores, activations, new statistics and gradients."""

    def loss(params):
        scores, updated = network.apply(
            {**variables, "params": params},
            bases,
            multiplicity,
            frozenset(network.architecture.units),
            inside,
            mutable=["batch_stats"],
        )
        return (scores * jnp.cos(jnp.arange(scores.size).reshape(scores.shape))).sum(), (scores, updated)

    gradients, (scores, updated) = jax.grad(loss, has_aux=True)(variables["params"])
    half = network.architecture.skips[0]
    kept = network.apply(variables, bases, half, inside, method=SpliceAI.activations)
    continued = network.apply(variables, kept, multiplicity, frozenset(), inside)
    return {
        "scores": (scores, continued),
        "kept": (kept.x, kept.skip_sum),
        "statistics": updated,
        "gradients": gradients,
    }


def both(flanking_size, positions, layouts, dtype, shared_rows):
    architecture, random = ARCHITECTURES[flanking_size], np.random.default_rng(flanking_size)
    columns, rows = positions + flanking_size, 2
    bases = random.integers(0, 5, (rows, columns)).astype(np.uint8)
    multiplicity = inside = None
    if shared_rows:
        multiplicity = jnp.asarray(random.integers(0, 4, (rows, columns)), dtype)
        inside = jnp.asarray(random.random((rows, columns)) > 0.05)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, dtype if leaf.dtype == np.float32 else leaf.dtype),
        random_model(flanking_size, 7).variables,
    )
    return [
        trained(SpliceAI(architecture, layouts=each), variables, bases, multiplicity, inside)
        for each in (layouts, Layouts())
    ]


@pytest.mark.parametrize("layouts", ALL)
@pytest.mark.parametrize(
    ("flanking_size", "positions", "shared_rows"),
    full(
        [(400, 123, True), (2000, 120, False)], (400, 123, True)
    ),  # 123 positions are no whole number of units: rows are filled up
)
def test_the_network_is_the_same(flanking_size, positions, shared_rows, layouts):
    with jax.enable_x64(True):
        ours, plain = both(flanking_size, positions, layouts, np.float64, shared_rows)
        for name in plain:
            largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(plain[name]))
            for one, other in zip(jax.tree.leaves(ours[name]), jax.tree.leaves(plain[name]), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11 * largest, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("layouts", ALL)
def test_the_network_is_the_same_to_float32_rounding(layouts):
    ours, plain = both(400, 121, layouts, np.float32, True)
    for one, other in zip(ours["scores"], plain["scores"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("layouts", ALL)
def test_the_largest_network_scores_the_same(layouts):
    architecture, variables = ARCHITECTURES[10000], random_model(10000, 3).variables
    bases = np.random.default_rng(1).integers(0, 5, (1, 10037)).astype(np.uint8)
    ours, plain = (
        jax.jit(SpliceAI(architecture, layouts=each).apply)(variables, bases) for each in (layouts, Layouts())
    )
    np.testing.assert_allclose(ours, plain, atol=5e-6)


def test_which_layouts_there_are():
    assert {layouts_on(platform, exact) for platform in ("tpu", "cuda") for exact in (True, False)} == set(ALL)


def test_cpus_compute_in_the_plain_layout():
    assert {layouts_on("cpu", exact).of(dilation) for exact in (True, False) for dilation in (1, 4, 10, 25)} == {PLAIN}

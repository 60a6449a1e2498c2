"""Wide convolutions by frequencies are convolutions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spliceai_jax.network.operations import WIDE, dilated_convolution


def direct(x, kernel, dilation):
    reach = dilation * (kernel.shape[0] - 1) // 2
    numbers = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), [(reach, reach)], rhs_dilation=(dilation,), dimension_numbers=numbers, precision="highest"
    )


@partial(jax.jit, static_argnums=(0, 3))  # one program, not one for each operation
def with_gradients(convolution, x, kernel, dilation):
    def squares(x, kernel):
        y = convolution(x, kernel, dilation)
        return jnp.sin(y).sum(), y

    gradients, y = jax.grad(squares, (0, 1), has_aux=True)(x, kernel)
    return y, *gradients


@pytest.mark.slow
@given(
    length=st.integers(1, 130),
    dilation=st.integers(1, 30),
    width=st.sampled_from([WIDE, WIDE + 8]),
    windows=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_by_frequencies_it_is_the_same_with_its_gradients(length, dilation, width, windows, seed):
    random = np.random.default_rng(seed)
    with jax.enable_x64(True):
        x = jnp.asarray(random.normal(size=(windows, length, 3)))
        kernel = jnp.asarray(random.normal(size=(width, 3, 5)))
        found, expected = (with_gradients(how, x, kernel, dilation) for how in (dilated_convolution, direct))
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("platform", "width", "dtype", "by_frequencies"), [
    ("cpu", WIDE, "float32", True),
    ("cpu", WIDE - 2, "float32", False),
    ("cpu", WIDE, "bfloat16", False),
    ("tpu", WIDE, "float32", False),
    ("cuda", WIDE, "float32", False),
])  # fmt: skip
def test_where_it_is_done_by_frequencies(platform, width, dtype, by_frequencies):
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((2, 100, 4), (width, 4, 4))]
    traced = jax.jit(lambda x, kernel: dilated_convolution(x, kernel, 25)).trace(*shapes)
    assert ("fft" in traced.lower(lowering_platforms=(platform,)).as_text()) == by_frequencies

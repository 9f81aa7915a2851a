"""The step and the image pass are the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pixelcnn_jax.layers import CausalConv, Front
from tests.conftest import random_images, tiny_model

SHAPES = [
    dict(),
    dict(height=4, width=9, first_kernel_size=7, kernel_size=5, num_blocks=1),
    dict(height=8, width=3, first_kernel_size=3, num_blocks=3),
    dict(kernel_size=1, num_blocks=1),
    dict(height=4, width=4, channels=3, features=12),
]


def front(row: int, column: int) -> Front:
    return Front(jnp.array([row]), jnp.array([column]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("all_rows", [False, True])
def test_step_matches_image_pass_at_every_position(shape: dict, all_rows: bool):
    model = tiny_model(**shape)
    c = model.config
    images = random_images(model, 3)
    expected = np.asarray(jax.jit(lambda x: model(x))(images))
    step, observe = jax.jit(model.step), jax.jit(model.observe)
    # As many rows as a wavefront keeps must serve as well as the fewest.
    rows = c.height + 1 + c.first_kernel_size // 2 if all_rows else None
    caches = model.init_caches(3, c.width, rows)
    for row, column in np.ndindex(c.height, c.width):
        for channel in range(c.channels):
            logits, caches = step(caches, front(row, column))
            np.testing.assert_allclose(
                logits[0, :, channel], expected[:, row, column, channel], atol=2e-5
            )
            known = images[None, :, row, column].copy()
            known[..., channel + 1 :] = 0
            caches = observe(caches, known, front(row, column))


def test_a_layer_computes_the_masked_convolution():
    rng = np.random.default_rng(0)
    layer = CausalConv(4, 6, 5, "B", num_channels=2, rngs=nnx.Rngs(0))
    x = rng.normal(size=(2, 6, 7, 4)).astype(np.float32)
    # The plain definition: the kernel below its centre row is closed.
    kernel = np.zeros((5, 5, 4, 6), np.float32)
    kernel[:3] = layer.kernel[...] * layer.mask
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_a_front_of_several_positions_equals_them_one_by_one():
    layer = CausalConv(3, 4, 3, "B", rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))  # [F, B, C]
    together = Front(jnp.array([2, 1]), jnp.array([0, 4]))
    cache = jax.random.normal(jax.random.key(1), layer.init_cache(5, 6, 4).shape)
    y, new = layer.step(cache, x, together)
    written = cache
    for f in (0, 1):
        written = layer.write(
            written, x[f : f + 1], Front(*(v[f : f + 1] for v in together))
        )
    assert (new == written).all()
    for f in (0, 1):
        one = layer.read(written, Front(*(v[f : f + 1] for v in together)))
        np.testing.assert_allclose(y[f], one[0], atol=1e-6)

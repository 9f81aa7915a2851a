"""The step and the image pass are the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pixelcnn_jax.layers import CausalConv, Front
from tests.conftest import random_images, some_labels, tiny_model

SHAPES = [
    dict(),
    dict(height=4, width=9, first_kernel_size=7, kernel_size=5, num_blocks=1),
    dict(height=8, width=3, first_kernel_size=3, num_blocks=3),
    dict(kernel_size=1, num_blocks=1),
    dict(height=4, width=4, channels=3, features=12),
    dict(num_classes=3),
    dict(distribution="logistic_mixture", levels=16, channels=3),
    dict(gated=True),
    dict(gated=True, height=4, width=9, first_kernel_size=7, kernel_size=5),
    dict(gated=True, height=8, width=3, kernel_size=1, num_layers=1),
    dict(gated=True, height=4, width=4, channels=3, num_classes=2),
    dict(gated=True, distribution="logistic_mixture", levels=16, channels=3),
]


def front(row: int, column: int) -> Front:
    return Front(jnp.array([row]), jnp.array([column]))


@pytest.mark.parametrize("shape", SHAPES)
def test_step_matches_image_pass_at_every_position(shape: dict):
    model = tiny_model(**shape)
    c, steps = model.config, model.distribution.steps_per_pixel
    images, labels = random_images(model, 3), some_labels(model, 3)
    expected = np.asarray(jax.jit(lambda x: model(x, labels))(images))

    @jax.jit
    def start(caches, row):
        return model.start_row(caches, row)

    @jax.jit
    def step(caches, pixels, position):
        outputs, caches = model.step(caches, position)
        return outputs[0], model.observe(caches, pixels, position)

    # As many rows as a wavefront keeps must serve as well as the fewest.
    spans = (1,) if model.has_row_pass else (1, c.height + 1)
    for span in spans:
        caches = model.init_caches(3, c.width, labels, span)
        for row, column in np.ndindex(c.height, c.width):
            if column == 0:
                caches = start(caches, row)
            for known in range(1, steps + 1):
                pixels = images[None, :, row, column].copy()
                pixels[..., known * c.channels // steps :] = 0
                outputs, caches = step(caches, pixels, front(row, column))
                wanted = expected[:, row, column]
                if steps > 1:
                    outputs, wanted = outputs[:, known - 1], wanted[:, known - 1]
                np.testing.assert_allclose(outputs, wanted, atol=5e-5)


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


@pytest.mark.parametrize(
    ("kernel_size", "mask_type", "stack"),
    [(3, "B", "full"), (5, "A", "full"), (3, "B", "vertical"), (5, "B", "horizontal")],
)
def test_the_fast_gradient_is_the_gradient(kernel_size, mask_type, stack):
    layer = CausalConv(
        4, 4, kernel_size, mask_type, stack=stack, num_channels=2, rngs=nnx.Rngs(0)
    )
    graph, params = nnx.split(layer)
    x, dy = (jax.random.normal(jax.random.key(k), (2, 6, 7, 4)) for k in (0, 1))

    def gradients(reverse_mode):
        def run(params, x):
            return nnx.merge(graph, params)(x, reverse_mode=reverse_mode)

        y, pull = jax.vjp(run, params, x)
        return jax.tree.leaves((y, pull(dy)))

    for plain, fast in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(fast, plain, atol=2e-5)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: layer(x, reverse_mode=True), (x,), (x,))
    jax.jvp(layer, (x,), (x,))


def test_a_front_of_several_positions_equals_them_one_by_one():
    layer = CausalConv(3, 4, 3, "B", rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))  # [F, B, C]
    together = Front(jnp.array([2, 1]), jnp.array([0, 4]))
    cache = jax.random.normal(jax.random.key(1), layer.init_cache(5, 6, 2).shape)
    new = layer.ring.write(cache, x, together)
    y = layer.read(new, together)
    one_by_one = [Front(*(v[f : f + 1] for v in together)) for f in (0, 1)]
    written = cache
    for f in (0, 1):
        written = layer.ring.write(written, x[f : f + 1], one_by_one[f])
    assert (new == written).all()
    for f in (0, 1):
        one = layer.read(written, one_by_one[f])
        np.testing.assert_allclose(y[f], one[0], atol=1e-6)

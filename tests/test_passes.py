"""The step and the image pass are the same function."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.layers import (
    CachedPass,
    CausalConv,
    Conditions,
    Front,
    ImagePass,
    Row,
    Spec,
    products,
)
from pixelcnn_jax.masks import above, as_square, block, left, square
from tests.conftest import random_images, some_conditions
from tests.family import each_model, member


def front(row: int, column: int) -> Front:
    return Front(jnp.array([row]), jnp.array([column]))


@each_model
def test_step_matches_image_pass_at_every_position(name: str):
    model = member(name)
    c, steps = model.config, model.distribution.steps_per_pixel
    images, given = random_images(model, 3), some_conditions(model, 3)
    expected = np.asarray(jax.jit(lambda x: model(x, **given))(images))
    start, step = jax.jit(model.start_row), jax.jit(model.step)
    observe = jax.jit(model.observe)

    # As many rows as a wavefront keeps must serve as well as the fewest.
    spans = (1,) if model.has_vertical_stack else (1, c.height + 1)
    for span in spans:
        spec = Spec(3, c.height, c.width, span)
        caches = model.init_caches(spec, Conditions(**given))
        for row, column in np.ndindex(c.height, c.width):
            at = front(row, column)
            if column == 0:
                caches = start(caches, Row(jnp.int32(row)))
            for known in range(1, steps + 1):
                # Channels that are not known yet may hold anything.
                pixels = images[None, :, row, column].copy()
                pixels[..., (known - 1) * c.channels // steps :] = c.levels - 1
                outputs, caches = step(caches, at, pixels)
                found, wanted = outputs[0], expected[:, row, column]
                if steps > 1:
                    found, wanted = found[:, known - 1], wanted[:, known - 1]
                np.testing.assert_allclose(found, wanted, rtol=5e-5, atol=5e-5)
            caches = observe(caches, at, images[None, :, row, column])


@pytest.mark.parametrize("name", ["book", "gated", "pp", "snail"])
def test_cached_steps_in_bfloat16_are_the_image_pass_in_bfloat16(name: str):
    model = member(name)
    config = dataclasses.replace(model.config, dtype="bfloat16")
    rough = pj.build_model(config)
    nnx.update(rough, nnx.state(model))
    given = some_conditions(rough, 8)
    images, nats = pj.sample(
        rough, jax.random.key(0), 8, method="cached", with_log_prob=True, **given
    )
    found = pj.pixel_log_prob(rough, images, **given)
    # Sums of the same roundings, in another order, which may round anew in each layer.
    np.testing.assert_allclose(nats, found, atol=0.05)
    exact = pj.pixel_log_prob(model, images, **given)
    assert 0 < np.abs(found - exact).max() < 0.5


@pytest.mark.parametrize("kernel", [square(5), above(3), left(5), block(2, 2)])
def test_a_layer_computes_the_masked_convolution(kernel):
    rng = np.random.default_rng(0)
    layer = CausalConv(4, 6, kernel, "B", num_channels=2, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.asarray(rng.normal(size=6), jnp.float32)
    x = rng.normal(size=(4, 2, 6, 7)).astype(np.float32)
    full = as_square(layer.taps, np.asarray(layer.kernel[...] * layer.mask))
    expected = jax.lax.conv_general_dilated(
        x, full, (1, 1), "SAME", dimension_numbers=("CNHW", "HWIO", "CNHW")
    )
    bias = np.asarray(layer.bias[...])[:, None, None, None]
    np.testing.assert_allclose(layer(x), expected + bias, atol=1e-5)


GRADIENTS = [
    (4, 4, square(3), "B"),
    (4, 4, square(5), "A"),
    (2, 8, square(3), "B"),  # widens: another arrangement of the gradient
    (4, 6, square(1), "B"),
    (4, 4, above(3), "B"),
    (4, 4, left(5), "B"),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("c", "d", "taps", "mask_type"), GRADIENTS)
def test_the_fast_gradient_is_the_gradient(c, d, taps, mask_type, dtype):
    order = 2 if mask_type == "A" else 1
    layer = CausalConv(
        c, d, taps, mask_type, num_channels=order, dtype=dtype, rngs=nnx.Rngs(0)
    )
    graph, params = nnx.split(layer)
    x = jax.random.normal(jax.random.key(0), (c, 2, 6, 7))
    dy = jax.random.normal(jax.random.key(1), (d, 2, 6, 7))

    def gradients(method):
        def run(params, x):
            return getattr(nnx.merge(graph, params), method)(x)

        y, pull = jax.vjp(run, params, x)
        return jax.tree.leaves((y, pull(dy)))

    def both():
        return gradients("__call__"), gradients("reverse_mode")

    # bfloat16 operands round: 8 bits, sums over up to 84 positions.
    tolerance = 2e-5 if dtype == "float32" else 0.1
    plain, fast = jax.jit(both)()
    for expected, found in zip(plain, fast, strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, atol=tolerance)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(layer.reverse_mode, (x,), (x,))
    jax.jvp(layer, (x,), (x,))


@each_model
def test_a_model_has_the_same_gradient_in_training(name: str):
    model = member(name)
    graph, params = nnx.split(model)
    images, given = random_images(model, 2), some_conditions(model, 2)

    def gradient(reverse_mode):
        def total(params):
            model = nnx.merge(graph, params)
            outputs = model(images, reverse_mode=reverse_mode, **given)
            return model.distribution.log_prob(outputs, images).sum()

        return jax.tree.leaves(jax.jit(jax.grad(total))(params))

    for expected, found in zip(gradient(False), gradient(True), strict=True):
        scale = 1e-5 + np.abs(np.asarray(expected)).max()
        np.testing.assert_allclose(found, expected, atol=2e-5 * scale)


def test_products_of_bfloat16_have_float32_sums():
    exact = CausalConv(64, 8, square(3), rngs=nnx.Rngs(0))
    rough = CausalConv(64, 8, square(3), dtype="bfloat16", rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (64, 2, 8, 8))
    y = rough(x)
    assert y.dtype == jnp.float32
    # Rounded operands, exact sums: what remains is far below rounded sums' error.
    as_rough = lambda v: v.astype(jnp.bfloat16).astype(jnp.float32)  # noqa: E731
    exact.kernel[...] = as_rough(exact.kernel[...])
    np.testing.assert_allclose(y, exact(as_rough(x)), atol=1e-4)
    spec = Spec(2, 8, 8)
    assert rough.init_cache(spec).dtype.itemsize == 2
    out, _ = rough.step(rough.init_cache(spec), front(0, 0), x[:, 0, 0, :2].T[None])
    assert out.dtype == jnp.float32


def test_cached_steps_in_bfloat16_have_a_derivative_or_say_that_they_have_none():
    layer = CausalConv(3, 4, square(3), dtype="bfloat16", rngs=nnx.Rngs(0))
    cache = layer.init_cache(Spec(2, 5, 5))
    total = lambda x: layer.step(cache, front(0, 0), x)[0].sum()  # noqa: E731
    if products.OLD_XLA:
        with pytest.raises(NotImplementedError, match="no derivative before jax 0.11"):
            jax.grad(total)(jnp.ones((1, 2, 3)))
    else:
        assert np.abs(jax.grad(total)(jnp.ones((1, 2, 3)))).min() > 0


@pytest.mark.parametrize("forward", [False, True])
def test_maps_in_bfloat16_have_the_derivative_of_float32(forward: bool):
    exact, rough = (
        CausalConv(3, 4, square(3), dtype=dtype, rngs=nnx.Rngs(0))
        for dtype in ("float32", "bfloat16")
    )
    x = jax.random.normal(jax.random.key(0), (3, 2, 5, 5))
    way = jax.jacfwd if forward else jax.jacrev
    expected, found = (way(layer)(x) for layer in (exact, rough))
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert np.abs(expected).max() > 0.1


def test_a_front_of_several_positions_equals_them_one_by_one():
    layer = CausalConv(3, 4, square(3), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))  # [F, B, C]
    together = Front(jnp.array([2, 1]), jnp.array([0, 4]))
    empty = layer.init_cache(Spec(5, 6, 6, rows=2))
    cache = jax.random.normal(jax.random.key(1), empty.shape)
    y, new = layer.step(cache, together, x)
    one_by_one = [Front(*(v[f : f + 1] for v in together[:2])) for f in (0, 1)]
    written = cache
    for f in (0, 1):
        written = layer.ring.write(written, one_by_one[f], x[f : f + 1])
    assert (new == written).all()
    for f in (0, 1):
        one, _ = layer.step(written, one_by_one[f], x[f : f + 1])
        np.testing.assert_allclose(y[f], one[0], atol=1e-6)


@pytest.mark.parametrize("kernel", [square(5), above(3), left(5), block(2, 2)])
def test_a_row_equals_the_image_pass(kernel):
    layer = CausalConv(3, 4, kernel, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (3, 2, 5, 7))  # [C, B, H, W]
    expected = layer(x)
    cache = layer.init_cache(Spec(2, 5, 7))
    for row in range(5):
        x_WBC = jnp.moveaxis(x[:, :, row], (0, 1, 2), (2, 1, 0))
        y_WBD, cache = layer.step(cache, Row(jnp.int32(row)), x_WBC)
        found = jnp.moveaxis(y_WBD, (0, 1, 2), (2, 1, 0))
        np.testing.assert_allclose(found, expected[:, :, row], atol=1e-5)


@each_model
def test_of_no_images_there_are_no_outputs(name: str):
    model = member(name)
    images, given = random_images(model, 2), some_conditions(model, 2)
    none = jax.tree.map(lambda x: x[:0], given)
    some = jax.eval_shape(lambda: model(images, **given))
    found = jax.eval_shape(lambda: model(images[:0], **none))
    assert found.shape == (0, *some.shape[1:])


def test_a_layer_applied_twice_is_refused():
    layer = CausalConv(3, 3, square(3), rngs=nnx.Rngs(0))
    caches = {"it": layer.init_cache(Spec(2, 5, 6))}
    apply = CachedPass({id(layer): "it"}, caches, front(0, 0))
    x = jnp.zeros((1, 2, 3))
    apply(layer, x)
    with pytest.raises(ValueError, match="layer it is applied twice"):
        apply(layer, x)


def test_a_layer_without_a_cache_is_refused():
    layer = CausalConv(3, 3, square(3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="a CausalConv has no cache: every layer"):
        CachedPass({}, {}, front(0, 0))(layer, jnp.zeros((1, 2, 3)))


def test_dropout_keeps_the_mean():
    apply = ImagePass(jax.random.split(jax.random.key(0), 50))
    x = jnp.ones((8, 50, 4, 4))
    first, second = apply.dropout(x, 0.25), apply.dropout(x, 0.25)
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-5)
    assert (first != second).any()
    # Per feature, not per channel: no map is dropped whole.
    assert ((first == 0).any((2, 3)) & (first != 0).any((2, 3))).mean() > 0.9

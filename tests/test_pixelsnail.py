"""What is PixelSNAIL's own: its size, its attention, its coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.layers import (
    Attention,
    Conditions,
    Coordinates,
    Front,
    NormedConv,
    Row,
    Seen,
    Spec,
)
from tests.conftest import random_images, some_conditions
from tests.family import FAMILY, member

HEADS, KEYS, VALUES, CONTEXT = 2, 3, 4, 5


@pytest.mark.slow
def test_it_has_the_published_size():
    model = nnx.eval_shape(lambda: pj.build_model(pj.PixelSNAILConfig()))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(model))) == 46_180_788


def attention() -> Attention:
    rngs = nnx.Rngs(0)

    def conv(*arguments, **options):
        return NormedConv(*arguments, **options, rngs=rngs)

    return Attention(
        1,
        CONTEXT,
        KEYS,
        VALUES,
        num_heads=HEADS,
        dropout=0.0,
        conv=conv,
        dtype="float32",
    )


def inputs(batch: int, height: int, width: int) -> Seen:
    rng = np.random.default_rng(0)
    features = HEADS * KEYS, CONTEXT, HEADS * (KEYS + VALUES)
    shape = batch, height, width
    return Seen(*(jnp.asarray(rng.normal(size=(n, *shape)), "f4") for n in features))


def test_attention_is_a_mean_over_strictly_earlier_positions():
    x = inputs(2, 3, 4)
    found = np.asarray(attention()(x)).reshape(HEADS, VALUES, 2, 12)
    query, memory = (np.asarray(v).reshape(-1, 2, 12) for v in (x.query, x.memory))
    keys, values = np.split(memory, [HEADS * KEYS])
    for head, image, place in np.ndindex(HEADS, 2, 12):
        k = keys.reshape(HEADS, KEYS, 2, 12)[head, :, image, :place]
        v = values.reshape(HEADS, VALUES, 2, 12)[head, :, image, :place]
        q = query.reshape(HEADS, KEYS, 2, 12)[head, :, image, place]
        weights = np.exp(q @ k / np.sqrt(KEYS))
        expected = v @ weights / weights.sum() if place else np.zeros(VALUES)
        got = found[head, :, image, place]
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)
    # Not only near it: there is nothing that the first position could read.
    assert (found[..., 0] == 0).all()


def test_attention_stays_right_for_scores_of_any_size():
    x = inputs(2, 3, 4)
    layer = attention()
    for scale in (0.0, 1e4):  # all alike; the best one takes it all

        def total(memory, scale=scale):
            seen = x._replace(query=x.query * scale, memory=memory)
            return layer.reverse_mode(seen).sum()

        value, gradient = jax.value_and_grad(total)(x.memory)
        assert np.isfinite(value) and np.isfinite(gradient).all()
        assert (gradient[..., -1, -1] == 0).all() and (gradient[..., 0, 0] != 0).any()


def test_a_row_of_attention_equals_the_image_pass():
    layer, x = attention(), inputs(2, 3, 4)
    expected = layer(x)
    cache = layer.init_cache(Spec(2, 3, 4))
    for row in range(3):
        seen = Seen(*(jnp.moveaxis(v[:, :, row], (0, 2), (2, 0)) for v in x))
        y, cache = layer.step(cache, Row(jnp.int32(row)), seen)
        found = jnp.moveaxis(y, (0, 2), (2, 0))
        np.testing.assert_allclose(found, expected[:, :, row], atol=1e-5)


def test_coordinates_are_those_of_the_image_at_hand():
    layer, x = Coordinates(), jnp.zeros((1, 2, 4, 5))
    found = layer(x)
    assert found.shape == (2, 2, 4, 5)
    np.testing.assert_allclose(found[0, 0, :, 0], [-0.5, -0.25, 0, 0.25])
    np.testing.assert_allclose(found[1, 1, 2], np.arange(5) / 5 - 0.5, atol=1e-7)
    cache = layer.init_cache(Spec(2, 4, 5))
    at = Front(jnp.array([3]), jnp.array([2]))
    here, _ = layer.step(cache, at, jnp.zeros((1, 2, 1)))
    np.testing.assert_array_equal(here[0, 0], found[:, 0, 3, 2])
    row, _ = layer.step(cache, Row(jnp.int32(1)), jnp.zeros((5, 2, 1)))
    np.testing.assert_array_equal(row[:, 1], found[:, 0, 1].T)


def test_only_attention_grows_with_the_image():
    model = member("snail")
    small, tall = (model.init_caches(Spec(2, height, 8)).layers for height in (8, 80))
    for name, layer in model.causal_layers().items():
        same = jax.tree.map(jnp.shape, small[name]) == jax.tree.map(
            jnp.shape, tall[name]
        )
        assert same != isinstance(layer, Attention)


def test_heads_that_do_not_divide_the_filters_are_refused():
    with pytest.raises(pj.UserError, match="filters must be .* multiple of 6, got 32"):
        pj.PixelSNAILConfig(filters=32, num_heads=3)


@pytest.mark.slow
def test_every_layer_is_calibrated_and_folded():
    model = nnx.clone(pj.build_model(FAMILY["snail-odd"].config))
    before = model.causal_layers()
    gains = {k: np.array(x.gain[...]) for k, x in before.items() if hasattr(x, "gain")}
    assert any("attention.network" in name for name in gains)
    model.calibrate(random_images(model, 32), Conditions(**some_conditions(model, 32)))
    after, folded = model.causal_layers(), model.folded().causal_layers()
    for name, gain in gains.items():
        assert (np.abs(after[name].gain[...] - gain) > 1e-3).any(), name
        assert folded[name].is_folded, name
